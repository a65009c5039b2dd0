//! Namespace policies and volumes: a good file with every key of theirs, and one way after another to spoil it.

use super::*;

const GOOD: &str = r#"callers: [dssuser]
provisioner: ssa-provisioner
users: {allowed_groups: [spark-users]}
clusters: {main: {kubeconfig: /etc/k}}
profiles:
  p:
    cluster: main
    namespace: {template: "ns-${login}", policies: [small, network]}
    volume: {size: 10Gi, class: fast, mount_path: /data, access_mode: ReadWriteOnce}
  q:
    cluster: main
    namespace: {template: "ns-${dssUserLogin}", policies: [network, small]}
namespace_policies:
  small:
    namespaces: "ns-.*"
    pod_security: baseline
    labels: {cost: "17"}
    resource_quota: {hard: {pods: 10, requests.cpu: "4", requests.nvidia.com/gpu: 1, count/jobs.batch: 0}}
    limit_range:
      limits:
        - {type: Container, default: {cpu: 1}, defaultRequest: {cpu: 500m}, max: {cpu: 2}, min: {cpu: 100m}}
        - {type: PersistentVolumeClaim, max: {storage: 10Gi}}
    images: [localhost/spark, "registry.corp.com/*"]
    token_audiences: ["https://sts.corp.com"]
    priority_classes: [batch]
    tolerations: [corp.com/spot]
    executor_account: {annotations: {corp.com/role: "r-${dssUserLogin}"}, image_pull_secrets: [pull]}
  network:
    network_policy: isolated
    egress: [{name: hdfs, cidr: 10.0.0.0/8, ports: [8020]}, {name: all, cidr: "::/0"}]
"#;

