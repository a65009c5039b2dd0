//! The key `executors` of a profile.

use super::*;

fn with(executors: &str) -> Result<Executors, ConfigError> {
    let text = spoiled("  per-team:\n", &format!("  per-team:\n    executors: {executors}\n"));
    parse(text.as_bytes()).map(|config| config.profiles["per-team"].executors.clone())
}

#[test]
fn a_job_is_warned_after_a_minute_and_never_ended_unless_the_profile_says_so() {
    let seconds = Duration::from_secs;
    let times = |warn, end: Option<u64>| Executors { warn_after: seconds(warn), end_after: end.map(seconds) };
    assert_eq!(with("{}"), Ok(times(60, None)));
    assert_eq!(with("{end_after: null}"), Ok(times(60, None)));
    assert_eq!(with("{warn_after: 30s, end_after: 10m}"), Ok(times(30, Some(600))));
    let shown = serde_yaml::to_string(&with("{warn_after: 90s, end_after: 1h}").unwrap()).unwrap();
    assert_eq!(shown, "warn_after: 90s\nend_after: 1h\n");
}

#[test]
fn times_without_sense_are_refused_by_key() {
    for (executors, path, rule) in [
        ("{warn_after: 0s}", "profiles.per-team.executors.warn_after", "from 1s to 7d"),
        ("{warn_after: 60}", "profiles.per-team.executors.warn_after", "with a unit"),
        ("{warn_after: null}", "profiles.per-team.executors.warn_after", "must be"),
        ("{end_after: 8d}", "profiles.per-team.executors.end_after", "from 1s to 7d"),
        ("{end_after: 90}", "profiles.per-team.executors.end_after", "with a unit"),
        ("{end_after: 60s}", "profiles.per-team.executors.end_after", "longer than warn_after"),
        (
            "{warn_after: 5m, end_after: 299s}",
            "profiles.per-team.executors.end_after",
            "longer than warn_after",
        ),
        ("{end_afer: 5m}", "profiles.per-team.executors.end_afer", "unknown key"),
    ] {
        let error = with(executors).expect_err(executors);
        assert_eq!(error.path, path, "{executors}: {error}");
        assert!(error.to_string().contains(rule), "{executors}: {error}");
    }
}
