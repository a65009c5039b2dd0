//! What each entry of `callers` lets a caller do. A rule only narrows what `users` allows: an entry that lets a caller run
//! as somebody takes nothing back from [`super::authorize_target`].

use std::collections::BTreeMap;

use super::{Account, Caller, Refusal};
use crate::policy::config::{CallerEntry, Config, MayRunAs, Profile};
use crate::policy::namespace;

/// Gids of groups, by name; none for a group that does not exist.
pub type Gids = BTreeMap<String, Option<u32>>;

/// The entries of `callers` that name a caller, by their places in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Root looks at a decision (`check`, `config explain`): no entry narrows it.
    Administrator,
    /// Any of these may allow what is wanted.
    Entries(Vec<usize>),
}

/// The entries' keys, for a refusal.
fn keys(entries: &[usize]) -> String {
    entries.iter().map(|index| format!("`callers[{index}]`")).collect::<Vec<_>>().join(", ")
}

fn entry(config: &Config, index: usize) -> Option<&CallerEntry> {
    config.callers.get(index)
}

fn member(account: &Account, group: &str, gids: &Gids) -> bool {
    let gid = gids.get(group).copied().flatten();
    gid.is_some_and(|gid| account.gid == gid || account.groups.contains(&gid))
}

/// Whether this caller may call at all, and which entries say so [14, 16, 17].
///
/// # Errors
/// [`Refusal::RootNotCaller`], [`Refusal::NotCaller`].
pub fn authorize_caller(config: &Config, caller: &Caller, gids: &Gids) -> Result<Authority, Refusal> {
    let names = |entry: &CallerEntry| match caller {
        // Any name with uid 0 is root, and only `root` in `callers` admits it; no group does.
        Caller::Root | Caller::Account { uid: 0, .. } => entry.account() == Some("root"),
        Caller::Account { uid: u32::MAX, .. } => false,
        Caller::Account { name, groups, .. } => {
            let gid = entry.group().and_then(|group| gids.get(group).copied().flatten());
            // The name `root` without uid 0 is nobody that `callers: [root]` means.
            let named = name.as_str() != "root" && entry.account() == Some(name.as_str());
            named || gid.is_some_and(|gid| gid != u32::MAX && groups.contains(&gid))
        }
    };
    let entries: Vec<usize> =
        config.callers.iter().enumerate().filter(|(_, entry)| names(entry)).map(|(index, _)| index).collect();
    match caller {
        _ if !entries.is_empty() => Ok(Authority::Entries(entries)),
        Caller::Root | Caller::Account { uid: 0, .. } => Err(Refusal::RootNotCaller),
        Caller::Account { name, .. } => Err(Refusal::NotCaller(name.clone())),
    }
}

impl Authority {
    /// Profiles that it may use, in the order of its entries; all when no entry lists them.
    #[must_use]
    pub fn profiles<'c>(&self, config: &'c Config) -> Vec<&'c str> {
        let listed = match self {
            Authority::Administrator => None,
            Authority::Entries(entries) => {
                let lists = entries.iter().filter_map(|index| entry(config, *index)?.profiles());
                Some(lists.flatten().map(String::as_str).collect::<Vec<_>>())
                    .filter(|names| !names.is_empty())
            }
        };
        let only = || config.profiles.keys().map(String::as_str).collect::<Vec<_>>();
        // Of many that nobody has ordered, none is the first.
        listed.unwrap_or_else(|| if config.profiles.len() == 1 { only() } else { Vec::new() })
    }

    /// What is left of it for a profile. Said before it is known whether there is such a profile, so that a caller learns
    /// of its own only.
    ///
    /// # Errors
    /// [`Refusal::ProfileOfCaller`].
    pub fn for_profile(self, config: &Config, profile: &str) -> Result<Self, Refusal> {
        let Authority::Entries(entries) = self else { return Ok(self) };
        let lets = |index: &usize| {
            let profiles = entry(config, *index).map(CallerEntry::profiles);
            profiles.is_some_and(|profiles| {
                profiles.is_none_or(|profiles| profiles.iter().any(|one| one == profile))
            })
        };
        let left: Vec<usize> = entries.iter().copied().filter(lets).collect();
        if left.is_empty() {
            return Err(Refusal::ProfileOfCaller { entries: keys(&entries) });
        }
        Ok(Authority::Entries(left))
    }

    /// Whether some entry lets this caller run jobs as this account; that entry's key. `target` is none when the login's
    /// account does not exist, which only a caller without a rule is told.
    ///
    /// # Errors
    /// [`Refusal::TargetOfCaller`], [`Refusal::ProjectOfCaller`].
    pub fn over(
        &self,
        config: &Config,
        caller_uid: u32,
        profile: &Profile,
        target: Option<&Account>,
        gids: &Gids,
    ) -> Result<String, Refusal> {
        let Authority::Entries(entries) = self else { return Ok("root itself".to_owned()) };
        let mut chosen_by_caller = None;
        for index in entries {
            let Some(entry) = entry(config, *index) else { continue };
            match lets(entry, caller_uid, profile, target, gids) {
                Verdict::Lets => return Ok(format!("callers[{index}]")),
                Verdict::ProjectIsItsOwn => chosen_by_caller = Some(*index),
                Verdict::Not => {}
            }
        }
        Err(match chosen_by_caller {
            Some(index) => Refusal::ProjectOfCaller { entry: keys(&[index]) },
            None => Refusal::TargetOfCaller { entries: keys(entries) },
        })
    }
}

/// What an entry says to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Lets,
    Not,
    /// It lets, but the caller would choose its own namespace by `--project`.
    ProjectIsItsOwn,
}

fn lets(
    entry: &CallerEntry,
    caller_uid: u32,
    profile: &Profile,
    target: Option<&Account>,
    gids: &Gids,
) -> Verdict {
    let allowed = match (entry.may_run_as(), target) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(MayRunAs::Own(_)), Some(target)) => target.uid == caller_uid && caller_uid != 0,
        (Some(MayRunAs::Listed(listed)), Some(target)) => {
            listed.users.iter().any(|user| user == target.name.as_str())
                || listed.groups.iter().any(|group| member(target, group, gids))
        }
    };
    match allowed {
        // A platform vouches for the project; an end-user who calls for itself would choose anybody's.
        true if !entry.over_others() && namespace::uses(&profile.namespace.template, "projectKey") => {
            Verdict::ProjectIsItsOwn
        }
        true => Verdict::Lets,
        false => Verdict::Not,
    }
}

/// Whether an entry, whoever calls, lets jobs run as this account: for an administrator who asks why.
#[must_use]
pub fn explain(entry: &CallerEntry, profile: &Profile, target: &Account, gids: &Gids) -> bool {
    let own = matches!(entry.may_run_as(), Some(MayRunAs::Own(_)));
    let names = entry.account() == Some(target.name.as_str())
        || entry.group().is_some_and(|group| member(target, group, gids));
    (!own || names) && lets(entry, target.uid, profile, Some(target), gids) == Verdict::Lets
}

/// Whether an account is one that an entry of `callers` gives power over others.
pub(super) fn is_platform(config: &Config, account: &Account, gids: &Gids) -> bool {
    config.callers.iter().filter(|entry| entry.over_others()).any(|entry| {
        entry.account() == Some(account.name.as_str())
            || entry.group().is_some_and(|group| member(account, group, gids))
    })
}
