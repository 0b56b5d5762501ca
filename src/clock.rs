//! Wall clock and monotonic clock of the process. Any thread may read them; nothing here blocks.
//!
//! Two readings: [`Clock::wall`] is what the machine's clock says and may leap when somebody sets it;
//! [`Clock::monotonic`] goes on where an earlier process of the same store ended, and then only runs forward at the speed of
//! the monotonic clock. Retries are planned on the steady reading, so that a leap causes neither a storm nor a stall. What
//! is stored is dated by a third, [`crate::domain::calendar`], which the writer makes of the two.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::Timestamp;

/// The process's clock; cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock(TimeSource);

#[derive(Clone, Copy, Debug)]
enum TimeSource {
    Machine { started: Instant, started_ms: u64 },
    Simulated(&'static SimulatedTime),
}

/// Time for simulations, which advances only by calls.
#[derive(Debug)]
pub struct SimulatedTime {
    wall_ms: AtomicU64,
    steady_ms: AtomicU64,
}

impl SimulatedTime {
    /// Starts both readings at this time.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self { wall_ms: AtomicU64::new(start.as_ms()), steady_ms: AtomicU64::new(start.as_ms()) }
    }

    /// Advances both readings.
    pub fn pass(&self, span: Duration) {
        let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        self.wall_ms.fetch_add(span_ms, Ordering::Relaxed);
        self.steady_ms.fetch_add(span_ms, Ordering::Relaxed);
    }

    /// Sets the wall clock alone.
    pub fn set_wall(&self, wall: Timestamp) {
        self.wall_ms.store(wall.as_ms(), Ordering::Relaxed);
    }

    /// Simulates a restart of the process: the monotonic reading starts again at the present wall time.
    pub fn restart(&self) {
        self.steady_ms.store(self.wall_ms.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Clock {
    /// A clock whose monotonic reading starts at the present wall time.
    #[must_use]
    pub fn start() -> Self {
        Self(TimeSource::Machine { started: Instant::now(), started_ms: wall_ms() })
    }

    /// A clock that shows simulated time.
    #[must_use]
    pub fn simulated(time: &'static SimulatedTime) -> Self {
        Self(TimeSource::Simulated(time))
    }

    /// The same clock, whose steady reading goes on from that time.
    #[must_use]
    pub fn resumed_at(self, monotonic: Timestamp) -> Self {
        match self.0 {
            TimeSource::Machine { .. } => {
                Self(TimeSource::Machine { started: Instant::now(), started_ms: monotonic.as_ms() })
            }
            TimeSource::Simulated(time) => {
                time.steady_ms.store(monotonic.as_ms(), Ordering::Relaxed);
                self
            }
        }
    }

    /// Both readings.
    #[must_use]
    pub fn read(&self) -> Readings {
        Readings { wall: self.wall(), monotonic: self.monotonic() }
    }

    /// The machine's time, which can leap in either direction.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        Timestamp::from_ms(match self.0 {
            TimeSource::Machine { .. } => wall_ms(),
            TimeSource::Simulated(time) => time.wall_ms.load(Ordering::Relaxed),
        })
    }

    /// The time by the monotonic clock, counted from where it was resumed, or from the wall time at the start.
    #[must_use]
    pub fn monotonic(&self) -> Timestamp {
        Timestamp::from_ms(match self.0 {
            TimeSource::Machine { started, started_ms } => {
                started_ms.saturating_add(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX))
            }
            TimeSource::Simulated(time) => time.steady_ms.load(Ordering::Relaxed),
        })
    }
}

/// Both readings of a clock at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Readings {
    /// The machine's time.
    pub wall: Timestamp,
    /// The time by the monotonic clock.
    pub monotonic: Timestamp,
}

impl Readings {
    /// When a time on the steady clock is, was or will be by the machine's, for showing it.
    #[must_use]
    pub fn on_the_wall(self, monotonic: Timestamp) -> Timestamp {
        self.wall.plus(monotonic.since(self.monotonic)).minus(self.monotonic.since(monotonic))
    }
}

fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
