//! `config show`, `config validate`, `config schema`.

use std::path::Path;

use super::{Failure, load, properties};
use crate::exit::ExitCode;
use crate::policy::config::Config;

/// Largest file that `config validate` reads, in bytes.
const LIMIT: u64 = 1 << 20;

/// The configuration in force, defaults included.
///
/// # Errors
/// As [`load::config`].
pub fn show(path: &Path, json: bool) -> Result<String, Failure> {
    let config = load::config(path)?;
    let text = if json {
        serde_json::to_string_pretty(&config).map_err(|error| error.to_string())
    } else {
        serde_yaml::to_string(&config).map_err(|error| error.to_string())
    };
    text.map_err(|error| Failure::new(ExitCode::Internal, error))
}

/// Whether the configuration in force would be accepted, its ownership and its admin properties included.
///
/// # Errors
/// As [`load::config`].
pub fn validate_in_force(path: &Path) -> Result<String, Failure> {
    let config = load::config(path)?;
    if let Some(properties) = &config.users.properties {
        properties::load(properties)?;
    }
    Ok(format!("{}: accepted", path.display()))
}

/// Whether a file would be accepted. A draft may lie anywhere, so only its text is looked at, and so it is said.
///
/// # Errors
/// [`ExitCode::ConfigInvalid`].
pub fn validate_draft(path: &Path) -> Result<String, Failure> {
    let invalid = |rule: String| Failure::new(ExitCode::ConfigInvalid, format!("{}: {rule}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| invalid(error.to_string()))?;
    let mut text = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, LIMIT + 1), &mut text)
        .map_err(|error| invalid(error.to_string()))?;
    load::accepted(&text).map_err(invalid)?;
    Ok(format!("{}: accepted; owner and mode are looked at where it is installed", path.display()))
}

/// JSON Schema of the configuration, made from the types that it is read into.
///
/// # Errors
/// [`ExitCode::Internal`].
pub fn schema() -> Result<String, Failure> {
    serde_json::to_string_pretty(&schemars::schema_for!(Config))
        .map_err(Failure::doing(ExitCode::Internal, "schema"))
}
