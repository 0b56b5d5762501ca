//! The engine on redb: one database file, and the claim of this process on it. Any thread; the writer alone begins
//! transactions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Durability, ReadableDatabase as _, WriteTransaction};

use crate::storage::engine::{Engine, StoreVitals, Transaction};
use crate::storage::error::StorageError;
use crate::storage::redb::file::disk::free_bytes;
use crate::storage::redb::file::owner::OwnedDatabase;
use crate::storage::redb::tx::RedbTx;
use crate::storage::redb::view::RedbView;
use crate::storage::sealing::Seal;

/// The database, and what its secrets are sealed with.
pub struct RedbEngine {
    db: Arc<OwnedDatabase>,
    path: PathBuf,
    seal: Arc<Seal>,
}

impl RedbEngine {
    /// The engine of an open database, whose file is there.
    pub(in crate::storage) fn new(db: OwnedDatabase, path: PathBuf, seal: Seal) -> Self {
        Self { db: Arc::new(db), path, seal: Arc::new(seal) }
    }

    /// The database.
    pub(in crate::storage) fn db(&self) -> &OwnedDatabase {
        &self.db
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What secrets are sealed with.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }
}

impl Engine for RedbEngine {
    type Transaction = RedbTransaction;
    type View = RedbView;

    fn begin(&self) -> Result<RedbTransaction, StorageError> {
        let mut transaction = self.db.begin()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(true);
        Ok(RedbTransaction { transaction, db: Arc::clone(&self.db), seal: Arc::clone(&self.seal) })
    }

    fn view(&self) -> Result<RedbView, StorageError> {
        Ok(RedbView::of(self.db.begin_read()?))
    }

    fn check_owner(&self) -> Result<(), StorageError> {
        Ok(self.db.check_owner()?)
    }

    fn vitals(&self) -> StoreVitals {
        let size_bytes = std::fs::metadata(&self.path).map_or(0, |found| found.len());
        StoreVitals { size_bytes, free_bytes: self.path.parent().and_then(free_bytes) }
    }

    fn abandon(&self) {
        // Never closed: that writes to the file, which may be another process's by now.
        std::mem::forget(Arc::clone(&self.db));
    }
}

/// A write transaction, synced and in two phases.
pub struct RedbTransaction {
    transaction: WriteTransaction,
    db: Arc<OwnedDatabase>,
    seal: Arc<Seal>,
}

impl Transaction for RedbTransaction {
    type Tx<'a> = RedbTx<'a>;

    fn rows(&self) -> Result<RedbTx<'_>, StorageError> {
        RedbTx::open(&self.transaction, &self.seal)
    }

    fn commit(self) -> Result<(), StorageError> {
        self.db.commit(self.transaction)
    }
}
