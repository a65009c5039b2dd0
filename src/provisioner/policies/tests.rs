//! Policies and volumes with an API server that fails on purpose. Nothing of a job may be left; what a namespace keeps may.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spark_submit_as::exit::ExitCode;
use spark_submit_as::protocol::{APPLIED_ANNOTATION, Reply};

use crate::standin::*;

const STEPS: [(&str, &str); 13] = [
    ("GET", "/resourcequotas/ssa-quota"),
    ("GET", "/limitranges/ssa-limits"),
    ("GET", "/networkpolicies/ssa-isolated"),
    ("PATCH", "/namespaces/team"),
    ("PATCH", "/resourcequotas/ssa-quota"),
    ("PATCH", "/limitranges/ssa-limits"),
    ("PATCH", "/networkpolicies/ssa-isolated"),
    ("PATCH", "/serviceaccounts/ssa-executor"),
    ("POST", "/networkpolicies"),
    ("GET", "/persistentvolumeclaims/ssa-volume-alice"),
    ("POST", "/persistentvolumeclaims"),
    ("POST", "/roles"),
    ("POST", "/rolebindings"),
];

/// What is there that is not the job's.
fn kept(cluster: &Shared) -> BTreeMap<String, Value> {
    let cluster = cluster.borrow();
    let foreign = |(path, _): &(&String, &Value)| !path.contains("ssa-job-");
    cluster.objects.iter().filter(foreign).map(|(path, object)| (path.clone(), object.clone())).collect()
}

/// Objects of the job, by any name of its own.
fn of_the_job(cluster: &Shared) -> Vec<String> {
    cluster.borrow().objects.keys().filter(|path| path.contains("ssa-job-")).cloned().collect()
}

#[test]
fn everything_is_made_once_and_then_only_looked_at() {
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        match session.answer(provision_with_policies()).await {
            Ok(Reply::Provisioned { mended, .. }) => {
                assert_eq!(mended.len(), 5, "{mended:?}");
                assert!(mended.iter().any(|text| text == "ResourceQuota ssa-quota made"), "{mended:?}");
            }
            _ => panic!("Provisioned"),
        }
        assert_eq!(
            of_the_job(&cluster).len(),
            6,
            "account, binding, secret, network policy, role and its binding"
        );
        assert!(failure(&mut session, tear_down(Some("uid-4"), None, 5)).await.is_none());
        let before = kept(&cluster);
        let account = cluster.borrow().objects.keys().any(|path| path.contains("ssa-job-"));
        assert!(!account, "{:?}", of_the_job(&cluster));

        cluster.borrow_mut().seen.clear();
        match session.answer(provision_with_policies()).await {
            Ok(Reply::Provisioned { mended, .. }) => assert_eq!(mended, Vec::<String>::new()),
            _ => panic!("Provisioned"),
        }
        assert_eq!(kept(&cluster), before);
        let seen = cluster.borrow().seen.clone();
        assert!(seen.iter().all(|request| !request.starts_with("PATCH")), "{seen:#?}");
        // Without policies and volume a job takes seven requests; three reads, and what is the job's own, come to that.
        assert_eq!(seen.len(), 7 + 3 + 1 + 3, "{seen:#?}");
    });
}

#[test]
fn checklist_53_54_a_fault_that_passes_is_overcome_at_every_step_of_a_policy() {
    std::thread::scope(|threads| {
        for (verb, path) in STEPS {
            threads.spawn(move || {
                for wrong in [Wrong::Lost, Wrong::Reset, Wrong::Status(500), Wrong::Status(429)] {
                    in_time(async {
                        let (mut session, cluster, _supervisor) = session(&[(verb, path, wrong, 1)]).await;
                        let failed = failure(&mut session, provision_with_policies()).await;
                        assert!(failed.is_none(), "{verb} {path} {wrong:?}: {failed:?}");
                        assert_eq!(of_the_job(&cluster).len(), 6, "{verb} {path} {wrong:?}");
                    });
                }
            });
        }
    });
}

