//! What was told to those who run the server, and which alerts wait. A part of the writer's state.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::EventId;
use crate::domain::alert::{AlertKind, Notice, Told};

/// What was told, and what waits.
#[derive(Default)]
pub struct Alerts {
    /// By kind, and by what it is about.
    pub told: BTreeMap<(AlertKind, String), Told>,
    /// Those that wait to be handed over, oldest first.
    pub waiting: BTreeSet<EventId>,
}

impl Alerts {
    /// Those of a store.
    pub fn resume(told: Vec<((AlertKind, String), Told)>, waiting: &[Notice]) -> Self {
        Self { told: told.into_iter().collect(), waiting: waiting.iter().map(|notice| notice.alert.id).collect() }
    }

    /// When that was told of it.
    pub fn of(&self, kind: AlertKind, of: &str) -> Option<Told> {
        if self.told.is_empty() { None } else { self.told.get(&(kind, of.to_owned())).copied() }
    }

    /// Whether that was told of it, and lasts.
    pub fn is_open(&self, kind: AlertKind, of: &str) -> bool {
        self.of(kind, of).is_some_and(|told| told.is_open)
    }
}
