//! Pseudo-terminals: what nix does not offer safely (ioctl_tty(2), pts(4)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::fcntl::OFlag;

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(libc::winsize);

impl Size {
    /// In characters.
    #[must_use]
    pub fn new(rows: u16, columns: u16) -> Self {
        Self(libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })
    }
}

/// Opens the other side of a pseudo-terminal by its master, and not by a path that could lead to another one (TIOCGPTPEER,
/// Linux 4.13). It does not become a controlling terminal by that.
///
/// # Errors
/// The system call's.
pub fn open_peer(master: &impl AsFd) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    // SAFETY: takes an integer and returns a new descriptor or -1.
    let fd = unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags.bits()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes it the controlling terminal of the session that the calling process leads. Nobody's terminal is taken away by
/// that: the argument 0 fails for one that another session has.
///
/// # Errors
/// EPERM for a process that leads no session or has a terminal.
pub fn make_controlling(terminal: &impl AsFd) -> io::Result<()> {
    // SAFETY: takes two integers.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A terminal's size.
///
/// # Errors
/// The system call's.
pub fn size(terminal: &impl AsFd) -> io::Result<Size> {
    let mut size = Size::new(0, 0);
    // SAFETY: the pointer is to a live value of the type that the kernel writes.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size.0) };
    if result == 0 { Ok(size) } else { Err(io::Error::last_os_error()) }
}

/// Gives a terminal a size; its foreground processes get SIGWINCH when it is another one.
///
/// # Errors
/// The system call's.
pub fn set_size(terminal: &impl AsFd, size: Size) -> io::Result<()> {
    // SAFETY: the pointer is to a live value of the type that the kernel reads.
    let result = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size.0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
