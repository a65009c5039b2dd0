//! The journal: a directory of root's with one directory for each job, which holds the job's record.
//!
//! A job's directory is locked (flock(2)) as long as somebody works on the job: its `run`, or the `reap` or `kill` that
//! takes it back. The kernel drops the lock with the last descriptor, so a lock that can be had says that the `run` is
//! dead; nothing else could have taken its place, as a pid can. A record is replaced by a rename, whole or not at all,
//! and is on the disk before the first object is asked for.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, fsync, unlinkat};

use super::rundir::{DIRECTORY, own_directory};
use super::steps::{self, Step, Victims};
use super::{Failure, paths};
use crate::exit::ExitCode;
use crate::policy::names::JobId;

mod record;
#[cfg(test)]
mod tests;

pub use record::{
    By, Cleanup, End, MAX_RECORD, Made, Phase, Record, RecordError, Times, VERSION, command, now,
};

/// Name of the record in a job's directory,
const RECORD: &str = "record.json";
/// and of the next one until it is on the disk.
const FRESH: &str = ".record.new";
/// How often a directory that is taken away at the moment of its making is made again.
const TRIES: u32 = 16;

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// There is none: its `run` died before it was written, and nothing was made.
    #[error("is missing")]
    Missing,
    /// Not a file of root's alone.
    #[error("is not a regular file that only root can change")]
    Foreign,
    /// No record.
    #[error("{0}")]
    Content(#[from] RecordError),
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The journal.
pub struct Journal {
    jobs: OwnedFd,
    path: PathBuf,
}

/// An entry of the journal's directory.
pub enum Found {
    /// A job.
    Job(JobId),
    /// Something that this program did not put there.
    Foreign(OsString),
}

/// A job's directory, locked.
pub struct Entry {
    jobs: OwnedFd,
    directory: Flock<OwnedFd>,
    name: String,
}

fn failed<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Failure {
    Failure::doing(ExitCode::Journal, format!("the journal, {what}"))
}

impl Journal {
    /// Opens it, and makes it when it is missing.
    ///
    /// # Errors
    /// [`ExitCode::Journal`].
    pub fn open() -> Result<Self, Failure> {
        let as_journal = |failure: Failure| Failure::new(ExitCode::Journal, failure.message);
        own_directory(paths::state_directory(), 0o711).map_err(as_journal)?;
        let path = paths::state_directory().join("jobs");
        let jobs = own_directory(&path, 0o700).map_err(as_journal)?;
        Ok(Self { jobs, path })
    }

    /// Puts a new job on record. When this returns, the record is on the disk.
    ///
    /// # Errors
    /// [`ExitCode::Journal`]; nothing is left then.
    pub fn create(&self, record: &Record) -> Result<Entry, Failure> {
        let name = record.job.as_str();
        let entry = self.claim(name).map_err(failed(name))?;
        steps::reached(Step::RecordDirectory, Victims::default());
        let written = entry
            .write_text(record)
            .and_then(|()| fsync(&entry.directory as &OwnedFd).map_err(io::Error::from))
            .and_then(|()| fsync(&self.jobs).map_err(io::Error::from));
        if let Err(error) = written {
            let _ = entry.remove();
            return Err(failed(name)(error));
        }
        steps::reached(Step::Recorded, Victims::default());
        Ok(entry)
    }

    /// Makes a directory and locks it. A reap that meets it between the two finds no record and removes it.
    fn claim(&self, name: &str) -> io::Result<Entry> {
        for _ in 0..TRIES {
            mkdirat(&self.jobs, name, Mode::from_bits_truncate(0o700))?;
            match self.lock(name, FlockArg::LockExclusive) {
                Ok(Some(entry)) => return Ok(entry),
                Ok(None) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::other("the directory is taken away again and again"))
    }

    /// The job's directory, if nobody works on it; none when somebody does, or when it is gone.
    ///
    /// # Errors
    /// [`ExitCode::Journal`].
    pub fn take(&self, job: &JobId) -> Result<Option<Entry>, Failure> {
        match self.lock(job.as_str(), FlockArg::LockExclusiveNonblock) {
            Ok(entry) => Ok(entry),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(failed(job)(error)),
        }
    }

    fn lock(&self, name: &str, how: FlockArg) -> nix::Result<Option<Entry>> {
        let directory = openat(&self.jobs, name, DIRECTORY, Mode::empty())?;
        let directory = match Flock::lock(directory, how) {
            Ok(directory) => directory,
            Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error),
        };
        // Removed between open and lock (and perhaps made again): what is locked is nowhere.
        let locked = fstat(&directory as &OwnedFd)?;
        match fstatat(&self.jobs, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(there) if (there.st_dev, there.st_ino) == (locked.st_dev, locked.st_ino) => {}
            Ok(_) | Err(Errno::ENOENT) => return Ok(None),
            Err(error) => return Err(error),
        }
        let jobs = self.jobs.try_clone().map_err(|_| Errno::EMFILE)?;
        Ok(Some(Entry { jobs, directory, name: name.to_owned() }))
    }

    /// Reads the record of a job, locked or not.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(&self, job: &JobId) -> Result<Record, Unreadable> {
        let directory = openat(&self.jobs, job.as_str(), DIRECTORY, Mode::empty()).map_err(missing)?;
        read_in(&directory, job)
    }

    /// What is in the journal, one after the other.
    ///
    /// # Errors
    /// [`ExitCode::Journal`].
    pub fn entries(&self) -> Result<impl Iterator<Item = Found> + use<>, Failure> {
        let directory =
            Dir::openat(&self.jobs, ".", DIRECTORY, Mode::empty()).map_err(failed(self.path.display()))?;
        Ok(directory.into_iter().flatten().filter_map(|entry| {
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            match name.to_str() {
                Some("." | "..") => None,
                Some(text) => Some(JobId::new(text).map_or(Found::Foreign(name.clone()), Found::Job)),
                None => Some(Found::Foreign(name)),
            }
        }))
    }

    /// Moves an entry that cannot be used out of the way, for an administrator to look at.
    ///
    /// # Errors
    /// [`ExitCode::Journal`].
    pub fn quarantine(&self, name: &OsStr) -> Result<PathBuf, Failure> {
        let path = paths::state_directory().join("quarantine");
        let quarantine = own_directory(&path, 0o700)?;
        let shown = name.to_string_lossy();
        let aside = format!("{shown}.{}.{}", now(), std::process::id());
        renameat(&self.jobs, name, &quarantine, aside.as_str()).map_err(failed(&shown))?;
        Ok(path.join(aside))
    }

    /// Whether an entry is a directory, not following links.
    #[must_use]
    pub fn is_directory(&self, name: &OsStr) -> bool {
        fstatat(&self.jobs, name, AtFlags::AT_SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits())
    }
}

