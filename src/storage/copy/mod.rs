//! Copies a store from one engine to the other while no server has either: row by row in bounded memory, and compared
//! afterwards. The source keeps all its rows; the target is a store for a server only when everything is there. Runs on the
//! main thread of a command.

pub(in crate::storage) mod rows;

use std::collections::BTreeMap;

use crate::clock::Clock;
use crate::storage::copy::rows::{NewStore, RowSource, StoreIdentity, Tally};
use crate::storage::error::{KeyFileError, OpenError, StorageError};
use crate::storage::maintenance::{Maintenance, Presence};
use crate::storage::opened::{Opened, StoreSettings};
use crate::storage::postgres::copy::new_schema::{NewSchema, NewSchemaError};
use crate::storage::postgres::look::look_at_database;
use crate::storage::redb::copy::new_file::{NewFile, NewFileError};
use crate::storage::sealing::Seal;
use crate::storage::store_engine::StoreEngine;

/// Called with how many rows are done of how many: each is copied, and then compared.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// Why a store was not copied. The source is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Both configurations name the same engine.
    #[error(
        "both configurations have storage.engine = \"{0}\", but storage copy moves a store from one engine to the other; {instead}",
        instead = other_way(.0)
    )]
    SameEngine(&'static str),
    /// There is nothing to copy.
    #[error("there is no store in {0}, so nothing was copied. Name the configuration of the store with --config")]
    NoSource(String),
    /// The source cannot be opened.
    #[error("the source store: {0}")]
    Source(#[source] OpenError),
    /// No file is begun.
    #[error("the target store: {0}")]
    File(#[from] NewFileError),
    /// No schema is begun.
    #[error("the target store: {0}")]
    Schema(#[from] NewSchemaError),
    /// The key file of the target.
    #[error("the configuration of the target: storage.encryption_key_file: {0}")]
    KeyFile(KeyFileError),
    /// The secrets could not be opened there.
    #[error(
        "the signing secrets of the source store are encrypted, but the configuration of the target has another key, or none. Set storage.encryption_key_file there to the same file; nothing was copied"
    )]
    OtherKey,
    /// A row cannot be read or written.
    #[error("the copy was interrupted: {0}. The source store is unchanged; run the same command again to start over")]
    BrokenOff(#[source] StorageError),
    /// The copy cannot be finished.
    #[error(
        "the copy could not be finished: {0}. The source store is unchanged; run the same command again to start over"
    )]
    NotFinished(#[source] OpenError),
    /// They differ.
    #[error(
        "the copy differs from the source store in {0}. It is not used, and the source store is unchanged. Run the command again; if they differ again, check memory and disk for faults"
    )]
    Differs(&'static str),
}

fn other_way(engine: &str) -> &'static str {
    if engine == "embedded" { "use backup and restore" } else { "use pg_dump and pg_restore" }
}

impl CopyError {
    /// Whether it is for the operator to correct in a configuration.
    #[must_use]
    pub fn is_of_the_configuration(&self) -> bool {
        match self {
            Self::KeyFile(_) | Self::OtherKey => true,
            _ => self.open_error().is_some_and(OpenError::is_of_the_configuration),
        }
    }

    /// Whether a later try may succeed without any change here.
    #[must_use]
    pub fn is_of_the_database_server(&self) -> bool {
        matches!(self, Self::BrokenOff(StorageError::Remote(_) | StorageError::Unknown(_)))
            || self.open_error().is_some_and(OpenError::is_of_the_database_server)
    }

    fn open_error(&self) -> Option<&OpenError> {
        match self {
            Self::Source(error)
            | Self::NotFinished(error)
            | Self::File(NewFileError::Open(error))
            | Self::Schema(NewSchemaError::Open(error)) => Some(error),
            _ => None,
        }
    }
}

/// Copies the store of the first settings into a new one for the second. Gives the number of rows of each table.
pub fn copy(
    from: &StoreSettings,
    to: &StoreSettings,
    clock: Clock,
    progress: Progress<'_>,
) -> Result<BTreeMap<&'static str, u64>, CopyError> {
    if from.postgres.is_some() == to.postgres.is_some() {
        return Err(CopyError::SameEngine(if from.postgres.is_some() { "postgres" } else { "embedded" }));
    }
    let there = match &from.postgres {
        None => (Maintenance::of(&from.data_dir).presence() != Presence::Never, from.data_dir.display().to_string()),
        Some(settings) => {
            let looked = look_at_database(settings, clock.wall()).map_err(CopyError::Source)?;
            (looked.has_store, format!("schema {} of PostgreSQL", settings.schema))
        }
    };
    if !there.0 {
        return Err(CopyError::NoSource(there.1));
    }
    let key = Seal::from_file(to.encryption_key_file.as_deref()).map_err(CopyError::KeyFile)?;
    // As a command opens it: nothing in it is upgraded or encrypted.
    let opened = Opened::open_as_it_is(from, clock).map_err(CopyError::Source)?;
    let engine = opened.engine();
    let identity = engine.identity().map_err(CopyError::BrokenOff)?;
    if identity.sealed_with.is_some() && identity.sealed_with != key.check() {
        return Err(CopyError::OtherKey);
    }
    let rows = engine.view().and_then(|view| view.row_count()).map_err(CopyError::BrokenOff)?;
    let progress = &mut |done| progress(done, 2 * rows);
    match (engine, &to.postgres) {
        (StoreEngine::Redb(source), Some(settings)) => {
            run(source, NewSchema::create(settings, identity, clock.wall())?, progress)
        }
        (StoreEngine::Postgres(source), _) => {
            run(&**source, NewFile::create(&to.data_dir, identity, clock.wall())?, progress)
        }
        (StoreEngine::Redb(_), None) => Err(CopyError::SameEngine("embedded")),
    }
}

fn run<T: NewStore>(
    source: &impl RowSource,
    mut target: T,
    progress: &mut dyn FnMut(u64),
) -> Result<BTreeMap<&'static str, u64>, CopyError> {
    match fill(source, &mut target, progress) {
        Ok(tally) => {
            target.finish().map_err(CopyError::NotFinished)?;
            Ok(tally.counts())
        }
        Err(error) => {
            target.give_up();
            Err(error)
        }
    }
}

fn fill<T: NewStore>(
    source: &impl RowSource,
    target: &mut T,
    progress: &mut dyn FnMut(u64),
) -> Result<Tally, CopyError> {
    let (mut copied, mut done) = (Tally::default(), 0_u64);
    let filled = source.each_row(&mut |table, key, row| {
        copied.add(table, &key, &row);
        done += 1;
        progress(done);
        target.put(table, key, row)
    });
    let rest = filled.and_then(|()| source.rest()).map_err(CopyError::BrokenOff)?;
    target.put_rest(&rest).map_err(CopyError::BrokenOff)?;
    let mut stored = Tally::default();
    let read = target.filled().each_row(&mut |table, key, row| {
        stored.add(table, &key, &row);
        done += 1;
        progress(done);
        Ok(())
    });
    let stored_rest = read.and_then(|()| target.filled().rest()).map_err(CopyError::BrokenOff)?;
    if let Some(table) = copied.difference(&stored) {
        return Err(CopyError::Differs(table));
    }
    if rest == stored_rest { Ok(copied) } else { Err(CopyError::Differs("meta")) }
}

impl StoreEngine {
    /// Which store it is.
    fn identity(&self) -> Result<StoreIdentity, StorageError> {
        match self {
            Self::Redb(engine) => engine.identity(),
            Self::Postgres(engine) => engine.identity(),
        }
    }
}
