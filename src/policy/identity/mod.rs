//! Who may call, which UNIX account a login is, and whether that account may run jobs.
//!
//! The supervisor asks the account database and hands the answers in; it uses the ids of that one record
//! throughout [22].

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::exit::ExitCode;
use crate::policy::config::{Config, Users};
use crate::policy::names::UserName;

pub mod callers;
mod mapping;
mod properties;
mod shared;
mod team;
#[cfg(test)]
mod tests;

pub use callers::{Authority, Gids, authorize_caller};
pub use mapping::{Mapped, RuleTrace, Verdict, explain_login, map_login};
pub(crate) use mapping::{check_pattern, whole_match};
pub use properties::{MergeError, Properties, Subject, check_property, merge_properties, parse_properties};
pub use shared::shared_by;
pub(crate) use team::check_expression;
pub use team::choose_team;

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
        /// Its groups, the primary one included.
        groups: Vec<u32>,
    },
}

/// What the account database says about the names in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Each group of `users.allowed_groups` with its gid; none when there is no such group.
    pub allowed_groups: BTreeMap<String, Option<u32>>,
    /// Uids of `users.denied`, so that an alias of such an account is refused too.
    pub denied: BTreeSet<u32>,
    /// Uids of `provisioner` and of the accounts of `callers` that have power over others, for the same reason.
    pub platform: BTreeSet<u32>,
    /// The groups that entries of `callers` name.
    pub caller_groups: Gids,
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
    /// No entry of the caller's lets it use the profile.
    #[error(
        "{entries} lets this caller use other profiles only (`profiles` there); an administrator can add this one"
    )]
    ProfileOfCaller {
        /// Keys of the entries that name the caller.
        entries: String,
    },
    /// No entry of the caller's lets it run jobs as the login's account.
    #[error(
        "{entries} does not let this caller run jobs as this login's UNIX account (`may_run_as` there); an administrator can widen it"
    )]
    TargetOfCaller {
        /// Keys of the entries that name the caller and allow the profile.
        entries: String,
    },
    /// A caller that runs jobs as itself would choose its namespace.
    #[error(
        "{entry} lets an account run jobs as itself, and this profile's namespace is chosen by the project, for which nobody would vouch then; use another profile"
    )]
    ProjectOfCaller {
        /// Key of the entry.
        entry: String,
    },
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
    /// `--team` without `users.team`.
    #[error("a team is named, but the configuration has no `users.team`; leave the team out")]
    NoTeams,
    /// The account is not a member; whether there is such a team is not told [25].
    #[error(
        "account {0} is in no group that makes it a member of this team (`users.team`); an administrator can add it to the team's group"
    )]
    NotInTeam(UserName),
    /// A member of several teams, and none was named.
    #[error(
        "account {0} is a member of several teams (`users.team`); say which one (--team, or `team` in the request)"
    )]
    SeveralTeams(UserName),
    /// A namespace for each login, and another login has the same account.
    #[error(
        "other logins have this login's UNIX account too (`{rule}`), so a namespace of each login would be no boundary; use ${{user}} in `namespace.template`, or say `namespace.accept_shared_account: true`"
    )]
    SharedAccount {
        /// What gives another login the account.
        rule: String,
    },
}

impl Refusal {
    /// The wrapper's exit code for it.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        match self {
            Refusal::RootNotCaller | Refusal::NotCaller(_) | Refusal::TargetOfCaller { .. } => {
                ExitCode::CallerRefused
            }
            Refusal::ProfileOfCaller { .. } | Refusal::ProjectOfCaller { .. } => ExitCode::ProfileRefused,
            Refusal::BadRule { .. } => ExitCode::ConfigInvalid,
            Refusal::AmbiguousProperty { .. }
            | Refusal::NoTeams
            | Refusal::NotInTeam(_)
            | Refusal::SeveralTeams(_)
            | Refusal::SharedAccount { .. } => ExitCode::NamespaceRefused,
            _ => ExitCode::UserRefused,
        }
    }
}

