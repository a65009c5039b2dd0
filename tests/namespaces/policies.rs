//! `namespace policies apply`.

use serde_json::Value;

use super::*;

const LEVEL: &str = "pod-security.kubernetes.io/enforce";

impl Place {
    /// A host with policies: one that the profile names, one for the namespaces of a pattern.
    fn with_policies() -> Self {
        let mut place = Self::new(&["alice", "bob"]);
        place.host.configuration["namespace_policies"] = json!({
            "small": {"pod_security": "restricted", "labels": {"cost": "17"},
                      "resource_quota": {"hard": {"pods": "7"}},
                      "limit_range": {"limits": [{"type": "Container", "max": {"memory": "1Gi"}}]},
                      "network_policy": "isolated"},
            "bobs": {"namespaces": ".*-bob", "labels": {"who": "bob"}},
        });
        place.host.configuration["profiles"]["per-user"]["namespace"]["policies"] = json!(["small"]);
        place.host.configure();
        place
    }

    /// Everything in a namespace that policies see to.
    fn state(&self, login: &str) -> Value {
        let metadata = self.metadata(login);
        let list = |group: &str, resource: &str| {
            let path = format!("{group}/namespaces/{}/{resource}", self.namespace(login));
            let items = self.admin.get(&path)["items"].as_array().unwrap().clone();
            items
                .iter()
                .map(|item| json!([item["metadata"]["name"], item["metadata"]["uid"], item["spec"]]))
                .collect::<Vec<_>>()
        };
        json!({
            "labels": metadata["labels"], "annotations": metadata["annotations"],
            "quotas": list("/api/v1", "resourcequotas"),
            "limits": list("/api/v1", "limitranges"),
            "networks": list("/apis/networking.k8s.io/v1", "networkpolicies"),
        })
    }
}

fn changes(told: &Value, namespace: &str) -> (String, String) {
    let row = row(told, namespace);
    let changes: Vec<&str> = row["changes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    (row["outcome"].as_str().unwrap().to_owned(), changes.join("; "))
}

#[test]
#[ignore = "needs the test bed: make test"]
fn policies_come_into_namespaces_without_a_run() {
    let place = Place::with_policies();
    let [alice, bob] = ["alice", "bob"].map(|login| place.namespace(login));
    let before = place.state("alice");
    // In a dry run all of it is told, and nothing is done.
    let told = place.told(&["policies", "apply", &alice, "--dry-run"]);
    let (outcome, text) = changes(&told, &alice);
    assert_eq!(outcome, "would change");
    for what in ["labels", "ssa-quota", "ssa-limits", "ssa-isolated"] {
        assert!(text.contains(what), "no {what} in {text}");
    }
    assert_eq!(place.state("alice"), before);

    let told = place.told(&["policies", "apply", &alice]);
    assert_eq!(changes(&told, &alice).0, "changed");
    assert_eq!(told["namespaces"].as_array().unwrap().len(), 1, "the one that was named and no other");
    let state = place.state("alice");
    assert_eq!(state["labels"][LEVEL], "restricted");
    assert_eq!(state["labels"]["cost"], "17");
    assert_eq!(state["labels"]["who"], Value::Null);
    assert_eq!(state["quotas"][0][0], "ssa-quota");
    assert_eq!(state["quotas"][0][2]["hard"]["pods"], "7");
    assert_eq!(state["limits"][0][0], "ssa-limits");
    assert_eq!(state["networks"][0][0], "ssa-isolated");
    assert_eq!(place.state("bob")["quotas"], json!([]));

    // Again: nothing differs, and nothing is written.
    let log = audit_length();
    let told = place.told(&["policies", "apply", "--all"]);
    assert_eq!(changes(&told, &alice), ("unchanged".into(), String::new()));
    assert_eq!(changes(&told, &bob).0, "changed");
    assert_eq!(place.state("alice"), state);
    let writes = audit_since(log).into_iter().filter(|event| {
        let verb = event["verb"].as_str().unwrap_or_default();
        event["objectRef"]["namespace"] == alice
            && ["create", "update", "patch", "delete"].contains(&verb)
            && event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("spark-submit-as/"))
    });
    assert_eq!(writes.count(), 0);
    assert_eq!(place.state("bob")["labels"]["who"], "bob");
    let told = place.told(&["list"]);
    assert_eq!(row(&told, &alice)["policies"], json!(["small"]));
    assert_eq!(row(&told, &bob)["policies"], json!(["bobs", "small"]));

    // What was changed by hand is mended.
    let quota = format!("{}/resourcequotas/ssa-quota", place.path("alice"));
    place.admin.done(Method::PATCH, &quota, json!({"spec": {"hard": {"pods": "700"}}}));
    place.admin.done(
        Method::PATCH,
        &place.path("alice"),
        json!({"metadata": {"labels": {LEVEL: "privileged"}}}),
    );
    let told = place.told(&["policies", "apply", &alice, "--dry-run"]);
    assert_eq!(changes(&told, &alice).0, "would change");
    assert_eq!(place.state("alice")["quotas"][0][2]["hard"]["pods"], "700");
    place.told(&["policies", "apply", &alice]);
    assert_eq!(place.state("alice"), state);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn policies_are_not_applied_where_no_profile_would() {
    let place = Place::with_policies();
    let team = place.namespace("team");
    // Of another configuration, and not managed.
    place.admin.namespace(&team, &json!({"login": "elsewhere"}));
    place.foreign("free");
    let before = place.state("team");
    let told = place.told(&["policies", "apply", "--all"]);
    assert_eq!(changes(&told, &team).0, "not ours");
    assert_eq!(place.state("team"), before);
    let ended = place.call(&["policies", "apply", &team]);
    ended.refused(208, "not every namespace got its policies");
    assert!(ended.stdout.contains("no profile of this configuration gives this name"), "{ended:?}");
    place
        .call(&["policies", "apply", &place.namespace("free")])
        .refused(218, "there is no managed namespace");
    place.call(&["policies", "apply", "kube-system"]).refused(208, "belong to the cluster");
}
