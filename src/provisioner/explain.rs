//! Why executors do not run, and why they failed, all of it seen with the job's own token.
//!
//! Spark makes bare pods, so a pod that the API server refuses leaves no event and no object: the same pod, tried once more
//! with `dryRun=All`, is refused in the same words.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use spark_submit_as::protocol::{
    Executors, Explain, Explained, Finding, JOB_LABEL, MAX_FINDINGS, TearDown, Trouble,
};

use crate::api::{Answer, Api};
use crate::fault::{Fault, bounded};
use crate::objects;
use crate::wire::Wire;

mod failures;
mod pod;
#[cfg(test)]
mod tests;
mod watch;

pub use watch::Watch;

use pod::Pod;

/// For all of one look.
const LONGEST: Duration = Duration::from_secs(20);
/// Running pods that are looked at: one that has settled is enough.
const RUNNING: u32 = 10;
/// Pending pods that are looked at.
const PENDING: u32 = 50;
/// Seconds that an executor must have run to count: one that cannot start, or not reach its driver, ends within them.
const SETTLED: i64 = 10;

/// A list of pods.
#[derive(Deserialize)]
struct Pods {
    /// `null` when there are none.
    items: Option<Vec<Pod>>,
}

/// Why no executor of a job runs. Given up when the supervisor wants something else, or after some time: nothing that was
/// asked for can take effect.
pub async fn explain(api: &Api, wanted: &Explain, failed: Vec<Finding>, wire: &Wire) -> Explained {
    let mut looking = pin!(tokio::time::timeout(LONGEST, look(api, wanted, failed)));
    let mut spoken = pin!(wire.spoken());
    let looked = std::future::poll_fn(|context| match looking.as_mut().poll(context) {
        Poll::Ready(looked) => Poll::Ready(looked.ok().and_then(Result::ok)),
        Poll::Pending => spoken.as_mut().poll(context).map(|()| None),
    });
    looked.await.unwrap_or(Explained { executors: Executors::Unknown, findings: Vec::new() })
}

async fn look(api: &Api, wanted: &Explain, failed: Vec<Finding>) -> Result<Explained, Fault> {
    let none = |findings| Ok(Explained { executors: Executors::None, findings });
    let running = match pods(api, &wanted.made, "Running", RUNNING).await? {
        Ok(pods) => pods,
        Err(refused) => return none(vec![refused]),
    };
    let now = api.now().unwrap_or(i64::MAX);
    if running.iter().filter_map(Pod::runs_since).any(|since| now.saturating_sub(since) >= SETTLED) {
        return Ok(Explained { executors: Executors::Run, findings: Vec::new() });
    }
    if running.iter().any(|pod| pod.runs_since().is_some()) {
        return Ok(Explained { executors: Executors::Begin, findings: failed });
    }
    let pending = match pods(api, &wanted.made, "Pending", PENDING).await? {
        Ok(pods) => pods,
        Err(refused) => return none(vec![refused]),
    };
    let mut findings = Vec::new();
    running.iter().chain(&pending).for_each(|pod| add(&mut findings, pod.waits()));
    if pending.is_empty() && running.is_empty() {
        findings.extend(refusal(api, wanted).await?);
    }
    findings.extend(failed);
    findings.truncate(MAX_FINDINGS);
    none(findings)
}

/// One more pod of what is known already, or something new.
fn add(findings: &mut Vec<Finding>, (trouble, text): (Trouble, String)) {
    match findings.iter_mut().find(|known| known.trouble == trouble && known.text == text) {
        Some(known) => known.pods = known.pods.saturating_add(1),
        None => findings.push(Finding { trouble, pods: 1, text, lines: Vec::new() }),
    }
}

/// Pods of the job in a phase; or the refusal of the list.
async fn pods(api: &Api, job: &TearDown, phase: &str, most: u32) -> Result<Result<Vec<Pod>, Finding>, Fault> {
    list(api, job, &format!("&fieldSelector=status.phase%3D{phase}"), most).await
}

async fn list(api: &Api, job: &TearDown, which: &str, most: u32) -> Result<Result<Vec<Pod>, Finding>, Fault> {
    let path = format!("{}{which}&limit={most}", selected(job));
    let answer = api.get(&path).await?;
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Ok(Err(refused(&answer))),
        _ => {
            let pods: Pods = answer.success("list pods")?.object()?;
            Ok(Ok(pods.items.unwrap_or_default()))
        }
    }
}

/// Path of a job's pods.
fn selected(job: &TearDown) -> String {
    let label = JOB_LABEL.replace('/', "%2F");
    let pods = objects::collection("pods", job.namespace.as_str());
    format!("{pods}?labelSelector={label}%3D{}", job.job)
}

/// The API server's refusal of an executor's pod; none when it would be made, or when that cannot be told now.
async fn refusal(api: &Api, wanted: &Explain) -> Result<Option<Finding>, Fault> {
    let Some(pod) = wanted.pod.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return Ok(None);
    };
    let path = format!("{}?dryRun=All", objects::collection("pods", wanted.made.namespace.as_str()));
    let answer = api.post(&path, &pod).await?;
    Ok(match answer.status {
        status if status.is_success() => None,
        // Another try would tell: two pods at once for one quota, or too many requests.
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => None,
        status if status.is_server_error() => None,
        _ => Some(refused(&answer)),
    })
}

fn refused(answer: &Answer) -> Finding {
    let message = answer.message();
    let trouble = match answer.status {
        StatusCode::UNAUTHORIZED => Trouble::Token,
        _ => kind_of(&message),
    };
    Finding { trouble, pods: 0, text: bounded(&message), lines: Vec::new() }
}

/// What refuses, from the words of the admission plug-ins and of RBAC (k8s.io/apiserver, k8s.io/pod-security-admission).
fn kind_of(message: &str) -> Trouble {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["exceeded quota", "failed quota", "insufficient quota"]) {
        Trouble::Quota
    } else if says(&["violates PodSecurity"]) {
        Trouble::PodSecurity
    } else if says(&["ValidatingAdmissionPolicy", "admission webhook"]) {
        Trouble::Policy
    } else if says(&["forbidden: User \""]) {
        Trouble::Forbidden
    } else if says(&["usage per ", "limit to request ratio"]) {
        Trouble::Limits
    } else {
        Trouble::Refused
    }
}
