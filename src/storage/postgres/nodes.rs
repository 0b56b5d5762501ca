//! The rows of the servers that use a schema, the active one and those on standby. Each shows every second that it is there.
//! They are for people: nothing depends on them.

use uuid::Uuid;

use crate::domain::Timestamp;
use crate::storage::holder::Holder;
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::session::{Session, Value};

/// One that was not seen for an hour is forgotten.
const FORGET: &str = "DELETE FROM nodes WHERE seen_at < clock_timestamp() - interval '1 h'";
const HERE: &str = "INSERT INTO nodes VALUES ($1, $2, $3, clock_timestamp(), clock_timestamp()) \
                    ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at";
const LEAVE: &str = "DELETE FROM nodes WHERE node = $1";

/// This server.
pub(super) struct Node {
    id: Uuid,
    name: String,
}

impl Node {
    /// A server of that number.
    pub fn own(token: u128, now: Timestamp) -> Self {
        Self { id: Uuid::from_u128(token), name: Holder::own(token, now).who }
    }

    /// Shows that it is there.
    pub fn is_here(&self, session: &Session) -> Result<(), Fault> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let values = vec![Value::Id(self.id), Value::Text(self.name.clone()), Value::Text(version)];
        session.query(HERE.to_owned(), values).map(drop)
    }

    /// It goes.
    pub fn leave(&self, session: &Session) -> Result<(), Fault> {
        session.query(LEAVE.to_owned(), vec![Value::Id(self.id)])?;
        session.query(FORGET.to_owned(), Vec::new()).map(drop)
    }
}
