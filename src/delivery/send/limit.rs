//! How long an attempt may take, and how far it has come: a time limit for the whole is told by the phase in which it ran
//! out. It goes from hand to hand on the delivery thread that makes the attempt.

use std::time::{Duration, Instant};

use ureq::{Error, Timeout};

use crate::domain::delivery::outcome::Phase;

/// A deadline. The time runs from the first wait on, so that what does not wait asks no clock.
#[derive(Clone, Copy, Debug)]
pub(in crate::delivery) struct Limit {
    after: Duration,
    /// Known from the first wait on.
    at: Option<Instant>,
    phase: Phase,
    waited: Duration,
}

impl Limit {
    pub(in crate::delivery) fn within(after: Duration) -> Self {
        Self { after, at: None, phase: Phase::Resolve, waited: Duration::ZERO }
    }

    /// When it is over, if ever.
    pub(in crate::delivery) fn deadline(&mut self) -> Option<Instant> {
        self.at = self.at.or_else(|| Instant::now().checked_add(self.after));
        self.at
    }

    /// The error when it is over.
    pub(in crate::delivery) fn error() -> Error {
        Error::Timeout(Timeout::Global)
    }

    /// Remaining time, if there is a deadline.
    pub(in crate::delivery) fn left(&mut self) -> Result<Option<Duration>, Error> {
        let now = Instant::now();
        // A deadline beyond the clock's range is none.
        let Some(at) = self.at.or_else(|| now.checked_add(self.after)) else { return Ok(None) };
        self.at = Some(at);
        match at.saturating_duration_since(now) {
            Duration::ZERO => Err(Self::error()),
            left => Ok(Some(left)),
        }
    }

    /// The attempt has come so far.
    pub(in crate::delivery) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// How far it has come.
    pub(in crate::delivery) fn phase(&self) -> Phase {
        self.phase
    }

    /// So much of its time went by while it waited for other attempts.
    pub(in crate::delivery) fn add_wait(&mut self, wait: Duration) {
        self.waited += wait;
    }

    /// How much of its time went by so.
    pub(in crate::delivery) fn waited(&self) -> Duration {
        self.waited
    }
}
