//! Keys and options that are refused, and the settings that the wrapper enforces: one table each.
//!
//! Names are compared as Spark compares them: letter for letter. Spark trims no key of `--conf`
//! (`SparkSubmitUtils.parseSparkConfProperty`), so one with blanks would be another key for it; such keys are
//! refused, because `bin/spark-class` removes carriage returns after the first reading.

use std::collections::BTreeMap;

use super::error::ArgumentError;
use super::java;
use super::options::Spec;
use super::redact::escaped;
use super::words::Parsed;
use crate::policy::config;
use crate::policy::names::NamespaceName;

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `--conf` or `-c` of the user.
    CommandLine,
    /// `conf` of a request file.
    Request,
    /// The profile's `spark.defaults`.
    ProfileDefault,
    /// The profile's `spark.enforced`.
    ProfileEnforced,
    /// The administrator's `spark-defaults.conf`.
    SparkDefaults,
}

impl Origin {
    fn words(self) -> &'static str {
        match self {
            Origin::CommandLine => "on the command line",
            Origin::Request => "in the request's conf",
            Origin::ProfileDefault => "in the profile's spark.defaults",
            Origin::ProfileEnforced => "in the profile's spark.enforced",
            Origin::SparkDefaults => "in spark-defaults.conf",
        }
    }

    fn is_administrator(self) -> bool {
        !matches!(self, Origin::CommandLine | Origin::Request)
    }
}

/// A rule on a key.
#[derive(Debug)]
pub struct Refused {
    /// The key, or what it starts with when it ends in `.`, `/` or `*`.
    pub key: &'static str,
    /// A value that changes nothing and is let through.
    pub harmless: Option<&'static str>,
    /// What the wrapper sets beats it wherever it comes from, so that an administrator's `spark-defaults.conf`,
    /// which other clusters share, may hold it.
    pub beaten: bool,
    /// Which rule.
    pub rule: &'static str,
    /// What to do.
    pub advice: &'static str,
}

const LEAVE_OUT: &str = "leave it out";
const ONE_CLUSTER: &str = "the profile says which cluster the job runs on";
const OTHER_PROFILE: &str = "leave it out, or choose the profile of that cluster";
const OWN_CREDENTIAL: &str = "the job gets a credential and accounts of its own, which it must not replace";
const CLIENT_MODE: &str = "the driver runs on this host as the end-user (client mode)";
const CONNECT: &str = "Spark Connect would bypass the cluster and the account of this job";
const OWN_LABELS: &str = "labels and annotations of spark-submit-as/ tell whose pod it is";
const OWN_SECRET: &str = "the secret between driver and executors is made for this job";
const OWN_PODS: &str = "the executors' pods are tied to the job by the wrapper's own template";

const fn refused(key: &'static str, rule: &'static str, advice: &'static str) -> Refused {
    Refused { key, harmless: None, beaten: false, rule, advice }
}
const fn beaten(refused: Refused) -> Refused {
    Refused { beaten: true, ..refused }
}
const fn unless(value: &'static str, refused: Refused) -> Refused {
    Refused { harmless: Some(value), ..refused }
}

