//! The provisioner: the only program here that talks to Kubernetes. It runs as an account of its own, with no capability,
//! an empty environment, a socket to root's supervisor and one kubeconfig, both opened by the supervisor.
//!
//! It answers the requests of `protocol`, one at a time. End-of-file on the socket means that the supervisor is gone:
//! what was made for the job is then taken back and the program ends.

mod address;
mod administer;
mod api;
mod check;
mod credential;
mod executors;
mod expiry;
mod explain;
mod fault;
#[cfg(test)]
mod faults;
mod fence;
mod files;
mod isolation;
mod join;
mod login;
mod namespace;
mod network;
mod objects;
mod overdue;
mod page;
mod policies;
mod provision;
#[cfg(test)]
mod standin;
mod teardown;
mod token;
mod volume;
mod wire;

use std::process::ExitCode as Status;
use std::time::{Duration, Instant};

use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::token::Token;
use spark_submit_as::protocol::{ClusterAccess, Finding, Reply, Request, TearDown};

use api::Api;
use credential::Credential;
use explain::Watch;
use fault::Fault;
use wire::Wire;

/// Seconds for taking back when nobody is left to say how long.
const ORPHAN_SECONDS: u64 = 60;
/// Seconds for taking back what a request that failed had made. The supervisor asks again, with its own time.
const ROLLBACK_SECONDS: u64 = 20;
/// A request whose answer was lost may be served this much later.
const LATE: Duration = Duration::from_secs(1);

fn main() -> Status {
    // Before any secret is here: other processes of this account, a login helper's among them, must not read memory.
    let dumpable = nix::sys::prctl::set_dumpable(false);
    // Root's work is the supervisor's; this program's whole point is not to be root.
    let root = [nix::unistd::getuid(), nix::unistd::geteuid()].iter().any(|uid| uid.is_root());
    if dumpable.is_err() || root {
        return Status::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Status::FAILURE };
    match runtime.block_on(serve()) {
        Ok(()) => Status::SUCCESS,
        // Nobody listens any more; the status is for whoever looks at the process.
        Err(_) => Status::FAILURE,
    }
}

/// What the provisioner has in hand.
struct Session {
    wire: Wire,
    credential: Credential,
    access: ClusterAccess,
    api: Option<Api>,
    /// What was made and not yet taken back, for when the supervisor dies.
    made: Option<TearDown>,
    /// The watch on its executors that fail.
    watch: Option<Watch>,
}

async fn serve() -> Result<(), Fault> {
    let mut wire = Wire::inherited()?;
    let Some(Request::Open(access)) = wire.request().await? else { return Ok(()) };
    let credential = Credential::inherited(&access);
    let credential = match credential {
        Ok(credential) => credential,
        Err(fault) => return refuse_everything(wire, fault).await,
    };
    let mut session = Session { wire, credential, access, api: None, made: None, watch: None };
    let result = session.answer_all().await;
    if let Some(mut made) = session.made.take() {
        made.seconds = ORPHAN_SECONDS;
        if let Ok(api) = session.api().await {
            let _ = teardown::tear_down(&api, &made).await;
        }
    }
    result
}

/// A kubeconfig that cannot be used: every request has the same answer.
async fn refuse_everything(mut wire: Wire, fault: Fault) -> Result<(), Fault> {
    while wire.request().await?.is_some() {
        wire.reply(&fault.reply(Vec::new())).await?;
    }
    Ok(())
}

impl Session {
    async fn answer_all(&mut self) -> Result<(), Fault> {
        while let Some(request) = self.wire.request().await? {
            let reply = match self.answer(request).await {
                Ok(reply) => reply,
                Err(fault) => fault.reply(Vec::new()),
            };
            self.wire.reply(&reply).await?;
        }
        Ok(())
    }

    async fn answer(&mut self, request: Request) -> Result<Reply, Fault> {
        let answer = self.answer_with_a_client(request).await;
        if answer.as_ref().is_err_and(|fault| fault.code == ExitCode::ClusterCredential) {
            // A credential that is not accepted any more: the next request logs in again.
            self.api = None;
        }
        if let Ok(Reply::Provisioned { token, .. } | Reply::Renewed { token, .. }) = &answer {
            self.watch(&token.0);
        }
        answer
    }

