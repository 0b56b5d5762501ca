//! What the writer is writing: a transaction with a lock on the epoch of this process, the rows as they are with what was
//! written, and one pipeline at the end. Runs on the writer thread.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use crate::storage::error::{Loss, StorageError};
use crate::storage::postgres::connection::pool::{self, read_some};
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::postgres::recent::Recent;
use crate::storage::postgres::rows::{Row, Rows};
use crate::storage::postgres::shared::Shared;
use crate::storage::postgres::tables::{Key, Order, Span, Table};
use crate::storage::postgres::writes::{Last, Writes};
use crate::storage::sealing::Seal;

type Result<T> = std::result::Result<T, StorageError>;

/// How the writer's transaction begins. Each statement sees what is committed, which nobody else changes.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
/// Fails to find a row if another process has taken over, and keeps one from doing so until the end of the transaction.
const FENCE: &str = "SELECT 1 FROM owner WHERE epoch = $1 FOR SHARE";

/// An open transaction. Dropped without a commit, its connection is closed.
pub(super) struct Writing {
    session: Session,
    shared: Arc<Shared>,
    writes: RefCell<Writes>,
}

impl Writing {
    /// Begins on that connection, if this process may still write.
    pub fn begin(session: Session, shared: Arc<Shared>) -> Result<Self> {
        let locked = session.begin(BEGIN, FENCE.to_owned(), vec![Value::Int(shared.epoch)])?;
        if locked.is_empty() {
            return Err(Loss::TakenOver(shared.schema.clone()).into());
        }
        Ok(Self { session, shared, writes: RefCell::default() })
    }

    /// What secrets are sealed with.
    pub fn seal(&self) -> &Seal {
        &self.shared.seal
    }

    /// Sends what was written and commits. Gives back the connection.
    pub fn commit(self) -> Result<()> {
        let Self { session, shared, writes } = self;
        let writes = writes.into_inner();
        session.commit(writes.statements()).map_err(|fault| StorageError::Unknown(fault.words()))?;
        if session.gave_up_waiting() {
            return Err(StorageError::Unknown("the wait for the synchronous standby was cancelled".to_owned()));
        }
        let mut recent = recent(&shared.recent);
        for (place, key, last) in writes.into_rows() {
            recent.put(place, key, last);
        }
        drop(recent);
        shared.put_back(session);
        Ok(())
    }

    /// Stores a row.
    pub fn put(&self, table: &'static Table, key: Key, row: Vec<u8>) {
        let value = table.seal(&key, row);
        self.writes.borrow_mut().set(table, key, Last::Stored(value));
    }

    /// Removes a row, which may not be there.
    pub fn remove(&self, table: &'static Table, key: Key) {
        self.writes.borrow_mut().set(table, key, Last::Removed);
    }

    /// Removes a row. Gives it, if it was there.
    pub fn take(&self, table: &'static Table, key: Key) -> Result<Option<Vec<u8>>> {
        let found = self.get(table, &key)?;
        if found.is_some() {
            self.remove(table, key);
        }
        Ok(found)
    }

    /// Removes up to so many rows of a span, the least key first. Gives them.
    pub fn take_some(&self, table: &'static Table, span: &Span, limit: usize) -> Result<Vec<Row>> {
        let rows = self.scan(table, span, Order::Rising, limit)?;
        for (key, _) in &rows {
            self.remove(table, key.clone());
        }
        Ok(rows)
    }

    /// What this process knows of a row without asking.
    fn known(&self, table: &Table, key: &Key) -> Option<Last> {
        if let Some(written) = self.writes.borrow().get(table, key) {
            return Some(written.clone());
        }
        recent(&self.shared.recent).get(table.place, key).cloned()
    }
}

fn recent(recent: &Mutex<Recent>) -> std::sync::MutexGuard<'_, Recent> {
    recent.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Rows for Writing {
    fn get(&self, table: &'static Table, key: &Key) -> Result<Option<Vec<u8>>> {
        if let Some(known) = self.known(table, key) {
            return Ok(known.value());
        }
        let values = key.iter().map(Value::from).collect();
        let rows = self.session.query(table.statements().get.clone(), values)?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    fn get_some(&self, table: &'static Table, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>> {
        let known: Vec<_> = keys.iter().map(|key| self.known(table, key)).collect();
        let missing: Vec<&Key> =
            keys.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(key, _)| key).collect();
        let mut read = read_some(&self.session, table, &missing)?.into_iter();
        Ok(known.into_iter().map(|known| known.map_or_else(|| read.next().flatten(), Last::value)).collect())
    }

    fn scan(&self, table: &'static Table, span: &Span, order: Order, limit: usize) -> Result<Vec<Row>> {
        if span.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let changed = self.writes.borrow().count(table, span);
        let stored = pool::scan(&self.session, table, span, order, limit + changed)?;
        Ok(self.writes.borrow().merge(table, span, order, limit, stored))
    }
}
