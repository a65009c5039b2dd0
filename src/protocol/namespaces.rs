//! Messages of the administrator's verbs for namespaces. The provisioner then holds an administrator's kubeconfig and does
//! what it is asked for, one namespace at a time; which, and whether at all, is root's decision.

use serde::{Deserialize, Serialize};

use crate::policy::names::NamespaceName;
use crate::protocol::NamespaceWanted;

/// Most managed namespaces of one cluster that are looked at; an honest provisioner stops there by itself.
pub const MAX_NAMESPACES: u32 = 10_000;
/// Most kinds of objects that one reply tells about.
pub const MAX_KINDS: usize = 32;
/// Most changes of one namespace that are told.
pub const MAX_CHANGES: usize = 64;
/// Most objects of one kind that are named.
pub const MAX_NAMED: usize = 20;

/// A namespace as it is in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenNamespace {
    /// Its name.
    pub name: NamespaceName,
    /// Its uid and
    pub uid: String,
    /// version: preconditions of whatever is done to it.
    pub resource_version: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Whether it has the label that lets the provisioner in.
    pub managed: bool,
    /// Its owner annotation, whatever is in it.
    pub owner: Option<String>,
    /// Pod Security level that it enforces.
    pub pod_security: Option<String>,
}

/// Objects of one kind in a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The resource, such as `serviceaccounts`.
    pub resource: String,
    /// How many there are.
    pub count: u64,
    /// Names of the first of them.
    pub names: Vec<String>,
}

/// Look at one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookInto {
    /// Which.
    pub name: NamespaceName,
    /// Also count what is in it.
    pub contents: bool,
}

/// Make a namespace a managed one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    /// Which.
    pub name: NamespaceName,
    /// Preconditions, from the look.
    pub uid: String,
    /// See [`Adopt::uid`].
    pub resource_version: String,
    /// The owner annotation.
    pub owner: String,
    /// Ask the API server for a dry run.
    pub dry_run: bool,
}

/// Bring the policies into a namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyPolicies {
    /// As a run would want it.
    pub namespace: NamespaceWanted,
    /// Ask the API server for dry runs.
    pub dry_run: bool,
    /// Seconds for a new quota to be enforced.
    pub seconds: u64,
}

/// Delete a namespace in which no job is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prune {
    /// Which.
    pub name: NamespaceName,
    /// Preconditions, from the list.
    pub uid: String,
    /// See [`Prune::uid`].
    pub resource_version: String,
    /// Only look.
    pub dry_run: bool,
}

/// What became of a [`Prune`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pruned {
    /// The API server deletes it and what is in it.
    Deleted,
    /// It would be deleted; nothing was done.
    WouldDelete,
    /// It is another one, or was changed since the list.
    Changed,
    /// It is not there any more.
    Gone,
    /// A job's account is in it.
    JobAccount,
    /// A job's pod is in it.
    JobPod,
}
