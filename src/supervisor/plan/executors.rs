//! What is known of a job's executors before any runs.

use super::Plan;
use crate::policy::config::Executors;
use crate::spark::executor_pod;

/// Longest pod that is tried, in bytes: it must fit into a frame, its quotes escaped.
const MAX_POD: usize = 96 * 1024;

impl Plan {
    /// What is done when none runs.
    #[must_use]
    pub fn executors(&self) -> &Executors {
        &self.profile.executors
    }

    /// JSON of a pod such as Spark makes for an executor; `account_uid` is that of the job's ServiceAccount. None when the
    /// administrator's template makes it too large.
    #[must_use]
    pub fn executor_pod(&self, account_uid: &str) -> Option<String> {
        let template = self.executor_template(account_uid).ok()?;
        let settings =
            executor_pod::settings(&self.properties, &self.arguments, &self.profile.spark.enforced);
        let pod = executor_pod::executor_pod(&self.job, &template, &settings)?.to_string();
        (pod.len() <= MAX_POD).then_some(pod)
    }
}
