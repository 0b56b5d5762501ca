//! A table that takes new rows in runs. Rows that are put in wait here, and go to the table all together and in order, so
//! that a page is filled in one go and not built anew for each of them. Whoever wants the table gets it with every row in
//! it. Lives in one write transaction, on the writer thread.

use std::ops::Bound;

use redb::{CursorError, Key, Table, Value};

use super::error::StorageError;

/// A key of a few numbers, in their order. New rows with the same first number stand mostly side by side.
pub trait Numbers: Key + Copy + Ord + for<'a> Value<SelfType<'a> = Self> + 'static {
    /// The first number.
    fn first(&self) -> u32;
}

impl Numbers for (u32, u128) {
    fn first(&self) -> u32 {
        self.0
    }
}

impl Numbers for (u32, u64, u128) {
    fn first(&self) -> u32 {
        self.0
    }
}

/// Fewer rows than this are cheaper put in one by one: for a run the page is built anew.
const RUN: usize = 4;

/// The table and what waits for it.
pub struct Runs<'txn, K: Numbers> {
    table: Table<'txn, K, &'static [u8]>,
    waiting: Vec<(K, Vec<u8>)>,
}

impl<'txn, K: Numbers> Runs<'txn, K> {
    /// With nothing that waits.
    pub fn new(table: Table<'txn, K, &'static [u8]>) -> Self {
        Self { table, waiting: Vec::new() }
    }

    /// Puts a row in, in place of one with the same key.
    pub fn put(&mut self, key: K, row: Vec<u8>) {
        self.waiting.push((key, row));
    }

    /// The table, with all that was put in.
    pub fn table(&mut self) -> Result<&mut Table<'txn, K, &'static [u8]>, StorageError> {
        if !self.waiting.is_empty() {
            self.flush()?;
        }
        Ok(&mut self.table)
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        // Stable, so that of two rows with one key the later one comes later.
        self.waiting.sort_by_key(|(key, _)| *key);
        for rows in self.waiting.chunk_by(|(one, _), (next, _)| one.first() == next.first()) {
            if rows.len() < RUN {
                for (key, row) in rows {
                    self.table.insert(key, row.as_slice())?;
                }
            } else {
                put_run(&mut self.table, rows)?;
            }
        }
        self.waiting.clear();
        Ok(())
    }
}

/// Puts in rows that are in order, as many at a time as stand side by side in the table.
fn put_run<K: Numbers>(table: &mut Table<'_, K, &'static [u8]>, rows: &[(K, Vec<u8>)]) -> Result<(), StorageError> {
    let mut rows = rows.iter().peekable();
    while let Some((key, row)) = rows.next() {
        let mut cursor = table.upper_bound_mut(Bound::Included(*key))?;
        if !fits(cursor.insert_before(*key, row.as_slice()))? {
            cursor.close()?;
            table.insert(key, row.as_slice())?;
            continue;
        }
        while let Some((key, row)) = rows.peek()
            && fits(cursor.insert_before(*key, row.as_slice()))?
        {
            rows.next();
        }
        cursor.close()?;
    }
    Ok(())
}

/// Did the row belong where the cursor stands?
fn fits(inserted: Result<(), CursorError>) -> Result<bool, StorageError> {
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
                let mut runs = Runs::new(transaction.open_table(TABLE).unwrap());
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
