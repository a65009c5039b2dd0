//! Section C of the security checklist: what the job's process has, and what it has not. A shell script stands in for
//! Spark and writes down what it sees. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::json;
use support::*;

/// What a job saw.
const LOOK: &str = r#"
echo "[env]"; env
echo "[status]"; cat /proc/self/status
echo "[fds]"; ls -l /proc/$$/fd
echo "[cwd]"; pwd
echo "[umask]"; umask
echo "[limits]"; cat /proc/self/limits
echo "[stat]"; cat /proc/self/stat
echo "[keyring]"; cat /proc/keys
"#;

struct Seen(BTreeMap<String, Vec<String>>);

impl Seen {
    fn of(ended: &Ended) -> Self {
        assert_eq!(ended.code(), 0, "{ended:?}");
        let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut at = String::new();
        for line in ended.stdout.lines() {
            if line.starts_with('[') && line.ends_with(']') {
                at = line.to_owned();
            } else {
                seen.entry(at.clone()).or_default().push(line.to_owned());
            }
        }
        Self(seen)
    }

    fn part(&self, name: &str) -> &[String] {
        &self.0[&format!("[{name}]")]
    }

    fn status(&self, field: &str) -> String {
        let line =
            self.part("status").iter().find(|line| line.starts_with(&format!("{field}:"))).expect("field");
        line.split_once(':').expect("field").1.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn variable(&self, name: &str) -> Option<&str> {
        self.part("env").iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }
}

/// The command line of a scripted run, for a shell to start in its own way.
fn call(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| format!("'{}'", word.to_str().unwrap())).collect::<Vec<_>>().join(" ")
}

