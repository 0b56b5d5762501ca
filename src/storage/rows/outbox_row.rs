//! The stored form of a pending delivery's row in the outbox. Its place says what it is, and the row what it waits behind. A
//! delivery without order has an empty row. Pure; any thread.

use std::num::NonZeroU64;

use crate::domain::options::order::OrderKey;
use crate::storage::error::StorageError;
use crate::storage::rows::codec;

const VERSION: u8 = 1;

/// What stands in the row of a pending delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxRow {
    /// What it has in common with those that go one after the other with it.
    pub key: Option<OrderKey>,
    /// Whether it has an outcome; told of those that wait for their turn, as their place does not say so.
    pub has_outcome: bool,
}

impl OutboxRow {
    /// Of a delivery with that key.
    #[must_use]
    pub fn of(key: Option<OrderKey>) -> Self {
        Self { key, has_outcome: false }
    }

    /// The stored form.
    pub fn encode(self) -> Result<Vec<u8>, StorageError> {
        if self == Self::default() {
            return Ok(Vec::new());
        }
        codec::encode(VERSION, &(self.key.map_or(0, |key| key.0.get()), self.has_outcome))
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let (key, has_outcome): (u64, bool) = codec::decode(VERSION, bytes)?;
        Ok(Self { key: NonZeroU64::new(key).map(OrderKey), has_outcome })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_stored_and_is_empty_without_order() {
        assert!(OutboxRow::default().encode().unwrap().is_empty());
        let key = Some(OrderKey::of_worker("52"));
        for row in [OutboxRow::default(), OutboxRow::of(key), OutboxRow { key, has_outcome: true }] {
            assert_eq!(OutboxRow::decode(&row.encode().unwrap()).unwrap(), row);
        }
    }
}
