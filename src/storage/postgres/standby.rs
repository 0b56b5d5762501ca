//! A server on standby: it shows that it is there, and looks whether it may take over. Used by the thread that waits.

use std::path::Path;

use crate::domain::Timestamp;
use crate::storage::error::{OpenError, StorageError};
use crate::storage::nodes::ActiveServer;
use crate::storage::opened::PostgresSettings;
use crate::storage::postgres::connection::line::Line;
use crate::storage::postgres::connection::reach::explained;
use crate::storage::postgres::connection::runtime::Runtime;
use crate::storage::postgres::connection::url::Target;
use crate::storage::postgres::error::PostgresError;
use crate::storage::postgres::nodes::Node;
use crate::storage::postgres::owner::Held;
use crate::storage::postgres::relay::Asking;
use crate::storage::random::Randomness;
use crate::storage::sealing::Seal;

/// A server that waits for the lease of another one to end.
pub struct Standby {
    runtime: Runtime,
    target: Target,
    schema: String,
    node: Node,
    line: Line,
}

impl Standby {
    /// On standby for that schema from now on, although nobody has asked the database yet.
    pub fn new(settings: &PostgresSettings, key_file: Option<&Path>, now: Timestamp) -> Result<Self, OpenError> {
        let target = Target::read(&settings.url_file)?;
        let seal = Seal::from_file(key_file).map_err(OpenError::KeyFile)?;
        let failed = |reason: String| PostgresError::Failed { place: target.place.clone(), reason };
        let odd = |source: StorageError| failed(source.to_string());
        let token = Randomness::new().next_u128().map_err(odd)?;
        let runtime = Runtime::start().map_err(|error| failed(error.to_string()))?;
        let schema = settings.schema.clone();
        let node = Node::own(token, now, &seal).map_err(odd)?;
        let line = Line::to_newest(&runtime, &target, &schema);
        Ok(Self { runtime, target, schema, node, line })
    }

    /// What passes requests on to the active server.
    #[must_use]
    pub fn asking(&self) -> Asking {
        Asking::new(Line::to_newest(&self.runtime, &self.target, &self.schema), self.node.clone())
    }

    /// Whoever has the lease; none: it may be taken, most likely.
    pub fn look(&mut self) -> Result<Option<ActiveServer>, OpenError> {
        let (node, line) = (&self.node, &mut self.line);
        let held = line.ask(|session| {
            node.is_here(session)?;
            Held::read(session)
        });
        let held = held.map_err(|fault| explained(&fault, &self.target, &self.schema))?;
        Ok(held.in_use_by())
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        let node = &self.node;
        if let Err(fault) = self.line.ask(|session| node.leave(session)) {
            log::debug!("the row of this server stays for an hour: {}", fault.words());
        }
    }
}
