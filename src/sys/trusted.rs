//! Opening what only root (or one other account) can change.
//!
//! Every component of the path is opened from its parent's descriptor without following links and looked at
//! through that descriptor, so that what was checked is what is used (OpenSSH `safe_path_fd`; checklist [1]-[5],
//! [13]). The sticky bit excuses nothing.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

/// Most symbolic links on one path (the kernel's own limit, path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Why a path is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Not an absolute path without `..`.
    #[error("{path}: must be an absolute path without '.' and '..'")]
    Shape {
        /// The path.
        path: PathBuf,
    },
    /// A component is a symbolic link.
    #[error("{path}: is a symbolic link; name the file itself")]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// Somebody else owns it.
    #[error("{path}: is owned by uid {uid}; it must be owned by root (chown root)")]
    Owner {
        /// The component.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// Somebody else may write it.
    #[error("{path}: mode {mode:04o} lets others than root write; remove it (chmod go-w)")]
    Writable {
        /// The component.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else may read it.
    #[error("{path}: mode {mode:04o} lets others read a credential; close it (chmod go-rwx)")]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not the kind of file that is needed.
    #[error("{path}: is not a {wanted}")]
    Kind {
        /// The path.
        path: PathBuf,
        /// What was needed.
        wanted: &'static str,
    },
    /// Larger than allowed.
    #[error("{path}: is larger than {limit} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        limit: u64,
    },
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The component.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What to do with a symbolic link on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Refuse it.
    Refuse,
    /// Follow it when root owns it: its directory was found to be root's alone.
    FollowRoots,
}

