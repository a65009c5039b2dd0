//! A host of its own for a test, and the world before and after: whatever a job can leave anywhere.
//!
//! The host is a mount and a UTS namespace with file systems of its own over the directories that are compiled in. So a
//! test can lose a host, have two of them, or fill one's disk, and no other test sees it; and every process of the
//! host is known by its mount namespace, however it hid.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod admin;
pub mod dead;
pub mod gate;
pub mod identity;
pub mod jobs;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::*;
use admin::Admin;

/// How long what the cluster removes by itself may take (a pod's grace, the garbage collector).
const SETTLING: Duration = Duration::from_secs(45);
/// Kinds of object that a job can have.
const KINDS: [&str; 5] = ["serviceaccounts", "rolebindings", "secrets", "configmaps", "pods"];

/// An installation: the program and the directories that are compiled into it.
#[derive(Clone, Debug)]
pub struct Bed {
    pub program: PathBuf,
    pub config: PathBuf,
    pub run: PathBuf,
    pub state: PathBuf,
}

impl Bed {
    /// What is shipped.
    pub fn shipped() -> Self {
        Self::named(["SSA_BIN", "SSA_BED_CONFIG", "SSA_BED_RUN", "SSA_BED_STATE"])
    }

    /// The build with fault points.
    pub fn faults() -> Self {
        Self::named(["SSA_FAULTS_BIN", "SSA_FAULTS_CONFIG", "SSA_FAULTS_RUN", "SSA_FAULTS_STATE"])
    }

    fn named(names: [&str; 4]) -> Self {
        let [program, config, run, state] = names.map(|name| PathBuf::from(bed(name)));
        Self { program, config, run, state }
    }
}

/// The API server's address.
fn bed_server() -> String {
    bed("BENCH_SERVER")
}

/// A name that nothing else has.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let seconds = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("clock").as_secs();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{:x}-{:x}-{count}", seconds & 0xff_ffff, std::process::id())
}

/// A host of a test's own.
pub struct Host {
    pub bed: Bed,
    pub name: String,
    /// Namespaces of its jobs are called this and the login.
    pub prefix: String,
    /// Its configuration; [`Host::configure`] writes it.
    pub configuration: Value,
    /// Root's own, with the configuration and the fake Spark.
    pub directory: tempfile::TempDir,
    holder: Child,
    /// Token of its provisioner, which has no right outside of the namespaces of this host.
    token: String,
    /// Whether its namespaces go with it.
    owns_namespaces: bool,
}

impl Host {
    /// A host whose jobs are those of `logins`, each with a namespace that is prepared.
    pub fn new(bed: Bed, admin: &Admin, logins: &[&str]) -> Self {
        let prefix = unique("ssa-crash");
        let token = identity::make(admin, &format!("{prefix}-id"));
        let mut host = Self::named(bed, &unique("host"), &prefix, token);
        host.owns_namespaces = true;
        for login in logins {
            host.admit(admin, login);
        }
        host.script("exit 0");
        host
    }

    /// Another host whose jobs share the namespaces of this one.
    pub fn neighbour(&self) -> Self {
        let mut host = Self::named(self.bed.clone(), &unique("host"), &self.prefix, self.token.clone());
        host.configuration["clusters"]["main"]["namespaces"] =
            self.configuration["clusters"]["main"]["namespaces"].clone();
        host.script("exit 0");
        host
    }

    fn named(bed: Bed, name: &str, prefix: &str, token: String) -> Self {
        let holder = hold(&bed, name);
        let text = fs::read_to_string(&bed.config).expect("configuration");
        let configuration = serde_yaml::from_str(&text).expect("YAML");
        let mut host = Self {
            bed,
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            configuration,
            directory: trusted_directory(),
            holder,
            token,
            owns_namespaces: false,
        };
        host.configuration["callers"] = json!(["dssuser", "root"]);
        host.configuration["timeouts"] = json!({"grace": "2s"});
        let profile = &mut host.configuration["profiles"]["per-user"];
        profile["namespace"]["template"] = json!(format!("{prefix}-${{dssUserLogin}}"));
        host.configuration["clusters"]["main"]["namespaces"] = json!([]);
        host.connect(&bed_server());
        host
    }

