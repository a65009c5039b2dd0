//! The fault proxy (`testbench/faultproxy`) between the provisioner and the cluster, and a configuration that goes
//! through it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use serde_json::{Value, json};

use super::{PATIENCE, bed, ended, kubectl, kubectl_try, processes_with, script_spark, trusted_directory};

/// A request that came to the proxy.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Request {
    pub number: u32,
    pub method: String,
    pub path: String,
    pub agent: String,
    /// The process that asked; 0 when it was gone already.
    pub client: i32,
    /// What the API server answered; 0 when it did not.
    pub status: u16,
    pub fault: String,
}

/// A token that was granted through a proxy that binds tokens to Secrets.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Granted {
    pub namespace: String,
    pub account: String,
    pub secret: String,
}

/// A running proxy. It ends with its input, so that none is left of a test that dies.
pub struct Proxy {
    child: Child,
    channel: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    address: String,
    authority: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    /// Before the cluster of a kubeconfig in JSON, listening at a host's address.
    pub fn start(kubeconfig: &Path, host: &str, more: &[&str]) -> Self {
        let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbench/bench");
        let built = ended(Command::new(bench).arg("faultproxy"));
        assert!(built.status.success(), "{built:?}");
        let mut child = Command::new(built.stdout.trim())
            .arg("-kubeconfig")
            .arg(kubeconfig)
            .args(["-listen", &format!("{host}:0")])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the fault proxy");
        let input = child.stdin.take().expect("stdin");
        let mut output = BufReader::new(child.stdout.take().expect("stdout"));
        let mut line = String::new();
        output.read_line(&mut line).expect("the proxy's first line");
        let first: Value = serde_json::from_str(&line).expect("the proxy's first line");
        let text = |key: &str| first[key].as_str().expect("text").to_owned();
        let (address, authority) = (text("address"), text("certificate_authority_data"));
        Self { child, channel: Mutex::new((input, output)), address, authority }
    }

    /// A kubeconfig that leads through it, for a user as a kubeconfig has one.
    pub fn kubeconfig(&self, path: &Path, user: &Value) {
        let cluster = json!({"server": format!("https://{}", self.address), "certificate-authority-data": self.authority});
        let whole = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "main",
            "clusters": [{"name": "main", "cluster": cluster}],
            "contexts": [{"name": "main", "context": {"cluster": "main", "user": "u"}}],
            "users": [{"name": "u", "user": user}],
        });
        private(path, &whole);
    }

    fn ask(&self, command: &Value) -> Value {
        let mut channel = self.channel.lock().expect("channel");
        let (input, output) = &mut *channel;
        writeln!(input, "{command}").expect("write to the proxy");
        let mut line = String::new();
        output.read_line(&mut line).expect("read from the proxy");
        let answer: Value = serde_json::from_str(&line).expect("the proxy's answer");
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer
    }

    /// Adds a rule, as `testbench/faultproxy/README.md` describes them.
    pub fn rule(&self, mut rule: Value) {
        rule["do"] = json!("rule");
        self.ask(&rule);
    }

    /// Forgets rules and log, and cuts what hangs.
    pub fn reset(&self) {
        self.ask(&json!({"do": "reset"}));
    }

    /// As a server that was stopped.
    pub fn refuse(&self) {
        self.ask(&json!({"do": "refuse"}));
    }

    /// As a server that was started again.
    pub fn accept(&self) {
        self.ask(&json!({"do": "accept"}));
    }

    /// Requests since the last reset, from number `from` on.
    pub fn log(&self, from: u32) -> Vec<Request> {
        let answer = self.ask(&json!({"do": "log", "from": from}));
        answer.get("requests").map_or(Vec::new(), |all| serde_json::from_value(all.clone()).expect("log"))
    }

    /// Tokens that were granted, in their order.
    pub fn tokens(&self) -> Vec<Granted> {
        let answer = self.ask(&json!({"do": "tokens"}));
        answer.get("tokens").map_or(Vec::new(), |all| serde_json::from_value(all.clone()).expect("tokens"))
    }
}

/// An installation whose provisioner goes through a proxy of its own, into namespaces of its own.
pub struct Proxied {
    pub proxy: Proxy,
    pub directory: tempfile::TempDir,
    /// The configuration's file.
    pub config: PathBuf,
    /// The namespace of alice's jobs.
    pub namespace: String,
    binary: PathBuf,
}

/// Which installation, and how the proxy stands before its cluster.
pub struct Options<'a> {
    /// Unique among those that live at the same time.
    pub name: &'a str,
    pub binary: PathBuf,
    /// Its configuration.
    pub config: PathBuf,
    /// Address that the proxy listens at; drivers take theirs from it.
    pub host: String,
    /// Bind tokens to Secrets, and let them seem to live this many seconds.
    pub life: Option<u32>,
    /// Run this shell script instead of Spark.
    pub script: Option<&'a str>,
    /// Key `timeouts`; the default without.
    pub timeouts: Option<Value>,
}

impl<'a> Options<'a> {
    /// The test bed's installation, on loopback, with scripts for jobs and little patience.
    pub fn scripted(name: &'a str, script: &'a str) -> Self {
        Self {
            name,
            binary: super::program(),
            config: PathBuf::from(bed("SSA_BED_CONFIG")),
            host: "127.0.0.1".into(),
            life: None,
            script: Some(script),
            timeouts: Some(
                json!({"connect": "2s", "request": "2s", "provision": "10s", "teardown": "5s", "grace": "2s"}),
            ),
        }
    }
}

