//! One request to the API server: bounded in time, size and tries.

use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::FIELD_MANAGER;

use crate::fault::Fault;

/// Largest answer in bytes [63]. The largest expected one is a list of some hundred pods' metadata.
const MAX_BODY: usize = 4 << 20;
/// Tries of a request that the server asked to send again, or whose connection broke.
const TRIES: u32 = 4;
/// Longest obedience to a Retry-After [53].
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// What a list is asked for as: nobody here reads more of an object than its metadata.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";

/// Verb and media types of a request.
struct Form {
    method: Method,
    content: &'static str,
    accept: &'static str,
}

const JSON: &str = "application/json";
const GET: Form = Form { method: Method::GET, content: JSON, accept: JSON };
const LIST: Form = Form { accept: METADATA_LIST, ..GET };
const POST: Form = Form { method: Method::POST, ..GET };
const PATCH: Form = Form { method: Method::PATCH, content: "application/merge-patch+json", accept: JSON };
const APPLY: Form = Form { content: "application/apply-patch+yaml", ..PATCH };
const DELETE: Form = Form { method: Method::DELETE, ..GET };
const DELETE_LIST: Form = Form { accept: METADATA_LIST, ..DELETE };

/// A client with a life.
#[derive(Clone)]
pub struct Api {
    client: Client,
    timeouts: Timeouts,
    until: Option<Instant>,
    /// The server's clock as it was last told, and when.
    clock: Rc<Cell<Option<(i64, Instant)>>>,
    /// When the server, and not a proxy in its place, last answered.
    heard: Rc<Cell<Option<Instant>>>,
    /// Whether what would change something is asked for as a dry run.
    trial: bool,
}

/// How long a request may take.
#[derive(Clone, Copy)]
pub struct Timeouts {
    /// Until there is a connection, which the client itself minds.
    pub connect: Duration,
    /// From then on.
    pub request: Duration,
}

/// An answer.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// The server's clock in seconds since 1970, from the Date header.
    pub date: Option<i64>,
    /// Whether an earlier try of the same request may have taken effect [54].
    pub repeated: bool,
    body: Vec<u8>,
}

/// What every object of Kubernetes has, or its /version.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    git_version: String,
}

impl Answer {
    /// Whether it comes from the API server and not from a gateway before it, whose 200, 403 or 404 says nothing about the
    /// object: each answer of the API server's has an object with a kind, a refusal too (`Status`). What is only a reason
    /// to ask again, or to log in again, may come from anybody.
    fn is_the_servers(&self) -> bool {
        let typed = serde_json::from_slice::<Typed>(&self.body);
        self.status == StatusCode::UNAUTHORIZED
            || typed.is_ok_and(|object| !object.kind.is_empty() || !object.git_version.is_empty())
    }

    /// The object in it.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|_| {
            Fault::new(ExitCode::ClusterRefused, "the API server gave an answer that is no such object")
                .perhaps()
        })
    }

    /// The server's own words of a refusal (`Status.message`).
    pub fn message(&self) -> String {
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        value.get("message").and_then(Value::as_str).unwrap_or("no reason given").to_owned()
    }

    /// The kind of object that a refusal is about (`Status.details.kind`).
    pub fn about(&self) -> String {
        let value: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        value.pointer("/details/kind").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Whether the answer is a success; a Fault that names what was tried otherwise [56].
    pub fn success(self, what: &str) -> Result<Self, Fault> {
        if self.status.is_success() {
            return Ok(self);
        }
        let advice = match self.status {
            StatusCode::FORBIDDEN if self.message().contains("ValidatingAdmissionPolicy") => {
                "; an admission policy of the cluster refuses it"
            }
            StatusCode::FORBIDDEN => {
                "; the provisioner lacks this right, see packaging/kubernetes/provisioner.yaml"
            }
            StatusCode::UNAUTHORIZED => {
                "; the provisioner's credential is not accepted, renew its kubeconfig"
            }
            _ => "",
        };
        let code = match self.status {
            StatusCode::UNAUTHORIZED => ExitCode::ClusterCredential,
            _ => ExitCode::ClusterRefused,
        };
        let message = self.message();
        let fault = Fault::new(
            code,
            format!("{what}: the API server answered {}: {message}{advice}", self.status.as_u16()),
        );
        // A server that fails may have stored the object before (etcd's answer came too late for it).
        Err(if self.repeated || self.status.is_server_error() { fault.perhaps() } else { fault })
    }
}

