use serde_json::json;
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::{EXPIRY_ANNOTATION, EXPIRY_MARGIN, Reply, Request};

use crate::standin::*;

const ACCOUNT: &str = "/api/v1/namespaces/team/serviceaccounts/ssa-job-aaaaaaaaaaaaaaaa";
/// 1893456000
const DATE: &str = "Tue, 01 Jan 2030 00:00:00 GMT";
const NOW: i64 = 1_893_456_000;

fn renew(uid: Option<&str>, seconds: u64) -> Request {
    let made =
        json!({"job": JOB, "namespace": "team", "account_uid": uid, "binding_uid": null, "seconds": 0});
    let request = json!({"request": "renew", "made": made, "token_seconds": seconds});
    serde_json::from_value(request).unwrap()
}

fn expiry(cluster: &Shared) -> Option<i64> {
    let cluster = cluster.borrow();
    let text = cluster.objects.get(ACCOUNT)?["metadata"]["annotations"].get(EXPIRY_ANNOTATION)?;
    super::read(text.as_str()?)
}

fn margin() -> i64 {
    i64::try_from(EXPIRY_MARGIN).unwrap()
}

/// What was asked for since, by verb and last part of the path.
fn since(cluster: &Shared, start: usize) -> Vec<String> {
    let short = |line: &String| {
        let (verb, path) = line.split_once(' ').unwrap();
        format!("{verb} {}", path.rsplit('/').next().unwrap())
    };
    cluster.borrow().seen.iter().skip(start).map(short).collect()
}

const PATCH: &str = "PATCH ssa-job-aaaaaaaaaaaaaaaa";
const GET: &str = "GET ssa-job-aaaaaaaaaaaaaaaa";
const TOKEN: &str = "POST token";

#[test]
fn an_expiry_is_written_and_read_in_one_form() {
    let text = super::text(NOW).unwrap();
    assert_eq!(text, "2030-01-01T00:02:00Z");
    assert_eq!(super::read(&text), Some(NOW + margin()));
    for bounds in [i64::MAX, i64::MAX - margin(), i64::MIN] {
        assert_eq!(super::text(bounds), None);
    }
}

#[test]
fn an_account_says_from_its_creation_when_it_is_overdue() {
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        cluster.borrow_mut().date = Some(DATE.to_owned());
        assert!(failure(&mut session, provision()).await.is_none());
        // By the server's clock and not by this host's, with the request that makes the account.
        let expected = NOW + 600 + super::ROOM as i64 + margin();
        assert_eq!(expiry(&cluster), Some(expected));
        assert_eq!(cluster.borrow().seen.len(), 7, "{:#?}", cluster.borrow().seen);
        let asked = cluster.borrow().asked.clone();
        let created =
            asked.iter().find(|(what, _)| what.ends_with("POST /api/v1/namespaces/team/serviceaccounts"));
        let at = created.unwrap().1["metadata"]["annotations"][EXPIRY_ANNOTATION].as_str().unwrap();
        assert_eq!(super::read(at), Some(expected));
    });
}

#[test]
fn a_token_that_lives_longer_than_asked_moves_the_expiry() {
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        cluster.borrow_mut().token_seconds = Some(86_400);
        cluster.borrow_mut().date = Some(DATE.to_owned());
        assert!(failure(&mut session, provision()).await.is_none());
        assert_eq!(expiry(&cluster), Some(NOW + 86_400 + margin()));
        assert_eq!(since(&cluster, 7), [PATCH]);
    });
}

#[test]
fn a_token_that_lives_shorter_than_asked_needs_no_other_request() {
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        cluster.borrow_mut().token_seconds = Some(60);
        assert!(failure(&mut session, provision()).await.is_none());
        assert_eq!(cluster.borrow().seen.len(), 7);
    });
}

#[test]
fn a_server_without_a_clock_has_its_expiry_from_the_token() {
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        cluster.borrow_mut().date = Some(String::new());
        assert!(failure(&mut session, provision()).await.is_none());
        assert_eq!(since(&cluster, 7), [PATCH]);
        assert!(expiry(&cluster).is_some());
        assert!(matches!(session.answer(renew(Some("uid-1"), 700)).await, Ok(Reply::Renewed { .. })));
        assert_eq!(since(&cluster, 8), [GET, TOKEN, PATCH]);
    });
}

#[test]
fn a_renewal_moves_the_expiry_before_it_asks_for_a_token() {
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        cluster.borrow_mut().date = Some(DATE.to_owned());
        assert!(failure(&mut session, provision()).await.is_none());
        match session.answer(renew(Some("uid-1"), 7200)).await {
            Ok(Reply::Renewed { expires_at, granted_at, .. }) => {
                assert_eq!((granted_at, expires_at), (NOW, NOW + 7200));
            }
            _ => panic!("Renewed"),
        }
        assert_eq!(since(&cluster, 7), [PATCH, TOKEN]);
        assert_eq!(expiry(&cluster), Some(NOW + 7200 + super::ROOM as i64 + margin()));
        let patch = cluster.borrow().asked[7].1.clone();
        assert_eq!(patch["metadata"]["uid"], "uid-1");
        assert_eq!(patch.as_object().unwrap().len(), 1);
        assert_eq!(patch["metadata"].as_object().unwrap().len(), 2, "the expiry alone: {patch}");
        // And once more, when the server is generous.
        cluster.borrow_mut().token_seconds = Some(100_000);
        assert!(matches!(session.answer(renew(Some("uid-1"), 7200)).await, Ok(Reply::Renewed { .. })));
        assert_eq!(since(&cluster, 9), [PATCH, TOKEN, PATCH]);
        assert_eq!(expiry(&cluster), Some(NOW + 100_000 + margin()));
    });
}

