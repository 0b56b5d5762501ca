//! What commands do with whole files while no server runs: verify and compact, and what a restore begins with. Runs on
//! the main thread.

use std::fs;
use std::path::Path;

use crate::clock::Clock;
use crate::storage::error::{OpenError, StorageError};
use crate::storage::redb::copy::dump::{Head, Manifest};
use crate::storage::redb::copy::error::BackupError;
use crate::storage::redb::copy::read_backup::{is_backup, verify_backup};
use crate::storage::redb::copy::verify::{self, VerifyReport};
use crate::storage::redb::file::catch_panic;
use crate::storage::redb::file::database_file::{CACHE_BYTES, check_magic, check_pages, open_checked, open_to_look};
use crate::storage::redb::file::folder::{DATABASE_FILE, file_error};
use crate::storage::redb::file::identity::{Identity, check_format};
use crate::storage::redb::file::migrate;
use crate::storage::redb::file::owner::Owner;
use crate::storage::redb::tables::{self};

/// A verified file.
#[derive(Debug)]
pub enum Verified {
    /// A database.
    Database(VerifyReport),
    /// A database of this earlier format, with intact pages.
    Older(u128),
    /// An intact backup.
    Backup(Head, Manifest),
}

/// Verifies a database or a backup.
pub fn verify(path: &Path) -> Result<Verified, BackupError> {
    if is_backup(path)? {
        let (head, manifest) = verify_backup(path)?;
        return Ok(Verified::Backup(head, manifest));
    }
    check_magic(path).map_err(|error| match error {
        OpenError::NotOurs { path, found, .. } => BackupError::Neither { path, found },
        error => error.into(),
    })?;
    let report = catch_panic::catch_redb_panic(|| verify_database(path));
    report.unwrap_or_else(|| Err(OpenError::unreadable(path).into()))
}

pub(in crate::storage) fn verify_database(path: &Path) -> Result<Verified, BackupError> {
    let failed = |source: StorageError| OpenError::failed(path, source);
    let mut db = open_to_look(path, CACHE_BYTES)?;
    let Identity { format, .. } = check_format(&db, path)?;
    let is_sound = check_pages(&mut db, path)?;
    if is_sound && format < tables::FORMAT_VERSION {
        return Ok(Verified::Older(format));
    }
    let mut report =
        if format < tables::FORMAT_VERSION { VerifyReport::default() } else { verify::rows(&db).map_err(failed)? };
    if !is_sound {
        report.faults.insert(0, "pages that did not match their checksums; the next start repairs them".to_owned());
    }
    Ok(Verified::Database(report))
}

/// Compacts the database. Returns its size in bytes before and after.
pub fn compact(folder: &Path) -> Result<(u64, u64), BackupError> {
    let path = folder.join(DATABASE_FILE);
    let size = || fs::metadata(&path).map(|found| found.len()).map_err(|error| file_error(&path, error));
    let before = size()?;
    check_magic(&path)?;
    let _owner = Owner::claim(folder, Clock::start().wall())?;
    let mut db = open_checked(&path, CACHE_BYTES)?.db;
    let Identity { format, .. } = check_format(&db, &path)?;
    migrate::upgrade(&db, &path, format)?;
    db.compact().map_err(|error| OpenError::failed(&path, StorageError::Database(Box::new(error.into()))))?;
    drop(db);
    Ok((before, size()?))
}
