//! What a pod's status says.

use serde::Deserialize;
use spark_submit_as::protocol::{MAX_LINE, MAX_LINES, Trouble};

use crate::fault::bounded;

/// Reasons of a container that waits for its image (kubelet, `pkg/kubelet/images/types.go`).
const IMAGE: [&str; 7] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
];
/// What Spark's executor says when it does not get through to its driver (`TransportClientFactory`, netty, `RpcEnv`).
const NO_DRIVER: [&str; 6] = [
    "Failed to connect to",
    "Connection refused",
    "Connection timed out",
    "No route to host",
    "UnknownHostException",
    "Cannot receive any reply from",
];

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Metadata,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    pub uid: String,
    deletion_timestamp: Option<jiff::Timestamp>,
    deletion_grace_period_seconds: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    reason: String,
    message: String,
    conditions: Vec<Condition>,
    init_container_statuses: Vec<Container>,
    container_statuses: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    state: State,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    waiting: Option<Reason>,
    running: Option<Running>,
    terminated: Option<Terminated>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reason {
    reason: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Running {
    started_at: Option<jiff::Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Terminated {
    exit_code: i64,
    reason: String,
    message: String,
    finished_at: Option<jiff::Timestamp>,
}

/// Exit code of a program that was told to end (128 + SIGTERM).
const TOLD_TO_END: i64 = 143;

impl Pod {
    /// Since when all of its containers run, in seconds since 1970. None: one of them does not, or is not ready.
    pub fn runs_since(&self) -> Option<i64> {
        let condition = |kind: &str| self.status.conditions.iter().find(|found| found.kind == kind);
        if self.status.phase != "Running" || condition("Ready")?.status != "True" {
            return None;
        }
        let started = |container: &Container| container.state.running.as_ref()?.started_at;
        let starts: Option<Vec<_>> = self.status.container_statuses.iter().map(started).collect();
        starts?.into_iter().max().map(jiff::Timestamp::as_second)
    }

    /// What a pod that does not run waits for.
    pub fn waits(&self) -> (Trouble, String) {
        let status = &self.status;
        let scheduled = status.conditions.iter().find(|found| found.kind == "PodScheduled");
        if let Some(condition) = scheduled.filter(|condition| condition.status == "False") {
            let trouble = match condition.reason.as_str() {
                "Unschedulable" => Trouble::Unschedulable,
                _ => Trouble::Waiting,
            };
            return (trouble, said(&condition.reason, &condition.message));
        }
        let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
        for container in containers.clone() {
            if let Some(waiting) = &container.state.waiting
                && waiting.reason != "PodInitializing"
            {
                let image = IMAGE.contains(&waiting.reason.as_str());
                let trouble = if image { Trouble::Image } else { Trouble::Waiting };
                return (trouble, said(&waiting.reason, &waiting.message));
            }
        }
        for container in containers {
            if let Some(ended) = &container.state.terminated
                && ended.exit_code != 0
            {
                return (Trouble::Waiting, ended.shown());
            }
        }
        let nothing = if status.message.is_empty() { "the cluster tells no reason" } else { &status.message };
        (Trouble::Waiting, said(&status.reason, nothing))
    }

    /// Whether it failed by itself. Spark deletes an executor's pod as soon as its container has ended, before the kubelet
    /// calls the pod failed; one that ended because it was deleted has not failed.
    pub fn has_failed(&self) -> bool {
        let ended = self.ended();
        let Some(deletion) = self.metadata.deletion_timestamp else {
            return self.status.phase == "Failed" || ended.is_some();
        };
        // The time is that at which its grace is over.
        let asked = deletion.as_second().saturating_sub(self.metadata.deletion_grace_period_seconds);
        ended.is_some_and(|ended| {
            ended.exit_code != TOLD_TO_END && ended.finished_at.is_some_and(|at| at.as_second() <= asked)
        })
    }

    /// The container that ended with an error.
    fn ended(&self) -> Option<&Terminated> {
        let status = &self.status;
        let containers = status.container_statuses.iter().chain(&status.init_container_statuses);
        containers
            .filter_map(|container| container.state.terminated.as_ref())
            .find(|ended| ended.exit_code != 0)
    }

    /// Why it failed, and the last lines of the log of the container that did.
    pub fn failed(&self) -> (Trouble, String, Vec<String>) {
        let status = &self.status;
        let Some(ended) = self.ended() else {
            return (Trouble::Failed, said(&status.reason, &status.message), Vec::new());
        };
        let trouble = if ended.reason == "OOMKilled" {
            Trouble::Memory
        } else if NO_DRIVER.iter().any(|words| ended.message.contains(words)) {
            Trouble::Driver
        } else {
            Trouble::Failed
        };
        let mut text = ended.shown();
        // Such as Evicted: the kubelet's reason to end all containers.
        if !status.reason.is_empty() {
            text = format!("{}; {text}", said(&status.reason, &status.message));
        }
        (trouble, bounded(&text), lines(&ended.message))
    }
}

impl Terminated {
    fn shown(&self) -> String {
        let reason = if self.reason.is_empty() { "Error" } else { &self.reason };
        bounded(&format!("{reason}, exit code {}", self.exit_code))
    }
}

fn said(reason: &str, message: &str) -> String {
    match (reason, message) {
        ("", message) => bounded(message),
        (reason, "") => bounded(reason),
        (reason, message) => bounded(&format!("{reason}: {message}")),
    }
}

/// The last lines of a termination message: what the program left there, or the end of its log (the kubelet's
/// `FallbackToLogsOnError`: at most 80 lines and 2 KiB).
fn lines(text: &str) -> Vec<String> {
    let all: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    let from = all.len().saturating_sub(MAX_LINES);
    let line = |line: &&str| bounded(&line.replace('\t', "  ")).chars().take(MAX_LINE).collect();
    all.get(from..).unwrap_or_default().iter().map(line).collect()
}
