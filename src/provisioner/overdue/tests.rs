use std::time::Duration;

use serde_json::{Value, json};
use spark_submit_as::protocol::{EXPIRY_ANNOTATION, HOST_ANNOTATION, JOB_LABEL, Overdue, Reply, Request};
use spark_submit_as::protocol::{announced, decode};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use crate::Session;
use crate::standin::*;

/// What the server's clock shows, and what is before and after.
const DATE: &str = "Tue, 01 Jan 2030 00:00:00 GMT";
const PAST: &str = "2029-12-31T23:00:00Z";
const FUTURE: &str = "2030-01-01T00:00:01Z";

fn id(number: usize) -> String {
    let digits = format!("{number:05}");
    let letters = digits.bytes().map(|digit| char::from(b'a' + (digit - b'0')));
    format!("jobjobjobjo{}", letters.collect::<String>())
}

fn account_path(namespace: &str, job: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts/ssa-job-{job}")
}

fn binding_path(namespace: &str, job: &str) -> String {
    format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings/ssa-job-{job}")
}

/// A job's account and binding.
fn add(cluster: &Shared, namespace: &str, number: usize, expires_at: &str) -> String {
    let job = id(number);
    let name = format!("ssa-job-{job}");
    let metadata = json!({
        "name": name, "namespace": namespace, "uid": format!("sa-{number}"), "resourceVersion": "5",
        "creationTimestamp": "2029-12-31T20:00:00Z", "labels": {JOB_LABEL: job},
        "annotations": {EXPIRY_ANNOTATION: expires_at, HOST_ANNOTATION: "host-b"},
    });
    let binding = json!({"metadata": {
        "name": name, "namespace": namespace, "uid": format!("rb-{number}"), "labels": {JOB_LABEL: job},
    }});
    let mut cluster = cluster.borrow_mut();
    cluster.objects.insert(account_path(namespace, &job), json!({"metadata": metadata, "number": number}));
    cluster.objects.insert(binding_path(namespace, &job), binding);
    job
}

fn request(namespaces: &[&str], spared: &[&str], dry_run: bool, seconds: u64) -> Request {
    let request = json!({
        "request": "reap-overdue", "namespaces": namespaces, "spared": spared, "dry_run": dry_run, "seconds": seconds,
    });
    serde_json::from_value(request).unwrap()
}

async fn place(faults: &[Fault]) -> (Session, Shared, UnixStream) {
    let (session, cluster, supervisor) = session(faults).await;
    cluster.borrow_mut().date = Some(DATE.to_owned());
    (session, cluster, supervisor)
}

/// What was told, accounts seen, and failures of the whole.
async fn reap(
    session: &mut Session,
    supervisor: &mut UnixStream,
    request: Request,
) -> (Vec<Overdue>, u32, Vec<String>) {
    let mut told = Vec::new();
    let answer = session.answer(request).await;
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_millis(20), supervisor.read_to_end(&mut rest)).await;
    let mut rest = rest.as_slice();
    while rest.len() > 4 {
        let (prefix, body) = rest.split_at(4);
        let (body, after) = body.split_at(announced(prefix.try_into().unwrap()).unwrap());
        match decode(body).unwrap() {
            Reply::Overdue(overdue) => told.push(overdue),
            _ => panic!("only Overdue is sent on the way"),
        }
        rest = after;
    }
    match answer {
        Ok(Reply::OverdueDone { seen, failures }) => (told, seen, failures),
        Ok(Reply::Failed { message, .. }) => (told, 0, vec![format!("Failed: {message}")]),
        Ok(_) => panic!("another answer"),
        Err(fault) => (told, 0, vec![format!("Failed: {fault}")]),
    }
}

const NONE: [String; 0] = [];

fn jobs(told: &[Overdue]) -> Vec<&str> {
    told.iter().map(|overdue| overdue.job.as_str()).collect()
}

