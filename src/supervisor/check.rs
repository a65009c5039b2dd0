//! `check` and `run --dry-run`: the same decisions as a run, told instead of carried out.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::cluster::Session;
use super::events::Events;
use super::invocation::Invocation;
use super::lookup::{self, Question, Record};
use super::{Failure, load, plan, properties};
use crate::cli::CheckArgs;
use crate::exit::ExitCode;
use crate::policy::config::{Cluster, Config, Profile, Program};
use crate::policy::identity::Authority;
use crate::policy::names::NamespaceName;
use crate::policy::wanted;
use crate::protocol::{Check, CheckLine, ISOLATED, LIMITS, NamespaceWanted, QUOTA, Reply, Request};
use crate::sys::host;

/// Oldest sudo: 1.9.5 fixed CVE-2021-3156.
const SUDO_FLOOR: (u32, u32, u32) = (1, 9, 5);
/// Namespace that is asked about when no login says which.
const EXAMPLE_NAMESPACE: &str = "spark-submit-as-check";

/// The decision of a run.
///
/// # Errors
/// [`ExitCode::Internal`].
pub fn decision(plan: &plan::Plan, json: bool) -> Result<String, Failure> {
    let name = plan.job.object_name();
    let mut objects = vec![
        format!("ServiceAccount {name}"),
        format!("RoleBinding {name} to ClusterRole {}", plan.cluster.driver_role),
        format!("Secret {name}"),
    ];
    if plan.namespace.policies.network.is_some() {
        objects.push(format!("NetworkPolicy {name}"));
    }
    if let Some(claim) = &plan.claim {
        objects.push(format!("PersistentVolumeClaim {} (stays after the job)", claim.name));
        objects.push(format!("Role and RoleBinding {name}-volume"));
    }
    let kept = kept(&plan.namespace.policies);
    let rules: Vec<String> = plan.trace.iter().map(ToString::to_string).collect();
    let value = json!({
        "login": plan.login.as_str(),
        "caller": plan.caller,
        "tags": plan.tags,
        "user": plan.user_name.as_str(),
        "uid": plan.user.uid,
        "rules": &rules,
        "allowed_by": plan.allowed_by,
        "called_by": plan.called_by,
        "profile": plan.profile_name,
        "namespace": plan.namespace.name.as_str(),
        "namespace_owner": plan.namespace.owner,
        "namespace_create": plan.namespace.create,
        "namespace_policies": plan.namespace.policies,
        "isolation_required": plan.isolation_required(),
        "objects": objects,
        "program": plan.program.display().to_string(),
        "command": plan.shown_arguments(),
    });
    if json {
        return serde_json::to_string_pretty(&value).map_err(Failure::doing(ExitCode::Internal, "JSON"));
    }
    let mut lines = vec![
        format!("login        {}", plan.login),
        format!(
            "UNIX account {} (uid {}), allowed by {} and {}",
            plan.user_name, plan.user.uid, plan.allowed_by, plan.called_by
        ),
    ];
    lines.extend(rules.iter().map(|rule| format!("  {rule}")));
    let how = if plan.namespace.create { "created when missing" } else { "must exist" };
    lines.push(format!("namespace    {} ({how}), owner {}", plan.namespace.name, plan.namespace.owner));
    lines.extend(kept.iter().map(|what| format!("policies     {what}")));
    lines.push(format!("isolation    {}", if plan.isolation_required() { "required" } else { "optional" }));
    lines.extend(objects.iter().map(|object| format!("object       {object}")));
    lines.push(format!("command      {}", plan.shown_arguments().join(" ")));
    Ok(lines.join("\n"))
}

