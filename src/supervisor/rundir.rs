//! The files of a running job: a directory of root's that nobody else can write, with files that only the end-user
//! can read. Root works with descriptors and `*at` calls and never in a directory that somebody else can change
//! (DSA-2025-008 and the container-executor's CVEs are this one bug; checklist [42]-[44]).

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, fchmod, fstat, fstatat, mkdirat};
use nix::sys::wait::WaitStatus;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat};

use super::{Failure, paths};
use crate::exit::ExitCode;
use crate::job::{self, EndUser};
use crate::policy::names::JobId;
use crate::sys::process;
use crate::sys::trusted::{self, Links};

/// How a directory is opened in one that is root's: itself, never what a link leads to.
pub(super) const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// How long a child may take to die from KILL.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A directory of root's that the end-user can pass through and nothing more.
pub struct RunDirectory {
    parent: OwnedFd,
    /// Locked (flock(2)) as long as its job's wrapper lives, for the case that the journal is lost.
    directory: Flock<OwnedFd>,
    name: OsString,
    path: PathBuf,
    owner: (Uid, Gid),
}

fn failed<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> Failure {
    Failure::doing(ExitCode::RunDirectory, what)
}

/// Opens a directory of ours below a trusted one, making it when it is missing.
pub(super) fn own_directory(path: &Path, mode: u32) -> Result<OwnedFd, Failure> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Failure::new(ExitCode::RunDirectory, format!("{} has no parent", path.display())));
    };
    let above_fd =
        trusted::open_directory(above, Links::FollowRoots).map_err(Failure::of(ExitCode::RunDirectory))?;
    match mkdirat(&above_fd, name, Mode::from_bits_truncate(0o700)) {
        Ok(()) => {
            // The umask is 077; the mode is given where the directory is ours for certain.
            let fd = openat(&above_fd, name, DIRECTORY, Mode::empty()).map_err(failed(path.display()))?;
            fchmod(&fd, Mode::from_bits_truncate(mode)).map_err(failed(path.display()))?;
        }
        Err(Errno::EEXIST) => {}
        Err(error) => return Err(failed(path.display())(error)),
    }
    let directory =
        trusted::open_directory(path, Links::FollowRoots).map_err(Failure::of(ExitCode::RunDirectory))?;
    // One that a package made closer than it may be: the end-user must get through to what is below.
    let found = Mode::from_bits_truncate(fstat(&directory).map_err(failed(path.display()))?.st_mode);
    let wanted = Mode::from_bits_truncate(mode);
    if !found.contains(wanted) {
        fchmod(&directory, found | wanted).map_err(failed(path.display()))?;
    }
    Ok(directory)
}

fn new_directory(parent: &OwnedFd, name: &OsString, path: &Path) -> Result<OwnedFd, Failure> {
    mkdirat(parent, name.as_os_str(), Mode::from_bits_truncate(0o700)).map_err(failed(path.display()))?;
    openat(parent, name.as_os_str(), DIRECTORY, Mode::empty()).map_err(|error| {
        let _ = unlinkat(parent, name.as_os_str(), UnlinkatFlags::RemoveDir);
        failed(path.display())(error)
    })
}

