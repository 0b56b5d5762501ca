//! The table of alerts that wait to be handed over. Belongs to the thread of its transaction.

use redb::{ReadTransaction, ReadableTable as _, TableDefinition, TableHandle as _, WriteTransaction};

use crate::domain::EventId;
use crate::domain::alert::Notice;
use crate::storage::engine::Stored;
use crate::storage::error::StorageError;
use crate::storage::redb::tables;
use crate::storage::rows::{digest, notice_record};

/// Alert → the alert, and by which ways it was handed over.
const NOTICES: TableDefinition<u128, &[u8]> = TableDefinition::new("notices");

type Result<T> = std::result::Result<T, StorageError>;

fn read(id: u128, row: &[u8]) -> Stored<Notice> {
    notice_record::decode(EventId(id), tables::open::<u128>(id, row, digest::named("alert", EventId(id)))?)
}

/// Stores an alert.
pub fn put(transaction: &WriteTransaction, notice: &Notice) -> Result<()> {
    let id = notice.alert.id.0;
    let row = tables::seal::<u128>(id, notice_record::encode(notice)?);
    transaction.open_table(NOTICES)?.insert(id, row.as_slice())?;
    Ok(())
}

/// Takes an alert out.
pub fn take(transaction: &WriteTransaction, id: EventId) -> Result<Option<Stored<Notice>>> {
    Ok(transaction.open_table(NOTICES)?.remove(id.0)?.map(|row| read(id.0, row.value())))
}

/// The alerts that wait, oldest first. A damaged one is left out.
pub fn waiting(rows: &ReadTransaction) -> Result<Vec<Notice>> {
    let mut found = Vec::new();
    if tables::has(rows, NOTICES.name())? {
        for row in rows.open_table(NOTICES)?.iter()? {
            let (id, row) = row?;
            match read(id.value(), row.value()) {
                Ok(notice) => found.push(notice),
                Err(error) => log::error!("an alert cannot be read and is not sent: {error}"),
            }
        }
    }
    Ok(found)
}
