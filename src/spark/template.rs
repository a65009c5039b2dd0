//! The executors' pod template: owned by the job's account, without a token, fit for Pod Security `restricted`.
//!
//! What Spark keeps of a template in client mode (labels, ownerReferences, account, security contexts) is measured;
//! name and namespace are overwritten by it.

use serde_json::{Map, Value, json};

use crate::policy::names::JobId;
use crate::protocol::{EXECUTOR_ACCOUNT, JOB_LABEL};

/// Name of the container that Spark's executor becomes.
pub const CONTAINER: &str = "executor";
/// Largest administrator's template in bytes.
const MAX: usize = 256 * 1024;

/// Why an administrator's template cannot be used. Its text is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Too large.
    #[error("it has more than {MAX} bytes")]
    TooLarge,
    /// Not YAML, or not a mapping where one must be.
    #[error("it is not the YAML of a Pod")]
    NotAPod,
}

/// The template as JSON, which is YAML. An administrator's own is the start; the wrapper's fields win.
///
/// # Errors
/// [`TemplateError`].
pub fn executor_pod_template(
    job: &JobId,
    account_uid: &str,
    admin: Option<&[u8]>,
) -> Result<String, TemplateError> {
    let mut pod = match admin {
        None => json!({"apiVersion": "v1", "kind": "Pod"}),
        Some(text) if text.len() > MAX => return Err(TemplateError::TooLarge),
        Some(text) => serde_yaml::from_slice(text).map_err(|_| TemplateError::NotAPod)?,
    };
    if pod.get("kind") != Some(&json!("Pod")) || pod.get("apiVersion") != Some(&json!("v1")) {
        return Err(TemplateError::NotAPod);
    }
    let metadata = object(&mut pod, "metadata")?;
    object_in(metadata, "labels")?.insert(JOB_LABEL.into(), json!(job.as_str()));
    metadata.insert(
        "ownerReferences".into(),
        json!([{"apiVersion": "v1", "kind": "ServiceAccount", "name": job.object_name(), "uid": account_uid}]),
    );
    let spec = object(&mut pod, "spec")?;
    spec.insert("serviceAccountName".into(), json!(EXECUTOR_ACCOUNT));
    spec.insert("automountServiceAccountToken".into(), json!(false));
    let security = object_in(spec, "securityContext")?;
    security.insert("runAsNonRoot".into(), json!(true));
    security.entry("seccompProfile").or_insert(json!({"type": "RuntimeDefault"}));
    if spec.get("containers").is_none_or(Value::is_null) {
        spec.insert("containers".into(), json!([{"name": CONTAINER}]));
    }
    let containers =
        spec.get_mut("containers").and_then(Value::as_array_mut).ok_or(TemplateError::NotAPod)?;
    // Spark's executor becomes the container of that name; without one, the first is it, as in Spark itself.
    if !containers.iter().any(|container| container.get("name") == Some(&json!(CONTAINER))) {
        let first = containers.first_mut().and_then(Value::as_object_mut).ok_or(TemplateError::NotAPod)?;
        first.insert("name".into(), json!(CONTAINER));
    }
    for kind in ["containers", "initContainers"] {
        for container in spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
            let container = container.as_object_mut().ok_or(TemplateError::NotAPod)?;
            let security = object_in(container, "securityContext")?;
            security.insert("allowPrivilegeEscalation".into(), json!(false));
            security.insert("capabilities".into(), json!({"drop": ["ALL"]}));
            security.remove("privileged");
        }
    }
    Ok(pod.to_string())
}

fn object<'a>(value: &'a mut Value, key: &str) -> Result<&'a mut Map<String, Value>, TemplateError> {
    object_in(value.as_object_mut().ok_or(TemplateError::NotAPod)?, key)
}

fn object_in<'a>(
    map: &'a mut Map<String, Value>,
    key: &str,
) -> Result<&'a mut Map<String, Value>, TemplateError> {
    let value = map.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().ok_or(TemplateError::NotAPod)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(admin: Option<&str>) -> Result<Value, TemplateError> {
        let job = JobId::from_random([7; 10]);
        let text = executor_pod_template(&job, "uid-1", admin.map(str::as_bytes))?;
        Ok(serde_json::from_str(&text).expect("JSON"))
    }

    #[test]
    fn executors_are_owned_by_the_job_and_have_no_token() {
        let pod = made(None).expect("template");
        assert_eq!(pod["spec"]["serviceAccountName"], EXECUTOR_ACCOUNT);
        assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
        assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "uid-1");
        assert!(pod["metadata"]["ownerReferences"][0].get("blockOwnerDeletion").is_none());
        let security = &pod["spec"]["containers"][0]["securityContext"];
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
        assert_eq!(security["allowPrivilegeEscalation"], false);
    }

    #[test]
    fn an_administrators_template_stays_and_the_wrappers_fields_win() {
        let pod = made(Some(
            "apiVersion: v1\nkind: Pod\nmetadata: {labels: {team: a, spark-submit-as/job: other}, ownerReferences: [{name: x}]}\n\
             spec:\n  nodeSelector: {disk: ssd}\n  serviceAccountName: admin\n  automountServiceAccountToken: true\n\
             \x20 containers: [{name: main, image: i, securityContext: {privileged: true, capabilities: {add: [ALL]}}}, {name: side}]\n",
        ))
        .expect("template");
        assert_eq!(pod["spec"]["nodeSelector"]["disk"], "ssd");
        assert_eq!(pod["metadata"]["labels"]["team"], "a");
        assert_ne!(pod["metadata"]["labels"]["spark-submit-as/job"], "other");
        assert_eq!(pod["metadata"]["ownerReferences"][0]["kind"], "ServiceAccount");
        assert_eq!(pod["spec"]["serviceAccountName"], EXECUTOR_ACCOUNT);
        assert_eq!(pod["spec"]["containers"][0]["name"], CONTAINER);
        assert!(pod["spec"]["containers"][0]["securityContext"].get("privileged").is_none());
        assert_eq!(pod["spec"]["containers"][1]["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
    }

    #[test]
    fn what_is_no_pod_is_refused_without_its_text() {
        for text in [
            "",
            "x",
            "- a",
            "apiVersion: v1\nkind: Secret",
            "kind: Pod",
            "apiVersion: v1\nkind: Pod\nspec: []",
            "apiVersion: v1\nkind: Pod\nspec: {containers: [1]}",
            "a: [verysecret",
        ] {
            let error = made(Some(text)).expect_err(text);
            assert!(!error.to_string().contains("verysecret"));
        }
        assert_eq!(made(Some(&"#".repeat(MAX + 1))), Err(TemplateError::TooLarge));
    }
}