#[test]
fn checklist_91_an_overdue_job_of_another_host_is_removed_whole() {
    in_time(async {
        let (mut session, cluster, mut supervisor) = place(&[]).await;
        let job = add(&cluster, "team", 1, PAST);
        let living = add(&cluster, "team", 2, FUTURE);
        cluster.borrow_mut().pods = vec![3];
        let (told, seen, failures) = reap(&mut session, &mut supervisor, request(&[], &[], false, 5)).await;
        assert_eq!((jobs(&told), seen), (vec![job.as_str()], 2));
        assert_eq!((failures, &told[0].failures[..]), (vec![], &NONE[..]));
        assert_eq!((told[0].overdue_seconds, told[0].host.as_deref()), (3600, Some("host-b")));
        let cluster = cluster.borrow();
        assert!(!cluster.objects.contains_key(&account_path("team", &job)));
        assert!(!cluster.objects.contains_key(&binding_path("team", &job)));
        assert!(cluster.objects.contains_key(&account_path("team", &living)));
        assert!(cluster.objects.contains_key(&binding_path("team", &living)));
        let (list, _) = &cluster.asked[0];
        assert_eq!(list, "GET /api/v1/serviceaccounts?labelSelector=spark-submit-as%2Fjob&limit=250");
        // The account first, and only as it was seen; then the binding, then pods until there are none.
        let (first, options) = &cluster.asked[1];
        assert_eq!(*first, format!("DELETE {}", account_path("team", &job)));
        assert_eq!(options["preconditions"], json!({"uid": "sa-1", "resourceVersion": "5"}));
        let verbs: Vec<&str> =
            cluster.seen.iter().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(verbs, ["DELETE", "GET", "DELETE", "DELETE", "DELETE"], "{:#?}", cluster.seen);
        assert!(session.made.is_none());
    });
}

#[test]
fn checklist_87_nothing_that_lives_or_is_foreign_is_touched() {
    in_time(async {
        let (mut session, cluster, mut supervisor) = place(&[]).await;
        for (number, (pointer, value)) in [
            ("/metadata/annotations/spark-submit-as~1expires-at", json!(FUTURE)),
            ("/metadata/annotations/spark-submit-as~1expires-at", json!("yesterday")),
            ("/metadata/annotations/spark-submit-as~1expires-at", json!("2029-12-31T23:00:00+00:00")),
            ("/metadata/annotations", json!({})),
            ("/metadata/labels/spark-submit-as~1job", json!("jobjobjobjobbbbb")),
            ("/metadata/labels/spark-submit-as~1job", json!("jobjobjobjobbbbbb")),
            ("/metadata/name", json!("ssa-job-jobjobjobjobbbb")),
            ("/metadata/name", json!("my-ssa-job-jobjobjobjobbbbb")),
            ("/metadata/namespace", json!("kube-system")),
            ("/metadata/namespace", json!("../kube-system")),
            ("/metadata/resourceVersion", json!("")),
            ("/metadata/uid", json!("")),
        ]
        .into_iter()
        .enumerate()
        {
            let job = add(&cluster, "team", number, PAST);
            let mut cluster = cluster.borrow_mut();
            let object = cluster.objects.get_mut(&account_path("team", &job)).unwrap();
            *object.pointer_mut(pointer).unwrap() = value;
        }
        let before = cluster.borrow().objects.clone();
        let (told, seen, failures) = reap(&mut session, &mut supervisor, request(&[], &[], false, 5)).await;
        assert_eq!((jobs(&told), seen, failures), (vec![], 12, vec![]));
        assert_eq!(cluster.borrow().objects, before);
        assert_eq!(cluster.borrow().seen.len(), 1);
    });
}

#[test]
fn checklist_87_a_job_of_this_host_is_spared_and_a_dry_run_only_tells() {
    in_time(async {
        let (mut session, cluster, mut supervisor) = place(&[]).await;
        let (own, other) = (add(&cluster, "team", 1, PAST), add(&cluster, "team", 2, PAST));
        let before = cluster.borrow().objects.clone();
        let (told, ..) = reap(&mut session, &mut supervisor, request(&[], &[&own], true, 5)).await;
        assert_eq!(jobs(&told), [other.as_str()]);
        assert_eq!(cluster.borrow().objects, before);
        let (told, ..) = reap(&mut session, &mut supervisor, request(&[], &[&own], false, 5)).await;
        assert_eq!(jobs(&told), [other.as_str()]);
        let left: Vec<String> =
            cluster.borrow().objects.keys().filter(|path| path.contains("job-")).cloned().collect();
        assert_eq!(left, [account_path("team", &own), binding_path("team", &own)]);
    });
}

#[test]
fn checklist_88_a_renewal_between_list_and_delete_wins() {
    for wrong in [Wrong::Raced, Wrong::Replaced] {
        in_time(async {
            let (mut session, cluster, mut supervisor) =
                place(&[("DELETE", "jobjobjobjoaaaab", wrong, 1)]).await;
            let (raced, other) = (add(&cluster, "team", 1, PAST), add(&cluster, "team", 2, PAST));
            let (told, seen, failures) =
                reap(&mut session, &mut supervisor, request(&[], &[], false, 5)).await;
            assert_eq!((jobs(&told), seen, failures), (vec![other.as_str()], 2, vec![]), "{wrong:?}");
            let cluster = cluster.borrow();
            assert!(cluster.objects.contains_key(&account_path("team", &raced)));
            assert!(cluster.objects.contains_key(&binding_path("team", &raced)));
            let of_raced = cluster.asked.iter().filter(|(line, _)| line.contains(&raced)).count();
            assert_eq!(of_raced, 1, "neither binding nor pods: {:#?}", cluster.seen);
        });
    }
}

