//! The catalogue of event types that requests are checked against: the configuration's, replaced by a reload. Any thread.

use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::event::catalogue::Catalogue;

/// A handle on it.
#[derive(Clone, Debug)]
pub struct ServedCatalogue(Arc<RwLock<Arc<Catalogue>>>);

impl ServedCatalogue {
    /// Begins with this one.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Self(Arc::new(RwLock::new(catalogue)))
    }

    /// The present one.
    #[must_use]
    pub fn get(&self) -> Arc<Catalogue> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on with this one.
    pub fn replace(&self, catalogue: Arc<Catalogue>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = catalogue;
    }
}
