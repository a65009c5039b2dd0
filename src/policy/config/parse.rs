//! Reading the configuration's text: bounds, then shape, then sense.

use std::fmt;

use super::place::{Segment, locate, shown, strictly_shown};
use super::{Config, validate, yaml};

/// Largest file that is read, in bytes.
pub const MAX_TEXT: usize = 1 << 20;

/// Why a text is not what it should be.
///
/// Nothing in it quotes the text: pointed at another file, such as shadow(5), it must not print what is in
/// there [9]. Key names appear in `path` when they are the schema's own, or legal names in their place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Line in the file, from 1; 0 when unknown.
    pub line: usize,
    /// Column, from 1; 0 when unknown.
    pub column: usize,
    /// The key, such as `profiles.per-user.cluster`; empty for the file itself.
    pub path: String,
    /// The rule that is broken.
    pub rule: String,
    /// What to do about it.
    pub advice: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.path.as_str()) {
            (0, "") => {}
            (0, path) => write!(f, "{path}: ")?,
            (line, "") => write!(f, "line {line}: ")?,
            (line, path) => write!(f, "line {line}, {path}: ")?,
        }
        f.write_str(&self.rule)?;
        if self.advice.is_empty() { Ok(()) } else { write!(f, "; {}", self.advice) }
    }
}

/// Reads a configuration.
///
/// # Errors
/// [`ConfigError`] for the first thing that is wrong.
pub fn parse(text: &[u8]) -> Result<Config, ConfigError> {
    let reader = Reader::new(text)?;
    let config: Config = reader.typed()?;
    validate::validate(&config).map_err(|fault| reader.fault(fault.path, fault.rule, fault.advice))?;
    Ok(config)
}

/// Something that breaks a rule, by its place in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: Vec<Segment>,
    pub(crate) rule: String,
    pub(crate) advice: String,
}

/// A text within bounds, known to be one YAML document without duplicate keys.
pub(crate) struct Reader<'t> {
    text: &'t str,
    doubtful: bool,
}

impl<'t> Reader<'t> {
    /// Checks the bounds: size, UTF-8, one document, no duplicate key, no tag, depth, and what its aliases amount
    /// to [7].
    ///
    /// # Errors
    /// [`ConfigError`].
    pub(crate) fn new(text: &'t [u8]) -> Result<Self, ConfigError> {
        let whole = |line, rule: &str, advice: &str| ConfigError {
            line,
            column: 0,
            path: String::new(),
            rule: rule.into(),
            advice: advice.into(),
        };
        if text.len() > MAX_TEXT {
            return Err(whole(0, "the file is longer than 1 MiB", "split it, or point to the right file"));
        }
        let text = std::str::from_utf8(text).map_err(|error| {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            whole(line, "the file is not UTF-8 text", "save it as UTF-8")
        })?;
        let doubtful = yaml::check(text).map_err(|fault| ConfigError {
            line: fault.line,
            column: fault.column,
            path: strictly_shown(&fault.path),
            rule: fault.problem.rule().into(),
            advice: fault.problem.advice().into(),
        })?;
        Ok(Self { text, doubtful })
    }

    /// Reads the text into a type.
    ///
    /// # Errors
    /// [`ConfigError`], found by comparing the text with the type's own schema.
    pub(crate) fn typed<T>(&self) -> Result<T, ConfigError>
    where
        T: serde::de::DeserializeOwned + schemars::JsonSchema,
    {
        // The error's own words quote the text, so only its place is used.
        let at_place = |error: serde_yaml::Error| ConfigError {
            line: error.location().map_or(0, |at| at.line()),
            column: error.location().map_or(0, |at| at.column()),
            path: String::new(),
            rule: "the value is not of the type that the schema asks for, or a number is too large".into(),
            advice: "compare it with `config schema`".into(),
        };
        let explain = || match serde_yaml::from_str(self.text) {
            Ok(value) => super::explain::explain(&schemars::schema_for!(T), &value)
                .map(|found| self.fault(found.path, found.rule, found.advice)),
            Err(error) => Some(at_place(error)),
        };
        let value = serde_yaml::from_str(self.text).map_err(|error| {
            // The place alone is not needed as long as the schema says all that the type does.
            explain().unwrap_or_else(|| at_place(error))
        })?;
        // Where the type asks for a string or a list, serde_yaml takes null for the word or for an empty list; where a value
        // has several forms, serde takes a list for a mapping's values in their order.
        match self.doubtful.then(explain).flatten() {
            Some(error) => Err(error),
            None => Ok(value),
        }
    }

    /// An error at a key, with the line where that key is, or the nearest one above it.
    pub(crate) fn fault(
        &self,
        path: Vec<Segment>,
        rule: impl Into<String>,
        advice: impl Into<String>,
    ) -> ConfigError {
        let (line, column) = locate(self.text, &path);
        ConfigError { line, column, path: shown(&path), rule: rule.into(), advice: advice.into() }
    }
}
