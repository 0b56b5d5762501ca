//! The outbox: pending deliveries and each subscription's history in one table, so that all that an attempt changes
//! lies on one page. Owns the key order, which nothing else knows. Belongs to the thread of its transaction.
//!
//! A key is (subscription, due time in ms, event). A due time of 0 means that the delivery was never attempted, and an
//! event of 0 that the row is the history. A subscription's rows are therefore: its history, its unattempted deliveries
//! by event, its retries by due time, and, under the last due time of all, the deliveries that wait for one before them, by
//! event. The value says what a delivery waits behind, and is empty without order.

use std::ops::{Bound, RangeBounds, RangeInclusive};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, WriteTransaction};

use crate::domain::options::order::OrderKey;
use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::{Pending, Retry};
use crate::storage::error::StorageError;
use crate::storage::redb::bulk_insert::BulkInsert;
use crate::storage::redb::tables::{self, OutboxKey};
use crate::storage::rows::digest;
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rows::record::History;

/// The due time of deliveries that were never attempted.
const UNATTEMPTED_DUE_MS: u64 = 0;
/// The due time of deliveries that wait for one before them.
const WAITING_DUE_MS: u64 = u64::MAX;
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
    /// A delivery that waits for one before it.
    Waiting(DeliveryId, Result<OutboxRow, StorageError>),
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
        Ok(self.unattempted_rows(id, events)?.map(|row| Ok(row?.0)))
    }

    /// The same with their rows.
    pub fn unattempted_rows(
        &self,
        id: SubscriptionId,
        events: impl RangeBounds<EventId>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<(EventId, OutboxRow), StorageError>>, StorageError> {
        let key = |event: EventId| (id.0, UNATTEMPTED_DUE_MS, event.0.max(NONE + 1));
        let first = match events.start_bound() {
            Bound::Unbounded => Bound::Excluded(history_key(id)),
            bound => bound.map(|event| key(*event)),
        };
        let last = match events.end_bound() {
            Bound::Unbounded => Bound::Included(key(EventId(u128::MAX))),
            bound => bound.map(|event| key(*event)),
        };
        Ok(self.0.range::<OutboxKey>((first, last))?.map(|row| {
            let (key, row) = row?;
            Ok((EventId(key.value().2), outbox_row(key.value(), row.value())))
        }))
    }

    /// A subscription's retries, earliest due first.
    pub fn retries_of(
        &self,
        id: SubscriptionId,
    ) -> Result<impl Iterator<Item = Result<Retry, StorageError>>, StorageError> {
        Ok(self.0.range(retries_range(id))?.map(|row| {
            let (key, row) = row?;
            Ok(retry(key.value(), row.value()))
        }))
    }

    /// A subscription's deliveries that wait for one before them, oldest event first.
    pub fn waiting_of(
        &self,
        id: SubscriptionId,
        events: RangeInclusive<EventId>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<EventId, StorageError>>, StorageError> {
        let key = |event: EventId| (id.0, WAITING_DUE_MS, event.0);
        Ok(self.0.range(key(*events.start())..=key(*events.end()))?.map(|row| Ok(EventId(row?.0.value().2))))
    }

    /// Whether the delivery waits for one before it.
    pub fn is_waiting(&self, id: DeliveryId) -> Result<bool, StorageError> {
        Ok(self.0.get(waiting_key(id))?.is_some())
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
                OutboxEntry::Waiting(_, row) => {
                    count_waiting(&mut pending, row.as_ref().copied().unwrap_or_default());
                    row.map(drop)
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
    pub fn put_retry(&mut self, id: DeliveryId, due: Timestamp, of: Option<OrderKey>) -> Result<bool, StorageError> {
        self.insert(retry_key(id, due), OutboxRow::of(of))
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

    /// Whether the delivery waits for one before it.
    pub fn is_waiting(&mut self, id: DeliveryId) -> Result<bool, StorageError> {
        Ok(self.0.table()?.get(waiting_key(id))?.is_some())
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
                OutboxEntry::Waiting(id, row) => {
                    count_waiting(&mut pending, row.unwrap_or_default());
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

/// What stands in a row. One that is damaged says nothing, and its delivery goes on without order.
fn outbox_row(key: OutboxKey, value: &[u8]) -> OutboxRow {
    open_row(key, value, "pending delivery").unwrap_or_else(|error| {
        log::error!("{error}");
        OutboxRow::default()
    })
}

fn open_row(key: OutboxKey, value: &[u8], what: &'static str) -> Result<OutboxRow, StorageError> {
    let id = DeliveryId { event: EventId(key.2), subscription: SubscriptionId(key.0) };
    OutboxRow::decode(tables::open::<OutboxKey>(key, value, digest::named(what, id))?)
}

fn retry(key: OutboxKey, value: &[u8]) -> Retry {
    Retry { due: Timestamp::from_ms(key.1), event: EventId(key.2), key: outbox_row(key, value).key }
}

fn count_waiting(pending: &mut Pending, row: OutboxRow) {
    if row.has_outcome {
        pending.retrying += 1;
    } else {
        pending.unattempted += 1;
    }
}

fn entry(key: OutboxKey, value: &[u8]) -> OutboxEntry {
    let (subscription, due_ms, event) = key;
    let subscription = SubscriptionId(subscription);
    let id = DeliveryId { event: EventId(event), subscription };
    let checked = |what| open_row(key, value, what).map(drop);
    match (due_ms, event) {
        (UNATTEMPTED_DUE_MS, NONE) => OutboxEntry::History(subscription, history(subscription, value)),
        (UNATTEMPTED_DUE_MS, _) => OutboxEntry::Unattempted(id, checked("pending delivery")),
        (WAITING_DUE_MS, _) => OutboxEntry::Waiting(id, open_row(key, value, "waiting delivery")),
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
    (id.subscription.0, due.as_ms().clamp(UNATTEMPTED_DUE_MS + 1, WAITING_DUE_MS - 1), id.event.0)
}

fn waiting_key(id: DeliveryId) -> OutboxKey {
    (id.subscription.0, WAITING_DUE_MS, id.event.0)
}

fn retries_range(id: SubscriptionId) -> RangeInclusive<OutboxKey> {
    (id.0, UNATTEMPTED_DUE_MS + 1, NONE)..=(id.0, WAITING_DUE_MS - 1, u128::MAX)
}
