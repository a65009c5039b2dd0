//! Takes back what a job has left whose wrapper is dead, as `reap` and `kill` do: its processes, its objects, its files.
//!
//! Only what the record says for certain is acted on: objects with the job's own name and label, under their uid where it
//! is known; processes that are recognised by more than a pid; directories that carry the job's id.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Failure;
use super::audit;
use super::cgroup::Cgroup;
use super::cluster::Session;
use super::events::Events;
use super::journal::{By, Entry, Phase, Record, now};
use super::limits;
use super::lookup;
use super::proc::{self, boot_id};
use super::rundir::{RunDirectory, ScratchDirectory, remove_scratch};
use crate::exit::ExitCode;
use crate::job::EndUser;
use crate::policy::config::Config;
use crate::policy::names::JobId;
use crate::protocol::{ReapOverdue, Reply, Request, TearDown};

/// How long processes may take to die from KILL.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

const NOT_ENDED: &str =
    "processes of the job do not end, not even by KILL: they wait for the system (a hung file system?)";
/// Most failures of one job that are taken over from a provisioner, which tells three.
const MAX_FAILURES: usize = 16;

/// What is needed to take back dead jobs, one after the other.
pub struct Cleaner<'a> {
    config: &'a Config,
    events: Events,
    /// One for each cluster that was needed.
    sessions: BTreeMap<String, Session<'a>>,
    /// Clusters that did not answer in time, and what they said: not asked again by this process.
    silent: BTreeMap<String, String>,
}

impl<'a> Cleaner<'a> {
    /// `provisioner` as [`super::cluster::provisioner`] gives it.
    ///
    /// # Errors
    /// [`ExitCode::Internal`].
    pub fn new(config: &'a Config, provisioner: &'a lookup::Record) -> Result<Self, Failure> {
        let sessions = config
            .clusters
            .iter()
            .map(|(name, cluster)| (name.clone(), Session::new(config, cluster, provisioner)))
            .collect();
        Ok(Self { config, events: Events::new()?, sessions, silent: BTreeMap::new() })
    }

    /// Takes one job back and writes down how that went. `entry` is the job's, so nobody else works on it.
    pub fn take_back(&mut self, entry: &Entry, record: &mut Record, by: By) -> Vec<String> {
        let mut failures = Vec::new();
        if let Err(failure) = end_processes(record) {
            failures.push(failure.message);
        }
        failures.extend(self.objects(record));
        failures.extend(remove_files(&record.job, Some(record), self.config.timeouts.staging));
        record.closed(&failures, by, now());
        match entry.write(record) {
            Ok(()) if record.phase == Phase::Ended => {
                let _ = audit::job(audit::Event::Reaped, record);
            }
            Ok(()) => {}
            Err(failure) => failures.push(failure.message),
        }
        failures
    }

    fn objects(&mut self, record: &Record) -> Vec<String> {
        let request = Request::TearDown(TearDown {
            job: record.job.clone(),
            namespace: record.namespace.clone(),
            account_uid: record.made.account_uid.clone(),
            binding_uid: record.made.binding_uid.clone(),
            seconds: self.config.timeouts.teardown.as_secs(),
        });
        let time = self.config.timeouts.teardown + KILL_PATIENCE;
        let answer = self.ask(&record.cluster, &request, time, |reply| match reply {
            Reply::TornDown { failures, answered, .. } => Some((failures, answered)),
            _ => None,
        });
        match answer {
            Ok((failures, answered)) => {
                if !answered && !failures.is_empty() {
                    // The provisioner has tried for all its time; the next record would cost as much.
                    let said = format!("the cluster did not answer when job {} was taken back", record.job);
                    self.silent.insert(record.cluster.clone(), said);
                }
                failures.into_iter().take(MAX_FAILURES).collect()
            }
            Err(failure) => vec![failure.message],
        }
    }

