//! spark-submit's option grammar, on bytes.
//!
//! Spark reads its words twice, in the launcher (`SparkSubmitCommandBuilder.OptionParser`) and in
//! `SparkSubmitArguments`, both on `SparkSubmitOptionParser`. This is the same grammar, so that what we think is
//! an option, a value or the application is what Spark thinks. Words are kept as they came and delivered byte
//! for byte (checklist 77).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::error::ArgumentError;
use super::options::{SparkVersion, Spec, find};
use super::redact::escaped;
use crate::policy::config::Program;

/// Most words that are taken.
pub const MAX_WORDS: usize = 4096;
/// Longest word in bytes: Linux's `MAX_ARG_STRLEN` with its NUL (execve(2)).
pub const MAX_WORD: usize = 128 * 1024 - 1;
/// Most bytes of all words together.
pub const MAX_BYTES: usize = 1 << 20;

/// Classes that turn on the launcher's mixed mode, in which options are recognized everywhere
/// (`SparkSubmitCommandBuilder.specialClasses`). The two of Spark Connect are refused elsewhere.
const MIXED_CLASSES: &[&[u8]] = &[
    b"org.apache.spark.repl.Main",
    b"org.apache.spark.sql.hive.thriftserver.SparkSQLCLIDriver",
    b"org.apache.spark.sql.hive.thriftserver.HiveThriftServer2",
];

/// One option as it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opt {
    /// Which option.
    pub spec: &'static Spec,
    /// Index of its word.
    pub at: usize,
    /// Word of its value, and where in it the value begins.
    value: Option<(usize, usize)>,
}

/// A command line after the grammar has been applied. Its words are as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    program: Program,
    words: Vec<OsString>,
    options: Vec<Opt>,
    primary: Option<usize>,
    mixed: bool,
    informational: bool,
    own: bool,
}

impl Parsed {
    /// The program whose words these are.
    #[must_use]
    pub fn program(&self) -> Program {
        self.program
    }

    /// A command line of a tool that is no spark-submit: nothing in it is understood, and nothing is added to it.
    ///
    /// # Errors
    /// [`ArgumentError`] for sizes.
    pub fn own(words: &[OsString]) -> Result<Self, ArgumentError> {
        check_sizes(words)?;
        Ok(Self {
            program: Program::SparkSubmit,
            words: words.to_vec(),
            options: Vec::new(),
            primary: None,
            mixed: true,
            informational: false,
            own: true,
        })
    }

    /// Whether it is such a one.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// All words.
    #[must_use]
    pub fn words(&self) -> &[OsString] {
        &self.words
    }

    /// The options, in their order.
    #[must_use]
    pub fn options(&self) -> &[Opt] {
        &self.options
    }

    /// Index of the primary resource (jar, Python or R file). None for shells, whose options may stand
    /// anywhere, and for calls that run nothing.
    #[must_use]
    pub fn primary_index(&self) -> Option<usize> {
        self.primary
    }

    /// Whether Spark only prints something (`--help`, `--version`) and runs no job.
    #[must_use]
    pub fn is_informational(&self) -> bool {
        self.informational
    }

    /// Where the enforced words go: right before the primary resource, else at the end.
    #[must_use]
    pub fn insertion_point(&self) -> usize {
        self.primary.unwrap_or(self.words.len())
    }

    /// An option's value.
    #[must_use]
    pub fn value(&self, option: &Opt) -> Option<&[u8]> {
        let (word, from) = option.value?;
        self.words.get(word)?.as_bytes().get(from..)
    }

    /// How an option was spelled, without its value: `--conf`, `--conf=` or `-c`.
    #[must_use]
    pub fn spelling(&self, option: &Opt) -> String {
        match option.value {
            Some((word, from)) if word == option.at => {
                escaped(self.words.get(word).and_then(|w| w.as_bytes().get(..from)).unwrap_or_default())
            }
            _ => escaped(self.words.get(option.at).map(|w| w.as_bytes()).unwrap_or_default()),
        }
    }

