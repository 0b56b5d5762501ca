//! The find index: by a digest of account, kind and text the events that have it, and the tags of events. Entries are
//! made behind the events, in the order of their storing, and up to which event is noted for each account; what lies
//! behind that has to be looked through. A backup leaves the index out, as it can be made again. Belongs to the thread of
//! its transaction.

mod runs;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, TableHandle as _, WriteTransaction};

use crate::domain::event::find::{self, FindKey};
use crate::domain::{AccountId, EventId};
use crate::storage::engine::Indexed;
use crate::storage::error::StorageError;
use crate::storage::redb::find_index::runs::{RUNS, RUNS_MERGED};
use crate::storage::redb::tables::{self, TAGS};
use crate::storage::rows::{self, codec, find_digest, record};

/// Account → (the last event in the index, the first event of the runs that are not merged yet, how many those are).
const POSITIONS: TableDefinition<u32, (u128, u128, u32)> = TableDefinition::new("find_run_positions");
/// Bodies of about so many bytes are read for one run.
const BYTES_A_RUN: usize = 2 << 20;

const TAGS_VERSION: u8 = 1;

type Bytes = &'static [u8];
type EventKey = (u32, u128);
type Result<T> = std::result::Result<T, StorageError>;

/// Stores the tags of an event.
pub fn put_tags(transaction: &WriteTransaction, account: AccountId, event: EventId, tags: &[Box<str>]) -> Result<()> {
    let key = (account.0, event.0);
    let row = tables::seal::<EventKey>(key, codec::encode(TAGS_VERSION, &tags)?);
    transaction.open_table(TAGS)?.insert(key, row.as_slice())?;
    Ok(())
}

/// The tags of an event.
pub fn decode_tags(key: EventKey, row: &[u8]) -> Result<Vec<Box<str>>> {
    let name = rows::digest::named("tags of event", EventId(key.1));
    codec::decode(TAGS_VERSION, tables::open::<EventKey>(key, row, name)?)
}

/// The body in an event's row.
fn body(account: AccountId, event: EventId, row: &[u8]) -> Result<&[u8]> {
    let name = rows::digest::named("event", event);
    record::body_of(tables::open::<EventKey>((account.0, event.0), row, name)?)
}

fn tags_in(tags: &impl ReadableTable<(u32, u128), Bytes>, account: AccountId, event: EventId) -> Result<Vec<Box<str>>> {
    tags.get((account.0, event.0))?.map_or_else(|| Ok(Vec::new()), |row| decode_tags((account.0, event.0), row.value()))
}

/// The tags of an event, as a snapshot shows them. A store that never had any lacks the table.
pub fn tags_of(rows: &ReadTransaction, account: AccountId, event: EventId) -> Result<Vec<Box<str>>> {
    match table(rows, TAGS)? {
        Some(tags) => tags_in(&tags, account, event),
        None => Ok(Vec::new()),
    }
}

/// The events with tags that cannot be read.
pub fn damaged_tags(rows: &ReadTransaction) -> Result<Vec<(EventId, StorageError)>> {
    let mut damaged = Vec::new();
    if let Some(tags) = table(rows, TAGS)? {
        for row in tags.iter()? {
            let (key, row) = row?;
            damaged.extend(decode_tags(key.value(), row.value()).err().map(|error| (EventId(key.value().1), error)));
        }
    }
    Ok(damaged)
}

fn table<K: redb::Key + 'static, V: redb::Value + 'static>(
    rows: &ReadTransaction,
    table: TableDefinition<'static, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>> {
    Ok(if tables::has(rows, table.name())? { Some(rows.open_table(table)?) } else { None })
}

/// Indexes up to so many events of an account, oldest first, as one run.
pub fn index_some(
    transaction: &WriteTransaction,
    events: &impl ReadableTable<(u32, u128), Bytes>,
    account: AccountId,
    limit: usize,
) -> Result<Indexed> {
    let tags = transaction.open_table(TAGS)?;
    let mut positions = transaction.open_table(POSITIONS)?;
    let (position, mut unmerged, mut count) = positions.get(account.0)?.map_or((None, 0, 0), |row| {
        let (last, unmerged, count) = row.value();
        (Some(last), unmerged, count)
    });
    let mut indexed = Indexed { count: 0, has_more: false };
    let (mut entries, mut bytes) = (Vec::new(), 0);
    let (mut first, mut last) = (None, None);
    let from = position.map_or(0, |position| position.saturating_add(1));
    for row in events.range((account.0, from)..=(account.0, u128::MAX))? {
        if indexed.count == limit || bytes >= BYTES_A_RUN {
            indexed.has_more = true;
            break;
        }
        let (key, row) = row?;
        let event = key.value().1;
        let keys = keys_of(account, EventId(event), row.value(), &tags);
        entries.extend(keys.iter().map(|key| (find_digest::of(account, key), event)));
        first = first.or(Some(event));
        last = Some(event);
        bytes += row.value().len();
        indexed.count += 1;
    }
    if let (Some(first), false) = (first, entries.is_empty()) {
        entries.sort_unstable();
        runs::add(transaction, account, first, &entries)?;
        unmerged = if count == 0 { first } else { unmerged };
        count += 1;
        if count >= RUNS_MERGED {
            runs::merge(transaction, account, unmerged)?;
            count = 0;
        }
    }
    if let Some(last) = last {
        positions.insert(account.0, (last, unmerged, count))?;
    }
    Ok(indexed)
}

