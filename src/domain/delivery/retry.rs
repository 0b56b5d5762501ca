//! The retry rule: when to retry after a failure, or not at all. Pure; any thread. To change the rule, change
//! [`RetryRule::after_failure`].

use std::borrow::Cow;
use std::time::Duration;

/// The retry schedule and the cap on `Retry-After`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryRule {
    /// The wait after the first, second, … failed attempt. One attempt more than there are waits.
    pub waits: Vec<Duration>,
    /// Maximum wait that a `Retry-After` can request.
    pub retry_after_max: Duration,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryDecision {
    /// Another attempt after this wait.
    RetryIn(Duration),
    /// The schedule is exhausted.
    Exhausted,
}

/// Jitter adds up to a tenth of the wait, so that endpoints that failed together are not retried together.
const JITTER_DIVISOR: u32 = 10;
/// A `Retry-After` counts whole seconds; whoever asks for none does not ask for a loop.
const SHORTEST_ASKED: Duration = Duration::from_secs(1);
/// The wait after an attempt that uses up none, for a schedule that has none to lend.
const WITHOUT_SCHEDULE: Duration = Duration::from_secs(5);
/// So many faults of our own in a row may pass by themselves.
const PASSING_FAULTS: u32 = 10;
/// How long the waits after faults of our own become: what is damaged stays so until somebody mends it.
const LONGEST_AFTER_OWN_FAULTS: Duration = Duration::from_hours(1);
/// The shortest and the longest wait after the operator's proxy has failed.
const AFTER_PROXY_FAILURE: Duration = Duration::from_secs(5);
const LONGEST_AFTER_PROXY_FAILURES: Duration = Duration::from_mins(5);

impl RetryRule {
    /// How far apart two attempts of a delivery can be at most.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        let wait = self.waits.iter().max().copied().unwrap_or_default();
        wait.max(self.retry_after_max).saturating_add(wait / JITTER_DIVISOR)
    }

    /// Decides after the `failures`-th failed attempt of a schedule (counted from 1). `retry_after` can only lengthen
    /// the wait. `jitter` is any random number and only adds.
    #[must_use]
    pub fn after_failure(&self, failures: u32, retry_after: Option<Duration>, jitter: u32) -> RetryDecision {
        let index = usize::try_from(failures).unwrap_or(usize::MAX).saturating_sub(1);
        let Some(wait) = self.waits.get(index) else { return RetryDecision::Exhausted };
        let asked = retry_after.unwrap_or_default().min(self.retry_after_max);
        RetryDecision::RetryIn((*wait).max(asked) + jitter_of(*wait, jitter))
    }

    /// The wait after an attempt that was pushed back while other deliveries got through, and so uses up no wait of
    /// the schedule: as long as the receiver asked for, or the first wait of the schedule if it did not ask.
    #[must_use]
    pub fn after_pushback(&self, retry_after: Option<Duration>, jitter: u32) -> Duration {
        let asked = |wait: Duration| wait.min(self.retry_after_max).max(SHORTEST_ASKED);
        let wait = retry_after.map_or_else(|| self.first_wait(), asked);
        wait + jitter_of(wait, jitter)
    }

    /// The wait after the last of so many faults of our own in a row, which use up no wait of the schedule either: the
    /// first wait of the schedule, as most of them pass soon, and doubled with each further one beyond ten.
    #[must_use]
    pub fn after_own_faults(&self, in_a_row: u32, jitter: u32) -> Duration {
        let first = self.first_wait();
        let doubled = first.saturating_mul(1 << in_a_row.saturating_sub(PASSING_FAULTS).min(20));
        let wait = doubled.min(LONGEST_AFTER_OWN_FAULTS.max(first));
        wait + jitter_of(wait, jitter)
    }

    /// The wait after the operator's proxy has failed so many times in a row, which uses up no wait of the schedule either.
    #[must_use]
    pub fn after_proxy_failures(in_a_row: u32, jitter: u32) -> Duration {
        let doubled = AFTER_PROXY_FAILURE.saturating_mul(1 << in_a_row.saturating_sub(1).min(20));
        let wait = doubled.min(LONGEST_AFTER_PROXY_FAILURES);
        // Added before the limit, so that it is kept.
        (wait + jitter_of(wait, jitter)).min(LONGEST_AFTER_PROXY_FAILURES)
    }

    fn first_wait(&self) -> Duration {
        self.waits.first().copied().unwrap_or(WITHOUT_SCHEDULE)
    }
}

