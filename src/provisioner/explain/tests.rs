//! What the cluster's words and pods' statuses come to.

use serde_json::{Value, json};
use spark_submit_as::protocol::{MAX_FINDINGS, MAX_LINE, MAX_LINES, Trouble};

use super::failures::Failures;
use super::kind_of;
use super::pod::Pod;

fn pod(status: Value) -> Pod {
    named("a", status)
}

fn named(uid: &str, status: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "x", "uid": uid}, "status": status})).unwrap()
}

fn terminated(state: Value) -> Value {
    json!({"phase": "Failed", "containerStatuses": [{"name": "executor", "state": {"terminated": state}}]})
}

#[test]
fn a_refusal_is_known_by_its_words() {
    for (message, kind) in [
        (
            "pods \"x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2",
            Trouble::Quota,
        ),
        (
            "pods \"x\" is forbidden: failed quota: small: must specify limits.cpu for: executor",
            Trouble::Quota,
        ),
        (
            "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": hostPath volumes (volume \"a\")",
            Trouble::PodSecurity,
        ),
        (
            "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            Trouble::Policy,
        ),
        ("admission webhook \"w.example\" denied the request: no", Trouble::Policy),
        (
            "pods is forbidden: User \"system:serviceaccount:a:b\" cannot create resource \"pods\"",
            Trouble::Forbidden,
        ),
        (
            "pods \"x\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi",
            Trouble::Limits,
        ),
        ("Pod \"x\" is invalid: spec.containers[0].image: Required value", Trouble::Refused),
    ] {
        assert_eq!(kind_of(message), kind, "{message}");
    }
}

#[test]
fn a_pod_that_waits_says_for_what() {
    let waiting = |reason: &str, message: &str| {
        let state = json!({"waiting": {"reason": reason, "message": message}});
        let ready = json!({"type": "PodScheduled", "status": "True"});
        let statuses = json!([{"name": "executor", "state": state}]);
        pod(json!({"phase": "Pending", "conditions": [ready], "containerStatuses": statuses})).waits()
    };
    let unscheduled = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available",
    });
    assert_eq!(
        pod(json!({"phase": "Pending", "conditions": [unscheduled]})).waits(),
        (Trouble::Unschedulable, "Unschedulable: 0/1 nodes are available".to_owned())
    );
    assert_eq!(waiting("ImagePullBackOff", "m").0, Trouble::Image);
    assert_eq!(waiting("ErrImageNeverPull", "m").0, Trouble::Image);
    assert_eq!(
        waiting("CreateContainerConfigError", "secret \"x\" not found"),
        (Trouble::Waiting, "CreateContainerConfigError: secret \"x\" not found".to_owned())
    );
    assert_eq!(waiting("CrashLoopBackOff", "").1, "CrashLoopBackOff");
    assert_eq!(pod(json!({})).waits().1, "the cluster tells no reason");
}

#[test]
fn an_executor_runs_when_all_of_its_pod_does() {
    let status = |phase: &str, ready: &str, states: Value| {
        let statuses: Vec<Value> =
            states.as_array().unwrap().iter().map(|state| json!({"state": state})).collect();
        json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}], "containerStatuses": statuses})
    };
    let running = |at: &str| json!({"running": {"startedAt": at}});
    let two = json!([running("1970-01-01T00:01:40Z"), running("1970-01-01T00:01:50Z")]);
    assert_eq!(pod(status("Running", "True", two.clone())).runs_since(), Some(110));
    assert_eq!(pod(status("Running", "False", two.clone())).runs_since(), None);
    assert_eq!(pod(status("Pending", "True", two)).runs_since(), None);
    let ended = json!([running("1970-01-01T00:01:40Z"), {"terminated": {"exitCode": 1}}]);
    assert_eq!(pod(status("Running", "True", ended)).runs_since(), None);
    assert_eq!(pod(json!({"phase": "Running"})).runs_since(), None);
}

#[test]
fn a_failed_executor_says_why() {
    let failed = |state: Value| pod(terminated(state)).failed();
    let (trouble, text, lines) = failed(json!({"exitCode": 137, "reason": "OOMKilled"}));
    assert_eq!((trouble, text.as_str(), lines.len()), (Trouble::Memory, "OOMKilled, exit code 137", 0));
    let message = "Caused by: java.io.IOException: Failed to connect to /10.0.0.1:7078\n\tat x\n\n";
    let (trouble, _, lines) = failed(json!({"exitCode": 1, "reason": "Error", "message": message}));
    assert_eq!(trouble, Trouble::Driver);
    assert_eq!(lines[1], "  at x");
    let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."});
    assert_eq!(pod(evicted).failed().1, "Evicted: The node was low on memory.");
}

#[test]
fn checklist_47_48_last_lines_are_bounded_and_hold_no_token() {
    let token = format!("eyJ{}.eyJ{}.{}", "a".repeat(40), "b".repeat(40), "c".repeat(40));
    let long = format!("{}\x1b[31m{}", "y".repeat(100), "x".repeat(5000));
    let message = format!("{}{token}\n{long}\n", "line\n".repeat(500));
    let (_, _, lines) = pod(terminated(json!({"exitCode": 1, "message": message}))).failed();
    assert_eq!(lines.len(), MAX_LINES);
    assert_eq!(lines[MAX_LINES - 2], "[token]");
    assert_eq!(lines[MAX_LINES - 1].len(), MAX_LINE);
    assert!(lines[MAX_LINES - 1].contains("\\u{1b}[31m"));
}

#[test]
fn failures_are_counted_and_grouped_and_the_latest_words_are_kept() {
    let mut failures = Failures::default();
    let state = |code: i64, message: &str| terminated(json!({"exitCode": code, "message": message}));
    failures.note(&named("1", state(1, "first")));
    failures.note(&named("2", state(52, "other")));
    failures.note(&named("3", state(1, "second")));
    failures.note(&named("3", state(1, "seen again")));
    let found = failures.findings();
    assert_eq!(found.len(), 2);
    assert_eq!((found[1].pods, found[1].lines.as_slice()), (2, ["second".to_owned()].as_slice()));
    for number in 0..5000 {
        failures.note(&named(&format!("many-{number}"), state(number, "x")));
    }
    assert_eq!(failures.findings().len(), MAX_FINDINGS);
    assert_eq!(failures.findings().last().unwrap().text, "Error, exit code 4999");
}

#[test]
fn an_executor_that_was_deleted_has_not_failed() {
    let deleted = |code: i64, finished: &str| {
        let state = json!({"exitCode": code, "finishedAt": finished});
        let metadata = json!({
            "uid": "a", "deletionTimestamp": "2026-01-01T00:01:00Z", "deletionGracePeriodSeconds": 30,
        });
        let statuses = json!([{"state": {"terminated": state}}]);
        let pod =
            json!({"metadata": metadata, "status": {"phase": "Running", "containerStatuses": statuses}});
        serde_json::from_value::<Pod>(pod).unwrap().has_failed()
    };
    // Spark deletes what has failed; what it deletes ends, by its word or by force.
    assert!(deleted(1, "2026-01-01T00:00:29Z"));
    assert!(deleted(137, "2026-01-01T00:00:30Z"));
    assert!(!deleted(143, "2026-01-01T00:00:30Z"));
    assert!(!deleted(137, "2026-01-01T00:01:00Z"));
    assert!(!deleted(0, "2026-01-01T00:00:29Z"));
    assert!(pod(json!({"phase": "Failed", "reason": "Evicted"})).has_failed());
    assert!(!pod(json!({"phase": "Running"})).has_failed());
}
