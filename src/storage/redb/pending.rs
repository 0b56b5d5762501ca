//! Lists what is pending from the outbox, which has nothing else: where most has arrived it is short. Any thread.

use redb::ReadTransaction;

use crate::domain::delivery::Delivery;
use crate::domain::{DeliveryId, EventId};
use crate::storage::error::StorageError;
use crate::storage::read::filter::DeliveryFilter;
use crate::storage::read::page::{LOOKED_AT_MAX, Page, PageRequest, ReadLimit, collect};
use crate::storage::redb::found::{FoundDelivery, ListedDelivery, NewestFirst, RowIter, range_of};
use crate::storage::redb::outbox::Outbox;
use crate::storage::redb::tables;

/// Pending deliveries that fit the rest of the filter, newest event first. None where more retries wait than one call
/// may look at: they lie in the order of their due times, and so the newest cannot be told without all of them.
pub fn deliveries(
    rows: &ReadTransaction,
    filter: &DeliveryFilter,
    request: PageRequest<DeliveryId>,
    limit: &ReadLimit,
) -> Result<Option<Page<DeliveryId, Delivery>>, StorageError> {
    let outbox = Outbox::of(rows)?;
    let attempted = rows.open_table(tables::DELIVERIES)?;
    let (first, last) = range_of(filter.since, filter.until);
    let mut retries = Vec::new();
    for subscription in &filter.subscriptions {
        for (looked_at, retry) in outbox.retries_of(*subscription)?.enumerate() {
            let id = DeliveryId { event: retry?.1, subscription: *subscription };
            if looked_at >= LOOKED_AT_MAX || retries.len() >= LOOKED_AT_MAX {
                return Ok(None);
            }
            if (first..=last).contains(&id.event.0) {
                retries.push(id);
            }
        }
    }
    retries.sort_unstable_by(|one, other| other.cmp(one));
    let walk = |after: Option<DeliveryId>| {
        let last = after.map_or(last, |after| last.min(after.event.0));
        let begin = after.map_or(0, |after| retries.partition_point(|id| *id >= after));
        let waiting = retries.get(begin..).unwrap_or_default().iter().filter_map(|id| {
            let place = (id.subscription.0, id.event.0);
            let row = attempted.get(place).map_err(StorageError::from).transpose()?;
            Some(row.map(|row| (place, FoundDelivery::Row(row))))
        });
        let mut sources: Vec<RowIter<'_>> = vec![Box::new(waiting)];
        for id in filter.subscriptions.iter().filter(|_| filter.response_code.is_none() && first <= last) {
            let unattempted = outbox.unattempted_of(*id, EventId(first)..=EventId(last))?.rev().map(|row| {
                let (event, number) = row?;
                Ok(((id.0, event.0), FoundDelivery::Unattempted(number)))
            });
            sources.push(Box::new(unattempted));
        }
        Ok(NewestFirst::new(sources)?.filter_map(move |row| match row {
            Ok((id, _)) if after.is_some_and(|after| id >= after) => None,
            row => Some(row.map(|(id, found)| (id, ListedDelivery { id, found, filter }))),
        }))
    };
    collect(request, None, limit, walk).map(Some)
}
