//! Which account is an overdue job's.

use serde::Deserialize;
use spark_submit_as::policy::names::{JobId, NamespaceName};
use spark_submit_as::protocol::{Overdue, TearDown};

use crate::expiry;

/// Longest name of a host that is repeated.
const MAX_HOST: usize = 253;

/// Of an account, what is looked at.
#[derive(Deserialize)]
pub struct Item {
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    uid: String,
    resource_version: String,
    creation_timestamp: Option<String>,
    labels: Option<Labels>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(rename = "spark-submit-as/job")]
    job: Option<String>,
}

#[derive(Deserialize)]
struct Annotations {
    #[serde(rename = "spark-submit-as/expires-at")]
    expires_at: Option<String>,
    #[serde(rename = "spark-submit-as/host")]
    host: Option<String>,
}

/// A job that is overdue beyond doubt.
pub struct Candidate {
    /// The job.
    pub job: JobId,
    /// Its namespace.
    pub namespace: NamespaceName,
    /// Its account's uid and
    pub uid: String,
    /// state when it was looked at.
    pub resource_version: String,
    host: Option<String>,
    overdue_seconds: u64,
}

impl Candidate {
    /// What is left when the account is gone.
    pub fn tear_down(&self) -> TearDown {
        TearDown {
            job: self.job.clone(),
            namespace: self.namespace.clone(),
            account_uid: Some(self.uid.clone()),
            binding_uid: None,
            seconds: 0,
        }
    }

    /// As the supervisor is told.
    pub fn told(self, failures: Vec<String>) -> Overdue {
        let Self { job, namespace, host, overdue_seconds, .. } = self;
        Overdue { job, namespace, host, overdue_seconds, failures }
    }
}