#[test]
fn checklist_101_a_provisioner_that_made_nothing_renews_as_well() {
    for uid in [Some("uid-1"), None] {
        in_time(async {
            let (mut first, cluster, _supervisor) = session(&[]).await;
            assert!(failure(&mut first, provision()).await.is_none());
            let mut second = another(&first);
            assert!(matches!(second.answer(renew(uid, 7200)).await, Ok(Reply::Renewed { .. })));
            assert_eq!(since(&cluster, 7), [GET, PATCH, TOKEN]);
            assert_eq!(cluster.borrow().asked[8].1["metadata"]["uid"], "uid-1");
        });
    }
}

#[test]
fn checklist_92_a_patch_that_fails_makes_the_renewal_fail_and_no_token_is_asked_for() {
    for wrong in [Wrong::Status(403), Wrong::Status(500), Wrong::Status(409), Wrong::Reset, Wrong::Late] {
        in_time(async {
            let (mut session, cluster, _supervisor) = session(&[("PATCH", NAME, wrong, 100)]).await;
            assert!(failure(&mut session, provision()).await.is_none());
            let before = expiry(&cluster);
            let (code, message, left) =
                failure(&mut session, renew(Some("uid-1"), 7200)).await.expect("failed");
            assert!(
                [ExitCode::ClusterRefused, ExitCode::ClusterUnreachable].contains(&code),
                "{wrong:?}: {message}"
            );
            assert!(left.is_empty());
            assert!(!since(&cluster, 7).contains(&TOKEN.to_owned()), "{wrong:?}");
            // The job stays, and the next try finds it.
            assert_eq!(cluster.borrow().left().len(), 3);
            assert!(wrong == Wrong::Late || expiry(&cluster) == before);
            cluster.borrow_mut().faults.clear();
            assert!(matches!(session.answer(renew(Some("uid-1"), 7200)).await, Ok(Reply::Renewed { .. })));
        });
    }
}

#[test]
fn an_account_that_is_gone_is_told_as_gone() {
    // Before the patch, between patch and token, and before the second patch.
    for step in 0..3 {
        in_time(async {
            let (mut session, cluster, _supervisor) = session(&[]).await;
            assert!(failure(&mut session, provision()).await.is_none());
            match step {
                0 => drop(cluster.borrow_mut().objects.remove(ACCOUNT)),
                1 => cluster.borrow_mut().faults.push(("POST", "aaaa/token", Wrong::Vanished, 1)),
                _ => {
                    cluster.borrow_mut().token_seconds = Some(100_000);
                    cluster.borrow_mut().faults.push(("POST", "aaaa/token", Wrong::VanishesAfter, 1));
                }
            }
            let answer = session.answer(renew(Some("uid-1"), 700)).await;
            assert!(matches!(answer, Ok(Reply::AccountGone)), "step {step}");
        });
    }
}

#[test]
fn checklist_86_another_account_of_that_name_is_gone_as_well_and_is_left_as_it_is() {
    for (path, verb) in [(NAME, "PATCH"), ("aaaa/token", "POST")] {
        in_time(async {
            let (mut session, cluster, _supervisor) = session(&[]).await;
            assert!(failure(&mut session, provision()).await.is_none());
            cluster.borrow_mut().faults.push((verb, path, Wrong::Replaced, 1));
            let before = expiry(&cluster);
            let answer = session.answer(renew(Some("uid-1"), 700)).await;
            assert!(matches!(answer, Ok(Reply::AccountGone)), "{verb}");
            assert!(verb == "POST" || expiry(&cluster) == before);
        });
    }
    // And by a provisioner that has only the job's name: the label tells.
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        let foreign = json!({"metadata": {"name": NAME, "namespace": "team", "uid": "x", "labels": {}}});
        cluster.borrow_mut().objects.insert(ACCOUNT.to_owned(), foreign);
        assert!(matches!(session.answer(renew(None, 700)).await, Ok(Reply::AccountGone)));
        assert_eq!(since(&cluster, 0), [GET]);
    });
}

#[test]
fn checklist_63_a_404_that_is_not_about_the_account_is_a_failure() {
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        assert!(failure(&mut session, provision()).await.is_none());
        for (verb, path) in [("PATCH", NAME), ("POST", "aaaa/token"), ("GET", NAME)] {
            cluster.borrow_mut().faults = vec![(verb, path, Wrong::Status(404), 1)];
            let mut fresh = another(&session);
            let session = if verb == "GET" { &mut fresh } else { &mut session };
            assert!(failure(session, renew(Some("uid-1"), 700)).await.is_some(), "{verb} {path}");
        }
        assert!(failure(&mut session, renew(Some("uid-1"), u64::MAX)).await.is_some());
    });
}
