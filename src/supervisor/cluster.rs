//! Questions to a provisioner outside of a run: for `check`, `reap` and `kill`. It is started at the first one, and anew
//! when it died.

use std::time::{Duration, Instant};

use super::events::{Event, Events};
use super::lookup::{self, Question, Record};
use super::worker::Worker;
use super::{Failure, run, tree};
use crate::exit::ExitCode;
use crate::policy::config::{Cluster, Config};
use crate::protocol::{ClusterAccess, Reply, Request};
use crate::sys::trusted;

/// The provisioner's account, as the account database has it.
///
/// # Errors
/// [`ExitCode::ConfigInvalid`], [`ExitCode::LookupFailed`].
pub fn provisioner(config: &Config) -> Result<Record, Failure> {
    account(config, "provisioner", &config.provisioner)
}

/// The account that a key of the configuration names for a provisioner.
///
/// # Errors
/// As [`provisioner`].
pub fn account(config: &Config, key: &str, name: &str) -> Result<Record, Failure> {
    let question = Question { names: vec![name.to_owned()], ..Question::default() };
    let mut answer = lookup::ask(&question, config.timeouts.lookup)?;
    match answer.names.remove(name) {
        Some(record) if record.uid != 0 => Ok(record),
        _ => Err(Failure::new(
            ExitCode::ConfigInvalid,
            format!("`{key}` names an account that does not exist, or that is root (useradd --system)"),
        )),
    }
}

/// One cluster, and the provisioner that talks to it.
pub struct Session<'a> {
    config: &'a Config,
    cluster: &'a Cluster,
    provisioner: &'a Record,
    worker: Option<Worker>,
}

impl<'a> Session<'a> {
    /// Nothing is started yet.
    #[must_use]
    pub fn new(config: &'a Config, cluster: &'a Cluster, provisioner: &'a Record) -> Self {
        Self { config, cluster, provisioner, worker: None }
    }

    /// Asks, and hands every reply to `take` until it gives a result.
    ///
    /// # Errors
    /// What the provisioner answered, that it died or broke the protocol, that no answer came in `time`, or that this
    /// process was told to stop.
    pub fn ask<T>(
        &mut self,
        events: &mut Events,
        request: &Request,
        time: Duration,
        take: impl FnMut(Reply) -> Option<T>,
    ) -> Result<T, Failure> {
        let answer = self.answer(events, request, time, take);
        if !self.worker.as_ref().is_some_and(Worker::is_idle) {
            // Dead, or in the middle of something: what it would say yet must not be taken for the next answer.
            self.end();
        }
        answer
    }

    fn answer<T>(
        &mut self,
        events: &mut Events,
        request: &Request,
        time: Duration,
        mut take: impl FnMut(Reply) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + time;
        self.worker()?.send(request)?;
        loop {
            match events.next(self.worker.as_ref().map(Worker::socket), Some(deadline))? {
                Event::Provisioner => {
                    while let Some(reply) = self.receive()? {
                        match reply {
                            Reply::Failed { code, message, .. } => {
                                return Err(run::from_cluster(code, &message));
                            }
                            reply => {
                                if let Some(result) = take(reply) {
                                    return Ok(result);
                                }
                            }
                        }
                    }
                }
                Event::Children => {
                    for status in tree::reap() {
                        if let Some(worker) = &mut self.worker {
                            worker.note(status);
                        }
                    }
                }
                Event::Deadline => {
                    return Err(Failure::new(
                        ExitCode::ClusterUnreachable,
                        "the cluster did not answer in time",
                    ));
                }
                Event::Stop(_) => return Err(Failure::new(ExitCode::Interrupted, "told to stop")),
                Event::CallerGone | Event::PassOn(_) => {}
            }
        }
    }

    fn worker(&mut self) -> Result<&mut Worker, Failure> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => {
                let kubeconfig = trusted::open_credential(
                    &self.cluster.kubeconfig,
                    self.provisioner.uid,
                    self.provisioner.gid,
                )
                .map_err(Failure::of(ExitCode::ClusterCredential))?;
                let access = ClusterAccess::of(self.cluster, &self.config.timeouts);
                Worker::start(self.provisioner, kubeconfig, access)?
            }
        };
        Ok(self.worker.insert(worker))
    }

    fn receive(&mut self) -> Result<Option<Reply>, Failure> {
        match &mut self.worker {
            None => Ok(None),
            Some(worker) => worker.receive().inspect_err(|_| self.worker = None),
        }
    }

    /// Ends the provisioner, if there is one.
    pub fn end(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.end();
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
