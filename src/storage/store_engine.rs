//! The engine of a store, which is one of two. What is done once a commit is chosen here; what is done once a row is generic
//! over the engine. Any thread.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use crate::domain::Timestamp;
use crate::storage::engine::{Engine, StoreVitals, View};
use crate::storage::error::{Loss, OpenError, StorageError};
use crate::storage::lease::Lease;
use crate::storage::nodes::NodeStatus;
use crate::storage::postgres::engine::PostgresEngine;
use crate::storage::postgres::relay::Answering;
use crate::storage::redb::copy::dump::{DumpError, Manifest};
use crate::storage::redb::engine::RedbEngine;

/// The engine of a store.
pub enum StoreEngine {
    /// A file in the data folder.
    Redb(RedbEngine),
    /// A PostgreSQL database.
    Postgres(Box<PostgresEngine>),
}

impl StoreEngine {
    /// Everything as of the last commit.
    pub fn view(&self) -> Result<Arc<dyn View>, StorageError> {
        let view: Arc<dyn View> = match self {
            Self::Redb(engine) => Arc::new(engine.view()?),
            Self::Postgres(engine) => Arc::new(engine.view()?),
        };
        Ok(view)
    }

    /// Is this process still the only one that may write?
    pub fn check_owner(&self) -> Result<(), StorageError> {
        match self {
            Self::Redb(engine) => engine.check_owner(),
            Self::Postgres(engine) => engine.check_owner(),
        }
    }

    /// How much the store takes, and how much more it can take.
    pub fn vitals(&self) -> StoreVitals {
        match self {
            Self::Redb(engine) => engine.vitals(),
            Self::Postgres(engine) => engine.vitals(),
        }
    }

    /// Leaves everything as it is after an error.
    pub fn abandon(&self) {
        match self {
            Self::Redb(engine) => engine.abandon(),
            Self::Postgres(engine) => engine.abandon(),
        }
    }

    /// Whom to tell when the store is not this process's any more.
    pub fn when_lost(&self, listener: Box<dyn Fn(&Loss) + Send>) {
        match self {
            Self::Redb(engine) => engine.db().when_lost(listener),
            Self::Postgres(engine) => engine.when_lost(listener),
        }
    }

    /// Until when this process may act for the store.
    pub fn lease(&self) -> Lease {
        match self {
            Self::Redb(_) => Lease::default(),
            Self::Postgres(engine) => engine.lease(),
        }
    }

    /// What answers the requests that servers on standby pass on, if there can be any.
    pub fn answering(&self) -> Option<Answering> {
        match self {
            Self::Redb(_) => None,
            Self::Postgres(engine) => engine.answering(),
        }
    }

    /// The servers that use the store, as it has them; none: it is used by one process alone.
    pub fn nodes(&self) -> Result<Option<Vec<NodeStatus>>, StorageError> {
        match self {
            Self::Redb(_) => Ok(None),
            Self::Postgres(engine) => engine.nodes().map(Some),
        }
    }

    /// Why the store could not be opened, from what went wrong in reading it.
    pub fn open_error(&self, source: StorageError) -> OpenError {
        match self {
            Self::Redb(engine) => OpenError::failed(engine.path(), source),
            Self::Postgres(_) => OpenError::failed(Path::new("the database"), source),
        }
    }

    /// Writes a backup of one snapshot, if the engine has backups of its own.
    pub fn back_up(
        &self,
        out: impl Write,
        created_at: Timestamp,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Manifest, DumpError> {
        match self {
            Self::Redb(engine) => engine.view()?.back_up(out, created_at, progress),
            Self::Postgres(_) => Err(DumpError::NotOfThisEngine),
        }
    }
}
