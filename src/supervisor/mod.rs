//! What runs as root: one thread, no network, no parser of what the cluster says beyond `protocol`'s frames.
//!
//! [`run`] is the life of a job; the files beside it are its parts, in the order in which it uses them:
//! [`startup`] makes the process fit to run as root, [`load`] reads the configuration, [`lookup`] asks the account
//! database, [`invocation`] gathers what the caller wants, [`plan`] decides, [`rundir`] holds the job's files,
//! [`worker`] is the supervisor's end of the provisioner, [`events`] the one poll, [`tree`] ends processes.

pub mod audit;
pub mod cgroup;
pub mod check;
pub mod cluster;
pub mod config;
pub mod dead;
pub mod events;
pub mod invocation;
pub mod jobs;
pub mod journal;
pub mod limits;
pub mod load;
pub mod lookup;
pub mod namespaces;
pub mod paths;
pub mod plan;
pub mod ports;
pub mod proc;
pub mod properties;
pub mod reap;
pub mod report;
pub mod run;
pub mod rundir;
pub mod startup;
pub mod steps;
pub mod terminal;
pub mod tree;
pub mod verbs;
pub mod who;
pub mod worker;

use crate::exit::ExitCode;

/// Why the wrapper ends a call: a number for machines and a sentence for people.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The number.
    pub code: ExitCode,
    /// What was refused or failed, by which rule, and what to do.
    pub message: String,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// For `map_err`: keeps the error's own sentence.
    pub fn of<E: std::fmt::Display>(code: ExitCode) -> impl FnOnce(E) -> Self {
        move |error| Self { code, message: error.to_string() }
    }

    /// For `map_err`: the error's own sentence after what was tried.
    pub fn doing<E: std::fmt::Display>(
        code: ExitCode,
        what: impl std::fmt::Display,
    ) -> impl FnOnce(E) -> Self {
        move |error| Self { code, message: format!("{what}: {error}") }
    }
}

impl From<crate::policy::identity::Refusal> for Failure {
    fn from(refusal: crate::policy::identity::Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit with this status.
    Code(u8),
    /// End by this signal, as the job did.
    Signal(i32),
}

impl Outcome {
    /// All went well.
    pub const DONE: Self = Self::Code(0);
}
