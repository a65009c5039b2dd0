//! The rooms of the design, held by looking: who names whom in the source, what is in the lock file, what root's binary
//! contains, and that the manual, the completions and `--help` say the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use spark_submit_as::exit::ExitCode;
use support::bed;

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Paths below src/ and their text.
fn sources() -> BTreeMap<String, String> {
    fn walk(directory: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(top()).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&top().join("src"), &mut found);
    assert!(found.len() > 30, "the sources are not found");
    found
}

/// The code without comments, and with empty string literals: what is named and not what is spoken of.
fn code(text: &str) -> String {
    let skipped = Regex::new(concat!(
        r#"(?s)//[^\n]*|/\*.*?\*/"#,
        // Raw strings of up to two hashes, strings, and characters (a quote among them would open a string).
        r##"|b?r#{2}".*?"#{2}|b?r#".*?"#|b?r".*?"|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^u]|\\u\{[^}]*\}|[^'\\])'"##,
    ))
    .unwrap();
    skipped
        .replace_all(text, |found: &regex::Captures<'_>| {
            let newlines = found[0].matches('\n').count();
            let literal = if found[0].starts_with('/') { "" } else { "\"\"" };
            format!("{literal}{}", "\n".repeat(newlines))
        })
        .into_owned()
}

/// `path:line` of each place outside of `allowed` whose code matches.
fn named_outside(sources: &BTreeMap<String, String>, pattern: &str, allowed: &[&str]) -> Vec<String> {
    named_inside(sources, pattern, |path| !allowed.iter().any(|room| path.starts_with(room)))
}

