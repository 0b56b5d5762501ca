//! The identity and format of an open database. Any thread.

use std::path::Path;

use redb::ReadableDatabase;

use crate::storage::error::{OpenError, StorageError};
use crate::storage::redb::tables;

/// A store's identity and format.
pub(in crate::storage) struct Identity {
    pub store_id: u128,
    pub format: u128,
}

/// Checks that it is a store of ours with a known format.
pub(in crate::storage) fn check_format(db: &impl ReadableDatabase, path: &Path) -> Result<Identity, OpenError> {
    let read = || -> Result<(Option<u128>, Option<u128>), StorageError> {
        let transaction = db.begin_read()?;
        let meta = transaction.open_table(tables::META)?;
        let number = |name| -> Result<_, StorageError> { Ok(meta.get(name)?.map(|row| row.value())) };
        let format = number(tables::FORMAT)?;
        // A store whose upgrade is not done counts as what that began with.
        let format =
            if format <= Some(tables::FORMAT_VERSION) { number(tables::UPGRADED_FROM)?.or(format) } else { format };
        Ok((format, number(tables::STORE_ID)?))
    };
    let not_ours =
        || OpenError::NotOurs { path: path.to_owned(), found: "a redb database of another program".to_owned() };
    match read() {
        Ok((Some(found), _)) if found > tables::FORMAT_VERSION => {
            Err(OpenError::Newer { path: path.to_owned(), found, known: tables::FORMAT_VERSION })
        }
        Ok((Some(format), Some(store_id))) => Ok(Identity { store_id, format }),
        Ok(_) => Err(not_ours()),
        Err(StorageError::Database(error))
            if matches!(*error, redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. }) =>
        {
            Err(not_ours())
        }
        Err(source) => Err(OpenError::failed(path, source)),
    }
}