/// The first event of an account after that one, up to `until`, that the index may have under this key. Where a row of the
/// index is damaged nobody knows what it had, so that each event is named.
pub fn indexed_after(
    transaction: &WriteTransaction,
    events: &impl ReadableTable<EventKey, Bytes>,
    account: AccountId,
    key: &FindKey,
    after: EventId,
    until: EventId,
) -> Result<Option<EventId>> {
    let first = after.0.saturating_add(1);
    if first > until.0 {
        return Ok(None);
    }
    match runs::first_in(&transaction.open_table(RUNS)?, account, find_digest::of(account, key), (first, until.0)) {
        Err(StorageError::Damaged(_)) => {
            let next = events.range((account.0, first)..=(account.0, until.0))?.next().transpose()?;
            Ok(next.map(|(key, _)| EventId(key.value().1)))
        }
        found => Ok(found?.map(EventId)),
    }
}

/// A damaged event is found by nothing.
fn keys_of(
    account: AccountId,
    event: EventId,
    row: &[u8],
    tags: &impl ReadableTable<(u32, u128), Bytes>,
) -> Vec<FindKey> {
    let keys = body(account, event, row).and_then(|body| Ok(find::keys(body, &tags_in(tags, account, event)?)));
    keys.unwrap_or_else(|error| {
        log::error!("event {event} cannot be read, and is left out of the index: {error}");
        Vec::new()
    })
}

/// Removes what is here of an event with that row.
pub fn remove(transaction: &WriteTransaction, account: AccountId, event: EventId, row: &[u8]) -> Result<()> {
    let mut tags = transaction.open_table(TAGS)?;
    let mut runs = transaction.open_table(RUNS)?;
    for key in keys_of(account, event, row, &tags) {
        runs::remove(&mut runs, account, (find_digest::of(account, &key), event.0))?;
    }
    tags.remove((account.0, event.0))?;
    Ok(())
}

