//! The rows of the servers that use a schema, the active one and those on standby. Each shows every second that it is there.
//! They are for people, and tell the active one whether it is asked by others; nothing else depends on them.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::Timestamp;
use crate::domain::escape::escape_controls;
use crate::storage::error::StorageError;
use crate::storage::holder::Holder;
use crate::storage::nodes::{NodeState, NodeStatus};
use crate::storage::pairing::Pairing;
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::pool::Pool;
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::sealing::Seal;

/// One that was not seen for an hour is forgotten.
const FORGET: &str = "DELETE FROM nodes WHERE seen_at < clock_timestamp() - interval '1 h'";
const HERE: &str = "INSERT INTO nodes VALUES ($1, $2, $3, clock_timestamp(), $4) \
                    ON CONFLICT (node) DO UPDATE SET seen_at = excluded.seen_at";
const LEAVE: &str = "DELETE FROM nodes WHERE node = $1";
/// Times in milliseconds.
const LIST: &str = "SELECT n.name, n.version, (extract(epoch FROM clock_timestamp() - n.seen_at) * 1000)::int8, \
                    l.node = n.node, (extract(epoch FROM l.expires_at - clock_timestamp()) * 1000)::int8 \
                    FROM nodes n, lease l ORDER BY l.node = n.node DESC, n.name LIMIT 100";
/// One that was not seen for so long has gone, most likely.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// This server.
#[derive(Clone)]
pub(super) struct Node {
    pub id: Uuid,
    pub pairing: Arc<Pairing>,
    name: String,
    /// What others are shown of its key.
    shown: Vec<u8>,
}

impl Node {
    /// A server of that number.
    pub fn own(token: u128, now: Timestamp, seal: &Seal) -> Result<Self, StorageError> {
        let (id, pairing) = (Uuid::from_u128(token), Pairing::new(seal)?);
        let shown = pairing.shown(id)?;
        Ok(Self { id, pairing: Arc::new(pairing), name: Holder::own(token, now).who, shown })
    }

    /// Shows that it is there.
    pub fn is_here(&self, session: &Session) -> Result<(), Fault> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let values = vec![
            Value::Id(self.id),
            Value::Text(self.name.clone()),
            Value::Text(version),
            Value::Bytes(self.shown.clone()),
        ];
        session.query(HERE.to_owned(), values).map(drop)
    }

    /// It goes.
    pub fn leave(&self, session: &Session) -> Result<(), Fault> {
        session.query(LEAVE.to_owned(), vec![Value::Id(self.id)])?;
        session.query(FORGET.to_owned(), Vec::new()).map(drop)
    }
}

/// All of them, the active one first.
pub(super) fn list(pool: &Pool) -> Result<Vec<NodeStatus>, StorageError> {
    let rows = pool.query(LIST.to_owned(), Vec::new())?;
    let span = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    let nodes = rows.iter().map(|row| {
        let (seen_ago, is_holder) = (span(row.get(2)), row.get::<_, bool>(3));
        let state = match is_holder {
            true if row.get::<_, i64>(4) > 0 => NodeState::Active,
            _ if seen_ago > GONE_AFTER => NodeState::Gone,
            _ => NodeState::Standby,
        };
        let lease_left = is_holder.then(|| span(row.get(4)));
        NodeStatus {
            name: escape_controls(row.get(0)),
            version: escape_controls(row.get(1)),
            state,
            seen_ago,
            lease_left,
        }
    });
    Ok(nodes.collect())
}
