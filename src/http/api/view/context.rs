//! What a view of a delivery depends on beside its row: the snapshot, the clocks and the schedule. Pure.

use crate::clock::Readings;
use crate::delivery::Dispatcher;
use crate::delivery::schedule::waiting::Waiting;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::{DeliveryId, Timestamp};
use crate::storage::read::reader::ReadView;

/// What a delivery waits for: whether its subscription is on, and what the clocks say.
#[derive(Clone, Copy)]
pub struct ViewContext<'a> {
    /// Knows what waits for its turn.
    pub snapshot: &'a ReadView,
    /// Deliveries go out.
    pub is_active: bool,
    /// Retries are planned on the steady clock and shown on the machine's.
    pub clocks: Readings,
    /// Knows what a delivery waits for that is due.
    pub dispatcher: &'a Dispatcher,
}

impl ViewContext<'_> {
    /// What it waits for, if it is pending.
    pub fn waiting(self, id: DeliveryId, delivery: &Delivery) -> Option<Waiting> {
        let DeliveryState::Pending { due } = delivery.state else { return None };
        if !self.is_active {
            return Some(Waiting::Off);
        }
        if self.is_in_turn(id) {
            return Some(Waiting::Order);
        }
        let waiting = self.dispatcher.waiting(id);
        let is_due = delivery.attempt_count == 0 || due <= self.clocks.monotonic || waiting == Waiting::InFlight;
        Some(if is_due { waiting } else { Waiting::Retry })
    }

    /// When its next attempt is due, if that is known.
    pub fn next_attempt_at(self, id: DeliveryId, delivery: &Delivery) -> Option<Timestamp> {
        match delivery.state {
            // What was never attempted is due since its event was made, unless it expired and is sent again.
            DeliveryState::Pending { due } if delivery.attempt_count == 0 && due == id.event.time() => Some(due),
            DeliveryState::Pending { due } => Some(self.clocks.on_the_wall(due)),
            _ => None,
        }
        .filter(|_| self.is_active && !self.is_in_turn(id))
    }

    /// Whether it waits for the one before it of its order. What cannot be read is told by its attempt.
    fn is_in_turn(self, id: DeliveryId) -> bool {
        self.snapshot.is_waiting(id).unwrap_or_default()
    }
}
