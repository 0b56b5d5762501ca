//! What commands do with whole files while no server runs: verify, restore, compact. Runs on the main thread.
//!
//! A restore builds the new database under another name, checks it, keeps the old file beside it, and switches with
//! one rename; whenever it is cut off, the old file or the new one is in place, whole.

use std::fs;
use std::io::{BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use redb::{Database, Durability, TableDefinition, TableHandle as _};

use super::damage;
use super::database_file::{check_magic, check_pages, open_database, open_sound};
use super::dump::{self, DumpError, Head, Manifest, Source};
use super::error::{OpenError, StorageError};
use super::folder::{
    DATABASE_FILE, MARKER_FILE, RESTORING, file_error, make_folder, marker_text, sync_folder_of, write_private,
};
use super::open::{Identity, check_format};
use super::owner::Owner;
use super::record::EventRow;
use super::tables::{self, Visit};
use super::verify::{self, Findings};
use super::{migrate, reseal, service_time};
use crate::clock::Clock;
use crate::domain::{EventId, Timestamp};

/// Enough for any of these.
pub(super) const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// After a restore numbers go on this far behind the greatest that is known, so that none is used twice, also when
/// some were given out after the backup and the old file can no longer be read.
const NUMBER_GAP: u128 = 1000;

/// So many restores within one second find a name for what they keep.
const KEPT_OF_A_SECOND: u32 = 1000;

/// Why a file could not be verified, restored or compacted.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file is something else.
    #[error(
        "{path} is neither a database nor a backup of tempclock-webhooks ({found}). If it was one, it is damaged from its first bytes on: use an earlier backup"
    )]
    Neither {
        /// The file.
        path: PathBuf,
        /// What was found in it.
        found: String,
    },
    /// The backup could not be read.
    #[error("{path}: {source}")]
    Dump {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DumpError,
    },
    /// The restored copy is not right, so nothing was switched.
    #[error("the restored copy has faults, so the database was not touched; the first: {0}")]
    Faults(String),
    /// A server or a command has made or removed the database meanwhile.
    #[error(
        "{0} was made or removed while the backup was read; nothing was switched. Stop the server, and restore again"
    )]
    Meanwhile(PathBuf),
    /// There is not enough room.
    #[error("{path} has {free_bytes} bytes free and about {needed_bytes} are needed; nothing was done")]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// How much is free.
        free_bytes: u64,
        /// How much is needed.
        needed_bytes: u64,
    },
}

impl BackupError {
    /// Is it about what stands in a file, and not about getting at it?
    #[must_use]
    pub fn is_of_the_content(&self) -> bool {
        match self {
            Self::Neither { .. } => true,
            Self::Dump { source, .. } => {
                matches!(source, DumpError::CutShort | DumpError::Damaged(_) | DumpError::Body(_))
            }
            Self::Open(error) => matches!(error, OpenError::Damaged { .. } | OpenError::NotOurs { .. }),
            Self::Faults(_) | Self::Meanwhile(_) | Self::NoSpace { .. } => false,
        }
    }
}

/// A file that was looked through.
#[derive(Debug)]
pub enum Verified {
    /// A database.
    Database(Findings),
    /// A database of an earlier format, which is this, whose pages are sound.
    Older(u128),
    /// A backup that is whole.
    Backup(Head, Manifest),
}

/// What a restore has done.
#[derive(Debug)]
pub struct Restored {
    /// What the backup says of itself.
    pub head: Head,
    /// Where the old database is now, if there was one.
    pub kept: Option<PathBuf>,
    /// Signing secrets can be read from the old database.
    pub kept_has_clear_secrets: bool,
    /// Signing secrets can be read from the new one.
    pub has_clear_secrets: bool,
}

/// Does the file begin as a backup does?
pub fn is_backup(path: &Path) -> Result<bool, BackupError> {
    let mut start = Vec::new();
    let file = open_file(path)?;
    let length = u64::try_from(dump::MAGIC.len()).unwrap_or(0);
    file.take(length).read_to_end(&mut start).map_err(|error| file_error(path, error))?;
    Ok(start == dump::MAGIC)
}

/// Opens a file to read it; to open a pipe would wait for whoever writes to it.
fn open_file(path: &Path) -> Result<fs::File, BackupError> {
    let failed = |error| file_error(path, error);
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(BackupError::Neither { path: path.to_owned(), found: "no regular file".to_owned() });
    }
    Ok(fs::File::open(path).map_err(failed)?)
}

/// Looks through a database or a backup, whichever the file is.
pub fn verify(path: &Path) -> Result<Verified, BackupError> {
    if is_backup(path)? {
        let (head, manifest) = verify_backup(path)?;
        return Ok(Verified::Backup(head, manifest));
    }
    check_magic(path).map_err(|error| match error {
        OpenError::NotOurs { path, found, .. } => BackupError::Neither { path, found },
        error => error.into(),
    })?;
    let findings = damage::caught(|| verify_database(path));
    findings.unwrap_or_else(|| Err(OpenError::unreadable(path).into()))
}