    /// Sees to it that executors that fail are noticed, with the token that the job has now.
    fn watch(&mut self, token: &Token) {
        match (&self.watch, &self.made, self.credential.config(&self.access)) {
            (Some(watch), ..) => watch.renewed(token.clone()),
            (None, Some(made), Ok(config)) => self.watch = Some(Watch::begin(config, made, token.clone())),
            (None, ..) => {}
        }
    }

    async fn answer_with_a_client(&mut self, request: Request) -> Result<Reply, Fault> {
        match request {
            Request::Open(_) => Err(Fault::protocol("Open may come once")),
            Request::Provision(_) if self.made.is_some() => {
                Err(Fault::protocol("Provision may come once before TearDown"))
            }
            Request::Provision(wanted) => {
                let api = self.api().await?;
                let (access, credential) = (&self.access, &self.credential);
                let (wire, made) = (&mut self.wire, &mut self.made);
                match provision::provision(&api, access, credential, &wanted, wire, made).await {
                    Ok(reply) => Ok(reply),
                    Err(fault) => Ok(fault.reply(self.roll_back(&api, fault.perhaps).await)),
                }
            }
            Request::Renew(wanted) => {
                let made = self.made.get_or_insert_with(|| wanted.made.clone()).clone();
                if made.job != wanted.made.job {
                    return Err(Fault::protocol("Renew is about another job than the one that was made"));
                }
                token::renew(&self.api().await?, &made, wanted.token_seconds).await
            }
            Request::TearDown(wanted) => {
                self.watch = None;
                let (api, began) = (self.api().await?, Instant::now());
                let (pods, failures) = teardown::tear_down(&api, &wanted).await;
                if failures.is_empty() && self.made.as_ref().is_some_and(|made| made.job == wanted.job) {
                    self.made = None;
                }
                Ok(Reply::TornDown { pods, failures, answered: api.heard_since(began) })
            }
            Request::ReapOverdue(wanted) => overdue::reap(&self.api().await?, &wanted, &mut self.wire).await,
            Request::Explain(wanted) => {
                let made = self.made.get_or_insert_with(|| wanted.made.clone());
                if made.job != wanted.made.job {
                    return Err(Fault::protocol("Explain is about another job than the one that was made"));
                }
                self.watch(&wanted.token.0);
                let api = self.credential.client_of_job(&self.access, &wanted.token.0)?;
                let failed = self.failures();
                Ok(Reply::Explained(explain::explain(&api, &wanted, failed, &self.wire).await))
            }
            Request::Failures => {
                let findings = match &self.watch {
                    Some(watch) => watch.last_failures(&self.credential, &self.access).await,
                    None => Vec::new(),
                };
                Ok(Reply::Failures { findings })
            }
            Request::Check(wanted) => {
                let api = self.api().await?;
                Ok(Reply::Checked { lines: check::check(&api, &self.access, &wanted).await })
            }
            Request::ListNamespaces => {
                administer::list(&self.api().await?, &self.credential.server, &mut self.wire).await
            }
            Request::LookInto(wanted) => {
                administer::look_into(&self.api().await?, &self.credential.server, &wanted).await
            }
            Request::ApplyPolicies(wanted) => {
                administer::apply_policies(&self.api().await?, &wanted, &mut self.wire).await
            }
            Request::Adopt(wanted) => administer::adopt(&self.api().await?, &wanted).await,
            Request::Prune(wanted) => administer::prune(&self.api().await?, &wanted).await,
        }
    }

    fn failures(&self) -> Vec<Finding> {
        self.watch.as_ref().map(Watch::failures).unwrap_or_default()
    }

    /// Takes back what a request that failed had made, and says what could not be. No token was given out, so there are no
    /// pods.
    async fn roll_back(&mut self, api: &Api, perhaps: bool) -> Vec<String> {
        let Some(made) = self.made.take() else { return Vec::new() };
        let deadline = Instant::now() + Duration::from_secs(ROLLBACK_SECONDS);
        let mut left = teardown::objects(api, &made, deadline).await;
        if perhaps && left.is_empty() {
            tokio::time::sleep(LATE).await;
            left = teardown::objects(api, &made, deadline).await;
        }
        if !left.is_empty() {
            self.made = Some(made);
        }
        left
    }

    /// The client, made again when its credential has run out.
    async fn api(&mut self) -> Result<Api, Fault> {
        if let Some(api) = self.api.as_ref().filter(|api| api.usable()) {
            return Ok(api.clone());
        }
        let api = self.credential.client(&self.access).await?;
        self.api = Some(api.clone());
        Ok(api)
    }
}
