//! Keeps the job's token fresh while it runs.

use super::credential::KUBECONFIG;
use super::renewal::Renewal;
use super::{Life, from_cluster};
use crate::policy::token::Token;
use crate::protocol::{Renew, Reply, Request};
use crate::supervisor::{Failure, steps};

/// What replies mean for the job.
pub(super) enum Heard {
    /// It runs on.
    Nothing,
    /// The account is gone: there will be no credential again.
    CredentialLost,
    /// It is ended, because no executor ran in time.
    NoExecutors(Failure),
}

impl Life<'_> {
    pub(super) fn renew(&mut self) {
        let request =
            Request::Renew(Renew { made: self.made.clone(), token_seconds: self.plan.token_seconds() });
        let asked = self.worker_or_new().and_then(|worker| worker.send(&request));
        match (asked, &mut self.renewal) {
            (Ok(()), Some(renewal)) => renewal.asked(),
            (Err(failure), Some(_)) => {
                self.worker = None;
                self.not_renewed(&failure);
            }
            (_, None) => {}
        }
    }

    /// Takes replies while the job runs: renewals and looks at its executors are awaited.
    pub(super) fn heard(&mut self) -> Heard {
        loop {
            let failed = match self.receive() {
                Ok(None) => return Heard::Nothing,
                Ok(Some(Reply::Explained(explained))) => match self.explained(&explained) {
                    Some(failure) => return Heard::NoExecutors(failure),
                    None => continue,
                },
                Ok(Some(Reply::Renewed { token, expires_at, granted_at })) => {
                    match self.take_renewed(&token.0, granted_at, expires_at) {
                        Ok(renewal) => {
                            self.renewal = Some(renewal);
                            self.token = Some(token.0);
                            continue;
                        }
                        Err(failure) => failure,
                    }
                }
                Ok(Some(Reply::AccountGone)) => return Heard::CredentialLost,
                Ok(Some(Reply::Failed { code, message, .. })) => from_cluster(code, &message),
                Ok(Some(_)) => continue,
                Err(failure) => failure,
            };
            self.not_renewed(&failed);
        }
    }

    fn not_renewed(&mut self, failure: &Failure) {
        if let Some(renewal) = &mut self.renewal {
            let ends = match renewal.seconds_left() {
                0 => "it has ended".to_owned(),
                left => format!("it ends in {left} s"),
            };
            self.report.warn(format!("the token could not be renewed: {failure}; {ends}; trying again"));
            renewal.failed();
        }
    }

    fn take_renewed(&mut self, token: &Token, granted_at: i64, expires_at: i64) -> Result<Renewal, Failure> {
        let renewal = Renewal::granted(granted_at, expires_at)?;
        if let Some(access) = &self.access
            && !steps::wanted("skip-rename")
        {
            self.directory()?.write(KUBECONFIG, access.kubeconfig(token).as_bytes())?;
        }
        Ok(renewal)
    }
}
