//! Looks at the database for `doctor`, without writing anything. Runs on a thread of its own.

use crate::domain::Timestamp;
use crate::storage::error::OpenError;
use crate::storage::opened::PostgresSettings;
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::reach::{explained, reach};
use crate::storage::postgres::connection::runtime::Runtime;
use crate::storage::postgres::connection::url::Target;

/// A database that can be used.
#[derive(Debug)]
pub struct DatabaseLook {
    /// Its version.
    pub version: String,
    /// Its hosts and ports.
    pub place: String,
    /// Whether the schema has a store.
    pub has_store: bool,
    /// Whether commits wait for a standby.
    pub has_synchronous_standby: bool,
    /// How long the oldest transaction of anybody has been open, in seconds: dead rows stay for it.
    pub oldest_transaction_s: u64,
}

/// Looks at the database.
pub fn look_at_database(settings: &PostgresSettings, now: Timestamp) -> Result<DatabaseLook, OpenError> {
    let target = Target::read(&settings.url_file)?;
    let failed = |fault: Fault| explained(&fault, &target, &settings.schema);
    let runtime = Runtime::start().map_err(|error| failed(Fault::Other(error.to_string())))?;
    let (session, version) = reach(&runtime, &target, &settings.schema, now)?;
    let rows = session.query(
        "SELECT current_setting('synchronous_standby_names') <> '', (SELECT coalesce(max(extract(epoch FROM now() - \
         xact_start)), 0)::int8 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), to_regclass('store') IS NOT NULL"
            .to_owned(),
        Vec::new(),
    );
    let rows = rows.map_err(failed)?;
    let row = rows.first().ok_or_else(|| failed(Fault::Other("no answer".to_owned())))?;
    let oldest: i64 = row.get(1);
    Ok(DatabaseLook {
        version,
        has_store: row.get(2),
        has_synchronous_standby: row.get(0),
        oldest_transaction_s: u64::try_from(oldest).unwrap_or_default(),
        place: target.place.clone(),
    })
}