    /// The settings of `--conf` and `-c`: option, key, value. Split at the first `=`, nothing trimmed
    /// (`SparkSubmitUtils.parseSparkConfProperty`).
    pub fn settings(&self) -> impl Iterator<Item = (&Opt, &[u8], &[u8])> {
        self.options.iter().filter(|option| option.spec.name == "--conf").filter_map(|option| {
            let (key, value) = split_at_equals(self.value(option)?)?;
            Some((option, key, value))
        })
    }

    /// The same command line with the caller's paths replaced by the copies that the job can read: every
    /// word and option value that is such a path, and every element of the comma lists of `--jars`, `--files`,
    /// `--py-files`, `--archives` and of the settings behind them, where `#name` may follow the path.
    #[must_use]
    pub fn substitute(&self, staged: &[(OsString, OsString)]) -> Self {
        super::staging::substitute(self, staged)
    }

    /// The words changed one by one; their number and the places of the options stay.
    pub(super) fn map_words(&self, change: impl Fn(usize, &OsStr) -> Option<Vec<u8>>) -> Self {
        let words = self.words.iter().enumerate();
        let words =
            words.map(|(i, word)| change(i, word).map_or_else(|| word.clone(), OsString::from_vec)).collect();
        Self { words, ..self.clone() }
    }

    /// The option whose value is in the word at `index`, and where the value begins.
    pub(super) fn value_in_word(&self, index: usize) -> Option<(&Opt, usize)> {
        self.options.iter().find_map(|option| match option.value {
            Some((word, from)) if word == index => Some((option, from)),
            _ => None,
        })
    }
}

/// Key and value around the first `=`.
pub(super) fn split_at_equals(word: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = word.iter().position(|byte| *byte == b'=')?;
    Some((word.get(..at)?, word.get(at + 1..)?))
}

/// The two halves of `--opt=value`, as the regular expression `(--[^=]+)=(.+)` matches the whole word: a name,
/// a value that is not empty, and no line terminator in it (java.util.regex's `.`).
fn joined(word: &[u8]) -> Option<(&[u8], usize)> {
    let (name, value) = split_at_equals(word)?;
    let is_name = name.len() > 2 && name.starts_with(b"--");
    let breaks = |seq: &[u8]| value.windows(seq.len()).any(|window| window == seq);
    let terminator = [&b"\n"[..], b"\r", "\u{85}".as_bytes(), "\u{2028}".as_bytes(), "\u{2029}".as_bytes()];
    let one_line = !terminator.into_iter().any(breaks);
    (is_name && !value.is_empty() && one_line).then_some((name, name.len() + 1))
}

/// Applies the grammar.
///
/// `version` is the installed release where known. It matters: an option that a release does not know is an
/// error in front of an application, but a shell passes it on and reads the next word anew.
///
/// # Errors
/// [`ArgumentError`] for what Spark itself would refuse, and for sizes. What *we* refuse is
/// [`super::check_arguments`].
pub fn parse(
    program: Program,
    words: &[OsString],
    version: Option<SparkVersion>,
) -> Result<Parsed, ArgumentError> {
    check_sizes(words)?;
    let mut parsed = Parsed {
        program,
        words: words.to_vec(),
        options: Vec::new(),
        primary: None,
        mixed: program != Program::SparkSubmit,
        informational: false,
        own: false,
    };
    let mut index = 0;
    while let Some(word) = words.get(index) {
        let word = word.as_bytes();
        let (name, joined_value) = match joined(word) {
            Some((name, from)) => (name, Some((index, from))),
            None => (word, None),
        };
        let Some(spec) = find(name) else {
            if parsed.mixed {
                not_an_option_of_a_shell(program, word)?;
            } else {
                primary_resource(program, word)?;
                parsed.primary = Some(index);
                break;
            }
            index += 1;
            continue;
        };
        check_version(spec, name, version, parsed.mixed)?;
        let value = match (spec.takes_value, joined_value) {
            // A flag with "=value" is the flag; the value is dropped (SparkSubmitOptionParser.parse).
            (false, _) => None,
            (true, Some(value)) => Some(value),
            (true, None) => {
                index += 1;
                if index >= words.len() {
                    return Err(ArgumentError::MissingValue { option: escaped(name) });
                }
                Some((index, 0))
            }
        };
        let option = Opt { spec, at: index - usize::from(value == Some((index, 0))), value };
        match (spec.name, parsed.value(&option)) {
            ("--conf", Some(setting)) if split_at_equals(setting).is_none() => {
                return Err(ArgumentError::NotASetting { option: parsed.spelling(&option) });
            }
            ("--class", Some(class)) if MIXED_CLASSES.contains(&class) => parsed.mixed = true,
            ("--help" | "--version" | "--usage-error", _) => parsed.informational = true,
            _ => {}
        }
        parsed.options.push(option);
        index += 1;
    }
    if !parsed.mixed && !parsed.informational && parsed.primary.is_none() {
        return Err(ArgumentError::NoApplication);
    }
    Ok(parsed)
}