/// Keys that nobody sets. No release from 3.4 to 4.3 has an alternative or deprecated name for one of them
/// (`ConfigEntry.alternatives`, read from the released classes).
pub const REFUSED: &[Refused] = &[
    beaten(refused("spark.master", ONE_CLUSTER, OTHER_PROFILE)),
    beaten(unless("client", refused("spark.submit.deployMode", CLIENT_MODE, "leave it out, or say client"))),
    refused("spark.remote", CONNECT, LEAVE_OUT),
    unless("classic", refused("spark.api.mode", CONNECT, LEAVE_OUT)),
    refused("spark.kubernetes.context", ONE_CLUSTER, OTHER_PROFILE),
    // SparkKubernetesClientFactory reads these only in a driver pod; a client that is told it is in one takes
    // another master and another credential.
    refused("spark.kubernetes.driver.master", ONE_CLUSTER, OTHER_PROFILE),
    unless("false", refused("spark.kubernetes.submitInDriver", CLIENT_MODE, LEAVE_OUT)),
    // Cluster mode's account; in client mode the executors' enforced one comes first
    // (ExecutorKubernetesCredentialsFeatureStep).
    beaten(refused("spark.kubernetes.authenticate.driver.serviceAccountName", OWN_CREDENTIAL, LEAVE_OUT)),
    // oauthToken, oauthTokenFile, caCertFile, clientKeyFile, clientCertFile, by themselves and under submission,
    // driver, driver.mounted: they beat the kubeconfig, and no token given so is ever renewed.
    refused("spark.kubernetes.authenticate.", OWN_CREDENTIAL, LEAVE_OUT),
    refused("spark.kubernetes.driver.pod.name", OWN_PODS, LEAVE_OUT),
    beaten(refused(
        "spark.kubernetes.driver.podTemplate*",
        CLIENT_MODE,
        "leave it out: there is no driver pod",
    )),
    refused("spark.kubernetes.executor.label.spark-submit-as/", OWN_LABELS, LEAVE_OUT),
    refused("spark.kubernetes.executor.annotation.spark-submit-as/", OWN_LABELS, LEAVE_OUT),
    refused("spark.kubernetes.driver.label.spark-submit-as/", OWN_LABELS, LEAVE_OUT),
    refused("spark.kubernetes.driver.annotation.spark-submit-as/", OWN_LABELS, LEAVE_OUT),
    refused("spark.kubernetes.driver.service.label.spark-submit-as/", OWN_LABELS, LEAVE_OUT),
    refused("spark.authenticate.secret", OWN_SECRET, LEAVE_OUT),
    refused("spark.authenticate.secret.file", OWN_SECRET, LEAVE_OUT),
    refused("spark.executorEnv._SPARK_AUTH_SECRET", OWN_SECRET, LEAVE_OUT),
];

/// What an enforced key is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// This text.
    Fixed(&'static str),
    /// This number; an administrator may set a larger one.
    AtLeast(u32),
    /// The job's namespace.
    Namespace,
    /// The job's id.
    Job,
    /// The prefix of the job's pods.
    PodPrefix,
    /// Path of the executors' pod template.
    PodTemplate,
    /// Address of the driver.
    DriverHost,
    /// Path of the driver's copy of the RPC secret. Set only where there is one, as the two below.
    AuthSecretFile,
    /// Anything: Spark then keeps the secret out of the pod's specification.
    AuthSecretElsewhere,
    /// Name and key of the Secret that executors take the RPC secret from.
    AuthSecretRef,
}

/// A setting that the wrapper makes after everybody else's.
#[derive(Debug)]
pub struct Enforced {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// Why it is ours.
    pub rule: &'static str,
}

const fn enforced(key: &'static str, value: Value, rule: &'static str) -> Enforced {
    Enforced { key, value, rule }
}

const FEW_RIGHTS: &str = "the job's role lets it touch pods only";
const ENCRYPTED: &str = "driver and executors authenticate each other and encrypt what they send";

/// The container of the pod template that Spark's executor runs in.
pub const EXECUTOR_CONTAINER: &str = "executor";

/// Every enforced setting, in the order of the command line. Tried as a whole on Spark 3.4.4 to 4.3.0.
pub const ENFORCED: &[Enforced] = &[
    enforced(
        "spark.kubernetes.namespace",
        Value::Namespace,
        "the profile says which namespace the job runs in",
    ),
    // KubernetesClusterSchedulerBackend takes it for the label spark-app-selector in client mode.
    enforced("spark.app.id", Value::Job, "the job's pods carry the job's id"),
    enforced(
        "spark.kubernetes.executor.podNamePrefix",
        Value::PodPrefix,
        "the job's pods carry the job's id",
    ),
    enforced("spark.kubernetes.executor.label.spark-submit-as/job", Value::Job, OWN_LABELS),
    enforced(
        "spark.kubernetes.authenticate.executor.serviceAccountName",
        Value::Fixed(crate::protocol::EXECUTOR_ACCOUNT),
        OWN_CREDENTIAL,
    ),
    enforced("spark.kubernetes.executor.podTemplateFile", Value::PodTemplate, OWN_PODS),
    enforced(
        "spark.kubernetes.executor.podTemplateContainerName",
        Value::Fixed(EXECUTOR_CONTAINER),
        OWN_PODS,
    ),
    enforced(
        "spark.kubernetes.trust.certificates",
        Value::Fixed("false"),
        "the cluster's certificate is checked",
    ),
    enforced(
        "spark.driver.host",
        Value::DriverHost,
        "the profile's driver_host, or this host's address towards the cluster, is what executors reach",
    ),
    // True by default in 4.3: executors would be sent to spark.driver.bindAddress (SPARK-58748).
    enforced("spark.kubernetes.executor.useDriverPodIP", Value::Fixed("false"), CLIENT_MODE),
    enforced("spark.kubernetes.executor.disableConfigMap", Value::Fixed("true"), FEW_RIGHTS),
    enforced("spark.kubernetes.driver.service.deleteOnTermination", Value::Fixed("false"), FEW_RIGHTS),
    enforced("spark.kubernetes.driver.ownPersistentVolumeClaim", Value::Fixed("false"), FEW_RIGHTS),
    enforced("spark.authenticate", Value::Fixed("true"), ENCRYPTED),
    enforced("spark.network.crypto.enabled", Value::Fixed("true"), ENCRYPTED),
    enforced("spark.network.crypto.saslFallback", Value::Fixed("false"), ENCRYPTED),
    enforced("spark.network.crypto.authEngineVersion", Value::AtLeast(2), ENCRYPTED),
    enforced("spark.io.encryption.enabled", Value::Fixed("true"), ENCRYPTED),
    enforced("spark.authenticate.secret.driver.file", Value::AuthSecretFile, OWN_SECRET),
    enforced("spark.authenticate.secret.executor.file", Value::AuthSecretElsewhere, OWN_SECRET),
    enforced("spark.kubernetes.executor.secretKeyRef._SPARK_AUTH_SECRET", Value::AuthSecretRef, OWN_SECRET),
];

