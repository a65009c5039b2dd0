//! `reap`: takes back what dead jobs have left, on this host by their records, and in the clusters whatever is overdue,
//! whichever host made it. Safe to run every minute, while jobs start and end, and from several hosts at once.

use serde_json::{Value, json};

use super::dead::{self, Cleaner};
use super::journal::{By, Found, Journal, Phase, Record, RecordError, Unreadable, now};
use super::report::escaped;
use super::rundir;
use super::{Failure, Outcome, cluster};
use crate::cli::ReapArgs;
use crate::exit::ExitCode;
use crate::policy::config::Config;
use crate::policy::names::{JobId, NamespaceName};
use crate::protocol::{Overdue, ReapOverdue, Reply};

mod output;

use output::{Output, Section};

/// Most jobs of this host that are named to a provisioner as alive; a frame holds them.
const MAX_SPARED: usize = 8_000;
/// Seconds for all that is overdue in one cluster.
const OVERDUE_SECONDS: u64 = 300;

/// What was seen.
#[derive(Default)]
struct Seen {
    live: Vec<JobId>,
    forgotten: u64,
    quarantined: Vec<String>,
    failures: Vec<String>,
    stays: bool,
}

impl Seen {
    fn lives(&mut self, job: &JobId) {
        if self.live.len() < MAX_SPARED {
            self.live.push(job.clone());
        }
    }
}

/// Takes back.
///
/// # Errors
/// [`ExitCode::CleanupIncomplete`] when something stays, after everything was tried; what the configuration and the
/// journal can meet.
pub fn reap(config: &Config, args: &ReapArgs) -> Result<Outcome, Failure> {
    let provisioner = cluster::provisioner(config)?;
    let mut cleaner = Cleaner::new(config, &provisioner)?;
    let journal = Journal::open()?;
    let mut output = Output::new(args.json, args.quiet);
    let mut seen = Seen::default();
    output.begin(Section::Jobs);
    for found in journal.entries()? {
        cleaner.may_go_on()?;
        let job = match found {
            Found::Job(job) if journal.is_directory(job.as_str().as_ref()) => job,
            Found::Job(job) => {
                set_aside(&journal, job.as_str().as_ref(), "is not a directory", args, &mut seen);
                continue;
            }
            Found::Foreign(name) => {
                set_aside(&journal, &name, "is no job's", args, &mut seen);
                continue;
            }
        };
        match look_at(config, &journal, &job, &mut cleaner, args, &mut seen) {
            Ok(Some(told)) => output.job(&told),
            Ok(None) => {}
            Err(failure) => seen.failures.push(failure.message),
        }
    }
    lost_directories(config, &journal, args, &mut seen);
    output.begin(Section::Overdue);
    for name in config.clusters.keys() {
        cleaner.may_go_on()?;
        if let Err(failure) = overdue(config, name, &mut cleaner, args, &mut seen, &mut output) {
            seen.failures.push(format!("cluster {name}: {failure}"));
        }
    }
    output.end(&json!({
        "live": seen.live.len(),
        "forgotten": seen.forgotten,
        "quarantined": seen.quarantined,
        "failures": seen.failures,
    }));
    if seen.stays || !seen.failures.is_empty() {
        return Err(Failure::new(
            ExitCode::CleanupIncomplete,
            "something stays and is tried again by the next reap; see the lines above",
        ));
    }
    Ok(Outcome::DONE)
}

/// Looks at one job of the journal; what to tell about it, if it was dead.
fn look_at(
    config: &Config,
    journal: &Journal,
    job: &JobId,
    cleaner: &mut Cleaner<'_>,
    args: &ReapArgs,
    seen: &mut Seen,
) -> Result<Option<Value>, Failure> {
    let Some(entry) = journal.take(job)? else {
        // Somebody works on it: its `run`, or another reap.
        seen.lives(job);
        return Ok(None);
    };
    let mut record = match entry.read() {
        Ok(record) => record,
        Err(Unreadable::Missing) => {
            if !args.dry_run {
                entry.remove()?;
            }
            return Ok(None);
        }
        Err(error @ (Unreadable::Content(RecordError::Version(_)) | Unreadable::Io(_))) => {
            seen.failures.push(format!("the record of job {job} {error}"));
            return Ok(None);
        }
        Err(error) => {
            set_aside(journal, job.as_str().as_ref(), &error.to_string(), args, seen);
            return Ok(None);
        }
    };
    if record.supervisor.lives() {
        seen.lives(job);
        return Ok(None);
    }
    if record.phase == Phase::Ended {
        let age = record.times.closed.map(|closed| now().saturating_sub(closed));
        if age.is_some_and(|age| age > config.records.keep.as_secs()) && !args.dry_run {
            entry.remove()?;
            seen.forgotten += 1;
        }
        return Ok(None);
    }
    if args.dry_run {
        return Ok(Some(told(&record, "would-remove", &[])));
    }
    let failures = cleaner.take_back(&entry, &mut record, By::Reap);
    seen.stays |= !failures.is_empty();
    let outcome = if failures.is_empty() { "removed" } else { "failed" };
    Ok(Some(told(&record, outcome, &failures)))
}

