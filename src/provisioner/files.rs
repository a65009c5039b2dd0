//! Files that the kubeconfig names: read only when nobody but root and this account can change them.
//!
//! Whoever can change a certificate authority gets the cluster's credential on the next connection, and the platform
//! account, an attacker here, has a shell on this host. The kubeconfig itself was looked at and opened by root.

use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

/// Largest file that is read, in bytes.
pub const MAX_FILE: u64 = 256 * 1024;
/// Most symbolic links on one path (the kernel's own limit, path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Not an absolute path.
    #[error("the path is not absolute")]
    Relative,
    /// Somebody else can change it.
    #[error(
        "{0} can be changed by somebody other than root and the provisioner's account (chown root, chmod go-w)"
    )]
    Foreign(PathBuf),
    /// No file, or too many links to it.
    #[error("{0} is not a regular file")]
    Kind(PathBuf),
    /// Longer than [`MAX_FILE`].
    #[error("{0} has more than {MAX_FILE} bytes")]
    TooLong(PathBuf),
    /// The system refused.
    #[error("{0}: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// The bytes of a file at an absolute path.
///
/// # Errors
/// [`FileError`].
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| FileError::Io(path, error)
    };
    // Nobody else can change any component of it, so it may be opened by its path after the walk.
    let path = walk(path)?;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW)
        .open(&path)
        .map_err(failed(&path))?;
    let metadata = file.metadata().map_err(failed(&path))?;
    if !metadata.is_file() {
        return Err(FileError::Kind(path));
    }
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(usize::try_from(metadata.len().min(MAX_FILE)).unwrap_or(0) + 1));
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed(&path))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(FileError::TooLong(path));
    }
    Ok(bytes)
}

/// Follows a path component by component; each must be root's or this account's, and closed to writing by others.
/// The sticky bit excuses nothing: others may still put a new name there.
fn walk(path: &Path) -> Result<PathBuf, FileError> {
    if !path.is_absolute() {
        return Err(FileError::Relative);
    }
    let own = nix::unistd::geteuid().as_raw();
    let mut links = 0;
    let mut rest: Vec<PathBuf> = parts(path);
    let mut at = PathBuf::from("/");
    trusted(&at, own)?;
    while let Some(part) = rest.pop() {
        if part == Path::new("..") {
            at.pop();
            continue;
        }
        at.push(part);
        if let Some(target) = trusted(&at, own)? {
            links += 1;
            if links > MAX_LINKS {
                return Err(FileError::Kind(at));
            }
            at.pop();
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            rest.extend(parts(&target));
        }
    }
    Ok(at)
}

/// The components of a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let kept = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    kept.map(|part| PathBuf::from(part.as_os_str())).rev().collect()
}

/// Looks at one component; the target when it is a link (whose own mode means nothing, symlink(7)).
fn trusted(at: &Path, own: u32) -> Result<Option<PathBuf>, FileError> {
    let failed = |error| FileError::Io(at.to_owned(), error);
    let metadata = std::fs::symlink_metadata(at).map_err(failed)?;
    let link = metadata.file_type().is_symlink();
    let writable = !link && metadata.mode() & 0o022 != 0;
    if writable || (metadata.uid() != 0 && metadata.uid() != own) {
        return Err(FileError::Foreign(at.to_owned()));
    }
    if link { std::fs::read_link(at).map(Some).map_err(failed) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A directory whose parents are closed to others (unlike /tmp).
    fn directory() -> tempfile::TempDir {
        let root = nix::unistd::geteuid().is_root();
        let base = if root { "/run".into() } else { std::env::home_dir().expect("a home directory") };
        tempfile::Builder::new().permissions(PermissionsExt::from_mode(0o755)).tempdir_in(base).unwrap()
    }

    #[test]
    fn a_file_that_others_can_change_is_not_read() {
        let directory = directory();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, "text").unwrap();
        assert!(matches!(read(Path::new("ca.pem")), Err(FileError::Relative)));
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o666)).unwrap();
        assert!(matches!(read(&file), Err(FileError::Foreign(_))));
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o777)).unwrap();
        assert!(matches!(read(&file), Err(FileError::Foreign(_))));
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(read(&file).unwrap().as_slice(), b"text");
        let link = directory.path().join("link");
        symlink(Path::new("..").join(directory.path().file_name().unwrap()).join("ca.pem"), &link).unwrap();
        assert_eq!(read(&link).unwrap().as_slice(), b"text");
    }

    #[test]
    fn a_loop_a_directory_a_pipe_and_a_long_file_are_refused() {
        let directory = directory();
        let at = |name: &str| directory.path().join(name);
        symlink("b", at("a")).unwrap();
        symlink("a", at("b")).unwrap();
        assert!(matches!(read(&at("a")), Err(FileError::Kind(_))));
        assert!(matches!(read(directory.path()), Err(FileError::Kind(_))));
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        assert!(matches!(read(&at("fifo")), Err(FileError::Kind(_))), "and it does not wait for a writer");
        std::fs::write(at("long"), vec![b'x'; usize::try_from(MAX_FILE).unwrap() + 1]).unwrap();
        assert!(matches!(read(&at("long")), Err(FileError::TooLong(_))));
        assert!(matches!(read(&at("none")), Err(FileError::Io(..))));
        // A link out of a directory of ours into one that all may write.
        symlink("/tmp/x", at("out")).unwrap();
        assert!(matches!(read(&at("out")), Err(FileError::Foreign(path)) if path == Path::new("/tmp")));
    }
}
