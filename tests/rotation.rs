//! Spark goes on with a fresh token: each old one is ended shortly after its successor was written, and no request is
//! refused. Real Spark, real tokens; only their life is made to look short (`testbench/faultproxy`).
//! Needs the test bed (`make test`). `SSA_FULL=1`: three rotations instead of one. `SSA_BED_VERSIONS="3.5.9 4.3.0"`: these
//! versions as well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::proxy::{Options, Proxied, Request};
use support::*;

/// Life that tokens seem to have; the product renews at two thirds of it.
const LIFE: u32 = 135;
/// From a new kubeconfig to the end of the old token. Spark's client reads the file again once a minute
/// (fabric8, `TokenRefreshInterceptor`).
const OVERLAP: Duration = Duration::from_secs(75);
/// Until the API server's cache forgets a token that has ended (10 s), and Spark has asked twice after that.
const UNTIL_REFUSED: Duration = Duration::from_secs(20);

/// Works until a file goes, and has the driver create and delete pods now and then.
const JOB: &str = r#"
import os, sys, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.appName("rotation").getOrCreate()
sc = spark.sparkContext
backend = sc._jsc.sc()
replaced = time.time()
while os.path.exists(sys.argv[1]):
    if time.time() - replaced > 40:
        replaced = time.time()
        executors = backend.getExecutorIds()
        if executors.size() > 0:
            backend.killAndReplaceExecutor(executors.head())
    else:
        print("sum", sc.parallelize(range(100), 2).sum(), flush=True)
    time.sleep(1)
spark.stop()
"#;

/// A job through a proxy that binds tokens to Secrets.
struct Rotating {
    flag: PrivateFile,
    _job: PrivateFile,
    running: Running,
    id: String,
    /// Where its kubeconfig is.
    file: PathBuf,
    audit: u64,
    // Last, so that the namespace goes when the job has ended.
    proxied: Proxied,
}

impl Rotating {
    fn start(name: &str, profile: &str, binary: PathBuf, config: PathBuf, run: &str) -> Self {
        let options = Options {
            name,
            binary,
            config,
            // Executors reach the driver at its address towards the API server.
            host: bed("BENCH_DRIVER_HOST"),
            life: Some(LIFE),
            script: None,
            timeouts: None,
        };
        let proxied = Proxied::new(options);
        let audit = audit_length();
        let flag = private_file("alice", &format!("{name}-flag"), "");
        let job = private_file("alice", &format!("{name}-job.py"), JOB);
        let mut running = start(&mut proxied.call(&[
            "run",
            "--user",
            "alice",
            "--profile",
            profile,
            "--",
            "--conf",
            "spark.kubernetes.executor.apiPollingInterval=5s",
            job.0.to_str().unwrap(),
            flag.0.to_str().unwrap(),
        ]));
        let (id, _) = running.job();
        let file = Path::new(run).join(&id).join("kubeconfig");
        let rotating = Self { flag, _job: job, running, id, file, audit, proxied };
        until("an executor is asked for", || {
            rotating.drivers(1).iter().any(|request| request.method == "POST" && request.status == 201)
        });
        rotating
    }

    fn inode(&self) -> u64 {
        fs::metadata(&self.file).expect("kubeconfig").ino()
    }

    /// Spark's requests from number `from` on: all but the provisioner's.
    fn drivers(&self, from: u32) -> Vec<Request> {
        let mut log = self.proxied.proxy.log(from);
        log.retain(|request| !request.agent.starts_with("spark-submit-as"));
        log
    }

    fn refused(&self, from: u32) -> Vec<Request> {
        let mut drivers = self.drivers(from);
        drivers.retain(|request| request.status == 401);
        drivers
    }

    fn asked(&self) -> u32 {
        self.proxied.proxy.log(1).last().map_or(0, |request| request.number)
    }

