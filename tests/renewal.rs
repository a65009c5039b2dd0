//! Real Spark past three renewals of a token of 600 s, the shortest life that the API server grants, on each version of
//! `SSA_BED_VERSIONS` side by side. 20 minutes: not among `make test`, but part of `make soak`; tests/rotation.rs shows the
//! same with tokens that are made to look short-lived.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use support::*;

/// Life asked for and granted, in seconds; renewed at two thirds.
const LIFE: u64 = 600;
const RENEWALS: u32 = 3;
/// After the last renewal: beyond the end of the token before it, and the minute after which Spark reads the file again.
const AFTERWARDS: Duration = Duration::from_secs(LIFE / 3 + 75);

/// Computes pi again and again, until a file goes.
const JOB: &str = r#"
import os, random, sys, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.appName("pi").getOrCreate()
def inside(_):
    return random.random() ** 2 + random.random() ** 2 < 1
rounds = 0
while os.path.exists(sys.argv[1]):
    pi = 4 * spark.sparkContext.parallelize(range(20000), 2).filter(inside).count() / 20000
    rounds += 1
    time.sleep(5)
print("pi", pi, "rounds", rounds)
spark.stop()
"#;

fn past_three_renewals(version: &str) {
    let profile = match version {
        version if version == bed("SSA_BED_SPARK") => "per-user".to_owned(),
        version => format!("per-user-{}", version.replace('.', "-")),
    };
    let flag = private_file("alice", &format!("renewal-{version}"), "");
    let job = private_file("alice", "pi.py", JOB);
    let audit = audit_length();
    let mut running = start(&mut as_platform(&[
        "run",
        "--user",
        "alice",
        "--profile",
        &profile,
        "--",
        // So that the driver speaks to the API server often.
        "--conf",
        "spark.kubernetes.executor.apiPollingInterval=5s",
        job.0.to_str().unwrap(),
        flag.0.to_str().unwrap(),
    ]));
    let (id, _) = running.job();
    assert!(running.stderr.contains(&format!("token for {LIFE} s")), "{running}");
    let kubeconfig = Path::new(&bed("SSA_BED_RUN")).join(&id).join("kubeconfig");
    let inode = || fs::metadata(&kubeconfig).map(|file| file.ino()).expect("the job still runs");
    let (mut known, begin) = (inode(), Instant::now());
    for renewal in 1..=RENEWALS {
        let deadline = Instant::now() + Duration::from_secs(2 * LIFE);
        while inode() == known {
            assert!(Instant::now() < deadline, "{version}: renewal {renewal} never came: {running}");
            std::thread::sleep(Duration::from_secs(1));
        }
        known = inode();
        println!("{version}: renewal {renewal} after {} s", begin.elapsed().as_secs());
    }
    std::thread::sleep(AFTERWARDS);
    fs::remove_file(&flag.0).expect("flag");
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{version}: {ended:?}");
    let refused: Vec<String> = audit_since(audit)
        .into_iter()
        .filter(|line| line["responseStatus"]["code"] == 401)
        .filter_map(|line| line["requestURI"].as_str().map(String::from))
        .filter(|uri| uri.contains("/namespaces/dss-ns-alice/"))
        .collect();
    assert_eq!(refused, Vec::<String>::new(), "{version}");
    let requests = audit_since(audit)
        .into_iter()
        .filter(|line| {
            line["user"]["username"] == format!("system:serviceaccount:dss-ns-alice:ssa-job-{id}").as_str()
        })
        .count();
    assert!(requests > 100, "{version}: the driver made {requests} requests only, so this proves little");
    assert_nothing_left(&id);
    let told = ended.stdout.lines().find(|line| line.starts_with("pi")).unwrap_or_default().to_owned();
    println!("{version}: {told}; {requests} requests of the driver's, none answered by 401; left behind: 0");
}

#[test]
#[ignore = "20 minutes on the test bed: make soak"]
fn checklist_92_spark_lives_past_three_renewals_of_a_token_of_600_seconds() {
    let begin = Instant::now();
    let versions = bed("SSA_BED_VERSIONS");
    let threads: Vec<_> = versions
        .split_whitespace()
        .map(|version| {
            let version = version.to_owned();
            std::thread::spawn(move || past_three_renewals(&version))
        })
        .collect();
    let failed = threads.into_iter().map(|thread| thread.join()).filter(Result::is_err).count();
    assert_eq!(failed, 0, "see above");
    println!("{} versions tried, {} s", versions.split_whitespace().count(), begin.elapsed().as_secs());
    println!("left behind: 0");
}
