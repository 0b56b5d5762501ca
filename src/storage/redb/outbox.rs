//! The outbox: pending deliveries and each subscription's history in one table, so that all that an attempt changes
//! lies on one page. Owns the key order, which nothing else knows. Belongs to the thread of its transaction.
//!
//! A key is (subscription, due time in ms, event). A due time of 0 means that the delivery was never attempted, and an
//! event of 0 that the row is the history. A subscription's rows are therefore: its history, its unattempted deliveries
//! by event, its retries by due time, and, under the last due time of all, the deliveries that wait for one before them, by
//! event. The value says what a delivery waits behind, and is empty without order.

pub mod batches;
pub mod orders;
pub mod writer;

use std::ops::{Bound, RangeBounds, RangeInclusive};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use crate::domain::delivery::history::History;
use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::{Pending, Retry};
use crate::storage::error::StorageError;
use crate::storage::redb::tables::{self, OutboxKey};
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rows::{digest, history_record};

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
    /// A delivery that waits for one before it, or in a batch.
    Waiting(DeliveryId, Result<OutboxRow, StorageError>),
    /// A batch, and whether its row is as it was stored.
    Batch(DeliveryId, Result<(), StorageError>),
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
        let rows = self.0.range(key(*events.start())..=key(*events.end()))?;
        let read =
            |row: Result<(redb::AccessGuard<'_, OutboxKey>, redb::AccessGuard<'_, Bytes>), redb::StorageError>| {
                let (key, row) = row?;
                Ok((!outbox_row(key.value(), row.value()).is_batch()).then_some(EventId(key.value().2)))
            };
        Ok(rows.filter_map(move |row| read(row).transpose()))
    }

    /// The row of a delivery that waits for one before it, or in a batch.
    pub fn waiting(&self, id: DeliveryId) -> Result<Option<OutboxRow>, StorageError> {
        let key = waiting_key(id);
        Ok(self.0.get(key)?.map(|row| outbox_row(key, row.value())))
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
                OutboxEntry::Batch(_, checked) => checked,
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

fn history(id: SubscriptionId, row: &[u8]) -> Result<History, StorageError> {
    let name = digest::named("history of subscription", id);
    history_record::decode(tables::open::<OutboxKey>(history_key(id), row, name)?)
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
    let row = outbox_row(key, value);
    Retry { due: Timestamp::from_ms(key.1), event: EventId(key.2), key: row.key, is_batch: row.is_batch() }
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
    if (due_ms, event) == (UNATTEMPTED_DUE_MS, NONE) {
        return OutboxEntry::History(subscription, history(subscription, value));
    }
    match (due_ms, open_row(key, value, "pending delivery")) {
        (_, Ok(row)) if row.is_batch() => OutboxEntry::Batch(id, Ok(())),
        (UNATTEMPTED_DUE_MS, row) => OutboxEntry::Unattempted(id, row.map(drop)),
        (WAITING_DUE_MS, row) => OutboxEntry::Waiting(id, row),
        (due_ms, row) => OutboxEntry::Retry(id, Timestamp::from_ms(due_ms), row.map(drop)),
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
