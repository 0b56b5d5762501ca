//! Puts a backup in the place of a database while no server runs. It makes the new database under another name, checks
//! it, keeps the old file beside it, and switches with one rename. Whenever it is cut off, the old file or the new one is
//! in place, whole; where a file cannot have two names, there may be neither, and the marker says that one is missing.
//! Runs on the main thread.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use redb::Database;
use serde_json::json;

use crate::domain::audit::{Actor, AuditRecord, Change, Origin};
use crate::domain::ids::EventIds;
use crate::domain::{AccountId, AuditId, Timestamp};
use crate::storage::error::{OpenError, StorageError};
use crate::storage::random::Randomness;
use crate::storage::redb::copy::backup::{Verified, verify_database};
use crate::storage::redb::copy::dump::{Head, Manifest};
use crate::storage::redb::copy::error::BackupError;
use crate::storage::redb::copy::read_backup::{RowReader, dump_error, open_backup, verify_backup};
use crate::storage::redb::copy::reseal;
use crate::storage::redb::file::catch_panic;
use crate::storage::redb::file::database_file::{CACHE_BYTES, check_magic, open_database};
use crate::storage::redb::file::folder::{
    DATABASE_FILE, MARKER_FILE, RESTORING, create_folder, file_error, marker_text, sync_folder_of, write_private,
};
use crate::storage::redb::file::formats;
use crate::storage::redb::file::identity::check_format;
use crate::storage::redb::file::owner::Owner;
use crate::storage::redb::{audit, tables, time};

/// After a restore, numbers continue this far beyond the greatest known one, so that none is reused even if some were
/// assigned after the backup and the old file cannot be read.
const NUMBER_GAP: u128 = 1000;

/// Number of names that are tried for the kept file within one second.
const KEPT_OF_A_SECOND: u32 = 1000;

/// The result of a restore.
#[derive(Debug)]
pub struct Restored {
    /// What the backup says of itself.
    pub head: Head,
    /// Where the old database was kept, if there was one.
    pub kept: Option<PathBuf>,
    /// Whether the old database holds unencrypted signing secrets.
    pub kept_has_clear_secrets: bool,
    /// Whether the new database holds unencrypted signing secrets.
    pub has_clear_secrets: bool,
}

/// Restores a backup over the database in that folder. The old file is kept. `progress` is called with the rows done
/// and the total.
pub fn restore(
    backup: &Path,
    folder: &Path,
    (now, user): (Timestamp, &str),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Restored, BackupError> {
    // First of all, so that an invalid backup changes nothing.
    let (_, manifest) = verify_backup(backup)?;
    let all = manifest.rows.values().sum();
    create_folder(folder)?;
    let path = folder.join(DATABASE_FILE);
    // Held until after the switch, so that no server starts meanwhile; whether there is one is looked at again.
    let owner = Owner::claim(folder, now)?;
    let was_there = path.exists();
    let old = was_there.then(|| open_old(&path)).transpose()?.flatten();
    let size_bytes = fs::metadata(backup).map_err(|error| file_error(backup, error))?.len();
    // What is in the way of less is found on the way.
    let needed_bytes = size_bytes.saturating_add(size_bytes / 8);
    let free_bytes = crate::storage::redb::file::disk::free_bytes(folder).unwrap_or(u64::MAX);
    if free_bytes < needed_bytes {
        return Err(BackupError::NoSpace { path: folder.to_owned(), free_bytes, needed_bytes });
    }
    let fresh = path.with_extension(RESTORING);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file_error(&fresh, error).into()),
        _ => {}
    }
    let made = make(backup, &fresh, (old.as_ref(), now, user), &mut |done| progress(done, all));
    let Filled { head, store_id, has_clear_secrets } = made.map_err(|error| {
        // What it takes up is needed; a server that starts would remove it too.
        drop(fs::remove_file(&fresh));
        error.with_room_in(folder)
    })?;
    owner.check().map_err(OpenError::from)?;
    if was_there != path.exists() {
        return Err(BackupError::Meanwhile(path));
    }
    let (marker, text) = (folder.join(MARKER_FILE), marker_text(store_id));
    let linked = was_there.then(|| keep(&path, now, |from, to| fs::hard_link(from, to)));
    let kept = match linked.transpose() {
        Ok(Some(kept)) => {
            if fs::read(&marker).is_ok_and(|found| found != text.as_bytes()) {
                // If interrupted in between, the next start writes the marker for whichever database it finds.
                fs::remove_file(&marker).map_err(|error| file_error(&marker, error))?;
                sync_folder_of(&path)?;
            }
            Some(kept)
        }
        Err(error) if !has_no_links(&error) => return Err(file_error(&path, error).into()),
        // For as long as nothing has the name of the database, a start says that it is missing, and makes none.
        moved_or_new => {
            write_private(&marker, &text)?;
            sync_folder_of(&path)?;
            let moved = moved_or_new.is_err().then(|| keep(&path, now, move_away)).transpose();
            moved.map_err(|error| file_error(&path, error))?
        }
    };
    fs::rename(&fresh, &path).map_err(|error| file_error(&path, error))?;
    write_private(&marker, &text)?;
    sync_folder_of(&path)?;
    let kept_has_clear_secrets = old.as_ref().is_some_and(reseal::has_clear_secrets);
    drop(old);
    Ok(Restored { head, kept, kept_has_clear_secrets, has_clear_secrets })
}

