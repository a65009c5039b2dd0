//! The life of a job, as a state machine with one way out:
//!
//! ```text
//! decide ─ refuse ──────────────────────────────────────────────► exit 200..=212
//!    │
//!    ▼            fails, told to stop, caller gone
//! provision ──────────────────────────┐
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

use super::events::{Event, Events};
use super::plan::Plan;
use super::report::Report;
use super::rundir::{RunDirectory, ScratchDirectory};
use super::startup::Given;
use super::worker::Worker;
use super::{Failure, Outcome, tree};
use crate::exit::ExitCode;
use crate::job::Staged;
use crate::policy::token::Token;
use crate::protocol::{Kind, Renew, Reply, Request, TearDown};
use crate::sys::process::Child;

mod credential;
mod renewal;
mod starting;
mod taking_back;

use credential::{Access, KUBECONFIG};
use renewal::Renewal;

/// How long processes may take to die from KILL.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A job from the moment at which something of it exists.
struct Life<'a> {
    plan: &'a Plan,
    given: &'a Given,
    report: Report,
    events: Events,
    directory: RunDirectory,
    scratch: Option<ScratchDirectory>,
    worker: Option<Worker>,
    /// What the cluster holds for this job, for taking it back.
    made: TearDown,
    asked: bool,
    job: Option<Child>,
    access: Option<Access>,
    renewal: Option<Renewal>,
}

/// Runs a job that was decided on. `staged` are the caller's files, opened.
///
/// # Errors
/// A [`Failure`] when there was no job whose end could be reported.
pub fn run(plan: &Plan, given: &Given, report: Report, staged: Vec<Staged>) -> Result<Outcome, Failure> {
    tree::adopt_orphans()?;
    let events = Events::new()?;
    let user = &plan.user;
    let directory = RunDirectory::create(&plan.job, user.uid, user.gid)?;
    let mut life = Life {
        plan,
        given,
        report,
        events,
        directory,
        scratch: None,
        worker: None,
        made: TearDown {
            job: plan.job.clone(),
            namespace: plan.namespace.name.clone(),
            account_uid: None,
            binding_uid: None,
            seconds: plan.timeouts.teardown.as_secs(),
        },
        asked: false,
        job: None,
        access: None,
        renewal: None,
    };
    let result = life.live(staged);
    let ran = life.job.is_some();
    let left = life.take_back();
    if left.is_empty() {
        return result;
    }
    for line in &left {
        report.warn(format!("not cleaned up: {line}"));
    }
    let advice = format!("look for the label spark-submit-as/job={}", plan.job);
    match result {
        // The job's own end is what the caller asked for [84].
        Ok(outcome) if ran => {
            report.warn(format!("{}: {advice}", ExitCode::CleanupIncomplete.name()));
            Ok(outcome)
        }
        Ok(_) => {
            Err(Failure::new(ExitCode::CleanupIncomplete, format!("stopped before the job began; {advice}")))
        }
        Err(failure) => Err(Failure::new(ExitCode::CleanupIncomplete, format!("{failure}; {advice}"))),
    }
}