    /// Prepares the namespace of a login.
    pub fn admit(&mut self, admin: &Admin, login: &str) {
        let namespace = self.namespace(login);
        identity::admit(admin, &format!("{}-id", self.prefix), &namespace, &json!({"login": login}));
        let namespaces = &mut self.configuration["clusters"]["main"]["namespaces"];
        namespaces.as_array_mut().expect("namespaces").push(json!(namespace));
    }

    /// The API server's address for the wrapper from now on; `https://…`.
    pub fn connect(&mut self, server: &str) {
        let path = identity::kubeconfig(self.directory.path(), "main.kubeconfig", server, &self.token);
        self.configuration["clusters"]["main"]["kubeconfig"] = json!(path.to_str().expect("path"));
        self.configure();
    }

    /// The provisioner's name in the cluster.
    pub fn provisioner(&self) -> String {
        format!("system:serviceaccount:{}-id:provisioner", self.prefix)
    }

    /// What stands in for Spark from now on.
    pub fn script(&mut self, script: &str) {
        let home = script_spark(self.directory.path(), script);
        self.configuration["profiles"]["per-user"]["spark_home"] = json!(home.to_str().expect("path"));
        self.configure();
    }

    /// Writes the configuration.
    pub fn configure(&self) -> PathBuf {
        write_configuration(self.directory.path(), &self.configuration)
    }

    /// Where a path of this host is seen by the test.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let path = path.strip_prefix("/").expect("absolute");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(path)
    }

    pub fn run(&self) -> PathBuf {
        self.inside(&self.bed.run)
    }

    pub fn state(&self) -> PathBuf {
        self.inside(&self.bed.state)
    }

    pub fn jobs(&self) -> PathBuf {
        self.state().join("jobs")
    }

    pub fn record_file(&self, job: &str) -> PathBuf {
        self.jobs().join(job).join("record.json")
    }

    pub fn namespace(&self, login: &str) -> String {
        format!("{}-{login}", self.prefix)
    }

    /// A program on this host, as root, without sudo's variables.
    pub fn on<S: AsRef<std::ffi::OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.holder.id().to_string(), "-m", "-u", "--"]).args(words);
        command.stdin(Stdio::null()).current_dir("/");
        for name in ["SUDO_UID", "SUDO_USER", "SUDO_GID", "SUDO_COMMAND"] {
            command.env_remove(name);
        }
        command
    }

    /// A call by root, with this host's configuration.
    pub fn call(&self, words: &[&str]) -> Command {
        let config = self.directory.path().join("config.yaml");
        self.call_with(&config, words)
    }

    /// A call by root with another configuration.
    pub fn call_with(&self, config: &Path, words: &[&str]) -> Command {
        let mut all =
            vec![self.bed.program.to_str().expect("path"), "--config", config.to_str().expect("path")];
        all.extend(words);
        self.on(&all)
    }

    /// The same through a sudo that stays its parent.
    pub fn sudo(&self, words: &[&str]) -> Command {
        let config = self.directory.path().join("config.yaml");
        let mut all = vec!["sudo", "-n", self.bed.program.to_str().expect("path"), "--config"];
        all.push(config.to_str().expect("path"));
        all.extend(words);
        self.on(&all)
    }

    /// `run` for a login.
    pub fn job(&self, login: &str) -> Command {
        self.call(&["run", "--user", login, "--profile", "per-user", "--", "job.py"])
    }

    /// One reap; its JSON.
    pub fn reap(&self) -> (Ended, Value) {
        self.reap_with(&["--json"])
    }

    pub fn reap_with(&self, words: &[&str]) -> (Ended, Value) {
        let ended = ended(&mut self.call(&[&["reap"], words].concat()));
        let report = serde_json::from_str(&ended.stdout).unwrap_or_default();
        (ended, report)
    }

    /// One reap that must have done everything.
    pub fn reaped(&self) -> Value {
        let (ended, report) = self.reap();
        assert_eq!(ended.code(), 0, "{ended:?}");
        assert!(report.is_object(), "not JSON: {ended:?}");
        report
    }

    /// A job's record.
    pub fn record(&self, job: &str) -> Value {
        let text = fs::read(self.record_file(job)).unwrap_or_else(|error| panic!("record of {job}: {error}"));
        serde_json::from_slice(&text).expect("JSON")
    }

    /// Jobs that have a record.
    pub fn recorded(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.jobs()).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }

    /// Every process of this host but the one that keeps it.
    pub fn processes(&self) -> Vec<i32> {
        let own = fs::read_link(format!("/proc/{}/ns/mnt", self.holder.id())).expect("namespace");
        let entries = fs::read_dir("/proc").expect("/proc").flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| *pid != i32::try_from(self.holder.id()).expect("pid"))
            .filter(|pid| {
                fs::read_link(format!("/proc/{pid}/ns/mnt")).is_ok_and(|namespace| namespace == own)
            })
            .collect()
    }

    /// Supervisors and provisioners of this host.
    pub fn wrappers(&self) -> Vec<i32> {
        let ours = |pid: &i32| {
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("spark-submit-as"))
        };
        self.processes().into_iter().filter(ours).collect()
    }

    /// Waits until no supervisor and no provisioner is there, orphans included.
    pub fn until_wrappers_end(&self) {
        until("supervisor and provisioner end", || self.wrappers().is_empty());
    }

    /// A reboot: no process, an empty run directory, another boot.
    pub fn reboot(&mut self) {
        self.lose_processes();
        let boot = self.directory.path().join("boot_id");
        fs::write(&boot, "01234567-89ab-4cde-8f01-23456789abcd\n").expect("write");
        let script = format!(
            "find {} -mindepth 1 -delete; mount --bind {} /proc/sys/kernel/random/boot_id",
            self.bed.run.display(),
            boot.display()
        );
        assert!(self.on(&["sh", "-c", &script]).status().expect("sh").success());
    }

    /// The host is gone: its processes at once, and its disks.
    pub fn lose(&mut self) {
        self.lose_processes();
        let empty = "find \"$@\" -mindepth 1 -delete";
        let [run, state] = [&self.bed.run, &self.bed.state].map(|path| path.to_str().expect("path"));
        assert!(self.on(&["sh", "-c", empty, "sh", run, state]).status().expect("sh").success());
    }

    /// What a kernel that stops forgets.
    fn remove_groups(&self) {
        for job in self.recorded() {
            for group in groups().into_iter().filter(|group| group.to_string_lossy().ends_with(&job)) {
                let _ = fs::remove_dir(group);
            }
        }
    }

    fn lose_processes(&self) {
        // All of them belong to this test: they are in its own mount namespace. Stopped first, so that a provisioner
        // does not see its supervisor die and tear down.
        let send = |signal: &str| {
            for pid in self.processes() {
                let _ = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
            }
        };
        send("-STOP");
        until("the host has no process", || {
            // Again and again: one that was not stopped yet may have had a child that the last look did not see.
            send("-KILL");
            self.processes().is_empty()
        });
        self.remove_groups();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !std::thread::panicking() || std::env::var_os("SSA_KEEP").is_none() {
            for pid in self.processes() {
                let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
            }
        }
        self.remove_groups();
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        if self.owns_namespaces {
            let all = kubectl_try(&["get", "namespaces", "-o", "name"]).stdout;
            let own = format!("namespace/{}-", self.prefix);
            for namespace in all.lines().filter(|name| name.starts_with(&own)) {
                kubectl_try(&["delete", namespace, "--wait=false"]);
            }
        }
    }
}

