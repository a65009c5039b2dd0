//! The file in which `namespace prune` keeps since when users have been missing: of root's alone, replaced whole, and
//! locked while a prune is at work.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

use crate::exit::ExitCode;
use crate::policy::absence::{AbsenceError, Absences, MAX_TEXT};
use crate::supervisor::journal::now;
use crate::supervisor::rundir::own_directory;
use crate::supervisor::{Failure, paths};

/// Its name in the state directory,
const NAME: &str = "missing-users.json";
/// that of the next one until it is on the disk,
const FRESH: &str = ".missing-users.new";
/// and that of the lock.
const LOCK: &str = ".missing-users.lock";

/// The memory, and the right to change it.
pub(super) struct Memory {
    directory: OwnedFd,
    _lock: Option<Flock<OwnedFd>>,
}

fn failed<E: std::fmt::Display>(error: E) -> Failure {
    Failure::new(ExitCode::Journal, format!("{}: {error}", paths::state_directory().join(NAME).display()))
}

impl Memory {
    /// Opens it; to change it, unless another prune is at work.
    ///
    /// # Errors
    /// [`ExitCode::Journal`].
    pub(super) fn open(to_change: bool) -> Result<Self, Failure> {
        let directory = own_directory(paths::state_directory(), 0o711)
            .map_err(|failure| Failure::new(ExitCode::Journal, failure.message))?;
        if !to_change {
            return Ok(Self { directory, _lock: None });
        }
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let lock = openat(&directory, LOCK, flags, Mode::from_bits_truncate(0o600)).map_err(failed)?;
        match Flock::lock(lock, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { directory, _lock: Some(lock) }),
            Err((_, Errno::EWOULDBLOCK)) => {
                Err(Failure::new(ExitCode::Journal, "another `namespace prune` is at work; wait for its end"))
            }
            Err((_, error)) => Err(failed(error)),
        }
    }

    /// What is remembered. What cannot be read is moved aside when it may be changed, and told as the second part:
    /// every count then starts anew.
    ///
    /// # Errors
    /// [`ExitCode::Journal`].
    pub(super) fn read(&self) -> Result<(Absences, Option<String>), Failure> {
        let problem = match self.text() {
            Ok(None) => return Ok((Absences::default(), None)),
            Ok(Some(text)) => match Absences::parse(&text) {
                Ok(absences) => return Ok((absences, None)),
                // Written by a later version of this program, which will want it back.
                Err(error @ AbsenceError::Version(_)) => return Err(failed(error)),
                Err(error) => error.to_string(),
            },
            Err(error) if error.kind() == io::ErrorKind::InvalidData => error.to_string(),
            Err(error) => return Err(failed(error)),
        };
        let told = if self._lock.is_some() {
            format!("{NAME} {problem}; it was moved to {} and every count starts anew", self.quarantine()?)
        } else {
            format!("{NAME} {problem}; with --yes it would be set aside and every count would start anew")
        };
        Ok((Absences::default(), Some(told)))
    }

    fn text(&self) -> io::Result<Option<Vec<u8>>> {
        let foreign = || io::Error::new(io::ErrorKind::InvalidData, "is not a file of root's alone");
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.directory, NAME, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(foreign()),
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&file)?;
        let regular = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
        if !regular || stat.st_uid != 0 || stat.st_mode & 0o077 != 0 {
            return Err(foreign());
        }
        let mut text = Vec::new();
        File::from(file).take(MAX_TEXT as u64 + 1).read_to_end(&mut text)?;
        Ok(Some(text))
    }

    fn quarantine(&self) -> Result<String, Failure> {
        let path = paths::state_directory().join("quarantine");
        let quarantine = own_directory(&path, 0o700)?;
        let aside = format!("{NAME}.{}.{}", now(), std::process::id());
        renameat(&self.directory, NAME, &quarantine, aside.as_str()).map_err(failed)?;
        Ok(path.join(aside).display().to_string())
    }

    /// Replaces it. When this returns, it is on the disk.
    ///
    /// # Errors
    /// [`ExitCode::Journal`]; the old one stays.
    pub(super) fn write(&self, absences: &Absences) -> Result<(), Failure> {
        let text = absences.text().map_err(failed)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let written = openat(&self.directory, FRESH, flags, Mode::from_bits_truncate(0o600))
            .map_err(io::Error::from)
            .and_then(|fd| {
                let mut file = File::from(fd);
                file.write_all(&text)?;
                file.sync_all()
            })
            .and_then(|()| renameat(&self.directory, FRESH, &self.directory, NAME).map_err(io::Error::from))
            .and_then(|()| fsync(&self.directory).map_err(io::Error::from));
        if written.is_err() {
            let _ = unlinkat(&self.directory, FRESH, UnlinkatFlags::NoRemoveDir);
        }
        written.map_err(failed)
    }
}
