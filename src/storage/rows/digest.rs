//! The digest at the end of each row: four bytes of CRC-32 over its key and itself, so that a damaged row, or one that lies
//! in another row's place, is noticed when it is read. Pure; any thread.
//!
//! redb verifies the checksums of pages only where it opens a file that was not closed, and when it is told to. A body that
//! is sent has a SHA-256 beside it; this one finds damage, not intent, and takes some ten nanoseconds for a usual row.

use std::fmt::Display;

use crate::storage::error::StorageError;

const DIGEST_BYTES: usize = 4;

/// The row with its digest.
pub(in crate::storage) fn sealed(key: &[u8], mut row: Vec<u8>) -> Vec<u8> {
    let digest = of(key, &row);
    row.extend_from_slice(&digest);
    row
}

/// The row without its digest, if that fits. `name` is how the row is called where it does not.
pub(in crate::storage) fn checked<'a>(
    key: &[u8],
    bytes: &'a [u8],
    name: impl FnOnce() -> String,
) -> Result<&'a [u8], StorageError> {
    match bytes.split_last_chunk::<DIGEST_BYTES>() {
        Some((row, found)) if of(key, row) == *found => Ok(row),
        _ => Err(StorageError::Damaged(name())),
    }
}

/// A row's name from what identifies it.
pub(in crate::storage) fn named(what: &'static str, id: impl Display) -> impl FnOnce() -> String {
    move || format!("{what} {id}")
}

fn of(key: &[u8], row: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hash = crc32fast::Hasher::new();
    hash.update(key);
    hash.update(row);
    hash.finalize().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_a_cut_and_another_place_are_noticed_by_name() {
        let row = sealed(b"key", b"a row".to_vec());
        assert_eq!(checked(b"key", &row, || unreachable!()).unwrap(), b"a row");
        let name = || "event 7".to_owned();
        for place in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[place / 8] ^= 1 << (place % 8);
            let said = checked(b"key", &flipped, name).unwrap_err().to_string();
            assert!(said.contains("event 7"), "{said}");
        }
        assert!((0..row.len()).all(|length| checked(b"key", &row[..length], name).is_err()));
        assert!(checked(b"other", &row, name).is_err());
    }
}
