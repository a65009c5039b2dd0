//! The command line that is executed: the user's words between the defaults and what is enforced.
//!
//! Of two `--conf` of one key the last counts, and a flag such as `--master` beats the key of the same meaning
//! (SparkSubmitArguments), so what is enforced comes last, right before the application, and `--master` and
//! `--deploy-mode` come as flags.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::options::{Given, Parsed};
use super::template::CONTAINER;
use crate::policy::config::{Program, Spark};
use crate::policy::names::{JobId, NamespaceName};
use crate::protocol::{AUTH_SECRET_KEY, EXECUTOR_ACCOUNT, JOB_LABEL};

/// What the wrapper knows of a job.
#[derive(Clone, Debug)]
pub struct JobFacts {
    /// Its id.
    pub job: JobId,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// `https://host:port` of the API server.
    pub server: String,
    /// Address that executors reach the driver at.
    pub driver_host: String,
    /// The executors' pod template.
    pub pod_template: PathBuf,
    /// File with the RPC secret.
    pub auth_secret_file: Option<PathBuf>,
    /// Properties file with defaults and the request's settings.
    pub properties_file: Option<PathBuf>,
}

/// Settings that a user may change and that are not Spark's own default.
const DEFAULTS: &[(&str, &str)] = &[
    // On all interfaces and without a login (org.apache.spark.ui): nothing for a shared host.
    ("spark.ui.enabled", "false"),
    ("spark.ui.showConsoleProgress", "false"),
];

/// What the wrapper enforces; the measured block of a client-mode driver whose role knows pods only.
#[must_use]
pub fn enforced(facts: &JobFacts) -> Vec<(String, OsString)> {
    let text = |key: &str, value: &str| (key.to_owned(), OsString::from(value));
    let job = facts.job.as_str();
    let mut settings = vec![
        text("spark.submit.deployMode", "client"),
        text("spark.kubernetes.namespace", facts.namespace.as_str()),
        text("spark.app.id", job),
        text("spark.driver.host", &facts.driver_host),
        text("spark.kubernetes.executor.podNamePrefix", &facts.job.pod_prefix()),
        text(&format!("spark.kubernetes.executor.label.{JOB_LABEL}"), job),
        text("spark.kubernetes.authenticate.executor.serviceAccountName", EXECUTOR_ACCOUNT),
        ("spark.kubernetes.executor.podTemplateFile".to_owned(), facts.pod_template.clone().into_os_string()),
        text("spark.kubernetes.executor.podTemplateContainerName", CONTAINER),
        text("spark.kubernetes.trust.certificates", "false"),
        // 4.3 asks for the address of a driver pod that client mode does not have (SPARK-58748).
        text("spark.kubernetes.executor.useDriverPodIP", "false"),
        // Each of these three spares a right.
        text("spark.kubernetes.executor.disableConfigMap", "true"),
        text("spark.kubernetes.driver.service.deleteOnTermination", "false"),
        text("spark.kubernetes.driver.ownPersistentVolumeClaim", "false"),
        text("spark.authenticate", "true"),
        text("spark.network.crypto.enabled", "true"),
        text("spark.network.crypto.saslFallback", "false"),
        text("spark.network.crypto.authEngineVersion", "2"),
        text("spark.io.encryption.enabled", "true"),
    ];
    if let Some(file) = &facts.auth_secret_file {
        settings.push(("spark.authenticate.secret.driver.file".to_owned(), file.clone().into_os_string()));
        // Only its presence counts: it keeps the secret's value out of the pod (BasicExecutorFeatureStep).
        settings.push(text("spark.authenticate.secret.executor.file", "/dev/null"));
        let reference = format!("{}:{AUTH_SECRET_KEY}", facts.job.object_name());
        settings.push(text("spark.kubernetes.executor.secretKeyRef._SPARK_AUTH_SECRET", &reference));
    }
    settings
}

fn conf(key: &str, value: &OsStr) -> [OsString; 2] {
    let mut setting = OsString::from(key);
    setting.push("=");
    setting.push(value);
    ["--conf".into(), setting]
}

/// The whole command line, without argv\[0\].
#[must_use]
pub fn command_line(program: Program, parsed: &Parsed, facts: &JobFacts, profile: &Spark) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(file) = &facts.properties_file {
        words.extend(["--properties-file".into(), file.clone().into_os_string()]);
    }
    for (key, value) in DEFAULTS {
        // The profile's and the platform's settings are in the file, which a --conf would beat.
        if !profile.defaults.contains_key(*key) {
            words.extend(conf(key, OsStr::new(value)));
        }
    }
    words.extend(parsed.options.iter().flat_map(spelled));
    for (key, value) in &profile.enforced {
        words.extend(conf(key, OsStr::new(value)));
    }
    for (key, value) in enforced(facts) {
        words.extend(conf(&key, &value));
    }
    words.extend(["--master".into(), format!("k8s://{}", facts.server).into()]);
    words.extend(["--deploy-mode".into(), "client".into()]);
    debug_assert!(program == Program::SparkSubmit || program == Program::SparkSql || parsed.rest.is_empty());
    words.extend(parsed.rest.iter().cloned());
    words
}

fn spelled(option: &Given) -> Vec<OsString> {
    match &option.value {
        None => vec![option.name.into()],
        Some(value) if option.joined => {
            let mut word = OsString::from(option.name);
            word.push("=");
            word.push(value);
            vec![word]
        }
        Some(value) => vec![option.name.into(), value.clone()],
    }
}

/// Options whose value is a comma-separated list of files.
const FILE_LISTS: &[&str] = &["--jars", "--files", "--py-files", "--archives"];
/// Settings of the same meaning.
const FILE_KEYS: &[&str] = &["spark.jars", "spark.files", "spark.submit.pyFiles", "spark.archives"];

/// The arguments with every path of a staged file replaced by that of its copy.
#[must_use]
pub fn substitute(parsed: &Parsed, staged: &[(OsString, OsString)]) -> Parsed {
    let list = |value: &OsStr| {
        let elements = value.as_bytes().split(|byte| *byte == b',').map(|element| replaced(element, staged));
        OsString::from_vec(elements.collect::<Vec<_>>().join(&b','))
    };
    let options = parsed.options.iter().map(|option| {
        let value = option.value.as_deref().map(|value| {
            if FILE_LISTS.contains(&option.name) {
                return list(value);
            }
            if option.name == "--conf" || option.name == "-c" {
                for key in FILE_KEYS {
                    let start = [key.as_bytes(), b"="].concat();
                    if let Some(files) = value.as_bytes().strip_prefix(start.as_slice()) {
                        let files = list(OsStr::from_bytes(files)).into_vec();
                        return OsString::from_vec([start, files].concat());
                    }
                }
            }
            OsString::from_vec(replaced(value.as_bytes(), staged))
        });
        Given { name: option.name, value, joined: option.joined }
    });
    let rest = parsed.rest.iter().map(|word| OsString::from_vec(replaced(word.as_bytes(), staged)));
    Parsed { options: options.collect(), rest: rest.collect() }
}

/// A path, with `file:` or `file://` before it and `#name` after it as Spark allows.
fn replaced(word: &[u8], staged: &[(OsString, OsString)]) -> Vec<u8> {
    let path = word.strip_prefix(b"file://").or_else(|| word.strip_prefix(b"file:")).unwrap_or(word);
    for (from, to) in staged {
        if let Some(alias) = path.strip_prefix(from.as_bytes())
            && (alias.is_empty() || alias.starts_with(b"#"))
        {
            return [to.as_bytes(), alias].concat();
        }
    }
    word.to_vec()
}
