//! Bob at work in a team's namespace, things of his beside it, and alice's jobs that attack him there.

#[path = "props.rs"]
mod props;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::*;
use props::*;

/// The namespace of profile `attack`, made from the shipped manifest.
const NAMESPACE: &str = "ssa-attack";
/// A namespace that the job has nothing to do with.
const OTHER: &str = "ssa-attack-other";
const RUNTIME_CLASS: &str = "ssa-attack";
/// Longest wait for a job's first work.
const START: Duration = Duration::from_secs(300);

/// One scene at a time: there is one namespace, and one policy.
static ONE: Mutex<()> = Mutex::new(());

/// What is in force in the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Pod Security `restricted` and the isolation policy, as shipped.
    Shipped,
    /// The policy alone.
    Bare,
    /// Neither. Writes are dry runs: authorization and admission decide on them as on real ones.
    Hole,
}

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub enum Table {
    /// Everything with the rights of a job.
    Everything,
    /// With a role that is wider than the shipped one.
    Wide,
    /// Through Spark's own settings.
    Smuggle,
    /// From inside an executor.
    Executor,
}

/// One attempt, as the attacker's program reports it.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    pub name: String,
    /// Who has to refuse it (`Attempt` in api.py).
    pub stop: String,
    pub request: String,
    pub status: u16,
    /// Who did.
    pub by: String,
    pub message: String,
}

impl Row {
    /// Whether whoever has to refuse it did.
    pub fn is_expected(&self, mode: Mode) -> bool {
        let by = match (self.stop.as_str(), mode) {
            ("policy" | "level", Mode::Hole) => "nobody",
            ("level", Mode::Bare) => "policy",
            (stop, _) => stop,
        };
        // An executor that the network does not let through has not even an answer.
        self.by == by || (self.stop == "anonymous" && self.by == "network")
    }
}

