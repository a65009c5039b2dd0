//! A control group for each job, where the host has cgroup v2: no process can leave it, whatever it does to its session,
//! its parent or its environment, and `cgroup.kill` ends all of them at once (cgroups(7); Linux 5.14).
//!
//! It is made below the cgroup that the wrapper itself is in, so that the limits which the administrator has set for the
//! platform hold for its jobs, and no controller is enabled in it. A host without cgroup v2 goes without one; `tree` and
//! `proc` find the processes there.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::Failure;
use super::rundir::DIRECTORY;
use crate::exit::ExitCode;
use crate::policy::names::JobId;
use crate::sys::trusted::{self, Links};

/// Most bytes of a file of the kernel's that are read.
const MAX_FILE: u64 = 1 << 20;

/// A job's cgroup.
pub struct Cgroup {
    parent: OwnedFd,
    directory: OwnedFd,
    name: String,
    path: String,
}

/// Name of a job's cgroup.
pub(super) fn name_of(job: &JobId) -> String {
    format!("spark-submit-as-{job}")
}

impl Cgroup {
    /// Where the job's will be, for its record; none on a host without cgroup v2.
    #[must_use]
    pub fn planned(job: &JobId) -> Option<String> {
        let own = own_path()?;
        open(&own)?;
        Some(format!("{}/{}", own.trim_end_matches('/'), name_of(job)))
    }

    /// Makes the one that was planned, if the host lets us.
    #[must_use]
    pub fn create(job: &JobId, path: &str) -> Option<Self> {
        let (parent, name) = place(job, path)?;
        mkdirat(&parent, name.as_str(), Mode::from_bits_truncate(0o755)).ok()?;
        Self::existing(job, path)
    }

    /// The one that a record names; none when it is gone, or is not this job's.
    #[must_use]
    pub fn existing(job: &JobId, path: &str) -> Option<Self> {
        let (parent, name) = place(job, path)?;
        let directory = openat(&parent, name.as_str(), DIRECTORY, Mode::empty()).ok()?;
        Some(Self { parent, directory, name, path: path.to_owned() })
    }

    /// Its descriptor, to start a process in it.
    #[must_use]
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Kills every member, whatever it does.
    pub fn kill(&self) {
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        if let Ok(file) = openat(&self.directory, "cgroup.kill", flags, Mode::empty()) {
            let _ = std::fs::File::from(file).write_all(b"1");
        }
    }

    /// Kills the members and removes the cgroup.
    ///
    /// # Errors
    /// [`ExitCode::CleanupIncomplete`] when some are still there at the deadline.
    pub fn end(&self, deadline: Instant) -> Result<(), Failure> {
        loop {
            self.kill();
            match unlinkat(&self.parent, self.name.as_str(), UnlinkatFlags::RemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    return Err(Failure::new(
                        ExitCode::CleanupIncomplete,
                        format!("the cgroup {} has processes that do not end: {error}", self.path),
                    ));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

/// The cgroup above a job's, opened, and the job's name in it.
fn place(job: &JobId, path: &str) -> Option<(OwnedFd, String)> {
    let name = name_of(job);
    let above = path.strip_suffix(name.as_str())?.strip_suffix('/')?;
    Some((open(above)?, name))
}

/// The cgroup that this process is in, below the root of the v2 hierarchy (`/proc/self/cgroup`, line `0::`).
fn own_path() -> Option<String> {
    let text = read("/proc/self/cgroup")?;
    text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

/// Where the v2 hierarchy is mounted, with its root, on `/sys/fs/cgroup` or below it.
pub(super) fn mount_point(mountinfo: &str) -> Option<&str> {
    mountinfo.lines().find_map(|line| {
        let (mount, source) = line.split_once(" - ")?;
        let mut fields = mount.split(' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let legal = root == "/" && Path::new(point).starts_with("/sys/fs/cgroup");
        (legal && source.split(' ').next() == Some("cgroup2")).then_some(point)
    })
}

/// Opens a cgroup by its path below the root of the hierarchy.
fn open(path: &str) -> Option<OwnedFd> {
    let mountinfo = read("/proc/self/mountinfo")?;
    let mut full = PathBuf::from(mount_point(&mountinfo)?);
    for component in Path::new(path).components() {
        match component {
            Component::RootDir => {}
            Component::Normal(part) => full.push(part),
            // Outside of this process's cgroup namespace.
            _ => return None,
        }
    }
    trusted::open_directory(&full, Links::Refuse).ok()
}

/// A small file of the kernel's.
pub(super) fn read(path: &str) -> Option<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_v2_hierarchy_is_found_beside_others() {
        let hybrid = "30 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 20 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified"));
        assert_eq!(mount_point("30 20 0:26 / /sys/fs/cgroup rw - cgroup2 none rw"), Some("/sys/fs/cgroup"));
        assert_eq!(mount_point("30 20 0:26 / /home/x rw - cgroup2 none rw"), None);
        assert_eq!(mount_point("30 20 0:26 /a /sys/fs/cgroup rw - cgroup2 none rw"), None);
        assert_eq!(mount_point("nonsense"), None);
    }

    #[test]
    fn only_a_cgroup_of_this_job_is_taken_from_a_record() {
        let job = JobId::new("aaaaaaaaaaaaaaaa").expect("job");
        for path in ["", "/", "/system.slice", "/../spark-submit-as-aaaaaaaaaaaaaaaa", "spark-submit-as-"] {
            assert!(Cgroup::existing(&job, path).is_none(), "{path}");
        }
    }
}
