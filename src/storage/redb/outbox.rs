//! The outbox: pending deliveries and each subscription's history in one table, so that all that an attempt changes
//! lies on one page. Owns the key order, which nothing else knows. Belongs to the thread of its transaction.
//!
//! A key is (subscription, due time in ms, event). A due time of 0 means that the delivery was never attempted, and an
//! event of 0 that the row is the history. A subscription's rows are therefore: its history, its unattempted deliveries
//! by event, and its retries by due time. A pending delivery is its key; the value is the digest of that.

use std::ops::{Bound, RangeBounds, RangeInclusive};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, WriteTransaction};

use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::Pending;
use crate::storage::error::StorageError;
use crate::storage::redb::bulk_insert::BulkInsert;
use crate::storage::redb::tables::{self, OutboxKey};
use crate::storage::rows::digest;
use crate::storage::rows::record::History;

/// The due time of deliveries that were never attempted.
const UNATTEMPTED_DUE_MS: u64 = 0;
/// The event of a history.
const NONE: u128 = 0;

/// Any row of the outbox.
#[derive(Debug)]
pub enum OutboxEntry {
    /// Endpoint health and last attempts.
    History(SubscriptionId, Result<History, StorageError>),
    /// A delivery that was never attempted, and whether its row is as it was stored.
    Unattempted(DeliveryId, Result<(), StorageError>),
    /// A retry and its due time.
    Retry(DeliveryId, Timestamp, Result<(), StorageError>),
}

type Bytes = &'static [u8];

/// The outbox of a snapshot.
pub type OutboxAt = Outbox<ReadOnlyTable<OutboxKey, Bytes>>;

/// The outbox of some transaction.
pub struct Outbox<T>(T);

impl OutboxAt {
    /// The outbox as that transaction sees it.
    pub fn of(transaction: &ReadTransaction) -> Result<Self, StorageError> {
        Ok(Self(transaction.open_table(tables::OUTBOX)?))
    }
}

impl<T: ReadableTable<OutboxKey, Bytes>> Outbox<T> {
    /// A subscription's endpoint health and last attempts.
    pub fn history(&self, id: SubscriptionId) -> Result<Option<History>, StorageError> {
        self.0.get(history_key(id))?.map(|row| history(id, row.value())).transpose()
    }

    /// Whether the delivery is there and was never attempted.
    pub fn is_unattempted(&self, id: DeliveryId) -> Result<bool, StorageError> {
        Ok(self.0.get(unattempted_key(id))?.is_some())
    }

    /// A subscription's unattempted deliveries, oldest event first.
    pub fn unattempted_of(
        &self,
        id: SubscriptionId,
        events: impl RangeBounds<EventId>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<EventId, StorageError>>, StorageError> {
        let key = |event: EventId| (id.0, UNATTEMPTED_DUE_MS, event.0.max(NONE + 1));
        let first = match events.start_bound() {
            Bound::Unbounded => Bound::Excluded(history_key(id)),
            bound => bound.map(|event| key(*event)),
        };
        let last = match events.end_bound() {
            Bound::Unbounded => Bound::Included(key(EventId(u128::MAX))),
            bound => bound.map(|event| key(*event)),
        };
        Ok(self.0.range::<OutboxKey>((first, last))?.map(|row| Ok(EventId(row?.0.value().2))))
    }

    /// A subscription's retries, earliest due first.
    pub fn retries_of(
        &self,
        id: SubscriptionId,
    ) -> Result<impl Iterator<Item = Result<(Timestamp, EventId), StorageError>>, StorageError> {
        Ok(self.0.range(retries_range(id))?.map(|row| {
            let (_, due_ms, event) = row?.0.value();
            Ok((Timestamp::from_ms(due_ms), EventId(event)))
        }))
    }

    /// Whether the delivery has a retry at that due time.
    pub fn has_retry(&self, id: DeliveryId, due: Timestamp) -> Result<bool, StorageError> {
        Ok(self.0.get(retry_key(id, due))?.is_some())
    }

    /// Every row.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<OutboxEntry, StorageError>>, StorageError> {
        Ok(self.0.iter()?.map(|row| {
            let (key, value) = row?;
            Ok(entry(key.value(), value.value()))
        }))
    }

