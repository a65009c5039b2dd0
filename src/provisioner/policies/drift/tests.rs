//! What counts as a difference, and what the patch for it says.

use spark_submit_as::policy::wanted::{IMAGES, Network};

use super::*;

fn part(word: &str) -> &'static Part {
    PARTS.iter().find(|part| part.word == word).unwrap()
}

fn policies() -> Policies {
    Policies {
        labels: [("cost", "17"), (POD_SECURITY_LABEL, "baseline")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into(),
        annotations: [(IMAGES.to_owned(), "a,b".to_owned())].into(),
        quota: Some(json!({"hard": {"pods": "10", "requests.cpu": "1000m"}})),
        limits: Some(json!({"limits": [{"type": "Container", "max": {"cpu": "1024m"}}]})),
        network: Some(Network::default()),
        ..Policies::default()
    }
}

fn live(word: &str, spec: Value) -> Value {
    let mut object = part(word).object(&spec);
    object["metadata"]["resourceVersion"] = json!("5");
    object
}

#[test]
fn an_object_is_as_it_is_wanted_or_not() {
    let quota = |spec: Value| ("quota", spec);
    let limits = |item: Value| ("limits", json!({"limits": [item]}));
    let network = |spec: Value| ("network", spec);
    let container = json!({"type": "Container", "max": {"cpu": "1.024"}});
    let closed = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
    let closed_and = |key: &str, value: Value| {
        let mut spec = closed.clone();
        spec[key] = value;
        ("network", spec)
    };
    for ((word, spec), same) in [
        (quota(json!({"hard": {"pods": "10", "requests.cpu": "1"}})), true),
        (quota(json!({"hard": {"pods": "10", "requests.cpu": "1"}, "scopes": []})), true),
        // A field of a newer Kubernetes is nobody's drift.
        (quota(json!({"hard": {"pods": "10", "requests.cpu": "1"}, "novel": {}})), true),
        (quota(json!({"hard": {"pods": "11", "requests.cpu": "1"}})), false),
        (quota(json!({"hard": {"pods": "10"}})), false),
        (quota(json!({"hard": {"pods": "10", "requests.cpu": "1", "secrets": "1"}})), false),
        (quota(json!({"hard": {"pods": "10", "requests.cpu": "1"}, "scopes": ["Terminating"]})), false),
        (
            quota(
                json!({"hard": {"pods": "10", "requests.cpu": "1"}, "scopeSelector": {"matchExpressions": []}}),
            ),
            false,
        ),
        (quota(json!({"hard": {"pods": "x", "requests.cpu": "1"}})), false),
        (quota(json!({})), false),
        (limits(container.clone()), true),
        (limits(json!({"type": "Container", "max": {"cpu": "1024m"}, "min": {}})), true),
        (limits(json!({"type": "Pod", "max": {"cpu": "1024m"}})), false),
        (limits(json!({"type": "Container", "max": {"cpu": "2"}})), false),
        (limits(json!({"type": "Container", "max": {"cpu": "1024m"}, "min": {"cpu": "1"}})), false),
        (("limits", json!({"limits": [container, container]})), false),
        (("limits", json!({"limits": []})), false),
        (network(closed.clone()), true),
        (closed_and("ingress", json!([])), true),
        (closed_and("ingress", json!([{}])), false),
        (closed_and("egress", json!([{"to": []}])), false),
        (closed_and("policyTypes", json!(["Ingress"])), false),
        (closed_and("podSelector", json!({"matchLabels": {"a": "b"}})), false),
        (network(json!({"policyTypes": ["Ingress", "Egress"]})), false),
    ] {
        let wanted = part(word).spec(&policies()).unwrap();
        assert_eq!(part(word).is_as(&wanted, &live(word, spec.clone())), same, "{word} {spec}");
    }
    let wanted = part("quota").spec(&policies()).unwrap();
    let mut dying = live("quota", wanted.clone());
    dying["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
    assert!(!part("quota").is_as(&wanted, &dying));
    let mut other = live("quota", wanted.clone());
    other["metadata"]["name"] = json!("other");
    assert!(!part("quota").is_as(&wanted, &other));
    assert!(!part("quota").is_as(&wanted, &json!(null)));
}

#[test]
fn a_quota_is_enforced_when_its_controller_says_the_same() {
    let with = |status: Value| is_enforced(&json!({"spec": {"hard": {"cpu": "1000m"}}, "status": status}));
    assert!(with(json!({"hard": {"cpu": "1"}, "used": {"cpu": "0"}})));
    for status in [
        json!({}),
        json!(null),
        json!({"hard": {}}),
        json!({"hard": {"cpu": "2"}}),
        json!({"hard": {"cpu": "1", "pods": "1"}}),
    ] {
        assert!(!with(status.clone()), "{status}");
    }
}

fn namespace(labels: &Value, annotations: &Value) -> Value {
    json!({"metadata": {"name": "team", "labels": labels, "annotations": annotations}})
}

const APPLIED: &str = "quota,limits,network,label:cost,label:pod-security.kubernetes.io/enforce";

#[test]
fn a_namespace_that_was_made_with_its_policies_needs_no_patch() {
    let labels = json!({"cost": "17", POD_SECURITY_LABEL: "baseline", "kubernetes.io/metadata.name": "team"});
    let made = namespace(&labels, &json!(annotations(&policies())));
    assert_eq!(made["metadata"]["annotations"][APPLIED_ANNOTATION], APPLIED);
    assert_eq!(of_namespace(&made, &policies()), None);
    assert!(forsaken(&made, &policies()).is_empty());
    assert!(annotations(&Policies::default()).is_empty());
}

#[test]
fn only_what_differs_is_patched() {
    let labels = json!({"cost": "18", POD_SECURITY_LABEL: "baseline", "theirs": "x"});
    let found = namespace(
        &labels,
        &json!({
            APPLIED_ANNOTATION: APPLIED, IMAGES: "*", "spark-submit-as/tolerations": "x", "theirs": "y", "spark-submit-as/owner": "{}",
        }),
    );
    assert_eq!(
        of_namespace(&found, &policies()),
        Some(json!({"metadata": {
            "labels": {"cost": "17"}, "annotations": {IMAGES: "a,b", "spark-submit-as/tolerations": null},
        }}))
    );
}

#[test]
fn what_no_policy_asks_for_any_more_is_taken_away_but_for_the_level() {
    let labels = json!({"cost": "17", POD_SECURITY_LABEL: "baseline", "theirs": "x"});
    let found = namespace(&labels, &json!({APPLIED_ANNOTATION: APPLIED, IMAGES: "a"}));
    assert_eq!(
        of_namespace(&found, &Policies::default()),
        Some(json!({"metadata": {
            "labels": {"cost": null}, "annotations": {APPLIED_ANNOTATION: null, IMAGES: null},
        }}))
    );
    let words: Vec<&str> = forsaken(&found, &Policies::default()).iter().map(|part| part.word).collect();
    assert_eq!(words, ["quota", "limits", "network"]);
    let only_network = Policies { network: Some(Network::default()), ..Policies::default() };
    let words: Vec<&str> = forsaken(&found, &only_network).iter().map(|part| part.word).collect();
    assert_eq!(words, ["quota", "limits"]);
}

#[test]
fn a_namespace_that_never_had_policies_is_left_alone() {
    let found = namespace(&json!({}), &json!({IMAGES: "by hand"}));
    assert_eq!(of_namespace(&found, &Policies::default()), None);
    assert!(forsaken(&found, &Policies::default()).is_empty());
    // A mark by somebody else's hand names nothing that is not ours.
    let odd = namespace(&json!({}), &json!({APPLIED_ANNOTATION: ",,quota2,label:,label:x"}));
    let patch = json!({"metadata": {"annotations": {APPLIED_ANNOTATION: null}}});
    assert_eq!(of_namespace(&odd, &Policies::default()), Some(patch));
}
