//! What commands do with whole files while no server runs: verify and compact, and what a restore begins with. Runs on
//! the main thread.

use std::fs;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use redb::{Database, Durability, TableDefinition, TableHandle as _};

use super::damage;
use super::database_file::{check_magic, check_pages, open_sound, open_to_look};
use super::dump::{self, DumpError, Head, Manifest, Source};
use super::error::{OpenError, StorageError};
use super::folder::{DATABASE_FILE, file_error};
use super::migrate;
use super::open::{Identity, check_format};
use super::owner::Owner;
use super::record::EventRow;
use super::tables::{self, Visit};
use super::verify::{self, Findings};
use crate::clock::Clock;
use crate::domain::EventId;

/// Enough for any of these.
pub(super) const CACHE_BYTES: usize = 32 * 1024 * 1024;

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
    /// There was less room than was needed.
    #[error(
        "{0} became full while the backup was read into it; what was written was removed, and nothing was switched. Make room there, or raise the quota"
    )]
    Full(PathBuf),
}

impl BackupError {
    /// The same, in plain words if it is that the folder became full.
    pub(super) fn with_room_in(self, folder: &Path) -> Self {
        let is_full = match &self {
            Self::Open(OpenError::Full { .. }) => true,
            Self::Dump { source: DumpError::Storage(source), .. } => source.is_full(),
            _ => false,
        };
        if is_full { Self::Full(folder.to_owned()) } else { self }
    }

    /// Is it about what stands in a file, and not about getting at it?
    #[must_use]
    pub fn is_of_the_content(&self) -> bool {
        match self {
            Self::Neither { .. } => true,
            Self::Dump { source, .. } => {
                matches!(source, DumpError::CutShort | DumpError::Damaged(_) | DumpError::Body(_))
            }
            Self::Open(error) => matches!(error, OpenError::Damaged { .. } | OpenError::NotOurs { .. }),
            Self::Faults(_) | Self::Meanwhile(_) | Self::NoSpace { .. } | Self::Full(_) => false,
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

pub(super) fn verify_database(path: &Path) -> Result<Verified, BackupError> {
    let failed = |source: StorageError| OpenError::failed(path, source);
    let mut db = open_to_look(path, CACHE_BYTES)?;
    let Identity { format, .. } = check_format(&db, path)?;
    let is_sound = check_pages(&mut db, path)?;
    if is_sound && format < tables::FORMAT_VERSION {
        return Ok(Verified::Older(format));
    }
    let mut findings =
        if format < tables::FORMAT_VERSION { Findings::default() } else { verify::rows(&db).map_err(failed)? };
    if !is_sound {
        findings.faults.insert(0, "pages that did not fit their checksums; the next start repairs them".to_owned());
    }
    Ok(Verified::Database(findings))
}

pub(super) fn open_backup(path: &Path) -> Result<Source<BufReader<fs::File>>, BackupError> {
    let file = open_file(path)?;
    Source::open(BufReader::with_capacity(256 * 1024, file)).map_err(|source| dump_error(path, source))
}

pub(super) fn dump_error(path: &Path, source: DumpError) -> BackupError {
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

/// Reads the rows of a backup, and puts them into a database if there is one.
pub(super) struct RowReader<'a, R> {
    pub source: Source<R>,
    pub manifest: Manifest,
    pub into: Option<&'a Database>,
    pub progress: &'a mut dyn FnMut(u64),
    pub done: u64,
    /// The first event whose body is damaged; what it means is known when the backup itself is known to be whole.
    pub damaged_body: Option<EventId>,
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
