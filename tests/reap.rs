//! What `reap` takes back, and above all what it does not touch. Each test has a host of its own. Needs the test bed
//! (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "reap/records.rs"]
mod records;
mod support;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;
use serde_json::{Value, json};
use support::*;
use world::admin::{Admin, path};
use world::dead::*;
use world::gate::{Door, Gate};
use world::jobs::script;
use world::{Bed, Host, World, command_line, kill, start_time};

/// Longer than any test, with a pod and processes that hide.
const LONG: &str = "hide; hide_well; make_pod; exec sleep 600";

/// A host whose namespaces exist, and the world as it was before any job that matters.
fn place(body: &str, logins: &[&str]) -> (Host, Admin, World) {
    let admin = Admin::new();
    let mut host = Host::new(Bed::shipped(), &admin, logins);
    for login in logins {
        let first = ended(&mut host.job(login));
        assert_eq!(first.code(), 0, "{first:?}");
    }
    host.reaped();
    let before = World::of(&host, &admin);
    host.script(&script(body));
    (host, admin, before)
}

/// Jobs of a report's list with an outcome.
fn with_outcome(report: &Value, list: &str, outcome: &str) -> BTreeSet<String> {
    let all = report[list].as_array().unwrap_or_else(|| panic!("no {list} in {report}"));
    let chosen = all.iter().filter(|one| one["outcome"] == outcome);
    chosen.map(|one| one["job"].as_str().expect("job").to_owned()).collect()
}

fn set(jobs: &[&String]) -> BTreeSet<String> {
    jobs.iter().map(|job| (*job).clone()).collect()
}

/// Ends a job that runs, and says how it ended.
fn stopped(running: Running) -> Ended {
    kill("TERM", running.child.id().try_into().unwrap());
    running.end()
}

/// A process that has nothing to do with any job.
fn bystander(host: &Host, account: &str, variables: &[&str]) -> (std::process::Child, i32, String) {
    let seconds = format!("3{}", std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos());
    let mut words = vec!["setpriv", "--reuid", account, "--clear-groups", "env", "-i"];
    words.extend(variables);
    words.extend(["sleep", &seconds]);
    let child = host.on(&words).spawn().unwrap();
    let wanted = format!("sleep {seconds}");
    let find = || host.processes().into_iter().find(|pid| command_line(*pid) == wanted);
    until("the bystander runs", || find().is_some());
    let pid = find().unwrap();
    (child, pid, start_time(pid).unwrap())
}

