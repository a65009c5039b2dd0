//! The admin properties on disk: one file of root's, or a directory of root's with files that count together; and the verbs
//! that change them, so that automation need not write YAML.
//!
//! In a directory each `*.yaml` counts, in the order of the names. Names that begin with `.` or end in `~` are nobody's
//! (editors, and what is being written here); any other name is refused, so that no file is left out unnoticed.

use std::ffi::OsString;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, fstatat};
use nix::unistd::{Gid, UnlinkatFlags, fchown, fsync, unlinkat};

use super::{Failure, load};
use crate::cli::SubjectArgs;
use crate::exit::ExitCode;
use crate::policy::config::Config;
use crate::policy::identity::{Properties, Subject, check_property, merge_properties, parse_properties};
use crate::policy::names::{Login, UserName};
use crate::sys::trusted::{self, Links, TrustError};

/// Most files of a directory, and most names that are looked at in it.
const MAX_FILES: usize = 256;
const MAX_NAMES: usize = 1024;
/// Most bytes of all files together.
const MAX_BYTES: usize = 4 << 20;
/// The file of a directory that `set` and `unset` write, and no other.
const OWN_FILE: &str = "50-set.yaml";
/// How long another `set` or `unset` is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
const ABOUT: &str = "# Written by `spark-submit-as properties set` and `unset`; comments do not stay.\n";

fn invalid(path: &Path, problem: impl std::fmt::Display) -> Failure {
    Failure::new(ExitCode::ConfigInvalid, format!("{}: {problem}", trusted::escaped(path).display()))
}

fn io(path: &Path) -> impl Fn(Errno) -> Failure + '_ {
    move |error| invalid(path, error.desc())
}

/// Reads the file or the directory that `users.properties` names.
///
/// # Errors
/// [`ExitCode::ConfigUntrusted`] when somebody other than root may change a part of it, [`ExitCode::ConfigInvalid`].
pub fn load(path: &Path) -> Result<Properties, Failure> {
    match directory(path)? {
        Some(directory) => merged(&files(path, &directory)?),
        None => parse_properties(&load::bytes(path)?).map_err(|error| invalid(path, error)),
    }
}

/// The directory, if it is one.
fn directory(path: &Path) -> Result<Option<OwnedFd>, Failure> {
    match trusted::open_directory(path, Links::Refuse) {
        Ok(directory) => Ok(Some(directory)),
        // Its last part is no directory; that and what is above it is looked at again when the file is opened.
        Err(TrustError::Kind { .. }) => Ok(None),
        Err(error @ TrustError::Io { .. }) => Err(Failure::new(ExitCode::ConfigInvalid, error.to_string())),
        Err(error) => Err(Failure::new(ExitCode::ConfigUntrusted, error.to_string())),
    }
}

/// The files of a directory with their texts, sorted by name.
fn files(path: &Path, directory: &OwnedFd) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(directory, ".", flags, Mode::empty()).map_err(io(path))?;
    let mut names: Vec<String> = Vec::new();
    for (count, entry) in listing.iter().enumerate() {
        if count >= MAX_NAMES {
            return Err(invalid(path, format!("has more than {MAX_NAMES} names; remove some")));
        }
        let entry = entry.map_err(io(path))?;
        let name = entry.file_name().to_bytes();
        if name.starts_with(b".") || name.ends_with(b"~") {
            continue;
        }
        let name = std::str::from_utf8(name).ok().filter(|name| name.ends_with(".yaml"));
        let Some(name) = name else {
            let rule =
                "has a file that is not *.yaml; rename it, or put a `.` before its name to leave it out";
            return Err(invalid(path, rule));
        };
        names.push(name.to_owned());
    }
    if names.len() > MAX_FILES {
        return Err(invalid(path, format!("has more than {MAX_FILES} files; put some together")));
    }
    names.sort_unstable();
    let mut total = 0;
    let mut files = Vec::new();
    for name in names {
        let file = path.join(name);
        let text = load::bytes(&file)?;
        total += text.len();
        if total > MAX_BYTES {
            return Err(invalid(path, "has files of more than 4 MiB together; remove some"));
        }
        files.push((trusted::escaped(&file).display().to_string(), text));
    }
    Ok(files)
}

fn merged(files: &[(String, Vec<u8>)]) -> Result<Properties, Failure> {
    merge_properties(files).map_err(Failure::of(ExitCode::ConfigInvalid))
}

/// Where a change is written.
struct Target {
    /// The directory, locked until the change is done.
    directory: Flock<OwnedFd>,
    name: OsString,
    path: PathBuf,
    /// The other files of the directory.
    others: Vec<(String, Vec<u8>)>,
}

/// `properties set` and `unset`: what was done, in a sentence.
///
/// # Errors
/// [`ExitCode::Usage`], [`ExitCode::ConfigUntrusted`], [`ExitCode::ConfigInvalid`]; nothing is changed then.
pub fn change(
    config: &Config,
    subject: &SubjectArgs,
    key: &str,
    value: Option<&str>,
) -> Result<String, Failure> {
    let subject = subject_of(subject)?;
    check_property(key, value.unwrap_or("x"))
        .map_err(|(rule, advice)| Failure::new(ExitCode::Usage, format!("{rule}; {advice}")))?;
    let path = config.users.properties.as_deref().ok_or_else(|| {
        Failure::new(
            ExitCode::ConfigInvalid,
            "`users.properties` names neither a file nor a directory; add it to the configuration",
        )
    })?;
    let target = target(path)?;
    let (properties, file) = target.current()?;
    if value.is_none() {
        target.require_nowhere_else(&subject, key)?;
    }
    if properties.value(&subject, key) == value {
        return Ok(format!("{}: as it was", target.path.display()));
    }
    let wanted = properties.with(&subject, key, value);
    let yaml = serde_yaml::to_string(&wanted).map_err(Failure::doing(ExitCode::Internal, "YAML"))?;
    let text = format!("{ABOUT}{yaml}").into_bytes();
    let mut all = target.others.clone();
    all.push((trusted::escaped(&target.path).display().to_string(), text.clone()));
    merged(&all)?;
    target.replace(&text, &wanted, file)?;
    let done = if value.is_some() { "set" } else { "taken out" };
    Ok(format!("{}: {key} {done}", target.path.display()))
}

