//! Commands about the server itself, which no account asks for. Any thread creates them; only the writer executes them.

use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::domain::alert::AlertKind;
use crate::domain::{EventId, SubscriptionId, Timestamp};
use crate::storage::error::Rejection;

/// Where it is said that it is stored, never before the commit.
type Reply = oneshot::Sender<Result<(), Rejection>>;

/// A command about the server itself.
#[derive(Debug)]
pub enum ServerCommand {
    /// Tell those who run the server of something.
    RaiseAlert {
        /// What it is.
        kind: AlertKind,
        /// What it is about; the same is told once.
        of: String,
        /// What happened, and what to do.
        message: String,
        /// Replied to when it is stored, or was told before.
        reply: Reply,
    },
    /// Tell those who run the server of these feeds if their readers are behind, and note that they are not if they are not.
    LookAtFeeds {
        /// The subscriptions that are read.
        feeds: Vec<SubscriptionId>,
        /// Replied to when it is stored.
        reply: Reply,
    },
    /// Note that alerts were handed over.
    HandedOver {
        /// Which.
        alerts: Vec<EventId>,
        /// By which way.
        way: String,
        /// All ways that there are.
        ways: Vec<String>,
        /// Replied to when it is noted.
        reply: Reply,
    },
    /// Enable a subscription that was probed, or end its probing.
    EndProbe {
        /// Which.
        id: SubscriptionId,
        /// Since when it is disabled; one that was changed meanwhile is left alone.
        since: Timestamp,
        /// Whether its endpoint is gone.
        is_gone: bool,
        /// Replied to when it is stored.
        reply: Reply,
    },
    /// Record a change of the whole server in the audit of every account.
    NoteChange {
        /// What was done, such as `configuration.reloaded`.
        action: &'static str,
        /// What it is now.
        after: Map<String, Value>,
        /// Replied to when it is stored.
        reply: Reply,
    },
    /// Note of when a backup is that was made.
    NoteBackup {
        /// When what it holds was read.
        at: Timestamp,
        /// Replied to when it is noted.
        reply: Reply,
    },
}
