//! What a view of a delivery depends on beside its row: the snapshot, the clocks and the schedule. Pure.

use crate::clock::Readings;
use crate::delivery::Dispatcher;
use crate::delivery::schedule::waiting::Waiting;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::{DeliveryId, Timestamp};
use crate::storage::read::reader::{ReadView, WaitsFor};

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
        let item = match self.waits_for(id) {
            None => id,
            Some(WaitsFor::MoreForBatch) => return Some(Waiting::Batch),
            Some(WaitsFor::Batch(batch)) if self.waits_for(batch.of(id.subscription)).is_none() => {
                batch.of(id.subscription)
            }
            Some(WaitsFor::Batch(_) | WaitsFor::Earlier) => return Some(Waiting::Order),
        };
        let waiting = match self.dispatcher.waiting(item) {
            // Nothing has a lane where no server runs.
            Waiting::Pull if !self.is_read(id) => Waiting::Thread,
            waiting => waiting,
        };
        let is_due = delivery.attempt_count == 0 || due <= self.clocks.monotonic || waiting == Waiting::InFlight;
        Some(if is_due { waiting } else { Waiting::Retry })
    }

    /// When its next attempt is due, if that is known.
    pub fn next_attempt_at(self, id: DeliveryId, delivery: &Delivery) -> Option<Timestamp> {
        let due = match delivery.state {
            // What was never attempted is due since its event was made, unless it expired and is sent again.
            DeliveryState::Pending { due } if delivery.attempt_count == 0 && due == id.event.time() => Some(due),
            DeliveryState::Pending { due } => Some(self.clocks.on_the_wall(due)),
            _ => return None,
        };
        // Nothing is sent before the endpoint's rest ends.
        let rests_until = self.dispatcher.rests_until(id.subscription).map(|until| self.clocks.on_the_wall(until));
        due.max(rests_until).filter(|_| self.is_active && !self.is_read(id) && !self.is_in_turn(id))
    }

    /// Whether its receiver reads it.
    fn is_read(self, id: DeliveryId) -> bool {
        self.snapshot.registry().subscription(id.subscription).is_some_and(|found| found.is_pull())
    }

    /// Whether it, or the batch that it is in, waits for the one before it of its order, or for more to be gathered.
    fn is_in_turn(self, id: DeliveryId) -> bool {
        self.waits_for(id).is_some_and(|what| match what {
            WaitsFor::Batch(batch) => self.waits_for(batch.of(id.subscription)).is_some(),
            WaitsFor::Earlier | WaitsFor::MoreForBatch => true,
        })
    }

    /// The others that it waits for, if it does. What cannot be read is told by its attempt.
    fn waits_for(self, id: DeliveryId) -> Option<WaitsFor> {
        self.snapshot.waits_for(id).unwrap_or_default()
    }
}
