//! The read snapshot: everything as of one commit. The writer publishes a new one after each commit; readers on any
//! thread use it and never wait for the writer.
//!
//! The current snapshot is kept open while the next commit is made. An engine that keeps lists of free pages then needs
//! no second pass over them, which would cost each commit one page more.

use std::sync::{Arc, PoisonError, RwLock};

use crate::domain::calendar::Calendar;
use crate::storage::engine::{Pending, View};
use crate::storage::error::StorageError;
use crate::storage::read::registry::Registry;
use crate::storage::store_engine::StoreEngine;

/// Everything as of one commit.
pub struct Snapshot {
    /// The rows.
    pub view: Arc<dyn View>,
    /// Accounts, keys and subscriptions, which need no disk.
    pub registry: Arc<Registry>,
    /// Number of pending deliveries.
    pub pending: Pending,
    /// How far the calendar had come.
    pub calendar: Calendar,
}

/// Holds the current snapshot, published by the writer.
pub struct SharedSnapshot {
    // Dropped before the database that it is of.
    present: RwLock<Arc<Snapshot>>,
    engine: Arc<StoreEngine>,
}

impl SharedSnapshot {
    /// Starts with the database's state.
    pub fn new(
        engine: Arc<StoreEngine>,
        registry: Arc<Registry>,
        pending: Pending,
        calendar: Calendar,
    ) -> Result<Self, StorageError> {
        let snapshot = Snapshot { view: engine.view()?, registry, pending, calendar };
        Ok(Self { present: RwLock::new(Arc::new(snapshot)), engine })
    }

    /// The engine.
    pub fn engine(&self) -> &StoreEngine {
        &self.engine
    }

    /// The current snapshot.
    #[must_use]
    pub fn get(&self) -> Arc<Snapshot> {
        // The lock guards one pointer, which is whole even if a thread died while holding it.
        Arc::clone(&self.present.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes the last commit; called by the writer after each commit.
    pub fn publish(&self, registry: Arc<Registry>, pending: Pending, calendar: Calendar) -> Result<(), StorageError> {
        let snapshot = Arc::new(Snapshot { view: self.engine.view()?, registry, pending, calendar });
        let before = std::mem::replace(&mut *self.present.write().unwrap_or_else(PoisonError::into_inner), snapshot);
        // Dropped outside the lock.
        drop(before);
        Ok(())
    }
}
