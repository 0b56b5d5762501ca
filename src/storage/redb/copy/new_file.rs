//! A database file that a copy from another engine is made into: written under another name, checked, and switched by one
//! rename. Until then the marker beside it keeps a server from beginning an empty database there. Runs on the main thread.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::domain::Timestamp;
use crate::storage::copy::rows::{NewStore, Rest, RowTarget, StoreIdentity};
use crate::storage::error::{OpenError, StorageError};
use crate::storage::postgres::tables::{Key, Table};
use crate::storage::redb::copy::backup::{Verified, verify_database};
use crate::storage::redb::copy::error::BackupError;
use crate::storage::redb::copy::portable::Filling;
use crate::storage::redb::engine::RedbEngine;
use crate::storage::redb::file::catch_panic;
use crate::storage::redb::file::database_file::{CACHE_BYTES, open_database};
use crate::storage::redb::file::folder::{
    COPYING, DATABASE_FILE, MARKER_FILE, create_folder, file_error, marker_text, sync_folder_of, write_private,
};
use crate::storage::redb::file::open::initialise;
use crate::storage::redb::file::owner::{OwnedDatabase, Owner};
use crate::storage::redb::tables;
use crate::storage::sealing::Seal;

/// A file that is being filled.
pub(in crate::storage) struct NewFile {
    filling: Filling,
    fresh: PathBuf,
    path: PathBuf,
    owner: Owner,
}

/// Why no file is begun.
#[derive(Debug, thiserror::Error)]
pub enum NewFileError {
    /// There is a database already, or there was one.
    #[error("{0} already exists, and a copy never replaces a database. Set storage.data_dir to another folder")]
    NotEmpty(PathBuf),
    /// The file system refuses, or somebody else is at work there.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl NewFile {
    /// Begins a database in that folder. One that was begun before and not finished is begun anew.
    pub fn create(folder: &Path, identity: StoreIdentity, now: Timestamp) -> Result<Self, NewFileError> {
        create_folder(folder)?;
        let owner = Owner::claim(folder, now)?;
        let path = folder.join(DATABASE_FILE);
        let (fresh, marker) = (path.with_extension(COPYING), folder.join(MARKER_FILE));
        let is_unfinished = fresh.exists();
        for there in [&path, &marker] {
            if there.exists() && !(is_unfinished && there == &marker) {
                return Err(NewFileError::NotEmpty(there.clone()));
            }
        }
        remove(&fresh)?;
        let db = open_database(&fresh, CACHE_BYTES)?;
        write_private(&marker, &marker_text(identity.store_id))?;
        let failed = |source: StorageError| OpenError::failed(&fresh, source);
        initialise(&db, identity.store_id).map_err(failed)?;
        let engine = RedbEngine::new(OwnedDatabase::elsewhere(db), fresh.clone(), Seal::NONE);
        if let Some(check) = identity.sealed_with {
            let sealed = || -> Result<(), StorageError> {
                let transaction = engine.db().begin()?;
                transaction.open_table(tables::META)?.insert(tables::SEALED_WITH, check)?;
                engine.db().commit(transaction)
            };
            sealed().map_err(failed)?;
        }
        Ok(Self { filling: Filling::of(engine), fresh, path, owner })
    }
}

fn remove(path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(file_error(path, error)),
        _ => Ok(()),
    }
}

impl RowTarget for NewFile {
    fn put(&mut self, table: &'static Table, key: Key, row: Vec<u8>) -> Result<(), StorageError> {
        self.filling.put(table, key, row)
    }

    fn put_rest(&mut self, rest: &Rest) -> Result<(), StorageError> {
        self.filling.put_rest(rest)
    }
}

impl NewStore for NewFile {
    type Filled = RedbEngine;

    fn filled(&self) -> &RedbEngine {
        self.filling.filled()
    }

    fn finish(self) -> Result<(), OpenError> {
        let Self { filling, fresh, path, owner } = self;
        // Closed before it is checked and renamed.
        drop(filling);
        let unsound = |reason: String| OpenError::failed(&fresh, StorageError::Codec(reason));
        let verified = catch_panic::catch_redb_panic(|| verify_database(&fresh));
        match verified.unwrap_or_else(|| Err(OpenError::unreadable(&fresh).into())) {
            Ok(Verified::Database(report)) => {
                if let Some(fault) = report.faults.into_iter().next() {
                    return Err(unsound(fault));
                }
            }
            Ok(_) => {}
            Err(BackupError::Open(error)) => return Err(error),
            Err(error) => return Err(unsound(error.to_string())),
        }
        owner.check()?;
        fs::rename(&fresh, &path).map_err(|error| file_error(&path, error))?;
        sync_folder_of(&path)
    }

    fn give_up(self) {
        let Self { filling, fresh, path, owner } = self;
        drop(filling);
        // What cannot be removed is begun anew by the next copy.
        if remove(&fresh).is_ok() {
            drop(remove(&path.with_file_name(MARKER_FILE)));
        }
        drop(owner);
    }
}
