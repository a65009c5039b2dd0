//! `namespace policies apply`.
use crate::cli::PoliciesApplyArgs;
use crate::exit::ExitCode;
use crate::policy::config::Config;
use crate::supervisor::{Failure, Outcome};

pub(super) fn apply(_: &Config, _: &PoliciesApplyArgs) -> Result<Outcome, Failure> {
    Err(Failure::new(ExitCode::Internal, "not here yet"))
}
