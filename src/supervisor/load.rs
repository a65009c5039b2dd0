//! Reads root-owned files: the configuration and the admin properties.

use std::path::Path;

use super::Failure;
use crate::exit::ExitCode;
use crate::policy::config::{Config, parse};
use crate::sys::trusted::{self, Links, TrustError};

/// Largest file in bytes.
const LIMIT: u64 = 1 << 20;

/// Reads the configuration at `path`, which only root may be able to change.
///
/// # Errors
/// [`ExitCode::ConfigUntrusted`], [`ExitCode::ConfigInvalid`].
pub fn config(path: &Path) -> Result<Config, Failure> {
    let text = bytes(path)?;
    parse(&text)
        .map_err(|error| Failure::new(ExitCode::ConfigInvalid, format!("{}: {error}", path.display())))
}

/// Reads a root-owned file whole.
///
/// # Errors
/// [`ExitCode::ConfigUntrusted`] when somebody else may change it, [`ExitCode::ConfigInvalid`] when it is missing or
/// too large.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    trusted::open_file(path, Links::Refuse).and_then(|fd| trusted::read(fd, path, LIMIT)).map_err(|error| {
        let code = match error {
            TrustError::Io { .. } | TrustError::TooLarge { .. } => ExitCode::ConfigInvalid,
            _ => ExitCode::ConfigUntrusted,
        };
        Failure::new(code, error.to_string())
    })
}
