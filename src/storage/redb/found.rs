//! What lists come to: events, and deliveries found by walking over events, newest first, joined with their outcomes. A
//! receiver without an outcome was never attempted. Tables of a snapshot; whoever holds that may call.

mod outcomes;

use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;

use redb::{AccessGuard, ReadOnlyTable, ReadTransaction};

use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::read::filter::DeliveryFilter;
use crate::storage::read::page::Found;
use crate::storage::redb::found::outcomes::OutcomesInTurn;
use crate::storage::redb::receiver_sets::ReceiverSets;
use crate::storage::redb::tables::{self, OutcomeKey};
use crate::storage::rows::record::{self, EventHead, EventRow};
use crate::storage::rows::{delivery_record, digest};

type EventKey = (u32, u128);
type Guard = AccessGuard<'static, &'static [u8]>;

/// The ids of events of that time.
pub(super) fn range_of(since: Option<Timestamp>, until: Option<Timestamp>) -> (u128, u128) {
    let first = since.map_or(0, |time| EventId::first_at(time).0);
    (first, until.map_or(u128::MAX, |time| EventId::first_at(time).0.saturating_sub(1)))
}

/// The status of what is in the outbox.
pub(crate) const PENDING: &str = DeliveryState::NAMES[0];

/// Who an event goes to, unless that cannot be read.
type Receivers = Result<Arc<[SubscriptionId]>, StorageError>;

/// The events of an account in a snapshot.
pub(crate) struct Events {
    account: AccountId,
    table: ReadOnlyTable<EventKey, &'static [u8]>,
    sets: ReceiverSets,
}

impl Events {
    /// Those of that account.
    pub fn of(rows: &ReadTransaction, account: AccountId) -> Result<Self, StorageError> {
        Ok(Self { account, table: rows.open_table(tables::EVENTS)?, sets: ReceiverSets::of(rows)? })
    }

    fn row(&self, id: EventId) -> Result<Option<Guard>, StorageError> {
        Ok(self.table.get((self.account.0, id.0))?)
    }

    fn open<'a>(&self, id: EventId, row: &'a Guard) -> Result<&'a [u8], StorageError> {
        tables::open::<EventKey>((self.account.0, id.0), row.value(), digest::named("event", id))
    }

    /// One event.
    pub fn event(&self, id: EventId) -> Result<Option<EventRow>, StorageError> {
        self.row(id)?.map(|row| self.decode(id, &row)).transpose()
    }

    fn decode(&self, id: EventId, row: &Guard) -> Result<EventRow, StorageError> {
        EventRow::decode(self.open(id, row)?, |number| self.sets.members(number))
    }

    /// One event as it is sent: its receivers are not read, so that none of them depends on the others' row.
    pub fn event_to_send(&self, id: EventId) -> Result<Option<EventContent>, StorageError> {
        self.row(id)?.map(|row| record::content_of(self.open(id, &row)?)).transpose()
    }

    /// One event without its body.
    pub fn head(&self, id: EventId) -> Result<Option<EventHead>, StorageError> {
        self.row(id)?.map(|row| self.decode_head(id, &row)).transpose()
    }

    fn decode_head(&self, id: EventId, row: &Guard) -> Result<EventHead, StorageError> {
        EventHead::decode(self.open(id, row)?)
    }

    /// How long an event's row is.
    pub fn bytes(&self, id: EventId) -> Result<usize, StorageError> {
        Ok(self.row(id)?.map_or(0, |row| row.value().len()))
    }

    /// The events after the first and up to the second of these with their receivers, oldest first.
    pub fn oldest_first(
        &self,
        after: EventId,
        until: EventId,
    ) -> Result<impl Iterator<Item = Result<(EventId, Receivers), StorageError>>, StorageError> {
        let key = |id: EventId| (self.account.0, id.0);
        let range = (Bound::Excluded(key(after)), Bound::Included(key(until)));
        let rows = if after < until { Some(self.table.range::<EventKey>(range)?) } else { None };
        Ok(rows.into_iter().flatten().map(|row| {
            let (key, row) = row?;
            let id = EventId(key.value().1);
            Ok((id, self.decode_head(id, &row).and_then(|head| self.sets.members(head.receivers))))
        }))
    }

    /// Rows from the newest to the oldest of these.
    pub fn newest_first(
        self: Rc<Self>,
        first: u128,
        last: Bound<u128>,
    ) -> Result<impl Iterator<Item = Result<(EventId, Guard), StorageError>>, StorageError> {
        let account = self.account.0;
        let is_empty = matches!(last, Bound::Included(last) if last < first)
            || matches!(last, Bound::Excluded(last) if last <= first);
        let range = (Bound::Included((account, first)), last.map(|last| (account, last)));
        let rows = if is_empty { None } else { Some(self.table.range::<EventKey>(range)?.rev()) };
        Ok(rows.into_iter().flatten().map(|row| {
            let (key, row) = row?;
            Ok((EventId(key.value().1), row))
        }))
    }
}

