//! Compares rows with their digests, table after table, a step at a time: what is pending first. The tables that a start
//! reads as a whole are left out, and so is the find index, which is compared with events anyway. Any thread.

use std::ops::Bound;

use redb::{ReadTransaction, ReadableTableMetadata as _, TableDefinition};

use crate::domain::{BatchId, DeliveryId, EventId, JobId, SubscriptionId};
use crate::storage::engine::{RowPosition, RowsChecked};
use crate::storage::error::StorageError;
use crate::storage::redb::file::catch_panic;
use crate::storage::redb::outbox::batches;
use crate::storage::redb::tables::{self, RowKey};

type Bytes = &'static [u8];

/// After so many bytes a step ends, as one row may have megabytes.
const STEP_BYTES: usize = 4 * 1024 * 1024;

/// A table, and how a row of it is called.
struct Rows<K: RowKey> {
    table: TableDefinition<'static, K, Bytes>,
    name: fn(K) -> String,
}

trait Table {
    /// How many rows it has.
    fn len(&self, rows: &ReadTransaction) -> Result<u64, StorageError>;
    /// Checks up to so many rows behind that key. Gives the last key, unless those were all.
    fn step(
        &self,
        rows: &ReadTransaction,
        after: Option<&[u8]>,
        limit: usize,
        checked: &mut RowsChecked,
    ) -> Result<Option<Vec<u8>>, StorageError>;
    /// Its name.
    fn name(&self) -> &str;
}

fn delivery(event: u128, subscription: u32) -> DeliveryId {
    DeliveryId { event: EventId(event), subscription: SubscriptionId(subscription) }
}

const TABLES: [&dyn Table; 17] = [
    &Rows {
        table: tables::OUTBOX,
        name: |key| match key {
            (subscription, 0, 0) => format!("history of subscription {subscription}"),
            (subscription, _, event) => format!("pending delivery {}", delivery(event, subscription)),
        },
    },
    &Rows {
        table: tables::ORDERS,
        name: |(subscription, order, _)| format!("order {order:x} of subscription {subscription}"),
    },
    &Rows {
        table: tables::BATCHES,
        name: |(subscription, batch, event)| match event {
            batches::HEAD => format!("batch {} of subscription {subscription}", BatchId(batch)),
            _ => format!("delivery {} in batch {}", delivery(event, subscription), BatchId(batch)),
        },
    },
    &Rows { table: tables::RECEIVER_SETS, name: |number| format!("receiver set {number}") },
    &Rows { table: tables::EVENTS, name: |(_, event)| format!("event {}", EventId(event)) },
    &Rows {
        table: tables::OUTCOMES,
        name: |(_, event, subscription)| format!("delivery {}", delivery(event, subscription)),
    },
    &Rows { table: tables::RECEIVER_SET_NUMBERS, name: |digest| format!("number of the receiver set {digest:x}") },
    &Rows { table: tables::RECEIVER_SET_USES, name: |number| format!("uses of receiver set {number}") },
    &Rows { table: tables::IDEMPOTENCY, name: |(_, key)| format!("idempotency key {key:x}") },
    &Rows { table: tables::COUNTS, name: |(account, first)| format!("counts of account {account} from {first} on") },
    &Rows { table: tables::FRONTS, name: |account| format!("retention front of account {account}") },
    &Rows { table: tables::KEPT, name: |(_, event)| format!("kept event {}", EventId(event)) },
    &Rows { table: tables::DUE, name: |key| format!("retention of event {}", EventId(key.3)) },
    &Rows { table: tables::PURGES, name: |number| format!("deleted subscription {number}") },
    &Rows { table: tables::JOBS, name: |(_, job)| format!("job {}", JobId(job)) },
    &Rows { table: tables::TAGS, name: |(_, event)| format!("tags of event {}", EventId(event)) },
    &Rows { table: tables::AUDIT, name: |(account, record)| format!("audit record {record:x} of account {account}") },
];

/// How many rows there are.
pub fn len(rows: &ReadTransaction) -> Result<u64, StorageError> {
    TABLES.iter().map(|table| if tables::has(rows, table.name())? { table.len(rows) } else { Ok(0) }).sum()
}

/// Checks up to so many rows behind that position.
pub fn step(rows: &ReadTransaction, from: &RowPosition, limit: usize) -> Result<RowsChecked, StorageError> {
    let mut checked = RowsChecked::default();
    let Some(table) = TABLES.get(from.table) else { return Ok(checked) };
    let last = if tables::has(rows, table.name())? {
        let done = catch_panic::catch_redb_panic(|| table.step(rows, from.after.as_deref(), limit, &mut checked));
        done.unwrap_or_else(|| {
            checked.damaged.push(format!("a page of the table {}", table.name()));
            Ok(None)
        })?
    } else {
        None
    };
    checked.next = Some(match last {
        Some(last) => RowPosition { table: from.table, after: Some(last) },
        None => RowPosition { table: from.table + 1, after: None },
    })
    .filter(|next| next.table < TABLES.len());
    Ok(checked)
}

impl<K: RowKey> Table for Rows<K> {
    fn len(&self, rows: &ReadTransaction) -> Result<u64, StorageError> {
        Ok(rows.open_table(self.table)?.len()?)
    }

