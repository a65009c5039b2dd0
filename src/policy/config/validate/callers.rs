//! What `callers` must make sense of.

use super::{Check, MAX_ENTRIES, Place};
use crate::policy::config::{CallerEntry, Config, MayRunAs};

/// Checks the list.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn check(config: &Config) -> Check {
    let callers = Place::top("callers");
    callers.require(!config.callers.is_empty(), "must not be empty", "name at least one")?;
    callers.count(config.callers.len(), MAX_ENTRIES)?;
    for (index, entry) in config.callers.iter().enumerate() {
        let here = callers.then(index);
        // The same name may have several entries, but not twice the same one.
        let earlier = config.callers.iter().take(index);
        here.require(
            !earlier.into_iter().any(|other| other == entry),
            "is in the list already",
            "remove it",
        )?;
        match entry {
            CallerEntry::Name(name) => here.user_name(name)?,
            CallerEntry::Account(entry) => here.then("account").user_name(&entry.account)?,
            CallerEntry::Group(entry) => here.then("group").user_name(&entry.group)?,
        }
        if let Some(MayRunAs::Listed(listed)) = entry.may_run_as() {
            let rule = here.then("may_run_as");
            let empty = listed.users.is_empty() && listed.groups.is_empty();
            rule.require(!empty, "names nobody", "name users or groups, or write `self`")?;
            for (key, names) in [("users", &listed.users), ("groups", &listed.groups)] {
                let list = rule.then(key);
                list.names(names, true)?;
                names.iter().enumerate().try_for_each(|(index, name)| list.then(index).user_name(name))?;
            }
        }
        if let Some(profiles) = entry.profiles() {
            let list = here.then("profiles");
            list.names(profiles, false)?;
            for (index, name) in profiles.iter().enumerate() {
                let exists = config.profiles.contains_key(name);
                let rule = "names no profile of `profiles`";
                list.then(index).require(exists, rule, "add it there or correct the name")?;
            }
        }
    }
    Ok(())
}
