//! Plain spark-submit arguments through the drop-in program: who the job runs as, where, and that everything else passes as
//! it came. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/place.rs"]
mod place;
mod support;
#[path = "support/world.rs"]
mod world;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use place::Place;
use serde_json::json;
use support::*;
use world::kill;

const SUDOERS: &str = "Defaults!PROGRAM env_reset, !requiretty, !use_pty\n\
    dssuser ALL=(root) NOPASSWD: NOSETENV: PROGRAM\n\
    %spark-users ALL=(root) NOPASSWD: NOSETENV: PROGRAM\n";

/// The platform may run jobs as those of the group, everybody in it as itself.
fn place(script: &str) -> Place {
    let mut place = Place::new(&["alice", "bob"], SUDOERS, |configuration, _| {
        configuration["callers"] = json!([
            {"account": "dssuser", "may_run_as": {"groups": ["spark-users"]}, "profiles": ["per-user"]},
            {"group": "spark-users", "may_run_as": "self", "profiles": ["per-user"]},
        ]);
    });
    place.host.script(script);
    place
}

/// A call of the drop-in program by an account.
fn drop_in<S: AsRef<OsStr>>(place: &Place, account: &str, words: &[S]) -> Command {
    let text = include_str!("../packaging/drop-in/spark-submit");
    let directory = place.host.directory.path().join("drop-in");
    let path = directory.join("spark-submit");
    if !path.exists() {
        fs::create_dir_all(&directory).unwrap();
        let program = place.host.bed.program.to_str().unwrap();
        fs::write(&path, text.replace("/usr/local/bin/spark-submit-as", program)).unwrap();
        for path in [&directory, &path] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
    let mut command = place.host.on(&["sudo", "-u", account, path.to_str().unwrap()]);
    command.args(words);
    command
}

#[test]
#[ignore = "needs the test bed: make test"]
fn plain_arguments_run_as_the_caller_or_as_proxy_user_and_pass_byte_for_byte() {
    let place = place("id -un; for word; do printf '%s\\0' \"$word\"; done; echo err >&2; exit 7");
    let odd = OsStr::from_bytes(b"caf\xe9 $(id)\n'\"");
    for (account, words, user) in [
        ("alice", &["--name", "x", "app.py"][..], "alice"),
        ("bob", &["app.py"], "bob"),
        ("dssuser", &["--proxy-user", "alice", "app.py"], "alice"),
        ("dssuser", &["--proxy-user=bob", "app.py"], "bob"),
        ("alice", &["--proxy-user", "alice", "app.py"], "alice"),
    ] {
        let mut all: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        all.extend([odd, OsStr::new("--proxy-user"), OsStr::new("--")]);
        let output = drop_in(&place, account, &all).output().unwrap();
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        assert!(output.stdout.starts_with(format!("{user}\n").as_bytes()), "{output:?}");
        // Nothing is said but what the program says (and sudo about the test's host, which no name server knows).
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        let said: Vec<&str> =
            said.lines().filter(|line| !line.starts_with("sudo: unable to resolve host")).collect();
        assert_eq!(said, ["err"]);
        let words: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
        let application = words.iter().position(|word| *word == b"app.py").expect("the application");
        assert_eq!(words[application + 1..][..3], [odd.as_bytes(), b"--proxy-user", b"--"]);
        assert!(!words[..application].contains(&&b"--proxy-user"[..]), "{output:?}");
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn proxy_user_is_checked_as_user_is_and_masters_are_compared() {
    let place = place("echo ran");
    let server = bed("BENCH_SERVER");
    for (account, words, code) in [
        // An end-user runs as itself only, the platform as those of its group only.
        ("alice", vec!["--proxy-user", "bob", "app.py"], 205),
        ("dssuser", vec!["--proxy-user", "root", "app.py"], 205),
        ("dssuser", vec!["--proxy-user", "mallory", "app.py"], 205),
        ("dssuser", vec!["--proxy-user", "../x", "app.py"], 206),
        ("dssuser", vec!["app.py"], 205),
        ("mallory", vec!["app.py"], 1),
        ("alice", vec!["--master", "yarn", "app.py"], 209),
        ("alice", vec!["--master", "k8s://https://192.0.2.1:6443", "app.py"], 209),
        ("alice", vec!["--conf", "spark.master=local", "app.py"], 209),
        ("alice", vec!["--kill", "x"], 209),
        ("alice", vec!["--deploy-mode", "cluster", "app.py"], 209),
    ] {
        let ended = ended(&mut drop_in(&place, account, &words));
        assert_eq!(ended.status.code(), Some(code), "{account} {words:?}: {ended:?}");
        assert!(!ended.stdout.contains("ran"), "{ended:?}");
    }
    for master in [format!("k8s://{server}"), format!("k8s://{}", server.trim_start_matches("https://"))] {
        let ended = ended(&mut drop_in(&place, "alice", &["--master", &master, "app.py"]));
        assert_eq!((ended.status.code(), ended.stdout.as_str()), (Some(0), "ran\n"), "{ended:?}");
    }
    let before = ended(&mut place.call("dssuser", &["submit", "--profile", "other", "--", "app.py"]));
    assert_eq!(before.status.code(), Some(207), "{before:?}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn whoever_kills_the_drop_in_program_ends_the_job() {
    let place = place("echo $$; exec sleep 600");
    let mut command = drop_in(&place, "alice", &["app.py"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0; 1];
    std::io::Read::read_exact(&mut out, &mut first).unwrap();
    // The test's own sudo is the parent of the drop-in, which has become sudo itself.
    let outer = i32::try_from(child.id()).unwrap();
    let shim = children(outer).into_iter().next().unwrap_or(outer);
    kill("KILL", shim);
    place.host.until_wrappers_end();
    until("no process of the job is left", || place.host.processes().is_empty());
    child.wait().unwrap();
    let _ = std::io::stdout().flush();
}
