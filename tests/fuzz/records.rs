//! What root reads back about its own jobs and from the kernel: the journal's records, `/proc/PID/stat`, and tags.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use spark_submit_as::policy::absence::{Absences, Seen};
use spark_submit_as::policy::names::{JobId, Login, NamespaceName, UserName};
use spark_submit_as::policy::owner::Owner;
use spark_submit_as::policy::tags;
use spark_submit_as::supervisor::journal::{
    By, Cleanup, End, MAX_RECORD, Made, Phase, Record, RecordError, Times, VERSION, command,
};
use spark_submit_as::supervisor::proc::{Process, Stat, parse_stat};

use super::harness::{Bound, bounded, plain};
use super::random::Random;
use super::yaml::{MARK, disturb};

/// A word of two quotes and a comma becomes a `String` of 24 bytes in a list that grows by doubling.
const RECORD: Bound = Bound { factor: 64, constant: 4 << 10 };
const SMALL: Bound = Bound { factor: 16, constant: 4 << 10 };

fn process(random: &mut Random) -> Process {
    Process { pid: (random.next() >> 33) as i32, start: random.next(), boot: random.text(36) }
}

fn record(random: &mut Random) -> Record {
    let maybe = |random: &mut Random| random.one_in(2).then(|| random.next());
    let mut bits = [0; 10];
    bits.fill_with(|| (random.next() >> 40) as u8);
    let mut record = Record {
        version: VERSION,
        job: JobId::from_random(bits),
        phase: *random.pick(&[Phase::Starting, Phase::Running, Phase::Ending, Phase::Ended]),
        caller: random.text(20),
        caller_uid: (random.next() >> 32) as u32,
        login: Login::new(random.word(&["alice", "ceo@corp.com"])).unwrap(),
        account: UserName::new(random.word(&["alice", "svc.etl"])).unwrap(),
        uid: (random.next() >> 32) as u32,
        gid: (random.next() >> 32) as u32,
        profile: random.text(20),
        project: random.one_in(2).then(|| random.text(20)),
        rule: random.text(40),
        cluster: random.text(20),
        namespace: NamespaceName::new("dss-ns-alice").unwrap(),
        host: random.text(40),
        tags: (0..random.below(4)).map(|n| (format!("k{n}"), random.text(20))).collect(),
        command: command((0..random.below(30)).map(|_| random.text(200)).collect()),
        supervisor: process(random),
        cgroup: random.one_in(2).then(|| random.text(60)),
        groups: (0..random.below(3)).map(|_| random.text(60)).collect(),
        process: random.one_in(2).then(|| process(random)),
        made: Made { account_uid: random.one_in(2).then(|| random.text(36)), binding_uid: None },
        times: Times {
            accepted: random.next(),
            provisioned: maybe(random),
            started: maybe(random),
            ended: None,
            closed: None,
        },
        exit: None,
        executors: Vec::new(),
        cleanup: Cleanup::default(),
    };
    if random.one_in(2) {
        record.told((0..random.below(60)).map(|_| random.text(900)).collect::<Vec<_>>());
    }
    if random.one_in(2) {
        record.exit = Some(match random.below(4) {
            0 => End::Code((random.next() >> 40) as u8),
            1 => End::Signal((random.next() >> 33) as i32),
            2 => End::Unknown,
            _ => End::refused(*random.pick(spark_submit_as::exit::ExitCode::ALL), &random.text(2000)),
        });
    }
    if random.one_in(2) {
        let failures: Vec<String> = (0..random.below(40)).map(|_| random.text(900)).collect();
        record.closed(&failures, *random.pick(&[By::Run, By::Reap, By::Kill]), random.next());
    }
    record
}

