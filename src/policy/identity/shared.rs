//! Whether another login has the same UNIX account. Then a namespace of each login is no boundary: whoever runs as the
//! account reads what its other jobs have, their credentials included.
//!
//! The rules are read backwards: from the account to the logins that could give it, which are then mapped as in life, with
//! and without each project. A regular expression can be read backwards when it consists of literals and one group, and
//! the account's name of literals and that group, once; any other that could give the account counts as giving it.

use regex_syntax::hir::{Hir, HirKind};

use super::mapping::{Mapper, Piece, key, ordered, pieces};
use crate::policy::config::{MappingRule, RegexRule, Users};
use crate::policy::names::{Login, UserName};

/// The rule by which another login than this one has the account, as a configuration key.
#[must_use]
pub fn shared_by(users: &Users, login: &Login, account: &UserName) -> Option<String> {
    let mapper = Mapper::new(users);
    ordered(users).find_map(|(index, rule)| {
        let other = match rule {
            MappingRule::Identity(_) => Backwards::One(account.to_string()),
            MappingRule::Login(rule) if rule.user == account.as_str() => Backwards::One(rule.login.clone()),
            MappingRule::Login(_) => Backwards::Never,
            MappingRule::Regex(rule) => backwards(rule, account.as_str()),
        };
        let shared = match other {
            Backwards::Never => false,
            Backwards::One(other) => {
                let other = Login::new(other).ok().filter(|other| other != login);
                other.is_some_and(|other| mapper.may_give(&other, account))
            }
            Backwards::Unknown => true,
        };
        shared.then(|| key(index))
    })
}

/// Which logins a regular expression's rule maps to an account.
#[derive(Debug, PartialEq, Eq)]
enum Backwards {
    /// None.
    Never,
    /// This one alone, if it matches.
    One(String),
    /// Perhaps several.
    Unknown,
}

fn backwards(rule: &RegexRule, account: &str) -> Backwards {
    let Ok(pieces) = pieces(&rule.user) else { return Backwards::Never };
    let texts: Vec<&str> = pieces
        .iter()
        .filter_map(|piece| if let Piece::Text(text) = piece { Some(*text) } else { None })
        .collect();
    let groups: Vec<usize> =
        pieces.iter().filter_map(|piece| if let Piece::Group(n) = piece { Some(*n) } else { None }).collect();
    // `pieces` gives a text at both ends, which may be empty.
    let (Some(before), Some(after)) = (texts.first(), texts.last()) else { return Backwards::Never };
    let shape = shape(&rule.regex);
    let Some(group) = groups.first() else {
        // One account for all that match: one login only if the expression is one word.
        return match shape {
            _ if rule.user != account => Backwards::Never,
            Some(Shape { before, group: None, .. }) => Backwards::One(before),
            _ => Backwards::Unknown,
        };
    };
    let inner = account
        .strip_prefix(before)
        .and_then(|rest| rest.strip_suffix(after))
        .filter(|_| before.len() + after.len() <= account.len());
    let Some(inner) = inner else { return Backwards::Never };
    match shape {
        _ if groups.len() > 1 => Backwards::Unknown,
        // `$0` is the whole login.
        _ if *group == 0 => Backwards::One(inner.to_owned()),
        Some(Shape { before, group: Some(n), after }) if n == *group => {
            Backwards::One(format!("{before}{inner}{after}"))
        }
        _ => Backwards::Unknown,
    }
}

/// An expression of literals and at most one group.
struct Shape {
    before: String,
    group: Option<usize>,
    after: String,
}

