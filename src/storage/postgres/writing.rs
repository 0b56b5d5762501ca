//! What the writer is writing: a transaction with a lock on the epoch of this process, the rows as they are with what was
//! written, and one pipeline at the end. Runs on the writer thread.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::storage::error::{Loss, StorageError};
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::place::{COMMIT, commit_row, stored_commit};
use crate::storage::postgres::connection::pool::{self, read_some};
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::postgres::recent::Recent;
use crate::storage::postgres::rows::{Row, Rows};
use crate::storage::postgres::shared::Shared;
use crate::storage::postgres::tables::{Key, META, Order, Span, Table, key};
use crate::storage::postgres::writes::{Last, Writes};
use crate::storage::sealing::Seal;

type Result<T> = std::result::Result<T, StorageError>;

/// How the writer's transaction begins. Each statement sees what is committed, which nobody else changes.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
/// Fails to find a row if another process has taken over, and keeps one from doing so until the end of the transaction.
const FENCE: &str = "SELECT 1 FROM owner WHERE epoch = $1 FOR SHARE";
/// The same after a connection was lost: waits until nothing of an earlier transaction is under way.
const FENCE_ALONE: &str = "SELECT 1 FROM owner WHERE epoch = $1 FOR UPDATE";
/// For how long the writer tries to connect anew. Callers wait meanwhile.
const RECONNECT: Duration = Duration::from_secs(20);

/// An open transaction. Dropped without a commit, its connection is closed.
pub(super) struct Writing {
    session: RefCell<Session>,
    shared: Arc<Shared>,
    writes: RefCell<Writes>,
}

impl Writing {
    /// Begins, if this process may still write.
    pub fn begin(shared: Arc<Shared>) -> Result<Self> {
        if let Some(session) = shared.take() {
            match begin_on(&session, &shared, FENCE) {
                // It ended while nothing was asked of it.
                Err(StorageError::Remote(reason)) => log::warn!("PostgreSQL has to be connected anew: {reason}"),
                begun => return begun.map(|()| Self::of(session, shared)),
            }
        }
        let deadline = Instant::now() + RECONNECT;
        let session = begin_anew(&shared, deadline)?;
        Ok(Self::of(session, shared))
    }

    fn of(session: Session, shared: Arc<Shared>) -> Self {
        Self { session: RefCell::new(session), shared, writes: RefCell::default() }
    }

    /// What secrets are sealed with.
    pub fn seal(&self) -> &Seal {
        &self.shared.seal
    }

    /// Sends what was written and commits. Gives back the connection.
    ///
    /// The number of the commit is written with it. If the connection ends meanwhile, that number says on a new one whether
    /// the commit was made; if it was not, the same is sent again, to whichever server takes writes by then. If it was, the
    /// number alone is: the end of a connection also ends its wait for the synchronous standby, and then the commit is seen
    /// before the standby has it. One that comes later and has waited says that the standby has both.
    pub fn commit(self) -> Result<()> {
        let Self { session, shared, writes } = self;
        let (mut session, mut writes) = (session.into_inner(), writes.into_inner());
        let number = shared.place.last_commit() + 1;
        let at = key![COMMIT];
        let row = Last::Stored(META.seal(&at, commit_row(number)?));
        let mut number_alone = Writes::default();
        number_alone.set(&META, at.clone(), row.clone());
        writes.set(&META, at, row);
        let mut left = &writes;
        let unknown = |fault: &Fault| StorageError::Unknown(fault.words());
        let deadline = Instant::now() + RECONNECT;
        while let Err(fault) = session.commit(left.statements()) {
            if !session.is_lost(&fault) || Instant::now() > deadline {
                return Err(unknown(&fault));
            }
            log::warn!(
                "the connection to PostgreSQL ended in a commit, and a new one tells whether it was made: {}",
                fault.words()
            );
            session = match begin_anew(&shared, deadline) {
                Err(StorageError::Remote(reason)) => return Err(StorageError::Unknown(reason)),
                begun => begun?,
            };
            let is_made = stored_commit(&session).map_err(|fault| unknown(&fault))? == number;
            left = if is_made { &number_alone } else { &writes };
        }
        if session.gave_up_waiting() {
            return Err(StorageError::Unknown("the wait for the synchronous standby was cancelled".to_owned()));
        }
        shared.place.committed(number);
        let mut recent = recent(&shared.recent);
        for (place, key, last) in writes.into_rows() {
            recent.put(place, key, last);
        }
        drop(recent);
        shared.put_back(session);
        Ok(())
    }

    /// Asks, on a new connection if this one is lost. Nothing was sent on it yet that a new transaction would lack.
    fn ask<T>(&self, question: impl Fn(&Session) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + RECONNECT;
        loop {
            let asked = question(&self.session.borrow());
            match asked {
                Err(StorageError::Remote(reason)) if Instant::now() < deadline && self.session.borrow().has_ended() => {
                    log::warn!("PostgreSQL has to be connected anew: {reason}");
                    self.session.replace(begin_anew(&self.shared, deadline)?);
                }
                asked => return asked,
            }
        }
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

/// Begins a transaction, if this process may still write.
fn begin_on(session: &Session, shared: &Shared, fence: &str) -> Result<()> {
    let locked = session.begin(BEGIN, fence.to_owned(), vec![Value::Int(shared.epoch)])?;
    if locked.is_empty() {
        return Err(Loss::TakenOver(shared.place.schema.clone()).into());
    }
    Ok(())
}

/// Begins one on a new connection, and once no other transaction of this process is under way.
fn begin_anew(shared: &Shared, deadline: Instant) -> Result<Session> {
    loop {
        let session = shared.place.connect_until(deadline)?;
        match begin_on(&session, shared, FENCE_ALONE) {
            Err(StorageError::Remote(reason)) if Instant::now() < deadline && session.has_ended() => {
                log::debug!("the new connection to PostgreSQL has ended: {reason}");
            }
            begun => return begun.map(|()| session),
        }
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
        let rows = self.ask(|session| {
            let values = key.iter().map(Value::from).collect();
            Ok(session.query(table.statements().get.clone(), values)?)
        })?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    fn get_some(&self, table: &'static Table, keys: &[Key]) -> Result<Vec<Option<Vec<u8>>>> {
        let known: Vec<_> = keys.iter().map(|key| self.known(table, key)).collect();
        let missing: Vec<&Key> =
            keys.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(key, _)| key).collect();
        let mut read = self.ask(|session| read_some(session, table, &missing))?.into_iter();
        Ok(known.into_iter().map(|known| known.map_or_else(|| read.next().flatten(), Last::value)).collect())
    }

    fn scan(&self, table: &'static Table, span: &Span, order: Order, limit: usize) -> Result<Vec<Row>> {
        if span.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let changed = self.writes.borrow().count(table, span);
        let stored = self.ask(|session| pool::scan(session, table, span, order, limit + changed))?;
        Ok(self.writes.borrow().merge(table, span, order, limit, stored))
    }
}
