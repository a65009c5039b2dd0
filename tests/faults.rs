//! Every request of a job fails once, in every way that a request can fail: the call ends with the right code, and nothing
//! is left. Needs the test bed (`make test`); `SSA_FULL=1` tries all of it instead of a part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::proxy::{Bounded, Options, Proxied, Request, bounded, left_on_this_host};
use support::*;

/// How the scripted job ends.
const JOBS_OWN: i32 = 42;
/// Jobs at the same time. Most of their time is waiting for what does not come.
const LANES: usize = 8;

/// A way to fail.
struct Fault {
    name: &'static str,
    rule: Value,
    /// Once, it is got over by asking again, and so the job runs.
    got_over: bool,
}

fn faults() -> Vec<Fault> {
    let fault = |name, rule, got_over| Fault { name, rule, got_over };
    vec![
        fault("hang", json!({"fault": "hang"}), false),
        fault("hang-after", json!({"fault": "hang-after"}), false),
        fault("reset", json!({"fault": "reset"}), true),
        fault("reset-after", json!({"fault": "reset-after"}), true),
        fault("403", json!({"fault": "status", "code": 403}), false),
        // Not the API server's word: what a gateway says that has lost it.
        fault("404", json!({"fault": "status", "code": 404, "body": "404 page not found\n"}), false),
        fault("409", json!({"fault": "status", "code": 409}), false),
        fault("429", json!({"fault": "status", "code": 429, "retry_after": "86400"}), true),
        fault("500", json!({"fault": "status", "code": 500}), true),
        fault("garbage", json!({"fault": "garbage"}), false),
        fault("endless", json!({"fault": "endless"}), false),
        fault("slow", json!({"fault": "slow"}), false),
        fault("killed-before", json!({"fault": "kill-before", "who": "client"}), false),
        fault("killed-after", json!({"fault": "kill-after", "who": "client"}), false),
    ]
}

/// One job with one fault.
struct Case {
    fault: usize,
    request: Request,
    /// In a namespace that does not exist yet.
    fresh: bool,
    /// Not once: each request of this kind, however often it is asked again.
    always: bool,
    /// The request is one of those that take back.
    teardown: bool,
}

/// How it went.
struct Tried {
    name: String,
    kind: &'static str,
    always: bool,
    ended: Bounded,
    /// Processes that asked the proxy.
    clients: Vec<i32>,
    problems: Vec<String>,
}

impl Tried {
    /// Whether it said that something is left, for `reap` and for people to find.
    fn told(&self) -> bool {
        self.ended.stderr.contains("not cleaned up")
    }

    /// What is left of it on this host, and `in_the_cluster`.
    fn left(&self, in_the_cluster: &BTreeMap<String, Vec<String>>) -> Vec<String> {
        let job = self.ended.job().unwrap_or_default();
        let mut left = left_on_this_host(&job, &self.clients);
        left.extend(in_the_cluster.get(&job).into_iter().flatten().cloned());
        left
    }
}

fn lane(number: usize) -> Proxied {
    Proxied::new(Options::scripted(&format!("fault{number}"), &format!("exit {JOBS_OWN}")))
}

/// The requests of a job that meets no fault.
fn requests_of_a_normal_job(proxied: &Proxied) -> Vec<Request> {
    proxied.proxy.reset();
    let ended = bounded(&mut proxied.job(), proxied.directory.path());
    assert_eq!(ended.code(), Some(JOBS_OWN), "{ended:?}");
    let requests = proxied.proxy.log(1);
    assert_eq!(
        left_on_this_host(&ended.job().expect("job"), &clients(&requests)),
        Vec::<String>::new(),
        "{ended:?}"
    );
    requests
}

