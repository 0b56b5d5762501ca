//! The table of the dashboard's sessions. It is in no backup and in no file that is written anew, so that a restored or
//! re-encrypted store has nobody signed in. Tables of a transaction or a snapshot.

use redb::{ReadTransaction, ReadableTable as _, TableHandle as _, WriteTransaction};

use crate::domain::access::{Session, SessionId};
use crate::storage::error::StorageError;
use crate::storage::redb::tables;
use crate::storage::rows::{digest, session_record};

/// Every session. A damaged one is left out: whoever it belongs to signs in again.
pub fn all(rows: &ReadTransaction) -> Result<Vec<Session>, StorageError> {
    if !tables::has(rows, tables::SESSIONS.name())? {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for row in rows.open_table(tables::SESSIONS)?.iter()? {
        let (id, row) = row?;
        let id = id.value();
        let opened = tables::open::<u128>(id, row.value(), digest::named("session", "of the dashboard"));
        match opened.and_then(|row| session_record::decode(SessionId(id), row)) {
            Ok(session) => found.push(session),
            Err(error) => log::error!("a session of the dashboard is left out: {error}"),
        }
    }
    Ok(found)
}

/// Stores a session.
pub fn put(transaction: &WriteTransaction, session: &Session) -> Result<(), StorageError> {
    let row = tables::seal::<u128>(session.id.0, session_record::encode(session)?);
    transaction.open_table(tables::SESSIONS)?.insert(session.id.0, row.as_slice())?;
    Ok(())
}

/// Removes a session.
pub fn remove(transaction: &WriteTransaction, id: SessionId) -> Result<(), StorageError> {
    transaction.open_table(tables::SESSIONS)?.remove(id.0)?;
    Ok(())
}
