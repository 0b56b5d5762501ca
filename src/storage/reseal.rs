//! Changes what all signing secrets of a store are sealed with. Runs on the main thread, while nobody else has the
//! store.
//!
//! The whole database is written anew under another name and switched by one rename: pages that were freed keep what
//! was in them, so that a secret that was changed in place could still be read from the file.

use std::fs;
use std::path::Path;

use redb::{Database, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use redb::{TableHandle as _, WriteTransaction};

use super::backup::{BackupError, CACHE_BYTES};
use super::database_file::{check_magic, open_database, open_sound};
use super::error::{KeyFileError, OpenError, StorageError};
use super::folder::{DATABASE_FILE, SEALING, file_error, sync_folder_of};
use super::migrate;
use super::open::{Identity, check_format};
use super::owner::Owner;
use super::sealing::Seal;
use super::subscription_record::{self, SubscriptionRow};
use super::tables::{self, Visit};
use crate::clock::Clock;
use crate::disk::free_bytes;
use crate::domain::SubscriptionId;

/// Opens the database in that folder with one key and seals its secrets with another, or with none. Gives how many.
pub fn change_key(folder: &Path, from: &Seal, to: &Seal) -> Result<u64, BackupError> {
    let path = folder.join(DATABASE_FILE);
    check_magic(&path)?;
    let _owner = Owner::claim(folder, Clock::start().wall())?;
    let db = open_sound(&path, CACHE_BYTES)?.db;
    let Identity { format, .. } = check_format(&db, &path)?;
    check_key(&db, &path, from)?;
    migrate::upgrade(&db, &path, format)?;
    rewrite(&db, &path, from, to)
}

/// Is this the key that the secrets were sealed with?
pub(super) fn check_key(db: &Database, path: &Path, seal: &Seal) -> Result<(), OpenError> {
    match (stored_check(db, path)?, seal.check()) {
        (None, _) => Ok(()),
        (Some(stored), Some(given)) if stored == given => Ok(()),
        (Some(_), Some(_)) => Err(OpenError::WrongKey { path: path.to_owned() }),
        (Some(_), None) => Err(OpenError::KeyNeeded { path: path.to_owned() }),
    }
}

/// Why a store cannot be opened whose key file cannot be used.
pub(super) fn without_key(db: &Database, path: &Path, cause: KeyFileError) -> Result<OpenError, OpenError> {
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

/// What is to be done before a store with these secrets can be used with this key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    None,
    /// Note the key; no secret was ever stored.
    Mark,
    /// Seal what was stored without a key.
    Rewrite,
}

pub(super) fn step_before_use(db: &Database, path: &Path, seal: &Seal) -> Result<Step, OpenError> {
    if seal.check().is_none() || stored_check(db, path)?.is_some() {
        return Ok(Step::None);
    }
    let had_secrets = meta(db, tables::NEXT_SUBSCRIPTION);
    let had_secrets = had_secrets.map_err(|source| OpenError::failed(path, source))?;
    Ok(if had_secrets.is_some() { Step::Rewrite } else { Step::Mark })
}

/// Can signing secrets be read from the file? Not if that cannot be seen. Those of deleted subscriptions lie in pages that
/// are free until something else is written there.
pub(super) fn has_clear_secrets(db: &Database) -> bool {
    let is_sealed = meta(db, tables::SEALED_WITH).map(|check| check.is_some());
    let had_secrets = meta(db, tables::NEXT_SUBSCRIPTION).map(|next| next.is_some());
    matches!((is_sealed, had_secrets), (Ok(false), Ok(true)))
}

/// Notes in a store without secrets which key they will be sealed with.
pub(super) fn mark(db: &Database, seal: &Seal) -> Result<(), StorageError> {
    let mut transaction = begin(db)?;
    note_key(&mut transaction, seal)?;
    transaction.commit()?;
    Ok(())
}

fn begin(db: &Database) -> Result<WriteTransaction, StorageError> {
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    Ok(transaction)
}

fn note_key(transaction: &mut WriteTransaction, seal: &Seal) -> Result<(), StorageError> {
    let mut meta = transaction.open_table(tables::META)?;
    match seal.check() {
        Some(check) => meta.insert(tables::SEALED_WITH, check)?,
        None => meta.remove(tables::SEALED_WITH)?,
    };
    Ok(())
}

/// Writes the database anew. Whenever it is cut off, the old file or the new one is in place, whole.
pub(super) fn rewrite(db: &Database, path: &Path, from: &Seal, to: &Seal) -> Result<u64, BackupError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let needed_bytes = fs::metadata(path).map_err(|error| file_error(path, error))?.len();
    let free_bytes = free_bytes(folder).unwrap_or(u64::MAX);
    if free_bytes < needed_bytes {
        return Err(BackupError::NoSpace { path: folder.to_owned(), free_bytes, needed_bytes });
    }
    let fresh = path.with_extension(SEALING);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file_error(&fresh, error).into()),
        _ => {}
    }
    let into = open_database(&fresh, CACHE_BYTES)?;
    let failed = |source| OpenError::failed(path, source);
    let count = copy(db, &into, from, to).map_err(failed)?;
    drop(into);
    fs::rename(&fresh, path).map_err(|error| file_error(path, error))?;
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
            let subscription = SubscriptionRow::decode(row.value())?.open(id, from)?;
            subscriptions.insert(id.0, subscription_record::encode(&subscription, to)?.as_slice())?;
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
}
