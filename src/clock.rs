//! Wall clock and monotonic clock of the process. Any thread may read them; nothing here blocks.
//!
//! Two readings: [`Clock::wall`] is what the machine's clock says and may leap when somebody sets it;
//! [`Clock::monotonic`] goes on where an earlier process of the same store ended, and then only runs forward at the speed of
//! the monotonic clock. Retries are planned on the steady reading, so that a leap causes neither a storm nor a stall. What
//! is stored is dated by a third, [`crate::domain::calendar`], which the writer makes of the two.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::domain::Timestamp;

/// How far the clocks may move against each other before a shown time follows, in milliseconds.
const DISPLAY_TOLERANCE_MS: u64 = 1000;

/// The process's clock; cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Clock(TimeSource);

#[derive(Clone, Copy, Debug)]
enum TimeSource {
    Machine { started: Instant, started_ms: u64, display_offset_ms: &'static AtomicI64 },
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
        Self::machine(wall_ms())
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
            TimeSource::Machine { .. } => Self::machine(monotonic.as_ms()),
            TimeSource::Simulated(time) => {
                time.steady_ms.store(monotonic.as_ms(), Ordering::Relaxed);
                self
            }
        }
    }

    fn machine(started_ms: u64) -> Self {
        // One for each start of a process, so what it leaks does not grow.
        let display_offset_ms = Box::leak(Box::new(AtomicI64::new(i64::MAX)));
        Self(TimeSource::Machine { started: Instant::now(), started_ms, display_offset_ms })
    }

    /// Both readings.
    #[must_use]
    pub fn read(&self) -> Readings {
        Readings { wall: self.wall(), monotonic: self.monotonic() }
    }

    /// Both readings, for showing times of the monotonic clock: the distance between the two stays the same until it
    /// changes by more than a second. So a time that is shown twice is shown the same, although the two
    /// clocks tick at different parts of a millisecond.
    #[must_use]
    pub fn read_for_display(&self) -> Readings {
        let exact = self.read();
        let TimeSource::Machine { display_offset_ms, .. } = self.0 else { return exact };
        let (wall, monotonic) = (exact.wall.as_ms().cast_signed(), exact.monotonic.as_ms().cast_signed());
        let kept = display_offset_ms.load(Ordering::Relaxed);
        let offset = display_offset(kept, wall.saturating_sub(monotonic));
        // Of several threads that change it at once, all go on with what one of them wrote.
        let written = display_offset_ms.compare_exchange(kept, offset, Ordering::Relaxed, Ordering::Relaxed);
        let offset = written.map_or_else(|other| other, |_| offset);
        Readings { wall: Timestamp::from_ms(monotonic.saturating_add(offset).max(0).cast_unsigned()), ..exact }
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
            TimeSource::Machine { started, started_ms, .. } => {
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

/// The distance of the two clocks to show times by: the kept one, until the present one is too far from it.
fn display_offset(kept_ms: i64, present_ms: i64) -> i64 {
    if kept_ms.abs_diff(present_ms) > DISPLAY_TOLERANCE_MS { present_ms } else { kept_ms }
}

fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_shown_again_is_shown_the_same() {
        // Half a millisecond apart, so that the two clocks tick at different times wherever the first reading falls.
        for phase in 0..2 {
            std::thread::sleep(Duration::from_micros(500 * phase));
            let clock = Clock::start().resumed_at(Timestamp::from_ms(7));
            let (begun, due) = (Instant::now(), Timestamp::from_ms(5000));
            let shown = clock.read_for_display().on_the_wall(due);
            while begun.elapsed() < Duration::from_millis(5) {
                assert_eq!(clock.read_for_display().on_the_wall(due), shown);
            }
        }
    }

    #[test]
    fn a_shown_time_follows_a_leap_of_the_clock_and_no_small_move() {
        assert_eq!(display_offset(i64::MAX, 5), 5);
        assert_eq!(display_offset(5, 1005), 5);
        assert_eq!(display_offset(5, 1006), 1006);
        assert_eq!(display_offset(5, -996), -996);
    }
}
