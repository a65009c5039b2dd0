//! A small API server that stands in for a real one in tests, and fails on purpose where it is told to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use kube::{Client, Config};
use serde_json::{Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::{ClusterAccess, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::Session;
use crate::api::{Api, Timeouts};
use crate::credential::Credential;
use crate::wire::Wire;

pub const JOB: &str = "aaaaaaaaaaaaaaaa";
pub const NAME: &str = "ssa-job-aaaaaaaaaaaaaaaa";
pub const REQUEST_TIMEOUT: Duration = Duration::from_millis(300);

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wrong {
    /// Refused, and said so.
    Status(u16),
    /// Served, and the connection reset before the answer.
    Lost,
    /// The connection reset before it is served.
    Reset,
    /// Served, and the answer no JSON.
    Garbage,
    /// Served, and the answer about another object.
    Other,
    /// Somebody changes the object, then it is served.
    Raced,
    /// Somebody puts another object in its place, then it is served.
    Replaced,
    /// Somebody removes the object, then it is served.
    Vanished,
    /// It is served, then somebody removes the object.
    VanishesAfter,
    /// Served, and the answer without end.
    Endless,
    /// No answer; served later than the client waits.
    Late,
}

/// A fault: verb and end of the path (without query), how it fails, and how many times.
pub type Fault = (&'static str, &'static str, Wrong, u32);

#[derive(Default)]
pub struct Cluster {
    /// By path.
    pub objects: BTreeMap<String, Value>,
    uids: u32,
    /// What goes wrong next.
    pub faults: Vec<Fault>,
    /// Verb and path of each request.
    pub seen: Vec<String>,
    /// The same with query, and what was sent.
    pub asked: Vec<(String, Value)>,
    /// Pods that each sweep finds.
    pub pods: Vec<usize>,
    /// The Date header's time, if it is not the real one. An empty text: no header.
    pub date: Option<String>,
    /// Life of a token, if it is not what was asked for.
    pub token_seconds: Option<i64>,
    /// What lists are, when they are not what is there: one for each request.
    pub lists: Vec<(u16, Value)>,
    /// Whether there is a controller that enforces quotas.
    pub quotas_work: bool,
    /// What creates of pods are answered with, one for each request.
    pub answers: Vec<(u16, Value)>,
    /// What the create of an account that is not made is answered with, if it is not granted.
    pub canary: Option<(u16, Value)>,
    /// Most accounts in a page, whatever is asked for.
    pub page: usize,
}

impl Cluster {
    fn fault(&mut self, verb: &str, path: &str) -> Option<Wrong> {
        let fault = self
            .faults
            .iter_mut()
            .find(|(v, end, _, left)| *v == verb && path.ends_with(end) && *left > 0)?;
        fault.3 -= 1;
        Some(fault.2)
    }

    /// Serves a request as the API server does; status and body.
    fn serve(&mut self, verb: &str, path: &str, body: &Value) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let refused = |code: u16, message: &str| {
            let kind = if path.contains("serviceaccounts") { "serviceaccounts" } else { "others" };
            let details = json!({"kind": kind});
            (code, json!({"kind": "Status", "code": code, "message": message, "details": details}))
        };
        let namespace = path.split('/').skip_while(|part| *part != "namespaces").nth(1).unwrap_or_default();
        match verb {
            "POST" if path.ends_with("/token") && namespace == "kube-system" => {
                refused(422, "ValidatingAdmissionPolicy 'fence' denied request")
            }
            "POST" if path.ends_with("/token") => {
                let account = path.trim_end_matches("/token");
                let name = account.rsplit('/').next().unwrap();
                let now = self.now();
                let asked = body["spec"]["expirationSeconds"].as_i64();
                let Some(life) = self.token_seconds.or(asked) else { return refused(400, "out of range") };
                let end = now + jiff::SignedDuration::from_secs(life);
                let metadata =
                    json!({"name": name, "namespace": namespace, "creationTimestamp": now.to_string()});
                let status = json!({"token": "eyJ.made.up", "expirationTimestamp": end.to_string()});
                let wanted = body.pointer("/metadata/uid");
                let found = self.objects.get(account);
                if found.is_some_and(|found| wanted.is_some_and(|uid| *uid != found["metadata"]["uid"])) {
                    refused(409, "the UID in the token request does not match the UID of the service account")
                } else if found.is_some() {
                    (201, json!({"kind": "TokenRequest", "metadata": metadata, "status": status}))
                } else {
                    refused(404, "no such account")
                }
            }
            "POST" if query == "dryRun=All" && path.ends_with("/serviceaccounts") => {
                self.canary.clone().unwrap_or((201, json!({"kind": "ServiceAccount"})))
            }
            "POST" if path.ends_with("/pods") && !self.answers.is_empty() => self.answers.remove(0),
            "POST" => {
                let mut object = body.clone();
                let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&path) {
                    return refused(409, "already exists");
                }
                self.uids += 1;
                object["metadata"]["uid"] = json!(format!("uid-{}", self.uids));
                object["metadata"]["namespace"] = json!(namespace);
                object["metadata"]["resourceVersion"] = json!("1");
                object["metadata"]["creationTimestamp"] = json!(self.now().to_string());
                // The garbage collector removes what comes after its owner has gone.
                let owner = &object["metadata"]["ownerReferences"][0]["uid"];
                if owner.is_null() || self.objects.values().any(|found| found["metadata"]["uid"] == *owner) {
                    self.objects.insert(path, object.clone());
                }
                (201, object)
            }
            "GET" if path.ends_with("/serviceaccounts") => self.list(namespace, query),
            // Server-side apply: the whole object here, made when it is not there.
            "PATCH" if query.contains("fieldManager=") => {
                self.uids += 1;
                let uid = format!("uid-{}", self.uids);
                let object = self
                    .objects
                    .entry(path.to_owned())
                    .or_insert_with(|| json!({"metadata": {"uid": uid, "resourceVersion": "0"}}));
                object["kind"] = body["kind"].clone();
                object["metadata"]["name"] = body["metadata"]["name"].clone();
                object["spec"] = body["spec"].clone();
                if self.quotas_work {
                    object["status"] = json!({"hard": body["spec"]["hard"]});
                }
                changed(object);
                (200, object.clone())
            }
            "PATCH" => {
                let Some(object) = self.objects.get_mut(path) else { return refused(404, "not found") };
                let uid = body.pointer("/metadata/uid");
                if uid.is_some_and(|uid| *uid != object["metadata"]["uid"]) {
                    return refused(422, "metadata.uid: Invalid value: field is immutable");
                }
                for table in ["annotations", "labels"] {
                    for (key, value) in body["metadata"][table].as_object().into_iter().flatten() {
                        object["metadata"][table][key] = value.clone();
                    }
                }
                if let Some(secrets) = body.get("imagePullSecrets") {
                    object["imagePullSecrets"] = secrets.clone();
                }
                changed(object);
                (200, object.clone())
            }
            "GET" => self.objects.get(path).map_or(refused(404, "not found"), |object| (200, object.clone())),
            "DELETE" if path.ends_with("/pods") => {
                let count = if self.pods.is_empty() { 0 } else { self.pods.remove(0) };
                let pods = (0..count).map(|pod| json!({"metadata": {"uid": format!("pod-{pod}")}}));
                (200, json!({"kind": "PodList", "items": pods.collect::<Vec<_>>()}))
            }
            "DELETE" => {
                let Some(object) = self.objects.get(path) else { return refused(404, "not found") };
                let wanted = body.pointer("/preconditions/uid");
                if wanted.is_some_and(|uid| *uid != object["metadata"]["uid"]) {
                    return refused(409, "the UID in the precondition does not match");
                }
                let wanted = body.pointer("/preconditions/resourceVersion");
                if wanted.is_some_and(|version| *version != object["metadata"]["resourceVersion"]) {
                    return refused(409, "the ResourceVersion in the precondition does not match");
                }
                let uid = object["metadata"]["uid"].clone();
                self.objects.remove(path);
                self.objects.retain(|_, object| object["metadata"]["ownerReferences"][0]["uid"] != uid);
                (200, json!({"kind": "Status", "status": "Success"}))
            }
            _ => refused(405, "no such verb"),
        }
    }

    fn now(&self) -> jiff::Timestamp {
        let told = self.date.as_ref().and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
        told.map_or_else(jiff::Timestamp::now, |time| time.timestamp())
    }

    fn list(&mut self, namespace: &str, query: &str) -> (u16, Value) {
        if !self.lists.is_empty() {
            return self.lists.remove(0);
        }
        let option = |key: &str| query.split('&').find_map(|part| part.strip_prefix(key)).unwrap_or_default();
        assert_eq!(option("labelSelector="), "spark-submit-as%2Fjob");
        let limit = option("limit=").parse().unwrap_or(usize::MAX).min(self.page.max(1));
        let start = option("continue=").parse().unwrap_or(0);
        let place = format!("/{namespace}/serviceaccounts/");
        let all = self.objects.iter().filter(|(path, object)| {
            path.contains(if namespace.is_empty() { "/serviceaccounts/" } else { &place })
                && object["metadata"]["labels"].get("spark-submit-as/job").is_some()
        });
        // Here the token is a key's number, among those that are there still: like a key's place, it outlives deletes.
        let mut items: Vec<(usize, Value)> = all
            .map(|(_, object)| (object["number"].as_u64().unwrap_or(0) as usize, object.clone()))
            .filter(|(number, _)| *number >= start)
            .collect();
        items.sort_by_key(|(number, _)| *number);
        let next = items.get(limit).map(|(number, _)| number.to_string());
        items.truncate(limit);
        let items: Vec<Value> = items.into_iter().map(|(_, object)| object).collect();
        (200, json!({"kind": "PartialObjectMetadataList", "metadata": {"continue": next}, "items": items}))
    }

    pub fn left(&self) -> Vec<&str> {
        self.objects.keys().filter(|path| path.ends_with(NAME)).map(String::as_str).collect()
    }
}