impl Api {
    /// A client that may be used `until`.
    pub fn new(client: Client, timeouts: Timeouts, until: Option<Instant>) -> Self {
        Self { client, timeouts, until, clock: Rc::default(), heard: Rc::default(), trial: false }
    }

    /// One that changes nothing: the API server does as if (`dryRun=All`).
    pub fn on_trial(&self, trial: bool) -> Self {
        Self { trial, ..self.clone() }
    }

    /// Whether it changes nothing.
    pub fn is_on_trial(&self) -> bool {
        self.trial
    }

    /// One that has not heard from the server yet.
    #[cfg(test)]
    pub fn unacquainted(&self) -> Self {
        Self { clock: Rc::default(), ..self.clone() }
    }

    /// Whether its credential is good for another phase.
    pub fn usable(&self) -> bool {
        self.until.is_none_or(|until| until > Instant::now())
    }

    /// The server's clock in seconds since 1970, from its last answer and the time that has gone since. None before the
    /// first answer.
    pub fn now(&self) -> Option<i64> {
        let (date, at) = self.clock.get()?;
        date.checked_add(i64::try_from(at.elapsed().as_secs()).ok()?)
    }

    /// Whether the server has answered since `began`; a server that only fails has not.
    pub fn heard_since(&self, began: Instant) -> bool {
        self.heard.get().is_some_and(|at| at >= began)
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Answer, Fault> {
        self.send(&GET, path, None::<&()>).await
    }

    /// GET of a collection, as PartialObjectMetadataList.
    pub async fn list(&self, path: &str) -> Result<Answer, Fault> {
        self.send(&LIST, path, None::<&()>).await
    }

    /// POST.
    pub async fn post<T: Serialize>(&self, path: &str, object: &T) -> Result<Answer, Fault> {
        self.send(&POST, path, Some(object)).await
    }

    /// PATCH with a JSON merge patch (RFC 7386).
    pub async fn patch<T: Serialize>(&self, path: &str, patch: &T) -> Result<Answer, Fault> {
        self.send(&PATCH, path, Some(patch)).await
    }

    /// PATCH with server-side apply, as the owner of what is said. JSON is YAML.
    pub async fn apply<T: Serialize>(&self, path: &str, object: &T) -> Result<Answer, Fault> {
        self.send(&APPLY, &format!("{path}?fieldManager={FIELD_MANAGER}&force=true"), Some(object)).await
    }

    /// DELETE with DeleteOptions.
    pub async fn delete<T: Serialize>(&self, path: &str, options: &T) -> Result<Answer, Fault> {
        // Of a collection, which is what a query tells, the answer is a list.
        let form = if path.contains('?') { &DELETE_LIST } else { &DELETE };
        self.send(form, path, Some(options)).await
    }

    async fn send<T: Serialize>(&self, form: &Form, path: &str, object: Option<&T>) -> Result<Answer, Fault> {
        let mut path = path.to_owned();
        if self.trial && form.method != Method::GET {
            path.push_str(if path.contains('?') { "&dryRun=All" } else { "?dryRun=All" });
        }
        let path = path.as_str();
        let body = match object {
            Some(object) => serde_json::to_vec(object)
                .map_err(|error| Fault::new(ExitCode::Internal, format!("JSON: {error}")))?,
            None => Vec::new(),
        };
        let mut pause = Duration::from_millis(50);
        let mut repeated = false;
        for attempt in 1.. {
            let last = attempt == TRIES;
            let all = self.timeouts.connect + self.timeouts.request;
            match tokio::time::timeout(all, self.once(form, path, &body)).await {
                // Asking again would only add to the wait.
                Err(_) | Ok(Err(Sent::NoAnswer)) => {
                    return Err(unreachable_server(&format!(
                        "no answer within {} s (configuration key timeouts.request)",
                        self.timeouts.request.as_secs()
                    ))
                    .perhaps());
                }
                Ok(Err(Sent::NoConnection)) => {
                    let fault = unreachable_server(&format!(
                        "no connection within {} s (configuration key timeouts.connect)",
                        self.timeouts.connect.as_secs()
                    ));
                    return Err(if repeated { fault.perhaps() } else { fault });
                }
                // A connection that was closed while idle fails at the first write, others later. A request that may
                // have taken effect is safe to repeat here: who creates looks into an AlreadyExists.
                Ok(Err(Sent::Connection(reason))) if last => {
                    return Err(unreachable_server(&reason).perhaps());
                }
                Ok(Err(Sent::Connection(_))) => repeated = true,
                Ok(Err(Sent::Never(reason))) if last => {
                    let fault = unreachable_server(&reason);
                    return Err(if repeated { fault.perhaps() } else { fault });
                }
                Ok(Err(Sent::Never(_))) => {}
                Ok(Err(Sent::Other(fault))) => return Err(fault),
                Ok(Ok((answer, retry_after))) => {
                    let answer = Answer { repeated, ..answer };
                    let transient = matches!(answer.status.as_u16(), 429 | 500 | 502 | 503 | 504);
                    if (transient && last) || (!transient && answer.is_the_servers()) {
                        return Ok(answer);
                    }
                    if !transient {
                        return Err(Fault::new(
                            ExitCode::ClusterRefused,
                            format!(
                                "an answer ({}) that is not the API server's; what stands between?",
                                answer.status.as_u16()
                            ),
                        )
                        .perhaps());
                    }
                    // 429 is said before anything is done; the others may come after.
                    repeated |= answer.status.is_server_error();
                    pause = retry_after.unwrap_or(pause);
                }
            }
            tokio::time::sleep(pause.min(MAX_PAUSE)).await;
            pause = pause.min(MAX_PAUSE) * 2;
        }
        Err(unreachable_server("no answer"))
    }

    async fn once(&self, form: &Form, path: &str, body: &[u8]) -> Result<(Answer, Option<Duration>), Sent> {
        let request = Request::builder()
            .method(&form.method)
            .uri(path)
            .header("content-type", form.content)
            .header("accept", form.accept)
            .body(Body::from(body.to_vec()))
            .map_err(|error| Sent::Other(Fault::new(ExitCode::Internal, error.to_string())))?;
        let response = self.client.send(request).await.map_err(sent)?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let date = header("date").and_then(http_date);
        if let Some(date) = date {
            self.clock.set(Some((date, Instant::now())));
        }
        let retry_after = header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs);
        let status = response.status();
        if !status.is_server_error() {
            self.heard.set(Some(Instant::now()));
        }
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                let rule = format!("the API server's answer has more than {MAX_BODY} bytes");
                Sent::Other(Fault::new(ExitCode::ClusterRefused, rule).perhaps().too_long())
            } else if timed_out(error.as_ref()) {
                Sent::NoAnswer
            } else {
                Sent::Connection(error.to_string())
            }
        })?;
        Ok((Answer { status, date, repeated: false, body: body.to_bytes().to_vec() }, retry_after))
    }
}

