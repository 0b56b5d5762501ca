//! A server on standby: it shows that it is there, and looks whether it may take over. Used by the thread that waits.

use crate::domain::Timestamp;
use crate::storage::error::{OpenError, StorageError};
use crate::storage::opened::PostgresSettings;
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::reach::{explained, newest};
use crate::storage::postgres::connection::runtime::Runtime;
use crate::storage::postgres::connection::session::Session;
use crate::storage::postgres::connection::url::Target;
use crate::storage::postgres::error::PostgresError;
use crate::storage::postgres::nodes::Node;
use crate::storage::postgres::owner::Held;
use crate::storage::random::Randomness;

/// A server that waits for the lease of another one to end.
pub struct Standby {
    runtime: Runtime,
    target: Target,
    schema: String,
    node: Node,
    session: Option<Session>,
}

impl Standby {
    /// On standby for that schema from now on, although nobody has asked the database yet.
    pub fn new(settings: &PostgresSettings, now: Timestamp) -> Result<Self, OpenError> {
        let target = Target::read(&settings.url_file)?;
        let failed = |reason: String| PostgresError::Failed { place: target.place.clone(), reason };
        let odd = |source: StorageError| failed(source.to_string());
        let token = Randomness::new().next_u128().map_err(odd)?;
        let runtime = Runtime::start().map_err(|error| failed(error.to_string()))?;
        let schema = settings.schema.clone();
        Ok(Self { runtime, target, schema, node: Node::own(token, now), session: None })
    }

    /// Whoever has the lease; none: it may be taken, most likely.
    pub fn look(&mut self) -> Result<Option<String>, OpenError> {
        let looked = self.ask();
        looked.map_err(|fault| explained(&fault, &self.target, &self.schema).into())
    }

    fn ask(&mut self) -> Result<Option<String>, Fault> {
        let connect = || newest(&self.runtime, &self.target, &self.schema);
        let session = self.session.take().filter(|session| !session.is_closed()).map_or_else(connect, Ok)?;
        self.node.is_here(&session)?;
        let held = Held::read(&session)?;
        self.session = Some(session);
        Ok(held.in_use_by().map(str::to_owned))
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else { return };
        if let Err(fault) = self.node.leave(&session) {
            log::debug!("the row of this server stays for an hour: {}", fault.words());
        }
    }
}