/// A job's record: it comes back as it was, and what is none is refused without being repeated [90].
pub fn journal(random: &mut Random) -> bool {
    let record = record(random);
    let written = record.text().unwrap();
    assert!(written.len() <= MAX_RECORD);
    assert_eq!(Record::parse(&written).as_ref(), Ok(&record));
    let cut = random.below(written.len());
    assert!(Record::parse(&written[..cut]).is_err(), "a record that was cut at {cut}");

    let text = match random.below(6) {
        0 => written,
        1 => {
            let mut tree: Value = serde_json::from_slice(&written).unwrap();
            disturb(random, &mut tree);
            tree.to_string().into_bytes()
        }
        2 => {
            let room = if random.one_in(8) { MAX_RECORD + 100 } else { 2000 };
            let filling = String::from_utf8_lossy(&random.repeated(room)).into_owned();
            let key = random.word(&["command", "failures", "tags", MARK]);
            format!("{{\"version\":{},\"{key}\":[{filling}]}}", random.below(4)).into_bytes()
        }
        3 => {
            let mut tree: Value = serde_json::from_slice(&written).unwrap();
            tree["version"] = random
                .pick(&[json!(0), json!(2), json!(u32::MAX), json!(-1), json!(1.0), json!("1")])
                .clone();
            tree.to_string().into_bytes()
        }
        _ => random.spoil(&written, MAX_RECORD + 100),
    };
    match bounded(RECORD, text.len(), || Record::parse(&text)) {
        Ok(record) => {
            assert!(text.len() <= MAX_RECORD && record.version == VERSION);
            // Whatever it says, it can be written again and means the same.
            if let Ok(again) = record.text() {
                assert_eq!(Record::parse(&again), Ok(record));
            }
            true
        }
        Err(error) => {
            plain(&error.to_string(), 256);
            assert!(!error.to_string().contains(MARK), "the text is repeated: {error}");
            assert_eq!(text.len() > MAX_RECORD, error == RecordError::TooLarge);
            false
        }
    }
}

/// What `namespace prune` remembers: it reads back the same, and what is none is refused without being repeated.
pub fn absences(random: &mut Random) -> bool {
    let names: Vec<NamespaceName> = (0..random.below(5))
        .map(|n| NamespaceName::new(format!("dss-ns-{n}{}", random.word(&["", "-a", "0"]))).unwrap())
        .collect();
    let owners: Vec<String> = names.iter().map(|_| random.text(60)).collect();
    let mut absences = Absences::default();
    let mut now = (random.next() >> 24).cast_signed();
    for _ in 0..=random.below(3) {
        let seen = names.iter().zip(&owners).filter(|_| random.one_in(2)).map(|(name, owner)| Seen {
            uid: name.as_str(),
            namespace: name,
            owner,
        });
        let seen: Vec<Seen<'_>> = seen.collect();
        absences.observe("main", now, seen.clone(), &BTreeSet::new(), |_| true);
        // No clock and no order of looks makes an absence that is longer than what was looked at.
        assert!(seen.iter().all(|seen| absences.days("main", seen.uid).is_some_and(|days| days >= 0)));
        now = if random.one_in(4) { random.next().cast_signed() } else { now.saturating_add(86_400) };
    }
    let written = absences.text().unwrap();
    assert_eq!(Absences::parse(&written).as_ref(), Ok(&absences));
    let text = match random.below(4) {
        0 => written,
        1 => {
            let mut tree: Value = serde_json::from_slice(&written).unwrap();
            disturb(random, &mut tree);
            tree.to_string().into_bytes()
        }
        _ => random.spoil(&written, 1 << 16),
    };
    match bounded(RECORD, text.len(), || Absences::parse(&text)) {
        Ok(read) => {
            assert_eq!(Absences::parse(&read.text().unwrap()), Ok(read));
            true
        }
        Err(error) => {
            plain(&error.to_string(), 128);
            assert!(!error.to_string().contains(MARK), "the text is repeated: {error}");
            false
        }
    }
}

