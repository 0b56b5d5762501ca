//! The rows of events as the steps of a write transaction read them: many heads without their bodies, or a few whole ones.
//! Belongs to the thread of its transaction.

use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use redb::ReadableTable;

use crate::domain::{AccountId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::{EventFound, Stored};
use crate::storage::error::StorageError;
use crate::storage::redb::tables;
use crate::storage::rows::digest;
use crate::storage::rows::record::{EventHead, EventRow};

/// (account, event).
pub type EventKey = (u32, u128);
type Result<T> = std::result::Result<T, StorageError>;

/// After about so many bytes a step over events ends.
const EVENT_ROWS_BYTES: usize = 1024 * 1024;

/// The head in the row at that key.
pub fn head(key: EventKey, row: &[u8]) -> Stored<EventHead> {
    EventHead::decode(tables::open::<EventKey>(key, row, digest::named("event", EventId(key.1)))?)
}

/// Up to so many heads of an account after that event which are older than `before`, oldest first.
pub fn heads_after(
    events: &impl ReadableTable<EventKey, &'static [u8]>,
    account: AccountId,
    after: EventId,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<(EventId, Stored<EventHead>)>> {
    let end = EventId::first_at(before);
    if after >= end {
        return Ok(Vec::new());
    }
    let range = (Bound::Excluded((account.0, after.0)), Bound::Excluded((account.0, end.0)));
    let rows = events.range::<EventKey>(range)?.take(limit);
    rows.map(|row| {
        let (key, row) = row?;
        Ok((EventId(key.value().1), head(key.value(), row.value())))
    })
    .collect()
}

/// Up to so many events of an account with these ids, oldest first, and none after about a mebibyte of them. `members`
/// reads a set of receivers.
pub fn rows(
    events: &impl ReadableTable<EventKey, &'static [u8]>,
    members: impl Fn(u32) -> Stored<Arc<[SubscriptionId]>>,
    account: AccountId,
    ids: RangeInclusive<EventId>,
    limit: usize,
) -> Result<Vec<EventFound>> {
    let (first, last) = (ids.start().0, ids.end().0);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    if first > last {
        return Ok(rows);
    }
    for row in events.range((account.0, first)..=(account.0, last))?.take(limit) {
        let (key, row) = row?;
        let id = EventId(key.value().1);
        let opened = tables::open::<EventKey>(key.value(), row.value(), digest::named("event", id));
        rows.push((id, opened.and_then(|row| EventRow::decode(row, &members))));
        bytes += row.value().len();
        if bytes >= EVENT_ROWS_BYTES {
            break;
        }
    }
    Ok(rows)
}