/// An event that a list has come to, and the type that is asked for.
pub(crate) struct ListedEvent {
    pub id: EventId,
    pub row: Guard,
    pub events: Rc<Events>,
    pub wanted: Option<EventType>,
}

impl Found for ListedEvent {
    type Item = EventRow;

    fn is_wanted(&self) -> Result<bool, StorageError> {
        let Some(wanted) = self.wanted else { return Ok(true) };
        Ok(EventHead::decode(self.events.open(self.id, &self.row)?)?.event_type == wanted)
    }

    fn bytes(&self) -> usize {
        self.row.value().len()
    }

    fn item(&self) -> Result<EventRow, StorageError> {
        self.events.decode(self.id, &self.row)
    }
}

/// A delivery that a list has come to.
pub(crate) struct ListedDelivery<'a> {
    pub account: AccountId,
    pub id: DeliveryId,
    /// Its event's type; none: the event goes to nobody who was asked for, or is damaged.
    pub event_type: Option<EventType>,
    /// Its row; none: it was never attempted.
    pub outcome: Option<Guard>,
    pub filter: &'a DeliveryFilter,
}

impl ListedDelivery<'_> {
    fn open<'a>(&self, row: &'a Guard) -> Result<&'a [u8], StorageError> {
        let key = (self.account.0, self.id.event.0, self.id.subscription.0);
        tables::open::<OutcomeKey>(key, row.value(), digest::named("delivery", self.id))
    }
}

impl Found for ListedDelivery<'_> {
    type Item = Delivery;

    /// Decodes no more of the row than the filter needs, since most rows of a long list are only counted.
    fn is_wanted(&self) -> Result<bool, StorageError> {
        let Some(event_type) = self.event_type else { return Ok(false) };
        let DeliveryFilter { status, event_type: wanted, response_code, .. } = self.filter;
        if wanted.is_some_and(|wanted| wanted != event_type) {
            return Ok(false);
        }
        let Some(row) = &self.outcome else {
            return Ok(response_code.is_none() && status.is_none_or(|status| status == PENDING));
        };
        if let Some(status) = status
            && delivery_record::decode_state(self.open(row)?)?.name() != *status
        {
            return Ok(false);
        }
        match response_code {
            None => Ok(true),
            code => Ok(delivery_record::last_response_code(self.open(row)?, event_type)? == *code),
        }
    }

    /// A response code stands far behind in a row.
    fn looks(&self) -> usize {
        1 + usize::from(self.filter.response_code.is_some())
    }

    fn bytes(&self) -> usize {
        self.outcome.as_ref().map_or(1, |row| row.value().len())
    }

    fn item(&self) -> Result<Delivery, StorageError> {
        let event_type = self.event_type.ok_or_else(|| StorageError::Codec(format!("{} has no type", self.id)))?;
        match &self.outcome {
            Some(row) => delivery_record::decode(self.open(row)?, event_type),
            None => Ok(Delivery::unattempted(event_type, self.id.event.time())),
        }
    }
}

