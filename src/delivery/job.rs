//! What goes between the schedule and the delivery threads: an attempt to make, and how it ended. Plain values.

use std::sync::Arc;
use std::time::Duration;

use super::backoff::Turn;
use super::rings::Ring;
use crate::domain::DeliveryId;
use crate::domain::outcome::{EndpointSign, Outcome};
use crate::storage::record::EventRow;

/// What a delivery thread has to find out before it can send.
#[derive(Debug)]
pub enum Work {
    /// A first attempt; the event is here, or has to be read.
    First(Option<Arc<EventRow>>),
    /// A further attempt; event and attempt number have to be read.
    Further,
}

impl Work {
    /// How many bytes of a body it keeps in memory.
    pub(super) fn body_bytes(&self) -> usize {
        match self {
            Self::First(Some(row)) => row.body().len(),
            _ => 0,
        }
    }
}

/// One attempt to make.
#[derive(Debug)]
pub struct Job {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// What is known of it already.
    pub work: Work,
    pub(super) ring: Ring,
    pub(super) turn: Turn,
}

impl Job {
    /// For [`super::schedule::Schedule::finished`].
    #[must_use]
    pub fn finished(&self) -> FinishedJob {
        FinishedJob { delivery: self.delivery, ring: self.ring, turn: self.turn }
    }
}

/// What the schedule needs to know of a job that has ended.
#[derive(Clone, Copy, Debug)]
pub struct FinishedJob {
    pub(super) delivery: DeliveryId,
    pub(super) ring: Ring,
    pub(super) turn: Turn,
}

/// How an attempt ended, as far as the endpoint's lane is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// What its outcome says of the endpoint.
    pub sign: EndpointSign,
    /// How long the thread was busy with it.
    pub took: Duration,
    /// The endpoint said that it gets too much.
    pub pushback: Option<Pushback>,
}

/// A 429 or 503.
#[derive(Clone, Copy, Debug)]
pub struct Pushback {
    /// How long the endpoint asked to be left alone.
    pub retry_after: Option<Duration>,
}

impl Ended {
    /// What an attempt's outcome comes to.
    #[must_use]
    pub fn of(outcome: &Outcome, took: Duration, retry_after: Option<Duration>) -> Self {
        let pushback = outcome.is_pushback().then_some(Pushback { retry_after });
        Self { sign: outcome.sign(), took, pushback }
    }
}
