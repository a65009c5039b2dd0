//! Faults of programs like this one, by their numbers: what they would do here. And docs/cve-map.md itself: every test that it
//! names is there. None of these needs the test bed; tests that do are in the files that the map names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use regex::Regex;
use spark_submit_as::cli::{Cli, Verb};
use spark_submit_as::policy::config::{Config, Program, RegexRule, Spark};
use spark_submit_as::policy::names::{
    JobId, Login, NamespaceName, UserName, is_project_key, is_property_name,
};
use spark_submit_as::policy::token::Token;
use spark_submit_as::spark::{JobFacts, SparkVersion, check_arguments, command_line, parse};
use spark_submit_as::supervisor::report::escaped;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn below(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(below(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found
}

/// Lines of src/ that match, comments and unit tests left out.
fn lines_of_sources(pattern: &str) -> Vec<String> {
    let pattern = Regex::new(pattern).unwrap();
    let mut found = Vec::new();
    for path in below(&top().join("src"), "rs") {
        let name = path.strip_prefix(top()).unwrap().display().to_string();
        if name.contains("/tests") || name.ends_with("faults.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let matching =
            code.lines().filter(|line| !line.trim_start().starts_with("//") && pattern.is_match(line));
        found.extend(matching.map(|line| format!("{name}: {}", line.trim())));
    }
    found
}

const NONE: [String; 0] = [];

/// Spark: a user's name reached a shell (and again in a second place).
#[test]
fn cve_2022_33891_2023_32007_no_name_is_fit_for_a_shell_and_no_shell_is_started() {
    for name in
        ["a;id", "a`id`", "$(id)", "a|b", "a b", "a\nb", "a&b", "a'b", "a\"b", "a>b", "*", "~", "a\\b", "#a"]
    {
        assert!(Login::new(name).is_err() && UserName::new(name).is_err(), "{name:?}");
        assert!(JobId::new(name).is_err() && NamespaceName::new(name).is_err(), "{name:?}");
        assert!(!is_project_key(name) && !is_property_name(name), "{name:?}");
    }
    // A program is named by its whole path and given its words one by one.
    assert_eq!(lines_of_sources(r#"Command::new\("[^/]|"(/usr)?(/bin/)?(ba|da|z)?sh"\s*[,)\]]"#), NONE);
}

/// sudo-rs: a user's name in the path of a file; YARN: a path that was put together from names.
#[test]
fn cve_2023_42456_2021_33036_no_name_is_a_path() {
    for name in ["../root", "..", ".", "/etc", "a/b", "a/../b", "", "a\0", ".ssh"] {
        assert!(UserName::new(name).is_err() && JobId::new(name).is_err(), "{name:?}");
        assert!(Login::new(name).is_err(), "{name:?}");
    }
    // What root's files are called comes from the job's id alone.
    let id = JobId::from_random([0xff; 10]);
    assert!(id.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric()));
}

/// sudo: a backslash at the end of an argument was taken for an escape, and the copy ran over its buffer.
#[test]
fn cve_2021_3156_a_backslash_at_the_end_stays_one() {
    let words = ["--name", "x\\", "local:///app.jar", "\\", "a\\", ""].map(OsString::from);
    let call = ["spark-submit-as", "run", "--user", "alice", "--profile", "p", "--"].map(OsString::from);
    let cli = Cli::try_parse_from(call.iter().chain(&words)).unwrap();
    let Verb::Run(run) = cli.verb else { panic!("run") };
    assert_eq!(run.arguments, words);
    let namespace = NamespaceName::new("team-a").unwrap();
    let parsed = parse(Program::SparkSubmit, &run.arguments, SparkVersion::parse("4.1")).unwrap();
    check_arguments(&parsed, &namespace).unwrap();
    let facts = JobFacts {
        job: JobId::new("abcdefghijklmnop").unwrap(),
        namespace,
        server: "https://192.0.2.1:6443".into(),
        driver_host: "192.0.2.7".into(),
        driver_ports: None,
        pod_template: "/run/x".into(),
        auth_secret_file: None,
        properties_file: None,
    };
    let line = command_line(&parsed, &facts, &Spark::default());
    assert!(line.ends_with(&words[2..]) && line.contains(&words[1]), "{line:?}");
}

/// sudo: --host let rules of other hosts hold here; --chroot loaded nsswitch.conf from a directory of the caller's.
#[test]
fn cve_2025_32462_32463_there_is_no_host_and_no_root_directory_to_choose() {
    fn options(command: &clap::Command, found: &mut BTreeSet<String>) {
        found.extend(command.get_arguments().filter_map(|argument| argument.get_long()).map(String::from));
        // `properties --login` and `--group` say whose word is written; they are root's own.
        let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "properties");
        verbs.for_each(|verb| options(verb, found));
    }
    let mut found = BTreeSet::new();
    options(&Cli::command(), &mut found);
    assert!(found.contains("user") && found.contains("config"), "{found:?}");
    for refused in ["host", "chroot", "root", "shell", "preserve-env", "login", "group", "chdir"] {
        assert!(!found.contains(refused), "--{refused}");
    }
    assert_eq!(lines_of_sources(r"\bchroot\s*\(|\bpivot_root\b"), NONE);
    // Nor do rules depend on a host.
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    assert!(schema["properties"]["users"].is_object() && schema["properties"].get("hosts").is_none());
}

/// OpenSSH: work in a signal handler that was not safe there.
#[test]
fn cve_2024_6387_no_code_runs_in_a_signal_handler() {
    assert_eq!(lines_of_sources(r"SigHandler::Handler|SigAction\b|sa_sigaction|signal_hook"), NONE);
    assert!(!lines_of_sources("SignalFd").is_empty(), "signals are read from a descriptor");
}

/// sudo: the id -1 meant "leave it", and that was root. Also sudo-rs, where it was the default for "no owner".
#[test]
fn cve_2019_14287_an_id_is_never_read_from_a_name() {
    for name in ["-1", "4294967295", "#0", "#-1", "0", "00", "+0", "0x0", "0X1f", "1000", "", " 0"] {
        assert!(UserName::new(name).is_err() && Login::new(name).is_err(), "{name:?}");
    }
}

/// sudo: control characters of the caller's in the log.
#[test]
fn cve_2023_28486_a_line_holds_no_control_character() {
    let line = escaped("a\x1b[2Jb\r\n\u{9b}31m\u{7f}\0%n");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(line.starts_with("a\\") && line.ends_with("%n"));
}

/// YARN, again and again: what the caller chooses decides what root executes.
#[test]
fn cve_2016_6811_2018_8029_2018_11766_the_caller_chooses_no_program_and_no_path() {
    let with = |tools: &str| {
        let text = format!(
            "{{callers: [d], provisioner: p, users: {{allowed_groups: [g]}}, clusters: {{m: {{kubeconfig: /a}}}}, \
             profiles: {{p: {{cluster: m, namespace: {{template: a}}, programs: [pyspark], tools: [{tools}]}}}}}}"
        );
        spark_submit_as::policy::config::parse(text.as_bytes())
    };
    let config = with("{name: beeline}, {name: history, class: org.example.History}").unwrap();
    // The name is looked for in two lists of the administrator's, and is no path then either.
    let file = |program: &str| config.profiles["p"].runnable(program).map(|runnable| runnable.file);
    assert_eq!(
        ["pyspark", "beeline", "history"].map(file),
        [Some("pyspark"), Some("beeline"), Some("spark-class")]
    );
    for program in [
        "/bin/sh",
        "../../bin/sh",
        "sh",
        "spark-class",
        "spark-submit",
        "pyspark\0",
        "./pyspark",
        "org.example.History",
        "",
    ] {
        assert_eq!(file(program), None, "{program:?}");
    }
    for tool in ["{name: /bin/sh}", "{name: ../sh}", "{name: spark-class}", "{name: a, class: \"-cp\"}"] {
        assert!(with(tool).is_err(), "{tool}");
    }
}

/// batchspawner: the user's form could set the account; Livy and sparkmagic: anybody could name anybody.
#[test]
fn an_account_comes_from_rules_of_the_administrator_and_never_from_the_call() {
    let users = serde_json::from_value(serde_json::json!({
        "allowed_groups": ["spark-users"],
        "mapping": [{"regex": "([a-z]+)@corp\\.com", "user": "$1"}],
    }));
    let users: spark_submit_as::policy::config::Users = users.unwrap();
    let map =
        |login: &str| spark_submit_as::policy::identity::map_login(&users, &Login::new(login).unwrap(), None);
    assert_eq!(map("alice@corp.com").unwrap().user.as_str(), "alice");
    // A match of a part, which the original's rules once took.
    for login in ["alice", "alice@corp.com.evil", "x.alice@corp.com", "alice@corpxcom"] {
        assert!(map(login).is_err(), "{login}");
    }
    let rule = RegexRule { regex: "a".into(), user: "root".into(), project: None };
    let text = format!(
        "{{\"callers\":[\"d\"],\"provisioner\":\"p\",\"users\":{{\"allowed_groups\":[\"g\"],\"mapping\":[{}]}},\
         \"clusters\":{{\"m\":{{\"kubeconfig\":\"/a\"}}}},\"profiles\":{{\"p\":{{\"cluster\":\"m\",\"namespace\":{{\"template\":\"a\"}}}}}}}}",
        serde_json::to_string(&rule).unwrap()
    );
    let error = spark_submit_as::policy::config::parse(text.as_bytes()).unwrap_err();
    assert!(error.rule.contains("root"), "{error}");
}

/// DSS, Livy, systemdspawner: tokens in logs. A type that cannot be printed cannot be logged by accident.
#[test]
fn dsa_2024_002_2025_006_a_token_has_no_printed_form() {
    let text = fs::read_to_string(top().join("src/policy/token.rs")).unwrap();
    assert!(
        !text.replace("derive(Clone)", "").contains("derive(")
            && !text.contains("impl fmt::")
            && !text.contains("impl std::fmt"),
        "{text}"
    );
    assert!(Token::new("a b".into()).is_none() && Token::new("a\r\nX: y".into()).is_none());
    // Where a token is taken out of its type.
    let taken: BTreeSet<String> = lines_of_sources(r"\.expose\(\)")
        .into_iter()
        .map(|line| line.split(": ").next().unwrap().to_owned())
        .collect();
    let allowed = [
        "src/protocol.rs",
        "src/supervisor/run/credential.rs",
        "src/supervisor/plan.rs",
        "src/supervisor/run/starting.rs",
    ];
    let others: Vec<&String> = taken
        .iter()
        .filter(|file| !allowed.contains(&file.as_str()) && !file.starts_with("src/provisioner/"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

/// Crates with advisories that were never in the tree, or were fixed before what is locked.
#[test]
fn rustsec_crates_with_advisories_are_not_locked() {
    let lock = fs::read_to_string(top().join("Cargo.lock")).unwrap();
    let package = Regex::new(r#"\[\[package\]\]\nname = "([^"]+)"\nversion = "([^"]+)""#).unwrap();
    let locked: Vec<(String, Vec<u32>)> = package
        .captures_iter(&lock)
        .map(|one| {
            (one[1].to_owned(), one[2].split(['.', '-', '+']).filter_map(|part| part.parse().ok()).collect())
        })
        .collect();
    assert!(locked.len() > 50);
    // RUSTSEC-2023-0018, -2023-0040, -2023-0059, -2025-0040, -2025-0068, and what is archived.
    for bad in ["remove_dir_all", "users", "serde_yml", "libyml", "serde_yaml"] {
        assert!(!locked.iter().any(|(name, _)| name == bad), "{bad} is in Cargo.lock");
    }
    // RUSTSEC-2021-0119, RUSTSEC-2026-0190.
    for (name, fixed) in [("nix", vec![0, 23]), ("anyhow", vec![1, 0, 103])] {
        let found: Vec<_> = locked.iter().filter(|(found, _)| found == name).collect();
        assert!(!found.is_empty() && found.iter().all(|(_, version)| *version >= fixed), "{found:?}");
    }
}

/// The module that a file of src/ is, as `cargo test` prints it: that of the library, or of the provisioner's program.
fn module(file: &str) -> String {
    let inner = file.strip_prefix("src/").unwrap().trim_end_matches(".rs");
    let inner = inner.strip_prefix("provisioner/").unwrap_or(inner).trim_end_matches("/mod");
    inner.replace('/', "::")
}

/// Each row of the map names its tests as `` `name` (`file`) ``.
#[test]
fn the_map_names_tests_that_exist() {
    let map = fs::read_to_string(top().join("docs/cve-map.md")).unwrap();
    let named = Regex::new(r"`([^`]+)` \(`([^`]+)`\)").unwrap();
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let (mut rows, mut without, mut missing) = (0, Vec::new(), Vec::new());
    for row in map
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| id ") && !line.starts_with("| what "))
    {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 4, "a row has four cells: {row}");
        rows += 1;
        let tests: Vec<(&str, &str)> = named
            .captures_iter(cells[3])
            .map(|one| one.extract::<2>().1)
            .map(|[name, file]| (name, file))
            .collect();
        if tests.is_empty() {
            assert!(
                cells[3].starts_with("no test: ") && cells[3].len() > 20,
                "neither test nor reason: {row}"
            );
            without.push(cells[0]);
        }
        let rest = named.replace_all(cells[3], "");
        assert!(tests.is_empty() || rest.chars().all(|c| c == ',' || c == ' '), "not understood: {rest}");
        for (name, file) in tests {
            let text = texts
                .entry(file.to_owned())
                .or_insert_with(|| fs::read_to_string(top().join(file)).unwrap_or_default());
            let (path, function) = name.rsplit_once("::").unwrap_or(("", name));
            let there = Regex::new(&format!(r"#\[(tokio::)?test\][^{{}}]*?\bfn {function}\("))
                .unwrap()
                .is_match(text);
            assert!(file.starts_with("tests/") || file.starts_with("src/"), "{file}");
            let right = match file.starts_with("src/") {
                true => [module(file), format!("{}::tests", module(file))].contains(&path.to_owned()),
                false => path.is_empty(),
            };
            println!("{:28} {name} ({file})", cells[0].split(',').next().unwrap());
            if !there || !right {
                missing.push(format!("{}: {name} ({file})", cells[0]));
            }
        }
    }
    println!("{rows} rows; without a test: {}", without.join("; "));
    assert!(rows > 40, "the map is not understood");
    assert!(missing.is_empty(), "not there: {missing:#?}");
    // Tests with a number of their own are in the map, too.
    let own = Regex::new(r"fn ((?:cve|dsa|rustsec)_[a-z0-9_]+)\(").unwrap();
    for one in own.captures_iter(include_str!("cve.rs")) {
        assert!(map.contains(&one[1]), "{} is not in docs/cve-map.md", &one[1]);
    }
}
