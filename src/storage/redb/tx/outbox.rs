//! The rows of the outbox in a write transaction. Runs on the writer thread, and never commits.

use crate::domain::options::order::OrderKey;
use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::OutboxTx;
use crate::storage::error::StorageError;
use crate::storage::redb::tx::RedbTx;
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rows::record::History;

type Result<T> = std::result::Result<T, StorageError>;

impl OutboxTx for RedbTx<'_> {
    fn put_unattempted(&mut self, id: DeliveryId, key: Option<OrderKey>) -> Result<()> {
        self.outbox.put_unattempted(id, key)
    }

    fn is_unattempted(&mut self, id: DeliveryId) -> Result<bool> {
        self.outbox.is_unattempted(id)
    }

    fn take_unattempted(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>> {
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

    fn put_retry(&mut self, id: DeliveryId, due: Timestamp, key: Option<OrderKey>) -> Result<bool> {
        self.outbox.put_retry(id, due, key)
    }

    fn take_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<Option<OutboxRow>> {
        self.outbox.take_retry(id, due)
    }

    fn take_retry_at_any_time(&mut self, id: DeliveryId) -> Result<Vec<OutboxRow>> {
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

    fn put_waiting(&mut self, id: DeliveryId, key: OrderKey, has_outcome: bool) -> Result<bool> {
        self.orders()?.put(id, key)?;
        self.outbox.put_waiting(id, OutboxRow { key: Some(key), has_outcome })
    }

    fn take_waiting(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>> {
        let row = self.outbox.take_waiting(id)?;
        if let Some(key) = row.and_then(|row| row.key) {
            self.orders()?.remove(id, key)?;
        }
        Ok(row)
    }

    fn is_waiting(&mut self, id: DeliveryId) -> Result<bool> {
        self.outbox.is_waiting(id)
    }

    fn waiting(
        &mut self,
        id: SubscriptionId,
        between: (EventId, EventId),
        limit: usize,
    ) -> Result<Vec<(EventId, OutboxRow)>> {
        self.outbox.waiting(id, between, limit)
    }

    fn first_of(&mut self, id: SubscriptionId, key: OrderKey) -> Result<Option<EventId>> {
        self.orders()?.first(id, key)
    }

    fn put_first(&mut self, id: SubscriptionId, key: OrderKey, first: Option<EventId>) -> Result<()> {
        self.orders()?.put_first(id, key, first)
    }

    fn next_of(&mut self, id: SubscriptionId, key: OrderKey) -> Result<Option<EventId>> {
        self.orders()?.next(id, key)
    }

    fn put_history(&mut self, id: SubscriptionId, history: &History) -> Result<()> {
        self.outbox.put_history(id, history)
    }
}
