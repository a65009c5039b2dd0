//! From a template and a job's variables to the name of a namespace.
//!
//! The namespace is the boundary between users, so two different sets of values never give one name. A login may
//! hold what a name may not; a clean-up that maps two logins to one name handed one user the other's pods
//! (CVE-2020-15110). Hence a name is used as rendered only when nothing had to be changed and nothing else can
//! render to it; else it is a readable slug and [`HASH_DIGITS`] digits of a hash of the exact values [60, 62].

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::exit::ExitCode;
use crate::policy::names::{Login, NamespaceName, UserName, is_dns_label, is_property_name};

mod filter;
#[cfg(test)]
mod tests;

use filter::Filter;

/// Hexadecimal digits of the hash: 80 bits.
pub const HASH_DIGITS: usize = 20;
/// Longest name (RFC 1123 label).
const MAX_NAME: usize = 63;
/// Longest template in bytes.
const MAX_TEMPLATE: usize = 256;
/// What the slug is when nothing readable is left of the values.
const EMPTY_SLUG: &str = "ns";

/// The values that a template may use. None of them comes from a place that the end-user can edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variables {
    /// `${dssUserLogin}` and `${login}`: what the platform calls the person.
    pub login: Login,
    /// `${user}`: the UNIX account.
    pub user: UserName,
    /// `${group}`: name of the account's primary group, when it has one.
    pub group: Option<String>,
    /// `${team}`: the team that the account is a member of, or that the call names among several.
    pub team: Option<String>,
    /// `${projectKey}`, when the call names one.
    pub project: Option<String>,
    /// `${adminProperty:X}`.
    pub properties: BTreeMap<String, String>,
}

/// A namespace and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Its name.
    pub name: NamespaceName,
    /// Canonical JSON (sorted keys, no spaces) of the template's variables and their exact values, before any filter and
    /// null for a missing one; what [`crate::protocol::OWNER_ANNOTATION`] must hold.
    pub owner: String,
}

/// Why a template, or what it gives, cannot be used. The template's text is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    /// Empty or too long.
    #[error("the template must have 1 to {MAX_TEMPLATE} bytes")]
    Length,
    /// `$` without `{`, `${` without `}`, or a brace of its own.
    #[error("the template has a `$`, `{{` or `}}` that is not part of a `${{variable}}`")]
    Syntax,
    /// A literal that no namespace name can hold.
    #[error("outside of `${{…}}` the template may hold [a-z0-9-] only, as a namespace's name does")]
    Literal,
    /// A variable that does not exist.
    #[error(
        "the template uses an unknown variable; known are dssUserLogin, login, user, group, team, projectKey and adminProperty:NAME"
    )]
    Unknown,
    /// A property that its owner can edit.
    #[error(
        "the template uses userProperty, which the end-user can edit and so choose another's namespace with; use adminProperty"
    )]
    UserProperty,
    /// `adminProperty:` without a legal name.
    #[error("adminProperty must be followed by `:` and a name of 1 to 64 of [A-Za-z0-9_.-]")]
    PropertyName,
    /// An unknown filter, or too many.
    #[error(
        "the template uses an unknown filter, or more than four of a variable; known are tolower, getornull and default('x')"
    )]
    Filter,
    /// `toupper`.
    #[error("the template uses the filter toupper, but a namespace's name has no capitals; leave it out")]
    ToUpper,
    /// `?`.
    #[error(
        "the template has a `?` in a variable; write `|getornull` or `|default('x')` for a value that may be missing"
    )]
    QuestionMark,
    /// A default that no namespace's name can hold.
    #[error(
        "the template has a default that is not 1 to 63 of [a-z0-9-], as a namespace's name is; for nothing write getornull"
    )]
    Default,
    /// A literal that is no namespace.
    #[error(
        "a template without variables must be a namespace's name as it is: 1 to 63 of [a-z0-9-], a letter or digit at both ends"
    )]
    NotAName,
    /// A variable without a value.
    #[error("the namespace's template uses {variable}, which has no value for this job; {advice}")]
    Missing {
        /// The variable.
        variable: String,
        /// What to do about it.
        advice: &'static str,
    },
    /// Every variable is there, but nothing is left.
    #[error(
        "the namespace's template gives an empty name; correct `namespace.template` or the values it uses"
    )]
    Empty,
    /// One of the cluster's own namespaces [61].
    #[error(
        "the namespace's template gives a name that belongs to the cluster ('default', 'kube-*'); put something before the variable in `namespace.template`"
    )]
    Reserved,
}