/// What policies keep in the namespace, in words.
fn kept(policies: &wanted::Policies) -> Vec<String> {
    let object = |name: &str, spec: Option<&serde_json::Value>| spec.map(|spec| format!("{name}: {spec}"));
    let isolated = policies.network.as_ref().map(|_| format!("NetworkPolicy {ISOLATED}"));
    let pairs = |what: &'static str, table: &BTreeMap<String, String>| {
        table.iter().map(|(key, value)| format!("{what} {key}={value}")).collect::<Vec<_>>()
    };
    let mut kept = pairs("label", &policies.labels);
    kept.extend(pairs("annotation", &policies.annotations));
    kept.extend(object(&format!("ResourceQuota {QUOTA}"), policies.quota.as_ref()));
    kept.extend(object(&format!("LimitRange {LIMITS}"), policies.limits.as_ref()));
    kept.extend(isolated);
    kept.extend(pairs("annotation of the executors' account", &policies.account_annotations));
    kept
}

/// The lines, for people or as JSON.
///
/// # Errors
/// [`ExitCode::Internal`].
pub fn render(lines: &[CheckLine], json: bool) -> Result<String, Failure> {
    if json {
        return serde_json::to_string_pretty(lines).map_err(Failure::doing(ExitCode::Internal, "JSON"));
    }
    let mark = |ok| if ok { "ok  " } else { "FAIL" };
    let text: Vec<String> = lines
        .iter()
        .map(|line| super::report::escaped(&format!("{} {}: {}", mark(line.ok), line.what, line.message)))
        .collect();
    Ok(text.join("\n"))
}

fn line(what: impl Into<String>, result: Result<String, String>) -> CheckLine {
    let ok = result.is_ok();
    CheckLine { what: what.into(), ok, message: result.unwrap_or_else(|problem| problem) }
}

/// Looks at everything that a run needs, without making anything.
#[must_use]
pub fn check(path: &Path, args: &CheckArgs) -> Vec<CheckLine> {
    let mut lines = vec![sudo()];
    let config = match load::config(path) {
        Ok(config) => config,
        Err(failure) => {
            lines.push(line("configuration", Err(failure.message)));
            return lines;
        }
    };
    lines.push(line("configuration", Ok(format!("{} accepted", path.display()))));
    if let Some(path) = &config.users.properties {
        let told = properties::load(path).map(|_| format!("{} accepted", path.display()));
        lines.push(line("admin properties", told.map_err(|failure| failure.message)));
    }
    let question = Question {
        names: vec![config.provisioner.clone()],
        groups: config.users.allowed_groups.clone(),
        ..Question::default()
    };
    let answer = match lookup::ask(&question, config.timeouts.lookup) {
        Ok(answer) => answer,
        Err(failure) => {
            lines.push(line("account database", Err(failure.message)));
            return lines;
        }
    };
    for group in &config.users.allowed_groups {
        let found = answer.groups.get(group).map(|gid| format!("gid {gid}"));
        lines.push(line(format!("group {group}"), found.ok_or_else(|| "does not exist (groupadd)".into())));
    }
    let Some(provisioner) = answer.names.get(&config.provisioner) else {
        lines.push(line(
            "provisioner",
            Err(format!("account {} does not exist (useradd --system)", config.provisioner)),
        ));
        return lines;
    };
    let own = !config.callers.iter().any(|entry| entry.account() == Some(&config.provisioner));
    let told = if own {
        format!("account {}, uid {}", provisioner.name, provisioner.uid)
    } else {
        format!("{} is a caller's account: the platform can read the cluster credential", provisioner.name)
    };
    lines.push(line("provisioner", Ok(told)));
    for (name, profile) in &config.profiles {
        if args.profile.as_ref().is_none_or(|wanted| wanted == name) {
            lines.extend(profile_lines(&config, name, profile, provisioner, args.user.as_deref()));
        }
    }
    if args.profile.as_ref().is_some_and(|wanted| !config.profiles.contains_key(wanted)) {
        lines.push(line("profile", Err("no such profile in the configuration".into())));
    }
    lines
}

