//! What the writer's transactions take from the engine, one after the other, and give back. Any thread.

use std::sync::{Arc, Mutex, PoisonError};

use crate::storage::postgres::connection::place::Place;
use crate::storage::postgres::connection::session::Session;
use crate::storage::postgres::recent::Recent;
use crate::storage::sealing::Seal;

/// What a transaction takes from the engine and gives back.
pub(super) struct Shared {
    /// The writer's connection, unless it is at work.
    pub session: Mutex<Option<Session>>,
    /// The epoch in which this process may write.
    pub epoch: i64,
    /// Where the database is.
    pub place: Arc<Place>,
    /// Rows that were stored lately.
    pub recent: Mutex<Recent>,
    /// What secrets are sealed with.
    pub seal: Seal,
}

impl Shared {
    /// Gives back the writer's connection.
    pub fn put_back(&self, session: Session) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
    }

    /// Takes it, if it is still one.
    pub fn take(&self) -> Option<Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).take().filter(|session| !session.is_closed())
    }
}
