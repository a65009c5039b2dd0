//! Removes jobs that nobody will ever take back: their account says that its last token has ended, by the API server's
//! clock, whichever host made them [91].
//!
//! What is not a job's beyond doubt is never touched [87]; of a job whose host renews it meanwhile, the delete of the
//! account fails its precondition, and nothing else of it is tried [88].

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use http::StatusCode;
use spark_submit_as::policy::names::{JobId, NamespaceName};
use spark_submit_as::protocol::{ReapOverdue, Reply};

use crate::api::Api;
use crate::expiry::Account;
use crate::fault::{Fault, bounded};
use crate::objects;
use crate::page::{Page, Pages};
use crate::teardown::{self, said, within};
use crate::wire::Wire;

mod candidate;
#[cfg(test)]
mod tests;

use candidate::{Candidate, Item};

/// Selects what has a job's label ([`JOB_LABEL`](spark_submit_as::protocol::JOB_LABEL)).
pub const OF_JOBS: &str = "spark-submit-as%2Fjob";
/// Jobs that one request deals with. What is left is found by the next.
const MAX_JOBS: u32 = 10_000;
/// Failures that are told one by one.
const MAX_FAILURES: usize = 100;
/// Jobs whose pods are swept together.
const BATCH: usize = 25;
/// Deletes in a row that are not allowed in one namespace before the rest of it is left for another time.
const MAX_REFUSALS: u32 = 3;
/// Seconds for one job's objects, and for its pods, so that one whose pods do not end leaves time for the others.
const JOB_SECONDS: u64 = 10;
/// Longest time for one request, whatever is asked for.
const MAX_SECONDS: u64 = 24 * 3600;

/// Looks at every job's account. The reply that ends the request; one for each overdue job is sent on the way.
///
/// # Errors
/// When nothing could be looked at, or the supervisor is gone.
pub async fn reap(api: &Api, wanted: &ReapOverdue, wire: &mut Wire) -> Result<Reply, Fault> {
    let deadline = Instant::now() + Duration::from_secs(wanted.seconds.min(MAX_SECONDS));
    let mut round = Round {
        api,
        spared: wanted.spared.iter().collect(),
        dry_run: wanted.dry_run,
        wire,
        deadline,
        seen: 0,
        dealt: 0,
        failures: Failures::default(),
        closed: None,
    };
    if let Ended::NotAllowed(reason) = round.walk(None).await? {
        // Where rights were given for single namespaces.
        if wanted.namespaces.is_empty() {
            round.failures.push(reason);
        }
        for namespace in wanted.namespaces.iter().collect::<BTreeSet<_>>() {
            match round.walk(Some(namespace)).await? {
                Ended::Whole => {}
                Ended::NotAllowed(reason) => round.failures.push(format!("{namespace}: {reason}")),
                Ended::Early => break,
            }
        }
    }
    Ok(Reply::OverdueDone { seen: round.seen, failures: round.failures.told() })
}

/// How a walk through the accounts ended.
enum Ended {
    /// All pages, or as many as could be had.
    Whole,
    /// No right to list.
    NotAllowed(String),
    /// Nothing more is to be tried in this request.
    Early,
}

struct Round<'a> {
    api: &'a Api,
    wire: &'a mut Wire,
    spared: BTreeSet<&'a JobId>,
    dry_run: bool,
    deadline: Instant,
    seen: u32,
    dealt: u32,
    failures: Failures,
    /// The namespace in which the last deletes were not allowed, and how many; lists go namespace by namespace.
    closed: Option<(NamespaceName, u32)>,
}

