//! What the tests on the test bed share: real sudo, a real cluster, a real Spark (`tests/bed/up`).
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod proxy;
pub mod screen;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A value of the test bed's environment.
pub fn bed(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: this test needs the test bed; run `make test`"))
}

/// The installed program.
pub fn program() -> PathBuf {
    PathBuf::from(bed("SSA_BIN"))
}

/// The end of a call.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The exit status, and nothing but one.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// The job that the wrapper told about.
    pub fn job(&self) -> String {
        job_in(&self.stderr).unwrap_or_else(|| panic!("no job in {self:?}"))
    }

    pub fn refused(&self, code: i32, message: &str) {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        assert!(self.stderr.contains(message), "no {message:?} in {self:?}");
    }
}

fn job_in(stderr: &str) -> Option<String> {
    let line = stderr.lines().find_map(|line| line.strip_prefix("spark-submit-as: job "))?;
    Some(line.split(':').next()?.to_owned())
}

/// A call as `account` through real sudo.
pub fn as_account<S: AsRef<std::ffi::OsStr>>(account: &str, arguments: &[S]) -> Command {
    let mut command = Command::new("sudo");
    command.args(["-u", account, "sudo", "-n"]).arg(program()).args(arguments).stdin(Stdio::null());
    command.current_dir("/");
    command
}

/// A call as the platform.
pub fn as_platform<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    as_account("dssuser", arguments)
}

/// A call as root itself, not through sudo.
pub fn as_root<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).stdin(Stdio::null()).current_dir("/");
    for name in ["SUDO_UID", "SUDO_USER", "SUDO_GID", "SUDO_COMMAND"] {
        command.env_remove(name);
    }
    command
}

/// Runs a call to its end.
pub fn ended(command: &mut Command) -> Ended {
    let output = command.output().expect("the call");
    Ended {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A call that runs while the test looks at it. Its standard error is gathered.
pub struct Running {
    pub child: Child,
    lines: mpsc::Receiver<String>,
    pub stderr: String,
}

/// Starts a call.
pub fn start(command: &mut Command) -> Running {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the call");
    let (sender, lines) = mpsc::channel();
    let stderr = child.stderr.take().expect("stderr");
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Running { child, lines, stderr: String::new() }
}

impl Running {
    /// Waits for a line that holds `text`.
    pub fn line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.stderr += &line;
                    self.stderr.push('\n');
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("no {text:?} ({error}) in {}", self.stderr),
            }
        }
    }

    /// Job and driver's pid, once the job runs.
    pub fn job(&mut self) -> (String, i32) {
        let line = self.line(", pid ");
        let pid = line.rsplit(' ').next().and_then(|pid| pid.parse().ok()).expect("pid");
        (job_in(&self.stderr).expect("job"), pid)
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let mut stdout = String::new();
        if let Some(mut out) = self.child.stdout.take() {
            let _ = out.read_to_string(&mut stdout);
        }
        let status = self.child.wait().expect("wait");
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.stderr += &line;
            self.stderr.push('\n');
        }
        Ended { status, stdout, stderr: self.stderr }
    }
}

impl std::fmt::Display for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.stderr)
    }
}

/// kubectl as the cluster's administrator; its standard output.
pub fn kubectl(arguments: &[&str]) -> String {
    let output = kubectl_try(arguments);
    assert!(output.status.success(), "kubectl {arguments:?}: {output:?}");
    output.stdout
}

/// kubectl that may fail.
pub fn kubectl_try(arguments: &[&str]) -> Ended {
    let words = bed("SSA_BED_KUBECTL");
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().expect("kubectl"));
    command.args(words).args(arguments).stdin(Stdio::null());
    ended(&mut command)
}

/// Applies a manifest given as text.
pub fn apply(manifest: &str) {
    let file = temporary_file("manifest.yaml", manifest);
    kubectl(&["apply", "-f", file.path.to_str().expect("path")]);
}

/// Objects of a job, of every kind that one can have.
pub fn objects_of(job: &str) -> Vec<String> {
    let kinds = "pods,serviceaccounts,rolebindings,roles,secrets,configmaps,networkpolicies";
    let selector = format!("spark-submit-as/job={job}");
    let text = kubectl(&["get", kinds, "-A", "-o", "name", "-l", &selector]);
    text.lines().map(String::from).collect()
}

/// Waits until `done` says so.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Asserts that nothing of a job is left: cluster, files, processes.
pub fn assert_nothing_left(job: &str) {
    assert_eq!(objects_of(job), Vec::<String>::new());
    assert!(!Path::new(&bed("SSA_BED_RUN")).join(job).exists(), "the run directory is left");
    assert!(
        !Path::new(&bed("SSA_BED_STATE")).join("scratch").join(job).exists(),
        "the scratch directory is left"
    );
    let marked = processes_with(&format!("SPARK_SUBMIT_AS_JOB={job}"));
    assert_eq!(marked, Vec::<i32>::new(), "processes are left");
}

/// Processes whose environment holds `text`.
pub fn processes_with(text: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == text.as_bytes())
        })
        .collect()
}