/// A check of an account: what it is about, and the rule that it passed or its refusal.
pub type Checked = (&'static str, Result<String, Refusal>);

/// Whether jobs may run as this account; the rule that allows it, as a configuration key.
///
/// # Errors
/// Every [`Refusal`] about an account: the first of [`target_checks`].
pub fn authorize_target(config: &Config, account: &Account, known: &Known) -> Result<String, Refusal> {
    let mut allowed_by = String::new();
    for (what, result) in target_checks(config, account, known) {
        let rule = result?;
        if what == ALLOWED_GROUP {
            allowed_by = rule;
        }
    }
    Ok(allowed_by)
}

/// The check whose rule is told.
const ALLOWED_GROUP: &str = "allowed group";

/// Every check of an account, in the order in which they refuse.
///
/// Numbers come before names: uid 0 is refused whatever it is called, and `users.denied` and the platform's
/// accounts are compared by uid as well, because an account database may know one uid under two names.
#[must_use]
pub fn target_checks(config: &Config, account: &Account, known: &Known) -> Vec<Checked> {
    let users = &config.users;
    let name = account.name.as_str();
    let unless = |refused: bool, passed: &str, refusal: fn(UserName) -> Refusal| {
        if refused { Err(refusal(account.name.clone())) } else { Ok(passed.to_owned()) }
    };
    let reserved = account.uid == u32::MAX || account.gid == u32::MAX || account.groups.contains(&u32::MAX);
    let min_uid = if account.uid < users.min_uid {
        Err(Refusal::SystemAccount { user: account.name.clone(), min_uid: users.min_uid })
    } else {
        Ok(format!("users.min_uid ({})", users.min_uid))
    };
    let denied = users.denied.iter().any(|denied| denied == name) || known.denied.contains(&account.uid);
    let platform = config.provisioner == name
        || known.platform.contains(&account.uid)
        || callers::is_platform(config, account, &known.caller_groups);
    let lock = match account.lock {
        Some(Lock::Locked) => Err(Refusal::Locked(account.name.clone())),
        Some(Lock::Expired) => Err(Refusal::Expired(account.name.clone())),
        None => Ok("neither locked nor expired".to_owned()),
    };
    vec![
        ("root", unless(account.uid == 0 || name == "root", "not uid 0", Refusal::Superuser)),
        ("reserved ids", unless(reserved, "no reserved id", Refusal::ReservedId)),
        ("primary group", unless(account.gid == 0, "not group 0", Refusal::SuperuserGroup)),
        ("smallest uid", min_uid),
        ("denied", unless(denied, "not in users.denied", Refusal::Denied)),
        ("platform", unless(platform, "not an account of the platform", Refusal::Platform)),
        (ALLOWED_GROUP, allowed_group(users, account, known)),
        ("lock", lock),
        ("login shell", unless(closed_shell(&account.shell), "lets people in", Refusal::NoShell)),
    ]
}

/// The first of `users.allowed_groups` that the account is in. Only groups that the configuration names count, even if
/// `known` holds more.
fn allowed_group(users: &Users, account: &Account, known: &Known) -> Result<String, Refusal> {
    let member = |gid: u32| account.gid == gid || account.groups.contains(&gid);
    let found =
        users.allowed_groups.iter().enumerate().find(|(_, group)| {
            known.allowed_groups.get(group.as_str()).copied().flatten().is_some_and(member)
        });
    match found {
        Some((index, group)) => Ok(format!("users.allowed_groups[{index}] ({group})")),
        None => Err(Refusal::NotInGroup(account.name.clone())),
    }
}

/// nologin(8), false(1) and the like, wherever they are installed.
fn closed_shell(shell: &Path) -> bool {
    const CLOSED: &[&str] = &["nologin", "false", "true", "sync", "halt", "shutdown", "null"];
    shell.file_name().is_some_and(|name| CLOSED.iter().any(|closed| name == *closed))
}
