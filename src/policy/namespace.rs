//! From a template and a job's variables to the name of a namespace.
//!
//! The namespace is the boundary between users, so two different sets of values never give one name. A login may
//! hold what a name may not; a clean-up that maps two logins to one name handed one user the other's pods
//! (CVE-2020-15110). Hence a name is used as rendered only when nothing had to be changed and nothing else can
//! render to it; else it is a readable slug and [`HASH_DIGITS`] digits of a hash of the exact values [60, 62].

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

use crate::exit::ExitCode;
use crate::policy::names::{Login, NamespaceName, UserName, is_dns_label, is_property_name};

#[cfg(test)]
mod tests;

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
    /// Canonical JSON (sorted keys, no spaces) of the template's variables and their exact values; what
    /// [`crate::protocol::OWNER_ANNOTATION`] must hold.
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
        "the template uses an unknown variable; known are dssUserLogin, login, user, group, projectKey and adminProperty:NAME"
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
    /// A filter, such as `tolower`.
    #[error(
        "the template uses a filter, which is not supported yet; a name that had to be changed gets a hash by itself"
    )]
    Filter,
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
    Project,
    Property(&'a str),
}

enum Piece<'a> {
    Text(&'a str),
    Value(Variable<'a>),
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
    if has_variables || is_dns_label(&literal) { Ok(()) } else { Err(NamespaceError::NotAName) }
}

/// The namespace that a template gives for a job.
///
/// # Errors
/// [`NamespaceError`]; [`validate_template`] excludes those of the template itself.
pub fn resolve(template: &str, vars: &Variables) -> Result<Resolved, NamespaceError> {
    let pieces = pieces(template)?;
    let mut values = BTreeMap::new();
    let mut used = BTreeSet::new();
    let mut rendered = String::new();
    for piece in &pieces {
        match *piece {
            Piece::Text(text) => rendered.push_str(text),
            Piece::Value(variable) => {
                let value = variable.value(vars)?;
                rendered.push_str(value);
                used.insert(variable);
                values.insert(variable.key(), value.to_owned());
            }
        }
    }
    if rendered.is_empty() {
        return Err(NamespaceError::Empty);
    }
    // With two variables `a` + `b-c` and `a-b` + `c` render alike; and what looks like a hashed name might be one.
    let unique = used.is_empty() || (used.len() == 1 && !looks_hashed(&rendered));
    let name = if is_dns_label(&rendered) && unique {
        rendered
    } else if used.is_empty() {
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
fn hashed(template: &str, rendered: &str, values: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    let mut part = |text: &str| {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    };
    part(template);
    for (key, value) in values {
        part(key);
        part(value);
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
            Piece::Value(_) => None,
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
            // The original's filters come after a `|` or, for a missing value, a `?`.
            _ if text.contains(['|', '?']) => Err(NamespaceError::Filter),
            ("userProperty", _) => Err(NamespaceError::UserProperty),
            ("adminProperty", Some(key)) if is_property_name(key) => Ok(Variable::Property(key)),
            ("adminProperty", _) => Err(NamespaceError::PropertyName),
            ("dssUserLogin" | "login", None) => Ok(Variable::Login),
            ("user", None) => Ok(Variable::User),
            ("group", None) => Ok(Variable::Group),
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
            Variable::Project => "projectKey".into(),
            Variable::Property(key) => format!("adminProperty:{key}"),
        }
    }

    fn value(self, vars: &'a Variables) -> Result<&'a str, NamespaceError> {
        let (value, advice) = match self {
            Variable::Login => (Some(vars.login.as_str()), ""),
            Variable::User => (Some(vars.user.as_str()), ""),
            Variable::Group => (vars.group.as_deref(), "give the account a primary group that has a name"),
            Variable::Project => (vars.project.as_deref(), "name the project (--project)"),
            Variable::Property(key) => (
                vars.properties.get(key).map(String::as_str),
                "an administrator can set it in the file of `users.properties`",
            ),
        };
        value
            .filter(|value| !value.is_empty())
            .ok_or_else(|| NamespaceError::Missing { variable: self.key(), advice })
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
        pieces.push(Piece::Value(Variable::parse(variable)?));
        rest = after;
    }
}
