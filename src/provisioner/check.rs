//! `check`: may the provisioner do what it must, and nothing worse?

use http::StatusCode;
use serde_json::{Value, json};
use spark_submit_as::protocol::{
    Check, CheckLine, ClusterAccess, MANAGED_LABEL, NamespaceWanted, OWNER_ANNOTATION,
};

use crate::api::Api;
use crate::fault::Fault;
use crate::fence::{self, PROBE, Right, by_admission, may};
use crate::policies::drift::PARTS;
use crate::{isolation, namespace, objects};

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
pub async fn check(api: &Api, access: &ClusterAccess, wanted: &Check) -> Vec<CheckLine> {
    let namespace = &wanted.namespace;
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
    let fence = match fence::fence(api, access).await {
        Ok(None) => line("fence, tokens", true, "a token of an account in kube-system is refused"),
        Ok(Some(warning)) => line("fence, tokens", true, warning),
        Err(fault) => line("fence, tokens", false, fault.to_string()),
    };
    lines.push(fence);
    for escape in escapes(namespace) {
        lines.push(told(escape.what, escaped(api, &escape).await));
    }
    lines.push(told("isolation", isolation(api, wanted).await));
    lines.push(told("namespace", state(api, namespace).await));
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
        inside("", "serviceaccounts", "", "", "list"),
        inside("", "serviceaccounts", "", "", "create"),
        inside("", "serviceaccounts", "", "", "patch"),
        inside("", "serviceaccounts", "", "", "delete"),
        inside("", "serviceaccounts", "token", "", "create"),
        inside(rbac, "rolebindings", "", "", "get"),
        inside(rbac, "rolebindings", "", "", "create"),
        inside(rbac, "rolebindings", "", "", "delete"),
        inside(rbac, "clusterroles", "", &access.driver_role, "bind"),
        inside("", "secrets", "", "", "create"),
        inside("", "secrets", "", "", "delete"),
        inside("", "pods", "", "", "deletecollection"),
    ];
    let policies = &namespace.policies;
    if !policies.is_empty() {
        rights.push(inside("", "namespaces", "", namespace.name.as_str(), "patch"));
    }
    for part in PARTS.iter().filter(|part| part.spec(policies).is_some()) {
        let verbs = ["get", "create", "patch", "delete"];
        rights.extend(verbs.map(|verb| inside(part.group(), part.resource, "", "", verb)));
    }
    if namespace.volumes {
        let claims = |verb| inside("", "persistentvolumeclaims", "", "", verb);
        rights.extend(["get", "create", "use"].map(claims));
        rights.extend(["create", "delete"].map(|verb| inside(rbac, "roles", "", "", verb)));
    }
    if namespace.create {
        let everywhere =
            |resource, verb| Right { namespace: None, group: "", resource, subresource: "", name: "", verb };
        rights.push(everywhere("namespaces", "create"));
        // Jobs of hosts that are gone are looked for in namespaces that this host never heard of.
        rights.push(everywhere("serviceaccounts", "list"));
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

/// Whether the isolation policy is in force; a failure only where it is required.
async fn isolation(api: &Api, wanted: &Check) -> Result<(bool, String), Fault> {
    let missing = isolation::MISSING;
    Ok(match (isolation::canary(api, &wanted.namespace).await?, wanted.isolation_required) {
        (Some(true), _) => {
            (true, "in force; each run that requires it looks again, with its own token".to_owned())
        }
        (Some(false), true) => (false, format!("{missing}, and this profile requires it")),
        (Some(false), false) => {
            (true, format!("{missing}; optional for this profile: jobs in one namespace are not kept apart"))
        }
        (None, _) => (true, "not looked at: the namespace does not exist".to_owned()),
    })
}

/// Whether the namespace may be used. One that a job would create is not there yet.
async fn state(api: &Api, wanted: &NamespaceWanted) -> Result<(bool, String), Fault> {
    let name = &wanted.name;
    match namespace::look(api, wanted).await? {
        Some(_) => Ok((true, format!("{name} is active, managed and of this owner"))),
        None if wanted.create => Ok((true, format!("{name} does not exist; a job creates it"))),
        None => Err(namespace::absent(name.as_str())),
    }
}

/// Something that must be refused. It is asked for with `dryRun=All`: where it is not refused, nothing is made.
struct Escape {
    what: &'static str,
    path: String,
    object: Value,
}

fn escapes(wanted: &NamespaceWanted) -> Vec<Escape> {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": PROBE}});
    let unlabelled = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROBE}});
    let unguarded = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": PROBE,
            "labels": {MANAGED_LABEL: "true"},
            "annotations": {OWNER_ANNOTATION: "{}"},
        },
    });
    let admin = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "ssa-job-fence-probe"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "ssa-job-fence-probe", "namespace": wanted.name.as_str()}],
    });
    vec![
        Escape {
            what: "fence, accounts",
            path: objects::collection("serviceaccounts", "kube-system"),
            object: account,
        },
        Escape { what: "fence, namespaces", path: "/api/v1/namespaces".to_owned(), object: unlabelled },
        // A job there could have a privileged pod, and through it the node.
        Escape { what: "fence, pod security", path: "/api/v1/namespaces".to_owned(), object: unguarded },
        Escape {
            what: "fence, bindings",
            path: objects::collection("rolebindings", wanted.name.as_str()),
            object: admin,
        },
    ]
}

async fn escaped(api: &Api, escape: &Escape) -> Result<(bool, String), Fault> {
    let answer = api.post(&format!("{}?dryRun=All", escape.path), &escape.object).await?;
    let refused = match answer.status {
        StatusCode::FORBIDDEN if by_admission(&answer) => "refused by the fence",
        StatusCode::UNPROCESSABLE_ENTITY if by_admission(&answer) => "refused by the fence",
        StatusCode::FORBIDDEN => "refused by RBAC",
        // The namespace of the binding is not there yet.
        StatusCode::NOT_FOUND => "not looked at: the namespace does not exist",
        status if status.is_success() => {
            return Ok((false, "would be allowed; apply packaging/kubernetes/fence.yaml".to_owned()));
        }
        _ => {
            answer.success("probe the fence")?;
            return Ok((false, "gave no answer that is understood".to_owned()));
        }
    };
    Ok((true, refused.to_owned()))
}
