//! Taking back what a job had, whatever happened before. Every failure is told, not just the first [85].

use std::os::fd::AsFd;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::{KILL_PATIENCE, Life, from_cluster};
use crate::exit::ExitCode;
use crate::job;
use crate::protocol::{Reply, Request};
use crate::supervisor::events::Event;
use crate::supervisor::plan::Plan;
use crate::supervisor::rundir::ScratchDirectory;
use crate::supervisor::worker::Worker;
use crate::supervisor::{Failure, tree};
use crate::sys::process;

impl Life<'_> {
    /// Takes everything back, in the order of the module's comment; every failure, not just the first [85].
    pub(super) fn take_back(mut self) -> Vec<String> {
        let mut left = Vec::new();
        if let Err(failure) = self.end_processes() {
            left.push(failure.message);
        }
        if self.asked
            && let Err(failures) = self.take_back_objects()
        {
            left.extend(failures);
        }
        if let Some(worker) = self.worker.take() {
            worker.end();
        }
        if let Some(scratch) = self.scratch.take() {
            left.extend(remove_scratch(self.plan, &scratch).err().map(|failure| failure.message));
        }
        left.extend(self.directory.remove().err().map(|failure| failure.message));
        left
    }

    fn end_processes(&mut self) -> Result<(), Failure> {
        if let Some(job) = &self.job {
            job.signal_group(Signal::SIGKILL);
            job.signal(Signal::SIGKILL);
        }
        tree::end(self.worker.as_ref().map(Worker::pid), Instant::now() + KILL_PATIENCE)
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
        loop {
            match self.next_event(Some(deadline))? {
                Event::Provisioner => {
                    while let Some(reply) = self.receive()? {
                        match reply {
                            Reply::TornDown { pods, failures } if failures.is_empty() => {
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

/// Empties the scratch directory as the end-user, then removes the empty directory from root's.
fn remove_scratch(plan: &Plan, scratch: &ScratchDirectory) -> Result<(), Failure> {
    let incomplete = || {
        Failure::new(ExitCode::CleanupIncomplete, format!("{} could not be emptied", scratch.path.display()))
    };
    let mut child =
        process::fork(|| job::empty_scratch(&plan.user, &scratch.path)).map_err(|_| incomplete())?;
    let mut fds = [PollFd::new(child.pidfd().as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(plan.timeouts.staging).unwrap_or(PollTimeout::MAX);
    if !matches!(poll(&mut fds, patience), Ok(1)) {
        child.signal(Signal::SIGKILL);
    }
    match child.wait() {
        Ok(WaitStatus::Exited(_, 0)) => scratch.remove(),
        _ => Err(incomplete()),
    }
}