fn through_shell(directory: &std::path::Path, script: &str, before: &str) -> Ended {
    let call = call(&scripted(directory, script));
    ended(
        Command::new("bash")
            .args(["-c", &format!("{before} {call}")])
            .env_remove("SUDO_UID")
            .current_dir("/"),
    )
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_26_to_29_nothing_of_the_callers_environment_reaches_the_job_or_us() {
    let directory = trusted_directory();
    let canary = directory.path().join("canary");
    let mut command = scripted(directory.path(), LOOK);
    let hostile = [
        ("LD_PRELOAD", "/tmp/x.so"),
        ("LD_LIBRARY_PATH", "/tmp"),
        ("GCONV_PATH", "/tmp"),
        ("BASH_ENV", "/tmp/x"),
        ("BASH_FUNC_id%%", "() { :; }"),
        ("IFS", "x"),
        ("PATH", "/tmp"),
        ("PYTHONPATH", "/tmp"),
        ("PYTHONSTARTUP", "/tmp/x"),
        ("JAVA_TOOL_OPTIONS", "-Dx"),
        ("_JAVA_OPTIONS", "-Dx"),
        ("SPARK_SUBMIT_OPTS", "-Dx"),
        ("SPARK_CONF_DIR", "/tmp"),
        ("KUBECONFIG", "/tmp/kubeconfig"),
        ("HTTPS_PROXY", "http://127.0.0.1:1"),
        ("https_proxy", "http://127.0.0.1:1"),
        ("ALL_PROXY", "http://127.0.0.1:1"),
        ("SSL_CERT_FILE", "/tmp/x"),
        ("SSL_CERT_DIR", "/tmp"),
        ("KUBE_RS_DEBUG_IMPERSONATE_USER", "admin"),
        ("KUBE_RS_DEBUG_OVERRIDE_URL", "https://127.0.0.1:1"),
        ("KUBERNETES_MASTER", "https://127.0.0.1:1"),
        ("HOME", "/tmp"),
        ("USER", "root"),
        ("LOGNAME", "root"),
        ("SHELL", "/tmp/sh"),
        ("TMPDIR", canary.to_str().unwrap()),
        ("HADOOP_CONF_DIR", "/tmp"),
        ("MASTER", "local"),
        ("KRB5CCNAME", "/tmp/krb5cc_0"),
        ("SPARK_HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
    ];
    for (name, value) in hostile {
        command.env(name, value);
    }
    let ended = ended(&mut command);
    let seen = Seen::of(&ended);
    let home = shell_as("alice", "echo ~").stdout.trim().to_owned();
    assert_eq!(seen.variable("HOME"), Some(home.as_str()));
    assert_eq!(seen.variable("USER"), Some("alice"));
    assert_eq!(seen.variable("LOGNAME"), Some("alice"));
    assert_eq!(seen.variable("SHELL"), Some("/bin/bash"));
    assert_eq!(seen.variable("PATH"), Some("/usr/local/bin:/usr/bin:/bin"));
    assert_eq!(seen.variable("LANG"), Some("C.UTF-8"), "environment.keep names it");
    let run = bed("SSA_BED_RUN");
    assert!(seen.variable("KUBECONFIG").unwrap().starts_with(&run));
    let shells_own = ["PWD", "SHLVL", "_", "OLDPWD"];
    let ours = [
        "HOME",
        "USER",
        "LOGNAME",
        "SHELL",
        "PATH",
        "KUBECONFIG",
        "SPARK_HOME",
        "SPARK_SUBMIT_AS_JOB",
        "LANG",
        "PYSPARK_PYTHON",
    ];
    for line in seen.part("env") {
        let name = line.split('=').next().unwrap();
        assert!(ours.contains(&name) || shells_own.contains(&name), "{line} reached the job");
    }
    assert!(!canary.exists());
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_30_closed_standard_descriptors_are_reopened() {
    let directory = trusted_directory();
    let out = directory.path().join("out");
    fs::write(&out, "").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o666)).unwrap();
    let script = format!("ls -l /proc/$$/fd > {}", out.display());
    let call = call(&scripted(directory.path(), &script));
    let status =
        Command::new("bash").args(["-c", &format!("{call} <&- >&- 2>&-")]).current_dir("/").status().unwrap();
    assert_eq!(status.code(), Some(0));
    let seen = fs::read_to_string(&out).unwrap();
    for line in seen.lines().filter(|line| line.contains(" -> ")) {
        let target = line.rsplit(" -> ").next().unwrap();
        let own = target.contains("/spark/bin/") || target.contains("/out") || target.starts_with("/proc/");
        assert!(target == "/dev/null" || own, "{line}");
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_31_no_inherited_descriptor_reaches_the_job() {
    let directory = trusted_directory();
    let before = "for i in $(seq 10 1009); do eval \"exec $i</etc/shadow\"; done; ulimit -n 2048;";
    let before = before.replace("ulimit -n 2048;", "");
    let ended = through_shell(directory.path(), LOOK, &format!("ulimit -Sn 4096; {before}"));
    let seen = Seen::of(&ended);
    for line in seen.part("fds") {
        assert!(!line.contains("shadow"), "{line}");
    }
    let numbers = seen.part("fds").iter().filter(|line| line.contains(" -> "));
    assert!(numbers.count() <= 4, "{:?}", seen.part("fds")); // 0, 1, 2 and bash's own script
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_32_the_callers_umask_changes_nothing() {
    let directory = trusted_directory();
    for umask in ["0", "0777"] {
        let script = format!("{LOOK}\necho '[files]'; stat -c '%a %U' $KUBECONFIG $(dirname $KUBECONFIG)");
        let seen = Seen::of(&through_shell(directory.path(), &script, &format!("umask {umask};")));
        assert_eq!(seen.part("umask"), ["0022"]);
        assert_eq!(seen.part("files"), ["400 alice", "711 root"]);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_33_tiny_limits_end_cleanly() {
    let directory = trusted_directory();
    for limit in [
        "ulimit -f 0;",
        "ulimit -n 6;",
        "ulimit -n 12;",
        "ulimit -v 20000;",
        "ulimit -u 1;",
        "ulimit -c unlimited;",
    ] {
        let ended = through_shell(directory.path(), "exit 0", limit);
        let clean =
            ended.status.code().is_some_and(|code| code == 0 || (200..=249).contains(&code) || code == 127);
        let by_limit = ended.status.code().is_none() || ended.stderr.contains("memory");
        assert!(clean || by_limit, "{limit} {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{limit} {ended:?}");
        if let Some(job) = ended.stderr.lines().find_map(|line| line.strip_prefix("spark-submit-as: job ")) {
            assert_nothing_left(job.split(':').next().unwrap());
        }
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_34_ignored_and_blocked_signals_are_reset() {
    let directory = trusted_directory();
    let script = format!(
        "import signal, subprocess\nfor n in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGHUP):\n\
         \x20   signal.signal(n, signal.SIG_IGN)\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n\
         import os\nos.execvp('bash', ['bash', '-c', {:?}])",
        call(&scripted(directory.path(), LOOK))
    );
    let ended =
        ended(Command::new("/usr/bin/python3").args(["-c", &script]).env_remove("SUDO_UID").current_dir("/"));
    let seen = Seen::of(&ended);
    assert_eq!(seen.status("SigBlk"), "0000000000000000");
    assert_eq!(seen.status("SigIgn"), "0000000000000000");
    assert_nothing_left(&ended.job());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_35_37_the_job_is_the_user_and_nothing_more() {
    let directory = trusted_directory();
    let script =
        format!("{LOOK}\nsudo -n true && echo '[gained]'; su -c true root </dev/null && echo '[gained]'");
    let ended = ended(&mut scripted(directory.path(), &script.replace("&& echo", "2>/dev/null && echo")));
    assert!(!ended.stdout.contains("[gained]"), "{ended:?}");
    let (alice, group) = ids("alice");
    // The script's last command fails, as it must; only what was seen before matters.
    let mut first = ended;
    first.status = std::os::unix::process::ExitStatusExt::from_raw(0);
    let seen = Seen::of(&first);
    assert_eq!(seen.status("Uid"), [alice; 4].map(|id| id.to_string()).join(" "));
    assert_eq!(seen.status("Gid"), [group; 4].map(|id| id.to_string()).join(" "));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(seen.status(set), "0000000000000000", "{set}");
    }
    assert_eq!(seen.status("NoNewPrivs"), "1");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_38_the_job_has_no_terminal_and_a_session_keyring_of_its_own() {
    let directory = trusted_directory();
    // script(1) gives the call a terminal; what a job has that is itself on one: tests/terminal.rs.
    let on_no_terminal = format!("{} < /dev/null", call(&scripted(directory.path(), LOOK)));
    let output = Command::new("script")
        .args(["-qec", &on_no_terminal, "/dev/null"])
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    let stat = text.lines().skip_while(|line| *line != "[stat]").nth(1).expect("stat");
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(fields[4], "0", "tty_nr of {stat}");

    let call = call(&scripted(directory.path(), LOOK));
    let mark = "ssa-test-mark";
    let script = format!("keyctl session - bash -c 'keyctl add user {mark} secret @s >/dev/null; {call}'");
    let ended = ended(Command::new("bash").args(["-c", &script]).current_dir("/"));
    let seen = Seen::of(&ended);
    assert!(!seen.part("keyring").iter().any(|line| line.contains(mark)), "{:?}", seen.part("keyring"));
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_39_a_program_that_cannot_be_executed_has_a_code_of_its_own() {
    let directory = trusted_directory();
    let mut command = scripted(directory.path(), "exit 127");
    let program = directory.path().join("spark/bin/spark-submit");
    fs::write(&program, "#!/nonexistent/interpreter\n").unwrap();
    let missing = ended(&mut command);
    missing.refused(222, "No such file");
    fs::write(&program, "no program at all").unwrap();
    let format = ended(&mut scripted_as_is(directory.path()));
    format.refused(222, "Exec format");
    fs::write(&program, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o744)).unwrap();
    let closed = ended(&mut scripted_as_is(directory.path()));
    closed.refused(222, "Permission denied");
    for ended in [missing, format, closed] {
        assert_nothing_left(&ended.job());
    }
    // What a shell calls "not found" is the job's own matter.
    assert_eq!(ended(&mut scripted(directory.path(), "exit 127")).code(), 127);
}

/// The scripted run of [`support::scripted`] without writing the script again.
fn scripted_as_is(directory: &std::path::Path) -> Command {
    let path = directory.join("config.yaml");
    let arguments = [
        "--config",
        path.to_str().unwrap(),
        "run",
        "--user",
        "alice",
        "--profile",
        "per-user",
        "--",
        "job.py",
    ];
    as_root(&arguments)
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_41_an_unreadable_or_deleted_working_directory_does_not_matter() {
    let directory = trusted_directory();
    let home = shell_as("alice", "echo ~").stdout.trim().to_owned();
    let script = "d=$(mktemp -d); cd $d; rmdir $d;";
    let seen = Seen::of(&through_shell(directory.path(), LOOK, script));
    assert_eq!(seen.part("cwd"), [home.as_str()]);
    let seen = Seen::of(&through_shell(directory.path(), LOOK, "cd /root;"));
    assert_eq!(seen.part("cwd"), [home.as_str()]);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_42_a_run_directory_that_was_made_by_somebody_else_is_refused() {
    // The compiled-in directory is shared with tests that run beside this one, so a place of the same kind is looked at:
    // a base that dssuser owns.
    let directory = trusted_directory();
    let mut configuration = configuration();
    configuration["callers"] = json!(["root"]);
    let config = write_configuration(directory.path(), &configuration);
    let run = bed("SSA_BED_RUN");
    let script = format!(
        "mount -t tmpfs none {run} && chown dssuser {run} && exec {} --config {} run --user alice --profile per-user -- x.py",
        program().display(),
        config.display()
    );
    fs::create_dir_all(&run).unwrap();
    let ended = ended(Command::new("unshare").args(["-m", "sh", "-c", &script]).env_remove("SUDO_UID"));
    ended.refused(213, "owned by uid");
}
