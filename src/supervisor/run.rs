//! The life of a job, as a state machine with one way out:
//!
//! ```text
//! decide ─ refuse ──────────────────────────────────────────────► exit 200..=212
//!    │
//!    ▼            fails, told to stop, caller gone
//! record, then provision ─────────────┐
//!    ▼                                │
//! start the job ──────────────────────┤
//!    ▼      renew the token           ▼
//! the job runs ── ends, TERM+grace ─► take back ─► exit as the job
//! ```
//!
//! Taking back: TERM the job, wait, KILL the whole tree; sweep its pods, delete the RoleBinding (its rights end at
//! once), delete the ServiceAccount (its token ends, what it owns goes), sweep again; remove the files.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::cgroup::Cgroup;
use super::events::{Event, Events};
use super::journal::{Entry, Journal, Record, now};
use super::limits::Planned;
use super::plan::Plan;
use super::ports::{self, Reserved};
use super::report::Report;
use super::rundir::{RunDirectory, ScratchDirectory};
use super::startup::Given;
use super::steps::{self, Step, Victims};
use super::worker::Worker;
use super::{Failure, Outcome, tree};
use crate::exit::ExitCode;
use crate::job::Staged;
use crate::policy::names::JobId;
use crate::policy::token::Token;
use crate::protocol::{Kind, Reply, Request, TearDown};
use crate::spark;
use crate::sys::process::Child;

mod credential;
mod executors;
mod recorded;
mod renewal;
mod renewing;
mod starting;
mod taking_back;

use credential::{Access, KUBECONFIG};
use executors::Watch;
use renewal::Renewal;
use renewing::Heard;

/// How long processes may take to die from KILL.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A job from the moment at which something of it exists.
struct Life<'a> {
    plan: &'a Plan,
    given: &'a Given,
    report: Report,
    events: Events,
    entry: Entry,
    record: Record,
    directory: Option<RunDirectory>,
    scratch: Option<ScratchDirectory>,
    ports: Option<Reserved>,
    cgroup: Option<Cgroup>,
    limits: Planned,
    worker: Option<Worker>,
    /// What the cluster holds for this job, for taking it back.
    made: TearDown,
    asked: bool,
    ever_asked: bool,
    job: Option<Child>,
    access: Option<Access>,
    renewal: Option<Renewal>,
    /// The job's token as it is in the kubeconfig.
    token: Option<Token>,
    /// While the job runs and is not told to stop.
    watch: Option<Watch>,
}

/// Runs a job that was decided on. `staged` are the caller's files, opened; `tell_id` is called when the job is on record.
///
/// # Errors
/// A [`Failure`] when there was no job whose end could be reported.
pub fn run(
    plan: &Plan,
    given: &Given,
    report: Report,
    staged: Vec<Staged>,
    tell_id: impl FnOnce(&JobId) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    tree::adopt_orphans()?;
    let events = Events::new()?;
    // Its start takes longer than the record's way to the disk. Nothing is asked of it before that is there.
    let worker = start_worker(plan)?;
    steps::reached(Step::ProvisionerStarted, Victims { provisioner: Some(worker.pid()), job: None });
    let limits = plan.limits();
    let (record, entry) = match on_record(plan, &limits) {
        Ok(made) => made,
        Err(failure) => {
            worker.end();
            return Err(failure);
        }
    };
    let mut life = Life {
        plan,
        given,
        report,
        events,
        entry,
        record,
        directory: None,
        scratch: None,
        ports: None,
        cgroup: None,
        limits,
        worker: Some(worker),
        made: TearDown {
            job: plan.job.clone(),
            namespace: plan.namespace.name.clone(),
            account_uid: None,
            binding_uid: None,
            seconds: plan.timeouts.teardown.as_secs(),
        },
        asked: false,
        ever_asked: false,
        job: None,
        access: None,
        renewal: None,
        token: None,
        watch: None,
    };
    let result = tell_id(&plan.job).and_then(|()| life.live(staged));
    let ran = life.job.is_some();
    if ran && life.limits.exceeded() {
        life.report.warn(plan.memory_exceeded());
    }
    life.reached(Step::JobEnded);
    if ran {
        life.last_words(&result);
    }
    life.record_end(&result, ran);
    let left = life.take_back();
    life.close(&left);
    if left.is_empty() {
        if !life.ever_asked {
            // Nothing was ever made, so there is nothing to remember; many such calls must not fill the disk.
            let _ = life.entry.remove();
        }
        return result;
    }
    for line in &left {
        report.warn(format!("not cleaned up: {line}"));
    }
    let advice = "`reap` tries again; `status` tells what stays";
    match result {
        // The job's own end is what the caller asked for [84].
        Ok(outcome) if ran => {
            report.warn(format!("{}: {advice}", ExitCode::CleanupIncomplete.name()));
            Ok(outcome)
        }
        Ok(_) => {
            Err(Failure::new(ExitCode::CleanupIncomplete, format!("stopped before the job began; {advice}")))
        }
        Err(failure) if failure.code == ExitCode::NoExecutors => {
            report.warn(format!("{}: {advice}", ExitCode::CleanupIncomplete.name()));
            Err(failure)
        }
        Err(failure) => Err(Failure::new(ExitCode::CleanupIncomplete, format!("{failure}; {advice}"))),
    }
}

