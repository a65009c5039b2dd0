//! Limits of the driver on this host: the shape of what the administrator writes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a driver, with everything that it starts, may use of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Driver {
    /// Control group below which each job gets one of its own, in the hierarchy of cgroup v2 where that has the controllers,
    /// else in each controller's of v1. `${user}` is the UNIX account.
    pub cgroup: String,
    /// Limits of one job.
    pub job: Limits,
    /// Limits of all jobs of one user together; `cgroup` then ends in `${user}`.
    pub user: Limits,
}

impl Default for Driver {
    fn default() -> Self {
        Self { cgroup: "spark-submit-as/${user}".into(), job: Limits::default(), user: Limits::default() }
    }
}

/// Limits of a group of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory, such as 4Gi: who uses more is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<String>,
    /// CPUs, such as 2 or 500m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
}

impl Driver {
    /// The cgroup of a user's jobs, relative to a hierarchy's root.
    #[must_use]
    pub fn cgroup_of(&self, user: &str) -> String {
        self.cgroup.replace("${user}", user)
    }
}
