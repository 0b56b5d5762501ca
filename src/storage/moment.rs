//! What readers see: everything as of one commit. The writer puts the next moment in place after each commit; readers
//! on any thread take it, and never wait for the writer.
//!
//! The moment that stands is kept while the next commit is made. redb then needs no second pass over its lists of free
//! pages, which would cost each commit one page more.

use std::sync::{Arc, PoisonError, RwLock};

use redb::{ReadTransaction, ReadableDatabase as _};

use super::error::StorageError;
use super::outbox::Pending;
use super::owner::OwnedDatabase;
use super::registry::Registry;
use crate::domain::calendar::Calendar;

/// Everything as of one commit.
pub struct Moment {
    /// The tables.
    pub rows: ReadTransaction,
    /// Accounts, keys and subscriptions, which need no disk.
    pub registry: Arc<Registry>,
    /// How much is pending.
    pub pending: Pending,
    /// How far the calendar had come.
    pub calendar: Calendar,
}

/// The place where the writer puts the present moment and everybody takes it from.
pub struct SharedMoment {
    // Dropped before the database that it is of.
    present: RwLock<Arc<Moment>>,
    db: Arc<OwnedDatabase>,
}

impl SharedMoment {
    /// Begins with what the database holds.
    pub fn new(
        db: Arc<OwnedDatabase>,
        registry: Arc<Registry>,
        pending: Pending,
        calendar: Calendar,
    ) -> Result<Self, StorageError> {
        let moment = Moment { rows: db.begin_read()?, registry, pending, calendar };
        Ok(Self { present: RwLock::new(Arc::new(moment)), db })
    }

    /// The present moment.
    #[must_use]
    pub fn get(&self) -> Arc<Moment> {
        // The lock guards one pointer, which is whole even if a thread died while holding it.
        Arc::clone(&self.present.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Moves on to what was committed last; the writer alone calls this, after a commit.
    pub fn advance(&self, registry: Arc<Registry>, pending: Pending, calendar: Calendar) -> Result<(), StorageError> {
        let moment = Arc::new(Moment { rows: self.db.begin_read()?, registry, pending, calendar });
        let before = std::mem::replace(&mut *self.present.write().unwrap_or_else(PoisonError::into_inner), moment);
        // Ended outside of the lock.
        drop(before);
        Ok(())
    }
}
