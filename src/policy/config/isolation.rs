//! Whether a profile's jobs need the admission policy that keeps each to its own pods.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Namespace;
use crate::policy::namespace;

/// Whether the isolation policy must be in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// A run is refused without it.
    Required,
    /// Nobody looks for it.
    Optional,
}

impl Namespace {
    /// Whether a run is refused when the isolation policy is not in force. By default wherever a namespace may be shared.
    #[must_use]
    pub fn isolation_required(&self) -> bool {
        match self.isolation {
            Some(isolation) => isolation == Isolation::Required,
            // A namespace that is named by the person is that person's alone.
            None => !["login", "user"].iter().any(|variable| namespace::uses(&self.template, variable)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isolation_is_required_wherever_a_namespace_may_be_shared() {
        for (template, required) in [
            ("dss-ns-${dssUserLogin}", false),
            ("${login}", false),
            ("x-${user}-y", false),
            ("${projectKey}-${login}", false),
            ("${adminProperty:k8sNS}", true),
            ("${adminProperty:login}", true),
            ("${projectKey}", true),
            ("${group}", true),
            ("spark", true),
            ("login", true),
            ("user-${group}", true),
            ("${users}", true),
            ("${login|tolower}", false),
            ("${team|default('login')}", true),
        ] {
            let mut namespace = Namespace {
                template: template.into(),
                create: false,
                policies: Vec::new(),
                accept_shared_account: false,
                isolation: None,
            };
            assert_eq!(namespace.isolation_required(), required, "{template}");
            namespace.isolation = Some(Isolation::Optional);
            assert!(!namespace.isolation_required(), "{template}");
            namespace.isolation = Some(Isolation::Required);
            assert!(namespace.isolation_required(), "{template}");
        }
    }
}
