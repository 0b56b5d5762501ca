//! What lists come to: events with their receivers, deliveries, records of the audit. Belongs to whoever has the view.

use std::cell::RefCell;
use std::sync::Arc;

use crate::domain::audit::AuditRecord;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::event_type::EventType;
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId};
use crate::storage::engine::Stored;
use crate::storage::error::StorageError;
use crate::storage::postgres::rows::Rows;
use crate::storage::postgres::stored::{delivery_of, head_of, members, open_event, response_code_of, state_of};
use crate::storage::read::filter::DeliveryFilter;
use crate::storage::read::page::Found;
use crate::storage::rows::record::EventRow;

type Result<T> = std::result::Result<T, StorageError>;

/// The status of what is in the outbox.
pub(super) const PENDING: &str = DeliveryState::NAMES[0];

/// The sets of receivers of a view. Remembers the last one, as successive events mostly go to the same.
pub(super) struct Sets<'a> {
    rows: &'a dyn Rows,
    last: RefCell<(u32, Arc<[SubscriptionId]>)>,
}

impl<'a> Sets<'a> {
    /// Those of that view.
    pub fn of(rows: &'a dyn Rows) -> Self {
        Self { rows, last: RefCell::new((0, Arc::default())) }
    }

    /// The members of a set, by number.
    pub fn members(&self, number: u32) -> Stored<Arc<[SubscriptionId]>> {
        let mut last = self.last.borrow_mut();
        if last.0 != number {
            *last = (number, members(self.rows, number)?);
        }
        Ok(Arc::clone(&last.1))
    }
}

/// An event that a list has come to, and the type that is asked for.
pub(super) struct ListedEvent<'a> {
    pub account: AccountId,
    pub id: EventId,
    pub row: Vec<u8>,
    pub sets: &'a Sets<'a>,
    pub wanted: Option<EventType>,
}

impl Found for ListedEvent<'_> {
    type Item = EventRow;

    fn is_wanted(&self) -> Result<bool> {
        let Some(wanted) = self.wanted else { return Ok(true) };
        Ok(head_of(self.account, self.id, &self.row)?.event_type == wanted)
    }

    fn bytes(&self) -> usize {
        self.row.len()
    }

    fn item(&self) -> Result<EventRow> {
        EventRow::decode(open_event(self.account, self.id, &self.row)?, |number| self.sets.members(number))
    }
}

/// A delivery that a list has come to.
pub(super) struct ListedDelivery<'a> {
    pub account: AccountId,
    pub id: DeliveryId,
    /// Its event's type; none: the event goes to nobody who was asked for, or is damaged.
    pub event_type: Option<EventType>,
    /// Its row; none: it was never attempted.
    pub outcome: Option<Vec<u8>>,
    pub filter: &'a DeliveryFilter,
}

impl Found for ListedDelivery<'_> {
    type Item = Delivery;

    /// Decodes no more of the row than the filter needs, since most rows of a long list are only counted.
    fn is_wanted(&self) -> Result<bool> {
        let Some(event_type) = self.event_type else { return Ok(false) };
        let DeliveryFilter { status, event_type: wanted, response_code, .. } = self.filter;
        if wanted.is_some_and(|wanted| wanted != event_type) {
            return Ok(false);
        }
        let Some(row) = &self.outcome else {
            return Ok(response_code.is_none() && status.is_none_or(|status| status == PENDING));
        };
        if let Some(status) = status
            && state_of(self.account, self.id, row)?.name() != *status
        {
            return Ok(false);
        }
        match response_code {
            None => Ok(true),
            code => Ok(response_code_of(self.account, self.id, row, event_type)? == *code),
        }
    }

    /// A response code stands far behind in a row.
    fn looks(&self) -> usize {
        1 + usize::from(self.filter.response_code.is_some())
    }

    fn bytes(&self) -> usize {
        self.outcome.as_ref().map_or(1, Vec::len)
    }

    fn item(&self) -> Result<Delivery> {
        let event_type = self.event_type.ok_or_else(|| StorageError::Codec(format!("{} has no type", self.id)))?;
        match &self.outcome {
            Some(row) => delivery_of(self.account, self.id, row, event_type),
            None => Ok(Delivery::unattempted(event_type, self.id.event.time())),
        }
    }
}

/// A record of the audit as a list finds it.
pub(super) struct FoundRecord {
    record: RefCell<Option<Stored<AuditRecord>>>,
    bytes: usize,
}

impl FoundRecord {
    /// A record, or how it is damaged.
    pub fn of(record: Stored<AuditRecord>, bytes: usize) -> Self {
        Self { record: RefCell::new(Some(record)), bytes }
    }
}

impl Found for FoundRecord {
    type Item = Stored<AuditRecord>;

    fn is_wanted(&self) -> Result<bool> {
        Ok(true)
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn item(&self) -> Result<Stored<AuditRecord>> {
        self.record.take().ok_or_else(|| StorageError::Codec("a record of the audit was taken already".to_owned()))
    }
}
