//! Reading the configuration's text. (stub)
use super::Config;

/// Why the text is not a configuration.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {rule}")]
pub struct ConfigError {
    /// Line in the file, from 1; 0 when unknown.
    pub line: usize,
    /// What is wrong.
    pub rule: String,
}

/// Reads a configuration.
///
/// # Errors
/// [`ConfigError`].
pub fn parse(text: &[u8]) -> Result<Config, ConfigError> {
    serde_yaml::from_slice(text).map_err(|_| ConfigError { line: 0, rule: "invalid".into() })
}

/// `1h`, `90s`, `10m`.
pub mod duration {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;
    /// Writes.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{}s", value.as_secs()))
    }
    /// Reads.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.trim_end_matches('s').parse().map(Duration::from_secs).map_err(serde::de::Error::custom)
    }
}
