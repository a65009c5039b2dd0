//! The driver's limits on this host: seen in the kernel's files, and by jobs that run into them. Needs the test bed
//! (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;
#[path = "support/world.rs"]
mod world;

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::json;
use support::*;
use world::admin::Admin;
use world::{Bed, Host, World, kill};

/// One of these tests at a time: they look at the cgroups of the whole machine.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A host whose jobs have these limits.
fn host(driver: serde_json::Value) -> (Host, Admin) {
    let admin = Admin::new();
    let mut host = Host::new(Bed::shipped(), &admin, &["alice", "bob"]);
    host.configuration["profiles"]["per-user"]["driver"] = driver;
    host.configure();
    (host, admin)
}

/// The cgroups that a process is in, by controller (v1), and "" for v2.
fn groups(pid: i32) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let parts = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?.to_owned(), fields.next()?.to_owned()))
    };
    text.lines().filter_map(parts).collect()
}

/// The directory of a process's cgroup that limits `controller`, and whether it is of v2.
fn limiting(pid: i32, controller: &str) -> (PathBuf, bool) {
    let groups = groups(pid);
    let unified = &groups.iter().find(|(names, _)| names.is_empty()).expect("v2").1;
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let point = |wanted: &dyn Fn(&[&str]) -> bool| {
        let lines = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        lines.into_iter().find(|fields| wanted(fields)).map(|fields| fields[1].to_owned())
    };
    if let Some(mount) = point(&|fields| fields[2] == "cgroup2") {
        let directory = PathBuf::from(format!("{mount}{unified}"));
        if fs::read_to_string(directory.join("cgroup.controllers"))
            .is_ok_and(|text| text.contains(controller))
        {
            return (directory, true);
        }
    }
    let own = |names: &str| names.split(',').any(|name| name == controller);
    let path = &groups.iter().find(|(names, _)| own(names)).expect("the controller").1;
    let mount = point(&|fields| fields[2] == "cgroup" && own(fields[3])).expect("its mount");
    (PathBuf::from(format!("{mount}{path}")), false)
}

fn value(directory: &std::path::Path, files: [&str; 2], second: bool) -> String {
    let file = directory.join(files[usize::from(second)]);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())).trim().to_owned()
}