impl NamespaceError {
    /// The wrapper's exit code for it, when a job meets it.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::NamespaceRefused
    }
}

/// A variable, with its spellings made one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Variable<'a> {
    Login,
    User,
    Group,
    Team,
    Project,
    Property(&'a str),
}

enum Piece<'a> {
    Text(&'a str),
    Value(Variable<'a>, Vec<Filter<'a>>),
}

/// Whether a template uses a variable, by its name in the owner annotation: `login`, `user`, `group`, `team`, `projectKey`.
#[must_use]
pub fn uses(template: &str, variable: &str) -> bool {
    let uses = |piece: &Piece<'_>| matches!(piece, Piece::Value(used, _) if used.key() == variable);
    pieces(template).is_ok_and(|pieces| pieces.iter().any(uses))
}

/// Checks a template, as the configuration's parser does.
///
/// # Errors
/// Every [`NamespaceError`] that does not need values.
pub fn validate_template(template: &str) -> Result<(), NamespaceError> {
    let pieces = pieces(template)?;
    let literal: String = pieces.iter().map_while(|piece| piece.text()).collect();
    let has_variables = pieces.iter().any(|piece| piece.text().is_none());
    if literal.starts_with("kube-") || (!has_variables && literal == "default") {
        return Err(NamespaceError::Reserved);
    }
    if has_variables {
        // With every value missing, if nothing says that one must be there.
        match render(&pieces, |_| None) {
            Some(name) if is_reserved(&name) => Err(NamespaceError::Reserved),
            _ => Ok(()),
        }
    } else if is_dns_label(&literal) {
        Ok(())
    } else {
        Err(NamespaceError::NotAName)
    }
}

/// A template's text with these values; none when one is missing and no filter stands for it.
fn render<'a>(pieces: &[Piece<'a>], value: impl Fn(Variable<'a>) -> Option<&'a str>) -> Option<String> {
    let mut rendered = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(text) => rendered.push_str(text),
            Piece::Value(variable, filters) => rendered.push_str(&filter::apply(filters, value(*variable))?),
        }
    }
    Some(rendered)
}

/// The namespace that a template gives for a job.
///
/// # Errors
/// [`NamespaceError`]; [`validate_template`] excludes those of the template itself.
pub fn resolve(template: &str, vars: &Variables) -> Result<Resolved, NamespaceError> {
    let pieces = pieces(template)?;
    let mut values = BTreeMap::new();
    for piece in &pieces {
        let Piece::Value(variable, filters) = piece else { continue };
        let value = variable.value(vars);
        if filter::apply(filters, value).is_none() {
            return Err(NamespaceError::Missing { variable: variable.key(), advice: variable.advice() });
        }
        values.insert(variable.key(), value.map(String::from));
    }
    let rendered = render(&pieces, |variable| variable.value(vars)).unwrap_or_default();
    if rendered.is_empty() {
        return Err(NamespaceError::Empty);
    }
    // With two variables `a` + `b-c` and `a-b` + `c` render alike; and what looks like a hashed name might be one.
    let unique = values.is_empty()
        || (values.len() == 1 && !looks_hashed(&rendered) && !is_changed(&pieces, vars, &rendered));
    let name = if is_dns_label(&rendered) && unique {
        rendered
    } else if values.is_empty() {
        return Err(NamespaceError::NotAName);
    } else if is_reserved(&rendered) {
        return Err(NamespaceError::Reserved);
    } else {
        hashed(template, &rendered, &values)
    };
    let name = NamespaceName::new(name).map_err(|_| NamespaceError::Reserved)?;
    // A map of strings always has a JSON form; an empty owner would match nothing, so there is no risk in it.
    let owner = serde_json::to_string(&values).unwrap_or_default();
    Ok(Resolved { name, owner })
}

/// Whether filters made a text what it is, of a template with one variable: then another value may render alike. A missing
/// value has the plain name, and a real one that would have the same counts as changed.
fn is_changed(pieces: &[Piece<'_>], vars: &Variables, rendered: &str) -> bool {
    let missing = render(pieces, |_| None);
    pieces.iter().any(|piece| match piece {
        Piece::Text(_) => false,
        Piece::Value(variable, filters) => variable.value(vars).is_some_and(|value| {
            filter::apply(filters, Some(value)).as_deref() != Some(value)
                || missing.as_deref() == Some(rendered)
        }),
    })
}

fn is_reserved(text: &str) -> bool {
    text == "default" || text.starts_with("kube-")
}

/// Whether a name ends as [`hashed`] ends one.
fn looks_hashed(text: &str) -> bool {
    let digits = text.bytes().rev().take(HASH_DIGITS);
    let hexadecimal = digits.filter(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b)).count();
    hexadecimal == HASH_DIGITS && text.bytes().nth_back(HASH_DIGITS) == Some(b'-')
}

