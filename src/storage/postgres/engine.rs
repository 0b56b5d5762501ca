//! The engine on PostgreSQL: the connection of the writer, the pool of the readers, and the claim of this process on the
//! schema. Any thread; the writer alone begins transactions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio_postgres::Row;

use crate::storage::engine::{Engine, StoreVitals, Transaction};
use crate::storage::error::{Loss, StorageError};
use crate::storage::lease::Lease;
use crate::storage::nodes::NodeStatus;
use crate::storage::postgres::connection::line::Line;
use crate::storage::postgres::connection::place::Place;
use crate::storage::postgres::connection::pool::Pool;
use crate::storage::postgres::connection::session::Session;
use crate::storage::postgres::nodes::{self, Node};
use crate::storage::postgres::owner::Owner;
use crate::storage::postgres::recent::Recent;
use crate::storage::postgres::relay::Answering;
use crate::storage::postgres::shared::Shared;
use crate::storage::postgres::tables::{Key, Table};
use crate::storage::postgres::tx::PostgresTx;
use crate::storage::postgres::view::PostgresView;
use crate::storage::postgres::writing::Writing;
use crate::storage::sealing::Seal;

/// Size of the tables of the schema with their indexes.
const SIZE: &str = "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::int8 FROM pg_class c \
                    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'";

/// The database, as one process has it.
pub struct PostgresEngine {
    shared: Arc<Shared>,
    pool: Arc<Pool>,
    owner: Owner,
    /// None: a command, which answers nobody.
    node: Option<Node>,
    is_abandoned: AtomicBool,
}

impl PostgresEngine {
    /// The engine of a schema that this process has claimed, with its first connection.
    pub(in crate::storage::postgres) fn new(
        (session, pool, owner, node): (Session, Arc<Pool>, Owner, Option<Node>),
        place: Arc<Place>,
        seal: Seal,
        cache_bytes: usize,
    ) -> Self {
        let shared = Shared {
            session: Mutex::new(Some(session)),
            epoch: owner.epoch(),
            place,
            recent: Mutex::new(Recent::new(cache_bytes)),
            seal,
        };
        Self { shared: Arc::new(shared), pool, owner, node, is_abandoned: AtomicBool::new(false) }
    }

    /// Whom to tell when another process has taken over.
    pub fn when_lost(&self, listener: Box<dyn Fn(&Loss) + Send>) {
        self.owner.when_lost(listener);
    }

    /// Until when this process may act for the store.
    pub fn lease(&self) -> Lease {
        self.owner.lease()
    }

    /// Asks one question without values, outside of a transaction.
    pub(in crate::storage::postgres) fn query(&self, sql: &str) -> Result<Vec<Row>, StorageError> {
        self.pool.query(sql.to_owned(), Vec::new())
    }

    /// What answers the requests that servers on standby pass on, unless this process is a command.
    pub fn answering(&self) -> Option<Answering> {
        let node = self.node.clone()?;
        Some(Answering::new(Line::to(&self.shared.place), self.shared.epoch, node))
    }

    /// The servers that use the schema.
    pub fn nodes(&self) -> Result<Vec<NodeStatus>, StorageError> {
        nodes::list(&self.pool)
    }
}

impl Engine for PostgresEngine {
    type Transaction = PostgresTransaction;
    type View = PostgresView;

    fn begin(&self) -> Result<PostgresTransaction, StorageError> {
        if self.is_abandoned.load(Ordering::Relaxed) {
            return Err(StorageError::Remote("the store was given up after an error".to_owned()));
        }
        Writing::begin(Arc::clone(&self.shared)).map(PostgresTransaction)
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

impl PostgresTransaction {
    /// Stores a row as it is.
    pub(in crate::storage::postgres) fn put(&self, table: &'static Table, key: Key, row: Vec<u8>) {
        self.0.put(table, key, row);
    }
}

impl Transaction for PostgresTransaction {
    type Tx<'a> = PostgresTx<'a>;

    fn rows(&self) -> Result<PostgresTx<'_>, StorageError> {
        Ok(PostgresTx::open(&self.0))
    }

    fn commit(self) -> Result<(), StorageError> {
        self.0.commit()
    }
}