/// Cgroups of a job, anywhere.
fn left(job: &str) -> Vec<PathBuf> {
    world::groups().into_iter().filter(|path| path.to_string_lossy().ends_with(job)).collect()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_drivers_cgroup_has_the_limits_of_its_profile_and_goes_with_it() {
    let _alone = alone();
    let (mut host, _admin) = host(json!({
        "cgroup": "ssa-limits-test/${user}",
        "job": {"memory": "300Mi", "cpu": "1500m", "tasks": 128},
        "user": {"memory": "600Mi", "tasks": 256},
    }));
    host.script("sleep 600 & wait");
    let mut running = start(&mut host.job("alice"));
    let (job, driver) = running.job();
    assert!(running.stderr.contains("driver limited by cgroup v"), "{running}");
    let (memory, v2) = limiting(driver, "memory");
    let name = format!("ssa-limits-test/alice/spark-submit-as-{job}");
    assert!(memory.ends_with(&name), "{}", memory.display());
    let names = ["memory.limit_in_bytes", "memory.max"];
    assert_eq!(value(&memory, names, v2), (300 << 20).to_string());
    assert_eq!(value(memory.parent().unwrap(), names, v2), (600 << 20).to_string());
    let (pids, v2) = limiting(driver, "pids");
    assert_eq!(value(&pids, ["pids.max"; 2], v2), "128");
    assert_eq!(value(pids.parent().unwrap(), ["pids.max"; 2], v2), "256");
    let (cpu, v2) = limiting(driver, "cpu");
    let quota = if v2 { "150000 100000" } else { "150000" };
    assert_eq!(value(&cpu, ["cpu.cfs_quota_us", "cpu.max"], v2), quota);
    // What the driver starts is in there too.
    until("what the driver starts is in there too", || {
        fs::read_to_string(pids.join("cgroup.procs")).unwrap().lines().count() >= 2
    });
    kill("TERM", i32::try_from(running.child.id()).unwrap());
    running.end();
    assert!(!memory.exists() && !pids.exists() && !cpu.exists());
    assert!(left(&job).is_empty());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn acceptance_6_5_a_driver_that_uses_more_memory_than_it_may_is_killed_and_another_users_goes_on() {
    let _alone = alone();
    let (mut host, _admin) = host(json!({"job": {"memory": "200Mi"}}));
    let go = temporary_file("go", "");
    fs::set_permissions(go.path.parent().unwrap(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let script = format!(
        "if [ \"$USER\" = alice ]; then exec python3 -c 'x = [bytearray(1 << 20) for n in range(800)]'; fi; \
         while [ -e {} ]; do sleep 0.1; done; exit 5",
        go.path.display()
    );
    host.script(&script);
    let mut other = start(&mut host.job("bob"));
    other.job();
    let ended = ended(&mut host.job("alice"));
    assert_ne!(ended.status.code(), Some(0), "{ended:?}");
    let told =
        "was killed because it used more memory than it may (driver.job.memory is 200Mi in profile per-user)";
    assert!(ended.stderr.contains(told), "{ended:?}");
    fs::remove_file(&go.path).unwrap();
    let end = other.end();
    assert_eq!(end.code(), 5, "{end:?}");
    assert!(!end.stderr.contains("more memory"), "{end:?}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_driver_that_starts_more_tasks_than_it_may_is_refused_more() {
    let _alone = alone();
    let (mut host, _admin) = host(json!({"job": {"tasks": 64}}));
    host.script("for n in $(seq 200); do sleep 60 & done 2> /dev/null; exit 0");
    let ended = ended(&mut host.job("alice"));
    assert_ne!(ended.status.code(), Some(0), "two hundred processes were started: {ended:?}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn cgroups_of_a_dead_wrappers_job_are_removed_by_reap() {
    let _alone = alone();
    let (mut host, admin) = host(json!({"job": {"memory": "300Mi", "tasks": 128}}));
    assert_eq!(ended(&mut host.job("alice")).code(), 0);
    host.reaped();
    let before = World::of(&host, &admin);
    host.script("exec sleep 600");
    let mut running = start(&mut host.job("alice"));
    let (job, driver) = running.job();
    assert!(left(&job).len() >= 2);
    kill("KILL", parent(driver));
    running.child.wait().unwrap();
    host.until_wrappers_end();
    host.reaped();
    World::assert_same(&before, &host, &admin, "a dead wrapper");
    assert!(left(&job).is_empty());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn limits_that_make_no_sense_are_refused_when_the_configuration_is_read() {
    let _alone = alone();
    for (driver, key) in [
        (json!({"job": {"memory": "0"}}), "driver.job.memory"),
        (json!({"job": {"memory": "much"}}), "driver.job.memory"),
        (json!({"job": {"cpu": "-1"}}), "driver.job.cpu"),
        (json!({"job": {"tasks": 3}}), "driver.job.tasks"),
        (json!({"cgroup": "../x"}), "driver.cgroup"),
        (json!({"cgroup": "/x"}), "driver.cgroup"),
        (json!({"cgroup": "x/${login}"}), "driver.cgroup"),
        (json!({"cgroup": "x", "user": {"memory": "1Gi"}}), "driver.cgroup"),
        (json!({"memory": "1Gi"}), "driver.memory"),
    ] {
        let (host, _admin) = host(driver.clone());
        let ended = ended(&mut host.call(&["config", "validate"]));
        assert_eq!(ended.status.code(), Some(204), "{driver}: {ended:?}");
        assert!(ended.stderr.contains(key) || driver.get("memory").is_some(), "{driver}: {ended:?}");
    }
}
