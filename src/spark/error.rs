//! Why a Spark argument is refused.

use crate::exit::ExitCode;

/// A Spark argument that is not passed on. Messages name the option or key as it was spelled (escaped and
/// bounded), the rule, and what to do instead; never a value, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// More words than are taken.
    #[error("{count} Spark arguments are too many: at most {limit} are taken")]
    TooMany {
        /// How many came.
        count: usize,
        /// How many are taken.
        limit: usize,
    },
    /// A word that no Linux process could be given (`MAX_ARG_STRLEN`, execve(2)).
    #[error("Spark argument {position} is too long: at most {limit} bytes are taken")]
    TooLong {
        /// Its place, from 1.
        position: usize,
        /// Longest that is taken.
        limit: usize,
    },
    /// All words together.
    #[error("the Spark arguments are too long together: at most {limit} bytes are taken")]
    TooMuch {
        /// Most that is taken.
        limit: usize,
    },
    /// A NUL byte, which no argument can carry.
    #[error("Spark argument {position} holds a NUL byte")]
    Nul {
        /// Its place, from 1.
        position: usize,
    },
    /// Not an option of spark-submit.
    #[error(
        "{option} is not an option of {program}; options come before the application, its own arguments after it \
         (spark-submit knows no '--' that ends options, and takes '--option=value' only with a value on one line)"
    )]
    UnknownOption {
        /// As it was spelled.
        option: String,
        /// The program.
        program: &'static str,
    },
    /// An option of another release.
    #[error("{option} exists from Spark {since} on, and {installed}; leave it out")]
    OptionTooNew {
        /// As it was spelled.
        option: String,
        /// First release that has it.
        since: String,
        /// What is known of the installed release.
        installed: String,
    },
    /// The last word is an option that wants a value.
    #[error("{option} needs a value after it")]
    MissingValue {
        /// As it was spelled.
        option: String,
    },
    /// `--conf` with a word that is no setting.
    #[error("{option} needs key=value, and its value has no '='")]
    NotASetting {
        /// As it was spelled.
        option: String,
    },
    /// Settings for a program that reads none.
    #[error(
        "this program takes arguments of its own and reads no Spark settings; leave out the request's `conf`"
    )]
    NoSettings,
    /// No application to run.
    #[error("no application: name a jar, a Python file or an R file after the options")]
    NoApplication,
    /// A first word that turns spark-submit into another program (`SparkSubmitCommandBuilder`).
    #[error("{word} is refused as the application: {rule}; {advice}")]
    Application {
        /// As it was spelled.
        word: String,
        /// Which rule.
        rule: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// An option that is never passed on.
    #[error("{option} is refused: {rule}; {advice}")]
    Option {
        /// As it was spelled.
        option: String,
        /// Which rule.
        rule: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A key that is never passed on.
    #[error("{key} ({spelling}) is refused: {rule}; {advice}")]
    Key {
        /// The key.
        key: String,
        /// How it was given.
        spelling: String,
        /// Which rule.
        rule: &'static str,
        /// What to do.
        advice: &'static str,
    },
}

impl ArgumentError {
    /// The wrapper's exit code for it.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::ArgumentRefused
    }
}
