//! Tokens of a job's account.

use serde_json::Value;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::token::Token;
use spark_submit_as::protocol::{Reply, TearDown, WireToken};

use crate::api::Api;
use crate::fault::{Fault, hide};
use crate::objects;
use crate::provision::text;

/// The API server takes this life for an old client's and grants a year (`WarnOnlyBoundTokenExpirationPeriod`).
const OLD_CLIENTS_LIFE: u64 = 3607;

/// A token and its life by the API server's clock.
pub struct Granted {
    /// The token.
    pub token: WireToken,
    /// When it ends.
    pub expires_at: i64,
    /// When it was granted.
    pub granted_at: i64,
}

/// A fresh token for a job's account.
pub async fn renew(api: &Api, made: &TearDown, seconds: u64) -> Result<Reply, Fault> {
    let name = made.job.object_name();
    let granted = request(api, made.namespace.as_str(), &name, made.account_uid.as_deref(), seconds).await?;
    Ok(Reply::Renewed {
        token: granted.token,
        expires_at: granted.expires_at,
        granted_at: granted.granted_at,
    })
}

/// Asks for a token; with the account's uid, so that none is granted for another account of the same name.
pub async fn request(
    api: &Api,
    namespace: &str,
    name: &str,
    uid: Option<&str>,
    seconds: u64,
) -> Result<Granted, Fault> {
    let path = format!("{}/{name}/token", objects::collection("serviceaccounts", namespace));
    let seconds = if seconds == OLD_CLIENTS_LIFE { seconds - 1 } else { seconds };
    let wanted = objects::token_request(seconds, uid);
    let answer = api.post(&path, &wanted).await?.success("create serviceaccounts/token")?;
    let date = answer.date;
    let granted: Value = answer.object()?;
    let refused = |rule: &str| Fault::new(ExitCode::TokenRefused, format!("the cluster granted {rule}"));
    let time = |at: &str| text(&granted, at).parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
    let token = text(&granted, "/status/token");
    hide(token);
    let token = Token::new(token.to_owned()).ok_or_else(|| refused("no token"))?;
    if text(&granted, "/metadata/name") != name || text(&granted, "/metadata/namespace") != namespace {
        return Err(refused("a token of another account"));
    }
    let expires_at = time("/status/expirationTimestamp").ok_or_else(|| refused("a token without an end"))?;
    // The Date header is the API server's clock; so is the time at which it made the answer.
    let granted_at = date
        .or_else(|| time("/metadata/creationTimestamp"))
        .ok_or_else(|| refused("a token without saying what time it is there"))?;
    if expires_at <= granted_at {
        return Err(refused("a token that has ended already; look at the API server's clock"));
    }
    Ok(Granted { token: WireToken(token), expires_at, granted_at })
}
