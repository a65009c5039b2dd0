//! When the cluster is asked, when the user is told, when a job is ended.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn times(warn: u64, end: Option<u64>) -> Times {
    Times { warn_after: Duration::from_secs(warn), end_after: end.map(Duration::from_secs) }
}

fn answer(executors: Executors, troubles: &[Trouble]) -> Explained {
    let finding =
        |trouble: &Trouble| Finding { trouble: *trouble, pods: 1, text: "why".into(), lines: Vec::new() };
    Explained { executors, findings: troubles.iter().map(finding).collect() }
}

fn quota() -> Explained {
    answer(Executors::None, &[Trouble::Quota])
}

#[test]
fn one_look_that_sees_an_executor_run_is_the_last() {
    let begun = Instant::now();
    let mut watch = Watch::begin(times(60, Some(300)), begun);
    assert_eq!(watch.due, Some(begun + 60 * SECOND));
    assert_eq!(watch.answered(&answer(Executors::Run, &[]), begun + 60 * SECOND), Next::Nothing);
    assert_eq!(watch.due, None);
}

#[test]
fn trouble_is_told_once_and_ends_the_job_when_it_stays() {
    let begun = Instant::now();
    let mut watch = Watch::begin(times(60, Some(300)), begun);
    assert_eq!(watch.answered(&quota(), begun + 60 * SECOND), Next::Tell);
    assert_eq!(watch.due, Some(begun + 120 * SECOND));
    assert_eq!(watch.answered(&quota(), begun + 120 * SECOND), Next::Nothing);
    assert_eq!(watch.due, Some(begun + 240 * SECOND));
    let more = answer(Executors::None, &[Trouble::Quota, Trouble::Image]);
    assert_eq!(watch.answered(&more, begun + 240 * SECOND), Next::Tell, "another trouble is told");
    assert_eq!(watch.due, Some(begun + 300 * SECOND), "not later than the end");
    assert_eq!(watch.answered(&quota(), begun + 300 * SECOND), Next::End);
}

#[test]
fn a_job_without_an_end_is_asked_about_ever_more_seldom() {
    let begun = Instant::now();
    let mut watch = Watch::begin(times(60, None), begun);
    let mut looks = 0;
    let mut now = begun;
    while let Some(due) = watch.due.filter(|due| *due < begun + 7 * 86_400 * SECOND) {
        now = due;
        assert_ne!(watch.answered(&quota(), now), Next::End);
        looks += 1;
    }
    assert!(now > begun + 6 * 86_400 * SECOND);
    assert!(looks < 180, "{looks}");
}

#[test]
fn a_job_that_asks_for_no_executors_is_neither_told_nor_ended() {
    let begun = Instant::now();
    let mut watch = Watch::begin(times(60, Some(120)), begun);
    for minutes in [1, 2, 4, 8] {
        let now = begun + minutes * 60 * SECOND;
        assert_eq!(watch.answered(&answer(Executors::None, &[]), now), Next::Nothing);
    }
}

#[test]
fn a_job_that_asks_late_has_its_time_from_then_on() {
    let begun = Instant::now();
    let mut watch = Watch::begin(times(60, Some(120)), begun);
    assert_eq!(watch.answered(&answer(Executors::None, &[]), begun + 60 * SECOND), Next::Nothing);
    let late = begun + 3600 * SECOND;
    assert_eq!(watch.answered(&quota(), late), Next::Tell);
    assert_eq!(watch.due, Some(late + 60 * SECOND));
    assert_eq!(watch.answered(&quota(), late + 60 * SECOND), Next::End);
}

#[test]
fn no_answer_tells_nothing_and_ends_nothing() {
    let begun = Instant::now();
    let mut watch = Watch::begin(times(60, Some(120)), begun);
    for minutes in 1..100 {
        let unknown = answer(Executors::Unknown, &[]);
        assert_eq!(watch.answered(&unknown, begun + minutes * 60 * SECOND), Next::Nothing);
        assert!(watch.due.is_some());
    }
}

#[test]
fn executors_that_begin_and_fail_again_and_again_are_told_of() {
    let begun = Instant::now();
    let mut watch = Watch::begin(times(60, None), begun);
    let mut now = begun + 60 * SECOND;
    let failing = answer(Executors::Begin, &[Trouble::Driver]);
    for _ in 0..MAX_BEGINNINGS {
        assert_eq!(watch.answered(&failing, now), Next::Nothing);
        assert_eq!(watch.due, Some(now + SETTLING));
        now += SETTLING;
    }
    assert_eq!(watch.answered(&failing, now), Next::Tell);
    // One that begins and of which no failure is known is as good as one that runs.
    let mut watch = Watch::begin(times(60, None), begun);
    let begins = answer(Executors::Begin, &[]);
    (0..=MAX_BEGINNINGS).for_each(|_| assert_eq!(watch.answered(&begins, now), Next::Nothing));
    assert_eq!(watch.due, None);
}

#[test]
fn checklist_48_what_the_cluster_says_is_escaped_and_bounded() {
    let finding = Finding {
        trouble: Trouble::Refused,
        pods: 0,
        text: format!("a\nb\u{1b}[31m\u{202e}{}", "x".repeat(1 << 16)),
        lines: Vec::new(),
    };
    let sentence = sentence(&finding);
    assert!(sentence.contains("a\\nb\\u{1b}[31m\\u{202e}xx"), "{sentence}");
    assert!(sentence.len() < 2048 && !sentence.chars().any(char::is_control));
    assert!(sentence.ends_with("change the setting that it names"), "the advice is not cut off");
}
