//! The first steps of root's process: nothing of the caller's environment, descriptors, masks or limits stays, and
//! what must hold before any work is looked at.

use std::ffi::OsString;
use std::os::fd::OwnedFd;

use nix::fcntl::{OFlag, open};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{getegid, geteuid, getgid, getuid};

use super::Failure;
use crate::exit::ExitCode;
use crate::sys::{host, process};

/// Oldest kernel: 5.14 has everything used here and is what the oldest supported distribution ships.
const KERNEL_FLOOR: (u32, u32) = (5, 14);
/// Oldest C library.
const LIBC_FLOOR: (u32, u32) = (2, 34);

/// Descriptors that this process wants to be able to open.
const DESCRIPTORS: rlim_t = 256;

/// The environment that the caller gave, kept aside.
pub struct Given {
    variables: Vec<(OsString, OsString)>,
    /// The caller's working directory, opened without any right in it; relative paths of `--stage` start there.
    pub directory: Option<OwnedFd>,
    /// Limits that were changed for this process; the job gets the caller's back.
    pub limits: Vec<(Resource, rlim_t, rlim_t)>,
}

impl Given {
    /// A variable of the caller's.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&OsString> {
        self.variables.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Makes the process fit to run as root, whatever it was started from. std has already opened /dev/null in place of
/// closed standard descriptors [30].
///
/// # Errors
/// [`ExitCode::Internal`] when the system refuses.
pub fn sanitise() -> Result<Given, Failure> {
    let variables = process::take_environment();
    process::close_inherited(3)
        .map_err(Failure::doing(ExitCode::Internal, "closing inherited descriptors"))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = open(".", flags, Mode::empty()).ok();
    nix::unistd::chdir("/").map_err(Failure::doing(ExitCode::Internal, "chdir /"))?;
    umask(Mode::from_bits_truncate(0o077));
    let limits = own_limits();
    nix::sys::prctl::set_dumpable(false).map_err(Failure::doing(ExitCode::Internal, "PR_SET_DUMPABLE"))?;
    // An ignored SIGCHLD would make waitpid useless; the others are given back to their defaults as well [34].
    process::reset_signals();
    // A closed pipe and a file-size limit are errors of write(2), not our end [33], [94].
    let mut blocked = SigSet::empty();
    blocked.add(Signal::SIGPIPE);
    blocked.add(Signal::SIGXFSZ);
    let _ = blocked.thread_block();
    Ok(Given { variables, directory, limits })
}

/// No core file of a process that holds secrets; enough descriptors to clean up with, as far as the hard limit allows.
fn own_limits() -> Vec<(Resource, rlim_t, rlim_t)> {
    let mut changed = Vec::new();
    for (resource, own) in [(Resource::RLIMIT_CORE, 0), (Resource::RLIMIT_NOFILE, DESCRIPTORS)] {
        if let Ok((soft, hard)) = getrlimit(resource) {
            let own = if resource == Resource::RLIMIT_NOFILE { own.max(soft).min(hard) } else { own };
            if setrlimit(resource, own, hard).is_ok() {
                changed.push((resource, soft, hard));
            }
        }
    }
    changed
}

/// Who called: root itself, or the account that sudo names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerUid {
    /// Root, without sudo or through it from root.
    Root,
    /// The account with this uid, through sudo.
    Account(u32),
}

/// Reads `SUDO_UID`. It can only narrow what is allowed: without it the caller is root, who could do anything
/// anyway; sudo sets it whenever somebody else calls [16].
///
/// # Errors
/// [`ExitCode::CallerRefused`] when it is no uid.
pub fn caller(given: &Given) -> Result<CallerUid, Failure> {
    let Some(text) = given.variable("SUDO_UID") else { return Ok(CallerUid::Root) };
    let text = text.to_str().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    match text.and_then(|text| text.parse::<u32>().ok()) {
        Some(0) => Ok(CallerUid::Root),
        Some(u32::MAX) | None => Err(Failure::new(
            ExitCode::CallerRefused,
            "SUDO_UID is not a user id; call this program through sudo, or as root without that variable",
        )),
        Some(uid) => Ok(CallerUid::Account(uid)),
    }
}

/// What must hold before anything else: root, not by a set-uid bit, able to gain and drop rights, a recent host.
///
/// # Errors
/// [`ExitCode::NotRoot`], [`ExitCode::Platform`].
pub fn require_root() -> Result<(), Failure> {
    let not_root = |message: &str| Err(Failure::new(ExitCode::NotRoot, message));
    if geteuid().is_root() && !getuid().is_root() {
        return not_root("installed setuid; remove the bit (chmod u-s) and call it through sudo");
    }
    if getegid() != getgid() {
        return not_root("installed setgid; remove the bit (chmod g-s) and call it through sudo");
    }
    if !geteuid().is_root() {
        return not_root("must be started as root; call it through sudo (see sudoers.d/spark-submit-as)");
    }
    if nix::sys::prctl::get_no_new_privs().unwrap_or(true) {
        return not_root("started under no_new_privs; call it from a process that may use sudo");
    }
    let kernel = nix::sys::utsname::uname()
        .ok()
        .map(|uname| uname.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    require_version("Linux", &kernel, KERNEL_FLOOR)?;
    require_version("glibc", &host::libc_version(), LIBC_FLOOR)
}

fn require_version(what: &str, found: &str, floor: (u32, u32)) -> Result<(), Failure> {
    match host::version(found) {
        Some(version) if version >= floor => Ok(()),
        _ => Err(Failure::new(
            ExitCode::Platform,
            format!("{what} {found} is older than {}.{}, the oldest supported", floor.0, floor.1),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_host_is_refused_by_number() {
        assert!(require_version("Linux", "5.14.0-70", KERNEL_FLOOR).is_ok());
        let refused = require_version("Linux", "5.10.0-9", KERNEL_FLOOR);
        assert_eq!(refused.map_err(|failure| failure.code).err(), Some(ExitCode::Platform));
        assert!(require_version("glibc", "2.31", LIBC_FLOOR).is_err());
        assert!(require_version("glibc", "unknown", LIBC_FLOOR).is_err());
    }
}
