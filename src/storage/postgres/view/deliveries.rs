//! Lists of deliveries, newest event first: a walk over events joined with their outcomes, or, of what is pending, over the
//! outbox, which is short where most has arrived. Belongs to whoever has the view.

use std::collections::{BinaryHeap, VecDeque};

use crate::domain::delivery::Delivery;
use crate::domain::{AccountId, DeliveryId, SubscriptionId};
use crate::storage::error::StorageError;
use crate::storage::postgres::rows::{Rows, Walk};
use crate::storage::postgres::stored::{
    UNATTEMPTED, WAITING, event_in, event_key, events_between, head_of, outbox_at, outbox_row, outcome_key, range_of,
    retries_of,
};
use crate::storage::postgres::tables::{EVENTS, OUTBOX, OUTCOMES, Order};
use crate::storage::postgres::view::listed::{ListedDelivery, PENDING, Sets};
use crate::storage::read::filter::DeliveryFilter;
use crate::storage::read::page::{LOOKED_AT_MAX, Page, PageRequest, ReadLimit, collect};

type Result<T> = std::result::Result<T, StorageError>;
type Ids<'a> = Box<dyn Iterator<Item = Result<DeliveryId>> + 'a>;

/// Deliveries whose events and outcomes are read together.
const AT_ONCE: usize = 128;

/// A page of deliveries.
pub(super) fn list(
    rows: &dyn Rows,
    filter: &DeliveryFilter,
    request: PageRequest<DeliveryId>,
    known: Option<usize>,
    limit: &ReadLimit,
) -> Result<Page<DeliveryId, Delivery>> {
    if filter.status == Some(PENDING)
        && let Some(retries) = retries(rows, filter)?
    {
        return collect(request, known, limit, |after| pending(rows, filter, &retries, after));
    }
    let sets = Sets::of(rows);
    collect(request, known, limit, |after| Ok(DeliveryWalk::new(rows, &sets, filter, after)))
}

/// The retries of the filter's subscriptions and time, newest event first, unless there are more than one call may look at:
/// they lie in the order of their due times, and so the newest cannot be told without all of them.
fn retries(rows: &dyn Rows, filter: &DeliveryFilter) -> Result<Option<Vec<DeliveryId>>> {
    let (first, last) = range_of(filter.since, filter.until);
    let (mut looked_at, mut retries) = (0, Vec::new());
    for subscription in &filter.subscriptions {
        for row in Walk::over(rows, &OUTBOX, retries_of(*subscription), Order::Rising) {
            let (at, row) = row?;
            let event = event_in(&at);
            looked_at += 1;
            if looked_at > LOOKED_AT_MAX {
                return Ok(None);
            }
            if (first..=last).contains(&event.0) && !outbox_row(&at, &row).is_batch() {
                retries.push(DeliveryId { event, subscription: *subscription });
            }
        }
    }
    retries.sort_unstable_by(|one, other| other.cmp(one));
    Ok(Some(retries))
}

/// What is pending behind that delivery.
fn pending<'a>(
    rows: &'a dyn Rows,
    filter: &'a DeliveryFilter,
    retries: &'a [DeliveryId],
    after: Option<DeliveryId>,
) -> Result<Joined<'a>> {
    let (first, last) = range_of(filter.since, filter.until);
    let last = after.map_or(last, |after| last.min(after.event.0));
    let begin = after.map_or(0, |after| retries.partition_point(|id| *id >= after));
    let left = retries.get(begin..).unwrap_or_default().iter().map(|id| Ok(*id));
    let mut sources: Vec<Ids<'_>> = vec![Box::new(left)];
    for id in filter.subscriptions.iter().filter(|_| filter.response_code.is_none() && first <= last) {
        for due in [UNATTEMPTED, WAITING] {
            let walk = Walk::over(rows, &OUTBOX, outbox_at(*id, due, first.max(1), last), Order::Falling);
            let deliveries = walk.filter(|row| !row.as_ref().is_ok_and(|(at, row)| outbox_row(at, row).is_batch()));
            sources.push(Box::new(
                deliveries.map(move |row| Ok(DeliveryId { event: event_in(&row?.0), subscription: *id })),
            ));
        }
    }
    let ids = NewestFirst::new(sources)?;
    let ids = ids.filter(move |id| !matches!((id, after), (Ok(id), Some(after)) if *id >= after));
    Ok(Joined { rows, filter, ids: Box::new(ids), read: VecDeque::new() })
}

/// Deliveries with their events and outcomes, some at a time.
struct Joined<'a> {
    rows: &'a dyn Rows,
    filter: &'a DeliveryFilter,
    ids: Ids<'a>,
    read: VecDeque<(DeliveryId, ListedDelivery<'a>)>,
}

