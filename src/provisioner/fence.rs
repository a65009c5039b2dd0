//! Rights of the provisioner's own, and the fence around them.
//!
//! Without the fence, the right to create tokens in every namespace is cluster-admin in disguise (DESIGN, section 5). It
//! is looked at by what it does and not by reading policies: a cluster may have another engine for the same rule, and a
//! policy that is there may not be in force.

use http::StatusCode;
use serde_json::{Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::ClusterAccess;

use crate::api::{Answer, Api};
use crate::fault::Fault;

/// An account of kube-system that every cluster has.
const FOREIGN_ACCOUNT: &str = "default";
/// Name of objects that do not exist and are never made.
pub const PROBE: &str = "ssa-fence-probe";

/// Whether the fence holds. A warning when it does not and the configuration accepts that.
///
/// Asks for a token of an account in kube-system, bound to a Secret that does not exist. The API server looks at RBAC
/// first (403), then at admission, and at the Secret last (404; `TokenREST.Create`). So no token can be granted, and 404
/// on the Secret says that nothing else would have refused one. That an account could not be *created* there would prove
/// less: another policy of the cluster may refuse just that.
///
/// # Errors
/// [`ExitCode::FenceMissing`]; what a request can meet.
pub async fn fence(api: &Api, access: &ClusterAccess) -> Result<Option<String>, Fault> {
    let probe = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "expirationSeconds": 600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Secret", "name": PROBE},
        },
    });
    let path = format!("/api/v1/namespaces/kube-system/serviceaccounts/{FOREIGN_ACCOUNT}/token");
    let answer = api.post(&path, &probe).await?;
    match answer.status {
        StatusCode::FORBIDDEN => return Ok(None),
        StatusCode::UNPROCESSABLE_ENTITY if by_admission(&answer) => return Ok(None),
        StatusCode::NOT_FOUND if answer.about() == "secrets" => {}
        // No such account, so the question was not answered; nothing stands between but RBAC said yes.
        StatusCode::NOT_FOUND => {}
        status if status.is_success() => {}
        _ => {
            answer.success("probe the fence (create serviceaccounts/token in kube-system)")?;
        }
    }
    let problem = "the fence is missing: this provisioner could make itself cluster-admin; apply \
                   packaging/kubernetes/fence.yaml";
    if access.accept_missing_fence {
        return Ok(Some(format!("{problem} (accepted by accept_missing_fence)")));
    }
    Err(Fault::new(
        ExitCode::FenceMissing,
        format!("{problem}, or set accept_missing_fence for this cluster"),
    ))
}

/// Whether a refusal came from an admission policy or webhook and not from RBAC.
pub fn by_admission(answer: &Answer) -> bool {
    let message = answer.message();
    message.contains("ValidatingAdmissionPolicy") || message.starts_with("admission webhook")
}

/// What SelfSubjectAccessReview asks.
pub struct Right<'a> {
    /// Namespace; none for cluster-wide.
    pub namespace: Option<&'a str>,
    /// API group.
    pub group: &'a str,
    /// Resource.
    pub resource: &'a str,
    /// Subresource, or empty.
    pub subresource: &'a str,
    /// Object's name, or empty.
    pub name: &'a str,
    /// Verb.
    pub verb: &'a str,
}

/// Whether the provisioner has a right.
///
/// # Errors
/// What a request can meet.
pub async fn may(api: &Api, right: &Right<'_>) -> Result<bool, Fault> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "namespace": right.namespace.unwrap_or_default(),
            "group": right.group,
            "resource": right.resource,
            "subresource": right.subresource,
            "name": right.name,
            "verb": right.verb,
        }},
    });
    let answer = api.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review).await?;
    let answer: Value = answer.success("create selfsubjectaccessreviews")?.object()?;
    Ok(answer.pointer("/status/allowed") == Some(&json!(true)))
}
