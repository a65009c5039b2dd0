//! What the caller wants: the command line and, if there is one, the request file, put together.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use serde::Deserialize;

use super::Failure;
use crate::cli::{RunArgs, SubmitArgs};
use crate::exit::ExitCode;
use crate::policy::config::Program;
use crate::policy::tags;
use crate::spark;

/// Bounds on a request's parts; spark-submit's own are checked in `spark`.
const MAX_CONF: usize = 4096;

/// A request file. JSON, so that nothing of it appears on a command line or in sudo's log.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestFile {
    /// As `--user`.
    pub user: Option<String>,
    /// As `--profile`.
    pub profile: Option<String>,
    /// As `--project`.
    pub project: Option<String>,
    /// As `--team`.
    pub team: Option<String>,
    /// As `--program`.
    pub program: Option<String>,
    /// Spark settings; they go into a file that only the end-user can read.
    #[serde(default)]
    pub conf: BTreeMap<String, String>,
    /// As `--stage`.
    #[serde(default)]
    pub stage: Vec<PathBuf>,
    /// As `--tag`.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The arguments after `--`.
    #[serde(default)]
    pub arguments: Vec<String>,
}

/// What the caller wants.
#[derive(Debug)]
pub struct Invocation {
    /// The login.
    pub user: String,
    /// The profile's name.
    pub profile: String,
    /// The project's key.
    pub project: Option<String>,
    /// The team.
    pub team: Option<String>,
    /// The program's name.
    pub program: String,
    /// Settings for the properties file.
    pub conf: BTreeMap<String, String>,
    /// Files to hand over.
    pub stage: Vec<PathBuf>,
    /// The caller's words about the job.
    pub tags: BTreeMap<String, String>,
    /// The cluster's address as plain arguments named it.
    pub master: Option<String>,
    /// Spark's arguments.
    pub arguments: Vec<OsString>,
}

fn usage(message: impl Into<String>) -> Failure {
    Failure::new(ExitCode::Usage, message)
}

/// Reads a request file's text.
///
/// # Errors
/// [`ExitCode::InputRefused`] with the line, never with the text.
pub fn parse_request(text: &[u8]) -> Result<RequestFile, Failure> {
    let request: RequestFile = serde_json::from_slice(text).map_err(|error| {
        let rule = match error.classify() {
            serde_json::error::Category::Data => {
                "has an unknown, repeated or wrongly typed key; known are user, profile, project, team, program, \
                 conf, stage, tags, arguments"
            }
            _ => "is not JSON",
        };
        let at = format!("line {}, column {}", error.line(), error.column());
        Failure::new(ExitCode::InputRefused, format!("the request file {rule} ({at})"))
    })?;
    if request.conf.len() > MAX_CONF {
        return Err(Failure::new(
            ExitCode::InputRefused,
            format!("the request has more than {MAX_CONF} settings"),
        ));
    }
    Ok(request)
}

/// Puts command line and request together. What both give is refused: one of them would silently lose.
///
/// # Errors
/// [`ExitCode::Usage`].
pub fn gather(args: &RunArgs, request: Option<RequestFile>) -> Result<Invocation, Failure> {
    let request = request.unwrap_or_default();
    let one = |name: &str, option: &Option<String>, key: Option<String>| match (option.clone(), key) {
        (Some(_), Some(_)) => {
            Err(usage(format!("--{name} and the request's '{name}' are both given; give one")))
        }
        (option, key) => Ok(option.or(key)),
    };
    let needed = |name: &str, value: Option<String>| {
        value.ok_or_else(|| usage(format!("no {name}; give --{name}, or '{name}' in the request")))
    };
    let program = one("program", &args.program, request.program)?;
    let arguments = match (args.arguments.is_empty(), request.arguments.is_empty()) {
        (false, false) => {
            return Err(usage("arguments are given after -- and in the request; give them once"));
        }
        (false, true) => args.arguments.clone(),
        _ => request.arguments.into_iter().map(OsString::from).collect(),
    };
    let mut tags = tags::parse(&args.tags).map_err(|error| usage(error.to_string()))?;
    for (key, value) in &request.tags {
        tags::add(&mut tags, key, value).map_err(|error| usage(error.to_string()))?;
    }
    let mut stage = args.stage.clone();
    stage.extend(request.stage);
    Ok(Invocation {
        user: needed("user", one("user", &args.user, request.user)?)?,
        profile: needed("profile", one("profile", &args.profile, request.profile)?)?,
        project: one("project", &args.project, request.project)?,
        team: one("team", &args.team, request.team)?,
        program: program.unwrap_or_else(|| Program::SparkSubmit.file_name().to_owned()),
        conf: request.conf,
        stage,
        tags,
        master: None,
        arguments,
    })
}

/// Plain arguments: `caller` is who runs the job unless `--proxy-user` says another, `profiles` those that the policy gives.
///
/// # Errors
/// [`ExitCode::ArgumentRefused`], [`ExitCode::Usage`].
pub fn plain(args: &SubmitArgs, caller: &str, profiles: &[&str]) -> Result<Invocation, Failure> {
    let program = program(args.program.as_deref())?;
    let refused = |error: spark::ArgumentError| Failure::new(error.code(), error.to_string());
    let parsed = spark::parse(program, &args.arguments, None).map_err(refused)?;
    let plain = spark::plain(&parsed).map_err(refused)?;
    let profile = args.profile.clone().or_else(|| profiles.first().map(|name| (*name).to_owned()));
    let none = || {
        usage(
            "no profile; an administrator lists those of this caller under `callers` (the first is taken), or give --profile",
        )
    };
    Ok(Invocation {
        user: plain.proxy_user.unwrap_or_else(|| caller.to_owned()),
        profile: profile.ok_or_else(none)?,
        project: None,
        team: None,
        program: program.file_name().to_owned(),
        conf: BTreeMap::new(),
        stage: Vec::new(),
        tags: BTreeMap::new(),
        master: plain.master,
        arguments: plain.words,
    })
}

fn program(name: Option<&str>) -> Result<Program, Failure> {
    Ok(match name {
        None | Some("spark-submit") => Program::SparkSubmit,
        Some("pyspark") => Program::Pyspark,
        Some("spark-shell") => Program::SparkShell,
        Some("spark-sql") => Program::SparkSql,
        Some(_) => {
            return Err(usage("--program must be spark-submit, pyspark, spark-shell or spark-sql"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_error_names_the_line_and_not_the_text() {
        let text = b"{\n\"user\": \"alice\",\n\"secret-word\": 1}";
        let failure = parse_request(text).expect_err("unknown key");
        assert_eq!(failure.code, ExitCode::InputRefused);
        assert!(failure.message.contains("line 3"), "{}", failure.message);
        assert!(!failure.message.contains("secret-word"), "{}", failure.message);
    }

    #[test]
    fn a_value_given_twice_is_refused() {
        let request = parse_request(br#"{"user": "alice", "profile": "p"}"#).expect("request");
        let args = RunArgs {
            user: Some("bob".into()),
            profile: None,
            project: None,
            team: None,
            program: None,
            stage: vec![],
            request: None,
            tags: vec![],
            id_file: None,
            dry_run: false,
            json: false,
            quiet: false,
            arguments: vec![],
        };
        assert_eq!(gather(&args, Some(request)).expect_err("twice").code, ExitCode::Usage);
    }
}
