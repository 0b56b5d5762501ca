//! Re-encrypts all signing secrets of a store with another key. Runs on the main thread, with exclusive access.
//!
//! The whole database is rewritten under a temporary name and switched by one rename: freed pages keep their content,
//! so a secret changed in place could still be read from the file.

use std::fs;
use std::path::Path;

use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use redb::{TableHandle as _, WriteTransaction};

use crate::clock::Clock;
use crate::domain::SubscriptionId;
use crate::storage::error::{KeyFileError, OpenError, StorageError};
use crate::storage::redb::copy::error::BackupError;
use crate::storage::redb::file::database_file::{CACHE_BYTES, check_magic, open_checked, open_database};
use crate::storage::redb::file::disk::free_bytes;
use crate::storage::redb::file::durable::begin;
use crate::storage::redb::file::folder::{DATABASE_FILE, SEALING, file_error, sync_folder_of};
use crate::storage::redb::file::identity::{Identity, check_format};
use crate::storage::redb::file::migrate;
use crate::storage::redb::file::owner::Owner;
use crate::storage::redb::small_rows::subscription_row;
use crate::storage::redb::tables::{self, Visit};
use crate::storage::rows::subscription_record;
use crate::storage::sealing::Seal;

/// Opens the database in that folder with one key and re-encrypts its secrets with another, or with none. Returns their
/// number.
pub fn change_key(folder: &Path, from: &Seal, to: &Seal) -> Result<u64, BackupError> {
    let path = folder.join(DATABASE_FILE);
    check_magic(&path)?;
    let _owner = Owner::claim(folder, Clock::start().wall())?;
    let db = open_checked(&path, CACHE_BYTES)?.db;
    let Identity { format, .. } = check_format(&db, &path)?;
    check_key(&db, &path, from)?;
    migrate::upgrade(&db, &path, format)?;
    rewrite(&db, &path, from, to)
}

/// Checks that this is the key the secrets are encrypted with.
pub(in crate::storage) fn check_key(db: &Database, path: &Path, seal: &Seal) -> Result<(), OpenError> {
    match (stored_check(db, path)?, seal.check()) {
        (None, _) => Ok(()),
        (Some(stored), Some(given)) if stored == given => Ok(()),
        (Some(_), Some(_)) => Err(OpenError::WrongKey { path: path.to_owned() }),
        (Some(_), None) => Err(OpenError::KeyNeeded { path: path.to_owned() }),
    }
}

/// The error for a store whose key file cannot be used.
pub(in crate::storage) fn without_key(db: &Database, path: &Path, cause: KeyFileError) -> Result<OpenError, OpenError> {
    Ok(match stored_check(db, path)? {
        Some(_) => OpenError::KeyLost { path: path.to_owned(), cause },
        None => OpenError::KeyFile(cause),
    })
}

fn stored_check(db: &Database, path: &Path) -> Result<Option<u128>, OpenError> {
    meta(db, tables::SEALED_WITH).map_err(|source| OpenError::failed(path, source))
}

fn meta(db: &Database, key: &'static str) -> Result<Option<u128>, StorageError> {
    Ok(db.begin_read()?.open_table(tables::META)?.get(key)?.map(|row| row.value()))
}

/// What has to happen before the store can be used with this key.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::storage) enum EncryptionStep {
    /// Nothing.
    None,
    /// Record the key; no secret was ever stored.
    Mark,
    /// Encrypt what was stored without a key.
    Rewrite,
}

pub(in crate::storage) fn step_before_use(
    db: &Database,
    path: &Path,
    seal: &Seal,
) -> Result<EncryptionStep, OpenError> {
    if seal.check().is_none() || stored_check(db, path)?.is_some() {
        return Ok(EncryptionStep::None);
    }
    let had_secrets = meta(db, tables::NEXT_SUBSCRIPTION);
    let had_secrets = had_secrets.map_err(|source| OpenError::failed(path, source))?;
    Ok(if had_secrets.is_some() { EncryptionStep::Rewrite } else { EncryptionStep::Mark })
}

