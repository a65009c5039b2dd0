//! What a run writes down: the audit lines, the record's way through a job's life, and how long it stays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use support::*;

/// One log socket for all tests of this file.
static LOG: Mutex<()> = Mutex::new(());

/// A syslog daemon: what it was sent.
struct Log {
    socket: UnixDatagram,
    path: PathBuf,
    _one_at_a_time: MutexGuard<'static, ()>,
}

impl Log {
    fn listen() -> Self {
        let guard = LOG.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let path = PathBuf::from(bed("SSA_BED_LOG"));
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self { socket, path, _one_at_a_time: guard }
    }

    /// The lines about one job, or about none.
    fn lines(&self, job: Option<&str>) -> Vec<Value> {
        let mut lines = Vec::new();
        let mut buffer = vec![0; 65_536];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            // RFC 3164: <priority>tag[pid]: text, and no line break in it.
            let (head, line) = text.split_once(": ").unwrap();
            assert!(head.starts_with("<86>spark-submit-as["), "{head}");
            assert!(!text.contains('\n') && text.len() <= 6 * 1024, "{text}");
            let line: Value = serde_json::from_str(line).unwrap();
            if line.get("job").and_then(Value::as_str) == job {
                lines.push(line);
            }
        }
        lines
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn status(job: &str) -> Value {
    let ended = ended(&mut as_root(&["status", "--json", job]));
    assert_eq!(ended.code(), 0, "{ended:?}");
    let mut records: Value = serde_json::from_str(&ended.stdout).unwrap();
    records[0].take()
}

/// A run of a script by root with a changed configuration.
fn configured(
    directory: &Path,
    script: &str,
    change: impl FnOnce(&mut Value),
    more: &[&str],
) -> std::process::Command {
    scripted(directory, script);
    let path = directory.join("config.yaml");
    let mut configuration: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut configuration);
    write_configuration(directory, &configuration);
    let mut words =
        vec!["--config", path.to_str().unwrap(), "run", "--user", "alice", "--profile", "per-user"];
    words.extend(more);
    as_root(&words)
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_46_49_a_job_leaves_two_audit_lines_and_a_record_without_secrets() {
    let log = Log::listen();
    let directory = trusted_directory();
    let arguments =
        ["--tag", "dag=nightly\"7", "--", "--conf", "spark.my.password=open-sesame", "job.py", "\u{1b}[31m"];
    let ended = ended(&mut configured(directory.path(), "exit 7", |_| {}, &arguments));
    assert_eq!(ended.code(), 7, "{ended:?}");
    let job = ended.job();

    let lines = log.lines(Some(&job));
    let events: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["job-started", "job-ended"], "{lines:?}");
    assert_eq!(lines[0]["login"], "alice");
    assert_eq!(lines[0]["caller"], "root");
    assert_eq!(lines[0]["tags"], json!({"dag": "nightly\"7"}));
    assert_eq!(lines[1]["exit"], json!({"code": 7}));
    assert_eq!(lines[1]["clean"], true);