/// Opens a directory in one of root's; none when it is gone.
fn existing(parent: &OwnedFd, name: &OsString, path: &Path) -> Result<Option<OwnedFd>, Failure> {
    match openat(parent, name.as_os_str(), DIRECTORY, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(failed(path.display())(error)),
    }
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
        let directory = Flock::lock(directory, FlockArg::LockExclusive)
            .map_err(|(_, error)| failed(path.display())(error))?;
        let made = Self { parent, directory, name, path, owner: (Uid::from_raw(uid), Gid::from_raw(gid)) };
        if let Err(error) = fchmod(&made.directory as &OwnedFd, Mode::from_bits_truncate(0o711)) {
            let _ = made.remove();
            return Err(failed("run directory")(error));
        }
        Ok(made)
    }

    /// The directory of a dead job, to remove it; none when it is gone, or when its wrapper lives.
    ///
    /// # Errors
    /// [`ExitCode::RunDirectory`].
    pub fn of_dead(job: &JobId) -> Result<Option<Self>, Failure> {
        let base = paths::run_directory();
        let parent = own_directory(base, 0o711)?;
        let name = OsString::from(job.as_str());
        let path = base.join(&name);
        let Some(directory) = existing(&parent, &name, &path)? else { return Ok(None) };
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(directory) => {
                Ok(Some(Self { parent, directory, name, path, owner: (Uid::from_raw(0), Gid::from_raw(0)) }))
            }
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(failed(path.display())(error)),
        }
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
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), Failure> {
        let fresh = format!(".{name}.new");
        let result = self
            .write_fresh(&fresh, content)
            .and_then(|()| renameat(self.fd(), fresh.as_str(), self.fd(), name).map_err(io::Error::from));
        result.map_err(|error| {
            let _ = unlinkat(self.fd(), fresh.as_str(), UnlinkatFlags::NoRemoveDir);
            failed(self.path_of(name).display())(error)
        })
    }

    /// The end-user, as the owner of the kubeconfig in it; none before that is there.
    #[must_use]
    pub fn end_user(&self) -> Option<u32> {
        let stat = fstatat(self.fd(), "kubeconfig", AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
        (stat.st_uid != 0).then_some(stat.st_uid)
    }

    fn fd(&self) -> &OwnedFd {
        &self.directory
    }

    fn write_fresh(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(self.fd(), name, flags, Mode::from_bits_truncate(0o400))?;
        let mut file = std::fs::File::from(fd);
        file.write_all(content)?;
        file.sync_all()?;
        // Last: until here only root could read it.
        fchown(&file, Some(self.owner.0), Some(self.owner.1))?;
        Ok(())
    }

    /// Removes the files and the directory. It is root's own: nobody else can have put anything there.
    ///
    /// # Errors
    /// [`ExitCode::CleanupIncomplete`] with what is left.
    pub fn remove(&self) -> Result<(), Failure> {
        let mut left = Vec::new();
        let files: Vec<_> = match Dir::openat(self.fd(), ".", DIRECTORY, Mode::empty()) {
            Ok(directory) => {
                directory.into_iter().flatten().map(|file| file.file_name().to_owned()).collect()
            }
            Err(error) => {
                left.push(format!("{}: {error}", self.path.display()));
                Vec::new()
            }
        };
        for name in files.iter().filter(|name| !matches!(name.to_bytes(), b"." | b"..")) {
            if let Err(error) = gone(unlinkat(self.fd(), name.as_c_str(), UnlinkatFlags::NoRemoveDir)) {
                left.push(format!("{}/{}: {error}", self.path.display(), name.to_string_lossy()));
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
        let base = scratch_base();
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

    /// The directory of a dead job and the ids of its owner; none when it is gone.
    ///
    /// # Errors
    /// [`ExitCode::RunDirectory`]; also for one of root's, which no job has.
    pub fn of_dead(job: &JobId) -> Result<Option<(Self, u32, u32)>, Failure> {
        let base = scratch_base();
        let parent = match trusted::open_directory(&base, Links::FollowRoots) {
            Ok(parent) => parent,
            Err(trusted::TrustError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(failed(base.display())(error)),
        };
        let name = OsString::from(job.as_str());
        let path = base.join(&name);
        // Looked at and removed by its name, never read: what is in it is somebody else's.
        let Some(directory) = existing(&parent, &name, &path)? else { return Ok(None) };
        let owner = fstat(&directory).map_err(failed(path.display()))?;
        Ok(Some((Self { parent, name, path, directory }, owner.st_uid, owner.st_gid)))
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

/// Empties the scratch directory as the end-user, then removes the empty directory from root's.
///
/// # Errors
/// [`ExitCode::CleanupIncomplete`].
pub fn remove_scratch(user: &EndUser, scratch: &ScratchDirectory, patience: Duration) -> Result<(), Failure> {
    let incomplete = || {
        Failure::new(ExitCode::CleanupIncomplete, format!("{} could not be emptied", scratch.path.display()))
    };
    // Held by the child, so that a child that the end-user keeps (a file system of its own may be mounted there, FUSE)
    // is met by the next try, and not joined by another one every minute.
    let lock = std::fs::File::from(scratch.directory.try_clone().map_err(|_| incomplete())?);
    lock.try_lock().map_err(|_| incomplete())?;
    let mut child = process::fork(|| {
        // The job's record and its run directory are locked by descriptors, and the standard ones may be pipes whose other
        // end waits for their end.
        if process::close_all_but(&[lock.as_raw_fd()]).is_err() {
            return 1;
        }
        job::empty_scratch(user, &scratch.path)
    })
    .map_err(|_| incomplete())?;
    let mut fds = [PollFd::new(child.pidfd().as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let ended = match poll(&mut fds, patience) {
        Ok(1) => child.wait().ok(),
        _ => child.end(LAST_WORDS),
    };
    match ended {
        Some(WaitStatus::Exited(_, 0)) => scratch.remove(),
        _ => Err(incomplete()),
    }
}

fn scratch_base() -> PathBuf {
    paths::state_directory().join("scratch")
}

/// Jobs that have a run directory or a scratch directory, one after the other.
pub fn with_directories() -> impl Iterator<Item = JobId> {
    let names = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten();
    names(paths::run_directory().to_owned())
        .chain(names(scratch_base()))
        .filter_map(|entry| JobId::new(entry.file_name().to_str()?).ok())
}

/// Whether a job's wrapper lives, as its run directory says.
#[must_use]
pub fn is_locked(job: &JobId) -> bool {
    matches!(RunDirectory::of_dead(job), Ok(None))
        && paths::run_directory().join(job.as_str()).symlink_metadata().is_ok()
}
