//! Any process of the wrapper killed at any step: after one `reap` the world is as it was. Needs the test bed with its
//! build of the cargo feature `fault-points` (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;
#[path = "support/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use regex::Regex;
use spark_submit_as::supervisor::steps::Step;
use support::*;
use world::admin::{self, Admin};
use world::{Bed, Host, World, command_line, jobs};

/// Who is killed.
const VICTIMS: [&str; 4] = ["supervisor", "provisioner", "job", "sudo"];

/// One pod, two processes that hide, and an end of its own.
const JOB: &str = "hide; hide_well; make_pod; sleep 0.1; exit 0";

/// One kill and what came of it.
struct Case {
    step: Step,
    victim: &'static str,
    reached: bool,
    seconds: f64,
}

/// Steps and victims of this run: everything with `SSA_FULL=1`, else the supervisor at every step and the others in turn.
fn cases() -> Vec<(Step, &'static str)> {
    let full = std::env::var("SSA_FULL").is_ok_and(|value| value == "1");
    let mut all = Vec::new();
    for (index, step) in Step::ALL.iter().enumerate() {
        let others = &VICTIMS[1..];
        let chosen: Vec<&str> = if full { others.to_vec() } else { vec![others[index % others.len()]] };
        all.push((*step, VICTIMS[0]));
        all.extend(chosen.into_iter().map(|victim| (*step, victim)));
    }
    all
}

/// A job with everything that a job can have: a staged file, an id file, tags, a pod and processes that hide.
fn call(host: &Host) -> std::process::Command {
    let directory = host.directory.path().to_str().unwrap();
    let staged = format!("{directory}/staged.py");
    fs::write(&staged, "# nothing\n").unwrap();
    let id_file = format!("{directory}/id");
    let _ = fs::remove_file(&id_file);
    host.sudo(&[
        "run",
        "--user",
        "alice",
        "--profile",
        "per-user",
        "--tag",
        "test=crash",
        "--id-file",
        &id_file,
        "--stage",
        &staged,
        "--",
        &staged,
    ])
}

/// Kills `victim` at `step`; true when the step was reached.
fn kill_at(host: &Host, step: Step, victim: &str) -> bool {
    let order = host.run().join("fault-point");
    fs::write(&order, format!("{} {victim}\n", step.name())).unwrap();
    let mut child = call(host)
        .stdout(std::process::Stdio::null())
        .stderr(fs::File::create(host.directory.path().join("stderr")).unwrap())
        .spawn()
        .unwrap();
    child.wait().unwrap();
    // A killed sudo ends before what it called, and a killed supervisor before its provisioner has taken back.
    host.until_wrappers_end();
    let reached = !order.exists();
    let _ = fs::remove_file(&order);
    reached
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_81_82_101_crash_matrix_nothing_is_left_whoever_is_killed_at_whatever_step() {
    let admin = Admin::new();
    let mut host = Host::new(Bed::faults(), &admin, &["alice"]);
    host.script(&jobs::script(JOB));
    // Once without a kill: what stays after a job by design (the namespace, the executors' account, our directories).
    let first = ended(&mut call(&host));
    assert_eq!(first.code(), 0, "{first:?}");
    assert!(first.stdout.contains("pod 201"), "the job's pod was not made: {first:?}");
    host.reaped();
    let before = World::of(&host, &admin);
    assert!(before.0.iter().any(|line| line.starts_with("object ")), "the world is empty: {before:?}");
    assert_eq!(host.processes(), Vec::<i32>::new());

    let began = Instant::now();
    let mut table = Vec::new();
    let mut faults = Vec::new();
    for (step, victim) in cases() {
        let start = Instant::now();
        let reached = kill_at(&host, step, victim);
        let (ended, report) = host.reap();
        let what = format!("{victim} killed at {}", step.name());
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_eq!(ended.code(), 0, "{what}: {ended:?}");
            World::assert_same(&before, &host, &admin, &what);
        }));
        if let Err(problem) = result {
            let told = fs::read_to_string(host.directory.path().join("stderr")).unwrap_or_default();
            let problem = problem.downcast_ref::<String>().cloned().unwrap_or_default();
            faults.push(format!("{problem}\n  reap said {report}\n  the wrapper said\n{told}"));
            clear(&host, &admin);
        }
        table.push(Case { step, victim, reached, seconds: start.elapsed().as_secs_f64() });
    }
    print_table(&table, began.elapsed().as_secs_f64());
    println!("left behind: {}", faults.len());
    assert!(faults.is_empty(), "{}", faults.join("\n\n"));

    let reached: BTreeSet<&str> =
        table.iter().filter(|case| case.reached).map(|case| case.step.name()).collect();
    let missed: Vec<&str> =
        Step::ALL.iter().map(|step| step.name()).filter(|name| !reached.contains(name)).collect();
    assert!(missed.is_empty(), "steps that no case has reached: {missed:?}");
}

