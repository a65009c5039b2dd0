//! Names that only a checking constructor makes.

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// Why a string is not the name it should be. The string itself is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: {rule}")]
pub struct NameError {
    /// What it should have been.
    pub what: &'static str,
    /// The rule that it breaks.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and takes over a name.
            ///
            /// # Errors
            /// [`NameError`] with the rule that the text breaks.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                $check(&text)?;
                Ok(Self(text))
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> { Self::new(text) }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String { name.0 }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    };
}

name! {
    /// A UNIX account's name: 1 to 32 bytes of `[A-Za-z0-9_.-]` with an optional closing `$` refused, not
    /// starting with `-` or `.`, not a number (useradd(8), CVE-2019-14287).
    UserName, user_name
}
name! {
    /// What the platform calls a person: 1 to 256 printable ASCII characters of `[A-Za-z0-9@.+_-]`, not starting
    /// with `-`.
    Login, login
}
name! {
    /// A Kubernetes namespace: an RFC 1123 label of 1 to 63 bytes that is not one of the cluster's own [61].
    NamespaceName, namespace_name
}
name! {
    /// A job: 16 characters of `[a-z2-7]` (80 random bits in RFC 4648 base32).
    JobId, job_id
}

fn user_name(text: &str) -> Result<(), NameError> {
    let no = |rule| Err(NameError { what: "UNIX account name", rule });
    if text.is_empty() || text.len() > 32 {
        return no("it must have 1 to 32 bytes");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b)) {
        return no("only letters, digits, '_', '.' and '-' may be used");
    }
    if text.starts_with(['-', '.']) {
        return no("it must not start with '-' or '.'");
    }
    if looks_like_a_number(text) {
        return no("a number is not a name");
    }
    Ok(())
}

/// Decimal and hexadecimal numbers, which some tools take for a uid (CVE-2019-14287).
fn looks_like_a_number(text: &str) -> bool {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    text.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn login(text: &str) -> Result<(), NameError> {
    let no = |rule| Err(NameError { what: "login", rule });
    if text.is_empty() || text.len() > 256 {
        return no("it must have 1 to 256 bytes");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"@.+_-".contains(&b)) {
        return no("only letters, digits, '@', '.', '+', '_' and '-' may be used");
    }
    if text.starts_with(['-', '.', '+']) {
        return no("it must not start with '-', '.' or '+'");
    }
    if looks_like_a_number(text) {
        return no("a number is not a name");
    }
    Ok(())
}

/// Whether `text` is an RFC 1123 label.
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

fn namespace_name(text: &str) -> Result<(), NameError> {
    let no = |rule| Err(NameError { what: "namespace", rule });
    if !is_dns_label(text) {
        return no("it must be 1 to 63 of [a-z0-9-], with a letter or digit at both ends");
    }
    if text == "default" || text.starts_with("kube-") {
        return no("'default' and 'kube-*' belong to the cluster");
    }
    Ok(())
}

fn job_id(text: &str) -> Result<(), NameError> {
    if text.len() == 16 && text.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)) {
        Ok(())
    } else {
        Err(NameError { what: "job id", rule: "it must be 16 of [a-z2-7]" })
    }
}

impl JobId {
    /// A job id from 80 random bits.
    #[must_use]
    pub fn from_random(bits: [u8; 10]) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let number = bits.iter().fold(0_u128, |all, byte| (all << 8) | u128::from(*byte));
        let symbol = |i: u32| {
            let index = usize::try_from((number >> (5 * i)) & 31).unwrap_or(0);
            char::from(ALPHABET.get(index).copied().unwrap_or(b'a'))
        };
        Self((0..16).rev().map(symbol).collect())
    }

    /// Name of the job's ServiceAccount, RoleBinding and Secret.
    #[must_use]
    pub fn object_name(&self) -> String {
        format!("ssa-job-{}", self.0)
    }

    /// Prefix of the job's executor pods (Spark adds `-exec-N`).
    #[must_use]
    pub fn pod_prefix(&self) -> String {
        format!("spark-{}", self.0)
    }
}

/// Whether `text` may be the name of an admin property.
#[must_use]
pub fn is_property_name(text: &str) -> bool {
    is_word(text, 64)
}

/// Whether `text` may be a project's key: 1 to 100 of `[A-Za-z0-9_.-]`.
#[must_use]
pub fn is_project_key(text: &str) -> bool {
    is_word(text, 100)
}

/// Whether `text` is 1 to `longest` of `[A-Za-z0-9_.-]`.
#[must_use]
pub fn is_word(text: &str, longest: usize) -> bool {
    !text.is_empty()
        && text.len() <= longest
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}
