//! Names: a table of what they are, and a search for two sets of values with one name.

use std::collections::{BTreeSet, HashMap};

use super::*;
use crate::policy::testing::{Random, mutate};

fn vars(login: &str) -> Variables {
    Variables {
        login: Login::new(login).unwrap(),
        user: UserName::new("alice").unwrap(),
        group: Some("staff".into()),
        team: None,
        project: None,
        properties: BTreeMap::new(),
    }
}

fn with(login: &str, project: &str, namespace: &str) -> Variables {
    let project = (!project.is_empty()).then(|| project.to_owned());
    Variables { project, properties: [("k8sNS".to_owned(), namespace.to_owned())].into(), ..vars(login) }
}

/// The name, `SLUG-#` for a hashed one, or the refusal's variant.
fn outcome(template: &str, vars: &Variables) -> String {
    match resolve(template, vars) {
        Ok(Resolved { name, .. }) if looks_hashed(name.as_str()) => {
            let name = name.as_str();
            format!("{}#", &name[..name.len() - HASH_DIGITS])
        }
        Ok(resolved) => resolved.name.to_string(),
        Err(error) => format!("{error:?}").split([' ', '{']).next().unwrap().to_owned(),
    }
}

#[test]
fn templates_give_the_documented_names() {
    let plain = "dss-ns-${dssUserLogin}";
    let team = "${adminProperty:k8sNS}";
    let long = "a".repeat(60);
    let rows: &[(&str, Variables, &str)] = &[
        (plain, vars("alice"), "dss-ns-alice"),
        ("dssns-${dssUserLogin}", vars("alice"), "dssns-alice"),
        ("ns-${login}", vars("alice"), "ns-alice"),
        ("${login}-ns", vars("alice"), "alice-ns"),
        ("${login}", vars("0alice"), "0alice"),
        ("${user}", vars("bob"), "alice"),
        ("u-${group}", vars("bob"), "u-staff"),
        ("shared", vars("bob"), "shared"),
        (team, with("bob", "", "team-a"), "team-a"),
        ("p-${projectKey}", with("bob", "churn", "x"), "p-churn"),
        ("${login}-${dssUserLogin}", vars("bob"), "bob-bob"),
        // What had to be changed gets a hash.
        (plain, vars("Alice"), "dss-ns-alice-#"),
        (plain, vars("ALICE"), "dss-ns-alice-#"),
        (plain, vars("a.b"), "dss-ns-a-b-#"),
        (plain, vars("a_b"), "dss-ns-a-b-#"),
        (plain, vars("a-b"), "dss-ns-a-b"),
        (plain, vars("a@b"), "dss-ns-a-b-#"),
        (plain, vars("First.Last@corp.com"), "dss-ns-first-last-corp-com-#"),
        (plain, vars("a--b"), "dss-ns-a--b"),
        (plain, vars("a-"), "dss-ns-a-#"),
        (plain, vars("a+"), "dss-ns-a-#"),
        (plain, vars(&long), "dss-ns-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-#"),
        ("${login}", vars(&long), long.as_str()),
        ("${login}", vars("@"), "ns-#"),
        ("${login}", vars("___"), "ns-#"),
        ("${login}", vars("_alice"), "alice-#"),
        ("p-${projectKey}", with("bob", "CHURN", "x"), "p-churn-#"),
        ("p-${projectKey}", with("bob", "../../x", "x"), "p-x-#"),
        (team, with("bob", "", "../"), "ns-#"),
        (team, with("bob", "", "Team A"), "team-a-#"),
        (team, with("bob", "", "t\u{e9}am"), "t-am-#"),
        (team, with("bob", "", "a\nb"), "a-b-#"),
        (team, with("bob", "", &"x".repeat(256)), "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-#"),
        // Two variables always get one.
        ("${login}-${user}", vars("bob"), "bob-alice-#"),
        ("${login}${projectKey}", with("bob", "x", "x"), "bobx-#"),
        // So does what looks as if it had one.
        ("${login}", vars("alice-0123456789abcdef0123"), "alice-0123456789abcdef0123-#"),
        ("${login}", vars("alice-0123456789abcdef012g"), "alice-0123456789abcdef012g"),
        ("${login}", vars("alice-0123456789abcdef012"), "alice-0123456789abcdef012"),
        ("${login}", vars("0123456789abcdef0123a"), "0123456789abcdef0123a"),
        ("a-${login}", vars("ffffffffffffffffffff"), "a-ffffffffffffffffffff-#"),
        ("${login}-0123456789abcdef0123", vars("alice"), "alice-0123456789abcdef0123-#"),
        // Refused.
        ("${login}", vars("default"), "Reserved"),
        ("${login}", vars("kube-system"), "Reserved"),
        ("${login}", vars("KUBE-SYSTEM"), "Reserved"),
        ("${login}", vars("kube.system"), "Reserved"),
        ("${login}", vars("kube-public-0123456789abcdef0123"), "Reserved"),
        ("kube-${login}", vars("alice"), "Reserved"),
        ("ku${login}", vars("be-x"), "Reserved"),
        ("default", vars("alice"), "Reserved"),
        (team, with("bob", "", "default"), "Reserved"),
        ("${login}", vars("Default"), "default-#"),
        ("${login}", vars("kube"), "kube"),
        ("${projectKey}", vars("bob"), "Missing"),
        (team, vars("bob"), "Missing"),
        (team, with("bob", "", ""), "Missing"),
        ("x-${adminProperty:other}", with("bob", "", "a"), "Missing"),
        ("${group}", Variables { group: None, ..vars("bob") }, "Missing"),
        ("${userProperty:k8sNS}", vars("bob"), "UserProperty"),
        ("${userProperty}", vars("bob"), "UserProperty"),
        ("-", vars("bob"), "NotAName"),
        ("a-", vars("bob"), "NotAName"),
    ];
    for (template, vars, expected) in rows {
        assert_eq!(outcome(template, vars), *expected, "{template} with {vars:?}");
    }
}

