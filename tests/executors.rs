//! Executors that do not run, or fail: what the user is told, on a real cluster. A job's executors are looked at with the
//! job's own token. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use support::proxy::{Options, Proxied};
use support::*;

/// A job that needs an executor.
const COUNT: &str = "from pyspark.sql import SparkSession\n\
    spark = SparkSession.builder.getOrCreate()\n\
    print('sum', spark.sparkContext.parallelize(range(10), 2).sum())\n\
    spark.stop()\n";

/// An installation's configuration with namespaces of the test's own.
struct Place {
    directory: tempfile::TempDir,
    config: PathBuf,
    namespace: String,
}

impl Place {
    /// `executors` is the profile's key; `change` changes the rest of the profile.
    fn new(name: &str, executors: Value, change: impl FnOnce(&mut Value)) -> Self {
        let directory = trusted_directory();
        let prefix = format!("ssa-watch-{name}-{}", std::process::id());
        let mut configuration = configuration();
        configuration["callers"] = json!(["dssuser", "root"]);
        configuration["timeouts"] = json!({"grace": "10s"});
        let profile = &mut configuration["profiles"]["per-user"];
        profile["namespace"]["template"] = json!(format!("{prefix}-${{user}}"));
        // A job that does nothing: the namespace is made by it.
        let script = script_spark(directory.path(), "exit 0");
        let spark = std::mem::replace(&mut profile["spark_home"], json!(script.to_str().unwrap()));
        let config = write_configuration(directory.path(), &configuration);
        let place = Self { directory, config, namespace: format!("{prefix}-alice") };
        assert_eq!(ended(&mut place.run(&["x.py"])).code(), 0);
        let profile = &mut configuration["profiles"]["per-user"];
        profile["spark_home"] = spark;
        profile["executors"] = executors;
        change(profile);
        write_configuration(place.directory.path(), &configuration);
        place
    }

    /// A call of root's.
    fn call(&self, words: &[&str]) -> Command {
        as_root(&[&["--config", self.config.to_str().unwrap()], words].concat())
    }

    /// A job of alice's.
    fn run(&self, words: &[&str]) -> Command {
        self.call(&[&["run", "--user", "alice", "--profile", "per-user", "--"], words].concat())
    }

    /// What is on record.
    fn record(&self, job: &str) -> Value {
        let status = ended(&mut self.call(&["status", "--json", job]));
        serde_json::from_str::<Value>(&status.stdout).unwrap_or_else(|_| panic!("{status:?}"))[0].clone()
    }

    fn quota(&self, hard: &Value) {
        let metadata = json!({"name": "tight", "namespace": self.namespace});
        let spec = json!({"hard": hard});
        apply(
            &json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec})
                .to_string(),
        );
        until("the quota is enforced", || {
            let path = "jsonpath={.status.hard}";
            !kubectl(&["get", "resourcequota", "tight", "-n", &self.namespace, "-o", path]).is_empty()
        });
    }

    /// Requests that the wrapper made with the job's token: verb and address.
    fn requests(&self, job: &str, offset: u64) -> Vec<String> {
        let account = format!("system:serviceaccount:{}:ssa-job-{job}", self.namespace);
        audit_since(offset)
            .into_iter()
            .filter(|line| line["user"]["username"] == account.as_str())
            .filter(|line| {
                line["userAgent"].as_str().is_some_and(|agent| agent.starts_with("spark-submit-as"))
            })
            .filter(|line| line["stage"] != "ResponseStarted")
            .map(|line| {
                format!("{} {}", line["verb"].as_str().unwrap(), line["requestURI"].as_str().unwrap())
            })
            .collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = kubectl_try(&["delete", "namespace", "--ignore-not-found", "--wait=false", &self.namespace]);
    }
}

/// What was told about executors, on standard error.
fn told(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.starts_with("spark-submit-as: warning: ")).collect()
}

