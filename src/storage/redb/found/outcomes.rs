//! Outcomes in the order of a list. Rows that lie side by side are read one after the other from their page; only what lies
//! apart is searched for in the tree. Tables of a snapshot; whoever holds that may call.

use redb::{AccessGuard, Range, ReadOnlyTable};

use crate::storage::error::StorageError;
use crate::storage::redb::tables::OutcomeKey;

type Guard = AccessGuard<'static, &'static [u8]>;

/// Rows that are passed over before the next one is searched for.
const PASSED_OVER_MAX: usize = 32;

/// Outcomes that are asked for from the newest on.
pub(super) struct OutcomesInTurn<'a> {
    table: &'a ReadOnlyTable<OutcomeKey, &'static [u8]>,
    /// The rows before `next`, the nearest one last; none until the first one is asked for.
    rows: Option<Range<'static, OutcomeKey, &'static [u8]>>,
    next: Option<(OutcomeKey, Guard)>,
}

impl<'a> OutcomesInTurn<'a> {
    /// Those of this table.
    pub fn of(table: &'a ReadOnlyTable<OutcomeKey, &'static [u8]>) -> Self {
        Self { table, rows: None, next: None }
    }

    /// The row of that key, which lies before every other one that was asked for.
    pub fn get(&mut self, key: OutcomeKey) -> Result<Option<Guard>, StorageError> {
        let mut passed_over = 0;
        while self.rows.is_none() || self.next.as_ref().is_some_and(|(next, _)| *next > key) {
            if self.rows.is_none() || passed_over == PASSED_OVER_MAX {
                let (account, ..) = key;
                self.rows = Some(self.table.range::<OutcomeKey>((account, 0, 0)..=key)?);
            }
            passed_over += 1;
            self.advance()?;
        }
        let Some((_, row)) = self.next.take_if(|(next, _)| *next == key) else { return Ok(None) };
        self.advance()?;
        Ok(Some(row))
    }

    fn advance(&mut self) -> Result<(), StorageError> {
        let next = self.rows.as_mut().and_then(DoubleEndedIterator::next_back).transpose()?;
        self.next = next.map(|(key, row)| (key.value(), row));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;
    use redb::{Database, ReadableDatabase as _};

    use super::*;
    use crate::storage::redb::tables::OUTCOMES;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_read_in_turn_is_what_is_there(
            stored in prop::collection::btree_set((1..4_u32, 0..40_u128, 0..12_u32), 0..200),
            asked in prop::collection::btree_set((0..40_u128, 0..12_u32), 0..100),
        ) {
            let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
            let transaction = db.begin_write().unwrap();
            {
                let mut table = transaction.open_table(OUTCOMES).unwrap();
                for (account, event, subscription) in &stored {
                    let row = [u8::try_from(*subscription).unwrap()];
                    table.insert((*account, *event, *subscription), row.as_slice()).unwrap();
                }
            }
            transaction.commit().unwrap();
            let table = db.begin_read().unwrap().open_table(OUTCOMES).unwrap();
            let mut rows = OutcomesInTurn::of(&table);
            for (event, subscription) in asked.iter().rev() {
                let key = (2, *event, *subscription);
                let row = rows.get(key).unwrap().map(|row| row.value().to_vec());
                let there = BTreeSet::contains(&stored, &key).then(|| vec![u8::try_from(*subscription).unwrap()]);
                prop_assert_eq!(row, there);
            }
        }
    }
}