fn changed(object: &mut Value) {
    let version: u32 = object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    object["metadata"]["resourceVersion"] = json!((version + 1).to_string());
}

pub type Shared = Rc<RefCell<Cluster>>;

async fn listen(listener: TcpListener, cluster: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
        // An answer is two writes, and the second shall not wait for the first one's acknowledgement.
        let _ = stream.set_nodelay(true);
        let cluster = cluster.clone();
        tokio::task::spawn_local(async move {
            let _ = converse(stream, cluster).await;
        });
    }
}

async fn converse(mut stream: TcpStream, cluster: Shared) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let (head, body) = loop {
            if let Some(end) = buffer.windows(4).position(|part| part == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let whole = end + 4 + length.map_or(0, |length| length.trim().parse::<usize>().unwrap());
                if buffer.len() >= whole {
                    let first = String::from_utf8_lossy(&buffer[..end]).lines().next().unwrap().to_owned();
                    let body = serde_json::from_slice(&buffer[end + 4..whole]).unwrap_or(Value::Null);
                    buffer.drain(..whole);
                    break (first, body);
                }
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await? {
                0 => return Ok(()),
                read => buffer.extend_from_slice(&chunk[..read]),
            }
        };
        let mut words = head.split(' ');
        let verb = words.next().unwrap().to_owned();
        let whole = words.next().unwrap().to_owned();
        let path = whole.split('?').next().unwrap().to_owned();
        cluster.borrow_mut().seen.push(format!("{verb} {path}"));
        cluster.borrow_mut().asked.push((format!("{verb} {whole}"), body.clone()));
        let wrong = cluster.borrow_mut().fault(&verb, &path);
        let served = match wrong {
            Some(Wrong::Status(code)) => (code, json!({"kind": "Status", "message": "refused on purpose"})),
            Some(Wrong::Reset) => return Ok(()),
            Some(Wrong::Late) => {
                tokio::time::sleep(REQUEST_TIMEOUT * 2).await;
                cluster.borrow_mut().serve(&verb, &whole, &body);
                return Ok(());
            }
            Some(Wrong::Raced | Wrong::Replaced | Wrong::Vanished | Wrong::VanishesAfter) => {
                let mut cluster = cluster.borrow_mut();
                let object = path.trim_end_matches("/token").to_owned();
                if wrong == Some(Wrong::Vanished) {
                    cluster.objects.remove(&object);
                }
                if let Some(object) = cluster.objects.get_mut(&object)
                    && wrong != Some(Wrong::VanishesAfter)
                {
                    changed(object);
                    if wrong == Some(Wrong::Replaced) {
                        object["metadata"]["uid"] = json!("another");
                    }
                }
                let served = cluster.serve(&verb, &whole, &body);
                if wrong == Some(Wrong::VanishesAfter) {
                    cluster.objects.remove(&object);
                }
                served
            }
            _ => cluster.borrow_mut().serve(&verb, &whole, &body),
        };
        let mut served = served;
        if let Some(object) = served.1.as_object_mut() {
            // As every object of Kubernetes has one.
            object.entry("kind").or_insert_with(|| json!("Object"));
        }
        let text = match wrong {
            Some(Wrong::Lost) => return Ok(()),
            Some(Wrong::Garbage) => "<html>".to_owned(),
            Some(Wrong::Other) => served.1.to_string().replace(NAME, "ssa-job-bbbbbbbbbbbbbbbb"),
            Some(Wrong::Endless) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                let chunk = [b"10000\r\n", [b' '; 0x10000].as_slice(), b"\r\n"].concat();
                loop {
                    stream.write_all(&chunk).await?;
                }
            }
            _ => served.1.to_string(),
        };
        let now =
            jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&cluster.borrow().now());
        let date = match cluster.borrow().date.as_deref() {
            Some("") => String::new(),
            _ => format!("date: {}\r\n", now.unwrap()),
        };
        let head = format!(
            "HTTP/1.1 {} x\r\ncontent-type: application/json\r\n{date}{}content-length: {}\r\n\r\n",
            served.0,
            if served.0 == 429 { "retry-after: 86400\r\n" } else { "" },
            text.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(text.as_bytes()).await?;
    }
}

