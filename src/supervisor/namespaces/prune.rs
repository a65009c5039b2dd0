//! `namespace prune`: deletes the namespaces of users that have been gone for long.
//!
//! A namespace that is deleted wrongly does not come back, so every doubt keeps it: an account database that answers with
//! an error, or that suddenly knows nobody, ends the whole call; each namespace must be one person's by its annotation and
//! by a template of this configuration, and no job of it may be left here or in the cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::memory::Memory;
use super::{Office, listed, looked_into, users};
use crate::cli::PruneArgs;
use crate::exit::ExitCode;
use crate::policy::absence::{Absences, Seen};
use crate::policy::config::Config;
use crate::policy::names::NamespaceName;
use crate::policy::owner::{Owner, Person};
use crate::protocol::namespaces::{Prune, Pruned, SeenNamespace};
use crate::protocol::{Reply, Request};
use crate::supervisor::cluster::{self, Session};
use crate::supervisor::events::Events;
use crate::supervisor::journal::{Found, Journal, Unreadable};
use crate::supervisor::lookup::Existence;
use crate::supervisor::report::{Report, escaped};
use crate::supervisor::{Failure, Outcome, audit, verbs};

/// Why a namespace is kept whoever is missing.
fn not_a_persons(office: &Office<'_>, namespace: &SeenNamespace) -> Result<(Owner, Person), &'static str> {
    if namespace.terminating {
        return Err("it is being deleted");
    }
    let owner = namespace.owner.as_deref().ok_or("it has no owner")?;
    let owner = Owner::parse(owner).map_err(|_| "its owner is none that a run would write")?;
    let person = owner.only_person().ok_or("it is not one person's")?;
    if office.profiles(&owner, &namespace.name).next().is_none() {
        return Err("no profile of this configuration gives this name for its owner");
    }
    Ok((owner, person))
}

/// A namespace that is one person's.
struct Candidate<'a> {
    namespace: &'a SeenNamespace,
    owner: Owner,
    person: Person,
}

/// Prunes.
///
/// # Errors
/// [`ExitCode::LookupFailed`] when the account database cannot be believed: nothing was done then;
/// [`ExitCode::CleanupIncomplete`] when a namespace could not be deleted; what a cluster and its kubeconfig can meet.
pub(super) fn prune(config: &Config, args: &PruneArgs) -> Result<Outcome, Failure> {
    let office = Office::new(config, &args.administrator)?;
    let memory = Memory::open(args.yes)?;
    let report = Report { quiet: false };
    let mut events = Events::new()?;
    let mut session = office.session();
    let listed = listed(&mut session, &mut events)?;
    listed.problems.iter().for_each(|problem| report.warn(problem));
    let (mut absences, problem) = memory.read()?;
    problem.iter().for_each(|problem| report.warn(problem));

    let mut output = Output { json: args.json, rows: Vec::new() };
    let mut candidates = Vec::new();
    for namespace in &listed.namespaces {
        match not_a_persons(&office, namespace) {
            Ok((owner, person)) => candidates.push(Candidate { namespace, owner, person }),
            Err(why) => output.kept(namespace, why),
        }
    }
    let existing = believed(config, &candidates, &absences)?;
    let is = |person: &Person| existing.get(person).copied().unwrap_or(Existence::Unknown);
    let (missing, present): (Vec<_>, Vec<_>) =
        candidates.iter().partition(|candidate| is(&candidate.person) == Existence::No);
    present.iter().for_each(|candidate| output.kept(candidate.namespace, "its user exists"));

    let back: BTreeSet<String> = absences
        .owners()
        .filter(|text| {
            Owner::parse(text)
                .ok()
                .and_then(|owner| owner.person())
                .is_none_or(|person| is(&person) != Existence::No)
        })
        .map(str::to_owned)
        .collect();
    let seen = missing.iter().map(|candidate| Seen {
        uid: &candidate.namespace.uid,
        namespace: &candidate.namespace.name,
        owner: candidate.owner.as_str(),
    });
    absences.observe(office.name, listed.date, seen, &back, |name| config.clusters.contains_key(name));
    if args.yes {
        memory.write(&absences)?;
    }

    let limit = i64::from(config.namespaces.prune_after_days);
    let due: Vec<&Candidate<'_>> = missing
        .into_iter()
        .filter(|candidate| match absences.days(office.name, &candidate.namespace.uid) {
            Some(days) if days >= limit => true,
            days => {
                let days = days.unwrap_or_default();
                let why = format!("its user has been missing for {days} of {limit} days");
                output.kept(candidate.namespace, &why);
                false
            }
        })
        .collect();
    let ended = if due.is_empty() {
        Ok(false)
    } else {
        let mut work = Work { office: &office, args, events, session, output: &mut output };
        work.all(&due, &mut absences)
    };
    if args.yes && !due.is_empty() {
        memory.write(&absences)?;
    }
    output.end(office.name, &escaped(&listed.server))?;
    match ended? {
        false => Ok(Outcome::DONE),
        true => Err(Failure::new(
            ExitCode::CleanupIncomplete,
            "not every namespace whose time has come could be deleted; see the lines above",
        )),
    }
}

