//! A good file, and one way after another to spoil it.

use super::*;

mod executors;
mod hostile;
mod policies;
mod refusals;

/// A file that uses every key. Its lines are referred to by number.
pub(crate) const GOOD: &str = r#"callers: [dssuser, root]
provisioner: ssa-provisioner
users:
  allowed_groups: [spark-users]
  min_uid: 1000
  denied: [nobody]
  mapping:
    - {login: "ceo@corp.com", user: alice}
    - {regex: "([^@]+)@corp\\.com", user: "$1", project: MARKETING}
    - identity
  properties: /etc/spark-submit-as/properties.yaml
clusters:
  main:
    kubeconfig: /etc/spark-submit-as/main.kubeconfig
    context: main
    driver_role: spark-submit-as-driver
    accept_missing_fence: false
profiles:
  per-user:
    cluster: main
    spark_home: /opt/spark
    programs: [spark-submit, pyspark]
    namespace: {template: "dss-ns-${dssUserLogin}", create: true, policies: [small]}
    credentials: {mode: dynamic, token_ttl: 1h}
    spark:
      defaults:
        spark.executor.instances: 2
        spark.dynamicAllocation.enabled: true
      enforced: {spark.kubernetes.container.image: "registry.corp.com/spark:4.1.4"}
      executor_pod_template: /etc/spark-submit-as/executor.yaml
      driver_host: 10.0.0.1
    environment:
      keep: [LANG, TZ]
      set: {PATH: /usr/bin, MALLOC_ARENA_MAX: 4}
  per-team:
    cluster: main
    namespace:
      template: "${adminProperty:k8sNS}"
      create: false
namespace_policies:
  small:
    pod_security: restricted
    labels: {team.corp.com/cost: "17"}
staging: {max_files: 8, max_bytes: 1048576}
timeouts:
  lookup: 5s
  grace: 90s
"#;

/// The good file with one text exchanged.
fn spoiled(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "{from:?} must be in the good file once");
    GOOD.replace(from, to)
}

#[test]
fn a_good_file_is_read_letter_for_letter() {
    let config = parse(GOOD.as_bytes()).unwrap();
    assert_eq!(config.callers, ["dssuser", "root"].map(|name| CallerEntry::Name(name.into())));
    assert_eq!(config.users.mapping.len(), 3);
    let profile = &config.profiles["per-user"];
    assert_eq!(profile.spark.defaults["spark.executor.instances"], "2");
    assert_eq!(profile.spark.defaults["spark.dynamicAllocation.enabled"], "true");
    assert_eq!(profile.environment.set["MALLOC_ARENA_MAX"], "4");
    assert_eq!(config.timeouts.grace, Duration::from_secs(90));
    assert_eq!(config.timeouts.connect, Duration::from_secs(15));
    assert_eq!(config.profiles["per-team"].credentials.token_ttl, Duration::from_secs(3600));
    assert_eq!(config.profiles["per-team"].programs, [Program::SparkSubmit]);
}

#[test]
fn what_is_shown_reads_back_the_same() {
    let config = parse(GOOD.as_bytes()).unwrap();
    let shown = serde_yaml::to_string(&config).unwrap();
    let again = parse(shown.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    assert_eq!(shown, serde_yaml::to_string(&again).unwrap());
    assert!(shown.contains("grace: 90s") && shown.contains("token_ttl: 1h"), "{shown}");
}

#[test]
fn the_smallest_file_gets_the_documented_defaults() {
    let text = "callers: [dssuser]\nprovisioner: ssa-provisioner\nusers: {allowed_groups: [spark-users]}\n\
                clusters: {main: {kubeconfig: /etc/k}}\n\
                profiles: {p: {cluster: main, namespace: {template: spark}}}\n";
    let config = parse(text.as_bytes()).unwrap();
    assert_eq!(config.users.min_uid, 1000);
    assert_eq!(config.users.mapping, [MappingRule::Identity(IdentityRule::Identity)]);
    assert_eq!(config.clusters["main"].driver_role, "spark-submit-as-driver");
    assert!(!config.clusters["main"].accept_missing_fence);
    assert!(!config.profiles["p"].namespace.create);
}

#[test]
fn optional_keys_may_be_null_and_a_json_file_is_a_yaml_file() {
    let text = spoiled("    context: main\n", "    context: null\n");
    let config = parse(text.as_bytes()).unwrap();
    assert_eq!(config.clusters["main"].context, None);
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::to_string(&parse(json.as_bytes()).unwrap()).unwrap(), json);
}

#[test]
fn an_anchor_within_bounds_is_read() {
    let text = spoiled("    spark_home: /opt/spark\n", "    spark_home: &home /opt/spark\n")
        .replace("      create: false\n", "      create: false\n    spark_home: *home\n");
    assert_eq!(parse(text.as_bytes()).unwrap().profiles["per-team"].spark_home.to_str(), Some("/opt/spark"));
}

#[test]
fn spans_are_read_and_written_exactly() {
    for (text, seconds) in
        [("1s", 1), ("90s", 90), ("10m", 600), ("1h", 3600), ("36h", 129_600), ("7d", 604_800)]
    {
        let span = duration::read(text).unwrap();
        assert_eq!((span.as_secs(), duration::write(span).as_str()), (seconds, text));
    }
    assert_eq!(duration::write(Duration::from_secs(7200)), "2h");
    assert_eq!(duration::write(Duration::ZERO), "0s");
    for seconds in (1..=604_800).step_by(97) {
        let span = Duration::from_secs(seconds);
        assert_eq!(duration::read(&duration::write(span)), Some(span));
    }
    let wrong = [
        "",
        "s",
        "0s",
        "1",
        "01s",
        "+1s",
        "-1s",
        "1.5h",
        "1 h",
        " 1h",
        "1h ",
        "1H",
        "1ms",
        "1w",
        "8d",
        "169h",
        "1h30m",
        "99999999999999999999s",
        "1é",
        "١h",
        "1e2s",
        "0x1s",
    ];
    for text in wrong {
        assert_eq!(duration::read(text), None, "{text:?}");
    }
}

#[test]
fn the_schema_knows_every_key_of_the_good_file() {
    let value: serde_yaml::Value = serde_yaml::from_str(GOOD).unwrap();
    assert_eq!(explain::explain(&schemars::schema_for!(Config), &value), None);
}
