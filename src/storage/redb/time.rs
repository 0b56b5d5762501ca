//! Where the store's time lies in `meta`: how far it has come, and the gaps in it. Owns these rows. Runs on the thread of
//! the transaction.

use std::time::Duration;

use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable, Table};

use crate::domain::gaps::{Gap, Gaps};
use crate::domain::{EventId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::redb::tables;
use crate::storage::rules::service_time::Seen;

/// How the rows of gaps begin; the time in ms follows at which the gap begins.
const GAP: &str = "gap ";
const GAP_END: &str = "gap!";
/// The value of such a row: one bit says that it is confirmed, 63 are its end in ms, the rest how much of it counts, in ms.
const BETWEEN_SHIFT: u32 = 64;
const LOW: u128 = (1 << (BETWEEN_SHIFT - 1)) - 1;

type Meta<'txn> = Table<'txn, &'static str, u128>;

/// Reads it. A store of an earlier version has noted less, or nothing, and has got as far as its newest event.
pub fn read(
    meta: &impl ReadableTable<&'static str, u128>,
    newest_event: Option<EventId>,
) -> Result<Seen, StorageError> {
    let time = |name| -> Result<_, StorageError> {
        let row = meta.get(name)?.map(|row| row.value());
        Ok(row.and_then(|ms| u64::try_from(ms).ok()).map(Timestamp::from_ms))
    };
    let now = time(tables::SEEN_MS)?.or(newest_event.map(EventId::time));
    let monotonic = time(tables::STEADY_MS)?.or(now).unwrap_or_default();
    let mut gaps = Vec::new();
    for row in meta.range(GAP..GAP_END)? {
        let (key, value) = row?;
        gaps.extend(read_gap(key.value(), value.value()));
    }
    Ok(Seen { now, monotonic, gaps: Gaps::new(gaps) })
}

/// Writes it, and the gaps if there are others.
pub fn write(
    meta: &mut Meta<'_>,
    now: Timestamp,
    monotonic: Timestamp,
    gaps: Option<&Gaps>,
) -> Result<(), StorageError> {
    meta.insert(tables::SEEN_MS, u128::from(now.as_ms()))?;
    meta.insert(tables::STEADY_MS, u128::from(monotonic.as_ms()))?;
    gaps.map_or(Ok(()), |gaps| write_gaps(meta, gaps))
}

/// After a restore: the time since the backup is left out, see [`Seen::skipped_to`]. `before` is the database in whose
/// place it comes.
pub fn skip_to(db: &Database, now: Timestamp, before: Option<&Database>) -> Result<(), StorageError> {
    let seen = |db: &Database| -> Result<Seen, StorageError> {
        let rows = db.begin_read()?;
        read(&rows.open_table(tables::META)?, last_event(&rows)?)
    };
    // Whatever cannot be read of the old file is taken to be no further than the clock.
    let replaced = before.and_then(|before| seen(before).ok()?.now);
    let Seen { now: Some(now), monotonic, gaps } = seen(db)?.skipped_to(now, replaced) else { return Ok(()) };
    let transaction = db.begin_write()?;
    write(&mut transaction.open_table(tables::META)?, now, monotonic, Some(&gaps))?;
    transaction.commit()?;
    Ok(())
}

/// The greatest event id of any account, so that ids keep growing even if the clock was set back meanwhile.
pub fn last_event(transaction: &ReadTransaction) -> Result<Option<EventId>, StorageError> {
    let events = transaction.open_table(tables::EVENTS)?;
    let mut last = None;
    let mut below = u32::MAX;
    while let Some(row) = events.range(..=(below, u128::MAX))?.next_back() {
        let (account, event) = row?.0.value();
        last = last.max(Some(EventId(event)));
        let Some(next) = account.checked_sub(1) else { break };
        below = next;
    }
    Ok(last)
}

fn read_gap(key: &str, value: u128) -> Option<Gap> {
    let from = Timestamp::from_ms(key.strip_prefix(GAP)?.parse().ok()?);
    let to = Timestamp::from_ms(u64::try_from(value >> 1 & LOW).ok()?);
    let between = Duration::from_millis(u64::try_from(value >> BETWEEN_SHIFT).ok()?);
    Some(Gap { from, to, between, is_confirmed: value & 1 == 1 })
}

fn write_gaps(meta: &mut Meta<'_>, gaps: &Gaps) -> Result<(), StorageError> {
    meta.retain_in(GAP..GAP_END, |_, _| false)?;
    for Gap { from, to, between, is_confirmed } in gaps.all() {
        let value = between.as_millis() << BETWEEN_SHIFT | u128::from(to.as_ms()) << 1 | u128::from(*is_confirmed);
        meta.insert(format!("{GAP}{:015}", from.as_ms()).as_str(), value)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::storage) mod testing {
    use std::path::Path;

    use super::*;

    /// Makes of a store what an earlier version leaves behind, which noted none of these and no gap.
    pub fn forget(database: &Path, names: &[&str]) {
        let db = Database::open(database).unwrap();
        let transaction = db.begin_write().unwrap();
        let mut meta = transaction.open_table(tables::META).unwrap();
        for name in names {
            meta.remove(name).unwrap();
        }
        meta.retain_in(GAP..GAP_END, |_, _| false).unwrap();
        drop(meta);
        transaction.commit().unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::gaps::MAX_GAPS;

    const DAY: Duration = Duration::from_hours(24);
    /// In 2026.
    const START: Timestamp = Timestamp::from_ms(1_772_438_400_000);

    #[test]
    fn gaps_are_read_as_they_were_written_and_a_row_that_is_none_is_passed_over() {
        let mut gaps = Gaps::default();
        gaps.add(START, START.plus(DAY));
        gaps.confirm();
        gaps.add(START.plus(2 * DAY), START.plus(3 * DAY));
        let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let transaction = db.begin_write().unwrap();
        {
            let mut meta = transaction.open_table(tables::META).unwrap();
            let now = START.plus(4 * DAY);
            write(&mut meta, now, START, Some(&gaps)).unwrap();
            meta.insert("gap of nobody", 7).unwrap();
            let seen = read(&meta, None).unwrap();
            assert_eq!((seen.now, seen.monotonic, &seen.gaps), (Some(now), START, &gaps));
            assert_eq!(seen.left_out(START.plus(6 * DAY)), 3 * DAY);
            write(&mut meta, now, START, Some(&gaps)).unwrap();
            assert_eq!(read(&meta, None).unwrap().gaps, gaps);
        }
        drop(transaction);
        assert!(db.begin_read().is_ok());
    }

    #[test]
    fn gaps_that_were_merged_are_read_as_they_were_written() {
        let mut gaps = Gaps::default();
        for day in (0..).step_by(2).take(2 * MAX_GAPS) {
            gaps.add(START.plus(day * DAY), START.plus((day + 1) * DAY));
        }
        assert!(gaps.all().iter().any(|gap| !gap.between.is_zero()));
        let db = Database::builder().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let transaction = db.begin_write().unwrap();
        let mut meta = transaction.open_table(tables::META).unwrap();
        write(&mut meta, START, START, Some(&gaps)).unwrap();
        assert_eq!(read(&meta, None).unwrap().gaps, gaps);
    }
}
