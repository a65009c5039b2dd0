//! Many jobs at once, and many that are dead. A file of its own: cargo runs test files one after the other, and requests
//! are counted here. Full size with `SSA_FULL=1`. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::*;
use world::admin::Admin;
use world::dead::{dead_job, fabricate, numbered};
use world::jobs::script;
use world::{Bed, Host, World, kill};

/// One of these tests at a time: each wants the machine for itself.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn full() -> bool {
    std::env::var("SSA_FULL").is_ok_and(|value| value == "1")
}

/// xorshift64: the same numbers for the same seed, which is printed.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let clock = || u64::from(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos()) | 1;
        let seed = std::env::var("SSA_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(clock);
        println!("seed {seed} (SSA_SEED={seed} repeats it)");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A wrapper that was started; its words go to a file.
struct Started {
    child: Child,
    stderr: std::path::PathBuf,
    killed: bool,
}

/// Waits for a child without being held by it.
fn has_ended(child: &mut Child) -> bool {
    child.try_wait().expect("wait").is_some()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_81_96_many_jobs_at_once_some_wrappers_killed_and_one_reap_leaves_nothing() {
    let _alone = alone();
    let (count, victims) = if full() { (200, 20) } else { (12, 2) };
    let mut random = Random::new();
    let admin = Admin::new();
    let logins = ["load0", "load1", "load2", "load3"];
    let mut host = Host::new(Bed::shipped(), &admin, &logins);
    // Four namespaces; and time enough for a small machine that starts everything at once.
    host.configuration["users"]["mapping"] = json!([{"regex": "load[0-9]", "user": "alice"}, "identity"]);
    host.configuration["profiles"]["per-user"]["namespace"]["accept_shared_account"] = json!(true);
    host.configuration["timeouts"] = json!({
        "connect": "300s", "request": "300s", "provision": "600s", "teardown": "600s", "staging": "300s",
        "lookup": "60s", "grace": "5s",
    });
    host.script(&script("exit 0"));
    for login in logins {
        let first = ended(&mut host.job(login));
        assert_eq!(first.code(), 0, "{first:?}");
    }
    host.reaped();
    let before = World::of(&host, &admin);
    host.script(&script("hide; make_pod; sleep 4; exit 21"));

    let start = Instant::now();
    let mut all: Vec<Started> = (0..count)
        .map(|number| {
            let stderr = host.directory.path().join(format!("stderr-{number}"));
            let mut command = host.job(logins[number % logins.len()]);
            command.stdout(Stdio::null()).stderr(fs::File::create(&stderr).unwrap());
            Started { child: command.spawn().unwrap(), stderr, killed: false }
        })
        .collect();
    // A kill every now and then over the whole of their life, whatever they are doing.
    let mut left: u32 = victims;
    while left > 0 {
        std::thread::sleep(Duration::from_millis(20 + random.below(if full() { 1500 } else { 600 })));
        let chosen = usize::try_from(random.below(count as u64)).unwrap();
        let one = &mut all[chosen];
        if !one.killed && !has_ended(&mut one.child) {
            // nsenter has become the supervisor.
            kill("KILL", one.child.id().try_into().unwrap());
            one.killed = true;
            left -= 1;
        }
        if all.iter_mut().all(|one| has_ended(&mut one.child)) {
            break;
        }
    }
    let mut codes: BTreeMap<String, u32> = BTreeMap::new();
    for one in &mut all {
        let status = one.child.wait().unwrap();
        *codes.entry(status.to_string()).or_default() += 1;
        let told = fs::read_to_string(&one.stderr).unwrap();
        assert!(one.killed || status.code() == Some(21), "{status}: {told}");
        assert!(one.killed || !told.contains("not cleaned up"), "{told}");
    }
    let ran = start.elapsed();
    host.until_wrappers_end();
    let killed = all.iter().filter(|one| one.killed).count();
    assert!(killed > 0, "nobody was killed");
    let begin = Instant::now();
    let report = host.reaped();
    let reap = begin.elapsed();
    println!("{count} jobs at once: {:.1} s; ends: {codes:?}", ran.as_secs_f64());
    println!(
        "{killed} wrappers killed; one reap: {:.1} s, {} jobs",
        reap.as_secs_f64(),
        report["jobs"].as_array().unwrap().len()
    );
    World::assert_same(&before, &host, &admin, "many jobs");
    println!("left behind: 0");
}

/// What one reap of many dead jobs cost.
struct Cost {
    seconds: f64,
    requests: usize,
    /// Peak memory of `reap` and of its provisioner, in KiB.
    memory: [u64; 2],
}

/// Runs a reap and looks at its memory all the while.
fn measured(host: &Host) -> (Cost, Value) {
    let since =
        String::from_utf8(Command::new("date").args(["-u", "+%FT%T.%6NZ"]).output().unwrap().stdout).unwrap();
    let out = host.directory.path().join("report.json");
    let begin = Instant::now();
    let mut reap = host.call(&["reap", "--json"]).stdout(fs::File::create(&out).unwrap()).spawn().unwrap();
    let pid = i32::try_from(reap.id()).unwrap();
    let mut memory = [0, 0];
    while !has_ended(&mut reap) {
        // Only once it is the program: before that it is nsenter.
        let ours = |pid: i32| {
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("spark-submit-as"))
        };
        if ours(pid) {
            memory[0] = peak(pid).max(memory[0]);
            for child in children(pid) {
                let program = fs::read_link(format!("/proc/{child}/exe")).unwrap_or_default();
                if program.to_string_lossy().contains("-provisioner") {
                    memory[1] = peak(child).max(memory[1]);
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = begin.elapsed().as_secs_f64();
    let status = reap.wait().unwrap();
    assert_eq!(status.code(), Some(0), "{}", fs::read_to_string(&out).unwrap_or_default());
    assert!(memory.iter().all(|peak| *peak > 0), "the memory was not seen: {memory:?}");
    let report = serde_json::from_slice(&fs::read(out).unwrap()).unwrap();
    (Cost { seconds, requests: requests_since(host, since.trim()), memory }, report)
}

/// VmHWM in KiB (proc(5), `status`); 0 when the process has gone.
fn peak(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// The provisioner's requests since then, in the API server's audit log, the part that was put aside included.
fn requests_since(host: &Host, since: &str) -> usize {
    // The log is written in batches.
    std::thread::sleep(Duration::from_secs(2));
    let log = std::path::PathBuf::from(bed("BENCH_AUDIT_LOG"));
    let user = format!("\"username\":\"{}\"", host.provisioner());
    let mut count = 0;
    for entry in fs::read_dir(log.parent().unwrap()).unwrap().flatten() {
        if !entry.file_name().to_string_lossy().starts_with("audit") {
            continue;
        }
        for line in BufReader::new(fs::File::open(entry.path()).unwrap()).lines().map_while(Result::ok) {
            let received = line.split("\"requestReceivedTimestamp\":\"").nth(1);
            let ours = line.contains(&user);
            if ours && received.is_some_and(|time| time >= since) {
                count += 1;
            }
        }
    }
    count
}

#[test]
#[ignore = "needs the test bed: make test"]
fn ten_thousand_dead_records() {
    let _alone = alone();
    let most = if full() { 10_000 } else { 100 };
    let admin = Admin::new();
    let mut host = Host::new(Bed::shipped(), &admin, &["alice"]);
    assert_eq!(ended(&mut host.job("alice")).code(), 0);
    let namespace = host.namespace("alice");
    host.reaped();
    let before = World::of(&host, &admin);
    // What a really dead job has is the model for the rest.
    host.script(&script("exec sleep 600"));
    let model_job = dead_job(&host, "alice");
    let model = host.record(&model_job);
    assert!(model["made"].is_object(), "{model}");
    host.reaped();

    let mut costs = Vec::new();
    for (round, count) in [most / 10, most].into_iter().enumerate() {
        let jobs: Vec<String> = (0..count).map(|number| numbered(round * most + number)).collect();
        let begin = Instant::now();
        fabricate(&host, &admin, &namespace, &model, &jobs);
        println!("{count} dead jobs made in {:.1} s", begin.elapsed().as_secs_f64());
        let (cost, report) = measured(&host);
        assert_eq!(report["jobs"].as_array().unwrap().len(), count);
        println!(
            "{count} dead records: {:.2} s ({:.2} ms each), {} requests ({:.2} each), peak memory {} KiB of reap, \
             {} KiB of its provisioner",
            cost.seconds,
            cost.seconds * 1000.0 / count as f64,
            cost.requests,
            cost.requests as f64 / count as f64,
            cost.memory[0],
            cost.memory[1],
        );
        World::assert_same(&before, &host, &admin, "many dead records");
        costs.push(cost);
    }
    for (who, index) in [("reap", 0), ("its provisioner", 1)] {
        let ratio = costs[1].memory[index] as f64 / costs[0].memory[index] as f64;
        println!("memory of {who} for ten times the records: {ratio:.2} times");
        assert!(ratio < 1.5, "the memory of {who} grows with the number of records: {ratio:.2}");
    }
    println!("left behind: 0");
}