#[test]
fn checklist_85_88_an_account_that_is_gone_is_no_failure_and_one_failure_stops_nothing() {
    in_time(async {
        let (mut session, cluster, mut supervisor) = place(&[
            ("DELETE", "serviceaccounts/ssa-job-jobjobjobjoaaaab", Wrong::Vanished, 1),
            ("DELETE", "serviceaccounts/ssa-job-jobjobjobjoaaaac", Wrong::Status(500), 100),
            ("DELETE", "serviceaccounts/ssa-job-jobjobjobjoaaaad", Wrong::Lost, 1),
            ("DELETE", "rolebindings/ssa-job-jobjobjobjoaaaae", Wrong::Status(403), 1),
        ])
        .await;
        let all: Vec<String> = (1..=5).map(|number| add(&cluster, "team", number, PAST)).collect();
        let (mut told, seen, failures) =
            reap(&mut session, &mut supervisor, request(&[], &[], false, 8)).await;
        told.sort_by(|one, other| one.job.cmp(&other.job));
        assert_eq!((jobs(&told), seen, failures), (all.iter().map(String::as_str).collect(), 5, vec![]));
        let failed: Vec<usize> = told.iter().map(|overdue| overdue.failures.len()).collect();
        assert_eq!(failed, [0, 1, 0, 1, 0], "{told:#?}");
        assert!(told[1].failures[0].starts_with("ServiceAccount team/"), "{told:#?}");
        // What has not been deleted keeps the rest, so that the next clean-up finds all of it.
        assert!(cluster.borrow().objects.contains_key(&binding_path("team", &all[1])));
        assert!(!cluster.borrow().objects.contains_key(&binding_path("team", &all[2])));
    });
}

#[test]
fn checklist_86_a_binding_that_is_not_the_jobs_stays() {
    in_time(async {
        let (mut session, cluster, mut supervisor) = place(&[]).await;
        let job = add(&cluster, "team", 1, PAST);
        let path = binding_path("team", &job);
        cluster.borrow_mut().objects.get_mut(&path).unwrap()["metadata"]["labels"] = json!({"app": "x"});
        let (told, ..) = reap(&mut session, &mut supervisor, request(&[], &[], false, 5)).await;
        assert!(told[0].failures[0].contains("left alone"), "{told:?}");
        assert!(cluster.borrow().objects.contains_key(&path));
    });
}

#[test]
fn without_the_right_to_look_everywhere_the_named_namespaces_are_looked_at() {
    in_time(async {
        let (mut session, cluster, mut supervisor) = place(&[
            ("GET", "/v1/serviceaccounts", Wrong::Status(403), 100),
            ("GET", "/closed/serviceaccounts", Wrong::Status(403), 100),
        ])
        .await;
        let here = add(&cluster, "team", 1, PAST);
        let there = add(&cluster, "tenant", 2, PAST);
        add(&cluster, "unnamed", 3, PAST);
        let named = request(&["tenant", "closed", "team", "team", "absent"], &[], false, 5);
        let (told, seen, failures) = reap(&mut session, &mut supervisor, named).await;
        assert_eq!((jobs(&told), seen), (vec![here.as_str(), there.as_str()], 2));
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert!(failures[0].starts_with("closed: list serviceaccounts: "), "{failures:?}");
        assert!(cluster.borrow().objects.contains_key(&account_path("unnamed", &id(3))));
        // Nobody named one: that the right is missing must not look like a clean cluster.
        let (_, seen, failures) = reap(&mut session, &mut supervisor, request(&[], &[], false, 5)).await;
        assert_eq!((seen, failures.len()), (0, 1), "{failures:?}");
    });
}

