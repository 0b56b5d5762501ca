//! An event and a waiting delivery as the layers above read them. Plain values.

use std::sync::Arc;

use crate::domain::event::IdempotencyKey;
use crate::domain::event::content::EventContent;
use crate::domain::{BatchId, SubscriptionId};
use crate::storage::rows::outbox_row::InBatch;
use crate::storage::rows::record::EventRow;

/// An event of the store.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its type and its body.
    pub content: EventContent,
    /// The subscriptions that it went to, by number.
    pub receivers: Arc<[SubscriptionId]>,
    /// The keys that identify duplicates of it.
    pub idempotency: Vec<IdempotencyKey>,
}

impl StoredEvent {
    pub(super) fn of(row: EventRow) -> Self {
        Self { content: row.content, receivers: row.subscriptions, idempotency: row.idempotency }
    }
}

/// What a pending delivery waits for before it comes into its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// The one before it of its order.
    Earlier,
    /// More for the next batch.
    MoreForBatch,
    /// That batch, in which it is.
    Batch(BatchId),
}

impl WaitsFor {
    pub(super) fn of(batch: InBatch) -> Self {
        match batch {
            InBatch::No | InBatch::Whole => Self::Earlier,
            InBatch::Gathered => Self::MoreForBatch,
            InBatch::Member(batch) => Self::Batch(batch),
        }
    }
}