#[test]
fn checklist_52_56_nothing_of_the_job_is_left_of_a_fault_that_stays() {
    std::thread::scope(|threads| {
        for (verb, path) in STEPS {
            threads.spawn(move || {
                for wrong in
                    [Wrong::Status(403), Wrong::Status(500), Wrong::Reset, Wrong::Garbage, Wrong::Late]
                {
                    in_time(async {
                        let (mut session, cluster, _supervisor) = session(&[(verb, path, wrong, 100)]).await;
                        let (code, message, left) = failure(&mut session, provision_with_policies())
                            .await
                            .unwrap_or_else(|| panic!("{verb} {path} {wrong:?} was overcome"));
                        let case = format!("{verb} {path} {wrong:?}: {message}");
                        assert!((214..=220).contains(&code.number()), "{case}");
                        assert_eq!(left, Vec::<String>::new(), "{case}");
                        assert_eq!(of_the_job(&cluster), Vec::<String>::new(), "{case}");
                        if wrong == Wrong::Status(403) {
                            assert!(message.contains("lacks this right"), "{case}");
                        }
                    });
                }
            });
        }
    });
}

#[test]
fn a_quota_that_nobody_enforces_is_told_and_no_job_starts() {
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        cluster.borrow_mut().quotas_work = false;
        let (code, message, _) = failure(&mut session, provision_with_policies()).await.expect("refused");
        assert_eq!(code, ExitCode::ClusterNamespace, "{message}");
        assert!(message.contains("ssa-quota of namespace team is not enforced yet"), "{message}");
        assert!(cluster.borrow().seen.iter().all(|request| !request.contains("ssa-job-")), "a job was begun");
    });
}

#[test]
fn what_server_side_apply_does_not_take_away_is_made_anew() {
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        let path = "/api/v1/namespaces/team/resourcequotas/ssa-quota";
        // This stand-in's apply keeps no spec of others; so the one here has what cannot be applied away: it is going.
        let dying = json!({"metadata": {"name": "ssa-quota", "uid": "x", "resourceVersion": "1",
            "deletionTimestamp": "2030-01-01T00:00:00Z"}});
        cluster.borrow_mut().objects.insert(path.to_owned(), dying);
        match session.answer(provision_with_policies()).await {
            Ok(Reply::Provisioned { mended, .. }) => {
                assert!(mended.iter().any(|text| text == "ResourceQuota ssa-quota made anew"), "{mended:?}");
            }
            _ => panic!("Provisioned"),
        }
        assert!(cluster.borrow().objects[path]["metadata"].get("deletionTimestamp").is_none());
    });
}

#[test]
fn a_namespace_is_marked_before_an_object_of_a_policy_is_made_and_after_one_is_removed() {
    in_time(async {
        let (mut session, cluster, _supervisor) = session(&[]).await;
        assert!(failure(&mut session, provision_with_policies()).await.is_none());
        let order = |cluster: &Shared, first: &str, second: &str| {
            let seen = cluster.borrow().seen.clone();
            let at = |what: &str| {
                seen.iter().position(|request| request == what).unwrap_or_else(|| panic!("{what}: {seen:?}"))
            };
            assert!(at(first) < at(second), "{seen:?}");
        };
        order(
            &cluster,
            "PATCH /api/v1/namespaces/team",
            "PATCH /api/v1/namespaces/team/resourcequotas/ssa-quota",
        );
        let mark = cluster.borrow().objects["/api/v1/namespaces/team"]["metadata"]["annotations"]
            [APPLIED_ANNOTATION]
            .clone();
        assert_eq!(mark, "quota,limits,network,label:cost");
        assert!(failure(&mut session, tear_down(Some("uid-4"), None, 5)).await.is_none());
        cluster.borrow_mut().seen.clear();
        assert!(failure(&mut session, provision()).await.is_none());
        order(
            &cluster,
            "DELETE /api/v1/namespaces/team/resourcequotas/ssa-quota",
            "PATCH /api/v1/namespaces/team",
        );
        let left = kept(&cluster);
        assert!(
            left.keys().all(|path| !path.contains("quota") && !path.contains("isolated")),
            "{:?}",
            left.keys()
        );
    });
}
