//! Takes back what a job had: sweep its pods, delete the RoleBinding (its rights end at once), delete the account (its
//! token ends within the authenticator's cache time, what it owns goes), sweep until nothing is left.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use spark_submit_as::protocol::{JOB_LABEL, TearDown};

use crate::api::{Answer, Api};
use crate::fault::{Fault, bounded};
use crate::objects;
use crate::provision::text;

/// Seconds that a pod has to end. Its driver is gone, and executors end by themselves half a second after it.
const POD_GRACE: u64 = 1;
/// Pods deleted by one request.
const BATCH: u32 = 250;
/// Kind and resource.
const BINDING: (&str, &str) = ("RoleBinding", "rolebindings");
const ACCOUNT: (&str, &str) = ("ServiceAccount", "serviceaccounts");
/// Longest pause between two looks.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Pods deleted, and every failure. NotFound is success [85].
pub async fn tear_down(api: &Api, wanted: &TearDown) -> (u32, Vec<String>) {
    let deadline = Instant::now() + Duration::from_secs(wanted.seconds);
    let mut pods = BTreeSet::new();
    // So that executors end as early as can be. Its failure is not told: the last sweep looks again.
    let _ = within(share(deadline, 4), sweep(api, wanted, View::Cached, &mut pods)).await;
    let mut failures = objects(api, wanted, deadline).await;
    // From here on nobody can make another pod of this job.
    failures.extend(sweep_all(api, wanted, deadline, &mut pods).await.err());
    (u32::try_from(pods.len()).unwrap_or(u32::MAX), failures)
}

/// Deletes the RoleBinding of a job whose account was just deleted.
pub async fn binding(api: &Api, wanted: &TearDown, deadline: Instant) -> Result<(), String> {
    remove(api, wanted, BINDING, wanted.binding_uid.as_deref(), deadline).await
}

/// Sweeps the pods of a job whose account and RoleBinding are gone.
pub async fn pods(api: &Api, wanted: &TearDown, deadline: Instant) -> Result<(), String> {
    sweep_all(api, wanted, deadline, &mut BTreeSet::new()).await
}

/// Sweeps until no pod of the job is left.
async fn sweep_all(
    api: &Api,
    wanted: &TearDown,
    deadline: Instant,
    pods: &mut BTreeSet<String>,
) -> Result<(), String> {
    let mut pause = Duration::from_millis(20);
    loop {
        let swept = within(deadline, sweep(api, wanted, View::Current, pods)).await;
        let problem = match swept.unwrap_or_else(|| Err(Swept::Unreachable(no_time(wanted)))) {
            Ok(0) => return Ok(()),
            Ok(left) => {
                format!("{left} pods of job {} in {} do not end", wanted.job, wanted.namespace)
            }
            // A right that is missing does not come by waiting.
            Err(Swept::Refused(problem)) => return Err(problem),
            Err(Swept::Unreachable(problem)) => problem,
        };
        if Instant::now() + pause >= deadline {
            return Err(problem);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Deletes the RoleBinding and the account; what they own is removed by the cluster. Every failure is told, and none
/// keeps the other from being tried [85].
pub async fn objects(api: &Api, wanted: &TearDown, deadline: Instant) -> Vec<String> {
    let binding = remove(api, wanted, BINDING, wanted.binding_uid.as_deref(), share(deadline, 2)).await;
    let account = remove(api, wanted, ACCOUNT, wanted.account_uid.as_deref(), deadline).await;
    binding.err().into_iter().chain(account.err()).collect()
}

/// One of `parts` equal parts of the time until `deadline`, so that what hangs leaves some for the rest.
pub fn share(deadline: Instant, parts: u32) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / parts
}

/// What was asked for, if it is there in time.
pub async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout_at(deadline.into(), work).await.ok()
}

fn no_time(wanted: &TearDown) -> String {
    let TearDown { job, namespace, .. } = wanted;
    format!("pods of job {job} in {namespace}: the API server did not answer in time")
}

enum Swept {
    Refused(String),
    Unreachable(String),
}

/// A list of which only the names of what was deleted matter.
#[derive(Deserialize)]
struct Deleted {
    /// `null` when there are none.
    items: Option<Vec<Item>>,
}

#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    uid: String,
}

