//! A quiet watch on the job's pods that fail.
//!
//! Spark deletes a failed executor's pod within a second, and two seconds later it is gone, so what it said can be read at that
//! moment only. The API server sends nothing while no pod fails: the watch is one request, and an idle connection. It is a help
//! and no promise: a watch that breaks begins anew after a pause, and what failed meanwhile is not seen.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::{Client, Config};
use serde::Deserialize;
use spark_submit_as::policy::token::Token;
use spark_submit_as::protocol::{ClusterAccess, Finding, TearDown};
use tokio::task::JoinHandle;

use super::failures::Failures;
use super::pod::Pod;
use super::{list, selected};
use crate::credential::Credential;

/// Until it begins: no executor fails sooner, and a job that is shorter needs none.
const QUIET: Duration = Duration::from_secs(3);
/// Seconds after which the server ends it, and it begins anew with the token of that time.
const LIFE: u32 = 3600;
/// Until the answer's first bytes.
const ANSWER: Duration = Duration::from_secs(30);
/// Between two tries; twice as long after each that did not last,
const PAUSE: Duration = Duration::from_secs(2);
/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// For the look at the end.
const LAST: Duration = Duration::from_secs(3);
/// Pods that are looked at then.
const MOST: u32 = 50;
/// Largest event in bytes: one pod.
const MAX_EVENT: usize = 1 << 20;

/// The watch. It ends with this.
pub struct Watch {
    begun: Instant,
    job: TearDown,
    shared: Arc<Mutex<Shared>>,
    task: JoinHandle<()>,
}

struct Shared {
    token: Token,
    failures: Failures,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    object: serde_json::Value,
}

impl Watch {
    /// Begins one with a configuration that has no credential yet.
    pub fn begin(config: Config, job: &TearDown, token: Token) -> Self {
        let shared = Arc::new(Mutex::new(Shared { token, failures: Failures::default() }));
        let path =
            format!("{}&fieldSelector=status.phase%3DFailed&watch=true&timeoutSeconds={LIFE}", selected(job));
        let task = tokio::spawn(watch(shared.clone(), config, path));
        Self { begun: Instant::now(), job: job.clone(), shared, task }
    }

    /// The job has another token.
    pub fn renewed(&self, token: Token) {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).token = token;
    }

    /// What has failed so far.
    pub fn failures(&self) -> Vec<Finding> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner).failures.findings()
    }

    /// The same at the end of a job, with a look at the pods that are still there: the last one to fail may be on its way.
    pub async fn last_failures(&self, credential: &Credential, access: &ClusterAccess) -> Vec<Finding> {
        if self.begun.elapsed() < QUIET {
            return Vec::new();
        }
        let token = self.shared.lock().unwrap_or_else(PoisonError::into_inner).token.clone();
        if let Ok(api) = credential.client_of_job(access, &token)
            && let Ok(Ok(Ok(pods))) = tokio::time::timeout(LAST, list(&api, &self.job, "", MOST)).await
        {
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            pods.iter().for_each(|pod| shared.failures.note(pod));
        }
        self.failures()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(shared: Arc<Mutex<Shared>>, config: Config, path: String) {
    tokio::time::sleep(QUIET).await;
    let mut pause = PAUSE;
    loop {
        let began = Instant::now();
        once(&shared, &config, &path).await;
        pause = if began.elapsed() > LONGEST_PAUSE { PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        tokio::time::sleep(pause).await;
    }
}

/// Until it ends, for whatever reason. None: there is nothing to do about one but to begin anew.
async fn once(shared: &Mutex<Shared>, config: &Config, path: &str) -> Option<()> {
    let mut config = config.clone();
    // It says nothing while nothing fails.
    config.read_timeout = None;
    let token = shared.lock().unwrap_or_else(PoisonError::into_inner).token.clone();
    config.auth_info.token = Some(token.expose().into());
    let client = Client::try_from(config).ok()?;
    let request = Request::get(path).header("accept", "application/json").body(Body::empty()).ok()?;
    let response = tokio::time::timeout(ANSWER, client.send(request)).await.ok()?.ok()?;
    if !response.status().is_success() {
        return None;
    }
    let mut body = pin!(response.into_body());
    let mut buffer = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let event: Event = serde_json::from_slice(buffer.get(..end)?).ok()?;
            buffer.drain(..=end);
            match event.kind.as_str() {
                "ADDED" | "MODIFIED" => {
                    let pod: Pod = serde_json::from_value(event.object).ok()?;
                    shared.lock().unwrap_or_else(PoisonError::into_inner).failures.note(&pod);
                }
                "DELETED" | "BOOKMARK" => {}
                _ => return None,
            }
        }
        if buffer.len() > MAX_EVENT {
            return None;
        }
    }
    Some(())
}
