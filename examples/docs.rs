//! Writes the manual pages and the completions from the definitions that the program itself uses:
//! `cargo run --example docs [DIRECTORY]`. A test compares what is in the tree with what this writes.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use serde_json::Value;
use spark_submit_as::cli::Cli;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::config::Config;

fn main() -> Result<(), Box<dyn Error>> {
    let top = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    for (path, text) in [
        ("man/spark-submit-as.8", command_page()?),
        ("man/spark-submit-as.yaml.5", configuration_page()),
        ("packaging/completions/spark-submit-as.bash", completions(Shell::Bash)),
        ("packaging/completions/_spark-submit-as", completions(Shell::Zsh)),
        ("packaging/config.schema.json", schema()?),
    ] {
        write(&top.join(path), &text)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Box<dyn Error>> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, text)?;
    Ok(())
}

fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), "spark-submit-as", &mut text);
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n") + "\n"
}

fn schema() -> Result<String, Box<dyn Error>> {
    Ok(serde_json::to_string_pretty(&schemars::schema_for!(Config))? + "\n")
}

fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    escaped
        .lines()
        .map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Doc comments mark code with backquotes.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('`').enumerate() {
        let part = roff(part);
        out += &if index % 2 == 1 { format!("\\fB{part}\\fR") } else { part };
    }
    out
}

fn command_page() -> Result<String, Box<dyn Error>> {
    let mut command = Cli::command();
    command.build();
    let man = clap_mangen::Man::new(command.clone())
        .title("SPARK-SUBMIT-AS")
        .section("8")
        .source(concat!("spark-submit-as ", env!("CARGO_PKG_VERSION")))
        .manual("System Manager's Manual");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut page = String::from_utf8(page)?;
    page += ".SH VERBS\n";
    verbs(&command, "", &mut page);
    page += EXIT_STATUS;
    for code in ExitCode::ALL {
        page +=
            &format!(".TP\n\\fB{}\\fR ({})\n{}\n", code.number(), roff(code.name()), roff(code.meaning()));
    }
    page += REST;
    Ok(page)
}

