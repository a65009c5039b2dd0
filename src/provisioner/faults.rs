//! What happens when the API server, or the way to it, fails at any step: a small one that fails on purpose stands in.
//! Nothing of the job may be left, nothing foreign may be touched, and it must not take long [52]-[58], [63], [85], [86].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kube::{Client, Config};
use serde_json::{Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::{self, ClusterAccess, Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::Session;
use crate::api::{Api, Timeouts};
use crate::credential::Credential;
use crate::wire::Wire;

const JOB: &str = "aaaaaaaaaaaaaaaa";
const NAME: &str = "ssa-job-aaaaaaaaaaaaaaaa";
const REQUEST_TIMEOUT: Duration = Duration::from_millis(300);

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
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
    /// Served, and the answer without end.
    Endless,
    /// No answer; served later than the client waits.
    Late,
}

/// A fault: verb and end of the path (without query), how it fails, and how many times.
type Fault = (&'static str, &'static str, Wrong, u32);

#[derive(Default)]
struct Cluster {
    objects: BTreeMap<String, Value>,
    uids: u32,
    faults: Vec<Fault>,
    seen: Vec<String>,
    pods: Vec<usize>,
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
        let refused =
            |code: u16, message: &str| (code, json!({"kind": "Status", "code": code, "message": message}));
        let namespace = path.split('/').skip_while(|part| *part != "namespaces").nth(1).unwrap_or_default();
        match verb {
            "POST" if path.ends_with("/token") && namespace == "kube-system" => {
                refused(422, "ValidatingAdmissionPolicy 'fence' denied request")
            }
            "POST" if path.ends_with("/token") => {
                let account = path.trim_end_matches("/token");
                let name = account.rsplit('/').next().unwrap();
                let now = jiff::Timestamp::now();
                let end = now + Duration::from_secs(600);
                let metadata =
                    json!({"name": name, "namespace": namespace, "creationTimestamp": now.to_string()});
                let status = json!({"token": "eyJ.made.up", "expirationTimestamp": end.to_string()});
                if self.objects.contains_key(account) {
                    (201, json!({"kind": "TokenRequest", "metadata": metadata, "status": status}))
                } else {
                    refused(404, "no such account")
                }
            }
            "POST" => {
                let mut object = body.clone();
                let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&path) {
                    return refused(409, "already exists");
                }
                self.uids += 1;
                object["metadata"]["uid"] = json!(format!("uid-{}", self.uids));
                object["metadata"]["namespace"] = json!(namespace);
                // The garbage collector removes what comes after its owner has gone.
                let owner = &object["metadata"]["ownerReferences"][0]["uid"];
                if owner.is_null() || self.objects.values().any(|found| found["metadata"]["uid"] == *owner) {
                    self.objects.insert(path, object.clone());
                }
                (201, object)
            }
            "GET" => self.objects.get(path).map_or(refused(404, "not found"), |object| (200, object.clone())),
            "DELETE" if path.ends_with("/pods") => {
                let count = if self.pods.is_empty() { 0 } else { self.pods.remove(0) };
                let pods = (0..count).map(|pod| json!({"metadata": {"uid": format!("pod-{pod}")}}));
                (200, json!({"items": pods.collect::<Vec<_>>()}))
            }
            "DELETE" => {
                let Some(object) = self.objects.get(path) else { return refused(404, "not found") };
                let wanted = body.pointer("/preconditions/uid");
                if wanted.is_some_and(|uid| *uid != object["metadata"]["uid"]) {
                    return refused(409, "the UID in the precondition does not match");
                }
                let uid = object["metadata"]["uid"].clone();
                self.objects.remove(path);
                self.objects.retain(|_, object| object["metadata"]["ownerReferences"][0]["uid"] != uid);
                (200, json!({"kind": "Status", "status": "Success"}))
            }
            _ => refused(405, "no such verb"),
        }
    }

    fn left(&self) -> Vec<&str> {
        self.objects.keys().filter(|path| path.ends_with(NAME)).map(String::as_str).collect()
    }
}

type Shared = Rc<RefCell<Cluster>>;

