//! An endpoint's health over its attempts. Pure; any thread.

use std::time::Duration;

use crate::domain::Timestamp;
use crate::domain::delivery::outcome::{EndpointSignal, Outcome};
use crate::domain::subscription::DisabledReason;

/// An endpoint is disabled at this failure at the earliest, however far the failures are apart.
const FEWEST_FAILURES: u32 = 3;

/// The health of a subscription's endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Since when there has been no success, if the last attempt failed.
    pub failing_since: Option<Timestamp>,
    /// When the last of these failures was.
    pub last_failure: Option<Timestamp>,
    /// How many there were.
    pub failures: u32,
    /// Whether the last attempt got no response; then attempts are made one at a time.
    pub is_suspect: bool,
}

/// How long an endpoint may fail, and how long failures may be apart to count as one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthRule {
    /// For so long without a success, then its subscription is disabled.
    pub disable_after: Duration,
    /// After so long without an attempt earlier failures say nothing any more.
    pub forget_after: Duration,
}

/// The rule at a moment, as times: so that what does not count is left out once for all endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthLimits {
    /// An endpoint that has failed since before this is disabled at its next failure.
    pub disable_before: Timestamp,
    /// Failures that ended before this are forgotten.
    pub forget_before: Timestamp,
}

impl HealthRule {
    /// The rule for endpoints whose attempts are never more than `longest_wait` apart while something is to be sent
    /// again: half of `disable_after` without an attempt shows that there was nothing to send.
    #[must_use]
    pub fn new(disable_after: Duration, longest_wait: Duration) -> Self {
        Self { disable_after, forget_after: (disable_after / 2).max(longest_wait.saturating_mul(2)) }
    }
}

impl EndpointHealth {
    /// The health after one more attempt, and why the subscription is to be disabled, if it is.
    #[must_use]
    pub fn after(self, outcome: &Outcome, now: Timestamp, limits: HealthLimits) -> (Self, Option<DisabledReason>) {
        let sign = outcome.signal();
        match sign {
            EndpointSignal::Healthy => return (Self::default(), None),
            EndpointSignal::Unknown => return (self, None),
            EndpointSignal::Failing | EndpointSignal::Unresponsive | EndpointSignal::Gone => {}
        }
        let is_forgotten = self.last_failure.is_none_or(|last| last < limits.forget_before);
        let row = if is_forgotten { Self::default() } else { self };
        let since = row.failing_since.unwrap_or(now);
        let after = Self {
            failing_since: Some(since),
            last_failure: Some(now),
            failures: row.failures.saturating_add(1),
            is_suspect: sign == EndpointSignal::Unresponsive,
        };
        let is_too_long = since <= limits.disable_before && after.failures >= FEWEST_FAILURES;
        let off = match sign {
            EndpointSignal::Gone => Some(DisabledReason::Gone),
            _ if is_too_long => Some(DisabledReason::FailedTooLong),
            _ => None,
        };
        (after, off)
    }

    /// The health after an attempt that failed for an outage of this machine's own network, or lately at the name server:
    /// nothing is held against the endpoint, which is still tried once at a time.
    #[must_use]
    pub fn after_outage(self) -> Self {
        Self { is_suspect: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: HealthRule =
        HealthRule { disable_after: Duration::from_secs(10), forget_after: Duration::from_secs(6) };

    fn at(s: u64) -> Timestamp {
        Timestamp::from_ms(s * 1000)
    }

    /// The health after failures at these times, and at which of them the subscription was disabled.
    fn failing(times: &[u64]) -> (EndpointHealth, Vec<u64>) {
        let (mut health, mut offs) = (EndpointHealth::default(), Vec::new());
        for s in times {
            let (after, off) = health.after(&Outcome::HttpError(500), at(*s), limits(*s));
            health = after;
            offs.extend(off.map(|_| *s));
        }
        (health, offs)
    }

    fn limits(s: u64) -> HealthLimits {
        HealthLimits { disable_before: at(s).minus(RULE.disable_after), forget_before: at(s).minus(RULE.forget_after) }
    }

    #[test]
    fn a_failure_of_the_servers_own_says_nothing_about_the_endpoint() {
        let (failing, _) = failing(&[100]);
        for health in [EndpointHealth::default(), failing] {
            for outcome in [Outcome::LookupsBusy, Outcome::BodyDamaged, Outcome::Internal(String::new())] {
                assert_eq!(health.after(&outcome, at(1000), limits(1000)), (health, None));
            }
            assert_eq!(health.after_outage(), EndpointHealth { is_suspect: true, ..health });
        }
    }

    #[test]
    fn an_endpoint_is_switched_off_after_failing_for_the_whole_time() {
        let (health, offs) = failing(&[100, 105, 109]);
        assert_eq!((health.failing_since, offs), (Some(at(100)), vec![]));
        assert_eq!(failing(&[100, 105, 110]).1, [110]);
    }

    #[test]
    fn failures_far_apart_are_no_row() {
        assert_eq!(failing(&[100, 120]).1, [0; 0], "two, with nothing between them");
        assert_eq!(failing(&[100, 101, 102, 120, 121, 122]).1, [0; 0], "two events that were given up");
        assert_eq!(failing(&[100, 120, 122]).0.failing_since, Some(at(120)), "the row begins anew");
        assert_eq!(failing(&[100, 106, 112]).1, [112], "just near enough");
    }

    #[test]
    fn two_failures_are_too_few_however_long_the_schedule_waits() {
        let rule = HealthRule::new(Duration::from_secs(10), Duration::from_mins(1));
        let limits = |s| HealthLimits {
            disable_before: at(s).minus(rule.disable_after),
            forget_before: at(s).minus(rule.forget_after),
        };
        let (health, _) = EndpointHealth::default().after(&Outcome::HttpError(500), at(100), limits(100));
        let (health, off) = health.after(&Outcome::HttpError(500), at(160), limits(160));
        assert_eq!(off, None);
        assert_eq!(health.after(&Outcome::HttpError(500), at(220), limits(220)).1, Some(DisabledReason::FailedTooLong));
    }

    #[test]
    fn one_success_forgives_everything() {
        let (health, _) = EndpointHealth::default().after(&Outcome::ConnectFailed(String::new()), at(100), limits(100));
        assert!(health.is_suspect);
        let (health, off) = health.after(&Outcome::Delivered(200), at(200), limits(200));
        assert_eq!((health, off), (EndpointHealth::default(), None));
    }

    #[test]
    fn gone_switches_off_at_once() {
        assert_eq!(
            EndpointHealth::default().after(&Outcome::HttpError(410), at(100), limits(100)).1,
            Some(DisabledReason::Gone)
        );
    }
}
