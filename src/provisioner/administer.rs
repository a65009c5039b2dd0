//! The administrator's verbs for namespaces, with the administrator's kubeconfig: the provisioner's own identity may do
//! none of this. Each change has uid and version of what root has looked at as its precondition.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde::Deserialize;
use serde_json::json;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::names::NamespaceName;
use spark_submit_as::policy::owner::MAX_OWNER;
use spark_submit_as::protocol::namespaces::{
    Adopt, ApplyPolicies, Contents, LookInto, MAX_CHANGES, MAX_NAMED, MAX_NAMESPACES, Prune, Pruned,
    SeenNamespace,
};
use spark_submit_as::protocol::{MANAGED_LABEL, OWNER_ANNOTATION, Reply};

use crate::api::{Answer, Api};
use crate::fault::{Fault, bounded};
use crate::objects;
use crate::overdue::OF_JOBS;
use crate::page::{Page, Pages};
use crate::policies;
use crate::wire::Wire;

/// Selects managed namespaces ([`MANAGED_LABEL`]).
const MANAGED: &str = "spark-submit-as%2Fmanaged%3Dtrue";
/// Longest time for one namespace's policies, whatever is asked for.
const MAX_SECONDS: u64 = 3600;
/// Most problems that are told.
const MAX_PROBLEMS: usize = 100;
/// What is counted in a namespace: what a pod there could use or be, and what a deletion would lose.
const KINDS: [(&str, &str); 16] = [
    ("/api/v1", "serviceaccounts"),
    ("/api/v1", "secrets"),
    ("/api/v1", "configmaps"),
    ("/api/v1", "pods"),
    ("/api/v1", "persistentvolumeclaims"),
    ("/api/v1", "services"),
    ("/api/v1", "resourcequotas"),
    ("/api/v1", "limitranges"),
    ("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    ("/apis/rbac.authorization.k8s.io/v1", "roles"),
    ("/apis/networking.k8s.io/v1", "networkpolicies"),
    ("/apis/apps/v1", "deployments"),
    ("/apis/apps/v1", "statefulsets"),
    ("/apis/apps/v1", "daemonsets"),
    ("/apis/batch/v1", "jobs"),
    ("/apis/batch/v1", "cronjobs"),
];

/// Of a namespace, what is looked at.
#[derive(Deserialize)]
struct Item {
    metadata: Metadata,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    uid: String,
    resource_version: String,
    creation_timestamp: Option<String>,
    deletion_timestamp: Option<String>,
    labels: Option<Labels>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize, Default)]
struct Labels {
    #[serde(rename = "spark-submit-as/managed")]
    managed: Option<String>,
    #[serde(rename = "pod-security.kubernetes.io/enforce")]
    pod_security: Option<String>,
}

#[derive(Deserialize, Default)]
struct Annotations {
    #[serde(rename = "spark-submit-as/owner")]
    owner: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    phase: Option<String>,
}

/// Of a list, what is looked at when it is only counted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    #[serde(default)]
    metadata: Remaining,
    items: Option<Vec<Named>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct Remaining {
    #[serde(rename = "continue")]
    next: Option<String>,
    remaining_item_count: Option<u64>,
}

#[derive(Deserialize)]
struct Named {
    metadata: Name,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

/// Tells all managed namespaces.
pub async fn list(api: &Api, server: &str, wire: &mut Wire) -> Result<Reply, Fault> {
    let mut pages = Pages::of("/api/v1/namespaces".to_owned(), MANAGED);
    let (mut date, mut told, mut problems) = (0, 0, Vec::new());
    'pages: loop {
        let page = match pages.next::<Item>(api).await? {
            Page::Last => break,
            Page::NotAllowed(reason) => return Err(not_allowed(&reason)),
            Page::Objects(page) => page,
        };
        date = page.date;
        for item in page.items {
            if wire.interrupted() {
                return Err(Fault::new(
                    ExitCode::Provisioner,
                    "told to stop before all namespaces were told",
                ));
            }
            if told >= MAX_NAMESPACES {
                problems.push(format!("there are more than {MAX_NAMESPACES} managed namespaces"));
                break 'pages;
            }
            let name = bounded(&item.metadata.name);
            match seen(item) {
                Some(namespace) => {
                    wire.reply(&Reply::Namespace(namespace)).await?;
                    told += 1;
                }
                None if problems.len() < MAX_PROBLEMS => problems.push(format!(
                    "namespace {name} has the label {MANAGED_LABEL} and is the cluster's own, or cannot be read; take \
                     the label away (kubectl label namespace {name} {MANAGED_LABEL}-)"
                )),
                None => {}
            }
        }
    }
    Ok(Reply::NamespacesDone { date, server: server.to_owned(), problems })
}