#[test]
fn a_namespace_that_is_closed_does_not_use_up_the_time() {
    in_time(async {
        let faults: [Fault; 1] = [("DELETE", "j", Wrong::Status(403), 0)];
        let (mut session, cluster, mut supervisor) = place(&faults).await;
        for number in 0..20 {
            add(&cluster, "planted", number, PAST);
        }
        let own = add(&cluster, "team", 20, PAST);
        for (number, _) in (0..20).enumerate() {
            let end: &'static str =
                Box::leak(format!("planted/serviceaccounts/ssa-job-{}", id(number)).into());
            cluster.borrow_mut().faults.push(("DELETE", end, Wrong::Status(403), 1));
        }
        let (told, seen, failures) = reap(&mut session, &mut supervisor, request(&[], &[], false, 5)).await;
        assert_eq!((told.len(), seen), (4, 21), "{told:?}");
        assert_eq!((told[3].job.as_str(), &told[3].failures[..]), (own.as_str(), &NONE[..]));
        assert_eq!(failures.len(), 1);
        assert!(failures[0].starts_with("17 more overdue jobs in planted"), "{failures:?}");
    });
}

#[test]
fn all_pages_are_seen_also_when_what_was_on_them_is_removed() {
    in_time(async {
        let (mut session, cluster, mut supervisor) = place(&[]).await;
        for number in 0..60 {
            add(&cluster, if number < 30 { "team" } else { "tenant" }, number, PAST);
        }
        for number in 60..70 {
            add(&cluster, "tenant", number, FUTURE);
        }
        cluster.borrow_mut().page = 7;
        let (told, seen, failures) = reap(&mut session, &mut supervisor, request(&[], &[], false, 15)).await;
        assert_eq!((told.len(), seen, failures), (60, 70, vec![]));
        let cluster = cluster.borrow();
        let lists = cluster.asked.iter().filter(|(line, _)| line.starts_with("GET /api/v1/serviceaccounts?"));
        assert_eq!(lists.count(), 10);
        assert_eq!(cluster.left().len(), 0);
        assert_eq!(cluster.objects.keys().filter(|path| path.contains("ssa-job-")).count(), 20);
        // A list's share, and four for each job.
        assert_eq!(cluster.seen.len(), 10 + 60 * 4);
    });
}

fn page(items: Vec<Value>, next: &str) -> (u16, Value) {
    (200, json!({"kind": "PartialObjectMetadataList", "metadata": {"continue": next}, "items": items}))
}

fn gone(next: Option<&str>) -> (u16, Value) {
    (410, json!({"kind": "Status", "code": 410, "reason": "Expired", "metadata": {"continue": next}}))
}

#[test]
fn a_list_that_expires_goes_on_or_begins_again_once() {
    for (lists, failed, asked) in [
        (vec![page(vec![], "a"), gone(Some("b/=")), page(vec![], "")], false, vec!["", "a", "b%2F%3D"]),
        (
            vec![page(vec![], "a"), gone(None), page(vec![], "c"), page(vec![], "")],
            false,
            vec!["", "a", "", "c"],
        ),
        (vec![page(vec![], "a"), gone(None), page(vec![], "c"), gone(None)], true, vec!["", "a", "", "c"]),
        (vec![page(vec![], "a"), page(vec![], "a")], true, vec!["", "a"]),
        (vec![page(vec![], "a"), gone(Some("a"))], true, vec!["", "a"]),
        (vec![page(vec![], &"a".repeat(10_000))], true, vec![""]),
    ] {
        in_time(async {
            let (mut session, cluster, mut supervisor) = place(&[]).await;
            cluster.borrow_mut().lists = lists;
            let (_, _, failures) = reap(&mut session, &mut supervisor, request(&[], &[], false, 5)).await;
            assert_eq!(failures.len(), usize::from(failed), "{failures:?}");
            let cluster = cluster.borrow();
            let tokens: Vec<&str> = cluster
                .asked
                .iter()
                .map(|(line, _)| line.split_once("continue=").map_or("", |found| found.1))
                .collect();
            assert_eq!(tokens, asked);
        });
    }
}

