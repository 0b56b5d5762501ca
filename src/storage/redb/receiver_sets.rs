//! The sets of subscriptions that events go to. Equal lists are stored once and found by their digest; one that no event
//! goes to any more is removed. Belongs to the thread of its transaction.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, Table, WriteTransaction};

use crate::domain::SubscriptionId;
use crate::domain::event::content;
use crate::storage::error::StorageError;
use crate::storage::redb::tables;
use crate::storage::rows::{codec, digest, record};

type Bytes = &'static [u8];

/// The number of the set without a member, which has no row.
pub const EMPTY: u32 = 0;

const VERSION: u8 = 1;

fn members(table: &impl ReadableTable<u32, Bytes>, number: u32) -> Result<Arc<[SubscriptionId]>, StorageError> {
    if number == EMPTY {
        return Ok(Arc::default());
    }
    let name = digest::named("receiver set", number);
    match table.get(number)? {
        Some(row) => decode(number, row.value()),
        None => Err(StorageError::Codec(format!("{} is not in the store", name()))),
    }
}

/// Reads the stored form.
pub fn decode(number: u32, row: &[u8]) -> Result<Arc<[SubscriptionId]>, StorageError> {
    let members: Vec<u32> =
        codec::decode(VERSION, tables::open::<u32>(number, row, digest::named("receiver set", number))?)?;
    Ok(members.into_iter().map(SubscriptionId).collect())
}

/// Reads how many events go to a set.
pub fn decode_uses(number: u32, row: &[u8]) -> Result<u64, StorageError> {
    codec::decode(VERSION, tables::open::<u32>(number, row, digest::named("uses of receiver set", number))?)
}

/// Reads the number of the set with that digest.
pub fn decode_number(found_by: u128, row: &[u8]) -> Result<u32, StorageError> {
    let name = || format!("the number of the receiver set with digest {found_by:x}");
    codec::decode(VERSION, tables::open::<u128>(found_by, row, name)?)
}

/// The sets of a snapshot. Remembers the last one, as successive events mostly go to the same.
pub struct ReceiverSets {
    table: ReadOnlyTable<u32, Bytes>,
    last: RefCell<(u32, Arc<[SubscriptionId]>)>,
}

impl ReceiverSets {
    /// The sets as that transaction sees them.
    pub fn of(rows: &ReadTransaction) -> Result<Self, StorageError> {
        Ok(Self { table: rows.open_table(tables::RECEIVER_SETS)?, last: RefCell::new((EMPTY, Arc::default())) })
    }

    /// The members of a set, by number.
    pub fn members(&self, number: u32) -> Result<Arc<[SubscriptionId]>, StorageError> {
        let mut last = self.last.borrow_mut();
        if last.0 != number {
            *last = (number, members(&self.table, number)?);
        }
        Ok(Arc::clone(&last.1))
    }
}

/// The writer's sets.
pub struct SetWriter<'txn> {
    sets: Table<'txn, u32, Bytes>,
    numbers: Table<'txn, u128, Bytes>,
    uses: Table<'txn, u32, Bytes>,
    /// How many events more go to a set, or less.
    changes: BTreeMap<u32, i64>,
    last: Option<(Arc<[SubscriptionId]>, u32)>,
}

impl<'txn> SetWriter<'txn> {
    /// Nothing has changed yet.
    pub fn open(transaction: &'txn WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self {
            sets: transaction.open_table(tables::RECEIVER_SETS)?,
            numbers: transaction.open_table(tables::RECEIVER_SET_NUMBERS)?,
            uses: transaction.open_table(tables::RECEIVER_SET_USES)?,
            changes: BTreeMap::new(),
            last: None,
        })
    }

    /// The number of a set for one more event; stores the set if it is new. The members are sorted.
    pub fn take(&mut self, members: &Arc<[SubscriptionId]>) -> Result<u32, StorageError> {
        debug_assert!(members.is_sorted(), "{members:?}");
        if members.is_empty() {
            return Ok(EMPTY);
        }
        let number = match &self.last {
            Some((last, number)) if last == members => *number,
            _ => self.number(members)?,
        };
        self.last = Some((Arc::clone(members), number));
        *self.changes.entry(number).or_default() += 1;
        Ok(number)
    }

    fn number(&mut self, members: &[SubscriptionId]) -> Result<u32, StorageError> {
        let row: Vec<u32> = members.iter().map(|id| id.0).collect();
        let row = codec::encode(VERSION, &row)?;
        let found_by = u128::from_le_bytes(content::digest(&row));
        if let Some(found) = self.numbers.get(found_by)? {
            // A damaged one is written anew.
            match decode_number(found_by, found.value()) {
                Ok(number) => return Ok(number),
                Err(error) => log::error!("{error}"),
            }
        }
        let last = self.sets.last()?.map_or(EMPTY, |(number, _)| number.value());
        let number = last.checked_add(1).ok_or_else(|| record::damaged("number of receiver sets"))?;
        self.sets.insert(number, tables::seal::<u32>(number, row).as_slice())?;
        self.numbers.insert(found_by, tables::seal::<u128>(found_by, codec::encode(VERSION, &number)?).as_slice())?;
        Ok(number)
    }

    /// An event of that set is removed.
    pub fn release(&mut self, number: u32) {
        if number != EMPTY {
            *self.changes.entry(number).or_default() -= 1;
        }
    }

    /// The members of a set.
    pub fn members(&self, number: u32) -> Result<Arc<[SubscriptionId]>, StorageError> {
        members(&self.sets, number)
    }

    /// Writes how many events go to the sets that were touched, and removes those without any.
    pub fn finish(&mut self) -> Result<(), StorageError> {
        for (number, change) in std::mem::take(&mut self.changes) {
            let before = self.uses.get(number)?.map_or(Ok(0), |row| decode_uses(number, row.value()));
            // With a damaged number the set stays for good.
            let before = before.inspect_err(|error| log::error!("{error}")).unwrap_or(u64::MAX / 2);
            let uses = before.saturating_add_signed(change);
            if uses > 0 {
                self.uses.insert(number, tables::seal::<u32>(number, codec::encode(VERSION, &uses)?).as_slice())?;
                continue;
            }
            self.last = None;
            self.uses.remove(number)?;
            if let Some(row) = self.sets.remove(number)?
                && let Ok(row) = tables::open::<u32>(number, row.value(), digest::named("receiver set", number))
            {
                self.numbers.remove(u128::from_le_bytes(content::digest(row)))?;
            }
        }
        Ok(())
    }
}
