//! Arguments as they may be shown: without secrets, without control characters, bounded.

use std::ffi::OsString;

/// Words that make a name's value a secret: those of Spark's `spark.redaction.regex`, and the usual ones beside.
const SECRET_NAMES: [&str; 9] = [
    "secret",
    "password",
    "passwd",
    "token",
    "credential",
    "accesskey",
    "access.key",
    "access-key",
    "apikey",
];
/// What stands in a secret's place, as Spark itself writes it (Utils.redact).
const REDACTED: &str = "*********(redacted)";
/// Longest word shown.
const MAX_WORD: usize = 1024;
/// Most words shown.
const MAX_WORDS: usize = 256;

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace('_', "-");
    SECRET_NAMES.iter().any(|secret| name.contains(secret)) || name.contains("api-key")
}

/// The words, safe to show.
#[must_use]
pub fn redacted(words: &[OsString]) -> Vec<String> {
    let mut shown = Vec::new();
    let mut hide_next = false;
    for word in words.iter().take(MAX_WORDS) {
        let text = word.to_string_lossy();
        shown.push(if hide_next && !text.starts_with("--") { REDACTED.to_owned() } else { one(&text) });
        // `--password hunter2`; of `--conf` the next word is looked at by itself.
        hide_next = text.starts_with('-') && !text.contains('=') && is_secret(&text);
    }
    if words.len() > MAX_WORDS {
        shown.push(format!("... ({} more)", words.len() - MAX_WORDS));
    }
    shown
}

fn one(text: &str) -> String {
    // From the first `=` on that has a secret's name anywhere before it: `--conf=a.password=x`, `-Da.token=x -Db=y`.
    let secret = text.match_indices('=').map(|(at, _)| text.split_at(at).0).find(|name| is_secret(name));
    match secret {
        Some(name) => format!("{}={REDACTED}", bounded(name)),
        None => bounded(text),
    }
}

fn bounded(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if out.len() >= MAX_WORD {
            out.push_str("...");
            break;
        }
        if character.is_control() { out.extend(character.escape_default()) } else { out.push(character) }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checklist_49_secrets_are_hidden_in_every_spelling() {
        let words = [
            "--conf",
            "spark.my.password=hunter2",
            "--conf=spark.hadoop.fs.s3a.secret.key=hunter2",
            "--password",
            "hunter2",
            "DB_PASSWORD=hunter2",
            "--api-key=hunter2",
            "--conf",
            "spark.driver.extraJavaOptions=-Da=b -Dx.token=hunter2 -Dc=d",
            "plain",
            "--api_key",
            "hunter2",
        ];
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let shown = redacted(&words).join("\n");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("plain"));
    }

    #[test]
    fn checklist_48_what_is_shown_is_escaped_and_bounded() {
        let shown = redacted(&["a\nb\u{1b}".into(), "x".repeat(1 << 20).into()]);
        assert_eq!(shown.first().map(String::as_str), Some("a\\nb\\u{1b}"));
        assert!(shown.iter().all(|word| word.len() < 2048));
        assert!(redacted(&vec![OsString::from("x"); 10_000]).len() < 300);
    }
}
