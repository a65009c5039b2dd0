//! What runs with the **caller's** ids: opens the files that `--stage` and `--request` name, writes the one of `--id-file`.
//!
//! Root never opens, owns or traverses a caller's path. A short-lived child becomes the caller, opens each path
//! without following any link (openat2(2) RESOLVE_NO_SYMLINKS), takes regular files only, and passes descriptors.
//! The supervisor does not even fstat them: a file system of the caller's own (FUSE) could make it wait for ever.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, renameat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, fchdir, unlinkat};

use crate::sys::pass;
use crate::sys::process::{self, become_user};
use crate::sys::trusted::escaped;

/// Largest request in bytes.
pub const MAX_REQUEST: u64 = 1 << 20;

/// How long a child may take to die from KILL.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Who calls, and where from.
pub struct Caller<'a> {
    /// The caller's uid; 0 when root called itself.
    pub uid: u32,
    /// Its primary gid.
    pub gid: u32,
    /// All its gids.
    pub groups: &'a [u32],
    /// Its working directory.
    pub directory: Option<&'a OwnedFd>,
}

/// Why a file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum CallerError {
    /// It could not be opened as the caller.
    #[error("{}: {reason}", path.display())]
    File {
        /// The path as the caller gave it, escaped.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// More bytes than allowed.
    #[error("the files of --stage have more than {0} bytes together (configuration key staging.max_bytes)")]
    TooLarge(u64),
    /// No answer in time.
    #[error("opening {} took too long (configuration key timeouts.staging)", path.display())]
    TimedOut {
        /// The file that was being opened.
        path: PathBuf,
    },
    /// It could not be written as the caller.
    #[error("--id-file cannot be written as the calling account: {0}")]
    Write(String),
    /// The system refused.
    #[error("asking for the caller's files: {0}")]
    System(#[from] std::io::Error),
}

/// Opens `files` as the caller; one descriptor for each, in their order.
///
/// # Errors
/// [`CallerError`] for the first file that cannot be taken.
pub fn open(
    caller: &Caller<'_>,
    files: &[PathBuf],
    max_bytes: u64,
    timeout: Duration,
) -> Result<Vec<OwnedFd>, CallerError> {
    with_reader(caller, files, timeout, |path| {
        let (fd, size) = open_regular(path)?;
        Ok((fd, size))
    })
    .and_then(|opened| {
        let total = opened.iter().fold(0_u64, |sum, (_, size)| sum.saturating_add(*size));
        if total > max_bytes {
            return Err(CallerError::TooLarge(max_bytes));
        }
        Ok(opened.into_iter().map(|(fd, _)| fd).collect())
    })
}

/// Reads one small file as the caller.
///
/// # Errors
/// [`CallerError`].
pub fn read(caller: &Caller<'_>, file: &Path, timeout: Duration) -> Result<Vec<u8>, CallerError> {
    let files = [file.to_path_buf()];
    // The child reads and hands over a copy in memory, so that root never waits for the caller's file system.
    let opened = with_reader(caller, &files, timeout, |path| {
        let (fd, _) = open_regular(path)?;
        let mut bytes = Vec::new();
        std::fs::File::from(fd).take(MAX_REQUEST + 1).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
        if bytes.len() as u64 > MAX_REQUEST {
            return Err(format!("has more than {MAX_REQUEST} bytes"));
        }
        let copy = memfd_create(c"request", MFdFlags::MFD_CLOEXEC).map_err(|e| e.to_string())?;
        let mut copy = std::fs::File::from(copy);
        copy.write_all(&bytes).map_err(|e| e.to_string())?;
        std::io::Seek::rewind(&mut copy).map_err(|e| e.to_string())?;
        Ok((copy.into(), bytes.len() as u64))
    })?;
    let mut bytes = Vec::new();
    for (copy, _) in opened {
        std::fs::File::from(copy).take(MAX_REQUEST + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Writes a small file as the caller: whole, or not at all. A link on the way is refused as everywhere; one in its place is
/// replaced.
///
/// # Errors
/// [`CallerError`].
pub fn write(caller: &Caller<'_>, file: &Path, text: &[u8], timeout: Duration) -> Result<(), CallerError> {
    let files = [file.to_path_buf()];
    with_reader(caller, &files, timeout, |path| {
        let directory = match path.parent() {
            Some(above) if above.as_os_str().is_empty() => Path::new("."),
            Some(above) => above,
            None => return Err("is no file".to_owned()),
        };
        let name = path.file_name().ok_or_else(|| "is no file".to_owned())?;
        let how = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let directory =
            openat2(nix::fcntl::AT_FDCWD, directory, how).map_err(|error| error.desc().to_owned())?;
        replace(&directory, name, text).map_err(|error| error.to_string())?;
        // The answer carries a descriptor; this one tells nothing.
        Ok((directory, 0))
    })
    .map(|_| ())
    .map_err(|error| match error {
        CallerError::File { reason, .. } => CallerError::Write(reason),
        error => error,
    })
}

fn replace(directory: &OwnedFd, name: &std::ffi::OsStr, text: &[u8]) -> std::io::Result<()> {
    let fresh = format!(".spark-submit-as.{}", std::process::id());
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let fd = openat(directory, fresh.as_str(), flags, Mode::from_bits_truncate(0o644))?;
    let written = std::fs::File::from(fd)
        .write_all(text)
        .and_then(|()| Ok(renameat(directory, fresh.as_str(), directory, name)?));
    if written.is_err() {
        let _ = unlinkat(directory, fresh.as_str(), UnlinkatFlags::NoRemoveDir);
    }
    written
}

fn open_regular(path: &Path) -> Result<(OwnedFd, u64), String> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let fd = openat2(nix::fcntl::AT_FDCWD, path, how).map_err(|error| match error {
        nix::errno::Errno::ELOOP => "a symbolic link is on the way; name the file itself".to_owned(),
        error => error.desc().to_owned(),
    })?;
    let stat = fstat(&fd).map_err(|error| error.desc().to_owned())?;
    if SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) != SFlag::S_IFREG {
        return Err("is not a regular file".to_owned());
    }
    Ok((fd, u64::try_from(stat.st_size).unwrap_or(u64::MAX)))
}

type Opened = Vec<(OwnedFd, u64)>;

/// Runs `take` on each file in a child with the caller's ids and collects what it passes.
fn with_reader(
    caller: &Caller<'_>,
    files: &[PathBuf],
    timeout: Duration,
    take: impl Fn(&Path) -> Result<(OwnedFd, u64), String>,
) -> Result<Opened, CallerError> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(std::io::Error::from)?;
    let mut child = process::fork(|| serve(caller, files, &theirs, take))?;
    let result = collect(&ours, files, Instant::now() + timeout);
    // One that the caller's own file system (FUSE) keeps is left to it.
    let _ = child.end(LAST_WORDS);
    result
}

/// In the child: becomes the caller, then answers for each file with `ok SIZE` and a descriptor, or with a reason.
fn serve(
    caller: &Caller<'_>,
    files: &[PathBuf],
    socket: &OwnedFd,
    take: impl Fn(&Path) -> Result<(OwnedFd, u64), String>,
) -> i32 {
    // The job's record is locked by a descriptor while --id-file is written. The standard ones are the caller's own.
    let mut kept = vec![0, 1, 2, socket.as_raw_fd()];
    kept.extend(caller.directory.map(AsRawFd::as_raw_fd));
    let ready = process::close_all_but(&kept).is_ok()
        && (caller.uid == 0 || become_user(caller.uid, caller.gid, caller.groups).is_ok())
        && caller
            .directory
            .is_none_or(|directory| fchdir(directory).is_ok() || files.iter().all(|f| f.is_absolute()));
    if !ready {
        return 1;
    }
    for file in files {
        let sent = match take(file) {
            Ok((fd, size)) => pass::send(socket, format!("ok {size}").as_bytes(), Some(fd.as_raw_fd())),
            Err(reason) => pass::send(socket, reason.as_bytes(), None),
        };
        if sent.is_err() {
            return 1;
        }
    }
    0
}

fn collect(socket: &OwnedFd, files: &[PathBuf], deadline: Instant) -> Result<Opened, CallerError> {
    let mut opened = Vec::new();
    for file in files {
        let path = escaped(file);
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        if !matches!(ready, Ok(1)) {
            return Err(CallerError::TimedOut { path });
        }
        let mut buffer = [0; 512];
        let (length, fd) = pass::receive(socket, &mut buffer)?;
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        match (text.strip_prefix("ok ").and_then(|size| size.parse().ok()), fd) {
            (Some(size), Some(fd)) => opened.push((fd, size)),
            _ if text.is_empty() => {
                return Err(CallerError::File { path, reason: "cannot be opened as the caller".into() });
            }
            _ => return Err(CallerError::File { path, reason: text }),
        }
    }
    Ok(opened)
}
