//! The backup format: every row of every table in sequence, with counts and a SHA-256 over everything at the end. It is
//! a stream, so that it can go to a file, a pipe or a socket without temporary space. Any thread.
//!
//! A text line, then frames of a tag, a length and bytes: the head, for each table its name and its rows (a key and a
//! value), the manifest, and the digest. A stream without a matching digest is not a valid backup.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, TableDefinition, TableHandle as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::domain::{EventId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::redb::file::formats;
use crate::storage::redb::tables::{self, Visit};

/// The first bytes of every backup.
pub const MAGIC: &[u8] = b"tempclock-webhooks backup 1\n";
/// Maximum length of a frame; a larger length in a damaged stream is refused before memory is allocated.
const PART_BYTES: u32 = 64 * 1024 * 1024;

const HEAD: u8 = b'h';
const TABLE: u8 = b't';
const KEY: u8 = b'k';
const VALUE: u8 = b'v';
const MANIFEST: u8 = b'm';
const DIGEST: u8 = b'd';

/// The head of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The program's version.
    pub version: String,
    /// The layout of the tables.
    pub format: u64,
    /// Creation time, in RFC 3339.
    pub created_at: String,
    /// Number of rows that follow.
    pub rows: u64,
}

/// The manifest at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Number of rows per table.
    pub rows: BTreeMap<String, u64>,
}

/// Why a backup could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The stream could not be written or read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The store could not be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store is in PostgreSQL, which has backups of its own.
    #[error(
        "backups are for the embedded engine; this store is in PostgreSQL: back it up with pg_dump or pg_basebackup"
    )]
    NotOfThisEngine,
    /// Not a backup.
    #[error("this is not a backup of tempclock-webhooks")]
    NotABackup,
    /// The stream is truncated.
    #[error("the backup is truncated and cannot be used")]
    CutShort,
    /// The stream is damaged.
    #[error("the backup is damaged ({0}) and cannot be used")]
    Damaged(String),
    /// A body does not match its digest.
    #[error("the body of event {0} is not what was published: the database that it was made from is damaged")]
    Body(EventId),
    /// The backup was made by a newer version.
    #[error(
        "the backup has format {found}, but this version only reads formats up to {known}; install the newer version"
    )]
    Newer {
        /// Its format.
        found: u64,
        /// The newest known format.
        known: u64,
    },
}

struct Hashing<W> {
    inner: W,
    hash: Sha256,
}

impl<W: Write> Hashing<W> {
    fn frame(&mut self, tag: u8, bytes: &[u8]) -> Result<(), DumpError> {
        let length = u32::try_from(bytes.len()).map_err(|_| DumpError::Damaged("a row is too long".to_owned()))?;
        self.bytes(&[tag])?;
        self.bytes(&length.to_le_bytes())?;
        self.bytes(bytes)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), DumpError> {
        self.hash.update(bytes);
        Ok(self.inner.write_all(bytes)?)
    }
}

/// Writes everything that the transaction sees of a store of that format. `progress` is called with the rows written
/// and the total.
pub fn write(
    transaction: &ReadTransaction,
    format: u128,
    out: impl Write,
    created_at: Timestamp,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Manifest, DumpError> {
    let mut counter = Counter { transaction, rows: 0 };
    formats::visit_all(format, &mut counter)?;
    let head = Head {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        format: u64::try_from(format).unwrap_or(u64::MAX),
        created_at: created_at.to_string(),
        rows: counter.rows,
    };
    let mut out = Hashing { inner: io::BufWriter::with_capacity(256 * 1024, out), hash: Sha256::new() };
    out.bytes(MAGIC)?;
    out.frame(HEAD, &json(&head)?)?;
    let mut writer = RowWriter { transaction, out, manifest: Manifest::default(), done: 0, head, progress };
    formats::visit_all(format, &mut writer)?;
    let RowWriter { mut out, manifest, .. } = writer;
    out.frame(MANIFEST, &json(&manifest)?)?;
    let digest = out.hash.clone().finalize();
    out.frame(DIGEST, &digest)?;
    out.inner.flush()?;
    Ok(manifest)
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, DumpError> {
    serde_json::to_vec(value).map_err(|error| DumpError::Io(error.into()))
}

struct Counter<'a> {
    transaction: &'a ReadTransaction,
    rows: u64,
}

impl Visit for Counter<'_> {
    type Error = StorageError;

    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), StorageError> {
        self.rows += self.transaction.open_table(table)?.len()?;
        Ok(())
    }

    fn has(&mut self, name: &str) -> Result<bool, StorageError> {
        tables::has(self.transaction, name)
    }
}

/// Pages of a table lead to more or fewer rows than there are, or in another order.
fn pages_of(table: &str) -> DumpError {
    DumpError::Storage(StorageError::Damaged(format!("the tree of the table {table}")))
}

struct RowWriter<'a, W> {
    transaction: &'a ReadTransaction,
    out: Hashing<W>,
    manifest: Manifest,
    done: u64,
    head: Head,
    progress: &'a mut dyn FnMut(u64, u64),
}

