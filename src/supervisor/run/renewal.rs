//! When to renew a token: at two thirds of the life that was **granted**, which may be shorter than asked [58].

use std::time::{Duration, Instant};

use crate::exit::ExitCode;
use crate::supervisor::Failure;

/// Shortest life that a job can be started with: fabric8 looks for a new token once a minute, and a renewal needs
/// time to be retried.
const SHORTEST: u64 = 120;
/// Longest life that is believed.
const LONGEST: u64 = 366 * 86_400;
/// Before the second try; twice as long before each further one,
const RETRY: Duration = Duration::from_secs(5);
/// up to this.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How long an answer may take before another try.
const ANSWER: Duration = Duration::from_secs(60);

/// A token's life by this host's monotonic clock, counted from the moment at which it arrived.
pub struct Renewal {
    due: Instant,
    ends: Instant,
    granted: u64,
    retry: Duration,
}

impl Renewal {
    /// From the API server's own two times, so that this host's clock does not matter.
    ///
    /// # Errors
    /// [`ExitCode::TokenRefused`] when the life is not between two minutes and a year.
    pub fn granted(granted_at: i64, expires_at: i64) -> Result<Self, Failure> {
        let life = expires_at.checked_sub(granted_at).and_then(|life| u64::try_from(life).ok());
        match life {
            Some(life) if (SHORTEST..=LONGEST).contains(&life) => {
                let now = Instant::now();
                Ok(Self {
                    due: now + Duration::from_secs(life * 2 / 3),
                    ends: now + Duration::from_secs(life),
                    granted: life,
                    retry: RETRY,
                })
            }
            _ => Err(Failure::new(
                ExitCode::TokenRefused,
                format!(
                    "the cluster granted a token for less than {SHORTEST} s or more than a year; look at the API \
                         server's --service-account-max-token-expiration and at its clock"
                ),
            )),
        }
    }

    /// When to ask next.
    #[must_use]
    pub fn due(&self) -> Instant {
        self.due
    }

    /// The life that was granted, in seconds.
    #[must_use]
    pub fn granted_seconds(&self) -> u64 {
        self.granted
    }

    /// What is left of it, in seconds.
    #[must_use]
    pub fn seconds_left(&self) -> u64 {
        self.ends.saturating_duration_since(Instant::now()).as_secs()
    }

    /// A renewal was asked for.
    pub fn asked(&mut self) {
        self.due = Instant::now() + ANSWER;
    }

    /// A renewal failed.
    pub fn failed(&mut self) {
        self.due = Instant::now() + self.retry;
        self.retry = (self.retry * 2).min(LONGEST_RETRY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checklist_58_the_granted_life_counts() {
        let renewal = Renewal::granted(1_000, 1_600).expect("life");
        assert_eq!(renewal.granted_seconds(), 600);
        let wait = renewal.due().saturating_duration_since(Instant::now()).as_secs();
        assert!((395..=400).contains(&wait), "{wait}");
        assert!(Renewal::granted(1_000, 900).is_err());
        assert!(Renewal::granted(1_000, 1_000).is_err());
        assert!(Renewal::granted(i64::MIN, i64::MAX).is_err());
    }
}
