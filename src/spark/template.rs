//! The pod template of executors.
//!
//! In client mode Spark keeps a template's owner references, labels, security contexts and
//! `automountServiceAccountToken` (`KubernetesExecutorBuilder`); it overwrites name and namespace. The owner
//! reference makes "delete the job's account" remove the pods; the rest is what Pod Security `restricted` asks.

use serde_json::{Map, Value, json};

use super::keys::EXECUTOR_CONTAINER;
use crate::exit::ExitCode;
use crate::policy::config::Reader;
use crate::policy::names::JobId;
use crate::protocol::{EXECUTOR_ACCOUNT, JOB_LABEL};

/// Largest template of an administrator.
pub const MAX_BYTES: usize = 256 * 1024;
/// Name of the user's volume in a pod.
pub const VOLUME: &str = "ssa-volume";
/// Most values in one, aliases counted as often as they are used.
pub const MAX_VALUES: usize = 16 * 1024;

/// The user's volume in executors.
#[derive(Clone, Copy, Debug)]
pub struct Mount<'a> {
    /// Name of the claim.
    pub claim: &'a str,
    /// Where the container finds it.
    pub path: &'a str,
}

/// Why an administrator's template cannot be used. Its text is not repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Larger or with more values than is taken.
    #[error(
        "the executor pod template is too large: at most {MAX_BYTES} bytes and {MAX_VALUES} values are taken"
    )]
    TooLarge,
    /// Not one YAML document within the bounds of the configuration's.
    #[error("line {line} of the executor pod template: {rule}")]
    NotYaml {
        /// Line, from 1; 0 when unknown.
        line: usize,
        /// The rule that is broken.
        rule: String,
    },
    /// Not a v1 Pod.
    #[error("the executor pod template is not a Pod: it needs apiVersion v1 and kind Pod")]
    NotAPod,
    /// A field has another type than a Pod's.
    #[error("{field} of the executor pod template has the wrong type: a Pod has {wanted} there")]
    Field {
        /// Path of the field.
        field: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Runs as root.
    #[error("{field} of the executor pod template is 0: executors do not run as root; name another uid")]
    Root {
        /// Path of the field.
        field: String,
    },
}

impl TemplateError {
    /// The wrapper's exit code for it.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        ExitCode::ConfigInvalid
    }
}

/// The template as JSON, which is YAML.
///
/// The administrator's template comes first, our fields win. Spark's container is the one named
/// [`EXECUTOR_CONTAINER`], else the first.
///
/// # Errors
/// [`TemplateError`] about the administrator's template.
pub fn executor_pod_template(
    job: &JobId,
    account_name: &str,
    account_uid: &str,
    admin: Option<&[u8]>,
    mount: Option<Mount<'_>>,
) -> Result<String, TemplateError> {
    let mut pod = match admin {
        Some(text) => read(text)?,
        None => Map::new(),
    };
    pod.insert("apiVersion".into(), "v1".into());
    pod.insert("kind".into(), "Pod".into());
    // Left by an export with kubectl, and no part of a template.
    pod.remove("status");

    let metadata = object(&mut pod, "metadata", "metadata")?;
    for name in ["name", "generateName", "namespace", "uid", "resourceVersion", "finalizers"] {
        metadata.remove(name);
    }
    object(metadata, "labels", "metadata.labels")?.insert(JOB_LABEL.into(), job.as_str().into());
    let owner =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "name": account_name, "uid": account_uid});
    metadata.insert("ownerReferences".into(), Value::Array(vec![owner]));

    let spec = object(&mut pod, "spec", "spec")?;
    spec.remove("serviceAccount");
    spec.insert("serviceAccountName".into(), EXECUTOR_ACCOUNT.into());
    spec.insert("automountServiceAccountToken".into(), false.into());
    secure(object(spec, "securityContext", "spec.securityContext")?, "spec.securityContext")?;

    if let Some(mount) = mount {
        let volume = json!({"name": VOLUME, "persistentVolumeClaim": {"claimName": mount.claim}});
        named(spec, "volumes", "spec.volumes", volume)?;
    }
    let containers = executor_first(spec)?;
    let Some(executor) = containers.first_mut().and_then(Value::as_object_mut) else {
        return Err(wrong("spec.containers", "a list of containers"));
    };
    executor.insert("name".into(), EXECUTOR_CONTAINER.into());
    if let Some(mount) = mount {
        let mounted = json!({"name": VOLUME, "mountPath": mount.path});
        named(executor, "volumeMounts", "the executor container's volumeMounts", mounted)?;
    }
    let field = "the executor container's securityContext";
    let security = object(executor, "securityContext", field)?;
    secure(security, field)?;
    security.remove("privileged");
    security.remove("procMount");
    security.insert("allowPrivilegeEscalation".into(), false.into());
    security.insert("capabilities".into(), json!({"drop": ["ALL"]}));
    // So that an executor's last words are in its pod's status, which the job's own token may read.
    executor.entry("terminationMessagePolicy").or_insert_with(|| "FallbackToLogsOnError".into());
    Ok(Value::Object(pod).to_string())
}