/// A rule on an option.
struct RefusedOption {
    name: &'static str,
    rule: &'static str,
    advice: &'static str,
}

const CONTENT_UNREAD: &str = "a properties file could set any key, and nobody reads it before Spark does";
const AS_CONF: &str = "give its settings with --conf";
const OTHER_ACTION: &str = "a run starts one application and does nothing else";

const REFUSED_OPTIONS: &[RefusedOption] = &[
    RefusedOption { name: "--master", rule: ONE_CLUSTER, advice: OTHER_PROFILE },
    RefusedOption { name: "--remote", rule: CONNECT, advice: LEAVE_OUT },
    RefusedOption { name: "--properties-file", rule: CONTENT_UNREAD, advice: AS_CONF },
    RefusedOption { name: "--extra-properties-file", rule: CONTENT_UNREAD, advice: AS_CONF },
    // CVE-2023-22946: code of the proxied user runs with the submitter's rights.
    RefusedOption {
        name: "--proxy-user",
        rule: "the job already runs as the end-user's own account",
        advice: "say who it runs as with --user, before '--'",
    },
    RefusedOption { name: "--kill", rule: OTHER_ACTION, advice: "end a job by ending the call that runs it" },
    RefusedOption { name: "--status", rule: OTHER_ACTION, advice: LEAVE_OUT },
    RefusedOption { name: "--supervise", rule: "it restarts drivers of cluster mode", advice: LEAVE_OUT },
];

/// Main classes that start Spark Connect (`SparkSubmitCommandBuilder.specialClasses`).
const CONNECT_CLASSES: &[&[u8]] = &[
    b"org.apache.spark.sql.connect.service.SparkConnectServer",
    b"org.apache.spark.sql.application.ConnectRepl",
];

/// Checks the user's words: options, keys, and the system properties in Java options.
///
/// # Errors
/// [`ArgumentError`] for the first that is refused.
pub fn check_arguments(parsed: &Parsed, namespace: &NamespaceName) -> Result<(), ArgumentError> {
    for option in parsed.options() {
        let value = parsed.value(option).unwrap_or_default();
        check_option(option.spec, value, &parsed.spelling(option))?;
        if option.spec.name == "--driver-java-options" {
            java::check(value, &parsed.spelling(option), namespace)?;
        }
    }
    for (option, key, value) in parsed.settings() {
        let given = format!("given with {}", parsed.spelling(option));
        check(key, Some(value), Origin::CommandLine, Some(namespace), &given)?;
        if java::KEYS.iter().any(|java_options| java_options.as_bytes() == key) {
            java::check(value, &format!("{} {}", parsed.spelling(option), escaped(key)), namespace)?;
        }
    }
    Ok(())
}

fn check_option(spec: &Spec, value: &[u8], spelling: &str) -> Result<(), ArgumentError> {
    let refused = |rule, advice| Err(ArgumentError::Option { option: spelling.to_owned(), rule, advice });
    if let Some(found) = REFUSED_OPTIONS.iter().find(|refused| refused.name == spec.name) {
        return refused(found.rule, found.advice);
    }
    match spec.name {
        "--deploy-mode" if value != b"client" => refused(CLIENT_MODE, "leave it out, or say client"),
        "--class" if CONNECT_CLASSES.contains(&value) => refused(CONNECT, "name the application's own class"),
        _ => Ok(()),
    }
}