impl Joined<'_> {
    fn refill(&mut self) -> Result<()> {
        let ids: Vec<DeliveryId> = self.ids.by_ref().take(AT_ONCE).collect::<Result<_>>()?;
        let account = self.filter.account;
        let events: Vec<_> = ids.iter().map(|id| event_key(account, id.event)).collect();
        let events = self.rows.get_some(&EVENTS, &events)?;
        let outcomes: Vec<_> = ids.iter().map(|id| outcome_key(account, *id)).collect();
        let outcomes = self.rows.get_some(&OUTCOMES, &outcomes)?;
        for ((id, event), outcome) in ids.into_iter().zip(events).zip(outcomes) {
            let missing = || StorageError::Codec(format!("the event of delivery {id} is not in the store"));
            let head = head_of(account, id.event, &event.ok_or_else(missing)?)?;
            let event_type = Some(head.event_type);
            self.read.push_back((id, ListedDelivery { account, id, event_type, outcome, filter: self.filter }));
        }
        Ok(())
    }
}

impl<'a> Iterator for Joined<'a> {
    type Item = Result<(DeliveryId, ListedDelivery<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read.is_empty()
            && let Err(error) = self.refill()
        {
            return Some(Err(error));
        }
        self.read.pop_front().map(Ok)
    }
}

/// Merges ids from sources of which each has its newest first.
struct NewestFirst<'a> {
    sources: Vec<Ids<'a>>,
    heads: BinaryHeap<(DeliveryId, usize)>,
}

impl<'a> NewestFirst<'a> {
    /// Reads the first of each.
    fn new(sources: Vec<Ids<'a>>) -> Result<Self> {
        let mut merged = Self { heads: BinaryHeap::with_capacity(sources.len()), sources };
        for index in 0..merged.sources.len() {
            merged.refill(index)?;
        }
        Ok(merged)
    }

    fn refill(&mut self, index: usize) -> Result<()> {
        let next = self.sources.get_mut(index).and_then(Iterator::next).transpose()?;
        self.heads.extend(next.map(|id| (id, index)));
        Ok(())
    }
}

impl Iterator for NewestFirst<'_> {
    type Item = Result<DeliveryId>;

    fn next(&mut self) -> Option<Self::Item> {
        let (id, index) = self.heads.pop()?;
        Some(self.refill(index).map(|()| id))
    }
}

/// Walks over deliveries of an account, newest event first, those of one event by number from the greatest on. An event
/// without any is one item too, which nothing wants: it was looked at.
struct DeliveryWalk<'a> {
    rows: &'a dyn Rows,
    sets: &'a Sets<'a>,
    filter: &'a DeliveryFilter,
    after: Option<DeliveryId>,
    events: Walk<'a>,
    /// What was read and not given yet.
    read: VecDeque<(DeliveryId, ListedDelivery<'a>)>,
}

impl<'a> DeliveryWalk<'a> {
    fn new(rows: &'a dyn Rows, sets: &'a Sets<'a>, filter: &'a DeliveryFilter, after: Option<DeliveryId>) -> Self {
        let (first, last) = range_of(filter.since, filter.until);
        let last = after.map_or(last, |after| last.min(after.event.0));
        let span = events_between(filter.account, first, last);
        Self {
            rows,
            sets,
            filter,
            after,
            events: Walk::over(rows, &EVENTS, span, Order::Falling),
            read: VecDeque::new(),
        }
    }

    fn refill(&mut self) -> Result<()> {
        let account: AccountId = self.filter.account;
        let mut found = Vec::new();
        for (at, row) in self.events.next_page()? {
            let event = event_in(&at);
            let head = head_of(account, event, &row)?;
            let receivers = self.sets.members(head.receivers)?;
            let is_wanted = self.filter.event_type.is_none_or(|wanted| wanted == head.event_type);
            let of = |subscription: SubscriptionId| DeliveryId { event, subscription };
            let own = receivers.iter().rev().copied().filter(|receiver| {
                self.filter.subscriptions.binary_search(receiver).is_ok()
                    && self.after.is_none_or(|after| of(*receiver) < after)
            });
            let before = found.len();
            found.extend(own.filter(|_| is_wanted).map(|receiver| (of(receiver), Some(head.event_type))));
            if found.len() == before {
                found.push((of(SubscriptionId(0)), None));
            }
        }
        for some in found.chunks(AT_ONCE) {
            let keys: Vec<_> = some.iter().map(|(id, _)| outcome_key(account, *id)).collect();
            for ((id, event_type), outcome) in some.iter().zip(self.rows.get_some(&OUTCOMES, &keys)?) {
                let (id, event_type) = (*id, *event_type);
                let outcome = outcome.filter(|_| event_type.is_some());
                self.read.push_back((id, ListedDelivery { account, id, event_type, outcome, filter: self.filter }));
            }
        }
        Ok(())
    }
}

impl<'a> Iterator for DeliveryWalk<'a> {
    type Item = Result<(DeliveryId, ListedDelivery<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.read.is_empty()
            && let Err(error) = self.refill()
        {
            return Some(Err(error));
        }
        self.read.pop_front().map(Ok)
    }
}
