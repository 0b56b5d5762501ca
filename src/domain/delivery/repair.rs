//! What a repair of an endpoint means for the deliveries that wait for a retry. Pure; any thread.

use std::time::Duration;

use crate::domain::Timestamp;
use crate::domain::delivery::Delivery;
use crate::domain::delivery::attempt::Attempt;

/// A moment from which on an endpoint is expected to work again: it was enabled, has a new URL, or took a test ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repair {
    /// When, on the monotonic clock, which retries are planned on.
    pub monotonic: Timestamp,
    /// When, on the wall clock, which attempts are dated with.
    pub wall: Timestamp,
    /// Whether there may be retries that are still planned as before it.
    pub is_open: bool,
}

impl Repair {
    /// Whether a delivery that is due at that time waits because of an attempt before the repair.
    #[must_use]
    pub fn hastens(self, due: Timestamp, delivery: &Delivery) -> bool {
        let is_before = |attempt: &Attempt| attempt.ended_at() <= self.wall;
        self.is_open && due > self.monotonic && delivery.attempts.last().is_none_or(is_before)
    }

    /// Whether an attempt that is recorded at that time began before the repair.
    #[must_use]
    pub fn came_during(self, attempt: &Attempt, monotonic: Timestamp) -> bool {
        monotonic.minus(Duration::from_millis(attempt.duration_ms.into())) < self.monotonic
    }
}
