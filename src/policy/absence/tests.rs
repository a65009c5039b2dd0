use super::*;

const NOW: i64 = 1_800_000_000;

fn name() -> NamespaceName {
    NamespaceName::new("dss-ns-alice").unwrap()
}

struct Look {
    uid: &'static str,
    owner: &'static str,
}

const ALICE: Look = Look { uid: "u-1", owner: r#"{"login":"alice"}"# };

fn look(absences: &mut Absences, cluster: &str, now: i64, missing: &[Look], back: &[&str]) {
    let name = name();
    let seen = missing.iter().map(|look| Seen { uid: look.uid, namespace: &name, owner: look.owner });
    let back = back.iter().map(|owner| (*owner).to_owned()).collect();
    absences.observe(cluster, now, seen, &back, |name| name != "gone");
    let text = absences.text().unwrap();
    assert_eq!(Absences::parse(&text).as_ref(), Ok(&*absences), "it reads back the same");
}

#[test]
fn the_first_look_starts_the_count_and_later_ones_go_on() {
    let mut absences = Absences::default();
    look(&mut absences, "main", NOW, &[ALICE], &[]);
    assert_eq!(absences.days("main", "u-1"), Some(0));
    look(&mut absences, "main", NOW + DAY - 1, &[ALICE], &[]);
    assert_eq!(absences.days("main", "u-1"), Some(0));
    look(&mut absences, "main", NOW + 30 * DAY, &[ALICE], &[]);
    assert_eq!(absences.days("main", "u-1"), Some(30));
    assert_eq!(absences.days("other", "u-1"), None);
    assert_eq!(absences.days("main", "u-2"), None);
}

#[test]
fn the_count_starts_anew_when_it_may_be_wrong() {
    let start = |now: i64| {
        let mut absences = Absences::default();
        look(&mut absences, "main", now, &[ALICE], &[]);
        absences
    };
    // The user was there at a look in between.
    let mut absences = start(NOW);
    look(&mut absences, "main", NOW + DAY, &[], &[ALICE.owner]);
    look(&mut absences, "main", NOW + 40 * DAY, &[ALICE], &[]);
    assert_eq!(absences.days("main", "u-1"), Some(0), "back in between");
    // The namespace was not seen at a look in between.
    let mut absences = start(NOW);
    look(&mut absences, "main", NOW + DAY, &[], &[]);
    look(&mut absences, "main", NOW + 40 * DAY, &[ALICE], &[]);
    assert_eq!(absences.days("main", "u-1"), Some(0), "gone in between");
    // Another namespace of that name, another owner, a clock that went back.
    for (what, other, now) in [
        ("uid", Look { uid: "u-2", ..ALICE }, NOW + 40 * DAY),
        ("owner", Look { owner: r#"{"login":"bob"}"#, ..ALICE }, NOW + 40 * DAY),
        ("clock", ALICE, NOW - 1),
    ] {
        let mut absences = start(NOW);
        let uid = other.uid;
        look(&mut absences, "main", now, &[other], &[]);
        assert_eq!(absences.days("main", uid), Some(0), "{what}");
    }
}

#[test]
fn a_look_at_one_cluster_says_of_others_only_who_is_back() {
    let mut absences = Absences::default();
    for cluster in ["main", "second", "gone"] {
        look(&mut absences, cluster, NOW, &[ALICE], &[]);
    }
    assert_eq!(absences.days("gone", "u-1"), Some(0), "the last one to be looked at");
    look(&mut absences, "main", NOW + DAY, &[ALICE], &[]);
    assert_eq!(absences.days("second", "u-1"), Some(0));
    assert_eq!(absences.days("gone", "u-1"), None, "the configuration has it no more");
    look(&mut absences, "main", NOW + 2 * DAY, &[], &[ALICE.owner]);
    assert_eq!(absences.days("second", "u-1"), None);
    assert_eq!(absences.owners().count(), 0);
}

#[test]
fn what_is_no_memory_is_refused() {
    for (text, wanted) in [
        ("", AbsenceError::Form),
        ("{}", AbsenceError::Form),
        ("[1]", AbsenceError::Form),
        (r#"{"version":2,"clusters":{}}"#, AbsenceError::Version(2)),
        (r#"{"version":1,"clusters":{},"x":1}"#, AbsenceError::Form),
        (
            r#"{"version":1,"clusters":{"main":{"u":{"namespace":"a","owner":"{}","first":1}}}}"#,
            AbsenceError::Form,
        ),
        (
            r#"{"version":1,"clusters":{"main":{"u":{"namespace":"kube-x","owner":"{}","first":1,"last":1}}}}"#,
            AbsenceError::Form,
        ),
    ] {
        assert_eq!(Absences::parse(text.as_bytes()), Err(wanted), "{text}");
    }
    assert_eq!(Absences::parse(&vec![b' '; MAX_TEXT + 1]), Err(AbsenceError::TooLarge));
}

#[test]
fn no_more_is_remembered_than_can_be_read() {
    let name = name();
    let owner = "x".repeat(500);
    let uids: Vec<String> = (0..MAX_ENTRIES + 5).map(|number| format!("{number:036}")).collect();
    let mut absences = Absences::default();
    let seen = uids.iter().map(|uid| Seen { uid, namespace: &name, owner: &owner });
    absences.observe("main", NOW, seen, &BTreeSet::new(), |_| true);
    assert_eq!(absences.owners().count(), MAX_ENTRIES);
    assert!(absences.text().is_ok());
}
