//! What an endpoint's attempts say about its health over time. Pure; any thread.

use std::time::Duration;

use super::Timestamp;
use super::outcome::{EndpointSign, Outcome};
use super::subscription::OffReason;

/// How a subscription's endpoint has been lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Since when there has been no success, if the last attempt failed.
    pub failing_since: Option<Timestamp>,
    /// Did the last attempt meet silence? Then one attempt at a time.
    pub is_suspect: bool,
}

impl Health {
    /// The health after one more attempt, and why the subscription is to be switched off, if it is. `disable_after`
    /// is how long an endpoint may fail without a success.
    #[must_use]
    pub fn after(self, outcome: &Outcome, now: Timestamp, disable_after: Duration) -> (Self, Option<OffReason>) {
        let sign = outcome.sign();
        match sign {
            EndpointSign::Healthy => return (Self::default(), None),
            EndpointSign::Unknown => return (self, None),
            _ if outcome.is_of_name_server() => return (Self { is_suspect: true, ..self }, None),
            EndpointSign::Failing | EndpointSign::Unresponsive | EndpointSign::Gone => {}
        }
        let since = self.failing_since.unwrap_or(now);
        let after = Self { failing_since: Some(since), is_suspect: sign == EndpointSign::Unresponsive };
        let off = match sign {
            EndpointSign::Gone => Some(OffReason::Gone),
            _ if self.failing_since.is_some() && now.since(since) >= disable_after => Some(OffReason::FailedTooLong),
            _ => None,
        };
        (after, off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::outcome::Phase;

    const LIMIT: Duration = Duration::from_secs(10);

    fn at(s: u64) -> Timestamp {
        Timestamp::from_ms(s * 1000)
    }

    #[test]
    fn a_failure_of_the_servers_own_says_nothing_about_the_endpoint() {
        let (failing, _) = Health::default().after(&Outcome::ConnectFailed(String::new()), at(1), LIMIT);
        for health in [Health::default(), failing] {
            for outcome in [Outcome::LookUpsBusy, Outcome::BodyDamaged, Outcome::Internal(String::new())] {
                assert_eq!(health.after(&outcome, at(1000), LIMIT), (health, None));
            }
        }
    }

    #[test]
    fn a_name_server_that_fails_is_not_held_against_the_endpoint_which_is_tried_once_at_a_time() {
        let (failing, _) = Health::default().after(&Outcome::Refused(500), at(1), LIMIT);
        for health in [Health::default(), failing] {
            for outcome in [Outcome::NameServerFailed(String::new()), Outcome::TimedOut(Phase::Resolve)] {
                let (after, off) = health.after(&outcome, at(1000), LIMIT);
                assert_eq!((after.failing_since, after.is_suspect, off), (health.failing_since, true, None));
            }
        }
    }

    #[test]
    fn an_endpoint_is_switched_off_after_failing_for_the_whole_time() {
        let (health, off) = Health::default().after(&Outcome::Refused(500), at(100), LIMIT);
        assert_eq!((health.failing_since, off), (Some(at(100)), None));
        assert_eq!(health.after(&Outcome::Refused(500), at(109), LIMIT).1, None);
        assert_eq!(health.after(&Outcome::Refused(500), at(110), LIMIT).1, Some(OffReason::FailedTooLong));
    }

    #[test]
    fn one_success_forgives_everything() {
        let (health, _) = Health::default().after(&Outcome::ConnectFailed(String::new()), at(1), LIMIT);
        assert!(health.is_suspect);
        let (health, off) = health.after(&Outcome::Delivered(200), at(100), LIMIT);
        assert_eq!((health, off), (Health::default(), None));
    }

    #[test]
    fn gone_switches_off_at_once() {
        assert_eq!(Health::default().after(&Outcome::Refused(410), at(1), LIMIT).1, Some(OffReason::Gone));
    }
}