/// The job, if its account is one beyond doubt and was overdue when the server's clock showed `date` [87].
pub fn overdue(item: Item, date: i64) -> Option<Candidate> {
    let metadata = item.metadata;
    let job = JobId::new(metadata.labels?.job?).ok()?;
    if metadata.name != job.object_name() {
        return None;
    }
    let namespace = NamespaceName::new(metadata.namespace).ok()?;
    let annotations = metadata.annotations?;
    let expires_at = expiry::read(&annotations.expires_at?)?;
    // A job that was over before it began was written by nobody here.
    let created = metadata.creation_timestamp?.parse::<jiff::Timestamp>().ok()?.as_second();
    if expires_at <= created {
        return None;
    }
    let overdue_seconds = u64::try_from(date.checked_sub(expires_at)?).ok()?;
    // An empty one would be no precondition at all.
    let opaque = |text: &String| {
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if !opaque(&metadata.uid) || !opaque(&metadata.resource_version) {
        return None;
    }
    let host = annotations.host.filter(|host| {
        (1..=MAX_HOST).contains(&host.len()) && host.bytes().all(|byte| byte.is_ascii_graphic())
    });
    Some(Candidate {
        job,
        namespace,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        host,
        overdue_seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use spark_submit_as::protocol::{EXPIRY_ANNOTATION, HOST_ANNOTATION, JOB_LABEL};

    const JOB: &str = "aaaaaaaaaaaaaaaa";
    /// 2026-01-01T00:00:00Z
    const NOW: i64 = 1_767_225_600;

    fn account() -> Value {
        json!({"metadata": {
            "name": format!("ssa-job-{JOB}"), "namespace": "team", "uid": "u-1", "resourceVersion": "7",
            "creationTimestamp": "2025-12-31T20:00:00Z",
            "labels": {JOB_LABEL: JOB, "other": "x"},
            "annotations": {EXPIRY_ANNOTATION: "2025-12-31T23:59:00Z", HOST_ANNOTATION: "host-a"},
        }})
    }

    fn seen(account: Value, now: i64) -> Option<Candidate> {
        overdue(serde_json::from_value(account).unwrap(), now)
    }

    fn changed(pointer: &str, value: Value) -> Value {
        let mut account = account();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = account.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        let key = key.replace("~1", "/");
        match value {
            Value::Null => drop(parent.remove(&key)),
            value => drop(parent.insert(key, value)),
        }
        account
    }

    #[test]
    fn an_overdue_job_is_one_from_the_very_second_on() {
        let found = seen(account(), NOW).unwrap();
        assert_eq!((found.uid.as_str(), found.resource_version.as_str()), ("u-1", "7"));
        let told = found.told(Vec::new());
        assert_eq!((told.job.as_str(), told.namespace.as_str(), told.overdue_seconds), (JOB, "team", 60));
        assert_eq!(told.host.as_deref(), Some("host-a"));
        assert!(seen(account(), NOW - 60).is_some_and(|found| found.told(vec![]).overdue_seconds == 0));
        assert!(seen(account(), NOW - 61).is_none());
    }

    #[test]
    fn checklist_87_a_future_missing_or_garbage_expiry_is_not_touched() {
        let at = "/metadata/annotations/spark-submit-as~1expires-at";
        for text in [
            "",
            "x",
            "0",
            "1767225540",
            "2025-12-31",
            "2025-12-31T23:59:00",
            "2025-12-31T23:59:00+00:00",
            "2025-12-31T23:59:00-12:00",
            "2025-12-31T23:59:00Z ",
            " 2025-12-31T23:59:00Z",
            "2025-12-31t23:59:00z",
            "2025-12-31 23:59:00Z",
            "20251231T235900Z",
            "2025-12-31T23:59:00Z[UTC]",
            "2025-12-31T23:59:60Z",
            "2025-12-31T23:59:00Z\n",
            "-009999-01-01T00:00:00Z",
            "2026-01-01T00:00:01Z",
            "9999-01-01T00:00:00Z",
            // Before the account itself was there: a clock has jumped.
            "2025-12-31T20:00:00Z",
            "1970-01-01T00:00:00Z",
        ] {
            assert!(seen(changed(at, json!(text)), NOW).is_none(), "{text:?} was taken");
        }
        for missing in [at, "/metadata/annotations", "/metadata/creationTimestamp", "/metadata/labels"] {
            assert!(seen(changed(missing, Value::Null), NOW).is_none(), "without {missing}");
        }
    }

    #[test]
    fn checklist_87_a_foreign_label_prefix_or_substring_is_not_touched() {
        let label = "/metadata/labels/spark-submit-as~1job";
        for (at, text) in [
            (label, "bbbbbbbbbbbbbbbb"),
            (label, ""),
            (label, "aaaaaaaaaaaaaaa"),
            (label, "aaaaaaaaaaaaaaaaa"),
            (label, "AAAAAAAAAAAAAAAA"),
            (label, "ssa-job-aaaaaaaaaaaaaaaa"),
            (label, "aaaaaaaaaaaaaaa/"),
            ("/metadata/name", "aaaaaaaaaaaaaaaa"),
            ("/metadata/name", "ssa-job-aaaaaaaaaaaaaaa"),
            ("/metadata/name", "ssa-job-aaaaaaaaaaaaaaaaa"),
            ("/metadata/name", "x-ssa-job-aaaaaaaaaaaaaaaa"),
            ("/metadata/name", "default"),
            ("/metadata/name", "ssa-executor"),
            ("/metadata/name", "../../x"),
            ("/metadata/namespace", "default"),
            ("/metadata/namespace", "kube-system"),
            ("/metadata/namespace", "a/b"),
            ("/metadata/namespace", ""),
            ("/metadata/namespace", ".."),
            ("/metadata/uid", ""),
            ("/metadata/uid", "a/b"),
            ("/metadata/resourceVersion", ""),
        ] {
            assert!(seen(changed(at, json!(text)), NOW).is_none(), "{at} {text:?} was taken");
        }
    }

    #[test]
    fn checklist_48_a_host_that_is_none_is_not_repeated() {
        for host in ["", "a b", "a\u{1b}[31m", &"a".repeat(254)] {
            let account = changed("/metadata/annotations/spark-submit-as~1host", json!(host));
            assert_eq!(seen(account, NOW).unwrap().told(vec![]).host, None, "{host:?}");
        }
    }
}
