//! Which events and deliveries a list shows. No more than that.

use crate::domain::event::event_type::EventType;
use crate::domain::{SubscriptionId, Timestamp};

/// A filter of deliveries; `None` matches any.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Of these subscriptions.
    pub subscriptions: Vec<SubscriptionId>,
    /// In this state (one of `DeliveryState::NAMES`).
    pub status: Option<&'static str>,
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Created at or after this time.
    pub since: Option<Timestamp>,
    /// Created before this time.
    pub until: Option<Timestamp>,
    /// With this response code in the last attempt.
    pub response_code: Option<u16>,
}

/// A filter of events.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventFilter {
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Created at or after this time.
    pub since: Option<Timestamp>,
    /// Created before this time.
    pub until: Option<Timestamp>,
}

impl DeliveryFilter {
    /// Does it let every delivery of its subscriptions through?
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let Self { subscriptions: _, status, event_type, since, until, response_code } = self;
        let is_timed = since.is_some() || until.is_some();
        !is_timed && status.is_none() && event_type.is_none() && response_code.is_none()
    }
}

impl EventFilter {
    /// Does it let every event through?
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let Self { event_type, since, until } = self;
        event_type.is_none() && since.is_none() && until.is_none()
    }
}
