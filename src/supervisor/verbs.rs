//! What each verb does, for those who may call it ([`super::who`]).

use std::io::Write;
use std::path::{Path, PathBuf};

use super::invocation::{self, Invocation, RequestFile};
use super::jobs::Asker;
use super::lookup::Record;
use super::plan::Plan;
use super::report::Report;
use super::startup::{self, CallerUid, Given};
use super::who::{Who, who_may};
use super::{
    Failure, Outcome, audit, check, config, jobs, load, namespaces, paths, plan, properties, reap, run,
};
use crate::caller::{self, Caller, CallerError};
use crate::cli::{CheckArgs, Cli, ConfigVerb, PropertiesVerb, RunArgs, SubmitArgs, Verb};
use crate::exit::ExitCode;
use crate::job::Staged;
use crate::policy::config::Config;
use crate::policy::names::JobId;

/// Does what the command line says.
///
/// # Errors
/// The refusal or failure that ends the call.
pub fn dispatch(cli: Cli, given: &Given) -> Result<Outcome, Failure> {
    // Nothing of this host is read, so nobody has to be asked about.
    if let (Verb::Config(ConfigVerb::Schema), Who::Anybody) = (&cli.verb, who_may(&cli.verb)) {
        return print(&config::schema()?);
    }
    startup::require_root()?;
    let caller = startup::caller(given)?;
    let done = checked(cli, caller, given);
    if let Err(failure) = &done
        && AUDITED.contains(&failure.code)
    {
        let uid = match caller {
            CallerUid::Root => 0,
            CallerUid::Account(uid) => uid,
        };
        audit::refused(Some(uid), failure.code, &failure.message);
    }
    done
}

/// Refusals that somebody who reads logs wants to know of [17].
const AUDITED: [ExitCode; 8] = [
    ExitCode::CallerRefused,
    ExitCode::UserRefused,
    ExitCode::ProfileRefused,
    ExitCode::NamespaceRefused,
    ExitCode::ArgumentRefused,
    ExitCode::ProgramRefused,
    ExitCode::InputRefused,
    ExitCode::NoSuchJob,
];

/// What needs root: the caller is looked at first.
fn checked(cli: Cli, caller: CallerUid, given: &Given) -> Result<Outcome, Failure> {
    let path = configuration(cli.config, caller)?;
    if who_may(&cli.verb) == Who::Root && caller != CallerUid::Root {
        return Err(Failure::new(
            ExitCode::CallerRefused,
            "this verb is for root itself; callers may use run, submit, list, status and kill",
        ));
    }
    match cli.verb {
        Verb::Run(args) => run_verb(&path, caller, given, &args),
        Verb::Submit(args) => submit_verb(&path, caller, given, &args),
        Verb::List(args) => jobs::list(&asker(&path, caller)?.0, &args),
        Verb::Status(args) => jobs::status(&asker(&path, caller)?.0, &args),
        Verb::Kill(args) => {
            let (asker, config) = asker(&path, caller)?;
            jobs::kill(&config, &asker, &args)
        }
        Verb::Reap(args) => reap::reap(&load::config(&path)?, &args),
        Verb::Check(args) => check_verb(&path, &args),
        Verb::Namespace(verb) => namespaces::dispatch(&load::config(&path)?, &verb),
        Verb::Config(ConfigVerb::Show { json }) => print(&config::show(&path, json)?),
        Verb::Config(ConfigVerb::Validate { file: None }) => print(&config::validate_in_force(&path)?),
        Verb::Config(ConfigVerb::Validate { file: Some(file) }) => {
            // The process is at `/`; a relative path is the administrator's own.
            if let (Some(directory), false) = (&given.directory, file.is_absolute()) {
                let _ = nix::unistd::fchdir(directory);
            }
            print(&config::validate_draft(&file)?)
        }
        Verb::Config(ConfigVerb::Schema) => Ok(Outcome::DONE),
        Verb::Config(ConfigVerb::Explain(args)) => print(&plan::explain(&load::config(&path)?, &args)?),
        Verb::Properties(PropertiesVerb::Set(args)) => {
            let config = load::config(&path)?;
            print(&properties::change(&config, &args.subject, &args.key, Some(&args.value))?)
        }
        Verb::Properties(PropertiesVerb::Unset(args)) => {
            print(&properties::change(&load::config(&path)?, &args.subject, &args.key, None)?)
        }
    }
}

/// The configuration's path: compiled in, and only root itself may name another [6].
fn configuration(option: Option<PathBuf>, caller: CallerUid) -> Result<PathBuf, Failure> {
    match (option, caller) {
        (None, _) => Ok(paths::config().to_owned()),
        (Some(path), CallerUid::Root) => Ok(path),
        (Some(_), CallerUid::Account(_)) => Err(Failure::new(
            ExitCode::CallerRefused,
            "--config is for root itself; the path of the configuration is compiled in",
        )),
    }
}