/// Gives the database a second name, or moves it there: one that nothing has yet.
fn keep(path: &Path, now: Timestamp, give: impl Fn(&Path, &Path) -> io::Result<()>) -> io::Result<PathBuf> {
    let named = |further: &str| path.with_extension(format!("before-restore-{}{further}", now.as_seconds()));
    let mut kept = named("");
    for number in 2..KEPT_OF_A_SECOND {
        match give(path, &kept) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => kept = named(&format!("-{number}")),
            result => return result.map(|()| kept.clone()),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Does that mean that a file of this file system cannot have two names?
fn has_no_links(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported | ErrorKind::TooManyLinks)
}

/// Nobody else makes names there meanwhile, as the folder is this process's.
fn move_away(from: &Path, to: &Path) -> io::Result<()> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(from, to),
    }
}

/// The old database, if it can be opened; it may be damaged, which is why it is being restored.
fn open_old(path: &Path) -> Result<Option<Database>, BackupError> {
    if check_magic(path).is_err() {
        return Ok(None);
    }
    match open_database(path, CACHE_BYTES) {
        Ok(db) => Ok(Some(db)),
        Err(error @ OpenError::InUse { .. }) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// What was restored.
struct Filled {
    head: Head,
    store_id: u128,
    has_clear_secrets: bool,
}

/// Fills a new database, and looks whether it is sound.
fn make(
    backup: &Path,
    fresh: &Path,
    from: (Option<&Database>, Timestamp, &str),
    progress: &mut dyn FnMut(u64),
) -> Result<Filled, BackupError> {
    let filled = fill(backup, fresh, from, progress)?;
    let verified = catch_panic::catch_redb_panic(|| verify_database(fresh));
    match verified.ok_or_else(|| BackupError::Faults("the database cannot be read".to_owned()))?? {
        Verified::Database(findings) => {
            findings.faults.into_iter().next().map_or(Ok(filled), |fault| Err(BackupError::Faults(fault)))
        }
        _ => Ok(filled),
    }
}

fn fill(
    backup: &Path,
    fresh: &Path,
    (old, now, user): (Option<&Database>, Timestamp, &str),
    progress: &mut dyn FnMut(u64),
) -> Result<Filled, BackupError> {
    let db = open_database(fresh, CACHE_BYTES)?;
    let source = open_backup(backup)?;
    let head = source.head.clone();
    let mut reader =
        RowReader { source, manifest: Manifest::default(), into: Some(&db), progress, done: 0, damaged_body: None };
    let failed = |source| dump_error(backup, source);
    formats::visit_all(head.format.into(), &mut reader).map_err(failed)?;
    let RowReader { source, manifest, .. } = reader;
    source.finish(&manifest).map_err(failed)?;
    let failed = |source| OpenError::failed(fresh, source);
    // An upgrade's backup would be this backup.
    formats::run_steps(&db).map_err(failed)?;
    skip_numbers(&db, old).map_err(failed)?;
    time::skip_to(&db, now, old).map_err(failed)?;
    note(&db, &head, (now, user)).map_err(failed)?;
    let has_clear_secrets = reseal::has_clear_secrets(&db);
    Ok(Filled { head, store_id: check_format(&db, fresh)?.store_id, has_clear_secrets })
}

/// Records in the audit of every account that a backup was restored, and of when the last backup is.
fn note(db: &Database, head: &Head, (now, user): (Timestamp, &str)) -> Result<(), StorageError> {
    use redb::{ReadableDatabase as _, ReadableTable as _};
    let rows = db.begin_read()?;
    let mut ids = EventIds::after(time::last_event(&rows)?);
    let mut random = Randomness::new();
    let after = json!({"created_at": head.created_at, "version": head.version, "format": head.format});
    let transaction = db.begin_write()?;
    for account in rows.open_table(tables::ACCOUNTS)?.iter()? {
        let change = Change {
            after: after.as_object().cloned(),
            ..Change::of(AccountId(account?.0.value()), "backup.restored", "server".to_owned())
        };
        let actor = Actor::Operator { user: user.to_owned() };
        let origin = Origin { actor, request_id: String::new(), source: None };
        let id = AuditId(ids.next(now, random.next_u128()?).0);
        audit::put(&transaction, &AuditRecord { id, origin, change })?;
    }
    if let Some(at) = Timestamp::parse(&head.created_at) {
        transaction.open_table(tables::META)?.insert(tables::LAST_BACKUP_MS, u128::from(at.as_ms()))?;
    }
    transaction.commit()?;
    Ok(())
}

fn skip_numbers(db: &Database, old: Option<&Database>) -> Result<(), StorageError> {
    use redb::{ReadableDatabase as _, ReadableTable as _};
    let transaction = db.begin_write()?;
    {
        let mut meta = transaction.open_table(tables::META)?;
        for counter in [tables::NEXT_ACCOUNT, tables::NEXT_KEY, tables::NEXT_SUBSCRIPTION] {
            let mut next = meta.get(counter)?.map_or(1, |row| row.value());
            // The gap covers what cannot be read of the old file.
            if let Some(old) = old
                && let Ok(old) = old.begin_read()?.open_table(tables::META)
            {
                next = next.max(old.get(counter)?.map_or(1, |row| row.value()));
            }
            meta.insert(counter, next + NUMBER_GAP)?;
        }
    }
    transaction.commit()?;
    Ok(())
}