/// The events of an account that may have that id or tag, newest first and before `before`: all that are not in the index
/// yet, and then those of the index.
pub fn candidates<'a>(
    rows: &'a ReadTransaction,
    account: AccountId,
    key: &FindKey,
    before: Option<EventId>,
) -> Result<Box<dyn Iterator<Item = Result<EventId>> + 'a>> {
    let position = match table(rows, POSITIONS)? {
        Some(positions) => positions.get(account.0)?.map(|position| position.value().0),
        None => None,
    };
    let first = position.map_or(0, |position| position.saturating_add(1));
    let end = before.map_or(u128::MAX, |before| before.0.saturating_sub(1));
    let events = rows.open_table(tables::EVENTS)?;
    let tail = if first <= end { Some(events.range((account.0, first)..=(account.0, end))?.rev()) } else { None };
    let tail = tail.into_iter().flatten().map(|row| Ok(EventId(row?.0.value().1)));
    let indexed = match (table(rows, RUNS)?, position) {
        (Some(runs), Some(position)) => {
            Some(runs::Newest::up_to(runs, account, find_digest::of(account, key), end.min(position)))
        }
        _ => None,
    };
    let indexed = indexed.into_iter().flatten();
    Ok(Box::new(tail.chain(indexed)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _, backends::InMemoryBackend};

    use super::*;
    use crate::domain::event::content::EventContent;
    use crate::domain::event::event_type::EventType;
    use crate::domain::event::find::FindKind;
    use crate::storage::rows::record::EventRow;

    const OWN: AccountId = AccountId(1);

    fn row(event: u128, worker: u8) -> Vec<u8> {
        let body = format!(r#"{{"data":{{"worker_id":{worker}}}}}"#).into_bytes();
        let content = EventContent::new(EventType::ClockIn, body);
        let row = EventRow { content, subscriptions: [].into(), idempotency: Vec::new() };
        tables::seal::<EventKey>((OWN.0, event), row.encode(0).unwrap())
    }

    fn found(db: &Database, key: &FindKey) -> Vec<u128> {
        let rows = db.begin_read().unwrap();
        let tags = table(&rows, TAGS).unwrap();
        let events = rows.open_table(tables::EVENTS).unwrap();
        let is_it = |event: &EventId| {
            let Some(row) = events.get((OWN.0, event.0)).unwrap() else { return false };
            let tags = tags.as_ref().map_or_else(Vec::new, |tags| tags_in(tags, OWN, *event).unwrap());
            find::keys(body(OWN, *event, row.value()).unwrap(), &tags).contains(key)
        };
        let all: Vec<_> = candidates(&rows, OWN, key, None).unwrap().map(Result::unwrap).collect();
        assert!(all.is_sorted_by(|one, next| one > next), "{all:?}");
        all.into_iter().filter(is_it).map(|event| event.0).collect()
    }

    /// Events that the index names to an erasure, one after the other.
    fn named(db: &Database, key: &FindKey) -> Vec<u128> {
        let transaction = db.begin_write().unwrap();
        let events = transaction.open_table(tables::EVENTS).unwrap();
        let (mut named, mut after) = (Vec::new(), EventId(0));
        while let Some(event) = indexed_after(&transaction, &events, OWN, key, after, EventId(u128::MAX)).unwrap() {
            assert!(event > after, "{event} is behind {after}");
            named.push(event.0);
            after = event;
        }
        named
    }

    #[test]
    fn a_damaged_row_of_the_index_hides_no_event_from_an_erasure() {
        let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        let transaction = db.begin_write().unwrap();
        {
            let mut events = transaction.open_table(tables::EVENTS).unwrap();
            for number in 1..=12 {
                events.insert((OWN.0, number), row(number, u8::try_from(number % 3).unwrap()).as_slice()).unwrap();
            }
            while index_some(&transaction, &events, OWN, 3).unwrap().has_more {}
            let mut runs = transaction.open_table(RUNS).unwrap();
            let damaged = runs.iter().unwrap().nth(1).unwrap().unwrap().0.value();
            runs.insert(damaged, b"damaged".as_slice()).unwrap();
        }
        transaction.commit().unwrap();
        for worker in 0..3 {
            let named = named(&db, &FindKey::wanted(FindKind::Worker, &worker.to_string()).unwrap());
            let missing: Vec<_> = (1..=12).filter(|event| event % 3 == worker && !named.contains(event)).collect();
            assert!(missing.is_empty(), "{missing:?} of {named:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_stored_is_found_however_far_the_index_is_and_what_is_removed_leaves_nothing(
            steps in prop::collection::vec((0..5_u8, 0..3_u8, any::<bool>(), 1..4_usize), 1..60),
        ) {
            let db = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
            let mut stored: Vec<(u128, u8, bool)> = Vec::new();
            for (number, (what, worker, is_tagged, limit)) in (1_u128..).zip(steps) {
                let transaction = db.begin_write().unwrap();
                {
                    let mut events = transaction.open_table(tables::EVENTS).unwrap();
                    match what {
                        0 | 1 => {
                            events.insert((OWN.0, number), row(number, worker).as_slice()).unwrap();
                            if is_tagged {
                                put_tags(&transaction, OWN, EventId(number), &["night".into()]).unwrap();
                            }
                            stored.push((number, worker, is_tagged));
                        }
                        2 | 3 => drop(index_some(&transaction, &events, OWN, limit).unwrap()),
                        _ if stored.is_empty() => {}
                        _ => {
                            let (event, ..) = stored.remove(usize::from(worker) % stored.len());
                            let row = events.remove((OWN.0, event)).unwrap().unwrap();
                            remove(&transaction, OWN, EventId(event), row.value()).unwrap();
                        }
                    }
                }
                transaction.commit().unwrap();
                for worker in 0..3 {
                    let key = FindKey::wanted(FindKind::Worker, &worker.to_string()).unwrap();
                    let wanted: Vec<_> = stored.iter().rev().filter(|one| one.1 == worker).map(|one| one.0).collect();
                    prop_assert_eq!(found(&db, &key), &wanted[..]);
                    let named = named(&db, &key);
                    let last = db.begin_read().unwrap();
                    let last = table(&last, POSITIONS).unwrap().and_then(|rows| Some(rows.get(OWN.0).unwrap()?.value().0));
                    let indexed = |event: &&u128| last.is_some_and(|last| **event <= last);
                    prop_assert!(wanted.iter().filter(indexed).all(|event| named.contains(event)), "{wanted:?} {named:?}");
                }
                let wanted: Vec<_> = stored.iter().rev().filter(|one| one.2).map(|one| one.0).collect();
                prop_assert_eq!(found(&db, &FindKey::wanted(FindKind::Tag, "night").unwrap()), wanted);
            }
            let transaction = db.begin_write().unwrap();
            for (event, ..) in stored {
                let mut events = transaction.open_table(tables::EVENTS).unwrap();
                let row = events.remove((OWN.0, event)).unwrap().unwrap();
                remove(&transaction, OWN, EventId(event), row.value()).unwrap();
            }
            prop_assert!(transaction.open_table(RUNS).unwrap().is_empty().unwrap());
            prop_assert!(transaction.open_table(TAGS).unwrap().is_empty().unwrap());
        }
    }
}
