//! Batches that are to be sent, and the deliveries in each. Belongs to the thread of its transaction.
//!
//! A key is (subscription, batch, event), and the row of a member is empty. The row with event 0 is the batch itself. A batch
//! has a row in the outbox as well, and so has each of its members.

use std::ops::Bound;

use redb::{ReadTransaction, ReadableTable, Table, TableHandle as _, WriteTransaction};

use crate::domain::{BatchId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::BatchHead;
use crate::storage::error::StorageError;
use crate::storage::redb::tables::{self, BatchKey};
use crate::storage::rows::codec;

type Bytes = &'static [u8];

const VERSION: u8 = 1;
/// The event of the row that is the batch itself.
pub const HEAD: u128 = 0;

/// Reads the batch itself.
pub fn decode_head(at: BatchKey, row: &[u8]) -> Result<BatchHead, StorageError> {
    let name = || format!("batch {} of subscription {}", BatchId(at.1), at.0);
    let (attempts, due_ms): (u32, u64) = codec::decode(VERSION, tables::open::<BatchKey>(at, row, name)?)?;
    Ok(BatchHead { attempts, due: Timestamp::from_ms(due_ms) })
}

fn head(
    batches: &impl ReadableTable<BatchKey, Bytes>,
    id: SubscriptionId,
    batch: BatchId,
) -> Result<Option<BatchHead>, StorageError> {
    let at = (id.0, batch.0, HEAD);
    batches.get(at)?.map(|row| decode_head(at, row.value())).transpose()
}

fn members(
    batches: &impl ReadableTable<BatchKey, Bytes>,
    id: SubscriptionId,
    batch: BatchId,
) -> Result<impl Iterator<Item = Result<EventId, StorageError>>, StorageError> {
    let all = (Bound::Excluded((id.0, batch.0, HEAD)), Bound::Included((id.0, batch.0, u128::MAX)));
    Ok(batches.range::<BatchKey>(all)?.map(|row| Ok(EventId(row?.0.value().2))))
}

/// A batch with its members, oldest event first, as a snapshot has it.
pub fn read(
    rows: &ReadTransaction,
    id: SubscriptionId,
    batch: BatchId,
) -> Result<Option<(BatchHead, Vec<EventId>)>, StorageError> {
    if !tables::has(rows, tables::BATCHES.name())? {
        return Ok(None);
    }
    let batches = rows.open_table(tables::BATCHES)?;
    let Some(head) = head(&batches, id, batch)? else { return Ok(None) };
    Ok(Some((head, members(&batches, id, batch)?.collect::<Result<_, StorageError>>()?)))
}

/// The batches of a transaction.
pub struct BatchWriter<'txn>(Table<'txn, BatchKey, Bytes>);

impl<'txn> BatchWriter<'txn> {
    /// Opens the batches of a transaction.
    pub fn open(transaction: &'txn WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self(transaction.open_table(tables::BATCHES)?))
    }

    /// The batch itself.
    pub fn head(&self, id: SubscriptionId, batch: BatchId) -> Result<Option<BatchHead>, StorageError> {
        head(&self.0, id, batch)
    }

    /// Stores the batch itself, or removes it.
    pub fn put_head(
        &mut self,
        id: SubscriptionId,
        batch: BatchId,
        head: Option<BatchHead>,
    ) -> Result<(), StorageError> {
        let at = (id.0, batch.0, HEAD);
        match head {
            Some(BatchHead { attempts, due }) => {
                let row = tables::seal::<BatchKey>(at, codec::encode(VERSION, &(attempts, due.as_ms()))?);
                self.0.insert(at, row.as_slice())?;
            }
            None => drop(self.0.remove(at)?),
        }
        Ok(())
    }

    /// Its members, oldest event first.
    pub fn members(&self, id: SubscriptionId, batch: BatchId) -> Result<Vec<EventId>, StorageError> {
        members(&self.0, id, batch)?.collect()
    }

    /// Whether it has a member.
    pub fn has_members(&self, id: SubscriptionId, batch: BatchId) -> Result<bool, StorageError> {
        Ok(members(&self.0, id, batch)?.next().is_some())
    }

    /// Adds a member.
    pub fn put_member(&mut self, id: DeliveryId, batch: BatchId) -> Result<(), StorageError> {
        let at = (id.subscription.0, batch.0, id.event.0);
        self.0.insert(at, tables::seal::<BatchKey>(at, Vec::new()).as_slice())?;
        Ok(())
    }

    /// Removes a member.
    pub fn remove_member(&mut self, id: DeliveryId, batch: BatchId) -> Result<(), StorageError> {
        self.0.remove((id.subscription.0, batch.0, id.event.0))?;
        Ok(())
    }

    /// Removes up to so many rows of a subscription. Gives how many.
    pub fn remove_some(&mut self, id: SubscriptionId, limit: usize) -> Result<usize, StorageError> {
        let all = (id.0, 0, 0)..=(id.0, u128::MAX, u128::MAX);
        let mut removed = 0;
        for row in self.0.extract_from_if(all, |_, _| true)?.take(limit) {
            row?;
            removed += 1;
        }
        Ok(removed)
    }
}