/// What is exchanged, the key and the rule that must be told.
const ROWS: &[(&str, &str, &str, &str)] = &[
    ("\"ns-.*\"", "\"(\"", "namespace_policies.small.namespaces", "not a regular expression"),
    ("\"ns-.*\"", "\"\"", "namespace_policies.small.namespaces", "1 to 1024 bytes"),
    ("\"ns-.*\"", "\"(\\\\w{100}){100}\"", "namespace_policies.small.namespaces", "too large"),
    (
        "pod_security: baseline",
        "pod_security: high",
        "namespace_policies.small.pod_security",
        "must be one of",
    ),
    (
        "resource_quota: {hard:",
        "resource_quota: {soft:",
        "namespace_policies.small.resource_quota.soft",
        "unknown key",
    ),
    ("pods: 10,", "pods: ten,", "namespace_policies.small.resource_quota.hard.pods", "must be a quantity"),
    ("pods: 10,", "pods: -1,", "namespace_policies.small.resource_quota.hard.pods", "must be a quantity"),
    ("pods: 10,", "pods: 1.5,", "namespace_policies.small.resource_quota.hard.pods", "whole number"),
    (
        "pods: 10,",
        "pod: 10,",
        "namespace_policies.small.resource_quota.hard.pod",
        "nothing that a quota counts",
    ),
    ("pods: 10,", "\"p ods\": 10,", "namespace_policies.small.resource_quota.hard.?", "no resource's name"),
    (
        "count/jobs.batch: 0",
        "count/jobs.batch: 1m",
        "namespace_policies.small.resource_quota.hard.?",
        "whole number",
    ),
    (
        "hard: {pods: 10, requests.cpu: \"4\", requests.nvidia.com/gpu: 1, count/jobs.batch: 0}",
        "hard: {}",
        "namespace_policies.small.resource_quota.hard",
        "must not be empty",
    ),
    (
        "type: Container",
        "type: container",
        "namespace_policies.small.limit_range.limits[0].type",
        "must be one of",
    ),
    (
        "type: PersistentVolumeClaim, max: {storage: 10Gi}",
        "type: Container, max: {cpu: 1}",
        "namespace_policies.small.limit_range.limits[1].type",
        "in the list already",
    ),
    (
        "type: PersistentVolumeClaim, max",
        "type: Pod, default",
        "namespace_policies.small.limit_range.limits[1].default",
        "for containers only",
    ),
    (
        "type: PersistentVolumeClaim, max: {storage: 10Gi}",
        "type: Pod",
        "namespace_policies.small.limit_range.limits[1]",
        "says nothing",
    ),
    (
        "max: {cpu: 2}",
        "max: {cpu: 900m}",
        "namespace_policies.small.limit_range.limits[0].default.cpu",
        "more than `max`",
    ),
    (
        "defaultRequest: {cpu: 500m}",
        "defaultRequest: {cpu: 1001m}",
        "namespace_policies.small.limit_range.limits[0].defaultRequest.cpu",
        "more than `default`",
    ),
    (
        "min: {cpu: 100m}",
        "min: {cpu: 501m}",
        "namespace_policies.small.limit_range.limits[0].min.cpu",
        "more than `defaultRequest`",
    ),
    (
        "min: {cpu: 100m}",
        "min: {cpu: x}",
        "namespace_policies.small.limit_range.limits[0].min.cpu",
        "must be a quantity",
    ),
    ("localhost/spark,", "\"a,b\",", "namespace_policies.small.images[0]", "without space and comma"),
    ("localhost/spark,", "\"\",", "namespace_policies.small.images[0]", "1 to 512"),
    ("localhost/spark,", "\"a*b\",", "namespace_policies.small.images[0]", "at its end only"),
    (
        "localhost/spark,",
        "\"registry.corp.com/*\",",
        "namespace_policies.small.images[1]",
        "in the list already",
    ),
    (
        "registry.corp.com/*",
        "registry.corp.com*",
        "namespace_policies.small.images[1]",
        "past the registry's name",
    ),
    ("registry.corp.com/*", "*", "namespace_policies.small.images[1]", "past the registry's name"),
    (
        "[batch]",
        "[system-node-critical]",
        "namespace_policies.small.priority_classes[0]",
        "the cluster's own",
    ),
    ("[batch]", "[Batch]", "namespace_policies.small.priority_classes[0]", "no PriorityClass's name"),
    (
        "[corp.com/spot]",
        "[\"corp.com/spot=true:NoSchedule\"]",
        "namespace_policies.small.tolerations[0]",
        "no taint's key",
    ),
    (
        "corp.com/role:",
        "spark-submit-as/role:",
        "namespace_policies.small.executor_account.annotations.?",
        "own",
    ),
    (
        "corp.com/role:",
        "\"a b\":",
        "namespace_policies.small.executor_account.annotations.?",
        "no annotation's key",
    ),
    (
        "r-${dssUserLogin}",
        "r-${login",
        "namespace_policies.small.executor_account.annotations.?",
        "not part of",
    ),
    (
        "r-${dssUserLogin}",
        "r-$login",
        "namespace_policies.small.executor_account.annotations.?",
        "not part of",
    ),
    (
        "r-${dssUserLogin}",
        "r-${group}",
        "profiles.p.namespace.policies",
        "uses ${group}, which the template does not",
    ),
    (
        "r-${dssUserLogin}",
        "r-\\u0007",
        "namespace_policies.small.executor_account.annotations.?",
        "control character",
    ),
    (
        "[pull]",
        "[ssa-job-x]",
        "namespace_policies.small.executor_account.image_pull_secrets[0]",
        "this program's own",
    ),
    (
        "[pull]",
        "[Pull]",
        "namespace_policies.small.executor_account.image_pull_secrets[0]",
        "no Secret's name",
    ),
    (
        "network_policy: isolated",
        "network_policy: open",
        "namespace_policies.network.network_policy",
        "must be one of",
    ),
    ("    network_policy: isolated\n", "", "namespace_policies.network.egress", "opens nothing without"),
    ("name: hdfs", "name: \"h d\"", "namespace_policies.network.egress[0].name", "1 to 63"),
    ("name: all", "name: hdfs", "namespace_policies.network.egress[1].name", "in the list already"),
    ("10.0.0.0/8", "10.0.0.1/8", "namespace_policies.network.egress[0].cidr", "bits beyond its length"),
    ("10.0.0.0/8", "hdfs.corp.com", "namespace_policies.network.egress[0].cidr", "must be a network"),
    ("10.0.0.0/8", "169.254.169.254/32", "namespace_policies.network.egress[0].cidr", "metadata addresses"),
    ("10.0.0.0/8", "169.254.0.0/16", "namespace_policies.network.egress[0].cidr", "metadata addresses"),
    ("\"::/0\"", "\"fe80::/64\"", "namespace_policies.network.egress[1].cidr", "metadata addresses"),
    ("[8020]", "[0]", "namespace_policies.network.egress[0].ports[0]", "from 1 to 65535"),
    ("[8020]", "[65536]", "namespace_policies.network.egress[0].ports[0]", "from 1 to 65535"),
    (
        "    network_policy: isolated",
        "    pod_security: restricted\n    network_policy: isolated",
        "profiles.p.namespace.policies",
        "network and small both give `pod_security`",
    ),
    (
        "    network_policy: isolated",
        "    labels: {cost: \"18\"}\n    network_policy: isolated",
        "profiles.p.namespace.policies",
        "network and small both give `labels.cost`",
    ),
    ("[network, small]", "[network]", "profiles.p.namespace.policies", "undo each other's work"),
    ("size: 10Gi", "size: 0", "profiles.p.volume.size", "more than 0"),
    ("size: 10Gi", "size: big", "profiles.p.volume.size", "quantity"),
    ("class: fast", "class: Fast", "profiles.p.volume.class", "no StorageClass's name"),
    ("mount_path: /data", "mount_path: data", "profiles.p.volume.mount_path", "absolute path"),
    ("mount_path: /data", "mount_path: /", "profiles.p.volume.mount_path", ""),
    ("mount_path: /data", "mount_path: /etc", "profiles.p.volume.mount_path", "the image itself"),
    ("mount_path: /data", "mount_path: /proc/self", "profiles.p.volume.mount_path", "the image itself"),
    ("mount_path: /data", "mount_path: \"/data:x\"", "profiles.p.volume.mount_path", "the image itself"),
    ("ReadWriteOnce", "ReadOnlyMany", "profiles.p.volume.access_mode", "must be one of"),
];

