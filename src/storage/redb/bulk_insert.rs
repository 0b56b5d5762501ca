//! Bulk insert: buffers new rows and inserts them together in key order, so that a page is built once and not for each
//! row. The buffer is flushed before the table is read. Lives in one write transaction, on the writer thread.

use std::ops::Bound;

use redb::{CursorError, Key, Table, Value};

use crate::storage::error::StorageError;

/// A key of several numbers, compared in order. New rows with the same first number are mostly adjacent.
pub trait CompositeKey: Key + Copy + Ord + for<'a> Value<SelfType<'a> = Self> + 'static {
    /// The first number.
    fn first(&self) -> u32;
}

impl CompositeKey for (u32, u128) {
    fn first(&self) -> u32 {
        self.0
    }
}

impl CompositeKey for (u32, u64, u128) {
    fn first(&self) -> u32 {
        self.0
    }
}

impl CompositeKey for (u32, u128, u32) {
    fn first(&self) -> u32 {
        self.0
    }
}

impl CompositeKey for (u32, u128, u64, u128) {
    fn first(&self) -> u32 {
        self.0
    }
}

/// Fewer rows than this are cheaper to insert one by one, since a run rebuilds the page.
const RUN_ROWS_MIN: usize = 4;

/// The table and its buffered rows.
pub struct BulkInsert<'txn, K: CompositeKey> {
    table: Table<'txn, K, &'static [u8]>,
    buffered: Vec<(K, Vec<u8>)>,
}

impl<'txn, K: CompositeKey> BulkInsert<'txn, K> {
    /// A table with an empty buffer.
    pub fn new(table: Table<'txn, K, &'static [u8]>) -> Self {
        Self { table, buffered: Vec::new() }
    }

    /// Buffers a row; it replaces one with the same key.
    pub fn put(&mut self, key: K, row: Vec<u8>) {
        self.buffered.push((key, row));
    }

    /// The table, after flushing the buffer.
    pub fn table(&mut self) -> Result<&mut Table<'txn, K, &'static [u8]>, StorageError> {
        if !self.buffered.is_empty() {
            self.flush()?;
        }
        Ok(&mut self.table)
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        // The sort is stable, so that of two rows with one key the later one wins.
        self.buffered.sort_by_key(|(key, _)| *key);
        for rows in self.buffered.chunk_by(|(one, _), (next, _)| one.first() == next.first()) {
            if rows.len() < RUN_ROWS_MIN {
                for (key, row) in rows {
                    self.table.insert(key, row.as_slice())?;
                }
            } else {
                insert_run(&mut self.table, rows)?;
            }
        }
        self.buffered.clear();
        Ok(())
    }
}

/// Inserts sorted rows, as many at a time as are adjacent in the table.
fn insert_run<K: CompositeKey>(
    table: &mut Table<'_, K, &'static [u8]>,
    rows: &[(K, Vec<u8>)],
) -> Result<(), StorageError> {
    let mut rows = rows.iter().peekable();
    while let Some((key, row)) = rows.next() {
        let mut cursor = table.upper_bound_mut(Bound::Included(*key))?;
        if !is_in_order(cursor.insert_before(*key, row.as_slice()))? {
            cursor.close()?;
            table.insert(key, row.as_slice())?;
            continue;
        }
        while let Some((key, row)) = rows.peek()
            && is_in_order(cursor.insert_before(*key, row.as_slice()))?
        {
            rows.next();
        }
        cursor.close()?;
    }
    Ok(())
}

/// Whether the row belongs at the cursor's position.
fn is_in_order(inserted: Result<(), CursorError>) -> Result<bool, StorageError> {
    match inserted {
        Ok(()) => Ok(true),
        Err(CursorError::UnorderedKey) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, backends::InMemoryBackend};

    use super::*;

    const TABLE: TableDefinition<(u32, u128), &[u8]> = TableDefinition::new("rows");

    proptest! {
        #[test]
        fn a_table_holds_what_was_put_in_last(
            batches in prop::collection::vec(prop::collection::vec((0..3_u32, 0..60_u128, 0..600_usize), 0..40), 1..5),
        ) {
            let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
            let mut expected = BTreeMap::new();
            for (number, batch) in batches.into_iter().enumerate() {
                let transaction = db.begin_write().unwrap();
                let mut runs = BulkInsert::new(transaction.open_table(TABLE).unwrap());
                for (account, event, bytes) in batch {
                    let row = vec![u8::try_from(number).unwrap(); bytes];
                    runs.put((account, event), row.clone());
                    expected.insert((account, event), row);
                    if bytes < 20 {
                        let key = (account, event + 1);
                        runs.table().unwrap().remove(key).unwrap();
                        expected.remove(&key);
                    }
                }
                runs.table().unwrap();
                drop(runs);
                transaction.commit().unwrap();
                let transaction = db.begin_read().unwrap();
                let rows = transaction.open_table(TABLE).unwrap();
                let stored: BTreeMap<_, _> =
                    rows.iter().unwrap().map(|row| row.unwrap()).map(|(key, row)| (key.value(), row.value().to_vec())).collect();
                prop_assert_eq!(&stored, &expected);
            }
        }
    }
}