#[test]
fn templates_are_checked_before_a_job_comes() {
    let rows: &[(&str, Result<(), NamespaceError>)] = &[
        ("dss-ns-${dssUserLogin}", Ok(())),
        ("${adminProperty:k8sNS}", Ok(())),
        ("${adminProperty:a.b_c-D}", Ok(())),
        ("${login}${user}${group}${projectKey}", Ok(())),
        ("team-a", Ok(())),
        ("-${login}-", Ok(())),
        ("", Err(NamespaceError::Length)),
        ("team-a-", Err(NamespaceError::NotAName)),
        ("default", Err(NamespaceError::Reserved)),
        ("kube-${login}", Err(NamespaceError::Reserved)),
        ("kube-system", Err(NamespaceError::Reserved)),
        ("default-${login}", Ok(())),
        ("Team-${login}", Err(NamespaceError::Literal)),
        ("a_${login}", Err(NamespaceError::Literal)),
        ("a/${login}", Err(NamespaceError::Literal)),
        ("../${login}", Err(NamespaceError::Literal)),
        ("a b", Err(NamespaceError::Literal)),
        ("\u{e9}", Err(NamespaceError::Literal)),
        ("a\n", Err(NamespaceError::Literal)),
        ("$", Err(NamespaceError::Syntax)),
        ("$login", Err(NamespaceError::Syntax)),
        ("$${login}", Err(NamespaceError::Syntax)),
        ("${login", Err(NamespaceError::Syntax)),
        ("${login}}", Err(NamespaceError::Syntax)),
        ("{login}", Err(NamespaceError::Syntax)),
        ("${}", Err(NamespaceError::Unknown)),
        ("${ login}", Err(NamespaceError::Unknown)),
        ("${Login}", Err(NamespaceError::Unknown)),
        ("${login:x}", Err(NamespaceError::Unknown)),
        ("${${login}}", Err(NamespaceError::Unknown)),
        ("${hostname}", Err(NamespaceError::Unknown)),
        ("${adminProperty}", Err(NamespaceError::PropertyName)),
        ("${adminProperty:}", Err(NamespaceError::PropertyName)),
        ("${adminProperty:a b}", Err(NamespaceError::PropertyName)),
        ("${adminProperty:a:b}", Err(NamespaceError::PropertyName)),
        ("${userProperty:a}", Err(NamespaceError::UserProperty)),
        ("${login|tolower}", Ok(())),
        ("${adminProperty:x|default:y}", Ok(())),
        ("${adminProperty:x|default('y-1')}", Ok(())),
        ("${adminProperty:x|default(\"y\")|tolower}", Ok(())),
        ("${team|getornull}-x", Ok(())),
        ("${projectKey|getornull}", Ok(())),
        ("${projectKey?}", Err(NamespaceError::QuestionMark)),
        ("${projectKey?|tolower}", Err(NamespaceError::QuestionMark)),
        ("${login|toupper}", Err(NamespaceError::ToUpper)),
        ("${login|lower}", Err(NamespaceError::Filter)),
        ("${login|}", Err(NamespaceError::Filter)),
        ("${login|tolower|}", Err(NamespaceError::Filter)),
        ("${login| tolower}", Err(NamespaceError::Filter)),
        ("${login|default}", Err(NamespaceError::Filter)),
        ("${login|default(y)}", Err(NamespaceError::Filter)),
        ("${login|default('y)}", Err(NamespaceError::Filter)),
        ("${login|default('y\")}", Err(NamespaceError::Filter)),
        ("${login|tolower|tolower|tolower|tolower|tolower}", Err(NamespaceError::Filter)),
        ("${login|default:}", Err(NamespaceError::Default)),
        ("${login|default('')}", Err(NamespaceError::Default)),
        ("${login|default('Y')}", Err(NamespaceError::Default)),
        ("${login|default('a b')}", Err(NamespaceError::Default)),
        ("${login|default('../x')}", Err(NamespaceError::Default)),
        ("${projectKey|default('default')}", Err(NamespaceError::Reserved)),
        ("${projectKey|default('kube-system')}", Err(NamespaceError::Reserved)),
        ("kube${projectKey|default('-x')}", Err(NamespaceError::Reserved)),
        ("x-${projectKey|default('default')}", Ok(())),
        ("${|tolower}", Err(NamespaceError::Unknown)),
    ];
    for (template, expected) in rows {
        assert_eq!(validate_template(template), *expected, "{template}");
        if expected.is_err() && *expected != Err(NamespaceError::Reserved) {
            assert_eq!(resolve(template, &vars("alice")).map(drop), *expected, "{template}");
        }
    }
    assert_eq!(validate_template(&"a".repeat(257)), Err(NamespaceError::Length));
    assert_eq!(
        NamespaceError::Syntax.to_string(),
        "the template has a `$`, `{` or `}` that is not part of a `${variable}`"
    );
}

