//! What is done about a job whose executors do not run.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration;

/// A job without executors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Executors {
    /// How long a job may be without a running executor before the cluster is asked why, and the reason told. A job that
    /// asks for none is not told anything.
    #[serde(with = "duration")]
    #[schemars(with = "String", extend("format" = duration::FORMAT))]
    pub warn_after: Duration,
    /// How long it may be so before it is ended (exit code no-executors), such as `10m`; longer than `warn_after`. Never when
    /// absent.
    #[serde(with = "duration::optional", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", extend("format" = duration::FORMAT))]
    pub end_after: Option<Duration>,
}

impl Default for Executors {
    fn default() -> Self {
        Self { warn_after: Duration::from_secs(60), end_after: None }
    }
}
