//! The record of one job: what it is, what was made for it, how it went. Written by root, read by root, never executed
//! on: no path and no command is taken from it [50], [90].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::exit::ExitCode;
use crate::policy::names::{JobId, Login, NamespaceName, UserName};
use crate::supervisor::Outcome;
use crate::supervisor::proc::Process;
use crate::supervisor::report::escaped;

/// What this program writes.
pub const VERSION: u32 = 1;
/// Largest record in bytes.
pub const MAX_RECORD: usize = 64 * 1024;
/// Most words of a command line that are kept,
const MAX_WORDS: usize = 256;
/// and most bytes of them together.
const MAX_COMMAND: usize = 16 * 1024;
/// Most bytes of what was told about executors.
const MAX_TOLD: usize = 16 * 1024;
/// Most failures that are kept,
const MAX_FAILURES: usize = 16;
/// and most bytes of one.
const MAX_FAILURE: usize = 512;

/// Where a job is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Things are being made for it.
    Starting,
    /// The Spark program runs.
    Running,
    /// It has ended and is being taken back.
    Ending,
    /// Nothing more will happen.
    Ended,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// The Spark program exited with this status.
    Code(u8),
    /// A signal ended the Spark program.
    Signal(i32),
    /// The Spark program did not run, or was ended because no executor did: why.
    Refused {
        /// The wrapper's own exit code.
        code: u8,
        /// Its name.
        name: String,
        /// One sentence.
        message: String,
    },
    /// The wrapper was killed and did not see the end.
    Unknown,
}

impl End {
    /// The end of a job that ran.
    #[must_use]
    pub fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Code(code) => Self::Code(code),
            Outcome::Signal(signal) => Self::Signal(signal),
        }
    }

    /// The end of a run that came to no job.
    #[must_use]
    pub fn refused(code: ExitCode, message: &str) -> Self {
        Self::Refused { code: code.number(), name: code.name().to_owned(), message: bounded(message) }
    }
}

/// When what happened, in seconds since 1970 by this host's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// The run was decided on.
    pub accepted: u64,
    /// Everything in the cluster was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioned: Option<u64>,
    /// The Spark program ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<u64>,
    /// It had ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// It was taken back, or that was given up for the time being.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed: Option<u64>,
}

/// Who took it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Its own `run`.
    Run,
    /// A `reap`.
    Reap,
    /// A `kill`.
    Kill,
}

/// What became of the clean-up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cleanup {
    /// Nothing is left.
    pub complete: bool,
    /// What is left, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// Who tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// How often it failed,
    #[serde(default)]
    pub tries: u32,
    /// and since when, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<u64>,
}

/// What the cluster made for the job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Made {
    /// Uid of the job's ServiceAccount.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_uid: Option<String>,
    /// Uid of its RoleBinding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub binding_uid: Option<String>,
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// The job.
    pub job: JobId,
    /// Where it is in its life; the wrapper may have died since.
    pub phase: Phase,
    /// The account that called,
    pub caller: String,
    /// and its uid.
    pub caller_uid: u32,
    /// The login.
    pub login: Login,
    /// Its UNIX account,
    pub account: UserName,
    /// the account's uid,
    pub uid: u32,
    /// and its primary gid.
    pub gid: u32,
    /// The profile.
    pub profile: String,
    /// The project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The rule that allowed the account.
    pub rule: String,
    /// The cluster, as the configuration calls it.
    pub cluster: String,
    /// The namespace.
    pub namespace: NamespaceName,
    /// This host's name.
    pub host: String,
    /// The caller's words.
    pub tags: BTreeMap<String, String>,
    /// The command line, redacted and bounded.
    pub command: Vec<String>,
    /// The wrapper.
    pub supervisor: Process,
    /// The job's cgroup below the root of the v2 hierarchy, where the host has one; it may not have been made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Its cgroups in hierarchies of v1, which limit it; they may not have been made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The Spark program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// What the cluster made for it: to be looked at before deleting when unknown.
    pub made: Made,
    /// When what happened.
    pub times: Times,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<End>,
    /// Why executors did not run or failed, as it was told; the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub executors: Vec<String>,
    /// What became of the clean-up.
    pub cleanup: Cleanup,
}

