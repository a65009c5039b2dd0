//! The job's own terminal, and the relay between it and the caller's.
//!
//! Where standard input and output are the terminal that controls the call, the job gets a pseudo-terminal of its own. It
//! has no descriptor of the caller's and another session, so nothing that it does to a terminal is done to the caller's
//! (TIOCSTI, CVE-2005-4890) [38]. The caller's is raw meanwhile: keys go through as bytes, and the job's terminal makes
//! signals of them, for the job's processes alone.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{posix_openpt, unlockpt};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{Gid, Uid, fchown, getpgrp, isatty, tcgetpgrp};

use super::Failure;
use crate::exit::ExitCode;
use crate::job::EndUser;
use crate::sys::terminal;

/// Bytes on the way in one direction.
const BUFFER: usize = 8192;
/// How long the caller's terminal may take to show the job's last output.
const DRAIN: Duration = Duration::from_secs(2);

/// Bytes that were read and not yet written. More is read when all are.
#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    written: usize,
}

impl Buffer {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    /// Reads once. `Ok(false)`: nothing is there now.
    fn fill(&mut self, from: &OwnedFd) -> Result<bool, Errno> {
        self.bytes.resize(BUFFER, 0);
        self.written = 0;
        let read = nix::unistd::read(from, &mut self.bytes);
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(Errno::EIO),
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes once.
    fn drain(&mut self, to: &OwnedFd) -> Result<(), Errno> {
        match nix::unistd::write(to, self.rest()) {
            Ok(written) => self.written += written,
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Both terminals.
pub struct Terminal {
    /// The caller's, as a description of our own that does not block; none when it is lost.
    caller: Option<OwnedFd>,
    /// Its settings, while it is raw.
    saved: Option<Termios>,
    /// The job's; none when every process has left it.
    master: Option<OwnedFd>,
    to_job: Buffer,
    to_caller: Buffer,
}

impl Terminal {
    /// A terminal for a job of `user`, where the call has one: standard input and standard output are the terminal that
    /// controls this session. With it comes the job's side.
    ///
    /// # Errors
    /// [`ExitCode::ProcessSetup`] when there is no pseudo-terminal to be had.
    pub fn open(user: &EndUser) -> Result<Option<(Self, OwnedFd)>, Failure> {
        let controlling = |fd: std::os::fd::BorrowedFd<'_>| isatty(fd) == Ok(true) && tcgetpgrp(fd).is_ok();
        if !controlling(std::io::stdin().as_fd()) || !controlling(std::io::stdout().as_fd()) {
            return Ok(None);
        }
        // By this name it is the session's own, whatever the standard descriptors are; and a description that nobody
        // shares, so that it may be told not to block.
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let Ok(caller) = open("/dev/tty", flags, Mode::empty()) else { return Ok(None) };
        let failed = |error: std::io::Error| {
            Failure::new(
                ExitCode::ProcessSetup,
                format!("no terminal for the job: {error}; with standard input from /dev/null it needs none"),
            )
        };
        let (master, slave) = pair(flags, user, &caller).map_err(failed)?;
        let terminal = Self {
            caller: Some(caller),
            saved: None,
            master: Some(master),
            to_job: Buffer::default(),
            to_caller: Buffer::default(),
        };
        Ok(Some((terminal, slave)))
    }

    /// Whether this process's group may use the caller's terminal now; none when the terminal is lost.
    #[must_use]
    pub fn in_foreground(&self) -> Option<bool> {
        tcgetpgrp(self.caller.as_ref()?).ok().map(|group| group == getpgrp())
    }

    /// Makes the caller's terminal raw: nothing of a key's meaning is its own any more. For the foreground.
    pub fn take(&mut self) {
        self.resize();
        let Some(caller) = &self.caller else { return };
        if self.saved.is_none() {
            self.saved = tcgetattr(caller).ok();
        }
        if let Some(mut settings) = self.saved.clone() {
            cfmakeraw(&mut settings);
            // At once: to wait for its output could last for ever.
            let _ = tcsetattr(caller, SetArg::TCSANOW, &settings);
        }
    }

    /// Gives the caller's terminal its settings back, unless it is somebody else's turn to use it.
    pub fn give_back(&mut self) {
        let foreground = self.in_foreground() == Some(true);
        if let (Some(settings), Some(caller), true) = (self.saved.take(), &self.caller, foreground) {
            let _ = tcsetattr(caller, SetArg::TCSANOW, &settings);
        }
    }

    /// The job's terminal gets the size of the caller's, and the job SIGWINCH when that is another one.
    pub fn resize(&self) {
        if let (Some(caller), Some(master)) = (&self.caller, &self.master)
            && let Ok(size) = terminal::size(caller)
        {
            let _ = terminal::set_size(master, size);
        }
    }

    /// Whether the caller's terminal is gone.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.caller.is_none()
    }

    /// What to wait for, on the caller's side and on the job's. Input is taken while the terminal is raw; nothing is taken
    /// that has no room.
    #[must_use]
    pub fn interests(&self) -> [Option<PollFd<'_>>; 2] {
        let flags = |input: bool, output: bool| {
            let input = if input { PollFlags::POLLIN } else { PollFlags::empty() };
            input | if output { PollFlags::POLLOUT } else { PollFlags::empty() }
        };
        let caller = flags(self.saved.is_some() && self.to_job.is_empty(), !self.to_caller.is_empty());
        let master = flags(self.to_caller.is_empty(), !self.to_job.is_empty());
        [
            self.caller.as_ref().map(|fd| PollFd::new(fd.as_fd(), caller)),
            // Its hang-up would be told again and again to whoever can do nothing about it now.
            self.master.as_ref().filter(|_| !master.is_empty()).map(|fd| PollFd::new(fd.as_fd(), master)),
        ]
    }

    /// Moves bytes, after poll(2) said where. Whoever is gone is forgotten, so that nobody waits for it again [94].
    pub fn relay(&mut self, caller: PollFlags, master: PollFlags) {
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        if let Some(fd) = &self.caller {
            let mut result = if caller.intersects(gone) { Err(Errno::EIO) } else { Ok(false) };
            // Not when the terminal has passed to somebody else since poll(2).
            let ours = || tcgetpgrp(fd).is_ok_and(|group| group == getpgrp());
            if result.is_ok() && caller.contains(PollFlags::POLLIN) && self.to_job.is_empty() && ours() {
                result = self.to_job.fill(fd);
            }
            if result.is_ok() && caller.contains(PollFlags::POLLOUT) {
                result = self.to_caller.drain(fd).map(|()| true);
            }
            if result.is_err() {
                self.lose();
            }
        }
        if let Some(fd) = &self.master {
            let mut result = Ok(false);
            // A hang-up comes with what is still to be read.
            if master.intersects(gone | PollFlags::POLLIN) && self.to_caller.is_empty() {
                result = self.to_caller.fill(fd);
            }
            if result.is_ok() && master.contains(PollFlags::POLLOUT) {
                result = self.to_job.drain(fd).map(|()| true);
            }
            if result.is_err() {
                self.master = None;
                self.to_job = Buffer::default();
            }
        }
        if self.caller.is_none() {
            // The job must not wait for a reader that there is no more.
            self.to_caller = Buffer::default();
        }
    }

    fn lose(&mut self) {
        self.caller = None;
        self.saved = None;
    }

    /// Shows what the job has written so far: until there is no more, and no longer than [`DRAIN`].
    pub fn show_the_rest(&mut self) {
        let deadline = Instant::now() + DRAIN;
        loop {
            if self.to_caller.is_empty() {
                let more = self.master.as_ref().is_some_and(|fd| self.to_caller.fill(fd) == Ok(true));
                if !more {
                    return;
                }
            }
            let Some(caller) = &self.caller else { return };
            let left = deadline.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(caller.as_fd(), PollFlags::POLLOUT)];
            let ready = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            if !matches!(ready, Ok(1)) || self.to_caller.drain(caller).is_err() || left.is_zero() {
                return;
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A new pseudo-terminal that the user alone can open, with the settings and the size of the caller's.
fn pair(flags: OFlag, user: &EndUser, caller: &OwnedFd) -> std::io::Result<(OwnedFd, OwnedFd)> {
    let master = posix_openpt(flags)?;
    unlockpt(&master)?;
    let master = OwnedFd::from(master);
    let slave = terminal::open_peer(&master)?;
    fchmod(&slave, Mode::S_IRUSR | Mode::S_IWUSR)?;
    fchown(&slave, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?;
    tcsetattr(&slave, SetArg::TCSANOW, &tcgetattr(caller)?)?;
    terminal::set_size(&master, terminal::size(caller)?)?;
    Ok((master, slave))
}
