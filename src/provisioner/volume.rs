//! A user's volume: the claim, made once and kept, and the job's right to use it.
//!
//! The right is the verb `use` on the claim, which the API server itself knows nothing of: the isolation policy asks whether
//! the account of a job that creates a pod has it.

use http::StatusCode;
use serde_json::{Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::names::JobId;
use spark_submit_as::policy::volume::Claim;
use spark_submit_as::protocol::{OWNER_ANNOTATION, Provision};

use crate::api::Api;
use crate::fault::Fault;
use crate::objects;
use crate::provision::{create, text, unusable};

const RBAC: &str = "rbac.authorization.k8s.io";

/// Sees to the claim, and gives the job's account the right to use it. Role and binding are the account's and go with it.
pub async fn provide(api: &Api, wanted: &Provision, claim: &Claim, account_uid: &str) -> Result<(), Fault> {
    let namespace = wanted.namespace.name.as_str();
    ensure(api, namespace, claim).await?;
    create(api, "roles", namespace, &role(&wanted.job, claim, account_uid)).await?;
    create(api, "rolebindings", namespace, &binding(&wanted.job, namespace, account_uid)).await?;
    Ok(())
}

async fn ensure(api: &Api, namespace: &str, claim: &Claim) -> Result<(), Fault> {
    let collection = objects::collection("persistentvolumeclaims", namespace);
    let path = format!("{collection}/{}", claim.name);
    let mut answer = api.get(&path).await?;
    if answer.status == StatusCode::NOT_FOUND {
        answer = api.post(&collection, &object(claim)).await?;
        if answer.status == StatusCode::CONFLICT {
            // Another job of the same user was quicker, or our own first try was served and its answer lost.
            answer = api.get(&path).await?;
        }
    }
    let found: Value = answer.success("get and create persistentvolumeclaims")?.object()?;
    let refused = |rule: &str| {
        let message = format!("the volume claim {} in namespace {namespace} {rule}", claim.name);
        Err(Fault::new(ExitCode::ClusterNamespace, message))
    };
    if text(&found, "/metadata/name") != claim.name || text(&found, "/metadata/namespace") != namespace {
        return Err(unusable("it is about another claim"));
    }
    if found.pointer("/metadata/deletionTimestamp").is_some() {
        return refused("is being deleted; try again when it is gone");
    }
    let owner = format!("/metadata/annotations/{}", OWNER_ANNOTATION.replace('/', "~1"));
    if found.pointer(&owner).and_then(Value::as_str) != Some(claim.owner.as_str()) {
        // Whose it is stays untold [25].
        return refused(
            "is not this user's; an administrator renames it or gives it the right owner annotation",
        );
    }
    Ok(())
}

fn object(claim: &Claim) -> Value {
    let mut spec = json!({
        "accessModes": [claim.access_mode],
        "resources": {"requests": {"storage": claim.size}},
    });
    if let (Some(class), Some(spec)) = (&claim.class, spec.as_object_mut()) {
        spec.insert("storageClassName".into(), json!(class));
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": claim.name, "annotations": {OWNER_ANNOTATION: claim.owner}},
        "spec": spec,
    })
}

/// Name of role and binding.
fn name(job: &JobId) -> String {
    format!("{}-volume", job.object_name())
}

fn owned(job: &JobId, account_uid: &str) -> Value {
    let mut metadata = objects::owned(job, account_uid);
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.insert("name".into(), name(job).into());
    }
    metadata
}

fn role(job: &JobId, claim: &Claim, account_uid: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "Role",
        "metadata": owned(job, account_uid),
        "rules": [{
            "apiGroups": [""],
            "resources": ["persistentvolumeclaims"],
            "resourceNames": [claim.name],
            "verbs": ["use"],
        }],
    })
}

fn binding(job: &JobId, namespace: &str, account_uid: &str) -> Value {
    json!({
        "apiVersion": format!("{RBAC}/v1"),
        "kind": "RoleBinding",
        "metadata": owned(job, account_uid),
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name(job)},
        "subjects": [{"kind": "ServiceAccount", "name": job.object_name(), "namespace": namespace}],
    })
}
