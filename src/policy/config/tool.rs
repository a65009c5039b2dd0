//! Programs of Spark's `bin` beside the four, and classes for its `spark-class`, that an administrator lists.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Profile, Program};

/// A further program of Spark's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name for `--program`, and without `class` that of a file in Spark's `bin`, such as beeline.
    pub name: String,
    /// A Java class that `spark-class` runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What its arguments are: spark-submit's (run-example), or its own. One with its own gets no Spark setting, neither
    /// the profile's nor the wrapper's: that is for clients (beeline), not for drivers.
    #[serde(default)]
    pub arguments: Arguments,
}

/// Whose arguments a tool takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Arguments {
    /// Passed as they are.
    #[default]
    Own,
    /// Options, then what to run, then its arguments; settings are added before that.
    SparkSubmit,
}

/// What a profile lets run under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runnable<'a> {
    /// File in Spark's `bin`.
    pub file: &'a str,
    /// A first argument of the file's.
    pub class: Option<&'a str>,
    /// The program whose grammar its arguments have; none: its own.
    pub grammar: Option<Program>,
}

impl Tool {
    /// What it stands for.
    #[must_use]
    pub fn runnable(&self) -> Runnable<'_> {
        Runnable {
            file: if self.class.is_some() { "spark-class" } else { &self.name },
            class: self.class.as_deref(),
            grammar: (self.arguments == Arguments::SparkSubmit).then_some(Program::SparkSubmit),
        }
    }
}

impl From<Program> for Runnable<'static> {
    fn from(program: Program) -> Self {
        Self { file: program.file_name(), class: None, grammar: Some(program) }
    }
}

impl Profile {
    /// What this profile runs under a name.
    #[must_use]
    pub fn runnable(&self, name: &str) -> Option<Runnable<'_>> {
        let program = self.programs.iter().find(|program| program.file_name() == name);
        program
            .map(|program| Runnable::from(*program))
            .or_else(|| self.tools.iter().find(|tool| tool.name == name).map(Tool::runnable))
    }

    /// Everything that it runs.
    pub fn runnables(&self) -> impl Iterator<Item = Runnable<'_>> {
        let programs = self.programs.iter().map(|program| Runnable::from(*program));
        programs.chain(self.tools.iter().map(Tool::runnable))
    }
}
