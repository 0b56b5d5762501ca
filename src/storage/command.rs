//! The writer's commands and their results. Any thread creates commands; only the writer executes them.

pub mod server;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::server::ServerCommand;
use super::error::Rejection;
use crate::domain::access::{KeyHash, Scopes, Session, SessionId};
use crate::domain::audit::Origin;
use crate::domain::delivery::attempt::Attempt;
use crate::domain::delivery::outcome::EndpointSignal;
use crate::domain::event::NewEvent;
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::job::{Job, JobTask};
use crate::domain::options::order::OrderKey;
use crate::domain::signing::SigningSecret;
use crate::domain::signing_keys::SigningKeys;
use crate::domain::subscription::{NewSubscription, Subscription, SubscriptionChange};
use crate::domain::{AccountId, DeliveryId, EventId, JobId, KeyId, SubscriptionId, Timestamp};

/// Where the reply is sent, never before the commit.
pub type ReplySender<T> = oneshot::Sender<Result<T, Rejection>>;

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
        reply: ReplySender<Vec<Published>>,
    },
    /// Record a test ping with its attempt.
    RecordPing {
        /// The ping.
        event: EventId,
        /// Its body.
        content: EventContent,
        /// For whom it was.
        subscription: SubscriptionId,
        /// Its attempt.
        attempt: Box<Attempt>,
        /// Replied to when it is stored.
        reply: ReplySender<()>,
    },
    /// Create a subscription.
    CreateSubscription {
        /// Whose.
        account: AccountId,
        /// What for.
        new: NewSubscription,
        /// What it signs with.
        keys: SigningKeys,
        /// The subscription as stored.
        reply: ReplySender<Subscription>,
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
        reply: ReplySender<Subscription>,
    },
    /// Give a subscription another signing secret.
    RotateSecret {
        /// Whose.
        account: AccountId,
        /// Which.
        id: SubscriptionId,
        /// The new secret.
        secret: SigningSecret,
        /// Until when the present one is valid beside it, by the wall clock.
        previous_valid_until: Timestamp,
        /// The subscription as it is now.
        reply: ReplySender<Subscription>,
    },
    /// Delete a subscription and, step by step, its delivery history.
    DeleteSubscription {
        /// Whose.
        account: AccountId,
        /// Which.
        id: SubscriptionId,
        /// Replied to when no reader sees it any more.
        reply: ReplySender<()>,
    },
    /// Restart a delivery's retry schedule now.
    Redeliver {
        /// Whose.
        account: AccountId,
        /// Which.
        id: DeliveryId,
        /// Replied to when it is due.
        reply: ReplySender<()>,
    },
    /// Move the position of a feed: everything up to there is delivered.
    AcknowledgeFeed {
        /// Whose.
        account: AccountId,
        /// The feed of which subscription.
        id: SubscriptionId,
        /// The last event that its reader has.
        up_to: EventId,
        /// The position now.
        reply: ReplySender<EventId>,
    },
    /// Create a job.
    CreateJob {
        /// Whose.
        account: AccountId,
        /// What it does.
        task: JobTask,
        /// How many deliveries it concerns, if that is known.
        of: Option<u64>,
        /// The job as stored.
        reply: ReplySender<Job>,
    },
    /// Stop a job, if it has not ended.
    StopJob {
        /// Whose.
        account: AccountId,
        /// Which.
        id: JobId,
        /// The job as it is now.
        reply: ReplySender<Job>,
    },
    /// Execute a command that somebody asked for, and record what it changes.
    Audited {
        /// Who asked.
        origin: Box<Origin>,
        /// For what.
        command: Box<Command>,
    },
    /// Something about the server itself.
    Server(ServerCommand),
    /// Reply when everything queued before is committed.
    Flush {
        /// Replied to then.
        reply: ReplySender<()>,
    },
    /// Take the machine's clock for right: what did not count for retention counts from now on.
    ConfirmClock {
        /// How much that is.
        reply: ReplySender<Duration>,
    },
    /// Create an API key, and its account if there is none of that name.
    CreateKey {
        /// The key without its number.
        new: Box<NewKey>,
        /// The key's number and account.
        reply: ReplySender<(KeyId, AccountId)>,
    },
    /// Give an API key a successor with the same rights and another text. The key itself ends.
    RotateKey {
        /// Whose.
        account: AccountId,
        /// Which.
        id: KeyId,
        /// The visible prefix of the successor's text.
        prefix: String,
        /// The hash of the successor's text.
        hash: KeyHash,
        /// For how long the key can be used beside its successor, at most.
        overlap: Duration,
        /// The successor's number.
        reply: ReplySender<KeyId>,
    },
    /// Store a session of the dashboard.
    OpenSession {
        /// The session.
        session: Box<Session>,
        /// Replied to when it can be used.
        reply: ReplySender<()>,
    },
    /// End a session of the dashboard.
    CloseSession {
        /// Which.
        id: SessionId,
        /// Replied to when it cannot be used any more.
        reply: ReplySender<()>,
    },
    /// Revoke an API key.
    RevokeKey {
        /// Which.
        id: KeyId,
        /// Replied to when no request is accepted with it any more.
        reply: ReplySender<()>,
    },
}

