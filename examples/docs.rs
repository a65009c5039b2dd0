//! Writes the manual pages and the completions from the definitions that the program itself uses:
//! `cargo run --example docs [DIRECTORY]`. A test compares what is in the tree with what this writes.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, CommandFactory};
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

/// A page's first lines. Without a date: pages are made again and again from the same definitions.
fn title(name: &str, section: u8, volume: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH {name} {section} \"\" \"spark-submit-as {version}\" \"{volume}\"\n"
    )
}

fn command_page() -> Result<String, Box<dyn Error>> {
    let mut command = Cli::command();
    command.build();
    let man = clap_mangen::Man::new(command.clone());
    let mut name = Vec::new();
    man.render_name_section(&mut name)?;
    let mut page = title("SPARK-SUBMIT-AS", 8, "System Manager's Manual") + &String::from_utf8(name)?;
    page += ".SH SYNOPSIS\n";
    synopsis(&command, "", &mut page);
    // The first paragraph of the long text is the name section's line.
    let about = text(command.get_long_about());
    let description = about.split_once("\n\n").map_or(about.as_str(), |(_, rest)| rest);
    page += &format!(".SH DESCRIPTION\n{}\n", prose(description));
    let mut options = Vec::new();
    man.render_options_section(&mut options)?;
    page += &String::from_utf8(options)?;
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

/// One line for each verb, without the options that every verb has.
fn synopsis(command: &Command, above: &str, page: &mut String) {
    for verb in command.get_subcommands() {
        let name = format!("{above}{}", verb.get_name());
        if verb.has_subcommands() {
            synopsis(verb, &format!("{name} "), page);
            continue;
        }
        *page += &format!(".HP\n\\fBspark\\-submit\\-as {}\\fR", roff(&name));
        for option in own_options(verb) {
            let names = option.get_value_names().filter(|_| option.get_action().takes_values());
            let value = names.and_then(|names| names.first()).map(|name| name.as_str()).unwrap_or_default();
            let repeated = matches!(option.get_action(), ArgAction::Append) && !option.is_last_set();
            let dots = if repeated { "..." } else { "" };
            *page += &match (option.get_long(), option.is_last_set()) {
                (Some(long), _) if value.is_empty() => format!(" [\\fB{}\\fR]", roff(&format!("--{long}"))),
                (Some(long), _) => {
                    format!(" [\\fB{}\\fR\\ \\fI{}\\fR]{dots}", roff(&format!("--{long}")), roff(value))
                }
                (None, true) => format!(" \\fB\\-\\-\\fR \\fI{}\\fR...", roff(value)),
                (None, false) => format!(" [\\fI{}\\fR]{dots}", roff(value)),
            };
        }
        page.push('\n');
    }
}

/// What a verb takes besides the options that all have.
fn own_options(verb: &Command) -> impl Iterator<Item = &Arg> {
    verb.get_arguments().filter(|option| !option.is_global_set() && option.get_id() != "help")
}

fn verbs(command: &Command, above: &str, page: &mut String) {
    for verb in command.get_subcommands() {
        let name = format!("{above}{}", verb.get_name());
        if verb.has_subcommands() {
            verbs(verb, &format!("{name} "), page);
            continue;
        }
        *page += &format!(".SS {}\n{}\n", roff(&name), prose(&text(verb.get_about())));
        for option in own_options(verb) {
            let value = option
                .get_value_names()
                .filter(|_| option.get_action().takes_values())
                .map(|names| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "));
            let long = option.get_long().map(|long| format!("\\fB{}\\fR", roff(&format!("--{long}"))));
            let short = option.get_short().map(|short| format!("\\fB\\-{short}\\fR"));
            let spelled: Vec<String> = short.into_iter().chain(long).collect();
            let value = value.map(|value| format!("\\fI{}\\fR", roff(&value))).unwrap_or_default();
            let before = if option.is_last_set() { "\\-\\- " } else { "" };
            let head = format!("{before}{} {value}", spelled.join(", "));
            *page += &format!(".TP\n{}\n{}\n", head.trim(), prose(&text(option.get_help())));
        }
    }
}

fn text(help: Option<&clap::builder::StyledStr>) -> String {
    help.map(ToString::to_string).unwrap_or_default()
}

const EXIT_STATUS: &str = ".SH EXIT STATUS
A job's own exit status is passed on; a job that a signal ended ends this program by the same signal.
The program's own refusals and failures have one number each, and its last line on standard error ends with the name and
the number in brackets. A job may end with such a number itself.
.PP
What is left of a job that ran is told as a warning that names 224; the job's own exit status is passed on all the same.
";

const REST: &str = r#".SH REQUEST FILE
A JSON object with any of
.BR user ,
.BR profile ,
.BR project ,
.BR team ,
.B program
(strings),
.B conf
(an object of strings: Spark settings, which go into a file that only the end\-user can read),
.BR stage ,
.B arguments
(arrays of strings),
.B tags
(an object of strings). At most 1 MiB. What the command line gives must not be in the file as well; the files of
.B \-\-stage
and
.B stage
add up, and so do different tags.
.SH JOBS
.BR list ,
.B status
and
.B kill
are about the calling account's own jobs on this host; root sees all. A job of somebody else's and one that does not exist have the
same answer. Several
.B \-\-tag
select the jobs that have all of them.
.B status
without a name and a tag shows all,
.B kill
needs one. At most 1024 names.
.PP
A job is
.BR starting ,
.BR running ,
.BR ending ,
.BR ended ,
or
.BR dead :
its wrapper is gone or gave up, and
.B reap
has not cleaned up yet.
.B list
leaves out those that have ended, but for
.BR \-\-all .
With
.BR \-\-json ,
.B list
and
.B status
print the same array.
.PP
.B kill
sends TERM to each job's wrapper, which ends the job as its caller would, and waits until it is taken back. A job whose
wrapper is dead is taken back by
.B kill
itself.
.PP
A job has at most 16 tags. A key is 1 to 63 of [A\-Za\-z0\-9._\-], a value at most 255 bytes without control characters. Tags
are in the record and in the audit lines.
.SH PROPERTIES
.B properties set
and
.B unset
change what
.B users.properties
names, for automation. A new file is written beside the old one, read again, brought to the disk and renamed over it; owner, group and
mode stay, and calls at the same time wait for each other. A directory gets a file of its own,
.IR 50\-set.yaml ,
and no other file of it is changed. Where
.B users.properties
is one file, that file is replaced, and its comments are lost.
.SH REAP
.B reap
is for root itself and is meant to run every minute (spark\-submit\-as\-reap.timer, or a line for cron). It may run beside jobs, beside
another
.BR reap ,
and on several hosts at once. It takes back jobs of this host whose wrapper is dead, removes from each cluster the jobs of any
host that are overdue, forgets records older than
.BR records.keep ,
moves what is no record into
.IR quarantine ,
and removes directories of jobs that have no record and do not run.
.PP
A job is overdue 120 s after the end of its last token at the earliest, by the API server's clock. Of overdue jobs, one
.B reap
deals with 10,000 in 300 s for each cluster, and 20 s for each job.
.PP
It ends with 0 when nothing is left and with 224 when something stays, which the next one tries again.
.SH AUDIT LINES
One line of JSON each for syslog's facility authpriv: the events
.BR job\-started ,
.BR job\-ended ,
.B job\-reaped
(a dead job was taken back by
.B reap
or
.BR kill ),
and
.B refused
(a call ended with 205 to 211 or 227). At most 6 KiB. A log that is stuck is waited for 1 s; a job whose start cannot be logged is
refused only with
.BR audit.required .
.SH ENVIRONMENT
.TP
.B SUDO_UID
Names the calling account. Without it, the caller is root itself. Nothing else of the caller's environment steers this program; what a
profile's
.B environment.keep
names goes on to the job.
.TP
.B SPARK_SUBMIT_AS_JOB
Set for the job: its id. Leave it in the environment of what a job starts: on a host without cgroup v2 processes of a dead
job are found by it.
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
.TP
.I /var/lib/spark-submit-as/jobs/JOB/record.json
The job's record, root's own, at most 64 KiB. The directory is locked as long as somebody works on the job.
.TP
.I /var/lib/spark-submit-as/quarantine/
What
.B reap
found among the records and is none. To be looked at and removed by an administrator.
.TP
.I /dev/log
Where audit lines go.
.SH SIGNALS
HUP, INT, QUIT and TERM are passed on to the job's process group once; KILL follows after
.BR timeouts.grace .
USR1 and USR2 are passed on. When standard input and output are the terminal that controls the call, the job has a terminal of its
own, and keys that make signals are for the job alone; one that stops it stops the call as well. When the calling process dies, the job is ended, and so it is when its service account is gone from the
cluster.
.SH EXAMPLES
.nf
sudo \-n spark\-submit\-as run \-\-user alice \-\-profile per\-user \e
    \-\- \-\-class org.example.Job local:///app.jar 1000
sudo \-n spark\-submit\-as run \-\-user alice \-\-profile per\-user \e
    \-\-stage /home/dssuser/job.py \-\- /home/dssuser/job.py
sudo \-n spark\-submit\-as run \-\-request /home/dssuser/job.json \e
    \-\-tag dag=nightly \-\-id\-file /home/dssuser/job.id
sudo \-n spark\-submit\-as list \-\-tag dag=nightly
sudo \-n spark\-submit\-as status \-\-json mfzwizlnpfxw43du
sudo \-n spark\-submit\-as kill \-\-tag dag=nightly
spark\-submit\-as reap \-\-dry\-run
.fi
.SH SEE ALSO
.BR spark-submit-as.yaml (5),
.BR sudo (8),
.BR sudoers (5)
"#;

const EXAMPLE: &str = include_str!("config.yaml");

const CONFIGURATION_ABOUT: &str = r#"YAML, UTF\-8, at most 1 MiB. An unknown or repeated key is refused, and so is a file
that somebody other than root can change. Durations are a whole number and one of s, m, h, d, from 1s to 7d.
.B spark\-submit\-as config validate
looks at a file,
.B config show
prints it with its defaults,
.B config schema
prints its JSON Schema. The sections below have the keys of each object in alphabetical order;
.I NAME
stands for a name of your choice,
.B []
for an entry of a list.
"#;

const CONFIGURATION_REST: &str = r#".SH CALLERS
An entry that is a name lets the account run jobs as everybody whom
.B users
allows, with every profile. An entry with
.B account
or
.B group
may narrow both; where several name one caller, any may allow a job, account and profile at once. An account that is named, or that
is in a group that is named, never runs jobs itself, except where all that names it says
.BR "may_run_as: self" .
A caller that runs jobs as itself is refused a profile whose template has
.BR ${projectKey} :
it would choose any project's namespace.
.SH TEAMS
.B users.team.from_groups
matches whole names of UNIX groups; its one group in brackets is the team's name. A job's account must be a member of its team. With
several,
.B run \-\-team
says which.
.SH ADMIN PROPERTIES
The file of
.B users.properties
is YAML and root's own, with two tables:
.B logins
(login, property, value) and
.B groups
(UNIX group, property, value). A login's own value wins. Groups of one user that differ in a value are refused.
.PP
It may be a directory of root's: then each
.I *.yaml
in it counts, at most 256 files of 4 MiB together, and each must be root's alone. One key of one login or group must not have different
values in two files. Names that begin with . or end in ~ are left out; any other name is refused.
.PP
.nf
logins:
  alice: {k8sNS: team\-a}
groups:
  sales: {k8sNS: team\-sales}
.fi
.SH NAMESPACES
.B ${dssUserLogin}
and
.B ${login}
are the login,
.B ${user}
its UNIX account,
.B ${group}
the account's primary group,
.B ${team}
the team (see
.BR users.team ),
.B ${projectKey}
what
.B \-\-project
says, and
.B ${adminProperty:X}
the admin property X. A value that is missing refuses the job.
.PP
A variable may have filters, as in
.BR "${team|default('shared')}" :
.B tolower
makes small letters,
.B default('x')
(or
.BR default:x )
stands for a missing value, and
.B getornull
makes a missing value nothing.
.PP
A name that is a DNS label and holds at most one variable is used as it is. Any other gets a readable part and 20
hexadecimal digits of a hash over the template and the exact values, so that two values never give one namespace. A value that a
filter changed counts as changed, and so does a value that is the same as the default.
.PP
Where several logins may have one UNIX account, a template with
.B ${dssUserLogin}
or
.B ${login}
is refused: whoever runs as the account reaches all that its other jobs have. Use
.BR ${user} ,
or say
.BR accept_shared_account .
Rules of
.B users.mapping
are read backwards for that; a regular expression that is more than fixed text and one group counts as giving an account several times.
.B default
and
.B kube\-*
are refused. A namespace is used only with the label spark\-submit\-as/managed=true and the annotation
spark\-submit\-as/owner that
.B run \-\-dry\-run
prints.
"#;

fn configuration_page() -> String {
    let schema = schemars::schema_for!(Config).to_value();
    let mut page = title("SPARK-SUBMIT-AS.YAML", 5, "File Formats Manual");
    page +=
        ".SH NAME\nspark\\-submit\\-as.yaml \\- configuration of spark\\-submit\\-as(8)\n.SH DESCRIPTION\n";
    page += CONFIGURATION_ABOUT;
    section(&schema, &schema, "", &mut page, 0);
    page += CONFIGURATION_REST;
    page += &format!(".SH EXAMPLE\n.nf\n{}\n.fi\n", roff(EXAMPLE.trim_end()));
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
                let about = about.trim_end_matches('.');
                // A word that is its own description.
                Some(if about == word { format!("`{word}`") } else { format!("`{word}` ({about})") })
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