    fn step(
        &self,
        rows: &ReadTransaction,
        after: Option<&[u8]>,
        limit: usize,
        checked: &mut RowsChecked,
    ) -> Result<Option<Vec<u8>>, StorageError> {
        let first = after.map_or(Bound::Unbounded, |key| Bound::Excluded(K::from_bytes(key)));
        let mut bytes = 0;
        for row in rows.open_table(self.table)?.range::<K>((first, Bound::Unbounded))? {
            let (key, row) = row?;
            let key = key.value();
            let (encoded, name) = (K::as_bytes(&key), || (self.name)(key));
            if after.is_some_and(|after| K::compare(encoded.as_ref(), after).is_le()) {
                checked.damaged.push(format!("{}: it is out of order in the table {}", name(), self.name()));
                return Ok(None);
            }
            if tables::open::<K>(key, row.value(), name).is_err() {
                checked.damaged.push(name());
            }
            checked.rows += 1;
            bytes += row.value().len();
            if checked.rows >= limit as u64 || bytes >= STEP_BYTES {
                return Ok(Some(encoded.as_ref().to_vec()));
            }
        }
        Ok(None)
    }

    fn name(&self) -> &str {
        redb::TableHandle::name(&self.table)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use redb::{Database, ReadableDatabase as _, ReadableTable as _};

    use super::*;
    use crate::storage::DATABASE_FILE;
    use crate::storage::redb::copy::verify;
    use crate::storage::test_store::{OWN, close, open, opened, publish, subscribe};

    const DAY: Duration = Duration::from_hours(24);

    fn change(db: &Database, change: impl FnOnce(&redb::WriteTransaction)) {
        let mut transaction = db.begin_write().unwrap();
        transaction.set_two_phase_commit(true);
        change(&transaction);
        transaction.commit().unwrap();
    }

    fn flip_last<K: RowKey>(transaction: &redb::WriteTransaction, table: TableDefinition<'static, K, Bytes>) {
        let mut table = transaction.open_table(table).unwrap();
        let (key, mut row) = table.last().unwrap().map(|(key, row)| (key.value(), row.value().to_vec())).unwrap();
        row[0] ^= 1;
        table.insert(key, row.as_slice()).unwrap();
    }

    /// The names of what is damaged, and how many rows were looked at in how many steps.
    fn check(db: &Database, limit: usize) -> (Vec<String>, u64, usize) {
        let (mut damaged, mut rows, mut steps) = (Vec::new(), 0, 0);
        let mut next = Some(RowPosition::default());
        while let Some(position) = next {
            let mut checked = step(&db.begin_read().unwrap(), &position, limit).unwrap();
            damaged.append(&mut checked.damaged);
            assert!(checked.rows <= limit as u64);
            rows += checked.rows;
            steps += 1;
            next = checked.next;
        }
        (damaged, rows, steps)
    }

    #[test]
    fn every_row_is_compared_with_its_digest_in_small_steps_what_is_pending_first() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), DAY);
        let subscription = subscribe(&store);
        let events: Vec<_> = (0..5).map(|_| publish(&store)).collect();
        close(store);
        let db = Database::open(folder.path().join(DATABASE_FILE)).unwrap();
        let all = len(&db.begin_read().unwrap()).unwrap();
        assert!(all > 10, "{all}");
        let (damaged, rows, steps) = check(&db, 2);
        assert_eq!((damaged.as_slice(), rows), ([].as_slice(), all));
        assert!(steps as u64 > all / 2);
        change(&db, |transaction| {
            flip_last(transaction, tables::EVENTS);
            flip_last(transaction, tables::OUTBOX);
            flip_last(transaction, tables::COUNTS);
        });
        let id = DeliveryId { event: events[4], subscription };
        let named = [format!("pending delivery {id}"), format!("event {}", events[4])];
        for limit in [1, 1000] {
            let (damaged, rows, _) = check(&db, limit);
            assert_eq!(damaged[..2], named);
            assert!(damaged[2].contains(&format!("counts of account {OWN}")), "{damaged:?}");
            assert_eq!((damaged.len(), rows), (3, all));
        }
        assert!(verify::rows(&db).unwrap().faults.len() >= 3);
    }

    /// How many bytes this thread has read.
    fn read_bytes() -> u64 {
        let figures = fs::read_to_string("/proc/thread-self/io").unwrap();
        figures.lines().find_map(|line| line.strip_prefix("rchar:")).unwrap().trim().parse().unwrap()
    }

    #[test]
    fn a_large_store_that_was_closed_in_order_is_opened_without_reading_it_all_and_one_that_was_not_is_verified() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path(), DAY);
        let subscription = subscribe(&store);
        let events = [(); 3].map(|()| publish(&store));
        close(store);
        let path = folder.path().join(DATABASE_FILE);
        let db = Database::open(&path).unwrap();
        let filler = TableDefinition::<u32, Bytes>::new("filler");
        change(&db, |transaction| {
            transaction.open_table(filler).unwrap().insert(1, vec![0x11; 40 << 20].as_slice()).unwrap();
        });
        let killed = fs::read(&path).unwrap();
        drop(db);

        let before = read_bytes();
        let store = opened(folder.path(), DAY);
        let read = read_bytes() - before;
        assert!(!store.is_checked());
        // With debug assertions redb itself reads every page of a database that it opens.
        if !cfg!(debug_assertions) {
            assert!(read < 4 << 20, "{read} bytes of {} were read", fs::metadata(&path).unwrap().len());
        }
        let view = store.reader().view();
        assert_eq!(view.backlog().unwrap().pending.unattempted, 3);
        assert_eq!(view.unattempted_after(subscription, None, 10, 1 << 20).unwrap().len(), events.len());
        drop((view, store));

        fs::write(&path, killed).unwrap();
        let before = read_bytes();
        assert!(opened(folder.path(), DAY).is_checked());
        assert!(read_bytes() - before > 40 << 20);
    }
}
