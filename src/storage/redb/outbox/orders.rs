//! Which delivery of an order key is the first one, and which wait behind it. Belongs to the writer's transaction.
//!
//! A key is (subscription, order key, event); what waits has an empty row. The row with event 0 holds the event of the first
//! one, which is not among them. What waits has a row in the outbox as well. In place of an order key, 0 stands for what is
//! gathered for the next batch.

use std::ops::Bound;

use redb::{ReadableTable, Table, WriteTransaction};

use crate::domain::options::order::OrderKey;
use crate::domain::{DeliveryId, EventId, SubscriptionId};
use crate::storage::error::StorageError;
use crate::storage::redb::tables::{self, OutboxKey};
use crate::storage::rows::codec;

const VERSION: u8 = 1;
/// The event of the row that names the first one.
pub const FIRST: u128 = 0;

/// The order keys of a transaction.
pub struct OrderWriter<'txn>(Table<'txn, OutboxKey, &'static [u8]>);

/// In place of an order key: what is gathered for the next batch.
pub const GATHERED: u64 = 0;

fn key(id: SubscriptionId, key: OrderKey, event: u128) -> OutboxKey {
    (id.0, key.0.get(), event)
}

/// Reads the first one of an order key.
pub fn decode_first(at: OutboxKey, row: &[u8]) -> Result<EventId, StorageError> {
    let name = || format!("the first of order {:x} of subscription {}", at.1, at.0);
    codec::decode(VERSION, tables::open::<OutboxKey>(at, row, name)?).map(EventId)
}

impl<'txn> OrderWriter<'txn> {
    /// Opens the order keys of a transaction.
    pub fn open(transaction: &'txn WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self(transaction.open_table(tables::ORDERS)?))
    }

    /// The first one of a key. A row that is damaged names none: the next one starts, rather than none ever again.
    pub fn first(&self, id: SubscriptionId, of: OrderKey) -> Result<Option<EventId>, StorageError> {
        let at = key(id, of, FIRST);
        let Some(row) = self.0.get(at)? else { return Ok(None) };
        Ok(decode_first(at, row.value()).inspect_err(|error| log::error!("{error}")).ok())
    }

    /// Stores which is the first one.
    pub fn put_first(&mut self, id: SubscriptionId, of: OrderKey, first: Option<EventId>) -> Result<(), StorageError> {
        let at = key(id, of, FIRST);
        match first {
            Some(event) => {
                let row = tables::seal::<OutboxKey>(at, codec::encode(VERSION, &event.0)?);
                self.0.insert(at, row.as_slice())?;
            }
            None => drop(self.0.remove(at)?),
        }
        Ok(())
    }

    /// The oldest event that waits.
    pub fn next(&self, id: SubscriptionId, of: OrderKey) -> Result<Option<EventId>, StorageError> {
        let waiting = (Bound::Excluded(key(id, of, FIRST)), Bound::Included(key(id, of, u128::MAX)));
        let next = self.0.range::<OutboxKey>(waiting)?.next().transpose()?;
        Ok(next.map(|(at, _)| EventId(at.value().2)))
    }

    /// Notes that a delivery waits.
    pub fn put(&mut self, id: DeliveryId, of: u64) -> Result<(), StorageError> {
        let at = (id.subscription.0, of, id.event.0);
        self.0.insert(at, tables::seal::<OutboxKey>(at, Vec::new()).as_slice())?;
        Ok(())
    }

    /// Notes that it does not wait any more.
    pub fn remove(&mut self, id: DeliveryId, of: u64) -> Result<(), StorageError> {
        self.0.remove((id.subscription.0, of, id.event.0))?;
        Ok(())
    }

    /// Removes up to so many rows of a subscription. Gives how many.
    pub fn remove_some(&mut self, id: SubscriptionId, limit: usize) -> Result<usize, StorageError> {
        let all = (id.0, 0, 0)..=(id.0, u64::MAX, u128::MAX);
        let mut removed = 0;
        for row in self.0.extract_from_if(all, |_, _| true)?.take(limit) {
            row?;
            removed += 1;
        }
        Ok(removed)
    }
}

/// What is gathered for the next batch of a subscription, oldest event first.
pub fn gathered(
    orders: &impl ReadableTable<OutboxKey, &'static [u8]>,
    id: SubscriptionId,
) -> Result<Vec<EventId>, StorageError> {
    let all = (Bound::Excluded((id.0, GATHERED, FIRST)), Bound::Included((id.0, GATHERED, u128::MAX)));
    orders.range::<OutboxKey>(all)?.map(|row| Ok(EventId(row?.0.value().2))).collect()
}