fn named_inside(
    sources: &BTreeMap<String, String>,
    pattern: &str,
    inside: impl Fn(&str) -> bool,
) -> Vec<String> {
    let pattern = Regex::new(pattern).unwrap();
    let mut places = Vec::new();
    for (path, text) in sources.iter().filter(|(path, _)| inside(path)) {
        for (index, line) in code(text).lines().enumerate() {
            if pattern.is_match(line) {
                places.push(format!("{path}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    places
}

const UNSAFE: &str = r"\bunsafe\b|allow\(.*\bunsafe_code\b";
const CLUSTER: &str = r"\b(kube|kube_\w+|k8s_openapi|tokio|tokio_\w+|hyper|hyper_\w+|rustls|rustls_\w+|ring|http|http_body_util|tower|tower_\w+|jiff)\s*::|\b(use|extern crate)\s+(kube|k8s_openapi|tokio|hyper|rustls|ring|http|tower|jiff)\b";
const NO_PURE: &str =
    r"\bstd::(fs|process|thread|os::fd|net::\w*(Stream|Socket|Listener))\b|\blibc::|\bnix::|\busers::";
const NONE: [&str; 0] = [];

/// Rooms that a path or a `use` names, groups in braces included: `use crate::{job, policy::config}` names two.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let code = code(text);
    let path = Regex::new(r"\b(?:crate|spark_submit_as)::(?:(\w+)|\{)").unwrap();
    let mut rooms = BTreeSet::new();
    for found in path.captures_iter(&code) {
        if let Some(room) = found.get(1) {
            rooms.insert(room.as_str().to_owned());
            continue;
        }
        // The first word of each member of the outermost group.
        let mut depth = 1;
        let mut first = true;
        let mut word = String::new();
        for c in code[found.get(0).unwrap().end()..].chars() {
            if first && (c.is_alphanumeric() || c == '_') {
                word.push(c);
            } else if !word.is_empty() {
                rooms.insert(std::mem::take(&mut word));
                first = false;
            }
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => first = true,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    rooms
}

/// Files of `room` that name a room which they must not.
fn trespasses(sources: &BTreeMap<String, String>, room: &str, forbidden: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources.iter().filter(|(path, _)| path.starts_with(room)) {
        let named = rooms_named(text);
        found.extend(
            forbidden
                .iter()
                .filter(|other| named.contains(**other))
                .map(|other| format!("{path} names {other}")),
        );
    }
    found
}

#[test]
fn the_looking_itself_sees_what_it_must() {
    let text = r##"
        // unsafe in a comment, tokio::main too
        /* kube::Client */
        const A: &str = "unsafe { kube::x }"; const B: &str = r#"tokio::y "quoted" "#; const C: char = '"';
        use crate::{job, policy::{config, names}, supervisor::run};
        fn f<'a>(x: &'a str) { spark_submit_as::protocol::g(x) }
    "##;
    let sample = |text: &str| BTreeMap::from([("src/policy/x.rs".to_owned(), text.to_owned())]);
    assert_eq!(named_outside(&sample(text), UNSAFE, &[]), NONE);
    assert_eq!(named_outside(&sample(text), CLUSTER, &[]), NONE);
    assert_eq!(rooms_named(text), ["job", "policy", "protocol", "supervisor"].map(String::from).into());
    for (pattern, line) in [
        (UNSAFE, "unsafe { libc::fork() }"),
        (UNSAFE, "let c = '\"'; unsafe fn f() {}"),
        (UNSAFE, "#![allow(unsafe_code)]"),
        (CLUSTER, "use tokio::net::UnixStream;"),
        (CLUSTER, "let x = kube::Client::new();"),
        (CLUSTER, "use http;"),
        (NO_PURE, "std::fs::read(path)"),
    ] {
        let found = named_outside(&sample(line), pattern, &["src/sys/"]);
        assert_eq!(found, [format!("src/policy/x.rs:1: {}", code(line))]);
    }
    assert_eq!(trespasses(&sample(text), "src/policy/", &["job"]), ["src/policy/x.rs names job"]);
}

#[test]
fn unsafe_code_is_in_sys_alone_and_says_why() {
    let sources = sources();
    assert_eq!(named_outside(&sources, UNSAFE, &["src/sys/"]), NONE);
    for (path, text) in sources.iter().filter(|(path, _)| path.starts_with("src/sys/")) {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if code(line).contains("unsafe {") {
                let above = lines[index.saturating_sub(6)..=index].join("\n");
                assert!(above.contains("SAFETY"), "{path}:{}: no SAFETY reason", index + 1);
            }
        }
    }
}

#[test]
fn the_cluster_is_the_provisioners_alone() {
    let sources = sources();
    assert_eq!(named_outside(&sources, CLUSTER, &["src/provisioner/"]), NONE);
    assert!(!named_inside(&sources, CLUSTER, |path| path.starts_with("src/provisioner/")).is_empty());
}

#[test]
fn no_room_names_a_room_of_another_uid() {
    let sources = sources();
    let mut found = Vec::new();
    let pure = ["src/policy/", "src/spark/", "src/protocol.rs", "src/sys/", "src/exit.rs"];
    for room in pure {
        found.extend(trespasses(&sources, room, &["supervisor", "job", "caller", "provisioner"]));
    }
    found.extend(trespasses(&sources, "src/provisioner/", &["supervisor", "job", "caller", "cli", "spark"]));
    for room in ["src/supervisor/", "src/job/", "src/caller", "src/main.rs", "src/lib.rs", "src/cli.rs"] {
        found.extend(trespasses(&sources, room, &["provisioner"]));
    }
    for room in ["src/job/", "src/caller"] {
        found.extend(trespasses(&sources, room, &["supervisor"]));
    }
    assert_eq!(found, NONE);
    let modules = named_inside(&sources, r"\bmod\s+provisioner\b", |path| path == "src/lib.rs");
    assert_eq!(modules, NONE, "the provisioner is a program of its own");
}

#[test]
fn decisions_are_pure() {
    let tests = Regex::new(r"(^|/)tests?(/|\.rs$)|testing\.rs$").unwrap();
    let pure = |path: &str| {
        (path.starts_with("src/policy/") || path.starts_with("src/spark/")) && !tests.is_match(path)
    };
    assert_eq!(named_inside(&sources(), NO_PURE, pure), NONE);
}

#[test]
fn anyhow_is_in_main_alone() {
    assert_eq!(named_outside(&sources(), r"\banyhow\b", &["src/main.rs"]), NONE);
}

#[test]
fn modules_stay_small() {
    let mut long = Vec::new();
    for (path, text) in sources() {
        // A module's own tests at its end do not count.
        let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count();
        if lines > 450 {
            println!("warning: {path} has {lines} lines; divide it by duty");
            long.push((lines, path));
        }
    }
    assert!(long.iter().all(|(lines, _)| *lines <= 600), "{long:?}");
}

/// Name and version of each locked package.
fn locked() -> Vec<(String, String)> {
    let text = fs::read_to_string(top().join("Cargo.lock")).unwrap();
    let package = Regex::new(r#"\[\[package\]\]\nname = "([^"]+)"\nversion = "([^"]+)""#).unwrap();
    let found: Vec<_> =
        package.captures_iter(&text).map(|one| (one[1].to_owned(), one[2].to_owned())).collect();
    assert!(found.len() > 50, "the lock file is not understood");
    found
}

#[test]
fn the_lock_file_has_no_crate_that_is_known_to_be_unsound() {
    let locked = locked();
    for bad in
        ["users", "serde_yml", "serde_yaml", "libyml", "openssl", "openssl-sys", "aws-lc-rs", "native-tls"]
    {
        assert!(!locked.iter().any(|(name, _)| name == bad), "{bad} is in Cargo.lock");
    }
    let numbers = |version: &str| version.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
    let anyhow: Vec<_> = locked.iter().filter(|(name, _)| name == "anyhow").collect();
    assert!(
        !anyhow.is_empty() && anyhow.iter().all(|(_, version)| numbers(version) >= vec![1, 0, 103]),
        "{anyhow:?}"
    );
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The two installed binaries: root's and the provisioner's.
fn binaries() -> [String; 2] {
    let provisioner = Path::new(&bed("SSA_BED_PREFIX")).join("libexec/spark-submit-as-provisioner");
    [bed("SSA_BIN"), provisioner.to_str().unwrap().to_owned()]
}

#[test]
#[ignore = "needs the test bed: make test"]
fn roots_binary_has_no_symbol_of_a_network_stack() {
    let network =
        Regex::new(r"(?i)rustls|\bhyper|tokio|\bkube::|kube_client|k8s_openapi|ring_core|webpki").unwrap();
    let symbols = |binary: &str| {
        let text = output("nm", &["--demangle", binary]);
        // The old mangling is not undone by every nm; the words are in it all the same.
        assert!(text.lines().count() > 1000, "{binary} is stripped, nothing could be seen");
        text.lines().filter(|line| network.is_match(line)).map(String::from).collect::<Vec<_>>()
    };
    let [root, provisioner] = binaries();
    assert_eq!(symbols(&root), NONE);
    assert!(symbols(&provisioner).len() > 100, "the looking sees nothing");
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_12_the_binaries_need_the_c_library_alone_and_no_path() {
    let allowed = ["libc.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];
    let needed = Regex::new(r"\(NEEDED\)\s+Shared library: \[([^\]]+)\]").unwrap();
    let symbol = Regex::new(r"\bGLIBC_(\d+)\.(\d+)").unwrap();
    for binary in binaries() {
        let dynamic = output("readelf", &["--wide", "-d", &binary]);
        let libraries: Vec<&str> =
            needed.captures_iter(&dynamic).map(|one| one.get(1).unwrap().as_str()).collect();
        assert!(libraries.contains(&"libc.so.6"), "{dynamic}");
        assert!(libraries.iter().all(|library| allowed.contains(library)), "{binary}: {libraries:?}");
        assert!(!dynamic.contains("RPATH") && !dynamic.contains("RUNPATH"), "{binary}: {dynamic}");
        assert!(dynamic.contains("BIND_NOW") || dynamic.contains(" NOW"), "{binary} binds late");

        let versions = output("readelf", &["--wide", "-V", &binary]);
        let number = |text: &str| text.parse::<u32>().unwrap();
        let highest =
            symbol.captures_iter(&versions).map(|one| (number(&one[1]), number(&one[2]))).max().unwrap();
        println!("{binary}: GLIBC_{}.{}, {libraries:?}", highest.0, highest.1);
        assert!(highest <= (2, 34), "{binary} needs GLIBC_{}.{}", highest.0, highest.1);
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(files_below(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn manual_and_completions_are_what_the_definitions_say() {
    let directory = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--example", "docs", "--"])
        .arg(directory.path())
        .current_dir(top())
        .status()
        .unwrap();
    assert!(status.success());
    let written = files_below(directory.path());
    assert!(written.len() >= 5, "{written:?}");
    for path in written {
        let name = path.strip_prefix(directory.path()).unwrap();
        let in_tree = fs::read_to_string(top().join(name))
            .unwrap_or_else(|error| panic!("{}: {error}", name.display()));
        assert!(in_tree == fs::read_to_string(&path).unwrap(), "{} is old; run `make docs`", name.display());
    }
}

/// The manual as text: no font changes, plain hyphens.
fn manual() -> String {
    let text = fs::read_to_string(top().join("man/spark-submit-as.8")).unwrap();
    text.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "")
}

#[test]
fn the_manual_lists_every_exit_code() {
    let manual = manual();
    for code in ExitCode::ALL {
        let entry = format!(".TP\n{} ({})\n{}\n", code.number(), code.name(), code.meaning());
        assert!(manual.contains(&entry), "{} is not in the manual", code.number());
    }
    let listed = Regex::new(r"(?m)^2\d\d \([a-z-]+\)$").unwrap().find_iter(&manual).count();
    assert_eq!(listed, ExitCode::ALL.len());
}

#[test]
fn help_and_manual_name_the_same_options() {
    let manual = manual();
    let verbs =
        manual.split(".SH VERBS\n").nth(1).and_then(|rest| rest.split("\n.SH ").next()).expect("VERBS");
    let option = Regex::new(r"(?m)(?:^|[\s,])(--[a-z][a-z-]+)").unwrap();
    let options = |text: &str| -> BTreeSet<String> {
        option.captures_iter(text).map(|one| one[1].to_owned()).collect()
    };
    let mut seen = 0;
    for section in verbs.split(".SS ").skip(1) {
        let (verb, body) = section.split_once('\n').unwrap();
        let mut words: Vec<&str> = verb.split(' ').collect();
        words.push("--help");
        let help = output(env!("CARGO_BIN_EXE_spark-submit-as"), &words);
        // Lines that define an option, not prose that mentions another one.
        let defined = |text: &str| -> BTreeSet<String> {
            let lines = text.lines().filter(|line| line.trim_start().starts_with('-'));
            lines
                .flat_map(|line| options(line.split("  ").find(|part| part.contains("--")).unwrap_or(line)))
                .collect()
        };
        let mut in_help = defined(&help);
        // Of every verb, told once in the manual's OPTIONS.
        for everywhere in ["--config", "--help"] {
            assert!(in_help.remove(everywhere), "{verb}: {everywhere} is not in {help}");
        }
        assert_eq!(in_help, defined(body), "{verb}");
        seen += 1;
    }
    let list = output(env!("CARGO_BIN_EXE_spark-submit-as"), &["--help"]);
    assert!(seen >= 5, "{list}");
    for verb in verbs.split(".SS ").skip(1).filter_map(|section| section.split([' ', '\n']).next()) {
        assert!(list.contains(&format!("\n  {verb}")), "{verb} is not in {list}");
    }
}
