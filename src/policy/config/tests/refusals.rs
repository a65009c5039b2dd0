//! One row per refusal: what is exchanged in the good file, and the line, the key and the rule that must be told.

use super::*;

mod sense;

type Row = (&'static str, &'static str, usize, &'static str, &'static str);

const ROWS: &[Row] = &[
    // Keys.
    (
        "    context: main\n",
        "    contxt: main\n",
        15,
        "clusters.main.contxt",
        "unknown key; allowed here are: accept_missing_fence, context, driver_role, kubeconfig",
    ),
    ("  min_uid: 1000", "  min_uid: 1000\n  Passw0rd: x", 6, "users.?", "unknown key"),
    ("staging: {max_files: 8", "staging: {max_flies: 8", 44, "staging.max_flies", "unknown key"),
    ("  grace: 90s", "  grace: 90s\n  forever: 1s", 48, "timeouts.forever", "unknown key"),
    ("    - identity", "    - {login: bob, usr: bob}", 10, "users.mapping[2].usr", "unknown key"),
    ("provisioner: ssa-provisioner\n", "", 1, "", "the key `provisioner` is missing"),
    (
        "    kubeconfig: /etc/spark-submit-as/main.kubeconfig\n",
        "",
        13,
        "clusters.main",
        "the key `kubeconfig` is missing",
    ),
    (
        "      template: \"${adminProperty:k8sNS}\"\n",
        "",
        37,
        "profiles.per-team.namespace",
        "the key `template` is missing",
    ),
    (
        "  min_uid: 1000",
        "  min_uid: 1000\n  min_uid: 1001",
        6,
        "users.min_uid",
        "the same key is there twice",
    ),
    ("  per-team:", "  per-user:", 35, "profiles.?", "the same key is there twice"),
    (
        "        spark.executor.instances: 2",
        "        \"spark.dynamicAllocation.enabled\": 2",
        28,
        "profiles.?.spark.defaults.?",
        "twice",
    ),
    (
        "MALLOC_ARENA_MAX: 4}",
        "MALLOC_ARENA_MAX: 4, \"PATH\": b}",
        34,
        "profiles.?.environment.set.?",
        "twice",
    ),
    ("clusters:\n  main:", "clusters:\n  <<: {kubeconfig: /k}\n  main:", 13, "clusters.?", "1 to 63"),
    // Types.
    ("callers: [dssuser, root]", "callers: dssuser", 1, "callers", "must be a list"),
    ("callers: [dssuser, root]", "callers:", 1, "callers", "must be a list"),
    ("callers: [dssuser, root]", "callers: [dssuser, [root]]", 1, "callers[1]", "none of the forms"),
    ("callers: [dssuser, root]", "callers: [dssuser, ~]", 1, "callers[1]", "none of the forms"),
    (
        "provisioner: ssa-provisioner",
        "provisioner: {name: ssa-provisioner}",
        2,
        "provisioner",
        "must be text",
    ),
    ("provisioner: ssa-provisioner", "provisioner:", 2, "provisioner", "must be text"),
    ("  min_uid: 1000", "  min_uid: -1", 5, "users.min_uid", "whole number from 0 to 4294967295"),
    ("  min_uid: 1000", "  min_uid: 4294967296", 5, "users.min_uid", "whole number from 0 to 4294967295"),
    ("  min_uid: 1000", "  min_uid: \"1000\"", 5, "users.min_uid", "must be a whole number"),
    ("  min_uid: 1000", "  min_uid: 1000.0", 5, "users.min_uid", "whole number from 0"),
    ("  min_uid: 1000", "  min_uid: 1e3", 5, "users.min_uid", "whole number from 0"),
    ("  min_uid: 1000", "  min_uid: 01000", 5, "users.min_uid", "must be a whole number"),
    ("  min_uid: 1000", "  min_uid: one", 5, "users.min_uid", "must be a whole number"),
    ("  min_uid: 1000", "  min_uid: null", 5, "users.min_uid", "must be a whole number"),
    ("  min_uid: 1000", "  min_uid: .inf", 5, "users.min_uid", "whole number"),
    ("  min_uid: 1000", "  min_uid: 99999999999999999999999999", 5, "", "type"),
    ("  min_uid: 1000", "  min_uid: 0", 5, "users.min_uid", "at least 1"),
    (
        "    accept_missing_fence: false",
        "    accept_missing_fence: no",
        17,
        "clusters.main.accept_missing_fence",
        "must be true or false",
    ),
    (
        "    accept_missing_fence: false",
        "    accept_missing_fence: \"true\"",
        17,
        "clusters.main.accept_missing_fence",
        "must be true or false",
    ),
    (
        "    programs: [spark-submit, pyspark]",
        "    programs: [spark-submit, bash]",
        22,
        "profiles.per-user.programs[1]",
        "must be one of: spark-submit, pyspark, spark-shell, spark-sql",
    ),
    ("mode: dynamic", "mode: static", 24, "profiles.per-user.credentials.mode", "must be one of: dynamic"),
    (
        "    pod_security: restricted",
        "    pod_security: strict",
        42,
        "namespace_policies.small.pod_security",
        "must be one of: privileged, baseline, restricted",
    ),
    ("    - identity", "    - ident", 10, "users.mapping[2]", "must be one of: identity"),
    ("    - identity", "    - {login: bob}", 10, "users.mapping[2]", "the key `user` is missing"),
    (
        "    - identity",
        "    - {login: 7, user: bob}",
        10,
        "users.mapping[2].login",
        "must be text; put it in quotes",
    ),
    (
        "    - identity",
        "    - {login: bob, regex: bob, user: bob}",
        10,
        "users.mapping[2].regex",
        "unknown key",
    ),
    ("    - identity", "    - [identity]", 10, "users.mapping[2]", "none of the forms"),
    ("    - identity", "    - {user: bob}", 10, "users.mapping[2]", "is missing"),
    ("    - identity", "    -", 10, "users.mapping[2]", "none of the forms"),
    ("    - identity", "    - !identity", 10, "users.mapping[2]", "tags"),
    ("staging: {max_files: 8", "staging: {max_files: -8", 44, "staging.max_files", "whole number from 0"),
    ("staging: {max_files: 8", "staging: {max_files: 1013", 44, "staging.max_files", "at most 1012"),
    (
        "provisioner: ssa-provisioner\n",
        "provisioner: ssa-provisioner\nnamespaces: {prune_after_days: 0}\n",
        3,
        "namespaces.prune_after_days",
        "must be 1 to 3650",
    ),
    (
        "provisioner: ssa-provisioner\n",
        "provisioner: ssa-provisioner\nnamespaces: {prune_after_days: 3651}\n",
        3,
        "namespaces.prune_after_days",
        "must be 1 to 3650",
    ),
    (
        "provisioner: ssa-provisioner\n",
        "provisioner: ssa-provisioner\nnamespaces: {account: root}\n",
        3,
        "namespaces.account",
        "must not be root",
    ),
    ("staging: {max_files: 8, max_bytes: 1048576}", "staging: 8", 44, "staging", "must be a mapping"),
    ("  grace: 90s", "  grace: 90", 47, "timeouts.grace", "must be a whole number with a unit"),
    ("  grace: 90s", "  grace: 0s", 47, "timeouts.grace", "from 1s to 7d"),
    ("  grace: 90s", "  grace: 8d", 47, "timeouts.grace", "from 1s to 7d"),
    ("  grace: 90s", "  grace: soon", 47, "timeouts.grace", "from 1s to 7d"),
    // Who.
    ("callers: [dssuser, root]", "callers: []", 1, "callers", "must not be empty"),
    ("callers: [dssuser, root]", "callers: [dssuser, dssuser]", 1, "callers[1]", "in the list already"),
    ("callers: [dssuser, root]", "callers: [\"#0\"]", 1, "callers[0]", "only letters"),
    ("callers: [dssuser, root]", "callers: [1000]", 1, "callers[0]", "must be text; put it in quotes"),
    ("callers: [dssuser, root]", "callers: [\"1000\"]", 1, "callers[0]", "a number is not a name"),
    ("callers: [dssuser, root]", "callers: [{account: \"0\"}]", 1, "callers[0].account", "a number"),
    ("callers: [dssuser, root]", "callers: [{account: a, may: self}]", 1, "callers[0].may", "unknown key"),
    ("callers: [dssuser, root]", "callers: [{group: g}]", 1, "callers[0]", "`may_run_as` is missing"),
    (
        "callers: [dssuser, root]",
        "callers: [{group: a b, may_run_as: self}]",
        1,
        "callers[0].group",
        "only letters",
    ),
    (
        "callers: [dssuser, root]",
        "callers: [{group: g, account: a, may_run_as: self}]",
        1,
        "callers[0].group",
        "unknown key",
    ),
    (
        "callers: [dssuser, root]",
        "callers: [{account: a, may_run_as: all}]",
        1,
        "callers[0].may_run_as",
        "must be one of: self",
    ),
    (
        "callers: [dssuser, root]",
        "callers: [{account: a, may_run_as: {}}]",
        1,
        "callers[0].may_run_as",
        "names nobody",
    ),
    (
        "callers: [dssuser, root]",
        "callers: [{account: a, may_run_as: []}]",
        1,
        "callers[0].may_run_as",
        "names nobody",
    ),
    (
        "callers: [dssuser, root]",
        "callers: [{account: a, may_run_as: {users: [\"#0\"]}}]",
        1,
        "callers[0].may_run_as.users[0]",
        "only letters",
    ),
    (
        "callers: [dssuser, root]",
        "callers: [{account: a, may_run_as: [[a], [b]]}]",
        1,
        "callers[0].may_run_as",
        "must be",
    ),
    (
        "callers: [dssuser, root]",
        "callers: [{account: a, may_run_as: {groups: [g, g]}}]",
        1,
        "callers[0].may_run_as.groups[1]",
        "in the list already",
    ),
    (
        "callers: [dssuser, root]",
        "callers: [{account: a, profiles: []}]",
        1,
        "callers[0].profiles",
        "must not be empty",
    ),
    (
        "callers: [dssuser, root]",
        "callers: [{account: a, profiles: [per-usr]}]",
        1,
        "callers[0].profiles[0]",
        "names no profile",
    ),
    (
        "callers: [dssuser, root]",
        "callers: [{account: a}, {account: a}]",
        1,
        "callers[1]",
        "in the list already",
    ),
    (
        "  min_uid: 1000",
        "  min_uid: 1000\n  team: {from_groups: \"team-.*\"}",
        6,
        "users.team.from_groups",
        "no pair of brackets",
    ),
    (
        "  min_uid: 1000",
        "  min_uid: 1000\n  team: {from_groups: \"(team|squad)-(.*)\"}",
        6,
        "users.team.from_groups",
        "more than one pair",
    ),
    (
        "  min_uid: 1000",
        "  min_uid: 1000\n  team: {from_groups: \"(\"}",
        6,
        "users.team.from_groups",
        "not a regular expression",
    ),
    (
        "  min_uid: 1000",
        "  min_uid: 1000\n  team: {from_groups: \"(\\\\w{1,900}){900}\"}",
        6,
        "users.team.from_groups",
        "too large",
    ),
    ("  min_uid: 1000", "  min_uid: 1000\n  team: {}", 6, "users.team", "`from_groups` is missing"),
    ("    - identity", "    - [bob, alice]", 10, "users.mapping[2]", "none of the forms"),
    ("provisioner: ssa-provisioner", "provisioner: root", 2, "provisioner", "must not be root"),
    ("provisioner: ssa-provisioner", "provisioner: -x", 2, "provisioner", "must not start"),
    ("allowed_groups: [spark-users]", "allowed_groups: []", 4, "users.allowed_groups", "must not be empty"),
    (
        "allowed_groups: [spark-users]",
        "allowed_groups: [\"a b\"]",
        4,
        "users.allowed_groups[0]",
        "only letters",
    ),
    ("  denied: [nobody]", "  denied: [\"no/body\"]", 6, "users.denied[0]", "only letters"),
    ("    - identity", "    - {login: \"a b\", user: bob}", 10, "users.mapping[2].login", "only letters"),
    ("    - identity", "    - {login: bob, user: root}", 10, "users.mapping[2].user", "maps to root"),
    ("    - identity", "    - {login: bob, user: \"0\"}", 10, "users.mapping[2].user", "a number"),
    (
        "    - identity",
        "    - {login: bob, user: bob, project: \"a b\"}",
        10,
        "users.mapping[2].project",
        "project's key",
    ),
    (
        "    - identity",
        "    - {regex: \"(\", user: bob}",
        10,
        "users.mapping[2].regex",
        "not a regular expression",
    ),
    (
        "    - identity",
        "    - {regex: \"a)|(?:b\", user: bob}",
        10,
        "users.mapping[2].regex",
        "not a regular expression",
    ),
    (
        "    - identity",
        "    - {regex: \"(?x)a # b\", user: bob}",
        10,
        "users.mapping[2].regex",
        "not a regular expression",
    ),
    (
        "    - identity",
        "    - {regex: \"(a)\\\\1\", user: bob}",
        10,
        "users.mapping[2].regex",
        "no back-references",
    ),
    (
        "    - identity",
        "    - {regex: \"(?:\\\\w{1,500}){1,500}\", user: bob}",
        10,
        "users.mapping[2].regex",
        "too large",
    ),
    ("    - identity", "    - {regex: \"\", user: bob}", 10, "users.mapping[2].regex", "1 to 1024 bytes"),
    (
        "    - identity",
        "    - {regex: \"(.*)\", user: \"$2\"}",
        10,
        "users.mapping[2].user",
        "a group that the expression does not have",
    ),
    (
        "    - identity",
        "    - {regex: \"(.*)\", user: \"$name\"}",
        10,
        "users.mapping[2].user",
        "not followed by a group's number",
    ),
    (
        "    - identity",
        "    - {regex: \"(.*)\", user: \"${1\"}",
        10,
        "users.mapping[2].user",
        "not followed by a group's number",
    ),
    (
        "    - identity",
        "    - {regex: \"(.*)\", user: \"$1/x\"}",
        10,
        "users.mapping[2].user",
        "no UNIX account name has",
    ),
    ("    - identity", "    - {regex: \".*\", user: root}", 10, "users.mapping[2].user", "maps to root"),
    (
        "  properties: /etc/spark-submit-as/properties.yaml",
        "  properties: properties.yaml",
        11,
        "users.properties",
        "absolute path",
    ),
];