impl<W: Write> Visit for RowWriter<'_, W> {
    type Error = DumpError;

    fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
        &mut self,
        table: TableDefinition<'static, K, V>,
    ) -> Result<(), DumpError> {
        self.out.frame(TABLE, table.name().as_bytes())?;
        let stored = self.transaction.open_table(table).map_err(StorageError::from)?;
        let mut rows = 0;
        let mut before: Option<Vec<u8>> = None;
        for row in stored.iter().map_err(StorageError::from)? {
            let (key, value) = row.map_err(StorageError::from)?;
            let key = K::as_bytes(&key.value()).as_ref().to_vec();
            if before.as_ref().is_some_and(|before| K::compare(before, &key).is_ge()) {
                return Err(pages_of(table.name()));
            }
            self.out.frame(KEY, &key)?;
            before = Some(key);
            self.out.frame(VALUE, V::as_bytes(&value.value()).as_ref())?;
            rows += 1;
            self.done += 1;
            if self.done.is_multiple_of(1000) {
                (self.progress)(self.done, self.head.rows);
            }
        }
        if rows != stored.len().map_err(StorageError::from)? {
            return Err(pages_of(table.name()));
        }
        self.manifest.rows.insert(table.name().to_owned(), rows);
        Ok(())
    }

    fn has(&mut self, name: &str) -> Result<bool, DumpError> {
        Ok(tables::has(self.transaction, name)?)
    }
}

/// An encoded key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Reads a backup frame by frame and verifies it at the end.
pub struct BackupReader<R> {
    inner: R,
    hash: Sha256,
    waiting: Option<(u8, Vec<u8>)>,
    /// The backup's head.
    pub head: Head,
}

impl<R: Read> BackupReader<R> {
    /// Reads the head.
    pub fn open(inner: R) -> Result<Self, DumpError> {
        let head = Head { version: String::new(), format: 0, created_at: String::new(), rows: 0 };
        let mut source = Self { inner, hash: Sha256::new(), waiting: None, head };
        let mut magic = vec![0; MAGIC.len()];
        source.inner.read_exact(&mut magic).map_err(|_| DumpError::NotABackup)?;
        if magic != MAGIC {
            return Err(DumpError::NotABackup);
        }
        source.hash.update(&magic);
        let head = source.part(HEAD)?;
        source.head = serde_json::from_slice(&head).map_err(|error| DumpError::Damaged(error.to_string()))?;
        let known = u64::try_from(tables::FORMAT_VERSION).unwrap_or(u64::MAX);
        if source.head.format > known {
            return Err(DumpError::Newer { found: source.head.format, known });
        }
        Ok(source)
    }

    fn next(&mut self) -> Result<(u8, Vec<u8>), DumpError> {
        if let Some(frame) = self.waiting.take() {
            return Ok(frame);
        }
        let mut front = [0; 5];
        self.inner.read_exact(&mut front).map_err(cut_short)?;
        let [tag, length @ ..] = front;
        let length = u32::from_le_bytes(length);
        if length > PART_BYTES {
            return Err(DumpError::Damaged("a part claims to be longer than any can be".to_owned()));
        }
        let mut bytes = Vec::new();
        let read = self.inner.by_ref().take(length.into()).read_to_end(&mut bytes)?;
        if u64::try_from(read).unwrap_or(0) < u64::from(length) {
            return Err(DumpError::CutShort);
        }
        if tag != DIGEST {
            self.hash.update(front);
            self.hash.update(&bytes);
        }
        Ok((tag, bytes))
    }

    fn part(&mut self, wanted: u8) -> Result<Vec<u8>, DumpError> {
        match self.next()? {
            (tag, bytes) if tag == wanted => Ok(bytes),
            (tag, _) => Err(DumpError::Damaged(format!("a part {tag:#x} where {wanted:#x} was expected"))),
        }
    }

    /// Advances to the rows of that table.
    pub fn table(&mut self, name: &str) -> Result<(), DumpError> {
        let found = self.part(TABLE)?;
        if found == name.as_bytes() {
            return Ok(());
        }
        Err(DumpError::Damaged(format!("table {} where {name} was expected", String::from_utf8_lossy(&found))))
    }

    /// Whether the rows of that table follow.
    pub fn is_at_table(&mut self, name: &str) -> Result<bool, DumpError> {
        let (tag, bytes) = self.next()?;
        let is_it = tag == TABLE && bytes == name.as_bytes();
        self.waiting = Some((tag, bytes));
        Ok(is_it)
    }

    /// The next row of the table; `None` at its end.
    pub fn row(&mut self) -> Result<Option<Row>, DumpError> {
        let (tag, bytes) = self.next()?;
        if tag == KEY {
            return Ok(Some((bytes, self.part(VALUE)?)));
        }
        self.waiting = Some((tag, bytes));
        Ok(None)
    }

    /// Reads the end. `Ok` means that the whole backup is intact.
    pub fn finish(mut self, counted: &Manifest) -> Result<(), DumpError> {
        let manifest = self.part(MANIFEST)?;
        let manifest: Manifest =
            serde_json::from_slice(&manifest).map_err(|error| DumpError::Damaged(error.to_string()))?;
        let digest = self.part(DIGEST)?;
        if digest != self.hash.finalize().as_slice() {
            return Err(DumpError::Damaged("its checksum does not match".to_owned()));
        }
        if manifest != *counted {
            return Err(DumpError::Damaged("its tables do not have the rows that it lists".to_owned()));
        }
        if self.inner.by_ref().take(1).read_to_end(&mut Vec::new())? > 0 {
            return Err(DumpError::Damaged("there is data after its end".to_owned()));
        }
        Ok(())
    }
}

fn cut_short(error: io::Error) -> DumpError {
    if error.kind() == io::ErrorKind::UnexpectedEof { DumpError::CutShort } else { DumpError::Io(error) }
}