fn clients(requests: &[Request]) -> Vec<i32> {
    requests.iter().map(|request| request.client).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A regular expression for requests of this kind, whatever the job and the namespace.
fn kind_of(path: &str) -> String {
    let mut text = path.to_owned();
    // What differs is marked by characters that no path has, then the rest is escaped.
    let different = [
        ("/namespaces/ssa-test-[a-z0-9-]+", "/namespaces/\u{1}"),
        ("ssa-job-[a-z0-9]+", "ssa-job-\u{1}"),
        ("%3D[a-z0-9]+", "%3D\u{1}"),
    ];
    for (what, mark) in different {
        text = regex::Regex::new(what).unwrap().replace_all(&text, mark).into_owned();
    }
    format!("^{}$", regex::escape(&text).replace('\u{1}', "[a-z0-9-]+"))
}

fn short(request: &Request) -> String {
    let path = request.path.split('?').next().unwrap_or_default();
    let words: Vec<&str> = path.rsplit('/').take(2).collect();
    let [last, before] = words[..] else { return request.path.clone() };
    let named = last.starts_with("ssa-job-") || last.starts_with("ssa-test-");
    let what = if named { before } else { last };
    format!("{:>2} {} {what}", request.number, request.method)
}

fn cases(first: &[Request], normal: &[Request], full: bool, can_reap: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, fault) in faults().into_iter().enumerate() {
        let killed = fault.name.starts_with("killed");
        for (fresh, requests) in [(false, normal), (true, first)] {
            let teardown = requests.iter().position(|request| request.method == "DELETE").unwrap();
            for (at, request) in requests.iter().enumerate() {
                // A namespace that is made costs one that has to go; only what the other jobs do not ask is tried there.
                let also_without = normal.iter().any(|normal| {
                    normal.method == request.method && kind_of(&normal.path) == kind_of(&request.path)
                });
                // One `POST serviceaccounts` more is the executors' account.
                let executors_account = fresh
                    && request.method == "POST"
                    && request.path.ends_with("/serviceaccounts")
                    && first[..at].iter().all(|before| before.path != request.path);
                if fresh && also_without && !executors_account {
                    continue;
                }
                for always in [false, true] {
                    // What was never taken back is left for `reap` to find. A killed provisioner is replaced, and that one
                    // is killed as well: enough of it once.
                    if always && (fresh || killed || (at >= teardown && !can_reap)) {
                        continue;
                    }
                    let request = request.clone();
                    cases.push(Case { fault: number, request, fresh, always, teardown: at >= teardown });
                }
            }
        }
    }
    if full {
        return cases;
    }
    // Each once, but for what costs most: namespaces that have to go again, and tear-downs that use up their time.
    let kept = |case: &Case| match (case.fresh, case.always) {
        (true, _) => case.fault.is_multiple_of(3),
        (_, true) => (case.request.number as usize + case.fault * 2 + 4).is_multiple_of(8),
        _ => true,
    };
    cases.into_iter().filter(kept).collect()
}

fn try_case(proxied: &Proxied, case: &Case) -> Tried {
    let fault = &faults()[case.fault];
    proxied.proxy.reset();
    let mut rule = fault.rule.clone();
    if case.always {
        rule["always"] = json!(true);
        rule["method"] = json!(case.request.method);
        rule["path"] = json!(kind_of(&case.request.path));
    } else {
        rule["number"] = json!(case.request.number);
    }
    proxied.proxy.rule(rule);
    let ended = bounded(&mut proxied.job(), proxied.directory.path());
    let asked = proxied.proxy.log(1);
    proxied.proxy.reset();
    let mut problems = Vec::new();
    if !asked.iter().any(|request| request.fault != "pass") {
        problems.push("the fault was not met".to_owned());
    }
    if ended.status.is_none() {
        problems.push("did not end".to_owned());
    }
    let code = ended.code();
    // A refused fence probe is a fence that holds.
    let harmless = case.request.path.contains("/kube-system/") && fault.name == "403";
    let right = match (ended.ran(), code) {
        (true, code) => code == Some(JOBS_OWN),
        // Once: what can be asked again is asked again.
        (false, _) if !case.always && (fault.got_over || harmless) => false,
        (false, Some(code)) => (214..=220).contains(&code) || code == 224,
        (false, None) => false,
    };
    if !right {
        problems.push(format!("the wrong end: code {code:?}, the job ran: {}", ended.ran()));
    }
    if case.teardown && !ended.ran() {
        problems.push("the job did not run, and nothing but its end was disturbed".to_owned());
    }
    if ended.stderr.contains("panicked") {
        problems.push("a panic".to_owned());
    }
    if ended.job().is_none() {
        problems.push("no job was told about".to_owned());
    }
    let once = if case.always { "always" } else { "once" };
    let fresh = if case.fresh { ", new namespace" } else { "" };
    let name = format!("{:<24} {:<13} {once}{fresh}", short(&case.request), fault.name);
    Tried { name, kind: fault.name, always: case.always, ended, clients: clients(&asked), problems }
}

