//! Reads root-owned files: the configuration and the admin properties.

use std::path::Path;

use super::Failure;
use crate::exit::ExitCode;
use crate::policy::config::{Config, parse};
use crate::spark;
use crate::sys::trusted::{self, Links, TrustError};

/// Largest file in bytes.
const LIMIT: u64 = 1 << 20;

/// Reads the configuration at `path`, which only root may be able to change.
///
/// # Errors
/// [`ExitCode::ConfigUntrusted`], [`ExitCode::ConfigInvalid`].
pub fn config(path: &Path) -> Result<Config, Failure> {
    let text = bytes(path)?;
    accepted(&text)
        .map_err(|rule| Failure::new(ExitCode::ConfigInvalid, format!("{}: {rule}", path.display())))
}

/// The configuration in a text, Spark's keys included; or the rule that it breaks.
///
/// # Errors
/// The rule, with its place.
pub fn accepted(text: &[u8]) -> Result<Config, String> {
    let config = parse(text).map_err(|error| error.to_string())?;
    for (name, profile) in &config.profiles {
        spark::check_profile(&profile.spark).map_err(|error| format!("profiles.{name}.spark: {error}"))?;
    }
    Ok(config)
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
