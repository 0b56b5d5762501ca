//! The entries of the find index, in runs. A run has the entries of successive events of one account, sorted and packed
//! into rows; a step adds a run and rewrites none, so that an event costs a few bytes and no page in a random place. After
//! [`RUNS_MERGED`] of them they become one, so that a search has few to look into. Belongs to the thread of its
//! transaction.

use std::collections::VecDeque;

use redb::{ReadOnlyTable, ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::domain::{AccountId, EventId};
use crate::storage::error::StorageError;
use crate::storage::redb::bulk_insert::BulkInsert;
use crate::storage::redb::tables;

/// (account, first event of the run, lower bound of the row's entries: digest, event) → entries.
pub const RUNS: TableDefinition<RowKey, Bytes> = TableDefinition::new("find_runs");

type RowKey = (u32, u128, u64, u128);
type Bytes = &'static [u8];
type Result<T> = std::result::Result<T, StorageError>;

/// What an event is found by: digest of the id or tag, event.
pub type Entry = (u64, u128);

const ENTRY_BYTES: usize = 24;
/// Four rows of so many fill a page of 4 KB.
const ENTRIES_A_ROW: usize = if cfg!(test) { 3 } else { 38 };
/// So many runs become one. Tests reach it with few events.
pub const RUNS_MERGED: u32 = if cfg!(test) { 3 } else { 32 };
/// After so many runs without an entry, an event of the next one is named in its place.
const RUNS_A_LOOK: usize = if cfg!(test) { 2 } else { 64 };

fn encode(key: RowKey, entries: &[Entry]) -> Vec<u8> {
    let mut row = Vec::with_capacity(entries.len() * ENTRY_BYTES + 4);
    for (digest, event) in entries {
        row.extend_from_slice(&digest.to_be_bytes());
        row.extend_from_slice(&event.to_be_bytes());
    }
    tables::seal::<RowKey>(key, row)
}

fn decode(key: RowKey, row: &[u8]) -> Result<Vec<Entry>> {
    let name = || format!("the part of the find index that begins at event {}", EventId(key.1));
    let entry = |bytes: &[u8; ENTRY_BYTES]| {
        let (digest, event) = (bytes.first_chunk()?, bytes.last_chunk()?);
        Some((u64::from_be_bytes(*digest), u128::from_be_bytes(*event)))
    };
    Ok(tables::open::<RowKey>(key, row, name)?.as_chunks().0.iter().filter_map(entry).collect())
}

/// The same; a damaged row is told and taken for an empty one, as the writer goes on without it.
fn decode_or_tell(key: RowKey, row: &[u8]) -> Vec<Entry> {
    decode(key, row).unwrap_or_else(|error| {
        log::error!("{error}; its events are no longer found by their ids");
        Vec::new()
    })
}

/// The last run that begins at or before that event.
fn run_at(runs: &impl ReadableTable<RowKey, Bytes>, account: AccountId, event: u128) -> Result<Option<u128>> {
    let before = runs.range((account.0, 0, 0, 0)..=(account.0, event, u64::MAX, u128::MAX))?.next_back().transpose()?;
    Ok(before.map(|(key, _)| key.value().1))
}

/// Adds a run of sorted entries; it begins at that event.
pub fn add(transaction: &WriteTransaction, account: AccountId, run: u128, entries: &[Entry]) -> Result<()> {
    let mut rows = BulkInsert::new(transaction.open_table(RUNS)?);
    for entries in entries.chunks(ENTRIES_A_ROW) {
        if let Some((digest, event)) = entries.first() {
            let key = (account.0, run, *digest, *event);
            rows.put(key, encode(key, entries));
        }
    }
    rows.table().map(drop)
}

/// Makes one run of all that begin at that event or later.
#[expect(
    clippy::stable_sort_primitive,
    reason = "the stable sort notices that each run is in order, and only merges them"
)]
pub fn merge(transaction: &WriteTransaction, account: AccountId, first: u128) -> Result<()> {
    let mut entries = Vec::new();
    {
        let mut runs = transaction.open_table(RUNS)?;
        let range = (account.0, first, 0, 0)..=(account.0, u128::MAX, u64::MAX, u128::MAX);
        for row in runs.range(range.clone())? {
            let (key, row) = row?;
            entries.extend(decode_or_tell(key.value(), row.value()));
        }
        runs.retain_in(range, |_, _| false)?;
    }
    entries.sort();
    add(transaction, account, first, &entries)
}

