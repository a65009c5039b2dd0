//! When a job's account is overdue, written on the account itself: a host that never saw the job may remove it then.
//!
//! All times are the API server's. The annotation is moved before a token is asked for, so that an account whose
//! annotation is in the past has no token that still works.

use http::StatusCode;
use serde_json::Value;
use spark_submit_as::policy::names::JobId;
use spark_submit_as::protocol::EXPIRY_MARGIN;

use crate::api::{Answer, Api};
use crate::fault::Fault;
use crate::objects;
use crate::provision::{known_uid, text as field, unusable};

#[cfg(test)]
mod tests;

/// Seconds between the time that is known and the grant of a token. The Date header has whole seconds, and a slow server
/// takes some for the objects between; a normal job shall need no second patch for that.
const ROOM: u64 = 30;

/// A job's account.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The job.
    pub job: &'a JobId,
    /// Its uid where known: another account of that name is none of the job's.
    pub uid: Option<&'a str>,
}

impl Account<'_> {
    /// Its path.
    pub fn path(&self) -> String {
        format!("{}/{}", objects::collection("serviceaccounts", self.namespace), self.job.object_name())
    }
}

/// Until when a token of `seconds` that is asked for soon will end at the latest. None when the server's time is not
/// known.
pub fn covered(api: &Api, seconds: u64) -> Option<i64> {
    let life = i64::try_from(seconds.checked_add(ROOM)?).ok()?;
    api.now()?.checked_add(life)
}

/// The annotation's text, for tokens that end at `covered`.
pub fn text(covered: i64) -> Option<String> {
    let at = covered.checked_add(i64::try_from(EXPIRY_MARGIN).ok()?)?;
    jiff::Timestamp::from_second(at).ok().map(|time| time.to_string())
}

/// The annotation's time. Only what [`text`] writes is taken: a guess at another form could remove a job that lives.
pub fn read(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    (time.to_string() == text).then(|| time.as_second())
}

/// Writes an expiry for tokens that end at `covered`. None when the account is not there.
pub async fn postpone(api: &Api, account: &Account<'_>, covered: i64) -> Result<Option<()>, Fault> {
    let text = text(covered).ok_or_else(|| unusable("its time is out of all bounds"))?;
    let answer = api.patch(&account.path(), &objects::expiry_patch(&text, account.uid)).await?;
    Ok(there(api, account, answer, "patch serviceaccounts").await?.map(|_| ()))
}

/// The answer about an account, or none when the account is not there: a 404 that says so, or another uid.
pub async fn there(
    api: &Api,
    account: &Account<'_>,
    answer: Answer,
    what: &str,
) -> Result<Option<Answer>, Fault> {
    match answer.status {
        StatusCode::NOT_FOUND if absent(&answer) => Ok(None),
        // A uid that does not fit is one of these, and so are other things.
        StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => match look(api, account).await? {
            Some(_) => answer.success(what).map(Some),
            None => Ok(None),
        },
        _ => answer.success(what).map(Some),
    }
}

/// The uid of the account, none when it is not there or another one has its name.
pub async fn look(api: &Api, account: &Account<'_>) -> Result<Option<String>, Fault> {
    let answer = api.get(&account.path()).await?;
    if answer.status == StatusCode::NOT_FOUND && absent(&answer) {
        return Ok(None);
    }
    let found: Value = answer.success("get serviceaccounts")?.object()?;
    if field(&found, "/metadata/name") != account.job.object_name()
        || field(&found, "/metadata/namespace") != account.namespace
    {
        return Err(unusable("it is about another account"));
    }
    let uid = known_uid(&found)?;
    let own = match account.uid {
        Some(known) => known == uid,
        None => field(&found, &objects::label_pointer()) == account.job.as_str(),
    };
    Ok(own.then_some(uid))
}

/// Whether a 404 is the API server's word on an account, and not a proxy's on a path.
fn absent(answer: &Answer) -> bool {
    answer.about() == "serviceaccounts"
}
