//! What the administrator's verbs for namespaces go by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The administrator's verbs for namespaces.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Namespaces {
    /// `namespace prune` deletes a user's namespace after the user has been missing for this many days, 1 to 3650.
    pub prune_after_days: u16,
    /// Account that holds the administrator's credential during `namespace` verbs: best a system account of its own. The
    /// provisioner's when absent. Never one that may call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { prune_after_days: 30, account: None }
    }
}