/// One namespace, and what is in it.
pub async fn look_into(api: &Api, server: &str, wanted: &LookInto) -> Result<Reply, Fault> {
    let answer = api.get(&path(&wanted.name)).await?;
    if answer.status == StatusCode::NOT_FOUND {
        let rule = format!("namespace {} does not exist", wanted.name);
        return Err(Fault::new(ExitCode::ClusterNamespace, rule));
    }
    let item: Item = done(answer, "get namespaces")?.object()?;
    let namespace = seen(item).filter(|found| found.name == wanted.name).ok_or_else(unusable)?;
    let (mut contents, mut problems) = (Vec::new(), Vec::new());
    for (group, resource) in KINDS.iter().filter(|_| wanted.contents) {
        match count(api, &wanted.name, group, resource).await? {
            Ok(counted) if counted.count == 0 => {}
            Ok(counted) => contents.push(counted),
            Err(problem) => problems.push(problem),
        }
    }
    Ok(Reply::Inside { namespace, contents, problems, server: server.to_owned() })
}

/// Counts the objects of a kind; why that was not possible, for this kind alone.
async fn count(
    api: &Api,
    namespace: &NamespaceName,
    group: &str,
    resource: &str,
) -> Result<Result<Contents, String>, Fault> {
    let answer = api.list(&format!("{group}/namespaces/{namespace}/{resource}?limit={MAX_NAMED}")).await?;
    if answer.status == StatusCode::FORBIDDEN {
        return Err(not_allowed(&format!("list {resource}: {}", answer.message())));
    }
    if !answer.status.is_success() {
        let status = answer.status.as_u16();
        return Ok(Err(bounded(&format!("{resource} cannot be counted: {status}: {}", answer.message()))));
    }
    let list: Counted = answer.object()?;
    let items = list.items.unwrap_or_default();
    let first = u64::try_from(items.len()).unwrap_or(u64::MAX);
    // A server that tells of more and not how many leaves it at one more.
    let more = list.metadata.next.filter(|next| !next.is_empty()).map(|_| 1).unwrap_or_default();
    let rest = list.metadata.remaining_item_count.unwrap_or(more);
    let names = items.iter().take(MAX_NAMED).map(|item| bounded(&item.metadata.name)).collect();
    Ok(Ok(Contents { resource: resource.to_owned(), count: first.saturating_add(rest), names }))
}

/// Makes a namespace a managed one of this owner.
pub async fn adopt(api: &Api, wanted: &Adopt) -> Result<Reply, Fault> {
    // A version or a uid that is not the namespace's is a conflict.
    let patch = json!({"metadata": {
        "uid": wanted.uid,
        "resourceVersion": wanted.resource_version,
        "labels": {MANAGED_LABEL: "true"},
        "annotations": {OWNER_ANNOTATION: wanted.owner},
    }});
    let answer = api.on_trial(wanted.dry_run).patch(&path(&wanted.name), &patch).await?;
    if answer.status == StatusCode::CONFLICT && !answer.repeated {
        let rule = format!("namespace {} was changed since it was looked at; look again", wanted.name);
        return Err(Fault::new(ExitCode::ClusterNamespace, rule));
    }
    // After a try whose answer was lost it may be our own.
    let answer =
        if answer.status == StatusCode::CONFLICT { api.get(&path(&wanted.name)).await? } else { answer };
    let item: Item = done(answer, "patch namespaces")?.object()?;
    let adopted = seen(item).filter(|found| {
        found.name == wanted.name
            && found.uid == wanted.uid
            && found.managed
            && found.owner.as_deref() == Some(wanted.owner.as_str())
    });
    adopted.map(|_| Reply::Adopted).ok_or_else(unusable)
}

