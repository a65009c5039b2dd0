//! What the wrapper tells on standard error, line by line.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::sys::termios::{OutputFlags, tcgetattr};
use nix::unistd::tcgetpgrp;

/// Longest line in bytes [48].
const MAX_LINE: usize = 2048;
/// Milliseconds that a line may wait for a reader. A full pipe must not stop a job's clean-up [94], [95].
const PATIENCE: u16 = 1000;

/// Where lines go.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Errors and warnings only.
    pub quiet: bool,
}

impl Report {
    /// Tells what happens.
    pub fn say(self, line: impl AsRef<str>) {
        if !self.quiet {
            write_line(line.as_ref());
        }
    }

    /// Tells what the caller must know even with `--quiet`.
    pub fn warn(self, line: impl AsRef<str>) {
        write_line(&format!("warning: {}", line.as_ref()));
    }
}

/// Prints why the call ends.
pub fn error(code: crate::exit::ExitCode, message: &str) {
    write_line(&format!("error: {message} [{} {}]", code.name(), code.number()));
}

fn write_line(line: &str) {
    let stderr = io::stderr();
    // A raw terminal, while a job has it, makes no carriage return of its own.
    let raw = tcgetattr(&stderr).is_ok_and(|settings| !settings.output_flags.contains(OutputFlags::OPOST));
    let text = format!("spark-submit-as: {}{}\n", escaped(line), if raw { "\r" } else { "" });
    // Each piece waits a bounded time; what nobody reads is dropped.
    let terminal = own_terminal(&stderr);
    let out = terminal.as_ref().map_or(stderr.as_fd(), AsFd::as_fd);
    let mut rest = text.as_bytes();
    while !rest.is_empty() && writable(out) {
        // At most PIPE_BUF bytes: a pipe that polls writable takes them without blocking (pipe(7)).
        match nix::unistd::write(out, rest.get(..libc::PIPE_BUF.min(rest.len())).unwrap_or(rest)) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// Where standard error is the terminal that controls the call: the same without blocking. A terminal polls writable when
/// it takes one byte.
fn own_terminal(stderr: &io::Stderr) -> Option<OwnedFd> {
    tcgetpgrp(stderr).ok()?;
    let flags = OFlag::O_WRONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    open("/dev/tty", flags, Mode::empty()).ok()
}

fn writable(fd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLOUT)];
    matches!(poll(&mut fds, PollTimeout::from(PATIENCE)), Ok(ready) if ready > 0)
        && fds.iter().all(|fd| fd.revents().is_some_and(|events| events.contains(PollFlags::POLLOUT)))
}

/// Bounded text without control and invisible characters (CVE-2023-28486).
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if out.len() >= MAX_LINE {
            out.push_str("...");
            break;
        }
        match character {
            '\'' | '"' | '\\' => out.push(character),
            // Controls, and what is invisible or turns the line around (U+202E).
            other => out.extend(other.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn checklist_48_lines_are_escaped_and_bounded() {
        assert_eq!(super::escaped("a\nb\x1b[0m%n"), "a\\nb\\u{1b}[0m%n");
        assert_eq!(super::escaped("a\u{202e}b\u{2028}'\"\\é"), "a\\u{202e}b\\u{2028}'\"\\é");
        assert!(super::escaped(&"x".repeat(1 << 20)).len() < 4096);
    }
}