#[test]
fn each_fault_is_told_with_line_key_and_rule() {
    let mut wrong = Vec::new();
    for (from, to, line, path, rule) in ROWS.iter().chain(sense::ROWS) {
        let message = match parse(spoiled(from, to).as_bytes()) {
            Ok(_) => "taken".to_owned(),
            Err(error) if error.line == *line && error.path == *path && error.to_string().contains(rule) => {
                continue;
            }
            Err(error) => error.to_string(),
        };
        wrong.push(format!("{to:?}: wanted line {line}, {path}: …{rule}…\n    got {message}"));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), ROWS.len() + sense::ROWS.len(), wrong.join("\n"));
}

#[test]
fn the_message_reads_as_the_manual_says() {
    let error = parse(spoiled("  per-user:\n    cluster: main", "  per-user:\n    cluster: mian").as_bytes())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 20, profiles.per-user.cluster: names no cluster of `clusters`; add it there or correct the name"
    );
    assert_eq!(error.column, 5);
}

#[test]
fn counts_are_bounded() {
    let many = |n: usize, line: fn(usize) -> String| (0..n).map(line).collect::<String>();
    let profiles = many(257, |i| format!("  p{i}: {{cluster: main, namespace: {{template: x}}}}\n"));
    let callers = many(257, |i| format!("a{i},"));
    let rules = many(257, |_| "    - identity\n".into());
    for (from, to, path) in [
        ("  per-team:\n", format!("{profiles}  per-team:\n"), "profiles"),
        ("callers: [", format!("callers: [{callers}"), "callers"),
        ("    - identity\n", rules, "users.mapping"),
    ] {
        let error = parse(spoiled(from, &to).as_bytes()).unwrap_err();
        assert_eq!((error.path.as_str(), error.rule.as_str()), (path, "has more than 256 entries"));
    }
    let long = format!("        spark.a: \"{}\"", "x".repeat(65_537));
    let error = parse(spoiled("        spark.executor.instances: 2", &long).as_bytes()).unwrap_err();
    assert!(error.rule.contains("64 KiB"), "{error}");
}