impl Life<'_> {
    fn live(&mut self, staged: Vec<Staged>) -> Result<Outcome, Failure> {
        let provisioned = Instant::now() + self.plan.timeouts.provision;
        if let Some(outcome) = self.provision(provisioned)? {
            return Ok(outcome);
        }
        self.start(staged)?;
        self.wait()
    }

    /// Starts the provisioner and has everything made. `Some` when a signal came first.
    fn provision(&mut self, deadline: Instant) -> Result<Option<Outcome>, Failure> {
        let plan = self.plan;
        let mut worker = Worker::start(&plan.provisioner, plan.open_kubeconfig()?)?;
        worker.send(&Request::Open(plan.cluster.clone()))?;
        worker.send(&Request::Provision(plan.provision()?))?;
        self.asked = true;
        self.worker = Some(worker);
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
            } => {
                for warning in warnings.iter().take(8) {
                    self.report.warn(warning);
                }
                let access = Access::checked(
                    server,
                    certificate_authority_data,
                    tls_server_name,
                    proxy_url,
                    &local_address,
                    self.plan.namespace.name.clone(),
                )?;
                let renewal = Renewal::granted(granted_at, expires_at)?;
                let how = if namespace_created { "created" } else { "exists" };
                self.report.say(format!("namespace {} ({how})", self.plan.namespace.name));
                self.report.say(format!(
                    "service account {}, token for {} s",
                    self.plan.job.object_name(),
                    renewal.granted_seconds()
                ));
                self.directory.write(KUBECONFIG, access.kubeconfig(&token.0).as_bytes())?;
                self.access = Some(access);
                self.renewal = Some(renewal);
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
            Kind::Account => self.made.account_uid = Some(uid),
            Kind::Binding => self.made.binding_uid = Some(uid),
            Kind::Namespace | Kind::ExecutorAccount | Kind::Secret => {}
        }
        Ok(())
    }

    /// Waits for the job's end; relays signals, renews the token.
    fn wait(&mut self) -> Result<Outcome, Failure> {
        let mut stopping: Option<Instant> = None;
        let mut killed = false;
        loop {
            let renewal = self.renewal.as_ref().map(Renewal::due);
            let deadline = [stopping, renewal].into_iter().flatten().min();
            match self.next_event(deadline)? {
                Event::Children => {
                    if let Some(outcome) = self.job_outcome()? {
                        return Ok(outcome);
                    }
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
                Event::Deadline => self.renew(),
                Event::Provisioner => self.renewed()?,
            }
        }
    }

    fn stop(&self, signal: Signal) -> Instant {
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

    fn renew(&mut self) {
        let request =
            Request::Renew(Renew { made: self.made.clone(), token_seconds: self.plan.token_seconds() });
        let asked = self.worker_or_new().and_then(|worker| worker.send(&request));
        match (asked, &mut self.renewal) {
            (Ok(()), Some(renewal)) => renewal.asked(),
            (Err(failure), Some(renewal)) => {
                self.worker = None;
                self.report.warn(format!("the token could not be renewed: {failure}; trying again"));
                renewal.failed();
            }
            (_, None) => {}
        }
    }

    /// Takes replies while the job runs: only renewals are awaited.
    fn renewed(&mut self) -> Result<(), Failure> {
        loop {
            let failed = match self.receive() {
                Ok(None) => return Ok(()),
                Ok(Some(Reply::Renewed { token, expires_at, granted_at })) => {
                    match self.take_renewed(&token.0, granted_at, expires_at) {
                        Ok(renewal) => {
                            self.renewal = Some(renewal);
                            continue;
                        }
                        Err(failure) => failure,
                    }
                }
                Ok(Some(Reply::Failed { code, message, .. })) => from_cluster(code, &message),
                Ok(Some(_)) => continue,
                Err(failure) => failure,
            };
            if let Some(renewal) = &mut self.renewal {
                self.report.warn(format!(
                    "the token could not be renewed: {failed}; it ends in {} s",
                    renewal.seconds_left()
                ));
                renewal.failed();
            }
        }
    }

    fn take_renewed(&mut self, token: &Token, granted_at: i64, expires_at: i64) -> Result<Renewal, Failure> {
        let renewal = Renewal::granted(granted_at, expires_at)?;
        if let Some(access) = &self.access {
            self.directory.write(KUBECONFIG, access.kubeconfig(token).as_bytes())?;
        }
        Ok(renewal)
    }

    /// The provisioner, or another one when it has died: it keeps no state that could not be given again.
    fn worker_or_new(&mut self) -> Result<&mut Worker, Failure> {
        let worker = match self.worker.take() {
            Some(worker) => worker,
            None => {
                let mut worker = Worker::start(&self.plan.provisioner, self.plan.open_kubeconfig()?)?;
                worker.send(&Request::Open(self.plan.cluster.clone()))?;
                worker
            }
        };
        Ok(self.worker.insert(worker))
    }
}

fn caller_gone() -> Failure {
    Failure::new(ExitCode::Interrupted, "the calling process is gone; the job was not started")
}

/// The provisioner's word, kept inside what it may say.
fn from_cluster(code: ExitCode, message: &str) -> Failure {
    let code = match code.number() {
        214..=220 => code,
        _ => ExitCode::Provisioner,
    };
    Failure::new(code, message.chars().take(1024).collect::<String>())
}
