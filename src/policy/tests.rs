//! From a login to an account and a namespace, as one: a table, and a search for two jobs that meet in a namespace without
//! being the same owner's.

use std::collections::BTreeMap;

use super::config::parse;
use super::identity::{Refusal, map_login};
use super::names::{Login, UserName, is_dns_label};
use super::namespace::{HASH_DIGITS, NamespaceError, Resolved, Variables, resolve, validate_template};
use super::testing::Random;

/// Rules that the table's first column names.
fn rules(name: &str) -> &'static str {
    match name {
        "identity" => "identity",
        "corp" => r#"{regex: "([^@]+)@corp\\.com", user: "$1"}"#,
        "corp+identity" => r#"{regex: "([^@]+)@corp\\.com", user: "$1"}, identity"#,
        "project" => {
            r#"identity, {login: bob, user: bob-mkt, project: MKT}, {regex: ".*", user: proj, project: SHARE}"#
        }
        "swap" => r#"{regex: "([A-Za-z]+)\\.([A-Za-z]+)@corp\\.com", user: "${2}_$1"}"#,
        "single" => {
            r#"{login: "ceo@corp.com", user: alice}, {login: a+b, user: plus}, {login: first, user: one}, {login: first, user: two}"#
        }
        other => panic!("no such rules: {other}"),
    }
}

fn variant(error: &impl std::fmt::Debug) -> String {
    format!("!{}", format!("{error:?}").split([' ', '{', '(']).next().unwrap())
}

/// What a row gives: account and namespace, or their refusals.
fn outcome(row: &[&str]) -> (String, String) {
    let given = |text: &str| (text != "-").then(|| text.to_owned());
    let Ok(login) = Login::new(row[1]) else { return ("!Login".into(), "-".into()) };
    let text = format!(
        "callers: [dssuser]\nprovisioner: ssa-provisioner\nusers: {{allowed_groups: [g], mapping: [{}]}}\n\
         clusters: {{main: {{kubeconfig: /etc/k}}}}\nprofiles: {{p: {{cluster: main, namespace: {{template: x}}}}}}\n",
        rules(row[0])
    );
    let users = parse(text.as_bytes()).unwrap().users;
    let user = match map_login(&users, &login, given(row[2]).as_deref()) {
        Ok(mapped) => mapped.user,
        Err(error @ (Refusal::NoRule { .. } | Refusal::NoAccountName { .. })) => {
            return (variant(&error), "-".into());
        }
        Err(error) => panic!("{row:?}: {error}"),
    };
    let vars = Variables {
        login,
        user: user.clone(),
        group: Some("staff".into()),
        team: given(row[3]),
        project: given(row[2]),
        properties: given(row[4]).map(|value| ("ns".to_owned(), value)).into_iter().collect(),
    };
    validate_template(row[5]).unwrap_or_else(|error| panic!("{row:?}: {error}"));
    let namespace = match resolve(row[5], &vars) {
        Ok(resolved) => without_digits(resolved.name.as_str()),
        Err(error) => variant(&error),
    };
    (user.to_string(), namespace)
}

/// A name with `#` for the digits of a hash.
fn without_digits(name: &str) -> String {
    match name.len().checked_sub(HASH_DIGITS).map(|at| name.split_at(at)) {
        Some((slug, digits)) if slug.ends_with('-') && digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
            format!("{slug}#")
        }
        _ => name.to_owned(),
    }
}

