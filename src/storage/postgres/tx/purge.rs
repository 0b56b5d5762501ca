//! Removes the rows of deleted subscriptions, some at a time. Runs on the writer thread, and never commits.

use crate::domain::{AccountId, EventId, SubscriptionId};
use crate::storage::engine::Purged;
use crate::storage::error::StorageError;
use crate::storage::postgres::rows::Rows as _;
use crate::storage::postgres::stored::{VERSION, event_in, outbox_row};
use crate::storage::postgres::tables::{BATCHES, HISTORIES, ORDERS, OUTBOX, Order, PURGES, Part, key};
use crate::storage::postgres::writing::Writing;
use crate::storage::rows::{codec, digest};

type Result<T> = std::result::Result<T, StorageError>;

/// Removes up to so many rows of the first of those.
pub(super) fn purge_some(rows: &Writing, limit: usize) -> Result<Purged> {
    let next = rows.scan(&PURGES, &PURGES.all(), Order::Rising, 1)?;
    let Some((at, row)) = next.into_iter().next() else { return Ok(Purged::default()) };
    let id = SubscriptionId(at.first().map(Part::number).unwrap_or_default());
    let account = PURGES.open(&at, &row, digest::named("deleted subscription", id));
    let account = account.and_then(|row| codec::decode(VERSION, row).map(AccountId));
    let (mut removed, events) = purge_outbox(rows, id, limit)?;
    for table in [&ORDERS, &BATCHES] {
        if removed < limit {
            removed += rows.take_some(table, &table.with_prefix(key![id.0]), limit - removed)?.len();
        }
    }
    if removed < limit {
        rows.remove(&HISTORIES, key![id.0]);
        rows.remove(&PURGES, at);
    }
    // Without its account the events are kept for longer than they need be.
    let of_account = |account| events.into_iter().map(move |event| (account, event)).collect();
    let events = account.inspect_err(|error| log::error!("{error}")).map(of_account).unwrap_or_default();
    let has_more = !rows.scan(&PURGES, &PURGES.all(), Order::Rising, 1)?.is_empty();
    Ok(Purged { rows: removed, events, has_more })
}

/// Removes up to so many rows of a deleted subscription's outbox. Gives how many, and the events of pending deliveries.
fn purge_outbox(rows: &Writing, id: SubscriptionId, limit: usize) -> Result<(usize, Vec<EventId>)> {
    let removed = rows.take_some(&OUTBOX, &OUTBOX.with_prefix(key![id.0]), limit)?;
    let deliveries = removed.iter().filter(|(at, value)| !outbox_row(at, value).is_batch());
    Ok((removed.len(), deliveries.map(|(at, _)| event_in(at)).collect()))
}