/// Objects of jobs in any namespace: (job, kind and name).
fn objects_of_jobs() -> Vec<(String, String)> {
    let kinds = "pods,serviceaccounts,rolebindings,secrets,configmaps";
    let text = kubectl(&["get", kinds, "-A", "-o", "json", "-l", "spark-submit-as/job"]);
    let list: Value = serde_json::from_str(&text).expect("JSON");
    let name = |object: &Value| {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let job = text("/metadata/labels/spark-submit-as~1job");
        (job, format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name")))
    };
    list["items"].as_array().expect("items").iter().map(name).collect()
}

fn left_in_the_cluster(tried: &[Tried]) -> BTreeMap<String, Vec<String>> {
    let jobs: BTreeSet<String> = tried.iter().filter_map(|tried| tried.ended.job()).collect();
    let mut left: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (job, object) in objects_of_jobs() {
        if jobs.contains(&job) {
            left.entry(job).or_default().push(object);
        }
    }
    left
}

#[test]
#[ignore = "needs the test bed: make test"]
fn every_request_fails_in_every_way_and_nothing_is_left() {
    let _alone = alone();
    let full = std::env::var_os("SSA_FULL").is_some();
    let begin = Instant::now();
    let first_lane = lane(0);
    let can_reap = first_lane.can_reap();
    let first = requests_of_a_normal_job(&first_lane);
    let normal = requests_of_a_normal_job(&first_lane);
    println!("a normal job asks {} times, the first of a namespace {} times", normal.len(), first.len());
    assert!(first.len() > normal.len(), "the first one makes the namespace");

    let queue: Mutex<VecDeque<Case>> = Mutex::new(cases(&first, &normal, full, can_reap).into());
    let results: Mutex<Vec<Tried>> = Mutex::new(Vec::new());
    let lanes: Mutex<Vec<Proxied>> = Mutex::new(vec![first_lane]);
    let number = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for at in 0..LANES {
            let (queue, results, lanes, number) = (&queue, &results, &lanes, &number);
            scope.spawn(move || {
                let taken = if at == 0 { lanes.lock().unwrap().pop() } else { None };
                let proxied = taken.unwrap_or_else(|| {
                    let made = lane(at);
                    requests_of_a_normal_job(&made);
                    made
                });
                loop {
                    let case = queue.lock().unwrap().pop_front();
                    let Some(case) = case else { break };
                    // The numbers of its requests are those of a namespace's first job, so the lane must be a new one.
                    let own = case.fresh.then(|| lane(LANES + number.fetch_add(1, Ordering::Relaxed)));
                    let tried = try_case(own.as_ref().unwrap_or(&proxied), &case);
                    results.lock().unwrap().push(tried);
                    lanes.lock().unwrap().extend(own);
                }
                lanes.lock().unwrap().push(proxied);
            });
        }
    });
    let mut tried = results.into_inner().unwrap();
    let lanes = lanes.into_inner().unwrap();

    // What a job owns is removed by the cluster a moment after its account. What stays must have been told.
    let mut seen = left_in_the_cluster(&tried);
    let untold = |seen: &BTreeMap<String, Vec<String>>| {
        tried.iter().any(|tried| !tried.told() && seen.contains_key(&tried.ended.job().unwrap_or_default()))
    };
    for _ in 0..20 {
        if !untold(&seen) {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
        seen = left_in_the_cluster(&tried);
    }
    for tried in &mut tried {
        let left = tried.left(&seen);
        if !left.is_empty() && !tried.told() {
            tried.problems.push(format!("left without a word: {}", left.join(", ")));
        }
    }
    let told = tried.iter().filter(|tried| !tried.left(&seen).is_empty()).count();
    println!("{told} calls left something and said so");
    let mut unfinished = Vec::new();
    if can_reap {
        for proxied in &lanes {
            let reaped = ended(&mut proxied.call(&["reap"]));
            if reaped.code() != 0 {
                unfinished.push(reaped);
            }
        }
    }
    let in_the_cluster = left_in_the_cluster(&tried);
    let mut left_behind = 0;
    for tried in &mut tried {
        let left = tried.left(&in_the_cluster);
        left_behind += left.len();
        if !left.is_empty() {
            tried.problems.push(format!("left behind: {}", left.join(", ")));
        }
    }
    drop(lanes);
    report(&mut tried, begin);
    println!("left behind: {left_behind}");
    let wrong: Vec<String> = tried
        .iter()
        .filter(|tried| !tried.problems.is_empty())
        .map(|tried| format!("{}: {}\n{}", tried.name, tried.problems.join("; "), tried.ended.stderr))
        .collect();
    assert!(wrong.is_empty(), "{} cases\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(left_behind, 0);
    assert!(unfinished.is_empty(), "reap: {unfinished:?}");
}

/// `reap` sees all jobs of this host, so one test's must not see another's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn report(tried: &mut [Tried], begin: Instant) {
    tried.sort_by(|a, b| (a.kind, a.always, &a.name).cmp(&(b.kind, b.always, &b.name)));
    for tried in tried.iter() {
        let end = match (tried.ended.code(), tried.ended.ran()) {
            (Some(code), ran) => format!("{code}{}", if ran { " (the job's)" } else { "" }),
            (None, _) => "none".to_owned(),
        };
        let problems = tried.problems.join("; ");
        println!("  {:<62} {end:<14} {:>5.1} s  {problems}", tried.name, tried.ended.seconds);
    }
    println!("fault           cases   slowest");
    for kind in faults().iter().map(|fault| fault.name) {
        let of: Vec<&Tried> = tried.iter().filter(|tried| tried.kind == kind).collect();
        let slowest = of.iter().map(|tried| tried.ended.seconds).fold(0.0, f32::max);
        println!("{kind:<16}{:>5}   {slowest:>5.1} s", of.len());
    }
    println!("{} cases in {:.0} s", tried.len(), begin.elapsed().as_secs_f32());
}

