//! Subscriptions. Pure; any thread.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::endpoint::Endpoint;
use super::{AccountId, SubscriptionId, Timestamp};
use crate::domain::event::catalogue::Catalogue;
use crate::domain::event::event_types::EventTypes;
use crate::domain::options::{Options, OptionsChange};
use crate::domain::signing_keys::{Ed25519Key, SigningKeys};

/// A subscription of an endpoint to event types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Its number, never reused.
    pub id: SubscriptionId,
    /// Its account.
    pub account: AccountId,
    /// Where its deliveries go.
    pub endpoint: Endpoint,
    /// Its event types.
    pub events: EventTypes,
    /// The owner's description.
    pub description: String,
    /// What it signs with.
    pub keys: SigningKeys,
    /// What differs from every other subscription.
    pub options: Arc<Options>,
    /// Whether deliveries go out.
    pub state: SubscriptionState,
    /// Creation time.
    pub created_at: Timestamp,
    /// When its owner or the server last changed it.
    pub updated_at: Timestamp,
}

/// Active, or disabled and why. Pending deliveries of a disabled subscription are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// Deliveries go out.
    Active,
    /// Deliveries are held.
    Disabled {
        /// Why.
        reason: DisabledReason,
        /// Since when.
        since: Timestamp,
    },
}

/// Why a subscription is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisabledReason {
    /// Its owner disabled it.
    Owner,
    /// The endpoint responded 410 Gone.
    Gone,
    /// The endpoint failed for longer than `delivery.disable_after` without one success.
    FailedTooLong,
}

impl DisabledReason {
    /// The reason as text, for the API and the log.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Owner => "disabled by request",
            Self::Gone => "the endpoint responded 410 Gone",
            Self::FailedTooLong => "the endpoint failed for too long without a success",
        }
    }
}

impl Subscription {
    /// Whether the receiver reads its deliveries, and none is sent.
    #[must_use]
    pub fn is_pull(&self) -> bool {
        self.options.is_pull()
    }
}

impl SubscriptionState {
    /// Whether deliveries go out.
    #[must_use]
    pub fn is_active(self) -> bool {
        self == Self::Active
    }
}

/// A subscription to create.
#[derive(Clone, Debug)]
pub struct NewSubscription {
    /// Where its deliveries go.
    pub endpoint: Endpoint,
    /// Its event types.
    pub events: EventTypes,
    /// The owner's description.
    pub description: String,
    /// Whether it starts active.
    pub active: bool,
    /// Its options.
    pub options: Arc<Options>,
}

/// A change of a subscription; `None` leaves a field unchanged.
#[derive(Clone, Debug)]
pub struct SubscriptionChange {
    /// A new endpoint.
    pub endpoint: Option<Endpoint>,
    /// New event types.
    pub events: Option<EventTypes>,
    /// What event types there are.
    pub catalogue: Arc<Catalogue>,
    /// A new description.
    pub description: Option<String>,
    /// Whether it is active.
    pub active: Option<bool>,
    /// Changed options.
    pub options: OptionsChange,
    /// Random bytes of a key pair, for a subscription that has none and needs one from now on.
    pub seed: Option<Zeroizing<[u8; 32]>>,
}

impl Default for SubscriptionChange {
    fn default() -> Self {
        Self {
            endpoint: None,
            events: None,
            catalogue: Catalogue::built_in(),
            description: None,
            active: None,
            options: OptionsChange::default(),
            seed: None,
        }
    }
}

impl SubscriptionChange {
    /// The subscription after the change. A change without effect leaves `updated_at`. An option that cannot be applied
    /// after all, because another change came before, leaves the options as they are.
    #[must_use]
    pub fn apply(self, before: &Subscription, now: Timestamp) -> Subscription {
        let state = match self.active {
            Some(true) => SubscriptionState::Active,
            Some(false) if before.state.is_active() => {
                SubscriptionState::Disabled { reason: DisabledReason::Owner, since: now }
            }
            _ => before.state,
        };
        let options = match self.options.apply(&before.options) {
            Ok(options) if !self.options.is_empty() => Options::shared(options),
            _ => Arc::clone(&before.options),
        };
        let after = Subscription {
            endpoint: self.endpoint.unwrap_or_else(|| before.endpoint.clone()),
            events: self.events.unwrap_or_else(|| before.events.clone()),
            description: self.description.unwrap_or_else(|| before.description.clone()),
            keys: before.keys.clone().with_pair_for(&options, self.seed.as_deref()),
            options,
            state,
            ..before.clone()
        };
        if after == *before { after } else { Subscription { updated_at: now, ..after } }
    }
}

impl SigningKeys {
    /// With a key pair, if the options ask for one and there is none. One that is there stays, asked for or not, so that
    /// its public key lasts.
    #[must_use]
    pub fn with_pair_for(mut self, options: &Options, seed: Option<&[u8; 32]>) -> Self {
        if options.signatures.ed25519 && self.ed25519.is_none() {
            self.ed25519 = seed.map(Ed25519Key::from_seed);
        }
        self
    }
}