/// What is on record of it.
fn on_record(record: &Value) -> String {
    let lines = record["executors"].as_array().unwrap_or_else(|| panic!("{record}"));
    lines.iter().map(|line| line.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_over_its_quota_is_told_which_and_how_much_is_used_and_is_ended() {
    let place = Place::new("quota", json!({"warn_after": "5s", "end_after": "12s"}), |_| {});
    place.quota(&json!({"requests.cpu": "50m"}));
    let job = private_file("alice", "count.py", COUNT);
    let ended = ended(&mut place.run(&[job.0.to_str().unwrap()]));
    assert_eq!(ended.code(), 231, "{ended:?}");
    let words = ["exceeded quota: tight", "requested: requests.cpu=100m", "used: requests.cpu=0"];
    let warned = told(&ended.stderr).join("\n");
    let error = ended.stderr.lines().find(|line| line.contains("error: ")).unwrap();
    let record = place.record(&ended.job());
    for word in words.into_iter().chain(["limited: requests.cpu=50m", "have the quota raised"]) {
        assert!(warned.contains(word), "no {word:?} in {warned}");
        assert!(error.contains(word), "no {word:?} in {error}");
        assert!(on_record(&record).contains(word), "no {word:?} in {record}");
    }
    assert!(error.contains("within 12s (profile key executors.end_after)"), "{error}");
    assert_eq!(record["exit"]["refused"]["name"], "no-executors", "{record}");
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_that_is_told_of_its_quota_runs_when_the_quota_is_raised() {
    let place = Place::new("raised", json!({"warn_after": "5s"}), |_| {});
    place.quota(&json!({"requests.memory": "100Mi"}));
    let job = private_file("alice", "count.py", COUNT);
    let mut running = start(&mut place.run(&[job.0.to_str().unwrap()]));
    let line = running.line("no executor of the job runs");
    // Executor memory 512 MiB and the least overhead, as Spark counts.
    assert!(line.contains("requested: requests.memory=896Mi"), "{line}");
    kubectl(&["delete", "resourcequota", "tight", "-n", &place.namespace]);
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stdout.contains("sum 45"), "{ended:?}");
    let quota = told(&ended.stderr).into_iter().filter(|line| line.contains("quota")).count();
    assert_eq!(quota, 1, "told once: {ended:?}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_pod_that_pod_security_refuses_is_explained() {
    let place = Place::new("security", json!({"warn_after": "4s", "end_after": "6s"}), |_| {});
    let job = private_file("alice", "count.py", COUNT);
    let ended = ended(&mut place.run(&[
        "--conf",
        "spark.kubernetes.executor.volumes.hostPath.etc.mount.path=/host",
        "--conf",
        "spark.kubernetes.executor.volumes.hostPath.etc.options.path=/etc",
        job.0.to_str().unwrap(),
    ]));
    assert_eq!(ended.code(), 231, "{ended:?}");
    for word in ["violates PodSecurity", "hostPath", "leave out the volume or setting that it names"] {
        assert!(ended.stderr.contains(word), "no {word:?} in {ended:?}");
        assert!(on_record(&place.record(&ended.job())).contains(word));
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn an_image_that_cannot_be_pulled_is_explained() {
    let place = Place::new("image", json!({"warn_after": "15s", "end_after": "25s"}), |_| {});
    let job = private_file("alice", "count.py", COUNT);
    let ended = ended(&mut place.run(&[
        "--conf",
        "spark.kubernetes.container.image=localhost/not-there:1",
        job.0.to_str().unwrap(),
    ]));
    assert_eq!(ended.code(), 231, "{ended:?}");
    for word in ["1 executor pod waits", "localhost/not-there:1", "look at spark.kubernetes.container.image"]
    {
        assert!(ended.stderr.contains(word), "no {word:?} in {ended:?}");
        assert!(on_record(&place.record(&ended.job())).contains(word));
    }
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_pod_that_no_node_takes_is_explained() {
    let place = Place::new("unschedulable", json!({"warn_after": "15s"}), |_| {});
    let job = private_file("alice", "count.py", COUNT);
    let mut running = start(&mut place.run(&[
        "--conf",
        "spark.kubernetes.executor.request.cores=1000",
        job.0.to_str().unwrap(),
    ]));
    let line = running.line("1 executor pod waits");
    assert!(line.contains("Insufficient cpu") && line.contains("ask for less"), "{line}");
    // Told once, and asked ever more seldom: the job goes on until somebody ends it.
    let status = Command::new("kill").arg(running.child.id().to_string()).status().unwrap();
    assert!(status.success());
    let ended = running.end();
    assert_ne!(ended.status.code(), Some(231), "{ended:?}");
    assert_eq!(told(&ended.stderr).len(), 1, "{ended:?}");
    assert!(on_record(&place.record(&ended.job())).contains("Insufficient cpu"));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_whose_executor_runs_is_told_nothing_and_asked_about_once() {
    let place = Place::new("runs", json!({"warn_after": "45s", "end_after": "46s"}), |_| {});
    let flag = private_file("alice", "flag", "");
    let script = format!(
        "import os, time\nfrom pyspark.sql import SparkSession\nspark = SparkSession.builder.getOrCreate()\n\
         print('sum', spark.sparkContext.parallelize(range(10), 2).sum(), flush=True)\n\
         while os.path.exists('{}'): time.sleep(0.2)\nspark.stop()\n",
        flag.0.display()
    );
    let job = private_file("alice", "stay.py", &script);
    let audit = audit_length();
    let mut running = start(&mut place.run(&[job.0.to_str().unwrap()]));
    let (id, _) = running.job();
    until("the wrapper looks", || place.requests(&id, audit).iter().any(|line| line.starts_with("list ")));
    // On a slow host the executor may just have begun, and is looked at again when it has settled.
    std::thread::sleep(Duration::from_secs(15));
    let looks = place.requests(&id, audit).len();
    // One that found none would be repeated after as long again.
    std::thread::sleep(Duration::from_secs(45));
    let provisioner = |line: &Value| {
        line["user"]["username"] == "system:serviceaccount:spark-submit-as:provisioner"
            && line["requestURI"].as_str().is_some_and(|uri| uri.contains(&place.namespace))
    };
    let before = audit_since(audit).into_iter().filter(provisioner).count();
    let requests = place.requests(&id, audit);
    std::fs::remove_file(&flag.0).unwrap();
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert_eq!(told(&ended.stderr), Vec::<&str>::new(), "{ended:?}");
    assert_eq!(on_record(&place.record(&id)), "");
    println!("{requests:#?}, {before} of the provisioner's own");
    let lists: Vec<&String> = requests.iter().filter(|line| line.starts_with("list ")).collect();
    assert!(requests.len() == looks && lists.len() <= 2, "{requests:#?}");
    assert!(lists.iter().all(|line| line.contains("status.phase%3DRunning")), "{lists:?}");
    assert!(
        requests.iter().all(|line| line.starts_with("list ") || line.starts_with("watch ")),
        "{requests:#?}"
    );
    // Before the job: its account, role binding, secret and token, and looks at namespace and executors' account.
    assert!(before <= 6, "{before}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_that_asks_for_no_executor_is_told_nothing_and_never_ended() {
    let place = Place::new("plain", json!({"warn_after": "1s", "end_after": "2s"}), |_| {});
    let job = private_file(
        "alice",
        "plain.py",
        "import time\ntime.sleep(20)\nprint('plain')\nraise SystemExit(7)\n",
    );
    let audit = audit_length();
    let ended = ended(&mut place.run(&[job.0.to_str().unwrap()]));
    assert_eq!(ended.code(), 7, "{ended:?}");
    assert_eq!(told(&ended.stderr), Vec::<&str>::new(), "{ended:?}");
    assert_eq!(on_record(&place.record(&ended.job())), "");
    let tries = place.requests(&ended.job(), audit).iter().filter(|line| line.contains("dryRun=All")).count();
    // 1, 2, 4, 8, 16 s and so on: it was looked at, and ever more seldom.
    assert!((2..=8).contains(&tries), "{tries}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn an_executor_that_fails_leaves_its_last_lines_without_the_token() {
    let place = Place::new("fails", json!({}), |_| {});
    let script = "import os, json\nfrom pyspark.sql import SparkSession\n\
        token = json.load(open(os.environ['KUBECONFIG']))['users'][0]['user']['token']\n\
        spark = SparkSession.builder.getOrCreate()\n\
        def fail(_):\n\
        \x20   with open('/proc/1/fd/2', 'w') as log:\n\
        \x20       log.write('the last words\\nBearer ' + token + '\\nalone ' + token + '\\npassword=hunter2\\n')\n\
        \x20       log.write('secret ' + os.environ.get('_SPARK_AUTH_SECRET', 'none') + '\\n\\x1b[31mred\\n')\n\
        \x20   for pid in os.listdir('/proc'):\n\
        \x20       try:\n\
        \x20           if open('/proc/' + pid + '/comm').read().strip() == 'java': os.kill(int(pid), 9)\n\
        \x20       except OSError: pass\n\
        \x20   import time; time.sleep(30)\n\
        spark.sparkContext.parallelize([0], 1).foreach(fail)\n";
    let job = private_file("alice", "fails.py", script);
    let ended = ended(&mut place.run(&["--conf", "spark.task.maxFailures=1", job.0.to_str().unwrap()]));
    assert_eq!(ended.code(), 1, "{ended:?}");
    let ours: Vec<&str> =
        ended.stderr.lines().filter(|line| line.starts_with("spark-submit-as: warning: ")).collect();
    let ours = ours.join("\n");
    let record = on_record(&place.record(&ended.job()));
    println!("{ours}");
    for text in [&ours, &record] {
        assert!(text.contains("1 executor failed: "), "{text}");
        assert!(text.contains("executor's log: the last words"), "{text}");
        assert!(text.contains("executor's log: Bearer [token]"), "{text}");
        assert!(text.contains("executor's log: alone [token]"), "{text}");
        assert!(text.contains("\\u{1b}[31mred"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("eyJ"), "{text}");
    }
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn an_executor_that_needs_too_much_memory_is_explained() {
    let place = Place::new("memory", json!({}), |_| {});
    let job = private_file("alice", "count.py", COUNT);
    let ended = ended(&mut place.run(&[
        "--conf",
        "spark.executor.memoryOverhead=1m",
        "--conf",
        "spark.executor.extraJavaOptions=-XX:+AlwaysPreTouch",
        "--conf",
        "spark.executor.maxNumFailures=1",
        job.0.to_str().unwrap(),
    ]));
    assert_ne!(ended.code(), 0, "{ended:?}");
    for word in ["OOMKilled", "raise spark.executor.memoryOverhead"] {
        assert!(told(&ended.stderr).join("\n").contains(word), "no {word:?} in {ended:?}");
        assert!(on_record(&place.record(&ended.job())).contains(word));
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn executors_that_do_not_reach_their_driver_are_explained() {
    let place = Place::new("driver", json!({"warn_after": "15s", "end_after": "30s"}), |profile| {
        // From a pod that is the pod itself.
        profile["spark"]["driver_host"] = json!("127.0.0.1");
    });
    let job = private_file("alice", "count.py", COUNT);
    let ended = ended(&mut place.run(&[job.0.to_str().unwrap()]));
    // Newer releases give up by themselves after some executors.
    assert_ne!(ended.code(), 0, "{ended:?}");
    let word = "executors do not reach the driver";
    println!("{}", told(&ended.stderr).join("\n"));
    assert!(told(&ended.stderr).join("\n").contains(word), "{ended:?}");
    assert!(on_record(&place.record(&ended.job())).contains(word));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_that_lost_its_rights_or_its_token_is_told_so() {
    let place = Place::new("rights", json!({"warn_after": "5s"}), |_| {});
    let words = ["run", "--user", "alice", "--profile", "per-user", "--", "x.py"];
    let mut configuration: Value = serde_json::from_slice(&std::fs::read(&place.config).unwrap()).unwrap();
    let script = script_spark(place.directory.path(), "exec sleep 60");
    configuration["profiles"]["per-user"]["spark_home"] = json!(script.to_str().unwrap());
    write_configuration(place.directory.path(), &configuration);
    let mut running = start(&mut place.call(&words));
    let (id, _) = running.job();
    kubectl(&["delete", "rolebinding", "-n", &place.namespace, &format!("ssa-job-{id}")]);
    let line = running.line("the job's account lacks a right");
    assert!(line.contains("cannot list resource") && line.contains("driver-role.yaml"), "{line}");
    kubectl(&["delete", "serviceaccount", "-n", &place.namespace, &format!("ssa-job-{id}")]);
    let line = running.line("does not accept the job's token");
    assert!(line.contains("renewed by itself"), "{line}");
    assert!(Command::new("kill").arg(running.child.id().to_string()).status().unwrap().success());
    running.end();
}

#[test]
#[ignore = "needs the test bed: make test"]
fn an_api_server_that_hangs_while_it_is_asked_changes_nothing() {
    let place = Proxied::new(Options::scripted("watch", "sleep 8; exit 42"));
    let mut configuration: Value = serde_json::from_slice(&std::fs::read(&place.config).unwrap()).unwrap();
    configuration["profiles"]["per-user"]["executors"] = json!({"warn_after": "1s", "end_after": "2s"});
    std::fs::write(&place.config, configuration.to_string()).unwrap();
    place.proxy.rule(json!({"method": "GET", "path": "/pods", "fault": "hang", "always": true}));
    let ended = ended(&mut place.job());
    assert_eq!(ended.code(), 42, "{ended:?}");
    assert_eq!(told(&ended.stderr), Vec::<&str>::new(), "{ended:?}");
    let asked = place.proxy.log(0).into_iter().filter(|request| request.fault == "hang").count();
    assert!(asked >= 2, "{asked}");
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_provisioner_may_read_no_pods_logs_events_or_secrets() {
    let provisioner = "--as=system:serviceaccount:spark-submit-as:provisioner";
    for resource in ["pods", "pods/log", "pods/status", "events", "events.events.k8s.io", "secrets"] {
        for verb in ["get", "list", "watch"] {
            for place in ["--all-namespaces", "--namespace=team-a", "--namespace=kube-system"] {
                let may = kubectl_try(&["auth", "can-i", verb, resource, provisioner, place]);
                assert_eq!(may.stdout.trim(), "no", "{verb} {resource} {place}: {may:?}");
            }
        }
    }
    // It can tell: the same question about what it may do.
    let may = kubectl_try(&["auth", "can-i", "deletecollection", "pods", provisioner, "--namespace=team-a"]);
    assert_eq!(may.stdout.trim(), "yes", "{may:?}");
}