/// Brings the policies into one namespace, as a run does.
pub async fn apply_policies(api: &Api, wanted: &ApplyPolicies, wire: &mut Wire) -> Result<Reply, Fault> {
    let until = Instant::now() + Duration::from_secs(wanted.seconds.min(MAX_SECONDS));
    let api = api.on_trial(wanted.dry_run);
    let mut changed = policies::apply(&api, &wanted.namespace, until, wire).await?;
    changed.truncate(MAX_CHANGES);
    Ok(Reply::PoliciesApplied { changed })
}

/// Deletes a namespace in which no job is left.
pub async fn prune(api: &Api, wanted: &Prune) -> Result<Reply, Fault> {
    for (resource, kept) in [("serviceaccounts", Pruned::JobAccount), ("pods", Pruned::JobPod)] {
        let collection = objects::collection(resource, wanted.name.as_str());
        let answer = api.list(&format!("{collection}?labelSelector={OF_JOBS}&limit=1")).await?;
        let list: Counted = done(answer, &format!("list {resource}"))?.object()?;
        if list.items.is_some_and(|items| !items.is_empty()) {
            return Ok(Reply::Pruned(kept));
        }
    }
    if wanted.dry_run {
        return Ok(Reply::Pruned(Pruned::WouldDelete));
    }
    let options = objects::delete_unchanged(&wanted.uid, &wanted.resource_version);
    let answer = api.delete(&path(&wanted.name), &options).await?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(Reply::Pruned(Pruned::Gone)),
        // A first try that was served has begun the deletion, and so changed the version.
        StatusCode::CONFLICT if answer.repeated => {
            let answer = api.get(&path(&wanted.name)).await?;
            let item: Item = done(answer, "get namespaces")?.object()?;
            let ours = seen(item).is_some_and(|found| found.uid == wanted.uid && found.terminating);
            Ok(Reply::Pruned(if ours { Pruned::Deleted } else { Pruned::Changed }))
        }
        StatusCode::CONFLICT => Ok(Reply::Pruned(Pruned::Changed)),
        _ => done(answer, "delete namespaces").map(|_| Reply::Pruned(Pruned::Deleted)),
    }
}

fn path(name: &NamespaceName) -> String {
    format!("/api/v1/namespaces/{name}")
}

/// What is to be told of a namespace; none when it is no one's to use.
fn seen(item: Item) -> Option<SeenNamespace> {
    let metadata = item.metadata;
    let name = NamespaceName::new(metadata.name).ok()?;
    // An empty one would be no precondition at all.
    let opaque = |text: &String| {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !opaque(&metadata.uid) || !opaque(&metadata.resource_version) {
        return None;
    }
    let created = metadata.creation_timestamp?.parse::<jiff::Timestamp>().ok()?.as_second();
    let phase = item.status.and_then(|status| status.phase);
    let labels = metadata.labels.unwrap_or_default();
    let owner = metadata.annotations.unwrap_or_default().owner;
    Some(SeenNamespace {
        name,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        created,
        terminating: metadata.deletion_timestamp.is_some() || phase.as_deref() == Some("Terminating"),
        managed: labels.managed.as_deref() == Some("true"),
        // A longer one is no run's; that there is one must be known.
        owner: owner.map(|text| if text.len() > MAX_OWNER { "(too long)".to_owned() } else { text }),
        pod_security: labels.pod_security,
    })
}

/// A success, or a failure whose advice is for an administrator's credential.
fn done(answer: Answer, what: &str) -> Result<Answer, Fault> {
    match answer.status {
        StatusCode::FORBIDDEN => Err(not_allowed(&format!("{what}: {}", answer.message()))),
        StatusCode::UNAUTHORIZED => {
            let rule = format!("{what}: the API server does not accept the credential of --kubeconfig");
            Err(Fault::new(ExitCode::ClusterCredential, rule))
        }
        _ => answer.success(what),
    }
}

fn not_allowed(reason: &str) -> Fault {
    let rule = format!("{reason}; --kubeconfig must be an administrator's, who may do this");
    Fault::new(ExitCode::ClusterRefused, rule)
}

fn unusable() -> Fault {
    Fault::new(ExitCode::ClusterRefused, "namespaces: the API server's answer cannot be used").perhaps()
}