/// A job that runs until a file goes, and its proxy.
fn waiting(name: &str, teardown: &str, life: Option<u32>) -> (Proxied, PrivateFile, Running, String) {
    let flag = private_file("alice", "flag", "");
    let script = format!("while [ -e '{}' ]; do sleep 0.05; done; exit {JOBS_OWN}", flag.0.display());
    let mut options = Options::scripted(name, &script);
    options.life = life;
    if let Some(timeouts) = &mut options.timeouts {
        timeouts["teardown"] = json!(teardown);
    }
    let proxied = Proxied::new(options);
    let mut running = start(&mut proxied.job());
    let (job, _) = running.job();
    (proxied, flag, running, job)
}

/// Everything of a job is gone, in the cluster within the moment that its garbage collector takes.
fn assert_gone(job: &str) {
    until("what the job owned goes", || objects_of(job).is_empty());
    assert_nothing_left(job);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_api_server_is_stopped_when_a_job_starts() {
    let _alone = alone();
    let proxied = lane(9001);
    proxied.proxy.refuse();
    let refused = bounded(&mut proxied.job(), proxied.directory.path());
    assert_eq!(refused.code(), Some(216), "{refused:?}");
    assert!(refused.stderr.contains("the API server cannot be reached"), "{refused:?}");
    assert!(!refused.ran(), "{refused:?}");
    assert_gone(&refused.job().expect("job"));
    proxied.proxy.accept();
    let served = bounded(&mut proxied.job(), proxied.directory.path());
    assert_eq!(served.code(), Some(JOBS_OWN), "{served:?}");
    assert_gone(&served.job().expect("job"));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_api_server_is_stopped_while_a_job_runs() {
    let _alone = alone();
    let (proxied, flag, running, job) = waiting("middle", "5s", None);
    proxied.proxy.refuse();
    // Long enough for a provisioner that minded to say so; nothing is to happen.
    std::thread::sleep(Duration::from_secs(3));
    proxied.proxy.accept();
    std::fs::remove_file(&flag.0).expect("flag");
    let ended = running.end();
    assert_eq!(ended.code(), JOBS_OWN, "{ended:?}");
    assert!(!ended.stderr.contains("not cleaned up"), "{ended:?}");
    assert_gone(&job);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_api_server_is_stopped_for_a_while_when_a_job_ends() {
    let _alone = alone();
    let (proxied, flag, running, job) = waiting("while", "30s", None);
    proxied.proxy.refuse();
    std::fs::remove_file(&flag.0).expect("flag");
    std::thread::sleep(Duration::from_secs(3));
    proxied.proxy.accept();
    let ended = running.end();
    assert_eq!(ended.code(), JOBS_OWN, "{ended:?}");
    assert!(!ended.stderr.contains("not cleaned up"), "{ended:?}");
    assert_gone(&job);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_api_server_is_stopped_when_a_job_ends_and_reap_finishes_later() {
    let _alone = alone();
    let (proxied, flag, running, job) = waiting("end", "2s", None);
    proxied.proxy.refuse();
    std::fs::remove_file(&flag.0).expect("flag");
    let stopped = running.end();
    assert_eq!(stopped.code(), JOBS_OWN, "the job's own end is told: {stopped:?}");
    assert!(stopped.stderr.contains("not cleaned up"), "{stopped:?}");
    assert!(!objects_of(&job).is_empty(), "nobody could have removed them");
    assert_eq!(left_on_this_host(&job, &[]), Vec::<String>::new(), "the credential is gone");
    if !proxied.can_reap() {
        println!("this version has no `reap`; its objects go with their namespace");
        return;
    }
    // Still stopped: what is left is told about, and not forgotten.
    let early = ended(&mut proxied.call(&["reap"]));
    assert_eq!(early.code(), 224, "{early:?}");
    proxied.proxy.accept();
    let late = ended(&mut proxied.call(&["reap"]));
    assert_eq!(late.code(), 0, "{late:?}");
    assert!(late.stdout.contains(&job), "{late:?}");
    assert_gone(&job);
}

/// A renewal that fails is tried again while the old token lives: the job goes on, and its kubeconfig is replaced.
fn try_renewal(fault: &Fault, method: &str, path: &str) -> Option<String> {
    let name = format!("renew-{}-{}", fault.name, method.to_lowercase());
    // Renewed after 90 s, so that there is time for another try.
    let (proxied, flag, running, job) = waiting(&name, "5s", Some(135));
    let mut rule = fault.rule.clone();
    rule["method"] = json!(method);
    rule["path"] = json!(path);
    let file = std::path::Path::new(&bed("SSA_BED_RUN")).join(&job).join("kubeconfig");
    let read = || std::fs::read(&file).expect("kubeconfig");
    let first = read();
    proxied.proxy.rule(rule);
    let begin = Instant::now();
    while read() == first && begin.elapsed() < PATIENCE * 2 {
        std::thread::sleep(Duration::from_millis(200));
    }
    let renewed = read() != first;
    let log = proxied.proxy.log(1);
    std::fs::remove_file(&flag.0).expect("flag");
    let ended = running.end();
    if !log.iter().any(|request| request.method == method && tokens_or_account(&request.path)) {
        println!("  {name}: this version asks no such thing");
        return None;
    }
    let met = log.iter().any(|request| request.fault != "pass");
    println!("  {:<28} met: {met}, renewed: {renewed}, ended with {:?}", name, ended.status.code());
    let in_time = !ended.stderr.contains("it has ended");
    let right = met && renewed && in_time && ended.status.code() == Some(JOBS_OWN);
    until("what the job owned goes", || objects_of(&job).is_empty());
    let left = left_on_this_host(&job, &clients(&log));
    (!right || !left.is_empty()).then(|| format!("{name}: left {left:?}; {ended:?}"))
}

fn tokens_or_account(path: &str) -> bool {
    path.contains("/serviceaccounts/ssa-job-")
}

#[test]
#[ignore = "needs the test bed: make test"]
fn every_request_of_a_renewal_fails_in_every_way_and_the_job_goes_on() {
    let _alone = alone();
    let faults = faults();
    let full = std::env::var_os("SSA_FULL").is_some();
    if !full {
        println!("only with SSA_FULL=1: it takes two and a half minutes");
        return;
    }
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let mut running = Vec::new();
        for fault in &faults {
            for (method, path) in [("POST", "/ssa-job-[^/]+/token$"), ("PATCH", "/serviceaccounts/ssa-job-")]
            {
                running.push(scope.spawn(move || try_renewal(fault, method, path)));
            }
        }
        running.into_iter().filter_map(|thread| thread.join().expect("a renewal")).collect()
    });
    assert!(wrong.is_empty(), "{} cases\n{}", wrong.len(), wrong.join("\n"));
}
