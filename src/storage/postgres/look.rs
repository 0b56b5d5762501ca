//! Looks at the database for `doctor`, without writing anything. Runs on a thread of its own.

use std::time::Instant;

use tokio_postgres::Row;

use crate::domain::Timestamp;
use crate::storage::error::OpenError;
use crate::storage::opened::PostgresSettings;
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::reach::{HostLook, explained, look_at_hosts, reach};
use crate::storage::postgres::connection::runtime::Runtime;
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::postgres::connection::url::Target;
use crate::storage::postgres::stored;

/// A database that can be reached.
#[derive(Debug)]
pub struct DatabaseLook {
    /// Its version.
    pub version: String,
    /// Its hosts and ports.
    pub place: String,
    /// What each of several hosts is.
    pub hosts: Vec<HostLook>,
    /// Whether the schema has a store.
    pub has_store: bool,
    /// How many tables of the schema the user may not read and write.
    pub closed_tables: u64,
    /// Whether what is committed is on the disk.
    pub is_synced: bool,
    /// Who commits wait for, as it is set; empty: nobody.
    pub synchronous_names: String,
    /// The standbys.
    pub standbys: StandbysLook,
    /// A replication slot that nobody reads, and the bytes of the log that are kept for it.
    pub unused_slot: Option<(String, u64)>,
    /// By how many seconds its clock is ahead of this machine's, or behind it.
    pub clock_ahead_s: i64,
    /// Connections that are left for this user.
    pub connections_left: i64,
    /// How long the oldest transaction of anybody has been open, in seconds: dead rows stay for it.
    pub oldest_transaction_s: u64,
    /// Whether dead rows are removed at all.
    pub has_autovacuum: bool,
    /// The table of the schema with the most dead rows: its name, how many, and how many live ones.
    pub dead_rows: Option<(String, u64, u64)>,
}

/// The standbys of a database.
#[derive(Debug, Default)]
pub struct StandbysLook {
    /// How many are connected.
    pub connected: u64,
    /// How many of them the user may not see more of.
    pub unseen: u64,
    /// How many commits wait for.
    pub synchronous: u64,
    /// How many bytes the last one lags behind.
    pub lag_bytes: u64,
}

const SETTINGS: &str = "SELECT to_regclass('store') IS NOT NULL, \
     current_setting('fsync')::bool AND current_setting('full_page_writes')::bool, \
     current_setting('autovacuum')::bool, current_setting('synchronous_standby_names'), \
     (SELECT coalesce(max(extract(epoch FROM now() - xact_start)), 0)::int8 FROM pg_stat_activity \
      WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()), \
     (extract(epoch FROM clock_timestamp()) * 1000)::int8";
const STANDBYS: &str = "SELECT count(*), count(*) FILTER (WHERE state IS NULL), \
     count(*) FILTER (WHERE state = 'streaming' AND sync_state IN ('sync', 'quorum')), \
     coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)), 0)::int8 FROM pg_stat_replication";
const SLOT: &str = "SELECT slot_name::text, coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::int8 \
     FROM pg_replication_slots WHERE NOT active ORDER BY 2 DESC LIMIT 1";
/// The least of what the server, the database and the user allow.
const CONNECTIONS: &str = "SELECT least( \
     current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8 - \
     (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
     (SELECT nullif(datconnlimit, -1)::int8 - (SELECT count(*) FROM pg_stat_activity a WHERE a.datname = d.datname) \
      FROM pg_database d WHERE d.datname = current_database()), \
     (SELECT nullif(rolconnlimit, -1)::int8 - (SELECT count(*) FROM pg_stat_activity a WHERE a.usename = r.rolname) \
      FROM pg_roles r WHERE r.rolname = current_user))";
const CLOSED: &str = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relkind = 'r' AND NOT (has_schema_privilege(n.oid, 'USAGE') \
     AND has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') \
     AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))";
const DEAD_ROWS: &str = "SELECT relname::text, n_dead_tup, n_live_tup FROM pg_stat_user_tables \
     WHERE schemaname = $1 ORDER BY n_dead_tup DESC LIMIT 1";

/// Looks at the database. `now` is the time of this machine.
pub fn look_at_database(settings: &PostgresSettings, now: Timestamp) -> Result<DatabaseLook, OpenError> {
    let begun = Instant::now();
    let target = Target::read(&settings.url_file)?;
    let failed = |fault: Fault| explained(&fault, &target, &settings.schema);
    let runtime = Runtime::start().map_err(|error| failed(Fault::Other(error.to_string())))?;
    let (session, version) = reach(&runtime, &target, &settings.schema, now)?;
    let hosts = look_at_hosts(&runtime, &target, &settings.schema);
    let schema = || vec![Value::Text(settings.schema.clone())];
    let seen = one(&session, SETTINGS, Vec::new()).map_err(failed)?;
    let clock = stored::time(seen.get(5));
    let own = now.plus(begun.elapsed());
    let standbys = one(&session, STANDBYS, Vec::new()).map_err(failed)?;
    let closed = one(&session, CLOSED, schema()).map_err(failed)?;
    let left = one(&session, CONNECTIONS, Vec::new()).map_err(failed)?;
    let slot = session.query(SLOT.to_owned(), Vec::new()).map_err(failed)?;
    let dead = session.query(DEAD_ROWS.to_owned(), schema()).map_err(failed)?;
    Ok(DatabaseLook {
        version,
        place: target.place.clone(),
        hosts,
        has_store: seen.get(0),
        closed_tables: number(&closed, 0),
        is_synced: seen.get(1),
        synchronous_names: seen.get(3),
        standbys: StandbysLook {
            connected: number(&standbys, 0),
            unseen: number(&standbys, 1),
            synchronous: number(&standbys, 2),
            lag_bytes: number(&standbys, 3),
        },
        unused_slot: slot.first().map(|row| (row.get(0), number(row, 1))),
        clock_ahead_s: seconds(clock.since(own)) - seconds(own.since(clock)),
        connections_left: left.get(0),
        oldest_transaction_s: number(&seen, 4),
        has_autovacuum: seen.get(2),
        dead_rows: dead.first().map(|row| (row.get(0), number(row, 1), number(row, 2))),
    })
}

fn one(session: &Session, sql: &str, values: Vec<Value>) -> Result<Row, Fault> {
    let rows = session.query(sql.to_owned(), values)?;
    rows.into_iter().next().ok_or_else(|| Fault::Other("no answer".to_owned()))
}

fn number(row: &Row, column: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(column)).unwrap_or_default()
}

fn seconds(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