fn subject_of(subject: &SubjectArgs) -> Result<Subject, Failure> {
    let usage = |error: crate::policy::names::NameError| Failure::new(ExitCode::Usage, error.to_string());
    match (&subject.login, &subject.group) {
        (Some(login), None) => Login::new(login.as_str()).map(Subject::Login).map_err(usage),
        (None, Some(group)) => UserName::new(group.as_str()).map(Subject::Group).map_err(usage),
        _ => Err(Failure::new(ExitCode::Usage, "give --login or --group")),
    }
}

/// The file to be changed, its directory locked before anything is read.
fn target(path: &Path) -> Result<Target, Failure> {
    if let Some(directory) = directory(path)? {
        let directory = locked(directory, path)?;
        let own = path.join(OWN_FILE);
        let own_name = trusted::escaped(&own).display().to_string();
        let others = files(path, &directory)?.into_iter().filter(|(file, _)| *file != own_name).collect();
        return Ok(Target { directory, name: OWN_FILE.into(), path: own, others });
    }
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(invalid(path, "is no file"));
    };
    let untrusted = Failure::of(ExitCode::ConfigUntrusted);
    let directory = trusted::open_directory(above, Links::Refuse).map_err(untrusted)?;
    let directory = locked(directory, above)?;
    Ok(Target { directory, name: name.to_owned(), path: path.to_owned(), others: Vec::new() })
}

/// Waits for another call that changes the same; the kernel drops its lock when it ends.
fn locked(mut directory: OwnedFd, path: &Path) -> Result<Flock<OwnedFd>, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((back, Errno::EWOULDBLOCK)) if Instant::now() < deadline => directory = back,
            Err((_, Errno::EWOULDBLOCK)) => {
                return Err(invalid(path, "is locked by somebody else for more than 10 s; try again"));
            }
            Err((_, error)) => return Err(io(path)(error)),
        }
        std::thread::sleep(PAUSE);
    }
}

/// Group and mode of a file.
type Kept = (Gid, Mode);

impl Target {
    /// What the file says now, and what of it stays; a directory's own file may be missing.
    fn current(&self) -> Result<(Properties, Kept), Failure> {
        let directory: &OwnedFd = &self.directory;
        let stat = match fstatat(directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => {
                return Ok((Properties::default(), (Gid::from_raw(0), Mode::from_bits_truncate(0o644))));
            }
            stat => stat.map_err(io(&self.path))?,
        };
        let text = load::bytes(&self.path)?;
        let properties = parse_properties(&text).map_err(|error| invalid(&self.path, error))?;
        Ok((properties, (Gid::from_raw(stat.st_gid), Mode::from_bits_truncate(stat.st_mode & 0o755))))
    }

    /// What another file says would still hold.
    fn require_nowhere_else(&self, subject: &Subject, key: &str) -> Result<(), Failure> {
        for (file, text) in &self.others {
            let says = parse_properties(text).is_ok_and(|other| other.value(subject, key).is_some());
            if says {
                let rule = format!("says it too, and only {OWN_FILE} is changed here; take it out there");
                return Err(Failure::new(ExitCode::ConfigInvalid, format!("{file}: {rule}")));
            }
        }
        Ok(())
    }

    /// Writes a file beside it, reads that again, brings it to the disk, and renames it over the old one.
    fn replace(&self, text: &[u8], wanted: &Properties, kept: Kept) -> Result<(), Failure> {
        let directory: &OwnedFd = &self.directory;
        let mut fresh = OsString::from(".");
        fresh.push(&self.name);
        fresh.push(".new");
        // One that a killed call left.
        let _ = unlinkat(directory, fresh.as_os_str(), UnlinkatFlags::NoRemoveDir);
        let written = self.write(&fresh, text, wanted, kept).and_then(|()| {
            renameat(directory, fresh.as_os_str(), directory, self.name.as_os_str())
                .and_then(|()| fsync(directory))
                .map_err(io(&self.path))
        });
        if written.is_err() {
            let _ = unlinkat(directory, fresh.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
        written
    }

    fn write(
        &self,
        fresh: &OsString,
        text: &[u8],
        wanted: &Properties,
        (gid, mode): Kept,
    ) -> Result<(), Failure> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd =
            openat(&self.directory as &OwnedFd, fresh.as_os_str(), flags, Mode::from_bits_truncate(0o600))
                .map_err(io(&self.path))?;
        let mut file = std::fs::File::from(fd);
        let mut back = Vec::new();
        let read_again = |file: &mut std::fs::File, back: &mut Vec<u8>| {
            file.write_all(text)?;
            file.rewind()?;
            file.take(u64::try_from(text.len()).unwrap_or(u64::MAX) + 1).read_to_end(back).map(drop)
        };
        read_again(&mut file, &mut back).map_err(|error| invalid(&self.path, error))?;
        let same = back == text && parse_properties(&back).is_ok_and(|read| read == *wanted);
        if !same {
            return Err(invalid(&self.path, "what was written reads back otherwise; nothing is changed"));
        }
        fchown(&file, None, Some(gid))
            .and_then(|()| fchmod(&file, mode))
            .and_then(|()| fsync(&file))
            .map_err(io(&self.path))
    }
}
