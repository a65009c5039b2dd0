//! Taking back what a job had, whatever happened before. Every failure is told, not just the first [85].

use std::time::Instant;

use nix::sys::signal::Signal;

use super::{KILL_PATIENCE, Life, from_cluster};
use crate::exit::ExitCode;
use crate::protocol::{Reply, Request};
use crate::supervisor::events::Event;
use crate::supervisor::limits;
use crate::supervisor::rundir::remove_scratch;
use crate::supervisor::steps::Step;
use crate::supervisor::worker::Worker;
use crate::supervisor::{Failure, tree};

impl Life<'_> {
    /// Takes everything back, in the order of the module's comment; every failure, not just the first [85].
    pub(super) fn take_back(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        if let Err(failure) = self.end_processes() {
            left.push(failure.message);
        }
        self.reached(Step::ProcessesEnded);
        if self.asked
            && let Err(failures) = self.take_back_objects()
        {
            left.extend(failures);
        }
        self.reached(Step::TornDown);
        if let Some(worker) = self.worker.take() {
            worker.end();
        }
        self.reached(Step::ProvisionerEnded);
        if let Some(scratch) = self.scratch.take() {
            let removed = remove_scratch(&self.plan.user, &scratch, self.plan.timeouts.staging);
            left.extend(removed.err().map(|failure| failure.message));
        }
        self.reached(Step::ScratchRemoved);
        if let Some(directory) = self.directory.take() {
            left.extend(directory.remove().err().map(|failure| failure.message));
        }
        self.reached(Step::RunDirectoryRemoved);
        left
    }

    fn end_processes(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + KILL_PATIENCE;
        if let Some(job) = &self.job {
            job.signal_group(Signal::SIGKILL);
            job.signal(Signal::SIGKILL);
        }
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill();
        }
        // Members of the cgroup are descendants, so they come to us to be reaped.
        tree::end(self.worker.as_ref().map(Worker::pid), deadline)?;
        let ended = self.cgroup.take().map_or(Ok(()), |cgroup| cgroup.end(deadline));
        ended.and(limits::remove(&self.plan.job, &self.limits.groups, deadline))
    }

    fn take_back_objects(&mut self) -> Result<(), Vec<String>> {
        // Twice: the provisioner that provisioned may be dead, stuck in a request, or confused.
        if self.tear_down().is_ok() {
            return Ok(());
        }
        if let Some(worker) = self.worker.take() {
            worker.end();
        }
        self.tear_down().map_err(|failure| failure.message.split('\n').map(String::from).collect())
    }

    fn tear_down(&mut self) -> Result<(), Failure> {
        let request = Request::TearDown(self.made.clone());
        let deadline = Instant::now() + self.plan.timeouts.teardown + KILL_PATIENCE;
        self.worker_or_new()?.send(&request)?;
        self.reached(Step::TearDownAsked);
        loop {
            match self.next_event(Some(deadline))? {
                Event::Provisioner => {
                    while let Some(reply) = self.receive()? {
                        match reply {
                            Reply::TornDown { pods, failures, .. } if failures.is_empty() => {
                                self.report.say(format!("taken back: account, binding, {pods} pods"));
                                return Ok(());
                            }
                            Reply::TornDown { failures, .. } => {
                                return Err(Failure::new(ExitCode::CleanupIncomplete, failures.join("\n")));
                            }
                            Reply::Failed { code, message, .. } => return Err(from_cluster(code, &message)),
                            // An object that was made while the request was overtaken.
                            Reply::Created { kind, name, uid } => self.created(kind, &name, uid)?,
                            _ => {}
                        }
                    }
                }
                Event::Deadline => {
                    return Err(Failure::new(
                        ExitCode::CleanupIncomplete,
                        "the cluster did not delete what the job had in time (configuration key timeouts.teardown)",
                    ));
                }
                // The clean-up is bounded already; a second signal does not cut it short [83].
                Event::Stop(_) | Event::PassOn(_) | Event::CallerGone | Event::Children => {}
            }
        }
    }
}
