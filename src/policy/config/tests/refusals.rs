//! One row per refusal: what is exchanged in the good file, and the line, the key and the rule that must be told.

use super::*;

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
    ("callers: [dssuser, root]", "callers: [dssuser, [root]]", 1, "callers[1]", "must be text"),
    ("callers: [dssuser, root]", "callers: [dssuser, ~]", 1, "callers[1]", "must be text"),
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
    ("staging: {max_files: 8, max_bytes: 1048576}", "staging: 8", 44, "staging", "must be a mapping"),
    ("  grace: 90s", "  grace: 90", 47, "timeouts.grace", "must be a whole number with a unit"),
    ("  grace: 90s", "  grace: 0s", 47, "timeouts.grace", "from 1s to 7d"),
    ("  grace: 90s", "  grace: 8d", 47, "timeouts.grace", "from 1s to 7d"),
    ("  grace: 90s", "  grace: soon", 47, "timeouts.grace", "from 1s to 7d"),
    // Who.
    ("callers: [dssuser, root]", "callers: []", 1, "callers", "must not be empty"),
    ("callers: [dssuser, root]", "callers: [dssuser, dssuser]", 1, "callers[1]", "in the list already"),
    ("callers: [dssuser, root]", "callers: [\"#0\"]", 1, "callers[0]", "only letters"),
    ("callers: [dssuser, root]", "callers: [1000]", 1, "callers[0]", "a number is not a name"),
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
    // Clusters.
    (
        "kubeconfig: /etc/spark-submit-as/main.kubeconfig",
        "kubeconfig: /etc/../tmp/k",
        14,
        "clusters.main.kubeconfig",
        "absolute path",
    ),
    (
        "kubeconfig: /etc/spark-submit-as/main.kubeconfig",
        "kubeconfig: /etc//k",
        14,
        "clusters.main.kubeconfig",
        "absolute path",
    ),
    (
        "kubeconfig: /etc/spark-submit-as/main.kubeconfig",
        "kubeconfig: /etc/./k",
        14,
        "clusters.main.kubeconfig",
        "absolute path",
    ),
    (
        "kubeconfig: /etc/spark-submit-as/main.kubeconfig",
        "kubeconfig: /etc/k/",
        14,
        "clusters.main.kubeconfig",
        "absolute path",
    ),
    (
        "kubeconfig: /etc/spark-submit-as/main.kubeconfig",
        "kubeconfig: /",
        14,
        "clusters.main.kubeconfig",
        "absolute path",
    ),
    (
        "kubeconfig: /etc/spark-submit-as/main.kubeconfig",
        "kubeconfig: \"/etc/k\\0\"",
        14,
        "clusters.main.kubeconfig",
        "absolute path",
    ),
    ("    context: main\n", "    context: \"\"\n", 15, "clusters.main.context", "1 to 253"),
    (
        "driver_role: spark-submit-as-driver",
        "driver_role: cluster-admin",
        16,
        "clusters.main.driver_role",
        "more than it needs",
    ),
    (
        "driver_role: spark-submit-as-driver",
        "driver_role: edit",
        16,
        "clusters.main.driver_role",
        "more than it needs",
    ),
    (
        "driver_role: spark-submit-as-driver",
        "driver_role: \"a/b\"",
        16,
        "clusters.main.driver_role",
        "ClusterRole's name",
    ),
    ("clusters:\n  main:", "clusters:\n  \"ma in\":", 13, "clusters.?", "a name must be 1 to 63"),
    // Profiles.
    (
        "  per-user:\n    cluster: main",
        "  per-user:\n    cluster: mian",
        20,
        "profiles.per-user.cluster",
        "names no cluster of `clusters`",
    ),
    (
        "    spark_home: /opt/spark",
        "    spark_home: opt/spark",
        21,
        "profiles.per-user.spark_home",
        "absolute path",
    ),
    (
        "    programs: [spark-submit, pyspark]",
        "    programs: []",
        22,
        "profiles.per-user.programs",
        "must not be empty",
    ),
    (
        "    programs: [spark-submit, pyspark]",
        "    programs: [pyspark, pyspark]",
        22,
        "profiles.per-user.programs[1]",
        "already",
    ),
    (
        "policies: [small]",
        "policies: [large]",
        23,
        "profiles.per-user.namespace.policies[0]",
        "names no policy",
    ),
    (
        "policies: [small]",
        "policies: [small, small]",
        23,
        "profiles.per-user.namespace.policies[1]",
        "already",
    ),
    (
        "dss-ns-${dssUserLogin}",
        "dss-ns-${userProperty:x}",
        23,
        "profiles.per-user.namespace.template",
        "the end-user can edit",
    ),
    (
        "dss-ns-${dssUserLogin}",
        "dss_${dssUserLogin}",
        23,
        "profiles.per-user.namespace.template",
        "[a-z0-9-] only",
    ),
    (
        "dss-ns-${dssUserLogin}",
        "kube-${dssUserLogin}",
        23,
        "profiles.per-user.namespace.template",
        "belongs to the cluster",
    ),
    (
        "      template: \"${adminProperty:k8sNS}\"",
        "      template: ${adminProperty:k8sNS}|tolower",
        38,
        "profiles.per-team.namespace.template",
        "[a-z0-9-] only",
    ),
    ("token_ttl: 1h", "token_ttl: 599s", 24, "profiles.per-user.credentials.token_ttl", "at least 10m"),
    (
        "        spark.executor.instances: 2",
        "        spark.executor.instances: ~",
        27,
        "profiles.per-user.spark.defaults.spark.executor.instances",
        "must be text",
    ),
    (
        "        spark.executor.instances: 2",
        "        executor.instances: 2",
        27,
        "profiles.per-user.spark.defaults.executor.instances",
        "must begin with `spark.`",
    ),
    (
        "        spark.executor.instances: 2",
        "        spark.a=b: 2",
        27,
        "profiles.per-user.spark.defaults.?",
        "must begin with `spark.`",
    ),
    (
        "        spark.executor.instances: 2",
        "        \"spark.a\\nb\": 2",
        27,
        "profiles.per-user.spark.defaults.?",
        "must begin with `spark.`",
    ),
    (
        "        spark.executor.instances: 2",
        "        spark.a: \"x\\0\"",
        27,
        "profiles.per-user.spark.defaults.spark.a",
        "no NUL",
    ),
    (
        "        spark.executor.instances: 2",
        "        spark.a: [2]",
        27,
        "profiles.per-user.spark.defaults.spark.a",
        "must be text",
    ),
    (
        "executor_pod_template: /etc/spark-submit-as/executor.yaml",
        "executor_pod_template: ~/executor.yaml",
        30,
        "profiles.per-user.spark.executor_pod_template",
        "absolute path",
    ),
    (
        "driver_host: 10.0.0.1",
        "driver_host: \"a b\"",
        31,
        "profiles.per-user.spark.driver_host",
        "host's name",
    ),
    // Environment.
    (
        "keep: [LANG, TZ]",
        "keep: [LANG, LD_PRELOAD]",
        33,
        "profiles.per-user.environment.keep[1]",
        "steers the loader",
    ),
    (
        "keep: [LANG, TZ]",
        "keep: [LANG, \"BASH_FUNC_x%%\"]",
        33,
        "profiles.per-user.environment.keep[1]",
        "variable's name",
    ),
    ("keep: [LANG, TZ]", "keep: [LANG, PATH]", 33, "profiles.per-user.environment.keep[1]", "must not bring"),
    (
        "keep: [LANG, TZ]",
        "keep: [LANG, https_proxy]",
        33,
        "profiles.per-user.environment.keep[1]",
        "must not bring",
    ),
    ("keep: [LANG, TZ]", "keep: [LANG, LANG]", 33, "profiles.per-user.environment.keep[1]", "already"),
    (
        "set: {PATH: /usr/bin",
        "set: {SPARK_HOME: /usr/bin",
        34,
        "profiles.per-user.environment.set.SPARK_HOME",
        "steers the loader",
    ),
    (
        "set: {PATH: /usr/bin",
        "set: {TZ: /usr/bin",
        34,
        "profiles.per-user.environment.set.TZ",
        "under `keep` as well",
    ),
    (
        "set: {PATH: /usr/bin",
        "set: {A-B: /usr/bin",
        34,
        "profiles.per-user.environment.set.A-B",
        "variable's name",
    ),
    // Policies.
    (
        "team.corp.com/cost",
        "pod-security.kubernetes.io/enforce",
        43,
        "namespace_policies.small.labels.?",
        "Pod Security",
    ),
    ("team.corp.com/cost", "spark-submit-as/managed", 43, "namespace_policies.small.labels.?", "own"),
    (
        "team.corp.com/cost",
        "kubernetes.io/metadata.name",
        43,
        "namespace_policies.small.labels.?",
        "API server",
    ),
    ("team.corp.com/cost", "Team_/cost", 43, "namespace_policies.small.labels.?", "no label's key"),
    (
        "{team.corp.com/cost: \"17\"}",
        "{cost: \"-17\"}",
        43,
        "namespace_policies.small.labels.cost",
        "label's value",
    ),
    ("  small:\n", "  \"\":\n", 41, "namespace_policies.?", "a name must be 1 to 63"),
    // The document.
    ("staging: {max_files: 8", "---\nstaging: {max_files: 8", 0, "", "more than one YAML document"),
    ("callers: [dssuser, root]", "callers: [dssuser, root", 2, "", "not YAML"),
    ("  min_uid: 1000", "\tmin_uid: 1000", 5, "", "not YAML"),
    ("  min_uid: 1000", "  ? [min_uid]\n  : 1000", 5, "users", "a key must be a word"),
    ("  denied: [nobody]", "  denied: *none", 6, "", "not YAML"),
];

#[test]
fn each_fault_is_told_with_line_key_and_rule() {
    let mut wrong = Vec::new();
    for (from, to, line, path, rule) in ROWS {
        let message = match parse(spoiled(from, to).as_bytes()) {
            Ok(_) => "taken".to_owned(),
            Err(error) if error.line == *line && error.path == *path && error.to_string().contains(rule) => {
                continue;
            }
            Err(error) => error.to_string(),
        };
        wrong.push(format!("{to:?}: wanted line {line}, {path}: …{rule}…\n    got {message}"));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
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