impl Round<'_> {
    /// All pages of one namespace or of all.
    async fn walk(&mut self, namespace: Option<&NamespaceName>) -> Result<Ended, Fault> {
        let collection = match namespace {
            Some(namespace) => objects::collection("serviceaccounts", namespace.as_str()),
            None => "/api/v1/serviceaccounts".to_owned(),
        };
        let mut pages = Pages::of(collection, OF_JOBS);
        loop {
            let page = match within(self.deadline, pages.next::<Item>(self.api)).await {
                None => return Ok(self.early("not all accounts were looked at: the time is over")),
                Some(Ok(Page::Last)) => return Ok(Ended::Whole),
                Some(Ok(Page::NotAllowed(reason))) => return Ok(Ended::NotAllowed(reason)),
                Some(Ok(Page::Objects(page))) => page,
                Some(Err(fault)) if self.seen == 0 && namespace.is_none() => return Err(fault),
                Some(Err(fault)) => {
                    self.failures.push(fault.to_string());
                    return Ok(Ended::Whole);
                }
            };
            let (spared, date) = (&self.spared, page.date);
            self.seen = self.seen.saturating_add(u32::try_from(page.items.len()).unwrap_or(u32::MAX));
            let found = page.items.into_iter().filter_map(|item| candidate::overdue(item, date));
            // A server that answers with another namespace than was asked for is not followed there.
            let asked = |found: &Candidate| namespace.is_none_or(|own| *own == found.namespace);
            let mut found: VecDeque<Candidate> =
                found.filter(|found| !spared.contains(&found.job) && asked(found)).collect();
            while !found.is_empty() {
                if let Some(why) = self.batch(&mut found).await? {
                    return Ok(self.early(&why));
                }
            }
        }
    }

    /// Removes some jobs: first what gives them rights, then their pods. A sweep that follows a write waits until the
    /// API server has heard of it in its list of pods, up to 100 ms; so one of a batch waits, and not each.
    /// Why nothing more is to be tried, if so.
    async fn batch(&mut self, found: &mut VecDeque<Candidate>) -> Result<Option<String>, Fault> {
        let mut why = None;
        let mut begun = Vec::new();
        while begun.len() < BATCH {
            let Some(job) = found.pop_front() else { break };
            why = self.obstacle();
            if why.is_some() {
                break;
            }
            match self.disown(&job).await {
                Some(Disowned::Yes(failures)) => begun.push((job, failures)),
                Some(Disowned::No(failure)) => self.tell(job, vec![failure]).await?,
                None => {}
            }
        }
        let mut left = u32::try_from(begun.len()).unwrap_or(u32::MAX);
        for (job, mut failures) in begun {
            if !self.dry_run {
                let deadline = self.job_deadline().min(teardown::share(self.deadline, left));
                failures.extend(teardown::pods(self.api, &job.tear_down(), deadline).await.err());
            }
            left -= 1;
            self.tell(job, failures).await?;
        }
        Ok(why)
    }

    /// Why another job is not to be begun, if so.
    fn obstacle(&self) -> Option<String> {
        if self.wire.interrupted() {
            Some("told to stop before all jobs were dealt with".to_owned())
        } else if self.dealt >= MAX_JOBS {
            Some(format!("{MAX_JOBS} jobs were dealt with; more are overdue, ask again"))
        } else if Instant::now() >= self.deadline {
            Some("not all overdue jobs were dealt with: the time is over".to_owned())
        } else {
            None
        }
    }

    async fn tell(&mut self, job: Candidate, failures: Vec<String>) -> Result<(), Fault> {
        self.wire.reply(&Reply::Overdue(job.told(failures))).await
    }

    fn job_deadline(&self) -> Instant {
        self.deadline.min(Instant::now() + Duration::from_secs(JOB_SECONDS))
    }

    fn early(&mut self, why: &str) -> Ended {
        self.failures.push(why.to_owned());
        Ended::Early
    }

    /// Takes account and binding of one job away. None when it is not overdue any more, or not tried.
    async fn disown(&mut self, found: &Candidate) -> Option<Disowned> {
        if self.dry_run {
            self.dealt += 1;
            return Some(Disowned::Yes(Vec::new()));
        }
        let refused = self.closed.take().filter(|(namespace, _)| *namespace == found.namespace);
        let refusals = refused.map_or(0, |(_, count)| count);
        if refusals >= MAX_REFUSALS {
            self.closed = Some((found.namespace.clone(), refusals));
            // Whoever may make accounts there could otherwise use up the time of everybody's clean-up.
            self.failures.uncounted(&found.namespace);
            return None;
        }
        let deadline = self.job_deadline();
        let account = Account { namespace: found.namespace.as_str(), job: &found.job, uid: Some(&found.uid) };
        let options = objects::delete_unchanged(&found.uid, &found.resource_version);
        let problem = match within(deadline, self.api.delete(&account.path(), &options)).await {
            None => "the API server did not answer in time".to_owned(),
            Some(Err(fault)) => fault.to_string(),
            Some(Ok(answer)) => match answer.status {
                // Renewed meanwhile, or another object by that name: in both cases not overdue.
                StatusCode::CONFLICT => return None,
                // NotFound: gone since the list was made; whoever removes it may have stopped halfway.
                status if status.is_success() || status == StatusCode::NOT_FOUND => {
                    self.dealt += 1;
                    let binding = teardown::binding(self.api, &found.tear_down(), deadline).await;
                    return Some(Disowned::Yes(binding.err().into_iter().collect()));
                }
                StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY => {
                    self.closed = Some((found.namespace.clone(), refusals + 1));
                    said(&answer)
                }
                _ => said(&answer),
            },
        };
        self.dealt += 1;
        let name = found.job.object_name();
        Some(Disowned::No(bounded(&format!("ServiceAccount {}/{name}: {problem}", found.namespace))))
    }
}

/// Whether the account of a job is gone.
enum Disowned {
    /// It is, and this could not be removed.
    Yes(Vec<String>),
    /// It is not, and why. Nothing else was tried, so that the next clean-up finds all of it.
    No(String),
}

/// Failures of the whole request, bounded in number.
#[derive(Default)]
struct Failures {
    first: Vec<String>,
    more: u32,
    /// Jobs that were not tried since their namespace is closed, by the last such namespace.
    untried: Option<(NamespaceName, u32)>,
}

impl Failures {
    fn push(&mut self, failure: String) {
        if self.first.len() < MAX_FAILURES {
            self.first.push(bounded(&failure));
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    fn uncounted(&mut self, namespace: &NamespaceName) {
        match &mut self.untried {
            Some((known, count)) if known == namespace => *count = count.saturating_add(1),
            _ => {
                self.flush();
                self.untried = Some((namespace.clone(), 1));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((namespace, count)) = self.untried.take() {
            self.push(format!(
                "{count} more overdue jobs in {namespace} were not tried: it is not allowed there"
            ));
        }
    }

    fn told(mut self) -> Vec<String> {
        self.flush();
        if self.more > 0 {
            self.first.push(format!("and {} more", self.more));
        }
        self.first
    }
}
