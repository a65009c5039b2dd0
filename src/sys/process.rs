//! Processes: fork, pidfds, and what a process must lose before it may run somebody else's code.

use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid};

/// A child of ours that has not been reaped: its pid cannot be anybody else's (CVE-2017-2616).
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    status: Option<WaitStatus>,
}

impl Child {
    /// The process id; valid as long as [`Child::reap`] has not returned a status.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable when the process has ended (pidfd_open(2)).
    #[must_use]
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Takes the exit status when the process has ended.
    ///
    /// # Errors
    /// waitpid(2)'s.
    pub fn reap(&mut self) -> io::Result<Option<WaitStatus>> {
        if self.status.is_none() {
            match waitpid(self.pid, Some(WaitPidFlag::WNOHANG))? {
                WaitStatus::StillAlive => {}
                status => self.status = Some(status),
            }
        }
        Ok(self.status)
    }

    /// Whether it was stopped since the last look (SIGSTOP and the like). Its end is not taken by that.
    #[must_use]
    pub fn was_stopped(&self) -> bool {
        let look = || waitid(Id::Pid(self.pid), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG);
        self.status.is_none() && matches!(look(), Ok(WaitStatus::Stopped(..)))
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// waitpid(2)'s.
    pub fn wait(&mut self) -> io::Result<WaitStatus> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            match waitpid(self.pid, None) {
                Ok(status) => self.status = Some(status),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Kills it and waits for its end, but not for ever: not even KILL ends a process that waits for the answer of a file
    /// system (FUSE), and that may be in the hands of the very account that the process runs as. None then.
    pub fn end(&mut self, patience: Duration) -> Option<WaitStatus> {
        self.signal(Signal::SIGKILL);
        let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        if self.status.is_none() && !matches!(poll(&mut fds, patience), Ok(1)) {
            return None;
        }
        self.wait().ok()
    }

    /// Sends a signal to the process, never to a pid that was reaped.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none() {
            // A process that has just ended answers ESRCH: nothing to do then.
            let _ = pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Sends a signal to the process group that the child leads (it called setsid).
    pub fn signal_group(&self, signal: Signal) {
        if self.status.is_none() {
            let _ = nix::sys::signal::killpg(self.pid, signal);
        }
    }

    /// Notes a status that a `waitpid(-1)` elsewhere has taken.
    pub fn note(&mut self, status: WaitStatus) {
        if status.pid() == Some(self.pid) {
            self.status = Some(status);
        }
    }
}

/// Forks; the child runs `body` and ends with the code that it returns, without unwinding into the parent's code.
///
/// # Errors
/// fork(2)'s and pidfd_open(2)'s (the child is killed then).
pub fn fork(body: impl FnOnce() -> i32) -> io::Result<Child> {
    fork_into(None, body)
}

/// Forks into a cgroup, where that can be done; elsewhere the child stays in ours. It is born there: to move it would
/// wait for a grace period of the kernel's, about as long as all the rest of a job's start (clone3(2), Linux 5.7).
///
/// # Errors
/// As [`fork`].
pub fn fork_into(cgroup: Option<BorrowedFd<'_>>, body: impl FnOnce() -> i32) -> io::Result<Child> {
    let born = match cgroup.map(clone_into) {
        Some(Ok(born)) => born,
        // No clone3 (a seccomp filter), or a cgroup that takes no process (a threaded one above it).
        // SAFETY: both programs that call this have one thread (the supervisor never starts a second; a test looks at
        // /proc), so the child may do everything that the parent may, allocate included.
        Some(Err(_)) | None => unsafe { nix::unistd::fork() }?,
    };
    match born {
        ForkResult::Child => {
            let code = body();
            exit_now(code)
        }
        ForkResult::Parent { child } => match pidfd_open(child) {
            Ok(pidfd) => Ok(Child { pid: child, pidfd, status: None }),
            Err(error) => {
                let _ = nix::sys::signal::kill(child, Signal::SIGKILL);
                let _ = waitpid(child, None);
                Err(error)
            }
        },
    }
}

/// Ends this process at once, in the child of a fork: nothing is dropped, and no atexit handler runs, which would be the
/// parent's.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) has no preconditions.
    unsafe { libc::_exit(code) }
}

/// The first eleven members of the kernel's struct clone_args (linux/sched.h, CLONE_ARGS_SIZE_VER2).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn clone_into(cgroup: BorrowedFd<'_>) -> io::Result<ForkResult> {
    let arguments = CloneArgs {
        flags: CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD as u64,
        cgroup: u64::try_from(cgroup.as_raw_fd()).map_err(io::Error::other)?,
        ..CloneArgs::default()
    };
    // SAFETY: the pointer is to a live value of the size that is told. Without CLONE_VM and without a stack this is
    // fork(2): the child has a copy of everything. As there, one thread. The C library is not told of the new process;
    // all that it keeps of one is the thread's id, which nothing uses before the child execs or ends.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<CloneArgs>()) };
    match i32::try_from(pid).map_err(io::Error::other)? {
        0 => Ok(ForkResult::Child),
        child if child > 0 => Ok(ForkResult::Parent { child: Pid::from_raw(child) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// pidfd_open(2), close-on-exec.
///
/// # Errors
/// ESRCH when there is no such process.
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// pidfd_send_signal(2).
///
/// # Errors
/// ESRCH when the process has ended.
pub fn pidfd_send_signal(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    // SAFETY: integers and a null siginfo pointer, which pidfd_send_signal(2) allows.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal as libc::c_int,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the process's environment away and returns it.
///
/// Nothing of the caller's may steer a library in a process of root's (checklist [26], [27]).
#[must_use]
pub fn take_environment() -> Vec<(OsString, OsString)> {
    let taken = std::env::vars_os().collect();
    // SAFETY: called first thing in main, with one thread, so nobody else reads `environ`.
    unsafe { libc::clearenv() };
    taken
}

/// Marks every descriptor from `first` on as close-on-exec (close_range(2), Linux 5.11).
///
/// # Errors
/// The system call's.
pub fn cloexec_from(first: RawFd) -> io::Result<()> {
    close_range(first, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

/// Closes every descriptor from `first` on, for a process that inherited some from its caller.
///
/// # Errors
/// The system call's.
pub fn close_inherited(first: RawFd) -> io::Result<()> {
    close_range(first, RawFd::MAX, 0)
}

/// Closes every descriptor but `kept`, in a forked child that works with the rights of somebody
/// else: that account may keep the child for ever, and with it the locks that came with the descriptors. The child must use
/// none of the others any more, and must not drop the values that own them.
///
/// # Errors
/// The system call's.
pub fn close_all_but(kept: &[RawFd]) -> io::Result<()> {
    let mut kept = kept.to_vec();
    kept.sort_unstable();
    let mut first = 0;
    for fd in kept {
        if fd > first {
            close_range(first, fd - 1, 0)?;
        }
        first = first.max(fd + 1);
    }
    close_range(first, RawFd::MAX, 0)
}

fn close_range(first: RawFd, last: RawFd, flags: libc::c_uint) -> io::Result<()> {
    let number = |fd: RawFd| libc::c_uint::try_from(fd).map_err(io::Error::other);
    let (first, last) = (number(first)?, number(last)?);
    // SAFETY: called before any descriptor above `first` is owned by a Rust value (start of main), in a forked child that
    // uses and drops no value that owns one of them (it ends by _exit), or only to set a flag that does not end a
    // descriptor's life.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Moves descriptor `from` to the number `to`, open across exec.
///
/// # Errors
/// dup2(2)'s.
pub fn place_fd(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: dup2/fcntl on integers. The caller is a child about to exec, where numbers are what counts; `to` is not
    // owned by any Rust value that will still be used.
    let result =
        unsafe { if from == to { libc::fcntl(from, libc::F_SETFD, 0) } else { libc::dup2(from, to) } };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the process a new, anonymous session keyring, so that Kerberos tickets of the platform are not inherited
/// (keyctl(2) KEYCTL_JOIN_SESSION_KEYRING; session-keyring(7)). A kernel without keyrings is fine.
///
/// # Errors
/// EDQUOT and the like.
pub fn new_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring.
    let result = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>())
    };
    if result >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ENOSYS) { Ok(()) } else { Err(error) }
}

/// Why a process could not become somebody else. It must not go on then.
#[derive(Debug, thiserror::Error)]
pub enum BecomeError {
    /// A system call failed.
    #[error("{step} failed: {source}")]
    Step {
        /// The call.
        step: &'static str,
        /// Its error.
        source: io::Error,
    },
    /// The kernel said yes, and yet something of the old identity is left.
    #[error("the process still has {0}")]
    Kept(&'static str),
}

/// Becomes `uid` for good: groups, gid, uid, no capability in any set, no_new_privs, and verifies all of it, as
/// OpenSSH's permanently_set_uid does (checklist [24], [35], [36], [37]).
///
/// # Errors
/// [`BecomeError`]; the caller must end the process.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<(), BecomeError> {
    let step = |step| move |error: nix::errno::Errno| BecomeError::Step { step, source: error.into() };
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    if user.is_root() {
        return Err(BecomeError::Kept("uid 0"));
    }
    drop_bounding_set()?;
    clear_ambient()?;
    nix::unistd::setgroups(&groups).map_err(step("setgroups"))?;
    nix::unistd::setresgid(group, group, group).map_err(step("setresgid"))?;
    nix::unistd::setresuid(user, user, user).map_err(step("setresuid"))?;
    clear_capabilities()?;
    nix::sys::prctl::set_no_new_privs().map_err(step("no_new_privs"))?;

    let uids = nix::unistd::getresuid().map_err(step("getresuid"))?;
    let gids = nix::unistd::getresgid().map_err(step("getresgid"))?;
    if [uids.real, uids.effective, uids.saved] != [user; 3] {
        return Err(BecomeError::Kept("another uid"));
    }
    if [gids.real, gids.effective, gids.saved] != [group; 3] {
        return Err(BecomeError::Kept("another gid"));
    }
    // setfsuid(2) returns the previous value and cannot fail; -1 only asks.
    if nix::unistd::setfsuid(Uid::from_raw(u32::MAX)) != user
        || nix::unistd::setfsgid(Gid::from_raw(u32::MAX)) != group
    {
        return Err(BecomeError::Kept("another file-system id"));
    }
    let root = Uid::from_raw(0);
    if nix::unistd::setresuid(root, root, root).is_ok() || nix::unistd::seteuid(root).is_ok() {
        return Err(BecomeError::Kept("a way back to root"));
    }
    if capabilities_left()? {
        return Err(BecomeError::Kept("a capability"));
    }
    Ok(())
}

/// capset(2)'s header and data, version 3 (linux/capability.h).
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

fn last_error(step: &'static str) -> BecomeError {
    BecomeError::Step { step, source: io::Error::last_os_error() }
}

fn drop_bounding_set() -> Result<(), BecomeError> {
    for capability in 0..64 {
        // SAFETY: prctl(2) with integers.
        let present = unsafe { libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) };
        if present < 0 {
            break; // beyond the kernel's last capability
        }
        // SAFETY: as above.
        if present == 1 && unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            return Err(last_error("dropping the bounding set"));
        }
    }
    Ok(())
}

fn clear_ambient() -> Result<(), BecomeError> {
    // SAFETY: prctl(2) with integers.
    let result = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    if result == 0 { Ok(()) } else { Err(last_error("clearing ambient capabilities")) }
}

fn clear_capabilities() -> Result<(), BecomeError> {
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let data = [CapData::default(); 2];
    // SAFETY: both pointers are to live values of the layout that version 3 of capset(2) reads.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(last_error("capset")) }
}

fn capabilities_left() -> Result<bool, BecomeError> {
    let mut header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [CapData::default(); 2];
    // SAFETY: both pointers are to live values of the layout that version 3 of capget(2) writes.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    if result == 0 { Ok(data != [CapData::default(); 2]) } else { Err(last_error("capget")) }
}

/// Replaces the process by a program (execve(2)); returns only on failure.
pub fn execve(
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
) -> io::Error {
    let text = |words: OsString| CString::new(words.into_vec()).map_err(io::Error::other);
    let pair = |(name, value): (OsString, OsString)| {
        let mut bytes = name.into_vec();
        bytes.push(b'=');
        bytes.extend_from_slice(&value.into_vec());
        CString::new(bytes).map_err(io::Error::other)
    };
    let prepared = text(program).and_then(|program| {
        Ok((
            program,
            arguments.into_iter().map(text).collect::<Result<Vec<_>, _>>()?,
            environment.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?,
        ))
    });
    match prepared {
        Ok((program, arguments, environment)) => {
            match nix::unistd::execve(&program, &arguments, &environment) {
                Ok(never) => match never {},
                Err(error) => error.into(),
            }
        }
        Err(error) => error,
    }
}

/// Default dispositions for every signal and an empty mask, for a process about to exec: an ignored signal and the
/// mask would survive it (signal(7)).
pub fn reset_signals() {
    // The kernel's struct sigaction, all zero: SIG_DFL, no flags, no restorer, empty mask.
    let default = [0_u64; 4];
    for number in 1..=64 {
        // The system call itself, because glibc's signal(3) refuses 32 and 33, which a caller may have ignored too.
        // SAFETY: reads 32 live bytes and writes nothing; SIG_DFL runs no code; KILL and STOP answer EINVAL.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<libc::c_void>(),
                size_of::<u64>(),
            )
        };
    }
    let _ = SigSet::empty().thread_set_mask();
}

/// Ends this process by a signal, as the job ended. Returns only when the signal does not end a process.
pub fn end_by_signal(signal: i32) {
    // That one alone is let through: another that waits must not end the process in its place.
    let mut mask = SigSet::all();
    if let Ok(signal) = Signal::try_from(signal) {
        mask.remove(signal);
    }
    // SAFETY: SIG_DFL runs no code of ours; raise(3) takes an integer.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
    let _ = mask.thread_set_mask();
}

/// Random bytes from the kernel (getrandom(2)).
///
/// # Errors
/// The system call's.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: the buffer is live and N bytes long.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), N, 0) };
    if usize::try_from(got) == Ok(N) { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_keeps_the_descriptors_that_are_named_and_no_other() {
        let open = |fd: RawFd| {
            // SAFETY: asks for the flags of a number, whatever it stands for.
            unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
        };
        let null = || std::fs::File::open("/dev/null").expect("/dev/null");
        let files = [null(), null(), null(), null()];
        let [a, b, c, d] = [0, 1, 2, 3].map(|index: usize| files.get(index).map_or(-1, AsRawFd::as_raw_fd));
        let mut child = fork(|| {
            let closed = close_all_but(&[c, a]).is_ok();
            i32::from(!closed || open(1) || !open(a) || open(b) || !open(c) || open(d))
        })
        .expect("fork");
        assert!(matches!(child.wait(), Ok(WaitStatus::Exited(_, 0))));
        assert!(open(b) && open(d));
    }

    #[test]
    fn a_child_is_ended_in_its_time() {
        let mut child = fork(|| {
            loop {
                nix::unistd::pause();
            }
        })
        .expect("fork");
        let killed = child.end(Duration::from_secs(5));
        assert!(matches!(killed, Some(WaitStatus::Signaled(_, Signal::SIGKILL, _))), "{killed:?}");
        assert_eq!(child.end(Duration::ZERO), killed);
    }
}
