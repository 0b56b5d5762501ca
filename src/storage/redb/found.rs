//! Deliveries as a list finds them, in a row of their own or in the outbox, and several sources of them merged into one.
//! Tables of a snapshot; whoever holds that may call.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use redb::AccessGuard;

use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::event_type::EventType;
use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::read::filter::DeliveryFilter;
use crate::storage::read::page::Found;
use crate::storage::rows::delivery_record;
use crate::storage::rows::record::EventRow;

/// The ids of events of that time.
pub(super) fn range_of(since: Option<Timestamp>, until: Option<Timestamp>) -> (u128, u128) {
    let first = since.map_or(0, |time| EventId::first_at(time).0);
    (first, until.map_or(u128::MAX, |time| EventId::first_at(time).0.saturating_sub(1)))
}

/// The status of what is in the outbox.
pub(crate) const PENDING: &str = DeliveryState::NAMES[0];

/// A delivery as it was found.
pub(crate) enum FoundDelivery {
    /// Its row.
    Row(AccessGuard<'static, &'static [u8]>),
    /// It was never attempted, and has the number of its event's type.
    Unattempted(u8),
}

impl FoundDelivery {
    /// Does it fit? Decodes no more of the row than the filter needs, since most rows of a long list are only counted.
    fn is_wanted(&self, filter: &DeliveryFilter) -> Result<bool, StorageError> {
        if filter.status.is_none() && filter.event_type.is_none() && filter.response_code.is_none() {
            return Ok(true);
        }
        let (event_type, state) = match self {
            Self::Row(row) => delivery_record::decode_summary(row.value())?,
            Self::Unattempted(number) => (event_type(*number)?, PENDING),
        };
        let is_wanted = filter.status.is_none_or(|status| state == status)
            && filter.event_type.is_none_or(|wanted| event_type == wanted);
        match (filter.response_code, self) {
            (Some(code), Self::Row(row)) if is_wanted => {
                let delivery = delivery_record::decode(row.value())?;
                Ok(delivery.attempts.last().and_then(|attempt| attempt.outcome.response_code()) == Some(code))
            }
            (code, _) => Ok(is_wanted && code.is_none()),
        }
    }

    /// How long its row is.
    fn bytes(&self) -> usize {
        match self {
            Self::Row(row) => row.value().len(),
            Self::Unattempted(_) => 1,
        }
    }

    /// The delivery itself.
    fn delivery(&self, id: DeliveryId) -> Result<Delivery, StorageError> {
        match self {
            Self::Row(row) => delivery_record::decode(row.value()),
            Self::Unattempted(number) => Ok(Delivery::unattempted(event_type(*number)?, id.event.time())),
        }
    }
}

/// A delivery that a list with a filter has come to.
pub(crate) struct ListedDelivery<'a> {
    pub id: DeliveryId,
    pub found: FoundDelivery,
    pub filter: &'a DeliveryFilter,
}

impl Found for ListedDelivery<'_> {
    type Item = Delivery;

    fn is_wanted(&self) -> Result<bool, StorageError> {
        self.found.is_wanted(self.filter)
    }

    fn bytes(&self) -> usize {
        self.found.bytes()
    }

    fn item(&self) -> Result<Delivery, StorageError> {
        self.found.delivery(self.id)
    }
}

/// An event that a list has come to, and the type that is asked for.
pub(crate) struct ListedEvent {
    pub row: AccessGuard<'static, &'static [u8]>,
    pub wanted: Option<EventType>,
}

impl Found for ListedEvent {
    type Item = EventRow;

    fn is_wanted(&self) -> Result<bool, StorageError> {
        self.wanted.map_or(Ok(true), |wanted| Ok(EventRow::decode_type(self.row.value())? == wanted))
    }

    fn bytes(&self) -> usize {
        self.row.value().len()
    }

    fn item(&self) -> Result<EventRow, StorageError> {
        EventRow::decode(self.row.value())
    }
}

fn event_type(number: u8) -> Result<EventType, StorageError> {
    EventType::from_number(number).ok_or_else(|| StorageError::Codec("a stored event type is not valid".to_owned()))
}

/// Deliveries, newest event first.
pub(crate) type RowIter<'a> = Box<dyn Iterator<Item = Result<((u32, u128), FoundDelivery), StorageError>> + 'a>;

/// Merges iterators, each newest first.
pub(crate) struct NewestFirst<'a> {
    sources: Vec<RowIter<'a>>,
    heads: BinaryHeap<(DeliveryId, Reverse<usize>)>,
    waiting: Vec<Option<FoundDelivery>>,
}

impl<'a> NewestFirst<'a> {
    /// Reads the first of each.
    pub fn new(sources: Vec<RowIter<'a>>) -> Result<Self, StorageError> {
        let waiting = sources.iter().map(|_| None).collect();
        let mut merged = Self { heads: BinaryHeap::new(), waiting, sources };
        for index in 0..merged.sources.len() {
            merged.refill(index)?;
        }
        Ok(merged)
    }

    fn refill(&mut self, index: usize) -> Result<(), StorageError> {
        if let Some(((subscription, event), found)) =
            self.sources.get_mut(index).and_then(Iterator::next).transpose()?
        {
            let id = DeliveryId { event: EventId(event), subscription: SubscriptionId(subscription) };
            self.heads.push((id, Reverse(index)));
            if let Some(place) = self.waiting.get_mut(index) {
                *place = Some(found);
            }
        }
        Ok(())
    }
}

impl Iterator for NewestFirst<'_> {
    type Item = Result<(DeliveryId, FoundDelivery), StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (id, Reverse(index)) = self.heads.pop()?;
        let found = self.waiting.get_mut(index)?.take()?;
        match self.refill(index) {
            Ok(()) => Some(Ok((id, found))),
            Err(error) => Some(Err(error)),
        }
    }
}
