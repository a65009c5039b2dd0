//! What /proc says about processes (proc(5)). A pid alone names nobody: it may be somebody else's by now [89].

use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::policy::names::JobId;
use crate::sys::process::{pidfd_open, pidfd_send_signal};

/// The variable that every process of a job has in its environment.
pub const JOB_VARIABLE: &str = "SPARK_SUBMIT_AS_JOB";
/// Most bytes of an environment that are looked at: more than execve(2) takes for arguments and environment.
const MAX_ENVIRONMENT: u64 = 8 << 20;

/// Looks at /proc without a process of a job's until it is believed that there is none, once there was one.
const CLEAN_LOOKS: u32 = 3;

/// A process for certain: a pid is not given twice in one clock tick of one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// When it began, in clock ticks since the boot (`stat`, field 22).
    pub start: u64,
    /// The boot (`/proc/sys/kernel/random/boot_id`).
    pub boot: String,
}

impl Process {
    /// The process with this pid, which must be ours or a child that was not reaped.
    #[must_use]
    pub fn of(pid: Pid) -> Option<Self> {
        Some(Self { pid: pid.as_raw(), start: stat(pid)?.start, boot: boot_id() })
    }

    /// Sends a signal, if this very process still lives. Whether it did.
    #[must_use]
    pub fn signal(&self, signal: Option<Signal>) -> bool {
        if self.pid <= 1 || self.boot.is_empty() || self.boot != boot_id() {
            return false;
        }
        let pid = Pid::from_raw(self.pid);
        let Ok(pidfd) = pidfd_open(pid) else { return false };
        // Looked at after the descriptor was opened, which from then on names one process.
        if stat(pid).is_none_or(|stat| stat.start != self.start || stat.zombie) {
            return false;
        }
        signal.is_none_or(|signal| pidfd_send_signal(&pidfd, signal).is_ok())
    }

    /// Whether it still lives.
    #[must_use]
    pub fn lives(&self) -> bool {
        self.signal(None)
    }
}

/// What is needed of `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The parent's pid.
    pub parent: i32,
    /// Start in clock ticks since the boot.
    pub start: u64,
    /// Has ended and was not reaped.
    pub zombie: bool,
}

/// Reads it; none when there is no such process.
#[must_use]
pub fn stat(pid: Pid) -> Option<Stat> {
    // A process may give itself a name that is no UTF-8.
    parse_stat(&String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).ok()?))
}

/// The text of `stat`: the command's name is in parentheses and may hold any character, `)` included.
#[must_use]
pub fn parse_stat(text: &str) -> Option<Stat> {
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?; // field 3
    let parent = fields.next()?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?; // field 22
    Some(Stat { parent, start, zombie: matches!(state, "Z" | "X") })
}

/// This boot's id; empty when the kernel does not tell, which is nobody's.
#[must_use]
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// All pids.
pub fn pids() -> impl Iterator<Item = Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw))
}

/// Kills every process of the account `uid` that has the job's variable in its environment, until there is none. Where
/// there is no cgroup, this is how children of a dead job are found that left their session and their parent: an
/// environment is inherited. Whether none is left.
pub fn end_marked(job: &JobId, uid: u32, deadline: Instant) -> bool {
    let marker = format!("{JOB_VARIABLE}={job}");
    // One that forks while /proc is read may be missed: where there were some, none must be seen several times.
    let mut clean_looks = CLEAN_LOOKS - 1;
    loop {
        let killed = pids().filter(|pid| kill_marked(*pid, marker.as_bytes(), uid)).count();
        clean_looks = if killed == 0 { clean_looks + 1 } else { 0 };
        if clean_looks == CLEAN_LOOKS {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kill_marked(pid: Pid, marker: &[u8], uid: u32) -> bool {
    // Cheap and wrong for a reused pid; the look that counts comes when the descriptor is open.
    if !owned_by(pid, uid) {
        return false;
    }
    let Ok(pidfd) = pidfd_open(pid) else { return false };
    let ours = owned_by(pid, uid) && has_variable(pid, marker);
    // Still there: so what was read was this process's.
    if !ours || has_ended(&pidfd) {
        return false;
    }
    pidfd_send_signal(&pidfd, Signal::SIGKILL).is_ok()
}

fn has_ended(pidfd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut fds, PollTimeout::ZERO) {
            Err(Errno::EINTR) => {}
            result => return result != Ok(0),
        }
    }
}

/// Whether all its uids are this one (`status`, line `Uid:`).
fn owned_by(pid: Pid, uid: u32) -> bool {
    let Ok(text) = std::fs::read(format!("/proc/{pid}/status")) else { return false };
    let text = String::from_utf8_lossy(&text);
    let uids = text.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let mut uids = uids.split_ascii_whitespace().map(str::parse::<u32>).peekable();
    uids.peek().is_some() && uids.all(|found| found == Ok(uid))
}

fn has_variable(pid: Pid, marker: &[u8]) -> bool {
    let Ok(file) = std::fs::File::open(format!("/proc/{pid}/environ")) else { return false };
    let mut environment = Vec::new();
    let read = file.take(MAX_ENVIRONMENT).read_to_end(&mut environment);
    read.is_ok() && environment.split(|byte| *byte == 0).any(|variable| variable == marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_with_a_hostile_name_is_read() {
        let tail = " S 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        let expected = Some(Stat { parent: 7, start: 12345, zombie: false });
        assert_eq!(parse_stat(&format!("99 (sh){tail}")), expected);
        assert_eq!(parse_stat(&format!("99 (a) Z 1 (b){tail}")), expected);
        assert_eq!(parse_stat("99 (sh) S"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn checklist_80_a_process_does_not_hide_behind_its_name() {
        // The main thread's name is what /proc/PID/stat and status tell.
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "printf '\\377\\376)' > /proc/self/comm 2> /dev/null; printf '\\377\\376)' > /proc/$$/comm; echo; exec 1>&-; read x"])
            .env(JOB_VARIABLE, "abcdefghijklmnop")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("sh");
        let mut line = [0];
        child.stdout.take().expect("stdout").read_exact(&mut line).expect("renamed");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("pid"));
        let name = std::fs::read(format!("/proc/{pid}/comm")).expect("comm");
        assert!(std::str::from_utf8(&name).is_err(), "the name did not change: {name:?}");
        assert!(stat(pid).is_some_and(|stat| stat.parent == nix::unistd::getpid().as_raw()));
        let job = JobId::new("abcdefghijklmnop").expect("job");
        let uid = nix::unistd::getuid().as_raw();
        std::thread::spawn(move || child.wait()); // or it would stay as a zombie, which cannot be killed again
        assert!(end_marked(&job, uid, Instant::now() + Duration::from_secs(10)));
    }

    #[test]
    fn checklist_89_a_process_is_its_pid_its_start_and_its_boot() {
        let me = Process::of(nix::unistd::getpid()).expect("myself");
        assert!(me.lives());
        assert!(!Process { start: me.start + 1, ..me.clone() }.lives());
        assert!(!Process { boot: "another".into(), ..me.clone() }.lives());
        assert!(!Process { pid: 1, ..me.clone() }.lives());
        assert!(!Process { pid: -1, ..me }.lives());
    }
}
