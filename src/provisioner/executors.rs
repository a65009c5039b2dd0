//! The executors' account: no rights, no token, and what policies give it (a cloud role, Secrets to pull images with).

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Map, Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::wanted::Policies;
use spark_submit_as::protocol::{APPLIED_ANNOTATION, EXECUTOR_ACCOUNT, Kind, NamespaceWanted, Reply};

use crate::api::Api;
use crate::fault::Fault;
use crate::objects;
use crate::policies::drift;
use crate::provision::{known_uid, text, unusable};
use crate::wire::Wire;

/// Sees to the executors' account. Returns what was changed of one that was there.
pub async fn account(api: &Api, wanted: &NamespaceWanted, wire: &mut Wire) -> Result<Option<String>, Fault> {
    let namespace = wanted.name.as_str();
    let collection = objects::collection("serviceaccounts", namespace);
    let path = format!("{collection}/{EXECUTOR_ACCOUNT}");
    let mut answer = api.get(&path).await?;
    let mut made = false;
    if answer.status == StatusCode::NOT_FOUND {
        answer = api.post(&collection, &object(&wanted.policies)).await?;
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
    if found.pointer("/automountServiceAccountToken") != Some(&json!(false)) {
        return Err(Fault::new(
            ExitCode::ClusterNamespace,
            format!(
                "executors would get a token of account {namespace}/{EXECUTOR_ACCOUNT}; an administrator runs: kubectl \
                 patch serviceaccount {EXECUTOR_ACCOUNT} -n {namespace} -p \
                 '{{\"automountServiceAccountToken\":false}}'"
            ),
        ));
    }
    let Some(patch) = patch(&found, &wanted.policies) else { return Ok(None) };
    api.patch(&path, &patch).await?.success("patch serviceaccounts")?;
    Ok(Some(format!("ServiceAccount {EXECUTOR_ACCOUNT} mended")))
}

/// Its annotations with these policies, [`APPLIED_ANNOTATION`] included; none without any for it.
fn annotations(policies: &Policies) -> BTreeMap<String, String> {
    let mut annotations = policies.account_annotations.clone();
    let keys = policies.account_annotations.keys().map(|key| format!("annotation:{key}"));
    let words: Vec<String> =
        keys.chain(policies.pull_secrets.iter().map(|name| format!("secret:{name}"))).collect();
    if !words.is_empty() {
        annotations.insert(APPLIED_ANNOTATION.to_owned(), words.join(","));
    }
    annotations
}

fn references(names: &[String]) -> Value {
    names.iter().map(|name| json!({"name": name})).collect()
}

/// The account to make.
fn object(policies: &Policies) -> Value {
    let mut object = objects::executor_account();
    if let Some(object) = object.as_object_mut() {
        let annotations = annotations(policies);
        if !annotations.is_empty() {
            object
                .insert("metadata".to_owned(), json!({"name": EXECUTOR_ACCOUNT, "annotations": annotations}));
        }
        if !policies.pull_secrets.is_empty() {
            object.insert("imagePullSecrets".to_owned(), references(&policies.pull_secrets));
        }
    }
    object
}

/// Merge patch that makes the account what policies say; none when it is. What others put there stays: some clusters give
/// every account a pull secret of their own.
fn patch(found: &Value, policies: &Policies) -> Option<Value> {
    let before = drift::applied(found).unwrap_or_default();
    let wanted = annotations(policies);
    let mut annotations = drift::differing(found, "annotations", &wanted);
    let there = |key: &str| found.pointer("/metadata/annotations").is_some_and(|all| all.get(key).is_some());
    let forsaken =
        before.iter().filter_map(|word| word.strip_prefix("annotation:")).chain([APPLIED_ANNOTATION]);
    for key in forsaken.filter(|key| !wanted.contains_key(*key) && there(key)) {
        annotations.insert(key.to_owned(), Value::Null);
    }
    let live: Vec<String> = found
        .get("imagePullSecrets")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|secret| text(secret, "/name").to_owned())
        .collect();
    let forsaken =
        |name: &String| before.contains(&format!("secret:{name}")) && !policies.pull_secrets.contains(name);
    let mut secrets: Vec<String> = live.iter().filter(|name| !forsaken(name)).cloned().collect();
    secrets.extend(policies.pull_secrets.iter().filter(|name| !live.contains(name)).cloned());
    let mut patch = Map::new();
    if !annotations.is_empty() {
        patch.insert("metadata".to_owned(), json!({"annotations": annotations}));
    }
    if secrets != live {
        patch.insert("imagePullSecrets".to_owned(), references(&secrets));
    }
    if patch.is_empty() { None } else { Some(Value::Object(patch)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policies(annotations: &[(&str, &str)], secrets: &[&str]) -> Policies {
        Policies {
            account_annotations: annotations
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            pull_secrets: secrets.iter().map(ToString::to_string).collect(),
            ..Policies::default()
        }
    }

    #[test]
    fn an_account_that_was_made_needs_no_patch() {
        for policies in
            [policies(&[], &[]), policies(&[("c/role", "r")], &[]), policies(&[("c/role", "r")], &["pull"])]
        {
            assert_eq!(patch(&object(&policies), &policies), None);
        }
        assert!(object(&policies(&[], &[])).pointer("/metadata/annotations").is_none());
    }

    #[test]
    fn what_was_changed_by_hand_is_mended_and_what_others_put_there_stays() {
        let wanted = policies(&[("c/role", "r")], &["pull"]);
        let mut found = object(&wanted);
        found["metadata"]["annotations"]["c/role"] = json!("admin");
        found["metadata"]["annotations"]["d/other"] = json!("x");
        found["imagePullSecrets"] = json!([{"name": "platform"}]);
        assert_eq!(
            patch(&found, &wanted),
            Some(json!({
                "metadata": {"annotations": {"c/role": "r"}},
                "imagePullSecrets": [{"name": "platform"}, {"name": "pull"}],
            }))
        );
    }

    #[test]
    fn what_no_policy_asks_for_any_more_is_taken_away() {
        let mut found = object(&policies(&[("c/role", "r"), ("c/other", "o")], &["pull"]));
        found["imagePullSecrets"] = json!([{"name": "platform"}, {"name": "pull"}]);
        assert_eq!(
            patch(&found, &policies(&[("c/role", "r")], &[])),
            Some(json!({
                "metadata": {"annotations": {"c/other": null, APPLIED_ANNOTATION: "annotation:c/role"}},
                "imagePullSecrets": [{"name": "platform"}],
            }))
        );
        assert_eq!(
            patch(&found, &Policies::default()),
            Some(json!({
                "metadata": {"annotations": {"c/other": null, "c/role": null, APPLIED_ANNOTATION: null}},
                "imagePullSecrets": [{"name": "platform"}],
            }))
        );
    }
}
