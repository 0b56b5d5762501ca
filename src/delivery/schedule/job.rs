//! What goes between the schedule and the delivery threads: an attempt to make, and how it ended. Plain values.

use std::sync::Arc;
use std::time::Duration;

use crate::delivery::schedule::backoff::Turn;
use crate::delivery::schedule::priority::PriorityClass;
use crate::domain::delivery::outcome::{EndpointSignal, Outcome};
use crate::domain::event::content::EventContent;
use crate::domain::options::order::OrderKey;
use crate::domain::{DeliveryId, EventId};

/// What a delivery thread has to load before it can send.
#[derive(Debug)]
pub enum Work {
    /// A first attempt, with its event if that is in memory.
    First(Option<Arc<EventContent>>),
    /// A retry; event and attempt number have to be read.
    Retry,
    /// A batch, whose number is in place of the event; its events have to be read.
    Batch,
}

impl Work {
    /// Bytes of the body that it holds in memory.
    pub(in crate::delivery) fn body_bytes(&self) -> usize {
        match self {
            Self::First(Some(content)) => content.body().len(),
            _ => 0,
        }
    }
}

/// A delivery in a lane's queue.
#[derive(Debug)]
pub(in crate::delivery) struct Queued {
    pub event: EventId,
    /// What it goes in order by.
    pub key: Option<OrderKey>,
    pub work: Work,
}

/// An attempt to make.
#[derive(Debug)]
pub struct Job {
    /// Its delivery.
    pub delivery: DeliveryId,
    /// What is in memory of it.
    pub work: Work,
    pub(in crate::delivery) class: PriorityClass,
    pub(in crate::delivery) turn: Turn,
}

impl Job {
    /// For [`crate::delivery::schedule::Schedule::finished`].
    #[must_use]
    pub fn finished(&self) -> FinishedJob {
        FinishedJob { delivery: self.delivery, class: self.class, turn: self.turn }
    }
}

/// What the schedule needs of a finished job.
#[derive(Clone, Copy, Debug)]
pub struct FinishedJob {
    pub(in crate::delivery) delivery: DeliveryId,
    pub(in crate::delivery) class: PriorityClass,
    pub(in crate::delivery) turn: Turn,
}

/// The result of an attempt, as far as the lane needs it.
#[derive(Clone, Copy, Debug)]
pub struct AttemptResult {
    /// What its outcome says about the endpoint.
    pub signal: EndpointSignal,
    /// Its duration.
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

impl AttemptResult {
    /// What an attempt's outcome comes to.
    #[must_use]
    pub fn of(outcome: &Outcome, took: Duration, retry_after: Option<Duration>) -> Self {
        let pushback = outcome.is_pushback().then_some(Pushback { retry_after });
        Self { signal: outcome.signal(), took, pushback }
    }
}
