//! Reads a backup row by row, to verify it or to fill a database with it. Runs on the main thread.

use std::fs;
use std::io::{BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use redb::{Database, Durability, TableDefinition, TableHandle as _};

use crate::domain::EventId;
use crate::storage::error::StorageError;
use crate::storage::redb::copy::dump::{self, BackupReader, DumpError, Head, Manifest};
use crate::storage::redb::copy::error::BackupError;
use crate::storage::redb::file::folder::file_error;
use crate::storage::redb::file::formats;
use crate::storage::redb::tables::{self, Visit};
use crate::storage::rows::record::EventRow;
use crate::storage::rows::{digest, format_2};

/// Whether the file starts like a backup.
pub fn is_backup(path: &Path) -> Result<bool, BackupError> {
    let mut start = Vec::new();
    let file = open_file(path)?;
    let length = u64::try_from(dump::MAGIC.len()).unwrap_or(0);
    file.take(length).read_to_end(&mut start).map_err(|error| file_error(path, error))?;
    Ok(start == dump::MAGIC)
}

/// Opens a regular file for reading; opening a pipe would block.
fn open_file(path: &Path) -> Result<fs::File, BackupError> {
    let failed = |error| file_error(path, error);
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(BackupError::Neither { path: path.to_owned(), found: "not a regular file".to_owned() });
    }
    Ok(fs::File::open(path).map_err(failed)?)
}

pub(in crate::storage) fn open_backup(path: &Path) -> Result<BackupReader<BufReader<fs::File>>, BackupError> {
    let file = open_file(path)?;
    BackupReader::open(BufReader::with_capacity(256 * 1024, file)).map_err(|source| dump_error(path, source))
}

pub(in crate::storage) fn dump_error(path: &Path, source: DumpError) -> BackupError {
    BackupError::Dump { path: path.to_owned(), source }
}

/// Reads a whole backup.
pub(in crate::storage) fn verify_backup(path: &Path) -> Result<(Head, Manifest), BackupError> {
    let source = open_backup(path)?;
    let head = source.head.clone();
    let manifest = Manifest::default();
    let mut counter = RowReader { source, manifest, into: None, progress: &mut |_| {}, done: 0, damaged_body: None };
    let failed = |source| dump_error(path, source);
    formats::visit_all(head.format.into(), &mut counter).map_err(failed)?;
    let RowReader { source, manifest, damaged_body, .. } = counter;
    source.finish(&manifest).map_err(failed)?;
    match damaged_body {
        Some(event) => Err(failed(DumpError::Body(event))),
        None => Ok((head, manifest)),
    }
}

/// The event of a row whose body does not match its digest. The backup's checksum does not cover damage from
/// before the backup.
fn damaged_body(format: u64, key: &[u8], row: &[u8]) -> Option<EventId> {
    let event = EventId(key.last_chunk().map_or(0, |event| u128::from_le_bytes(*event)));
    let read = if format < 3 {
        format_2::event(event, row)
    } else {
        let row = digest::checked(key, row, digest::named("event", event));
        row.and_then(|row| EventRow::decode(row, |_| Ok(Arc::default())))
    };
    (!read.is_ok_and(|row| row.content.is_intact())).then_some(event)
}

/// Reads the rows of a backup, and puts them into a database if there is one.
pub(in crate::storage) struct RowReader<'a, R> {
    pub source: BackupReader<R>,
    pub manifest: Manifest,
    pub into: Option<&'a Database>,
    pub progress: &'a mut dyn FnMut(u64),
    pub done: u64,
    /// The first event with a damaged body; reported once the backup itself is known to be intact.
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
                self.damaged_body = damaged_body(self.source.head.format, &key, &value);
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

    fn has(&mut self, name: &str) -> Result<bool, DumpError> {
        self.source.is_at_table(name)
    }
}