/// Slug, `-`, and a hash over the template and the exact values, each with its length before it so that no two
/// lists of values give the same bytes.
fn hashed(template: &str, rendered: &str, values: &BTreeMap<String, Option<String>>) -> String {
    let mut hash = Sha256::new();
    let mut part = |text: Option<&str>| {
        // No text is as long as what stands for a missing one.
        hash.update(text.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
        hash.update(text.unwrap_or_default().as_bytes());
    };
    part(Some(template));
    for (key, value) in values {
        part(Some(key));
        part(value.as_deref());
    }
    let digits: String =
        hash.finalize().iter().take(HASH_DIGITS / 2).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{digits}", slug(rendered, MAX_NAME - 1 - HASH_DIGITS))
}

/// What is readable of a text, at most `longest` bytes.
fn slug(text: &str, longest: usize) -> String {
    let mut slug = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        if slug.len() == longest {
            break;
        }
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { EMPTY_SLUG.to_owned() } else { slug.to_owned() }
}

impl<'a> Piece<'a> {
    fn text(&self) -> Option<&'a str> {
        match self {
            Piece::Text(text) => Some(text),
            Piece::Value(..) => None,
        }
    }
}

impl<'a> Variable<'a> {
    fn parse(text: &'a str) -> Result<Self, NamespaceError> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name, Some(argument)),
            None => (text, None),
        };
        match (name, argument) {
            ("userProperty", _) => Err(NamespaceError::UserProperty),
            ("adminProperty", Some(key)) if is_property_name(key) => Ok(Variable::Property(key)),
            ("adminProperty", _) => Err(NamespaceError::PropertyName),
            ("dssUserLogin" | "login", None) => Ok(Variable::Login),
            ("user", None) => Ok(Variable::User),
            ("group", None) => Ok(Variable::Group),
            ("team", None) => Ok(Variable::Team),
            ("projectKey", None) => Ok(Variable::Project),
            _ => Err(NamespaceError::Unknown),
        }
    }

    /// Its name in the owner annotation: one for all spellings.
    fn key(self) -> String {
        match self {
            Variable::Login => "login".into(),
            Variable::User => "user".into(),
            Variable::Group => "group".into(),
            Variable::Team => "team".into(),
            Variable::Project => "projectKey".into(),
            Variable::Property(key) => format!("adminProperty:{key}"),
        }
    }

    fn value(self, vars: &'a Variables) -> Option<&'a str> {
        let value = match self {
            Variable::Login => Some(vars.login.as_str()),
            Variable::User => Some(vars.user.as_str()),
            Variable::Group => vars.group.as_deref(),
            Variable::Team => vars.team.as_deref(),
            Variable::Project => vars.project.as_deref(),
            Variable::Property(key) => vars.properties.get(key).map(String::as_str),
        };
        value.filter(|value| !value.is_empty())
    }

    /// What to do about a missing value.
    fn advice(self) -> &'static str {
        match self {
            Variable::Login | Variable::User => "",
            Variable::Group => "give the account a primary group that has a name",
            Variable::Team => "an administrator can add the account to a team's group (`users.team`)",
            Variable::Project => "name the project (--project)",
            Variable::Property(_) => "an administrator can set it in the file of `users.properties`",
        }
    }
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, NamespaceError> {
    if template.is_empty() || template.len() > MAX_TEMPLATE {
        return Err(NamespaceError::Length);
    }
    let mut pieces = Vec::new();
    let mut rest = template;
    loop {
        let (text, after) = match rest.split_once("${") {
            Some((text, after)) => (text, Some(after)),
            None => (rest, None),
        };
        if text.contains(['$', '{', '}']) {
            return Err(NamespaceError::Syntax);
        }
        if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return Err(NamespaceError::Literal);
        }
        pieces.push(Piece::Text(text));
        let Some(after) = after else { return Ok(pieces) };
        let (variable, after) = after.split_once('}').ok_or(NamespaceError::Syntax)?;
        let (variable, filters) = filter::split(variable)?;
        pieces.push(Piece::Value(Variable::parse(variable)?, filters));
        rest = after;
    }
}
