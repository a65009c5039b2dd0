//! The journal in the hands of bad luck and of people: records that are none, a disk that is full, records that are old.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

/// Long enough for any reap, short enough to tell one that hangs (a FIFO has no writer).
const BOUND: &str = "60";

/// Puts something into the journal under `job`; a name for messages.
type Plant = fn(&Host, &str, &Value);

fn write(host: &Host, job: &str, text: &[u8]) {
    put_record(host, job, text);
}

fn shell(host: &Host, script: &str, job: &str) {
    let directory = host.bed.state.join("jobs").join(job);
    let words = ["sh", "-ec", script, "sh", directory.to_str().unwrap()];
    assert!(host.on(&words).status().unwrap().success(), "{script}");
}

const PLANTS: [(&str, Plant); 19] = [
    ("no JSON", |host, job, _| write(host, job, b"\x00\xff{{{")),
    ("an empty file", |host, job, _| write(host, job, b"")),
    ("half a record", |host, job, model| {
        let text = fabricated_record(model, job, &["a".into(), "b".into()]).to_string();
        write(host, job, &text.as_bytes()[..text.len() / 2]);
    }),
    ("a record and more", |host, job, model| {
        let text = fabricated_record(model, job, &["a".into(), "b".into()]).to_string();
        write(host, job, (text + " {}").as_bytes());
    }),
    ("another type", |host, job, _| write(host, job, b"[1, 2, 3]")),
    ("deep nesting", |host, job, _| write(host, job, "[".repeat(60_000).as_bytes())),
    ("20 MB", |host, job, _| write(host, job, &vec![b' '; 20 << 20])),
    ("a sparse terabyte", |host, job, _| shell(host, "mkdir $1; truncate -s 1T $1/record.json", job)),
    ("another job's record", |host, job, model| {
        write(
            host,
            job,
            fabricated_record(model, &numbered(9999), &["a".into(), "b".into()]).to_string().as_bytes(),
        );
    }),
    ("a namespace of the cluster's own", |host, job, model| {
        let mut record = fabricated_record(model, job, &["a".into(), "b".into()]);
        record["namespace"] = json!("kube-system");
        write(host, job, record.to_string().as_bytes());
    }),
    ("a path for a name", |host, job, model| {
        let mut record = fabricated_record(model, job, &["a".into(), "b".into()]);
        record["namespace"] = json!("../../etc");
        write(host, job, record.to_string().as_bytes());
    }),
    ("owned by somebody else", |host, job, model| {
        write(host, job, fabricated_record(model, job, &["a".into(), "b".into()]).to_string().as_bytes());
        shell(host, "chown alice $1/record.json", job);
    }),
    ("writable by everybody", |host, job, model| {
        write(host, job, fabricated_record(model, job, &["a".into(), "b".into()]).to_string().as_bytes());
        shell(host, "chmod 0666 $1/record.json", job);
    }),
    ("a symbolic link", |host, job, model| {
        let target = host.directory.path().join("canary.json");
        let text = fabricated_record(model, job, &["a".into(), "b".into()]).to_string();
        fs::write(&target, text).unwrap();
        fs::create_dir(host.jobs().join(job)).unwrap();
        symlink(target, host.record_file(job)).unwrap();
    }),
    ("a FIFO", |host, job, _| shell(host, "mkdir $1; mkfifo -m 0600 $1/record.json", job)),
    ("a directory", |host, job, _| shell(host, "mkdir -p $1/record.json/deeper", job)),
    ("a device", |host, job, _| shell(host, "mkdir $1; mknod -m 0600 $1/record.json c 1 5", job)),
    ("a link in place of a job's directory", |host, job, _| {
        let target = host.directory.path().join("canary");
        fs::create_dir_all(&target).unwrap();
        fs::write(target.join("record.json"), "{}").unwrap();
        symlink(target, host.jobs().join(job)).unwrap();
    }),
    ("a file in place of a job's directory", |host, job, _| fs::write(host.jobs().join(job), "x").unwrap()),
];

