//! The wrapper's own cost beside its floor, in one run, side by side, medians. Run by `make bench` on the test bed.
//!
//! This program is also the job that it measures: as `spark-submit` it prints the monotonic clock and does what its first
//! argument says, so that "until exec" and "after the child's exit" need no other clock.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

const ROUNDS: usize = 21;
const JOBS: usize = 20;
const IDLE_SECONDS: u64 = 10;

fn main() {
    let name = std::env::args().next().unwrap_or_default();
    if name.ends_with("/spark-submit") {
        println!("{}", now());
        if std::env::args().any(|argument| argument == "sleep.py") {
            std::thread::sleep(Duration::from_secs(120));
        }
        println!("{}", now());
        return;
    }
    let bed = Bed::new();
    let mut rows = Vec::new();
    bed.times(&mut rows);
    bed.idle(&mut rows);
    bed.whole_job(&mut rows);
    let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
    for (what, figure) in &rows {
        println!("{what:width$}  {figure}");
    }
    let table: String = rows.iter().map(|(what, figure)| format!("| {what} | {figure} |\n")).collect();
    if let Ok(path) = std::env::var("SSA_BENCH_OUT") {
        fs::write(path, table).expect("write");
    }
}

/// CLOCK_MONOTONIC in nanoseconds, the same for every process.
fn now() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("clock");
    u64::try_from(time.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `make bench`"))
}

struct Bed {
    directory: tempfile::TempDir,
    config: PathBuf,
}

/// Namespaces with policies begin so.
const POLICIES: &str = "ssa-bench-";

type Rows = Vec<(String, String)>;

impl Bed {
    fn new() -> Self {
        let base = PathBuf::from(env("SSA_BED_PREFIX")).join("tests");
        fs::create_dir_all(&base).unwrap();
        let directory = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(base)
            .unwrap();
        let home = directory.path().join("spark");
        fs::create_dir_all(home.join("bin")).unwrap();
        fs::create_dir_all(home.join("jars")).unwrap();
        for name in ["spark-submit", "spark-class", "load-spark-env.sh"] {
            fs::copy(std::env::current_exe().unwrap(), home.join("bin").join(name)).unwrap();
        }
        let text = fs::read_to_string(env("SSA_BED_CONFIG")).unwrap();
        let mut configuration: Value = serde_yaml::from_str(&text).unwrap();
        configuration["callers"] = json!(["root"]);
        configuration["profiles"]["per-user"]["spark_home"] = json!(home.to_str().unwrap());
        let mut other = configuration["profiles"]["per-user"].clone();
        other["namespace"] = json!({"template": POLICIES.to_owned() + "${dssUserLogin}", "create": true, "policies": ["bench"]});
        configuration["profiles"]["policies"] = other;
        configuration["namespace_policies"]["bench"] = json!({
            "pod_security": "restricted",
            "resource_quota": {"hard": {"pods": "50"}},
            "limit_range": {"limits": [{"type": "Container", "max": {"cpu": "8"}}]},
            "network_policy": "isolated",
        });
        let config = directory.path().join("config.yaml");
        fs::write(&config, configuration.to_string()).unwrap();
        Self { directory, config }
    }

    fn run(&self, job: &str) -> Command {
        self.run_as("per-user", job)
    }

    fn run_as(&self, profile: &str, job: &str) -> Command {
        let mut command = Command::new(env("SSA_BIN"));
        command.arg("--config").arg(&self.config);
        command.args(["run", "--quiet", "--user", "alice", "--profile", profile, "--", job]);
        command.env_remove("SUDO_UID").stdin(Stdio::null());
        command
    }

    /// Until exec, and after the child's exit: (milliseconds, milliseconds).
    fn once(&self) -> (f64, f64) {
        self.once_as("per-user")
    }

    fn once_as(&self, profile: &str) -> (f64, f64) {
        let start = now();
        let output = self.run_as(profile, "job.py").output().unwrap();
        let end = now();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let clocks: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
        (milliseconds(clocks[0] - start), milliseconds(end - clocks[1]))
    }