    /// Has what is overdue in a cluster removed; every reply goes to `take` until it gives a result.
    ///
    /// # Errors
    /// As [`Session::ask`].
    pub fn overdue<T>(
        &mut self,
        name: &str,
        request: ReapOverdue,
        take: impl FnMut(Reply) -> Option<T>,
    ) -> Result<T, Failure> {
        let time = Duration::from_secs(request.seconds) + KILL_PATIENCE;
        self.ask(name, &Request::ReapOverdue(request), time, take)
    }

    fn ask<T>(
        &mut self,
        name: &str,
        request: &Request,
        time: Duration,
        take: impl FnMut(Reply) -> Option<T>,
    ) -> Result<T, Failure> {
        if let Some(said) = self.silent.get(name) {
            return Err(Failure::new(ExitCode::ClusterUnreachable, said.clone()));
        }
        let Some(session) = self.sessions.get_mut(name) else {
            return Err(Failure::new(
                ExitCode::ConfigInvalid,
                format!(
                    "the configuration has no cluster {name} any more; name it again until this is taken back"
                ),
            ));
        };
        let began = Instant::now();
        let answer = session.ask(&mut self.events, request, time, take);
        if let Err(failure) = &answer
            && began.elapsed() >= self.config.timeouts.connect.min(self.config.timeouts.request)
        {
            // Thousands of records must not wait for it one after the other.
            self.silent.insert(name.to_owned(), failure.message.clone());
        }
        answer
    }

    /// Whether this process was told to stop.
    ///
    /// # Errors
    /// [`ExitCode::Interrupted`].
    pub fn may_go_on(&mut self) -> Result<(), Failure> {
        self.events.stopped()
    }
}

/// Ends what is left of a dead job's processes, if this host has not been started again since.
fn end_processes(record: &Record) -> Result<(), Failure> {
    if record.supervisor.boot.is_empty() || record.supervisor.boot != boot_id() {
        return Ok(());
    }
    let mut ended = Ok(());
    let deadline = Instant::now() + KILL_PATIENCE;
    if let Some(process) = &record.process {
        let _ = process.signal(Some(Signal::SIGKILL));
    }
    if let Some(cgroup) = record.cgroup.as_ref().and_then(|path| Cgroup::existing(&record.job, path)) {
        ended = cgroup.end(deadline);
    }
    // Also where the cgroup did not end: a process may never have entered it.
    if !proc::end_marked(&record.job, record.uid, deadline) && ended.is_ok() {
        ended = Err(Failure::new(ExitCode::CleanupIncomplete, NOT_ENDED));
    }
    ended.and(limits::remove(&record.job, &record.groups, deadline))
}

/// Removes the directories of a dead job; every failure. Without a record, their owners are believed, because they lie in
/// directories of root's: processes of the end-user's are ended too, and scratch is emptied with its owner's rights alone.
pub fn remove_files(job: &JobId, record: Option<&Record>, patience: Duration) -> Vec<String> {
    let mut failures = Vec::new();
    let directory = RunDirectory::of_dead(job);
    if let (None, Ok(Some(directory))) = (record, &directory)
        && let Some(uid) = directory.end_user()
        && !proc::end_marked(job, uid, Instant::now() + KILL_PATIENCE)
    {
        failures.push(NOT_ENDED.to_owned());
    }
    match ScratchDirectory::of_dead(job) {
        Ok(None) => {}
        Ok(Some((scratch, 0, _))) => {
            // Its wrapper died before it gave it away, so it is empty.
            failures.extend(scratch.remove().err().map(|failure| failure.message));
        }
        Ok(Some((scratch, uid, gid))) if record.is_none_or(|record| record.uid == uid) => {
            let user = EndUser { uid, gid, groups: vec![gid], home: "/".into() };
            failures.extend(remove_scratch(&user, &scratch, patience).err().map(|failure| failure.message));
        }
        Ok(Some((scratch, uid, _))) => failures.push(format!(
            "{} belongs to uid {uid} and not to the job's account; look at it and remove it",
            scratch.path.display()
        )),
        Err(failure) => failures.push(failure.message),
    }
    match directory {
        Ok(None) => {}
        Ok(Some(directory)) => failures.extend(directory.remove().err().map(|failure| failure.message)),
        Err(failure) => failures.push(failure.message),
    }
    failures
}
