//! What is gathered for batches, by subscription: kept in memory by the writer, beside what the store says. Plain values.

use std::collections::BTreeMap;

use crate::domain::{EventId, SubscriptionId, Timestamp};

/// What is gathered for the next batch of a subscription. The store has it as well.
#[derive(Debug, Default)]
pub struct Gathering {
    /// Oldest event first.
    pub events: Vec<EventId>,
    /// About the length of the body.
    pub bytes: usize,
    /// When it becomes a batch, by the steady clock, however few there are.
    pub closes_at: Timestamp,
}

/// What is gathered, by subscription.
#[derive(Debug, Default)]
pub struct Gatherings(pub BTreeMap<SubscriptionId, Gathering>);

impl Gatherings {
    /// What earlier processes have left, which closes at once.
    pub fn resume(left: BTreeMap<SubscriptionId, Vec<EventId>>) -> Self {
        Self(left.into_iter().map(|(id, events)| (id, Gathering { events, ..Gathering::default() })).collect())
    }

    /// When the next one closes, by the steady clock.
    pub fn next_close(&self) -> Option<Timestamp> {
        self.0.values().map(|gathering| gathering.closes_at).min()
    }
}