/// Opens a regular file that only root can change. Nothing is read yet.
///
/// # Errors
/// [`TrustError`] with the component that breaks the rule.
pub fn open_file(path: &Path, links: Links) -> Result<OwnedFd, TrustError> {
    let (fd, path) = walk(path, links, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
    let stat = stat(&fd, &path)?;
    require_kind(&stat, SFlag::S_IFREG, "regular file", &path)?;
    require_roots(&stat, &path)?;
    Ok(fd)
}

/// Opens a directory that only root can change.
///
/// # Errors
/// [`TrustError`].
pub fn open_directory(path: &Path, links: Links) -> Result<OwnedFd, TrustError> {
    let (fd, path) = walk(path, links, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?;
    require_roots(&stat(&fd, &path)?, &path)?;
    Ok(fd)
}

/// Opens a credential: a regular file of root's or of `account`'s that nobody else can read or change [10].
/// Group bits are accepted only for `group`, the account's own primary group, and never for writing.
///
/// # Errors
/// [`TrustError`].
pub fn open_credential(path: &Path, account: u32, group: u32) -> Result<OwnedFd, TrustError> {
    let (fd, path) = walk(path, Links::Refuse, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
    let stat = stat(&fd, &path)?;
    require_kind(&stat, SFlag::S_IFREG, "regular file", &path)?;
    if stat.st_uid != 0 && stat.st_uid != account {
        return Err(TrustError::Owner { path, uid: stat.st_uid });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o022 != 0 {
        return Err(TrustError::Writable { path, mode });
    }
    let group_reads = mode & 0o040 != 0 && stat.st_gid != group;
    if mode & 0o007 != 0 || group_reads {
        return Err(TrustError::Readable { path, mode });
    }
    Ok(fd)
}

/// Reads a file that [`open_file`] opened, up to `limit` bytes.
///
/// # Errors
/// [`TrustError::TooLarge`], [`TrustError::Io`].
pub fn read(fd: OwnedFd, path: &Path, limit: u64) -> Result<Vec<u8>, TrustError> {
    let mut bytes = Vec::new();
    std::fs::File::from(fd)
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| TrustError::Io { path: path.into(), source })?;
    if bytes.len() as u64 > limit {
        return Err(TrustError::TooLarge { path: path.into(), limit });
    }
    Ok(bytes)
}

/// Walks to `path`; every directory on the way must be root's alone. Returns the last component, opened with
/// `flags`, and its path after links.
fn walk(path: &Path, links: Links, flags: OFlag) -> Result<(OwnedFd, PathBuf), TrustError> {
    let mut rest = components(path)?;
    let mut links_left = if links == Links::FollowRoots { MAX_LINKS } else { 0 };
    'from_root: loop {
        let mut at = PathBuf::from("/");
        let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut fd = nix::fcntl::open("/", directory, Mode::empty()).map_err(io_error(&at))?;
        require_roots(&stat(&fd, &at)?, &at)?;
        let last = rest.len().saturating_sub(1);
        for (index, name) in rest.iter().enumerate() {
            at.push(name);
            let wanted = if index == last { flags } else { directory };
            let opened =
                openat(&fd, name.as_os_str(), wanted | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
            match opened {
                Ok(next) => {
                    if index != last {
                        require_roots(&stat(&next, &at)?, &at)?;
                    }
                    fd = next;
                }
                // O_NOFOLLOW on a link: ELOOP; with O_DIRECTORY as well: ENOTDIR.
                Err(Errno::ELOOP | Errno::ENOTDIR) => match readlinkat(&fd, name.as_os_str()) {
                    Ok(target) if links_left > 0 => {
                        links_left -= 1;
                        rest = redirected(&rest, index, &at, &target)?;
                        continue 'from_root;
                    }
                    Ok(_) => return Err(TrustError::Link { path: at }),
                    Err(_) => return Err(TrustError::Kind { path: at, wanted: "directory" }),
                },
                Err(error) => return Err(io_error(&at)(error)),
            }
        }
        return Ok((fd, at));
    }
}

/// The components to walk after the link at `index` was found to point to `target`.
fn redirected(
    rest: &[OsString],
    index: usize,
    link: &Path,
    target: &OsStr,
) -> Result<Vec<OsString>, TrustError> {
    let mut path = link.parent().unwrap_or(Path::new("/")).to_path_buf();
    for component in Path::new(target).components() {
        match component {
            Component::RootDir => path = "/".into(),
            // The parent was walked already and found to be root's, so going up is what the kernel would do.
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    path.extend(rest.iter().skip(index + 1));
    components(&path)
}

fn components(path: &Path) -> Result<Vec<OsString>, TrustError> {
    let shape = || TrustError::Shape { path: escaped(path) };
    if !path.is_absolute() || path.as_os_str().as_bytes().contains(&0) {
        return Err(shape());
    }
    path.components()
        .filter(|component| *component != Component::RootDir)
        .map(|component| match component {
            Component::Normal(name) => Ok(name.to_os_string()),
            _ => Err(shape()),
        })
        .collect()
}

/// A path that is safe to print: escaped and bounded.
#[must_use]
pub fn escaped(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes().iter().take(512);
    OsString::from_vec(bytes.flat_map(|byte| std::ascii::escape_default(*byte)).collect()).into()
}

fn io_error(path: &Path) -> impl Fn(Errno) -> TrustError + '_ {
    move |errno| TrustError::Io { path: path.into(), source: errno.into() }
}

fn stat(fd: &OwnedFd, path: &Path) -> Result<FileStat, TrustError> {
    fstat(fd).map_err(io_error(path))
}

fn require_kind(stat: &FileStat, kind: SFlag, wanted: &'static str, path: &Path) -> Result<(), TrustError> {
    let found = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    if found == kind { Ok(()) } else { Err(TrustError::Kind { path: path.into(), wanted }) }
}

fn require_roots(stat: &FileStat, path: &Path) -> Result<(), TrustError> {
    if stat.st_uid != 0 {
        return Err(TrustError::Owner { path: path.into(), uid: stat.st_uid });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o022 != 0 {
        return Err(TrustError::Writable { path: path.into(), mode });
    }
    Ok(())
}
