//! Teams from UNIX groups: which one a job belongs to, and that its account is a member.

use std::collections::BTreeSet;

use super::mapping::compile;
use super::{Account, Refusal};
use crate::policy::config::Team;

/// Longest name of a team in bytes.
const MAX_TEAM: usize = 256;

/// Checks an expression of `users.team`.
///
/// # Errors
/// What is wrong, without repeating it.
pub(crate) fn check_expression(text: &str) -> Result<(), &'static str> {
    match compile(text)?.captures_len() {
        2 => Ok(()),
        1 => Err("has no pair of brackets around the team's name"),
        _ => Err("has more than one pair of brackets; write (?:…) for those that are not the team's name"),
    }
}

/// The team of a job. `groups` are the names of the account's groups, `wanted` is what `--team` says, and `needed` whether
/// the namespace has a `${team}`.
///
/// # Errors
/// [`Refusal::NoTeams`], [`Refusal::NotInTeam`], [`Refusal::SeveralTeams`], none of which names a team [25].
pub fn choose_team<'g>(
    team: Option<&Team>,
    account: &Account,
    groups: impl IntoIterator<Item = &'g str>,
    wanted: Option<&str>,
    needed: bool,
) -> Result<Option<String>, Refusal> {
    let Some(team) = team else {
        return if wanted.is_some() { Err(Refusal::NoTeams) } else { Ok(None) };
    };
    let bad = |problem| Refusal::BadRule { rule: "users.team.from_groups".into(), problem };
    let expression = compile(&team.from_groups).map_err(bad)?;
    // Two groups may give one team; a group that gives no name gives no team.
    let teams: BTreeSet<&str> = groups
        .into_iter()
        .filter_map(|group| expression.captures(group)?.get(1).map(|name| name.as_str()))
        .filter(|name| (1..=MAX_TEAM).contains(&name.len()) && !name.chars().any(char::is_control))
        .collect();
    match wanted {
        Some(wanted) if teams.contains(wanted) => Ok(Some(wanted.to_owned())),
        Some(_) => Err(Refusal::NotInTeam(account.name.clone())),
        None if teams.len() > 1 && needed => Err(Refusal::SeveralTeams(account.name.clone())),
        None if teams.len() > 1 => Ok(None),
        None => Ok(teams.first().map(|team| (*team).to_owned())),
    }
}
