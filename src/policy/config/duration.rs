//! Spans of time in the configuration: `30s`, `10m`, `1h`, `1d`.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// `format` of such a string in the JSON schema.
pub const FORMAT: &str = "span";
/// What is taken, in words.
pub const RULE: &str = "must be a whole number with a unit (s, m, h or d), from 1s to 7d";

/// The units with their seconds, the largest first.
const UNITS: &[(char, u64)] = &[('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];
const LONGEST: u64 = 7 * 86_400;

/// Reads a span; none when it is not one, or out of bounds.
#[must_use]
pub fn read(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let (_, factor) = UNITS.iter().find(|(letter, _)| *letter == unit)?;
    let digits = text.strip_suffix(unit)?;
    // parse() takes a leading `+` and zeros.
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = digits.parse::<u64>().ok()?.checked_mul(*factor)?;
    (1..=LONGEST).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// Writes a span in the largest unit that holds it exactly.
#[must_use]
pub fn write(span: Duration) -> String {
    let seconds = span.as_secs();
    let exact = UNITS.iter().find(|(_, factor)| seconds > 0 && seconds.is_multiple_of(*factor));
    exact.map_or_else(|| format!("{seconds}s"), |(letter, factor)| format!("{}{letter}", seconds / factor))
}

/// For serde's `with`.
///
/// # Errors
/// The serializer's own.
pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&write(*span))
}

/// For serde's `with`.
///
/// # Errors
/// When the text is not a span.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    read(&String::deserialize(deserializer)?).ok_or_else(|| D::Error::custom(RULE))
}

/// For serde's `with`, of a span that may be absent or null.
pub mod optional {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(span: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => super::serialize(span, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// # Errors
    /// When the text is not a span.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        match Option::<String>::deserialize(deserializer)? {
            Some(text) => super::read(&text).map(Some).ok_or_else(|| D::Error::custom(super::RULE)),
            None => Ok(None),
        }
    }
}
