//! What the policies come to for one namespace: which of them apply, and what is kept there because of them.
//!
//! A part of it (the quota, the list of images, ...) comes from one policy only. Two that give the same part are refused,
//! because no rule of precedence would be seen by the administrator who adds the second one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::exit::ExitCode;
use crate::policy::config::{
    Config, Egress, LimitRange, LimitRangeItem, LimitType, NamespacePolicy, NetworkPolicy, ResourceQuota,
};
use crate::policy::identity::whole_match;
use crate::policy::names::NamespaceName;

mod template;
#[cfg(test)]
mod tests;

pub(crate) use template::check as check_value;
pub use template::{TemplateError, variables_of};

/// Pod Security admission's label (KEP-2579).
pub const POD_SECURITY_LABEL: &str = "pod-security.kubernetes.io/enforce";
/// Annotations of a managed namespace that the isolation policy reads: images that pods may have,
pub const IMAGES: &str = "spark-submit-as/images";
/// audiences that a token may have which is projected into a pod,
pub const TOKEN_AUDIENCES: &str = "spark-submit-as/token-audiences";
/// priority classes,
pub const PRIORITY_CLASSES: &str = "spark-submit-as/priority-classes";
/// keys of taints that a pod may tolerate,
pub const TOLERATIONS: &str = "spark-submit-as/tolerations";
/// and Secrets that a pod's image may be pulled with. Each is a list with commas.
pub const IMAGE_PULL_SECRETS: &str = "spark-submit-as/image-pull-secrets";
/// All of them.
pub const ANNOTATIONS: [&str; 5] =
    [IMAGES, TOKEN_AUDIENCES, PRIORITY_CLASSES, TOLERATIONS, IMAGE_PULL_SECRETS];

/// What is kept in a namespace because of policies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    /// Labels of the namespace.
    pub labels: BTreeMap<String, String>,
    /// Of [`ANNOTATIONS`] those that it has; the others it must not have.
    pub annotations: BTreeMap<String, String>,
    /// Spec of its ResourceQuota.
    pub quota: Option<Value>,
    /// Spec of its LimitRange, as the API server completes it.
    pub limits: Option<Value>,
    /// Whether its network is isolated, and what jobs may reach nevertheless.
    pub network: Option<Network>,
    /// Annotations of the executors' account.
    pub account_annotations: BTreeMap<String, String>,
    /// Secrets that it pulls images with.
    pub pull_secrets: Vec<String>,
}

/// An isolated network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// What jobs may reach nevertheless.
    pub egress: Vec<Egress>,
}

impl Policies {
    /// Whether no policy asks for anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Why policies cannot be applied to a namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Two policies give the same part.
    #[error(
        "the namespace policies {one} and {other} both give `{part}`; give it in one of them, or let one apply to other \
         namespaces"
    )]
    Twice {
        /// The key.
        part: String,
        /// The policy that was looked at first.
        one: String,
        /// The other one.
        other: String,
    },
    /// The pattern of a policy cannot be used.
    #[error("namespace_policies.{policy}.namespaces {problem}")]
    Pattern {
        /// The policy.
        policy: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An annotation of the executors' account cannot be made.
    #[error("namespace_policies.{policy}.executor_account.annotations: {error}")]
    Template {
        /// The policy.
        policy: String,
        /// Why.
        error: TemplateError,
    },
}

impl PolicyError {
    /// The wrapper's exit code for it.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::ConfigInvalid
    }
}

/// What is wanted of a namespace that a profile with these `policies` uses. `owner` is the canonical JSON of its variables.
///
/// # Errors
/// [`PolicyError`].
pub fn policies(
    config: &Config,
    named: &[String],
    namespace: &NamespaceName,
    owner: &str,
) -> Result<Policies, PolicyError> {
    let values: BTreeMap<String, Option<String>> = serde_json::from_str(owner).unwrap_or_default();
    let values = values.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    united(&applying(config, named, namespace)?, |template| template::render(template, &values))
}

/// The policies that apply to a namespace: those that its profile names, and those that name it themselves.
///
/// # Errors
/// [`PolicyError::Pattern`].
pub fn applying<'a>(
    config: &'a Config,
    named: &[String],
    namespace: &NamespaceName,
) -> Result<BTreeMap<&'a str, &'a NamespacePolicy>, PolicyError> {
    let mut apply = BTreeMap::new();
    for (name, policy) in &config.namespace_policies {
        let matches = match &policy.namespaces {
            Some(pattern) => whole_match(pattern, namespace.as_str())
                .map_err(|problem| PolicyError::Pattern { policy: name.clone(), problem })?,
            None => false,
        };
        if matches || named.contains(name) {
            apply.insert(name.as_str(), policy);
        }
    }
    Ok(apply)
}

