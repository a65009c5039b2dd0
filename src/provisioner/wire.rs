//! Frames over the inherited socket.

use std::io::ErrorKind;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use spark_submit_as::protocol::{self, Reply, Request, SOCKET_FD};
use spark_submit_as::sys::inherited;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use crate::fault::Fault;

/// The supervisor's other end.
pub struct Wire(UnixStream);

impl Wire {
    /// Takes the socket that the supervisor left at its number.
    pub fn inherited() -> Result<Self, Fault> {
        let broken = |_| Fault::protocol("no socket");
        let stream = std::os::unix::net::UnixStream::from(inherited::take(SOCKET_FD).map_err(broken)?);
        stream.set_nonblocking(true).map_err(broken)?;
        UnixStream::from_std(stream).map(Self).map_err(broken)
    }

    /// Another socket.
    #[cfg(test)]
    pub fn of(stream: UnixStream) -> Self {
        Self(stream)
    }

    /// The next request; none when the supervisor has closed.
    pub async fn request(&mut self) -> Result<Option<Request>, Fault> {
        let mut prefix = [0; 4];
        if self.0.read_exact(&mut prefix).await.is_err() {
            return Ok(None);
        }
        let length = protocol::announced(prefix).map_err(|error| Fault::protocol(&error.to_string()))?;
        let mut body = Zeroizing::new(vec![0; length]); // Spark's RPC secret is in it
        if self.0.read_exact(&mut body).await.is_err() {
            return Ok(None);
        }
        protocol::decode(&body).map(Some).map_err(|error| Fault::protocol(&error.to_string()))
    }

    /// Sends a reply.
    pub async fn reply(&mut self, reply: &Reply) -> Result<(), Fault> {
        let frame = protocol::encode(reply).map_err(|error| Fault::protocol(&error.to_string()))?;
        let frame = Zeroizing::new(frame); // a token is in it
        self.0.write_all(&frame).await.map_err(|_| Fault::protocol("the supervisor is gone"))
    }

    /// Waits until the supervisor wants something else, or is gone.
    pub async fn spoken(&self) {
        while !self.interrupted() {
            // What was read before may have left the mark that there is something to read; this takes it away.
            let unmarked = self.0.try_io(Interest::READABLE, || Err::<(), _>(ErrorKind::WouldBlock.into()));
            if unmarked.is_err_and(|error| error.kind() != ErrorKind::WouldBlock)
                || self.0.readable().await.is_err()
            {
                return;
            }
        }
    }

    /// Whether the supervisor wants something else, or is gone, while a request is under way. Asked between two steps:
    /// a step that was sent to the cluster is waited for, so that it cannot take effect after the clean-up.
    pub fn interrupted(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        !matches!(poll(&mut fds, PollTimeout::ZERO), Ok(0))
    }
}
