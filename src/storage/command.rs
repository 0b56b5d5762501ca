//! What the writer can be asked and what it answers. Any thread makes commands; the writer alone carries them out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::error::Refusal;
use super::record::EventRow;
use crate::domain::access::{KeyHash, Scopes};
use crate::domain::attempt::Attempt;
use crate::domain::event::NewEvent;
use crate::domain::event_type::EventType;
use crate::domain::outcome::EndpointSign;
use crate::domain::signing::SigningSecret;
use crate::domain::subscription::{NewSubscription, Subscription, SubscriptionChange};
use crate::domain::{AccountId, DeliveryId, EventId, KeyId, SubscriptionId, Timestamp};

/// Where the answer goes: given after the commit, never before.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// One request to the writer, whose sender awaits the answer.
#[derive(Debug)]
pub enum Command {
    /// Store events and all their deliveries; all of them or none.
    Publish {
        /// Whose events.
        account: AccountId,
        /// The events, in order.
        events: Vec<NewEvent>,
        /// One row an event, in order.
        reply: Reply<Vec<Published>>,
    },
    /// Record a test ping with its attempt.
    RecordPing {
        /// The ping.
        event: EventId,
        /// Its body.
        row: EventRow,
        /// For whom it was.
        subscription: SubscriptionId,
        /// How it went.
        attempt: Box<Attempt>,
        /// Answered when it is stored.
        reply: Reply<()>,
    },
    /// Make a subscription.
    CreateSubscription {
        /// Whose.
        account: AccountId,
        /// What for.
        new: NewSubscription,
        /// Its signing secret.
        secret: SigningSecret,
        /// The subscription as stored.
        reply: Reply<Subscription>,
    },
    /// Change a subscription.
    ChangeSubscription {
        /// Whose.
        account: AccountId,
        /// Which.
        id: SubscriptionId,
        /// What.
        change: SubscriptionChange,
        /// The subscription as it is now.
        reply: Reply<Subscription>,
    },
    /// Delete a subscription and, step by step, its delivery history.
    DeleteSubscription {
        /// Whose.
        account: AccountId,
        /// Which.
        id: SubscriptionId,
        /// Answered when it is gone for every reader.
        reply: Reply<()>,
    },
    /// Begin a delivery's schedule anew, now.
    Redeliver {
        /// Whose.
        account: AccountId,
        /// Which.
        id: DeliveryId,
        /// Answered when it is due.
        reply: Reply<()>,
    },
    /// Answer when everything that was queued before is committed.
    Flush {
        /// Answered then.
        reply: Reply<()>,
    },
    /// Take the machine's clock for right: what did not count for retention counts from now on.
    ConfirmClock {
        /// How much that is.
        reply: Reply<Duration>,
    },
    /// Make an API key, and its account if there is none of that name.
    CreateKey {
        /// What is known of it before it has a number.
        new: Box<NewKey>,
        /// The key's number and account.
        reply: Reply<(KeyId, AccountId)>,
    },
    /// Revoke an API key.
    RevokeKey {
        /// Which.
        id: KeyId,
        /// Answered when it is refused everywhere.
        reply: Reply<()>,
    },
}

impl Command {
    /// Has it to see every outcome that came before it? A new event concerns none of them.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        !matches!(self, Self::Publish { .. })
    }

    /// How many bytes of bodies it has.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.events().iter().map(|event| event.data.len()).sum()
    }

    /// About how much memory it takes while it waits.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(self.events()) + self.body_bytes()
    }

    fn events(&self) -> &[NewEvent] {
        match self {
            Self::Publish { events, .. } => events,
            _ => &[],
        }
    }
}

/// What the writer is told and nobody awaits.
#[derive(Debug)]
pub enum Report {
    /// An attempt has ended.
    Attempt(Box<Completion>),
    /// An API key was used.
    KeyUsed(KeyId),
}

impl Report {
    /// Where the rows of an attempt lie, in the order of their pages.
    pub(super) fn place(&self) -> Option<(SubscriptionId, EventId)> {
        match self {
            Self::Attempt(completion) => Some((completion.delivery.subscription, completion.delivery.event)),
            Self::KeyUsed(_) => None,
        }
    }
}

/// What a publisher is told about one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event's id.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// How many deliveries it has.
    pub deliveries: u32,
    /// Was it there already?
    pub duplicate: bool,
}

/// An attempt that has ended.
#[derive(Debug)]
pub struct Completion {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// What happened.
    pub attempt: Attempt,
    /// What the receiver asked for.
    pub retry_after: Option<Duration>,
    /// What happened and what to do about it, if it failed; for the log.
    pub(super) explanation: Option<String>,
}

impl Completion {
    /// Puts the words together here, on the thread that made the attempt: the writer's time is everybody's.
    #[must_use]
    pub fn new(delivery: DeliveryId, attempt: Attempt, retry_after: Option<Duration>) -> Self {
        let explanation = attempt.explanation();
        Self { delivery, attempt, retry_after, explanation }
    }

    /// Did the endpoint fail? What else did not arrive is rare, and recorded as soon as what arrived.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.attempt.outcome.sign(), EndpointSign::Failing | EndpointSign::Unresponsive)
    }
}

/// A key that is to be made.
#[derive(Debug)]
pub struct NewKey {
    /// The name of its account.
    pub account: String,
    /// What its maker calls it.
    pub name: String,
    /// The visible beginning of its text.
    pub prefix: String,
    /// The hash of its text.
    pub hash: KeyHash,
    /// What it may do.
    pub scopes: Scopes,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// From where it may be used.
    pub networks: Vec<ipnet::IpNet>,
}

/// What a commit has changed, for whoever schedules deliveries.
#[derive(Debug, Default)]
pub struct Committed {
    /// New deliveries, in the order of their events.
    pub fresh: Vec<FreshDelivery>,
    /// Deliveries whose attempt is now recorded.
    pub recorded: Vec<Recorded>,
    /// Deliveries that were made due by hand.
    pub redelivered: Vec<(SubscriptionId, Timestamp)>,
    /// Subscriptions that were made, changed or removed.
    pub changed: Vec<SubscriptionId>,
    /// How many new events it stored.
    pub events: u64,
    /// How long it took, the disk included.
    pub took: Duration,
}

/// A new delivery, with its event at hand.
#[derive(Clone, Debug)]
pub struct FreshDelivery {
    /// For whom.
    pub subscription: SubscriptionId,
    /// Which event.
    pub event: EventId,
    /// The event itself.
    pub row: Arc<EventRow>,
}

/// An attempt that is now in the store.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// When it is due again, if it is.
    pub due: Option<Timestamp>,
    /// Has the event arrived?
    pub is_delivered: bool,
    /// What the attempt came to; nothing if the delivery is gone.
    pub attempt: Option<AttemptFigures>,
}

/// An attempt in figures, and in words if it failed.
#[derive(Clone, Debug)]
pub struct AttemptFigures {
    /// Counted from 1 for each delivery.
    pub number: u32,
    /// How it ended, a word of `Outcome::code`.
    pub outcome: &'static str,
    /// How long it took.
    pub took: Duration,
    /// The status of the answer, if there was one.
    pub response_code: Option<u16>,
    /// The delivery has arrived, so long after its event.
    pub delivered_after: Option<Duration>,
    /// What happened and what to do about it, if it failed.
    pub explanation: Option<String>,
}
