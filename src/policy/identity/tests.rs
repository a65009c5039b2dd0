//! Tables of logins, accounts and callers.

use super::*;
use crate::policy::config::{CallerEntry, parse};
use crate::policy::names::{JobId, Login, NamespaceName};
use crate::policy::testing::{Random, mutate};

/// A configuration with these mapping rules.
fn config(mapping: &str) -> Config {
    let text = format!(
        "callers: [dssuser]\nprovisioner: ssa-provisioner\n\
         users: {{allowed_groups: [spark-users, analysts], denied: [nobody], mapping: [{mapping}]}}\n\
         clusters: {{main: {{kubeconfig: /etc/k}}}}\n\
         profiles: {{p: {{cluster: main, namespace: {{template: x}}}}}}\n"
    );
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{mapping}: {error}"))
}

fn user(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

fn map(mapping: &str, login: &str, project: Option<&str>) -> Result<Mapped, Refusal> {
    map_login(&config(mapping).users, &Login::new(login).unwrap(), project)
}

#[test]
fn logins_map_as_the_rules_say() {
    const CORP: &str = r#"{regex: "([^@]+)@corp\\.com", user: "$1"}"#;
    const PROJECT: &str = r#"identity, {login: bob, user: bob-mkt, project: MARKETING}"#;
    const ORDER: &str = r#"{login: bob, user: first}, {login: bob, user: second}, identity"#;
    const SWAP: &str = r#"{regex: "(\\w+)\\.(\\w+)@corp\\.com", user: "${2}_$1"}"#;
    const OR: &str = r#"{regex: "alice|alice-admin", user: alice}"#;
    const CASE: &str = r#"{regex: "(?i)alice@CORP\\.com", user: alice}"#;
    const LINES: &str = r#"{regex: "(?m)^alice$", user: alice}"#;
    const MAYBE: &str = r#"{regex: "(a)?(bob)?", user: "u$1$2"}"#;
    let rows: &[(&str, &str, Option<&str>, &str)] = &[
        ("identity", "alice", None, "alice"),
        ("identity", "Alice", None, "Alice"),
        ("identity", "first.last", None, "first.last"),
        ("identity", "alice", Some("MARKETING"), "alice"),
        ("identity", "alice@corp.com", None, "NoAccountName"),
        ("identity", "a+b", None, "NoAccountName"),
        ("identity", "a123456789012345678901234567890123", None, "NoAccountName"),
        ("identity", "root", None, "root"),
        ("identity", "_a", None, "_a"),
        (CORP, "alice@corp.com", None, "alice"),
        (CORP, "First.Last@corp.com", None, "First.Last"),
        (CORP, "alice@corp.com.org", None, "NoRule"),
        (CORP, "x@y@corp.com", None, "NoRule"),
        (CORP, "alice@corpXcom", None, "NoRule"),
        (CORP, "alice", None, "NoRule"),
        (CORP, "a+b@corp.com", None, "NoAccountName"),
        (CORP, "1000@corp.com", None, "NoAccountName"),
        (CORP, "0x0@corp.com", None, "NoAccountName"),
        (CORP, "ALICE@CORP.COM", None, "NoRule"),
        (PROJECT, "bob", None, "bob"),
        (PROJECT, "bob", Some("MARKETING"), "bob-mkt"),
        (PROJECT, "bob", Some("marketing"), "bob"),
        (PROJECT, "bob", Some("MARKETING2"), "bob"),
        (PROJECT, "bob", Some(""), "bob"),
        (PROJECT, "alice", Some("MARKETING"), "alice"),
        (ORDER, "bob", None, "first"),
        (ORDER, "Bob", None, "Bob"),
        (ORDER, "bob2", None, "bob2"),
        (r#"{login: "b.b", user: dots}"#, "b.b", None, "dots"),
        (r#"{login: "b.b", user: dots}"#, "bxb", None, "NoRule"),
        (r#"{login: "b+", user: plus}"#, "bb", None, "NoRule"),
        (r#"{login: "b+", user: plus}"#, "b+", None, "plus"),
        (SWAP, "ada.lovelace@corp.com", None, "lovelace_ada"),
        (SWAP, "a.b.c@corp.com", None, "NoRule"),
        (OR, "alice", None, "alice"),
        (OR, "alice-admin", None, "alice"),
        (OR, "alice-admin2", None, "NoRule"),
        (OR, "xalice", None, "NoRule"),
        (CASE, "Alice@corp.com", None, "alice"),
        (LINES, "alice", None, "alice"),
        (LINES, "alice2", None, "NoRule"),
        (MAYBE, "a", None, "ua"),
        (MAYBE, "bob", None, "ubob"),
        (MAYBE, "abob", None, "uabob"),
        (r#"{regex: ".*", user: "$0"}"#, "alice", None, "alice"),
        (r#"{regex: "(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)", user: "x$10"}"#, "abcdefghij", None, "xj"),
        (r#"{regex: "(a).*", user: "${1}0"}"#, "alice", None, "a0"),
        (r#"{regex: "z?", user: x}, identity"#, "alice", None, "alice"),
        (r#"{regex: "a.*", user: fixed, project: P}"#, "alice", Some("P"), "fixed"),
        (r#"{regex: "a.*", user: fixed, project: P}"#, "alice", None, "NoRule"),
        (r#"{regex: "(a+)+b", user: x}"#, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", None, "NoRule"),
    ];
    for (mapping, login, project, expected) in rows {
        let got = match map(mapping, login, *project) {
            Ok(mapped) => mapped.user.to_string(),
            Err(refusal) => {
                assert_eq!(refusal.code(), ExitCode::UserRefused);
                format!("{refusal:?}").split([' ', '{']).next().unwrap().to_owned()
            }
        };
        assert_eq!(got, *expected, "{mapping}: {login} {project:?}");
    }
}

#[test]
fn a_rule_that_matches_decides_even_if_its_name_is_illegal() {
    let refusal =
        map(r#"{regex: "(.*)@.*", user: "$1"}, {login: "a+b@c", user: ab}"#, "a+b@c", None).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "`users.mapping[0]` matches the login, but what it gives is not a valid UNIX account name: only letters, \
         digits, '_', '.' and '-' may be used; put a rule for this login before it"
    );
}

#[test]
fn the_trace_explains_each_rule_and_names_nobody() {
    let rules = r#"{login: ceo, user: boss}, {regex: "c.o", user: clerk, project: X}, {login: ceo, user: chief, project: M}, identity"#;
    let mapped = map(rules, "ceo", Some("M")).unwrap();
    let lines: Vec<String> = mapped.trace.iter().map(ToString::to_string).collect();
    assert_eq!(mapped.user.as_str(), "chief");
    assert_eq!(
        lines,
        [
            "users.mapping[1] (regex): is for a project that this job does not belong to",
            "users.mapping[2] (login): matches",
            "users.mapping[0] (login): was not reached",
            "users.mapping[3] (identity): was not reached",
        ]
    );
    let lines: Vec<String> =
        map(rules, "bob", Some("X")).unwrap().trace.iter().map(ToString::to_string).collect();
    assert_eq!(lines[0], "users.mapping[1] (regex): does not match the whole login");
    assert_eq!(lines[2], "users.mapping[0] (login): is for another login");
    assert!(!lines.join("").contains("ceo"));
}

#[test]
fn the_costliest_expression_that_is_taken_costs_little() {
    let start = std::time::Instant::now();
    let login = format!("{}!", "a".repeat(255)).replace('!', "b");
    for pattern in ["(a*)*c", "(a|aa)+c", "(.*)(.*)(.*)(.*)(.*)c", "(?:a?){200}a{200}c", "([a-z]+)+@x"] {
        assert_eq!(
            map(&format!("{{regex: '{pattern}', user: x}}"), &login, None).unwrap_err(),
            Refusal::NoRule { rules: 1 }
        );
    }
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
}

/// An account that may run jobs.
fn alice() -> Account {
    Account {
        name: user("alice"),
        uid: 1001,
        gid: 1001,
        groups: vec![1001, 2000],
        home: "/home/alice".into(),
        shell: "/bin/bash".into(),
        lock: None,
    }
}

fn known() -> Known {
    Known {
        allowed_groups: [("spark-users".to_owned(), Some(2000)), ("analysts".to_owned(), None)].into(),
        denied: [65_534].into(),
        platform: [990, 4000].into(),
        caller_groups: Gids::new(),
    }
}

#[test]
fn accounts_are_refused_for_one_reason_each() {
    type Change = fn(&mut Account, &mut Known);
    let rows: &[(&str, Change, &str)] = &[
        ("as it is", |_, _| {}, "users.allowed_groups[0] (spark-users)"),
        ("primary group", |a, _| (a.gid, a.groups) = (2000, vec![]), "users.allowed_groups[0] (spark-users)"),
        ("no shell means sh", |a, _| a.shell = "".into(), "users.allowed_groups[0] (spark-users)"),
        ("genuinely in group 0", |a, _| a.groups.push(0), "users.allowed_groups[0] (spark-users)"),
        ("many groups", |a, _| a.groups = (2000..4000).collect(), "users.allowed_groups[0] (spark-users)"),
        ("uid 0", |a, _| a.uid = 0, "Superuser"),
        (
            "uid 0 before all else",
            |a, _| (a.uid, a.name, a.lock) = (0, user("toor"), Some(Lock::Locked)),
            "Superuser",
        ),
        ("root by name", |a, _| a.name = user("root"), "Superuser"),
        ("uid -1", |a, _| a.uid = u32::MAX, "ReservedId"),
        ("gid -1", |a, _| a.gid = u32::MAX, "ReservedId"),
        ("group -1", |a, _| a.groups.push(u32::MAX), "ReservedId"),
        ("gid 0", |a, _| a.gid = 0, "SuperuserGroup"),
        ("uid 1", |a, _| a.uid = 1, "SystemAccount"),
        ("uid 999", |a, _| a.uid = 999, "SystemAccount"),
        ("uid 1000", |a, _| a.uid = 1000, "users.allowed_groups[0] (spark-users)"),
        ("denied by name", |a, _| a.name = user("nobody"), "Denied"),
        ("denied by uid", |a, _| a.uid = 65_534, "Denied"),
        ("a caller by name", |a, _| a.name = user("dssuser"), "Platform"),
        ("a caller by uid", |a, _| a.uid = 4000, "Platform"),
        ("the provisioner by name", |a, _| a.name = user("ssa-provisioner"), "Platform"),
        ("no group", |a, _| a.groups = vec![1001], "NotInGroup"),
        ("nothing known", |_, k| k.allowed_groups.clear(), "NotInGroup"),
        (
            "group unknown to the system",
            |_, k| {
                k.allowed_groups.insert("spark-users".into(), None);
            },
            "NotInGroup",
        ),
        (
            "a group that is not allowed",
            |a, k| {
                k.allowed_groups.insert("sudo".into(), Some(27));
                a.groups = vec![27];
            },
            "NotInGroup",
        ),
        (
            "second group",
            |_, k| {
                k.allowed_groups = [("analysts".to_owned(), Some(2000))].into();
            },
            "users.allowed_groups[1] (analysts)",
        ),
        ("locked", |a, _| a.lock = Some(Lock::Locked), "Locked"),
        ("expired", |a, _| a.lock = Some(Lock::Expired), "Expired"),
        ("nologin", |a, _| a.shell = "/usr/sbin/nologin".into(), "NoShell"),
        ("false", |a, _| a.shell = "/bin/false".into(), "NoShell"),
        ("null", |a, _| a.shell = "/dev/null".into(), "NoShell"),
    ];
    for (name, change, expected) in rows {
        let (mut account, mut known) = (alice(), known());
        change(&mut account, &mut known);
        let got = match authorize_target(&config("identity"), &account, &known) {
            Ok(rule) => rule,
            Err(refusal) => {
                assert_eq!(refusal.code(), ExitCode::UserRefused, "{name}");
                let text = refusal.to_string();
                assert!(text.contains("; ") && text.contains(account.name.as_str()), "{name}: {text}");
                assert!(!text.contains("spark-users") && !text.contains("analysts"), "{name}: {text}");
                format!("{refusal:?}").split([' ', '{', '(']).next().unwrap().to_owned()
            }
        };
        assert_eq!(got, *expected, "{name}");
    }
}

#[test]
fn a_uid_below_the_limit_is_refused_with_the_limit() {
    let account = Account { uid: 999, ..alice() };
    let refusal = authorize_target(&config("identity"), &account, &known()).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "account alice is a system account: its uid is below `users.min_uid` (1000); use a person's account"
    );
}

#[test]
fn callers_are_those_that_are_named() {
    let account = |name: &str, uid| Caller::Account { name: user(name), uid, groups: vec![uid] };
    let plain = config("identity");
    let mut with_root = plain.clone();
    with_root.callers.push(CallerEntry::Name("root".into()));
    let rows = [
        (&plain, account("dssuser", 4000), true),
        (&plain, account("alice", 1001), false),
        (&plain, account("Dssuser", 4000), false),
        (&plain, account("dssuser", 0), false),
        (&plain, account("dssuser", u32::MAX), false),
        (&plain, Caller::Root, false),
        (&plain, account("root", 0), false),
        (&with_root, Caller::Root, true),
        (&with_root, account("root", 0), true),
        (&with_root, account("toor", 0), true),
        (&with_root, account("root", 1001), false),
        (&with_root, account("dssuser", 4000), true),
    ];
    for (config, caller, admitted) in rows {
        let result = authorize_caller(config, &caller, &Gids::new());
        assert_eq!(result.is_ok(), admitted, "{caller:?}");
        assert!(result.is_ok() || result.unwrap_err().code().number() == 205);
    }
}

#[test]
fn properties_of_the_login_win_and_those_of_groups_must_agree() {
    let text = b"logins:\n  alice: {k8sNS: team-a}\n  bob: {cost: 17}\ngroups:\n  data: {k8sNS: team-b, zone: n}\n  ml: {k8sNS: team-c, zone: n}\n";
    let properties = parse_properties(text).unwrap();
    let get = |login: &str, groups: &[&str]| properties.for_login(&Login::new(login).unwrap(), groups);
    let table = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    assert_eq!(get("alice", &[]).unwrap(), table(&[("k8sNS", "team-a")]));
    assert_eq!(get("alice", &["data", "ml"]).unwrap(), table(&[("k8sNS", "team-a"), ("zone", "n")]));
    assert_eq!(get("bob", &["data"]).unwrap(), table(&[("cost", "17"), ("k8sNS", "team-b"), ("zone", "n")]));
    assert_eq!(get("Alice", &["nothing"]).unwrap(), table(&[]));
    let refusal = get("bob", &["ml", "data"]).unwrap_err();
    assert_eq!(refusal, Refusal::AmbiguousProperty { key: "k8sNS".into() });
    assert_eq!(refusal.code(), ExitCode::NamespaceRefused);
    assert!(!refusal.to_string().contains("team-") && !refusal.to_string().contains("data"));
}

#[test]
fn a_spoiled_properties_file_is_refused_with_its_place() {
    let rows: &[(&str, usize, &str, &str)] = &[
        ("", 0, "", "empty"),
        ("login: {}\n", 1, "login", "unknown key"),
        ("logins: []\n", 1, "logins", "must be a mapping"),
        ("logins:\n  alice: team-a\n", 2, "logins.alice", "must be a mapping"),
        ("logins:\n  alice:\n    k8sNS: [a]\n", 3, "logins.alice.k8sNS", "must be text"),
        ("logins:\n  alice:\n    k8sNS:\n", 3, "logins.alice.k8sNS", "must be text"),
        ("logins:\n  alice:\n    k8sNS: ''\n", 3, "logins.alice.k8sNS", "1 to 256 bytes"),
        ("logins:\n  alice:\n    k8sNS: \"a\\e\"\n", 3, "logins.alice.k8sNS", "control characters"),
        ("logins:\n  alice:\n    k8s NS: a\n", 3, "logins.alice.?", "property's name"),
        ("logins:\n  alice: {a: b}\n  alice: {a: c}\n", 3, "logins.alice", "twice"),
        ("logins:\n  a b: {a: b}\n", 2, "logins.?", "only letters"),
        ("groups:\n  a@b: {a: b}\n", 2, "groups.?", "only letters"),
    ];
    for (text, line, path, rule) in rows {
        let error = parse_properties(text.as_bytes()).unwrap_err();
        assert_eq!((error.line, error.path.as_str()), (*line, *path), "{text:?}: {error}");
        assert!(error.to_string().contains(rule), "{text:?}: {error}");
    }
    assert_eq!(parse_properties(b"{}").unwrap(), Properties::default());
}

#[test]
fn names_and_rules_never_panic() {
    let mut random = Random::new(20);
    let users = config(r#"{regex: "(.*)@(.*)", user: "$1-$2"}, identity"#).users;
    let seeds: &[&[u8]] =
        &[b"alice", b"First.Last@corp.com", b"../../etc", b"0x1f", "\u{e9}\u{1f600}".as_bytes()];
    for round in 0..3000 {
        let seed = random.pick(seeds);
        let bytes = mutate(&mut random, seed);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        for error in [
            UserName::new(text.as_str()).err(),
            NamespaceName::new(text.as_str()).err(),
            JobId::new(text.as_str()).err(),
        ] {
            assert!(error.is_none_or(|error| !error.to_string().is_empty()));
        }
        if let Ok(login) = Login::new(text.as_str())
            && let Ok(mapped) = map_login(&users, &login, Some(text.as_str()))
        {
            assert_eq!(mapped.trace.len(), 2);
        }
        if round % 8 > 0 {
            continue;
        }
        let rule =
            crate::policy::config::RegexRule { regex: text.clone(), user: text.clone(), project: None };
        if check_pattern(&rule).is_ok() {
            assert!(rule.apply("alice").is_ok(), "a rule that was taken must be usable");
        }
    }
}

/// A configuration with these entries of `callers`.
fn calling(callers: &str) -> Config {
    let text = format!(
        "callers: [{callers}]\nprovisioner: ssa-provisioner\nusers: {{allowed_groups: [spark-users]}}\n\
         clusters: {{main: {{kubeconfig: /etc/k}}}}\n\
         profiles:\n  p: {{cluster: main, namespace: {{template: \"n-${{user}}\"}}}}\n  \
         q: {{cluster: main, namespace: {{template: \"n-${{projectKey|tolower}}\"}}}}\n"
    );
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{callers}: {error}"))
}

#[test]
fn a_callers_entries_say_as_whom_and_with_which_profile() {
    const OWN: &str = "{group: spark-users, may_run_as: self}";
    const ETL: &str = "{account: airflow, may_run_as: {users: [etl]}}, {account: airflow, may_run_as: {groups: [etl]}, profiles: [q]}";
    let gids: Gids =
        [("spark-users".into(), Some(2000)), ("etl".into(), Some(2001)), ("gone".into(), None)].into();
    let account = |name: &str, uid, groups: &[u32]| Account {
        name: user(name),
        uid,
        gid: uid,
        groups: groups.to_vec(),
        ..alice()
    };
    // Entries; the caller's name, uid and groups; profile and target; what comes of it.
    type Row = (&'static str, &'static str, u32, &'static [u32], &'static str, Option<Account>, &'static str);
    let rows: &[Row] = &[
        ("dssuser", "dssuser", 4000, &[], "p", Some(alice()), "callers[0]"),
        ("dssuser", "dssuser", 4000, &[], "p", None, "callers[0]"),
        ("{account: dssuser}", "dssuser", 4000, &[], "q", Some(alice()), "callers[0]"),
        (OWN, "alice", 1001, &[1001, 2000], "p", Some(alice()), "callers[0]"),
        (OWN, "alice", 1001, &[1001, 2000], "q", Some(alice()), "ProjectOfCaller"),
        (OWN, "alice", 1001, &[1001, 2000], "p", None, "TargetOfCaller"),
        (OWN, "alice", 1001, &[1001], "p", Some(alice()), "NotCaller"),
        (OWN, "bob", 1002, &[2000], "p", Some(alice()), "TargetOfCaller"),
        // By uid: another name of the same account is the same account.
        (OWN, "alias", 1001, &[2000], "p", Some(alice()), "callers[0]"),
        // Root is in every group that it likes, and is a caller by its name only.
        (OWN, "root", 0, &[0, 2000], "p", Some(alice()), "RootNotCaller"),
        ("{account: root, may_run_as: {users: [alice]}}", "root", 0, &[], "p", Some(alice()), "callers[0]"),
        ("{account: root, may_run_as: self}", "root", 0, &[], "p", Some(alice()), "TargetOfCaller"),
        ("{group: gone, may_run_as: self}", "alice", 1001, &[2000], "p", Some(alice()), "NotCaller"),
        (ETL, "airflow", 4001, &[], "p", Some(account("etl", 5000, &[])), "callers[0]"),
        (ETL, "airflow", 4001, &[], "p", Some(alice()), "TargetOfCaller"),
        (ETL, "airflow", 4001, &[], "p", Some(account("x", 5001, &[2001])), "TargetOfCaller"),
        (ETL, "airflow", 4001, &[], "q", Some(account("x", 5001, &[2001])), "callers[1]"),
        (ETL, "airflow", 4001, &[], "nosuch", Some(alice()), "TargetOfCaller"),
        ("{account: a, profiles: [q]}", "a", 4001, &[], "p", Some(alice()), "ProfileOfCaller"),
        ("{account: a, profiles: [q]}", "a", 4001, &[], "nosuch", Some(alice()), "ProfileOfCaller"),
        ("{account: a, profiles: [q]}, a", "a", 4001, &[], "p", Some(alice()), "callers[1]"),
    ];
    for (callers, name, uid, groups, profile, target, expected) in rows {
        let config = calling(callers);
        let caller = Caller::Account { name: user(name), uid: *uid, groups: groups.to_vec() };
        let of_profile = config.profiles.get(*profile).unwrap_or(&config.profiles["p"]);
        let got = authorize_caller(&config, &caller, &gids)
            .and_then(|authority| authority.for_profile(&config, profile))
            .and_then(|authority| authority.over(&config, *uid, of_profile, target.as_ref(), &gids));
        let got = match got {
            Ok(entry) => entry,
            Err(refusal) => {
                let text = refusal.to_string();
                assert!(text.contains("; "), "what to do: {text}");
                assert!(!text.contains("etl") && !text.contains("2000"), "{text}");
                format!("{refusal:?}").split([' ', '{', '(']).next().unwrap().to_owned()
            }
        };
        assert_eq!(got, *expected, "{callers}: {name} for {target:?} by {profile}");
    }
}

#[test]
fn what_has_power_over_others_never_runs_jobs_and_who_runs_its_own_does() {
    let refused = |callers: &str, account: &Account| {
        let config = calling(callers);
        let known = Known {
            caller_groups: [("data".into(), Some(3000)), ("spark-users".into(), Some(2000))].into(),
            platform: BTreeSet::new(),
            ..known()
        };
        matches!(authorize_target(&config, account, &known), Err(Refusal::Platform(_)))
    };
    let member = Account { groups: vec![2000, 3000], ..alice() };
    assert!(!refused("{group: spark-users, may_run_as: self}", &alice()));
    assert!(!refused("{account: alice, may_run_as: self}", &alice()));
    assert!(refused("alice", &alice()));
    assert!(refused("{account: alice}", &alice()));
    assert!(refused(
        "{account: alice, may_run_as: self}, {account: alice, may_run_as: {users: [bob]}}",
        &alice()
    ));
    assert!(refused("{group: data, may_run_as: {users: [bob]}}", &member));
    assert!(refused(
        "{group: data, may_run_as: {users: [bob]}}, {group: spark-users, may_run_as: self}",
        &member
    ));
    assert!(!refused("{group: data, may_run_as: {users: [bob]}}", &alice()));
}

#[test]
fn a_team_is_a_group_of_the_accounts() {
    let team = |from_groups: &str| crate::policy::config::Team { from_groups: from_groups.into() };
    // Expression; the account's groups; `--team`, and whether the template has a ${team}; what comes of it.
    type Row = (&'static str, &'static [&'static str], Option<&'static str>, bool, &'static str);
    let rows: &[Row] = &[
        ("team-(.*)", &["team-red", "users"], None, true, "red"),
        ("^team-(.*)$", &["team-red"], Some("red"), true, "red"),
        ("team-(.*)", &["xteam-red", "team-", "team"], None, true, "-"),
        ("team-(.*)", &["team-red", "team-blue"], None, true, "SeveralTeams"),
        ("team-(.*)", &["team-red", "team-blue"], None, false, "-"),
        ("team-(.*)", &["team-red", "team-blue"], Some("blue"), true, "blue"),
        ("team-(.*)", &["team-red", "team-blue"], Some("green"), true, "NotInTeam"),
        ("team-(.*)", &[], Some(""), true, "NotInTeam"),
        ("team-(.*)", &["team-Data Science"], None, true, "Data Science"),
        ("team-(.*)", &["team-a\nb"], None, true, "-"),
        // Two groups of one team, and a group that did not take part.
        ("(?:team|squad)-(.*)", &["team-red", "squad-red"], None, true, "red"),
        ("team|squad-(.*)", &["team", "squad-red"], None, true, "red"),
        ("(?i)team-(.*)", &["TEAM-Red"], Some("red"), true, "NotInTeam"),
    ];
    for (expression, groups, wanted, needed, expected) in rows {
        let got =
            match choose_team(Some(&team(expression)), &alice(), groups.iter().copied(), *wanted, *needed) {
                Ok(team) => team.unwrap_or_else(|| "-".into()),
                Err(refusal) => {
                    let text = refusal.to_string();
                    assert!(
                        !text.contains("red") && !text.contains("blue") && !text.contains("green"),
                        "{text}"
                    );
                    assert_eq!(refusal.code(), ExitCode::NamespaceRefused);
                    format!("{refusal:?}").split('(').next().unwrap().to_owned()
                }
            };
        assert_eq!(got, *expected, "{expression} {groups:?} {wanted:?}");
    }
    assert_eq!(choose_team(None, &alice(), [], None, true), Ok(None));
    assert_eq!(choose_team(None, &alice(), [], Some("red"), true), Err(Refusal::NoTeams));
}

#[test]
fn files_of_properties_are_one_when_they_do_not_differ() {
    let files = |texts: &[&str]| -> Vec<(String, Vec<u8>)> {
        texts.iter().enumerate().map(|(n, text)| (format!("/p/{n}.yaml"), text.as_bytes().to_vec())).collect()
    };
    let merged = merge_properties(&files(&[
        "logins: {a: {x: one}}\n",
        "groups: {g: {x: two}}\nlogins: {a: {x: one, y: z}}\n",
    ]));
    assert_eq!(
        merged.unwrap(),
        parse_properties(b"logins: {a: {x: one, y: z}}\ngroups: {g: {x: two}}\n").unwrap()
    );
    let error =
        merge_properties(&files(&["groups: {g: {x: one}}\n", "groups:\n  g:\n    x: two\n"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/p/1.yaml: line 3: the property x has another value in /p/0.yaml; take it out of one of the two files"
    );
    let error = merge_properties(&files(&["{}\n", "logins: []\n"])).unwrap_err();
    assert!(error.to_string().starts_with("/p/1.yaml: line 1, logins: "), "{error}");
    // A login and a group of one name are two.
    assert!(merge_properties(&files(&["groups: {g: {x: one}}\n", "logins: {g: {x: two}}\n"])).is_ok());
    assert_eq!(merge_properties(&[]), Ok(Properties::default()));
}
