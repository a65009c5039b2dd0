//! `list`, `status` and `kill`: a caller sees and touches its own jobs only, and is not told whether another's exists [97].

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::cluster;
use super::dead::Cleaner;
use super::journal::{By, End, Found, Journal, Phase, Record, Unreadable, now};
use super::report::{Report, escaped};
use super::{Failure, Outcome};
use crate::cli::{KillArgs, ListArgs, Selection, StatusArgs};
use crate::exit::ExitCode;
use crate::policy::config::Config;
use crate::policy::names::JobId;
use crate::policy::tags;

/// Most jobs that are named in one call.
const MAX_NAMED: usize = 1024;
/// Between two looks at a job that is being ended.
const PAUSE: Duration = Duration::from_millis(20);
/// What a job's own `run` may take beyond its time-outs until its record is closed.
const SLACK: Duration = Duration::from_secs(60);

/// A job's state, for people and platforms.
fn state(record: &Record) -> &'static str {
    match record.phase {
        Phase::Ended => "ended",
        _ if !record.supervisor.lives() => "dead",
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Ending => "ending",
    }
}

/// What `status --json` prints of a record.
fn shown(record: &Record) -> Value {
    json!({
        "version": record.version,
        "job": record.job.as_str(),
        "state": state(record),
        "caller": record.caller,
        "login": record.login.as_str(),
        "account": record.account.as_str(),
        "profile": record.profile,
        "project": record.project,
        "rule": record.rule,
        "cluster": record.cluster,
        "namespace": record.namespace.as_str(),
        "host": record.host,
        "tags": record.tags,
        "command": record.command,
        "pid": record.supervisor.pid,
        "process": record.process.as_ref().map(|process| process.pid),
        "times": record.times,
        "exit": record.exit,
        "executors": record.executors,
        "cleanup": record.cleanup,
    })
}

/// Who asks.
pub enum Asker {
    /// Root itself, which may see everything.
    Root,
    /// A caller: its uid and its name, since a uid may be given to another account later.
    Caller(u32, String),
}

/// Whether who asks may know of a job.
fn is_own(record: &Record, asker: &Asker) -> bool {
    match asker {
        Asker::Root => true,
        Asker::Caller(uid, name) => record.caller_uid == *uid && record.caller == *name,
    }
}

fn no_such_job() -> Failure {
    Failure::new(ExitCode::NoSuchJob, "no such job among yours; `list --all` shows those that are on record")
}

fn wanted_tags(words: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    tags::parse(words).map_err(|error| Failure::new(ExitCode::Usage, error.to_string()))
}

/// Hands every job of the caller's with these tags to `take`. Records that cannot be read are `reap`'s matter.
fn each(
    journal: &Journal,
    asker: &Asker,
    tags: &BTreeMap<String, String>,
    mut take: impl FnMut(Record),
) -> Result<(), Failure> {
    for found in journal.entries()? {
        let Found::Job(job) = found else { continue };
        if let Ok(record) = journal.read(&job)
            && is_own(&record, asker)
            && record.tagged(tags)
        {
            take(record);
        }
    }
    Ok(())
}

/// Hands the selected jobs to `take`: those that are named, or else those with the tags. A name that is none is refused
/// before any is handed over.
fn selected(
    journal: &Journal,
    asker: &Asker,
    selection: &Selection,
    mut take: impl FnMut(Record),
) -> Result<(), Failure> {
    let tags = wanted_tags(&selection.tags)?;
    if selection.jobs.len() > MAX_NAMED {
        return Err(Failure::new(ExitCode::Usage, format!("more than {MAX_NAMED} jobs are named")));
    }
    if selection.jobs.is_empty() {
        return each(journal, asker, &tags, take);
    }
    let mut records = Vec::new();
    for name in &selection.jobs {
        let record = JobId::new(name.as_str()).ok().and_then(|job| journal.read(&job).ok());
        match record.filter(|record| is_own(record, asker) && record.tagged(&tags)) {
            Some(record) => records.push(record),
            None => return Err(no_such_job()),
        }
    }
    records.into_iter().for_each(&mut take);
    Ok(())
}

/// Prints a list as it is made: JSON, or lines.
struct Printer {
    json: bool,
    first: bool,
}

