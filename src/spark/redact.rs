//! Words for logs and `--dry-run`: nothing secret, nothing that a terminal acts on, bounded (checklist 46, 48, 49).

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Longest word shown, in bytes of the original.
const MAX_SHOWN: usize = 1024;
/// Most shown of all words together.
const MAX_TOTAL: usize = 64 * 1024;
/// What stands for a secret (the text that Spark's own `Utils.REDACTION_REPLACEMENT_TEXT` uses).
const REPLACEMENT: &str = "*********(redacted)";

/// What a name that holds a secret contains: Spark's `spark.redaction.regex`, and names of application
/// arguments. In lower case.
const SECRET: &[&str] = &[
    "secret",
    "passw",
    "passphrase",
    "pwd",
    "token",
    "credential",
    "access.key",
    "access_key",
    "access-key",
    "accesskey",
    "api.key",
    "api_key",
    "api-key",
    "apikey",
    "private.key",
    "private_key",
    "private-key",
    "account.key",
];

/// `bytes` for a person to read: control and invisible characters, invalid UTF-8 and backslashes are escaped, and
/// at most 1 KiB is shown.
#[must_use]
pub fn escaped(bytes: &[u8]) -> String {
    let shown = bytes.get(..MAX_SHOWN).unwrap_or(bytes);
    let mut text = String::with_capacity(shown.len());
    for chunk in shown.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\'' | '"' => text.push(character),
                other => text.extend(other.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    let more = bytes.len() - shown.len();
    if more > 0 {
        text.push_str(&format!("… ({more} more bytes)"));
    }
    text
}

/// A line of somebody's log without what follows the name of a secret in it.
#[must_use]
pub fn log_line(line: &str) -> String {
    match secret_part(line.as_bytes()) {
        Some(at) => line.get(..at).unwrap_or_default().to_owned() + REPLACEMENT,
        None => line.to_owned(),
    }
}

/// A command line that may be logged.
#[must_use]
pub fn redacted(words: &[OsString]) -> Vec<String> {
    let mut shown = Vec::new();
    let mut total = 0;
    let mut secret_follows = false;
    for (index, word) in words.iter().enumerate() {
        let bytes = word.as_bytes();
        // What is not shown needs no search; words may be long, and many.
        let shown_part = bytes.get(..MAX_SHOWN).unwrap_or(bytes);
        let text = match (secret_follows, secret_part(shown_part)) {
            (true, _) => REPLACEMENT.to_owned(),
            (false, Some(at)) => escaped(bytes.get(..at).unwrap_or_default()) + REPLACEMENT,
            (false, None) => escaped(bytes),
        };
        // "--db-password hunter2": an option of the application, whose value is the next word.
        secret_follows = bytes.starts_with(b"-") && is_secret_name(shown_part);
        total += text.len();
        if total > MAX_TOTAL {
            shown.push(format!("… ({} more words)", words.len() - index));
            break;
        }
        shown.push(text);
    }
    shown
}

/// Whether all of `word` is one name and tells of a secret.
fn is_secret_name(word: &[u8]) -> bool {
    word.iter().all(|byte| is_name(*byte)) && find_secret(&word.to_ascii_lowercase(), 0).is_some()
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Where in `word` a secret begins: behind a name that tells of one and its `=`, `:`, quote or blank, or
/// behind the user of a URL (`scheme://user:password@host`).
fn secret_part(word: &[u8]) -> Option<usize> {
    let lower = word.to_ascii_lowercase();
    let mut from = 0;
    let named = loop {
        let Some(after) = find_secret(&lower, from) else { break None };
        let rest = lower.get(after..).unwrap_or_default();
        let end = after + rest.iter().position(|byte| !is_name(*byte)).unwrap_or(rest.len());
        match lower.get(end) {
            Some(b'=' | b':' | b'"' | b'\'' | b' ' | b'\t' | b'\n') => break Some(end + 1),
            None => break None,
            Some(_) => from = end,
        }
    };
    match (named, url_password(word)) {
        (Some(named), Some(url)) => Some(named.min(url)),
        (named, url) => named.or(url),
    }
}

/// Where the first name of [`SECRET`] at or behind `from` ends.
fn find_secret(lower: &[u8], from: usize) -> Option<usize> {
    (from..lower.len()).find_map(|at| {
        let rest = lower.get(at..)?;
        let name = SECRET.iter().find(|name| rest.starts_with(name.as_bytes()))?;
        Some(at + name.len())
    })
}

fn url_password(word: &[u8]) -> Option<usize> {
    let authority = word.windows(3).position(|window| window == b"://")? + 3;
    let rest = word.get(authority..)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let host = rest.get(..end)?.iter().rposition(|byte| *byte == b'@')?;
    let colon = rest.get(..host)?.iter().position(|byte| *byte == b':')?;
    Some(authority + colon + 1)
}
