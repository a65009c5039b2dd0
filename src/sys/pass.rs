//! Descriptors passed between our processes (unix(7), SCM_RIGHTS).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

/// Sends one descriptor together with `text`, as one message.
///
/// # Errors
/// sendmsg(2)'s.
pub fn send(socket: &OwnedFd, text: &[u8], descriptor: Option<RawFd>) -> io::Result<()> {
    let rights: Vec<RawFd> = descriptor.into_iter().collect();
    let control = [ControlMessage::ScmRights(&rights)];
    let control: &[_] = if rights.is_empty() { &[] } else { &control };
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(text)], control, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Takes one message of at most `buffer` bytes with at most one descriptor, which is close-on-exec.
/// Zero bytes: the other side has closed.
///
/// # Errors
/// recvmsg(2)'s; a truncated message is an error.
pub fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message =
        recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(rights) = control {
            for raw in rights {
                // SAFETY: the kernel has just installed this descriptor for us alone.
                descriptors.push(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
    }
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(io::Error::other("a message was cut off"));
    }
    Ok((message.bytes, descriptors.into_iter().next()))
}
