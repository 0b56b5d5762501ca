//! The connections of the readers: a bounded number, each leased for one request at a time. Any thread may wait for one, for
//! a bounded time.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_postgres::Row as SqlRow;
use uuid::Uuid;

use crate::storage::error::StorageError;
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::place::Place;
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::postgres::rows::Row;
use crate::storage::postgres::tables::{Key, Kind, Order, Part, Span, Table};
use crate::storage::postgres::writes::columns;

/// How many connections there are.
pub(in crate::storage::postgres) const CONNECTIONS: usize = 8;
/// For how long a reader waits for one.
const WAIT: Duration = Duration::from_secs(10);

type Result<T> = std::result::Result<T, StorageError>;

/// The connections.
pub(in crate::storage::postgres) struct Pool {
    place: Arc<Place>,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Session>,
    /// How many there are, leased ones included.
    open: usize,
}

impl Pool {
    /// Connects all, so that a database with too few connections is noticed at the start.
    pub fn connect(place: &Arc<Place>) -> std::result::Result<Arc<Self>, Fault> {
        let mut idle = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            idle.push(place.connect()?);
        }
        let state = State { open: idle.len(), idle };
        Ok(Arc::new(Self { place: Arc::clone(place), state: Mutex::new(state), returned: Condvar::new() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection, which is closed if it is not given back.
    pub fn lease(&self) -> Result<Session> {
        let deadline = Instant::now() + WAIT;
        let mut state = self.state();
        loop {
            while let Some(session) = state.idle.pop() {
                if !session.is_closed() && !self.place.has_moved_since(&session) {
                    return Ok(session);
                }
                state.open = state.open.saturating_sub(1);
            }
            if state.open < CONNECTIONS {
                state.open += 1;
                drop(state);
                return self.place.connect_until(deadline).map_err(|fault| {
                    self.lost();
                    fault.into()
                });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(StorageError::Remote("all connections of the readers are in use".to_owned()));
            }
            state = self.returned.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A leased connection was closed.
    pub fn lost(&self) {
        let mut state = self.state();
        state.open = state.open.saturating_sub(1);
        self.returned.notify_one();
    }

    /// Gives back a connection, whose transaction is ended first.
    pub fn give_back(self: Arc<Self>, session: Session) {
        session.roll_back_and(move |session| match session {
            Some(session) => {
                self.state().idle.push(session);
                self.returned.notify_one();
            }
            None => self.lost(),
        });
    }

    /// Asks one question outside of a transaction.
    pub fn query(&self, sql: String, values: Vec<Value>) -> Result<Vec<SqlRow>> {
        let session = self.lease()?;
        let rows = session.query(sql, values);
        if session.is_closed() {
            self.lost();
        } else {
            self.state().idle.push(session);
            self.returned.notify_one();
        }
        Ok(rows?)
    }
}

/// The values at keys, in the same order.
pub(in crate::storage::postgres) fn read_some(
    session: &Session,
    table: &'static Table,
    keys: &[&Key],
) -> Result<Vec<Option<Vec<u8>>>> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = vec![None; keys.len()];
    for row in session.query(table.statements().get_some.clone(), columns(table, keys))? {
        let place = usize::try_from(row.get::<_, i64>(0)).unwrap_or_default();
        if let Some(value) = place.checked_sub(1).and_then(|place| values.get_mut(place)) {
            *value = Some(row.get(1));
        }
    }
    Ok(values)
}

/// Up to so many rows of a span.
pub(in crate::storage::postgres) fn scan(
    session: &Session,
    table: &'static Table,
    span: &Span,
    order: Order,
    limit: usize,
) -> Result<Vec<Row>> {
    let mut values: Vec<Value> = span.from.iter().chain(&span.to).map(Value::from).collect();
    values.push(Value::Int(i64::try_from(limit).unwrap_or(i64::MAX)));
    let rows = session.query(table.scan(span, order), values)?;
    Ok(rows.iter().map(|row| (key_of(table, row), row.get(table.columns.len()))).collect())
}

fn key_of(table: &Table, row: &SqlRow) -> Key {
    let part = |(index, (_, kind)): (usize, &(&str, Kind))| match kind {
        Kind::Int => Part::Int(row.get(index)),
        Kind::Id => Part::Id(row.get::<_, Uuid>(index).as_u128()),
        Kind::Text => Part::Text(row.get(index)),
    };
    table.columns.iter().enumerate().map(part).collect()
}
