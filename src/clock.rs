//! Time as the process sees it. Any thread may ask; nothing here waits.
//!
//! Two readings: [`Clock::wall`] is what a calendar says and may jump when somebody sets the clock;
//! [`Clock::steady`] starts at the calendar's time and then only runs forward at the speed of the monotonic clock.
//! Retries are planned on the steady reading, so that a clock step causes neither a storm nor a stall.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::Timestamp;

/// The process's clock; cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_ms: u64,
}

impl Clock {
    /// A clock whose steady reading begins at the present wall time.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now(), started_ms: wall_ms() }
    }

    /// The same clock, with its steady reading moved forward if it is behind that time: what was planned in an earlier
    /// life of the process would else have to wait for a calendar that was set back since.
    #[must_use]
    pub fn not_before(self, earlier: Timestamp) -> Self {
        let behind_ms = earlier.as_ms().saturating_sub(self.steady().as_ms());
        Self { started_ms: self.started_ms.saturating_add(behind_ms), ..self }
    }

    /// The calendar's time, which can step in either direction.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        Timestamp::from_ms(wall_ms())
    }

    /// The time by the monotonic clock, counted from the wall time at the start of the process.
    #[must_use]
    pub fn steady(&self) -> Timestamp {
        let elapsed_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Timestamp::from_ms(self.started_ms.saturating_add(elapsed_ms))
    }
}

fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