async fn listen(listener: TcpListener, cluster: Shared) {
    while let Ok((stream, _)) = listener.accept().await {
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
        let path = words.next().unwrap().split('?').next().unwrap().to_owned();
        cluster.borrow_mut().seen.push(format!("{verb} {path}"));
        let wrong = cluster.borrow_mut().fault(&verb, &path);
        let served = match wrong {
            Some(Wrong::Status(code)) => (code, json!({"kind": "Status", "message": "refused on purpose"})),
            Some(Wrong::Reset) => return Ok(()),
            Some(Wrong::Late) => {
                tokio::time::sleep(REQUEST_TIMEOUT * 2).await;
                cluster.borrow_mut().serve(&verb, &path, &body);
                return Ok(());
            }
            _ => cluster.borrow_mut().serve(&verb, &path, &body),
        };
        let text = match wrong {
            Some(Wrong::Lost) => return Ok(()),
            Some(Wrong::Garbage) => "<html>".to_owned(),
            Some(Wrong::Other) => served.1.to_string().replace(NAME, "ssa-job-bbbbbbbbbbbbbbbb"),
            Some(Wrong::Endless) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
                loop {
                    stream.write_all(b"1000\r\n").await?;
                    stream.write_all(&[b' '; 0x1000]).await?;
                    stream.write_all(b"\r\n").await?;
                }
            }
            _ => served.1.to_string(),
        };
        let head = format!(
            "HTTP/1.1 {} x\r\ncontent-type: application/json\r\n{}content-length: {}\r\n\r\n",
            served.0,
            if served.0 == 429 { "retry-after: 86400\r\n" } else { "" },
            text.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(text.as_bytes()).await?;
    }
}

fn namespace() -> Value {
    json!({
        "name": "team", "create": false, "owner": "{\"x\":\"y\"}", "labels": {"spark-submit-as/managed": "true"},
    })
}

fn provision() -> Request {
    let request = json!({
        "request": "provision", "job": JOB, "namespace": namespace(), "annotations": {"spark-submit-as/login": "alice"},
        "token_seconds": 600, "auth_secret": "secret",
    });
    serde_json::from_value(request).unwrap()
}

fn tear_down(account: Option<&str>, binding: Option<&str>, seconds: u64) -> Request {
    let request = json!({
        "request": "tear-down", "job": JOB, "namespace": "team", "account_uid": account, "binding_uid": binding,
        "seconds": seconds,
    });
    serde_json::from_value(request).unwrap()
}

/// A session with a cluster in which the namespace and the executors' account are there.
async fn session(faults: &[Fault]) -> (Session, Shared, UnixStream) {
    let cluster = Shared::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(listen(listener, cluster.clone()));
    let objects = [
        (
            "/api/v1/namespaces/team",
            json!({"metadata": {
                "name": "team", "uid": "n", "labels": {"spark-submit-as/managed": "true"},
                "annotations": {"spark-submit-as/owner": "{\"x\":\"y\"}"},
            }}),
        ),
        (
            "/api/v1/namespaces/team/serviceaccounts/ssa-executor",
            json!({
                "metadata": {"name": "ssa-executor", "namespace": "team", "uid": "e"},
                "automountServiceAccountToken": false,
            }),
        ),
    ];
    cluster.borrow_mut().objects.extend(objects.map(|(path, object)| (path.to_owned(), object)));
    cluster.borrow_mut().faults.extend(faults);
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
    (Session { wire, credential, access, api: Some(api), made: None }, cluster, ours)
}

fn in_time<T>(seconds: u64, work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = tokio::task::LocalSet::new();
    let begin = Instant::now();
    let result = all.block_on(&runtime, work);
    assert!(begin.elapsed() < Duration::from_secs(seconds), "took {:?}", begin.elapsed());
    result
}

/// Code, message and what is left of a failure; none of a success.
async fn failure(session: &mut Session, request: Request) -> Option<(ExitCode, String, Vec<String>)> {
    match session.answer(request).await {
        Ok(Reply::Failed { code, message, left }) => Some((code, message, left)),
        Ok(_) => None,
        Err(fault) => Some((fault.code, fault.to_string(), Vec::new())),
    }
}

const STEPS: [(&str, &str); 7] = [
    ("POST", "/kube-system/serviceaccounts/default/token"),
    ("GET", "/namespaces/team"),
    ("GET", "/serviceaccounts/ssa-executor"),
    ("POST", "/team/serviceaccounts"),
    ("POST", "/rolebindings"),
    ("POST", "/secrets"),
    ("POST", "ssa-job-aaaaaaaaaaaaaaaa/token"),
];

#[test]
fn checklist_53_54_a_fault_that_passes_is_overcome_at_every_step() {
    at_every_step(passes);
}

/// All steps at once: most of the time is waiting.
fn at_every_step(test: fn(&'static str, &'static str)) {
    std::thread::scope(|threads| {
        for (verb, path) in STEPS {
            threads.spawn(move || test(verb, path));
        }
    });
}