/// A namespace's owner annotation, which anybody may have written who may change the namespace.
pub fn owner(random: &mut Random) -> bool {
    const KEYS: &[&str] = &["login", "user", "group", "projectKey", "adminProperty:x", "team", "x", ""];
    const VALUES: &[&str] = &["alice", "First.Last@corp.com", "", "a b", "0", "\u{1b}", "sales"];
    let values: BTreeMap<String, Option<String>> = (0..random.below(4))
        .map(|_| {
            let value = (!random.one_in(5)).then(|| (*random.pick(VALUES)).to_owned());
            ((*random.pick(KEYS)).to_owned(), value)
        })
        .collect();
    let good = serde_json::to_string(&values).unwrap();
    let text = if random.one_in(2) {
        good
    } else {
        String::from_utf8_lossy(&random.spoil(good.as_bytes(), 8192)).into_owned()
    };
    match bounded(RECORD, text.len(), || Owner::parse(&text)) {
        Ok(owner) => {
            assert_eq!(owner.as_str(), text);
            assert_eq!(serde_json::to_string(owner.values()).unwrap(), text, "one spelling alone is taken");
            assert!(owner.only_person().is_none() || owner.person().is_some());
            for template in ["ns-${login}", "ns-${user}", "${adminProperty:x}", "ns"] {
                // Whatever is in it, a template gives a name only for the values that it uses itself.
                let given = owner.gives(template, &NamespaceName::new("ns-alice").unwrap());
                assert!(!given || text.contains("alice"), "{text} {template}");
            }
            true
        }
        Err(error) => {
            plain(&error.to_string(), 256);
            false
        }
    }
}

/// `/proc/PID/stat`, whose second field a process chooses for itself.
pub fn stat(random: &mut Random) -> bool {
    let expected =
        Stat { parent: (random.next() >> 33) as i32, start: random.next(), zombie: random.one_in(2) };
    let name = match random.below(3) {
        0 => random.text(15),
        1 => random.pieces(&[")", "(", " ", "\n", "Z", "1", ") Z 1 ", "\\"], 15),
        _ => "java".into(),
    };
    let state = if expected.zombie { "Z" } else { "S" };
    let (parent, start) = (expected.parent, expected.start);
    let text = format!(
        "99 ({name}) {state} {parent} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {start} 0 0 18446744073709551615 1\n"
    );
    assert_eq!(parse_stat(&text), Some(expected), "{text:?}");
    let spoilt = String::from_utf8_lossy(&random.spoil(text.as_bytes(), 1 << 16)).into_owned();
    bounded(SMALL, spoilt.len(), || parse_stat(&spoilt)).is_some()
}

/// Tags, as a caller gives them.
pub fn tag_words(random: &mut Random) -> bool {
    const PIECES: &[&str] = &["a", "dag.id", "=", "==", " ", "\n", "x", "\u{1b}", "é", "-", "_", "", "k"];
    let most = if random.one_in(10) { 30 } else { 3 };
    let words: Vec<String> = (0..random.below(most))
        .map(|n| if random.one_in(2) { format!("k{n}={}", random.text(8)) } else { random.pieces(PIECES, 5) })
        .collect();
    let size = words.iter().map(|word| word.len() + 24).sum();
    match bounded(SMALL, size, || tags::parse(&words)) {
        Ok(tags) => {
            // None is lost, and what is shown of them is plain.
            assert!(tags.len() == words.len() && tags.len() <= tags::MAX_TAGS);
            let back: BTreeMap<String, String> = words
                .iter()
                .map(|word| word.split_once('=').unwrap())
                .map(|(k, v)| (k.into(), v.into()))
                .collect();
            assert_eq!(tags, back);
            tags.iter().for_each(|(key, value)| {
                plain(&format!("{key}={value}"), tags::MAX_KEY + tags::MAX_VALUE + 1)
            });
            true
        }
        Err(error) => {
            plain(&error.to_string(), 128);
            false
        }
    }
}
