//! A job on a terminal of its own: the leader of its session, which stays beside the Spark program.
//!
//! A terminal's stop key works for a process group only while somebody in its session, but not in the group, can continue
//! it (POSIX calls a group without one orphaned). So the first process stays as the session's leader, with the ids of
//! the end-user, and the Spark program is its child, in the terminal's foreground group. The leader does as its child does:
//! it stops when that stops and ends as that ends, and hands on the signals that it gets. To the supervisor it is the job.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid, isatty, setpgid, tcsetpgrp};

use super::Trouble;
use crate::sys::process::{self, Child};
use crate::sys::terminal;

/// What the supervisor sends to a job's group.
const HANDED_ON: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
];

/// Takes the terminal for the session that this process leads, and runs `program` in a child on it. This process ends as
/// the child ends; it returns only with what failed before the child was there.
pub(super) fn lead(slave: &OwnedFd, program: impl FnOnce(Result<(), Trouble>) -> i32) -> Trouble {
    if let Err(error) = terminal::make_controlling(slave) {
        return Trouble::setup("TIOCSCTTY")(error);
    }
    // Blocked and waited for. The kernel also signals the session's leader when the terminal is hung up.
    if let Err(error) = SigSet::all().thread_set_mask() {
        return Trouble::setup("blocking signals")(error.into());
    }
    let leader = getpid();
    let mut child =
        match process::fork(|| program(enter(slave, leader).map_err(Trouble::setup("the terminal")))) {
            Ok(child) => child,
            Err(error) => return Trouble::setup("fork")(error),
        };
    // This process has a copy of root's memory. Nobody with its ids may look at that (ptrace(2)); changing ids has seen to
    // it already, where the system's settings are the usual ones.
    let hidden = nix::sys::prctl::set_dumpable(false).is_ok();
    let kept = [0, 1, 2, child.pidfd().as_raw_fd()];
    if !hidden || alone_on(slave).is_err() || process::close_all_but(&kept).is_err() {
        child.signal(Signal::SIGKILL);
    }
    // Nothing is dropped: the descriptors of the values above are closed.
    process::exit_now(follow(&mut child))
}

/// In the child: a group of its own in the terminal's foreground.
fn enter(slave: &OwnedFd, leader: Pid) -> io::Result<()> {
    // The leader's end is this process's end, as the supervisor's is the leader's.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != leader {
        return Err(io::Error::other("the session's leader is gone"));
    }
    setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    // A background group may do this because it blocks SIGTTOU.
    tcsetpgrp(slave, getpid())?;
    // Standard input and output are the caller's terminal, or there would be no session; standard error may be a file.
    let redirected = isatty(std::io::stderr()) == Ok(false);
    for standard in if redirected { 0..=1 } else { 0..=2 } {
        process::place_fd(slave.as_raw_fd(), standard)?;
    }
    Ok(())
}

/// No descriptor of the caller's stays in the leader.
fn alone_on(slave: &OwnedFd) -> io::Result<()> {
    (0..=2).try_for_each(|standard| process::place_fd(slave.as_raw_fd(), standard))
}

/// Does as the child does, and hands signals on to its group.
fn follow(child: &mut Child) -> i32 {
    let mut awaited = SigSet::empty();
    HANDED_ON.into_iter().chain([Signal::SIGCHLD]).for_each(|signal| awaited.add(signal));
    loop {
        match awaited.wait() {
            Ok(Signal::SIGCHLD) => {
                match waitpid(child.pid(), Some(WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)) {
                    Ok(WaitStatus::Exited(_, code)) => return code,
                    Ok(WaitStatus::Signaled(_, signal, _)) => {
                        process::end_by_signal(signal as i32);
                        return 128 + signal as i32;
                    }
                    // Stopped by whatever signal: the supervisor sees it, and continues this process when its own caller
                    // continues it.
                    Ok(WaitStatus::Stopped(..)) => {
                        let _ = raise(Signal::SIGSTOP);
                    }
                    // A signal without a name (a real-time one) has ended it, and it is reaped.
                    Err(error) if error != nix::errno::Errno::EINTR => {
                        process::end_by_signal(Signal::SIGKILL as i32)
                    }
                    _ => {}
                }
            }
            Ok(signal) => child.signal_group(signal),
            Err(_) => {}
        }
    }
}