fn passes(verb: &'static str, path: &'static str) {
    for wrong in [Wrong::Lost, Wrong::Reset, Wrong::Status(500), Wrong::Status(503), Wrong::Status(429)] {
        in_time(10, async {
            let (mut session, cluster, mut supervisor) = session(&[(verb, path, wrong, 1)]).await;
            let failed = failure(&mut session, provision()).await;
            assert!(failed.is_none(), "{verb} {path} {wrong:?}: {failed:?}");
            assert_eq!(cluster.borrow().left().len(), 3, "{verb} {path} {wrong:?}");
            // The uids that were told are those of the objects that are there.
            let mut uids = Vec::new();
            while uids.len() < 3 {
                let mut prefix = [0; 4];
                supervisor.read_exact(&mut prefix).await.unwrap();
                let mut body = vec![0; protocol::announced(prefix).unwrap()];
                supervisor.read_exact(&mut body).await.unwrap();
                match protocol::decode(&body).unwrap() {
                    Reply::Created { uid, .. } => uids.push(uid),
                    _ => panic!("only Created is sent on the way"),
                }
            }
            let cluster = cluster.borrow();
            for path in cluster.left() {
                let uid = cluster.objects[path]["metadata"]["uid"].as_str().unwrap();
                assert!(uids.iter().any(|told| told == uid), "{verb} {path} {wrong:?}");
            }
        });
    }
}

#[test]
fn checklist_52_55_56_57_63_nothing_is_left_of_a_fault_that_stays() {
    at_every_step(stays);
}

fn stays(verb: &'static str, path: &'static str) {
    let wrongs = [
        Wrong::Status(403),
        Wrong::Status(409),
        Wrong::Status(500),
        Wrong::Reset,
        Wrong::Lost,
        Wrong::Garbage,
        Wrong::Other,
        Wrong::Endless,
        Wrong::Late,
    ];
    for wrong in wrongs {
        // The fence's probe is refused in any case, and what it is refused with says more than the fault.
        if path.contains("kube-system") && !matches!(wrong, Wrong::Reset | Wrong::Late | Wrong::Endless) {
            continue;
        }
        if wrong == Wrong::Other && !path.ends_with("/serviceaccounts") && verb == "GET" {
            continue; // about the executors' account or the namespace: the name is not in it
        }
        in_time(15, async {
            let (mut session, cluster, _supervisor) = session(&[(verb, path, wrong, 100)]).await;
            let (code, message, left) = failure(&mut session, provision())
                .await
                .unwrap_or_else(|| panic!("{verb} {path} {wrong:?} was overcome"));
            let case = format!("{verb} {path} {wrong:?}: {message}");
            assert!((214..=220).contains(&code.number()), "{case}");
            assert_eq!(left, Vec::<String>::new(), "{case}");
            assert_eq!(cluster.borrow().left(), Vec::<&str>::new(), "{case}");
            assert!(session.made.is_none(), "{case}");
            if wrong == Wrong::Status(403) && verb == "POST" {
                assert!(message.starts_with("create "), "{case}");
                assert!(message.contains("lacks this right"), "{case}");
            }
            let transport = matches!(wrong, Wrong::Reset | Wrong::Lost | Wrong::Late);
            assert_eq!(code == ExitCode::ClusterUnreachable, transport, "{case}");
        });
    }
}

#[test]
fn checklist_55_an_object_of_the_jobs_name_is_never_adopted_nor_removed() {
    for (path, resource) in [
        ("/api/v1/namespaces/team/serviceaccounts", "serviceaccounts"),
        ("/apis/rbac.authorization.k8s.io/v1/namespaces/team/rolebindings", "rolebindings"),
        ("/api/v1/namespaces/team/secrets", "secrets"),
    ] {
        in_time(5, async {
            let (mut session, cluster, _supervisor) = session(&[]).await;
            let foreign = json!({"metadata": {"name": NAME, "namespace": "team", "uid": "foreign"}});
            cluster.borrow_mut().objects.insert(format!("{path}/{NAME}"), foreign.clone());
            let (_, message, _) = failure(&mut session, provision()).await.expect("refused");
            assert!(message.contains("exists already"), "{resource}: {message}");
            let cluster = cluster.borrow();
            assert_eq!(cluster.objects.get(&format!("{path}/{NAME}")), Some(&foreign), "{resource}");
            assert_eq!(cluster.left().len(), 1, "{resource}");
        });
    }
}

#[test]
fn checklist_54_another_account_after_a_lost_answer_is_not_taken_for_our_own() {
    in_time(5, async {
        let (mut session, cluster, _supervisor) =
            session(&[("POST", "/team/serviceaccounts", Wrong::Status(500), 1)]).await;
        let foreign = json!({"metadata": {
            "name": NAME, "namespace": "team", "uid": "foreign", "labels": {"spark-submit-as/job": JOB},
            "annotations": {"spark-submit-as/login": "alice", "spark-submit-as/nonce": "another"},
        }});
        let path = format!("/api/v1/namespaces/team/serviceaccounts/{NAME}");
        cluster.borrow_mut().objects.insert(path, foreign);
        let (_, message, _) = failure(&mut session, provision()).await.expect("refused");
        assert!(message.contains("exists already"), "{message}");
    });
}

