//! What the source and the binaries must and must not hold. All but the looks at the installed binaries run without the
//! test bed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `src`, with its path relative to it.
fn sources() -> Vec<(String, String)> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let source = top().join("src");
    let mut found = Vec::new();
    walk(&source, &mut found);
    assert!(found.len() > 40, "the source was found");
    let name = |path: &PathBuf| path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// Code without comments and strings' worth of prose: lines that are not comments.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Whether `word` stands in `text` as a word of its own.
fn has_word(text: &str, word: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(letter) && !after.is_some_and(letter)
    })
}

#[test]
fn unsafe_code_is_in_sys_alone_and_each_block_has_its_reason() {
    for (name, text) in sources() {
        let count = code(&text).lines().filter(|line| has_word(line, "unsafe")).count();
        if name.starts_with("sys/") {
            let reasons = text.matches("SAFETY:").count();
            assert!(reasons >= count, "{name}: {count} unsafe, {reasons} reasons");
        } else {
            assert_eq!(count, 0, "{name}");
        }
    }
}

#[test]
fn only_the_provisioner_knows_the_cluster_and_a_runtime() {
    let mut seen = 0;
    for (name, text) in sources() {
        for word in ["kube", "k8s_openapi", "tokio", "hyper", "rustls", "tower", "http"] {
            let used = code(&text).lines().any(|line| {
                has_word(line, word)
                    && (line.contains(&format!("{word}::")) || line.trim_start().starts_with("use "))
            });
            if name.starts_with("provisioner/") {
                seen += usize::from(used);
            } else {
                assert!(!used, "{name} uses {word}");
            }
        }
    }
    assert!(seen > 3, "the provisioner uses them, so the scan sees them");
}

#[test]
fn rooms_use_only_those_below_them() {
    let forbidden: &[(&str, &[&str])] = &[
        ("policy/", &["supervisor", "job", "caller", "sys", "cli"]),
        ("spark/", &["supervisor", "job", "caller", "sys", "cli"]),
        ("job/", &["supervisor", "caller", "provisioner"]),
        ("caller.rs", &["supervisor", "job", "provisioner"]),
        ("sys/", &["supervisor", "job", "caller", "policy", "spark", "protocol", "cli"]),
        ("protocol.rs", &["supervisor", "job", "caller", "sys", "cli"]),
        ("provisioner/", &["supervisor", "job", "caller", "cli"]),
        ("supervisor/", &["provisioner"]),
    ];
    for (name, text) in sources() {
        for (room, others) in forbidden.iter().filter(|(room, _)| name.starts_with(room)) {
            for other in *others {
                for start in ["crate::", "spark_submit_as::"] {
                    let path = format!("{start}{other}");
                    let uses = code(&text)
                        .lines()
                        .any(|line| has_word(line, &path) && !name.starts_with("provisioner/main"));
                    let own = start == "crate::" && name.starts_with("provisioner/");
                    assert!(!uses || own, "{name} (room {room}) uses {path}");
                }
            }
        }
    }
}

#[test]
fn anyhow_is_in_main_alone() {
    for (name, text) in sources() {
        assert!(name == "main.rs" || !has_word(&code(&text), "anyhow"), "{name}");
    }
}

#[test]
fn modules_stay_small() {
    for (name, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= 450, "{name} has {lines} lines");
    }
}

#[test]
fn the_tree_of_crates_holds_none_that_must_not_ship() {
    let lock = fs::read_to_string(top().join("Cargo.lock")).unwrap();
    let version = |name: &str| {
        let start = format!("name = \"{name}\"\nversion = \"");
        lock.split(&start).nth(1).and_then(|rest| rest.split('"').next()).map(str::to_owned)
    };
    // `users` is uzers under another name; the crate of that name added gid 0 to group lists (CVE-2025-5791).
    for name in ["users", "serde_yml", "serde_yaml", "openssl", "native-tls", "aws-lc-rs", "remove_dir_all"] {
        assert_eq!(version(name), None, "{name}");
    }
    assert!(version("uzers").is_some_and(|version| version.starts_with("0.12.")));
    let anyhow = version("anyhow").unwrap();
    let patch: u32 = anyhow.strip_prefix("1.0.").unwrap().parse().unwrap();
    assert!(patch >= 103, "anyhow {anyhow} (RUSTSEC-2026-0190)");
}

