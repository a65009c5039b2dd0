//! `list`, `status` and `kill` as the platform calls them, through sudo: its own jobs, and nobody else's. Needs the test
//! bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "jobs/id_file.rs"]
mod id_file;
mod support;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::*;
use world::admin::Admin;
use world::dead::end_wrapper;
use world::jobs::script;
use world::{Bed, Host, World, kill, start_time};

/// The platform, and another one on the same host.
const PLATFORM: &str = "dssuser";
const OTHER: &str = "mallory";

/// A host whose own configuration, at the path that is compiled in, names two platforms, which sudo lets in.
fn place(body: &str) -> (Host, Admin, World) {
    let admin = Admin::new();
    let mut host = Host::new(Bed::shipped(), &admin, &["alice"]);
    host.configuration["callers"] = json!([PLATFORM, OTHER, "root"]);
    host.configuration["timeouts"]["grace"] = json!("1s");
    host.script(&script("exit 0"));
    let directory = host.directory.path();
    let sudoers = directory.join("sudoers");
    let program = host.bed.program.display();
    let rule = format!(
        "Defaults!{program} env_reset, !requiretty, !use_pty\n{PLATFORM}, {OTHER} ALL=(root) NOPASSWD: NOSETENV: {program}\n"
    );
    fs::write(&sudoers, rule).unwrap();
    fs::set_permissions(&sudoers, PermissionsExt::from_mode(0o440)).unwrap();
    let installed = "/etc/sudoers.d/spark-submit-as-testbed";
    for (own, path) in
        [(directory.join("config.yaml"), host.bed.config.clone()), (sudoers, PathBuf::from(installed))]
    {
        let words = [Path::new("mount"), Path::new("--bind"), &own, &path];
        assert!(host.on(&words).status().unwrap().success(), "{words:?}");
    }
    let first = ended(&mut run(&host, PLATFORM, &[]));
    assert_eq!(first.code(), 0, "{first:?}");
    let reap = ended(&mut host.on(&[host.bed.program.to_str().unwrap(), "reap"]));
    assert_eq!(reap.code(), 0, "{reap:?}");
    let before = World::of(&host, &admin);
    host.script(&script(body));
    (host, admin, before)
}

/// A call by an account through its sudo.
fn call(host: &Host, account: &str, words: &[&str]) -> Command {
    let program = host.bed.program.to_str().unwrap();
    let mut all = vec!["sudo", "-u", account, "sudo", "-n", program];
    all.extend(words);
    host.on(&all)
}

/// A run with more words in front of the Spark arguments.
fn run(host: &Host, account: &str, words: &[&str]) -> Command {
    let mut all = vec!["run", "--user", "alice", "--profile", "per-user"];
    all.extend(words);
    all.extend(["--", "job.py"]);
    call(host, account, &all)
}

/// What `list` or `status` says.
fn said(host: &Host, account: &str, words: &[&str]) -> Value {
    let ended = ended(&mut call(host, account, words));
    assert_eq!(ended.code(), 0, "{words:?}: {ended:?}");
    serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{words:?} is no JSON: {ended:?}"))
}