#[test]
fn checklist_53_a_long_retry_after_is_capped() {
    in_time(9, async {
        let (mut session, _cluster, _supervisor) =
            session(&[("POST", "/secrets", Wrong::Status(429), 100)]).await;
        let (code, message, left) = failure(&mut session, provision()).await.expect("refused");
        assert_eq!((code, left.len()), (ExitCode::ClusterRefused, 0), "{message}");
        assert!(message.contains("429"), "{message}");
    });
}

#[test]
fn checklist_85_every_failure_of_a_tear_down_is_told_and_none_stops_it() {
    in_time(10, async {
        let (mut session, cluster, _supervisor) = session(&[
            ("DELETE", NAME, Wrong::Status(403), 100),
            ("DELETE", "/pods", Wrong::Status(403), 100),
        ])
        .await;
        let made = session.answer(provision()).await;
        assert!(matches!(made, Ok(Reply::Provisioned { .. })));
        match session.answer(tear_down(Some("uid-1"), Some("uid-2"), 5)).await {
            Ok(Reply::TornDown { pods: 0, failures }) => {
                let starts = ["RoleBinding team/", "ServiceAccount team/", "pods of job"];
                assert_eq!(failures.len(), 3, "{failures:?}");
                assert!(
                    starts.iter().zip(&failures).all(|(start, text)| text.starts_with(start)),
                    "{failures:?}"
                );
            }
            _ => panic!("TornDown"),
        }
        // Healed: the same again finds the rest. NotFound of what is gone is no failure.
        cluster.borrow_mut().faults.clear();
        cluster.borrow_mut().pods = vec![2, 2, 1];
        match session.answer(tear_down(Some("uid-1"), Some("uid-2"), 5)).await {
            Ok(Reply::TornDown { pods: 2, failures }) => assert_eq!(failures, Vec::<String>::new()),
            _ => panic!("TornDown"),
        }
        assert!(session.made.is_none());
        let again = session.answer(tear_down(Some("uid-1"), Some("uid-2"), 5)).await;
        assert!(matches!(again, Ok(Reply::TornDown { pods: 0, failures }) if failures.is_empty()));
    });
}

#[test]
fn checklist_86_what_somebody_else_made_by_that_name_is_left_alone() {
    // With a uid that is known, and without one: then its label must say that it is the job's.
    for (account, label) in [(Some("uid-1"), JOB), (None, "bbbbbbbbbbbbbbbb")] {
        in_time(5, async {
            let (mut session, cluster, _supervisor) = session(&[]).await;
            let foreign = json!({"metadata": {
                "name": NAME, "namespace": "team", "uid": "foreign", "labels": {"spark-submit-as/job": label},
            }});
            let path = format!("/api/v1/namespaces/team/serviceaccounts/{NAME}");
            cluster.borrow_mut().objects.insert(path, foreign);
            match session.answer(tear_down(account, None, 5)).await {
                Ok(Reply::TornDown { failures, .. }) => {
                    assert_eq!(failures.len(), 1, "{failures:?}");
                    assert!(failures[0].contains("left alone"), "{failures:?}");
                }
                _ => panic!("TornDown"),
            }
            assert_eq!(cluster.borrow().left().len(), 1);
        });
    }
}

#[test]
fn checklist_52_a_tear_down_ends_in_its_time_when_nobody_answers() {
    in_time(4, async {
        let (mut session, _cluster, _supervisor) =
            session(&[("DELETE", NAME, Wrong::Late, 1000), ("DELETE", "/pods", Wrong::Late, 1000)]).await;
        match session.answer(tear_down(Some("uid-1"), Some("uid-2"), 3)).await {
            Ok(Reply::TornDown { failures, .. }) => assert_eq!(failures.len(), 3, "{failures:?}"),
            _ => panic!("TornDown"),
        }
    });
}

#[test]
fn a_supervisor_that_is_gone_stops_provisioning_and_nothing_is_left() {
    in_time(5, async {
        let (mut session, cluster, supervisor) = session(&[]).await;
        drop(supervisor);
        assert!(failure(&mut session, provision()).await.is_some());
        assert_eq!(cluster.borrow().left(), Vec::<&str>::new());
    });
}

#[test]
fn a_core_job_takes_eleven_requests() {
    in_time(5, async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        assert!(failure(&mut session, provision()).await.is_none());
        assert!(failure(&mut session, tear_down(Some("uid-1"), Some("uid-2"), 5)).await.is_none());
        let seen = cluster.borrow().seen.clone();
        assert_eq!(seen.len(), 11, "{seen:#?}");
        assert_eq!(cluster.borrow().left(), Vec::<&str>::new());
    });
}