fn jitter_of(wait: Duration, jitter: u32) -> Duration {
    wait.mul_f64(f64::from(jitter) / f64::from(u32::MAX) / f64::from(JITTER_DIVISOR))
}

/// Parses a `Retry-After` header: seconds or a date. `date` is the `Date` of the same response, by whose clock a date is
/// meant (RFC 9110, sections 6.6.1 and 10.2.3), so that a clock that is wrong here makes no wait longer or shorter; without
/// one it is `now_s`, the wall clock in seconds. `None` if it is invalid; zero for a date in the past.
#[must_use]
pub fn parse_retry_after(value: &str, date: Option<&str>, now_s: u64) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let now_s = date.and_then(parse_date_s).or_else(|| i64::try_from(now_s).ok())?;
    let wait_s = parse_date_s(value)?.saturating_sub(now_s);
    Some(Duration::from_secs(u64::try_from(wait_s).unwrap_or_default()))
}

/// A date in seconds since 1970. Beside the dates of HTTP, those of mail are read: a day of one digit (Java) and a numeric
/// zone (PHP, Python).
fn parse_date_s(value: &str) -> Option<i64> {
    let value = value.trim();
    if let Ok(date) = httpdate::parse_http_date(value) {
        return i64::try_from(date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs()).ok();
    }
    // `UTC` is no zone of mail, but some write it.
    let value = value.strip_suffix("UTC").map_or(Cow::Borrowed(value), |date| Cow::Owned(format!("{date}GMT")));
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(&*value).ok().map(jiff::Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule() -> RetryRule {
        RetryRule {
            waits: vec![Duration::from_secs(5), Duration::from_mins(5)],
            retry_after_max: Duration::from_hours(1),
        }
    }

    #[test]
    fn the_waits_follow_the_schedule_and_then_end() {
        assert_eq!(rule().after_failure(1, None, 0), RetryDecision::RetryIn(Duration::from_secs(5)));
        assert_eq!(rule().after_failure(2, None, 0), RetryDecision::RetryIn(Duration::from_mins(5)));
        assert_eq!(rule().after_failure(3, None, 0), RetryDecision::Exhausted);
    }

    #[test]
    fn retry_after_only_lengthens_and_is_capped() {
        let wait = |asked_s| rule().after_failure(1, Some(Duration::from_secs(asked_s)), 0);
        assert_eq!(wait(1), RetryDecision::RetryIn(Duration::from_secs(5)));
        assert_eq!(wait(60), RetryDecision::RetryIn(Duration::from_mins(1)));
        assert_eq!(wait(u64::MAX), RetryDecision::RetryIn(Duration::from_hours(1)));
    }

    #[test]
    fn after_a_pushback_the_wait_is_what_was_asked_for_or_the_first_of_the_schedule() {
        let wait = |asked_s: Option<u64>| rule().after_pushback(asked_s.map(Duration::from_secs), 0);
        assert_eq!(wait(None), Duration::from_secs(5));
        assert_eq!(wait(Some(0)), Duration::from_secs(1));
        assert_eq!(wait(Some(2)), Duration::from_secs(2));
        assert_eq!(wait(Some(u64::MAX)), Duration::from_hours(1));
        let once = RetryRule { waits: Vec::new(), ..rule() };
        assert_eq!(once.after_pushback(None, 0), Duration::from_secs(5));
        assert!(rule().after_pushback(None, u32::MAX) <= Duration::from_millis(5501));
    }

    #[test]
    fn many_faults_of_our_own_in_a_row_are_waited_for_ever_longer_up_to_an_hour() {
        let waits = [1, 2, 10, 11, 12, 19, 20, u32::MAX].map(|in_a_row| rule().after_own_faults(in_a_row, 0).as_secs());
        assert_eq!(waits, [5, 5, 5, 10, 20, 2560, 3600, 3600]);
        let daily = RetryRule { waits: vec![Duration::from_hours(24)], ..rule() };
        assert_eq!(daily.after_own_faults(3, 0), Duration::from_hours(24));
    }

    #[test]
    fn after_failures_of_the_proxy_the_waits_grow_from_five_seconds_to_five_minutes() {
        let waits = [1, 2, 3, 6, 7, 8, u32::MAX].map(|in_a_row| RetryRule::after_proxy_failures(in_a_row, 0).as_secs());
        assert_eq!(waits, [5, 10, 20, 160, 300, 300, 300]);
        assert_eq!(RetryRule::after_proxy_failures(1, u32::MAX), Duration::from_millis(5500));
        assert_eq!(RetryRule::after_proxy_failures(9, u32::MAX), Duration::from_mins(5));
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(parse_retry_after(" 120 ", None, 0), Some(Duration::from_mins(2)));
        assert_eq!(parse_retry_after("99999999999999999999999", None, 0), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", None, 20), Some(Duration::from_secs(40)));
        assert_eq!(parse_retry_after("Thu, 01 Jan 1970 00:01:00 GMT", None, 90), Some(Duration::ZERO));
        for junk in ["", "-5", "1.5", "soon", "+3", "Thu, 1 Jan 1970", "Fri, 1 Jan 1970 00:01:00 GMT"] {
            assert_eq!(parse_retry_after(junk, None, 0), None, "{junk}");
        }
    }

    #[test]
    fn a_date_in_retry_after_is_meant_by_the_clock_of_its_response() {
        let (said, asked) = ("Thu, 01 Jan 1970 00:01:00 GMT", "Thu, 01 Jan 1970 00:01:05 GMT");
        for now_s in [0, 60, 65, 3600, 5_000_000_000] {
            assert_eq!(parse_retry_after(asked, Some(said), now_s), Some(Duration::from_secs(5)), "{now_s}");
            assert_eq!(parse_retry_after("7", Some(said), now_s), Some(Duration::from_secs(7)));
        }
        assert_eq!(parse_retry_after(asked, Some("once"), 60), Some(Duration::from_secs(5)));
    }

    #[test]
    fn the_dates_that_java_php_and_python_write_into_retry_after_are_read() {
        // Java 17 RFC_1123_DATE_TIME, PHP 8.2 DATE_RFC2822, Python 3.11 email.utils.format_datetime and %Z.
        for date in [
            "Thu, 1 Jan 1970 00:01:00 GMT",
            "Thu, 01 Jan 1970 00:01:00 +0000",
            "Thu, 01 Jan 1970 01:01:00 +0100",
            "Wed, 31 Dec 1969 19:01:00 -0500",
            "Thu, 01 Jan 1970 00:01:00 -0000",
            "Thu, 01 Jan 1970 00:01:00 UTC",
        ] {
            assert_eq!(parse_retry_after(date, None, 20), Some(Duration::from_secs(40)), "{date}");
            assert_eq!(parse_retry_after(date, None, 90), Some(Duration::ZERO), "{date}");
        }
    }

    proptest! {
        #[test]
        fn jitter_only_adds_and_never_more_than_a_tenth(failures in 1_u32..3, jitter: u32) {
            let RetryDecision::RetryIn(plain) = rule().after_failure(failures, None, 0) else { panic!() };
            let RetryDecision::RetryIn(wait) = rule().after_failure(failures, None, jitter) else { panic!() };
            prop_assert!(wait >= plain && wait <= plain.mul_f64(1.1) + Duration::from_millis(1));
            prop_assert!(wait <= rule().longest_wait());
        }
    }
}
