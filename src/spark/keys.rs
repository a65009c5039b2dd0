//! Which settings belong to the wrapper: one table for every spelling and every origin.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::error::ArgumentError;
use super::options::Given;

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The Spark arguments.
    User,
    /// The request's `conf`.
    Request,
    /// The profile's `defaults` or `enforced`.
    Profile,
}

/// Who may set a key of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Nobody but the wrapper.
    Wrapper,
    /// Root's profile, not the user.
    Administrator,
    /// Anybody, but only with this value.
    Only(&'static str),
}

/// Keys, or with a `*` at the end their beginnings, and why they are not the user's. The first that matches counts.
const TABLE: &[(&str, Rule, &str)] = &[
    ("spark.master", Rule::Wrapper, "the profile names the cluster"),
    ("spark.submit.deployMode", Rule::Only("client"), "the driver runs here, in client mode"),
    ("spark.remote", Rule::Wrapper, "Spark Connect would go past the profile's cluster"),
    ("spark.api.mode", Rule::Only("classic"), "Spark Connect would go past the profile's cluster"),
    ("spark.connect.*", Rule::Wrapper, "Spark Connect would go past the profile's cluster"),
    ("spark.local.connect", Rule::Wrapper, "Spark Connect would go past the profile's cluster"),
    ("spark.app.id", Rule::Wrapper, "it is the job's id"),
    ("spark.kubernetes.namespace", Rule::Wrapper, "the profile decides the namespace"),
    ("spark.kubernetes.context", Rule::Wrapper, "the job's kubeconfig has one context"),
    ("spark.kubernetes.authenticate.*", Rule::Wrapper, "credentials and accounts are made for the job"),
    ("spark.kubernetes.driver.master", Rule::Wrapper, "the profile names the cluster"),
    ("spark.kubernetes.submitInDriver", Rule::Wrapper, "it is Spark's own, for cluster mode"),
    (
        "spark.kubernetes.trust.certificates",
        Rule::Only("false"),
        "it would switch the check of certificates off",
    ),
    ("spark.kubernetes.driver.pod.name", Rule::Wrapper, "a driver in client mode has no pod"),
    ("spark.kubernetes.driver.podTemplate*", Rule::Wrapper, "a driver in client mode has no pod"),
    ("spark.kubernetes.executor.podTemplate*", Rule::Wrapper, "the wrapper's template owns the executors"),
    ("spark.kubernetes.executor.podNamePrefix", Rule::Wrapper, "it is made from the job's id"),
    ("spark.kubernetes.executor.label.spark-submit-as/*", Rule::Wrapper, "this label is the job's mark"),
    (
        "spark.kubernetes.executor.annotation.spark-submit-as/*",
        Rule::Wrapper,
        "these annotations are the wrapper's",
    ),
    (
        "spark.kubernetes.executor.secretKeyRef._SPARK_AUTH_SECRET",
        Rule::Wrapper,
        "it is the job's RPC secret",
    ),
    ("spark.kubernetes.executor.useDriverPodIP", Rule::Only("false"), "a driver in client mode has no pod"),
    (
        "spark.kubernetes.executor.disableConfigMap",
        Rule::Only("true"),
        "the job's role has no right to config maps",
    ),
    (
        "spark.kubernetes.driver.service.deleteOnTermination",
        Rule::Only("false"),
        "the job's role has no right to services",
    ),
    (
        "spark.kubernetes.driver.ownPersistentVolumeClaim",
        Rule::Only("false"),
        "the job's role has no right to claims",
    ),
    ("spark.authenticate", Rule::Only("true"), "executors must prove that they belong to the job"),
    ("spark.authenticate.*", Rule::Wrapper, "the RPC secret is made for the job"),
    ("spark.network.crypto.enabled", Rule::Only("true"), "traffic between driver and executors is encrypted"),
    (
        "spark.network.crypto.saslFallback",
        Rule::Only("false"),
        "it would let traffic fall back to a weaker form",
    ),
    ("spark.network.crypto.authEngineVersion", Rule::Only("2"), "version 1 of the key exchange is weaker"),
    ("spark.io.encryption.enabled", Rule::Only("true"), "what Spark writes to disks is encrypted"),
    ("spark.driver.host", Rule::Administrator, "the profile decides the address that executors reach"),
];

