//! The forms of an entry of `callers`: who may call, as whom it may run jobs, and with which profiles.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One entry of `callers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CallerEntry {
    /// An account, which may run jobs as everybody whom `users` allows.
    Name(String),
    /// An account, with rules of its own.
    Account(AccountEntry),
    /// The members of a group, with rules of their own.
    Group(GroupEntry),
}

/// An account that may call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountEntry {
    /// The account.
    pub account: String,
    /// As whom it may run jobs, of those whom `users` allows: `self`, or users and groups. All of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_run_as: Option<MayRunAs>,
    /// Profiles that it may use. All of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
}

/// A UNIX group whose members may call. Root is a caller by its name only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupEntry {
    /// The group.
    pub group: String,
    /// As whom its members may run jobs, of those whom `users` allows: `self`, or users and groups.
    pub may_run_as: MayRunAs,
    /// Profiles that they may use. All of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profiles: Option<Vec<String>>,
}

/// As whom a caller may run jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MayRunAs {
    /// `self`: the calling account itself.
    Own(Own),
    /// Accounts that are named, or in a group that is named.
    Listed(Listed),
}

/// The word `self`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Own {
    /// The calling account itself.
    #[serde(rename = "self")]
    Own,
}

/// Accounts that are named, or in a group that is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// UNIX accounts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// UNIX groups; a job's account must be in one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

impl CallerEntry {
    /// The account that it names, unless it names a group.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        match self {
            CallerEntry::Name(name) => Some(name),
            CallerEntry::Account(entry) => Some(&entry.account),
            CallerEntry::Group(_) => None,
        }
    }

    /// The group that it names, unless it names an account.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        match self {
            CallerEntry::Group(entry) => Some(&entry.group),
            _ => None,
        }
    }

    /// As whom it lets run; everybody whom `users` allows when there is no rule.
    #[must_use]
    pub fn may_run_as(&self) -> Option<&MayRunAs> {
        match self {
            CallerEntry::Name(_) => None,
            CallerEntry::Account(entry) => entry.may_run_as.as_ref(),
            CallerEntry::Group(entry) => Some(&entry.may_run_as),
        }
    }

    /// The profiles that it lets use; all of them when there is no rule.
    #[must_use]
    pub fn profiles(&self) -> Option<&[String]> {
        match self {
            CallerEntry::Name(_) => None,
            CallerEntry::Account(entry) => entry.profiles.as_deref(),
            CallerEntry::Group(entry) => entry.profiles.as_deref(),
        }
    }

    /// Whether it gives an account power over others. What it names belongs to the platform then.
    #[must_use]
    pub fn over_others(&self) -> bool {
        !matches!(self.may_run_as(), Some(MayRunAs::Own(_)))
    }

    /// Every group that deciding about it needs the gid of.
    pub fn groups(&self) -> impl Iterator<Item = &String> {
        let own = match self {
            CallerEntry::Group(entry) => Some(&entry.group),
            _ => None,
        };
        let listed = match self.may_run_as() {
            Some(MayRunAs::Listed(listed)) => listed.groups.as_slice(),
            _ => &[],
        };
        own.into_iter().chain(listed)
    }
}
