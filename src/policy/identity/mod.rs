//! Who may call, which UNIX account a login is, and whether that account may run jobs.
//!
//! The supervisor asks the account database and hands the answers in; it uses the ids of that one record
//! throughout [22].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::exit::ExitCode;
use crate::policy::config::Config;
use crate::policy::names::UserName;

mod mapping;
mod properties;
#[cfg(test)]
mod tests;

pub use mapping::{Mapped, RuleTrace, Verdict, map_login};
pub(crate) use mapping::{check_pattern, whole_match};
pub use properties::{Properties, parse_properties};

/// One record of the account database, with the groups that initgroups(3) would set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name, as the record spells it.
    pub name: UserName,
    /// The uid.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The home directory.
    pub home: PathBuf,
    /// The login shell; empty means `/bin/sh` (passwd(5)).
    pub shell: PathBuf,
    /// Whether the administrator closed the account.
    pub lock: Option<Lock>,
}

/// Why an account is closed (shadow(5)). An account that never had a password (`!` or `*` alone, as useradd(8) leaves
/// it) is not closed: people often come in by a key or through the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// It had a password, and `usermod -L` or `passwd -l` put a `!` before it.
    Locked,
    /// Its expiry date has passed.
    Expired,
}

/// Who called the wrapper, from the kernel's ids and sudo's word for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Root itself. `SUDO_UID` in root's own environment never makes it somebody else [16].
    Root,
    /// An account, through sudo.
    Account {
        /// Its name.
        name: UserName,
        /// Its uid.
        uid: u32,
    },
}

/// What the account database says about the names in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Each group of `users.allowed_groups` with its gid; none when there is no such group.
    pub allowed_groups: BTreeMap<String, Option<u32>>,
    /// Uids of `users.denied`, so that an alias of such an account is refused too.
    pub denied: BTreeSet<u32>,
    /// Uids of `callers` and of `provisioner`, for the same reason.
    pub platform: BTreeSet<u32>,
}

/// Why a caller, a login or an account is refused.
///
/// No variant carries another user's name, nor a group's [25]: the reader may be the platform account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Root called and is not named.
    #[error(
        "root may not run jobs for others: `callers` does not name root; call as a platform account, or add root there"
    )]
    RootNotCaller,
    /// An account called and is not named.
    #[error(
        "account {0} may not run jobs for others: `callers` does not name it; an administrator can add it there"
    )]
    NotCaller(UserName),
    /// No rule of `users.mapping` matches.
    #[error("no rule of `users.mapping` matches this login (of {rules} rules); an administrator can add one")]
    NoRule {
        /// How many rules there are.
        rules: usize,
    },
    /// The rule that matched gives no legal account name.
    #[error("`{rule}` matches the login, but what it gives is {error}; put a rule for this login before it")]
    NoAccountName {
        /// Configuration key of the rule.
        rule: String,
        /// What is wrong with the name.
        error: crate::policy::names::NameError,
    },
    /// The rule that matched cannot be used. [`crate::policy::config::parse`] refuses such a rule earlier.
    #[error("`{rule}` is not a usable rule: {problem}; correct the configuration")]
    BadRule {
        /// Configuration key of the rule.
        rule: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Uid 0, under whatever name [18].
    #[error("account {0} has uid 0, which never runs jobs and cannot be allowed; choose another account")]
    Superuser(UserName),
    /// The uid or gid that chown(2) and setresuid(2) take for "leave it" (CVE-2019-14287) [19].
    #[error("account {0} has the reserved id 4294967295, which is no user; choose another account")]
    ReservedId(UserName),
    /// Primary group 0.
    #[error(
        "account {0} has the primary group 0, which never runs jobs; give the account a group of its own"
    )]
    SuperuserGroup(UserName),
    /// Below `users.min_uid`.
    #[error(
        "account {user} is a system account: its uid is below `users.min_uid` ({min_uid}); use a person's account"
    )]
    SystemAccount {
        /// The account.
        user: UserName,
        /// The limit.
        min_uid: u32,
    },
    /// In `users.denied`, by name or by uid.
    #[error("account {0} is in `users.denied`; an administrator can take it out there")]
    Denied(UserName),
    /// One of the platform's own accounts.
    #[error(
        "account {0} belongs to the platform (`callers` or `provisioner`), and a job as it would hold the platform's own secrets; map the login to the person's account"
    )]
    Platform(UserName),
    /// Not in an allowed group.
    #[error("account {0} is in no group of `users.allowed_groups`; an administrator can add it to one")]
    NotInGroup(UserName),
    /// Locked.
    #[error("account {0} is locked; an administrator can unlock it (usermod -U)")]
    Locked(UserName),
    /// Expired.
    #[error("account {0} has expired; an administrator can renew it (chage -E)")]
    Expired(UserName),
    /// A shell that lets nobody in.
    #[error("account {0} has a login shell that lets nobody in; an administrator can give it another (chsh)")]
    NoShell(UserName),
    /// Two groups of the account give one admin property two values.
    #[error(
        "the admin property {key} has different values in two of the account's groups (`users.properties`); give the login its own value there"
    )]
    AmbiguousProperty {
        /// The property.
        key: String,
    },
}

