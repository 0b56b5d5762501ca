//! The outbox as the rules see it: what is pending, by subscription. Part of the seam; the writer has the one transaction.

use crate::domain::delivery::history::History;
use crate::domain::options::order::OrderKey;
use crate::domain::{BatchId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::rows::outbox_row::OutboxRow;

type Result<T> = std::result::Result<T, StorageError>;

/// A batch that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHead {
    /// How many attempts there were.
    pub attempts: u32,
    /// When the next one is due, unless the batch waits for one before it.
    pub due: Timestamp,
}

/// The rows of the outbox in a write transaction.
pub trait OutboxTx {
    /// Adds a delivery that was never attempted to the outbox.
    fn put_unattempted(&mut self, id: DeliveryId, key: Option<OrderKey>) -> Result<()>;
    /// Whether the delivery is in the outbox and was never attempted.
    fn is_unattempted(&mut self, id: DeliveryId) -> Result<bool>;
    /// Takes a delivery that was never attempted out of the outbox. Gives its row, if it was there.
    fn take_unattempted(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>>;
    /// Up to so many deliveries of a subscription that were never attempted, of events before that one, oldest first.
    fn unattempted_before(&mut self, id: SubscriptionId, before: EventId, limit: usize) -> Result<Vec<EventId>>;
    /// Up to so many retries of a subscription that were due before that time, earliest first.
    fn retries_before(
        &mut self,
        id: SubscriptionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>>;
    /// Adds a retry to the outbox, due at that time. Gives whether it was not there.
    fn put_retry(&mut self, id: DeliveryId, due: Timestamp, row: OutboxRow) -> Result<bool>;
    /// Takes a retry out of the outbox. Gives its row, if it was there.
    fn take_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<Option<OutboxRow>>;
    /// Takes the retries of a delivery out of the outbox, whenever they are due, at the price of a search. Gives their rows.
    fn take_retry_at_any_time(&mut self, id: DeliveryId) -> Result<Vec<OutboxRow>>;
    /// Up to so many deliveries of a subscription that were never attempted, of events after that one, oldest first.
    fn unattempted_after(&mut self, id: SubscriptionId, after: EventId, limit: usize) -> Result<Vec<EventId>>;
    /// Up to so many retries of a subscription after that one, earliest due first.
    fn retries_after(
        &mut self,
        id: SubscriptionId,
        after: (Timestamp, EventId),
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>>;
    /// Adds a delivery that waits for the first one of its order key, or in a batch. Gives whether it was not there.
    fn put_waiting(&mut self, id: DeliveryId, row: OutboxRow) -> Result<bool>;
    /// Takes such a delivery out of the outbox. Gives its row, if it was there.
    fn take_waiting(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>>;
    /// The row of such a delivery.
    fn waiting_row(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>>;
    /// Up to so many of a subscription's deliveries that wait for others, of events after that one and before the other,
    /// oldest first.
    fn waiting(
        &mut self,
        id: SubscriptionId,
        between: (EventId, EventId),
        limit: usize,
    ) -> Result<Vec<(EventId, OutboxRow)>>;
    /// The first one of an order key: the one that may start.
    fn first_of(&mut self, id: SubscriptionId, key: OrderKey) -> Result<Option<EventId>>;
    /// Stores which is the first one.
    fn put_first(&mut self, id: SubscriptionId, key: OrderKey, first: Option<EventId>) -> Result<()>;
    /// The oldest of those that wait for the first one.
    fn next_of(&mut self, id: SubscriptionId, key: OrderKey) -> Result<Option<EventId>>;
    /// A batch that is to be sent.
    fn batch(&mut self, id: SubscriptionId, batch: BatchId) -> Result<Option<BatchHead>>;
    /// Stores a batch, or removes it.
    fn put_batch(&mut self, id: SubscriptionId, batch: BatchId, head: Option<BatchHead>) -> Result<()>;
    /// Its deliveries, oldest event first.
    fn batch_members(&mut self, id: SubscriptionId, batch: BatchId) -> Result<Vec<EventId>>;
    /// Whether it has any.
    fn has_batch_members(&mut self, id: SubscriptionId, batch: BatchId) -> Result<bool>;
    /// Stores a subscription's history.
    fn put_history(&mut self, id: SubscriptionId, history: &History) -> Result<()>;
}