/// Names that are no job's.
const NAMES: [&str; 6] = ["lost+found", "AAAAAAAAAAAAAAAA", "short", "-rf", "a\nb", "$(id)"];

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_90_records_that_are_none_are_put_aside_and_never_in_the_way() {
    let (host, admin, before) = place(LONG, &["alice"]);
    let first = dead_job(&host, "alice");
    let model = host.record(&first);
    let mut planted = Vec::new();
    for (number, (what, plant)) in PLANTS.iter().enumerate() {
        let job = numbered(number);
        plant(&host, &job, &model);
        planted.push((*what, job));
    }
    for name in NAMES {
        fs::create_dir(host.jobs().join(name)).unwrap();
        planted.push(("a name that is no job's", name.to_owned()));
    }
    // One dead job before them all and one after, whatever the order of the directory.
    let last = dead_job(&host, "alice");

    // Looking is not in the way either.
    let config = host.directory.path().join("config.yaml");
    for verb in ["list", "status"] {
        let program = host.bed.program.to_str().unwrap();
        let words = ["timeout", BOUND, program, "--config", config.to_str().unwrap(), verb, "--json"];
        let seen = ended(&mut host.on(&words));
        assert_eq!(seen.code(), 0, "{verb}: {seen:?}");
        assert!(seen.stdout.contains(&first) && seen.stdout.contains(&last), "{verb}: {seen:?}");
    }

    let program = host.bed.program.to_str().unwrap();
    let words = ["timeout", BOUND, program, "--config", config.to_str().unwrap(), "reap", "--json"];
    let reap = ended(&mut host.on(&words));
    assert!([0, 224].contains(&reap.code()), "{reap:?}");
    let report: Value = serde_json::from_str(&reap.stdout).unwrap_or_else(|_| panic!("{reap:?}"));
    assert_eq!(with_outcome(&report, "jobs", "removed"), set(&[&first, &last]), "{report}");
    let told = format!("{} {}", report["quarantined"], report["failures"]);
    for (what, name) in &planted {
        // How a newline is shown is the report's matter.
        let shown = name.split('\n').next().unwrap();
        assert!(told.contains(shown), "{what} ({name:?}) is not told in {report}");
        let there = fs::symlink_metadata(host.jobs().join(name)).is_ok();
        assert!(!there, "{what} ({name:?}) is still in the journal");
    }
    let aside = fs::read_dir(host.state().join("quarantine")).unwrap().count();
    assert_eq!(aside, planted.len(), "{report}");
    // What links point to is as it was.
    let canary = fs::read_to_string(host.directory.path().join("canary.json")).unwrap();
    assert!(canary.contains("fabricated"));
    assert_eq!(fs::read_to_string(host.directory.path().join("canary/record.json")).unwrap(), "{}");

    let (again, report) = host.reap();
    assert_eq!(again.code(), 0, "{again:?}");
    assert_eq!((&report["quarantined"], &report["jobs"]), (&json!([]), &json!([])), "told twice: {report}");
    fs::remove_dir_all(host.state().join("quarantine")).unwrap();
    World::assert_same(&before, &host, &admin, "bad records");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_record_of_a_later_version_is_told_and_the_others_are_taken_back() {
    let (host, admin, before) = place(LONG, &["alice"]);
    let dead = dead_job(&host, "alice");
    let mut later = fabricated_record(&host.record(&dead), &numbered(1), &["a".into(), "b".into()]);
    later["version"] = json!(999);
    later["something-new"] = json!(true);
    put_record(&host, &numbered(1), later.to_string().as_bytes());
    let (_, report) = host.reap();
    assert_eq!(with_outcome(&report, "jobs", "removed"), set(&[&dead]), "{report}");
    assert!(report.to_string().contains(&numbered(1)), "{report}");
    let _ = fs::remove_dir_all(host.jobs().join(numbered(1)));
    let _ = fs::remove_dir_all(host.state().join("quarantine"));
    World::assert_same(&before, &host, &admin, "a later version");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_job_that_died_before_its_record_was_whole_leaves_nothing() {
    let (host, admin, before) = place("exit 0", &["alice"]);
    for (number, script) in
        ["mkdir $1", "mkdir $1; echo '{\"version\"' > $1/.record.new"].into_iter().enumerate()
    {
        shell(&host, script, &numbered(number));
    }
    host.reaped();
    World::assert_same(&before, &host, &admin, "records that were never whole");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_50_a_full_disk_is_a_refusal_before_anything_exists() {
    let (host, admin, before) = place("exit 0", &["alice"]);
    // A disk over the disk, so that nothing of this test's host has to be filled: no room for a name, for a record's
    // file, for its text.
    let full = "mount -t tmpfs -o mode=0711,$2 none \"$1\"; if [ -n \"$3\" ]; then head -c 8192 /dev/zero > \"$1/fill\"; fi; true";
    let state = host.bed.state.to_str().unwrap();
    for (options, fill) in [("nr_inodes=1", ""), ("nr_inodes=3", ""), ("size=4k", "fill")] {
        let offset = audit_length();
        let words = ["sh", "-c", full, "sh", state, options, fill];
        assert!(host.on(&words).stderr(Stdio::null()).status().unwrap().success());
        let refused = ended(&mut host.job("alice"));
        assert!([213, 228].contains(&refused.code()), "{options}: {refused:?}");
        assert!(!refused.stderr.contains("panicked"), "{refused:?}");
        let made: Vec<Value> = audit_since(offset)
            .into_iter()
            .filter(|line| {
                line["verb"] == "create" && line["objectRef"]["namespace"] == host.namespace("alice")
            })
            .collect();
        assert!(made.is_empty(), "{options}: {made:#?}");
        assert!(host.on(&["umount", state]).status().unwrap().success());
    }
    // The disk has room again, and so it runs.
    assert_eq!(ended(&mut host.job("alice")).code(), 0);
    World::assert_same(&before, &host, &admin, "a full disk");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn records_of_ended_jobs_are_kept_as_long_as_configured_and_then_forgotten() {
    let (mut host, admin, before) = place("exit 5", &["alice"]);
    let ended_job = ended(&mut host.job("alice")).job();
    let report = host.reaped();
    assert_eq!(report["forgotten"], 0, "{report}");
    assert!(host.record_file(&ended_job).exists());
    // Dead, and not taken back: kept however old it is.
    host.script(&script(LONG));
    let dead = dead_job(&host, "alice");
    let old = "find \"$1\" -exec touch -d '30 days ago' {} +";
    shell(&host, old, "");
    let age = |job: &str| {
        let mut record = host.record(job);
        for time in record["times"].as_object_mut().unwrap().values_mut() {
            *time = json!(time.as_u64().unwrap() - 30 * 86_400);
        }
        put_record(&host, job, record.to_string().as_bytes());
    };
    age(&ended_job);
    age(&dead);
    let all = host.recorded();
    let report = host.reaped();
    assert_eq!(report["forgotten"], 1, "{report}");
    assert_eq!(with_outcome(&report, "jobs", "removed"), set(&[&dead]), "{report}");
    let kept = host.recorded();
    assert_eq!(all.difference(&kept).collect::<Vec<_>>(), [&ended_job]);
    World::assert_same(&before, &host, &admin, "old records");

    host.configuration["records"] = json!({"keep": "1s"});
    host.configure();
    until("all records are old", || {
        host.reaped();
        host.recorded().is_empty()
    });
    let mode = fs::metadata(host.jobs()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "the journal is root's alone");
}