/// How new the list of pods must be that a sweep deletes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    /// What the API server has at hand: at once.
    Cached,
    /// All that was written before: where pods seldom change this takes up to 100 ms, the period at which the API server
    /// asks etcd how far it is (`progressRequestPeriod`).
    Current,
}

/// Deletes the job's pods by label and says how many are there still. `deletecollection` needs no right to read.
async fn sweep(
    api: &Api,
    wanted: &TearDown,
    view: View,
    pods: &mut BTreeSet<String>,
) -> Result<usize, Swept> {
    let path = format!(
        "{}?labelSelector={}%3D{}&limit={BATCH}{}",
        objects::collection("pods", wanted.namespace.as_str()),
        JOB_LABEL.replace('/', "%2F"),
        wanted.job,
        if view == View::Cached { "&resourceVersion=0" } else { "" }
    );
    let options = json!({
        "apiVersion": "v1", "kind": "DeleteOptions",
        "gracePeriodSeconds": POD_GRACE, "propagationPolicy": "Background",
    });
    let told =
        |problem: String| bounded(&format!("pods of job {} in {}: {problem}", wanted.job, wanted.namespace));
    let unreachable = |fault: Fault| Swept::Unreachable(told(fault.to_string()));
    let answer = api.delete(&path, &options).await.map_err(unreachable)?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(0),
        status if status.is_success() => {
            let list: Deleted = answer.object().map_err(unreachable)?;
            let items = list.items.unwrap_or_default();
            let count = items.len();
            pods.extend(items.into_iter().map(|item| item.metadata.uid));
            Ok(count)
        }
        status if status.is_server_error() => Err(Swept::Unreachable(told(said(&answer)))),
        _ => Err(Swept::Refused(told(said(&answer)))),
    }
}

/// What the server answered instead of what was hoped for.
pub fn said(answer: &Answer) -> String {
    format!("the API server answered {}: {}", answer.status.as_u16(), answer.message())
}

/// Deletes one object of the job's, until it is gone or the time is over.
async fn remove(
    api: &Api,
    wanted: &TearDown,
    (kind, resource): (&str, &str),
    uid: Option<&str>,
    deadline: Instant,
) -> Result<(), String> {
    let name = wanted.job.object_name();
    let path = format!("{}/{name}", objects::collection(resource, wanted.namespace.as_str()));
    removed(api, wanted, &path, uid, deadline)
        .await
        .map_err(|problem| bounded(&format!("{kind} {}/{name}: {problem}", wanted.namespace)))
}

async fn removed(
    api: &Api,
    wanted: &TearDown,
    path: &str,
    uid: Option<&str>,
    deadline: Instant,
) -> Result<(), String> {
    let mut pause = Duration::from_millis(100);
    loop {
        let transient = match within(deadline, try_remove(api, wanted, path, uid)).await {
            None => return Err("the API server did not answer in time".to_owned()),
            Some(Ok(answer)) => match answer.status {
                StatusCode::NOT_FOUND => return Ok(()),
                status if status.is_success() => return Ok(()),
                // The precondition: an object of that name made by somebody else [86].
                StatusCode::CONFLICT => return Err(foreign()),
                status if status.is_server_error() => said(&answer),
                _ => return Err(said(&answer)),
            },
            Some(Err(Removed::Foreign)) => return Err(foreign()),
            Some(Err(Removed::Failed(fault))) => fault.to_string(),
        };
        if Instant::now() + pause >= deadline {
            return Err(transient);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

fn foreign() -> String {
    "is not the object that was made for this job; it is left alone".to_owned()
}

enum Removed {
    Foreign,
    Failed(Fault),
}

/// One delete. Without a known uid, the object is looked at first, and its uid is the precondition then.
async fn try_remove(api: &Api, wanted: &TearDown, path: &str, uid: Option<&str>) -> Result<Answer, Removed> {
    if uid.is_some() {
        return api.delete(path, &objects::delete_options(uid)).await.map_err(Removed::Failed);
    }
    let answer = api.get(path).await.map_err(Removed::Failed)?;
    if !answer.status.is_success() {
        return Ok(answer);
    }
    let found: Value = answer.object().map_err(Removed::Failed)?;
    if text(&found, &objects::label_pointer()) != wanted.job.as_str() {
        return Err(Removed::Foreign);
    }
    let uid = text(&found, "/metadata/uid");
    api.delete(path, &objects::delete_options(Some(uid))).await.map_err(Removed::Failed)
}
