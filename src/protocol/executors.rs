//! What is asked and said about a job's executors. All of it is looked at with the job's own token: the provisioner has no
//! right to read pods.

use serde::{Deserialize, Serialize};

use super::{TearDown, WireToken};

/// Most findings of one answer,
pub const MAX_FINDINGS: usize = 8;
/// most lines of an executor's log in one of them,
pub const MAX_LINES: usize = 20;
/// and most characters of such a line.
pub const MAX_LINE: usize = 240;

/// Why does no executor run? Nothing is made for the answer.
#[derive(Serialize, Deserialize)]
pub struct Explain {
    /// What the job has, so that a provisioner that did not make it can take it back as well.
    pub made: TearDown,
    /// The job's token.
    pub token: WireToken,
    /// JSON of a pod such as Spark makes. Where no pod of the job is there, its creation is tried with `dryRun=All`.
    pub pod: Option<String>,
}

/// The state of a job's executors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Executors {
    /// At least one runs.
    Run,
    /// At least one has just begun to.
    Begin,
    /// None runs; without a finding there is no pod, and one would be accepted.
    None,
    /// The question was overtaken by another request.
    Unknown,
}

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// A ResourceQuota refuses the pod.
    Quota,
    /// A LimitRange refuses it.
    Limits,
    /// Pod Security admission refuses it.
    PodSecurity,
    /// An admission policy or webhook refuses it.
    Policy,
    /// The job's account may not do what Spark must do.
    Forbidden,
    /// The job's token is not accepted.
    Token,
    /// The API server refuses it for another reason.
    Refused,
    /// Pods that no node takes.
    Unschedulable,
    /// Pods whose image cannot be had.
    Image,
    /// Pods that wait for something else.
    Waiting,
    /// Executors that did not reach their driver.
    Driver,
    /// Executors that were killed because they used more memory than they may.
    Memory,
    /// Executors that failed in another way.
    Failed,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its kind.
    pub trouble: Trouble,
    /// How many pods it is about; 0 for a refusal.
    pub pods: u32,
    /// The cluster's own words.
    pub text: String,
    /// Last lines of the log of the latest of these pods.
    pub lines: Vec<String>,
}

/// Answer to [`Explain`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Whether executors run.
    pub executors: Executors,
    /// Why not.
    pub findings: Vec<Finding>,
}
