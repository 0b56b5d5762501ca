//! Which events and deliveries a list shows. No more than that.

use crate::domain::event::event_type::EventType;
use crate::domain::{AccountId, SubscriptionId, Timestamp};

/// A filter of deliveries; `None` matches any.
#[derive(Clone, Debug)]
pub struct DeliveryFilter {
    /// Of this account.
    pub account: AccountId,
    /// Of these of its subscriptions, by number.
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
    /// Every delivery of these subscriptions of an account.
    #[must_use]
    pub fn of(account: AccountId, subscriptions: Vec<SubscriptionId>) -> Self {
        Self { account, subscriptions, status: None, event_type: None, since: None, until: None, response_code: None }
    }

    /// Does it ask for nothing but subscriptions and a status? How many those are is kept.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        let Self { account: _, subscriptions: _, status: _, event_type, since, until, response_code } = self;
        since.is_none() && until.is_none() && event_type.is_none() && response_code.is_none()
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
