//! What policies say of a namespace, looked at on every run: labels and annotations in the answer about the namespace that
//! is asked for anyway, quota, limits and network policy with one read each, beside other requests. What differs is mended;
//! where nothing differs nothing is written.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::NamespaceWanted;

use crate::api::Api;
use crate::fault::Fault;
use crate::objects;
use crate::provision::unusable;
use crate::wire::Wire;
use crate::{executors, namespace};

pub mod drift;
#[cfg(test)]
mod tests;

use drift::{PARTS, Part};

/// Longest pause between two looks at a quota.
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// What was found of each part that is wanted. Nothing before it was looked for.
#[derive(Default)]
pub struct Live(Vec<(&'static Part, Result<Option<Value>, Fault>)>);

impl Live {
    /// Of a namespace that was just made.
    pub fn nothing(wanted: &NamespaceWanted) -> Self {
        let wanted = PARTS.iter().filter(|part| part.spec(&wanted.policies).is_some());
        Self(wanted.map(|part| (part, Ok(None))).collect())
    }
}

/// Looks at the objects that policies ask for, one read for each; none for a namespace without policies. May be sent before
/// it is known whether the namespace is there.
pub async fn read(api: &Api, wanted: &NamespaceWanted) -> Live {
    let mut live = Live::default();
    for part in PARTS.iter().filter(|part| part.spec(&wanted.policies).is_some()) {
        live.0.push((part, look(api, wanted, part).await));
    }
    live
}

async fn look(api: &Api, wanted: &NamespaceWanted, part: &Part) -> Result<Option<Value>, Fault> {
    let answer = api.get(&path(part, wanted)).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let found: Value = answer.success(&format!("get {}", part.resource))?.object()?;
    if found.pointer("/metadata/name").and_then(Value::as_str) != Some(part.name) {
        return Err(unusable("it is about another object"));
    }
    Ok(Some(found))
}

/// Makes the namespace be as its policies say, whatever it is like, the executors' account included. `until` bounds the wait
/// for a new quota. Returns what was changed, in words; nothing when nothing had to be.
///
/// # Errors
/// The namespace is not there or not of this owner; what a request can meet; a quota that is not enforced in time.
pub async fn apply(
    api: &Api,
    wanted: &NamespaceWanted,
    until: Instant,
    wire: &mut Wire,
) -> Result<Vec<String>, Fault> {
    let found = namespace::look(api, wanted).await?;
    let found = found.ok_or_else(|| namespace::absent(wanted.name.as_str()))?;
    let live = read(api, wanted).await;
    let mut changed = keep(api, wanted, &found, live, until, wire).await?;
    changed.extend(executors::account(api, wanted, wire).await?);
    Ok(changed)
}

/// The same for a namespace that was `found`, whose objects are `live`, without the executors' account.
pub async fn keep(
    api: &Api,
    wanted: &NamespaceWanted,
    found: &Value,
    live: Live,
    until: Instant,
    wire: &Wire,
) -> Result<Vec<String>, Fault> {
    let mut changed = Vec::new();
    // The mark is taken away after the object, and put there before it: whoever dies between leaves a mark too many.
    for part in drift::forsaken(found, &wanted.policies) {
        let answer = api.delete(&path(part, wanted), &objects::delete_options(None)).await?;
        if answer.status != StatusCode::NOT_FOUND {
            answer.success(&format!("delete {}", part.resource))?;
            changed.push(format!("{} {} removed: no policy asks for it", part.kind, part.name));
        }
    }
    if let Some(patch) = drift::of_namespace(found, &wanted.policies) {
        let answer = api.patch(&format!("/api/v1/namespaces/{}", wanted.name), &patch).await?;
        answer.success("patch namespaces")?;
        changed.push("labels and annotations of the namespace mended".to_owned());
    }
    for (part, found) in live.0 {
        let Some(spec) = part.spec(&wanted.policies) else { continue };
        let (object, how) = mended(api, wanted, part, &spec, found?).await?;
        changed.extend(how.map(|how| format!("{} {} {how}", part.kind, part.name)));
        if part.is_quota() && !api.is_on_trial() {
            enforced(api, wanted, part, object, until, wire).await?;
        }
    }
    Ok(changed)
}

fn path(part: &Part, wanted: &NamespaceWanted) -> String {
    format!("{}/{}", objects::collection(part.resource, wanted.name.as_str()), part.name)
}

/// The object as it is wanted, and what was done for it.
async fn mended(
    api: &Api,
    wanted: &NamespaceWanted,
    part: &Part,
    spec: &Value,
    found: Option<Value>,
) -> Result<(Value, Option<&'static str>), Fault> {
    let missing = found.is_none();
    if let Some(object) = found
        && part.is_as(spec, &object)
    {
        return Ok((object, None));
    }
    let object = applied(api, wanted, part, spec).await?;
    if part.is_as(spec, &object) {
        return Ok((object, Some(if missing { "made" } else { "mended" })));
    }
    // Server-side apply leaves what it was not told about, such as a scope that makes a quota count nothing.
    let gone = api.delete(&path(part, wanted), &objects::delete_options(None)).await?;
    if gone.status != StatusCode::NOT_FOUND {
        gone.success(&format!("delete {}", part.resource))?;
    }
    let object = applied(api, wanted, part, spec).await?;
    // On trial, what would be deleted is there still.
    if part.is_as(spec, &object) || api.is_on_trial() {
        return Ok((object, Some("made anew")));
    }
    Err(Fault::new(
        ExitCode::ClusterNamespace,
        format!(
            "{} {} of namespace {} does not become what the namespace's policy says; what else in the cluster changes it?",
            part.kind, part.name, wanted.name
        ),
    ))
}

/// Server-side apply, which makes what is not there.
async fn applied(api: &Api, wanted: &NamespaceWanted, part: &Part, spec: &Value) -> Result<Value, Fault> {
    let object = part.object(spec);
    let what = format!("patch {}", part.resource);
    let mut answer = api.apply(&path(part, wanted), &object).await?;
    if answer.status == StatusCode::CONFLICT {
        // Two runs that both make it.
        answer = api.apply(&path(part, wanted), &object).await?;
    }
    answer.success(&what)?.object()
}

/// Waits until the quota's controller has taken up its spec: before that it counts nothing.
async fn enforced(
    api: &Api,
    wanted: &NamespaceWanted,
    part: &Part,
    mut object: Value,
    until: Instant,
    wire: &Wire,
) -> Result<(), Fault> {
    let mut pause = Duration::from_millis(10);
    while !drift::is_enforced(&object) {
        if wire.interrupted() {
            return Err(Fault::new(ExitCode::Provisioner, "told to stop before everything was made"));
        }
        if Instant::now() + pause >= until {
            return Err(Fault::new(
                ExitCode::ClusterNamespace,
                format!(
                    "the quota {} of namespace {} is not enforced yet: the cluster's quota controller has not answered; try \
                     again, or raise timeouts.provision",
                    part.name, wanted.name
                ),
            ));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
        object = look(api, wanted, part).await?.unwrap_or_default();
    }
    Ok(())
}