#[test]
fn checklist_63_an_answer_that_is_no_list_removes_nothing() {
    let overdue = json!({"metadata": {
        "name": format!("ssa-job-{}", id(1)), "namespace": "team", "uid": "u", "resourceVersion": "5",
        "creationTimestamp": "2029-12-31T20:00:00Z", "labels": {JOB_LABEL: id(1)},
        "annotations": {EXPIRY_ANNOTATION: PAST},
    }});
    let with = |pointer: &str, value: Value| {
        let mut item = overdue.clone();
        *item.pointer_mut(pointer).unwrap() = value;
        page(vec![item], "").1
    };
    for (what, list) in [
        ("nothing", Value::Null),
        ("text", json!("x")),
        ("another kind", json!({"kind": "ServiceAccountList", "metadata": {}, "items": [overdue]})),
        ("no kind", json!({"items": [overdue]})),
        (
            "items that are none",
            json!({"kind": "PartialObjectMetadataList", "metadata": {}, "items": {"a": 1}}),
        ),
        ("a name that is none", with("/metadata/name", json!(7))),
        ("labels that are none", with("/metadata/labels", json!("x"))),
        ("a label that is none", with("/metadata/labels/spark-submit-as~1job", json!({}))),
        ("a version that is none", with("/metadata/resourceVersion", json!(5))),
    ] {
        in_time(async {
            let (mut session, cluster, mut supervisor) = place(&[]).await;
            add(&cluster, "team", 1, PAST);
            cluster.borrow_mut().lists = vec![(200, list)];
            let (told, seen, failures) =
                reap(&mut session, &mut supervisor, request(&[], &[], false, 5)).await;
            assert_eq!((told.len(), seen, failures.len()), (0, 0, 1), "{what}: {failures:?}");
            assert_eq!(cluster.borrow().seen.len(), 1, "{what}");
        });
    }
    for wrong in
        [Wrong::Garbage, Wrong::Endless, Wrong::Status(500), Wrong::Status(404), Wrong::Reset, Wrong::Late]
    {
        in_time(async {
            let (mut session, cluster, mut supervisor) =
                place(&[("GET", "/serviceaccounts", wrong, 100)]).await;
            add(&cluster, "team", 1, PAST);
            let (told, _, failures) = reap(&mut session, &mut supervisor, request(&[], &[], false, 5)).await;
            assert_eq!((told.len(), failures.len()), (0, 1), "{wrong:?}: {failures:?}");
        });
    }
}

#[test]
fn checklist_63_a_page_that_is_too_long_is_asked_for_in_smaller_parts() {
    in_time(async {
        let (mut session, cluster, mut supervisor) =
            place(&[("GET", "/serviceaccounts", Wrong::Endless, 2)]).await;
        for number in 0..20 {
            add(&cluster, "team", number, PAST);
        }
        let (told, seen, failures) = reap(&mut session, &mut supervisor, request(&[], &[], true, 8)).await;
        assert_eq!((told.len(), seen, failures), (20, 20, vec![]));
        let cluster = cluster.borrow();
        let limit = |line: &str| line.split("limit=").nth(1)?.split('&').next()?.parse().ok();
        let limits: Vec<u32> = cluster.asked.iter().filter_map(|(line, _)| limit(line)).collect();
        assert_eq!(limits, [250, 31, 3, 6, 12]);
    });
    // One that does not fit by itself is told, and keeps nobody waiting.
    in_time(async {
        let (mut session, _cluster, mut supervisor) =
            place(&[("GET", "/serviceaccounts", Wrong::Endless, 100)]).await;
        let (_, _, failures) = reap(&mut session, &mut supervisor, request(&[], &[], true, 8)).await;
        assert!(failures[0].contains("more than 4194304 bytes"), "{failures:?}");
    });
}

#[test]
fn a_server_that_does_not_say_what_time_it_is_has_nothing_overdue() {
    in_time(async {
        let (mut session, cluster, mut supervisor) = place(&[]).await;
        cluster.borrow_mut().date = Some(String::new());
        add(&cluster, "team", 1, PAST);
        let (told, _, failures) = reap(&mut session, &mut supervisor, request(&[], &[], false, 5)).await;
        assert_eq!((told.len(), failures.len()), (0, 1), "{failures:?}");
        assert_eq!(cluster.borrow().seen.len(), 1);
    });
}

#[test]
fn checklist_52_it_ends_in_its_time() {
    in_time(async {
        let (mut session, cluster, mut supervisor) = place(&[]).await;
        for number in 0..60 {
            add(&cluster, "team", number, PAST);
        }
        cluster.borrow_mut().pods = vec![1; 1000];
        let (told, seen, failures) = reap(&mut session, &mut supervisor, request(&[], &[], false, 2)).await;
        assert_eq!(seen, 60);
        // Those that were begun share the time, and none is told as removed. How many that are is the machine's matter.
        assert!(told.len() >= 25 && told.iter().all(|job| !job.failures.is_empty()), "{}", told.len());
        let untold = failures.iter().any(|failure| failure.contains("time is over"));
        assert_eq!(untold, told.len() < 60, "{} {failures:?}", told.len());
    });
}

#[test]
fn checklist_100_a_supervisor_that_is_gone_ends_it() {
    in_time(async {
        let (mut session, cluster, supervisor) = place(&[]).await;
        add(&cluster, "team", 1, PAST);
        drop(supervisor);
        let _ = session.answer(request(&[], &[], false, 5)).await;
        assert_eq!(cluster.borrow().seen.len(), 1);
    });
}
