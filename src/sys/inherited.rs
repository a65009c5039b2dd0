//! Descriptors that were left at an agreed number by the process that exec'd this one.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes the descriptor over, once; it is close-on-exec from then on.
///
/// # Errors
/// EBADF when there is none.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl(2) on an integer; it fails for a number that is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open, and was given to this program to own; each is taken once, at its start.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
