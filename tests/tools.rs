//! Programs of Spark's that an administrator lists beside the four. A shell script stands in for them, but for beeline,
//! which is Spark's. Needs the test bed (`make test`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::*;

/// A configuration whose Spark has these tools, each a script that tells its words.
fn with_tools(directory: &Path, tools: &Value) -> PathBuf {
    let mut configuration = configuration();
    let home = script_spark(directory, "printf '<%s>' \"${0##*/}\" \"$@\"; id -un");
    for tool in ["run-example", "beeline"] {
        fs::copy(home.join("bin/spark-submit"), home.join("bin").join(tool)).unwrap();
    }
    configuration["callers"] = json!(["dssuser", "root"]);
    let profile = &mut configuration["profiles"]["per-user"];
    profile["spark_home"] = json!(home.to_str().unwrap());
    profile["tools"] = tools.clone();
    write_configuration(directory, &configuration)
}

fn run(config: &Path, program: &str, words: &[&str]) -> Ended {
    let config = config.to_str().unwrap();
    let fixed =
        ["--config", config, "run", "--user", "alice", "--profile", "per-user", "--program", program, "--"];
    ended(&mut as_root(&[&fixed, words].concat()))
}

#[test]
#[ignore = "needs the test bed: make test"]
fn tools_that_the_administrator_lists_run_and_no_others() {
    let directory = trusted_directory();
    let tools = json!([
        {"name": "beeline"},
        {"name": "run-example", "arguments": "spark-submit"},
        {"name": "history", "class": "org.example.History"},
    ]);
    let config = with_tools(directory.path(), &tools);

    // Its own arguments: as they came, and nothing else.
    let own = run(&config, "beeline", &["-u", "jdbc:hive2://x/", "--conf", "spark.master=local", "-e", ""]);
    assert_eq!(own.code(), 0, "{own:?}");
    assert_eq!(own.stdout, "<beeline><-u><jdbc:hive2://x/><--conf><spark.master=local><-e><>alice\n");
    assert_nothing_left(&own.job());
    let class = run(&config, "history", &["a", "--b"]);
    assert_eq!(class.stdout, "<spark-class><org.example.History><a><--b>alice\n", "{class:?}");

    // spark-submit's: options, settings, what to run, its arguments.
    let example = run(&config, "run-example", &["--name", "n", "SparkPi", "10"]);
    assert_eq!(example.code(), 0, "{example:?}");
    assert!(example.stdout.starts_with("<run-example><--properties-file>"), "{example:?}");
    assert!(example.stdout.contains("<--name><n>"), "{example:?}");
    assert!(example.stdout.ends_with("<--deploy-mode><client><SparkPi><10>alice\n"), "{example:?}");
    run(&config, "run-example", &["--master", "local", "SparkPi"]).refused(209, "--master");

    for other in ["spark-class", "find-spark-home", "../../../bin/sh", "org.example.History", ""] {
        run(&config, other, &["x"]).refused(207, "`programs` and `tools`");
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_tool_that_reads_no_settings_takes_none() {
    let directory = trusted_directory();
    let config = with_tools(directory.path(), &json!([{"name": "beeline"}]));
    let request = temporary_file(
        "request.json",
        r#"{"user": "alice", "profile": "per-user", "program": "beeline", "conf": {"spark.x": "y"}}"#,
    );
    let words = ["--config", config.to_str().unwrap(), "run", "--request", request.path.to_str().unwrap()];
    ended(&mut as_root(&words)).refused(209, "reads no Spark settings");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn a_tool_that_somebody_else_can_change_is_refused() {
    let directory = trusted_directory();
    let config = with_tools(directory.path(), &json!([{"name": "beeline"}]));
    let file = directory.path().join("spark/bin/beeline");
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o757)).unwrap();
    run(&config, "beeline", &[]).refused(210, "bin/beeline");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn sparks_own_beeline_runs_as_the_user() {
    let words = ["run", "--user", "alice", "--profile", "shells", "--program", "beeline", "--", "--help"];
    let ended = ended(&mut as_platform(&words));
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(ended.stderr.contains("beeline runs as alice"), "{ended:?}");
    assert!((ended.stdout.clone() + &ended.stderr).contains("the JDBC URL to connect to"), "{ended:?}");
    assert_nothing_left(&ended.job());
}
