//! The driver's ports: a block of them is reserved for each job of a profile that says which ports drivers listen on.
//!
//! A network policy can then name them, and a firewall too. A reservation is a lock on the block's numbers as bytes of one
//! file (open file description lock, fcntl(2)): the kernel keeps it as long as this process lives, ranges of different
//! profiles may overlap, and nothing is left to clean up. A port that somebody else listens on is passed over. Between
//! this look and Spark's own bind(2) another program may still take one; the block has a spare port, and Spark tries
//! the next one.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::sys::socket::{
    self, AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, sockopt,
};
use nix::sys::stat::Mode;

use super::rundir::own_directory;
use super::{Failure, paths};
use crate::exit::ExitCode;
use crate::policy::config::PortRange;
use crate::spark::DriverPorts;
use crate::sys::process;

/// File in the run directory whose bytes stand for ports.
const FILE: &str = "ports";
/// Longest look for a free block; 20,000 of them take a fraction.
const PATIENCE: Duration = Duration::from_secs(5);

/// A block of ports that no other job of this host gets as long as this lives.
pub struct Reserved {
    /// The ports.
    pub ports: DriverPorts,
    _lock: OwnedFd,
}

/// Reserves a block of the range.
///
/// # Errors
/// [`ExitCode::NoPort`] when every block is taken; [`ExitCode::RunDirectory`].
pub fn reserve(range: &PortRange) -> Result<Reserved, Failure> {
    let directory = own_directory(paths::run_directory(), 0o711)?;
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(&directory, FILE, flags, Mode::from_bits_truncate(0o600)).map_err(failed)?;
    let blocks = range.blocks();
    let random = process::random::<4>().map_err(Failure::doing(ExitCode::Internal, "getrandom"))?;
    // Not always the first: somebody who waits for a port would know it.
    let start = u32::from_be_bytes(random).checked_rem(blocks).unwrap_or(0);
    let deadline = Instant::now() + PATIENCE;
    for turn in 0..blocks {
        if Instant::now() > deadline {
            break;
        }
        let Some(ports) = range.block((start + turn) % blocks) else { continue };
        if !lock(&file, ports, libc::F_WRLCK)? {
            continue;
        }
        if ports.all().all(is_free) {
            return Ok(Reserved { ports, _lock: file });
        }
        lock(&file, ports, libc::F_UNLCK)?;
    }
    Err(Failure::new(
        ExitCode::NoPort,
        format!(
            "all ports of {}-{} are taken by other drivers or programs of this host (configuration key \
             spark.driver_ports of the profile); wait for a job to end, or widen the range",
            range.first, range.last
        ),
    ))
}

/// Locks or unlocks a block; false when it is another job's.
fn lock(file: &OwnedFd, ports: DriverPorts, kind: libc::c_int) -> Result<bool, Failure> {
    let range = libc::flock {
        // The constants are small and the field is short on every Linux.
        l_type: libc::c_short::try_from(kind).unwrap_or_default(),
        l_whence: libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default(),
        l_start: i64::from(ports.first),
        l_len: i64::from(ports.last.saturating_sub(ports.first)) + 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&range)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: Errno) -> Failure {
    Failure::doing(ExitCode::RunDirectory, "the file of reserved ports")(error)
}

/// Whether nobody listens on a port, at whichever address. Nothing is listened on here.
fn is_free(port: u16) -> bool {
    let v4 = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    let v6 = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    can_bind(AddressFamily::Inet, &v4) && can_bind(AddressFamily::Inet6, &v6)
}

fn can_bind(family: AddressFamily, address: &impl SockaddrLike) -> bool {
    let socket = match socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None) {
        Ok(socket) => socket,
        // A host without IPv6.
        Err(Errno::EAFNOSUPPORT) => return true,
        Err(_) => return false,
    };
    // As Spark binds: connections of an earlier driver that are in TIME_WAIT do not count.
    let _ = socket::setsockopt(&socket, sockopt::ReuseAddr, &true);
    if family == AddressFamily::Inet6 {
        let _ = socket::setsockopt(&socket, sockopt::Ipv6V6Only, &true);
    }
    matches!(socket::bind(socket.as_raw_fd(), address), Ok(()) | Err(Errno::EADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_that_somebody_listens_on_is_not_free() {
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let port = listener.local_addr().unwrap().port();
            assert!(!is_free(port), "{address}");
            drop(listener);
            assert!(is_free(port), "{address}");
        }
    }

    #[test]
    fn a_block_belongs_to_one_description_and_overlaps_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let open = || -> OwnedFd {
            let path = directory.path().join(FILE);
            std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(path).unwrap().into()
        };
        let (one, other) = (open(), open());
        let block = |first| DriverPorts { first, last: first + 2 };
        assert!(lock(&one, block(3000), libc::F_WRLCK).unwrap());
        for first in 2998..=3002 {
            assert!(!lock(&other, block(first), libc::F_WRLCK).unwrap(), "{first}");
        }
        assert!(lock(&other, block(3003), libc::F_WRLCK).unwrap());
        drop(one);
        assert!(lock(&other, block(3000), libc::F_WRLCK).unwrap());
    }
}
