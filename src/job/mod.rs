//! What runs between fork and exec as the **end-user**.
//!
//! The child leaves everything of root's and of the platform's behind (session, keyring, groups, ids, capabilities,
//! descriptors, masks, environment), verifies that, copies the files that were handed over into its own scratch
//! directory, and becomes the Spark program. What goes wrong travels up a pipe that a successful exec closes.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::fcntl::{OFlag, openat};
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, getppid, setsid};
use serde::{Deserialize, Serialize};

use crate::exit::ExitCode;
use crate::sys::process::{self, become_user};

mod session;

/// Who the job runs as: one record of the account database, used for everything [22].
#[derive(Clone, Debug)]
pub struct EndUser {
    /// uid
    pub uid: u32,
    /// Primary gid.
    pub gid: u32,
    /// All gids.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: PathBuf,
}

/// A file that was handed over.
pub struct Staged {
    /// Its name in the scratch directory.
    pub name: OsString,
    /// Opened by a process with the caller's ids.
    pub file: OwnedFd,
}

/// The scratch directory, the end-user's own, in a directory of root's.
pub struct Scratch {
    /// Its path.
    pub path: PathBuf,
    /// The directory.
    pub directory: OwnedFd,
    /// What to copy there.
    pub files: Vec<Staged>,
    /// Most bytes, all files together.
    pub max_bytes: u64,
}

/// Everything that the child needs; made by the supervisor before it forks.
pub struct Job {
    /// The end-user.
    pub user: EndUser,
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments, the zeroth included.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Scratch directory, where files were handed over.
    pub scratch: Option<Scratch>,
    /// Files `cgroup.procs` of the cgroups that limit it.
    pub groups: Vec<OwnedFd>,
    /// Limits to give back, or to set: resource, soft, hard.
    pub limits: Vec<(Resource, rlim_t, rlim_t)>,
    /// A terminal of its own, where the caller has one.
    pub terminal: Option<OwnedFd>,
}

/// What the child tells when it cannot go on.
#[derive(Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// The wrapper's exit code.
    pub code: ExitCode,
    /// What failed.
    pub message: String,
}

impl Trouble {
    fn setup(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self { code: ExitCode::ProcessSetup, message: format!("{step}: {error}") }
    }
}

/// Becomes the job. Returns only on failure, after telling it to `pipe`.
pub fn start(mut job: Job, supervisor: Pid, pipe: OwnedFd) -> i32 {
    let terminal = job.terminal.take();
    let trouble = match (leave_behind(&job, supervisor), terminal) {
        (Ok(()), None) => return become_program(job, pipe),
        (Ok(()), Some(slave)) => match pipe.try_clone() {
            Ok(program) => session::lead(&slave, |entered| match entered {
                Ok(()) => become_program(job, program),
                Err(trouble) => tell(&trouble, program),
            }),
            Err(error) => Trouble::setup("dup")(error),
        },
        (Err(trouble), _) => trouble,
    };
    tell(&trouble, pipe)
}

fn tell(trouble: &Trouble, pipe: OwnedFd) -> i32 {
    let text = serde_json::to_vec(trouble).unwrap_or_default();
    let _ = std::fs::File::from(pipe).write_all(&text);
    i32::from(trouble.code.number())
}

fn become_program(job: Job, pipe: OwnedFd) -> i32 {
    let trouble = match prepare(&job, pipe.as_raw_fd()) {
        Ok(()) => {
            let program = job.program.clone().into_os_string();
            let error = process::execve(program, job.arguments, job.environment);
            Trouble { code: ExitCode::ExecFailed, message: format!("{}: {error}", job.program.display()) }
        }
        Err(trouble) => trouble,
    };
    tell(&trouble, pipe)
}

