//! `namespace adopt`.

use serde_json::Value;

use super::*;
use crate::support::proxy::Proxy;
use crate::world::identity;

fn adopted(place: &Place, login: &str) -> (Value, Value) {
    let metadata = place.metadata(login);
    (
        metadata["labels"]["spark-submit-as/managed"].clone(),
        metadata["annotations"]["spark-submit-as/owner"].clone(),
    )
}

#[test]
#[ignore = "needs the test bed: make test"]
fn an_adopted_namespace_is_the_one_that_a_run_of_the_login_uses() {
    let mut place = Place::new(&["alice"]);
    // Prepared for bob as an administrator does, but neither label nor owner are there yet.
    place.host.admit(&place.admin, "bob");
    let patch = json!({"metadata": {
        "labels": {"spark-submit-as/managed": null, "team": "x"}, "annotations": {"spark-submit-as/owner": null}}});
    place.admin.done(Method::PATCH, &place.path("bob"), patch);
    let name = place.namespace("bob");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keep-me"}, "stringData": {"k": "hidden"}});
    place.admin.done(Method::POST, &format!("{}/secrets", place.path("bob")), secret);
    for number in 0..25 {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c-{number}")}});
        place.admin.done(Method::POST, &format!("{}/configmaps", place.path("bob")), object);
    }
    ended(&mut place.host.job("bob")).refused(218, "has no owner");

    // Without a word that it was looked at, and in a dry run, it is shown and nothing is changed.
    let words = ["adopt", &name, "--profile", "per-user", "--user", "bob"];
    let before = place.metadata("bob");
    let ended_ = place.call(&words);
    ended_.refused(200, "call again with --yes");
    for (kind, names) in [("1 secrets", "keep-me"), ("26 configmaps", "c-0"), ("serviceaccounts", "default")]
    {
        let line = ended_.stdout.lines().find(|line| line.contains(kind));
        let line = line.unwrap_or_else(|| panic!("no {kind} in {ended_:?}"));
        assert!(line.contains(names), "{line}");
    }
    assert!(!ended_.stdout.contains("hidden"));
    assert!(ended_.stderr.contains("enforces no Pod Security level"), "{ended_:?}");
    let told = place.told(&[&words[..], &["--dry-run"]].concat());
    assert_eq!(
        (&told["outcome"], &told["owner"]),
        (&json!("would be adopted"), &json!(r#"{"login":"bob"}"#))
    );
    assert_eq!(place.metadata("bob"), before);

    let told = place.told(&[&words[..], &["--yes"]].concat());
    assert_eq!(told["outcome"], "to be adopted");
    assert_eq!(adopted(&place, "bob"), (json!("true"), json!(r#"{"login":"bob"}"#)));
    assert_eq!(place.metadata("bob")["labels"]["team"], "x", "other labels stay");
    let job = ended(&mut place.host.job("bob"));
    assert_eq!(job.code(), 0, "{job:?}");

    // Again: nothing more is to be done, and nothing is.
    let before = place.metadata("bob");
    assert_eq!(place.told(&[&words[..], &["--yes"]].concat())["outcome"], "adopted before");
    assert_eq!(place.metadata("bob"), before);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn an_owner_that_a_template_gives_may_be_named_itself() {
    let place = Place::new(&[]);
    let team = place.namespace("team");
    place.foreign("team");
    let owner = json!({"adminProperty:k8sNS": team}).to_string();
    let adopt =
        |owner: &str| place.call(&["adopt", &team, "--profile", "per-team", "--owner", owner, "--yes"]);
    for (wrong, message) in [
        ("{}", "no run of this profile would use"),
        (r#"{"adminProperty:k8sNS":"another"}"#, "no run of this profile would use"),
        (r#"{"login":"alice"}"#, "no run of this profile would use"),
        (&owner.replace(':', ": "), "must be JSON as a run writes it"),
        (r#"{"userProperty:k8sNS":"team"}"#, "no variable of a template"),
        ("team", "must be JSON as a run writes it"),
    ] {
        adopt(wrong).refused(208, message);
    }
    assert_eq!(adopted(&place, "team"), (Value::Null, Value::Null));
    assert_eq!(adopt(&owner).code(), 0);
    assert_eq!(adopted(&place, "team"), (json!("true"), json!(owner)));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn what_must_not_be_adopted_is_refused_and_stays_as_it_is() {
    let mut place = Place::new(&["alice"]);
    let adopt = |place: &Place, name: &str, login: &str| {
        place.call(&["adopt", name, "--profile", "per-user", "--user", login, "--yes"])
    };
    // Another owner, managed or not.
    place.admin.namespace(&place.namespace("bob"), &json!({"login": "mallory"}));
    let before = place.metadata("bob");
    let refused = adopt(&place, &place.namespace("bob"), "bob");
    refused.refused(218, "has another owner");
    assert!(!refused.stderr.contains("mallory"), "whose it is stays untold: {refused:?}");
    let unlabelled = json!({"metadata": {"labels": {"spark-submit-as/managed": null}}});
    place.admin.done(Method::PATCH, &place.path("bob"), unlabelled);
    adopt(&place, &place.namespace("bob"), "bob").refused(218, "has another owner");
    let metadata = place.metadata("bob");
    assert_eq!(metadata["annotations"], before["annotations"]);
    assert_eq!(metadata["labels"]["spark-submit-as/managed"], Value::Null);

    // The cluster's own.
    for name in ["default", "kube-system", "kube-public", "kube-x"] {
        adopt(&place, name, "alice").refused(208, "belong to the cluster");
    }
    adopt(&place, "Not_A_Name", "alice").refused(208, "not a valid namespace");
    // One that no run of this login would use.
    adopt(&place, &place.namespace("alice"), "bob").refused(208, "would use namespace");
    // Nobody who could run.
    adopt(&place, &place.namespace("ssa-gone"), "ssa-gone").refused(206, "does not exist");
    adopt(&place, &place.namespace("mallory"), "mallory").refused(206, "allowed_groups");
    place
        .call(&["adopt", "n", "--profile", "nothing", "--user", "alice", "--yes"])
        .refused(207, "no such profile");

    // One that does not exist, and one that is being deleted.
    place.admin.done(Method::DELETE, &place.path("bob"), Value::Null);
    until("it is gone", || !place.admin.exists(&place.path("bob")));
    adopt(&place, &place.namespace("bob"), "bob").refused(218, "does not exist");
    assert!(!place.admin.exists(&place.path("bob")), "adopting makes none");
    place.foreign("bob");
    let held = json!({"apiVersion": "v1", "kind": "ConfigMap",
                      "metadata": {"name": "held", "finalizers": ["example.org/held"]}});
    let maps = format!("{}/configmaps", place.path("bob"));
    place.admin.done(Method::POST, &maps, held);
    place.admin.done(Method::DELETE, &place.path("bob"), Value::Null);
    let refused = adopt(&place, &place.namespace("bob"), "bob");
    let released = json!({"metadata": {"finalizers": null}});
    place.admin.done(Method::PATCH, &format!("{maps}/held"), released);
    refused.refused(218, "is being deleted");

    // A profile of another cluster than the kubeconfig leads to.
    place.host.configuration["clusters"]["other"] = place.host.configuration["clusters"]["main"].clone();
    place.host.configure();
    let name = place.namespace("alice");
    place
        .call(&["adopt", &name, "--profile", "per-user", "--user", "alice", "--yes", "--cluster", "other"])
        .refused(200, "of another cluster");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_namespace_that_changes_between_look_and_adoption_is_not_adopted() {
    let place = Place::new(&[]);
    place.foreign("bob");
    let name = place.namespace("bob");
    let through = place.host.directory.path().join("through.kubeconfig");
    // The token means nothing: the proxy comes with the administrator's certificate.
    let proxy = Proxy::start(&place.kubeconfig, "127.0.0.1", &[]);
    proxy.kubeconfig(&through, &json!({"token": identity::make(&place.admin, &place.namespace("id2"))}));
    proxy.rule(
        json!({"method": "PATCH", "path": format!("/namespaces/{name}"), "fault": "late", "seconds": 3}),
    );
    let words =
        ["namespace", "adopt", &name, "--profile", "per-user", "--user", "bob", "--yes", "--kubeconfig"];
    let running = start(&mut place.host.call(&[&words[..], &[through.to_str().unwrap()]].concat()));
    until("the adoption is on its way", || proxy.log(0).iter().any(|request| request.method == "PATCH"));
    // Meanwhile somebody else says whose it is.
    let theirs = json!({"metadata": {"annotations": {"spark-submit-as/owner": "{\"login\":\"mallory\"}"}}});
    place.admin.done(Method::PATCH, &place.path("bob"), theirs);
    running.end().refused(218, "was changed since it was looked at");
    assert_eq!(adopted(&place, "bob"), (Value::Null, json!(r#"{"login":"mallory"}"#)));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_team_s_namespace_is_adopted_for_its_members() {
    let mut place = Place::new(&[]);
    place.host.configuration["users"]["team"] = json!({"from_groups": "^spark-(.*)$"});
    let mut profile = place.host.configuration["profiles"]["per-user"].clone();
    profile["namespace"]["template"] = json!(place.namespace("${team}"));
    place.host.configuration["profiles"]["teamed"] = profile;
    place.host.configure();
    place.foreign("users");
    let name = place.namespace("users");
    let words = ["adopt", &name, "--profile", "teamed", "--user", "alice", "--yes", "--team"];
    place.call(&[&words[..], &["others"]].concat()).refused(208, "is in no group that makes it a member");
    assert_eq!(adopted(&place, "users"), (Value::Null, Value::Null));
    assert_eq!(place.call(&[&words[..], &["users"]].concat()).code(), 0);
    assert_eq!(adopted(&place, "users"), (json!("true"), json!(r#"{"team":"users"}"#)));
}