fn check_sizes(words: &[OsString]) -> Result<(), ArgumentError> {
    if words.len() > MAX_WORDS {
        return Err(ArgumentError::TooMany { count: words.len(), limit: MAX_WORDS });
    }
    let mut total = 0_usize;
    for (index, word) in words.iter().enumerate() {
        let position = index + 1;
        if word.len() > MAX_WORD {
            return Err(ArgumentError::TooLong { position, limit: MAX_WORD });
        }
        if word.as_bytes().contains(&0) {
            return Err(ArgumentError::Nul { position });
        }
        total = total.saturating_add(word.len()).saturating_add(1);
    }
    if total > MAX_BYTES { Err(ArgumentError::TooMuch { limit: MAX_BYTES }) } else { Ok(()) }
}

fn check_version(
    spec: &Spec,
    name: &[u8],
    version: Option<SparkVersion>,
    mixed: bool,
) -> Result<(), ArgumentError> {
    let Some(since) = spec.since else { return Ok(()) };
    let installed = match version {
        Some(version) if version >= since => return Ok(()),
        Some(version) => format!("the installed one is {version}"),
        // Where the release is not known, an older one refuses the option itself, unless it is a shell.
        None if !mixed => return Ok(()),
        None => "the installed release is not known".to_owned(),
    };
    Err(ArgumentError::OptionTooNew { option: escaped(name), since: since.to_string(), installed })
}

/// A word of a shell that is no option goes to the shell, except that pyspark takes none
/// (`SparkSubmitCommandBuilder.buildPySparkShellCommand`).
fn not_an_option_of_a_shell(program: Program, word: &[u8]) -> Result<(), ArgumentError> {
    if program != Program::Pyspark {
        return Ok(());
    }
    if word.starts_with(b"-") {
        return Err(ArgumentError::UnknownOption { option: escaped(word), program: program.file_name() });
    }
    Err(ArgumentError::Application {
        word: escaped(word),
        rule: "pyspark is a shell and runs no application",
        advice: "run a Python file with spark-submit",
    })
}

fn primary_resource(program: Program, word: &[u8]) -> Result<(), ArgumentError> {
    let refused = |rule, advice| Err(ArgumentError::Application { word: escaped(word), rule, advice });
    if word.starts_with(b"-") {
        return Err(ArgumentError::UnknownOption { option: escaped(word), program: program.file_name() });
    }
    // bin/spark-class removes carriage returns between the two readings: a word that the first one takes for
    // the application could be an option for the second.
    if word.contains(&b'\r') {
        return refused(
            "Spark removes carriage returns from its words, which could change their meaning",
            "rename the file",
        );
    }
    match word {
        b"pyspark-shell-main" | b"sparkr-shell-main" => refused(
            "it starts an interactive shell",
            "use the program of that shell, where the profile has it",
        ),
        b"run-example" => refused("it changes how the words are read", "name the examples' jar and --class"),
        _ => Ok(()),
    }
}
