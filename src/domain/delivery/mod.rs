//! The state machine of a delivery: one event for one subscription. The only place that changes a delivery's state.
//! Pure; any thread.

pub mod attempt;
pub mod explanation;
pub mod headers;
pub mod health;
pub mod history;
pub mod order;
pub mod outcome;
mod remark;
pub mod repair;
pub mod request;
pub mod retry;
pub mod tls_fault;
pub mod token_fault;

use std::time::Duration;

use super::Timestamp;
use crate::domain::delivery::attempt::{Attempt, Response};
use crate::domain::delivery::outcome::{EndpointSignal, Outcome};
use crate::domain::delivery::retry::{RetryDecision, RetryRule};
use crate::domain::event::event_type::EventType;

/// The state of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// An attempt is due at this time (monotonic clock); held while its subscription is disabled.
    Pending {
        /// When the next attempt is due.
        due: Timestamp,
    },
    /// Delivered.
    Delivered {
        /// When.
        at: Timestamp,
    },
    /// Its retry schedule is exhausted; only a redelivery changes that.
    Exhausted {
        /// When.
        at: Timestamp,
    },
    /// It was held for longer than held deliveries are kept; only a redelivery changes that.
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Its event type was taken from its subscription, or its event was erased, before it was delivered.
    Cancelled {
        /// When.
        at: Timestamp,
    },
}

/// A delivery and its attempts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The type of its event.
    pub event_type: EventType,
    /// Its state.
    pub state: DeliveryState,
    /// How many attempts use up no wait of the present schedule: those before it began, if it was redelivered, and
    /// those whose outcome does not count.
    pub uncounted_attempts: u32,
    /// Total number of attempts.
    pub attempt_count: u32,
    /// The attempts, oldest first; at most the last [`KEPT_ATTEMPTS`].
    pub attempts: Vec<Attempt>,
}

/// What is known beside an attempt when it is recorded.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The time that it is dated with.
    pub now: Timestamp,
    /// The calendar's time, which attempts are dated with.
    pub wall: Timestamp,
    /// The time that retries are planned on.
    pub monotonic: Timestamp,
    /// How long the receiver asked to be left alone.
    pub retry_after: Option<Duration>,
    /// Any random number.
    pub jitter: u32,
    /// When the endpoint took a delivery of its subscription last, by the calendar.
    pub last_success: Option<Timestamp>,
}

/// As many as a schedule can make; what does not count against it and redeliveries by hand come on top.
pub const KEPT_ATTEMPTS: usize = 50;

/// A name server is usually mended within this time. One that fails for longer is most likely the domain's.
const NAME_SERVER_GRACE: Duration = Duration::from_hours(1);

impl DeliveryState {
    /// Whether another attempt is due.
    #[must_use]
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Pending { .. })
    }

    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending { .. } => "pending",
            Self::Delivered { .. } => "delivered",
            Self::Exhausted { .. } => "exhausted",
            Self::Expired { .. } => "expired",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// When it was settled; none while it is pending.
    #[must_use]
    pub fn settled_at(self) -> Option<Timestamp> {
        match self {
            Self::Pending { .. } => None,
            Self::Delivered { at } | Self::Exhausted { at } | Self::Expired { at } | Self::Cancelled { at } => Some(at),
        }
    }

    /// All names.
    pub const NAMES: [&'static str; 5] = ["pending", "delivered", "exhausted", "expired", "cancelled"];
}

impl Delivery {
    /// A delivery that was never attempted: due since its event was created.
    #[must_use]
    pub fn unattempted(event_type: EventType, created_at: Timestamp) -> Self {
        Self {
            event_type,
            state: DeliveryState::Pending { due: created_at },
            uncounted_attempts: 0,
            attempt_count: 0,
            attempts: Vec::new(),
        }
    }

    /// A test with its one attempt: whatever came of it, none follows.
    #[must_use]
    pub fn tested(event_type: EventType, attempt: Attempt, at: Timestamp) -> Self {
        let state = if attempt.outcome.is_delivered() {
            DeliveryState::Delivered { at }
        } else {
            DeliveryState::Exhausted { at }
        };
        Self { event_type, state, uncounted_attempts: 0, attempt_count: attempt.number, attempts: vec![attempt] }
    }

    /// Takes in a finished attempt.
    pub fn record(&mut self, mut attempt: Attempt, rule: &RetryRule, found: &Circumstances) {
        let Circumstances { now, wall, monotonic, retry_after, jitter, last_success } = *found;
        let is_ping_again = self.is_ping_again();
        if let Outcome::HttpError(status) = attempt.outcome
            && attempt.outcome.is_pushback()
            && self.others_got_through(last_success, wall)
        {
            attempt.outcome = Outcome::PushedBack(status);
        }
        self.attempt_count = self.attempt_count.max(attempt.number);
        let next = match &attempt.outcome {
            outcome if outcome.is_delivered() => None,
            _ if is_ping_again => Some(RetryDecision::Exhausted),
            Outcome::PushedBack(_) => Some(RetryDecision::RetryIn(rule.after_pushback(retry_after, jitter))),
            Outcome::ProxyFailed(_) => {
                Some(RetryDecision::RetryIn(RetryRule::after_proxy_failures(1 + self.proxy_failures(), jitter)))
            }
            outcome if !outcome.counts() => {
                Some(RetryDecision::RetryIn(rule.after_own_faults(1 + self.own_faults(), jitter)))
            }
            _ => {
                let failures = self.attempt_count.saturating_sub(self.uncounted_attempts);
                Some(rule.after_failure(failures, retry_after, jitter))
            }
        };
        self.state = match next {
            None => DeliveryState::Delivered { at: now },
            // It was settled while the attempt was under way.
            Some(_) if matches!(self.state, DeliveryState::Cancelled { .. } | DeliveryState::Expired { .. }) => {
                self.state
            }
            Some(RetryDecision::RetryIn(wait)) => DeliveryState::Pending { due: monotonic.plus(wait) },
            Some(RetryDecision::Exhausted) => DeliveryState::Exhausted { at: now },
        };
        if !attempt.outcome.counts() {
            self.uncounted_attempts = self.uncounted_attempts.saturating_add(1);
        }
        if self.attempts.len() >= KEPT_ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
        self.keep_one_body_for_each_outcome();
    }

