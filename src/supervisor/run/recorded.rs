//! What a run writes down about itself: the journal's record and the audit lines.

use super::Life;
use crate::exit::ExitCode;
use crate::supervisor::cgroup::Cgroup;
use crate::supervisor::journal::{By, Cleanup, End, Made, Phase, Record, Times, VERSION, command, now};
use crate::supervisor::limits::Planned;
use crate::supervisor::plan::{Plan, host_name};
use crate::supervisor::proc::Process;
use crate::supervisor::steps::Step;
use crate::supervisor::{Failure, Outcome, audit};

/// The record of a job of which nothing exists yet.
///
/// # Errors
/// [`ExitCode::Internal`] when /proc does not tell about this process.
pub(super) fn begin(plan: &Plan, limits: &Planned) -> Result<Record, Failure> {
    let supervisor = Process::of(nix::unistd::getpid())
        .ok_or_else(|| Failure::new(ExitCode::Internal, "/proc does not tell about this process"))?;
    Ok(Record {
        version: VERSION,
        job: plan.job.clone(),
        phase: Phase::Starting,
        caller: plan.caller.clone(),
        caller_uid: plan.caller_uid,
        login: plan.login.clone(),
        account: plan.user_name.clone(),
        uid: plan.user.uid,
        gid: plan.user.gid,
        profile: plan.profile_name.clone(),
        project: plan.project.clone(),
        rule: plan.rule(),
        cluster: plan.cluster_name().to_owned(),
        namespace: plan.namespace.name.clone(),
        host: host_name(),
        tags: plan.tags.clone(),
        command: command(plan.shown_arguments()),
        supervisor,
        cgroup: limits.cgroup.clone().or_else(|| Cgroup::planned(&plan.job)),
        groups: limits.groups.clone(),
        process: None,
        made: Made::default(),
        times: Times { accepted: now(), ..Times::default() },
        exit: None,
        executors: Vec::new(),
        cleanup: Cleanup::default(),
    })
}

impl Life<'_> {
    pub(super) fn audit_start(&self) -> Result<(), Failure> {
        let Err(error) = audit::job(audit::Event::Started, &self.record) else { return Ok(()) };
        if self.plan.audit_required {
            return Err(Failure::new(
                ExitCode::Audit,
                format!(
                    "the audit line could not be written ({error}); see the configuration key audit.required"
                ),
            ));
        }
        self.report.say(format!("no audit line in syslog: {error}"));
        Ok(())
    }

    pub(super) fn record_made(&mut self) -> Result<(), Failure> {
        self.record.made =
            Made { account_uid: self.made.account_uid.clone(), binding_uid: self.made.binding_uid.clone() };
        self.entry.write(&self.record)
    }

    /// The job runs, on record or not: a disk that has become full is no reason to end it.
    pub(super) fn record_running(&mut self) {
        self.record.phase = Phase::Running;
        self.record.process = self.job.as_ref().and_then(|job| Process::of(job.pid()));
        self.record.times.started = Some(now());
        self.write_record();
        self.reached(Step::RunningRecorded);
    }

    pub(super) fn record_end(&mut self, result: &Result<Outcome, Failure>, ran: bool) {
        self.record.phase = Phase::Ending;
        self.record.times.ended = Some(now());
        self.record.exit = Some(match result {
            Ok(outcome) if ran => End::of(*outcome),
            Ok(_) => End::refused(ExitCode::Interrupted, "told to stop before the job began"),
            Err(failure) => End::refused(failure.code, &failure.message),
        });
        self.write_record();
        self.reached(Step::EndRecorded);
    }

    /// Closes the record: nothing is left, or what is.
    pub(super) fn close(&mut self, left: &[String]) {
        self.record.closed(left, By::Run, now());
        self.write_record();
        self.reached(Step::Closed);
        if let Err(error) = audit::job(audit::Event::Ended, &self.record) {
            self.report.say(format!("no audit line in syslog: {error}"));
        }
    }

    pub(super) fn write_record(&self) {
        if let Err(failure) = self.entry.write(&self.record) {
            self.report.warn(failure.message);
        }
    }
}
