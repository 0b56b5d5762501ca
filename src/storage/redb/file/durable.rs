//! Transactions of the operations on whole files, which are as durable as the writer's. Any thread with the database to
//! itself.

use redb::{Database, Durability, WriteTransaction};

use crate::storage::error::StorageError;

/// A transaction that is synced and in two phases.
pub(in crate::storage) fn begin(db: &Database) -> Result<WriteTransaction, StorageError> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}