/// Options that are refused, and why.
const OPTIONS: &[(&str, &str)] = &[
    ("--master", "the profile names the cluster; leave it out"),
    ("--proxy-user", "the job already runs as the end-user (CVE-2023-22946); name the user with --user"),
    ("--kill", "it acts on other jobs' drivers, which cluster mode alone has"),
    ("--status", "it asks for other jobs' drivers, which cluster mode alone has"),
    ("--remote", "Spark Connect would go past the profile's cluster"),
    ("--supervise", "it restarts drivers, which cluster mode alone has"),
    ("--properties-file", "its settings could not be looked at; use --conf, or the request's conf"),
    ("--extra-properties-file", "its settings could not be looked at; use --conf, or the request's conf"),
];

/// Settings that hold Java options, in which another setting could hide.
const JAVA_OPTIONS: &[&str] = &[
    "spark.driver.extraJavaOptions",
    "spark.driver.defaultJavaOptions",
    "spark.executor.extraJavaOptions",
    "spark.executor.defaultJavaOptions",
];

fn matches(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => key.starts_with(beginning),
        None => key == pattern,
    }
}

/// Whether a key may come from there, whatever its value.
///
/// # Errors
/// [`ArgumentError`] naming the key.
pub fn check_key(key: &str, origin: Origin) -> Result<(), ArgumentError> {
    if key.is_empty() || key.len() > 256 || key.trim() != key || key.chars().any(char::is_control) {
        return Err(ArgumentError::new(format!("the key '{key}'"), "keys have 1 to 256 visible characters"));
    }
    match TABLE.iter().find(|(pattern, _, _)| matches(pattern, key)) {
        Some((_, rule, why))
            if *rule == Rule::Wrapper || (*rule == Rule::Administrator && origin != Origin::Profile) =>
        {
            Err(ArgumentError::new(key, *why))
        }
        _ => Ok(()),
    }
}

/// Whether a setting may come from there.
///
/// # Errors
/// [`ArgumentError`] naming the key, never the value.
pub fn check_setting(key: &str, value: &[u8], origin: Origin) -> Result<(), ArgumentError> {
    check_key(key, origin)?;
    if let Some((_, Rule::Only(only), why)) = TABLE.iter().find(|(pattern, _, _)| matches(pattern, key)) {
        // An administrator may weaken what is the wrapper's default, not what it enforces; so nobody may here.
        if !value.eq_ignore_ascii_case(only.as_bytes()) {
            return Err(ArgumentError::new(key, format!("{why}; only the value {only} is accepted")));
        }
    }
    if JAVA_OPTIONS.contains(&key) {
        check_java_options(key, value)?;
    }
    Ok(())
}

/// System properties are one more spelling of settings, Spark's and fabric8's own.
fn check_java_options(what: &str, value: &[u8]) -> Result<(), ArgumentError> {
    let text = String::from_utf8_lossy(value);
    let smuggles = ["-Dspark.", "-Dkubernetes.", "-Dkubeconfig", "-Dhttp.proxy", "-Dhttps.proxy"];
    match smuggles.iter().find(|beginning| text.contains(**beginning)) {
        Some(found) => Err(ArgumentError::new(
            format!("{found}… in {what}"),
            "a setting cannot be given as a system property",
        )),
        None => Ok(()),
    }
}

/// Checks one option.
///
/// # Errors
/// [`ArgumentError`].
pub fn check_option(option: &Given) -> Result<(), ArgumentError> {
    if let Some((name, why)) = OPTIONS.iter().find(|(name, _)| *name == option.name) {
        return Err(ArgumentError::new(*name, *why));
    }
    let value = option.value.as_deref().unwrap_or(OsStr::new("")).as_bytes();
    match option.name {
        "--conf" | "-c" => {
            let equals = value.iter().position(|byte| *byte == b'=');
            let equals =
                equals.ok_or_else(|| ArgumentError::new(option.name, "it must be followed by KEY=VALUE"))?;
            let (key, value) =
                (value.get(..equals).unwrap_or_default(), value.get(equals + 1..).unwrap_or_default());
            let key = std::str::from_utf8(key)
                .map_err(|_| ArgumentError::new(option.name, "its key is not UTF-8"))?;
            check_setting(key, value, Origin::User).map_err(|error| {
                ArgumentError::new(format!("{} {}", option.name, error.what()), error.rule())
            })
        }
        "--deploy-mode" if value != b"client" => {
            Err(ArgumentError::new(option.name, "the driver runs here, in client mode; leave it out"))
        }
        "--driver-java-options" => check_java_options(option.name, value),
        _ => Ok(()),
    }
}
