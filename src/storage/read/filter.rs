//! Which events and deliveries a list shows. Types only.

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
