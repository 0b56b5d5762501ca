//! All knowledge of earlier formats: their tables, and the steps from each format to the next. Runs on the main thread,
//! with exclusive access. A step is one transaction, or notes in the metadata that it is not done and goes on with the next
//! start: [`tables::UPGRADED_FROM`] says so until the end.
//!
//! A new format adds a function to [`STEPS`], and the tables it drops to [`visit_all`].

use redb::{Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, TableDefinition};

use crate::storage::error::StorageError;
use crate::storage::redb::file::durable::begin;
use crate::storage::redb::file::format_3;
use crate::storage::redb::file::progress::Progress;
use crate::storage::redb::tables::{self, FORMAT_VERSION, Visit};

type MigrationStep = fn(&Database) -> Result<(), StorageError>;

/// The upgrade steps, starting with that from format 1.
const STEPS: [MigrationStep; 2] = [merge_the_outbox, format_3::upgrade];
const _: () = assert!(STEPS.len() as u128 + 1 == FORMAT_VERSION, "each format but the last has its step");

/// Visits every table that a format has, always in the same order.
pub(in crate::storage) fn visit_all<V: Visit>(format: u128, visitor: &mut V) -> Result<(), V::Error> {
    match format {
        1 => format_1::visit_all(visitor),
        2 => format_3::visit_all_of_format_2(visitor),
        _ => tables::visit_all(visitor),
    }
}

/// Upgrades to the present format, or goes on with that.
pub(in crate::storage) fn run_steps(db: &Database) -> Result<(), StorageError> {
    let read = |name| -> Result<Option<u128>, StorageError> {
        Ok(db.begin_read()?.open_table(tables::META)?.get(name)?.map(|row| row.value()))
    };
    let (format, began_with) = (read(tables::FORMAT)?, read(tables::UPGRADED_FROM)?);
    let format = format.ok_or_else(|| StorageError::Codec("the store does not say which format it has".to_owned()))?;
    if format == FORMAT_VERSION && began_with.is_none() {
        return Ok(());
    }
    if began_with.is_none() {
        let transaction = begin(db)?;
        transaction.open_table(tables::META)?.insert(tables::UPGRADED_FROM, format)?;
        transaction.commit()?;
    }
    // The last step is the only one that can have begun: it raises the format first, so that no earlier version takes the
    // store for its own.
    for (_, step) in (1..).zip(STEPS).filter(|(from, _)| *from >= format.min(FORMAT_VERSION - 1)) {
        step(db)?;
    }
    let transaction = begin(db)?;
    transaction.open_table(tables::META)?.remove(tables::UPGRADED_FROM)?;
    transaction.commit()?;
    Ok(())
}

/// From format 1 to 2: merges pending deliveries and histories from three tables into one.
fn merge_the_outbox(db: &Database) -> Result<(), StorageError> {
    let transaction = begin(db)?;
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
    transaction.open_table(tables::META)?.insert(tables::FORMAT, 2)?;
    transaction.commit()?;
    Ok(())
}

/// The tables that format 1 had and the present one has not.
mod format_1 {
    use super::{TableDefinition, Visit, format_3, tables};

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
        visitor.table(format_3::DELIVERIES_2)?;
        visitor.table(format_3::PURGES_2)
    }
}
