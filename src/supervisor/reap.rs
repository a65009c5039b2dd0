//! `reap`: takes back what dead jobs have left, on this host by their records, and in the clusters whatever is overdue,
//! whichever host made it. Safe to run every minute, while jobs start and end, and from several hosts at once.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

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

/// Most failures of one reply of a provisioner that are told; it tells fewer.
const MAX_FAILURES: usize = 128;

/// For jobs that failed before, all together.
const STUBBORN: Duration = Duration::from_secs(300);
/// Most of them that are put off to the end.
const MAX_STUBBORN: usize = 10_000;

/// Whether a job is looked at for the first time in this reap.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Last,
}

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
/// journal can meet; [`ExitCode::Interrupted`] when told to stop.
pub fn reap(config: &Config, args: &ReapArgs) -> Result<Outcome, Failure> {
    let provisioner = cluster::provisioner(config)?;
    let mut reaper = Reaper {
        config,
        args,
        cleaner: Cleaner::new(config, &provisioner)?,
        journal: Journal::open()?,
        output: Output::new(args.json, args.quiet),
        seen: Seen::default(),
        stubborn: Vec::new(),
    };
    let done = reaper.everything();
    let seen = &reaper.seen;
    reaper.output.end(&json!({
        "live": seen.live.len(),
        "forgotten": seen.forgotten,
        "quarantined": seen.quarantined,
        "failures": seen.failures,
    }));
    done?;
    if seen.stays || !seen.failures.is_empty() {
        return Err(Failure::new(
            ExitCode::CleanupIncomplete,
            "something stays and is tried again by the next reap; see the lines above",
        ));
    }
    Ok(Outcome::DONE)
}

struct Reaper<'a> {
    config: &'a Config,
    args: &'a ReapArgs,
    cleaner: Cleaner<'a>,
    journal: Journal,
    output: Output,
    seen: Seen,
    /// Jobs that could not be taken back more than once, with the time of the last try.
    stubborn: Vec<(u64, JobId)>,
}

impl Reaper<'_> {
    fn everything(&mut self) -> Result<(), Failure> {
        self.output.begin(Section::Jobs);
        for found in self.journal.entries()? {
            self.cleaner.may_go_on()?;
            match found {
                Found::Job(job) if self.journal.is_directory(job.as_str().as_ref()) => {
                    self.job(&job, Turn::First);
                }
                Found::Job(job) => self.set_aside(job.as_str().as_ref(), "is not a directory"),
                Found::Foreign(name) => self.set_aside(&name, "is no job's"),
            }
        }
        self.lost_directories();
        // Those that somebody keeps from ending (pods with finalizers, say) come last, the longest untried first.
        let mut stubborn = std::mem::take(&mut self.stubborn);
        stubborn.sort();
        let deadline = Instant::now() + STUBBORN;
        for (_, job) in &stubborn {
            self.cleaner.may_go_on()?;
            if Instant::now() >= deadline {
                self.seen.failures.push(format!(
                    "not all jobs that failed before were tried again in {} s; the next reap goes on",
                    STUBBORN.as_secs()
                ));
                break;
            }
            self.job(job, Turn::Last);
        }
        self.output.begin(Section::Overdue);
        for name in self.config.clusters.keys() {
            self.cleaner.may_go_on()?;
            if let Err(failure) = self.overdue(name) {
                self.seen.failures.push(format!("cluster {name}: {failure}"));
            }
        }
        Ok(())
    }

    fn job(&mut self, job: &JobId, turn: Turn) {
        match self.look_at(job, turn) {
            Ok(Some(told)) => self.output.job(&told),
            Ok(None) => {}
            Err(failure) => self.seen.failures.push(failure.message),
        }
    }

    /// Looks at one job of the journal; what to tell about it, if it was dead.
    fn look_at(&mut self, job: &JobId, turn: Turn) -> Result<Option<Value>, Failure> {
        let Some(entry) = self.journal.take(job)? else {
            // Somebody works on it: its `run`, or another reap.
            self.seen.lives(job);
            return Ok(None);
        };
        let mut record = match entry.read() {
            Ok(record) => record,
            Err(Unreadable::Missing) => {
                if !self.args.dry_run {
                    entry.remove()?;
                }
                return Ok(None);
            }
            Err(error @ (Unreadable::Content(RecordError::Version(_)) | Unreadable::Io(_))) => {
                self.seen.failures.push(format!("the record of job {job} {error}"));
                return Ok(None);
            }
            Err(error) => {
                self.set_aside(job.as_str().as_ref(), &error.to_string());
                return Ok(None);
            }
        };
        if record.supervisor.lives() {
            self.seen.lives(job);
            return Ok(None);
        }
        if record.phase == Phase::Ended {
            let age = record.times.closed.map(|closed| now().saturating_sub(closed));
            if age.is_some_and(|age| age > self.config.records.keep.as_secs()) && !self.args.dry_run {
                entry.remove()?;
                self.seen.forgotten += 1;
            }
            return Ok(None);
        }
        if self.args.dry_run {
            return Ok(Some(told(&record, "would-remove", &[])));
        }
        if turn == Turn::First && record.cleanup.tries > 1 && self.stubborn.len() < MAX_STUBBORN {
            self.stubborn.push((record.times.closed.unwrap_or_default(), job.clone()));
            return Ok(None);
        }
        let failures = self.cleaner.take_back(&entry, &mut record, By::Reap);
        self.seen.stays |= !failures.is_empty();
        let outcome = if failures.is_empty() { "removed" } else { "failed" };
        Ok(Some(told(&record, outcome, &failures)))
    }

    fn set_aside(&mut self, name: &OsStr, why: &str) {
        let shown = escaped(&name.to_string_lossy());
        if self.args.dry_run {
            self.seen.quarantined.push(format!("{shown} {why}"));
            return;
        }
        match self.journal.quarantine(name) {
            Ok(path) => {
                // Told once, and by the exit status: it is out of the way from now on.
                self.seen.stays = true;
                let path = escaped(&path.to_string_lossy());
                self.seen.quarantined.push(format!("{shown} {why}; moved to {path}"));
            }
            Err(failure) => self.seen.failures.push(failure.message),
        }
    }

    /// Directories of jobs that the journal does not know (it was lost, or its record was set aside).
    fn lost_directories(&mut self) {
        for job in rundir::with_directories() {
            let known = self.journal.is_directory(job.as_str().as_ref());
            if self.args.dry_run || known || rundir::is_locked(&job) {
                continue;
            }
            self.seen.failures.extend(dead::remove_files(&job, None, self.config.timeouts.staging));
        }
    }

    fn overdue(&mut self, name: &str) -> Result<(), Failure> {
        let dry_run = self.args.dry_run;
        let request = ReapOverdue {
            namespaces: namespaces(self.config, name),
            spared: self.seen.live.clone(),
            dry_run,
            seconds: OVERDUE_SECONDS,
        };
        let mut stays = false;
        let output = &mut self.output;
        let failures = self.cleaner.overdue(name, request, |reply| match reply {
            Reply::Overdue(found) => {
                stays |= !found.failures.is_empty();
                output.job(&told_overdue(&found, dry_run));
                None
            }
            Reply::OverdueDone { failures, .. } => Some(failures),
            _ => None,
        })?;
        self.seen.stays |= stays;
        let failures = failures.iter().take(MAX_FAILURES);
        self.seen.failures.extend(failures.map(|text| format!("cluster {name}: {}", escaped(text))));
        Ok(())
    }
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
        "failures": found.failures.iter().take(MAX_FAILURES).map(|text| escaped(text)).collect::<Vec<_>>(),
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