fn verify_database(path: &Path) -> Result<Verified, BackupError> {
    let failed = |source: StorageError| OpenError::failed(path, source);
    let mut db = open_database(path, CACHE_BYTES)?;
    let Identity { format, .. } = check_format(&db, path)?;
    let is_sound = check_pages(&mut db, path)?;
    if is_sound && format < tables::FORMAT_VERSION {
        return Ok(Verified::Older(format));
    }
    let mut findings =
        if format < tables::FORMAT_VERSION { Findings::default() } else { verify::rows(&db).map_err(failed)? };
    if !is_sound {
        findings.faults.insert(0, "pages that did not fit their checksums; they were repaired".to_owned());
    }
    Ok(Verified::Database(findings))
}

fn open_backup(path: &Path) -> Result<Source<BufReader<fs::File>>, BackupError> {
    let file = open_file(path)?;
    Source::open(BufReader::with_capacity(256 * 1024, file)).map_err(|source| dump_error(path, source))
}

fn dump_error(path: &Path, source: DumpError) -> BackupError {
    BackupError::Dump { path: path.to_owned(), source }
}

/// Reads a whole backup.
pub(super) fn verify_backup(path: &Path) -> Result<(Head, Manifest), BackupError> {
    let source = open_backup(path)?;
    let head = source.head.clone();
    let manifest = Manifest::default();
    let mut counter = RowReader { source, manifest, into: None, progress: &mut |_| {}, done: 0, damaged_body: None };
    let failed = |source| dump_error(path, source);
    migrate::visit_all(head.format.into(), &mut counter).map_err(failed)?;
    let RowReader { source, manifest, damaged_body, .. } = counter;
    source.finish(&manifest).map_err(failed)?;
    match damaged_body {
        Some(event) => Err(failed(DumpError::Body(event))),
        None => Ok((head, manifest)),
    }
}

/// The event of a row whose body is not what was published. The checksum of a backup says nothing about what was damaged
/// before it was made.
fn damaged_body(key: &[u8], row: &[u8]) -> Option<EventId> {
    let is_intact = EventRow::decode(row).is_ok_and(|row| row.is_intact());
    let event = || key.last_chunk().map_or(0, |event| u128::from_le_bytes(*event));
    (!is_intact).then(|| EventId(event()))
}

struct RowReader<'a, R> {
    source: Source<R>,
    manifest: Manifest,
    into: Option<&'a Database>,
    progress: &'a mut dyn FnMut(u64),
    done: u64,
    /// The first event whose body is damaged; what it means is known when the backup itself is known to be whole.
    damaged_body: Option<EventId>,
}

impl<R: std::io::Read> Visit for RowReader<'_, R> {
    type Error = DumpError;

    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), DumpError> {
        self.source.table(table.name())?;
        let transaction = self.into.map(Database::begin_write).transpose().map_err(StorageError::from)?;
        let mut rows = match &transaction {
            Some(transaction) => Some(transaction.open_table(table).map_err(StorageError::from)?),
            None => None,
        };
        let mut count = 0;
        while let Some((key, value)) = self.source.row()? {
            if table.name() == tables::EVENTS.name() && self.damaged_body.is_none() {
                self.damaged_body = damaged_body(&key, &value);
            }
            if let Some(rows) = &mut rows {
                rows.insert(K::from_bytes(&key), V::from_bytes(&value)).map_err(StorageError::from)?;
            }
            count += 1;
            self.done += 1;
            if self.done.is_multiple_of(1000) {
                (self.progress)(self.done);
            }
        }
        drop(rows);
        if let Some(mut transaction) = transaction {
            transaction.set_durability(Durability::Immediate).map_err(StorageError::from)?;
            transaction.set_two_phase_commit(true);
            transaction.commit().map_err(StorageError::from)?;
        }
        self.manifest.rows.insert(table.name().to_owned(), count);
        Ok(())
    }
}