fn print(text: &str) {
    // A reader that has gone is not our failure.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

impl Printer {
    fn new(json: bool) -> Self {
        if json {
            print("[");
        }
        Self { json, first: true }
    }

    fn record(&mut self, record: &Record, line: impl FnOnce(&Record) -> String) {
        if self.json {
            print(&format!("{}\n{}", if self.first { "" } else { "," }, shown(record)));
            self.first = false;
        } else {
            print(&(line(record) + "\n"));
        }
    }

    fn end(self) -> Outcome {
        if self.json {
            print("\n]\n");
        }
        let _ = std::io::stdout().flush();
        Outcome::DONE
    }
}

/// `list`.
///
/// # Errors
/// [`ExitCode::Usage`], [`ExitCode::Journal`].
pub fn list(asker: &Asker, args: &ListArgs) -> Result<Outcome, Failure> {
    let tags = wanted_tags(&args.tags)?;
    let journal = Journal::open()?;
    let mut printer = Printer::new(args.json);
    each(&journal, asker, &tags, |record| {
        if args.all || record.phase != Phase::Ended {
            printer.record(&record, line);
        }
    })?;
    Ok(printer.end())
}

fn line(record: &Record) -> String {
    let tags: Vec<String> = record.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    escaped(&format!(
        "{}  {:8}  {:16}  {:24}  {:>7} s  {}",
        record.job,
        state(record),
        record.account,
        record.namespace,
        record.times.ended.unwrap_or_else(now).saturating_sub(record.times.accepted),
        tags.join(" ")
    ))
}

/// `status`.
///
/// # Errors
/// [`ExitCode::NoSuchJob`], [`ExitCode::Usage`], [`ExitCode::Journal`].
pub fn status(asker: &Asker, args: &StatusArgs) -> Result<Outcome, Failure> {
    let journal = Journal::open()?;
    let mut printer = None;
    selected(&journal, asker, &args.selection, |record| {
        printer.get_or_insert_with(|| Printer::new(args.json)).record(&record, lines);
    })?;
    Ok(printer.unwrap_or_else(|| Printer::new(args.json)).end())
}

fn lines(record: &Record) -> String {
    let exit = match &record.exit {
        None => "-".to_owned(),
        Some(End::Code(code)) => format!("exit status {code}"),
        Some(End::Signal(signal)) => format!("signal {signal}"),
        Some(End::Refused { code, name, message }) => format!("not run: {message} [{name} {code}]"),
        Some(End::Unknown) => "not seen: the wrapper was killed".to_owned(),
    };
    let clean = match (record.cleanup.complete, record.cleanup.by) {
        (true, _) => "complete".to_owned(),
        (false, None) => "not yet".to_owned(),
        (false, Some(_)) => {
            format!("failed {} times: {}", record.cleanup.tries, record.cleanup.failures.join("; "))
        }
    };
    let times = &record.times;
    let after = |time: Option<u64>| {
        time.map_or_else(|| "-".to_owned(), |time| format!("{} s", time.saturating_sub(times.accepted)))
    };
    let mut lines = vec![
        format!("job        {}  {}", record.job, state(record)),
        format!(
            "login      {} is {} (uid {}), called by {}",
            record.login, record.account, record.uid, record.caller
        ),
        format!("rule       {}", record.rule),
        format!("profile    {}, cluster {}, namespace {}", record.profile, record.cluster, record.namespace),
        format!(
            "times      {} s ago; made after {}, started after {}, ended after {}, closed after {}",
            now().saturating_sub(times.accepted),
            after(times.provisioned),
            after(times.started),
            after(times.ended),
            after(times.closed)
        ),
        format!("exit       {exit}"),
        format!("clean-up   {clean}"),
    ];
    lines.extend(record.tags.iter().map(|(key, value)| format!("tag        {key}={value}")));
    lines.push(format!("command    {}", record.command.join(" ")));
    lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("\n") + "\n"
}

/// `kill`: TERM to the job's own `run`, which ends the job as its caller would and takes it back; what is dead already is
/// taken back here.
///
/// # Errors
/// [`ExitCode::NoSuchJob`], [`ExitCode::Usage`], [`ExitCode::CleanupIncomplete`].
pub fn kill(config: &Config, asker: &Asker, args: &KillArgs) -> Result<Outcome, Failure> {
    if args.selection.jobs.is_empty() && args.selection.tags.is_empty() {
        return Err(Failure::new(ExitCode::Usage, "name the jobs, or select them by --tag"));
    }
    let journal = Journal::open()?;
    let report = Report { quiet: args.quiet };
    let mut jobs = Vec::new();
    selected(&journal, asker, &args.selection, |record| jobs.push(record))?;
    if jobs.is_empty() {
        return Err(no_such_job());
    }
    for record in jobs.iter().filter(|record| record.phase != Phase::Ended) {
        // All of them first: their graces run side by side.
        let _ = record.supervisor.signal(Some(Signal::SIGTERM));
        // One that was stopped with its job at a terminal.
        let _ = record.supervisor.signal(Some(Signal::SIGCONT));
    }
    let timeouts = &config.timeouts;
    let patience = timeouts.provision + timeouts.grace + timeouts.teardown * 2 + timeouts.staging + SLACK;
    let deadline = Instant::now() + patience;
    let provisioner = cluster::provisioner(config)?;
    let mut cleaner = Cleaner::new(config, &provisioner)?;
    let mut failures = Vec::new();
    for record in &jobs {
        match end(&journal, &record.job, &mut cleaner, deadline)
            .unwrap_or_else(|failure| vec![failure.message])
        {
            left if left.is_empty() => report.say(format!("job {} has ended", record.job)),
            left => failures.extend(left.into_iter().map(|text| format!("job {}: {text}", record.job))),
        }
    }
    for failure in &failures {
        report.warn(failure);
    }
    if failures.is_empty() {
        return Ok(Outcome::DONE);
    }
    Err(Failure::new(ExitCode::CleanupIncomplete, "something stays; `reap` tries again"))
}

/// Waits until nobody works on a job, and takes back what is left then.
fn end(
    journal: &Journal,
    job: &JobId,
    cleaner: &mut Cleaner<'_>,
    deadline: Instant,
) -> Result<Vec<String>, Failure> {
    loop {
        cleaner.may_go_on()?;
        if let Some(entry) = journal.take(job)? {
            return match entry.read() {
                Ok(record) if record.phase == Phase::Ended => Ok(Vec::new()),
                Ok(mut record) => Ok(cleaner.take_back(&entry, &mut record, By::Kill)),
                Err(Unreadable::Missing) => Ok(Vec::new()),
                Err(error) => Ok(vec![format!("its record {error}")]),
            };
        }
        if !journal.is_directory(job.as_str().as_ref()) {
            return Ok(Vec::new()); // a reap has forgotten it meanwhile
        }
        if Instant::now() >= deadline {
            return Ok(vec!["its wrapper does not end; look at it".to_owned()]);
        }
        std::thread::sleep(PAUSE);
    }
}