impl Proxied {
    pub fn new(options: Options<'_>) -> Self {
        let directory = trusted_directory();
        let text = fs::read_to_string(&options.config).expect("configuration");
        let mut configuration: Value = serde_yaml::from_str(&text).expect("YAML");
        let main = configuration["clusters"]["main"]["kubeconfig"].as_str().expect("path");
        let mut kubeconfig: Value =
            serde_yaml::from_slice(&fs::read(main).expect("kubeconfig")).expect("kubeconfig");
        let upstream = directory.path().join("upstream.json");
        private(&upstream, &kubeconfig);
        let mut more = Vec::new();
        let admin = directory.path().join("admin.json");
        let life = options.life.map(|life| life.to_string());
        if let Some(life) = &life {
            let text = kubectl(&["config", "view", "--raw", "--flatten", "--minify", "-o", "json"]);
            private(&admin, &serde_json::from_str(&text).expect("the administrator's kubeconfig"));
            more.extend(["-admin", admin.to_str().expect("path"), "-life", life]);
        }
        let proxy = Proxy::start(&upstream, &options.host, &more);

        let cluster = &mut kubeconfig["clusters"][0]["cluster"];
        cluster["server"] = json!(format!("https://{}", proxy.address));
        cluster["certificate-authority-data"] = json!(proxy.authority);
        let through = directory.path().join("main.kubeconfig");
        private(&through, &kubeconfig);

        configuration["callers"] = json!(["root"]);
        configuration["clusters"]["main"]["kubeconfig"] = json!(through.to_str().expect("path"));
        if let Some(timeouts) = options.timeouts {
            configuration["timeouts"] = timeouts;
        }
        // Names that no other run of these tests uses at the same time.
        let prefix = format!("ssa-test-{}-{}", options.name, std::process::id());
        let spark = options.script.map(|script| script_spark(directory.path(), script));
        for (name, profile) in configuration["profiles"].as_object_mut().expect("profiles") {
            if name.starts_with("per-user") {
                profile["namespace"]["template"] = json!(format!("{prefix}-${{user}}"));
                if let Some(home) = &spark {
                    profile["spark_home"] = json!(home.to_str().expect("path"));
                }
            }
        }
        let config = super::write_configuration(directory.path(), &configuration);
        let namespace = format!("{prefix}-alice");
        Self { proxy, directory, config, namespace, binary: options.binary }
    }

    /// A call of root's with this configuration.
    pub fn call(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(&self.config).args(arguments).stdin(Stdio::null()).current_dir("/");
        for name in ["SUDO_UID", "SUDO_USER", "SUDO_GID", "SUDO_COMMAND"] {
            command.env_remove(name);
        }
        command
    }

    /// A job of alice's.
    pub fn job(&self) -> Command {
        self.call(&["run", "--user", "alice", "--profile", "per-user", "--", "job.py"])
    }

    /// Whether this version can `reap`.
    pub fn can_reap(&self) -> bool {
        ended(&mut self.call(&["reap", "--help"])).status.success()
    }
}

impl Drop for Proxied {
    fn drop(&mut self) {
        let _ = kubectl_try(&["delete", "namespace", "--ignore-not-found", "--wait=false", &self.namespace]);
    }
}

/// A file of root's that nobody else can read.
fn private(path: &Path, content: &Value) {
    fs::write(path, "").expect("write");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("chmod");
    fs::write(path, content.to_string()).expect("write");
}

/// A call that ended, or was ended when it was clear that it never would.
#[derive(Debug)]
pub struct Bounded {
    /// None: it did not end by itself.
    pub status: Option<std::process::ExitStatus>,
    pub stderr: String,
    pub seconds: f32,
}

impl Bounded {
    /// The job that the wrapper told about.
    pub fn job(&self) -> Option<String> {
        super::job_in(&self.stderr)
    }

    /// The exit status, if it ended with one.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// Whether a job was started.
    pub fn ran(&self) -> bool {
        self.stderr.contains(" runs as alice, pid ")
    }
}

/// Runs a call to its end; ends it by its pid when it takes longer than anything may.
pub fn bounded(command: &mut Command, scratch: &Path) -> Bounded {
    let path = scratch.join("stderr");
    // A file and not a pipe: an orphan that kept a pipe open would have the test wait for it.
    let file = fs::File::create(&path).expect("stderr");
    let begin = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(file).spawn().expect("the call");
    let done = loop {
        let done = child.try_wait().expect("wait");
        if done.is_some() || begin.elapsed() >= PATIENCE {
            break done;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    let seconds = begin.elapsed().as_secs_f32();
    if done.is_none() {
        let _ = child.kill();
    }
    let _ = child.wait();
    Bounded { status: done, stderr: fs::read_to_string(&path).expect("stderr"), seconds }
}

/// What this host still has of a job: files and processes, its provisioners among `clients` included.
pub fn left_on_this_host(job: &str, clients: &[i32]) -> Vec<String> {
    let mut left = Vec::new();
    let places = [
        Path::new(&bed("SSA_BED_RUN")).join(job),
        Path::new(&bed("SSA_BED_STATE")).join("scratch").join(job),
    ];
    left.extend(places.iter().filter(|place| place.exists()).map(|place| place.display().to_string()));
    let marked = processes_with(&format!("SPARK_SUBMIT_AS_JOB={job}"));
    left.extend(marked.iter().map(|pid| format!("process {pid}")));
    let provisioners = clients.iter().filter(|pid| {
        fs::read_link(format!("/proc/{pid}/exe"))
            .is_ok_and(|exe| exe.to_string_lossy().contains("spark-submit-as-provisioner"))
    });
    left.extend(provisioners.map(|pid| format!("provisioner {pid}")));
    left
}
