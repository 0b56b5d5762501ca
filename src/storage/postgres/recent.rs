//! Rows that this process has stored or removed lately, so that what follows soon needs no look at the database. True as long
//! as no other process can commit. Bounded in bytes: two generations, of which the elder is dropped. Owned by the engine, used
//! by the writer.

use std::collections::HashMap;

use crate::storage::postgres::tables::Key;
use crate::storage::postgres::writes::Last;

/// About what an entry takes beside its key's texts and value.
const ENTRY_BYTES: usize = 256;

type Entries = HashMap<(usize, Key), Last>;

/// The rows, by table and key.
pub(super) struct Recent {
    young: Entries,
    old: Entries,
    young_bytes: usize,
    generation_bytes: usize,
}

impl Recent {
    /// Room for about so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self { young: Entries::new(), old: Entries::new(), young_bytes: 0, generation_bytes: bytes / 2 }
    }

    /// What is known of a row.
    pub fn get(&self, table: usize, key: &Key) -> Option<&Last> {
        let at = (table, key.clone());
        self.young.get(&at).or_else(|| self.old.get(&at))
    }

    /// Notes what became of a row.
    pub fn put(&mut self, table: usize, key: Key, last: Last) {
        if self.young_bytes >= self.generation_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += ENTRY_BYTES + if let Last::Stored(value) = &last { value.len() } else { 0 };
        self.young.insert((table, key), last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::postgres::tables::key;

    #[test]
    fn the_last_value_of_a_row_is_the_one_that_is_known_whatever_was_dropped() {
        let mut recent = Recent::new(4 * ENTRY_BYTES);
        for round in 0..50_u8 {
            for id in 0..u32::from(round % 7) {
                recent.put(1, key![id], Last::Stored(vec![round]));
                assert_eq!(recent.get(1, &key![id]), Some(&Last::Stored(vec![round])));
            }
            recent.put(1, key![9_u32], Last::Removed);
            assert_eq!(recent.get(1, &key![9_u32]), Some(&Last::Removed));
            assert!(recent.young.len() + recent.old.len() < 12);
        }
        assert_eq!(recent.get(2, &key![9_u32]), None);
    }
}