#[test]
fn manuals_and_completions_are_what_the_definitions_say() {
    let directory = tempfile::tempdir().unwrap();
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let made = Command::new(cargo)
        .args(["run", "--quiet", "--locked", "--example", "docs"])
        .arg(directory.path())
        .current_dir(top())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    for path in [
        "man/spark-submit-as.8",
        "man/spark-submit-as.yaml.5",
        "packaging/completions/spark-submit-as.bash",
        "packaging/completions/_spark-submit-as",
        "packaging/config.schema.json",
    ] {
        let (kept, fresh) =
            (fs::read_to_string(top().join(path)), fs::read_to_string(directory.path().join(path)));
        assert!(kept.unwrap() == fresh.unwrap(), "{path} is not what `make docs` writes");
    }
}

#[test]
fn the_manual_has_every_verb_option_and_exit_code() {
    use clap::CommandFactory;
    let page = fs::read_to_string(top().join("man/spark-submit-as.8")).unwrap().replace('\\', "");
    for code in spark_submit_as::exit::ExitCode::ALL {
        assert!(page.contains(&format!("fB{}fR ({})", code.number(), code.name())), "{code:?}");
    }
    fn walk(command: &mut clap::Command, page: &str) {
        let help = command.render_long_help().to_string();
        for option in command.get_arguments().filter_map(|option| option.get_long()) {
            assert!(page.contains(&format!("--{option}")), "{option}");
            assert!(help.contains(&format!("--{option}")), "{option} in --help");
        }
        for verb in command.get_subcommands_mut() {
            assert!(page.contains(verb.get_name()), "{}", verb.get_name());
            walk(verb, page);
        }
    }
    let mut command = spark_submit_as::cli::Cli::command();
    command.build();
    walk(&mut command, &page);
}

#[test]
fn the_example_configuration_is_accepted() {
    let text = fs::read(top().join("examples/config.yaml")).unwrap();
    let result = spark_submit_as::policy::config::parse(&text);
    assert!(result.is_ok(), "{}", result.err().unwrap());
}

fn installed(name: &str) -> PathBuf {
    let prefix = std::env::var("SSA_BED_PREFIX").expect("this test needs the test bed; run `make test`");
    PathBuf::from(prefix).join(name)
}

fn output(program: &str, arguments: &[&str], file: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "needs the test bed: make test"]
fn roots_binary_has_no_tls_stack() {
    let foreign = ["rustls", "hyper", "tokio", "kube_client", "kube_core", "ring_core", "h2", "tower"];
    let has = |file: &Path, word: &str| output("nm", &["-C"], file).lines().any(|line| has_word(line, word));
    let root = installed("bin/spark-submit-as");
    assert!(has(&root, "spark_submit_as"), "the symbols are there to be looked at");
    for word in foreign {
        assert!(!has(&root, word), "{word}");
    }
    assert!(
        has(&installed("libexec/spark-submit-as-provisioner"), "tokio"),
        "the scan sees what it looks for"
    );
}

#[test]
#[ignore = "needs the test bed: make test"]
fn checklist_12_binaries_need_only_the_c_library() {
    for name in ["bin/spark-submit-as", "libexec/spark-submit-as-provisioner"] {
        let file = installed(name);
        let dynamic = output("readelf", &["-dW"], &file);
        assert!(!dynamic.contains("RPATH") && !dynamic.contains("RUNPATH"), "{name}: {dynamic}");
        for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
            let needed = line.split('[').nth(1).unwrap().trim_end_matches(']');
            let known = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"];
            let loader = needed.starts_with("ld-linux");
            assert!(known.contains(&needed) || loader, "{name} needs {needed}");
        }
    }
}

#[test]
#[ignore = "needs the test bed: make test"]
fn binaries_run_with_glibc_2_34() {
    for name in ["bin/spark-submit-as", "libexec/spark-submit-as-provisioner"] {
        let symbols = output("readelf", &["-VW"], &installed(name));
        let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
            let text: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            let mut parts = text.split('.').filter_map(|part| part.parse::<u32>().ok());
            Some((parts.next()?, parts.next()?))
        });
        let highest = versions.max().expect("versions");
        assert!(highest <= (2, 34), "{name} needs GLIBC_{}.{}", highest.0, highest.1);
        println!("{name}: GLIBC_{}.{}", highest.0, highest.1);
    }
}
