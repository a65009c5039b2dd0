//! Why an argument is refused.

use crate::exit::ExitCode;

/// A refusal: what, which rule, what to do. Values are never repeated, they may be secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is refused: {rule}")]
pub struct ArgumentError {
    what: String,
    rule: String,
}

impl ArgumentError {
    /// `what` is shown with control characters escaped, and bounded.
    pub fn new(what: impl AsRef<str>, rule: impl Into<String>) -> Self {
        let what = what.as_ref().chars().take(128).flat_map(char::escape_default).collect();
        Self { what, rule: rule.into() }
    }

    /// The wrapper's exit code.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::ArgumentRefused
    }
}

impl ArgumentError {
    pub(super) fn what(&self) -> &str {
        &self.what
    }

    pub(super) fn rule(&self) -> &str {
        &self.rule
    }
}
