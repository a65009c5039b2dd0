//! `check`: may the provisioner do what it must, and nothing worse?

use serde_json::json;
use spark_submit_as::protocol::{CheckLine, ClusterAccess, NamespaceWanted};

use crate::api::Api;
use crate::fault::Fault;
use crate::provision::{self, Right, by_admission, may};

/// Oldest API server: ValidatingAdmissionPolicy is v1 since 1.30 (KEP-3488).
const MINOR_FLOOR: u32 = 30;

fn line(what: &str, ok: bool, message: impl Into<String>) -> CheckLine {
    CheckLine { what: what.to_owned(), ok, message: message.into() }
}

fn told(what: &str, result: Result<(bool, String), Fault>) -> CheckLine {
    match result {
        Ok((ok, message)) => line(what, ok, message),
        Err(fault) => line(what, false, fault.to_string()),
    }
}

/// Every line, in the order in which they are looked at. Nothing is made.
pub async fn check(api: &Api, access: &ClusterAccess, namespace: &NamespaceWanted) -> Vec<CheckLine> {
    let mut lines = vec![told("API server", version(api).await)];
    if !lines.iter().all(|line| line.ok) {
        return lines;
    }
    for right in needed(access, namespace) {
        lines.push(told(&format!("right to {}", named(&right)), needs(api, &right).await));
    }
    for right in dangerous() {
        lines.push(told(&format!("no right to {}", named(&right)), must_not(api, &right).await));
    }
    let fence = match provision::fence(api, access).await {
        Ok(None) => line("fence", true, "an account in kube-system is refused"),
        Ok(Some(warning)) => line("fence", true, warning),
        Err(fault) => line("fence", false, fault.to_string()),
    };
    lines.push(fence);
    lines.push(told("fence, namespaces", unlabelled_namespace(api).await));
    lines
}

async fn version(api: &Api) -> Result<(bool, String), Fault> {
    let found: serde_json::Value = api.get("/version").await?.success("get /version")?.object()?;
    let part = |key: &str| found.get(key).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let minor: u32 = part("minor").trim_end_matches('+').parse().unwrap_or(0);
    Ok((minor >= MINOR_FLOOR, format!("{}; 1.{MINOR_FLOOR} or newer is needed", part("gitVersion"))))
}

fn needed<'a>(access: &'a ClusterAccess, namespace: &'a NamespaceWanted) -> Vec<Right<'a>> {
    let inside = |group, resource, subresource, name, verb| Right {
        namespace: Some(namespace.name.as_str()),
        group,
        resource,
        subresource,
        name,
        verb,
    };
    let rbac = "rbac.authorization.k8s.io";
    let mut rights = vec![
        inside("", "namespaces", "", namespace.name.as_str(), "get"),
        inside("", "serviceaccounts", "", "", "get"),
        inside("", "serviceaccounts", "", "", "create"),
        inside("", "serviceaccounts", "", "", "delete"),
        inside("", "serviceaccounts", "token", "", "create"),
        inside(rbac, "rolebindings", "", "", "create"),
        inside(rbac, "rolebindings", "", "", "delete"),
        inside(rbac, "clusterroles", "", &access.driver_role, "bind"),
        inside("", "secrets", "", "", "create"),
        inside("", "pods", "", "", "deletecollection"),
    ];
    if namespace.create {
        rights.push(Right {
            namespace: None,
            group: "",
            resource: "namespaces",
            subresource: "",
            name: "",
            verb: "create",
        });
    }
    rights
}

fn dangerous() -> Vec<Right<'static>> {
    let everywhere =
        |group, resource, name, verb| Right { namespace: None, group, resource, subresource: "", name, verb };
    let rbac = "rbac.authorization.k8s.io";
    vec![
        everywhere("*", "*", "", "*"),
        everywhere(rbac, "clusterroles", "", "escalate"),
        everywhere(rbac, "clusterroles", "cluster-admin", "bind"),
        everywhere(rbac, "clusterrolebindings", "", "create"),
        everywhere("", "secrets", "", "get"),
        everywhere("", "secrets", "", "list"),
        everywhere("", "pods", "", "create"),
        everywhere("", "pods", "", "list"),
        everywhere("", "users", "", "impersonate"),
    ]
}

fn named(right: &Right<'_>) -> String {
    let sub = if right.subresource.is_empty() { String::new() } else { format!("/{}", right.subresource) };
    let name = if right.name.is_empty() { String::new() } else { format!(" {}", right.name) };
    format!("{} {}{sub}{name}", right.verb, right.resource)
}

async fn needs(api: &Api, right: &Right<'_>) -> Result<(bool, String), Fault> {
    Ok(match may(api, right).await? {
        true => (true, "granted".to_owned()),
        false => (false, "missing; see packaging/kubernetes/provisioner.yaml".to_owned()),
    })
}

async fn must_not(api: &Api, right: &Right<'_>) -> Result<(bool, String), Fault> {
    Ok(match may(api, right).await? {
        false => (true, "not granted".to_owned()),
        true => (false, "granted, and not needed; take it from the provisioner".to_owned()),
    })
}

/// A namespace without the managed label must be refused, or the fence could be walked around.
async fn unlabelled_namespace(api: &Api) -> Result<(bool, String), Fault> {
    let object =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "ssa-fence-probe-"}});
    let answer = api.post("/api/v1/namespaces?dryRun=All", &object).await?;
    Ok(if answer.status.is_success() {
        (
            false,
            "a namespace without the managed label could be created; apply packaging/kubernetes/fence.yaml"
                .to_owned(),
        )
    } else if by_admission(&answer) {
        (true, "a namespace without the managed label is refused".to_owned())
    } else {
        (true, "namespaces cannot be created at all".to_owned())
    })
}
