//! A Java properties file (java.util.Properties): what Spark reads with `--properties-file`.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::error::ArgumentError;

/// Largest file in bytes.
const MAX: usize = 4 << 20;

/// The administrator's spark-defaults.conf, then the profile's defaults, then the request's settings: of two lines with
/// one key the last counts. None when there is nothing to write, so that Spark finds its own file.
///
/// # Errors
/// [`ArgumentError`] when the file would be too large.
pub fn merge(
    spark_defaults: Option<&[u8]>,
    defaults: &BTreeMap<String, String>,
    conf: &BTreeMap<String, String>,
) -> Result<Option<Vec<u8>>, ArgumentError> {
    if defaults.is_empty() && conf.is_empty() {
        return Ok(None);
    }
    let mut text = spark_defaults.unwrap_or_default().to_vec();
    // An empty line ends whatever the last line was: a backslash at its end would join ours to it.
    text.extend_from_slice(b"\n\n");
    for (key, value) in defaults.iter().chain(conf) {
        text.extend_from_slice(line(key, value).as_bytes());
    }
    if text.len() > MAX {
        return Err(ArgumentError::new("the settings", format!("they have more than {MAX} bytes together")));
    }
    Ok(Some(text))
}

fn line(key: &str, value: &str) -> String {
    format!("{}={}\n", escaped(key, true), escaped(value, false))
}

fn escaped(text: &str, key: bool) -> String {
    let mut out = String::new();
    for (index, character) in text.chars().enumerate() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            ' ' if key || index == 0 => out.push_str("\\ "),
            '=' | ':' | '#' | '!' if key || index == 0 => {
                out.push('\\');
                out.push(character);
            }
            ' '..='~' => out.push(character),
            // UTF-16, as Java has it.
            _ => {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04X}");
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped_as_java_reads_them() {
        assert_eq!(line("a b:c=d", " x=y #z"), "a\\ b\\:c\\=d=\\ x=y #z\n");
        assert_eq!(line("k", "a\\b\nc\td"), "k=a\\\\b\\nc\\td\n");
        assert_eq!(line("k", "é😀"), "k=\\u00E9\\uD83D\\uDE00\n");
        assert_eq!(line("k", "#no comment"), "k=\\#no comment\n");
    }

    #[test]
    fn later_lines_win_and_a_trailing_backslash_joins_nothing() {
        let map = |value: &str| BTreeMap::from([("spark.x".to_owned(), value.to_owned())]);
        let text =
            merge(Some(b"spark.y one\\"), &map("default"), &map("request")).expect("fits").expect("some");
        assert_eq!(String::from_utf8_lossy(&text), "spark.y one\\\n\nspark.x=default\nspark.x=request\n");
        assert_eq!(merge(Some(b"spark.y one"), &BTreeMap::new(), &BTreeMap::new()), Ok(None));
        assert!(merge(None, &map(&"x".repeat(MAX)), &BTreeMap::new()).is_err());
    }
}
