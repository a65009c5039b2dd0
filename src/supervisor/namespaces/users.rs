//! Whether the persons that namespaces are for still exist, by the mapping and the account database.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::config::{Config, MappingRule};
use crate::policy::identity::{Refusal, map_login};
use crate::policy::owner::Person;
use crate::supervisor::Failure;
use crate::supervisor::lookup::{self, Existence, Question};

/// Names in one question: each question has its own time.
const BATCH: usize = 100;

/// Whether each person exists.
///
/// A person exists when the account of the namespace exists, or any account that the login maps to in any project: one
/// more place to look only keeps a namespace.
///
/// # Errors
/// [`crate::exit::ExitCode::LookupFailed`] when the database does not answer in time.
pub(super) fn existing(
    config: &Config,
    persons: BTreeSet<Person>,
) -> Result<BTreeMap<Person, Existence>, Failure> {
    let accounts: BTreeMap<Person, Option<BTreeSet<String>>> = persons
        .into_iter()
        .map(|person| {
            let accounts = accounts(config, &person);
            (person, accounts)
        })
        .collect();
    let names: BTreeSet<&String> = accounts.values().flatten().flatten().collect();
    let names: Vec<String> = names.into_iter().cloned().collect();
    let mut known = BTreeMap::new();
    for batch in names.chunks(BATCH) {
        let question = Question { existing: batch.to_vec(), ..Question::default() };
        known.extend(lookup::ask(&question, config.timeouts.lookup)?.existing);
    }
    let whether = |names: Option<BTreeSet<String>>| {
        let Some(names) = names else { return Existence::Unknown };
        let answers: Vec<Existence> =
            names.iter().map(|name| known.get(name).copied().unwrap_or(Existence::Unknown)).collect();
        match answers.as_slice() {
            some if some.contains(&Existence::Yes) => Existence::Yes,
            some if some.contains(&Existence::Unknown) => Existence::Unknown,
            _ => Existence::No,
        }
    };
    Ok(accounts.into_iter().map(|(person, names)| (person, whether(names))).collect())
}

/// The accounts that may be this person's; none when the mapping does not say.
fn accounts(config: &Config, person: &Person) -> Option<BTreeSet<String>> {
    let mut accounts: BTreeSet<String> = person.user.iter().map(|user| user.as_str().to_owned()).collect();
    let Some(login) = &person.login else { return Some(accounts) };
    let projects = config.users.mapping.iter().filter_map(|rule| match rule {
        MappingRule::Identity(_) => None,
        MappingRule::Login(rule) => rule.project.as_deref(),
        MappingRule::Regex(rule) => rule.project.as_deref(),
    });
    let projects: BTreeSet<Option<&str>> = projects.map(Some).chain([None]).collect();
    for project in projects {
        match map_login(&config.users, login, project) {
            Ok(mapped) => {
                accounts.insert(mapped.user.as_str().to_owned());
            }
            Err(Refusal::NoRule { .. } | Refusal::NoAccountName { .. }) => {}
            Err(_) => return None,
        }
    }
    Some(accounts)
}

/// Groups of `users.allowed_groups` that the account database does not know.
///
/// # Errors
/// As [`existing`].
pub(super) fn unknown_groups(config: &Config) -> Result<Vec<&String>, Failure> {
    let groups = &config.users.allowed_groups;
    let question = Question { groups: groups.clone(), ..Question::default() };
    let answer = lookup::ask(&question, config.timeouts.lookup)?;
    Ok(groups.iter().filter(|group| !answer.groups.contains_key(*group)).collect())
}
