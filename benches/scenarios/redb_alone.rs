//! What redb alone makes of a database: how long it takes to open it, as it does after an unclean end, and how many bytes
//! its tables take. In a process of its own, which ends without closing the database, so that the file stays as it was
//! found, and the next one to open it has the same to do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use redb::{Builder, ReadableDatabase as _, ReadableTableMetadata as _, TableHandle as _, TableStats};
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
    fadvise(&std::fs::File::open(&path)?, 0, None, Advice::DontNeed)?;
    let began = Instant::now();
    let db = Builder::new().set_cache_size(CACHE_BYTES).open(&path)?;
    let opened_in_s = began.elapsed().as_secs_f64();
    let rows = db.begin_read()?;
    let mut tables = BTreeMap::new();
    for table in rows.list_tables()? {
        let stats = rows.open_untyped_table(table.clone())?.stats()?;
        tables.insert(table.name().to_owned(), bytes(&stats));
    }
    say(&Found { opened_in_s, tables })?;
    std::process::exit(0)
}

fn bytes(stats: &TableStats) -> u64 {
    stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes()
}