fn ended_bystander((mut child, pid, started): (std::process::Child, i32, String)) {
    assert_eq!(start_time(pid), Some(started), "a bystander was killed");
    kill("KILL", pid);
    child.wait().unwrap();
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_81_everything_of_a_dead_job_is_taken_back_and_told() {
    let (host, admin, before) = place(LONG, &["alice"]);
    let job = dead_job(&host, "alice");
    let left = objects_of(&job);
    assert!(left.iter().any(|name| name.contains("serviceaccount/")), "{left:?}");
    assert!(host.run().join(&job).exists());

    // Told and not done.
    let (dry, report) = host.reap_with(&["--dry-run", "--json"]);
    assert_eq!(dry.code(), 0, "{dry:?}");
    assert_eq!(with_outcome(&report, "jobs", "would-remove"), set(&[&job]), "{report}");
    assert!(
        objects_of(&job).iter().any(|name| name.contains("serviceaccount/")),
        "a dry run removed something"
    );
    assert!(host.run().join(&job).join("kubeconfig").exists() && host.record_file(&job).exists());

    let report = host.reaped();
    let told = &report["jobs"][0];
    assert_eq!(told["job"], job.as_str(), "{report}");
    assert_eq!(told["namespace"], host.namespace("alice"), "{report}");
    assert_eq!(told["cluster"], "main", "{report}");
    assert_eq!(told["outcome"], "removed", "{report}");
    World::assert_same(&before, &host, &admin, "a dead job");
    let record = host.record(&job);
    assert_eq!(record["phase"], "ended", "{record}");
    assert_eq!(record["cleanup"]["by"], "reap", "{record}");
    // And once is enough.
    let again = host.reaped();
    assert_eq!(again["jobs"], json!([]), "{again}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_87_a_live_job_is_untouched_by_reaps_in_a_loop_while_jobs_come_and_go() {
    let (mut host, admin, before) = place(LONG, &["alice", "bob"]);
    let mut live = start(&mut host.job("alice"));
    let (job, driver) = live.job();
    until("its pod is there", || objects_of(&job).iter().any(|name| name.starts_with("pod/")));
    let objects = objects_of(&job);
    host.script(&script("make_pod; sleep 0.2; exit 3"));

    let done = AtomicBool::new(false);
    let host = &host;
    let reaps = std::thread::scope(|scope| {
        let jobs = scope.spawn(|| {
            let ends: Vec<Ended> =
                (0..12).map(|n| ended(&mut host.job(if n % 2 == 0 { "alice" } else { "bob" }))).collect();
            done.store(true, Ordering::SeqCst);
            ends
        });
        let mut reaps = 0;
        while !done.load(Ordering::SeqCst) {
            let report = host.reaped();
            assert_eq!(report["jobs"], json!([]), "{report}");
            assert_eq!(report["overdue"], json!([]), "{report}");
            assert!(report["live"].as_u64().unwrap() >= 1, "{report}");
            reaps += 1;
        }
        for ended in jobs.join().unwrap() {
            assert_eq!(ended.code(), 3, "{ended:?}");
            assert!(ended.stdout.contains("pod 201"), "{ended:?}");
            assert!(!ended.stderr.contains("not cleaned up"), "{ended:?}");
        }
        reaps
    });
    println!("{reaps} reaps while 12 jobs came and went");
    assert!(reaps > 3);
    assert!(Path::new(&format!("/proc/{driver}")).exists(), "the live job was ended");
    assert_eq!(objects_of(&job), objects);
    let end = stopped(live);
    assert!(!end.stderr.contains("not cleaned up"), "{end:?}");
    World::assert_same(&before, host, &admin, "after the live job's own end");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_88_two_reaps_at_once_take_each_job_back_once() {
    let (host, admin, before) = place(LONG, &["alice"]);
    let dead: Vec<String> = (0..4).map(|_| dead_job(&host, "alice")).collect();
    let start =
        |_| host.call(&["reap", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let reaps: Vec<_> = (0..3).map(start).collect();
    let mut told = Vec::new();
    for reap in reaps {
        let output = reap.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        told.extend(with_outcome(&report, "jobs", "removed"));
    }
    told.sort();
    let mut wanted = dead.clone();
    wanted.sort();
    assert_eq!(told, wanted, "each is told once, by the one that took it back");
    World::assert_same(&before, &host, &admin, "three reaps at once");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_86_87_neighbours_by_name_label_and_uid_are_untouched() {
    let (mut host, admin, _) = place(LONG, &["alice"]);
    host.admit(&admin, "elsewhere");
    host.configure();
    let before = World::of(&host, &admin);
    let job = dead_job(&host, "alice");
    let (namespace, elsewhere) = (host.namespace("alice"), host.namespace("elsewhere"));
    // Every way in which something can look like the job's: a shorter and a longer id, another label, another namespace,
    // the id where a name or an annotation is.
    let shorter = &job[..15];
    let longer = format!("{job}a");
    let far = "2099-01-01T00:00:00Z";
    let mut made = Vec::new();
    let mut make = |resource: &str, namespace: &str, object: Value| {
        let path = path(resource, namespace, "");
        let uid = admin.done(Method::POST, &path, object.clone())["metadata"]["uid"].clone();
        made.push((format!("{path}/{}", object["metadata"]["name"].as_str().unwrap()), uid));
    };
    for id in [shorter, &longer] {
        make("pods", &namespace, pod(&format!("pod-{id}"), &json!({"spark-submit-as/job": id})));
        make("serviceaccounts", &namespace, account(id, &host.name, far));
    }
    for (name, key) in [("plural", "spark-submit-as/jobs"), ("bare", "job"), ("other", "example.org/job")] {
        make("pods", &namespace, pod(name, &json!({key: job})));
    }
    make("pods", &namespace, pod(&format!("ssa-job-{job}"), &json!({"app": "database"})));
    make("pods", &elsewhere, pod("elsewhere", &json!({"spark-submit-as/job": job})));
    make("serviceaccounts", &elsewhere, account(&job, &host.name, far));
    // The job's own binding, made again by somebody else under its name.
    let binding_path = path("rolebindings", &namespace, &format!("ssa-job-{job}"));
    admin.done(Method::DELETE, &binding_path, Value::Null);
    let mut foreign = binding(&job, &namespace, "x");
    foreign["metadata"].as_object_mut().unwrap().remove("ownerReferences");
    make("rolebindings", &namespace, foreign);

    let (ended, report) = host.reap();
    assert_eq!(ended.code(), 224, "somebody else's object has the job's name, and that is told: {ended:?}");
    assert_eq!(with_outcome(&report, "jobs", "failed"), set(&[&job]), "{report}");
    assert!(report["jobs"][0]["failures"].to_string().contains("RoleBinding"), "{report}");
    for (path, uid) in &made {
        assert_eq!(admin.get(path)["metadata"]["uid"], *uid, "{path} was deleted or made again");
    }
    // What is the job's own is gone all the same [85].
    let account_path = path("serviceaccounts", &namespace, &format!("ssa-job-{job}"));
    assert!(!admin.exists(&account_path), "a failure kept the rest from being taken back");
    assert_eq!(host.record(&job)["phase"], "ending");
    assert!(!host.record(&job)["cleanup"]["failures"].as_array().unwrap().is_empty());

    for (path, _) in &made {
        admin.done(Method::DELETE, &format!("{path}?gracePeriodSeconds=0"), Value::Null);
    }
    let report = host.reaped();
    assert_eq!(with_outcome(&report, "jobs", "removed"), set(&[&job]), "{report}");
    World::assert_same(&before, &host, &admin, "after the neighbours have gone");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_91_after_a_reboot_with_an_empty_run_directory_everything_is_found() {
    let (mut host, admin, before) = place(LONG, &["alice"]);
    let mut running = start(&mut host.job("alice"));
    let (job, _) = running.job();
    host.reboot();
    running.child.wait().unwrap();
    assert!(!host.run().join(&job).exists());
    assert!(!objects_of(&job).is_empty(), "the reboot is to leave objects");
    let report = host.reaped();
    assert_eq!(with_outcome(&report, "jobs", "removed"), set(&[&job]), "{report}");
    World::assert_same(&before, &host, &admin, "a reboot");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_89_another_process_with_a_dead_jobs_pid_is_untouched() {
    let (host, admin, before) = place(LONG, &["alice"]);
    let mut live = start(&mut host.job("alice"));
    let (live_job, driver) = live.job();
    let dead = dead_job(&host, "alice");
    let prefix = format!("SPARK_SUBMIT_AS_JOB={}", &dead[..15]);
    let longer = format!("SPARK_SUBMIT_AS_JOB={dead}a");
    let own = format!("SPARK_SUBMIT_AS_JOB={dead}");
    let bystanders = [
        bystander(&host, "alice", &[]),
        bystander(&host, "alice", &[&prefix]),
        bystander(&host, "alice", &[&longer, "X=SPARK_SUBMIT_AS_JOB"]),
        // Whoever it is, it is not the job's account.
        bystander(&host, "bob", &[&own]),
    ];
    // The pids of the dead are given again; in the second round even the start is the same, of another boot.
    let mut record = host.record(&dead);
    assert!(record["supervisor"]["pid"].is_i64() && record["process"]["pid"].is_i64(), "{record}");
    let mut jobs = vec![dead.clone()];
    record["supervisor"]["pid"] = json!(bystanders[3].1);
    record["process"]["pid"] = json!(bystanders[0].1);
    put_record(&host, &dead, record.to_string().as_bytes());
    for (number, change) in [("boot", json!("01234567-89ab-4cde-8f01-23456789abcd")), ("start", json!(1))] {
        let job = numbered(jobs.len());
        let mut other = fabricated_record(&record, &job, &["none".into(), "none".into()]);
        for (who, bystander) in [("supervisor", &bystanders[3]), ("process", &bystanders[1])] {
            other[who]["pid"] = json!(bystander.1);
            other[who]["start"] = json!(bystander.2.parse::<u64>().unwrap());
            other[who][number] = change.clone();
        }
        // A cgroup that is another job's, or everybody's.
        if other["cgroup"].is_string() {
            let group = host.record(&live_job)["cgroup"].clone();
            other["cgroup"] = if number == "boot" { group } else { json!("/") };
        }
        put_record(&host, &job, other.to_string().as_bytes());
        jobs.push(job);
    }
    let report = host.reaped();
    assert_eq!(with_outcome(&report, "jobs", "removed"), jobs.iter().cloned().collect(), "{report}");
    assert!(Path::new(&format!("/proc/{driver}")).exists(), "a live job was ended by another's record");
    bystanders.into_iter().for_each(ended_bystander);
    stopped(live);
    World::assert_same(&before, &host, &admin, "pids that were given again");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_91_the_jobs_of_a_lost_host_go_when_they_are_overdue_and_nothing_else_does() {
    let (mut lost, admin, before) = place(LONG, &["alice", "bob"]);
    let other = lost.neighbour();
    let namespaces = ["alice", "bob"].map(|login| lost.namespace(login));
    let (mut jobs, mut wrappers) = (Vec::new(), Vec::new());
    for login in ["alice", "bob", "alice"] {
        let mut running = start(&mut lost.job(login));
        jobs.push(running.job().0);
        wrappers.push(running);
    }
    for job in &jobs {
        until("its pod is there", || objects_of(job).iter().any(|name| name.starts_with("pod/")));
    }
    let name = lost.name.clone();
    lost.lose();
    wrappers.into_iter().for_each(|running| drop(running.end()));
    // Not overdue: nobody can know that the host is lost.
    let report = other.reaped();
    assert_eq!((&report["overdue"], &report["jobs"]), (&json!([]), &json!([])), "{report}");
    assert!(jobs.iter().all(|job| objects_of(job).len() >= 3));

    // Times that are no reason: later, soon, and nonsense.
    for expires in [
        json!(seconds_from_now(3600)),
        json!("9999-12-31T23:59:59Z"),
        json!("yesterday"),
        json!(""),
        // Before the account was there.
        json!(seconds_from_now(-3600)),
        json!(null),
    ] {
        set_expiry(&admin, &namespaces[0], &jobs[2], &expires);
        let (_, report) = other.reap();
        assert_eq!(with_outcome(&report, "overdue", "removed"), BTreeSet::new(), "{expires}: {report}");
    }
    // Accounts that are overdue and no job's.
    let mut foreign = Vec::new();
    for (object_name, label) in [
        ("ssa-job-x", "fabricatedaaaaaa"),
        ("plain", "fabricatedaaaaab"),
        ("ssa-job-fabricatedaaaaac", "other"),
    ] {
        let mut object = account("fabricatedaaaaaa", &name, &seconds_from_now(-3600));
        object["metadata"]["name"] = json!(object_name);
        object["metadata"]["labels"]["spark-submit-as/job"] = json!(label);
        admin.done(Method::POST, &path("serviceaccounts", &namespaces[1], ""), object);
        foreign.push(path("serviceaccounts", &namespaces[1], object_name));
    }
    let account_of =
        |namespace: &str, job: &str| path("serviceaccounts", namespace, &format!("ssa-job-{job}"));
    foreign.iter().for_each(|account| make_overdue(&admin, account));
    make_overdue(&admin, &account_of(&namespaces[0], &jobs[0]));
    make_overdue(&admin, &account_of(&namespaces[1], &jobs[1]));
    let overdue = set(&[&jobs[0], &jobs[1]]);
    let (dry, report) = other.reap_with(&["--dry-run", "--json"]);
    assert_eq!(with_outcome(&report, "overdue", "would-remove"), overdue, "{dry:?}");
    assert!(jobs.iter().all(|job| objects_of(job).len() >= 3), "a dry run removed something");

    let (_, report) = other.reap();
    assert_eq!(with_outcome(&report, "overdue", "removed"), overdue, "{report}");
    for one in report["overdue"].as_array().unwrap().iter().filter(|one| one["outcome"] == "removed") {
        assert_eq!(one["host"], name.as_str(), "{report}");
        assert!(one["overdue_seconds"].as_u64().unwrap() >= 1, "{report}");
    }
    until("what they owned is gone", || jobs[..2].iter().all(|job| objects_of(job).is_empty()));
    assert!(objects_of(&jobs[2]).len() >= 3, "a job that is not overdue was taken back");
    for path in &foreign {
        assert!(admin.exists(path), "{path} is no job's account and was removed");
        admin.done(Method::DELETE, path, Value::Null);
    }
    // The cluster's clock reaches a time that was near.
    set_expiry(&admin, &namespaces[0], &jobs[2], &json!(seconds_from_now(3)));
    until("it is overdue", || with_outcome(&other.reaped(), "overdue", "removed") == set(&[&jobs[2]]));
    // The lost host's disk is empty; what counts is the cluster.
    let mut before = before;
    before.0.retain(|line| !line.starts_with("file "));
    World::assert_same(&before, &lost, &admin, "a lost host");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_whose_wrapper_lives_is_spared_on_its_own_host_although_it_is_overdue() {
    let (host, admin, before) = place(LONG, &["alice"]);
    let mut running = start(&mut host.job("alice"));
    let (job, driver) = running.job();
    until("its pod is there", || objects_of(&job).iter().any(|name| name.starts_with("pod/")));
    let objects = objects_of(&job);
    make_overdue(&admin, &path("serviceaccounts", &host.namespace("alice"), &format!("ssa-job-{job}")));
    let report = host.reaped();
    assert_eq!(report["live"], 1, "{report}");
    assert_eq!(with_outcome(&report, "overdue", "removed"), BTreeSet::new(), "{report}");
    assert_eq!(objects_of(&job), objects);
    assert!(Path::new(&format!("/proc/{driver}")).exists());
    stopped(running);
    World::assert_same(&before, &host, &admin, "an overdue job that lives");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_88_a_reap_during_provisioning_finds_a_live_job() {
    let (mut host, admin, before) = place("exit 4", &["alice"]);
    let gate = Gate::new(Door::Held);
    host.connect(&gate.server());
    let running = start(&mut host.job("alice"));
    until("it is on record", || !host.wrappers().is_empty() && unfinished(&host).is_some());
    let job = unfinished(&host).unwrap();
    // The reap goes to the cluster by the ordinary way.
    host.connect(&bed("BENCH_SERVER"));
    for _ in 0..3 {
        let report = host.reaped();
        assert_eq!((&report["live"], &report["jobs"]), (&json!(1), &json!([])), "{report}");
        assert!(host.record_file(&job).exists());
    }
    gate.set(Door::Open);
    let ended = running.end();
    assert_eq!(ended.code(), 4, "{ended:?}");
    assert_eq!(ended.job(), job);
    World::assert_same(&before, &host, &admin, "a reap during provisioning");
}

/// The job whose record is not that of an ended one.
fn unfinished(host: &Host) -> Option<String> {
    host.recorded().into_iter().find(|job| {
        let text = fs::read(host.record_file(job)).unwrap_or_default();
        serde_json::from_slice::<Value>(&text).is_ok_and(|record| record["phase"] != "ended")
    })
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_84_the_cluster_is_away_when_a_job_is_taken_back() {
    let (mut host, admin, before) = place("exit 0", &["alice"]);
    let gate = Gate::new(Door::Open);
    let flag = host.directory.path().join("flag");
    fs::write(&flag, "").unwrap();
    host.script(&script(&format!("while [ -e {} ]; do sleep 0.05; done; exit 7", flag.display())));
    host.configuration["timeouts"] =
        json!({"connect": "1s", "request": "1s", "provision": "20s", "teardown": "2s", "grace": "1s"});
    host.connect(&gate.server());
    let mut running = start(&mut host.job("alice"));
    let (job, _) = running.job();
    gate.set(Door::Shut);
    fs::remove_file(&flag).unwrap();
    let ended = running.end();
    // The job's own end is what the caller asked for; what is left is told.
    assert_eq!(ended.code(), 7, "{ended:?}");
    assert!(ended.stderr.contains("cleanup-incomplete"), "{ended:?}");
    assert!(!host.run().join(&job).join("kubeconfig").exists(), "the credential is left on this host");
    let record = host.record(&job);
    assert_eq!(record["exit"]["code"], 7, "{record}");
    assert_eq!(record["cleanup"]["complete"], false, "{record}");
    assert!(!record["cleanup"]["failures"].as_array().unwrap().is_empty(), "{record}");

    // Still away: now it is nobody at that address.
    host.connect("https://127.0.0.1:1");
    let (still, report) = host.reap();
    assert_eq!(still.code(), 224, "{still:?}");
    assert_eq!(with_outcome(&report, "jobs", "failed"), set(&[&job]), "{report}");
    assert!(!report["jobs"][0]["failures"].as_array().unwrap().is_empty(), "no reason: {report}");
    assert!(!host.record(&job)["cleanup"]["failures"].as_array().unwrap().is_empty());
    assert!(!objects_of(&job).is_empty());

    host.connect(&bed("BENCH_SERVER"));
    let report = host.reaped();
    assert_eq!(with_outcome(&report, "jobs", "removed"), set(&[&job]), "{report}");
    let record = host.record(&job);
    assert_eq!(
        (&record["exit"]["code"], &record["cleanup"]["complete"]),
        (&json!(7), &json!(true)),
        "{record}"
    );
    World::assert_same(&before, &host, &admin, "the cluster was away");
}