#[test]
fn variables_that_steer_programs_are_known() {
    use environment::{may_keep, may_set};
    let never = "LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT GCONV_PATH GLIBC_TUNABLES BASH_ENV ENV IFS BASH_FUNC_a KUBECONFIG \
                 KUBERNETES_SERVICE_HOST HOME USER LOGNAME SHELL SPARK_HOME SHELLOPTS PS4";
    for name in never.split_whitespace() {
        assert!(!may_set(name) && !may_keep(name), "{name}");
    }
    let not_kept = "PATH PYTHONPATH PYTHONSTARTUP PYSPARK_PYTHON JAVA_TOOL_OPTIONS JDK_JAVA_OPTIONS _JAVA_OPTIONS JAVA_HOME \
                    SPARK_SUBMIT_OPTS SPARK_CONF_DIR HADOOP_CONF_DIR HTTPS_PROXY https_proxy ALL_PROXY no_proxy SUDO_UID \
                    SSL_CERT_FILE PERL5LIB KRB5CCNAME";
    for name in not_kept.split_whitespace() {
        assert!(may_set(name) && !may_keep(name), "{name}");
    }
    for name in ["LANG", "LC_ALL", "TZ", "TERM", "DKU_CURRENT_PROJECT_KEY"] {
        assert!(may_keep(name), "{name}");
    }
}