/// Starts the process that keeps a host's namespaces. It ends with the test: its standard input does.
fn hold(bed: &Bed, name: &str) -> Child {
    for directory in [&bed.run, &bed.state] {
        fs::create_dir_all(directory).expect("mkdir");
    }
    let script = "set -e; hostname \"$1\"; for d in \"$2\" \"$3\"; do mount -t tmpfs -o mode=0711 none \"$d\"; done; \
                  echo ready; exec cat > /dev/null";
    let mut holder = Command::new("unshare")
        .args(["-m", "-u", "--propagation", "private", "sh", "-c", script, "sh", name])
        .args([&bed.run, &bed.state])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .current_dir("/")
        .spawn()
        .expect("unshare");
    let mut ready = String::new();
    BufReader::new(holder.stdout.take().expect("stdout")).read_line(&mut ready).expect("holder");
    assert_eq!(ready, "ready\n", "the host's namespaces could not be made");
    holder
}

/// A process's command line, for people.
pub fn command_line(pid: i32) -> String {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', " ").trim().to_owned()
}

/// When a process was started (proc(5), `stat`, field 22): with its pid, its identity.
pub fn start_time(pid: i32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_whitespace().nth(19).map(String::from)
}

/// Ends a process of the test's own.
pub fn kill(signal: &str, pid: i32) {
    let status = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status().expect("kill");
    assert!(status.success(), "kill -{signal} {pid}");
}

