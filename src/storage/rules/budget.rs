//! How much one step of housekeeping may do. Runs on the writer thread.

use std::time::{Duration, Instant};

/// How long a step may take. Callers wait for it where it shares their commit.
const STEP_TIME: Duration = Duration::from_millis(2);
/// Rows between two looks at the clock.
const ROWS_A_LOOK_AT_THE_CLOCK: usize = 64;

/// How much one step may still do.
pub(in crate::storage) struct Budget {
    rows: usize,
    until: Option<Instant>,
    until_next_look: usize,
}

impl Budget {
    /// About so many rows, and not long. A step that is to come out the same again is not timed.
    pub fn new(rows: usize, is_timed: bool) -> Self {
        let until = is_timed.then(|| Instant::now() + STEP_TIME);
        Self { rows, until, until_next_look: ROWS_A_LOOK_AT_THE_CLOCK }
    }

    /// Uses up so many rows.
    pub fn spend(&mut self, rows: usize) {
        self.rows = self.rows.saturating_sub(rows);
        self.until_next_look = self.until_next_look.saturating_sub(rows);
        if self.until_next_look == 0 {
            self.until_next_look = ROWS_A_LOOK_AT_THE_CLOCK;
            if self.until.is_some_and(|until| Instant::now() >= until) {
                self.rows = 0;
            }
        }
    }

    /// Rows that are left, but no more than may pass until the next look at the clock.
    pub fn rows(&self) -> usize {
        self.rows.min(ROWS_A_LOOK_AT_THE_CLOCK)
    }

    /// Whether the step is over.
    pub fn is_spent(&self) -> bool {
        self.rows == 0
    }
}
