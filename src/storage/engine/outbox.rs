//! The outbox as the rules see it: what is pending, by subscription. Part of the seam; the writer has the one transaction.

use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::rows::record::History;

type Result<T> = std::result::Result<T, StorageError>;

/// The rows of the outbox in a write transaction.
pub trait OutboxTx {
    /// Adds a delivery that was never attempted to the outbox.
    fn put_unattempted(&mut self, id: DeliveryId) -> Result<()>;
    /// Whether the delivery is in the outbox and was never attempted.
    fn is_unattempted(&mut self, id: DeliveryId) -> Result<bool>;
    /// Takes a delivery that was never attempted out of the outbox. Gives whether it was there.
    fn take_unattempted(&mut self, id: DeliveryId) -> Result<bool>;
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
    fn put_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<bool>;
    /// Takes a retry out of the outbox. Gives whether it was there.
    fn take_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<bool>;
    /// Takes the retries of a delivery out of the outbox, whenever they are due, at the price of a search. Gives how many.
    fn take_retry_at_any_time(&mut self, id: DeliveryId) -> Result<u64>;
    /// Up to so many deliveries of a subscription that were never attempted, of events after that one, oldest first.
    fn unattempted_after(&mut self, id: SubscriptionId, after: EventId, limit: usize) -> Result<Vec<EventId>>;
    /// Up to so many retries of a subscription after that one, earliest due first.
    fn retries_after(
        &mut self,
        id: SubscriptionId,
        after: (Timestamp, EventId),
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>>;
    /// Stores a subscription's history.
    fn put_history(&mut self, id: SubscriptionId, history: &History) -> Result<()>;
}