    fn times(&self, rows: &mut Rows) {
        let floor = Floor::new();
        self.once();
        self.once_as("policies");
        floor.once();
        let mut kept = vec![];
        let (mut before, mut after, mut floor_before, mut floor_after) = (vec![], vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            let (start, end) = self.once();
            before.push(start);
            after.push(end);
            kept.push(self.once_as("policies").0);
            let (start, end) = floor.once();
            floor_before.push(start);
            floor_after.push(end);
        }
        let script: Vec<f64> = (0..3).map(|_| floor.kubectl()).collect();
        let (before, after) = (median(before), median(after));
        let (floor_before, floor_after, script) = (median(floor_before), median(floor_after), median(script));
        let allowed = 1.5 * floor_before + 5.0;
        let verdict = |ok| if ok { "ok" } else { "MISSED" };
        let mut row = |what: &str, figure: String| rows.push((what.to_owned(), figure));
        row("wrapper's start to the job's exec", format!("{before:.1} ms"));
        row("its floor: TLS and the same 7 requests, bare client", format!("{floor_before:.1} ms"));
        row("allowed: 1.5 x floor + 5 ms", format!("{allowed:.1} ms, {}", verdict(before <= allowed)));
        row("the same requests as a kubectl script", format!("{script:.0} ms"));
        let times = script / before;
        row("kubectl script / wrapper (at least 15)", format!("{times:.1}, {}", verdict(times >= 15.0)));
        let kept = median(kept);
        row("start to exec with quota, limit range and isolated network", format!("{kept:.1} ms"));
        row("with these policies / without", format!("{:.2}", kept / before));
        let words = env("SSA_BED_KUBECTL");
        let mut words = words.split(' ');
        let mut delete = Command::new(words.next().unwrap());
        delete.args(words).args(["delete", "namespace", &format!("{POLICIES}alice"), "--wait=false"]);
        assert!(delete.stdout(Stdio::null()).status().unwrap().success());
        row("child's exit to the wrapper's exit", format!("{after:.1} ms"));
        row("its floor: the same 4 requests, bare client, TLS included", format!("{floor_after:.1} ms"));
        let ratio = after / floor_after;
        row("tear-down / floor (at most 1.5)", format!("{ratio:.2}, {}", verdict(ratio <= 1.5)));
    }

    /// Memory and CPU time of supervisor and provisioner while jobs run.
    fn idle(&self, rows: &mut Rows) {
        let mut calls: Vec<_> =
            (0..JOBS).map(|_| self.run("sleep.py").stdout(Stdio::piped()).spawn().unwrap()).collect();
        let ours = |supervisor: u32| {
            let mut pids = vec![supervisor];
            pids.extend(children(supervisor).into_iter().filter(|pid| is_provisioner(*pid)));
            pids
        };
        while !calls.iter().all(|call| children(call.id()).len() >= 2) {
            std::thread::sleep(Duration::from_millis(100));
        }
        std::thread::sleep(Duration::from_secs(2));
        let pids: Vec<u32> = calls.iter().flat_map(|call| ours(call.id())).collect();
        assert_eq!(pids.len(), 2 * JOBS);
        let cpu = || pids.iter().map(|pid| cpu_ticks(*pid)).sum::<u64>();
        let before = cpu();
        std::thread::sleep(Duration::from_secs(IDLE_SECONDS));
        let used = cpu() - before;
        let kib: u64 = pids.iter().map(|pid| pss_kib(*pid)).sum();
        let mib = kib as f64 / 1024.0 / JOBS as f64;
        let verdict = if mib <= 8.0 { "ok" } else { "MISSED" };
        rows.push((
            format!("memory (PSS) of both, per job, {JOBS} jobs running (at most 8 MiB)"),
            format!("{mib:.1} MiB, {verdict}"),
        ));
        rows.push((
            format!("CPU time of all {JOBS} pairs in {IDLE_SECONDS} s while their jobs run"),
            format!("{used} ticks of 10 ms"),
        ));
        for call in &calls {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(call.id()).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        }
        for call in &mut calls {
            call.wait().unwrap();
        }
    }

    /// The wrapper's share of a real job.
    fn whole_job(&self, rows: &mut Rows) {
        let home = env("SSA_BED_SPARK_HOME");
        let pi = format!("{home}/examples/src/main/python/pi.py");
        let mut configuration: Value = serde_json::from_slice(&fs::read(&self.config).unwrap()).unwrap();
        configuration["profiles"]["per-user"]["spark_home"] = json!(home);
        let config = self.directory.path().join("real.yaml");
        fs::write(&config, configuration.to_string()).unwrap();
        let start = now();
        let output = Command::new(env("SSA_BIN"))
            .arg("--config")
            .arg(&config)
            .args(["run", "--quiet", "--user", "alice", "--profile", "per-user", "--", &pi, "20"])
            .env_remove("SUDO_UID")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let seconds = milliseconds(now() - start) / 1000.0;
        rows.push((
            "a whole pi.py run with 20 tasks through the wrapper".to_owned(),
            format!("{seconds:.1} s"),
        ));
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn is_provisioner(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("spark-submit-as-provisioner"))
}

fn pss_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The same requests by a bare client with the provisioner's credential: one connection, one after the other.
struct Floor {
    runtime: tokio::runtime::Runtime,
    kubeconfig: PathBuf,
}

impl Floor {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let kubeconfig = Path::new(&env("SSA_BED_CONFIG")).with_file_name("main.kubeconfig");
        Self { runtime, kubeconfig }
    }

