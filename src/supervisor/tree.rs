//! Ends every process that a job has left, however it hid.
//!
//! The supervisor is a child subreaper (prctl(2) PR_SET_CHILD_SUBREAPER): a process that daemonised, changed its
//! session or its group becomes our child when its parent ends. Only direct children are ever signalled, and a child
//! that was not reaped cannot be anybody else's pid [80], [89].

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::{Failure, proc};
use crate::exit::ExitCode;

/// Makes orphaned descendants ours.
///
/// # Errors
/// [`ExitCode::Internal`].
pub fn adopt_orphans() -> Result<(), Failure> {
    set_child_subreaper(true).map_err(Failure::doing(ExitCode::Internal, "PR_SET_CHILD_SUBREAPER"))
}

/// Kills all children but `spared`, and what they leave, until none is there.
///
/// # Errors
/// [`ExitCode::CleanupIncomplete`] when some are still there at the deadline.
pub fn end(spared: Option<Pid>, deadline: Instant) -> Result<(), Failure> {
    loop {
        let children = children(spared);
        if children.is_empty() {
            return Ok(());
        }
        for pid in &children {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        // One look at each; a process in an uninterruptible wait is met again in the next round.
        for pid in &children {
            let _ = waitpid(*pid, Some(WaitPidFlag::WNOHANG));
        }
        if Instant::now() >= deadline {
            return Err(Failure::new(
                ExitCode::CleanupIncomplete,
                format!("{} processes of the job do not end", children.len()),
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Reaps adopted processes that have ended; statuses of `known` ones are returned for their owners.
#[must_use]
pub fn reap() -> Vec<WaitStatus> {
    let mut statuses = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return statuses,
            Ok(status) => statuses.push(status),
            Err(Errno::EINTR) => {}
            Err(_) => return statuses,
        }
    }
}

/// Direct children.
fn children(spared: Option<Pid>) -> Vec<Pid> {
    let me = getpid().as_raw();
    proc::pids()
        .filter(|pid| Some(*pid) != spared && proc::stat(*pid).is_some_and(|stat| stat.parent == me))
        .collect()
}