impl Command {
    /// Has it to see every outcome that came before it? A new event concerns none of them.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        match self {
            Self::Publish { .. }
            | Self::CreateJob { .. }
            | Self::StopJob { .. }
            | Self::OpenSession { .. }
            | Self::CloseSession { .. } => false,
            Self::Audited { command, .. } => command.is_ordered(),
            _ => true,
        }
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
    /// A session of the dashboard was used.
    SessionUsed(SessionId),
}

impl Report {
    /// Where the rows of an attempt lie, in the order of their pages.
    pub(super) fn place(&self) -> Option<(SubscriptionId, EventId)> {
        match self {
            Self::Attempt(completion) => Some((completion.delivery.subscription, completion.delivery.event)),
            Self::KeyUsed(_) | Self::SessionUsed(_) => None,
        }
    }
}

/// What a publisher gets back for one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The event's id.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// Number of deliveries.
    pub deliveries: u32,
    /// Whether it was stored already.
    pub duplicate: bool,
}

/// A finished attempt.
#[derive(Debug)]
pub struct Completion {
    /// Its delivery.
    pub delivery: DeliveryId,
    /// What happened.
    pub attempt: Attempt,
    /// The receiver's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// If it failed: what happened and what to do about it, for the log.
    pub(super) explanation: Option<String>,
    /// The attempts just before it, each of which it followed at once.
    pub(super) before: Vec<Attempt>,
    /// It was of a batch, whose number is in place of the event.
    pub(super) is_batch: bool,
    /// The type of its event, if the attempt has read it.
    pub(super) event_type: Option<EventType>,
}

impl Completion {
    /// Formats the explanation here, on the thread that made the attempt, to save the writer's time.
    #[must_use]
    pub fn new(delivery: DeliveryId, attempt: Attempt, retry_after: Option<Duration>) -> Self {
        let explanation = attempt.explanation();
        Self { delivery, attempt, retry_after, explanation, before: Vec::new(), is_batch: false, event_type: None }
    }

    /// The same after attempts that this one followed at once. All are recorded together.
    #[must_use]
    pub fn after(self, before: Vec<Attempt>) -> Self {
        Self { before, ..self }
    }

    /// The same of a batch, whose number is in place of the event.
    #[must_use]
    pub fn of_batch(self, is_batch: bool) -> Self {
        Self { is_batch, ..self }
    }

    /// The same of an event of that type, whose row the writer then need not read.
    #[must_use]
    pub fn of_type(self, event_type: Option<EventType>) -> Self {
        Self { event_type, ..self }
    }

    /// Did the endpoint fail? What else did not arrive is rare, and recorded as soon as what arrived.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.attempt.outcome.signal(), EndpointSignal::Failing | EndpointSignal::Unresponsive)
    }
}

