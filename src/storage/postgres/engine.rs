//! The engine on PostgreSQL: the connection of the writer, the pool of the readers, and the claim of this process on the
//! schema. Any thread; the writer alone begins transactions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::storage::engine::{Engine, StoreVitals, Transaction};
use crate::storage::error::{Loss, StorageError};
use crate::storage::lease::Lease;
use crate::storage::postgres::connection::pool::Pool;
use crate::storage::postgres::connection::runtime::Runtime;
use crate::storage::postgres::connection::session::Session;
use crate::storage::postgres::connection::url::Target;
use crate::storage::postgres::owner::Owner;
use crate::storage::postgres::recent::Recent;
use crate::storage::postgres::shared::Shared;
use crate::storage::postgres::tx::PostgresTx;
use crate::storage::postgres::view::PostgresView;
use crate::storage::postgres::writing::Writing;
use crate::storage::sealing::Seal;

/// For how long the writer tries to connect anew before a commit. Callers wait, and nothing of the commit is sent yet.
const RECONNECT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(250);
/// Size of the tables of the schema with their indexes.
const SIZE: &str = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 FROM pg_class c \
                    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'";

/// The database, as one process has it.
pub struct PostgresEngine {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    owner: Owner,
    runtime: Runtime,
    target: Target,
    is_abandoned: AtomicBool,
}

impl PostgresEngine {
    /// The engine of a schema that this process has claimed, with its first connection.
    pub(in crate::storage::postgres) fn new(
        (session, pool, owner): (Session, Arc<Pool>, Owner),
        (runtime, target, schema): (Runtime, Target, &str),
        seal: Seal,
        cache_bytes: usize,
    ) -> Self {
        let shared = Shared {
            session: Mutex::new(Some(session)),
            epoch: owner.epoch(),
            schema: schema.to_owned(),
            recent: Mutex::new(Recent::new(cache_bytes)),
            seal,
        };
        Self { shared: Arc::new(shared), pool, owner, runtime, target, is_abandoned: AtomicBool::new(false) }
    }

    /// Whom to tell when another process has taken over.
    pub fn when_lost(&self, listener: Box<dyn Fn(&Loss) + Send>) {
        self.owner.when_lost(listener);
    }

    /// Until when this process may act for the store.
    pub fn lease(&self) -> Lease {
        self.owner.lease()
    }

    fn connect(&self) -> Result<Session, StorageError> {
        let begun = Instant::now();
        loop {
            let connected = Session::connect(&self.runtime, &self.target, &self.shared.schema);
            match connected {
                Ok(session) => return Ok(session),
                Err(fault) if begun.elapsed() < RECONNECT => {
                    log::warn!("PostgreSQL cannot be reached, and is tried again: {}", fault.words());
                    self.owner.check()?;
                    std::thread::sleep(PAUSE);
                }
                Err(fault) => return Err(fault.into()),
            }
        }
    }
}

impl Engine for PostgresEngine {
    type Transaction = PostgresTransaction;
    type View = PostgresView;

    fn begin(&self) -> Result<PostgresTransaction, StorageError> {
        if self.is_abandoned.load(Ordering::Relaxed) {
            return Err(StorageError::Remote("the store was given up after an error".to_owned()));
        }
        if let Some(session) = self.shared.take() {
            match Writing::begin(session, Arc::clone(&self.shared)) {
                // It ended while nothing was asked of it.
                Err(StorageError::Remote(reason)) => log::warn!("PostgreSQL has to be connected anew: {reason}"),
                begun => return begun.map(PostgresTransaction),
            }
        }
        Writing::begin(self.connect()?, Arc::clone(&self.shared)).map(PostgresTransaction)
    }

    fn view(&self) -> Result<PostgresView, StorageError> {
        Ok(PostgresView::new(Arc::clone(&self.pool)))
    }

    fn check_owner(&self) -> Result<(), StorageError> {
        Ok(self.owner.check()?)
    }

    fn vitals(&self) -> StoreVitals {
        let size = self.pool.query(SIZE.to_owned(), Vec::new());
        let size = size.inspect_err(|error| log::debug!("the size of the database is not known: {error}"));
        let bytes = size.ok().and_then(|rows| rows.first().map(|row| row.get::<_, i64>(0)));
        // How much room a database server has is not for its clients to see.
        StoreVitals { size_bytes: bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0), free_bytes: None }
    }

    fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
        drop(self.shared.take());
    }
}

/// An open transaction. Dropped without a commit, its connection is closed.
pub struct PostgresTransaction(Writing);

impl Transaction for PostgresTransaction {
    type Tx<'a> = PostgresTx<'a>;

    fn rows(&self) -> Result<PostgresTx<'_>, StorageError> {
        Ok(PostgresTx::open(&self.0))
    }

    fn commit(self) -> Result<(), StorageError> {
        self.0.commit()
    }
}
