//! spark-submit's option grammar (org.apache.spark.launcher.SparkSubmitOptionParser), on bytes.
//!
//! Options come first; the first word that is none is the primary resource, and everything after it is the
//! application's. A value is taken as it is even if it looks like an option; there is no end-of-options marker.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::error::ArgumentError;
use super::keys;
use crate::policy::config::Program;

/// Most words. Linux takes far more; a command line of this length is a mistake.
const MAX_WORDS: usize = 4096;
/// Longest word in bytes (MAX_ARG_STRLEN of linux/binfmts.h is 128 KiB).
const MAX_WORD: usize = 127 * 1024;
/// Most bytes of all words.
const MAX_BYTES: usize = 1 << 20;

/// Options with a value, and the Spark line that first has them.
pub const VALUE_OPTIONS: &[(&str, &str)] = &[
    ("--archives", "3.4"),
    ("--class", "3.4"),
    ("--conf", "3.4"),
    ("-c", "3.4"),
    ("--deploy-mode", "3.4"),
    ("--driver-class-path", "3.4"),
    ("--driver-cores", "3.4"),
    ("--driver-default-class-path", "4.0"),
    ("--driver-java-options", "3.4"),
    ("--driver-library-path", "3.4"),
    ("--driver-memory", "3.4"),
    ("--exclude-packages", "3.4"),
    ("--executor-cores", "3.4"),
    ("--executor-memory", "3.4"),
    ("--extra-properties-file", "4.2"),
    ("--files", "3.4"),
    ("--jars", "3.4"),
    ("--keytab", "3.4"),
    ("--kill", "3.4"),
    ("--master", "3.4"),
    ("--name", "3.4"),
    ("--num-executors", "3.4"),
    ("--packages", "3.4"),
    ("--principal", "3.4"),
    ("--properties-file", "3.4"),
    ("--proxy-user", "3.4"),
    ("--py-files", "3.4"),
    ("--queue", "3.4"),
    ("--remote", "3.4"),
    ("--repositories", "3.4"),
    ("--status", "3.4"),
    ("--total-executor-cores", "3.4"),
];

/// Options without one.
pub const FLAGS: &[(&str, &str)] = &[
    ("--help", "3.4"),
    ("-h", "3.4"),
    ("--load-spark-defaults", "4.0"),
    ("--supervise", "3.4"),
    ("--usage-error", "3.4"),
    ("--verbose", "3.4"),
    ("-v", "3.4"),
    ("--version", "3.4"),
];

/// spark-sql's own (org.apache.spark.sql.hive.thriftserver.SparkSQLCLIDriver), which its script passes on after
/// spark-submit's.
const SQL_VALUE_OPTIONS: &[&str] =
    &["-d", "--define", "--database", "-e", "-f", "--hiveconf", "--hivevar", "-i"];
const SQL_FLAGS: &[&str] = &["-H", "-S", "--silent"];

/// First words that make spark-submit something else (SparkSubmitCommandBuilder).
const SPECIAL: &[&str] =
    &["pyspark-shell-main", "sparkr-shell-main", "run-example", "pyspark-shell", "sparkr-shell"];

/// One option as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Its name, dashes included.
    pub name: &'static str,
    /// Its value.
    pub value: Option<OsString>,
    /// Whether it was written `--name=value`.
    pub joined: bool,
}

/// A command line that was understood and accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The options, in their order.
    pub options: Vec<Given>,
    /// The primary resource and the application's arguments; a shell's own options.
    pub rest: Vec<OsString>,
}

fn find(table: &'static [(&'static str, &'static str)], name: &[u8]) -> Option<&'static str> {
    table.iter().map(|(known, _)| *known).find(|known| known.as_bytes() == name)
}

/// Reads and checks a user's arguments.
///
/// # Errors
/// [`ArgumentError`] for the first word that is refused.
pub fn parse(program: Program, words: &[OsString]) -> Result<Parsed, ArgumentError> {
    bounds(words)?;
    let mut options = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let bytes = word.as_bytes();
        if let Some((name, value)) = joined(bytes) {
            options.push(Given { name, value: Some(OsStr::from_bytes(value).to_owned()), joined: true });
            at += 1;
        } else if let Some(name) = find(VALUE_OPTIONS, bytes) {
            let value = words.get(at + 1).ok_or_else(|| ArgumentError::new(name, "its value is missing"))?;
            options.push(Given { name, value: Some(value.clone()), joined: false });
            at += 2;
        } else if let Some(name) = find(FLAGS, bytes) {
            options.push(Given { name, value: None, joined: false });
            at += 1;
        } else {
            break;
        }
    }
    let rest: Vec<OsString> = words.iter().skip(at).cloned().collect();
    for option in &options {
        keys::check_option(option)?;
    }
    check_rest(program, &options, &rest)?;
    Ok(Parsed { options, rest })
}