/// The shape of an expression, if it has one.
fn shape(regex: &str) -> Option<Shape> {
    let hir = regex_syntax::Parser::new().parse(regex).ok()?;
    let mut shape = Shape { before: String::new(), group: None, after: String::new() };
    let parts: &[Hir] = match hir.kind() {
        HirKind::Concat(parts) => parts,
        _ => std::slice::from_ref(&hir),
    };
    for part in parts {
        match part.kind() {
            // Assertions have no width: they only keep logins out.
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => {
                let text = std::str::from_utf8(&literal.0).ok()?;
                if shape.group.is_some() { &mut shape.after } else { &mut shape.before }.push_str(text);
            }
            HirKind::Capture(capture) if shape.group.is_none() => {
                shape.group = Some(usize::try_from(capture.index).ok()?);
            }
            _ => return None,
        }
    }
    Some(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::config::IdentityRule;
    use crate::policy::identity::map_login;

    fn regex(regex: &str, user: &str, project: Option<&str>) -> MappingRule {
        MappingRule::Regex(RegexRule {
            regex: regex.into(),
            user: user.into(),
            project: project.map(String::from),
        })
    }

    fn login(login: &str, user: &str) -> MappingRule {
        MappingRule::Login(crate::policy::config::LoginRule {
            login: login.into(),
            user: user.into(),
            project: None,
        })
    }

    const IDENTITY: MappingRule = MappingRule::Identity(IdentityRule::Identity);

    fn users(mapping: Vec<MappingRule>) -> Users {
        Users {
            allowed_groups: vec!["spark-users".into()],
            min_uid: 1000,
            denied: Vec::new(),
            mapping,
            properties: None,
            team: None,
        }
    }

    #[test]
    fn one_to_one_rules_share_no_account_and_others_do() {
        let corp = || regex(r"([^@]+)@corp\.com", "$1", None);
        let rows: Vec<(Vec<MappingRule>, &str, Option<&str>)> = vec![
            (vec![IDENTITY], "alice", None),
            (vec![corp()], "alice@corp.com", None),
            (vec![regex(r"^([^@]+)@corp\.com$", "$1", None)], "alice@corp.com", None),
            (vec![regex(r"((?i)[a-z]+)@corp\.com", "$1", None)], "Alice@corp.com", None),
            (vec![regex("[a-z]+", "$0", None)], "alice", None),
            (vec![regex("[a-z]+", "u-$0", None)], "alice", None),
            (vec![regex("corp-([a-z]+)", "x-${1}-y", None)], "corp-alice", None),
            // Two ways to one account.
            (vec![corp(), IDENTITY], "alice@corp.com", Some("users.mapping[1]")),
            (vec![corp(), IDENTITY], "alice", Some("users.mapping[0]")),
            (vec![login("ceo", "alice"), IDENTITY], "alice", Some("users.mapping[0]")),
            (vec![login("ceo", "alice"), IDENTITY], "ceo", Some("users.mapping[1]")),
            (vec![login("ceo", "alice"), IDENTITY], "bob", None),
            (vec![corp(), regex(r"([^@]+)@corp\.org", "$1", None)], "a@corp.com", Some("users.mapping[1]")),
            // A way that an earlier rule closes.
            (vec![login("alice", "nobody"), login("ceo", "alice"), IDENTITY], "ceo", None),
            (vec![login("ceo", "a"), login("ceo", "b"), login("x", "b")], "ceo", None),
            (
                vec![regex(r"([a-z]+)@corp", "$1", None), login("alice@corp", "svc1"), login("x", "svc1")],
                "x",
                None,
            ),
            // Rules of projects count, whichever project the job has.
            (vec![regex(".*", "proj", Some("P")), IDENTITY], "alice", None),
            (vec![regex(".*", "alice", Some("P")), IDENTITY], "alice", Some("users.mapping[0]")),
            (vec![regex("(.*)-x", "$1", Some("P")), IDENTITY], "alice", Some("users.mapping[0]")),
            // What cannot be read backwards counts when it could give the account.
            (vec![regex("(?i)alice@corp", "alice", None)], "alice@corp", Some("users.mapping[0]")),
            (vec![regex("alice@corp", "alice", None)], "alice@corp", None),
            (vec![regex("alice|bob", "team", None), IDENTITY], "carol", None),
            (vec![regex("alice|bob", "team", None), IDENTITY], "alice", Some("users.mapping[0]")),
            (vec![regex("(.*)@(a|b)", "$1", None)], "alice@a", Some("users.mapping[0]")),
            (vec![regex("(.*)@[ab]", "$1", None)], "alice@a", Some("users.mapping[0]")),
            (vec![regex("(.*)@a?", "$1", None)], "alice@a", Some("users.mapping[0]")),
            (vec![regex("(a)(b)", "$1$2", None)], "ab", Some("users.mapping[0]")),
            (vec![regex("(.*)@b", "x-$1", None), IDENTITY], "alice", None),
            (vec![regex("(.*)@(b)", "x$2-$1", None), IDENTITY], "alice", None),
        ];
        for (mapping, who, expected) in rows {
            let users = users(mapping);
            let who = Login::new(who).unwrap();
            let mapped = map_login(&users, &who, None).unwrap();
            assert_eq!(
                shared_by(&users, &who, &mapped.user).as_deref(),
                expected,
                "{who}: {:?}",
                users.mapping
            );
        }
    }

    #[test]
    fn overlapping_ends_of_an_account_are_not_taken_twice() {
        let rule = RegexRule { regex: "(.*)@x".into(), user: "aba${1}aba".into(), project: None };
        assert_eq!(backwards(&rule, "ababa"), Backwards::Never);
        assert_eq!(backwards(&rule, "abacaba"), Backwards::One("c@x".into()));
    }
}
