//! What redb alone makes of a database: how long it takes to open it, as it does after an unclean end, and how many bytes
//! its tables take. In a process of its own. What redb writes for that stays in memory, so that the file stays as it was
//! found, and the next one to open it has the same to do.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use redb::{Builder, ReadableDatabase as _, ReadableTableMetadata as _, StorageBackend, TableHandle as _, TableStats};
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::child::{Worker, say};

/// The same page cache as the server's.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// What it found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Found {
    /// To open it, with nothing of it in memory.
    pub opened_in_s: f64,
    /// Bytes of each table, with what lies empty in its pages.
    pub tables: BTreeMap<String, u64>,
}

/// Opens a database that nobody else has open.
pub fn look_at(database: &Path) -> Result<Found> {
    Worker::start("redb-alone", &database)?.listen()
}

/// Its process.
pub fn run(spec: &str) -> Result<()> {
    let path: PathBuf = serde_json::from_str(spec)?;
    let file = File::open(&path)?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    let length = file.metadata()?.len();
    let unchanged = Unchanged { file, changes: Mutex::new(Changes { length, written: Vec::new() }) };
    let began = Instant::now();
    let db = Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(unchanged)?;
    let opened_in_s = began.elapsed().as_secs_f64();
    let rows = db.begin_read()?;
    let mut tables = BTreeMap::new();
    for table in rows.list_tables()? {
        let stats = rows.open_untyped_table(table.clone())?.stats()?;
        tables.insert(table.name().to_owned(), bytes(&stats));
    }
    say(&Found { opened_in_s, tables })
}

fn bytes(stats: &TableStats) -> u64 {
    stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes()
}

/// A file that stays as it is. What is written, which is little, is kept beside it.
#[derive(Debug)]
struct Unchanged {
    file: File,
    changes: Mutex<Changes>,
}

#[derive(Debug)]
struct Changes {
    length: u64,
    written: Vec<(u64, Vec<u8>)>,
}

impl Unchanged {
    fn changes(&self) -> MutexGuard<'_, Changes> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Unchanged {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            match self.file.read_at(&mut out[filled..], offset + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        out[filled..].fill(0);
        for (at, bytes) in &self.changes().written {
            let (from, to) = (offset.max(*at), (offset + out.len() as u64).min(at + bytes.len() as u64));
            let inside = |start: u64| Some(usize::try_from(from - start).ok()?..usize::try_from(to - start).ok()?);
            if from < to
                && let (Some(target), Some(source)) = (inside(offset), inside(*at))
            {
                out[target].copy_from_slice(&bytes[source]);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.changes().length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.changes().written.push((offset, data.to_vec()));
        Ok(())
    }
}
