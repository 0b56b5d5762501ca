//! The stored form of a pending delivery's row in the outbox. Its place says what it is, and the row what it waits behind. A
//! delivery without order and batch has an empty row. Pure; any thread.

use std::num::NonZeroU64;

use crate::domain::BatchId;
use crate::domain::options::order::OrderKey;
use crate::storage::error::StorageError;
use crate::storage::rows::codec;

const VERSION: u8 = 1;
const BATCH_VERSION: u8 = 2;

/// What stands in the row of a pending delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxRow {
    /// What it has in common with those that go one after the other with it.
    pub key: Option<OrderKey>,
    /// Whether it has an outcome; told of those that wait for something else, as their place does not say so.
    pub has_outcome: bool,
    /// What it has to do with a batch.
    pub batch: InBatch,
}

/// What a row of the outbox has to do with a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InBatch {
    /// Nothing: it is a delivery that is sent alone.
    #[default]
    No,
    /// It is a delivery that is gathered for the next batch.
    Gathered,
    /// It is a delivery in that batch.
    Member(BatchId),
    /// It is no delivery, but the batch itself.
    Whole,
}

impl OutboxRow {
    /// Of a delivery with that key.
    #[must_use]
    pub fn of(key: Option<OrderKey>) -> Self {
        Self { key, ..Self::default() }
    }

    /// Of a batch with that key.
    #[must_use]
    pub fn of_batch(key: Option<OrderKey>) -> Self {
        Self { key, has_outcome: true, batch: InBatch::Whole }
    }

    /// Whether it is a batch and no delivery.
    #[must_use]
    pub fn is_batch(self) -> bool {
        self.batch == InBatch::Whole
    }

    /// The stored form.
    pub fn encode(self) -> Result<Vec<u8>, StorageError> {
        let key = self.key.map_or(0, |key| key.0.get());
        let (kind, batch): (u8, u128) = match self.batch {
            InBatch::No if self == Self::default() => return Ok(Vec::new()),
            InBatch::No => return codec::encode(VERSION, &(key, self.has_outcome)),
            InBatch::Gathered => (0, 0),
            InBatch::Member(batch) => (1, batch.0),
            InBatch::Whole => (2, 0),
        };
        codec::encode(BATCH_VERSION, &(key, self.has_outcome, kind, batch))
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        let key = |key| NonZeroU64::new(key).map(OrderKey);
        match bytes.first() {
            None => Ok(Self::default()),
            Some(&BATCH_VERSION) => {
                let (of, has_outcome, kind, batch): (u64, bool, u8, u128) = codec::decode(BATCH_VERSION, bytes)?;
                let batch = match kind {
                    0 => InBatch::Gathered,
                    1 => InBatch::Member(BatchId(batch)),
                    _ => InBatch::Whole,
                };
                Ok(Self { key: key(of), has_outcome, batch })
            }
            Some(_) => {
                let (of, has_outcome): (u64, bool) = codec::decode(VERSION, bytes)?;
                Ok(Self { key: key(of), has_outcome, batch: InBatch::No })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_stored_and_is_empty_without_order_and_batch() {
        assert!(OutboxRow::default().encode().unwrap().is_empty());
        let key = Some(OrderKey::of_worker("52"));
        let member = InBatch::Member(BatchId(7));
        for row in [
            OutboxRow::default(),
            OutboxRow::of(key),
            OutboxRow { has_outcome: true, ..OutboxRow::of(key) },
            OutboxRow { batch: InBatch::Gathered, ..OutboxRow::default() },
            OutboxRow { batch: member, has_outcome: true, key: None },
            OutboxRow::of_batch(key),
            OutboxRow::of_batch(None),
        ] {
            assert_eq!(OutboxRow::decode(&row.encode().unwrap()).unwrap(), row);
        }
    }
}