/// A field of /proc/PID/status.
pub fn status_field(pid: i32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = text.lines().find(|line| line.starts_with(&format!("{field}:"))).expect("field");
    line.split_once(':').expect("field").1.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The parent of a process.
pub fn parent(pid: i32) -> i32 {
    status_field(pid, "PPid").parse().expect("pid")
}

/// Direct children of a process.
pub fn children(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|child| fs::metadata(format!("/proc/{child}")).is_ok() && try_parent(*child) == Some(pid))
        .collect()
}

fn try_parent(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// uid, gid of an account.
pub fn ids(account: &str) -> (u32, u32) {
    let number = |flag: &str| {
        let output = Command::new("id").args([flag, account]).output().expect("id");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("number")
    };
    (number("-u"), number("-g"))
}

/// Runs a shell command as an account; true when it succeeded.
pub fn shell_as(account: &str, script: &str) -> Ended {
    ended(Command::new("sudo").args(["-u", account, "sh", "-c", script]).stdin(Stdio::null()))
}

/// A file that goes when it is dropped.
pub struct TemporaryFile {
    pub path: PathBuf,
    _directory: tempfile::TempDir,
}

/// A file of root's, readable by all, in a directory of its own.
pub fn temporary_file(name: &str, content: &str) -> TemporaryFile {
    let directory =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().expect("tempdir");
    let path = directory.path().join(name);
    fs::write(&path, content).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
    TemporaryFile { path, _directory: directory }
}

/// A file that only `account` can read, in its home directory.
pub struct PrivateFile(pub PathBuf);

impl Drop for PrivateFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Makes one.
pub fn private_file(account: &str, name: &str, content: &str) -> PrivateFile {
    let home = shell_as(account, "echo ~").stdout.trim().to_owned();
    let unique = format!("{}-{name}", std::time::SystemTime::UNIX_EPOCH.elapsed().expect("clock").as_nanos());
    let path = PathBuf::from(home).join(unique);
    let mut writer = Command::new("sudo")
        .args(["-u", account, "sh", "-c", "umask 077; cat > \"$1\"", "sh"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sudo");
    writer.stdin.take().expect("stdin").write_all(content.as_bytes()).expect("write");
    assert!(writer.wait().expect("wait").success());
    PrivateFile(path)
}

/// A directory that only root can change, in the test bed's prefix (its parents are root's alone, unlike /tmp).
pub fn trusted_directory() -> tempfile::TempDir {
    let base = PathBuf::from(bed("SSA_BED_PREFIX")).join("tests");
    fs::create_dir_all(&base).expect("mkdir");
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir_in(base).expect("tempdir")
}

/// A Spark directory whose spark-submit is a shell script: for what the wrapper does around any program.
pub fn script_spark(directory: &Path, script: &str) -> PathBuf {
    let home = directory.join("spark");
    fs::create_dir_all(home.join("bin")).expect("mkdir");
    fs::create_dir_all(home.join("jars")).expect("mkdir");
    for name in ["spark-submit", "spark-class", "load-spark-env.sh"] {
        let path = home.join("bin").join(name);
        fs::write(&path, format!("#!/bin/bash\n{script}\n")).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    home
}

/// The test bed's configuration, to be changed and given to `--config` (root) by a test.
pub fn configuration() -> Value {
    let text = fs::read_to_string(bed("SSA_BED_CONFIG")).expect("configuration");
    serde_yaml::from_str(&text).expect("YAML")
}

/// Writes a configuration into a trusted directory.
pub fn write_configuration(directory: &Path, configuration: &Value) -> PathBuf {
    let path = directory.join("config.yaml");
    fs::write(&path, serde_json::to_string_pretty(configuration).expect("JSON")).expect("write");
    path
}

/// A `run` of a shell script as alice by root itself, with a configuration of its own that allows it.
pub fn scripted(directory: &Path, script: &str) -> Command {
    let mut configuration = configuration();
    configuration["callers"] = serde_json::json!(["dssuser", "root"]);
    configuration["profiles"]["per-user"]["spark_home"] =
        serde_json::json!(script_spark(directory, script).to_str().expect("path"));
    let path = write_configuration(directory, &configuration);
    let path = path.to_str().expect("path").to_owned();
    as_root(&["--config", &path, "run", "--user", "alice", "--profile", "per-user", "--", "job.py"])
}

/// Lines of the API server's audit log since `offset` (its length when the test began).
pub fn audit_since(offset: u64) -> Vec<Value> {
    let mut file = fs::File::open(bed("BENCH_AUDIT_LOG")).expect("audit log");
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(offset)).expect("seek");
    BufReader::new(file)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect()
}

/// The audit log's length.
pub fn audit_length() -> u64 {
    fs::metadata(bed("BENCH_AUDIT_LOG")).map(|data| data.len()).unwrap_or(0)
}

/// HTTP status of listing pods with a token, by curl, as a thief would.
pub fn pods_with(token: &str, namespace: &str) -> String {
    let url = format!("{}/api/v1/namespaces/{namespace}/pods", bed("BENCH_SERVER"));
    let output = Command::new("curl")
        .args([
            "-sk",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            &format!("Authorization: Bearer {token}"),
            &url,
        ])
        .output()
        .expect("curl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