/// Why a text is no record. The text itself is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by another version of this program.
    #[error("is of version {0}, and this program knows {VERSION}; use the program that wrote it")]
    Version(u32),
    /// Larger than [`MAX_RECORD`].
    #[error("has more than {MAX_RECORD} bytes")]
    TooLarge,
    /// Not a record.
    #[error("is not a record of this program (line {0}, column {1})")]
    Malformed(usize, usize),
}

/// Only the version, whatever else is there.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(text: &[u8]) -> Result<Self, RecordError> {
        if text.len() > MAX_RECORD {
            return Err(RecordError::TooLarge);
        }
        let malformed = |error: serde_json::Error| RecordError::Malformed(error.line(), error.column());
        match serde_json::from_slice::<Self>(text) {
            Ok(record) if record.version == VERSION => Ok(record),
            Ok(record) => Err(RecordError::Version(record.version)),
            Err(error) => match serde_json::from_slice::<Versioned>(text) {
                Ok(Versioned { version }) if version > VERSION => Err(RecordError::Version(version)),
                _ => Err(malformed(error)),
            },
        }
    }

    /// Its text.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`]; nothing that this program puts into a record makes it so.
    pub fn text(&self) -> Result<Vec<u8>, RecordError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| RecordError::Malformed(error.line(), error.column()))?;
        if text.len() > MAX_RECORD { Err(RecordError::TooLarge) } else { Ok(text) }
    }

    /// Notes what could not be taken back; empty when nothing is left.
    pub fn closed(&mut self, failures: &[String], by: By, now: u64) {
        self.times.ended.get_or_insert(now);
        self.times.closed = Some(now);
        self.exit.get_or_insert(End::Unknown);
        self.cleanup.by = Some(by);
        self.cleanup.complete = failures.is_empty();
        self.cleanup.failures = failures.iter().take(MAX_FAILURES).map(|text| bounded(text)).collect();
        if failures.is_empty() {
            self.phase = Phase::Ended;
            self.cleanup.failing_since = None;
        } else {
            self.phase = Phase::Ending;
            self.cleanup.tries = self.cleanup.tries.saturating_add(1);
            self.cleanup.failing_since.get_or_insert(now);
        }
    }

    /// Notes what was told about executors. The oldest goes when it is too much.
    pub fn told(&mut self, lines: impl IntoIterator<Item = String>) {
        self.executors.extend(lines);
        let mut left = MAX_TOLD;
        let kept = self.executors.iter().rev().take_while(|line| json_fits(line, &mut left)).count();
        self.executors.drain(..self.executors.len() - kept);
    }

    /// Whether it has these tags.
    #[must_use]
    pub fn tagged(&self, tags: &BTreeMap<String, String>) -> bool {
        tags.iter().all(|(key, value)| self.tags.get(key) == Some(value))
    }
}

/// A redacted command line with no more than a record holds.
#[must_use]
pub fn command(words: Vec<String>) -> Vec<String> {
    let count = words.len();
    let mut left = MAX_COMMAND;
    let mut kept: Vec<String> =
        words.into_iter().take(MAX_WORDS).take_while(|word| json_fits(word, &mut left)).collect();
    if kept.len() < count {
        kept.push(format!("... ({} more)", count - kept.len()));
    }
    kept
}

/// Whether a text fits into what is left, as JSON, which is what fills the record; it is taken off.
fn json_fits(text: &str, left: &mut usize) -> bool {
    let length = serde_json::to_string(text).map_or(usize::MAX, |text| text.len());
    let fits = length < *left;
    *left = left.saturating_sub(length);
    fits
}

fn bounded(text: &str) -> String {
    let text = escaped(text);
    text.char_indices().take_while(|(at, _)| *at < MAX_FAILURE).map(|(_, c)| c).collect()
}

/// This host's clock, in seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map(|time| time.as_secs()).unwrap_or_default()
}
