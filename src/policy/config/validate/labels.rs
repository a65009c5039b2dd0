//! Kubernetes labels, as apimachinery's `IsQualifiedName` and `IsValidLabelValue` have them.

use crate::policy::names::{is_dns_label, is_word};

/// Checks a label that an administrator gives a namespace.
///
/// # Errors
/// The rule that it breaks, and what to do.
pub(super) fn check(key: &str, value: &str) -> Result<(), (&'static str, &'static str)> {
    let prefix = key.split_once('/').map(|(prefix, _)| prefix);
    if !is_key(key) {
        return Err((
            "is no label's key: [PREFIX/]NAME, a DNS name and 1 to 63 of [A-Za-z0-9._-]",
            "correct the key",
        ));
    }
    match prefix {
        Some("spark-submit-as") => {
            return Err(("the prefix spark-submit-as/ is this program's own", "rename it"));
        }
        Some("pod-security.kubernetes.io") => {
            return Err(("Pod Security has a key of its own here", "use `pod_security`"));
        }
        Some("kubernetes.io") => {
            return Err(("the API server sets labels of kubernetes.io/ itself", "remove it"));
        }
        _ => {}
    }
    if value.is_empty() || is_part(value) {
        Ok(())
    } else {
        let rule = "a label's value must be at most 63 of [A-Za-z0-9._-], a letter or digit at both ends";
        Err((rule, "correct the value"))
    }
}

/// Whether a text is a qualified name: `[PREFIX/]NAME`.
pub(super) fn is_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_part(name),
        None => is_part(text),
    }
}

fn is_part(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    is_word(text, 63) && edge(text.bytes().next()) && edge(text.bytes().next_back())
}

/// Whether a text is a DNS name, as most objects of Kubernetes have one.
pub(super) fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}
