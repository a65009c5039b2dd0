//! A job whose executors do not run, or have failed: when the cluster is asked why, and what is told.
//!
//! Nothing is asked while all is well: one look when the profile's time is over sees an executor that runs, and that was it.
//! A job that has none is looked at again, each time after twice as long.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Life;
use crate::exit::ExitCode;
use crate::policy::config::{Executors as Times, duration};
use crate::protocol::{
    Executors, Explain, Explained, Finding, MAX_FINDINGS, MAX_LINES, Reply, Request, Trouble, WireToken,
};
use crate::spark::redact;
use crate::supervisor::events::Event;
use crate::supervisor::report::escaped;
use crate::supervisor::worker::Worker;
use crate::supervisor::{Failure, Outcome};

/// How long an answer may take before the provisioner is taken for stuck. It gives up after 20 s by itself.
const ANSWER: Duration = Duration::from_secs(40);
/// Longest time between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Until an executor that has just begun has either ended or settled,
const SETTLING: Duration = Duration::from_secs(12);
/// and how often in a row that is waited for.
const MAX_BEGINNINGS: u32 = 3;
/// For what failed executors said. The provisioner takes 3 s at most.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Most characters of the cluster's words that are told.
const MAX_WORDS: usize = 700;

/// When to look, and what is known.
pub(super) struct Watch {
    begun: Instant,
    times: Times,
    /// None: an executor runs.
    due: Option<Instant>,
    pause: Duration,
    /// Until when an answer is awaited.
    asked: Option<Instant>,
    beginnings: u32,
    /// Since when it is known that something keeps executors from running.
    trouble: Option<Instant>,
    told: BTreeSet<Trouble>,
}

/// What an answer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Nothing,
    Tell,
    End,
}

impl Watch {
    fn begin(times: Times, now: Instant) -> Self {
        let pause = times.warn_after;
        Self {
            begun: now,
            due: Some(now + pause),
            times,
            pause,
            asked: None,
            beginnings: 0,
            trouble: None,
            told: BTreeSet::new(),
        }
    }

    /// The next look comes later.
    fn later(&mut self, now: Instant) {
        self.asked = None;
        self.due = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn answered(&mut self, explained: &Explained, now: Instant) -> Next {
        self.asked = None;
        let begins = explained.executors == Executors::Begin;
        self.beginnings = if begins { self.beginnings + 1 } else { 0 };
        match explained.executors {
            Executors::Run => self.due = None,
            Executors::Begin if self.beginnings <= MAX_BEGINNINGS => self.due = Some(now + SETTLING),
            Executors::Begin if explained.findings.is_empty() => self.due = None,
            Executors::Unknown => self.later(now),
            // Executors that begin again and again, and have failed before, do not run.
            Executors::Begin | Executors::None => return self.none(&explained.findings, now),
        }
        Next::Nothing
    }

    fn none(&mut self, findings: &[Finding], now: Instant) -> Next {
        self.later(now);
        if findings.is_empty() {
            // It asks for none, or not yet.
            self.trouble = None;
            return Next::Nothing;
        }
        let since = *self.trouble.get_or_insert(now);
        if let Some(end) = self.times.end_after {
            // A job that began to ask for executors late has its time from then on.
            let left = end.saturating_sub(self.times.warn_after);
            let ends = (self.begun + end).max(since + left);
            if now >= ends {
                return Next::End;
            }
            self.due = self.due.map(|due| due.min(ends));
        }
        let known = self.told.len();
        self.told.extend(findings.iter().map(|finding| finding.trouble));
        if self.told.len() > known { Next::Tell } else { Next::Nothing }
    }
}

impl Life<'_> {
    /// The job runs: its time without executors begins.
    pub(super) fn watch_executors(&mut self) {
        self.watch = Some(Watch::begin(self.plan.executors().clone(), Instant::now()));
    }

    /// When there is something to do about executors. A look waits until the provisioner has answered what it was asked.
    pub(super) fn executors_due(&mut self) -> Option<Instant> {
        let watch = self.watch.as_mut()?;
        let explains = self.worker.as_ref().is_some_and(Worker::is_explaining);
        match watch.asked {
            Some(until) if explains => return Some(until),
            // It died, or something else was more urgent.
            Some(_) => watch.later(Instant::now()),
            None => {}
        }
        watch.due.filter(|_| self.worker.as_ref().is_none_or(Worker::is_idle))
    }

    /// Looks, or gives up one that was not answered.
    pub(super) fn look_at_executors(&mut self) {
        if let Some(worker) = self.worker.take_if(|worker| worker.is_explaining()) {
            self.report.warn(worker.kill("did not say whether executors run").message);
            return;
        }
        let (Some(token), true) = (self.token.clone(), self.watch.is_some()) else { return };
        let pod = self.made.account_uid.as_deref().and_then(|uid| self.plan.executor_pod(uid));
        let explain = Explain { made: self.made.clone(), token: WireToken(token), pod };
        let sent = self.worker_or_new().and_then(|worker| worker.send(&Request::Explain(explain)));
        if sent.is_err() {
            self.worker = None;
        }
        if let Some(watch) = &mut self.watch {
            match sent {
                Ok(()) => watch.asked = Some(Instant::now() + ANSWER),
                Err(_) => watch.later(Instant::now()),
            }
        }
    }

