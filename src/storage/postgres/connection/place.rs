//! Where the database is, and what this process knows of it: the timeline that it writes, and the last commit that was
//! acknowledged. A server that has less than that, because it was the primary before another one or took over without all
//! commits, is never written to or read from. Any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::storage::error::StorageError;
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::runtime::Runtime;
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::postgres::connection::url::Target;
use crate::storage::postgres::tables::{META, key};
use crate::storage::rows::codec;

/// The name of the row with the number of the last commit.
pub(in crate::storage::postgres) const COMMIT: &str = "commit";
/// The version of that row.
const VERSION: u8 = 1;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// A database that this process has opened.
pub(in crate::storage::postgres) struct Place {
    /// The thread of all connections.
    pub runtime: Runtime,
    /// Its hosts.
    pub target: Target,
    /// The schema.
    pub schema: String,
    timeline: AtomicU64,
    last_commit: AtomicU64,
}

impl Place {
    /// The database that this connection leads to. Of its commits nothing is known yet.
    pub fn new(runtime: Runtime, target: Target, schema: &str, session: &Session) -> Arc<Self> {
        let (schema, timeline) = (schema.to_owned(), AtomicU64::new(session.timeline()));
        Arc::new(Self { runtime, target, schema, timeline, last_commit: AtomicU64::new(0) })
    }

    /// Whether another server has taken over since that connection was made.
    pub fn has_moved_since(&self, session: &Session) -> bool {
        session.timeline() < self.timeline.load(Ordering::Acquire)
    }

    /// The number of the last commit that is known to be made.
    pub fn last_commit(&self) -> u64 {
        self.last_commit.load(Ordering::Acquire)
    }

    /// That commit is made.
    pub fn committed(&self, number: u64) {
        self.last_commit.store(number, Ordering::Release);
    }

    /// Remembers which commit was the last one, as a start finds it.
    pub fn resume(&self, session: &Session) -> Result<(), Fault> {
        self.committed(stored_commit(session)?);
        Ok(())
    }

    /// Connects to the first of the hosts that takes writes and has every commit that this process knows of.
    pub fn connect(&self) -> Result<Session, Fault> {
        let mut fault = Fault::Other("the URL names no host".to_owned());
        for host in &self.target.hosts {
            let tried = Session::connect(&self.runtime, host, &self.target, &self.schema);
            match tried.and_then(|session| self.check(&session).map(|()| session)) {
                Ok(session) => return Ok(session),
                // What one that lacks commits says matters more than that others are down.
                Err(_) if matches!(fault, Fault::Behind(_)) => {}
                Err(found) => fault = found,
            }
        }
        Err(fault)
    }

    /// Connects, trying again until that time.
    pub fn connect_until(&self, deadline: Instant) -> Result<Session, Fault> {
        loop {
            match self.connect() {
                // To wait gives no commit back.
                Err(fault) if !matches!(fault, Fault::Behind(_)) && Instant::now() + PAUSE < deadline => {
                    log::debug!("PostgreSQL cannot be reached, and is tried again: {}", fault.words());
                    std::thread::sleep(PAUSE);
                }
                tried => return tried,
            }
        }
    }

    fn check(&self, session: &Session) -> Result<(), Fault> {
        let timeline = session.timeline();
        let newest = self.timeline.fetch_max(timeline, Ordering::AcqRel);
        if timeline < newest {
            return Err(Fault::Other(format!(
                "a server that was the primary before another one took over still takes writes (timeline {timeline}, and \
                 {newest} is known)"
            )));
        }
        // Before the store is open there is nothing to compare with.
        let known = self.last_commit();
        let found = if known == 0 { known } else { stored_commit(session)? };
        if found < known {
            return Err(Fault::Behind(format!(
                "the server that took over has commits up to number {found}, and number {known} was acknowledged"
            )));
        }
        Ok(())
    }
}

/// The number of the last commit, as that connection sees it; 0 before the first.
pub(in crate::storage::postgres) fn stored_commit(session: &Session) -> Result<u64, Fault> {
    let rows = session.query(META.statements().get.clone(), vec![Value::Text(COMMIT.to_owned())])?;
    let Some(row) = rows.first() else { return Ok(0) };
    let row: Vec<u8> = row.get(0);
    let opened = META.open(&key![COMMIT], &row, || "the number of the last commit".to_owned());
    opened.and_then(|row| codec::decode(VERSION, row)).map_err(|error| Fault::Other(error.to_string()))
}

/// The row with that number.
pub(in crate::storage::postgres) fn commit_row(number: u64) -> Result<Vec<u8>, StorageError> {
    codec::encode(VERSION, &number)
}
