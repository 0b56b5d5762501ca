//! How far retention has come in each account, and what it comes back to: the tables `fronts`, `kept` and `retention_due`.
//! Belongs to the thread of its transaction.
//!
//! Each event is passed once by the front of its account. One with a pending delivery is noted in `kept` with the number of
//! those. What was settled later than the front came by lies in `retention_due` in the order of that time.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable as _, Table, WriteTransaction};

use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::{Due, DueKind, Front};
use crate::storage::error::StorageError;
use crate::storage::redb::tables::{self, DueKey};
use crate::storage::rows::{codec, digest};

type Bytes = &'static [u8];
type EventKey = (u32, u128);

const VERSION: u8 = 1;

/// The fronts of all accounts.
pub fn fronts(rows: &ReadTransaction) -> Result<BTreeMap<AccountId, Front>, StorageError> {
    rows.open_table(tables::FRONTS)?
        .range::<u32>(..)?
        .map(|row| {
            let (account, row) = row?;
            let front = decode_front(account.value(), row.value());
            // Without it all is passed once more, which removes nothing that may not be removed.
            let front = front.inspect_err(|error| log::error!("{error}")).unwrap_or_default();
            Ok((AccountId(account.value()), front))
        })
        .collect()
}

/// The front of an account.
pub fn front(rows: &ReadTransaction, account: AccountId) -> Result<Front, StorageError> {
    let row = rows.open_table(tables::FRONTS)?.get(account.0)?;
    Ok(row.and_then(|row| decode_front(account.0, row.value()).ok()).unwrap_or_default())
}

/// Reads the stored form.
pub fn decode_front(account: u32, row: &[u8]) -> Result<Front, StorageError> {
    let row = tables::open::<u32>(account, row, digest::named("retention front of account", account))?;
    let (events, attempts, removing): (u128, u128, Option<u128>) = codec::decode(VERSION, row)?;
    Ok(Front { events: EventId(events), attempts: EventId(attempts), removing: removing.map(EventId) })
}

/// Reads how many deliveries of a kept event are pending.
pub fn decode_kept(key: EventKey, row: &[u8]) -> Result<u32, StorageError> {
    codec::decode(VERSION, tables::open::<EventKey>(key, row, digest::named("kept event", EventId(key.1)))?)
}

/// The writer's tables.
pub struct RetentionWriter<'txn> {
    fronts: Table<'txn, u32, Bytes>,
    kept: Table<'txn, EventKey, Bytes>,
    due: Table<'txn, DueKey, Bytes>,
}

impl<'txn> RetentionWriter<'txn> {
    /// Opens the tables.
    pub fn open(transaction: &'txn WriteTransaction) -> Result<Self, StorageError> {
        Ok(Self {
            fronts: transaction.open_table(tables::FRONTS)?,
            kept: transaction.open_table(tables::KEPT)?,
            due: transaction.open_table(tables::DUE)?,
        })
    }

    /// Stores how far retention has come in an account.
    pub fn put_front(&mut self, account: AccountId, front: Front) -> Result<(), StorageError> {
        let row = codec::encode(VERSION, &(front.events.0, front.attempts.0, front.removing.map(|event| event.0)))?;
        self.fronts.insert(account.0, tables::seal::<u32>(account.0, row).as_slice())?;
        Ok(())
    }

    /// How many deliveries of a kept event are pending; none if it is not kept. A damaged number keeps it for good.
    pub fn kept(&self, account: AccountId, event: EventId) -> Result<Option<u32>, StorageError> {
        let key = (account.0, event.0);
        Ok(self
            .kept
            .get(key)?
            .map(|row| decode_kept(key, row.value()).inspect_err(|error| log::error!("{error}")).unwrap_or(u32::MAX)))
    }

    /// Notes how many deliveries of an event are pending, or that it is not kept any more.
    pub fn put_kept(&mut self, account: AccountId, event: EventId, pending: Option<u32>) -> Result<(), StorageError> {
        let key = (account.0, event.0);
        match pending {
            Some(pending) => {
                let row = tables::seal::<EventKey>(key, codec::encode(VERSION, &pending)?);
                self.kept.insert(key, row.as_slice())?;
            }
            None => drop(self.kept.remove(key)?),
        }
        Ok(())
    }

    /// Notes what to come back to.
    pub fn put_due(&mut self, due: Due) -> Result<(), StorageError> {
        let key = due_key(due);
        self.due.insert(key, tables::seal::<DueKey>(key, Vec::new()).as_slice())?;
        Ok(())
    }

    /// Takes up to so many of what was settled before that time.
    pub fn take_due(&mut self, kind: DueKind, before: Timestamp, limit: usize) -> Result<Vec<Due>, StorageError> {
        let range = (kind as u8, 0, 0, 0, 0)..(kind as u8, before.as_ms(), 0, 0, 0);
        let mut taken = Vec::new();
        for row in self.due.extract_from_if(range, |_, _| true)?.take(limit) {
            let (_, settled_ms, account, event, subscription) = row?.0.value();
            taken.push(Due {
                kind,
                settled_at: Timestamp::from_ms(settled_ms),
                account: AccountId(account),
                delivery: DeliveryId { event: EventId(event), subscription: SubscriptionId(subscription) },
            });
        }
        Ok(taken)
    }
}

fn due_key(Due { kind, settled_at, account, delivery }: Due) -> DueKey {
    (kind as u8, settled_at.as_ms(), account.0, delivery.event.0, delivery.subscription.0)
}

#[cfg(test)]
pub(in crate::storage) mod testing {
    use std::path::Path;

    use redb::ReadableDatabase as _;

    use super::*;

    /// Cuts the rows of a table of a closed database to one byte.
    pub fn damage<K: redb::Key + for<'a> redb::Value<SelfType<'a> = K> + Copy + 'static>(
        database: &Path,
        table: redb::TableDefinition<'static, K, Bytes>,
    ) {
        let db = redb::Database::open(database).unwrap();
        let mut transaction = db.begin_write().unwrap();
        transaction.set_two_phase_commit(true);
        {
            let mut rows = transaction.open_table(table).unwrap();
            let keys: Vec<K> = rows.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
            assert!(!keys.is_empty(), "there is nothing to damage");
            for key in keys {
                rows.insert(key, [0xff].as_slice()).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    /// How many outcomes of an event are in a closed database.
    pub fn outcomes_of(database: &Path, account: AccountId, event: EventId) -> usize {
        let db = redb::Database::open(database).unwrap();
        let rows = db.begin_read().unwrap().open_table(tables::OUTCOMES).unwrap();
        rows.range((account.0, event.0, 0)..=(account.0, event.0, u32::MAX)).unwrap().count()
    }
}