    fn once(&self) -> (f64, f64) {
        let text = fs::read_to_string(&self.kubeconfig).unwrap();
        self.runtime.block_on(async {
            let name = format!("ssa-job-floor{}", now());
            let base = "/api/v1/namespaces/dss-ns-alice";
            let start = now();
            let client = client(&text).await;
            let secret = json!({"apiVersion": "v1", "kind": "Secret", "name": "ssa-fence-probe"});
            let probe = json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                "spec": {"expirationSeconds": 600, "boundObjectRef": secret}});
            send(
                &client,
                "POST",
                "/api/v1/namespaces/kube-system/serviceaccounts/default/token",
                Some(probe),
            )
            .await;
            send(&client, "GET", base, None).await;
            send(&client, "GET", &format!("{base}/serviceaccounts/ssa-executor"), None).await;
            for (path, object) in objects(&name) {
                send(&client, "POST", &path, Some(object)).await;
            }
            let before = milliseconds(now() - start);
            drop(client);
            let start = now();
            let client = self::client(&text).await;
            let sweep = format!("{base}/pods?labelSelector=spark-submit-as%2Fjob%3D{name}");
            // As the wrapper: the first look may be the API server's cached one, the last may not.
            send(&client, "DELETE", &format!("{sweep}&resourceVersion=0"), Some(json!({}))).await;
            let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/dss-ns-alice/rolebindings";
            send(&client, "DELETE", &format!("{bindings}/{name}"), Some(json!({}))).await;
            send(&client, "DELETE", &format!("{base}/serviceaccounts/{name}"), Some(json!({}))).await;
            send(&client, "DELETE", &sweep, Some(json!({}))).await;
            let after = milliseconds(now() - start);
            send(&client, "DELETE", &format!("{base}/secrets/{name}"), Some(json!({}))).await;
            (before, after)
        })
    }

    /// The seven requests as a shell script would make them.
    fn kubectl(&self) -> f64 {
        let words = env("SSA_BED_KUBECTL");
        let name = format!("ssa-job-floor{}", now());
        let kubectl = |arguments: &[&str], input: Option<&Value>| {
            let mut parts = words.split(' ');
            let mut command = Command::new(parts.next().unwrap());
            command.args(parts).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
            command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
            let mut child = command.spawn().unwrap();
            if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
                std::io::Write::write_all(&mut stdin, input.to_string().as_bytes()).unwrap();
            }
            child.wait().unwrap();
        };
        let start = now();
        kubectl(
            &["create", "serviceaccount", "ssa-fence-probe", "-n", "kube-system", "--dry-run=server"],
            None,
        );
        kubectl(&["get", "namespace", "dss-ns-alice"], None);
        kubectl(&["get", "serviceaccount", "ssa-executor", "-n", "dss-ns-alice"], None);
        for (path, object) in objects(&name) {
            if path.ends_with("/token") {
                kubectl(&["create", "token", &name, "-n", "dss-ns-alice"], None);
            } else {
                kubectl(&["create", "-n", "dss-ns-alice", "-f", "-"], Some(&object));
            }
        }
        let took = milliseconds(now() - start);
        kubectl(&["delete", "serviceaccount,rolebinding,secret", &name, "-n", "dss-ns-alice"], None);
        took
    }
}

fn objects(name: &str) -> Vec<(String, Value)> {
    let base = "/api/v1/namespaces/dss-ns-alice";
    let metadata = json!({"name": name});
    vec![
        (
            format!("{base}/serviceaccounts"),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/dss-ns-alice/rolebindings".to_owned(),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "spark-submit-as-driver"},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "dss-ns-alice"}],
            }),
        ),
        (
            format!("{base}/secrets"),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"auth": "x"}}),
        ),
        (
            format!("{base}/serviceaccounts/{name}/token"),
            json!({
                "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 600}}),
        ),
    ]
}

async fn client(text: &str) -> kube::Client {
    let kubeconfig = Kubeconfig::from_yaml(text).unwrap();
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    kube::Client::try_from(config).unwrap()
}

async fn send(client: &kube::Client, method: &str, path: &str, body: Option<Value>) {
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(kube::client::Body::from(body))
        .unwrap();
    let response = client.send(request).await.unwrap();
    let status = response.status();
    assert!(
        status.is_success() || status == 403 || status == 404 || status == 422,
        "{method} {path}: {status}"
    );
    http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
}
