//! From login to UNIX account.

use std::fmt;

use regex::{Regex, RegexBuilder};

use super::Refusal;
use crate::policy::config::{MappingRule, RegexRule, Users};
use crate::policy::names::{Login, UserName};

/// Longest regular expression in bytes.
const MAX_REGEX: usize = 1024;
/// Bound on a compiled expression, and on its search cache, in bytes: `(\w{100}){100}` is refused.
const COMPILED: usize = 1 << 20;
/// Most digits after `$`.
const GROUP_DIGITS: usize = 2;

/// What `users.mapping` made of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The UNIX account.
    pub user: UserName,
    /// Every rule in the order in which it was looked at, for `--dry-run`.
    pub trace: Vec<RuleTrace>,
}

/// What happened to one rule. It names the rule by its place and does not repeat the rule's text, which may hold
/// another user's login [25].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTrace {
    /// Index in `users.mapping`.
    pub index: usize,
    /// `identity`, `login` or `regex`.
    pub kind: &'static str,
    /// The outcome.
    pub verdict: Verdict,
}

/// Outcome of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It decided.
    Matched,
    /// It is for another login.
    OtherLogin,
    /// The expression does not match the whole login.
    NoMatch,
    /// It is for a project, and the job has none or another.
    OtherProject,
    /// A rule before it had decided.
    NotReached,
}

impl fmt::Display for RuleTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Matched => "matches",
            Verdict::OtherLogin => "is for another login",
            Verdict::NoMatch => "does not match the whole login",
            Verdict::OtherProject => "is for a project that this job does not belong to",
            Verdict::NotReached => "was not reached",
        };
        write!(f, "{} ({}): {verdict}", key(self.index), self.kind)
    }
}

pub(super) fn key(index: usize) -> String {
    format!("users.mapping[{index}]")
}

impl MappingRule {
    fn kind(&self) -> &'static str {
        match self {
            MappingRule::Identity(_) => "identity",
            MappingRule::Login(_) => "login",
            MappingRule::Regex(_) => "regex",
        }
    }

    pub(super) fn project(&self) -> Option<&str> {
        match self {
            MappingRule::Identity(_) => None,
            MappingRule::Login(rule) => rule.project.as_deref(),
            MappingRule::Regex(rule) => rule.project.as_deref(),
        }
    }

    /// The account's name when the rule matches the login.
    pub(super) fn apply(&self, index: usize, login: &Login) -> Result<Result<String, Verdict>, Refusal> {
        match self {
            MappingRule::Identity(_) => Ok(Ok(login.as_str().to_owned())),
            MappingRule::Login(rule) if rule.login == login.as_str() => Ok(Ok(rule.user.clone())),
            MappingRule::Login(_) => Ok(Err(Verdict::OtherLogin)),
            MappingRule::Regex(rule) => rule.apply(login.as_str()).map_or_else(
                |problem| Err(Refusal::BadRule { rule: key(index), problem }),
                |name| Ok(name.ok_or(Verdict::NoMatch)),
            ),
        }
    }
}

/// The UNIX account of a login: the rules of the project first, then the global ones, each in the order of the
/// file; the first that matches decides, even if what it gives is no legal name.
///
/// # Errors
/// [`Refusal::NoRule`], [`Refusal::NoAccountName`], [`Refusal::BadRule`].
pub fn map_login(users: &Users, login: &Login, project: Option<&str>) -> Result<Mapped, Refusal> {
    let (trace, user) = explain_login(users, login, project)?;
    user.map(|user| Mapped { user, trace })
}

/// What [`map_login`] makes of a login, with the trace also when nothing comes of it.
///
/// # Errors
/// [`Refusal::BadRule`].
pub fn explain_login(
    users: &Users,
    login: &Login,
    project: Option<&str>,
) -> Result<(Vec<RuleTrace>, Result<UserName, Refusal>), Refusal> {
    let mut trace = Vec::with_capacity(users.mapping.len());
    let mut decided: Option<(usize, String)> = None;
    for (index, rule) in ordered(users) {
        let verdict = if decided.is_some() {
            Verdict::NotReached
        } else if rule.project().is_some_and(|wanted| project != Some(wanted)) {
            Verdict::OtherProject
        } else {
            match rule.apply(index, login)? {
                Ok(name) => {
                    decided = Some((index, name));
                    Verdict::Matched
                }
                Err(verdict) => verdict,
            }
        };
        trace.push(RuleTrace { index, kind: rule.kind(), verdict });
    }
    let user = match decided {
        None => Err(Refusal::NoRule { rules: users.mapping.len() }),
        Some((index, name)) => {
            UserName::new(name).map_err(|error| Refusal::NoAccountName { rule: key(index), error })
        }
    };
    Ok((trace, user))
}

/// The rules in the order in which they are looked at, each with its place in the file.
pub(super) fn ordered(users: &Users) -> impl Iterator<Item = (usize, &MappingRule)> {
    let rules = || users.mapping.iter().enumerate();
    rules()
        .filter(|(_, rule)| rule.project().is_some())
        .chain(rules().filter(|(_, rule)| rule.project().is_none()))
}

/// The rules, each expression compiled once, for many logins.
pub(super) struct Mapper<'u> {
    rules: Vec<(&'u MappingRule, Option<Regex>)>,
}

