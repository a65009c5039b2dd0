//! Tags: a caller's own words about a job, to find it by. Bounded, and printable wherever they are shown.

use std::collections::BTreeMap;

use super::names::is_word;

/// Most tags of one job.
pub const MAX_TAGS: usize = 16;
/// Longest key in bytes,
pub const MAX_KEY: usize = 63;
/// and longest value.
pub const MAX_VALUE: usize = 255;

/// Why tags are refused. They are not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// No `=`.
    #[error("a tag is KEY=VALUE")]
    Form,
    /// The key.
    #[error("a tag's key must be 1 to {MAX_KEY} of [A-Za-z0-9._-]")]
    Key,
    /// The value.
    #[error("a tag's value must be at most {MAX_VALUE} bytes without control characters")]
    Value,
    /// The same key twice.
    #[error("a tag's key is given twice; one of the values would be lost")]
    Twice,
    /// Too many.
    #[error("more than {MAX_TAGS} tags")]
    Many,
}

/// Takes `KEY=VALUE` words.
///
/// # Errors
/// [`TagError`].
pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<BTreeMap<String, String>, TagError> {
    let mut tags = BTreeMap::new();
    for word in words {
        let (key, value) = word.as_ref().split_once('=').ok_or(TagError::Form)?;
        add(&mut tags, key, value)?;
    }
    Ok(tags)
}

/// Adds one.
///
/// # Errors
/// [`TagError`].
pub fn add(tags: &mut BTreeMap<String, String>, key: &str, value: &str) -> Result<(), TagError> {
    if !is_word(key, MAX_KEY) {
        return Err(TagError::Key);
    }
    if value.len() > MAX_VALUE || value.chars().any(char::is_control) {
        return Err(TagError::Value);
    }
    if tags.insert(key.to_owned(), value.to_owned()).is_some() {
        return Err(TagError::Twice);
    }
    if tags.len() > MAX_TAGS { Err(TagError::Many) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_bounded_and_given_once() {
        assert_eq!(parse(&["a=b=c", "dag.id=x"]).map(|tags| tags.len()), Ok(2));
        assert_eq!(parse(&["a"]), Err(TagError::Form));
        assert_eq!(parse(&["=b"]), Err(TagError::Key));
        assert_eq!(parse(&["a b=c"]), Err(TagError::Key));
        assert_eq!(parse(&["a=\u{1b}[0m"]), Err(TagError::Value));
        assert_eq!(parse(&[format!("a={}", "x".repeat(256))]), Err(TagError::Value));
        assert_eq!(parse(&["a=1", "a=2"]), Err(TagError::Twice));
        let many: Vec<String> = (0..17).map(|n| format!("k{n}=v")).collect();
        assert_eq!(parse(&many), Err(TagError::Many));
    }
}