/// Checks a key that may have any value.
///
/// # Errors
/// [`ArgumentError::Key`].
pub fn check_key(key: &str, origin: Origin) -> Result<(), ArgumentError> {
    check(key.as_bytes(), None, origin, None, origin.words())
}

/// Checks a key with its value: one that is what would be enforced anyway is let through.
///
/// # Errors
/// [`ArgumentError::Key`].
pub fn check_pair(
    key: &str,
    value: &str,
    origin: Origin,
    namespace: Option<&NamespaceName>,
) -> Result<(), ArgumentError> {
    check(key.as_bytes(), Some(value.as_bytes()), origin, namespace, origin.words())?;
    match namespace {
        Some(namespace) if !origin.is_administrator() && java::KEYS.contains(&key) => {
            java::check(value.as_bytes(), key, namespace)
        }
        _ => Ok(()),
    }
}

/// Checks a whole map, such as a request's `conf`.
///
/// # Errors
/// [`ArgumentError::Key`] for the first that is refused.
pub fn check_map(
    map: &BTreeMap<String, String>,
    origin: Origin,
    namespace: Option<&NamespaceName>,
) -> Result<(), ArgumentError> {
    map.iter().try_for_each(|(key, value)| check_pair(key, value, origin, namespace))
}

/// Checks a profile's settings, as `config validate` does.
///
/// # Errors
/// [`ArgumentError::Key`] for the first that is refused.
pub fn check_profile(spark: &config::Spark) -> Result<(), ArgumentError> {
    check_map(&spark.defaults, Origin::ProfileDefault, None)?;
    check_map(&spark.enforced, Origin::ProfileEnforced, None)
}

/// The rule for a key, wherever it comes from. `given` tells how, for the message.
pub(super) fn check(
    key: &[u8],
    value: Option<&[u8]>,
    origin: Origin,
    namespace: Option<&NamespaceName>,
    given: &str,
) -> Result<(), ArgumentError> {
    let no = |rule, advice| {
        Err(ArgumentError::Key { key: escaped(key), spelling: given.to_owned(), rule, advice })
    };
    if key.is_empty() {
        return no("a key must not be empty", "write key=value");
    }
    if key.iter().any(|byte| byte.is_ascii_control() || byte.is_ascii_whitespace()) {
        return no("a key must not hold blanks or control characters", "write key=value without blanks");
    }
    if let Some(found) = ENFORCED.iter().find(|enforced| enforced.key.as_bytes() == key) {
        let same = value.is_some_and(|value| is_enforced_value(found.value, value, origin, namespace));
        let advice = "leave it out: it is set for every job";
        return if same || origin == Origin::SparkDefaults { Ok(()) } else { no(found.rule, advice) };
    }
    let matches = |refused: &&Refused| match refused.key.strip_suffix('*') {
        Some(start) => key.starts_with(start.as_bytes()),
        None if refused.key.ends_with(['.', '/']) => key.starts_with(refused.key.as_bytes()),
        None => refused.key.as_bytes() == key,
    };
    let Some(found) = REFUSED.iter().find(matches) else { return Ok(()) };
    let harmless = found.harmless.is_some() && found.harmless.map(str::as_bytes) == value;
    let beaten = found.beaten && origin == Origin::SparkDefaults;
    if harmless || beaten { Ok(()) } else { no(found.rule, found.advice) }
}

/// Whether a value is what the wrapper sets anyway, or stronger.
fn is_enforced_value(
    enforced: Value,
    value: &[u8],
    origin: Origin,
    namespace: Option<&NamespaceName>,
) -> bool {
    match enforced {
        // Booleans in any case (Scala's String.toBoolean).
        Value::Fixed(text @ ("true" | "false")) => value.eq_ignore_ascii_case(text.as_bytes()),
        Value::Fixed(text) => value == text.as_bytes(),
        Value::AtLeast(least) => {
            let number = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u32>().ok());
            number.is_some_and(|number| {
                number == least || (number > least && origin == Origin::ProfileEnforced)
            })
        }
        Value::Namespace => namespace.is_some_and(|namespace| namespace.as_str().as_bytes() == value),
        _ => false,
    }
}
