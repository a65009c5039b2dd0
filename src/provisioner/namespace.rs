//! The namespace of a job: there, active, managed and this owner's; and the executors' account in it.

use http::StatusCode;
use serde_json::{Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::{
    EXECUTOR_ACCOUNT, Kind, MANAGED_LABEL, NamespaceWanted, OWNER_ANNOTATION, Reply,
};

use crate::api::Api;
use crate::fault::Fault;
use crate::objects;
use crate::provision::{known_uid, text, unusable};
use crate::wire::Wire;

fn refused(name: &str, rule: &str) -> Fault {
    Fault::new(ExitCode::ClusterNamespace, format!("namespace {name} {rule}"))
}

/// Whether the namespace is there and ours to use; creates it where that is wanted. True when it was made by this.
pub async fn ensure(api: &Api, wanted: &NamespaceWanted, wire: &mut Wire) -> Result<bool, Fault> {
    let name = wanted.name.as_str();
    if look(api, wanted).await? {
        return Ok(false);
    }
    if !wanted.create {
        return Err(absent(name));
    }
    let answer = api.post("/api/v1/namespaces", &objects::namespace(wanted)).await?;
    if answer.status == StatusCode::CONFLICT {
        // Another job of the same owner was quicker, or our own first try was served and its answer lost.
        return if look(api, wanted).await? { Ok(false) } else { Err(refused(name, "comes and goes")) };
    }
    let made: Value = answer.success("create namespaces")?.object()?;
    fit(&made, wanted)?;
    let uid = known_uid(&made)?;
    wire.reply(&Reply::Created { kind: Kind::Namespace, name: name.to_owned(), uid }).await?;
    Ok(true)
}

/// Whether the namespace exists; a Fault when it exists and must not be used. Changes nothing.
pub async fn look(api: &Api, wanted: &NamespaceWanted) -> Result<bool, Fault> {
    let answer = api.get(&format!("/api/v1/namespaces/{}", wanted.name)).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(false);
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
    Ok(true)
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
                "has no owner; if it is this user's or team's alone, an administrator runs: \
                 kubectl annotate namespace {name} {OWNER_ANNOTATION}='{}'",
                wanted.owner
            );
            return Err(refused(name, &rule));
        }
    }
    if text(found, &format!("/metadata/labels/{}", key(MANAGED_LABEL))) != "true" {
        let rule = format!(
            "is not managed; an administrator runs: kubectl label namespace {name} {MANAGED_LABEL}=true"
        );
        return Err(refused(name, &rule));
    }
    Ok(())
}

/// Executors run under an account without rights and without token.
pub async fn executor_account(api: &Api, namespace: &str, wire: &mut Wire) -> Result<(), Fault> {
    let collection = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let path = format!("{collection}/{EXECUTOR_ACCOUNT}");
    let mut answer = api.get(&path).await?;
    let mut made = false;
    if answer.status == StatusCode::NOT_FOUND {
        answer = api.post(&collection, &objects::executor_account()).await?;
        made = answer.status.is_success();
        if answer.status == StatusCode::CONFLICT {
            answer = api.get(&path).await?;
        }
    }
    let found: Value = answer.success("get and create serviceaccounts")?.object()?;
    if text(&found, "/metadata/name") != EXECUTOR_ACCOUNT || text(&found, "/metadata/namespace") != namespace
    {
        return Err(unusable("it is about another account"));
    }
    if made {
        let uid = known_uid(&found)?;
        let created = Reply::Created { kind: Kind::ExecutorAccount, name: EXECUTOR_ACCOUNT.to_owned(), uid };
        wire.reply(&created).await?;
    }
    if found.pointer("/automountServiceAccountToken") == Some(&json!(false)) {
        Ok(())
    } else {
        Err(Fault::new(
            ExitCode::ClusterNamespace,
            format!(
                "executors would get a token of account {namespace}/{EXECUTOR_ACCOUNT}; an administrator runs: kubectl \
                 patch serviceaccount {EXECUTOR_ACCOUNT} -n {namespace} -p \
                 '{{\"automountServiceAccountToken\":false}}'"
            ),
        ))
    }
}
