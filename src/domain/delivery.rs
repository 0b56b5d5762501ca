//! The life of one event on its way to one subscription; the only place that moves a delivery from state to state.
//! Pure; any thread. Not here: when to send, how to store.

use std::time::Duration;

use super::Timestamp;
use super::attempt::Attempt;
use super::event_type::EventType;
use super::retry::{Next, RetryRule};

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// An attempt is due at this time (steady clock); held while its subscription is off.
    Pending {
        /// When the next attempt is due.
        due: Timestamp,
    },
    /// It has arrived.
    Delivered {
        /// When.
        at: Timestamp,
    },
    /// Its schedule is used up; only a redelivery moves it on.
    Exhausted {
        /// When.
        at: Timestamp,
    },
}

/// A delivery and what has happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// What kind of event it carries.
    pub event_type: EventType,
    /// Where it stands.
    pub state: DeliveryState,
    /// How many attempts there were before the present schedule began (0 unless it was redelivered).
    pub attempts_before_schedule: u32,
    /// How many attempts there were in all.
    pub attempt_count: u32,
    /// The attempts, oldest first; at most the last [`KEPT_ATTEMPTS`].
    pub attempts: Vec<Attempt>,
}

/// More attempts than any schedule makes; only redeliveries by hand can reach it.
pub const KEPT_ATTEMPTS: usize = 50;

impl DeliveryState {
    /// Is there an attempt to come?
    #[must_use]
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Pending { .. })
    }

    /// The word for it in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Delivered { .. } => "delivered",
            Self::Exhausted { .. } => "exhausted",
        }
    }

    /// The words that a filter by status takes.
    pub const NAMES: [&'static str; 3] = ["pending", "delivered", "exhausted"];
}

impl Delivery {
    /// One that was never attempted: due since the event was made.
    #[must_use]
    pub fn fresh(event_type: EventType, created_at: Timestamp) -> Self {
        Self {
            event_type,
            state: DeliveryState::Pending { due: created_at },
            attempts_before_schedule: 0,
            attempt_count: 0,
            attempts: Vec::new(),
        }
    }

    /// Takes in a finished attempt. `now` is the calendar's time and `steady` the one that retries are planned on;
    /// `retry_after` and `jitter` as in [`RetryRule::after_failure`].
    pub fn record(
        &mut self,
        attempt: Attempt,
        rule: &RetryRule,
        (now, steady): (Timestamp, Timestamp),
        retry_after: Option<Duration>,
        jitter: u32,
    ) {
        self.attempt_count = self.attempt_count.max(attempt.number);
        let failures = self.attempt_count.saturating_sub(self.attempts_before_schedule);
        self.state = if attempt.outcome.is_delivered() {
            DeliveryState::Delivered { at: now }
        } else {
            match rule.after_failure(failures, retry_after, jitter) {
                _ if self.is_ping_again() => DeliveryState::Exhausted { at: now },
                Next::RetryIn(wait) => DeliveryState::Pending { due: steady.plus(wait) },
                Next::Exhausted => DeliveryState::Exhausted { at: now },
            }
        };
        if self.attempts.len() >= KEPT_ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
    }

    /// Begins the whole schedule anew, with an attempt due now. Attempt numbers go on from the last.
    pub fn redeliver(&mut self, steady: Timestamp) {
        self.attempts_before_schedule = self.attempt_count;
        self.state = DeliveryState::Pending { due: steady };
    }

    /// A ping that somebody sends again is a test, and a test is never retried.
    fn is_ping_again(&self) -> bool {
        self.event_type == EventType::Ping && self.attempts_before_schedule > 0
    }

    /// The number that the next attempt gets.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        self.attempt_count.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::attempt::{Signed, VERSION};
    use crate::domain::outcome::Outcome;
    use crate::domain::signing::Signatures;

    fn attempt(number: u32, outcome: Outcome) -> Attempt {
        Attempt {
            number,
            started_at: Timestamp::from_ms(0),
            duration_ms: 1,
            url: "".into(),
            version: VERSION.into(),
            signed: Signed { timestamp_s: 0, signatures: Signatures { tempclock: [0; 32], standard: [0; 32] } },
            outcome,
            response: None,
        }
    }

    fn run(delivery: &mut Delivery, outcomes: &[Outcome]) {
        let rule = RetryRule { waits: vec![Duration::from_secs(5)], retry_after_max: Duration::ZERO };
        for outcome in outcomes {
            let number = delivery.next_number();
            let now = Timestamp::from_ms(1000);
            delivery.record(attempt(number, outcome.clone()), &rule, (now, now), None, 0);
        }
    }

    #[test]
    fn a_schedule_of_one_wait_makes_two_attempts_and_then_is_exhausted() {
        let mut delivery = Delivery::fresh(EventType::ClockIn, Timestamp::from_ms(0));
        run(&mut delivery, &[Outcome::Refused(500)]);
        assert_eq!(delivery.state, DeliveryState::Pending { due: Timestamp::from_ms(6000) });
        run(&mut delivery, &[Outcome::Refused(500)]);
        assert_eq!(delivery.state.name(), "exhausted");
    }

    #[test]
    fn it_is_settled_by_the_calendar_and_planned_by_the_steady_clock() {
        let mut delivery = Delivery::fresh(EventType::ClockIn, Timestamp::from_ms(0));
        let rule = RetryRule { waits: vec![Duration::from_secs(1)], retry_after_max: Duration::ZERO };
        let (now, steady) = (Timestamp::from_ms(90_000_000), Timestamp::from_ms(1000));
        delivery.record(attempt(1, Outcome::Refused(500)), &rule, (now, steady), None, 0);
        assert_eq!(delivery.state, DeliveryState::Pending { due: Timestamp::from_ms(2000) });
        delivery.record(attempt(2, Outcome::Delivered(200)), &rule, (now, steady), None, 0);
        assert_eq!(delivery.state, DeliveryState::Delivered { at: now });
    }

    #[test]
    fn a_redelivery_gets_the_whole_schedule_and_goes_on_counting() {
        let mut delivery = Delivery::fresh(EventType::ClockIn, Timestamp::from_ms(0));
        run(&mut delivery, &[Outcome::Refused(500), Outcome::Refused(500)]);
        delivery.redeliver(Timestamp::from_ms(9));
        run(&mut delivery, &[Outcome::Refused(500)]);
        assert_eq!(delivery.state.name(), "pending");
        run(&mut delivery, &[Outcome::Delivered(200)]);
        assert_eq!(delivery.state.name(), "delivered");
        let numbers: Vec<u32> = delivery.attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
    }

    #[test]
    fn a_ping_that_is_sent_again_is_attempted_once() {
        let mut delivery = Delivery::fresh(EventType::Ping, Timestamp::from_ms(0));
        run(&mut delivery, &[Outcome::Refused(500)]);
        assert_eq!(delivery.state.name(), "pending", "a published one is an event as any other");
        delivery.redeliver(Timestamp::from_ms(9));
        run(&mut delivery, &[Outcome::Refused(500)]);
        assert_eq!((delivery.state.name(), delivery.attempt_count), ("exhausted", 2));
    }
}