pub fn namespace() -> Value {
    json!({
        "name": "team", "create": false, "owner": "{\"x\":\"y\"}", "labels": {"spark-submit-as/managed": "true"},
    })
}

pub fn provision() -> Request {
    let request = json!({
        "request": "provision", "job": JOB, "namespace": namespace(), "annotations": {"spark-submit-as/login": "alice"},
        "token_seconds": 600, "auth_secret": "secret",
    });
    serde_json::from_value(request).unwrap()
}

/// The same with every part of a policy, and a volume.
pub fn provision_with_policies() -> Request {
    let mut namespace = namespace();
    namespace["policies"] = json!({
        "labels": {"cost": "17"}, "annotations": {"spark-submit-as/images": "a"},
        "quota": {"hard": {"pods": "10"}}, "limits": {"limits": [{"type": "Pod", "max": {"cpu": "1"}}]},
        "network": {"egress": []}, "account_annotations": {"c/role": "r"}, "pull_secrets": ["pull"],
    });
    let request = json!({
        "request": "provision", "job": JOB, "namespace": namespace, "annotations": {"spark-submit-as/login": "alice"},
        "token_seconds": 600, "auth_secret": "secret", "network": {"driver_host": null, "ports": null},
        "volume": {"name": "ssa-volume-alice", "owner": "{}", "size": "1Gi", "class": null, "access_mode": "ReadWriteMany"},
        "quota_seconds": 1,
    });
    serde_json::from_value(request).unwrap()
}

