//! The outbox of the transaction that writes: what becomes pending, what is taken out. Runs on the writer thread.

use std::ops::Bound;

use redb::{ReadableTable as _, WriteTransaction};

use crate::domain::delivery::history::History;
use crate::domain::options::order::OrderKey;
use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::redb::bulk_insert::BulkInsert;
use crate::storage::redb::outbox::{
    NONE, OutboxEntry, UNATTEMPTED_DUE_MS, WAITING_DUE_MS, entry, history_key, outbox_row, retries_range, retry_key,
    unattempted_key, waiting_key,
};
use crate::storage::redb::tables::{self, OutboxKey};
use crate::storage::rows::history_record;
use crate::storage::rows::outbox_row::OutboxRow;

/// The writer's outbox.
pub struct OutboxWriter<'txn>(BulkInsert<'txn, OutboxKey>);

impl<'txn> OutboxWriter<'txn> {
    /// Opens the outbox of a transaction.
    pub fn open(transaction: &'txn WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self(BulkInsert::new(transaction.open_table(tables::OUTBOX)?)))
    }

    /// Flushes buffered rows.
    pub fn finish(&mut self) -> Result<(), StorageError> {
        self.0.table()?;
        Ok(())
    }

    /// Whether the delivery is there and was never attempted.
    pub fn is_unattempted(&mut self, id: DeliveryId) -> Result<bool, StorageError> {
        Ok(self.0.table()?.get(unattempted_key(id))?.is_some())
    }

    /// A subscription's unattempted deliveries of events before that one, oldest first, and no more than so many.
    pub fn unattempted_before(
        &mut self,
        id: SubscriptionId,
        before: EventId,
        limit: usize,
    ) -> Result<Vec<EventId>, StorageError> {
        let last = (id.0, UNATTEMPTED_DUE_MS, before.0);
        let rows = self.0.table()?.range::<OutboxKey>((Bound::Excluded(history_key(id)), Bound::Excluded(last)))?;
        rows.take(limit).map(|row| Ok(EventId(row?.0.value().2))).collect()
    }