/// Leaves root and the caller's session behind.
fn leave_behind(job: &Job, supervisor: Pid) -> Result<(), Trouble> {
    // While this is root; what it starts later is born there (cgroups(7)).
    for group in &job.groups {
        nix::unistd::write(group, b"0")
            .map_err(io::Error::from)
            .map_err(Trouble::setup("entering a cgroup"))?;
    }
    // A session of its own: no terminal of the caller's to push characters into (TIOCSTI, CVE-2005-4890) [38], and a
    // process group to signal.
    setsid().map_err(io::Error::from).map_err(Trouble::setup("setsid"))?;
    become_user(job.user.uid, job.user.gid, &job.user.groups)
        .map_err(|error| Trouble { code: ExitCode::ProcessSetup, message: error.to_string() })?;
    // After the ids, so that the keyring is charged to the end-user.
    process::new_session_keyring().map_err(Trouble::setup("new session keyring"))?;
    // Changing ids clears it, so it comes after them (prctl(2)). The supervisor is what keeps the token alive and
    // ends the job; a job without it is ended by the kernel.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(io::Error::from)
        .map_err(Trouble::setup("PR_SET_PDEATHSIG"))?;
    if getppid() != supervisor {
        return Err(Trouble { code: ExitCode::ProcessSetup, message: "the supervisor is gone".into() });
    }
    Ok(())
}

fn prepare(job: &Job, pipe: RawFd) -> Result<(), Trouble> {
    process::reset_signals();
    umask(Mode::from_bits_truncate(0o022));
    for (resource, soft, hard) in &job.limits {
        let _ = setrlimit(*resource, *soft, *hard);
    }
    // Now and not by exec: a staged file's file system may be the caller's own (FUSE), which could keep this process at
    // the copying for ever, and with it the locks on the job's record and its run directory.
    let mut kept = vec![0, 1, 2, pipe];
    if let Some(scratch) = &job.scratch {
        kept.push(scratch.directory.as_raw_fd());
        kept.extend(scratch.files.iter().map(|staged| staged.file.as_raw_fd()));
    }
    process::close_all_but(&kept).map_err(Trouble::setup("close_range"))?;
    process::cloexec_from(3).map_err(Trouble::setup("close_range"))?;
    match &job.scratch {
        Some(scratch) => {
            copy_files(scratch)?;
            nix::unistd::fchdir(&scratch.directory)
                .map_err(io::Error::from)
                .map_err(Trouble::setup("entering the scratch directory"))?;
        }
        // The caller's directory may be closed to the end-user or deleted; the home directory may be missing [41].
        None => {
            if std::env::set_current_dir(&job.user.home).is_err() {
                std::env::set_current_dir("/").map_err(Trouble::setup("chdir"))?;
            }
        }
    }
    Ok(())
}

fn copy_files(scratch: &Scratch) -> Result<(), Trouble> {
    let mut left = scratch.max_bytes;
    for staged in &scratch.files {
        let refused = |reason: String| Trouble {
            code: ExitCode::InputRefused,
            message: format!("copying {}: {reason}", staged.name.display()),
        };
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let copy =
            openat(&scratch.directory, staged.name.as_os_str(), flags, Mode::from_bits_truncate(0o600))
                .map_err(|error| refused(error.to_string()))?;
        let file = staged.file.try_clone().map_err(|error| refused(error.to_string()))?;
        debug_assert!(file.as_raw_fd() > 2);
        let mut source = std::fs::File::from(file).take(left + 1);
        let copied =
            io::copy(&mut source, &mut std::fs::File::from(copy)).map_err(|e| refused(e.to_string()))?;
        left = left
            .checked_sub(copied)
            .ok_or_else(|| refused(format!("more than {} bytes are staged", scratch.max_bytes)))?;
    }
    Ok(())
}

/// Empties a scratch directory, as the end-user: root never walks a tree that somebody else can change.
/// For the child of a fork; the exit status tells whether nothing is left.
pub fn empty_scratch(user: &EndUser, path: &std::path::Path) -> i32 {
    if become_user(user.uid, user.gid, &user.groups).is_err() {
        return 1;
    }
    let emptied = empty(path).or_else(|_| {
        // A directory that its owner may not write or search: give those bits back, then try once more.
        open_up(path, 64);
        empty(path)
    });
    i32::from(emptied.is_err())
}

fn empty(directory: &std::path::Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn open_up(directory: &std::path::Path, depth: u32) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700));
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path(), depth - 1);
        }
    }
}
