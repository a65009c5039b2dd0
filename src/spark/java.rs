//! Java options of the driver: `-D` sets system properties, which Spark reads as settings (`SparkConf` loads
//! every `spark.*` property) and fabric8 reads before the environment and the kubeconfig (`Config`:
//! `kubeconfig`, `kubernetes.master`, `kubernetes.auth.token` …).

use super::error::ArgumentError;
use super::keys::{self, Origin};
use crate::policy::names::NamespaceName;

/// Settings that hold Java options of the driver.
pub const KEYS: &[&str] = &["spark.driver.extraJavaOptions", "spark.driver.defaultJavaOptions"];

/// Checks the properties that Java options set. Quotes and backslashes, which the launcher removes
/// (`CommandBuilderUtils.parseOptionString`), hide nothing.
///
/// # Errors
/// [`ArgumentError::Key`] for the first property that is refused.
pub fn check(options: &[u8], given: &str, namespace: &NamespaceName) -> Result<(), ArgumentError> {
    let plain: Vec<u8> =
        options.iter().copied().filter(|byte| !matches!(byte, b'"' | b'\'' | b'\\' | b'\r')).collect();
    for word in plain.split(u8::is_ascii_whitespace) {
        let Some(property) = word.strip_prefix(b"-D") else { continue };
        let at = property.iter().position(|byte| *byte == b'=').unwrap_or(property.len());
        let (key, value) = property.split_at_checked(at).unwrap_or((property, b""));
        let value = value.strip_prefix(b"=").unwrap_or_default();
        let given = format!("as -D in {given}");
        if key.starts_with(b"spark.") {
            keys::check(key, Some(value), Origin::CommandLine, Some(namespace), &given)?;
        }
        if key == b"kubeconfig" || key.starts_with(b"kubernetes.") {
            return Err(ArgumentError::Key {
                key: super::redact::escaped(key),
                spelling: given,
                rule: "it would replace the job's own credential or cluster",
                advice: "leave it out",
            });
        }
    }
    Ok(())
}