fn profile_lines(
    config: &Config,
    name: &str,
    profile: &Profile,
    provisioner: &Record,
    user: Option<&str>,
) -> Vec<CheckLine> {
    let what = |part: &str| format!("profile {name}, {part}");
    let mut lines = vec![line(
        what("Spark"),
        plan::look_at_spark(profile)
            .map(|()| profile.spark_home.display().to_string())
            .map_err(|f| f.message),
    )];
    let Some(cluster) = config.clusters.get(&profile.cluster) else { return lines };
    let namespace = match user {
        None => NamespaceName::new(EXAMPLE_NAMESPACE)
            .map(|name| NamespaceWanted {
                name,
                create: profile.namespace.create,
                owner: "{}".into(),
                labels: plan::first_labels(),
                policies: wanted::anywhere(config, &profile.namespace.policies).unwrap_or_default(),
                volumes: profile.volume.is_some(),
            })
            .map_err(|error| error.to_string()),
        Some(login) => decided(config, name, profile, login, None, None).map_err(|failure| failure.message),
    };
    match namespace {
        Err(problem) => lines.push(line(what("login"), Err(problem))),
        Ok(namespace) => {
            if user.is_some() {
                lines.push(line(what("login"), Ok(format!("namespace {}", namespace.name))));
            }
            let wanted = Check { namespace, isolation_required: profile.namespace.isolation_required() };
            match ask_cluster(config, cluster, provisioner, wanted) {
                Ok(told) => {
                    lines.extend(told.into_iter().map(|told| CheckLine { what: what(&told.what), ..told }))
                }
                Err(failure) => lines.push(line(what("cluster"), Err(failure.message))),
            }
        }
    }
    lines
}

/// The namespace that a run for this login would have.
pub(super) fn decided(
    config: &Config,
    name: &str,
    profile: &Profile,
    login: &str,
    project: Option<&str>,
    team: Option<&str>,
) -> Result<NamespaceWanted, Failure> {
    let program = profile.programs.first().copied().unwrap_or(Program::SparkSubmit);
    let arguments = if program == Program::SparkSubmit { vec!["check.py".into()] } else { Vec::new() };
    let program = program.file_name().to_owned();
    let wanted = Invocation {
        master: None,
        user: login.to_owned(),
        profile: name.to_owned(),
        project: project.map(str::to_owned),
        team: team.map(str::to_owned),
        program,
        conf: BTreeMap::new(),
        stage: Vec::new(),
        tags: BTreeMap::new(),
        arguments,
    };
    let root = Record {
        name: "root".into(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        home: "/".into(),
        shell: "/bin/sh".into(),
        locked: false,
        expired: false,
    };
    plan::decide(config, &root, Authority::Administrator, wanted).map(|plan| plan.namespace)
}

fn ask_cluster(
    config: &Config,
    cluster: &Cluster,
    provisioner: &Record,
    wanted: Check,
) -> Result<Vec<CheckLine>, Failure> {
    let mut events = Events::new()?;
    let mut session = Session::new(config, cluster, provisioner);
    session.ask(&mut events, &Request::Check(wanted), config.timeouts.provision, |reply| match reply {
        Reply::Checked { lines } => Some(lines),
        _ => None,
    })
}

/// The version of sudo. It is not needed by root itself, so a host without it is only told.
fn sudo() -> CheckLine {
    let output = std::process::Command::new("/usr/bin/sudo").arg("-V").env_clear().output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let version = text.lines().next().and_then(|line| line.strip_prefix("Sudo version ")).unwrap_or_default();
    let result = match (host::version(version), third(version)) {
        (Some((major, minor)), Some(patch)) if (major, minor, patch) >= SUDO_FLOOR => Ok(version.to_owned()),
        (Some(_), _) => Err(format!("{version} is older than 1.9.5, the oldest supported (CVE-2021-3156)")),
        (None, _) => Ok("not found at /usr/bin/sudo; callers other than root need it or sudo-rs".to_owned()),
    };
    line("sudo", result)
}

/// `5` of `1.9.5p2`.
fn third(version: &str) -> Option<u32> {
    let text = version.split('.').nth(2).unwrap_or("0");
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
