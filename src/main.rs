//! Root's binary: makes the process safe, parses, dispatches, and turns the result into an exit status.

use std::process::ExitCode as Status;

use anyhow::{Context, Result};
use clap::Parser;
use clap::error::ErrorKind;
use spark_submit_as::cli::Cli;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::supervisor::{Failure, Outcome, report, startup, verbs};
use spark_submit_as::sys::process;

fn main() -> Status {
    match called() {
        Ok(Outcome::Code(code)) => Status::from(code),
        Ok(Outcome::Signal(signal)) => {
            // Dies as the job died, so that sudo and the shell see the same; if that fails, as a shell would say it.
            process::end_by_signal(signal);
            Status::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
        }
        Err(error) => {
            let code = error.downcast_ref::<Failure>().map_or(ExitCode::Internal, |failure| failure.code);
            report::error(code, &format!("{error:#}"));
            Status::from(code.number())
        }
    }
}

fn called() -> Result<Outcome> {
    let given = startup::sanitise()?;
    // A process without even a name was started to confuse (CVE-2021-4034).
    if std::env::args_os().next().is_none() {
        return Err(Failure::new(ExitCode::Usage, "started without arguments").into());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            error.print().context("standard output")?;
            return Ok(Outcome::DONE);
        }
        Err(error) => {
            let text = error.render().to_string();
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("not understood");
            let first = first.strip_prefix("error: ").unwrap_or(first);
            return Err(Failure::new(ExitCode::Usage, format!("{first}; see --help")).into());
        }
    };
    Ok(verbs::dispatch(cli, &given)?)
}
