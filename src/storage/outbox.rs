//! The outbox: what is pending, and beside it the history of each subscription, in one table, so that whatever an
//! attempt changes of them lies on one page. Owns the order of the keys; nothing else knows it. Tables of a
//! transaction; whoever holds that may call.
//!
//! A key is (subscription, due time in ms, event). A due time of 0 says that the delivery was never attempted, and an
//! event of 0 that the row is no delivery but the history. A subscription's rows are therefore: its history, what was
//! never attempted from the oldest event on, what waits for a further attempt from the earliest due time on.

use std::ops::{AddAssign as _, Bound, RangeBounds, RangeInclusive};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, WriteTransaction};

use super::error::StorageError;
use super::record::History;
use super::runs::Runs;
use super::tables::{self, OutboxKey};
use crate::domain::event_type::EventType;
use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};

/// The due time of what was never attempted.
const FRESH: u64 = 0;
/// The event of a history.
const NONE: u128 = 0;

/// How many deliveries are pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Those that were never attempted.
    pub fresh: u64,
    /// Those that wait for a further attempt.
    pub retrying: u64,
}

/// A row, for whoever looks at all of them.
#[derive(Debug)]
pub enum Entry {
    /// Health of the endpoint and the last attempts.
    History(SubscriptionId, Result<History, StorageError>),
    /// A delivery that was never attempted, with the number of its event's type.
    Fresh(DeliveryId, u8),
    /// A delivery that waits until then.
    Retry(DeliveryId, Timestamp),
}

type Bytes = &'static [u8];

/// The outbox at a moment.
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
    /// Health of the endpoint and the last attempts of a subscription.
    pub fn history(&self, id: SubscriptionId) -> Result<Option<History>, StorageError> {
        self.0.get(history_key(id))?.map(|row| History::decode(row.value())).transpose()
    }

    /// The number of the event's type, if the delivery was never attempted.
    pub fn fresh(&self, id: DeliveryId) -> Result<Option<u8>, StorageError> {
        fresh(&self.0, id)
    }

    /// What was never attempted of a subscription, oldest event first, with the numbers of the types.
    pub fn fresh_of(
        &self,
        id: SubscriptionId,
        events: impl RangeBounds<EventId>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<(EventId, u8), StorageError>>, StorageError> {
        let key = |event: EventId| (id.0, FRESH, event.0.max(NONE + 1));
        let first = match events.start_bound() {
            Bound::Unbounded => Bound::Excluded(history_key(id)),
            bound => bound.map(|event| key(*event)),
        };
        let last = match events.end_bound() {
            Bound::Unbounded => Bound::Included(key(EventId(u128::MAX))),
            bound => bound.map(|event| key(*event)),
        };
        Ok(self.0.range::<OutboxKey>((first, last))?.map(|row| {
            let (key, value) = row?;
            Ok((EventId(key.value().2), type_number(value.value())))
        }))
    }

    /// What waits for a further attempt of a subscription, earliest due first.
    pub fn retries_of(
        &self,
        id: SubscriptionId,
    ) -> Result<impl Iterator<Item = Result<(Timestamp, EventId), StorageError>>, StorageError> {
        Ok(self.0.range(retries_range(id))?.map(|row| {
            let (_, due_ms, event) = row?.0.value();
            Ok((Timestamp::from_ms(due_ms), EventId(event)))
        }))
    }

    /// Does the delivery wait until then?
    pub fn has_retry(&self, id: DeliveryId, due: Timestamp) -> Result<bool, StorageError> {
        Ok(self.0.get(retry_key(id, due))?.is_some())
    }

    /// Every row.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<Entry, StorageError>>, StorageError> {
        Ok(self.0.iter()?.map(|row| {
            let (key, value) = row?;
            Ok(entry(key.value(), value.value()))
        }))
    }

    /// How many deliveries are pending. Reads the rows of those that wait for a further attempt.
    pub fn count(&self) -> Result<Pending, StorageError> {
        let (mut histories, mut retrying) = (0, 0);
        let mut from = 0;
        while let Some(row) = self.0.range((from, FRESH, NONE)..)?.next() {
            let id = SubscriptionId(row?.0.value().0);
            histories += u64::from(self.0.get(history_key(id))?.is_some());
            for row in self.retries_of(id)? {
                row?;
                retrying += 1;
            }
            let Some(next) = id.0.checked_add(1) else { break };
            from = next;
        }
        Ok(Pending { fresh: self.0.len()?.saturating_sub(histories + retrying), retrying })
    }
}

/// The outbox that the writer changes; it counts what is pending along.
pub struct OutboxWriter<'txn> {
    rows: Runs<'txn, OutboxKey>,
    pending: Pending,
}

impl<'txn> OutboxWriter<'txn> {
    /// The outbox of a transaction, with so much in it so far.
    pub fn open(transaction: &'txn WriteTransaction, pending: Pending) -> Result<Self, StorageError> {
        Ok(Self { rows: Runs::new(transaction.open_table(tables::OUTBOX)?), pending })
    }