impl<'u> Mapper<'u> {
    pub(super) fn new(users: &'u Users) -> Self {
        let compiled = |rule: &MappingRule| match rule {
            MappingRule::Regex(rule) => compile(&rule.regex).ok(),
            _ => None,
        };
        Self { rules: ordered(users).map(|(_, rule)| (rule, compiled(rule))).collect() }
    }

    /// Whether the rules give a login this account, without a project or with any that a rule is for.
    pub(super) fn may_give(&self, login: &Login, account: &UserName) -> bool {
        // Each rule is asked once; the project only says which of the answers decides.
        let given: Vec<(Option<&str>, String)> = self
            .rules
            .iter()
            .filter_map(|(rule, compiled)| {
                let name = match (rule, compiled) {
                    (MappingRule::Regex(rule), Some(regex)) => rule.apply_with(regex, login.as_str()).ok()?,
                    _ => rule.apply(0, login).ok()?.ok(),
                };
                Some((rule.project(), name?))
            })
            .collect();
        let decides = |project: Option<&str>| {
            given.iter().find(|(of, _)| of.is_none() || *of == project).map(|(_, name)| name.as_str())
        };
        given
            .iter()
            .map(|(project, _)| *project)
            .chain([None])
            .any(|project| decides(project) == Some(account.as_str()))
    }
}

impl RegexRule {
    /// The account's name when the expression matches the whole login.
    pub(super) fn apply(&self, login: &str) -> Result<Option<String>, &'static str> {
        self.apply_with(&compile(&self.regex)?, login)
    }

    fn apply_with(&self, regex: &Regex, login: &str) -> Result<Option<String>, &'static str> {
        let Some(captures) = regex.captures(login) else { return Ok(None) };
        let mut name = String::new();
        for piece in pieces(&self.user)? {
            match piece {
                Piece::Text(text) => name.push_str(text),
                // As in every regex tool, a group that took no part stands for nothing.
                Piece::Group(n) => name.push_str(captures.get(n).map_or("", |group| group.as_str())),
            }
        }
        Ok(Some(name))
    }
}

/// Checks an expression together with the account name that uses its groups.
///
/// # Errors
/// What is wrong, without repeating either.
pub(crate) fn check_pattern(rule: &RegexRule) -> Result<(), (&'static str, &'static str)> {
    let regex = compile(&rule.regex).map_err(|problem| ("regex", problem))?;
    let mut literal = true;
    for piece in pieces(&rule.user).map_err(|problem| ("user", problem))? {
        match piece {
            Piece::Text(text) => {
                if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
                    return Err(("user", "holds a character that no UNIX account name has"));
                }
            }
            Piece::Group(n) => {
                literal = false;
                if n >= regex.captures_len() {
                    return Err(("user", "uses a group that the expression does not have"));
                }
            }
        }
    }
    if literal && UserName::new(rule.user.as_str()).is_err() {
        return Err(("user", "is not a UNIX account name"));
    }
    if rule.user == "root" {
        return Err(("user", "maps to root, which never runs jobs"));
    }
    Ok(())
}

/// Whether an expression matches a whole text.
///
/// # Errors
/// What is wrong with the expression, without repeating it.
pub(crate) fn whole_match(expression: &str, text: &str) -> Result<bool, &'static str> {
    Ok(compile(expression)?.is_match(text))
}

/// Compiles an expression so that it matches the whole text only: a login, or a group's name.
pub(super) fn compile(text: &str) -> Result<Regex, &'static str> {
    if text.is_empty() || text.len() > MAX_REGEX {
        return Err("must have 1 to 1024 bytes");
    }
    let build = |pattern: &str| {
        RegexBuilder::new(pattern)
            .size_limit(COMPILED)
            .dfa_size_limit(COMPILED)
            .nest_limit(32)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => {
                    "is too large once compiled; use fewer or smaller repetitions"
                }
                _ => {
                    "is not a regular expression of the Rust regex crate (no look-around, no back-references)"
                }
            })
    };
    // Alone first: in `a)|(?:b` the brackets would close the anchoring group and leave both halves unanchored.
    build(text)?;
    build(&format!(r"\A(?:{text})\z"))
}

/// A part of the account name of a regular expression's rule.
pub(super) enum Piece<'a> {
    Text(&'a str),
    Group(usize),
}

/// Splits `a-$1` and `a${1}0`. `$name` and `$$` do not exist: no UNIX account name needs them.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, &'static str> {
    const NOT_A_GROUP: &str = "has a `$` that is not followed by a group's number";
    let mut parts = text.split('$');
    let mut pieces: Vec<Piece<'_>> = parts.next().map(Piece::Text).into_iter().collect();
    for part in parts {
        let (digits, rest) = match part.strip_prefix('{') {
            Some(braced) => braced.split_once('}').ok_or(NOT_A_GROUP)?,
            None => part.split_at(part.bytes().take_while(u8::is_ascii_digit).count()),
        };
        if digits.is_empty() || digits.len() > GROUP_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NOT_A_GROUP);
        }
        pieces.push(Piece::Group(digits.parse().map_err(|_| NOT_A_GROUP)?));
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}