/// Puts a backup in the place of the database in that folder. The old file is kept. `progress` is told how many rows
/// are done, and of how many.
pub fn restore(
    backup: &Path,
    folder: &Path,
    now: Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Restored, BackupError> {
    // Before anything else, so that a backup that is no good changes nothing.
    let (_, manifest) = verify_backup(backup)?;
    let all = manifest.rows.values().sum();
    make_folder(folder)?;
    let path = folder.join(DATABASE_FILE);
    // Held until after the switch, so that no server starts meanwhile; whether there is one is looked at again.
    let owner = Owner::claim(folder, now)?;
    let was_there = path.exists();
    let old = was_there.then(|| open_old(&path)).transpose()?.flatten();
    let size_bytes = fs::metadata(backup).map_err(|error| file_error(backup, error))?.len();
    let needed_bytes = size_bytes.saturating_mul(3);
    let free_bytes = crate::disk::free_bytes(folder).unwrap_or(u64::MAX);
    if free_bytes < needed_bytes {
        return Err(BackupError::NoSpace { path: folder.to_owned(), free_bytes, needed_bytes });
    }
    let fresh = path.with_extension(RESTORING);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file_error(&fresh, error).into()),
        _ => {}
    }
    let Filled { head, store_id, has_clear_secrets } =
        fill(backup, &fresh, (old.as_ref(), now), &mut |done| progress(done, all))?;
    let findings = damage::caught(|| verify_database(&fresh));
    let verified = findings.ok_or_else(|| BackupError::Faults("the database cannot be read".to_owned()))??;
    if let Verified::Database(findings) = verified
        && let Some(fault) = findings.faults.first()
    {
        return Err(BackupError::Faults(fault.clone()));
    }
    owner.check().map_err(OpenError::from)?;
    if was_there != path.exists() {
        return Err(BackupError::Meanwhile(path));
    }
    let kept = was_there.then(|| keep(&path, now)).transpose()?;
    let (marker, text) = (folder.join(MARKER_FILE), marker_text(store_id));
    if !was_there {
        // Cut off from here on, the next start says that the database is missing, and makes none.
        write_private(&marker, &text)?;
        sync_folder_of(&path)?;
    } else if fs::read(&marker).is_ok_and(|found| found != text.as_bytes()) {
        // Cut off in between, the next start writes the marker for whichever of the two databases it finds.
        fs::remove_file(&marker).map_err(|error| file_error(&marker, error))?;
        sync_folder_of(&path)?;
    }
    fs::rename(&fresh, &path).map_err(|error| file_error(&path, error))?;
    write_private(&marker, &text)?;
    sync_folder_of(&path)?;
    let kept_has_clear_secrets = old.as_ref().is_some_and(reseal::has_clear_secrets);
    drop(old);
    Ok(Restored { head, kept, kept_has_clear_secrets, has_clear_secrets })
}

/// Gives the database a second name, one that nothing has yet.
fn keep(path: &Path, now: Timestamp) -> Result<PathBuf, OpenError> {
    let named = |further: &str| path.with_extension(format!("before-restore-{}{further}", now.as_seconds()));
    let mut kept = named("");
    for number in 2..KEPT_OF_A_SECOND {
        match fs::hard_link(path, &kept) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => kept = named(&format!("-{number}")),
            result => return result.map(|()| kept.clone()).map_err(|error| file_error(&kept, error)),
        }
    }
    Err(file_error(&kept, ErrorKind::AlreadyExists.into()))
}

/// The old database, if it can be opened; one that is damaged is what restores are for.
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

/// What a new database was filled with.
struct Filled {
    head: Head,
    store_id: u128,
    has_clear_secrets: bool,
}

fn fill(
    backup: &Path,
    fresh: &Path,
    (old, now): (Option<&Database>, Timestamp),
    progress: &mut dyn FnMut(u64),
) -> Result<Filled, BackupError> {
    let db = open_database(fresh, CACHE_BYTES)?;
    let source = open_backup(backup)?;
    let head = source.head.clone();
    let mut reader =
        RowReader { source, manifest: Manifest::default(), into: Some(&db), progress, done: 0, damaged_body: None };
    let failed = |source| dump_error(backup, source);
    migrate::visit_all(head.format.into(), &mut reader).map_err(failed)?;
    let RowReader { source, manifest, .. } = reader;
    source.finish(&manifest).map_err(failed)?;
    let failed = |source| OpenError::failed(fresh, source);
    // The backup itself is what an upgrade would put beside.
    migrate::run_steps(&db, head.format.into()).map_err(failed)?;
    skip_numbers(&db, old).map_err(failed)?;
    service_time::skip_to(&db, now, old).map_err(failed)?;
    let has_clear_secrets = reseal::has_clear_secrets(&db);
    Ok(Filled { head, store_id: check_format(&db, fresh)?.store_id, has_clear_secrets })
}

fn skip_numbers(db: &Database, old: Option<&Database>) -> Result<(), StorageError> {
    use redb::{ReadableDatabase as _, ReadableTable as _};
    let transaction = db.begin_write()?;
    {
        let mut meta = transaction.open_table(tables::META)?;
        for counter in [tables::NEXT_ACCOUNT, tables::NEXT_KEY, tables::NEXT_SUBSCRIPTION] {
            let mut next = meta.get(counter)?.map_or(1, |row| row.value());
            // Whatever cannot be read of the old file is covered by the gap.
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

/// Gives unused space back to the file system. Gives the size in bytes before and after.
pub fn compact(folder: &Path) -> Result<(u64, u64), BackupError> {
    let path = folder.join(DATABASE_FILE);
    let size = || fs::metadata(&path).map(|found| found.len()).map_err(|error| file_error(&path, error));
    let before = size()?;
    check_magic(&path)?;
    let _owner = Owner::claim(folder, Clock::start().wall())?;
    let mut db = open_sound(&path, CACHE_BYTES)?.db;
    let Identity { format, .. } = check_format(&db, &path)?;
    migrate::upgrade(&db, &path, format)?;
    db.compact().map_err(|error| OpenError::failed(&path, StorageError::Database(Box::new(error.into()))))?;
    drop(db);
    Ok((before, size()?))
}
