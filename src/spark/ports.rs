//! The ports that a driver listens on, where a profile reserves them.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::error::ArgumentError;
use super::words::Parsed;

/// The ports of one driver: its own, its block manager's, and one for the case that one of them is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverPorts {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// Keys that [`DriverPorts::settings`] sets.
pub const KEYS: [&str; 3] = ["spark.driver.port", "spark.driver.blockManager.port", "spark.port.maxRetries"];

impl DriverPorts {
    /// How many a driver has.
    pub const COUNT: u16 = 3;

    /// Each of them.
    pub fn all(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    /// Settings with which a driver stays in its ports: the first and the second, and for each the next one when it is
    /// taken (`Utils.startServiceOnPort`). Not `spark.blockManager.port`, which executors would use too.
    #[must_use]
    pub fn settings(self) -> [(&'static str, OsString); 3] {
        let [driver, block_manager, retries] = KEYS;
        let number = |port: u16| OsString::from(port.to_string());
        [
            (driver, number(self.first)),
            (block_manager, number(self.first.saturating_add(1))),
            (retries, number(1)),
        ]
    }
}

/// Refuses what would be overridden, for a job that gets ports of its own.
///
/// # Errors
/// [`ArgumentError::Key`].
pub fn check_ports(parsed: &Parsed, conf: &BTreeMap<String, String>) -> Result<(), ArgumentError> {
    let refused = |key: &str, spelling: String| {
        Err(ArgumentError::Key {
            key: key.to_owned(),
            spelling,
            rule: "each driver gets ports of its own on this host",
            advice: "leave it out: it is set for every job",
        })
    };
    for (option, key, _) in parsed.settings() {
        if let Some(key) = KEYS.iter().find(|own| own.as_bytes() == key) {
            return refused(key, format!("given with {}", parsed.spelling(option)));
        }
    }
    match KEYS.iter().find(|own| conf.contains_key(**own)) {
        Some(key) => refused(key, "in the request's conf".to_owned()),
        None => Ok(()),
    }
}
