use super::record::{By, End, MAX_RECORD, Record, RecordError, command};
use super::{Cleanup, Made, Phase, Times, VERSION};
use crate::policy::names::{JobId, Login, NamespaceName, UserName};
use crate::supervisor::proc::Process;

fn record() -> Record {
    Record {
        version: VERSION,
        job: JobId::new("abcdefghijklmnop").expect("job"),
        phase: Phase::Starting,
        caller: "dssuser".into(),
        caller_uid: 1000,
        login: Login::new("alice@corp.com").expect("login"),
        account: UserName::new("alice").expect("account"),
        uid: 1001,
        gid: 1001,
        profile: "per-user".into(),
        project: None,
        rule: "identity".into(),
        cluster: "main".into(),
        namespace: NamespaceName::new("dss-ns-alice").expect("namespace"),
        host: "host".into(),
        tags: [("run".to_owned(), "7".to_owned())].into(),
        command: vec!["spark-submit".into()],
        supervisor: Process { pid: 4, start: 5, boot: "b".into() },
        cgroup: None,
        groups: Vec::new(),
        process: None,
        made: Made::default(),
        times: Times { accepted: 1, ..Times::default() },
        exit: None,
        executors: Vec::new(),
        cleanup: Cleanup::default(),
    }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    let mut record = record();
    assert_eq!(Record::parse(&record.text().expect("text")), Ok(record.clone()));
    record.exit = Some(End::Signal(9));
    record.closed(&["pods stay".to_owned()], By::Reap, 100);
    assert_eq!(
        (record.phase, record.cleanup.tries, record.cleanup.failing_since),
        (Phase::Ending, 1, Some(100))
    );
    record.closed(&["pods stay".to_owned()], By::Reap, 200);
    assert_eq!((record.cleanup.tries, record.cleanup.failing_since), (2, Some(100)));
    record.closed(&[], By::Reap, 300);
    assert_eq!((record.phase, record.cleanup.failing_since), (Phase::Ended, None));
    assert_eq!(record.exit, Some(End::Signal(9)), "the end of a job that was seen is kept");
    assert_eq!(Record::parse(&record.text().expect("text")), Ok(record));
}

#[test]
fn checklist_90_what_is_no_record_is_refused_without_its_text() {
    let text = String::from_utf8(record().text().expect("text")).expect("UTF-8");
    for (from, to) in [
        ("\"alice\"", "\"../../etc\""),
        ("\"abcdefghijklmnop\"", "\"abcdefghijklmno/\""),
        ("\"dss-ns-alice\"", "\"kube-system\""),
        ("\"starting\"", "\"exec\""),
        ("\"uid\"", "\"run\""),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Record::parse(text.replacen(from, to, 1).as_bytes()).expect_err(to);
        assert!(matches!(error, RecordError::Malformed(..)), "{error}");
        assert!(!error.to_string().contains(to), "{error}");
    }
    for bad in [&b""[..], b"{", b"null", b"[]", b"\xff\xfe", b"{\"version\":1}", &text.as_bytes()[..100]] {
        assert!(matches!(Record::parse(bad), Err(RecordError::Malformed(..))));
    }
    assert_eq!(Record::parse(&vec![b' '; MAX_RECORD + 1]), Err(RecordError::TooLarge));
}

#[test]
fn a_newer_version_is_told_apart_from_rubbish() {
    let text = String::from_utf8(record().text().expect("text")).expect("UTF-8");
    let newer = text.replacen("\"version\": 1", "\"version\": 2, \"more\": {}", 1);
    assert_eq!(Record::parse(newer.as_bytes()), Err(RecordError::Version(2)));
}

#[test]
fn the_largest_command_line_tags_and_failures_fit_a_record() {
    let mut record = record();
    record.command = command(vec!["\u{1}".repeat(1000); 10_000]);
    assert!(record.command.len() < 300);
    record.tags = (0..16).map(|n| (format!("{n:063}"), "\"".repeat(255))).collect();
    record.closed(&vec!["\\".repeat(100_000); 1000], By::Run, 1);
    assert!(record.text().is_ok());
}
