//! The namespace of a job: there, active, managed and this owner's.

use http::StatusCode;
use serde_json::Value;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::{Kind, MANAGED_LABEL, NamespaceWanted, OWNER_ANNOTATION, Reply};

use crate::api::Api;
use crate::fault::Fault;
use crate::objects;
use crate::provision::{known_uid, text, unusable};
use crate::wire::Wire;

fn refused(name: &str, rule: &str) -> Fault {
    Fault::new(ExitCode::ClusterNamespace, format!("namespace {name} {rule}"))
}

/// A namespace that was made, or that another job of the same owner made in the meantime.
pub enum Ensured {
    /// By this request.
    Made(Value),
    /// By another.
    There(Value),
}

/// Makes a namespace that is not there, where that is wanted.
pub async fn make(api: &Api, wanted: &NamespaceWanted, wire: &mut Wire) -> Result<Ensured, Fault> {
    let name = wanted.name.as_str();
    if !wanted.create {
        return Err(absent(name));
    }
    let answer = api.post("/api/v1/namespaces", &objects::namespace(wanted)).await?;
    if answer.status == StatusCode::CONFLICT {
        // Another job of the same owner was quicker, or our own first try was served and its answer lost.
        let found = look(api, wanted).await?;
        return found.map(Ensured::There).ok_or_else(|| refused(name, "comes and goes"));
    }
    let made: Value = answer.success("create namespaces")?.object()?;
    fit(&made, wanted)?;
    let uid = known_uid(&made)?;
    wire.reply(&Reply::Created { kind: Kind::Namespace, name: name.to_owned(), uid }).await?;
    Ok(Ensured::Made(made))
}

/// The namespace, if it exists; a Fault when it exists and must not be used. Changes nothing.
pub async fn look(api: &Api, wanted: &NamespaceWanted) -> Result<Option<Value>, Fault> {
    let answer = api.get(&format!("/api/v1/namespaces/{}", wanted.name)).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    // Where RBAC opens single namespaces to the provisioner, it does not learn whether another exists.
    if answer.status == StatusCode::FORBIDDEN {
        let rule = format!(
            "is not open to the provisioner ({}); an administrator can open it with \
             packaging/kubernetes/team-namespace.yaml as a model",
            answer.message()
        );
        return Err(refused(wanted.name.as_str(), &rule));
    }
    let found: Value = answer.success("get namespaces")?.object()?;
    fit(&found, wanted)?;
    Ok(Some(found))
}

/// The refusal of a namespace that is missing and not to be made.
pub fn absent(name: &str) -> Fault {
    refused(
        name,
        "does not exist, and the profile does not create it; an administrator can make it with \
                   packaging/kubernetes/team-namespace.yaml as a model",
    )
}

fn fit(found: &Value, wanted: &NamespaceWanted) -> Result<(), Fault> {
    let name = wanted.name.as_str();
    if text(found, "/metadata/name") != name {
        return Err(unusable("it is about another namespace"));
    }
    if text(found, "/status/phase") == "Terminating" || found.pointer("/metadata/deletionTimestamp").is_some()
    {
        return Err(refused(name, "is being deleted; try again when it is gone"));
    }
    let key = |key: &str| key.replace('~', "~0").replace('/', "~1");
    let owner =
        found.pointer(&format!("/metadata/annotations/{}", key(OWNER_ANNOTATION))).and_then(Value::as_str);
    match owner {
        Some(owner) if owner == wanted.owner => {}
        // Whose it is stays untold [25].
        Some(_) => return Err(refused(name, "belongs to somebody else")),
        // Naming an owner is an administrator's word that nobody else's things are in it [59].
        None => {
            let rule = format!(
                "has no owner; if it is this user's or team's alone, an administrator runs: spark-submit-as namespace \
                 adopt {name} --owner '{}' --profile PROFILE --kubeconfig FILE",
                wanted.owner
            );
            return Err(refused(name, &rule));
        }
    }
    if text(found, &format!("/metadata/labels/{}", key(MANAGED_LABEL))) != "true" {
        let rule = format!(
            "is not managed; an administrator runs: spark-submit-as namespace adopt {name} --owner '{}' --profile PROFILE \
             --kubeconfig FILE",
            wanted.owner
        );
        return Err(refused(name, &rule));
    }
    Ok(())
}
