//! What the account database is asked for a decision, and its answers in the terms of `policy`.

use std::collections::{BTreeMap, BTreeSet};

use crate::exit::ExitCode;
use crate::policy::config::Config;
use crate::policy::identity::{Account, Known, Lock};
use crate::policy::names::UserName;
use crate::supervisor::Failure;
use crate::supervisor::lookup::{self, Answer, Question, Record};

/// One question for everything that the decision needs.
pub(super) fn accounts(config: &Config, user: &UserName) -> Result<Answer, Failure> {
    let mut names: BTreeSet<String> = [user.as_str().to_owned(), config.provisioner.clone()].into();
    names.extend(config.callers.iter().cloned());
    names.extend(config.users.denied.iter().cloned());
    let groups = config.users.allowed_groups.clone();
    lookup::ask(
        &Question { names: names.into_iter().collect(), groups, ..Question::default() },
        config.timeouts.lookup,
    )
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
    let mut platform = uids(&config.callers);
    platform.extend(uids(std::slice::from_ref(&config.provisioner)));
    Known {
        allowed_groups: config
            .users
            .allowed_groups
            .iter()
            .map(|group| (group.clone(), accounts.groups.get(group).copied()))
            .collect(),
        denied: uids(&config.users.denied),
        platform,
    }
}
