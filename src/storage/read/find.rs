//! Finds events, and their deliveries, by an id in their data or by a tag. The engine names candidates, newest first, and
//! each is read and compared here. Any thread.

use std::collections::BTreeSet;

use crate::domain::delivery::Delivery;
use crate::domain::event::find::{self, FindKey};
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId};
use crate::storage::engine::View;
use crate::storage::error::StorageError;
use crate::storage::read::filter::{DeliveryFilter, EventFilter};
use crate::storage::read::page::{Found, Page, PageRequest, ReadLimit, collect};
use crate::storage::rows::record::EventRow;

/// Candidates that one call looks at. Each of them is a row somewhere else.
const CANDIDATES: usize = 1000;

type Result<T> = std::result::Result<T, StorageError>;

/// What is looked for: everything of it is in what is found.
pub struct Wanted<'a> {
    /// Whose.
    pub account: AccountId,
    /// At least one.
    pub keys: &'a [FindKey],
}

impl Wanted<'_> {
    /// The candidates before that event: by the id or tag that fewest events share.
    fn candidates<'v>(
        &self,
        view: &'v dyn View,
        before: Option<EventId>,
    ) -> Result<Box<dyn Iterator<Item = Result<EventId>> + 'v>> {
        match self.keys.iter().min_by_key(|key| key.kind) {
            Some(key) => view.candidates(self.account, key, before),
            None => Ok(Box::new(std::iter::empty())),
        }
    }

    /// The event, if it is one of those wanted.
    fn event(&self, view: &dyn View, id: EventId) -> Result<Option<EventRow>> {
        let Some(row) = view.event(self.account, id)? else { return Ok(None) };
        let keys = find::keys(row.content.body(), &view.tags(self.account, id)?);
        Ok(self.keys.iter().all(|wanted| keys.contains(wanted)).then_some(row))
    }
}

/// The same of an event that is in the range of times.
fn is_in_time(id: EventId, filter: &EventFilter) -> bool {
    let time = id.time();
    filter.since.is_none_or(|since| time >= since) && filter.until.is_none_or(|until| time < until)
}

/// The first event behind the range of times, from which on candidates are looked at.
fn end(filter: &EventFilter, after: Option<EventId>) -> Option<EventId> {
    let until = filter.until.map(EventId::first_at);
    until.into_iter().chain(after).min()
}

struct FoundEvent(Option<EventRow>);

impl Found for FoundEvent {
    type Item = EventRow;

    fn is_wanted(&self) -> Result<bool> {
        Ok(self.0.is_some())
    }

    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |row| row.content.body().len())
    }

    fn item(&self) -> Result<EventRow> {
        self.0.clone().ok_or_else(|| StorageError::Codec("an event was removed while it was read".to_owned()))
    }
}

/// Events of an account, newest first.
pub fn events(
    view: &dyn View,
    wanted: &Wanted<'_>,
    filter: EventFilter,
    request: PageRequest<EventId>,
    limit: &ReadLimit,
) -> Result<Page<EventId, EventRow>> {
    collect(request, None, &limit.of_rows(CANDIDATES), |after| {
        let candidates = wanted.candidates(view, end(&filter, after))?;
        Ok(candidates.take_while(move |id| in_time_or_broken(id, filter)).map(move |id| {
            let id = id?;
            let row = wanted.event(view, id)?;
            Ok((
                id,
                FoundEvent(row.filter(|row| filter.event_type.is_none_or(|wanted| row.content.event_type == wanted))),
            ))
        }))
    })
}

fn in_time_or_broken(id: &Result<EventId>, filter: EventFilter) -> bool {
    id.as_ref().map_or(true, |id| is_in_time(*id, &filter))
}

struct FoundDelivery(Option<Delivery>);

impl Found for FoundDelivery {
    type Item = Delivery;

    fn is_wanted(&self) -> Result<bool> {
        Ok(self.0.is_some())
    }

    fn bytes(&self) -> usize {
        0
    }

    fn item(&self) -> Result<Delivery> {
        self.0.clone().ok_or_else(|| StorageError::Codec("a delivery was removed while it was read".to_owned()))
    }
}

/// Deliveries of the filter's subscriptions, newest event first.
pub fn deliveries(
    view: &dyn View,
    wanted: &Wanted<'_>,
    filter: &DeliveryFilter,
    request: PageRequest<DeliveryId>,
    limit: &ReadLimit,
) -> Result<Page<DeliveryId, Delivery>> {
    let times = EventFilter { event_type: filter.event_type, since: filter.since, until: filter.until };
    let own: BTreeSet<SubscriptionId> = filter.subscriptions.iter().copied().collect();
    let own = &own;
    collect(request, None, &limit.of_rows(CANDIDATES), |after| {
        // The event of the last delivery may have more of them.
        let before = after.map(|after| EventId(after.event.0.saturating_add(1)));
        let candidates = wanted.candidates(view, end(&times, before))?;
        let found = candidates.take_while(move |id| in_time_or_broken(id, times)).flat_map(move |id| {
            let ids = id.and_then(|id| Ok(delivery_ids(id, wanted.event(view, id)?, own)));
            match ids {
                Ok(ids) => ids.into_iter().map(Ok).collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            }
        });
        let behind = found.filter(move |id| !id.as_ref().is_ok_and(|id| after.is_some_and(|after| *id >= after)));
        Ok(behind.map(move |id| {
            let id = id?;
            // What the event is no candidate for has no subscription.
            let delivery = if own.contains(&id.subscription) { view.delivery(wanted.account, id)? } else { None };
            Ok((id, FoundDelivery(delivery.filter(|delivery| is_wanted(delivery, filter)))))
        }))
    })
}

/// The deliveries of an event for these subscriptions, last one first. One that has none counts as one that is not wanted.
fn delivery_ids(event: EventId, row: Option<EventRow>, own: &BTreeSet<SubscriptionId>) -> Vec<DeliveryId> {
    let receivers = row.map(|row| row.subscriptions).unwrap_or_default();
    let mut ids: Vec<_> = receivers
        .iter()
        .filter(|id| own.contains(id))
        .map(|subscription| DeliveryId { event, subscription: *subscription })
        .collect();
    if ids.is_empty() {
        ids.push(DeliveryId { event, subscription: SubscriptionId(0) });
    }
    ids.sort_unstable_by(|one, other| other.cmp(one));
    ids
}

fn is_wanted(delivery: &Delivery, filter: &DeliveryFilter) -> bool {
    let code = delivery.attempts.last().and_then(|attempt| attempt.outcome.response_code());
    filter.status.is_none_or(|status| delivery.state.name() == status)
        && filter.event_type.is_none_or(|wanted| delivery.event_type == wanted)
        && filter.response_code.is_none_or(|wanted| code == Some(wanted))
}