/// Walks over deliveries of an account, newest event first, those of one event by number from the greatest on. An event
/// without any is one item too, which nothing wants: it was looked at.
pub(crate) struct DeliveryWalk<'a> {
    events: Rc<Events>,
    outcomes: &'a ReadOnlyTable<OutcomeKey, &'static [u8]>,
    rows: Box<dyn Iterator<Item = Result<(EventId, Guard), StorageError>> + 'a>,
    filter: &'a DeliveryFilter,
    after: Option<DeliveryId>,
    /// The event that is walked over, and those of its receivers that are left, the next one last.
    present: Option<(EventId, EventType)>,
    left: Vec<SubscriptionId>,
    /// Most of its receivers are asked for, so that their outcomes are read in turn.
    is_in_turn: bool,
    in_turn: OutcomesInTurn<'a>,
}

impl<'a> DeliveryWalk<'a> {
    /// The deliveries behind that one, of the filter's subscriptions and time.
    pub fn new(
        events: Rc<Events>,
        outcomes: &'a ReadOnlyTable<OutcomeKey, &'static [u8]>,
        filter: &'a DeliveryFilter,
        after: Option<DeliveryId>,
    ) -> Result<Self, StorageError> {
        let (first, last) = range_of(filter.since, filter.until);
        let last = after.map_or(last, |after| last.min(after.event.0));
        let rows = Box::new(Rc::clone(&events).newest_first(first, Bound::Included(last))?);
        let in_turn = OutcomesInTurn::of(outcomes);
        Ok(Self { events, outcomes, rows, filter, after, present: None, left: Vec::new(), is_in_turn: false, in_turn })
    }

    fn listed(&mut self, id: DeliveryId, event_type: Option<EventType>) -> Result<ListedDelivery<'a>, StorageError> {
        let account = self.events.account;
        let key = (account.0, id.event.0, id.subscription.0);
        let outcome = match event_type {
            Some(_) if self.is_in_turn => self.in_turn.get(key)?,
            Some(_) => self.outcomes.get(key)?,
            None => None,
        };
        Ok(ListedDelivery { account, id, event_type, outcome, filter: self.filter })
    }

    /// Begins with an event. Gives whether there is a delivery of it.
    fn begin(&mut self, event: EventId, row: &Guard) -> Result<bool, StorageError> {
        let head = self.events.decode_head(event, row)?;
        let receivers = self.events.sets.members(head.receivers)?;
        let is_wanted = self.filter.event_type.is_none_or(|wanted| wanted == head.event_type);
        self.left.clear();
        if is_wanted {
            self.left.extend(receivers.iter().filter(|receiver| {
                let id = DeliveryId { event, subscription: **receiver };
                self.filter.subscriptions.binary_search(receiver).is_ok() && self.after.is_none_or(|after| id < after)
            }));
        }
        self.is_in_turn = self.left.len() * 2 > receivers.len();
        self.present = Some((event, head.event_type));
        Ok(!self.left.is_empty())
    }
}

impl<'a> Iterator for DeliveryWalk<'a> {
    type Item = Result<(DeliveryId, ListedDelivery<'a>), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            let begun = self.rows.next()?.and_then(|(event, row)| Ok((event, self.begin(event, &row)?)));
            match begun {
                Ok((_, true)) => {}
                Ok((event, false)) => {
                    let id = DeliveryId { event, subscription: SubscriptionId(0) };
                    return Some(self.listed(id, None).map(|found| (id, found)));
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let ((event, event_type), subscription) = (self.present?, self.left.pop()?);
        let id = DeliveryId { event, subscription };
        Some(self.listed(id, Some(event_type)).map(|found| (id, found)))
    }
}