#[test]
fn the_owner_is_canonical_and_the_same_for_both_spellings() {
    let owner = |template: &str| resolve(template, &with("Alice", "P", "team-a")).unwrap().owner;
    assert_eq!(owner("x-${dssUserLogin}"), r#"{"login":"Alice"}"#);
    assert_eq!(owner("x-${login}"), owner("x-${dssUserLogin}"));
    assert_eq!(owner("${adminProperty:k8sNS}"), r#"{"adminProperty:k8sNS":"team-a"}"#);
    assert_eq!(owner("shared"), "{}");
    assert_eq!(
        owner("${user}${projectKey}${login}${group}"),
        r#"{"group":"staff","login":"Alice","projectKey":"P","user":"alice"}"#
    );
    assert_eq!(
        resolve("${adminProperty:k8sNS}", &with("bob", "", "a\"\u{e9}\n")).unwrap().owner,
        "{\"adminProperty:k8sNS\":\"a\\\"\u{e9}\\n\"}"
    );
}

#[test]
fn a_name_stays_what_it_was() {
    // Namespaces outlive releases: a changed hash would strand every user's namespace.
    let name = |template: &str, login: &str| resolve(template, &vars(login)).unwrap().name.to_string();
    assert_eq!(
        name("dss-ns-${dssUserLogin}", "First.Last@corp.com"),
        "dss-ns-first-last-corp-com-450c2466691f7e29846b"
    );
    assert_eq!(name("${login}-${user}", "bob"), "bob-alice-2f75258286d035d771bb");
}

#[test]
fn refusals_name_the_variable_and_what_to_do() {
    let error = resolve("${adminProperty:k8sNS}", &vars("bob")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the namespace's template uses adminProperty:k8sNS, which has no value for this job; an administrator can \
         set it in the file of `users.properties`"
    );
    assert_eq!(error.code(), ExitCode::NamespaceRefused);
}

/// Logins that are near each other, in the ways that clean-ups make equal.
fn adversarial(random: &mut Random, seen: &[String]) -> String {
    const SEEDS: &[&str] =
        &["a.b", "a-b", "A-b", "a_b", "a+b", "a@b", "ab", "bob", "first.last@corp.com", "default0", "kubex"];
    const SWAPS: &[char] = &['.', '-', '_', '+', '@', 'a', 'A', 'b', '0'];
    let mut login: Vec<char> = if !seen.is_empty() && random.below(3) == 0 {
        // A login that is another one's namespace, hashed or not.
        random.pick(seen).chars().collect()
    } else {
        random.pick(SEEDS).chars().collect()
    };
    for _ in 0..random.below(3) {
        let at = random.below(login.len());
        match random.below(4) {
            0 => login[at] = *random.pick(SWAPS),
            1 => login.insert(at, *random.pick(SWAPS)),
            2 if login.len() > 1 => drop(login.remove(at)),
            _ => login = login.iter().cycle().take(login.len() + random.below(60)).copied().collect(),
        }
    }
    login.into_iter().collect()
}

#[test]
fn different_values_never_give_one_name() {
    let templates = [
        "${login}",
        "dss-ns-${dssUserLogin}",
        "${login}-x",
        "a${login}-0123456789abcdef0123",
        "${login}-${user}",
        "${login}${projectKey}",
        "${projectKey}-${login}-${adminProperty:k8sNS}",
    ];
    let mut random = Random::new(60);
    for template in templates {
        let mut owners: HashMap<String, String> = HashMap::new();
        let mut seen = Vec::new();
        for _ in 0..4000 {
            // Half of the time parts so short that two variables often meet in one text: a + b-c, a-b + c.
            let parts = random.below(2) == 0;
            let mut make = || match parts {
                true => (*random.pick(&["a", "b", "aa", "ab", "a-a", "a-b", "b-a", "a-b-a"])).to_owned(),
                false => adversarial(&mut random, &seen),
            };
            let (Ok(login), Ok(user)) = (Login::new(make()), UserName::new(make())) else { continue };
            let properties = [("k8sNS".to_owned(), make())].into();
            let vars = Variables { login, user, group: None, team: None, project: Some(make()), properties };
            let Ok(resolved) = resolve(template, &vars) else { continue };
            let name = resolved.name.to_string();
            assert!(name.len() <= 63 && is_dns_label(&name) && !is_reserved(&name), "{name}");
            if let Some(other) = owners.insert(name.clone(), resolved.owner.clone()) {
                assert_eq!(other, resolved.owner, "{template}: {name}");
            }
            seen.push(name);
        }
        assert!(owners.len() > 300, "{template}: only {} names", owners.len());
    }
}

#[test]
fn a_login_that_is_another_ones_hashed_name_gets_its_own() {
    let template = "${login}";
    let first = resolve(template, &vars("a.b")).unwrap();
    let mimic = resolve(template, &vars(first.name.as_str())).unwrap();
    let third = resolve(template, &vars(mimic.name.as_str())).unwrap();
    let names = BTreeSet::from([first.name, mimic.name, third.name]);
    assert_eq!(names.len(), 3);
}

#[test]
fn templates_and_values_never_panic() {
    let mut random = Random::new(61);
    for _ in 0..4000 {
        let template =
            mutate(&mut random, "dss-${login}-${adminProperty:k8sNS}-${projectKey|default}".as_bytes());
        let value = mutate(&mut random, "team-\u{e9}\u{1f600}-a".as_bytes());
        let (template, value) =
            (String::from_utf8_lossy(&template), String::from_utf8_lossy(&value).into_owned());
        let vars = Variables { project: Some(value.clone()), ..with("alice", "", &value) };
        let valid = validate_template(&template);
        match resolve(&template, &vars) {
            Ok(resolved) => assert!(valid.is_ok() && is_dns_label(resolved.name.as_str())),
            Err(error) => assert!(!error.to_string().contains('\u{1f600}')),
        }
        drop(resolve("${adminProperty:k8sNS}", &vars));
    }
}
