//! Brings a store of an earlier format to the present one, at whatever opens it first: a backup of the old format is
//! put beside it, then one transaction changes everything. Owns all that is still known of earlier formats. Runs on the
//! main thread, while nobody else has the store. It never leaves a store between two formats.
//!
//! Another format adds a function to [`STEPS`], and what it takes away from `tables` to [`visit_all`].

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use redb::{Database, Durability, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _};
use redb::{TableDefinition, WriteTransaction};

use super::backup::{BackupError, verify_backup};
use super::damage;
use super::dump;
use super::error::{OpenError, StorageError};
use super::folder::{file_error, new_file, sync_folder_of};
use super::tables::{self, FORMAT_VERSION, Visit};
use crate::clock::Clock;
use crate::disk::free_bytes;

type Step = fn(&WriteTransaction) -> Result<(), StorageError>;

/// What makes the next format of one, the first of format 1.
const STEPS: [Step; 1] = [merge_the_outbox];
const _: () = assert!(STEPS.len() as u128 + 1 == FORMAT_VERSION, "each format but the last has its step");

/// Visits every table that a format has, always in the same order.
pub(super) fn visit_all<V: Visit>(format: u128, visitor: &mut V) -> Result<(), V::Error> {
    match format {
        1 => format_1::visit_all(visitor),
        _ => tables::visit_all(visitor),
    }
}

/// Brings the database at `path`, which has that format, to the present one.
pub(super) fn upgrade(db: &Database, path: &Path, format: u128) -> Result<(), OpenError> {
    if format == FORMAT_VERSION {
        return Ok(());
    }
    let kept = path.with_file_name(format!("before-format-{FORMAT_VERSION}.bak"));
    log::info!("{} has format {format} and is brought to format {FORMAT_VERSION}", path.display());
    check_room(path, format)?;
    let not_upgraded =
        |reason: String| OpenError::NotUpgraded { path: path.to_owned(), format, known: FORMAT_VERSION, reason };
    let done = damage::caught(|| {
        log::info!("writing a backup of format {format} to {}", kept.display());
        back_up(db, &kept, format).map_err(|error| not_upgraded(error.to_string()))?;
        run_steps(db, format).map_err(|error| not_upgraded(error.to_string()))
    });
    done.unwrap_or_else(|| Err(OpenError::unreadable(path)))?;
    log::info!(
        "{} has format {FORMAT_VERSION} now; {} is no longer needed once all is well",
        path.display(),
        kept.display()
    );
    Ok(())
}

/// The backup is no larger than the database, and what is moved is there twice until the commit.
fn check_room(path: &Path, format: u128) -> Result<(), OpenError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let needed_bytes = fs::metadata(path).map_err(|error| file_error(path, error))?.len().saturating_mul(2);
    let free_bytes = free_bytes(folder).unwrap_or(u64::MAX);
    if free_bytes >= needed_bytes {
        return Ok(());
    }
    Err(OpenError::NoRoom { path: path.to_owned(), format, known: FORMAT_VERSION, free_bytes, needed_bytes })
}

/// Writes a backup beside its final name, and renames it when it has been read again.
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
    let mut file = new_file(path).map_err(failed)?;
    let transaction = db.begin_read().map_err(StorageError::from);
    let mut progress = Progress::of("backup");
    transaction
        .map_err(dump::DumpError::from)
        .and_then(|rows| {
            dump::write(&rows, format, &mut file, Clock::start().wall(), &mut |done, all| progress.tell(done, all))
        })
        .map_err(|source| BackupError::Dump { path: PathBuf::from(path), source })?;
    file.flush().and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(())
}

/// Makes the present format of that one, in one transaction.
pub(super) fn run_steps(db: &Database, format: u128) -> Result<(), StorageError> {
    if format == FORMAT_VERSION {
        return Ok(());
    }
    let mut transaction = db.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    for (_, step) in (1..).zip(STEPS).filter(|(from, _)| *from >= format) {
        step(&transaction)?;
    }
    transaction.open_table(tables::META)?.insert(tables::FORMAT, FORMAT_VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// From format 1 to 2: what was pending and the histories go from three tables into one.
fn merge_the_outbox(transaction: &WriteTransaction) -> Result<(), StorageError> {
    {
        let mut outbox = transaction.open_table(tables::OUTBOX)?;
        let histories = transaction.open_table(format_1::HISTORIES)?;
        let fresh = transaction.open_table(format_1::FRESH)?;
        let retries = transaction.open_table(format_1::RETRIES)?;
        let all = histories.len()? + fresh.len()? + retries.len()?;
        let mut done = 0;
        let mut progress = Progress::of("the outbox");
        let mut moved = || {
            done += 1;
            progress.tell(done, all);
        };
        for row in histories.iter()? {
            let (subscription, history) = row?;
            outbox.insert((subscription.value(), 0, 0), history.value())?;
            moved();
        }
        for row in fresh.iter()? {
            let (key, number) = row?;
            let (subscription, event) = key.value();
            outbox.insert((subscription, 0, event), [number.value()].as_slice())?;
            moved();
        }
        for row in retries.iter()? {
            let (subscription, due_ms, event) = row?.0.value();
            outbox.insert((subscription, due_ms.max(1), event), [].as_slice())?;
            moved();
        }
    }
    transaction.delete_table(format_1::HISTORIES)?;
    transaction.delete_table(format_1::FRESH)?;
    transaction.delete_table(format_1::RETRIES)?;
    Ok(())
}

/// The tables that format 1 had and the present one has not.
mod format_1 {
    use super::{TableDefinition, Visit, tables};

    /// Subscription → health of its endpoint and its last attempts.
    pub const HISTORIES: TableDefinition<u32, &[u8]> = TableDefinition::new("histories");
    /// (subscription, event) → number of the event's type: never attempted.
    pub const FRESH: TableDefinition<(u32, u128), u8> = TableDefinition::new("fresh");
    /// (subscription, due time in ms, event): attempted, and due again then.
    pub const RETRIES: TableDefinition<(u32, u64, u128), ()> = TableDefinition::new("retries");

    pub fn visit_all<V: Visit>(visitor: &mut V) -> Result<(), V::Error> {
        visitor.table(tables::META)?;
        visitor.table(tables::ACCOUNTS)?;
        visitor.table(tables::KEYS)?;
        visitor.table(tables::SUBSCRIPTIONS)?;
        visitor.table(HISTORIES)?;
        visitor.table(tables::EVENTS)?;
        visitor.table(tables::IDEMPOTENCY)?;
        visitor.table(FRESH)?;
        visitor.table(RETRIES)?;
        visitor.table(tables::DELIVERIES)?;
        visitor.table(tables::PURGES)
    }
}

/// How often somebody who waits is told how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(5);

struct Progress {
    what: &'static str,
    told: Instant,
}

impl Progress {
    fn of(what: &'static str) -> Self {
        Self { what, told: Instant::now() }
    }

    fn tell(&mut self, done: u64, all: u64) {
        if self.told.elapsed() >= TOLD_EVERY {
            self.told = Instant::now();
            log::info!("{}: {done} of {all} rows", self.what);
        }
    }
}