    /// Waits longer than a renewal may take.
    fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(LIFE.into()) + PATIENCE;
        while !done() {
            let late = Instant::now() >= deadline;
            assert!(!late, "never happened: {what}; the proxy saw {:#?}", self.proxied.proxy.log(1));
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Ends the token that was granted as number `at`.
    fn end_token(&self, at: usize) {
        let token = &self.proxied.proxy.tokens()[at];
        assert_eq!(token.account, format!("ssa-job-{}", self.id));
        kubectl(&["delete", "secret", "-n", &token.namespace, &token.secret]);
    }

    /// Lines of the API server's audit log in which a request in this job's namespace was not authenticated.
    fn refused_by_the_audit_log(&self) -> Vec<String> {
        let namespace = format!("/namespaces/{}/", self.proxied.namespace);
        let lines = audit_since(self.audit).into_iter();
        lines
            .filter(|line| line["responseStatus"]["code"] == 401)
            .filter_map(|line| line["requestURI"].as_str().map(String::from))
            .filter(|uri| uri.contains(&namespace))
            .collect()
    }

    fn end(self) -> (Ended, String, Proxied) {
        fs::remove_file(&self.flag.0).expect("flag");
        (self.running.end(), self.id, self.proxied)
    }
}

fn rotate(name: &str, profile: &str, rotations: usize) {
    let rotating =
        Rotating::start(name, profile, program(), bed("SSA_BED_CONFIG").into(), &bed("SSA_BED_RUN"));
    let mut inode = rotating.inode();
    for rotation in 0..rotations {
        rotating.wait("the kubeconfig is replaced", || rotating.inode() != inode);
        inode = rotating.inode();
        std::thread::sleep(OVERLAP);
        rotating.end_token(rotation);
        println!("{profile}: token {} of {} ended", rotation + 1, rotating.proxied.proxy.tokens().len());
    }
    // Half of it for the cache; what Spark asks from then on, an old token would not get.
    std::thread::sleep(UNTIL_REFUSED / 2);
    let from = rotating.asked() + 1;
    std::thread::sleep(UNTIL_REFUSED / 2);
    let after = rotating.drivers(from);
    assert!(after.iter().any(|request| request.status == 200), "Spark asked nothing: {after:?}");
    let drivers = rotating.drivers(1);
    let posts = drivers.iter().filter(|request| request.method == "POST" && request.status == 201).count();
    assert!(posts > 1, "no executor was replaced");
    let (refused, audited) = (rotating.refused(1), rotating.refused_by_the_audit_log());
    let (ended, id, proxied) = rotating.end();
    assert!(refused.is_empty(), "{refused:?}\n{}", ended.stderr);
    assert!(audited.is_empty(), "{audited:?}");
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("could not be renewed"), "{}", ended.stderr);
    until("what the job owned goes", || objects_of(&id).is_empty());
    assert_nothing_left(&id);
    println!(
        "{profile}: {rotations} rotations, {} requests of Spark's, {posts} executors, no 401",
        drivers.len()
    );
    drop(proxied);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn spark_goes_on_with_a_fresh_token_when_the_old_one_ends() {
    let rotations = if std::env::var_os("SSA_FULL").is_some() { 3 } else { 1 };
    let versions = std::env::var("SSA_BED_VERSIONS").unwrap_or_default();
    let own = bed("SSA_BED_SPARK");
    std::thread::scope(|scope| {
        let rotating = |name: String, profile: String| {
            scope.spawn(move || rotate(&name, &profile, rotations));
        };
        rotating("rotation".into(), "per-user".into());
        for version in versions.split_whitespace().filter(|version| *version != own) {
            let name = version.replace('.', "-");
            rotating(format!("rotation-{name}"), format!("per-user-{name}"));
        }
    });
    // Each of them has looked.
    println!("left behind: 0");
}

/// What keeps a kubeconfig as it is.
enum Stale {
    /// A build with fault points leaves out the rename while this file is there.
    Skipped(PathBuf),
    /// A file system is mounted at the file: a rename onto it fails (EBUSY, rename(2)).
    Mounted(PathBuf),
}

impl Drop for Stale {
    fn drop(&mut self) {
        match self {
            Self::Skipped(flag) => drop(fs::remove_file(flag)),
            Self::Mounted(file) => drop(Command::new("umount").arg(file).status()),
        }
    }
}

/// The test above can fail: with a kubeconfig that stays what it was, Spark is refused.
#[test]
#[ignore = "needs the test bed: make test"]
fn spark_is_refused_when_the_old_token_ends_and_no_fresh_one_came() {
    let faults = std::env::var("SSA_FAULTS_BIN").ok();
    let (binary, config, run) = match &faults {
        Some(binary) => (binary.into(), bed("SSA_FAULTS_CONFIG").into(), bed("SSA_FAULTS_RUN")),
        None => (program(), bed("SSA_BED_CONFIG").into(), bed("SSA_BED_RUN")),
    };
    let rotating = Rotating::start("stale", "per-user", binary, config, &run);
    let stale = if faults.is_some() {
        let flag = Path::new(&run).join("skip-rename");
        fs::write(&flag, "").expect("skip-rename");
        Stale::Skipped(flag)
    } else {
        println!("SSA_FAULTS_BIN is not set: a mount keeps the kubeconfig as it is");
        let file = &rotating.file;
        assert!(Command::new("mount").arg("--bind").args([file, file]).status().unwrap().success());
        Stale::Mounted(file.clone())
    };
    let inode = rotating.inode();
    rotating.wait("a fresh token is granted", || rotating.proxied.proxy.tokens().len() > 1);
    std::thread::sleep(OVERLAP);
    assert_eq!(rotating.inode(), inode, "the kubeconfig was replaced nevertheless");
    assert!(rotating.refused(1).is_empty(), "{:?}", rotating.refused(1));
    rotating.end_token(0);
    until("Spark is refused", || !rotating.refused(1).is_empty());
    assert!(!rotating.refused_by_the_audit_log().is_empty(), "the audit log has it too");
    let refused = rotating.refused(1).len();
    // From here on the file may be replaced and removed again.
    drop(stale);
    let (ended, id, proxied) = rotating.end();
    println!("{refused} requests of Spark's were refused; it ended with {:?}", ended.status);
    until("what the job owned goes", || objects_of(&id).is_empty());
    assert!(!Path::new(&run).join(&id).exists(), "the run directory is left");
    drop(proxied);
}

/// A host that was cut off until its job was overdue: another host has removed the account, and no token will come again.
/// A driver would wait for executors for ever; so the job is ended, and says why.
#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_92_a_job_whose_account_was_removed_is_ended_and_told_of_it() {
    let script = "trap 'exit 77' TERM; while :; do sleep 0.2; done";
    let mut options = Options::scripted("gone", script);
    options.life = Some(LIFE);
    let proxied = Proxied::new(options);
    let mut running = start(&mut proxied.job());
    let (job, _) = running.job();
    kubectl(&["delete", "serviceaccount", "-n", &proxied.namespace, &format!("ssa-job-{job}")]);
    let line = running.line("it is ended");
    assert!(line.contains("service account is gone"), "{line}");
    let ended = running.end();
    // TERM, as from its owner; the job's own end is reported.
    assert_eq!(ended.code(), 77, "{ended:?}");
    assert_nothing_left(&job);
}
