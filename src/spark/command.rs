//! The words that Spark is run with.

use std::ffi::OsString;
use std::path::PathBuf;

use super::keys::{ENFORCED, Value};
use super::ports::DriverPorts;
use super::words::Parsed;
use crate::policy::config;
use crate::policy::names::{JobId, NamespaceName};
use crate::protocol::AUTH_SECRET_KEY;

/// Settings that everybody may change: the administrator, the platform and the user.
pub const DEFAULTS: &[(&str, &str)] = &[
    // The UI listens on all interfaces, without a password.
    ("spark.ui.enabled", "false"),
    // Where it is switched on: a free port, since each driver's ports have few retries ([`super::ports`]).
    ("spark.ui.port", "0"),
];

/// What is known of a job once the cluster is ready for it.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// The job.
    pub job: JobId,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// `https://host:port` of the API server.
    pub server: String,
    /// Address that executors reach the driver at.
    pub driver_host: String,
    /// The ports reserved for this driver; any when absent.
    pub driver_ports: Option<DriverPorts>,
    /// The executors' pod template, a file that the end-user can read.
    pub pod_template: PathBuf,
    /// The driver's copy of the RPC secret, a file that only the end-user can read.
    pub auth_secret_file: Option<PathBuf>,
    /// The properties file ([`super::merge`]), which only the end-user can read.
    pub properties_file: Option<PathBuf>,
}

/// Settings with an option of their own, which beats `--conf` wherever it stands
/// (`SparkSubmit.prepareSubmitEnvironment`, `OptionAssigner`).
pub const FLAGS: &[(&str, &str)] = &[
    ("spark.app.name", "--name"),
    ("spark.executor.memory", "--executor-memory"),
    ("spark.executor.cores", "--executor-cores"),
    ("spark.executor.instances", "--num-executors"),
    ("spark.cores.max", "--total-executor-cores"),
    ("spark.driver.memory", "--driver-memory"),
    ("spark.driver.cores", "--driver-cores"),
    ("spark.driver.extraClassPath", "--driver-class-path"),
    ("spark.driver.extraJavaOptions", "--driver-java-options"),
    ("spark.driver.extraLibraryPath", "--driver-library-path"),
    ("spark.jars", "--jars"),
    ("spark.files", "--files"),
    ("spark.archives", "--archives"),
    ("spark.submit.pyFiles", "--py-files"),
    ("spark.jars.packages", "--packages"),
    ("spark.jars.excludes", "--exclude-packages"),
    ("spark.jars.repositories", "--repositories"),
    ("spark.kerberos.principal", "--principal"),
    ("spark.kerberos.keytab", "--keytab"),
];

/// The words after the program's name: properties file, the user's options, the profile's enforced settings,
/// the wrapper's own, the application and its arguments.
///
/// Enforced settings come last because the last `--conf` of a key and the last of an option win; a shell reads
/// options at the very end, too.
#[must_use]
pub fn command_line(parsed: &Parsed, facts: &JobFacts, spark: &config::Spark) -> Vec<OsString> {
    if parsed.is_own() {
        return parsed.words().to_vec();
    }
    let mut line = Vec::with_capacity(parsed.words().len() + 64);
    match &facts.properties_file {
        Some(file) => option(&mut line, "--properties-file", file.as_os_str()),
        None => DEFAULTS.iter().for_each(|(key, value)| setting(&mut line, key, value.as_ref())),
    }
    let (options, application) =
        parsed.words().split_at_checked(parsed.insertion_point()).unwrap_or((parsed.words(), &[]));
    line.extend_from_slice(options);
    for (key, value) in &spark.enforced {
        setting(&mut line, key, value.as_ref());
        if let Some((_, name)) = FLAGS.iter().find(|(flagged, _)| flagged == key) {
            option(&mut line, name, value.as_ref());
        }
    }
    for (key, value) in enforced(facts) {
        let stronger = |value: Value| matches!(value, Value::AtLeast(_)) && spark.enforced.contains_key(key);
        if !ENFORCED.iter().any(|enforced| enforced.key == key && stronger(enforced.value)) {
            setting(&mut line, key, &value);
        }
    }
    for (key, value) in facts.driver_ports.into_iter().flat_map(DriverPorts::settings) {
        setting(&mut line, key, &value);
    }
    option(&mut line, "--master", format!("k8s://{}", facts.server).as_ref());
    option(&mut line, "--deploy-mode", "client".as_ref());
    line.extend_from_slice(application);
    line
}

/// The wrapper's own settings for a job, in their order.
#[must_use]
pub fn enforced(facts: &JobFacts) -> Vec<(&'static str, OsString)> {
    ENFORCED.iter().filter_map(|enforced| Some((enforced.key, resolve(enforced.value, facts)?))).collect()
}

fn resolve(value: Value, facts: &JobFacts) -> Option<OsString> {
    Some(match value {
        Value::Fixed(text) => text.into(),
        Value::AtLeast(number) => number.to_string().into(),
        Value::Namespace => facts.namespace.as_str().into(),
        Value::Job => facts.job.as_str().into(),
        Value::PodPrefix => facts.job.pod_prefix().into(),
        Value::PodTemplate => facts.pod_template.clone().into(),
        Value::DriverHost => facts.driver_host.clone().into(),
        Value::AuthSecretFile => facts.auth_secret_file.clone()?.into(),
        Value::AuthSecretElsewhere => facts.auth_secret_file.as_ref().map(|_| "/dev/null".into())?,
        Value::AuthSecretRef => {
            facts.auth_secret_file.as_ref()?;
            format!("{}:{AUTH_SECRET_KEY}", facts.job.object_name()).into()
        }
    })
}

fn option(line: &mut Vec<OsString>, name: &str, value: &std::ffi::OsStr) {
    line.push(name.into());
    line.push(value.into());
}

fn setting(line: &mut Vec<OsString>, key: &str, value: &std::ffi::OsStr) {
    let mut word = OsString::from(key);
    word.push("=");
    word.push(value);
    option(line, "--conf", &word);
}
