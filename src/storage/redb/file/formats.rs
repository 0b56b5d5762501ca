//! All knowledge of earlier formats: their tables, and the steps from each format to the next. Runs on the main thread,
//! with exclusive access. It never leaves a store between two formats.
//!
//! A new format adds a function to [`STEPS`], and the tables it drops to [`visit_all`].

use std::time::{Duration, Instant};

use redb::{Database, Durability, ReadableTable as _, ReadableTableMetadata as _, TableDefinition, WriteTransaction};

use crate::storage::error::StorageError;
use crate::storage::redb::tables::{self, FORMAT_VERSION, Visit};

type MigrationStep = fn(&WriteTransaction) -> Result<(), StorageError>;

/// The upgrade steps, starting with that from format 1.
const STEPS: [MigrationStep; 1] = [merge_the_outbox];
const _: () = assert!(STEPS.len() as u128 + 1 == FORMAT_VERSION, "each format but the last has its step");

/// Visits every table that a format has, always in the same order.
pub(in crate::storage) fn visit_all<V: Visit>(format: u128, visitor: &mut V) -> Result<(), V::Error> {
    match format {
        1 => format_1::visit_all(visitor),
        _ => tables::visit_all(visitor),
    }
}

/// Upgrades from that format in one transaction.
pub(in crate::storage) fn run_steps(db: &Database, format: u128) -> Result<(), StorageError> {
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

/// From format 1 to 2: merges pending deliveries and histories from three tables into one.
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
            progress.report(done, all);
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

/// Interval between progress lines.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Logs the progress of long work, at most one line in [`REPORT_EVERY`].
pub(in crate::storage) struct Progress {
    what: &'static str,
    told: Instant,
}

impl Progress {
    /// Begins now.
    pub(in crate::storage) fn of(what: &'static str) -> Self {
        Self { what, told: Instant::now() }
    }

    /// Logs, if it is time to.
    pub(in crate::storage) fn report(&mut self, done: u64, all: u64) {
        if self.told.elapsed() >= REPORT_EVERY {
            self.told = Instant::now();
            log::info!("{}: {done} of {all} rows", self.what);
        }
    }
}
