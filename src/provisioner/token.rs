//! Tokens of a job's account.

use serde_json::Value;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::policy::token::Token;
use spark_submit_as::protocol::{Reply, TearDown, WireToken};

use crate::api::{Answer, Api};
use crate::expiry::{self, Account};
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
    /// The API server's own audiences, which it fills in where none was asked for.
    pub audiences: Vec<String>,
}

/// A later expiry and a fresh token for a job's account, in this order.
pub async fn renew(api: &Api, made: &TearDown, seconds: u64) -> Result<Reply, Fault> {
    let known =
        Account { namespace: made.namespace.as_str(), job: &made.job, uid: made.account_uid.as_deref() };
    let mut uid = made.account_uid.clone();
    if uid.is_none() || api.now().is_none() {
        // A provisioner that did not make the account learns here what it does not know: the uid, the server's time.
        uid = expiry::look(api, &known).await?;
        if uid.is_none() {
            return Ok(Reply::AccountGone);
        }
    }
    let account = Account { uid: uid.as_deref(), ..known };
    let covered = expiry::covered(api, seconds);
    if let Some(end) = covered
        && expiry::postpone(api, &account, end).await?.is_none()
    {
        return Ok(Reply::AccountGone);
    }
    let Some(granted) = request(api, &account, seconds).await? else {
        return Ok(Reply::AccountGone);
    };
    if covered.is_none_or(|end| granted.expires_at > end)
        && expiry::postpone(api, &account, granted.expires_at).await?.is_none()
    {
        return Ok(Reply::AccountGone);
    }
    Ok(Reply::Renewed {
        token: granted.token,
        expires_at: granted.expires_at,
        granted_at: granted.granted_at,
    })
}

/// Asks for a token; with the account's uid, so that none is granted for another account of the same name. None when the
/// account is not there.
pub async fn request(api: &Api, account: &Account<'_>, seconds: u64) -> Result<Option<Granted>, Fault> {
    let seconds = if seconds == OLD_CLIENTS_LIFE { seconds - 1 } else { seconds };
    let wanted = objects::token_request(seconds, account.uid);
    let answer = api.post(&format!("{}/token", account.path()), &wanted).await?;
    match expiry::there(api, account, answer, "create serviceaccounts/token").await? {
        Some(answer) => granted(&answer, account).map(Some),
        None => Ok(None),
    }
}

/// What was granted, if it is what was asked for.
fn granted(answer: &Answer, account: &Account<'_>) -> Result<Granted, Fault> {
    let date = answer.date;
    let granted: Value = answer.object()?;
    let refused = |rule: &str| Fault::new(ExitCode::TokenRefused, format!("the cluster granted {rule}"));
    let time = |at: &str| text(&granted, at).parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
    let token = text(&granted, "/status/token");
    hide(token);
    let token = Token::new(token.to_owned()).ok_or_else(|| refused("no token"))?;
    if text(&granted, "/metadata/name") != account.job.object_name()
        || text(&granted, "/metadata/namespace") != account.namespace
    {
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
    let audiences = granted.pointer("/spec/audiences").and_then(Value::as_array);
    let audiences = audiences.into_iter().flatten().filter_map(Value::as_str).map(String::from).collect();
    Ok(Granted { token: WireToken(token), expires_at, granted_at, audiences })
}