    /// Writes what is left to write, and gives how much is pending now.
    pub fn finish(&mut self) -> Result<Pending, StorageError> {
        self.rows.table()?;
        Ok(self.pending)
    }

    /// The number of the event's type, if the delivery was never attempted.
    pub fn fresh(&mut self, id: DeliveryId) -> Result<Option<u8>, StorageError> {
        fresh(self.rows.table()?, id)
    }

    /// Puts in a delivery of a new event, which is due and was never attempted.
    pub fn put_fresh(&mut self, id: DeliveryId, event_type: EventType) {
        self.rows.put(fresh_key(id), vec![event_type.number()]);
        self.pending.fresh += 1;
    }

    /// Takes out a delivery that was never attempted, and gives the number of its event's type.
    pub fn take_fresh(&mut self, id: DeliveryId) -> Result<Option<u8>, StorageError> {
        let taken = self.rows.table()?.remove(fresh_key(id))?.map(|row| type_number(row.value()));
        self.pending.fresh = self.pending.fresh.saturating_sub(u64::from(taken.is_some()));
        Ok(taken)
    }

    /// Puts in a delivery that waits until then.
    pub fn put_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<(), StorageError> {
        let replaced = self.rows.table()?.insert(retry_key(id, due), [].as_slice())?;
        self.pending.retrying.add_assign(u64::from(replaced.is_none()));
        Ok(())
    }

    /// Takes out a delivery that waits until then.
    pub fn take_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<(), StorageError> {
        let taken = self.rows.table()?.remove(retry_key(id, due))?.is_some();
        self.pending.retrying = self.pending.retrying.saturating_sub(u64::from(taken));
        Ok(())
    }

    /// Takes out a delivery that waits, whenever it is due. Reads all that wait for the subscription.
    pub fn take_retry_at_any_time(&mut self, id: DeliveryId) -> Result<(), StorageError> {
        let mut taken = 0;
        self.rows.table()?.retain_in(retries_range(id.subscription), |(_, _, event), _| {
            let stays = event != id.event.0;
            taken += u64::from(!stays);
            stays
        })?;
        self.pending.retrying = self.pending.retrying.saturating_sub(taken);
        Ok(())
    }

    /// Puts in health of the endpoint and the last attempts of a subscription.
    pub fn put_history(&mut self, id: SubscriptionId, history: &History) -> Result<(), StorageError> {
        self.rows.table()?.insert(history_key(id), history.encode()?.as_slice())?;
        Ok(())
    }

    /// Takes out up to `limit` rows of a subscription, of whatever kind, and gives how many there were.
    pub fn remove_some(&mut self, id: SubscriptionId, limit: usize) -> Result<usize, StorageError> {
        let all = (id.0, FRESH, NONE)..=(id.0, u64::MAX, u128::MAX);
        let mut removed = 0;
        for row in self.rows.table()?.extract_from_if(all, |_, _| true)?.take(limit) {
            let (key, value) = row?;
            match entry(key.value(), value.value()) {
                Entry::History(..) => {}
                Entry::Fresh(..) => self.pending.fresh = self.pending.fresh.saturating_sub(1),
                Entry::Retry(..) => self.pending.retrying = self.pending.retrying.saturating_sub(1),
            }
            removed += 1;
        }
        Ok(removed)
    }
}

fn fresh(rows: &impl ReadableTable<OutboxKey, Bytes>, id: DeliveryId) -> Result<Option<u8>, StorageError> {
    Ok(rows.get(fresh_key(id))?.map(|row| type_number(row.value())))
}

fn entry((subscription, due_ms, event): OutboxKey, value: &[u8]) -> Entry {
    let subscription = SubscriptionId(subscription);
    let id = DeliveryId { event: EventId(event), subscription };
    match (due_ms, event) {
        (FRESH, NONE) => Entry::History(subscription, History::decode(value)),
        (FRESH, _) => Entry::Fresh(id, type_number(value)),
        (due_ms, _) => Entry::Retry(id, Timestamp::from_ms(due_ms)),
    }
}

fn history_key(id: SubscriptionId) -> OutboxKey {
    (id.0, FRESH, NONE)
}

fn fresh_key(id: DeliveryId) -> OutboxKey {
    (id.subscription.0, FRESH, id.event.0)
}

fn retry_key(id: DeliveryId, due: Timestamp) -> OutboxKey {
    (id.subscription.0, due.as_ms().max(FRESH + 1), id.event.0)
}

fn retries_range(id: SubscriptionId) -> RangeInclusive<OutboxKey> {
    (id.0, FRESH + 1, NONE)..=(id.0, u64::MAX, u128::MAX)
}

/// A damaged row has a number that no type has.
fn type_number(value: &[u8]) -> u8 {
    match value {
        [number] => *number,
        _ => u8::MAX,
    }
}
