//! Takes back what a job had: sweep its pods, delete the RoleBinding (its rights end at once), delete the account (its
//! token ends within the authenticator's cache time, what it owns goes), sweep until nothing is left.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};
use spark_submit_as::protocol::{JOB_LABEL, TearDown};

use crate::api::Api;
use crate::fault::bounded;
use crate::objects;

/// Seconds that a pod has to end. Its driver is gone, and executors end by themselves half a second after it.
const POD_GRACE: u64 = 1;
/// Pods deleted by one request.
const BATCH: u32 = 250;

/// Pods deleted, and every failure. NotFound is success [85].
pub async fn tear_down(api: &Api, wanted: &TearDown) -> (u32, Vec<String>) {
    let deadline = Instant::now() + Duration::from_secs(wanted.seconds);
    let mut failures = Vec::new();
    let swept = sweep(api, wanted).await;
    let mut pods = match &swept {
        Ok(pods) => *pods,
        Err(problem) => {
            failures.push(problem.clone());
            0
        }
    };
    let namespace = wanted.namespace.as_str();
    let name = wanted.job.object_name();
    let binding = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/{name}");
    let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
    for (what, path, uid) in
        [("RoleBinding", binding, &wanted.binding_uid), ("ServiceAccount", account, &wanted.account_uid)]
    {
        let what = format!("{what} {namespace}/{name}");
        failures.extend(remove(api, &what, &path, uid.as_deref(), deadline).await.err());
    }
    // From here on nobody can make another pod of this job.
    let mut pause = Duration::from_millis(20);
    while swept.is_ok() {
        match sweep(api, wanted).await {
            Ok(0) => break,
            Ok(left) => pods = pods.max(left),
            Err(problem) => {
                failures.push(problem);
                break;
            }
        }
        if Instant::now() >= deadline {
            failures.push(format!("pods of job {} in {namespace} do not end", wanted.job));
            break;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
    (pods, failures)
}

/// Deletes the job's pods by label and counts those that were there. `deletecollection` needs no right to read.
async fn sweep(api: &Api, wanted: &TearDown) -> Result<u32, String> {
    let namespace = wanted.namespace.as_str();
    let selector = JOB_LABEL.replace('/', "%2F");
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods?labelSelector={selector}%3D{}&limit={BATCH}",
        wanted.job
    );
    let options = json!({
        "apiVersion": "v1", "kind": "DeleteOptions",
        "gracePeriodSeconds": POD_GRACE, "propagationPolicy": "Background",
    });
    let failed = |problem: String| bounded(&format!("pods of job {} in {namespace}: {problem}", wanted.job));
    let answer = api.delete(&path, &options).await.map_err(|fault| failed(fault.to_string()))?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(0),
        status if status.is_success() => {
            let list: Value = answer.object().map_err(|fault| failed(fault.to_string()))?;
            let count = list.get("items").and_then(Value::as_array).map_or(0, Vec::len);
            Ok(u32::try_from(count).unwrap_or(u32::MAX))
        }
        status => Err(failed(format!("{} {}", status.as_u16(), answer.message()))),
    }
}

async fn remove(
    api: &Api,
    what: &str,
    path: &str,
    uid: Option<&str>,
    deadline: Instant,
) -> Result<(), String> {
    let answer = loop {
        match api.delete(path, &objects::delete_options(uid)).await {
            Ok(answer) => break answer,
            Err(fault) if Instant::now() >= deadline => return Err(bounded(&format!("{what}: {fault}"))),
            Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    };
    match answer.status {
        StatusCode::NOT_FOUND => Ok(()),
        status if status.is_success() => Ok(()),
        StatusCode::CONFLICT => {
            Err(bounded(&format!("{what} is not the object that was made for this job; it is left alone")))
        }
        status => Err(bounded(&format!("{what}: {} {}", status.as_u16(), answer.message()))),
    }
}
