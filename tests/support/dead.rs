//! Jobs that are dead: killed for real, or copied from one that was.

use std::fs;
use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use super::admin::{Admin, Asked, path};
use super::{Host, kill};
use crate::support::*;

/// A job whose supervisor and provisioner were killed before either could take anything back. What the kernel ended with
/// them is gone, everything else is left.
pub fn dead_job(host: &Host, login: &str) -> String {
    let mut running = start(&mut host.job(login));
    let (job, driver) = running.job();
    end_wrapper(parent(driver), driver);
    running.child.wait().expect("wait");
    job
}

/// Kills a supervisor and its provisioner. The provisioner is stopped first: it would see its supervisor's end.
pub fn end_wrapper(supervisor: i32, driver: i32) {
    let provisioners: Vec<i32> = children(supervisor)
        .into_iter()
        .filter(|pid| {
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            *pid != driver && program.to_string_lossy().contains("-provisioner")
        })
        .collect();
    assert_eq!(provisioners.len(), 1, "a provisioner of {supervisor}");
    kill("STOP", provisioners[0]);
    kill("KILL", supervisor);
    kill("KILL", provisioners[0]);
    until("both end", || {
        [supervisor, provisioners[0]].iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists())
    });
}

/// 16 characters of a job's id that say its number.
pub fn numbered(number: usize) -> String {
    let alphabet = b"abcdefghijklmnopqrstuvwxyz234567";
    let digit = |place: u32| char::from(alphabet[number / 32_usize.pow(place) % 32]);
    let digits: String = (0..6).rev().map(digit).collect();
    format!("fabricated{digits}")
}

/// A record like `model`'s for another job and other objects.
pub fn fabricated_record(model: &Value, job: &str, uids: &[String; 2]) -> Value {
    let original = model["job"].as_str().expect("job").to_owned();
    let mut record: Value = serde_json::from_str(&model.to_string().replace(&original, job)).expect("JSON");
    record["made"] = json!({"account_uid": uids[0], "binding_uid": uids[1]});
    record
}

/// Puts a record into a host's journal as the program does.
pub fn put_record(host: &Host, job: &str, text: &[u8]) {
    let directory = host.jobs().join(job);
    fs::create_dir_all(&directory).expect("mkdir");
    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("chmod");
    let file = directory.join("record.json");
    fs::write(&file, text).expect("write");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("chmod");
}

fn labelled(job: &str) -> Value {
    json!({"name": format!("ssa-job-{job}"), "labels": {"spark-submit-as/job": job}})
}

/// A job's account as the wrapper makes it, overdue at `expires` (RFC 3339).
pub fn account(job: &str, host: &str, expires: &str) -> Value {
    let mut metadata = labelled(job);
    metadata["annotations"] = json!({"spark-submit-as/host": host, "spark-submit-as/expires-at": expires});
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": false})
}

fn owned(job: &str, uid: &str) -> Value {
    let mut metadata = labelled(job);
    let name = format!("ssa-job-{job}");
    metadata["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ServiceAccount", "name": name, "uid": uid}]);
    metadata
}

/// A job's RoleBinding.
pub fn binding(job: &str, namespace: &str, uid: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": owned(job, uid),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "spark-submit-as-driver"},
        "subjects": [{"kind": "ServiceAccount", "name": format!("ssa-job-{job}"), "namespace": namespace}],
    })
}

/// A job's Secret.
pub fn secret(job: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": owned(job, uid), "stringData": {"auth": "x"}})
}

/// A pod that no node ever gets.
pub fn pod(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
        "spec": {"schedulingGates": [{"name": "example.org/never"}],
                 "securityContext": {"runAsNonRoot": true, "runAsUser": 185, "seccompProfile": {"type": "RuntimeDefault"}},
                 "containers": [{"name": "c", "image": "localhost/none",
                                 "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]},
    })
}

/// Makes the objects of many jobs; the uids of account and binding of each.
pub fn make_objects(
    admin: &Admin,
    namespace: &str,
    jobs: &[String],
    host: &str,
    expires: &str,
) -> Vec<[String; 2]> {
    let uid = |object: &Value| object["metadata"]["uid"].as_str().expect("uid").to_owned();
    let post = |resource: &str, body: Value| -> Asked { (Method::POST, path(resource, namespace, ""), body) };
    let accounts = admin.all(jobs.iter().map(|job| post("serviceaccounts", account(job, host, expires))));
    let owners: Vec<String> = accounts.iter().map(uid).collect();
    let both = || jobs.iter().zip(&owners);
    let bindings = admin.all(both().map(|(job, owner)| post("rolebindings", binding(job, namespace, owner))));
    admin.all(both().map(|(job, owner)| post("secrets", secret(job, owner))));
    owners.into_iter().zip(&bindings).map(|(account, binding)| [account, uid(binding)]).collect()
}

/// Records and objects of many dead jobs.
pub fn fabricate(host: &Host, admin: &Admin, namespace: &str, model: &Value, jobs: &[String]) {
    let uids = make_objects(admin, namespace, jobs, &host.name, "2099-01-01T00:00:00Z");
    for (job, uids) in jobs.iter().zip(&uids) {
        put_record(host, job, fabricated_record(model, job, uids).to_string().as_bytes());
    }
}

/// A time around now as the annotation has it.
pub fn seconds_from_now(seconds: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    now.round(jiff::Unit::Second).expect("second").to_string()
}

/// Sets the time at which an account is overdue.
pub fn set_expiry(admin: &Admin, namespace: &str, job: &str, expires: &Value) {
    let patch = json!({"metadata": {"annotations": {"spark-submit-as/expires-at": expires}}});
    admin.done(Method::PATCH, &path("serviceaccounts", namespace, &format!("ssa-job-{job}")), patch);
}

/// Makes an account overdue: from the second after its creation on, since one that was overdue before it existed is not
/// believed. Comes back when the cluster's clock, which is this machine's, has passed that.
pub fn make_overdue(admin: &Admin, account: &str) {
    let created = admin.get(account)["metadata"]["creationTimestamp"].as_str().expect("time").to_owned();
    let created: jiff::Timestamp = created.parse().expect("RFC 3339");
    let expires = created + jiff::SignedDuration::from_secs(1);
    let patch = json!({"metadata": {"annotations": {"spark-submit-as/expires-at": expires.to_string()}}});
    admin.done(Method::PATCH, account, patch);
    until("the time has passed", || jiff::Timestamp::now() > expires + jiff::SignedDuration::from_secs(2));
}