/// Removes an entry.
pub fn remove(runs: &mut Table<'_, RowKey, Bytes>, account: AccountId, entry: Entry) -> Result<()> {
    let Some(run) = run_at(runs, account, entry.1)? else { return Ok(()) };
    let found = runs.range((account.0, run, 0, 0)..=(account.0, run, entry.0, entry.1))?.next_back().transpose()?;
    let Some((key, row)) = found.map(|(key, row)| (key.value(), row.value().to_vec())) else { return Ok(()) };
    let mut entries = decode_or_tell(key, &row);
    let Ok(place) = entries.binary_search(&entry) else { return Ok(()) };
    entries.remove(place);
    if entries.is_empty() {
        runs.remove(key)?;
    } else {
        runs.insert(key, encode(key, &entries).as_slice())?;
    }
    Ok(())
}

/// The entries of a run with that digest and an event in the range, oldest first.
fn of_digest(
    runs: &impl ReadableTable<RowKey, Bytes>,
    (account, run): (AccountId, u128),
    digest: u64,
    events: (u128, u128),
) -> Result<VecDeque<u128>> {
    let mut found = VecDeque::new();
    for row in runs.range((account.0, run, 0, 0)..=(account.0, run, digest, events.1))?.rev() {
        let (key, row) = row?;
        let key = key.value();
        for (_, event) in decode(key, row.value())?.iter().rev().filter(|entry| entry.0 == digest) {
            if (events.0..=events.1).contains(event) {
                found.push_front(*event);
            }
        }
        if (key.2, key.3) < (digest, events.0) {
            break;
        }
    }
    Ok(found)
}

/// The first event in the range with an entry of that digest; or, after many runs without one, an event before which
/// there is none. The caller looks at the event itself in any case.
pub fn first_in(
    runs: &impl ReadableTable<RowKey, Bytes>,
    account: AccountId,
    digest: u64,
    (first, last): (u128, u128),
) -> Result<Option<u128>> {
    let mut run = run_at(runs, account, first)?;
    for _ in 0..RUNS_A_LOOK {
        if let Some(run) = run
            && let Some(event) = of_digest(runs, (account, run), digest, (first, last))?.pop_front()
        {
            return Ok(Some(event));
        }
        let rest = run.map_or(first, |run| run.saturating_add(1));
        if rest > last {
            return Ok(None);
        }
        let next = runs.range((account.0, rest, 0, 0)..=(account.0, last, u64::MAX, u128::MAX))?.next().transpose()?;
        run = next.map(|(key, _)| key.value().1);
        if run.is_none() {
            return Ok(None);
        }
    }
    Ok(run)
}

/// Events up to `last` with an entry of that digest, newest first; after many runs without one comes an event that has
/// none, so that it counts for the limit of whoever looks through them.
pub struct Newest {
    runs: ReadOnlyTable<RowKey, Bytes>,
    account: AccountId,
    digest: u64,
    /// Where the next run is looked for; none: there is no more.
    last: Option<u128>,
    found: VecDeque<u128>,
}

impl Newest {
    /// All up to that event.
    pub fn up_to(runs: ReadOnlyTable<RowKey, Bytes>, account: AccountId, digest: u64, last: u128) -> Self {
        Self { runs, account, digest, last: Some(last), found: VecDeque::new() }
    }

    fn look(&mut self) -> Result<Option<u128>> {
        for _ in 0..RUNS_A_LOOK {
            if let Some(event) = self.found.pop_back() {
                return Ok(Some(event));
            }
            let Some(last) = self.last else { return Ok(None) };
            let Some(run) = run_at(&self.runs, self.account, last)? else {
                self.last = None;
                return Ok(None);
            };
            self.found = of_digest(&self.runs, (self.account, run), self.digest, (run, last))?;
            self.last = run.checked_sub(1);
        }
        // The first event of the run that was looked into last.
        Ok(self.found.pop_back().or(self.last.map(|last| last + 1)))
    }
}

impl Iterator for Newest {
    type Item = Result<EventId>;

    fn next(&mut self) -> Option<Result<EventId>> {
        let found = self.look();
        if found.is_err() {
            self.last = None;
        }
        found.transpose().map(|event| event.map(EventId))
    }
}
