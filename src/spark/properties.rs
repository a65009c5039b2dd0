//! The properties file of a job: administrator's defaults first, then the profile's, then the platform's.
//!
//! Spark reads it with `java.util.Properties.load` from UTF-8 (`Utils.getPropertiesFromFile`); of two lines with one
//! key the later wins. Spark trims blanks around values even where they were escaped; nothing helps against
//! that.

use std::collections::BTreeMap;

use super::command::DEFAULTS;
use super::error::ArgumentError;
use super::keys::{self, Origin};
use crate::exit::ExitCode;

/// Largest file.
pub const MAX_BYTES: usize = 1 << 20;

/// Why there is no properties file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertiesError {
    /// Larger than [`MAX_BYTES`].
    #[error("the settings of the job are too long together: at most {MAX_BYTES} bytes are taken")]
    TooLong,
    /// `spark-defaults.conf` holds a key that would take effect and must not.
    #[error(transparent)]
    Refused(#[from] ArgumentError),
}

impl PropertiesError {
    /// The wrapper's exit code for it.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::ArgumentRefused
    }
}

/// The file's content. `spark_defaults` is the administrator's file as it is.
///
/// `--properties-file` makes Spark leave `spark-defaults.conf` unread, so its text is copied. Keys in it that
/// the wrapper beats anyway (`spark.master`, say) are let through, for the file may serve other clusters, too.
///
/// # Errors
/// [`PropertiesError`].
pub fn merge(
    spark_defaults: Option<&[u8]>,
    defaults: &BTreeMap<String, String>,
    conf: &BTreeMap<String, String>,
) -> Result<Vec<u8>, PropertiesError> {
    let mut file = Vec::new();
    for (key, value) in DEFAULTS {
        line(&mut file, key, value);
    }
    if let Some(text) = spark_defaults {
        if text.len() > MAX_BYTES {
            return Err(PropertiesError::TooLong);
        }
        for (key, value) in entries(text) {
            // Spark drops every other key.
            if key.starts_with(b"spark.") {
                keys::check(&key, Some(&value), Origin::SparkDefaults, None, "in spark-defaults.conf")?;
            }
        }
        file.extend_from_slice(text);
        // A file that ends in a backslash must not take our first line for its last one's continuation.
        file.extend_from_slice(b"\n\n");
    }
    for (key, value) in defaults.iter().chain(conf) {
        line(&mut file, key, value);
        if file.len() > MAX_BYTES {
            return Err(PropertiesError::TooLong);
        }
    }
    if file.len() > MAX_BYTES { Err(PropertiesError::TooLong) } else { Ok(file) }
}

fn line(file: &mut Vec<u8>, key: &str, value: &str) {
    write_escaped(file, key);
    file.push(b'=');
    write_escaped(file, value);
    file.push(b'\n');
}

/// Escapes what `Properties.load` gives a meaning: separators, comments, blanks, line ends, backslashes;
/// everything outside of printable ASCII as `\uXXXX`, in UTF-16 as Java counts.
fn write_escaped(file: &mut Vec<u8>, text: &str) {
    for character in text.chars() {
        match character {
            '\\' | '=' | ':' | '#' | '!' | ' ' => file.extend([b'\\', character as u8]),
            '\n' => file.extend(b"\\n"),
            '\r' => file.extend(b"\\r"),
            '\t' => file.extend(b"\\t"),
            '!'..='~' => file.push(character as u8),
            _ => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    file.extend(format!("\\u{unit:04x}").bytes());
                }
            }
        }
    }
}

/// Keys and values of a properties file, as `Properties.load` reads them.
pub(super) fn entries(text: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut entries = Vec::new();
    let mut logical: Vec<u8> = Vec::new();
    let mut continued = false;
    // CR LF ends one line, not two.
    let mut following = text.iter().skip(1);
    let mut text = text.to_vec();
    text.retain(|byte| !(following.next() == Some(&b'\n') && *byte == b'\r'));
    let mut lines = text.split(|byte| matches!(byte, b'\n' | b'\r')).peekable();
    while let Some(line) = lines.next() {
        let start = line.iter().position(|byte| !is_blank(*byte)).unwrap_or(line.len());
        let line = line.get(start..).unwrap_or_default();
        if !continued && (line.is_empty() || line.starts_with(b"#") || line.starts_with(b"!")) {
            continue;
        }
        let slashes = line.iter().rev().take_while(|byte| **byte == b'\\').count();
        let continues = slashes % 2 == 1;
        logical.extend_from_slice(line.get(..line.len() - usize::from(continues)).unwrap_or_default());
        // A backslash alone continues nothing.
        if line == b"\\" && logical.is_empty() {
            continued = false;
            continue;
        }
        continued = continues && lines.peek().is_some();
        if !continued {
            entries.push(entry(&logical));
            logical.clear();
        }
    }
    entries
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

/// A logical line: the key reaches to the first separator that is not escaped, the value begins behind blanks
/// and at most one `=` or `:`.
fn entry(line: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut escaped = false;
    let end = line.iter().position(|byte| {
        let separator = !escaped && (matches!(byte, b'=' | b':') || is_blank(*byte));
        escaped = !escaped && *byte == b'\\';
        separator
    });
    let (key, value) = line.split_at_checked(end.unwrap_or(line.len())).unwrap_or((line, b""));
    let skip_blanks = |bytes: &mut &[u8]| {
        let start = bytes.iter().position(|byte| !is_blank(*byte)).unwrap_or(bytes.len());
        *bytes = bytes.get(start..).unwrap_or_default();
    };
    let mut value = value;
    skip_blanks(&mut value);
    value = value.strip_prefix(b"=").or_else(|| value.strip_prefix(b":")).unwrap_or(value);
    skip_blanks(&mut value);
    (unescaped(key), unescaped(value).trim_ascii_end().to_vec())
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'u') => {
                let digits: Vec<u8> = bytes.by_ref().take(4).collect();
                let unit = std::str::from_utf8(&digits).ok();
                let unit = unit.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let character = unit.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
                plain.extend(character.to_string().bytes());
            }
            Some(b't') => plain.push(b'\t'),
            Some(b'n') => plain.push(b'\n'),
            Some(b'r') => plain.push(b'\r'),
            Some(b'f') => plain.push(0x0c),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}