enum Sent {
    /// No connection in its time.
    NoConnection,
    /// No answer in its time.
    NoAnswer,
    /// No connection: nothing was sent.
    Never(String),
    /// A connection that broke: the request may have been served.
    Connection(String),
    Other(Fault),
}

fn sent(error: kube::Error) -> Sent {
    let (reason, timed_out) = match error {
        kube::Error::HyperError(error) => (chain(&error), timed_out(&error)),
        kube::Error::Service(error) => (chain(error.as_ref()), timed_out(error.as_ref())),
        error => return Sent::Other(Fault::new(ExitCode::ClusterCredential, chain(&error))),
    };
    // The kind of hyper-util's error is in its text alone, unless one names the crate; taken for a broken connection,
    // nothing worse would follow than a look for what was not made.
    match (reason.contains("(Connect)"), timed_out) {
        // A certificate does not get better by asking again.
        _ if reason.contains("certificate") => Sent::Other(unreachable_server(&reason)),
        (true, true) => Sent::NoConnection,
        (true, false) => Sent::Never(reason),
        (false, true) => Sent::NoAnswer,
        (false, false) => Sent::Connection(reason),
    }
}

/// Whether an error or one of its causes is a time-out of the connection's.
fn timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// An error and its causes; hyper's own text alone says little.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn unreachable_server(reason: &str) -> Fault {
    Fault::new(ExitCode::ClusterUnreachable, format!("the API server cannot be reached: {reason}"))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, IMF-fixdate) in seconds since 1970.
fn http_date(text: &str) -> Option<i64> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(zoned.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_date_header_is_read() {
        assert_eq!(super::http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(super::http_date("yesterday"), None);
    }
}