    /// Of attempts that ended in the same way only the last one's answer keeps its body, so that an endpoint that fails for
    /// days does not fill the store. Equal ones in a row stay, as they are stored once, and so does one that the cause was
    /// told by.
    fn keep_one_body_for_each_outcome(&mut self) {
        let Some((last, earlier)) = self.attempts.split_last_mut() else { return };
        let Some(Response { body, .. }) = last.response.as_ref().filter(|response| !response.body.is_empty()) else {
            return;
        };
        let mut is_same = true;
        for attempt in earlier.iter_mut().rev() {
            let tells_cause = attempt.was_for_https();
            let Some(response) = &mut attempt.response else { continue };
            is_same &= response.body == *body;
            if !is_same && attempt.outcome == last.outcome && !tells_cause {
                response.body = Vec::new();
            }
        }
    }

    /// The body of an attempt's answer; none if only that of a later attempt with the same outcome was kept.
    #[must_use]
    pub fn kept_body<'a>(&self, attempt: &'a Attempt) -> Option<&'a [u8]> {
        let body = attempt.response.as_ref()?.body.as_slice();
        let mut later = self.attempts.iter().filter(|later| later.number > attempt.number);
        let has_body = |other: &Attempt| other.response.as_ref().is_some_and(|response| !response.body.is_empty());
        let is_left_out = body.is_empty() && later.any(|later| later.outcome == attempt.outcome && has_body(later));
        (!is_left_out).then_some(body)
    }

    /// Restarts the whole schedule, with an attempt due now. Attempt numbers continue.
    pub fn redeliver(&mut self, monotonic: Timestamp) {
        self.uncounted_attempts = self.attempt_count;
        self.state = DeliveryState::Pending { due: monotonic };
    }

    /// Makes the next attempt due at this time, if that is earlier. The schedule goes on from where it is.
    pub fn hasten(&mut self, monotonic: Timestamp) {
        if let DeliveryState::Pending { due } = &mut self.state {
            *due = monotonic.min(*due);
        }
    }

    /// Settles it without another attempt.
    pub fn cancel(&mut self, now: Timestamp) {
        self.state = DeliveryState::Cancelled { at: now };
    }

    /// Settles it, as its reader has it.
    pub fn acknowledge(&mut self, now: Timestamp) {
        self.state = DeliveryState::Delivered { at: now };
    }

    /// Gives it up, as it was held for too long.
    pub fn expire(&mut self, now: Timestamp) {
        self.state = DeliveryState::Expired { at: now };
    }

    /// A redelivered ping is a test, and a test is never retried.
    fn is_ping_again(&self) -> bool {
        let without_count = self.attempts.iter().filter(|attempt| !attempt.outcome.counts()).count();
        self.event_type == EventType::Ping
            && usize::try_from(self.uncounted_attempts).is_ok_and(|all| all > without_count)
    }

    /// Has the endpoint taken another delivery since the last attempt of this one, or since it was made if there was
    /// none? All times are the calendar's, as attempts are stored with no other. One that lies ahead is from before the
    /// calendar was set back, and says nothing.
    fn others_got_through(&self, last_success: Option<Timestamp>, now: Timestamp) -> bool {
        let before = match (self.attempts.last(), self.state) {
            (Some(last), _) => last.ended_at(),
            (None, DeliveryState::Pending { due }) => due,
            (None, _) => now,
        };
        last_success.is_some_and(|at| before < at && at <= now)
    }

    /// Whether this attempt failed at the name server, and not for so long yet that it is held against the endpoint.
    #[must_use]
    pub fn is_short_name_server_failure(&self, attempt: &Attempt) -> bool {
        let failed_too = self.attempts.iter().rev().take_while(|earlier| earlier.outcome.is_of_name_server());
        let first = failed_too.last().unwrap_or(attempt);
        attempt.outcome.is_of_name_server() && attempt.started_at.since(first.started_at) < NAME_SERVER_GRACE
    }

    /// How many of the last attempts in a row failed by faults of our own.
    fn own_faults(&self) -> u32 {
        let own = |attempt: &&Attempt| attempt.outcome.signal() == EndpointSignal::Unknown;
        u32::try_from(self.attempts.iter().rev().take_while(own).count()).unwrap_or(u32::MAX)
    }

    /// How many of the last attempts in a row failed at the operator's proxy.
    fn proxy_failures(&self) -> u32 {
        let failed = |attempt: &&Attempt| matches!(attempt.outcome, Outcome::ProxyFailed(_));
        u32::try_from(self.attempts.iter().rev().take_while(failed).count()).unwrap_or(u32::MAX)
    }

    /// The number of the next attempt.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        self.attempt_count.saturating_add(1)
    }
}

#[cfg(test)]
mod tests;
