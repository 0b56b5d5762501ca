//! Upgrades a store of an earlier format when it is first opened: writes a backup in the old format beside it, then
//! moves everything, some rows a commit. An upgrade that was interrupted goes on. Runs on the main thread, with exclusive access.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase as _};

use crate::clock::Clock;
use crate::storage::error::{OpenError, StorageError};
use crate::storage::redb::copy::dump;
use crate::storage::redb::copy::error::BackupError;
use crate::storage::redb::copy::read_backup::verify_backup;
use crate::storage::redb::file::catch_panic;
use crate::storage::redb::file::disk::free_bytes;
use crate::storage::redb::file::folder::{create_private_file, file_error, sync_folder_of};
use crate::storage::redb::file::formats::run_steps;
use crate::storage::redb::file::progress::Progress;
use crate::storage::redb::tables::{self, FORMAT_VERSION};

/// Upgrades the database at `path` from that format.
pub(in crate::storage) fn upgrade(db: &Database, path: &Path, format: u128) -> Result<(), OpenError> {
    if format == FORMAT_VERSION {
        return Ok(());
    }
    let kept = path.with_file_name(format!("before-format-{FORMAT_VERSION}.bak"));
    let is_begun = is_begun(db).map_err(|source| OpenError::failed(path, source))?;
    if is_begun {
        log::info!("continuing the upgrade of {} from format {format} to {FORMAT_VERSION}", path.display());
    } else {
        log::info!("upgrading {} from format {format} to format {FORMAT_VERSION}", path.display());
        check_free_space(path, format)?;
    }
    let not_upgraded =
        |reason: String| OpenError::NotUpgraded { path: path.to_owned(), format, known: FORMAT_VERSION, reason };
    let done = catch_panic::catch_redb_panic(|| {
        if !is_begun {
            log::info!("writing a backup of format {format} to {}", kept.display());
            back_up(db, &kept, format).map_err(|error| not_upgraded(error.to_string()))?;
        }
        run_steps(db).map_err(|error| not_upgraded(error.to_string()))
    });
    done.unwrap_or_else(|| Err(OpenError::unreadable(path)))?;
    log::info!(
        "{} now has format {FORMAT_VERSION}; you can delete {} once everything works",
        path.display(),
        kept.display()
    );
    Ok(())
}

/// Whether an upgrade has begun that was not finished, which it never does without a backup.
fn is_begun(db: &Database) -> Result<bool, StorageError> {
    Ok(db.begin_read()?.open_table(tables::META)?.get(tables::UPGRADED_FROM)?.is_some())
}

/// The backup is no larger than the database, and moved rows exist twice until the commit.
fn check_free_space(path: &Path, format: u128) -> Result<(), OpenError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let needed_bytes = fs::metadata(path).map_err(|error| file_error(path, error))?.len().saturating_mul(2);
    let free_bytes = free_bytes(folder).unwrap_or(u64::MAX);
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    Err(OpenError::NoRoom { path: path.to_owned(), format, known: FORMAT_VERSION, free_bytes, needed_bytes })
}

/// Writes a backup under a temporary name, verifies it, and renames it.
fn back_up(db: &Database, kept: &Path, format: u128) -> Result<(), BackupError> {
    let unfinished = kept.with_extension("part");
    let result = write_backup(db, &unfinished, format).and_then(|()| {
        verify_backup(&unfinished)?;
        fs::rename(&unfinished, kept).map_err(|error| file_error(kept, error))?;
        Ok(sync_folder_of(kept)?)
    });
    if result.is_err() {
        drop(fs::remove_file(&unfinished));
    }
    result
}

fn write_backup(db: &Database, path: &Path, format: u128) -> Result<(), BackupError> {
    let failed = |error| file_error(path, error);
    let mut file = create_private_file(path).map_err(failed)?;
    let transaction = db.begin_read().map_err(StorageError::from);
    let mut progress = Progress::of("backup");
    transaction
        .map_err(dump::DumpError::from)
        .and_then(|rows| {
            dump::write(&rows, format, &mut file, Clock::start().wall(), &mut |done, all| progress.report(done, all))
        })
        .map_err(|source| BackupError::Dump { path: PathBuf::from(path), source })?;
    file.flush().and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(())
}
