//! What the provisioner asks the API server for, counted in its audit log. A file of its own: cargo runs test files one
//! after the other, and nothing else may call the cluster meanwhile. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use support::*;

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_dry_run_tells_the_whole_decision_and_makes_nothing() {
    let _alone = alone();
    let offset = audit_length();
    let words = [
        "run",
        "--dry-run",
        "--user",
        "alice",
        "--profile",
        "per-user",
        "--json",
        "--",
        "--conf",
        "spark.my.password=hunter2",
        "x.py",
    ];
    let ended = ended(&mut as_platform(&words));
    assert_eq!(ended.code(), 0, "{ended:?}");
    let decision: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(decision["user"], "alice");
    assert_eq!(decision["namespace"], "dss-ns-alice");
    assert_eq!(decision["caller"], "dssuser");
    assert!(decision["rules"][0].as_str().unwrap().contains("identity"), "{decision}");
    assert!(!ended.stdout.contains("hunter2"), "{ended:?}");
    assert_eq!(requests_of_provisioner(offset).len(), 0);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_needs_at_most_twelve_requests() {
    let _alone = alone();
    let directory = trusted_directory();
    assert_eq!(ended(&mut scripted(directory.path(), "exit 0")).code(), 0);
    let offset = audit_length();
    let last = ended(&mut scripted(directory.path(), "exit 0"));
    assert_eq!(last.code(), 0);
    let all = requests_of_provisioner(offset);
    println!("{} requests: {all:#?}", all.len());
    // docs/requests.md has the same table; a safety check is never dropped for the number.
    let table = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/requests.md")).unwrap();
    assert!(table.contains(&format!("| **core job, namespace exists** | **{}** |", all.len())), "{all:#?}");
    assert!(all.len() <= 12, "{all:#?}");
}

/// Verb and path of each request that the provisioner has made since then.
fn requests_of_provisioner(offset: u64) -> Vec<String> {
    audit_since(offset)
        .into_iter()
        .filter(|line| line["user"]["username"] == "system:serviceaccount:spark-submit-as:provisioner")
        .map(|line| format!("{} {}", line["verb"], line["requestURI"]))
        .collect()
}