pub fn tear_down(account: Option<&str>, binding: Option<&str>, seconds: u64) -> Request {
    let request = json!({
        "request": "tear-down", "job": JOB, "namespace": "team", "account_uid": account, "binding_uid": binding,
        "seconds": seconds,
    });
    serde_json::from_value(request).unwrap()
}

/// A session with a cluster in which the namespace and the executors' account are there.
pub async fn session(faults: &[Fault]) -> (Session, Shared, UnixStream) {
    let cluster = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(listen(listener, cluster.clone()));
    let objects = [
        (
            "/api/v1/namespaces/team",
            json!({"metadata": {
                "name": "team", "uid": "n", "resourceVersion": "1", "labels": {"spark-submit-as/managed": "true"},
                "annotations": {"spark-submit-as/owner": "{\"x\":\"y\"}"},
            }}),
        ),
        (
            "/api/v1/namespaces/team/serviceaccounts/ssa-executor",
            json!({
                "metadata": {"name": "ssa-executor", "namespace": "team", "uid": "e", "resourceVersion": "1"},
                "automountServiceAccountToken": false,
            }),
        ),
    ];
    cluster.borrow_mut().objects.extend(objects.map(|(path, object)| (path.to_owned(), object)));
    cluster.borrow_mut().faults.extend(faults);
    cluster.borrow_mut().page = usize::MAX;
    cluster.borrow_mut().quotas_work = true;
    // Plain http: the refusal of it is the kubeconfig's matter, and this is none.
    let mut config = Config::new(format!("http://{address}").parse().unwrap());
    config.default_retry = false;
    let timeouts = Timeouts { connect: Duration::ZERO, request: REQUEST_TIMEOUT };
    let api = Api::new(Client::try_from(config).unwrap(), timeouts, None);
    let access: ClusterAccess = serde_json::from_value(json!({
        "context": null, "driver_role": "drivers", "accept_missing_fence": false,
        "connect_timeout_seconds": 1, "request_timeout_seconds": 1,
    }))
    .unwrap();
    let credential = Credential::parse(&crate::credential::example(), None).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let wire = Wire::of(theirs);
    (Session { wire, credential, access, api: Some(api), made: None, watch: None }, cluster, ours)
}

/// Another provisioner for the same cluster, which has not spoken with it yet.
pub fn another(session: &Session) -> Session {
    let api = session.api.as_ref().unwrap().unacquainted();
    let credential = Credential::parse(&crate::credential::example(), None).unwrap();
    let wire = Wire::of(UnixStream::pair().unwrap().1);
    Session { wire, credential, access: session.access.clone(), api: Some(api), made: None, watch: None }
}

/// Runs what must end by itself. No time is measured: a test machine may stand still; what never ends is ended here.
pub fn in_time<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = tokio::task::LocalSet::new();
    let never = Duration::from_secs(600);
    all.block_on(&runtime, async { tokio::time::timeout(never, work).await }).expect("it never ends")
}

/// Code, message and what is left of a failure; none of a success.
pub async fn failure(session: &mut Session, request: Request) -> Option<(ExitCode, String, Vec<String>)> {
    match session.answer(request).await {
        Ok(Reply::Failed { code, message, left }) => Some((code, message, left)),
        Ok(_) => None,
        Err(fault) => Some((fault.code, fault.to_string(), Vec::new())),
    }
}
