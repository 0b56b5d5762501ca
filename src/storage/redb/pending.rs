//! Lists what is pending from the outbox, which has nothing else: where most has arrived it is short. Any thread.

use std::collections::BinaryHeap;
use std::rc::Rc;

use redb::{ReadOnlyTable, ReadTransaction};

use crate::domain::delivery::Delivery;
use crate::domain::{DeliveryId, EventId};
use crate::storage::engine::Retry;
use crate::storage::error::StorageError;
use crate::storage::read::filter::DeliveryFilter;
use crate::storage::read::page::{LOOKED_AT_MAX, Page, PageRequest, ReadLimit, collect};
use crate::storage::redb::found::{Events, ListedDelivery, range_of};
use crate::storage::redb::outbox::{Outbox, OutboxAt};
use crate::storage::redb::tables::OutcomeKey;

type Ids<'a> = Box<dyn Iterator<Item = Result<DeliveryId, StorageError>> + 'a>;

/// Pending deliveries that fit the rest of the filter, newest event first. None where more retries wait than one call
/// may look at: they lie in the order of their due times, and so the newest cannot be told without all of them.
pub fn deliveries(
    rows: &ReadTransaction,
    outcomes: &ReadOnlyTable<OutcomeKey, &'static [u8]>,
    filter: &DeliveryFilter,
    request: PageRequest<DeliveryId>,
    known: Option<usize>,
    limit: &ReadLimit,
) -> Result<Option<Page<DeliveryId, Delivery>>, StorageError> {
    let outbox = Outbox::of(rows)?;
    let Some(retries) = retries(&outbox, filter)? else { return Ok(None) };
    let events = Rc::new(Events::of(rows, filter.account)?);
    let (first, last) = range_of(filter.since, filter.until);
    let walk = |after: Option<DeliveryId>| {
        let last = after.map_or(last, |after| last.min(after.event.0));
        let begin = after.map_or(0, |after| retries.partition_point(|id| *id >= after));
        let waiting = retries.get(begin..).unwrap_or_default().iter().map(|id| Ok(*id));
        let mut sources: Vec<Ids<'_>> = vec![Box::new(waiting)];
        for id in filter.subscriptions.iter().filter(|_| filter.response_code.is_none() && first <= last) {
            let unattempted = outbox.unattempted_of(*id, EventId(first)..=EventId(last))?.rev();
            sources.push(Box::new(unattempted.map(|event| Ok(DeliveryId { event: event?, subscription: *id }))));
            let waiting = outbox.waiting_of(*id, EventId(first)..=EventId(last))?.rev();
            sources.push(Box::new(waiting.map(|event| Ok(DeliveryId { event: event?, subscription: *id }))));
        }
        let events = Rc::clone(&events);
        let found =
            NewestFirst::new(sources)?.filter(move |id| !matches!((id, after), (Ok(id), Some(after)) if *id >= after));
        Ok(found.map(move |id| {
            let id = id?;
            let account = filter.account;
            let missing = || StorageError::Codec(format!("the event of delivery {id} is not in the store"));
            let head = events.head(id.event)?.ok_or_else(missing)?;
            let outcome = outcomes.get((account.0, id.event.0, id.subscription.0))?;
            Ok((id, ListedDelivery { account, id, event_type: Some(head.event_type), outcome, filter }))
        }))
    };
    collect(request, known, limit, walk).map(Some)
}

/// The retries of the filter's subscriptions and time, newest event first, unless there are too many.
fn retries(outbox: &OutboxAt, filter: &DeliveryFilter) -> Result<Option<Vec<DeliveryId>>, StorageError> {
    let (first, last) = range_of(filter.since, filter.until);
    let mut looked_at = 0;
    let mut retries = Vec::new();
    for subscription in &filter.subscriptions {
        for retry in outbox.retries_of(*subscription)? {
            let Retry { event, is_batch, .. } = retry?;
            let id = DeliveryId { event, subscription: *subscription };
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX {
                return Ok(None);
            }
            if !is_batch && (first..=last).contains(&id.event.0) {
                retries.push(id);
            }
        }
    }
    retries.sort_unstable_by(|one, other| other.cmp(one));
    Ok(Some(retries))
}

/// Merges ids from sources of which each has its newest first.
struct NewestFirst<'a> {
    sources: Vec<Ids<'a>>,
    heads: BinaryHeap<(DeliveryId, usize)>,
}

impl<'a> NewestFirst<'a> {
    /// Reads the first of each.
    fn new(sources: Vec<Ids<'a>>) -> Result<Self, StorageError> {
        let mut merged = Self { heads: BinaryHeap::with_capacity(sources.len()), sources };
        for index in 0..merged.sources.len() {
            merged.refill(index)?;
        }
        Ok(merged)
    }

    fn refill(&mut self, index: usize) -> Result<(), StorageError> {
        let next = self.sources.get_mut(index).and_then(Iterator::next).transpose()?;
        self.heads.extend(next.map(|id| (id, index)));
        Ok(())
    }
}

impl Iterator for NewestFirst<'_> {
    type Item = Result<DeliveryId, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (id, index) = self.heads.pop()?;
        Some(self.refill(index).map(|()| id))
    }
}