    /// A subscription's retries that were due before that time, earliest first, and no more than so many.
    pub fn retries_before(
        &mut self,
        id: SubscriptionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>, StorageError> {
        let end = (id.0, before.as_ms(), NONE);
        let rows = self.0.table()?.range::<OutboxKey>((id.0, UNATTEMPTED_DUE_MS + 1, NONE)..end)?;
        let retry = |(_, due_ms, event)| (Timestamp::from_ms(due_ms), EventId(event));
        rows.take(limit).map(|row| Ok(retry(row?.0.value()))).collect()
    }

    /// Adds a delivery of a new event, due now.
    pub fn put_unattempted(&mut self, id: DeliveryId, of: Option<OrderKey>) -> Result<(), StorageError> {
        let key = unattempted_key(id);
        self.0.put(key, tables::seal::<OutboxKey>(key, OutboxRow::of(of).encode()?));
        Ok(())
    }

    /// Removes a delivery that was never attempted. Returns its row, if it was there.
    pub fn take_unattempted(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>, StorageError> {
        self.take(unattempted_key(id))
    }

    /// Adds a retry with that due time. Returns whether it was not there.
    pub fn put_retry(&mut self, id: DeliveryId, due: Timestamp, row: OutboxRow) -> Result<bool, StorageError> {
        self.insert(retry_key(id, due), row)
    }

    /// Removes the retry with that due time. Returns its row, if it was there.
    pub fn take_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<Option<OutboxRow>, StorageError> {
        self.take(retry_key(id, due))
    }

    /// Removes a delivery's retries whatever their due times, and returns their rows. Reads all retries of the subscription.
    pub fn take_retry_at_any_time(&mut self, id: DeliveryId) -> Result<Vec<OutboxRow>, StorageError> {
        let mut taken = Vec::new();
        self.0.table()?.retain_in(retries_range(id.subscription), |key, row| {
            let stays = key.2 != id.event.0;
            if !stays {
                taken.push(outbox_row(key, row));
            }
            stays
        })?;
        Ok(taken)
    }

    /// Adds a delivery that waits for one before it. Returns whether it was not there.
    pub fn put_waiting(&mut self, id: DeliveryId, row: OutboxRow) -> Result<bool, StorageError> {
        self.insert(waiting_key(id), row)
    }

    /// Removes a delivery that waits for one before it. Returns its row, if it was there.
    pub fn take_waiting(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>, StorageError> {
        self.take(waiting_key(id))
    }

    /// The row of a delivery that waits for one before it, or in a batch.
    pub fn waiting_row(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>, StorageError> {
        let key = waiting_key(id);
        Ok(self.0.table()?.get(key)?.map(|row| outbox_row(key, row.value())))
    }

    /// Up to so many of a subscription's deliveries that wait for one before them, of events from that range, oldest first.
    pub fn waiting(
        &mut self,
        id: SubscriptionId,
        (after, before): (EventId, EventId),
        limit: usize,
    ) -> Result<Vec<(EventId, OutboxRow)>, StorageError> {
        let key = |event: EventId| (id.0, WAITING_DUE_MS, event.0);
        let rows = self.0.table()?.range((Bound::Excluded(key(after)), Bound::Excluded(key(before))))?;
        let read = |row: Result<_, redb::StorageError>| {
            let (key, row): (redb::AccessGuard<'_, OutboxKey>, redb::AccessGuard<'_, &'static [u8]>) = row?;
            Ok((EventId(key.value().2), outbox_row(key.value(), row.value())))
        };
        rows.take(limit).map(read).collect()
    }

    fn insert(&mut self, key: OutboxKey, row: OutboxRow) -> Result<bool, StorageError> {
        Ok(self.0.table()?.insert(key, tables::seal::<OutboxKey>(key, row.encode()?).as_slice())?.is_none())
    }

    fn take(&mut self, key: OutboxKey) -> Result<Option<OutboxRow>, StorageError> {
        Ok(self.0.table()?.remove(key)?.map(|row| outbox_row(key, row.value())))
    }

    /// Up to so many deliveries of a subscription that were never attempted, of events after that one, oldest first.
    pub fn unattempted_after(
        &mut self,
        id: SubscriptionId,
        after: EventId,
        limit: usize,
    ) -> Result<Vec<EventId>, StorageError> {
        let after = (id.0, UNATTEMPTED_DUE_MS, after.0);
        let last = (id.0, UNATTEMPTED_DUE_MS, u128::MAX);
        let rows = self.0.table()?.range::<OutboxKey>((Bound::Excluded(after), Bound::Included(last)))?;
        rows.take(limit).map(|row| Ok(EventId(row?.0.value().2))).collect()
    }

    /// Up to so many retries of a subscription after that one, earliest due first.
    pub fn retries_after(
        &mut self,
        id: SubscriptionId,
        (due, event): (Timestamp, EventId),
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>, StorageError> {
        let after = (id.0, due.as_ms(), event.0);
        let rows = self.0.table()?.range((Bound::Excluded(after), Bound::Included(*retries_range(id).end())))?;
        let retry = |(_, due_ms, event): OutboxKey| (Timestamp::from_ms(due_ms), EventId(event));
        rows.take(limit).map(|row| Ok(retry(row?.0.value()))).collect()
    }

    /// Stores a subscription's endpoint health and last attempts.
    pub fn put_history(&mut self, id: SubscriptionId, history: &History) -> Result<(), StorageError> {
        let key = history_key(id);
        self.0.table()?.insert(key, tables::seal::<OutboxKey>(key, history_record::encode(history)?).as_slice())?;
        Ok(())
    }

    /// Removes up to `limit` rows of a subscription, of any kind. Returns how many, and the events of pending deliveries.
    pub fn remove_some(&mut self, id: SubscriptionId, limit: usize) -> Result<(usize, Vec<EventId>), StorageError> {
        let all = (id.0, UNATTEMPTED_DUE_MS, NONE)..=(id.0, u64::MAX, u128::MAX);
        let (mut removed, mut events) = (0, Vec::new());
        for row in self.0.table()?.extract_from_if(all, |_, _| true)?.take(limit) {
            let (key, value) = row?;
            match entry(key.value(), value.value()) {
                OutboxEntry::History(..) | OutboxEntry::Batch(..) => {}
                OutboxEntry::Unattempted(id, _) | OutboxEntry::Retry(id, ..) | OutboxEntry::Waiting(id, _) => {
                    events.push(id.event);
                }
            }
            removed += 1;
        }
        Ok((removed, events))
    }
}