fn bounds(words: &[OsString]) -> Result<(), ArgumentError> {
    let total: usize = words.iter().map(|word| word.len()).sum();
    if words.len() > MAX_WORDS || total > MAX_BYTES {
        let rule =
            format!("at most {MAX_WORDS} arguments and {MAX_BYTES} bytes are taken; put data into files");
        return Err(ArgumentError::new("the command line", rule));
    }
    for word in words {
        if word.len() > MAX_WORD {
            return Err(ArgumentError::new("an argument", format!("it has more than {MAX_WORD} bytes")));
        }
        // Spark's launcher strips carriage returns, so such an argument could not arrive as it was given [77].
        if word.as_bytes().contains(&0) || word.as_bytes().contains(&b'\r') {
            return Err(ArgumentError::new("an argument", "it holds a NUL or a carriage return"));
        }
    }
    Ok(())
}

/// `--name=value`, as `(--[^=]+)=(.+)` matches it: `.` is no newline. `-c=x` is not an option.
fn joined(word: &[u8]) -> Option<(&'static str, &[u8])> {
    let equals = word.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (word.get(..equals)?, word.get(equals + 1..)?);
    let legal = name.starts_with(b"--") && name.len() > 2 && !value.is_empty() && !value.contains(&b'\n');
    if legal { find(VALUE_OPTIONS, name).map(|name| (name, value)) } else { None }
}

fn check_rest(program: Program, options: &[Given], rest: &[OsString]) -> Result<(), ArgumentError> {
    let first = rest.first().map(|word| word.as_bytes());
    if program == Program::SparkSql {
        return sql_options(rest);
    }
    if first.is_some_and(|word| word.starts_with(b"-")) {
        let rule = "spark-submit has no such option, or its form is not spark-submit's; options come before the \
                    application";
        return Err(ArgumentError::new(String::from_utf8_lossy(first.unwrap_or_default()), rule));
    }
    match (program, first) {
        (_, Some(word)) if SPECIAL.iter().any(|special| special.as_bytes() == word) => {
            Err(ArgumentError::new(
                String::from_utf8_lossy(word),
                "it would start another program than an application; name pyspark or spark-shell with --program",
            ))
        }
        (Program::SparkSubmit, None) if !asks_for_help(options) => {
            Err(ArgumentError::new("the command line", "it names no application (a .py file or a .jar)"))
        }
        (Program::Pyspark | Program::SparkShell, Some(_)) => Err(ArgumentError::new(
            "an application",
            "a shell takes options only; use --program spark-submit",
        )),
        _ => Ok(()),
    }
}

fn asks_for_help(options: &[Given]) -> bool {
    options.iter().any(|option| ["--help", "-h", "--version", "--usage-error"].contains(&option.name))
}

fn sql_options(rest: &[OsString]) -> Result<(), ArgumentError> {
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        let known = |table: &[&str]| table.iter().any(|name| name.as_bytes() == word.as_bytes());
        if known(SQL_VALUE_OPTIONS) {
            let value = words.next();
            let value =
                value.ok_or_else(|| ArgumentError::new(word.to_string_lossy(), "its value is missing"))?;
            let sets =
                [b"--hiveconf".as_slice(), b"-d", b"--define", b"--hivevar"].contains(&word.as_bytes());
            // A Hive setting of a Spark key ends up in the same configuration.
            if let (true, Some((key, _))) = (sets, value.to_string_lossy().split_once('=')) {
                keys::check_key(key, keys::Origin::User)?;
            }
        } else if !known(SQL_FLAGS) {
            let rule = "it is no option of spark-sql; spark-submit's own come before spark-sql's";
            return Err(ArgumentError::new(word.to_string_lossy(), rule));
        }
    }
    Ok(())
}
