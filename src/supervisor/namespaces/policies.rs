//! `namespace policies apply`: what the next run in a namespace would do about its policies, done now.

use serde_json::{Value, json};

use super::{Listed, Office, PATIENCE, listed};
use crate::cli::PoliciesApplyArgs;
use crate::exit::ExitCode;
use crate::policy::config::Config;
use crate::policy::names::NamespaceName;
use crate::policy::owner::Owner;
use crate::policy::wanted;
use crate::protocol::namespaces::{ApplyPolicies, MAX_CHANGES, SeenNamespace};
use crate::protocol::{NamespaceWanted, Reply, Request};
use crate::supervisor::cluster::Session;
use crate::supervisor::events::Events;
use crate::supervisor::report::{Report, escaped};
use crate::supervisor::{Failure, Outcome, plan, verbs};

/// Most namespaces that are named in one call.
const MAX_NAMED: usize = 1024;

/// Applies.
///
/// # Errors
/// That of the first namespace that did not get its policies, after all were tried; what a cluster and its kubeconfig can
/// meet.
pub(super) fn apply(config: &Config, args: &PoliciesApplyArgs) -> Result<Outcome, Failure> {
    let office = Office::new(config, &args.administrator)?;
    let (mut events, mut session) = (Events::new()?, office.session());
    let listed = listed(&mut session, &mut events)?;
    let report = Report { quiet: false };
    listed.problems.iter().for_each(|problem| report.warn(problem));
    let chosen = chosen(&listed, args)?;
    let (mut rows, mut first) = (Vec::new(), None);
    for namespace in chosen {
        let done = match wanted(&office, namespace) {
            // Of all, those of others are none of ours; one that was named is a mistake.
            Ok(None) if args.all => Ok(None),
            Ok(None) => Err(Failure::new(
                ExitCode::NamespaceRefused,
                "no profile of this configuration gives this name for its owner, so no policy is for it",
            )),
            Ok(Some(wanted)) => one(&office, &mut session, &mut events, wanted, args.dry_run).map(Some),
            Err(failure) => Err(failure),
        };
        let (outcome, changed) = match done {
            Ok(None) => ("not ours", Vec::new()),
            Ok(Some(changed)) if changed.is_empty() => ("unchanged", changed),
            Ok(Some(changed)) => (if args.dry_run { "would change" } else { "changed" }, changed),
            Err(failure) if failure.code == ExitCode::Interrupted => return Err(failure),
            Err(failure) => {
                let message = failure.message.clone();
                first.get_or_insert(failure);
                ("failed", vec![message])
            }
        };
        let changed: Vec<String> = changed.iter().map(|text| escaped(text)).collect();
        rows.push(json!({"namespace": namespace.name.as_str(), "outcome": outcome, "changes": changed}));
    }
    print(args.json, &office, &listed, &rows)?;
    match first {
        None => Ok(Outcome::DONE),
        Some(failure) => {
            Err(Failure::new(failure.code, "not every namespace got its policies; see the lines above"))
        }
    }
}

/// The namespaces that are meant.
fn chosen<'a>(listed: &'a Listed, args: &PoliciesApplyArgs) -> Result<Vec<&'a SeenNamespace>, Failure> {
    if args.all {
        return Ok(listed.namespaces.iter().filter(|namespace| !namespace.terminating).collect());
    }
    if args.namespaces.len() > MAX_NAMED {
        return Err(Failure::new(ExitCode::Usage, format!("more than {MAX_NAMED} namespaces are named")));
    }
    let mut chosen = Vec::new();
    for name in &args.namespaces {
        let name = NamespaceName::new(name.as_str()).map_err(Failure::of(ExitCode::NamespaceRefused))?;
        let found = listed.namespaces.iter().find(|namespace| namespace.name == name);
        chosen.push(found.ok_or_else(|| {
            Failure::new(
                ExitCode::ClusterNamespace,
                format!("there is no managed namespace {name}; `namespace adopt` makes one managed"),
            )
        })?);
    }
    Ok(chosen)
}

/// What a run would want of a namespace; none when no run would use it.
fn wanted(office: &Office<'_>, namespace: &SeenNamespace) -> Result<Option<NamespaceWanted>, Failure> {
    let Some(owner) = namespace.owner.as_deref().and_then(|text| Owner::parse(text).ok()) else {
        return Ok(None);
    };
    let mut found: Option<(&str, wanted::Policies)> = None;
    for (name, profile) in office.profiles(&owner, &namespace.name) {
        let named = &profile.namespace.policies;
        let policies = wanted::policies(office.config, named, &namespace.name, owner.as_str())
            .map_err(|error| Failure::new(error.code(), error.to_string()))?;
        match &found {
            None => found = Some((name, policies)),
            Some((_, known)) if *known == policies => {}
            // The configuration refuses this of profiles with one template; two may give one name all the same.
            Some((other, _)) => {
                return Err(Failure::new(
                    ExitCode::ConfigInvalid,
                    format!(
                        "profiles {other} and {name} both use it and name different policies; let both name the same"
                    ),
                ));
            }
        }
    }
    Ok(found.map(|(_, policies)| NamespaceWanted {
        name: namespace.name.clone(),
        create: false,
        owner: owner.as_str().to_owned(),
        labels: plan::first_labels(),
        policies,
        volumes: false,
    }))
}

/// What was changed.
fn one(
    office: &Office<'_>,
    session: &mut Session<'_>,
    events: &mut Events,
    namespace: NamespaceWanted,
    dry_run: bool,
) -> Result<Vec<String>, Failure> {
    let seconds = office.config.timeouts.provision.as_secs();
    let request = Request::ApplyPolicies(ApplyPolicies { namespace, dry_run, seconds });
    session.ask(events, &request, PATIENCE, |reply| match reply {
        Reply::PoliciesApplied { mut changed } => {
            changed.truncate(MAX_CHANGES);
            Some(changed)
        }
        _ => None,
    })
}

fn print(as_json: bool, office: &Office<'_>, listed: &Listed, rows: &[Value]) -> Result<(), Failure> {
    let server = escaped(&listed.server);
    if as_json {
        let whole = json!({"cluster": office.name, "server": server, "namespaces": rows});
        let text = serde_json::to_string_pretty(&whole);
        return verbs::print(&text.map_err(Failure::doing(ExitCode::Internal, "JSON"))?).map(drop);
    }
    let mut lines = vec![format!("cluster {} ({server})", office.name)];
    for row in rows {
        let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
        lines.push(format!("{} {}", text("outcome"), text("namespace")));
        let changes = row.get("changes").and_then(Value::as_array).into_iter().flatten();
        lines.extend(changes.filter_map(Value::as_str).map(|change| format!("  {change}")));
    }
    verbs::print(&lines.join("\n")).map(drop)
}
