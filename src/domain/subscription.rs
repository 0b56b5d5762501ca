//! A subscription: an integrator's standing wish. Pure; any thread.

use super::endpoint::Endpoint;
use super::event_type::EventTypes;
use super::signing::SigningSecret;
use super::{AccountId, SubscriptionId, Timestamp};

/// A standing wish to get events of some types at an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its number, never used again.
    pub id: SubscriptionId,
    /// Whose it is.
    pub account: AccountId,
    /// Where its deliveries go.
    pub endpoint: Endpoint,
    /// What it wishes to get.
    pub events: EventTypes,
    /// What its owner wrote about it.
    pub description: String,
    /// What its deliveries are signed with.
    pub secret: SigningSecret,
    /// Whether deliveries go out.
    pub state: SubscriptionState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its owner or the server last changed it.
    pub updated_at: Timestamp,
}

/// On, or off and why. What is pending for a subscription that is off is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Deliveries go out.
    Active,
    /// Deliveries are held.
    Off {
        /// Why.
        reason: OffReason,
        /// Since when.
        since: Timestamp,
    },
}

/// Why a subscription is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum OffReason {
    /// Its owner switched it off.
    Owner = 0,
    /// The endpoint answered 410.
    Gone = 1,
    /// The endpoint failed for longer than `delivery.disable_after` without one success.
    FailedTooLong = 2,
}

impl OffReason {
    /// The reason with that number, as stored.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Owner, Self::Gone, Self::FailedTooLong].into_iter().find(|reason| *reason as u8 == number)
    }

    /// The reason in words, for the API and the log.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Owner => "switched off by its owner",
            Self::Gone => "the endpoint answered 410 Gone",
            Self::FailedTooLong => "the endpoint failed for too long without a success",
        }
    }
}

impl SubscriptionState {
    /// Do deliveries go out?
    #[must_use]
    pub fn is_active(self) -> bool {
        self == Self::Active
    }
}

/// A subscription that is to be made.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    /// Where its deliveries shall go.
    pub endpoint: Endpoint,
    /// What it wishes to get.
    pub events: EventTypes,
    /// What its owner wrote about it.
    pub description: String,
    /// Is it on from the beginning?
    pub active: bool,
}

/// What to change about a subscription; `None` leaves a thing as it is.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionChange {
    /// A new endpoint.
    pub endpoint: Option<Endpoint>,
    /// A new wish.
    pub events: Option<EventTypes>,
    /// A new description.
    pub description: Option<String>,
    /// On or off.
    pub active: Option<bool>,
}

impl SubscriptionChange {
    /// The subscription as it is after the change; one that changes nothing leaves its time, too.
    #[must_use]
    pub fn apply(self, before: &Subscription, now: Timestamp) -> Subscription {
        let state = match self.active {
            Some(true) => SubscriptionState::Active,
            Some(false) if before.state.is_active() => SubscriptionState::Off { reason: OffReason::Owner, since: now },
            _ => before.state,
        };
        let after = Subscription {
            endpoint: self.endpoint.unwrap_or_else(|| before.endpoint.clone()),
            events: self.events.unwrap_or(before.events),
            description: self.description.unwrap_or_else(|| before.description.clone()),
            state,
            ..before.clone()
        };
        if after == *before { after } else { Subscription { updated_at: now, ..after } }
    }
}
