//! Runs spark-submit on Kubernetes as the end-user, with a credential made for one job.
//!
//! The rooms of this crate are named after the uid that executes their code:
//!
//! - [`supervisor`] runs as root, [`job`] becomes the end-user between fork and exec, [`caller`] the caller;
//! - the provisioner (`src/provisioner/`, a binary of its own) talks to Kubernetes as its own account;
//! - [`policy`], [`spark`] and [`protocol`] are pure and shared; [`sys`] holds the only `unsafe` code.
//!
//! `supervisor` and the provisioner never use each other (`tests/architecture.rs`).

pub mod caller;
pub mod cli;
pub mod exit;
pub mod job;
pub mod policy;
pub mod protocol;
pub mod spark;
pub mod supervisor;
pub mod sys;
