//! Tells in the log how far long work has come. Any thread.

use std::time::{Duration, Instant};

/// Interval between progress lines.
const REPORT_EVERY: Duration = Duration::from_secs(5);

/// Logs the progress of long work, at most one line in [`REPORT_EVERY`].
pub(in crate::storage) struct Progress {
    what: &'static str,
    told: Instant,
}

impl Progress {
    /// Begins now.
    pub(in crate::storage) fn of(what: &'static str) -> Self {
        Self { what, told: Instant::now() }
    }

    /// Logs, if it is time to.
    pub(in crate::storage) fn report(&mut self, done: u64, all: u64) {
        if self.told.elapsed() >= REPORT_EVERY {
            self.told = Instant::now();
            log::info!("{}: {done} of {all} rows", self.what);
        }
    }
}
