//! Policies for namespaces, and a volume per user: the shape of what the administrator writes. What they come to for one
//! namespace is in [`crate::policy::wanted`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A policy for namespaces. It applies where a profile names it, and where `namespaces` matches. Each of its keys but
/// `labels` may come from one policy only for a namespace.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespacePolicy {
    /// Regular expression over the whole name of a namespace: the policy applies to those that match, whatever profile uses
    /// them, as well as where a profile names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<String>,
    /// Pod Security level of the namespace (label `pod-security.kubernetes.io/enforce`). A namespace that is created has
    /// restricted when no policy says another. The fence refuses privileged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_security: Option<PodSecurity>,
    /// Further labels of the namespace.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// ResourceQuota `ssa-quota` in the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_quota: Option<ResourceQuota>,
    /// LimitRange `ssa-limits` in the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_range: Option<LimitRange>,
    /// `isolated`: executors reach the pods of their own job, their driver, DNS and `egress`, and are reached by the pods of
    /// their own job and their driver. Nothing else in the namespace reaches anything or is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<NetworkPolicy>,
    /// What executors may reach beside that. Link-local and metadata addresses and the API server are always excepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<Egress>,
    /// Images that pods may have: an entry that ends in `*` is a prefix, any other is the whole reference with its tag or
    /// digest. Any image when no policy has a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Audiences that a token may have which another part of the cluster projects into pods (a cloud's identity webhook).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_audiences: Vec<String>,
    /// Priority classes that pods may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priority_classes: Vec<String>,
    /// Keys of taints that pods may tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<String>,
    /// The account `ssa-executor` of the namespace, which executor pods run under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor_account: Option<ExecutorAccount>,
}

/// A Pod Security Standards level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// No restriction.
    Privileged,
    /// Known escalations are refused.
    Baseline,
    /// Hardened pods only.
    Restricted,
}

/// What a namespace may use together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceQuota {
    /// As in a ResourceQuota's spec: `pods`, `requests.cpu`, `requests.storage` and so on, with a quantity such as 10, 500m
    /// or 4Gi.
    pub hard: BTreeMap<String, String>,
}

/// Bounds and defaults of single pods, containers and claims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitRange {
    /// As in a LimitRange's spec.
    pub limits: Vec<LimitRangeItem>,
}

/// Bounds and defaults of one kind of object. Each table is from a resource (`cpu`, `memory`, `storage`) to a quantity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitRangeItem {
    /// The kind of object.
    #[serde(rename = "type")]
    pub kind: LimitType,
    /// Most that one may have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub max: BTreeMap<String, String>,
    /// Least that one may have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub min: BTreeMap<String, String>,
    /// Limits of a container that names none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub default: BTreeMap<String, String>,
    /// Requests of a container that names none.
    #[serde(default, rename = "defaultRequest", skip_serializing_if = "BTreeMap::is_empty")]
    pub default_request: BTreeMap<String, String>,
    /// Most that a limit may be of its request.
    #[serde(default, rename = "maxLimitRequestRatio", skip_serializing_if = "BTreeMap::is_empty")]
    pub max_limit_request_ratio: BTreeMap<String, String>,
}

/// A kind of object that a LimitRange knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum LimitType {
    /// Each container of a pod.
    Container,
    /// A pod as a whole.
    Pod,
    /// A claim for a volume.
    PersistentVolumeClaim,
}

/// What the network of a namespace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NetworkPolicy {
    /// A job's pods reach each other, their driver, DNS and `egress`.
    Isolated,
}

/// Something that executors may reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// What it is, for people.
    pub name: String,
    /// Its network, such as 10.20.0.0/16, or 10.20.0.7/32 for one address.
    pub cidr: String,
    /// Its TCP ports; all when there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u32>,
}

/// The account of executor pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecutorAccount {
    /// Its annotations, such as a cloud role. A value may use the variables that the namespace's template uses, as
    /// `${login}`.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Secrets of the namespace that images are pulled with.
    #[serde(default)]
    pub image_pull_secrets: Vec<String>,
}

/// A volume for each end-user, in each namespace that the user's jobs run in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Size of a claim that is made, such as 10Gi. A claim that is there keeps its own.
    pub size: String,
    /// StorageClass of a claim that is made; the cluster's default class when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Where executors find it.
    pub mount_path: PathBuf,
    /// How many nodes may mount it.
    #[serde(default)]
    pub access_mode: AccessMode,
}

/// How a volume may be mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// By many nodes: what executors on several nodes need.
    #[default]
    ReadWriteMany,
    /// By one node at a time.
    ReadWriteOnce,
}

impl PodSecurity {
    /// The label's value.
    #[must_use]
    pub fn level(self) -> &'static str {
        match self {
            PodSecurity::Privileged => "privileged",
            PodSecurity::Baseline => "baseline",
            PodSecurity::Restricted => "restricted",
        }
    }
}

impl LimitType {
    /// Its name in Kubernetes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LimitType::Container => "Container",
            LimitType::Pod => "Pod",
            LimitType::PersistentVolumeClaim => "PersistentVolumeClaim",
        }
    }
}

impl AccessMode {
    /// Its name in Kubernetes.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            AccessMode::ReadWriteMany => "ReadWriteMany",
            AccessMode::ReadWriteOnce => "ReadWriteOnce",
        }
    }
}