fn missing(error: Errno) -> Unreadable {
    match error {
        Errno::ENOENT => Unreadable::Missing,
        Errno::ELOOP | Errno::ENOTDIR => Unreadable::Foreign,
        error => Unreadable::Io(error.into()),
    }
}

fn read_in(directory: &OwnedFd, job: &JobId) -> Result<Record, Unreadable> {
    use std::io::Read;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(directory, RECORD, flags, Mode::empty()).map_err(missing)?;
    let stat = fstat(&file).map_err(io::Error::from)?;
    let regular = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits();
    if !regular || stat.st_uid != 0 || stat.st_mode & 0o022 != 0 {
        return Err(Unreadable::Foreign);
    }
    let mut text = Vec::new();
    std::fs::File::from(file).take(MAX_RECORD as u64 + 1).read_to_end(&mut text)?;
    let record = Record::parse(&text)?;
    // A record that was put into another job's directory would have that job's objects removed.
    if record.job == *job { Ok(record) } else { Err(Unreadable::Foreign) }
}

impl Entry {
    /// Replaces the record. When this returns, it is on the disk.
    ///
    /// # Errors
    /// [`ExitCode::Journal`]; the old record stays.
    pub fn write(&self, record: &Record) -> Result<(), Failure> {
        self.write_text(record).map_err(failed(&self.name))
    }

    fn write_text(&self, record: &Record) -> io::Result<()> {
        let text = record.text().map_err(io::Error::other)?;
        let directory: &OwnedFd = &self.directory;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_TRUNC | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let written = openat(directory, FRESH, flags, Mode::from_bits_truncate(0o600))
            .map_err(io::Error::from)
            .and_then(|fd| {
                let mut file = std::fs::File::from(fd);
                file.write_all(&text)?;
                file.sync_all()
            })
            .and_then(|()| {
                if record.phase == Phase::Starting && record.made == Made::default() {
                    steps::reached(Step::RecordHalf, Victims::default());
                }
                renameat(directory, FRESH, directory, RECORD).map_err(io::Error::from)
            });
        if written.is_err() {
            let _ = unlinkat(directory, FRESH, UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    /// Reads the record.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(&self) -> Result<Record, Unreadable> {
        let job = JobId::new(self.name.as_str()).map_err(|_| Unreadable::Foreign)?;
        read_in(&self.directory, &job)
    }

    /// Removes the record and its directory.
    ///
    /// # Errors
    /// [`ExitCode::Journal`].
    pub fn remove(self) -> Result<(), Failure> {
        let directory: &OwnedFd = &self.directory;
        for file in [FRESH, RECORD] {
            match unlinkat(directory, file, UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => return Err(failed(&self.name)(error)),
            }
        }
        match unlinkat(&self.jobs, self.name.as_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(failed(&self.name)(error)),
        }
    }
}