/// What the named policies come to in some namespace, without the values of one.
///
/// # Errors
/// [`PolicyError::Twice`].
pub fn anywhere(config: &Config, named: &[String]) -> Result<Policies, PolicyError> {
    let named = named.iter().filter_map(|name| Some((name.as_str(), config.namespace_policies.get(name)?)));
    united(&named.collect(), |text| Ok(text.to_owned()))
}

/// Notes which policy gave what.
#[derive(Default)]
struct Given<'a>(BTreeMap<String, &'a str>);

impl<'a> Given<'a> {
    fn by(&mut self, part: &str, policy: &'a str) -> Result<(), PolicyError> {
        match self.0.insert(part.to_owned(), policy) {
            None => Ok(()),
            Some(one) => Err(PolicyError::Twice {
                part: part.to_owned(),
                one: one.to_owned(),
                other: policy.to_owned(),
            }),
        }
    }
}

fn united(
    policies: &BTreeMap<&str, &NamespacePolicy>,
    render: impl Fn(&str) -> Result<String, TemplateError>,
) -> Result<Policies, PolicyError> {
    let mut given = Given::default();
    let mut all = Policies::default();
    for (name, policy) in policies {
        if let Some(level) = policy.pod_security {
            given.by("pod_security", name)?;
            all.labels.insert(POD_SECURITY_LABEL.into(), level.level().into());
        }
        for (key, value) in &policy.labels {
            if all.labels.get(key).is_some_and(|other| other == value) {
                continue;
            }
            given.by(&format!("labels.{key}"), name)?;
            all.labels.insert(key.clone(), value.clone());
        }
        if let Some(quota) = &policy.resource_quota {
            given.by("resource_quota", name)?;
            all.quota = Some(quota_spec(quota));
        }
        if let Some(limits) = &policy.limit_range {
            given.by("limit_range", name)?;
            all.limits = Some(limits_spec(limits));
        }
        if policy.network_policy == Some(NetworkPolicy::Isolated) {
            given.by("network_policy", name)?;
            all.network = Some(Network { egress: policy.egress.clone() });
        }
        for (part, annotation, list) in [
            ("images", IMAGES, &policy.images),
            ("token_audiences", TOKEN_AUDIENCES, &policy.token_audiences),
            ("priority_classes", PRIORITY_CLASSES, &policy.priority_classes),
            ("tolerations", TOLERATIONS, &policy.tolerations),
        ] {
            if !list.is_empty() {
                given.by(part, name)?;
                all.annotations.insert(annotation.into(), list.join(","));
            }
        }
        if let Some(account) = &policy.executor_account {
            given.by("executor_account", name)?;
            for (key, template) in &account.annotations {
                let value = render(template)
                    .map_err(|error| PolicyError::Template { policy: (*name).to_owned(), error })?;
                all.account_annotations.insert(key.clone(), value);
            }
            if !account.image_pull_secrets.is_empty() {
                all.annotations.insert(IMAGE_PULL_SECRETS.into(), account.image_pull_secrets.join(","));
            }
            all.pull_secrets.clone_from(&account.image_pull_secrets);
        }
    }
    Ok(all)
}

fn quota_spec(quota: &ResourceQuota) -> Value {
    json!({"hard": quota.hard})
}

/// As `SetDefaults_LimitRangeItem` completes a container's: a default comes from the maximum, a default request from the
/// default and then from the minimum. So that what is live can be compared with it in full.
fn limits_spec(limits: &LimitRange) -> Value {
    let item = |item: &LimitRangeItem| {
        let (mut default, mut request) = (item.default.clone(), item.default_request.clone());
        if item.kind == LimitType::Container {
            let complete = |table: &BTreeMap<String, String>, to: &mut BTreeMap<String, String>| {
                for (key, value) in table {
                    to.entry(key.clone()).or_insert_with(|| value.clone());
                }
            };
            complete(&item.max, &mut default);
            complete(&default.clone(), &mut request);
            complete(&item.min, &mut request);
        }
        let mut object = Map::from_iter([("type".to_owned(), json!(item.kind.name()))]);
        for (key, table) in [
            ("max", &item.max),
            ("min", &item.min),
            ("default", &default),
            ("defaultRequest", &request),
            ("maxLimitRequestRatio", &item.max_limit_request_ratio),
        ] {
            if !table.is_empty() {
                object.insert(key.to_owned(), json!(table));
            }
        }
        Value::Object(object)
    };
    json!({"limits": limits.limits.iter().map(item).collect::<Vec<_>>()})
}