    /// Takes an answer. `Some` when it ends the job.
    pub(super) fn explained(&mut self, explained: &Explained) -> Option<Failure> {
        let now = Instant::now();
        let watch = self.watch.as_mut()?;
        let next = watch.answered(explained, now);
        let seconds = now.saturating_duration_since(watch.begun).as_secs();
        match next {
            Next::Nothing => None,
            Next::Tell => {
                self.tell(&format!("no executor of the job runs after {seconds} s: "), &explained.findings);
                self.write_record();
                None
            }
            Next::End => {
                let end = watch.times.end_after.unwrap_or_default();
                let why = explained.findings.first().map(sentence).unwrap_or_default();
                let span = duration::write(end);
                let rule =
                    format!("no executor of the job ran within {span} (profile key executors.end_after)");
                self.tell("", &explained.findings);
                Some(Failure::new(ExitCode::NoExecutors, format!("{rule}: {why}")))
            }
        }
    }

    /// A job that failed, or was ended: what its executors said.
    pub(super) fn last_words(&mut self, result: &Result<Outcome, Failure>) {
        if matches!(result, Ok(Outcome::Code(0))) {
            return;
        }
        let ready = |worker: &&mut Worker| worker.is_idle() || worker.is_explaining();
        let Some(worker) = self.worker.as_mut().filter(ready) else { return };
        if worker.send(&Request::Failures).is_err() {
            self.worker = None;
            return;
        }
        let deadline = Instant::now() + LAST_WORDS;
        while self.worker.is_some() {
            match self.next_event(Some(deadline)) {
                Ok(Event::Deadline) | Err(_) => return,
                Ok(Event::Provisioner) => {
                    while let Ok(Some(reply)) = self.receive() {
                        if let Reply::Failures { findings } = reply {
                            self.tell("", &findings);
                            return;
                        }
                    }
                }
                Ok(_) => {}
            }
        }
    }

    /// Tells findings and notes them in the record, each once.
    fn tell(&mut self, before: &str, findings: &[Finding]) {
        for finding in findings.iter().take(MAX_FINDINGS) {
            let sentence = sentence(finding);
            if self.record.executors.contains(&sentence) {
                continue;
            }
            self.report.warn(format!("{before}{sentence}"));
            let lines = finding.lines.iter().take(MAX_LINES);
            let lines: Vec<String> =
                lines.map(|line| escaped(&format!("executor's log: {}", redact::log_line(line)))).collect();
            lines.iter().for_each(|line| self.report.warn(line));
            self.record.told([sentence].into_iter().chain(lines));
        }
    }
}

/// A finding in words: what, the cluster's reason, what to do.
fn sentence(finding: &Finding) -> String {
    let text: String = escaped(&finding.text).chars().take(MAX_WORDS).collect();
    let count = |one: &str, many: &str| match finding.pods {
        1 => format!("1 {one}"),
        pods => format!("{pods} {many}"),
    };
    let what = match finding.trouble {
        Trouble::Unschedulable | Trouble::Image | Trouble::Waiting => {
            count("executor pod waits", "executor pods wait")
        }
        Trouble::Driver | Trouble::Memory | Trouble::Failed => count("executor failed", "executors failed"),
        Trouble::Token => "the API server does not accept the job's token".to_owned(),
        Trouble::Forbidden => "the job's account lacks a right".to_owned(),
        _ => "the API server refuses an executor's pod".to_owned(),
    };
    let advice = match finding.trouble {
        Trouble::Quota => {
            "ask for less (spark.executor.memory, spark.executor.cores), wait until other jobs have ended, or have the \
             quota raised"
        }
        Trouble::Limits => "ask for what the namespace's limits allow",
        Trouble::PodSecurity => {
            "leave out the volume or setting that it names; the administrator's pod template may be the cause as well"
        }
        Trouble::Policy => "leave out the setting that it names",
        Trouble::Forbidden => "the administrator applies packaging/kubernetes/driver-role.yaml",
        Trouble::Token => "its account may have been removed; otherwise it is renewed by itself",
        Trouble::Refused => "change the setting that it names",
        Trouble::Unschedulable => {
            "ask for less (spark.executor.memory, spark.executor.cores, spark.kubernetes.executor.request.cores), look at \
             node selectors, or wait until there is room"
        }
        Trouble::Image => {
            "look at spark.kubernetes.container.image, at the registry, and at the executors' imagePullSecrets"
        }
        Trouble::Waiting => "where it does not pass by itself, look at the settings that it names",
        Trouble::Driver => {
            "executors do not reach the driver: look at the profile's spark.driver_host, at firewalls and at network \
             policies between pods and this host"
        }
        Trouble::Memory => "raise spark.executor.memoryOverhead or spark.executor.memory",
        Trouble::Failed => "see its log",
    };
    format!("{what}: {text}; {advice}")
}

#[cfg(test)]
#[path = "executors/tests.rs"]
mod tests;
