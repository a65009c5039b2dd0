//! `namespace adopt`.

use serde_json::json;

use super::{Looked, Office, looked_into};
use crate::cli::AdoptArgs;
use crate::exit::ExitCode;
use crate::policy::config::Config;
use crate::policy::names::NamespaceName;
use crate::policy::owner::Owner;
use crate::protocol::namespaces::{Adopt, Contents, SeenNamespace};
use crate::protocol::{Reply, Request};
use crate::supervisor::events::Events;
use crate::supervisor::report::{Report, escaped};
use crate::supervisor::{Failure, Outcome, audit, check, verbs};

/// Adopts.
///
/// # Errors
/// [`ExitCode::NamespaceRefused`] and [`ExitCode::ClusterNamespace`] for a namespace that must not be adopted;
/// [`ExitCode::Usage`] without `--yes`; what a decision, a cluster and its kubeconfig can meet.
pub(super) fn adopt(config: &Config, args: &AdoptArgs) -> Result<Outcome, Failure> {
    let name =
        NamespaceName::new(args.namespace.as_str()).map_err(Failure::of(ExitCode::NamespaceRefused))?;
    let owner = owner(config, args, &name)?;
    let office = Office::new(config, &args.administrator)?;
    if config.profiles.get(&args.profile).is_none_or(|profile| profile.cluster != office.name) {
        return Err(Failure::new(ExitCode::Usage, "the profile is of another cluster than --cluster names"));
    }
    let (mut events, mut session) = (Events::new()?, office.session());
    let looked = looked_into(&mut session, &mut events, &name, true)?;
    let namespace = &looked.namespace;
    may_be_adopted(namespace, &owner)?;
    // Another owner was refused.
    let done = namespace.managed && namespace.owner.is_some();
    let outcome = match (done, args.dry_run, args.yes) {
        (true, ..) => "adopted before",
        (false, true, _) => "would be adopted",
        (false, false, true) => "to be adopted",
        (false, false, false) => "not adopted",
    };
    show(args.json, office.name, &looked, &owner, outcome)?;
    if done {
        return Ok(Outcome::DONE);
    }
    if !args.yes && !args.dry_run {
        return Err(Failure::new(
            ExitCode::Usage,
            "nothing was changed: a job's driver may create pods there, and such a pod may use every account and secret \
             of the namespace; when all that is in it may be this owner's, call again with --yes",
        ));
    }
    let request = Request::Adopt(Adopt {
        name: name.clone(),
        uid: namespace.uid.clone(),
        resource_version: namespace.resource_version.clone(),
        owner: owner.as_str().to_owned(),
        dry_run: args.dry_run,
    });
    session
        .ask(&mut events, &request, super::PATIENCE, |reply| matches!(reply, Reply::Adopted).then_some(()))?;
    if !args.dry_run {
        audit::namespace("namespace-adopted", office.name, name.as_str(), owner.as_str());
    }
    Ok(Outcome::DONE)
}

/// The owner that a run would want of this namespace.
fn owner(config: &Config, args: &AdoptArgs, name: &NamespaceName) -> Result<Owner, Failure> {
    let profile = config.profiles.get(&args.profile).ok_or_else(|| {
        Failure::new(
            ExitCode::ProfileRefused,
            "no such profile; the configuration's `profiles` names those that exist",
        )
    })?;
    let refused = |message: String| Failure::new(ExitCode::NamespaceRefused, message);
    if let Some(text) = &args.owner {
        let owner = Owner::parse(text).map_err(|error| refused(error.to_string()))?;
        return match owner.gives(&profile.namespace.template, name) {
            true => Ok(owner),
            false => Err(refused(format!(
                "no run of this profile would use {name} with this owner; its template gives another name, or uses other \
                 variables (run --dry-run prints both)"
            ))),
        };
    }
    let login = args.user.as_deref().unwrap_or_default();
    let wanted =
        check::decided(config, &args.profile, profile, login, args.project.as_deref(), args.team.as_deref())?;
    if wanted.name != *name {
        return Err(refused(format!(
            "a run for this login would use namespace {} and not {name}",
            wanted.name
        )));
    }
    Owner::parse(&wanted.owner).map_err(|error| refused(error.to_string()))
}

fn may_be_adopted(namespace: &SeenNamespace, owner: &Owner) -> Result<(), Failure> {
    let refused = |rule: &str| {
        Err(Failure::new(ExitCode::ClusterNamespace, format!("namespace {} {rule}", namespace.name)))
    };
    if namespace.terminating {
        return refused("is being deleted");
    }
    match namespace.owner.as_deref() {
        Some(other) if other != owner.as_str() => refused(
            "has another owner; if that one's jobs are to use it no more, take the annotation spark-submit-as/owner \
             away first (kubectl annotate) and look at what that owner has left in it",
        ),
        _ => Ok(()),
    }
}

fn show(as_json: bool, cluster: &str, looked: &Looked, owner: &Owner, outcome: &str) -> Result<(), Failure> {
    let Looked { namespace, contents, problems, server } = looked;
    let names = |kind: &Contents| -> Vec<String> { kind.names.iter().map(|name| escaped(name)).collect() };
    if as_json {
        let contents: Vec<_> = contents
            .iter()
            .map(|kind| json!({"resource": escaped(&kind.resource), "count": kind.count, "names": names(kind)}))
            .collect();
        let whole = json!({
            "namespace": namespace.name.as_str(),
            "cluster": cluster,
            "server": escaped(server),
            "owner": owner.as_str(),
            "managed": namespace.managed,
            "pod_security": namespace.pod_security.as_deref().map(escaped),
            "contents": contents,
            "outcome": outcome,
        });
        let text = serde_json::to_string_pretty(&whole);
        verbs::print(&text.map_err(Failure::doing(ExitCode::Internal, "JSON"))?)?;
    } else {
        let mut lines = vec![
            format!("namespace {} of cluster {cluster} ({}): {outcome}", namespace.name, escaped(server)),
            format!("owner     {}", escaped(owner.as_str())),
        ];
        for kind in contents {
            let names = names(kind);
            let more = if kind.count > names.len() as u64 { ", ..." } else { "" };
            lines.push(format!("{:9} {}: {}{more}", kind.count, escaped(&kind.resource), names.join(", ")));
        }
        verbs::print(&lines.join("\n"))?;
    }
    let report = Report { quiet: false };
    problems.iter().for_each(|problem| report.warn(problem));
    if !matches!(namespace.pod_security.as_deref(), Some("restricted" | "baseline")) {
        report.warn(
            "the namespace enforces no Pod Security level: a job can have privileged pods there, and through them the \
             node (label pod-security.kubernetes.io/enforce=restricted)",
        );
    }
    Ok(())
}