/// Who exists, if the account database can be believed.
fn believed(
    config: &Config,
    candidates: &[Candidate<'_>],
    absences: &Absences,
) -> Result<BTreeMap<Person, Existence>, Failure> {
    let refused = |what: &str| {
        Err(Failure::new(
            ExitCode::LookupFailed,
            format!(
                "{what}; nothing was deleted and nothing was counted; look at the name services of this host"
            ),
        ))
    };
    let of_memory = absences.owners().filter_map(|text| Owner::parse(text).ok()?.person());
    let persons = candidates.iter().map(|candidate| candidate.person.clone()).chain(of_memory).collect();
    let existing = users::existing(config, persons)?;
    if existing.values().any(|existence| *existence == Existence::Unknown) {
        return refused("the account database answered with an error");
    }
    // A directory that is down often says "no such user", and then it says so of everybody.
    if !users::unknown_groups(config)?.is_empty() {
        return refused("the account database does not know a group of `users.allowed_groups`");
    }
    let is_missing = |candidate: &Candidate<'_>| existing.get(&candidate.person) == Some(&Existence::No);
    if !candidates.is_empty() && candidates.iter().all(is_missing) {
        return refused(
            "all users of all namespaces are missing, as if the account database were down (if they really are gone, \
             delete the namespaces by kubectl)",
        );
    }
    Ok(existing)
}

/// Deleting, one namespace after the other.
struct Work<'a, 'b> {
    office: &'b Office<'a>,
    args: &'b PruneArgs,
    events: Events,
    session: Session<'b>,
    output: &'b mut Output,
}

impl Work<'_, '_> {
    /// Whether something could not be deleted.
    fn all(&mut self, due: &[&Candidate<'_>], absences: &mut Absences) -> Result<bool, Failure> {
        let config = self.office.config;
        let jobs = namespaces_with_jobs(self.office.name)?;
        let Some(own) = config.clusters.get(self.office.name) else { return Ok(true) };
        let provisioner = cluster::provisioner(config)?;
        let mut own = Session::new(config, own, &provisioner);
        let mut failed = false;
        for candidate in due {
            self.events.stopped()?;
            let namespace = candidate.namespace;
            if jobs.contains(&namespace.name) {
                self.output.kept(namespace, "a job in it is on record on this host");
                continue;
            }
            match self.one(candidate, &mut own) {
                Ok(Pruned::Deleted) => {
                    let owner = candidate.owner.as_str();
                    audit::namespace("namespace-deleted", self.office.name, namespace.name.as_str(), owner);
                    absences.forget(self.office.name, &namespace.uid);
                    self.output.row(namespace, "deleted", None);
                }
                Ok(Pruned::WouldDelete) => self.output.row(namespace, "would delete", None),
                Ok(Pruned::Gone) => self.output.kept(namespace, "it is gone already"),
                Ok(Pruned::Changed) => self.output.kept(namespace, "it was changed meanwhile"),
                Ok(Pruned::JobAccount) => self.output.kept(namespace, "a job's account is in it"),
                Ok(Pruned::JobPod) => self.output.kept(namespace, "a job's pod is in it"),
                // Another cluster, or told to stop.
                Err(failure) if matches!(failure.code, ExitCode::Interrupted | ExitCode::Usage) => {
                    return Err(failure);
                }
                Err(failure) => {
                    failed = true;
                    self.output.row(namespace, "failed", Some(&failure.message));
                }
            }
        }
        Ok(failed)
    }

    fn one(&mut self, candidate: &Candidate<'_>, own: &mut Session<'_>) -> Result<Pruned, Failure> {
        let namespace = candidate.namespace;
        let time = self.office.config.timeouts.provision;
        // An administrator's kubeconfig leads where the administrator last worked; the configuration says which cluster is meant.
        let seen = looked_into(own, &mut self.events, &namespace.name, false).map_err(|failure| {
            Failure::new(failure.code, format!("with the cluster's own kubeconfig: {}", failure.message))
        })?;
        if seen.namespace.uid != namespace.uid {
            return Err(Failure::new(
                ExitCode::Usage,
                "the cluster's own kubeconfig knows another namespace by this name: does --kubeconfig lead to another cluster?",
            ));
        }
        let request = Request::Prune(Prune {
            name: namespace.name.clone(),
            uid: namespace.uid.clone(),
            resource_version: namespace.resource_version.clone(),
            dry_run: self.args.dry_run,
        });
        self.session.ask(&mut self.events, &request, time, |reply| match reply {
            Reply::Pruned(pruned) => Some(pruned),
            _ => None,
        })
    }
}

/// Namespaces of a cluster in which this host knows a job. A record that cannot be read may be of any.
fn namespaces_with_jobs(cluster: &str) -> Result<BTreeSet<NamespaceName>, Failure> {
    let journal = Journal::open()?;
    let mut found = BTreeSet::new();
    for entry in journal.entries()? {
        let Found::Job(job) = entry else { continue };
        match journal.read(&job) {
            Ok(record) if record.cluster == cluster => drop(found.insert(record.namespace)),
            Ok(_) | Err(Unreadable::Missing) => {}
            Err(error) => {
                return Err(Failure::new(
                    ExitCode::Journal,
                    format!("nothing was deleted: the record of job {job} {error}; `reap` looks after it"),
                ));
            }
        }
    }
    Ok(found)
}

/// What is told.
struct Output {
    json: bool,
    rows: Vec<Value>,
}

impl Output {
    fn kept(&mut self, namespace: &SeenNamespace, why: &str) {
        self.row(namespace, "kept", Some(why));
    }

    fn row(&mut self, namespace: &SeenNamespace, outcome: &str, why: Option<&str>) {
        self.rows.push(json!({
            "namespace": namespace.name.as_str(),
            "owner": namespace.owner.as_deref().map(escaped),
            "outcome": outcome,
            "why": why.map(escaped),
        }));
    }

    fn end(mut self, cluster: &str, server: &str) -> Result<(), Failure> {
        self.rows.sort_by_key(|row| row.get("namespace").map(Value::to_string));
        if self.json {
            let whole = json!({"cluster": cluster, "server": server, "namespaces": self.rows});
            let text = serde_json::to_string_pretty(&whole);
            verbs::print(&text.map_err(Failure::doing(ExitCode::Internal, "JSON"))?)?;
            return Ok(());
        }
        let text = |row: &Value, key: &str| {
            row.get(key).and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
        };
        let mut lines = vec![format!("cluster {cluster} ({server})")];
        for row in &self.rows {
            let why = text(row, "why");
            let why = if why.is_empty() { why } else { format!(": {why}") };
            lines.push(format!("{} {}{why}", text(row, "outcome"), text(row, "namespace")));
        }
        verbs::print(&lines.join("\n"))?;
        Ok(())
    }
}