/// Who asks about jobs, and the configuration, which names this caller. Root may look after jobs without being named: it
/// could do so anyway.
fn asker(path: &Path, caller: CallerUid) -> Result<(Asker, Config), Failure> {
    let config = load::config(path)?;
    let asker = match caller {
        CallerUid::Root => Asker::Root,
        CallerUid::Account(_) => {
            let (record, _) = plan::authorize_caller(&config, caller)?;
            Asker::Caller(record.uid, record.name)
        }
    };
    Ok((asker, config))
}

fn run_verb(path: &Path, caller: CallerUid, given: &Given, args: &RunArgs) -> Result<Outcome, Failure> {
    let config = load::config(path)?;
    let (record, authority) = plan::authorize_caller(&config, caller)?;
    let request = match &args.request {
        Some(file) => Some(read_request(&config, &record, given, file)?),
        None => None,
    };
    let wanted: Invocation = invocation::gather(args, request)?;
    let plan = plan::decide(&config, &record, authority, wanted)?;
    if args.dry_run {
        return print(&check::decision(&plan, args.json)?);
    }
    let staged = stage(&plan, &record, given)?;
    let report = Report { quiet: args.quiet };
    report.say(format!(
        "job {}: {} is {} (profile {})",
        plan.job, plan.login, plan.user_name, plan.profile_name
    ));
    let tell_id = |job: &JobId| match &args.id_file {
        None => Ok(()),
        Some(file) => {
            let text = format!("{job}\n");
            caller::write(&as_caller(&record, given), file, text.as_bytes(), config.timeouts.staging)
                .map_err(refused)
        }
    };
    run::run(&plan, given, report, staged, tell_id)
}

/// A drop-in `spark-submit`: what Spark says is all that there is to read, unless something is refused.
fn submit_verb(path: &Path, caller: CallerUid, given: &Given, args: &SubmitArgs) -> Result<Outcome, Failure> {
    let config = load::config(path)?;
    let (record, authority) = plan::authorize_caller(&config, caller)?;
    let wanted = invocation::plain(args, &record.name, &authority.profiles(&config))?;
    let plan = plan::decide(&config, &record, authority, wanted)?;
    run::run(&plan, given, Report { quiet: true }, Vec::new(), |_| Ok(()))
}

fn as_caller<'a>(record: &'a Record, given: &'a Given) -> Caller<'a> {
    Caller { uid: record.uid, gid: record.gid, groups: &record.groups, directory: given.directory.as_ref() }
}

fn refused(error: CallerError) -> Failure {
    Failure::new(ExitCode::InputRefused, error.to_string())
}

fn read_request(
    config: &Config,
    record: &Record,
    given: &Given,
    file: &Path,
) -> Result<RequestFile, Failure> {
    let text = caller::read(&as_caller(record, given), file, config.timeouts.staging).map_err(refused)?;
    invocation::parse_request(&text)
}

fn stage(plan: &Plan, record: &Record, given: &Given) -> Result<Vec<Staged>, Failure> {
    if plan.stage.is_empty() {
        return Ok(Vec::new());
    }
    let opened =
        caller::open(&as_caller(record, given), &plan.stage, plan.staging.max_bytes, plan.timeouts.staging)
            .map_err(refused)?;
    Ok(plan
        .stage
        .iter()
        .zip(opened)
        .filter_map(|(path, file)| Some(Staged { name: path.file_name()?.to_owned(), file }))
        .collect())
}

fn check_verb(path: &Path, args: &CheckArgs) -> Result<Outcome, Failure> {
    let lines = check::check(path, args);
    let failed = lines.iter().any(|line| !line.ok);
    print(&check::render(&lines, args.json)?)?;
    if failed {
        return Err(Failure::new(ExitCode::CheckFailed, "at least one check failed; see the lines above"));
    }
    Ok(Outcome::DONE)
}

/// Prints a result; a reader that has gone is not our failure.
pub(super) fn print(text: &str) -> Result<Outcome, Failure> {
    let mut out = std::io::stdout().lock();
    let _ = out
        .write_all(text.as_bytes())
        .and_then(|()| if text.ends_with('\n') { Ok(()) } else { out.write_all(b"\n") });
    let _ = out.flush();
    Ok(Outcome::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checklist_6_only_root_itself_names_another_configuration() {
        assert!(configuration(Some("/x".into()), CallerUid::Root).is_ok());
        let refused = configuration(Some("/x".into()), CallerUid::Account(1000));
        assert_eq!(refused.map_err(|failure| failure.code), Err(ExitCode::CallerRefused));
    }
}