/// Ids of the jobs in an answer.
fn ids(answer: &Value) -> BTreeSet<String> {
    let all = answer.as_array().unwrap_or_else(|| panic!("no list: {answer}"));
    all.iter().map(|record| record["job"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()).collect()
}

fn set(jobs: &[&String]) -> BTreeSet<String> {
    jobs.iter().map(|job| (*job).clone()).collect()
}

/// The whole record of one job.
fn status(host: &Host, account: &str, job: &str) -> Value {
    let answer = said(host, account, &["status", job, "--json"]);
    assert_eq!(ids(&answer), BTreeSet::from([job.to_owned()]));
    answer[0].clone()
}

fn killed(host: &Host, account: &str, words: &[&str]) -> Ended {
    ended(&mut call(host, account, &[&["kill"], words].concat()))
}

#[test]
#[ignore = "needs the test bed: make test"]
fn jobs_are_listed_and_chosen_by_tag() {
    let (host, admin, before) = place("exec sleep 600");
    let mut first = start(&mut run(&host, PLATFORM, &["--tag", "project=SALES", "--tag", "run=1"]));
    let mut second = start(&mut run(&host, PLATFORM, &["--tag", "project=SALES", "--tag", "run=2"]));
    let mut third = start(&mut run(&host, PLATFORM, &[]));
    let jobs = [first.job().0, second.job().0, third.job().0];
    let [one, two, three] = &jobs;
    let chosen = |words: &[&str]| {
        let mut answers = Vec::new();
        for verb in ["list", "status"] {
            answers.push(ids(&said(&host, PLATFORM, &[&[verb], words, &["--json"]].concat())));
        }
        assert_eq!(answers[0], answers[1], "list and status differ for {words:?}");
        answers.remove(0)
    };
    assert_eq!(ids(&said(&host, PLATFORM, &["list", "--json"])), set(&[one, two, three]));
    assert_eq!(chosen(&["--tag", "project=SALES"]), set(&[one, two]));
    assert_eq!(chosen(&["--tag", "project=SALES", "--tag", "run=2"]), set(&[two]));
    for nothing in ["project=SALE", "project=", "project=SALES2", "Project=SALES", "run=3"] {
        assert_eq!(chosen(&["--tag", nothing]), BTreeSet::new(), "{nothing}");
    }
    // For people: one line for each job.
    let table = ended(&mut call(&host, PLATFORM, &["list"]));
    assert_eq!(table.code(), 0, "{table:?}");
    for job in &jobs {
        assert_eq!(table.stdout.lines().filter(|line| line.contains(job.as_str())).count(), 1, "{table:?}");
    }
    let record = status(&host, PLATFORM, one);
    assert_eq!(record["state"], "running", "{record}");
    assert_eq!(record["tags"], json!({"project": "SALES", "run": "1"}), "{record}");

    let end = killed(&host, PLATFORM, &["--tag", "project=SALES"]);
    assert_eq!(end.code(), 0, "{end:?}");
    assert_eq!(
        ids(&said(&host, PLATFORM, &["list", "--json"])),
        set(&[three]),
        "only the chosen ones are ended"
    );
    let all = ids(&said(&host, PLATFORM, &["list", "--all", "--json"]));
    assert!(all.is_superset(&set(&[one, two, three])), "{all:?}");
    assert_eq!(killed(&host, PLATFORM, &[three.as_str()]).code(), 0);
    for running in [first, second, third] {
        let end = running.end();
        assert_ne!(end.status.code(), Some(0), "{end:?}");
    }
    World::assert_same(&before, &host, &admin, "killed by tag");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn tags_are_words_and_at_most_sixteen() {
    let (host, _, _) = place("exit 0");
    let numbered = |count: usize| -> Vec<String> {
        (0..count).flat_map(|n| ["--tag".into(), format!("k{n}=v")]).collect()
    };
    let with = |words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        ended(&mut run(&host, PLATFORM, &words))
    };
    assert_eq!(with(&numbered(16)).code(), 0);
    let long = format!("k={}", "v".repeat(100_000));
    for bad in ["novalue", "=v", "k=\u{1b}[31m", "k=a\nb", "k k=v", &long] {
        let ended = with(&["--tag".into(), bad.into()]);
        assert!((200..=249).contains(&ended.code()), "{bad:?}: {ended:?}");
        assert!(!ended.stderr.contains('\u{1b}'), "{ended:?}");
        assert!(ended.stderr.len() < 4096, "{} bytes of error", ended.stderr.len());
    }
    let many = with(&numbered(17));
    assert!((200..=249).contains(&many.code()), "{many:?}");
    let twice = with(&["--tag".into(), "k=a".into(), "--tag".into(), "k=b".into()]);
    assert!((200..=249).contains(&twice.code()), "a key twice is one too many: {twice:?}");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_97_another_callers_job_is_refused_without_a_word_about_it() {
    let (host, admin, before) = place("exec sleep 600");
    let mut running = start(&mut run(&host, PLATFORM, &["--tag", "owner=dss"]));
    let (job, driver) = running.job();
    let began = start_time(driver);
    let unknown = "aaaaaaaaaaaaaaaa".to_owned();
    for verb in ["status", "kill"] {
        let said = |id: &str| {
            let ended = ended(&mut call(&host, OTHER, &[verb, id]));
            assert_eq!(ended.code(), 227, "{verb} {id}: {ended:?}");
            assert!(ended.stderr.contains("no-such-job"), "{ended:?}");
            assert_eq!(ended.stdout, "", "{ended:?}");
            // All but the id that was asked for is the same; sudo's own remarks about the host are not ours.
            let own = ended.stderr.lines().filter(|line| !line.starts_with("sudo:"));
            own.map(|line| line.replace(id, "ID")).collect::<Vec<_>>()
        };
        assert_eq!(said(&job), said(&unknown), "{verb} tells them apart");
        // Nor by what comes with it.
        let both = ended(&mut call(&host, OTHER, &[verb, &unknown, &job]));
        assert_eq!(both.code(), 227, "{both:?}");
    }
    // What is no id at all is a mistake of the caller's, and is not looked for.
    for word in ["../../etc", "", "AAAAAAAAAAAAAAAA", "*"] {
        let ended = ended(&mut call(&host, OTHER, &["status", word]));
        assert!([200, 227].contains(&ended.code()), "{word:?}: {ended:?}");
    }
    for words in [
        &["list", "--json"][..],
        &["list", "--all", "--json"],
        &["status", "--json"],
        &["list", "--tag", "owner=dss", "--json"],
    ] {
        assert!(!ids(&said(&host, OTHER, words)).contains(&job), "{words:?}");
    }
    let by_tag = killed(&host, OTHER, &["--tag", "owner=dss"]);
    assert!(!by_tag.stdout.contains(&job) && !by_tag.stderr.contains(&job), "{by_tag:?}");
    assert_eq!(start_time(driver), began, "another caller ended the job");

    // Root sees all, and is told as much.
    let program = host.bed.program.to_str().unwrap();
    let root = ended(&mut host.on(&[program, "list", "--json"]));
    assert!(ids(&serde_json::from_str(&root.stdout).unwrap()).contains(&job), "{root:?}");
    let root = ended(&mut host.on(&[program, "kill", &job]));
    assert_eq!(root.code(), 0, "{root:?}");
    running.end();
    World::assert_same(&before, &host, &admin, "killed by root");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn reap_is_roots_own() {
    let (host, ..) = place("exit 0");
    for words in [&["reap"][..], &["reap", "--dry-run"], &["reap", "--json"]] {
        for account in [PLATFORM, OTHER] {
            ended(&mut call(&host, account, words)).refused(205, "root");
        }
    }
    // Who is no caller at all has no verb.
    for verb in ["list", "status", "kill"] {
        let ended = ended(&mut call(&host, "bob", &[verb]));
        assert_ne!(ended.status.code(), Some(0), "{verb}: {ended:?}");
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_79_kill_is_term_a_grace_and_kill_and_waits_until_all_is_taken_back() {
    let (mut host, admin, before) = place("exit 0");
    // The job's account writes there, whatever this test's umask is.
    let open = tempfile::tempdir().unwrap();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let seen = open.path().join("seen");
    let polite = format!(
        "trap 'echo term > {}; exit 9' TERM; hide; make_pod; echo ready > {}.ready; while :; do sleep 0.05; done",
        seen.display(),
        seen.display()
    );
    let deaf = format!(
        "trap '' TERM; hide; make_pod; echo ready > {}.ready; while :; do sleep 0.05; done",
        seen.display()
    );
    for (body, by_itself) in [(polite, true), (deaf, false)] {
        let ready = open.path().join("seen.ready");
        host.script(&script(&body));
        let mut running = start(&mut run(&host, PLATFORM, &[]));
        let (job, _) = running.job();
        until("the job is ready", || ready.exists());
        let end = killed(&host, PLATFORM, &[&job]);
        assert_eq!(end.code(), 0, "{end:?}");
        // When kill comes back, nothing is left, and that is on record.
        assert_nothing_left_on(&host, &job);
        let record = status(&host, PLATFORM, &job);
        assert_eq!(
            (&record["state"], &record["cleanup"]["complete"]),
            (&json!("ended"), &json!(true)),
            "{record}"
        );
        assert_eq!(seen.exists(), by_itself, "whether the job saw TERM");
        let expected = if by_itself { json!({"code": 9}) } else { json!({"signal": libc::SIGKILL}) };
        assert_eq!(record["exit"], expected, "{record}");
        let wrapper = running.end();
        assert!(
            wrapper.status.code() == Some(9)
                || wrapper.status.signal().is_some()
                || wrapper.status.code() == Some(137),
            "{wrapper:?}"
        );
        // Ended is ended: no mistake, and nothing to do.
        let again = killed(&host, PLATFORM, &[&job]);
        assert_eq!(again.code(), 0, "{again:?}");
        let _ = fs::remove_file(&seen);
        fs::remove_file(&ready).unwrap();
    }
    World::assert_same(&before, &host, &admin, "killed");
}

/// Everything was taken back by somebody, and no failure is told.
fn assert_clean(record: &Value, by: &str) {
    let cleanup = &record["cleanup"];
    assert_eq!((&cleanup["complete"], &cleanup["by"]), (&json!(true), &json!(by)), "{record}");
    assert!(cleanup["failures"].as_array().is_none_or(Vec::is_empty), "{record}");
}

/// Cluster, files and processes of a job on a host of a test's own.
fn assert_nothing_left_on(host: &Host, job: &str) {
    assert_eq!(objects_of(job), Vec::<String>::new());
    assert!(!host.run().join(job).exists(), "the run directory is left");
    assert!(!host.state().join("scratch").join(job).exists(), "the scratch directory is left");
    assert_eq!(processes_with(&format!("SPARK_SUBMIT_AS_JOB={job}")), Vec::<i32>::new());
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_82_kill_while_the_wrapper_ends_its_job_because_sudo_was_killed() {
    let (host, admin, before) = place("trap '' TERM; hide; make_pod; while :; do sleep 0.05; done");
    let mut running = start(&mut run(&host, PLATFORM, &[]));
    let (job, driver) = running.job();
    let supervisor = parent(driver);
    kill("KILL", parent(supervisor));
    let end = killed(&host, PLATFORM, &[&job]);
    assert_eq!(end.code(), 0, "{end:?}");
    assert_nothing_left_on(&host, &job);
    host.until_wrappers_end();
    let record = status(&host, PLATFORM, &job);
    assert_eq!(
        (&record["state"], &record["cleanup"]["complete"]),
        (&json!("ended"), &json!(true)),
        "{record}"
    );
    running.child.wait().unwrap();
    World::assert_same(&before, &host, &admin, "sudo was killed");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_81_kill_takes_a_dead_job_back() {
    let (host, admin, before) = place("hide; hide_well; make_pod; exec sleep 600");
    let mut running = start(&mut run(&host, PLATFORM, &[]));
    let (job, driver) = running.job();
    end_wrapper(parent(driver), driver);
    running.child.wait().unwrap();
    assert_eq!(status(&host, PLATFORM, &job)["state"], "dead");
    assert!(
        ids(&said(&host, PLATFORM, &["list", "--json"])).contains(&job),
        "a dead job is not an ended one"
    );
    assert_eq!(killed(&host, OTHER, &[&job]).code(), 227);
    assert!(!objects_of(&job).is_empty());
    let end = killed(&host, PLATFORM, &[&job]);
    assert_eq!(end.code(), 0, "{end:?}");
    assert_nothing_left_on(&host, &job);
    let record = status(&host, PLATFORM, &job);
    assert_eq!(record["state"], "ended", "{record}");
    assert_clean(&record, "kill");
    World::assert_same(&before, &host, &admin, "a dead job that was killed");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_49_98_the_status_of_an_ended_job_says_how_it_went() {
    let (mut host, ..) = place("exit 227");
    let before = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let words = [
        "run",
        "--user",
        "alice",
        "--profile",
        "per-user",
        "--tag",
        "a=b",
        "--",
        "--conf",
        "spark.my.password=hunter2",
        "job.py",
        "an argument",
    ];
    let end = ended(&mut call(&host, PLATFORM, &words));
    // The job's own code, although it is one of ours: the record tells the two apart.
    assert_eq!(end.code(), 227, "{end:?}");
    let record = status(&host, PLATFORM, &end.job());
    for (field, value) in [
        ("version", json!(1)),
        ("state", json!("ended")),
        ("caller", json!(PLATFORM)),
        ("login", json!("alice")),
        ("account", json!("alice")),
        ("profile", json!("per-user")),
        ("cluster", json!("main")),
        ("namespace", json!(host.namespace("alice"))),
        ("host", json!(host.name)),
        ("tags", json!({"a": "b"})),
        ("exit", json!({"code": 227})),
    ] {
        assert_eq!(record[field], value, "{field} of {record}");
    }
    assert_clean(&record, "run");
    assert!(record["rule"].as_str().is_some_and(|rule| rule.contains("identity")), "{record}");
    let time = |name: &str| record["times"][name].as_u64().unwrap_or_else(|| panic!("{name} of {record}"));
    let times = ["accepted", "provisioned", "started", "ended", "closed"].map(time);
    assert!(times.is_sorted() && times[0] >= before, "{times:?}");
    let command = record["command"].to_string();
    assert!(command.contains("job.py") && command.contains("an argument"), "{command}");
    assert!(command.contains("spark.my.password="), "{command}");
    for text in [record.to_string(), ended(&mut call(&host, PLATFORM, &["status", &end.job()])).stdout] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    assert!(!fs::read_to_string(host.record_file(&end.job())).unwrap().contains("hunter2"));

    host.script("kill -SEGV $$");
    let end = ended(&mut run(&host, PLATFORM, &[]));
    assert_eq!(status(&host, PLATFORM, &end.job())["exit"], json!({"signal": libc::SIGSEGV}));

    // A run that came to no job: the program cannot be executed.
    let program = host.directory.path().join("spark/bin/spark-submit");
    fs::write(&program, "#!/nonexistent/interpreter\n").unwrap();
    let end = ended(&mut run(&host, PLATFORM, &[]));
    assert_eq!(end.code(), 222, "{end:?}");
    let record = status(&host, PLATFORM, &end.job());
    assert_eq!(record["exit"]["refused"]["code"], 222, "{record}");
    assert_eq!(record["exit"]["refused"]["name"], "exec-failed", "{record}");
    assert!(record["exit"]["refused"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{record}");
    assert_eq!(
        (&record["state"], &record["cleanup"]["complete"]),
        (&json!("ended"), &json!(true)),
        "{record}"
    );
}
