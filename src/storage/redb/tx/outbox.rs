//! The rows of the outbox in a write transaction. Runs on the writer thread, and never commits.

use crate::domain::delivery::history::History;
use crate::domain::options::order::OrderKey;
use crate::domain::{BatchId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::{BatchHead, OutboxTx};
use crate::storage::error::StorageError;
use crate::storage::redb::outbox::orders;
use crate::storage::redb::tx::RedbTx;
use crate::storage::rows::outbox_row::{InBatch, OutboxRow};

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

    fn put_retry(&mut self, id: DeliveryId, due: Timestamp, row: OutboxRow) -> Result<bool> {
        self.outbox.put_retry(id, due, row)
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

    fn put_waiting(&mut self, id: DeliveryId, row: OutboxRow) -> Result<bool> {
        match row.batch {
            InBatch::Member(batch) => self.batches()?.put_member(id, batch)?,
            InBatch::Gathered => self.orders()?.put(id, orders::GATHERED)?,
            InBatch::No | InBatch::Whole => {
                if let Some(key) = row.key {
                    self.orders()?.put(id, key.0.get())?;
                }
            }
        }
        self.outbox.put_waiting(id, row)
    }

    fn take_waiting(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>> {
        let Some(row) = self.outbox.take_waiting(id)? else { return Ok(None) };
        match row.batch {
            InBatch::Member(batch) => self.batches()?.remove_member(id, batch)?,
            InBatch::Gathered => self.orders()?.remove(id, orders::GATHERED)?,
            InBatch::No | InBatch::Whole => {
                if let Some(key) = row.key {
                    self.orders()?.remove(id, key.0.get())?;
                }
            }
        }
        Ok(Some(row))
    }

    fn waiting_row(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>> {
        self.outbox.waiting_row(id)
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

    fn batch(&mut self, id: SubscriptionId, batch: BatchId) -> Result<Option<BatchHead>> {
        self.batches()?.head(id, batch)
    }

    fn put_batch(&mut self, id: SubscriptionId, batch: BatchId, head: Option<BatchHead>) -> Result<()> {
        self.batches()?.put_head(id, batch, head)
    }

    fn batch_members(&mut self, id: SubscriptionId, batch: BatchId) -> Result<Vec<EventId>> {
        self.batches()?.members(id, batch)
    }

    fn has_batch_members(&mut self, id: SubscriptionId, batch: BatchId) -> Result<bool> {
        self.batches()?.has_members(id, batch)
    }

    fn put_history(&mut self, id: SubscriptionId, history: &History) -> Result<()> {
        self.outbox.put_history(id, history)
    }
}