fn told(record: &Record, outcome: &str, failures: &[String]) -> Value {
    let failing = record.cleanup.failing_since.map(|since| now().saturating_sub(since));
    json!({
        "job": record.job.as_str(),
        "namespace": record.namespace.as_str(),
        "cluster": record.cluster,
        "outcome": outcome,
        "failures": failures.iter().map(|text| escaped(text)).collect::<Vec<_>>(),
        "tries": record.cleanup.tries,
        "failing_seconds": failing,
    })
}

fn set_aside(journal: &Journal, name: &std::ffi::OsStr, why: &str, args: &ReapArgs, seen: &mut Seen) {
    let shown = escaped(&name.to_string_lossy());
    if args.dry_run {
        seen.quarantined.push(format!("{shown} {why}"));
        return;
    }
    match journal.quarantine(name) {
        Ok(path) => {
            // Told once, and by the exit status: it is out of the way from now on.
            seen.stays = true;
            seen.quarantined.push(format!("{shown} {why}; moved to {}", escaped(&path.to_string_lossy())));
        }
        Err(failure) => seen.failures.push(failure.message),
    }
}

/// Directories of jobs that the journal does not know (it was lost, or its record was set aside).
fn lost_directories(config: &Config, journal: &Journal, args: &ReapArgs, seen: &mut Seen) {
    for job in rundir::with_directories() {
        if args.dry_run || journal.is_directory(job.as_str().as_ref()) || rundir::is_locked(&job) {
            continue;
        }
        let failures = dead::remove_files(&job, None, config.timeouts.staging);
        seen.failures.extend(failures);
    }
}

fn overdue(
    config: &Config,
    name: &str,
    cleaner: &mut Cleaner<'_>,
    args: &ReapArgs,
    seen: &mut Seen,
    output: &mut Output,
) -> Result<(), Failure> {
    let request = ReapOverdue {
        namespaces: namespaces(config, name),
        spared: seen.live.clone(),
        dry_run: args.dry_run,
        seconds: OVERDUE_SECONDS,
    };
    let mut stays = false;
    let failures = cleaner.overdue(name, request, |reply| match reply {
        Reply::Overdue(found) => {
            stays |= !found.failures.is_empty();
            output.job(&told_overdue(&found, args.dry_run));
            None
        }
        Reply::OverdueDone { failures, .. } => Some(failures),
        _ => None,
    })?;
    seen.stays |= stays;
    seen.failures.extend(failures.iter().map(|text| format!("cluster {name}: {}", escaped(text))));
    Ok(())
}

fn told_overdue(found: &Overdue, dry_run: bool) -> Value {
    let outcome = match (dry_run, found.failures.is_empty()) {
        (true, _) => "would-remove",
        (false, true) => "removed",
        (false, false) => "failed",
    };
    json!({
        "job": found.job.as_str(),
        "namespace": found.namespace.as_str(),
        "host": found.host.as_deref().map(escaped),
        "overdue_seconds": found.overdue_seconds,
        "outcome": outcome,
        "failures": found.failures.iter().map(|text| escaped(text)).collect::<Vec<_>>(),
    })
}

/// Namespaces of a cluster that the configuration names.
fn namespaces(config: &Config, name: &str) -> Vec<NamespaceName> {
    let named = config.clusters.get(name).map(|cluster| cluster.namespaces.as_slice()).unwrap_or_default();
    let fixed = config.profiles.values().filter(|profile| profile.cluster == name);
    let fixed = fixed.map(|profile| &profile.namespace.template).filter(|template| !template.contains("${"));
    let all: std::collections::BTreeSet<NamespaceName> =
        named.iter().chain(fixed).filter_map(|name| NamespaceName::new(name.as_str()).ok()).collect();
    all.into_iter().collect()
}