/// Every attempt with its refusal, and all that were not refused as they have to be.
pub fn assert_expected(mode: Mode, rows: &[Row]) {
    println!("\n{:8} {:8} {:>4}  attempt; request; message ({mode:?})", "expected", "by", "");
    for row in rows {
        let mark = if row.is_expected(mode) { ' ' } else { '!' };
        let message: String = row.message.chars().take(220).collect();
        println!(
            "{mark}{:8} {:8} {:>4}  {}; {}; {message}",
            row.stop, row.by, row.status, row.name, row.request
        );
    }
    let refused = rows.iter().filter(|row| row.by != "nobody").count();
    println!("{} attempts, {refused} refused ({mode:?})\n", rows.len());
    let wrong: Vec<String> = rows
        .iter()
        .filter(|row| !row.is_expected(mode))
        .map(|row| {
            format!("{} (expected {}, was {} {}): {}", row.name, row.stop, row.by, row.status, row.message)
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} attempts ({mode:?}):\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Bob's running job and things of his, in a namespace where alice may run jobs too.
pub struct Scene {
    bob: Running,
    bob_job: String,
    bob_pod: String,
    flag: PathBuf,
    /// What his driver says of itself.
    about: Value,
    alice: Workshop,
    _bobs: Workshop,
    _lock: MutexGuard<'static, ()>,
}

impl Scene {
    pub fn new() -> Self {
        let lock = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        remove();
        Exception::none();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/kubernetes/team-namespace.yaml");
        let manifest = fs::read_to_string(source).expect("manifest");
        apply(&manifest.replace("team-a", NAMESPACE).replace("k8sNS", "attackNS"));
        // One file, one start of kubectl.
        let things: Vec<String> = things().iter().map(Value::to_string).collect();
        apply(&things.join("\n---\n"));

        let bobs = Workshop::new("bob");
        let flag = bobs.file("flag", "");
        let bob = start(&mut run("bob", &bobs.path("bob.py"), &[flag.to_str().expect("path")]));
        // From here on its drop ends bob's job.
        let [bob_job, bob_pod] = [const { String::new() }; 2];
        let (about, alice) = (Value::Null, Workshop::new("alice"));
        let mut scene = Self { bob, bob_job, bob_pod, flag, about, alice, _bobs: bobs, _lock: lock };
        scene.bob_job = scene.bob.job().0;
        let about = PathBuf::from(format!("{}.about", scene.flag.display()));
        let begin = Instant::now();
        while !about.exists() {
            assert!(begin.elapsed() < START, "bob's executor never worked");
            std::thread::sleep(Duration::from_millis(100));
        }
        scene.about = serde_json::from_slice(&fs::read(about).expect("about")).expect("JSON");
        let selector = format!("spark-submit-as/job={}", scene.bob_job);
        let name = "jsonpath={.items[0].metadata.name}";
        scene.bob_pod = kubectl(&["get", "pods", "-n", NAMESPACE, "-l", &selector, "-o", name]);
        apply(&scene.idle_pod().to_string());
        let ready = ["wait", "--for=condition=Ready", "--timeout=60s", "-n", NAMESPACE];
        kubectl(&[&ready[..], &["pod/bobs-idle-pod", "pod/team-service"]].concat());
        scene
    }

    /// Another pod of bob's job's, that his driver knows nothing of.
    fn idle_pod(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "bobs-idle-pod", "namespace": NAMESPACE, "labels": {"spark-submit-as/job": self.bob_job}},
            "spec": idle_spec(),
        })
    }

    /// A job of alice's that tries a table of attempts; what became of each.
    pub fn attack(&self, mode: Mode, table: Table) -> Vec<Row> {
        let scene = self.alice.file("scene.json", &self.knowledge(mode).to_string());
        let (program, word) = match table {
            Table::Everything => ("driver.py", "everything"),
            Table::Wide => ("driver.py", "wide"),
            Table::Smuggle => ("smuggle.py", ""),
            Table::Executor => ("executor.py", ""),
        };
        let logging = self.alice.file("log4j2.properties", &logging(&self.alice.path("spark.log")));
        let arguments = [scene.to_str().expect("path"), word];
        let log = format!("spark.driver.extraJavaOptions=-Dlog4j2.configurationFile={}", logging.display());
        let mut running =
            start(&mut run_with("alice", &["--conf", &log], &self.alice.path(program), &arguments));
        let (job, _) = running.job();
        let _wide = matches!(table, Table::Wide).then(|| Wide::new(&job));
        // The wrapper may mend what it owns when a job starts, so these come after it. The program waits for them.
        let level = if mode == Mode::Shipped { "restricted" } else { "privileged" };
        let level = format!("pod-security.kubernetes.io/enforce={level}");
        kubectl(&["label", "namespace", NAMESPACE, "--overwrite", &level]);
        let audiences = "spark-submit-as/token-audiences=listed.example.org,https://kubernetes.default.svc";
        let images = format!("spark-submit-as/images={},example.org/team/*", bed("SSA_BED_IMAGE"));
        kubectl(&["annotate", "namespace", NAMESPACE, "--overwrite", &images, audiences]);
        let _excepted = (mode == Mode::Hole).then(Exception::new);
        let ended = running.end();
        assert_eq!(ended.code(), 0, "{}\n{}", ended.stdout, ended.stderr);
        let lines = ended.stdout.lines().filter_map(|line| line.strip_prefix("ATTEMPT "));
        let rows: Vec<Row> = lines.map(|line| serde_json::from_str(line).expect("a row")).collect();
        assert!(
            ended.stdout.contains(&format!("DONE {}", rows.len())),
            "it did not try everything: {ended:?}"
        );
        assert_eq!(objects_of(&job), Vec::<String>::new());
        rows
    }

    /// What alice knows: she can list pods, and guess names.
    fn knowledge(&self, mode: Mode) -> Value {
        let uid = |what: &str| kubectl(&["get", what, "-n", NAMESPACE, "-o", "jsonpath={.metadata.uid}"]);
        let pod: Value =
            serde_json::from_str(&kubectl(&["get", "pod", &self.bob_pod, "-n", NAMESPACE, "-o", "json"]))
                .expect("JSON");
        let run = bed("SSA_BED_RUN");
        let driver = processes_with(&format!("SPARK_SUBMIT_AS_JOB={}", self.bob_job))[0];
        json!({
            "namespace": NAMESPACE, "other_namespace": OTHER, "image": bed("SSA_BED_IMAGE"),
            "runtime_class": RUNTIME_CLASS, "node": pod["spec"]["nodeName"],
            "mode": match mode { Mode::Shipped => "shipped", Mode::Bare => "bare", Mode::Hole => "hole" },
            "isolated": kubectl_try(&["get", "networkpolicy", "ssa-isolated", "-n", NAMESPACE]).status.success(),
            "server": bed("BENCH_SERVER"), "driver_host": bed("BENCH_DRIVER_HOST"),
            "log": self.alice.path("spark.log"),
            "bob": {
                "job": self.bob_job, "job_account_uid": uid(&format!("serviceaccount/ssa-job-{}", self.bob_job)),
                "pod": self.bob_pod, "pod_uid": pod["metadata"]["uid"], "pod_ip": pod["status"]["podIP"],
                "idle_pod": "bobs-idle-pod", "ui": self.about["ui"], "port": self.about["port"],
                "account": "bobs-account", "account_uid": uid("serviceaccount/bobs-account"),
                "secret": "bobs-secret", "secret_value": "only-for-bob",
                "configmap": "bobs-configmap", "claim": "ssa-volume-bob",
            },
            "files": {
                "the kubeconfig of bob's job": format!("{run}/{}/kubeconfig", self.bob_job),
                "the RPC secret of bob's job": format!("{run}/{}/auth-secret", self.bob_job),
                "the provisioner's kubeconfig":
                    Path::new(&bed("SSA_BED_CONFIG")).with_file_name("main.kubeconfig"),
                "the environment of bob's driver": format!("/proc/{driver}/environ"),
                "the memory of bob's driver": format!("/proc/{driver}/mem"),
                "the descriptors of bob's driver": format!("/proc/{driver}/fd/0"),
            },
        })
    }

    /// Everything in the namespace that is not alice's: what it is and whose.
    pub fn state(&self) -> Vec<String> {
        let kinds =
            "pods,secrets,configmaps,serviceaccounts,persistentvolumeclaims,services,roles,rolebindings";
        let text = kubectl(&["get", kinds, "-n", NAMESPACE, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let mut lines: Vec<String> = list["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| {
                let metadata = &item["metadata"];
                // The status of a pod or a claim goes on by itself; what it was asked to be does not.
                format!(
                    "{} {} {} labels {} owners {} finalizers {} deleted {} content {}{}{}",
                    item["kind"],
                    metadata["name"],
                    metadata["uid"],
                    metadata["labels"],
                    metadata["ownerReferences"],
                    metadata["finalizers"],
                    metadata["deletionTimestamp"],
                    item["data"],
                    item["spec"],
                    item["rules"],
                )
            })
            .collect();
        lines.sort();
        lines
    }

    fn take_bob(&mut self) -> Running {
        std::mem::replace(&mut self.bob, start(Command::new("true").stdin(Stdio::null())))
    }

    /// Bob's job goes on to its end on the executor that it had, and succeeds.
    pub fn bob_ends_well(mut self) {
        let pod = kubectl(&[
            "get",
            "pod",
            &self.bob_pod,
            "-n",
            NAMESPACE,
            "-o",
            "jsonpath={.status.phase}{.metadata.deletionTimestamp}",
        ]);
        assert_eq!(pod, "Running");
        fs::remove_file(&self.flag).expect("flag");
        let ended = self.take_bob().end();
        assert_eq!(ended.code(), 0, "{ended:?}");
        assert!(ended.stdout.contains("first 4950\n") && ended.stdout.contains("last 4950\n"), "{ended:?}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if let Ok(None) = self.bob.child.try_wait() {
            let pods = kubectl_try(&["get", "pods,events", "-n", NAMESPACE, "-o", "wide"]).stdout;
            let _ = Command::new("kill").arg(self.bob.child.id().to_string()).status();
            println!("bob's job did not end by itself: {:?}\n{pods}", self.take_bob().end());
        }
        remove();
    }
}

/// A call of `run` by the platform.
fn run(login: &str, program: &Path, arguments: &[&str]) -> Command {
    run_with(login, &[], program, arguments)
}

fn run_with(login: &str, options: &[&str], program: &Path, arguments: &[&str]) -> Command {
    let mut words = vec!["run", "--user", login, "--profile", "attack", "--"];
    words.extend(options);
    words.push(program.to_str().expect("path"));
    words.extend(arguments);
    as_platform(&words)
}