/// After a fault was found: the next case starts from a clean world again.
fn clear(host: &Host, admin: &Admin) {
    for pid in host.processes() {
        println!("left: {pid} {}", command_line(pid));
        world::kill("KILL", pid);
    }
    let namespace = host.namespace("alice");
    for resource in ["pods", "rolebindings", "secrets", "serviceaccounts"] {
        let path = format!("{}?labelSelector=spark-submit-as%2Fjob", admin::path(resource, &namespace, ""));
        admin.done(http::Method::DELETE, &path, serde_json::Value::Null);
    }
    for directory in [host.run(), host.state().join("scratch"), host.jobs()] {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}

fn print_table(table: &[Case], seconds: f64) {
    let mut rows: BTreeMap<usize, BTreeMap<&str, &Case>> = BTreeMap::new();
    for case in table {
        let row = Step::ALL.iter().position(|step| step.name() == case.step.name()).unwrap();
        rows.entry(row).or_default().insert(case.victim, case);
    }
    println!("{:<28} {}", "step", VICTIMS.map(|victim| format!("{victim:>12}")).join(""));
    for (row, cases) in rows {
        let cell = |victim: &str| match cases.get(victim) {
            None => "-".to_owned(),
            Some(case) if case.reached => format!("{:.1} s", case.seconds),
            Some(_) => "not reached".to_owned(),
        };
        println!(
            "{:<28} {}",
            Step::ALL[row].name(),
            VICTIMS.map(|victim| format!("{:>12}", cell(victim))).join("")
        );
    }
    let reached = table.iter().filter(|case| case.reached).count();
    println!("{} cases tried, {reached} reached their step, {seconds:.0} s", table.len());
}

/// `kebab-case` as a variant's name.
fn variant(name: &str) -> String {
    name.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// Code of the supervisor outside of the list of steps and of unit tests, without comments.
fn supervisor_code() -> String {
    fn walk(directory: &Path, code: &mut String) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, code);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("steps.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                code.extend(
                    text.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(|l| [l, "\n"]),
                );
            }
        }
    }
    let mut code = String::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/supervisor"), &mut code);
    code
}

#[test]
fn every_step_is_passed_at_exactly_one_place_of_the_source() {
    let code = supervisor_code();
    let mut wrong = Vec::new();
    for step in Step::ALL {
        let pattern = Regex::new(&format!(r"\bStep::{}\b", variant(step.name()))).unwrap();
        let count = pattern.find_iter(&code).count();
        if count != 1 {
            wrong.push(format!("Step::{} is used {count} times", variant(step.name())));
        }
    }
    // The other way round: a variant that the list does not have would never be tried.
    let known: BTreeSet<String> = Step::ALL.iter().map(|step| variant(step.name())).collect();
    for found in Regex::new(r"\bStep::([A-Z]\w*)").unwrap().captures_iter(&code) {
        if &found[1] != "ALL" && !known.contains(&found[1]) {
            wrong.push(format!("Step::{} is not in Step::ALL", &found[1]));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(Step::ALL.len() >= 8, "the list of steps is too short to be whole");
}

/// The matrix is worth what the look at the world is worth.
#[test]
#[ignore = "needs the test bed: make test"]
fn the_looking_itself_sees_what_a_job_could_leave() {
    let admin = Admin::new();
    let mut host = Host::new(Bed::shipped(), &admin, &["alice"]);
    host.script(&jobs::script(JOB));
    let first = ended(&mut host.job("alice"));
    assert_eq!(first.code(), 0, "{first:?}");
    assert!(first.stdout.contains("pod 201"), "{first:?}");
    let namespace = host.namespace("alice");
    let before = World::of(&host, &admin);
    World::assert_same(&before, &host, &admin, "nothing happened");

    let left = |wanted: &str| {
        let differences = before.differences(&World::of(&host, &admin));
        assert!(differences.iter().any(|line| line.contains(wanted)), "no {wanted:?} in {differences:?}");
    };
    fs::create_dir_all(host.run().join("aaaaaaaaaaaaaaaa")).unwrap();
    left("/aaaaaaaaaaaaaaaa ");
    fs::create_dir_all(host.jobs().join("bbbbbbbbbbbbbbbb")).unwrap();
    fs::write(host.jobs().join("bbbbbbbbbbbbbbbb/record.json"), r#"{"state":"dead"}"#).unwrap();
    left("record.json");
    let mut sleeper = host.on(&["setsid", "sudo", "-u", "bob", "env", "-i", "sleep", "60"]).spawn().unwrap();
    until("it runs", || host.processes().iter().any(|pid| command_line(*pid) == "sleep 60"));
    left(": sleep 60");
    let pid = host.processes().into_iter().find(|pid| command_line(*pid) == "sleep 60").unwrap();
    world::kill("KILL", pid);
    sleeper.wait().unwrap();
    let account =
        serde_json::json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "left"}});
    admin.done(http::Method::POST, &admin::path("serviceaccounts", &namespace, ""), account);
    left("serviceaccounts/left ");
    assert!(host.on(&["mount", "-t", "tmpfs", "none", "/mnt"]).status().unwrap().success());
    left("/mnt ");
    if let Some(mount) = world::group_mounts().first() {
        let name = format!("spark-submit-as-{}", first.job());
        let group = mount.join(&name);
        fs::create_dir(&group).unwrap();
        left(&name);
        fs::remove_dir(&group).unwrap();
    }
    // And what is missing: the executors' account stays by design.
    admin.done(
        http::Method::DELETE,
        &admin::path("serviceaccounts", &namespace, "ssa-executor"),
        serde_json::Value::Null,
    );
    left("- object");
}
