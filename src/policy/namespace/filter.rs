//! Filters of a template's variables, in the original's style: `${adminProperty:k8sNS|default('shared')}`.
//!
//! A filter never lets two values meet: what it changed counts as changed, so that the name gets a hash over the exact
//! values, and a missing value is told apart from every real one (see [`super::resolve`]).

use super::NamespaceError;

/// Most filters of one variable.
const MAX_FILTERS: usize = 4;
/// Longest default (RFC 1123 label).
const MAX_DEFAULT: usize = 63;

/// A filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter<'a> {
    /// `tolower`.
    ToLower,
    /// `default('x')` or `default:x`: stands for a missing value.
    Default(&'a str),
    /// `getornull`: a missing value stands for nothing.
    GetOrNull,
}

/// Splits what is between the braces: the variable, and its filters.
///
/// # Errors
/// [`NamespaceError`] about a filter.
pub(super) fn split(text: &str) -> Result<(&str, Vec<Filter<'_>>), NamespaceError> {
    let mut parts = text.split('|');
    let variable = parts.next().unwrap_or_default();
    if variable.contains('?') {
        return Err(NamespaceError::QuestionMark);
    }
    let filters = parts.map(Filter::parse).collect::<Result<Vec<_>, _>>()?;
    if filters.len() > MAX_FILTERS {
        return Err(NamespaceError::Filter);
    }
    Ok((variable, filters))
}

impl<'a> Filter<'a> {
    fn parse(text: &'a str) -> Result<Self, NamespaceError> {
        match text {
            "tolower" => return Ok(Filter::ToLower),
            "getornull" => return Ok(Filter::GetOrNull),
            // A namespace's name has no capitals, so nothing of it would be left.
            "toupper" => return Err(NamespaceError::ToUpper),
            _ => {}
        }
        let quoted = |quote: char| {
            let inner = text.strip_prefix("default(")?.strip_suffix(')')?;
            inner.strip_prefix(quote)?.strip_suffix(quote)
        };
        let value = text.strip_prefix("default:").or_else(|| quoted('\'')).or_else(|| quoted('"'));
        let value = value.ok_or(NamespaceError::Filter)?;
        let legal = !value.is_empty()
            && value.len() <= MAX_DEFAULT
            && value.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if legal { Ok(Filter::Default(value)) } else { Err(NamespaceError::Default) }
    }
}

/// What filters make of a value; none when it is missing and nothing stands for it.
pub(super) fn apply(filters: &[Filter<'_>], value: Option<&str>) -> Option<String> {
    filters.iter().fold(value.map(String::from), |value, filter| match (filter, value) {
        (Filter::ToLower, Some(value)) => Some(value.to_lowercase()),
        (Filter::ToLower, None) => None,
        (Filter::Default(default), None) => Some((*default).to_owned()),
        (Filter::GetOrNull, None) => Some(String::new()),
        (_, value) => value,
    })
}