/// Whether the file certainly holds unencrypted signing secrets. Those of deleted subscriptions stay in free pages
/// until overwritten.
pub(in crate::storage) fn has_clear_secrets(db: &Database) -> bool {
    let is_sealed = meta(db, tables::SEALED_WITH).map(|check| check.is_some());
    let had_secrets = meta(db, tables::NEXT_SUBSCRIPTION).map(|next| next.is_some());
    matches!((is_sealed, had_secrets), (Ok(false), Ok(true)))
}

/// Records in a store without secrets which key they will be encrypted with.
pub(in crate::storage) fn mark(db: &Database, seal: &Seal) -> Result<(), StorageError> {
    let mut transaction = begin(db)?;
    note_key(&mut transaction, seal)?;
    transaction.commit()?;
    Ok(())
}

fn note_key(transaction: &mut WriteTransaction, seal: &Seal) -> Result<(), StorageError> {
    let mut meta = transaction.open_table(tables::META)?;
    match seal.check() {
        Some(check) => meta.insert(tables::SEALED_WITH, check)?,
        None => meta.remove(tables::SEALED_WITH)?,
    };
    Ok(())
}

/// Rewrites the database. An interruption leaves either the old file or the new one intact.
pub(in crate::storage) fn rewrite(db: &Database, path: &Path, from: &Seal, to: &Seal) -> Result<u64, BackupError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let needed_bytes = fs::metadata(path).map_err(|error| file_error(path, error))?.len();
    let free_bytes = free_bytes(folder).unwrap_or(u64::MAX);
    if free_bytes < needed_bytes {
        return Err(BackupError::NoSpace { path: folder.to_owned(), free_bytes, needed_bytes });
    }
    let new_file_path = path.with_extension(SEALING);
    match fs::remove_file(&new_file_path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(file_error(&new_file_path, error).into());
        }
        _ => {}
    }
    let into = open_database(&new_file_path, CACHE_BYTES)?;
    let failed = |source| OpenError::failed(path, source);
    let count = copy(db, &into, from, to).map_err(failed)?;
    drop(into);
    fs::rename(&new_file_path, path).map_err(|error| file_error(path, error))?;
    sync_folder_of(path)?;
    Ok(count)
}

fn copy(db: &Database, into: &Database, from: &Seal, to: &Seal) -> Result<u64, StorageError> {
    let rows = db.begin_read()?;
    let mut transaction = begin(into)?;
    tables::visit_all(&mut Copy { from: &rows, into: &transaction })?;
    let mut count = 0;
    {
        let mut subscriptions = transaction.open_table(tables::SUBSCRIPTIONS)?;
        for row in rows.open_table(tables::SUBSCRIPTIONS)?.iter()? {
            let (number, row) = row?;
            let id = SubscriptionId(number.value());
            let subscription = subscription_row(id, row.value())?.open(id, from)?;
            let row = subscription_record::encode(&subscription, to)?;
            subscriptions.insert(id.0, tables::seal::<u32>(id.0, row).as_slice())?;
            count += 1;
        }
    }
    note_key(&mut transaction, to)?;
    transaction.commit()?;
    Ok(count)
}

struct Copy<'a> {
    from: &'a ReadTransaction,
    into: &'a WriteTransaction,
}

impl Visit for Copy<'_> {
    type Error = StorageError;

    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), StorageError> {
        let mut into = self.into.open_table(table)?;
        if table.name() == tables::SUBSCRIPTIONS.name() {
            return Ok(());
        }
        for row in self.from.open_table(table)?.iter()? {
            let (key, value) = row?;
            into.insert(key.value(), value.value())?;
        }
        Ok(())
    }

    fn has(&mut self, name: &str) -> Result<bool, StorageError> {
        tables::has(self.from, name)
    }
}
