//! A job from sudo to executor pods and back: what it is while it runs, and that nothing of it is left.
//! Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::*;

/// A job that says who it is on executors, then waits for a file to go.
const WAITING_JOB: &str = r#"
import os, sys, time
from pyspark.sql import SparkSession
spark = SparkSession.builder.appName("waiting").getOrCreate()
print("sum", spark.sparkContext.parallelize(range(100), 4).sum(), flush=True)
deadline = time.time() + 100
while os.path.exists(sys.argv[1]) and time.time() < deadline:
    time.sleep(0.1)
spark.stop()
"#;

fn run_as_alice(job: &Path, arguments: &[&str]) -> std::process::Command {
    let job = job.to_str().unwrap();
    let mut words = vec!["run", "--user", "alice", "--profile", "per-user", "--stage", job, "--", job];
    words.extend(arguments);
    as_platform(&words)
}

fn token_of(job: &str) -> (Value, String) {
    let text =
        fs::read_to_string(Path::new(&bed("SSA_BED_RUN")).join(job).join("kubeconfig")).expect("kubeconfig");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let token = value["users"][0]["user"]["token"].as_str().expect("token").to_owned();
    (value, token)
}

#[test]
#[ignore = "needs the test bed: make test"]
fn acceptance_0_2_3_a_job_of_the_platforms_private_file_runs_as_alice_and_nothing_is_left() {
    let flag = private_file("alice", "flag", "");
    let job = private_file("dssuser", "job.py", WAITING_JOB);
    let mut running = start(&mut run_as_alice(&job.0, &[flag.0.to_str().unwrap()]));
    let (id, driver) = running.job();
    let supervisor = parent(driver);
    let provisioner = children(supervisor)
        .into_iter()
        .find(|pid| *pid != driver)
        .expect("the provisioner is the other child");
    let pod = format!("spark-submit-as/job={id}");
    until("an executor runs", || {
        kubectl(&["get", "pods", "-n", "dss-ns-alice", "-l", &pod, "-o", "jsonpath={.items[*].status.phase}"])
            == "Running"
    });

    // The three processes.
    let (alice, alice_group) = ids("alice");
    let (own, own_group) = ids("ssa-provisioner");
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
    assert_eq!(status_field(supervisor, "Uid"), four(0));
    assert_eq!(status_field(supervisor, "Threads"), "1");
    assert_eq!(status_field(provisioner, "Uid"), four(own));
    assert_eq!(status_field(provisioner, "Gid"), four(own_group));
    assert_eq!(status_field(driver, "Uid"), four(alice));
    assert_eq!(status_field(driver, "Gid"), four(alice_group));
    let groups =
        String::from_utf8(std::process::Command::new("id").args(["-G", "alice"]).output().unwrap().stdout);
    let sorted = |text: &str| {
        let mut all: Vec<u32> = text.split_whitespace().map(|gid| gid.parse().unwrap()).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(sorted(&status_field(driver, "Groups")), sorted(&groups.unwrap()));
    for pid in [provisioner, driver] {
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status_field(pid, set), "0000000000000000", "{set} of {pid}");
        }
        assert_eq!(status_field(pid, "NoNewPrivs"), "1");
    }

    // dssuser reads neither the provisioner's kubeconfig nor its memory; alice neither of both processes'.
    let kubeconfig = Path::new(&bed("SSA_BED_CONFIG")).with_file_name("main.kubeconfig");
    for account in ["dssuser", "alice"] {
        assert!(!shell_as(account, &format!("cat {}", kubeconfig.display())).status.success());
        for pid in [supervisor, provisioner] {
            for file in ["environ", "mem", "fd/4", "maps"] {
                let script = format!("head -c1 /proc/{pid}/{file}");
                assert!(!shell_as(account, &script).status.success(), "{account} reads {file} of {pid}");
            }
        }
    }

    // No descriptor of ours in the job: what it has beyond 0..2 it opened itself, below its own or Spark's paths.
    for entry in fs::read_dir(format!("/proc/{driver}/fd")).unwrap().flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        for ours in ["signalfd", "pidfd", "config.yaml", "main.kubeconfig", "dssuser"] {
            let standard = entry.file_name().to_string_lossy().parse::<u32>().unwrap() < 3;
            assert!(standard || !target.contains(ours), "{target}");
        }
    }

    // The kubeconfig: alice reads it, bob does not, and alice can neither replace nor remove it.
    let run_directory = Path::new(&bed("SSA_BED_RUN")).join(&id);
    let file = run_directory.join("kubeconfig");
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!((metadata.uid(), metadata.permissions().mode() & 0o7777), (alice, 0o400));
    assert_eq!(fs::metadata(&run_directory).unwrap().uid(), 0);
    assert!(shell_as("alice", &format!("cat {}", file.display())).status.success());
    assert!(!shell_as("bob", &format!("cat {}", file.display())).status.success());
    for attack in ["mv {} {}.old", "rm -f {}", "ln -sf /etc/passwd {}", "touch {}.new"] {
        let script = attack.replace("{}", file.to_str().unwrap());
        assert!(!shell_as("alice", &script).status.success(), "{script}");
    }

    let (_, token) = token_of(&id);
    assert_eq!(pods_with(&token, "dss-ns-alice"), "200");

    // The end.
    fs::remove_file(&flag.0).unwrap();
    let ended = running.end();
    let after = Instant::now();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stdout.contains("sum 4950"), "{ended:?}");
    let at_once = pods_with(&token, "dss-ns-alice");
    assert!(at_once == "403" || at_once == "401", "{at_once}");
    assert_nothing_left(&id);
    let mut last = at_once;
    while last != "401" && after.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(250));
        last = pods_with(&token, "dss-ns-alice");
        assert_ne!(last, "200");
    }
    assert_eq!(last, "401");
    // The authenticator's cache lives 10 s (measured 10.3 s); a second of slack for this test's own polling.
    println!("401 after {:.1} s", after.elapsed().as_secs_f64());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_jvm_job_runs() {
    let jar = format!("{}/spark-pi.jar", bed("SSA_BED_JARS"));
    let ended = ended(&mut as_platform(&[
        "run",
        "--user",
        "alice",
        "--profile",
        "per-user",
        "--",
        "--class",
        "SparkPi",
        &jar,
        "4",
    ]));
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stdout.to_lowercase().contains("pi is roughly 3."), "{ended:?}");
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn executors_run_under_an_account_without_rights_owned_by_the_job() {
    let flag = private_file("alice", "flag", "");
    let job = private_file("dssuser", "job.py", WAITING_JOB);
    let mut running = start(&mut run_as_alice(&job.0, &[flag.0.to_str().unwrap()]));
    let (id, _) = running.job();
    let selector = format!("spark-submit-as/job={id}");
    let mut pod = Value::Null;
    until("an executor runs", || {
        let text = kubectl(&["get", "pods", "-n", "dss-ns-alice", "-l", &selector, "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        pod = list["items"][0].clone();
        pod["status"]["phase"] == "Running"
    });
    assert_eq!(pod["spec"]["serviceAccountName"], "ssa-executor");
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], format!("ssa-job-{id}"));
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["securityContext"]["capabilities"]["drop"][0], "ALL");
    let text = pod["spec"].to_string();
    assert!(!text.contains("serviceaccount/token") && !text.contains("serviceAccountToken"), "{text}");
    // The RPC secret is a reference, not a value that everybody who may read pods would see.
    let env = container["env"].as_array().unwrap();
    let secret =
        env.iter().find(|variable| variable["name"] == "_SPARK_AUTH_SECRET").expect("the RPC secret");
    assert_eq!(secret["valueFrom"]["secretKeyRef"]["name"], format!("ssa-job-{id}"));
    assert!(secret.get("value").is_none());
    for verb in ["get", "list", "create", "delete"] {
        for resource in ["pods", "secrets", "configmaps", "serviceaccounts"] {
            let executor = "--as=system:serviceaccount:dss-ns-alice:ssa-executor";
            let answer = kubectl_try(&["auth", "can-i", verb, resource, "-n", "dss-ns-alice", executor]);
            assert_eq!(answer.stdout.trim(), "no", "{verb} {resource}");
        }
    }
    fs::remove_file(&flag.0).unwrap();
    assert_eq!(running.end().code(), 0);
    assert_nothing_left(&id);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn check_finds_the_test_bed_in_order() {
    let ended = ended(&mut as_root(&["check", "--profile", "per-user", "--user", "alice"]));
    assert_eq!(ended.code(), 0, "{ended:?}");
    for what in ["fence", "right to create serviceaccounts/token", "no right to * *", "sudo", "configuration"]
    {
        assert!(
            ended.stdout.lines().any(|line| line.starts_with("ok") && line.contains(what)),
            "{what}: {ended:?}"
        );
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_shuffles_between_two_executors() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbench/jobs/shuffle.py");
    let job = private_file("dssuser", "shuffle.py", &fs::read_to_string(source).unwrap());
    let path = job.0.to_str().unwrap();
    let ended = ended(&mut as_platform(&[
        "run",
        "--user",
        "bob",
        "--profile",
        "per-user",
        "--stage",
        path,
        "--",
        "--conf",
        "spark.executor.instances=2",
        path,
    ]));
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stdout.contains("executors 2"), "{ended:?}");
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_98_the_jobs_own_end_is_reported_exactly() {
    let directory = trusted_directory();
    for code in [0, 1, 2, 125, 126, 127, 130, 200, 255] {
        let ended = ended(&mut scripted(directory.path(), &format!("exit {code}")));
        assert_eq!(ended.code(), code, "{ended:?}");
        assert_nothing_left(&ended.job());
    }
    for signal in [libc::SIGSEGV, libc::SIGTERM, libc::SIGKILL] {
        let ended = ended(&mut scripted(directory.path(), &format!("kill -{signal} $$")));
        assert_eq!(ended.status.signal(), Some(signal), "{ended:?}");
        assert_nothing_left(&ended.job());
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_78_79_signals_are_relayed_and_a_deaf_job_is_killed() {
    let directory = trusted_directory();
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        let mut running = start(&mut scripted(directory.path(), "exec sleep 600"));
        running.job();
        let pid = running.child.id().to_string();
        assert!(
            std::process::Command::new("kill")
                .args([&format!("-{signal}"), &pid])
                .status()
                .unwrap()
                .success()
        );
        let ended = running.end();
        assert_eq!(ended.status.signal(), Some(signal), "{ended:?}");
        assert_nothing_left(&ended.job());
    }
    let mut configuration = configuration();
    configuration["callers"] = serde_json::json!(["root"]);
    configuration["timeouts"] = serde_json::json!({"grace": "1s"});
    configuration["profiles"]["per-user"]["spark_home"] = serde_json::json!(
        script_spark(directory.path(), "trap '' TERM; while :; do sleep 0.1; done").to_str().unwrap()
    );
    let path = write_configuration(directory.path(), &configuration);
    let mut running = start(&mut as_root(&[
        "--config",
        path.to_str().unwrap(),
        "run",
        "--user",
        "alice",
        "--profile",
        "per-user",
        "--",
        "job.py",
    ]));
    let (_, driver) = running.job();
    let ignores_term = |mask: &str| u64::from_str_radix(mask, 16).unwrap() & (1 << (libc::SIGTERM - 1)) != 0;
    until("the job ignores TERM", || ignores_term(&status_field(driver, "SigIgn")));
    std::process::Command::new("kill").arg(running.child.id().to_string()).status().unwrap();
    let ended = running.end();
    assert_eq!(ended.status.signal(), Some(libc::SIGKILL), "{ended:?}");
    assert!(ended.stderr.contains("timeouts.grace"), "{ended:?}");
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_80_processes_that_hid_are_ended() {
    let directory = trusted_directory();
    let script = "(setsid sh -c 'trap \"\" TERM HUP; exec sleep 601' >/dev/null 2>&1 &) ; \
                  setsid setsid sleep 602 >/dev/null 2>&1 & exit 3";
    let ended = ended(&mut scripted(directory.path(), script));
    assert_eq!(ended.code(), 3, "{ended:?}");
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_52_78_told_to_stop_while_the_cluster_does_not_answer() {
    // A server that takes connections and says nothing.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = trusted_directory();
    let path = Path::new(&bed("SSA_BED_CONFIG")).with_file_name("main.kubeconfig");
    let mut kubeconfig: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    kubeconfig["clusters"][0]["cluster"]["server"] =
        serde_json::json!(format!("https://{}", server.local_addr().unwrap()));
    let path = directory.path().join("kubeconfig");
    fs::write(&path, kubeconfig.to_string()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut configuration = configuration();
    configuration["callers"] = serde_json::json!(["root"]);
    configuration["clusters"]["main"]["kubeconfig"] = serde_json::json!(path.to_str().unwrap());
    configuration["timeouts"] =
        serde_json::json!({"connect": "2s", "request": "2s", "provision": "5s", "teardown": "2s"});
    configuration["profiles"]["per-user"]["spark_home"] =
        serde_json::json!(script_spark(directory.path(), "exit 0").to_str().unwrap());
    let config = write_configuration(directory.path(), &configuration);
    let words = [
        "--config",
        config.to_str().unwrap(),
        "run",
        "--user",
        "alice",
        "--profile",
        "per-user",
        "--",
        "x.py",
    ];

    let alone = ended(&mut as_root(&words));
    alone.refused(216, "cannot be reached");
    assert_nothing_left(&alone.job());

    let mut running = start(&mut as_root(&words));
    running.line("spark-submit-as: job ");
    server.accept().unwrap();
    let pid = running.child.id().to_string();
    std::process::Command::new("kill").arg(&pid).status().unwrap();
    let ended = running.end();
    // Nobody knows whether something was made, and so it is told.
    ended.refused(224, "stopped before the job began");
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_101_a_provisioner_that_died_is_replaced() {
    let directory = trusted_directory();
    let mut running = start(&mut scripted(directory.path(), "exec sleep 600"));
    let (id, driver) = running.job();
    let supervisor = parent(driver);
    let provisioner = children(supervisor).into_iter().find(|pid| *pid != driver).unwrap();
    std::process::Command::new("kill").args(["-9", &provisioner.to_string()]).status().unwrap();
    running.line("the provisioner has ended");
    assert!(Path::new(&format!("/proc/{driver}")).exists(), "the job goes on");
    std::process::Command::new("kill").arg(running.child.id().to_string()).status().unwrap();
    let ended = running.end();
    assert_eq!(ended.status.signal(), Some(libc::SIGTERM), "{ended:?}");
    assert_nothing_left(&id);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_81_a_killed_supervisor_leaves_no_job_and_nothing_in_the_cluster() {
    let directory = trusted_directory();
    let mut running = start(&mut scripted(directory.path(), "exec sleep 600"));
    let (id, driver) = running.job();
    let supervisor = parent(driver);
    let provisioner = children(supervisor).into_iter().find(|pid| *pid != driver).unwrap();
    std::process::Command::new("kill").args(["-9", &supervisor.to_string()]).status().unwrap();
    running.child.wait().unwrap();
    until("job and provisioner end", || {
        [driver, provisioner].iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
    });
    assert_eq!(objects_of(&id), Vec::<String>::new());
    // The run directory stays until there is a `reap` (SECURITY.md); its token is worth nothing by now.
    fs::remove_dir_all(Path::new(&bed("SSA_BED_RUN")).join(&id)).unwrap();
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_82_a_killed_sudo_ends_the_job() {
    let job = private_file("dssuser", "job.py", "import time\ntime.sleep(600)\n");
    let path = job.0.to_str().unwrap();
    let mut running = start(&mut as_platform(&[
        "run",
        "--user",
        "alice",
        "--profile",
        "per-user",
        "--stage",
        path,
        "--",
        path,
    ]));
    let (id, driver) = running.job();
    let supervisor = parent(driver);
    let sudo = parent(supervisor);
    assert!(fs::read_to_string(format!("/proc/{sudo}/comm")).unwrap().starts_with("sudo"));
    std::process::Command::new("kill").args(["-9", &sudo.to_string()]).status().unwrap();
    until("the supervisor ends", || !Path::new(&format!("/proc/{supervisor}")).exists());
    assert_nothing_left(&id);
    drop(running.child.wait());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_99_cron_no_terminal_empty_environment_closed_descriptors() {
    let job = private_file("dssuser", "job.py", "print('from cron')\n");
    let path = job.0.to_str().unwrap();
    let program = program();
    let script = format!(
        "cd /; exec env -i HOME=/ setsid sudo -n {} run --user alice --profile per-user --stage {path} -- {path} <&-",
        program.display()
    );
    let ended = shell_as("dssuser", &script);
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stdout.contains("from cron"), "{ended:?}");
    assert_nothing_left(&ended.job());
}
