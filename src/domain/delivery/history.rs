//! What is known of a subscription's endpoint: its health, last attempts, and marks for the backlog. Pure; any thread.

use crate::domain::delivery::attempt::Attempt;
use crate::domain::delivery::health::EndpointHealth;
use crate::domain::delivery::repair::Repair;
use crate::domain::event::event_type::EventType;
use crate::domain::event::event_types::{EventTypes, Removed};
use crate::domain::{EventId, Timestamp};

/// The health of a subscription's endpoint and its last attempts, newest last.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The endpoint's health.
    pub health: EndpointHealth,
    /// When it took a delivery last, by the calendar, if that is known.
    pub last_success: Option<Timestamp>,
    /// The last attempts.
    pub recent: Vec<(EventId, u32)>,
    /// The last repair of the endpoint.
    pub repair: Option<Repair>,
    /// What was removed from the types of the subscription: what is pending of events up to that one is cancelled. It is
    /// emptied when there is none left.
    pub withdrawn: Vec<(Removed, EventId)>,
    /// How many events of its types had not fitted its filter when they were counted here; from then on they are beside its
    /// deliveries.
    pub filtered: u64,
    /// Of a subscription that is read: up to which event its reader has acknowledged.
    pub acknowledged: EventId,
    /// What was acknowledged is not settled to its end yet.
    pub is_settling: bool,
}

/// Number of attempts in `recent_deliveries`.
pub const RECENT_ATTEMPTS: usize = 10;

impl History {
    /// Whether its backlog has to be gone through.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.is_settling || !self.withdrawn.is_empty() || self.repair.is_some_and(|repair| repair.is_open)
    }

    /// Notes that its backlog was gone through.
    pub fn clear_marks(&mut self) {
        self.withdrawn.clear();
        self.is_settling = false;
        if let Some(repair) = &mut self.repair {
            repair.is_open = false;
        }
    }

    /// Whether a pending delivery of that event is to be cancelled, where the subscription has these types left.
    #[must_use]
    pub fn withdraws(&self, event_type: EventType, event: EventId, left: &EventTypes) -> bool {
        self.withdrawn.iter().any(|(removed, last)| event <= *last && removed.covers(&event_type, left))
    }

    /// Adds an attempt.
    pub fn push(&mut self, event: EventId, attempt: &Attempt) {
        if self.recent.len() >= RECENT_ATTEMPTS {
            self.recent.remove(0);
        }
        self.recent.push((event, attempt.number));
        if attempt.outcome.is_delivered() {
            self.last_success = Some(attempt.ended_at());
        }
    }
}