impl Refusal {
    /// The wrapper's exit code for it.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        match self {
            Refusal::RootNotCaller | Refusal::NotCaller(_) => ExitCode::CallerRefused,
            Refusal::BadRule { .. } => ExitCode::ConfigInvalid,
            Refusal::AmbiguousProperty { .. } => ExitCode::NamespaceRefused,
            _ => ExitCode::UserRefused,
        }
    }
}

/// Whether this caller may call at all [14, 16, 17].
///
/// # Errors
/// [`Refusal::RootNotCaller`], [`Refusal::NotCaller`].
pub fn authorize_caller(config: &Config, caller: &Caller) -> Result<(), Refusal> {
    let named = |name: &str| config.callers.iter().any(|caller| caller == name);
    match caller {
        // Any name with uid 0 is root, and only `root` in `callers` admits it.
        Caller::Root | Caller::Account { uid: 0, .. } => {
            if named("root") {
                Ok(())
            } else {
                Err(Refusal::RootNotCaller)
            }
        }
        // The name `root` without uid 0 is nobody that `callers: [root]` means.
        Caller::Account { name, uid } => {
            let admitted = *uid != u32::MAX && name.as_str() != "root" && named(name.as_str());
            if admitted { Ok(()) } else { Err(Refusal::NotCaller(name.clone())) }
        }
    }
}

/// Whether jobs may run as this account; the rule that allows it, as a configuration key.
///
/// Numbers come before names: uid 0 is refused whatever it is called, and `users.denied` and the platform's
/// accounts are compared by uid as well, because an account database may know one uid under two names.
///
/// # Errors
/// Every [`Refusal`] about an account.
pub fn authorize_target(config: &Config, account: &Account, known: &Known) -> Result<String, Refusal> {
    let users = &config.users;
    let user = || account.name.clone();
    let name = account.name.as_str();
    if account.uid == 0 || name == "root" {
        return Err(Refusal::Superuser(user()));
    }
    if account.uid == u32::MAX || account.gid == u32::MAX || account.groups.contains(&u32::MAX) {
        return Err(Refusal::ReservedId(user()));
    }
    if account.gid == 0 {
        return Err(Refusal::SuperuserGroup(user()));
    }
    if account.uid < users.min_uid {
        return Err(Refusal::SystemAccount { user: user(), min_uid: users.min_uid });
    }
    if users.denied.iter().any(|denied| denied == name) || known.denied.contains(&account.uid) {
        return Err(Refusal::Denied(user()));
    }
    let platform = config.provisioner == name || config.callers.iter().any(|caller| caller == name);
    if platform || known.platform.contains(&account.uid) {
        return Err(Refusal::Platform(user()));
    }
    // Only groups that the configuration names count, even if `known` holds more.
    let member = |gid: u32| account.gid == gid || account.groups.contains(&gid);
    let found =
        users.allowed_groups.iter().enumerate().find(|(_, group)| {
            known.allowed_groups.get(group.as_str()).copied().flatten().is_some_and(member)
        });
    let Some((index, group)) = found else {
        return Err(Refusal::NotInGroup(user()));
    };
    match account.lock {
        Some(Lock::Locked) => return Err(Refusal::Locked(user())),
        Some(Lock::Expired) => return Err(Refusal::Expired(user())),
        None => {}
    }
    if closed_shell(&account.shell) {
        return Err(Refusal::NoShell(user()));
    }
    Ok(format!("users.allowed_groups[{index}] ({group})"))
}

/// nologin(8), false(1) and the like, wherever they are installed.
fn closed_shell(shell: &Path) -> bool {
    const CLOSED: &[&str] = &["nologin", "false", "true", "sync", "halt", "shutdown", "null"];
    shell.file_name().is_some_and(|name| CLOSED.iter().any(|closed| name == *closed))
}
