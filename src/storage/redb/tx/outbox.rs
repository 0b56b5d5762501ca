//! The rows of the outbox in a write transaction. Runs on the writer thread, and never commits.

use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::OutboxTx;
use crate::storage::error::StorageError;
use crate::storage::redb::tx::RedbTx;
use crate::storage::rows::record::History;

type Result<T> = std::result::Result<T, StorageError>;

impl OutboxTx for RedbTx<'_> {
    fn put_unattempted(&mut self, id: DeliveryId) -> Result<()> {
        self.outbox.put_unattempted(id);
        Ok(())
    }

    fn is_unattempted(&mut self, id: DeliveryId) -> Result<bool> {
        self.outbox.is_unattempted(id)
    }

    fn take_unattempted(&mut self, id: DeliveryId) -> Result<bool> {
        self.outbox.take_unattempted(id)
    }

    fn unattempted_before(&mut self, id: SubscriptionId, before: EventId, limit: usize) -> Result<Vec<EventId>> {
        self.outbox.unattempted_before(id, before, limit)
    }

    fn retries_before(
        &mut self,
        id: SubscriptionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>> {
        self.outbox.retries_before(id, before, limit)
    }

    fn put_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<bool> {
        self.outbox.put_retry(id, due)
    }

    fn take_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<bool> {
        self.outbox.take_retry(id, due)
    }

    fn take_retry_at_any_time(&mut self, id: DeliveryId) -> Result<u64> {
        self.outbox.take_retry_at_any_time(id)
    }

    fn unattempted_after(&mut self, id: SubscriptionId, after: EventId, limit: usize) -> Result<Vec<EventId>> {
        self.outbox.unattempted_after(id, after, limit)
    }

    fn retries_after(
        &mut self,
        id: SubscriptionId,
        after: (Timestamp, EventId),
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>> {
        self.outbox.retries_after(id, after, limit)
    }

    fn put_history(&mut self, id: SubscriptionId, history: &History) -> Result<()> {
        self.outbox.put_history(id, history)
    }
}