fn verbs(command: &Command, above: &str, page: &mut String) {
    for verb in command.get_subcommands() {
        let name = format!("{above}{}", verb.get_name());
        if verb.has_subcommands() {
            verbs(verb, &format!("{name} "), page);
            continue;
        }
        *page += &format!(".SS {}\n{}\n", roff(&name), prose(&text(verb.get_about())));
        for option in
            verb.get_arguments().filter(|option| !option.is_global_set() && option.get_id() != "help")
        {
            let value = option
                .get_value_names()
                .filter(|_| option.get_action().takes_values())
                .map(|names| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "));
            let long = option.get_long().map(|long| format!("\\fB{}\\fR", roff(&format!("--{long}"))));
            let short = option.get_short().map(|short| format!("\\fB\\-{short}\\fR"));
            let spelled: Vec<String> = short.into_iter().chain(long).collect();
            let value = value.map(|value| format!("\\fI{}\\fR", roff(&value))).unwrap_or_default();
            let before = if option.is_last_set() { "\\-\\- " } else { "" };
            *page += &format!(
                ".TP\n{before}{} {value}\n{}\n",
                spelled.join(", "),
                prose(&text(option.get_help()))
            );
        }
    }
}

fn text(help: Option<&clap::builder::StyledStr>) -> String {
    help.map(ToString::to_string).unwrap_or_default()
}

const EXIT_STATUS: &str = ".SH EXIT STATUS
A job's own exit status is passed on; a job that a signal ended ends this program by the same signal.
The program's own refusals and failures have one number each:
";

const REST: &str = r#".SH REQUEST FILE
A JSON object with any of
.BR user ,
.BR profile ,
.BR project ,
.B program
(strings),
.B conf
(an object of strings: Spark settings, which go into a file that only the end\-user can read),
.BR stage ,
.B arguments
(arrays of strings). At most 1 MiB.
.SH FILES
.TP
.I /etc/spark-submit-as/config.yaml
The configuration,
.BR spark-submit-as.yaml (5).
It and every directory above it must belong to root and be writable by nobody else.
.TP
.I /run/spark-submit-as/JOB/
Credentials and settings of a running job: files that only its end\-user can read, in a directory of root's.
.TP
.I /var/lib/spark-submit-as/scratch/JOB/
Copies of staged files, the end\-user's own; removed when the job ends.
.SH SIGNALS
HUP, INT, QUIT and TERM are passed on to the job's process group once; KILL follows after
.BR timeouts.grace .
USR1 and USR2 are passed on. When the calling process dies, the job is ended.
.SH EXAMPLES
.nf
sudo \-n spark\-submit\-as run \-\-user alice \-\-profile per\-user \-\- \-\-class org.example.Job local:///app.jar 1000
sudo \-n spark\-submit\-as run \-\-request /home/dssuser/job.json
.fi
.SH SEE ALSO
.BR spark-submit-as.yaml (5),
.BR sudo (8),
.BR sudoers (5)
"#;

fn configuration_page() -> String {
    let schema = schemars::schema_for!(Config).to_value();
    let mut page = format!(
        ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH SPARK-SUBMIT-AS.YAML 5 \"\" \"spark-submit-as {}\" \"File Formats Manual\"\n",
        env!("CARGO_PKG_VERSION")
    );
    page +=
        ".SH NAME\nspark\\-submit\\-as.yaml \\- configuration of spark\\-submit\\-as(8)\n.SH DESCRIPTION\n";
    page += "YAML 1.1, UTF\\-8, at most 1 MiB. An unknown or repeated key is refused. Durations are a whole number and \
             one of s, m, h, d.\n";
    section(&schema, &schema, "", &mut page, 0);
    page += ".SH SEE ALSO\n.BR spark-submit-as (8)\n";
    page
}

/// One section for each object of the schema, in the order in which keys name them.
fn section(schema: &Value, object: &Value, path: &str, page: &mut String, depth: usize) {
    let Some(properties) = object.get("properties").and_then(Value::as_object) else { return };
    let title = if path.is_empty() { "TOP LEVEL".to_owned() } else { path.to_owned() };
    *page += &format!(".SH {}\n", roff(&title));
    if let Some(text) = object.get("description").and_then(Value::as_str).filter(|_| !path.is_empty()) {
        *page += &format!("{}\n", prose(text));
    }
    let required: Vec<&str> = object
        .get("required")
        .and_then(Value::as_array)
        .map(|keys| keys.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut below = Vec::new();
    for (key, value) in properties {
        let about = value.get("description").and_then(Value::as_str).unwrap_or_default();
        let note = match value.get("default") {
            _ if required.contains(&key.as_str()) => " Required.".to_owned(),
            Some(default) if default.is_object() || default.is_null() => String::new(),
            Some(default) => format!(" Default: `{}`.", default.to_string().trim_matches('"')),
            None => String::new(),
        };
        *page += &format!(".TP\n\\fB{}\\fR\n{}\n", roff(key), prose(&format!("{about}{note}")));
        let (target, suffix) = referred(schema, value);
        if let Some(target) = target {
            if let Some(choices) = choices(target) {
                *page += &format!("One of {}.\n", prose(&choices));
            }
            let below_path =
                if path.is_empty() { format!("{key}{suffix}") } else { format!("{path}.{key}{suffix}") };
            below.push((target.clone(), below_path));
        }
    }
    for (target, path) in below {
        if depth < 6 {
            for variant in variants(schema, &target) {
                section(schema, &variant, &path, page, depth + 1);
            }
        }
    }
}

fn variants(schema: &Value, target: &Value) -> Vec<Value> {
    match target.get("anyOf").and_then(Value::as_array) {
        None => vec![target.clone()],
        Some(all) => all.iter().filter_map(|one| referred(schema, one).0.cloned()).collect(),
    }
}

fn choices(target: &Value) -> Option<String> {
    let words: Vec<String> = match (target.get("enum"), target.get("oneOf")) {
        (Some(Value::Array(words)), _) => {
            words.iter().filter_map(Value::as_str).map(|w| format!("`{w}`")).collect()
        }
        (_, Some(Value::Array(all))) => all
            .iter()
            .filter_map(|one| {
                let word = one.get("const").and_then(Value::as_str)?;
                let about = one.get("description").and_then(Value::as_str).unwrap_or_default();
                Some(format!("`{word}` ({})", about.trim_end_matches('.')))
            })
            .collect(),
        _ => return None,
    };
    Some(words.join(", "))
}

/// The definition that a property refers to, and how the path to it goes on.
fn referred<'a>(schema: &'a Value, value: &'a Value) -> (Option<&'a Value>, &'static str) {
    let follow = |value: &'a Value| {
        let name = value.get("$ref").and_then(Value::as_str)?.strip_prefix("#/$defs/")?;
        schema.get("$defs")?.get(name)
    };
    if let Some(target) = follow(value) {
        return (Some(target), "");
    }
    if let Some(target) = value.get("additionalProperties").and_then(follow) {
        return (Some(target), ".NAME");
    }
    if let Some(target) = value.get("items").and_then(follow) {
        return (Some(target), "[]");
    }
    let any = value.get("anyOf").and_then(Value::as_array);
    (any.and_then(|all| all.iter().find_map(follow)), "")
}