/// Everything that a job can leave, one line each.
#[derive(Clone, Debug, Default)]
pub struct World(pub BTreeSet<String>);

impl World {
    pub fn of(host: &Host, admin: &Admin) -> Self {
        let mut lines = BTreeSet::new();
        objects(host, admin, &mut lines);
        for directory in [host.run(), host.state()] {
            files(host, &directory, &mut lines);
        }
        for pid in host.processes() {
            if let Some(start) = start_time(pid) {
                lines.insert(format!("process {pid} started {start}: {}", command_line(pid)));
            }
        }
        // By the journal, which keeps ended jobs: other hosts of this kernel have cgroups as well.
        let jobs = host.recorded();
        for group in groups() {
            let name = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if jobs.contains(name.trim_start_matches("spark-submit-as-")) {
                lines.insert(format!("cgroup {}", group.display()));
            }
        }
        let mounts = fs::read_to_string(format!("/proc/{}/mountinfo", host.holder.id())).expect("mountinfo");
        // A boot id of its own is a mount that the test made.
        let mounts = mounts.lines().filter(|line| !line.contains("boot_id"));
        lines.extend(mounts.map(|line| format!("mount {line}")));
        Self(lines)
    }

    /// Waits until the world is as it was, and says what differs when it never is.
    pub fn assert_same(before: &Self, host: &Host, admin: &Admin, what: &str) {
        let deadline = Instant::now() + SETTLING;
        loop {
            let after = Self::of(host, admin);
            let differences = before.differences(&after);
            if differences.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what}: the world is not as it was:\n{}",
                differences.join("\n")
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// `+` is left behind, `-` was somebody else's and is gone.
    pub fn differences(&self, after: &Self) -> Vec<String> {
        let added = after.0.difference(&self.0).map(|line| format!("  + {line}"));
        let gone = self.0.difference(&after.0).map(|line| format!("  - {line}"));
        added.chain(gone).collect()
    }
}

/// Whatever has a name in the namespaces of the host; its provisioner has no right in any other.
fn objects(host: &Host, admin: &Admin, lines: &mut BTreeSet<String>) {
    let own = format!("{}-", host.prefix);
    for kind in KINDS {
        let group = if kind == "rolebindings" { "/apis/rbac.authorization.k8s.io/v1" } else { "/api/v1" };
        let list = admin.get(&format!("{group}/{kind}?resourceVersion=0"));
        for item in list["items"].as_array().expect("items") {
            let text =
                |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            let [namespace, name, uid] = ["/metadata/namespace", "/metadata/name", "/metadata/uid"].map(text);
            if namespace.starts_with(&own) {
                lines.insert(format!("object {namespace} {kind}/{name} {uid}"));
            }
        }
    }
}

fn files(host: &Host, directory: &Path, lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.parent() == Some(&host.jobs()) && is_closed(&path) {
            continue;
        }
        let Ok(data) = fs::symlink_metadata(&path) else { continue };
        let mode = data.permissions().mode();
        let shown = path.strip_prefix(format!("/proc/{}/root", host.holder.id())).unwrap_or(&path);
        lines.insert(format!("file /{} {mode:o} {}", shown.display(), data.uid()));
        if data.is_dir() {
            files(host, &path, lines);
        }
    }
}

/// The record of a job that has ended and of which nothing is left, alone in its directory.
fn is_closed(job: &Path) -> bool {
    let entries = fs::read_dir(job).into_iter().flatten().flatten();
    let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    let text = fs::read(job.join("record.json")).unwrap_or_default();
    let record: Value = serde_json::from_slice(&text).unwrap_or_default();
    names == ["record.json"] && record["phase"] == "ended" && record["cleanup"]["complete"] == true
}

/// cgroups of jobs, in every hierarchy.
pub fn groups() -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with("spark-submit-as-") {
                    found.push(path.clone());
                }
                walk(&path, found);
            }
        }
    }
    let mut found = Vec::new();
    for mount in group_mounts() {
        walk(&mount, &mut found);
    }
    found
}

/// Where cgroup v2 is mounted.
pub fn group_mounts() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ').skip(1);
            let path = words.next()?;
            words.next()?.starts_with("cgroup").then(|| PathBuf::from(path))
        })
        .collect()
}
