//! The platform's files: `--stage` and `--request`. Root never opens them, and what only root can read stays unread.
//! Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use support::*;

fn stage(path: &str) -> Ended {
    ended(&mut as_platform(&["run", "--user", "alice", "--profile", "per-user", "--stage", path, "--", path]))
}

/// Nothing of a refused call was made.
fn refused_before_anything(ended: &Ended, message: &str) {
    ended.refused(211, message);
    assert!(!ended.stderr.contains("namespace"), "{ended:?}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn stage_takes_nothing_that_the_caller_cannot_read() {
    let private = private_file("alice", "private.py", "print('of alice')\n");
    refused_before_anything(&stage(private.0.to_str().unwrap()), "Permission denied");
    refused_before_anything(&stage("/etc/shadow"), "Permission denied");
    refused_before_anything(&stage("/nonexistent/job.py"), "No such file");
    refused_before_anything(&stage("/home"), "regular file");
    refused_before_anything(&stage("/dev/null"), "regular file");
    refused_before_anything(&stage("/proc/self/fd/0"), "");
    let fifo = private_file("dssuser", "fifo", "");
    let path = fifo.0.to_str().unwrap();
    shell_as("dssuser", &format!("rm {path} && mkfifo {path}"));
    refused_before_anything(&stage(path), "regular file");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn stage_refuses_links_also_while_they_are_swapped() {
    let good = private_file("dssuser", "good.py", "print('good')\n");
    let place = private_file("dssuser", "place.py", "");
    let path = place.0.to_str().unwrap().to_owned();
    shell_as("dssuser", &format!("ln -sf {} {path}", good.0.display()));
    refused_before_anything(&stage(&path), "symbolic link");

    // dssuser swaps the path between its own file and a link to a file of root's, as fast as it can.
    let script = format!(
        "import os, sys\nplace, good = {path:?}, {:?}\nnext = place + '.next'\n\
         print('ready', flush=True)\nwhile os.getppid() != 1:\n\
         \x20   os.symlink('/etc/shadow', next); os.rename(next, place)\n\
         \x20   os.link(good, next); os.rename(next, place)\n",
        good.0
    );
    let mut swapping = start(Command::new("sudo").args(["-u", "dssuser", "/usr/bin/python3", "-c", &script]));
    std::thread::sleep(Duration::from_millis(300));
    let directory = trusted_directory();
    let mut configuration = configuration();
    let out = "cat /var/lib/spark-submit-as-testbed/scratch/$SPARK_SUBMIT_AS_JOB/*";
    let out = out.replace("/var/lib/spark-submit-as-testbed", &bed("SSA_BED_STATE"));
    configuration["profiles"]["per-user"]["spark_home"] =
        json!(script_spark(directory.path(), &out).to_str().unwrap());
    configuration["callers"] = json!(["dssuser", "root"]);
    let config = write_configuration(directory.path(), &configuration);
    let dssuser = ids("dssuser").0.to_string();
    let mut taken = 0;
    for _ in 0..30 {
        // --config is for root itself; SUDO_UID makes the call dssuser's, so the configuration in force is used.
        let mut command = Command::new(program());
        command.args([
            "run",
            "--user",
            "alice",
            "--profile",
            "per-user",
            "--dry-run",
            "--stage",
            &path,
            "--",
            &path,
        ]);
        let dry = ended(command.env("SUDO_UID", &dssuser));
        assert_eq!(dry.code(), 0, "a dry run opens nothing: {dry:?}");
        let mut command = Command::new(program());
        command.args([
            "--config",
            config.to_str().unwrap(),
            "run",
            "--user",
            "alice",
            "--profile",
            "per-user",
        ]);
        command.args(["--stage", &path, "--", &path]).env_remove("SUDO_UID");
        // Root itself is the caller here, who could read shadow: even then no link is followed.
        let ended = ended(&mut command);
        assert!(!ended.stdout.contains("root:"), "{ended:?}");
        match ended.code() {
            0 => {
                assert!(ended.stdout.contains("good"), "{ended:?}");
                taken += 1;
            }
            211 => assert!(ended.stderr.contains("symbolic link"), "{ended:?}"),
            _ => panic!("{ended:?}"),
        }
    }
    let _ = swapping.child.kill();
    let _ = swapping.child.wait();
    shell_as("dssuser", &format!("rm -f {path}.next"));
    println!("taken whole {taken} times of 30, else refused");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn stage_is_bounded_in_count_and_bytes_and_names_are_distinct() {
    let directory = trusted_directory();
    let mut configuration = configuration();
    configuration["callers"] = json!(["root"]);
    configuration["staging"] = json!({"max_files": 2, "max_bytes": 100});
    let config = write_configuration(directory.path(), &configuration);
    let big = temporary_file("big", &"x".repeat(101));
    let [one, two, three] = ["a", "b", "c"].map(|name| temporary_file(name, "x"));
    let same = temporary_file("a", "y");
    let run = |files: &[&Path]| {
        let mut words =
            vec!["--config", config.to_str().unwrap(), "run", "--user", "alice", "--profile", "per-user"];
        for file in files {
            words.extend(["--stage", file.to_str().unwrap()]);
        }
        words.extend(["--", "x.py"]);
        ended(&mut as_root(&words))
    };
    refused_before_anything(&run(&[&big.path]), "staging.max_bytes");
    refused_before_anything(&run(&[&one.path, &two.path, &three.path]), "staging.max_files");
    refused_before_anything(&run(&[&one.path, &same.path]), "same name");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn staged_copies_are_the_users_own_and_paths_become_theirs() {
    let directory = trusted_directory();
    let script = "pwd; stat -c '%U %a %n' . *; cat \"${@: -2:1}\"; printf 'last %s\\n' \"${@: -1}\"; \
                  mkdir -p deep/er && chmod 0 deep";
    let mut command = scripted(directory.path(), script);
    let config = directory.path().join("config.yaml");
    drop(command);
    let job = temporary_file("job.py", "staged content\n");
    let path = job.path.to_str().unwrap();
    command = as_root(&[
        "--config",
        config.to_str().unwrap(),
        "run",
        "--user",
        "alice",
        "--profile",
        "per-user",
        "--stage",
        path,
        "--",
        path,
        "argument",
    ]);
    let ended = ended(&mut command);
    assert_eq!(ended.code(), 0, "{ended:?}");
    let scratch = format!("{}/scratch/{}", bed("SSA_BED_STATE"), ended.job());
    assert!(ended.stdout.starts_with(&scratch), "{ended:?}");
    assert!(ended.stdout.contains("alice 700 ."), "{ended:?}");
    assert!(ended.stdout.contains("alice 600 job.py"), "{ended:?}");
    assert!(ended.stdout.contains("staged content\nlast argument"), "{ended:?}");
    // A directory that its owner closed is removed all the same.
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_request_keeps_its_secret_off_every_command_line_and_log() {
    let secret = "hunter2-of-the-request";
    let job = private_file(
        "dssuser",
        "job.py",
        "import time\nfrom pyspark.sql import SparkSession\n\
         spark = SparkSession.builder.getOrCreate()\n\
         print('conf', spark.conf.get('spark.my.password') == 'hunter2' + '-of-the-request', flush=True)\n\
         time.sleep(3)\nspark.stop()\n",
    );
    let path = job.0.to_str().unwrap();
    let request = private_file(
        "dssuser",
        "request.json",
        &json!({
            "user": "alice", "profile": "per-user", "stage": [path], "arguments": [path],
            "conf": {"spark.my.password": secret},
        })
        .to_string(),
    );
    let began = journal_mark();
    let mut running = start(&mut as_platform(&["run", "--request", request.0.to_str().unwrap()]));
    let (id, _) = running.job();
    // As bob, until the job ends: no command line of any process holds the secret.
    let deadline = Instant::now() + PATIENCE;
    let look = format!("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c {}", &secret[..8]);
    let mut looks = 0;
    while running.child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        let found = shell_as("bob", &look);
        // bob's own grep is the only one that may name it: three processes (sudo, sh, grep) do.
        let lines: i32 = found.stdout.trim().parse().unwrap();
        assert!(lines <= 4, "{found:?}");
        looks += 1;
    }
    assert!(looks > 3);
    let properties = Path::new(&bed("SSA_BED_RUN")).join(&id).join("spark.properties");
    assert!(!properties.exists());
    let ended = running.end();
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stdout.contains("conf True"), "{ended:?}");
    assert!(!ended.stderr.contains(secret), "{ended:?}");
    assert!(!logged_since(began).contains(secret));
    assert_nothing_left(&id);
}

/// Sizes of the host's logs.
fn journal_mark() -> Vec<(String, u64)> {
    ["/var/log/auth.log", "/var/log/syslog", "/var/log/messages", "/var/log/sudo.log"]
        .iter()
        .map(|path| ((*path).to_owned(), fs::metadata(path).map_or(0, |data| data.len())))
        .collect()
}

fn logged_since(mark: Vec<(String, u64)>) -> String {
    mark.into_iter()
        .map(|(path, length)| {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(bytes.get(usize::try_from(length).unwrap()..).unwrap_or_default())
                .into_owned()
        })
        .collect()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_request_that_cannot_be_taken_is_refused() {
    let call = |content: &str| {
        let file = private_file("dssuser", "request.json", content);
        ended(&mut as_platform(&["run", "--request", file.0.to_str().unwrap()]))
    };
    refused_before_anything(&call("not json at all verysecret"), "not JSON");
    let unknown = call(r#"{"user": "alice", "verysecret": 1}"#);
    refused_before_anything(&unknown, "unknown");
    assert!(!unknown.stderr.contains("verysecret"));
    refused_before_anything(&call(&format!("{{\"user\": \"{}\"}}", "x".repeat(1 << 20))), "more than");
    refused_before_anything(
        &ended(&mut as_platform(&["run", "--request", "/etc/shadow"])),
        "Permission denied",
    );
    call(r#"{"profile": "per-user"}"#).refused(200, "no user");
    let conf = r#"{"user": "alice", "profile": "per-user", "arguments": ["x.py"], "conf": {"spark.master": "local"}}"#;
    call(conf).refused(209, "spark.master");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_46_no_token_is_told_anywhere() {
    let directory = trusted_directory();
    let script = "ps -eo args; env; sleep 1; echo done";
    let mut running = start(&mut scripted(directory.path(), script));
    let (id, driver) = running.job();
    let text = fs::read_to_string(Path::new(&bed("SSA_BED_RUN")).join(&id).join("kubeconfig")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let token = value["users"][0]["user"]["token"].as_str().unwrap().to_owned();
    let secret = fs::read_to_string(Path::new(&bed("SSA_BED_RUN")).join(&id).join("auth-secret")).unwrap();
    let supervisor = parent(driver);
    for pid in children(supervisor).into_iter().chain([supervisor]) {
        for file in ["cmdline", "environ"] {
            let text = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default())
                .into_owned();
            assert!(!text.contains(&token) && !text.contains(&secret), "{file} of {pid}");
        }
    }
    let ended = running.end();
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!text.contains(&token) && !text.contains(&secret));
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_44_45_what_the_user_keeps_of_the_credential_is_worthless() {
    // The user keeps the file open, links it elsewhere, and makes its own copy read-only: root never follows any of it.
    let directory = trusted_directory();
    let script = "exec 9< $KUBECONFIG; chmod 000 $KUBECONFIG 2>/dev/null; ln $KUBECONFIG ~/kept 2>/dev/null; \
                  ln -s /etc/passwd $KUBECONFIG.new 2>/dev/null; cat <&9";
    let before = fs::metadata("/etc/passwd").unwrap().modified().unwrap();
    let ended = ended(&mut scripted(directory.path(), script));
    assert_eq!(ended.code(), 0, "{ended:?}");
    let value: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let token = value["users"][0]["user"]["token"].as_str().unwrap().to_owned();
    assert_nothing_left(&ended.job());
    assert_eq!(fs::metadata("/etc/passwd").unwrap().modified().unwrap(), before);
    shell_as("alice", "rm -f ~/kept");
    let code = pods_with(&token, "dss-ns-alice");
    assert!(code == "403" || code == "401", "{code}");
}
