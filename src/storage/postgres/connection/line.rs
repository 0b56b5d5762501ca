//! A connection that is made anew when it has ended, for a thread that asks again and again. Used by that thread alone.

use std::sync::Arc;

use tokio_postgres::Row;

use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::place::Place;
use crate::storage::postgres::connection::reach::newest;
use crate::storage::postgres::connection::runtime::Runtime;
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::postgres::connection::url::Target;

/// The connection, or how to make it.
pub(in crate::storage::postgres) struct Line {
    connect: Box<dyn Fn() -> Result<Session, Fault> + Send>,
    session: Option<Session>,
}

impl Line {
    /// To a store that this process has opened. Not connected yet.
    pub fn to(place: &Arc<Place>) -> Self {
        let place = Arc::clone(place);
        Self { connect: Box::new(move || place.connect()), session: None }
    }

    /// To whichever host took over last.
    pub fn to_newest(runtime: &Runtime, target: &Target, schema: &str) -> Self {
        let (runtime, target, schema) = (runtime.clone(), target.clone(), schema.to_owned());
        Self { connect: Box::new(move || newest(&runtime, &target, &schema)), session: None }
    }

    /// Asks something. After a fault the next question is asked on another connection.
    pub fn ask<T>(&mut self, question: impl FnOnce(&Session) -> Result<T, Fault>) -> Result<T, Fault> {
        let live = self.session.take().filter(|session| !session.is_closed());
        let session = live.map_or_else(&self.connect, Ok)?;
        let answer = question(&session)?;
        self.session = Some(session);
        Ok(answer)
    }

    /// The rows that a statement gives.
    pub fn query(&mut self, sql: &str, values: Vec<Value>) -> Result<Vec<Row>, Fault> {
        self.ask(|session| session.query(sql.to_owned(), values))
    }
}