    let record = status(&job);
    assert_eq!(record["state"], "ended", "{record}");
    assert_eq!(record["exit"], json!({"code": 7}));
    assert_eq!(record["cleanup"]["complete"], true);
    assert_eq!(record["cleanup"]["by"], "run");
    let times: Vec<u64> = ["accepted", "provisioned", "started", "ended", "closed"]
        .iter()
        .map(|phase| record["times"][phase].as_u64().unwrap_or_else(|| panic!("{phase}: {record}")))
        .collect();
    assert!(times.windows(2).all(|pair| pair[0] <= pair[1]), "{times:?}");
    for text in [lines[0].to_string(), record.to_string(), ended.stderr.clone()] {
        assert!(!text.contains("open-sesame"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    assert!(record["command"].to_string().contains("redacted"), "{record}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_17_a_refused_call_leaves_an_audit_line() {
    let log = Log::listen();
    let ended = ended(&mut as_platform(&["run", "--user", "root", "--profile", "per-user", "--", "job.py"]));
    assert_eq!(ended.code(), 206, "{ended:?}");
    let lines = log.lines(None);
    let line = lines.iter().find(|line| line["event"] == "refused").unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(line["code"], 206);
    assert_eq!(line["caller_uid"], ids("dssuser").0);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_95_a_stuck_log_stops_no_job_unless_the_policy_says_so() {
    let log = Log::listen();
    // Fills the queue of a daemon that does not read.
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"filler", &log.path).is_ok() {}
    let directory = trusted_directory();
    let ended_well = ended(&mut configured(directory.path(), "exit 0", |_| {}, &["--", "job.py"]));
    assert_eq!(ended_well.code(), 0, "{ended_well:?}");
    assert!(ended_well.stderr.contains("no audit line"), "{ended_well:?}");

    let required = |configuration: &mut Value| configuration["audit"] = json!({"required": true});
    let refused = ended(&mut configured(directory.path(), "exit 0", required, &["--", "job.py"]));
    refused.refused(229, "audit.required");
    assert_nothing_left(&refused.job());
    // Nothing was asked of the cluster, so there is nothing to remember: many such calls must not fill the disk.
    ended(&mut as_root(&["status", &refused.job()])).refused(227, "no such job");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn old_records_are_forgotten_by_reap_and_others_stay() {
    let directory = trusted_directory();
    let mut command = configured(directory.path(), "exit 0", |_| {}, &["--", "job.py"]);
    let (old, young) = (ended(&mut command).job(), ended(&mut command).job());
    let path = Path::new(&bed("SSA_BED_STATE")).join("jobs").join(&old).join("record.json");
    let mut record: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let closed = record["times"]["closed"].as_u64().unwrap();
    record["times"]["closed"] = json!(closed - 8 * 86_400);
    fs::write(&path, record.to_string()).unwrap();
    let reaped = ended(&mut as_root(&["reap", "--json"]));
    let told: Value =
        serde_json::from_str(&reaped.stdout).unwrap_or_else(|error| panic!("{error}: {reaped:?}"));
    assert!(told["forgotten"].as_u64().unwrap() >= 1, "{told}");
    assert!(!path.exists());
    assert_eq!(status(&young)["state"], "ended");
    ended(&mut as_root(&["status", &old])).refused(227, "no such job");
}

/// A cgroup2 mount below /sys/fs/cgroup, made where the host has none there, and taken away again.
struct Unified(Option<PathBuf>);

impl Unified {
    fn mounted() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        if mounts.lines().any(|line| line.contains(" - cgroup2 ") && line.contains(" /sys/fs/cgroup")) {
            return Self(None);
        }
        let path = PathBuf::from("/sys/fs/cgroup/unified");
        fs::create_dir_all(&path).unwrap();
        let mounted =
            std::process::Command::new("mount").args(["-t", "cgroup2", "none"]).arg(&path).status().unwrap();
        assert!(mounted.success(), "cgroup2 cannot be mounted here");
        Self(Some(path))
    }
}

impl Drop for Unified {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::process::Command::new("umount").arg(path).status();
            let _ = fs::remove_dir(path);
        }
    }
}

fn cgroups_of(job: &str) -> Vec<PathBuf> {
    let output = std::process::Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name", &format!("spark-submit-as-{job}")])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_80_a_job_has_a_cgroup_that_no_process_leaves_and_reap_kills_it() {
    let _unified = Unified::mounted();
    let directory = trusted_directory();
    // A daemon that has left everything behind that a process can leave: session, parent, directory, environment.
    let script = "env -i setsid setsid sh -c 'cd /; exec sleep 4242' < /dev/null > /dev/null 2>&1 &\n\
                  sleep 0.2; exec sleep 600";
    let mut running = start(&mut scripted(directory.path(), script));
    let (job, pid) = running.job();
    let cgroups = cgroups_of(&job);
    assert_eq!(cgroups.len(), 1, "{cgroups:?}");
    let members = || -> Vec<i32> {
        let text = fs::read_to_string(cgroups[0].join("cgroup.procs")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    let named =
        |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words == b"sleep\x004242\0");
    until("the daemon runs", || members().iter().any(named));
    assert!(members().contains(&pid), "{:?}", members());
    let hidden = members().into_iter().find(named).unwrap();
    let marked = processes_with(&format!("SPARK_SUBMIT_AS_JOB={job}"));
    assert!(!marked.contains(&hidden), "it can be found by its environment");

    let supervisor = i32::try_from(running.child.id()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    running.end();
    assert!(Path::new(&format!("/proc/{hidden}")).exists(), "only reap finds it");
    let reaped = ended(&mut as_root(&["reap"]));
    assert_eq!(reaped.code(), 0, "{reaped:?}");
    // Whoever adopts orphans on this host may not have collected it yet.
    let state = fs::read_to_string(format!("/proc/{hidden}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
    assert_eq!(cgroups_of(&job), Vec::<PathBuf>::new());
    assert_nothing_left(&job);

    // And in the ordinary way.
    let ended = ended(&mut scripted(directory.path(), "setsid sleep 4243 & exit 0"));
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(cgroups_of(&ended.job()), Vec::<PathBuf>::new());
}

/// CPU time of a process so far, in clock ticks (`stat`, fields 14 and 15).
fn ticks(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_94_closed_pipes_cost_neither_the_clean_up_nor_the_processor() {
    let directory = trusted_directory();
    let mut command =
        scripted(directory.path(), "trap '' PIPE; while sleep 0.1; do echo x; done 2> /dev/null");
    let mut running = start(&mut command);
    let (job, _) = running.job();
    let supervisor = i32::try_from(running.child.id()).unwrap();
    // Nobody reads any more, neither the job's words nor the wrapper's.
    drop(running.child.stdout.take());
    let Running { mut child, .. } = running;
    let before = ticks(supervisor);
    std::thread::sleep(Duration::from_secs(3));
    let used = ticks(supervisor) - before;
    assert!(used <= 20, "the wrapper used {used} ticks of 300 while nobody listened");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(supervisor), nix::sys::signal::Signal::SIGTERM)
        .unwrap();
    child.wait().unwrap();
    assert_nothing_left(&job);
    assert_eq!(status(&job)["cleanup"]["complete"], true);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_94_a_lost_terminal_ends_the_job_and_everything_is_taken_back() {
    let directory = trusted_directory();
    let id = directory.path().join("id");
    scripted(directory.path(), "exec sleep 600");
    let config = directory.path().join("config.yaml");
    let call = format!(
        "{} --config {} run --user alice --profile per-user --id-file {} -- job.py",
        program().display(),
        config.display(),
        id.display()
    );
    // script(1) holds the other side of the terminal; when it is killed, the terminal is gone.
    let mut terminal = std::process::Command::new("script")
        .args(["-qfc", &call, "/dev/null"])
        .env_remove("SUDO_UID")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let known = || fs::read_to_string(&id).unwrap_or_default().trim().to_owned();
    until("the job has an id", || !known().is_empty());
    let job = known();
    until("the job runs", || status(&job)["state"] == "running");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    until("the job has ended", || status(&job)["state"] == "ended");
    assert_nothing_left(&job);
    let record = status(&job);
    assert_eq!(record["cleanup"]["complete"], true, "{record}");
    assert!(record["exit"].get("signal").is_some(), "{record}");
}
