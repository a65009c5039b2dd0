//! The objects that are asked for, as JSON. What is not said here is not asked for.

use serde_json::{Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::names::JobId;
use spark_submit_as::protocol::{
    AUTH_SECRET_KEY, EXECUTOR_ACCOUNT, EXPIRY_ANNOTATION, JOB_LABEL, NamespaceWanted, OWNER_ANNOTATION,
    Provision,
};
use spark_submit_as::sys::process;

use crate::fault::Fault;
use crate::policies::drift;

/// Annotation with random bits of the request that made an account, to know it again after a lost answer.
const NONCE_ANNOTATION: &str = "spark-submit-as/nonce";

/// Where [`NONCE_ANNOTATION`] is in an object.
pub fn nonce_pointer() -> String {
    format!("/metadata/annotations/{}", NONCE_ANNOTATION.replace('/', "~1"))
}

/// Random bits for one request.
pub fn nonce() -> Result<String, Fault> {
    let bits = process::random::<10>()
        .map_err(|error| Fault::new(ExitCode::Internal, format!("getrandom: {error}")))?;
    Ok(JobId::from_random(bits).as_str().to_owned())
}

/// JSON pointer of the job's label in an object.
pub fn label_pointer() -> String {
    format!("/metadata/labels/{}", JOB_LABEL.replace('/', "~1"))
}

/// Path of a collection of a namespace's.
pub fn collection(resource: &str, namespace: &str) -> String {
    let group = match resource {
        "roles" | "rolebindings" => "/apis/rbac.authorization.k8s.io/v1",
        "networkpolicies" => "/apis/networking.k8s.io/v1",
        _ => "/api/v1",
    };
    format!("{group}/namespaces/{namespace}/{resource}")
}

/// v1 Namespace, as its policies say from the start.
pub fn namespace(wanted: &NamespaceWanted) -> Value {
    let mut labels = wanted.labels.clone();
    labels.extend(wanted.policies.labels.clone());
    let mut annotations = drift::annotations(&wanted.policies);
    annotations.insert(OWNER_ANNOTATION.to_owned(), wanted.owner.clone());
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": wanted.name.as_str(),
            "labels": labels,
            "annotations": annotations,
        },
    })
}

/// The executors' account: no rights, no token.
pub fn executor_account() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": EXECUTOR_ACCOUNT},
        "automountServiceAccountToken": false,
    })
}

/// The job's account. Everything else of the job is owned by it. Without `expires_at`, the annotation comes with the token.
pub fn account(wanted: &Provision, nonce: &str, expires_at: Option<String>) -> Value {
    let mut annotations = wanted.annotations.clone();
    annotations.remove(EXPIRY_ANNOTATION);
    annotations.extend(expires_at.map(|text| (EXPIRY_ANNOTATION.to_owned(), text)));
    annotations.insert(NONCE_ANNOTATION.to_owned(), nonce.to_owned());
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": wanted.job.object_name(),
            "labels": {JOB_LABEL: wanted.job.as_str()},
            "annotations": annotations,
        },
        "automountServiceAccountToken": false,
    })
}

pub fn owned(job: &JobId, account_uid: &str) -> Value {
    json!({
        "name": job.object_name(),
        "labels": {JOB_LABEL: job.as_str()},
        "ownerReferences": [{
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "name": job.object_name(),
            "uid": account_uid,
        }],
    })
}

/// The job's rights: one ClusterRole, in one namespace, for one account.
pub fn binding(wanted: &Provision, role: &str, account_uid: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": owned(&wanted.job, account_uid),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{
            "kind": "ServiceAccount",
            "name": wanted.job.object_name(),
            "namespace": wanted.namespace.name.as_str(),
        }],
    })
}

/// The form in which executors have Spark's RPC secret.
pub fn encoded(secret: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(secret)
}

/// Spark's RPC secret for the executors. The driver reads its own from a file and uses its base64 form
/// (SecurityManager.getSecretKey), so that is what executors must find in their environment.
pub fn secret(wanted: &Provision, secret: &str, account_uid: &str) -> Value {
    let encoded = encoded(secret);
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": owned(&wanted.job, account_uid),
        "immutable": true,
        "stringData": {AUTH_SECRET_KEY: encoded},
    })
}

/// authentication.k8s.io/v1 TokenRequest for the API server's own audience. A uid that is not the account's is a conflict
/// (feature TokenRequestServiceAccountUIDValidation, 1.34).
pub fn token_request(seconds: u64, account_uid: Option<&str>) -> Value {
    let mut metadata = json!({});
    if let (Some(uid), Some(metadata)) = (account_uid, metadata.as_object_mut()) {
        metadata.insert("uid".into(), uid.into());
    }
    json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": metadata,
        "spec": {"expirationSeconds": seconds},
    })
}

/// Merge patch of an account's expiry. A uid that is not the account's is refused: `metadata.uid` cannot be changed.
pub fn expiry_patch(expires_at: &str, account_uid: Option<&str>) -> Value {
    let mut metadata = json!({"annotations": {EXPIRY_ANNOTATION: expires_at}});
    if let (Some(uid), Some(metadata)) = (account_uid, metadata.as_object_mut()) {
        metadata.insert("uid".into(), uid.into());
    }
    json!({"metadata": metadata})
}

/// v1 DeleteOptions for an object that nobody has changed since it was looked at.
pub fn delete_unchanged(uid: &str, resource_version: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": uid, "resourceVersion": resource_version},
    })
}

/// v1 DeleteOptions; the uid is a precondition, so that an object of the same name made by somebody else stays [86].
pub fn delete_options(uid: Option<&str>) -> Value {
    let mut options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"});
    if let (Some(uid), Some(options)) = (uid, options.as_object_mut()) {
        options.insert("preconditions".into(), json!({"uid": uid}));
    }
    options
}