/// A key to create.
#[derive(Debug)]
pub struct NewKey {
    /// The name of its account.
    pub account: String,
    /// Its display name.
    pub name: String,
    /// The visible prefix of its text.
    pub prefix: String,
    /// The hash of its text.
    pub hash: KeyHash,
    /// What it may do.
    pub scopes: Scopes,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// Networks that it may be used from.
    pub networks: Vec<ipnet::IpNet>,
    /// The subscriptions that it sees; empty: all of its account.
    pub subscriptions: Vec<SubscriptionId>,
}

/// What a commit changed, for the scheduler.
#[derive(Debug, Default)]
pub struct Committed {
    /// New deliveries, in the order of their events.
    pub unattempted: Vec<NewDelivery>,
    /// Deliveries whose attempt was recorded.
    pub recorded: Vec<RecordedAttempt>,
    /// Deliveries in batches whose attempt was recorded, beside those.
    pub in_batches: Vec<RecordedAttempt>,
    /// Deliveries that were redelivered by hand.
    pub redelivered: Vec<(SubscriptionId, Timestamp)>,
    /// Subscriptions whose endpoint is to be tried now, however long it asked to be left alone: it was repaired, or somebody
    /// asked for a redelivery.
    pub to_try: Vec<SubscriptionId>,
    /// Subscriptions that were created, changed or deleted.
    pub changed: Vec<SubscriptionId>,
    /// Deliveries that expired.
    pub expired: Vec<DeliveryId>,
    /// Deliveries that were cancelled as their event was erased.
    pub cancelled: Vec<DeliveryId>,
    /// How many deliveries were exhausted while others waited for them, which go on without them.
    pub order_gaps: u64,
    /// Whether an alert was stored.
    pub has_alert: bool,
    /// Number of new events.
    pub events: u64,
    /// Its duration, disk included.
    pub took: Duration,
}

/// A new delivery with its event in memory.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    /// For whom.
    pub subscription: SubscriptionId,
    /// Which event.
    pub event: EventId,
    /// What it goes in order by.
    pub key: Option<OrderKey>,
    /// What is sent.
    pub content: Arc<EventContent>,
}

/// An attempt that was stored.
#[derive(Clone, Debug)]
pub struct RecordedAttempt {
    /// Its delivery.
    pub delivery: DeliveryId,
    /// When the next attempt is due, if there is one.
    pub due: Option<Timestamp>,
    /// Whether the attempt succeeded.
    pub is_delivered: bool,
    /// The attempt's figures; `None` if the delivery was deleted.
    pub attempt: Option<AttemptFigures>,
    /// Those of the attempts that this one followed at once.
    pub before: Vec<AttemptFigures>,
}

impl RecordedAttempt {
    /// One of a delivery that was deleted meanwhile.
    pub(super) fn of_nothing(delivery: DeliveryId, is_delivered: bool) -> Self {
        Self { delivery, due: None, is_delivered, attempt: None, before: Vec::new() }
    }
}

/// An attempt's figures, with an explanation if it failed.
#[derive(Clone, Debug)]
pub struct AttemptFigures {
    /// Counted from 1 for each delivery.
    pub number: u32,
    /// Its outcome, one of `Outcome::code`.
    pub outcome: &'static str,
    /// Its duration.
    pub took: Duration,
    /// The response status, if there was one.
    pub response_code: Option<u16>,
    /// The latency from the event, if delivered.
    pub delivered_after: Option<Duration>,
    /// What happened and what to do about it, if it failed.
    pub explanation: Option<String>,
}

impl AttemptFigures {
    /// Those of an attempt that delivered nothing, or of one whose latency is added.
    pub(super) fn of(attempt: &Attempt, explanation: Option<String>) -> Self {
        Self {
            number: attempt.number,
            outcome: attempt.outcome.code(),
            took: Duration::from_millis(attempt.duration_ms.into()),
            response_code: attempt.outcome.response_code(),
            delivered_after: None,
            explanation,
        }
    }
}
