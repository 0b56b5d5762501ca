//! The table of what was told to those who run the server, and when. Belongs to the thread of its transaction.

use redb::{ReadTransaction, ReadableTable as _, TableDefinition, TableHandle as _, WriteTransaction};

use crate::domain::Timestamp;
use crate::domain::alert::{AlertKind, Told};
use crate::storage::error::StorageError;
use crate::storage::redb::tables;

/// Kind and what it is about → when that was told, in ms, and in the last bit whether it lasts.
const TOLD: TableDefinition<&str, u128> = TableDefinition::new("told");

type Result<T> = std::result::Result<T, StorageError>;

/// Stores when something was told; none: it is forgotten.
pub fn put(transaction: &WriteTransaction, kind: AlertKind, of: &str, told: Option<Told>) -> Result<()> {
    let mut table = transaction.open_table(TOLD)?;
    let key = format!("{} {of}", kind.name());
    match told {
        Some(Told { at, is_open }) => {
            table.insert(key.as_str(), u128::from(at.as_ms()) << 1 | u128::from(is_open))?;
        }
        None => drop(table.remove(key.as_str())?),
    }
    Ok(())
}

/// What was told, and when.
pub fn all(rows: &ReadTransaction) -> Result<Vec<((AlertKind, String), Told)>> {
    let mut found = Vec::new();
    if tables::has(rows, TOLD.name())? {
        for row in rows.open_table(TOLD)?.iter()? {
            let (key, value) = row?;
            let (key, value) = (key.value(), value.value());
            let ms = u64::try_from(value >> 1).unwrap_or(u64::MAX);
            let told = Told { at: Timestamp::from_ms(ms), is_open: value & 1 == 1 };
            let parts = key.split_once(' ').and_then(|(kind, of)| Some((AlertKind::from_name(kind)?, of.to_owned())));
            found.extend(parts.map(|key| (key, told)));
        }
    }
    Ok(found)
}