    /// Number of pending deliveries. Reads every row; a damaged one is logged, and still counts: its key says all.
    pub fn count(&self) -> Result<Pending, StorageError> {
        let mut pending = Pending::default();
        for entry in self.entries()? {
            let checked = match entry? {
                OutboxEntry::History(_, history) => history.map(drop),
                OutboxEntry::Unattempted(_, checked) => {
                    pending.unattempted += 1;
                    checked
                }
                OutboxEntry::Retry(_, _, checked) => {
                    pending.retrying += 1;
                    checked
                }
            };
            if let Err(error) = checked {
                log::error!("{error}");
            }
        }
        Ok(pending)
    }
}

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
    pub fn put_unattempted(&mut self, id: DeliveryId) {
        let key = unattempted_key(id);
        self.0.put(key, tables::seal::<OutboxKey>(key, Vec::new()));
    }

    /// Removes a delivery that was never attempted. Returns whether it was there.
    pub fn take_unattempted(&mut self, id: DeliveryId) -> Result<bool, StorageError> {
        Ok(self.0.table()?.remove(unattempted_key(id))?.is_some())
    }

    /// Adds a retry with that due time. Returns whether it was not there.
    pub fn put_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<bool, StorageError> {
        let key = retry_key(id, due);
        Ok(self.0.table()?.insert(key, tables::seal::<OutboxKey>(key, Vec::new()).as_slice())?.is_none())
    }

    /// Removes the retry with that due time. Returns whether it was there.
    pub fn take_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<bool, StorageError> {
        Ok(self.0.table()?.remove(retry_key(id, due))?.is_some())
    }

    /// Removes a delivery's retries whatever their due times, and returns how many. Reads all retries of the subscription.
    pub fn take_retry_at_any_time(&mut self, id: DeliveryId) -> Result<u64, StorageError> {
        let mut taken = 0;
        self.0.table()?.retain_in(retries_range(id.subscription), |(_, _, event), _| {
            let stays = event != id.event.0;
            taken += u64::from(!stays);
            stays
        })?;
        Ok(taken)
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
        self.0.table()?.insert(key, tables::seal::<OutboxKey>(key, history.encode()?).as_slice())?;
        Ok(())
    }

    /// Removes up to `limit` rows of a subscription, of any kind. Returns how many, and the pending deliveries of them.
    pub fn remove_some(
        &mut self,
        id: SubscriptionId,
        limit: usize,
    ) -> Result<(usize, Pending, Vec<EventId>), StorageError> {
        let all = (id.0, UNATTEMPTED_DUE_MS, NONE)..=(id.0, u64::MAX, u128::MAX);
        let (mut removed, mut pending, mut events) = (0, Pending::default(), Vec::new());
        for row in self.0.table()?.extract_from_if(all, |_, _| true)?.take(limit) {
            let (key, value) = row?;
            match entry(key.value(), value.value()) {
                OutboxEntry::History(..) => {}
                OutboxEntry::Unattempted(id, _) => {
                    pending.unattempted += 1;
                    events.push(id.event);
                }
                OutboxEntry::Retry(id, ..) => {
                    pending.retrying += 1;
                    events.push(id.event);
                }
            }
            removed += 1;
        }
        Ok((removed, pending, events))
    }
}

fn history(id: SubscriptionId, row: &[u8]) -> Result<History, StorageError> {
    let name = digest::named("history of subscription", id);
    History::decode(tables::open::<OutboxKey>(history_key(id), row, name)?)
}

fn entry(key: OutboxKey, value: &[u8]) -> OutboxEntry {
    let (subscription, due_ms, event) = key;
    let subscription = SubscriptionId(subscription);
    let id = DeliveryId { event: EventId(event), subscription };
    let checked = |what| tables::open::<OutboxKey>(key, value, digest::named(what, id)).map(drop);
    match (due_ms, event) {
        (UNATTEMPTED_DUE_MS, NONE) => OutboxEntry::History(subscription, history(subscription, value)),
        (UNATTEMPTED_DUE_MS, _) => OutboxEntry::Unattempted(id, checked("pending delivery")),
        (due_ms, _) => OutboxEntry::Retry(id, Timestamp::from_ms(due_ms), checked("retry of delivery")),
    }
}

fn history_key(id: SubscriptionId) -> OutboxKey {
    (id.0, UNATTEMPTED_DUE_MS, NONE)
}

fn unattempted_key(id: DeliveryId) -> OutboxKey {
    (id.subscription.0, UNATTEMPTED_DUE_MS, id.event.0)
}

fn retry_key(id: DeliveryId, due: Timestamp) -> OutboxKey {
    (id.subscription.0, due.as_ms().max(UNATTEMPTED_DUE_MS + 1), id.event.0)
}

fn retries_range(id: SubscriptionId) -> RangeInclusive<OutboxKey> {
    (id.0, UNATTEMPTED_DUE_MS + 1, NONE)..=(id.0, u64::MAX, u128::MAX)
}
