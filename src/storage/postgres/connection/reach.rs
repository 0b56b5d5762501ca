//! Reaches a database, and tells whether it can be used at all. Runs on the thread that opens a store or looks at it.

use tokio_postgres::error::SqlState;

use crate::domain::Timestamp;
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::pool::CONNECTIONS;
use crate::storage::postgres::connection::runtime::Runtime;
use crate::storage::postgres::connection::session::Session;
use crate::storage::postgres::connection::url::{self, Target};
use crate::storage::postgres::error::PostgresError;
use crate::storage::postgres::stored;

/// The oldest version that is known to do, as `server_version_num`.
const OLDEST: i64 = 150_000;
/// How far the clock of the database may be from this machine's.
const CLOCKS_APART_S: u64 = 15 * 60;
/// The connections of the writer, of the lease and of servers on standby beside those of the readers, and one for a command.
const OTHER_CONNECTIONS: usize = 4;

/// A connection to a database that can be used, and its version.
pub(in crate::storage::postgres) fn reach(
    runtime: &Runtime,
    target: &Target,
    schema: &str,
    now: Timestamp,
) -> Result<(Session, String), PostgresError> {
    let failed = |fault: Fault| explained(&fault, target, schema);
    let session = newest(runtime, target, schema).map_err(failed)?;
    let rows = session.query(
        "SELECT current_setting('server_version_num')::int8, current_setting('server_version'), \
         pg_is_in_recovery() OR current_setting('transaction_read_only')::bool, \
         (extract(epoch FROM clock_timestamp()) * 1000)::int8"
            .to_owned(),
        Vec::new(),
    );
    let rows = rows.map_err(failed)?;
    let Some(row) = rows.first() else { return Err(failed(Fault::Other("no answer".to_owned()))) };
    if row.get::<_, i64>(0) < OLDEST {
        return Err(PostgresError::TooOld(row.get(1)));
    }
    if row.get(2) {
        return Err(PostgresError::ReadOnly { place: target.place.clone() });
    }
    let theirs = stored::time(row.get(3));
    if theirs.since(now).max(now.since(theirs)).as_secs() > CLOCKS_APART_S {
        let (theirs, own) = (theirs.to_string(), now.to_string());
        return Err(PostgresError::Clock { theirs, own, limit_s: CLOCKS_APART_S });
    }
    let version = row.get(1);
    Ok((session, version))
}

/// What a host of several is.
#[derive(Debug)]
pub struct HostLook {
    /// Its name and port.
    pub name: String,
    /// What it does.
    pub role: HostRole,
}

/// What a host does.
#[derive(Debug, PartialEq, Eq)]
pub enum HostRole {
    /// It takes writes, of that timeline.
    TakesWrites(u64),
    /// It takes none, as a standby does.
    TakesNone,
    /// It does not answer, or refuses.
    Fails(String),
}

/// What each host is, if there are several.
pub(in crate::storage::postgres) fn look_at_hosts(runtime: &Runtime, target: &Target, schema: &str) -> Vec<HostLook> {
    let role = |host| match Session::connect(runtime, host, target, schema) {
        Ok(session) => HostRole::TakesWrites(session.timeline()),
        Err(fault) if takes_no_writes(&fault) => HostRole::TakesNone,
        Err(fault) => HostRole::Fails(fault.words()),
    };
    let hosts = target.hosts.iter().filter(|_| target.hosts.len() > 1);
    hosts.map(|host| HostLook { name: url::place(host), role: role(host) }).collect()
}

/// The client says so where it was to find a host that takes writes.
fn takes_no_writes(fault: &Fault) -> bool {
    fault.code().is_none() && fault.words().contains("does not allow writes")
}

/// A connection to the host that takes writes. If several do, the one that took over last: the others were the primary before
/// it, and came back as if nothing had happened.
pub(in crate::storage::postgres) fn newest(runtime: &Runtime, target: &Target, schema: &str) -> Result<Session, Fault> {
    let (mut newest, mut fault) = (None::<Session>, Fault::Other("the URL names no host".to_owned()));
    for host in &target.hosts {
        match Session::connect(runtime, host, target, schema) {
            Ok(session) => {
                let is_newer = newest.as_ref().is_none_or(|other| session.timeline() > other.timeline());
                if is_newer {
                    newest = Some(session);
                }
            }
            Err(found) => fault = found,
        }
    }
    newest.ok_or(fault)
}

/// What the database says, in words to act on.
pub(in crate::storage::postgres) fn explained(fault: &Fault, target: &Target, schema: &str) -> PostgresError {
    let (place, schema, reason) = (target.place.clone(), schema.to_owned(), fault.words());
    match fault.code() {
        Some(code) if [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION].contains(code) => {
            PostgresError::Login { place, reason }
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => PostgresError::NoDatabase { place, reason },
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            PostgresError::TooFewConnections { place, reason, needed: CONNECTIONS + OTHER_CONNECTIONS }
        }
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => PostgresError::Rights { schema, reason },
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => PostgresError::ReadOnly { place },
        Some(_) => PostgresError::Failed { place, reason },
        None if takes_no_writes(fault) => PostgresError::ReadOnly { place },
        None if reason.contains("TLS") || reason.contains("certificate") => PostgresError::Tls { place, reason },
        None if reason.contains("password") => PostgresError::Login { place, reason },
        None => PostgresError::Unreachable { place, reason },
    }
}
