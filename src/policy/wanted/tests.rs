//! Which policies apply to a namespace, what they come to together, and what is refused.

use super::*;
use crate::policy::config::parse;

fn config(policies: &str) -> Config {
    let text = format!(
        "callers: [dssuser]\nprovisioner: ssa-provisioner\nusers: {{allowed_groups: [spark-users]}}\n\
         clusters: {{main: {{kubeconfig: /etc/k}}}}\n\
         profiles: {{p: {{cluster: main, namespace: {{template: \"ns-${{login}}\"}}}}}}\nnamespace_policies:\n{policies}"
    );
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn of(policies: &str, named: &[&str], namespace: &str, owner: &str) -> Result<Policies, String> {
    let named: Vec<String> = named.iter().map(ToString::to_string).collect();
    let namespace = NamespaceName::new(namespace).unwrap();
    super::policies(&config(policies), &named, &namespace, owner).map_err(|error| error.to_string())
}

const ALICE: &str = r#"{"login":"alice"}"#;

#[test]
fn a_policy_applies_where_it_is_named_and_where_its_pattern_matches_the_whole_name() {
    let policies = "  a: {labels: {a: x}}\n  b: {namespaces: \"ns-al.*\", labels: {b: x}}\n  c: {namespaces: \"al\", labels: {c: x}}\n";
    for (named, namespace, labels) in [
        (&[][..], "ns-alice", &["b"][..]),
        (&["a"], "ns-alice", &["a", "b"]),
        (&["a"], "ns-bob", &["a"]),
        (&["b"], "ns-bob", &["b"]),
        (&["b"], "ns-alice", &["b"]),
        (&[], "al", &["c"]),
        (&[], "bal", &[]),
        (&[], "xns-alice", &[]),
    ] {
        let found = of(policies, named, namespace, ALICE).unwrap();
        assert_eq!(found.labels.keys().collect::<Vec<_>>(), labels, "{named:?} {namespace}");
    }
    assert!(of("  a: {namespaces: \"x\", labels: {a: x}}\n", &[], "y", ALICE).unwrap().is_empty());
}

#[test]
fn each_part_comes_from_one_policy() {
    for part in [
        "pod_security: baseline",
        "resource_quota: {hard: {pods: 1}}",
        "limit_range: {limits: [{type: Pod, max: {cpu: 1}}]}",
        "network_policy: isolated",
        "images: [a]",
        "token_audiences: [a]",
        "priority_classes: [a]",
        "tolerations: [a]",
        "executor_account: {image_pull_secrets: [a]}",
    ] {
        let key = part.split(':').next().unwrap();
        let policies = format!("  one: {{{part}}}\n  two: {{namespaces: \"ns-.*\", {part}}}\n");
        // The same value twice is refused as well: who changes one of them would wonder.
        let refused = of(&policies, &["one"], "ns-alice", ALICE).unwrap_err();
        assert!(refused.contains(&format!("one and two both give `{key}`")), "{refused}");
        assert!(of(&policies, &["one"], "other", ALICE).is_ok());
        assert!(!of(&policies, &[], "ns-alice", ALICE).unwrap().is_empty(), "{part}");
    }
}

#[test]
fn labels_are_united_and_one_key_has_one_value() {
    let with =
        |value: &str| format!("  one: {{labels: {{a: x, b: y}}}}\n  two: {{labels: {{a: {value}, c: z}}}}\n");
    let both = of(&with("x"), &["one", "two"], "ns-alice", ALICE).unwrap();
    assert_eq!(both.labels.len(), 3);
    let refused = of(&with("y"), &["one", "two"], "ns-alice", ALICE).unwrap_err();
    assert!(refused.contains("`labels.a`"), "{refused}");
}

#[test]
fn lists_become_annotations_and_pull_secrets_are_allowed_in_pods() {
    let policies = "  a: {images: [a/x, \"b/*\"], token_audiences: [t], priority_classes: [p], tolerations: [q/r], \
                    executor_account: {image_pull_secrets: [s, u]}}\n";
    let found = of(policies, &["a"], "ns-alice", ALICE).unwrap();
    let wanted = [
        (IMAGES, "a/x,b/*"),
        (TOKEN_AUDIENCES, "t"),
        (PRIORITY_CLASSES, "p"),
        (TOLERATIONS, "q/r"),
        (IMAGE_PULL_SECRETS, "s,u"),
    ];
    assert_eq!(found.annotations, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    assert_eq!(found.pull_secrets, ["s", "u"]);
}

#[test]
fn annotations_of_the_executors_account_use_the_owners_values_alone() {
    let of_account = |value: &str, owner: &str| {
        of(
            &format!("  a: {{executor_account: {{annotations: {{k: '{value}'}}}}}}\n"),
            &["a"],
            "ns-alice",
            owner,
        )
        .map(|found| found.account_annotations["k"].clone())
    };
    for (template, owner, value) in [
        ("role", ALICE, Ok("role")),
        ("r-${login}", ALICE, Ok("r-alice")),
        ("r-${dssUserLogin}-${login}", ALICE, Ok("r-alice-alice")),
        ("${adminProperty:ns}/x", r#"{"adminProperty:ns":"A b"}"#, Ok("A b/x")),
        ("r-${user}", ALICE, Err("${user}")),
        ("r-${adminProperty:other}", r#"{"adminProperty:ns":"a"}"#, Err("${adminProperty:other}")),
        ("r-${login}", "{}", Err("${login}")),
        ("r-${login}", "no json", Err("${login}")),
        // A value is put in as it is and not looked at again.
        ("r-${login}", r#"{"login":"${user}"}"#, Ok("r-${user}")),
    ] {
        match (of_account(template, owner), value) {
            (Ok(found), Ok(wanted)) => assert_eq!(found, wanted, "{template}"),
            (Err(found), Err(wanted)) => assert!(found.contains(wanted), "{template}: {found}"),
            (found, _) => panic!("{template}: {found:?}"),
        }
    }
    let long = format!(r#"{{"login":"{}"}}"#, "a".repeat(2048));
    assert!(of_account("r-${login}", &long).unwrap_err().contains("2048"));
}

#[test]
fn variables_of_a_namespaces_template_are_known_by_one_spelling() {
    for (template, wanted) in [
        ("ns-${dssUserLogin}-${projectKey}", &["login", "projectKey"][..]),
        ("${adminProperty:a}", &["adminProperty:a"]),
        ("${ login | tolower }-${group?default}", &["group", "login"]),
        ("ns", &[]),
    ] {
        assert_eq!(variables_of(template).unwrap().into_iter().collect::<Vec<_>>(), wanted, "{template}");
    }
    assert_eq!(variables_of("${login"), Err(TemplateError::Syntax));
}

#[test]
fn the_limits_of_containers_are_completed_as_the_api_server_does() {
    let policies = "  a: {limit_range: {limits: [\n    {type: Container, max: {cpu: 2, memory: 2Gi}, min: {cpu: 100m, gpu: 1}, \
                    default: {cpu: 1}},\n    {type: Pod, max: {cpu: 4}}]}}\n";
    let found = of(policies, &["a"], "ns-alice", ALICE).unwrap().limits.unwrap();
    assert_eq!(
        found["limits"],
        json!([
            {
                "type": "Container", "max": {"cpu": "2", "memory": "2Gi"}, "min": {"cpu": "100m", "gpu": "1"},
                "default": {"cpu": "1", "memory": "2Gi"},
                "defaultRequest": {"cpu": "1", "memory": "2Gi", "gpu": "1"},
            },
            {"type": "Pod", "max": {"cpu": "4"}},
        ])
    );
}