#[test]
fn policies_and_volumes_are_read_and_shown_the_same() {
    let config = parse(GOOD.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let small = &config.namespace_policies["small"];
    assert_eq!(small.resource_quota.as_ref().unwrap().hard["pods"], "10");
    assert_eq!(small.limit_range.as_ref().unwrap().limits[0].default_request["cpu"], "500m");
    assert_eq!(config.profiles["p"].volume.as_ref().unwrap().access_mode, AccessMode::ReadWriteOnce);
    let shown = serde_yaml::to_string(&config).unwrap();
    let again = parse(shown.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{shown}"));
    assert_eq!(shown, serde_yaml::to_string(&again).unwrap());
    let value: serde_yaml::Value = serde_yaml::from_str(GOOD).unwrap();
    assert_eq!(explain::explain(&schemars::schema_for!(Config), &value), None);
}

#[test]
fn a_policy_that_makes_no_sense_is_refused_at_its_key() {
    for (from, to, path, rule) in ROWS {
        assert_eq!(GOOD.matches(from).count(), 1, "{from:?} must be in the good file once");
        let error =
            parse(GOOD.replace(from, to).as_bytes()).expect_err(&format!("{from:?} -> {to:?} was accepted"));
        assert_eq!(error.path, *path, "{from:?} -> {to:?}: {error}");
        let text = error.to_string();
        assert!(text.contains(rule), "{from:?} -> {to:?}: {text}");
        assert!(error.line > 0, "{text}");
    }
}

#[test]
fn lists_are_bounded() {
    let many = |count: usize| (0..count).map(|n| format!("\"a{n}\"")).collect::<Vec<_>>().join(", ");
    for (list, key) in [("[batch]", "priority_classes"), ("[corp.com/spot]", "tolerations")] {
        let with = |count| parse(GOOD.replace(list, &format!("[{}]", many(count))).as_bytes());
        assert!(with(64).is_ok());
        let error = with(65).unwrap_err();
        assert_eq!(error.path, format!("namespace_policies.small.{key}"));
        assert!(error.rule.contains("more than 64 entries"), "{error}");
    }
}
