//! A job on a terminal, through a real pseudo-terminal: a terminal of its own, keys, size, job control, the end of either
//! side. A shell script stands in for Spark, but in the last tests, whose shells are Spark's. Needs the test bed
//! (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::termios::LocalFlags;
use support::screen::{Screen, descriptors, state_and_terminal, words};
use support::*;

/// The two ways to call: by root itself, and through sudo, which gives the call a terminal of its own (use_pty).
const WAYS: [&[&str]; 2] = [&[], &["sudo", "-n"]];

/// Words of a run whose Spark is a script.
fn call(directory: &Path, script: &str, way: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = way.iter().map(|word| (*word).to_owned()).collect();
    all.extend(words(&scripted(directory, script)));
    all
}

/// The same as a shell's text.
fn call_text(directory: &Path, script: &str, way: &[&str]) -> String {
    let words = call(directory, script, way);
    words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ")
}

/// An interactive shell of root's on a terminal.
fn shell() -> Screen {
    let mut screen = Screen::start(&["env", "PS1=ready> ", "bash", "--norc", "-i"].map(String::from));
    screen.expect("ready> ");
    screen
}

/// Whether the terminal shows what is typed, as a shell's does and a raw one does not.
fn echoes(screen: &Screen) -> bool {
    screen.settings().local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG)
}