#[test]
fn acceptance_1_logins_get_the_accounts_and_namespaces_of_the_table() {
    let mut rows = 0;
    let mut wrong = Vec::new();
    for line in include_str!("tests/names.txt").lines().filter(|line| !line.starts_with('#')) {
        let row: Vec<&str> = line.split(" | ").collect();
        assert_eq!(row.len(), 8, "{line}");
        rows += 1;
        let (account, namespace) = outcome(&row);
        if (account.as_str(), namespace.as_str()) != (row[6], row[7]) {
            wrong.push(format!("{line}\n    got {account} | {namespace}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows >= 200, "{rows} rows");
}

/// A template of pieces; most are legal.
fn template(random: &mut Random) -> String {
    const VARIABLES: &[&str] = &[
        "login",
        "dssUserLogin",
        "user",
        "group",
        "team",
        "projectKey",
        "adminProperty:a",
        "adminProperty:b",
    ];
    const FILTERS: &[&str] =
        &["|tolower", "|getornull", "|default('a')", "|default:a-b", "|default(\"shared\")"];
    const TEXTS: &[&str] = &["", "a", "-", "a-", "-a", "ns-", "x", "kube", "0"];
    let mut text = random.pick(TEXTS).to_string();
    // One variable most of the time: then names may be plain, and could meet.
    for _ in 0..=random.below(4).saturating_sub(2) {
        let filters: String = (0..random.below(3))
            .map(|_| if random.below(2) == 0 { *random.pick(FILTERS) } else { "" })
            .collect();
        text += &format!("${{{}{filters}}}{}", random.pick(VARIABLES), random.pick(TEXTS));
    }
    text
}

/// Values that are near each other in the ways that filters and clean-ups make equal; sometimes a name that was given.
fn value(random: &mut Random, names: &BTreeMap<String, String>) -> String {
    const VALUES: &[&str] = &[
        "a", "A", "b", "ab", "aB", "AB", "a-b", "A-b", "a.b", "a_b", "a--b", "a-", "a-a", "shared", "Shared",
        "x", "nsa", "0", "a-b-a", "ba", "team-a", "default", "system",
    ];
    let given = random.below(4) == 0 && !names.is_empty();
    let text = match given {
        true => names.keys().nth(random.below(names.len())).cloned().unwrap_or_default(),
        false => random.pick(VALUES).to_string(),
    };
    match random.below(8) {
        0 => text.to_ascii_uppercase(),
        1 => format!("{text}{}", random.pick(VALUES)),
        _ => text,
    }
}

/// Exact values of the variables of a template, from its owner annotation, which must say nothing else.
fn exact(resolved: &Resolved, vars: &Variables) {
    let owner: BTreeMap<String, Option<String>> = serde_json::from_str(&resolved.owner).unwrap();
    for (key, value) in owner {
        let known = match key.as_str() {
            "login" => Some(vars.login.to_string()),
            "user" => Some(vars.user.to_string()),
            "group" => vars.group.clone(),
            "team" => vars.team.clone(),
            "projectKey" => vars.project.clone(),
            property => vars.properties.get(property.strip_prefix("adminProperty:").unwrap()).cloned(),
        };
        assert_eq!(value, known.filter(|value| !value.is_empty()), "{key}");
    }
}

#[test]
fn acceptance_1_different_values_of_a_templates_variables_never_give_one_namespace() {
    let mut random = Random::new(59);
    let (mut templates, mut resolved_names, mut hashed_logins) = (0, 0, 0);
    while templates < 400 {
        let template = template(&mut random);
        if validate_template(&template).is_err() {
            continue;
        }
        templates += 1;
        // Name to owner, the text of which is the exact values.
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for _ in 0..150 {
            let mut make = || value(&mut random, &names);
            let (Ok(login), Ok(user)) = (Login::new(make()), UserName::new(make())) else { continue };
            let mut maybe = || {
                let value = make();
                (value.len() % 3 > 0).then_some(value)
            };
            let (group, team, project) = (maybe(), maybe(), maybe());
            let properties = [("a", maybe()), ("b", maybe())]
                .into_iter()
                .filter_map(|(key, value)| Some((key.to_owned(), value?)))
                .collect();
            let vars = Variables { login, user, group, team, project, properties };
            let resolved = match resolve(&template, &vars) {
                Ok(resolved) => resolved,
                Err(NamespaceError::Missing { .. } | NamespaceError::Reserved | NamespaceError::Empty) => {
                    continue;
                }
                Err(error) => panic!("{template}: {error}"),
            };
            exact(&resolved, &vars);
            let name = resolved.name.to_string();
            assert!(is_dns_label(&name), "{name}");
            hashed_logins += usize::from(without_digits(vars.login.as_str()) != vars.login.as_str());
            if let Some(other) = names.insert(name.clone(), resolved.owner.clone()) {
                assert_eq!(other, resolved.owner, "{template} gives both the namespace {name}");
            }
            resolved_names += 1;
        }
    }
    println!("{templates} templates, {resolved_names} names, {hashed_logins} of logins that look hashed");
    assert!(resolved_names > 10_000 && hashed_logins > 500, "{resolved_names}, {hashed_logins}");
}

#[test]
fn what_a_filter_makes_equal_stays_apart() {
    let vars = |login: &str, team: Option<&str>| Variables {
        login: Login::new(login).unwrap(),
        user: UserName::new("alice").unwrap(),
        group: None,
        team: team.map(String::from),
        project: None,
        properties: BTreeMap::new(),
    };
    let name = |template: &str, login: &str, team| resolve(template, &vars(login, team)).unwrap();
    // Two logins that differ in capitals (CVE-2020-15110).
    let lower = "ns-${login|tolower}";
    assert_eq!(name(lower, "alice", None).name.as_str(), "ns-alice");
    assert_eq!(without_digits(name(lower, "Alice", None).name.as_str()), "ns-alice-#");
    assert_ne!(name(lower, "Alice", None).name, name(lower, "ALICE", None).name);
    assert_eq!(name(lower, "Alice", None).owner, r#"{"login":"Alice"}"#);
    // A default, and somebody's real value that is the same.
    let shared = "${team|default('shared')}";
    assert_eq!(name(shared, "a", None).name.as_str(), "shared");
    assert_eq!(name(shared, "a", None).owner, r#"{"team":null}"#);
    assert_eq!(without_digits(name(shared, "a", Some("shared")).name.as_str()), "shared-#");
    assert_eq!(name(shared, "a", Some("shared")).owner, r#"{"team":"shared"}"#);
    assert_eq!(name(shared, "a", Some("red")).name.as_str(), "red");
    // A missing value that stands for nothing, and a value after it.
    let pieces = "x${team|getornull}";
    assert_eq!(name(pieces, "a", None).name.as_str(), "x");
    assert_eq!(name(pieces, "a", Some("y")).name.as_str(), "xy");
    // Two profiles with templates of their own: one name at most has one owner, and the other is refused by it.
    let (one, other) = (name("a-${login}", "b-c", None), name("a-b-${login}", "c", None));
    assert_eq!(one.name, other.name);
    assert_ne!(one.owner, other.owner);
}
