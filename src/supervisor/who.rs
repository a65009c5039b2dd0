//! Who may call which verb: the one table, by which a call is let in, and which SECURITY.md prints.

use crate::cli::{ConfigVerb, NamespaceVerb, PoliciesVerb, PropertiesVerb, Verb};

/// Who may call a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Those whom `callers` names: accounts, members of groups, and root if it is named.
    Callers,
    /// Root itself, not through sudo from another account.
    Root,
    /// Anybody: nothing is read and nothing is done.
    Anybody,
}

/// The table. A verb that is not in it is for root itself.
pub const TABLE: &[(&str, Who)] = &[
    ("run", Who::Callers),
    ("submit", Who::Callers),
    ("list", Who::Callers),
    ("status", Who::Callers),
    ("kill", Who::Callers),
    ("reap", Who::Root),
    ("check", Who::Root),
    ("namespace list", Who::Root),
    ("namespace adopt", Who::Root),
    ("namespace policies apply", Who::Root),
    ("namespace prune", Who::Root),
    ("config show", Who::Root),
    ("config validate", Who::Root),
    ("config schema", Who::Anybody),
    ("config explain", Who::Root),
    ("properties set", Who::Root),
    ("properties unset", Who::Root),
];

/// A verb as it is written on the command line.
#[must_use]
pub fn name(verb: &Verb) -> &'static str {
    match verb {
        Verb::Run(_) => "run",
        Verb::Submit(_) => "submit",
        Verb::List(_) => "list",
        Verb::Status(_) => "status",
        Verb::Kill(_) => "kill",
        Verb::Reap(_) => "reap",
        Verb::Check(_) => "check",
        Verb::Namespace(NamespaceVerb::List(_)) => "namespace list",
        Verb::Namespace(NamespaceVerb::Adopt(_)) => "namespace adopt",
        Verb::Namespace(NamespaceVerb::Policies(PoliciesVerb::Apply(_))) => "namespace policies apply",
        Verb::Namespace(NamespaceVerb::Prune(_)) => "namespace prune",
        Verb::Config(ConfigVerb::Show { .. }) => "config show",
        Verb::Config(ConfigVerb::Validate { .. }) => "config validate",
        Verb::Config(ConfigVerb::Schema) => "config schema",
        Verb::Config(ConfigVerb::Explain(_)) => "config explain",
        Verb::Properties(PropertiesVerb::Set(_)) => "properties set",
        Verb::Properties(PropertiesVerb::Unset(_)) => "properties unset",
    }
}

/// Who may call it.
#[must_use]
pub fn who_may(verb: &Verb) -> Who {
    let name = name(verb);
    TABLE.iter().find(|(known, _)| *known == name).map_or(Who::Root, |(_, who)| *who)
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory, Parser};

    use super::*;
    use crate::cli::Cli;

    /// Verbs that do something, as they are written.
    fn leaves(command: &Command, above: &str, found: &mut Vec<String>) {
        for verb in command.get_subcommands() {
            let name = format!("{above}{}", verb.get_name());
            match verb.has_subcommands() {
                true => leaves(verb, &format!("{name} "), found),
                false => found.push(name),
            }
        }
    }

    #[test]
    fn the_table_of_verbs_and_callers() {
        let mut verbs = Vec::new();
        leaves(&Cli::command(), "", &mut verbs);
        let mut known: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        verbs.sort_unstable();
        assert_eq!(known, verbs, "each verb once");
        // What a verb is called is what the command line calls it.
        for (called, _) in TABLE {
            let words: &[&str] = match *called {
                "run" => &["--user", "alice", "--profile", "p", "--", "x.py"],
                "kill" => &["x"],
                "namespace list" => &["--kubeconfig", "/x"],
                "namespace adopt" => &["n", "--kubeconfig", "/x", "--profile", "p", "--user", "alice"],
                "namespace policies apply" => &["--kubeconfig", "/x", "--all"],
                "namespace prune" => &["--kubeconfig", "/x", "--dry-run"],
                "config explain" => &["--user", "alice"],
                "properties set" => &["--login", "alice", "key", "value"],
                "properties unset" => &["--group", "data", "key"],
                _ => &[],
            };
            let line = ["spark-submit-as"].into_iter().chain(called.split(' ')).chain(words.iter().copied());
            assert_eq!(name(&Cli::try_parse_from(line).expect("command line").verb), *called);
        }
        let callers: Vec<&str> =
            TABLE.iter().filter(|(_, who)| *who == Who::Callers).map(|(name, _)| *name).collect();
        assert_eq!(callers, ["run", "submit", "list", "status", "kill"]);
    }

    #[test]
    fn the_table_is_the_one_that_is_printed() {
        let printed = include_str!("../../SECURITY.md");
        for (verb, who) in TABLE {
            let row = match who {
                Who::Callers => format!("| `{verb}` | those whom `callers` names |"),
                Who::Root => format!("| `{verb}` | root itself |"),
                Who::Anybody => format!("| `{verb}` | anybody |"),
            };
            assert!(printed.contains(&row), "not in SECURITY.md: {row}");
        }
        let rows = printed.lines().filter(|line| {
            line.ends_with("| those whom `callers` names |")
                || line.ends_with("| root itself |")
                || line.ends_with("| anybody |")
        });
        assert_eq!(rows.count(), TABLE.len());
    }
}
