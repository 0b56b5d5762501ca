//! How each way does, for whoever asks. Any thread.

use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::domain::Timestamp;

/// How a way does.
#[derive(Clone, Debug, Serialize)]
pub struct WayStatus {
    /// Its name.
    pub way: String,
    /// Why the last hand-over failed, if it did.
    pub error: Option<String>,
    /// Since when every one has failed.
    pub failing_since: Option<Timestamp>,
}

/// How all ways do.
#[derive(Debug, Default)]
pub struct WaysStatus(Mutex<Vec<WayStatus>>);

impl WaysStatus {
    /// Of these ways, of which nothing is known yet.
    #[must_use]
    pub fn of(names: &[String]) -> Self {
        let unknown = |way: &String| WayStatus { way: way.clone(), error: None, failing_since: None };
        Self(Mutex::new(names.iter().map(unknown).collect()))
    }

    /// A copy.
    #[must_use]
    pub fn all(&self) -> Vec<WayStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what came of a hand-over.
    pub fn note(&self, place: usize, error: Option<String>, now: Timestamp) {
        let mut ways = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = ways.get_mut(place) {
            way.failing_since = error.as_ref().map(|_| way.failing_since.unwrap_or(now));
            way.error = error;
        }
    }
}
