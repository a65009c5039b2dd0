//! The files of a running job: a directory of root's that nobody else can write, with files that only the end-user
//! can read. Root works with descriptors and `*at` calls and never in a directory that somebody else can change
//! (DSA-2025-008 and the container-executor's CVEs are this one bug; checklist [42]-[44]).

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::{Failure, paths};
use crate::exit::ExitCode;
use crate::policy::names::JobId;
use crate::sys::trusted::{self, Links};

/// A directory of root's that the end-user can pass through and nothing more.
pub struct RunDirectory {
    parent: OwnedFd,
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
    files: Vec<&'static str>,
    owner: (Uid, Gid),
}

fn failed<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Failure {
    Failure::doing(ExitCode::RunDirectory, what)
}

/// Opens a directory of ours below a trusted one, making it when it is missing.
fn own_directory(path: &Path, mode: u32) -> Result<OwnedFd, Failure> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::new(ExitCode::RunDirectory, format!("{} has no parent", path.display())));
    };
    let above_fd =
        trusted::open_directory(above, Links::FollowRoots).map_err(Failure::of(ExitCode::RunDirectory))?;
    match mkdirat(&above_fd, name, Mode::from_bits_truncate(0o700)) {
        Ok(()) => {
            // The umask is 077; the mode is given where the directory is ours for certain.
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let fd = openat(&above_fd, name, flags, Mode::empty()).map_err(failed(path.display()))?;
            fchmod(&fd, Mode::from_bits_truncate(mode)).map_err(failed(path.display()))?;
        }
        Err(Errno::EEXIST) => {}
        Err(error) => return Err(failed(path.display())(error)),
    }
    trusted::open_directory(path, Links::FollowRoots).map_err(Failure::of(ExitCode::RunDirectory))
}

fn new_directory(parent: &OwnedFd, name: &OsString, path: &Path) -> Result<OwnedFd, Failure> {
    mkdirat(parent, name.as_os_str(), Mode::from_bits_truncate(0o700)).map_err(failed(path.display()))?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name.as_os_str(), flags, Mode::empty()).map_err(|error| {
        let _ = unlinkat(parent, name.as_os_str(), UnlinkatFlags::RemoveDir);
        failed(path.display())(error)
    })
}

impl RunDirectory {
    /// Makes the directory of `job`; its files will belong to `uid` and `gid`.
    ///
    /// # Errors
    /// [`ExitCode::RunDirectory`].
    pub fn create(job: &JobId, uid: u32, gid: u32) -> Result<Self, Failure> {
        let base = paths::run_directory();
        let parent = own_directory(base, 0o711)?;
        let name = OsString::from(job.as_str());
        let path = base.join(&name);
        let directory = new_directory(&parent, &name, &path)?;
        let made = Self {
            parent,
            directory,
            name,
            path,
            files: Vec::new(),
            owner: (Uid::from_raw(uid), Gid::from_raw(gid)),
        };
        if let Err(error) = fchmod(&made.directory, Mode::from_bits_truncate(0o711)) {
            let _ = made.remove();
            return Err(failed("run directory")(error));
        }
        Ok(made)
    }

    /// Path of a file in it.
    #[must_use]
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file that only the end-user can read, or replaces it in one step: a reader sees the old or the new
    /// one whole [93]. fabric8 needs a rename, it fails on a file that is half written.
    ///
    /// # Errors
    /// [`ExitCode::RunDirectory`], with no new file left.
    pub fn write(&mut self, name: &'static str, content: &[u8]) -> Result<(), Failure> {
        let fresh = format!(".{name}.new");
        let result = self.write_fresh(&fresh, content).and_then(|()| {
            renameat(&self.directory, fresh.as_str(), &self.directory, name).map_err(io::Error::from)
        });
        if let Err(error) = result {
            let _ = unlinkat(&self.directory, fresh.as_str(), UnlinkatFlags::NoRemoveDir);
            return Err(failed(self.path_of(name).display())(error));
        }
        if !self.files.contains(&name) {
            self.files.push(name);
        }
        Ok(())
    }

    fn write_fresh(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.directory, name, flags, Mode::from_bits_truncate(0o400))?;
        let mut file = std::fs::File::from(fd);
        file.write_all(content)?;
        file.sync_all()?;
        // Last: until here only root could read it.
        fchown(&file, Some(self.owner.0), Some(self.owner.1))?;
        Ok(())
    }

    /// Removes the files and the directory. The files are those that were written: nobody else can add any.
    ///
    /// # Errors
    /// [`ExitCode::CleanupIncomplete`] with what is left.
    pub fn remove(&self) -> Result<(), Failure> {
        let mut left = Vec::new();
        for name in &self.files {
            if let Err(error) = gone(unlinkat(&self.directory, *name, UnlinkatFlags::NoRemoveDir)) {
                left.push(format!("{}: {error}", self.path_of(name).display()));
            }
        }
        if let Err(error) = gone(unlinkat(&self.parent, self.name.as_os_str(), UnlinkatFlags::RemoveDir)) {
            left.push(format!("{}: {error}", self.path.display()));
        }
        if left.is_empty() { Ok(()) } else { Err(Failure::new(ExitCode::CleanupIncomplete, left.join("; "))) }
    }
}

fn gone(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

/// The end-user's own directory for copies of staged files, below one of root's.
pub struct ScratchDirectory {
    parent: OwnedFd,
    name: OsString,
    /// Its path.
    pub path: PathBuf,
    /// The directory.
    pub directory: OwnedFd,
}

impl ScratchDirectory {
    /// Makes it.
    ///
    /// # Errors
    /// [`ExitCode::RunDirectory`].
    pub fn create(job: &JobId, uid: u32, gid: u32) -> Result<Self, Failure> {
        own_directory(paths::state_directory(), 0o711)?;
        let base = paths::state_directory().join("scratch");
        let parent = own_directory(&base, 0o711)?;
        let name = OsString::from(job.as_str());
        let path = base.join(&name);
        let directory = new_directory(&parent, &name, &path)?;
        let made = Self { parent, name, path, directory };
        // A directory that we have just made, through its descriptor: nobody else could have put anything in it.
        if let Err(error) = fchown(&made.directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
            let _ = made.remove();
            return Err(failed(made.path.display())(error));
        }
        Ok(made)
    }

    /// Removes the directory, which [`crate::job::empty_scratch`] has emptied.
    ///
    /// # Errors
    /// [`ExitCode::CleanupIncomplete`].
    pub fn remove(&self) -> Result<(), Failure> {
        gone(unlinkat(&self.parent, self.name.as_os_str(), UnlinkatFlags::RemoveDir))
            .map_err(Failure::doing(ExitCode::CleanupIncomplete, self.path.display()))
    }
}
