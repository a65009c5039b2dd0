//! What happens when the API server, or the way to it, fails at any step: a small one that fails on purpose stands in.
//! Nothing of the job may be left, nothing foreign may be touched, and it must not take long [52]-[58], [63], [85], [86].

use serde_json::json;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::{self, Reply};
use tokio::io::AsyncReadExt;

use crate::standin::*;

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
        in_time(async {
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
        in_time(async {
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
        in_time(async {
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
    in_time(async {
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
    in_time(async {
        let (mut session, _cluster, _supervisor) =
            session(&[("POST", "/secrets", Wrong::Status(429), 100)]).await;
        let (code, message, left) = failure(&mut session, provision()).await.expect("refused");
        assert_eq!((code, left.len()), (ExitCode::ClusterRefused, 0), "{message}");
        assert!(message.contains("429"), "{message}");
    });
}

#[test]
fn checklist_85_every_failure_of_a_tear_down_is_told_and_none_stops_it() {
    in_time(async {
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
        in_time(async {
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
    in_time(async {
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
    in_time(async {
        let (mut session, cluster, supervisor) = session(&[]).await;
        drop(supervisor);
        assert!(failure(&mut session, provision()).await.is_some());
        assert_eq!(cluster.borrow().left(), Vec::<&str>::new());
    });
}

#[test]
fn a_core_job_takes_eleven_requests() {
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        assert!(failure(&mut session, provision()).await.is_none());
        assert!(failure(&mut session, tear_down(Some("uid-1"), Some("uid-2"), 5)).await.is_none());
        let seen = cluster.borrow().seen.clone();
        assert_eq!(seen.len(), 11, "{seen:#?}");
        assert_eq!(cluster.borrow().left(), Vec::<&str>::new());
    });
}
