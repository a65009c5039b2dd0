//! What the account database is asked for a decision, and its answers in the terms of `policy`.

use std::collections::{BTreeMap, BTreeSet};

use crate::exit::ExitCode;
use crate::policy::config::{CallerEntry, Config};
use crate::policy::identity::{Account, Gids, Known, Lock};
use crate::policy::names::UserName;
use crate::supervisor::Failure;
use crate::supervisor::lookup::{self, Answer, Question, Record};

/// One question for everything that the decision needs.
pub(super) fn accounts(config: &Config, user: &UserName) -> Result<Answer, Failure> {
    let mut names: BTreeSet<String> = [user.as_str().to_owned(), config.provisioner.clone()].into();
    names.extend(config.callers.iter().filter_map(|entry| entry.account().map(String::from)));
    names.extend(config.users.denied.iter().cloned());
    let mut groups = config.users.allowed_groups.clone();
    groups.extend(caller_groups(config));
    lookup::ask(
        &Question { names: names.into_iter().collect(), groups, ..Question::default() },
        config.timeouts.lookup,
    )
}

/// Groups that entries of `callers` name, each once.
pub(super) fn caller_groups(config: &Config) -> BTreeSet<String> {
    config.callers.iter().flat_map(CallerEntry::groups).cloned().collect()
}

/// Gids of these groups.
pub(super) fn gids(groups: BTreeSet<String>, answer: &Answer) -> Gids {
    groups.into_iter().map(|group| (group.clone(), answer.groups.get(&group).copied())).collect()
}

pub(super) fn group_names(
    config: &Config,
    record: &Record,
    needed: bool,
) -> Result<BTreeMap<u32, String>, Failure> {
    if !needed {
        return Ok(BTreeMap::new());
    }
    let mut gids = record.groups.clone();
    gids.push(record.gid);
    Ok(lookup::ask(&Question { gids, ..Question::default() }, config.timeouts.lookup)?.gids)
}

pub(super) fn account(record: &Record) -> Result<Account, Failure> {
    let lock = match (record.expired, record.locked) {
        (true, _) => Some(Lock::Expired),
        (_, true) => Some(Lock::Locked),
        _ => None,
    };
    Ok(Account {
        name: UserName::new(record.name.clone()).map_err(Failure::of(ExitCode::UserRefused))?,
        uid: record.uid,
        gid: record.gid,
        groups: record.groups.clone(),
        home: record.home.clone(),
        shell: record.shell.clone(),
        lock,
    })
}

pub(super) fn known(config: &Config, accounts: &Answer) -> Known {
    let uids = |names: &[String]| -> BTreeSet<u32> {
        names.iter().filter_map(|name| accounts.names.get(name)).map(|record| record.uid).collect()
    };
    let over_others = config.callers.iter().filter(|entry| entry.over_others());
    let mut platform: Vec<String> =
        over_others.filter_map(|entry| entry.account().map(String::from)).collect();
    platform.push(config.provisioner.clone());
    Known {
        allowed_groups: config
            .users
            .allowed_groups
            .iter()
            .map(|group| (group.clone(), accounts.groups.get(group).copied()))
            .collect(),
        denied: uids(&config.users.denied),
        platform: uids(&platform),
        caller_groups: gids(caller_groups(config), accounts),
    }
}
