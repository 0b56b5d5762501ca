//! A schema that a copy from another engine is made into. Its `store` row says that it is unfinished until the last step, so
//! that no server takes it. Runs on the main thread of a command.

use std::sync::Arc;

use crate::domain::Timestamp;
use crate::storage::copy::rows::{NewStore, Rest, RowTarget, StoreIdentity};
use crate::storage::engine::{Engine as _, Transaction as _};
use crate::storage::error::{OpenError, StorageError};
use crate::storage::opened::PostgresSettings;
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::line::Line;
use crate::storage::postgres::connection::place::Place;
use crate::storage::postgres::connection::pool::Pool;
use crate::storage::postgres::connection::reach::{explained, reach};
use crate::storage::postgres::connection::runtime::Runtime;
use crate::storage::postgres::connection::url::Target;
use crate::storage::postgres::engine::PostgresEngine;
use crate::storage::postgres::error::PostgresError;
use crate::storage::postgres::owner::{Claiming, Owner};
use crate::storage::postgres::schema::{self, Refusal};
use crate::storage::postgres::tables::{Key, Table};
use crate::storage::random::Randomness;
use crate::storage::sealing::Seal;

/// So many rows, or so many bytes of them, are written in one commit.
const ROWS: usize = 10_000;
const BYTES: usize = 8 * 1024 * 1024;

/// A schema that is being filled.
pub(in crate::storage) struct NewSchema {
    engine: PostgresEngine,
    place: Arc<Place>,
    waiting: Vec<(&'static Table, Key, Vec<u8>)>,
    bytes: usize,
}

/// Why no schema is begun.
#[derive(Debug, thiserror::Error)]
pub enum NewSchemaError {
    /// It has a store.
    #[error(
        "schema {0} has a store already, and a copy replaces nothing. Name another schema in storage.postgres.schema, or remove this one with: DROP SCHEMA {0} CASCADE"
    )]
    NotEmpty(String),
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<PostgresError> for NewSchemaError {
    fn from(error: PostgresError) -> Self {
        Self::Open(error.into())
    }
}

impl NewSchema {
    /// Begins a store in that schema. One that was begun before and not finished is emptied.
    pub fn create(
        settings: &PostgresSettings,
        identity: StoreIdentity,
        now: Timestamp,
    ) -> Result<Self, NewSchemaError> {
        let target = Target::read(&settings.url_file)?;
        let schema = settings.schema.as_str();
        let failed = |fault: Fault| explained(&fault, &target, schema);
        let runtime = Runtime::start().map_err(|error| failed(Fault::Other(error.to_string())))?;
        let (session, _) = reach(&runtime, &target, schema, now)?;
        let place = Place::new(runtime, target.clone(), schema, &session);
        let pool = Pool::connect(&place).map_err(failed)?;
        match schema::begin_copy(&session, schema, identity) {
            Ok(true) => {}
            Ok(false) => return Err(NewSchemaError::NotEmpty(schema.to_owned())),
            Err(Refusal::Refused(error)) => return Err(error.into()),
            Err(Refusal::Failed(fault)) => return Err(failed(fault).into()),
        }
        let mut random = Randomness::new();
        let token = random.next_u128().map_err(|error| failed(Fault::Other(error.to_string())))?;
        let owner =
            Owner::claim(&session, schema, (token, now, None), Line::to(&place)).map_err(|error| match error {
                Claiming::Refused(error) => error,
                Claiming::Failed(fault) => failed(fault),
            })?;
        // Nobody else writes to it from now on.
        session.execute(schema::empty(identity)).map_err(failed)?;
        let engine = PostgresEngine::new((session, pool, owner, None), Arc::clone(&place), Seal::NONE, 0);
        Ok(Self { engine, place, waiting: Vec::new(), bytes: 0 })
    }

    fn flush(&mut self) -> Result<(), StorageError> {
        let transaction = self.engine.begin()?;
        self.bytes = 0;
        for (table, key, row) in self.waiting.drain(..) {
            transaction.put(table, key, row);
        }
        transaction.commit()
    }
}

impl RowTarget for NewSchema {
    fn put(&mut self, table: &'static Table, key: Key, row: Vec<u8>) -> Result<(), StorageError> {
        self.bytes += row.len();
        self.waiting.push((table, key, row));
        if self.waiting.len() >= ROWS || self.bytes >= BYTES { self.flush() } else { Ok(()) }
    }

    fn put_rest(&mut self, rest: &Rest) -> Result<(), StorageError> {
        self.flush()?;
        let transaction = self.engine.begin()?;
        rest.write(&transaction)?;
        transaction.commit()
    }
}

impl NewStore for NewSchema {
    type Filled = PostgresEngine;

    fn filled(&self) -> &PostgresEngine {
        &self.engine
    }

    fn finish(self) -> Result<(), OpenError> {
        let failed = |fault: Fault| OpenError::from(explained(&fault, &self.place.target, &self.place.schema));
        self.engine.check_owner().map_err(|error| failed(Fault::Other(error.to_string())))?;
        let session = self.place.connect().map_err(failed)?;
        session.execute(schema::END_OF_COPY.to_owned()).map_err(failed)?;
        if session.gave_up_waiting() {
            return Err(failed(Fault::Other("the wait for the synchronous standby was cancelled".to_owned())));
        }
        Ok(())
    }

    fn give_up(self) {
        // It says that it is unfinished.
    }
}
