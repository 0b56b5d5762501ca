//! Lists what is pending from the outbox, which has nothing else: where most has arrived it is short. Any thread.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use redb::ReadTransaction;

use crate::domain::delivery::Delivery;
use crate::domain::{DeliveryId, EventId};
use crate::storage::error::StorageError;
use crate::storage::read::filter::DeliveryFilter;
use crate::storage::read::page::{Collector, Page, PageRequest};
use crate::storage::redb::found::{FoundDelivery, NewestFirst, RowIter, range_of};
use crate::storage::redb::outbox::Outbox;
use crate::storage::redb::tables;

/// Pending deliveries that fit the rest of the filter, newest event first.
pub fn deliveries(
    rows: &ReadTransaction,
    filter: &DeliveryFilter,
    request: PageRequest<DeliveryId>,
) -> Result<Page<(DeliveryId, Delivery)>, StorageError> {
    let outbox = Outbox::of(rows)?;
    let attempted = rows.open_table(tables::DELIVERIES)?;
    let (first, last) = range_of(filter.since, filter.until);
    let mut collector = Collector::new(&request);
    if first > last {
        return Ok(collector.page);
    }
    let row = |id: DeliveryId| -> Result<Option<FoundDelivery>, StorageError> {
        Ok(attempted.get((id.subscription.0, id.event.0))?.map(FoundDelivery::Row))
    };
    let fits =
        |id: DeliveryId| -> Result<bool, StorageError> { row(id)?.map_or(Ok(false), |found| found.is_wanted(filter)) };
    let is_narrow = filter.event_type.is_some() || filter.response_code.is_some();
    // Retries lie in the order of their due times. Those of the newest events are picked out, as many as lie on the
    // page, are passed over before it, or tell that there are more.
    let room = request.offset.saturating_add(request.limit).saturating_add(1);
    let mut newest = BinaryHeap::new();
    let mut retrying = 0;
    for subscription in &filter.subscriptions {
        for retry in outbox.retries_of(*subscription)? {
            let id = DeliveryId { event: retry?.1, subscription: *subscription };
            if !(first..=last).contains(&id.event.0) || (is_narrow && !fits(id)?) {
                continue;
            }
            retrying += 1;
            if request.after.is_none_or(|after| id < after) {
                newest.push(Reverse(id));
                if newest.len() > room {
                    newest.pop();
                }
            }
        }
    }
    let picked = newest.len();
    let retries = newest.into_sorted_vec().into_iter().filter_map(|Reverse(id)| {
        let found = row(id).transpose()?;
        Some(found.map(|found| ((id.subscription.0, id.event.0), found)))
    });
    let mut sources: Vec<RowIter<'_>> = vec![Box::new(retries)];
    if filter.response_code.is_none() {
        for id in &filter.subscriptions {
            let unattempted = outbox.unattempted_of(*id, EventId(first)..=EventId(last))?.rev().map(|row| {
                let (event, number) = row?;
                Ok(((id.0, event.0), FoundDelivery::Unattempted(number)))
            });
            sources.push(Box::new(unattempted));
        }
    }
    for item in NewestFirst::new(sources)? {
        let (id, found) = item?;
        let is_after = request.after.is_none_or(|after| id < after);
        if found.is_wanted(filter)? {
            collector.offer(is_after, found.bytes(), || Ok((id, found.delivery(id)?)))?;
        }
    }
    let Page { total, .. } = collector.page;
    Ok(Page { total: total.saturating_sub(picked) + retrying, ..collector.page })
}