fn read(text: &[u8]) -> Result<Map<String, Value>, TemplateError> {
    if text.len() > MAX_BYTES {
        return Err(TemplateError::TooLarge);
    }
    // Before a tree is made of it: an anchor of n nodes and m aliases would become n × m nodes in memory [7].
    Reader::new(text).map_err(|error| TemplateError::NotYaml { line: error.line, rule: error.rule })?;
    let pod: Value = serde_yaml::from_slice(text).map_err(|error| TemplateError::NotYaml {
        line: error.location().map_or(0, |location| location.line()),
        rule: "this is not what JSON can hold".into(),
    })?;
    let mut values = MAX_VALUES;
    if !fits(&pod, &mut values) {
        return Err(TemplateError::TooLarge);
    }
    match pod {
        Value::Object(pod)
            if pod.get("apiVersion") == Some(&json!("v1")) && pod.get("kind") == Some(&json!("Pod")) =>
        {
            Ok(pod)
        }
        _ => Err(TemplateError::NotAPod),
    }
}

fn fits(value: &Value, values: &mut usize) -> bool {
    let Some(left) = values.checked_sub(1) else { return false };
    *values = left;
    match value {
        Value::Array(list) => list.iter().all(|value| fits(value, values)),
        Value::Object(map) => map.values().all(|value| fits(value, values)),
        _ => true,
    }
}

fn wrong(field: &str, wanted: &'static str) -> TemplateError {
    TemplateError::Field { field: field.to_owned(), wanted }
}

/// The object under `name`, made when it is missing or null.
fn object<'a>(
    parent: &'a mut Map<String, Value>,
    name: &str,
    field: &str,
) -> Result<&'a mut Map<String, Value>, TemplateError> {
    let value = parent.entry(name).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().ok_or_else(|| wrong(field, "a mapping"))
}

/// Adds an entry to the list under `key`, in the place of one of the same name.
fn named(parent: &mut Map<String, Value>, key: &str, field: &str, entry: Value) -> Result<(), TemplateError> {
    let value = parent.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Array(Vec::new());
    }
    let list = value.as_array_mut().ok_or_else(|| wrong(field, "a list"))?;
    list.retain(|other| other.get("name") != entry.get("name"));
    list.push(entry);
    Ok(())
}

/// The containers, Spark's first.
fn executor_first(spec: &mut Map<String, Value>) -> Result<&mut Vec<Value>, TemplateError> {
    let value = spec.entry("containers").or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Array(Vec::new());
    }
    let list = value.as_array_mut().ok_or_else(|| wrong("spec.containers", "a list of containers"))?;
    if list.is_empty() {
        list.push(json!({}));
    }
    let name = json!(EXECUTOR_CONTAINER);
    let at = list.iter().position(|container| container.get("name") == Some(&name)).unwrap_or(0);
    list.swap(0, at);
    Ok(list)
}

/// What pods and containers have in common in a security context.
fn secure(context: &mut Map<String, Value>, field: &str) -> Result<(), TemplateError> {
    if context.get("runAsUser").and_then(Value::as_i64) == Some(0) {
        return Err(TemplateError::Root { field: format!("{field}.runAsUser") });
    }
    context.insert("runAsNonRoot".into(), true.into());
    context.insert("seccompProfile".into(), json!({"type": "RuntimeDefault"}));
    // Unconfined profiles and other users' labels; `restricted` has no use for them.
    context.remove("appArmorProfile");
    Ok(())
}