/// The Spark program below the leader of its session.
fn program_of(leader: i32) -> i32 {
    let below = children(leader);
    assert_eq!(below.len(), 1, "{below:?}");
    below[0]
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_38_a_job_on_a_terminal_has_one_of_its_own() {
    let directory = trusted_directory();
    let script =
        "tty; stat -c 'is %U %a' \"$(tty)\"; stty size; echo \"type $TERM\"; echo on-error >&2; read line";
    for way in WAYS {
        let mut screen = Screen::start(&call(directory.path(), script, way));
        let (job, leader) = screen.job();
        screen.expect("/dev/pts/");
        let number: u32 = screen.expect("\n").trim().parse().unwrap();
        let path = format!("/dev/pts/{number}");
        assert_ne!(path, screen.path);
        screen.expect("is alice 600");
        screen.expect("24 80");
        screen.expect("type xterm");
        screen.expect("on-error");
        // Neither the program nor the leader of its session has anything of the caller's.
        let program = program_of(leader);
        let device = fs::metadata(&path).unwrap().rdev();
        for pid in [leader, program] {
            let held = descriptors(pid);
            assert!(held.len() >= 3, "{held:?}");
            for (number, target) in held {
                let own =
                    target == path || target.starts_with("anon_inode") || target.contains("/spark/bin/");
                assert!(own, "{number} of {pid} is {target}");
            }
            assert_eq!(state_and_terminal(pid).1, device & 0xffff_ffff, "controlling terminal of {pid}");
            assert_eq!(status_field(pid, "Uid"), [ids("alice").0; 4].map(|id| id.to_string()).join(" "));
        }
        // Nobody with the end-user's ids looks into the leader, which was forked from root's process.
        assert_eq!(fs::metadata(format!("/proc/{leader}/environ")).unwrap().uid(), 0, "it is not dumpable");
        let peeked = shell_as("alice", &format!("cat /proc/{leader}/environ; head -c 1 /proc/{leader}/mem"));
        assert!(peeked.stdout.is_empty() && peeked.stderr.matches("denied").count() == 2, "{peeked:?}");
        screen.send("\n");
        screen.ends_with(0);
        assert_nothing_left(&job);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_38_characters_that_a_job_pushes_stay_in_its_own_terminal() {
    let directory = trusted_directory();
    let pushes = r#"
exec /usr/bin/python3 - "$@" <<'PYTHON'
import fcntl, glob, os, termios
def push(what, fd):
    try:
        for byte in b"; id > /tmp/pushed\n":
            fcntl.ioctl(fd, termios.TIOCSTI, bytes([byte]))
        print("pushed into", what)
    except OSError as error:
        print("not into", what, error.strerror)
for fd in (0, 1, 2):
    push(fd, fd)
for path in ["/dev/tty"] + sorted(glob.glob("/dev/pts/[0-9]*")):
    try:
        push(path, os.open(path, os.O_RDWR | os.O_NOCTTY))
    except OSError as error:
        print("cannot open", path, error.strerror)
print("all tried")
PYTHON
"#;
    let script = "cat /proc/sys/dev/tty/legacy_tiocsti 2> /dev/null || echo 1";
    let allowed = ended(Command::new("sh").args(["-c", script])).stdout.trim() == "1";
    for way in WAYS {
        for redirected in ["", "< /dev/null"] {
            let call = call_text(directory.path(), pushes, way);
            let after = "read -r -t 2 -n 200 line; echo \"[the caller reads: $line]\"";
            let text = format!("{call} {redirected}; {after}");
            let mut screen = Screen::start(&["bash", "-c", &text].map(String::from));
            let tried = screen.expect("all tried");
            let path = format!("cannot open {} ", screen.path);
            assert!(tried.contains(&path), "no {path} in {tried}");
            // On its own terminal it may do what it likes, where the kernel knows such a thing at all.
            assert_eq!(tried.contains("pushed into"), allowed && redirected.is_empty(), "{tried}");
            screen.expect("[the caller reads: ]");
        }
    }
    assert!(!Path::new("/tmp/pushed").exists());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_jobs_window_has_the_callers_size_and_follows_it() {
    let directory = trusted_directory();
    let script = "trap 'echo now $(stty size)' WINCH; stty size; echo up; while ! read -t 1 line; do :; done";
    for way in WAYS {
        let mut screen = Screen::start(&call(directory.path(), script, way));
        screen.expect("24 80");
        screen.expect("up");
        screen.resize(33, 111);
        screen.expect("now 33 111");
        screen.send("\n");
        screen.ends_with(0);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn keys_that_make_signals_are_for_the_job_and_not_for_the_wrapper() {
    let directory = trusted_directory();
    let script = "trap 'echo got INT' INT; trap 'echo got QUIT' QUIT; echo up; \
                  until read -t 1 line; do :; done; echo \"line $line\"; exit 7";
    for way in WAYS {
        let mut screen = Screen::start(&call(directory.path(), script, way));
        let (job, _) = screen.job();
        screen.expect("up");
        for _ in 0..2 {
            screen.send("\x03");
            screen.expect("got INT");
        }
        screen.send("\x1c");
        screen.expect("got QUIT");
        assert!(!echoes(&screen), "the caller's terminal is raw while the job has it");
        screen.send("still here\n");
        screen.expect("line still here");
        screen.ends_with(7);
        assert_nothing_left(&job);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_that_is_interrupted_ends_the_call_by_the_same_signal() {
    let directory = trusted_directory();
    let mut screen = Screen::start(&call(directory.path(), "echo up; exec sleep 1000", &[]));
    let (job, _) = screen.job();
    screen.expect("up");
    screen.send("\x03");
    assert_eq!(screen.end().signal(), Some(2));
    assert_eq!(screen.settings(), screen.before);
    assert_nothing_left(&job);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn the_end_of_input_and_the_last_output_arrive() {
    let directory = trusted_directory();
    let mut screen =
        Screen::start(&call(directory.path(), "echo up; cat; seq 1 40000; echo the-last-line", &[]));
    screen.expect("up\r\n");
    screen.send("\x04");
    screen.ends_with(0);
    let shown = screen.expect("the-last-line");
    let numbers = shown.lines().filter_map(|line| line.trim().parse::<u32>().ok());
    assert_eq!(numbers.collect::<Vec<_>>(), (1..=40_000).collect::<Vec<_>>());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn ctrl_z_stops_job_and_wrapper_and_fg_continues_both() {
    let directory = trusted_directory();
    let script =
        "trap 'echo got INT' INT; echo up; until read -t 1 line; do :; done; echo \"line $line\"; exit 9";
    for way in WAYS {
        let mut screen = shell();
        screen.send(&format!("{}\n", call_text(directory.path(), script, way)));
        let (job, leader) = screen.job();
        screen.expect("up");
        let (program, wrapper) = (program_of(leader), parent(leader));
        for _ in 0..2 {
            screen.send("\x1a");
            screen.expect("Stopped");
            screen.expect("ready> ");
            for pid in [program, leader, wrapper] {
                assert_eq!(state_and_terminal(pid).0, "T", "{pid}");
            }
            screen.send("echo mode-$(stty -a | grep -o '[-]*icanon'); echo shell-$((40 + 2))\n");
            screen.expect("mode-icanon");
            screen.expect("shell-42");
            screen.expect("ready> ");
            screen.send("fg\n");
            until("the program goes on", || state_and_terminal(program).0 != "T");
            // Through all of the way to the job, so it is there.
            screen.send("\x03");
            screen.expect("got INT");
        }
        screen.send("good bye\n");
        screen.expect("line good bye");
        screen.expect("ready> ");
        screen.send("echo code-$?; exit\n");
        screen.expect("code-9");
        screen.end();
        assert_nothing_left(&job);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_stopped_job_can_be_told_to_end() {
    let directory = trusted_directory();
    for (way, how) in [(WAYS[0], "shell"), (WAYS[1], "shell"), (WAYS[0], "verb")] {
        let mut screen = shell();
        screen.send(&format!("{}\n", call_text(directory.path(), "echo up; sleep 1000", way)));
        let (job, _) = screen.job();
        screen.expect("up");
        screen.send("\x1a");
        screen.expect("Stopped");
        screen.expect("ready> ");
        if how == "shell" {
            // The shell's kill sends TERM and then CONT.
            screen.send("kill %1; wait; echo waited-$((40 + 2))\n");
        } else {
            let config = directory.path().join("config.yaml");
            let killed = ended(&mut as_root(&["--config", config.to_str().unwrap(), "kill", &job]));
            assert_eq!(killed.code(), 0, "{killed:?}");
            screen.send("wait; echo waited-$((40 + 2))\n");
        }
        screen.expect("waited-42");
        screen.send("echo mode-$(stty -a | grep -o '[-]*icanon')\n");
        screen.expect("mode-icanon");
        assert_nothing_left(&job);
        screen.send("exit\n");
        screen.end();
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_call_in_the_background_waits_for_its_turn_at_the_terminal() {
    let directory = trusted_directory();
    for way in WAYS {
        let mut screen = shell();
        let script = "read line; echo \"line $line\"";
        screen.send(&format!("{} &\n", call_text(directory.path(), script, way)));
        let (job, leader) = screen.job();
        let wrapper = parent(leader);
        until("the wrapper is stopped", || state_and_terminal(wrapper).0 == "T");
        screen.send("echo shell-$((40 + 2))\n");
        screen.expect("shell-42");
        screen.send("fg\n");
        screen.expect("spark-submit-as");
        until("the terminal is raw", || !echoes(&screen));
        screen.send("typed\n");
        screen.expect("line typed");
        screen.expect("ready> ");
        assert_nothing_left(&job);
        screen.send("exit\n");
        screen.end();
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn ctrl_z_does_nothing_where_nobody_could_continue_the_call() {
    let directory = trusted_directory();
    // The call leads its session: there is no shell.
    let mut screen = Screen::start(&call(directory.path(), "echo up; read line; echo \"line $line\"", &[]));
    let (job, leader) = screen.job();
    screen.expect("up");
    screen.send("\x1a");
    screen.send("goes on\n");
    screen.expect("line goes on");
    screen.ends_with(0);
    assert!(!Path::new(&format!("/proc/{leader}")).exists());
    assert_nothing_left(&job);
}

/// Processor time of a process in clock ticks.
fn ticks(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?)
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_94_a_lost_terminal_ends_the_job_and_costs_no_processor_time() {
    let directory = trusted_directory();
    let marks = tempfile::tempdir().unwrap();
    fs::set_permissions(marks.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let script = format!(
        "trap 'echo HUP >> {0}/seen' HUP; echo up; while :; do echo more 2> /dev/null; sleep 0.1; done",
        marks.path().display()
    );
    for way in WAYS {
        let mut screen = Screen::start(&call(directory.path(), &script, way));
        let (job, leader) = screen.job();
        let wrapper = parent(leader);
        screen.expect("up");
        let before = ticks(wrapper).unwrap();
        screen.hang_up();
        until("the job is told", || marks.path().join("seen").exists());
        fs::remove_file(marks.path().join("seen")).unwrap();
        let mut used = before;
        // It does not end by itself, so that this lasts for the whole grace, 20 seconds.
        until("the wrapper ends", || {
            used = used.max(ticks(wrapper).unwrap_or(used));
            !Path::new(&format!("/proc/{wrapper}")).exists() || state_and_terminal(wrapper).0 == "Z"
        });
        assert!(used - before < 100, "{} ticks of 1/100 s", used - before);
        screen.end();
        assert_nothing_left(&job);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_call_that_is_told_to_stop_gives_the_terminal_back() {
    let directory = trusted_directory();
    for way in WAYS {
        let mut screen = shell();
        let script = "trap 'echo got TERM; exit 3' TERM; echo up; while :; do sleep 0.1; done";
        screen.send(&format!("{}\n", call_text(directory.path(), script, way)));
        let (job, leader) = screen.job();
        screen.expect("up");
        assert!(!echoes(&screen));
        let told = Command::new("kill").args(["-TERM", &parent(leader).to_string()]).status().unwrap();
        assert!(told.success());
        screen.expect("got TERM");
        screen.expect("ready> ");
        screen.send("echo mode-$(stty -a | grep -o '[-]*icanon'); echo code-$?; exit\n");
        screen.expect("mode-icanon");
        screen.end();
        assert_nothing_left(&job);
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_82_a_killed_wrapper_takes_a_job_on_a_terminal_with_it() {
    let directory = trusted_directory();
    for victim in ["wrapper", "leader"] {
        let mut screen = Screen::start(&call(directory.path(), "trap '' HUP; echo up; sleep 1000", &[]));
        let (job, leader) = screen.job();
        screen.expect("up");
        let (program, wrapper) = (program_of(leader), parent(leader));
        let pid = if victim == "wrapper" { wrapper } else { leader };
        assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
        until("the program ends", || !Path::new(&format!("/proc/{program}")).exists());
        assert_eq!(screen.end().signal(), Some(9));
        if victim == "leader" {
            assert_nothing_left(&job);
        } else {
            let config = directory.path().join("config.yaml");
            ended(&mut as_root(&["--config", config.to_str().unwrap(), "reap", "--quiet"]));
            until("nothing is left in the cluster", || objects_of(&job).is_empty());
        }
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn without_a_terminal_on_both_sides_there_is_none_for_the_job() {
    let directory = trusted_directory();
    let script = "echo is $(ps -o tty= -p $$) here; echo on-error >&2";
    for (redirected, own) in [("< /dev/null", false), ("| cat", false), ("2> /dev/null", true), ("", true)] {
        let text = format!("{} {redirected}; echo over", call_text(directory.path(), script, &[]));
        let mut screen = Screen::start(&["bash", "-c", &text].map(String::from));
        let shown = screen.expect("over");
        assert_eq!(shown.contains("is pts/"), own, "{redirected}: {shown}");
        assert_eq!(shown.contains("is ? here"), !own, "{redirected}: {shown}");
        assert_eq!(shown.contains("on-error"), !redirected.starts_with('2'), "{redirected}: {shown}");
        screen.ends_with(0);
    }
}

/// A program of Spark's as the platform's account calls it.
fn spark(profile: &str, program: &str, arguments: &[&str]) -> Screen {
    let mut command = as_platform(&["run", "--user", "alice", "--profile", profile, "--program", program]);
    command.arg("--").args(arguments).stdin(Stdio::null());
    Screen::start(&words(&command))
}

/// Executors of a job.
fn executors(job: &str) -> usize {
    objects_of(job).iter().filter(|name| name.starts_with("pod/")).count()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn acceptance_4_pyspark_computes_is_interrupted_and_computes_again() {
    let mut screen = spark("shells", "pyspark", &[]);
    let (job, _) = screen.job();
    screen.expect(">>> ");
    screen.send("sc.parallelize(range(100), 4).map(lambda x: x * 3).sum()\n");
    screen.expect("14850");
    screen.expect(">>> ");
    assert_eq!(executors(&job), 1);
    screen.send("import os, socket; os.get_terminal_size()\n");
    screen.expect("columns=80, lines=24");
    screen.resize(40, 100);
    screen.send("os.get_terminal_size()\n");
    screen.expect("columns=100, lines=40");
    // On an executor and not here.
    screen.send("'here', sc.parallelize([1], 1).map(lambda x: socket.gethostname()).first() != socket.gethostname()\n");
    screen.expect("('here', True)");
    screen.expect(">>> ");
    screen.send("sc.parallelize([1], 1).foreach(lambda x: __import__('time').sleep(1000))\n");
    screen.expect("(0 + 1) / 1]");
    screen.send("\x03");
    screen.expect("KeyboardInterrupt");
    screen.expect(">>> ");
    screen.send("sc.parallelize(range(10), 2).sum() + 900\n");
    screen.expect("945");
    screen.expect(">>> ");
    screen.send("\x04");
    screen.ends_with(0);
    assert_nothing_left(&job);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn acceptance_4_spark_shell_computes_on_executors() {
    let mut screen = spark("shells", "spark-shell", &[]);
    let (job, _) = screen.job();
    screen.expect("scala> ");
    screen.send("sc.parallelize(1 to 100, 4).map(_ * 3).sum.toInt\n");
    screen.expect("15150");
    screen.expect("scala> ");
    assert_eq!(executors(&job), 1);
    screen.send(":quit\n");
    screen.ends_with(0);
    assert_nothing_left(&job);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn acceptance_4_spark_shell_is_interrupted_and_computes_again() {
    // Of Spark 3: that of Spark 4 (Scala 2.13) is ended by Ctrl-C wherever it runs, because its line editor takes the
    // signal's handler away.
    let versions = bed("SSA_BED_VERSIONS");
    let version =
        versions.split(' ').find(|version| version.starts_with("3.")).expect("the bed has a Spark 3");
    let mut screen = spark(&format!("per-user-{}", version.replace('.', "-")), "spark-shell", &[]);
    let (job, _) = screen.job();
    screen.expect("scala> ");
    // Many elements: a task looks between two of them whether it was cancelled.
    screen.send("sc.parallelize(1 to 1000000, 1).foreach(_ => Thread.sleep(10))\n");
    screen.expect("(0 + 1) / 1]");
    screen.send("\x03");
    screen.expect("cancelled as part");
    screen.expect("scala> ");
    screen.send("sc.parallelize(1 to 10, 2).sum.toInt + 900\n");
    screen.expect("955");
    screen.expect("scala> ");
    screen.send(":quit\n");
    // Spark's script ends with 127 when it was interrupted once.
    screen.ends_with(127);
    assert_nothing_left(&job);
}

#[test]
#[ignore = "needs the test bed: make test"]
fn spark_sql_answers_at_its_prompt() {
    let mut screen = spark("shells", "spark-sql", &["--conf", "spark.sql.catalogImplementation=in-memory"]);
    let (job, _) = screen.job();
    screen.expect("spark-sql (default)> ");
    screen.send("select sum(id) + 40000 from range(0, 100, 1, 4);\n");
    screen.expect("44950");
    screen.expect("spark-sql (default)> ");
    screen.send("quit;\n");
    screen.ends_with(0);
    assert_nothing_left(&job);
}
