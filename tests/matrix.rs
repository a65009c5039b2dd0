//! Versions of Spark and kinds of job, each pair once: `make matrix` runs all of them on the newest release of each
//! supported line, `make test` a part on those that the test bed has. Needs the test bed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;
use spark_submit_as::spark::SparkVersion;
use spark_submit_as::spark::options::OPTIONS;
use support::*;

/// A kind of job.
struct Case {
    name: &'static str,
    /// Spark's words before the program, the program, and its arguments.
    words: fn(&str) -> Vec<String>,
    /// What it prints when all is well.
    says: &'static str,
}

const CASES: [Case; 4] = [
    Case { name: "python", words: python, says: "Pi is roughly 3." },
    Case { name: "jvm", words: jvm, says: "Pi is roughly 3." },
    Case { name: "shuffle", words: shuffle, says: "executors 2" },
    Case { name: "dynamic", words: dynamic, says: "dynamic: up " },
];

/// What `make test` runs. The version that the other tests run on has all but one of them already.
const PART: [(&str, &str); 6] = [
    ("3.5.9", "python"),
    ("3.5.9", "dynamic"),
    ("4.1.4", "dynamic"),
    ("4.3.0", "python"),
    ("4.3.0", "jvm"),
    ("4.3.0", "shuffle"),
];

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

fn python(version: &str) -> Vec<String> {
    let pi = of_version("SSA_BED_SPARK_HOME", version).join("examples/src/main/python/pi.py");
    words(&[pi.to_str().unwrap(), "4"])
}

fn jvm(version: &str) -> Vec<String> {
    let jar = of_version("SSA_BED_JARS", version).join("spark-pi.jar");
    words(&["--class", "SparkPi", jar.to_str().unwrap(), "4"])
}

fn shuffle(_: &str) -> Vec<String> {
    words(&["--conf", "spark.executor.instances=2", &job("shuffle.py")])
}

fn dynamic(_: &str) -> Vec<String> {
    words(&[&job("dynamic.py")])
}

/// A program of the platform's, which the end-user reads as a staged copy.
fn job(name: &str) -> String {
    let path = format!("/var/tmp/{}", name.replace('.', &format!("-{}.", std::process::id())));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbench/jobs").join(name);
    fs::write(&path, fs::read_to_string(source).unwrap()).unwrap();
    let status = Command::new("chown").args(["dssuser:", &path]).status().unwrap();
    assert!(status.success());
    path
}

/// The directory of another version that stands beside that of the test bed's own.
fn of_version(variable: &str, version: &str) -> PathBuf {
    PathBuf::from(bed(variable).replace(&format!("/{}/", bed("SSA_BED_SPARK")), &format!("/{version}/")))
}

fn versions() -> Vec<String> {
    bed("SSA_BED_VERSIONS").split_whitespace().map(String::from).collect()
}

/// Runs a case; why it is not as it should be.
fn run(version: &str, case: &Case) -> Result<(), String> {
    let profile = match version == bed("SSA_BED_SPARK") {
        true => "per-user".to_owned(),
        false => format!("per-user-{}", version.replace('.', "-")),
    };
    let arguments = (case.words)(version);
    let mut call = words(&["run", "--user", "bob", "--profile", &profile]);
    let staged = arguments.iter().find(|word| word.starts_with("/var/tmp/")).cloned();
    call.extend(staged.iter().flat_map(|path| words(&["--stage", path])));
    call.push("--".into());
    call.extend(arguments);
    let offset = audit_length();
    let ended = ended(&mut as_platform(&call));
    if let Some(path) = staged {
        fs::remove_file(path).unwrap();
    }
    if ended.status.code() != Some(0) || !ended.stdout.contains(case.says) {
        return Err(format!("{ended:?}"));
    }
    assert_nothing_left(&ended.job());
    let account = format!("system:serviceaccount:dss-ns-bob:ssa-job-{}", ended.job());
    let lines: Vec<Value> = audit_since(offset);
    let own: Vec<&Value> = lines.iter().filter(|line| line["user"]["username"] == account.as_str()).collect();
    if own.len() <= 3 {
        return Err(format!("only {} requests of the driver's in the audit log", own.len()));
    }
    match own.iter().find(|line| [401, 403].map(Value::from).contains(&line["responseStatus"]["code"])) {
        Some(line) => Err(format!("a request was refused: {line}")),
        None => Ok(()),
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn versions_and_kinds_of_jobs_no_request_refused_nothing_left() {
    let full = std::env::var("SSA_FULL").is_ok_and(|value| value == "1");
    let (mut table, mut wrong) = (String::new(), Vec::new());
    let mut count = 0;
    for version in versions() {
        for case in &CASES {
            if !full && !PART.contains(&(version.as_str(), case.name)) {
                continue;
            }
            count += 1;
            let begin = Instant::now();
            let result = run(&version, case);
            let verdict = if result.is_ok() { "pass" } else { "FAIL" };
            let line =
                format!("{version:8} {:10} {verdict} {:6.1} s\n", case.name, begin.elapsed().as_secs_f64());
            print!("{line}");
            table += &line;
            wrong.extend(result.err().map(|why| format!("{version} {}: {why}", case.name)));
        }
    }
    assert!(
        count >= if full { versions().len() * CASES.len() } else { PART.len() },
        "{count} were run:\n{table}"
    );
    assert!(wrong.is_empty(), "{table}{}", wrong.join("\n"));
    println!("{count} of {count} pass");
}

/// Options that a help text defines: name, short name, and whether the text names a value for it.
fn options_in(help: &str) -> Vec<(String, Option<String>, bool)> {
    let mut found = Vec::new();
    for line in help.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
        let head = line.split("  ").next().unwrap_or_default();
        let names: BTreeSet<&str> =
            head.split([' ', ',']).filter(|word| word.starts_with('-') && word.len() > 1).collect();
        let value = head.split([' ', ',']).any(|word| !word.is_empty() && !word.starts_with('-'));
        let long = names.iter().find(|name| name.starts_with("--"));
        let short = names.iter().find(|name| !name.starts_with("--"));
        found.extend(long.map(|long| ((*long).to_owned(), short.map(|name| (*name).to_owned()), value)));
    }
    found
}

#[test]
#[ignore = "needs the test bed: make test"]
fn every_option_of_each_versions_help_is_in_the_grammar() {
    for version in versions() {
        let home = of_version("SSA_BED_SPARK_HOME", &version);
        let output =
            Command::new(home.join("bin/spark-submit")).arg("--help").current_dir("/").output().unwrap();
        let help = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        let options = options_in(&help);
        assert!(options.len() >= 30, "{version}: {} options in {help}", options.len());
        let release = SparkVersion::parse(&version).unwrap();
        for (name, short, value) in options {
            let spec = OPTIONS.iter().find(|spec| spec.name == name);
            let spec = spec.unwrap_or_else(|| panic!("{version}: the grammar does not know {name}"));
            assert!(spec.since.is_none_or(|since| since <= release), "{version} has {name} already");
            assert!(!value || spec.takes_value, "{version}: {name} takes a value");
            assert!(short.is_none() || spec.short == short.as_deref(), "{version}: {name}, {short:?}");
        }
    }
}
