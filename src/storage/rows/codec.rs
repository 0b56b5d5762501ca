//! Encoding of rows: one byte of format version, then the row in bincode. The only file that names bincode, so that
//! another codec changes this file and needs a migration. Pure; any thread.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::storage::error::StorageError;

/// Maximum size of a row; a larger length in a damaged row is refused before memory is allocated.
const ROW_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// Initial capacity; enough for a delivery with one attempt.
const USUAL_BYTES: usize = 512;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<ROW_LIMIT_BYTES>()
}

/// Appends version and row to `bytes`.
pub fn encode_into<T: Serialize>(version: u8, row: &T, bytes: &mut Vec<u8>) -> Result<(), StorageError> {
    bytes.push(version);
    append(row, bytes)
}

/// Appends a part of a row to `bytes`. The parts of a row one after the other are the row.
pub fn append<T: Serialize>(part: &T, bytes: &mut Vec<u8>) -> Result<(), StorageError> {
    bincode::serde::encode_into_std_write(part, bytes, config())
        .map_err(|error| StorageError::Codec(error.to_string()))?;
    Ok(())
}

/// The bytes of a row.
pub fn encode<T: Serialize>(version: u8, row: &T) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    encode_into(version, row, &mut bytes)?;
    Ok(bytes)
}

/// Decodes a row of that version from the front of `bytes` and returns the remaining bytes.
pub fn decode_front<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<(T, &[u8]), StorageError> {
    let Some((found, rest)) = bytes.split_first() else {
        return Err(StorageError::Codec("an empty row".to_owned()));
    };
    if *found != version {
        return Err(StorageError::Codec(format!("a row of version {found} where {version} was expected")));
    }
    let (row, used) =
        bincode::serde::decode_from_slice(rest, config()).map_err(|error| StorageError::Codec(error.to_string()))?;
    Ok((row, rest.get(used..).unwrap_or_default()))
}

/// Decodes a value that has no version of its own from the front of `bytes`, and returns the remaining bytes. It may borrow.
pub fn decode_next<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), StorageError> {
    let (value, used) = bincode::serde::borrow_decode_from_slice(bytes, config())
        .map_err(|error| StorageError::Codec(error.to_string()))?;
    Ok((value, bytes.get(used..).unwrap_or_default()))
}

/// Decodes a row of that version that fills `bytes`.
pub fn decode<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T, StorageError> {
    match decode_front(version, bytes)? {
        (row, []) => Ok(row),
        (_, rest) => Err(StorageError::Codec(format!("{} bytes too many in a row", rest.len()))),
    }
}
