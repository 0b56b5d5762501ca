//! Jobs: work on many deliveries that one request asks for, and that goes on after its response. Pure; any thread.

use crate::domain::delivery::DeliveryState;
use crate::domain::event::event_type::EventType;
use crate::domain::event::event_types::EventTypes;
use crate::domain::event::find::FindKey;
use crate::domain::{AccountId, DeliveryId, EventId, JobId, SubscriptionId, Timestamp};

/// A job and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub account: AccountId,
    /// What it does.
    pub task: JobTask,
    /// Whether it runs.
    pub state: JobState,
    /// How many deliveries it has made due; of an erasure, how many events it has erased.
    pub done: u64,
    /// How many there are in all, if that is known.
    pub of: Option<u64>,
    /// When its first step was made.
    pub started_at: Option<Timestamp>,
    /// When it ended, however that was.
    pub finished_at: Option<Timestamp>,
    /// Why it failed.
    pub error: Option<String>,
    /// The last delivery that was looked at, or would be that of the last event; the next step begins behind it.
    pub position: Option<DeliveryId>,
}

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobTask {
    /// Redelivers what is selected.
    Retry(DeliverySelection),
    /// Delivers stored events to a subscription.
    Replay(Replay),
    /// Erases what is stored of a worker.
    Erase(Erasure),
}

/// Whose events are erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// The worker.
    pub worker: FindKey,
    /// The last event that may be concerned: what is stored later is not.
    pub until: EventId,
    /// Whether an event with pending deliveries is kept until they are settled; else they are cancelled.
    pub deliver_pending: bool,
    /// This time round there was an event that is kept for now.
    pub has_left: bool,
}

/// Which stored events a subscription gets, of the types that it wants. Pings are never among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Only of these types: those that it wanted when the replay was asked for, without a `*` that stands for more than the
    /// base types. `None` in early versions.
    pub events: Option<EventTypes>,
    /// Which of them.
    pub only: ReplayOnly,
    /// Stored at or after this time.
    pub since: Timestamp,
    /// Stored before this time.
    pub until: Timestamp,
}

/// Which events are replayed, by what became of their delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayOnly {
    /// Those that never had one, including those from before the subscription was created.
    Missing,
    /// Those whose delivery was given up.
    Failed,
    /// These, and those that were delivered.
    All,
}

impl ReplayOnly {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Missing, Self::Failed, Self::All];

    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::All => "all",
        }
    }

    /// Whether an event is replayed with that delivery, or without one.
    #[must_use]
    pub fn includes(self, delivery: Option<DeliveryState>) -> bool {
        match delivery {
            None => self != Self::Failed,
            Some(DeliveryState::Exhausted { .. } | DeliveryState::Expired { .. }) => self != Self::Missing,
            Some(DeliveryState::Delivered { .. }) => self == Self::All,
            Some(DeliveryState::Pending { .. } | DeliveryState::Cancelled { .. }) => false,
        }
    }
}

impl Replay {
    /// Whether a delivery is most likely one of its own: what is published meanwhile lies behind its end.
    #[must_use]
    pub fn has_made(&self, subscription: SubscriptionId, event: EventId) -> bool {
        let range = EventId::first_at(self.since)..EventId::first_at(self.until);
        subscription == self.subscription && range.contains(&event)
    }

    /// Whether it is about events of this type, for a subscription to these.
    #[must_use]
    pub fn is_about(&self, event_type: EventType, wanted: &EventTypes) -> bool {
        event_type != EventType::Ping
            && match &self.events {
                Some(events) => events.contains_by_name(&event_type) && wanted.contains(&event_type, false),
                None => wanted.contains_by_name(&event_type),
            }
    }
}

/// Deliveries that were attempted at least once: what was never attempted is due anyway. Test pings are never among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliverySelection {
    /// Of this subscription; `None`: of all of the account.
    pub subscription: Option<SubscriptionId>,
    /// In this state (one of `DeliveryState::NAMES`).
    pub status: &'static str,
    /// Of this type.
    pub event_type: Option<EventType>,
    /// Of events stored at or after this time.
    pub since: Option<Timestamp>,
    /// Of events stored before this time.
    pub until: Option<Timestamp>,
}

/// Whether a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// No step was made yet.
    Waiting,
    /// Steps are being made.
    Running,
    /// All is done.
    Finished,
    /// Its owner stopped it; what it has done is kept.
    Stopped,
    /// It cannot continue; what it has done is kept.
    Failed,
}

impl JobState {
    /// All names, in the order of the variants.
    pub const NAMES: [&'static str; 5] = ["waiting", "running", "finished", "stopped", "failed"];

    /// All states, in the same order.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::Finished, Self::Stopped, Self::Failed];

    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

impl JobTask {
    /// The kinds in the API.
    pub const KINDS: [&'static str; 3] = ["retry", "replay", "erasure"];

    /// Its kind in the API.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Retry(_) => "retry",
            Self::Replay(_) => "replay",
            Self::Erase(_) => "erasure",
        }
    }

    /// The one subscription that it concerns, if it is one.
    #[must_use]
    pub fn subscription(&self) -> Option<SubscriptionId> {
        match self {
            Self::Retry(selection) => selection.subscription,
            Self::Replay(replay) => Some(replay.subscription),
            Self::Erase(_) => None,
        }
    }
}

impl Job {
    /// Whether there is anything left to do.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.state, JobState::Waiting | JobState::Running)
    }

    /// Ends it in that state.
    pub fn end(&mut self, state: JobState, at: Timestamp) {
        if state == JobState::Finished {
            self.of = Some(self.done);
        }
        self.state = state;
        self.finished_at = Some(at);
    }
}