fn start_worker(plan: &Plan) -> Result<Worker, Failure> {
    Worker::start(&plan.provisioner, plan.open_kubeconfig()?, plan.cluster.clone())
}

fn on_record(plan: &Plan, limits: &Planned) -> Result<(Record, Entry), Failure> {
    let record = recorded::begin(plan, limits)?;
    let entry = Journal::open()?.create(&record)?;
    Ok((record, entry))
}

impl Life<'_> {
    fn live(&mut self, staged: Vec<Staged>) -> Result<Outcome, Failure> {
        self.reached(Step::IdTold);
        self.audit_start()?;
        let user = &self.plan.user;
        self.directory = Some(RunDirectory::create(&self.plan.job, user.uid, user.gid)?);
        self.reached(Step::RunDirectory);
        self.ports = self.plan.driver_ports.as_ref().map(ports::reserve).transpose()?;
        let provisioned = Instant::now() + self.plan.timeouts.provision;
        if let Some(outcome) = self.provision(provisioned)? {
            return Ok(outcome);
        }
        self.start(staged)?;
        let ended = self.wait();
        self.events.detach();
        ended
    }

    fn reached(&self, step: Step) {
        let victims = Victims {
            provisioner: self.worker.as_ref().map(Worker::pid),
            job: self.job.as_ref().map(Child::pid),
        };
        steps::reached(step, victims);
    }

    /// The run directory, which is there from the first step on.
    fn directory(&self) -> Result<&RunDirectory, Failure> {
        self.directory.as_ref().ok_or_else(|| Failure::new(ExitCode::Internal, "no run directory"))
    }

    /// Has everything made. `Some` when a signal came first.
    fn provision(&mut self, deadline: Instant) -> Result<Option<Outcome>, Failure> {
        let plan = self.plan;
        let ports = self.ports.as_ref().map(|reserved| reserved.ports);
        let provision = Request::Provision(Box::new(plan.provision(ports)?));
        self.asked = true;
        self.ever_asked = true;
        self.worker_or_new()?.send(&provision)?;
        self.reached(Step::ProvisionAsked);
        loop {
            match self.next_event(Some(deadline))? {
                Event::Stop(signal) => return Ok(Some(Outcome::Signal(signal as i32))),
                Event::CallerGone => return Err(caller_gone()),
                Event::Deadline => {
                    return Err(Failure::new(
                        ExitCode::ClusterUnreachable,
                        "the cluster did not make what the job needs in time (configuration key timeouts.provision)",
                    ));
                }
                Event::Provisioner => {
                    while let Some(reply) = self.receive()? {
                        if self.provision_reply(reply)? {
                            return Ok(None);
                        }
                    }
                }
                Event::Children | Event::PassOn(_) => {}
            }
        }
    }

    /// Takes a reply to Provision; true when it was the last one.
    fn provision_reply(&mut self, reply: Reply) -> Result<bool, Failure> {
        match reply {
            Reply::Created { kind, name, uid } => {
                self.created(kind, &name, uid)?;
                Ok(false)
            }
            Reply::Failed { code, message, left } => {
                // What the provisioner could not remove is tried once more when everything is taken back.
                self.asked = !left.is_empty() || self.made.account_uid.is_some();
                Err(from_cluster(code, &message))
            }
            Reply::Provisioned {
                server,
                certificate_authority_data,
                tls_server_name,
                proxy_url,
                local_address,
                token,
                expires_at,
                granted_at,
                namespace_created,
                warnings,
                mended,
            } => {
                for warning in warnings.iter().take(8) {
                    self.report.warn(warning);
                }
                let mended: Vec<String> = mended.into_iter().take(8).collect();
                let access = Access::checked(
                    server,
                    certificate_authority_data,
                    tls_server_name,
                    proxy_url,
                    &local_address,
                    self.plan.namespace.name.clone(),
                )?;
                if let Some(asked) = &self.plan.master {
                    spark::same_master(asked, access.server())
                        .map_err(|error| Failure::new(error.code(), error.to_string()))?;
                }
                let renewal = Renewal::granted(granted_at, expires_at)?;
                let how = if namespace_created { "created" } else { "exists" };
                self.report.say(format!("namespace {} ({how})", self.plan.namespace.name));
                if !mended.is_empty() {
                    self.report.say(format!("namespace policies: {}", mended.join("; ")));
                }
                self.report.say(format!(
                    "service account {}, token for {} s",
                    self.plan.job.object_name(),
                    renewal.granted_seconds()
                ));
                self.reached(Step::Provisioned);
                self.directory()?.write(KUBECONFIG, access.kubeconfig(&token.0).as_bytes())?;
                self.reached(Step::CredentialWritten);
                self.access = Some(access);
                self.renewal = Some(renewal);
                self.token = Some(token.0);
                self.record.times.provisioned = Some(now());
                Ok(true)
            }
            _ => Err(Failure::new(ExitCode::Provisioner, "the provisioner answered another question")),
        }
    }

    fn created(&mut self, kind: Kind, name: &str, uid: String) -> Result<(), Failure> {
        let legal =
            (1..=64).contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let ours = match kind {
            Kind::Namespace => name == self.plan.namespace.name.as_str(),
            Kind::ExecutorAccount => name == crate::protocol::EXECUTOR_ACCOUNT,
            Kind::Account | Kind::Binding | Kind::Secret => name == self.plan.job.object_name(),
        };
        if !legal || !ours {
            return Err(Failure::new(
                ExitCode::Provisioner,
                "the provisioner made an object that was not asked for",
            ));
        }
        match kind {
            Kind::Account => {
                self.made.account_uid = Some(uid);
                self.reached(Step::ObjectMade);
            }
            Kind::Binding => {
                self.made.binding_uid = Some(uid);
                self.reached(Step::BindingMade);
                // While the provisioner goes on with the rest.
                self.record_made()?;
                self.reached(Step::UidsRecorded);
            }
            Kind::Secret => self.reached(Step::SecretMade),
            Kind::Namespace | Kind::ExecutorAccount => {}
        }
        Ok(())
    }

    /// Waits for the job's end; relays signals, renews the token, looks at executors.
    fn wait(&mut self) -> Result<Outcome, Failure> {
        let mut stopping: Option<Instant> = None;
        let mut killed = false;
        let mut ended = None;
        self.watch_executors();
        loop {
            let renewal = self.renewal.as_ref().map(Renewal::due);
            let executors = self.executors_due();
            let deadline = [stopping, renewal, executors].into_iter().flatten().min();
            match self.next_event(deadline)? {
                Event::Children => {
                    if let Some(outcome) = self.job_outcome()? {
                        return ended.map_or(Ok(outcome), Err);
                    }
                    self.follow_stop()?;
                }
                Event::Stop(signal) => {
                    // Once: Spark deletes its own pods on the first one, a second would cut that short.
                    if stopping.is_none() {
                        stopping = Some(self.stop(signal));
                    }
                }
                Event::CallerGone => {
                    if stopping.is_none() {
                        self.report.say("the calling process is gone; the job is ended");
                        stopping = Some(self.stop(Signal::SIGTERM));
                    }
                }
                Event::PassOn(signal) => {
                    if let Some(job) = &self.job {
                        job.signal_group(signal);
                    }
                }
                Event::Deadline if stopping.is_some_and(|grace| grace <= Instant::now()) => {
                    if killed {
                        return Err(Failure::new(
                            ExitCode::CleanupIncomplete,
                            "the job does not end, not even by KILL: it waits for the system (a hung file system?)",
                        ));
                    }
                    killed = true;
                    self.report
                        .warn("the job did not end in its grace (configuration key timeouts.grace); killed");
                    if let Some(job) = &self.job {
                        job.signal_group(Signal::SIGKILL);
                        job.signal(Signal::SIGKILL);
                    }
                    stopping = Some(Instant::now() + KILL_PATIENCE);
                }
                Event::Deadline if renewal.is_some_and(|due| due <= Instant::now()) => self.renew(),
                Event::Deadline => self.look_at_executors(),
                Event::Provisioner => match self.heard() {
                    Heard::Nothing => {}
                    _ if stopping.is_some() => {}
                    Heard::CredentialLost => {
                        self.report.warn(
                            "the job's service account is gone, so it can have no credential any more; it is ended",
                        );
                        stopping = Some(self.stop(Signal::SIGTERM));
                    }
                    Heard::NoExecutors(failure) => {
                        ended = Some(failure);
                        stopping = Some(self.stop(Signal::SIGTERM));
                    }
                },
            }
        }
    }

    /// A job that was stopped at its terminal: this process is stopped as well, and when it goes on, so does the job.
    fn follow_stop(&mut self) -> Result<(), Failure> {
        let Some(job) = &self.job else { return Ok(()) };
        if self.events.has_terminal() && job.was_stopped() {
            self.events.suspend()?;
            job.signal_group(Signal::SIGCONT);
        }
        Ok(())
    }

    fn stop(&mut self, signal: Signal) -> Instant {
        self.watch = None;
        if let Some(job) = &self.job {
            job.signal_group(signal);
            // A stopped process (SIGTSTP) would not see the signal.
            job.signal_group(Signal::SIGCONT);
        }
        Instant::now() + self.plan.timeouts.grace
    }

    fn job_outcome(&mut self) -> Result<Option<Outcome>, Failure> {
        let Some(job) = &mut self.job else { return Ok(None) };
        Ok(match job.reap().map_err(Failure::doing(ExitCode::Internal, "waitpid"))? {
            Some(WaitStatus::Exited(_, code)) => {
                Some(Outcome::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX)))
            }
            Some(WaitStatus::Signaled(_, signal, _)) => Some(Outcome::Signal(signal as i32)),
            _ => None,
        })
    }

    /// The next event; children are reaped here, whoever asks.
    fn next_event(&mut self, deadline: Option<Instant>) -> Result<Event, Failure> {
        let event = self.events.next(self.worker.as_ref().map(Worker::socket), deadline)?;
        if event == Event::Children {
            for status in tree::reap() {
                if let Some(job) = &mut self.job {
                    job.note(status);
                }
                if let Some(worker) = &mut self.worker {
                    worker.note(status);
                }
            }
        }
        Ok(event)
    }

    fn receive(&mut self) -> Result<Option<Reply>, Failure> {
        match &mut self.worker {
            None => Ok(None),
            Some(worker) => worker.receive().inspect_err(|_| self.worker = None),
        }
    }

    /// The provisioner, or another one when it has died: it keeps no state that could not be given again.
    fn worker_or_new(&mut self) -> Result<&mut Worker, Failure> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => start_worker(self.plan)?,
        };
        Ok(self.worker.insert(worker))
    }
}

fn caller_gone() -> Failure {
    Failure::new(ExitCode::Interrupted, "the calling process is gone; the job was not started")
}

/// The provisioner's word, kept inside what it may say.
pub(super) fn from_cluster(code: ExitCode, message: &str) -> Failure {
    let code = match code.number() {
        214..=220 | 230 => code,
        _ => ExitCode::Provisioner,
    };
    Failure::new(code, message.chars().take(1024).collect::<String>())
}
