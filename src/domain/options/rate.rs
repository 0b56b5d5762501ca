//! The option `rate_limit`: how often attempts of a subscription may start. Pure; any thread.

use serde_json::Value;

use crate::domain::{FieldError, Timestamp};

/// Starts of attempts in a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rate {
    text: Box<str>,
    interval_us: u64,
}

/// The most starts in a second.
const MOST_A_SECOND: u64 = 1000;
/// Starts are a fiftieth further apart than the rate says, so that one that is late by up to a fiftieth of the time that
/// counts still does not exceed it.
const MARGIN: u64 = 50;
/// How much a start may be late without delaying those after it: they make up for it.
const MADE_UP_US: u64 = 5000;

impl Rate {
    /// Reads the option.
    pub fn read(value: &Value) -> Result<Self, Vec<FieldError>> {
        let wanted =
            format!("must be a number per second or minute, such as \"10/s\" or \"600/m\", of up to {MOST_A_SECOND}/s");
        let wrong = || vec![FieldError::new("rate_limit", wanted.clone())];
        let text = value.as_str().ok_or_else(wrong)?.trim();
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            _ => return Err(wrong()),
        };
        let count: u64 = count.trim().parse().map_err(|_| wrong())?;
        if count == 0 || count > MOST_A_SECOND * seconds {
            return Err(wrong());
        }
        let time_us = seconds * 1_000_000;
        Ok(Self { text: text.into(), interval_us: (time_us + time_us / MARGIN).div_ceil(count) })
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Keeps the starts of attempts to a rate. Spread evenly: there is no burst after a pause.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pacer {
    next_us: u64,
}

impl Pacer {
    /// As if an attempt had just started, as one may have before the program did.
    #[must_use]
    pub fn after_start(rate: &Rate, now: Timestamp) -> Self {
        Self { next_us: micros(now) + rate.interval_us }
    }

    /// When the next attempt may start, if that is not now.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Option<Timestamp> {
        (self.next_us > micros(now)).then(|| Timestamp::from_ms(self.next_us.div_ceil(1000)))
    }

    /// An attempt starts.
    pub fn started(&mut self, rate: &Rate, now: Timestamp) {
        let earliest = micros(now).saturating_sub(MADE_UP_US.min(rate.interval_us));
        self.next_us = self.next_us.max(earliest) + rate.interval_us;
    }

    /// Another rate from now on.
    pub fn change(&mut self, rate: &Rate, now: Timestamp) {
        self.next_us = self.next_us.min(micros(now) + rate.interval_us);
    }
}

fn micros(now: Timestamp) -> u64 {
    now.as_ms().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rate_is_a_number_a_second_or_a_minute() {
        for (text, interval_us) in [("10/s", 102_000), ("600/m", 102_000), ("1/m", 61_200_000), ("1000/s", 1020)] {
            let rate = Rate::read(&json!(text)).unwrap();
            assert_eq!((rate.as_str(), rate.interval_us), (text, interval_us));
        }
        for wrong in ["0/s", "1001/s", "60001/m", "10", "10/h", "-1/s", "1.5/s", "/s", ""] {
            assert!(Rate::read(&json!(wrong)).is_err(), "{wrong}");
        }
        assert!(Rate::read(&json!(10)).is_err());
    }

    proptest! {
        #[test]
        fn no_second_has_more_starts_than_the_rate_and_nearly_as_many_are_made(
            per_second in 1..=100_u64,
            late_ms in prop::collection::vec(0..4_u64, 1..300),
        ) {
            let rate = Rate::read(&json!(format!("{per_second}/s"))).unwrap();
            let mut pacer = Pacer::default();
            let mut now = Timestamp::from_ms(1_000_000);
            let mut starts = Vec::new();
            for late in &late_ms {
                now = pacer.next(now).unwrap_or(now).plus(Duration::from_millis(*late));
                pacer.started(&rate, now);
                starts.push(now.as_ms());
            }
            for (index, first) in starts.iter().enumerate() {
                let within = starts[index..].iter().take_while(|start| **start < first + 1000).count() as u64;
                prop_assert!(within <= per_second, "{within} of {per_second} from {first}");
            }
            let elapsed_ms = starts[starts.len() - 1] - starts[0];
            let wanted = (starts.len() as u64 - 1) * 1000;
            // 97 of 100 over the time that they took, apart from the first and the last that may be late.
            prop_assert!(wanted * 100 + 100 * 10 * per_second >= 97 * elapsed_ms * per_second);
        }
    }
}
