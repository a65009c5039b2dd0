//! `${variable}` in an annotation of the executors' account.
//!
//! Executors of all jobs of a namespace run under this account. So a value may depend on the variables of the namespace's
//! own template and on nothing else: with any other, two members of a team would change it for each other. Their values are
//! those of the namespace's owner annotation.

use std::collections::{BTreeMap, BTreeSet};

/// What begins a filter in a namespace's template.
const FILTER: [char; 2] = ['|', '?'];
/// Longest value.
const MAX_VALUE: usize = 2048;

/// Why a value cannot be made. The text is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `${` without `}`.
    #[error("a value has a `$` that is not part of a `${{variable}}`; correct it")]
    Syntax,
    /// A variable that the namespace does not depend on.
    #[error(
        "a value uses ${{{0}}}, which the namespace's template does not: jobs of different users would share the \
         account and change it for each other; use a variable of the template"
    )]
    Foreign(String),
    /// A filter, which a value cannot have.
    #[error(
        "a value uses a filter after `|` or `?`, which only a namespace's template may; use the variable alone"
    )]
    Filter,
    /// The value is too long.
    #[error("a value has more than {MAX_VALUE} bytes; shorten it")]
    Length,
}

/// A piece of a template.
enum Piece<'a> {
    Text(&'a str),
    Variable(&'a str),
}

fn pieces(template: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('$') {
        let (variable, after) =
            after.strip_prefix('{').and_then(|after| after.split_once('}')).ok_or(TemplateError::Syntax)?;
        pieces.extend([Piece::Text(text), Piece::Variable(variable)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

/// A variable's name in the owner annotation: one for all spellings. A filter of a namespace's template makes another text of
/// a value; which variable it is does not change.
fn key(variable: &str) -> &str {
    let variable = variable.split(FILTER).next().unwrap_or_default().trim();
    if variable == "dssUserLogin" { "login" } else { variable }
}

/// The variables that a template uses, of a namespace or of a value, as the owner annotation names them.
///
/// # Errors
/// [`TemplateError::Syntax`].
pub fn variables_of(template: &str) -> Result<BTreeSet<String>, TemplateError> {
    let variable = |piece: &Piece<'_>| match *piece {
        Piece::Variable(variable) => Some(key(variable).to_owned()),
        Piece::Text(_) => None,
    };
    Ok(pieces(template)?.iter().filter_map(variable).collect())
}

/// Checks a value's template.
///
/// # Errors
/// [`TemplateError::Syntax`], [`TemplateError::Filter`].
pub(crate) fn check(template: &str) -> Result<(), TemplateError> {
    let filtered = |piece: &Piece<'_>| matches!(piece, Piece::Variable(name) if name.contains(FILTER));
    if pieces(template)?.iter().any(filtered) { Err(TemplateError::Filter) } else { Ok(()) }
}

/// The value, from those of the namespace's owner.
///
/// # Errors
/// [`TemplateError`].
pub(super) fn render(template: &str, owner: &BTreeMap<String, String>) -> Result<String, TemplateError> {
    check(template)?;
    let mut value = String::new();
    for piece in pieces(template)? {
        match piece {
            Piece::Text(text) => value.push_str(text),
            Piece::Variable(variable) => {
                let known = owner.get(key(variable));
                value.push_str(known.ok_or_else(|| TemplateError::Foreign(variable.to_owned()))?);
            }
        }
    }
    if value.len() > MAX_VALUE { Err(TemplateError::Length) } else { Ok(value) }
}
