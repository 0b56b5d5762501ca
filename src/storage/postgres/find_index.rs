//! The find index: by a digest of account, kind and text the events that have it. Entries are made behind the events, in the
//! order of their storing, and up to which event is noted for each account; what lies behind that has to be looked through.
//! Belongs to whoever has the rows.

use crate::domain::event::find::{self, FindKey};
use crate::domain::{AccountId, EventId};
use crate::storage::engine::Indexed;
use crate::storage::error::StorageError;
use crate::storage::postgres::rows::{Rows, Walk};
use crate::storage::postgres::stored::{VERSION, event_in, event_key, events_between, open_event, tags, tags_of};
use crate::storage::postgres::tables::{EVENTS, FIND, FIND_POSITIONS, Order, Span, TAGS, key};
use crate::storage::postgres::writing::Writing;
use crate::storage::rows::{codec, find_digest, record};

type Result<T> = std::result::Result<T, StorageError>;

/// About so many bytes of events are in memory in one step.
const STEP_BYTES: usize = 4 * 1024 * 1024;

/// The digest as PostgreSQL stores it, whose integers have a sign.
fn digest(account: AccountId, key: &FindKey) -> i64 {
    find_digest::of(account, key).cast_signed()
}

/// The last event in the index.
fn position(rows: &dyn Rows, account: AccountId) -> Result<Option<u128>> {
    let at = key![account.0];
    let Some(row) = rows.get(&FIND_POSITIONS, &at)? else { return Ok(None) };
    codec::decode(VERSION, FIND_POSITIONS.open(&at, &row, || "a position of the find index".to_owned())?).map(Some)
}

/// What an event with that row and these tags is found by. A damaged event is found by nothing.
fn keys_of(account: AccountId, event: EventId, row: &[u8], tags: Result<Vec<Box<str>>>) -> Vec<FindKey> {
    let body = || record::body_of(open_event(account, event, row)?);
    let keys = tags.and_then(|tags| Ok(find::keys(body()?, &tags)));
    keys.unwrap_or_else(|error| {
        log::error!("event {event} cannot be read, and is left out of the index: {error}");
        Vec::new()
    })
}

/// Indexes up to so many events of an account, oldest first.
pub(super) fn index_some(rows: &Writing, account: AccountId, limit: usize) -> Result<Indexed> {
    let position = match position(rows, account) {
        Err(StorageError::Damaged(name)) => {
            log::error!("{name} is damaged; the index of account {} is made again", account.0);
            None
        }
        position => position?,
    };
    let from = position.map_or(0, |position| position.saturating_add(1));
    let span = events_between(account, from, u128::MAX);
    let (mut events, mut bytes, mut has_more) = (Vec::new(), 0, false);
    for row in Walk::over(rows, &EVENTS, span, Order::Rising) {
        if events.len() >= limit || bytes >= STEP_BYTES {
            has_more = true;
            break;
        }
        let row = row?;
        bytes += row.1.len();
        events.push(row);
    }
    let keys: Vec<_> = events.iter().map(|(at, _)| at.clone()).collect();
    for ((at, row), tags) in events.iter().zip(rows.get_some(&TAGS, &keys)?) {
        let event = event_in(at);
        for key in keys_of(account, event, row, tags_of(account, event, tags.as_deref())) {
            rows.put(&FIND, key![digest(account, &key), event.0], Vec::new());
        }
    }
    if let Some((last, _)) = events.last() {
        rows.put(&FIND_POSITIONS, key![account.0], codec::encode(VERSION, &event_in(last).0)?);
    }
    Ok(Indexed { count: events.len(), has_more })
}

/// The first event of an account after that one, up to `until`, that is in the index under this key.
pub(super) fn indexed_after(
    rows: &dyn Rows,
    account: AccountId,
    key: &FindKey,
    after: EventId,
    until: EventId,
) -> Result<Option<EventId>> {
    let digest = digest(account, key);
    let span = Span::of(key![digest, after.0], key![digest, until.0]).behind();
    let found = if span.is_empty() { Vec::new() } else { rows.scan(&FIND, &span, Order::Rising, 1)? };
    Ok(found.first().map(|(at, _)| event_in(at)))
}

/// Removes what is here of an event with that row, and its tags.
pub(super) fn remove(rows: &Writing, account: AccountId, event: EventId, row: &[u8]) {
    for key in keys_of(account, event, row, tags(rows, account, event)) {
        rows.remove(&FIND, key![digest(account, &key), event.0]);
    }
    rows.remove(&TAGS, event_key(account, event));
}

/// The events of an account that may have that id or tag, newest first and before `before`: all that are not in the index
/// yet, and then those of the index.
pub(super) fn candidates<'a>(
    rows: &'a dyn Rows,
    account: AccountId,
    key: &FindKey,
    before: Option<EventId>,
) -> Result<Box<dyn Iterator<Item = Result<EventId>> + 'a>> {
    let position = position(rows, account)?;
    let first = position.map_or(0, |position| position.saturating_add(1));
    let end = before.map_or(u128::MAX, |before| before.0.saturating_sub(1));
    let tail = Walk::over(rows, &EVENTS, events_between(account, first, end), Order::Falling);
    let digest = digest(account, key);
    let indexed = position.map(|position| {
        let span = Span::of(key![digest, 0_u128], key![digest, end.min(position)]);
        Walk::over(rows, &FIND, span, Order::Falling)
    });
    Ok(Box::new(tail.chain(indexed.into_iter().flatten()).map(|row| Ok(event_in(&row?.0)))))
}
