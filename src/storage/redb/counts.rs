//! The kept counts in their table. Changes are gathered during a transaction and written once at its end. Belongs to the
//! thread of its transaction.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, Table, WriteTransaction};

use crate::domain::{AccountId, EventId, SubscriptionId};
use crate::storage::counts::{Counts, Kind};
use crate::storage::error::StorageError;
use crate::storage::redb::{retained, tables};
use crate::storage::rows::delivery_record;

/// (account, subscription), or 0 for the whole account.
type CountsKey = (u32, u32);

const WHOLE_ACCOUNT: u32 = 0;

fn key(account: AccountId, subscription: Option<SubscriptionId>) -> CountsKey {
    (account.0, subscription.map_or(WHOLE_ACCOUNT, |id| id.0))
}

/// The counts of an account, or of one of its subscriptions.
pub fn read(
    rows: &ReadTransaction,
    account: AccountId,
    subscription: Option<SubscriptionId>,
) -> Result<Counts, StorageError> {
    let mut counts = get(&rows.open_table(tables::COUNTS)?, key(account, subscription))?;
    leave_out_removed(rows, account, subscription, &mut counts)?;
    Ok(counts)
}

/// An event is removed before its outcomes, which are counted until they are gone and listed no more.
fn leave_out_removed(
    rows: &ReadTransaction,
    account: AccountId,
    of: Option<SubscriptionId>,
    counts: &mut Counts,
) -> Result<(), StorageError> {
    let Some(EventId(event)) = retained::front(rows, account)?.removing else { return Ok(()) };
    let subscriptions = rows.open_table(tables::SUBSCRIPTIONS)?;
    let (first, last) = of.map_or((0, u32::MAX), |id| (id.0, id.0));
    for row in rows.open_table(tables::OUTCOMES)?.range((account.0, event, first)..=(account.0, event, last))? {
        let (key, row) = row?;
        // Those of a deleted subscription are not counted.
        if subscriptions.get(key.value().2)?.is_some()
            && let Ok(state) = delivery_record::decode_state(row.value())
        {
            counts.add(Kind::of(state), -1);
        }
    }
    Ok(())
}

/// A count with its account and subscription, if it can be read.
type CountRow = (CountsKey, Result<Counts, StorageError>);

/// Every count.
pub fn all(rows: &ReadTransaction) -> Result<impl Iterator<Item = Result<CountRow, StorageError>>, StorageError> {
    Ok(rows.open_table(tables::COUNTS)?.range::<CountsKey>(..)?.map(|row| {
        let (key, row) = row?;
        Ok((key.value(), decode(key.value(), row.value())))
    }))
}

fn get(table: &impl ReadableTable<CountsKey, &'static [u8]>, key: CountsKey) -> Result<Counts, StorageError> {
    table.get(key)?.map_or_else(|| Ok(Counts::default()), |row| decode(key, row.value()))
}

fn decode(key: CountsKey, row: &[u8]) -> Result<Counts, StorageError> {
    Counts::decode(tables::open::<CountsKey>(key, row, || {
        format!("the count of account {} and subscription {}", key.0, key.1)
    })?)
}

/// The counts of a write transaction.
pub struct CountsWriter<'txn> {
    table: Table<'txn, CountsKey, &'static [u8]>,
    changes: BTreeMap<CountsKey, Counts>,
}

impl<'txn> CountsWriter<'txn> {
    /// Nothing has changed yet.
    pub fn open(transaction: &'txn WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self { table: transaction.open_table(tables::COUNTS)?, changes: BTreeMap::new() })
    }

    /// Counts so many more events of an account, or less.
    pub fn add_events(&mut self, account: AccountId, more: i64) {
        self.changes.entry(key(account, None)).or_default().events += more;
    }

    /// Counts so many more deliveries of a kind, or less.
    pub fn add(&mut self, account: AccountId, subscription: SubscriptionId, kind: Kind, more: i64) {
        for key in [key(account, None), key(account, Some(subscription))] {
            self.changes.entry(key).or_default().add(kind, more);
        }
    }

    /// Forgets the counts of a deleted subscription.
    pub fn remove(&mut self, account: AccountId, subscription: SubscriptionId) -> Result<(), StorageError> {
        let key = key(account, Some(subscription));
        let mut gone = stored(get(&self.table, key))?;
        gone.merge(&self.changes.remove(&key).unwrap_or_default(), 1);
        self.table.remove(key)?;
        self.changes.entry((account.0, WHOLE_ACCOUNT)).or_default().merge(&gone, -1);
        Ok(())
    }

    /// Writes the changes.
    pub fn finish(&mut self) -> Result<(), StorageError> {
        for (key, change) in std::mem::take(&mut self.changes) {
            if change == Counts::default() {
                continue;
            }
            let mut counts = stored(get(&self.table, key))?;
            counts.merge(&change, 1);
            self.table.insert(key, tables::seal::<CountsKey>(key, counts.encode()?).as_slice())?;
        }
        Ok(())
    }
}

/// A damaged count is logged and begins anew: a figure that is wrong must not end the server.
fn stored(count: Result<Counts, StorageError>) -> Result<Counts, StorageError> {
    match count {
        Err(error @ (StorageError::Damaged(_) | StorageError::Codec(_))) => {
            log::error!("{error}");
            Ok(Counts::default())
        }
        count => count,
    }
}
