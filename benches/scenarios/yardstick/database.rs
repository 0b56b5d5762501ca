//! The yardstick's store in PostgreSQL: each commit is one pipeline of a statement a table.

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use crate::Result;

/// What one commit stores and removes.
#[derive(Default)]
pub struct Rows {
    /// Events.
    pub events: (Vec<i64>, Vec<Vec<u8>>),
    /// What is pending: endpoint, event, row.
    pub outbox: (Vec<i64>, Vec<i64>, Vec<Vec<u8>>),
    /// What is not any more, and came of it: endpoint, event, row.
    pub attempts: (Vec<i64>, Vec<i64>, Vec<Vec<u8>>),
}

/// A connection.
pub struct Database {
    runtime: Runtime,
    client: Client,
    events: Statement,
    outbox: Statement,
    removed: Statement,
    attempts: Statement,
}

/// The planner has seen empty tables: without these it reads all of one where an index leads straight to the rows.
const SETTINGS: &str = "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; \
     SET enable_mergejoin = off; SET plan_cache_mode = force_generic_plan; SET jit = off";
const TABLES: &str = "DROP SCHEMA IF EXISTS yardstick CASCADE; CREATE SCHEMA yardstick; SET search_path = yardstick; \
     CREATE TABLE events (id int8 PRIMARY KEY, row bytea NOT NULL); \
     CREATE TABLE outbox (endpoint int8, id int8, row bytea NOT NULL, PRIMARY KEY (endpoint, id)); \
     CREATE TABLE attempts (id int8, endpoint int8, row bytea NOT NULL, PRIMARY KEY (id, endpoint))";

impl Database {
    /// Makes the tables.
    pub fn open(url: &str) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls))?;
        runtime.spawn(async move {
            if let Err(error) = connection.await {
                eprintln!("yardstick: {error}");
            }
        });
        let (events, outbox, removed, attempts) = runtime.block_on(async {
            client.batch_execute(&format!("{TABLES}; {SETTINGS}")).await?;
            tokio::try_join!(
                client.prepare("INSERT INTO events SELECT * FROM unnest($1::int8[], $2::bytea[])"),
                client.prepare("INSERT INTO outbox SELECT * FROM unnest($1::int8[], $2::int8[], $3::bytea[])"),
                client.prepare(
                    "DELETE FROM outbox WHERE ctid = ANY(ARRAY(SELECT f.place FROM unnest($1::int8[], $2::int8[]) \
                     AS k(endpoint, id) CROSS JOIN LATERAL (SELECT o.ctid AS place FROM outbox o \
                     WHERE o.endpoint = k.endpoint AND o.id = k.id LIMIT 1) f))"
                ),
                client.prepare("INSERT INTO attempts SELECT * FROM unnest($2::int8[], $1::int8[], $3::bytea[])"),
            )
        })?;
        Ok(Self { runtime, client, events, outbox, removed, attempts })
    }

    /// Returns when everything is durable.
    pub fn commit(&self, rows: &Rows) -> Result<()> {
        let client = &self.client;
        let events: [&(dyn ToSql + Sync); 2] = [&rows.events.0, &rows.events.1];
        let outbox: [&(dyn ToSql + Sync); 3] = [&rows.outbox.0, &rows.outbox.1, &rows.outbox.2];
        let attempts: [&(dyn ToSql + Sync); 3] = [&rows.attempts.0, &rows.attempts.1, &rows.attempts.2];
        let [endpoints, ids, _] = attempts;
        let removed = [endpoints, ids];
        self.runtime.block_on(async {
            // Sent together.
            let (begun, events, outbox, removed, attempts, committed) = tokio::join!(
                client.batch_execute("BEGIN"),
                client.execute(&self.events, &events),
                client.execute(&self.outbox, &outbox),
                client.execute(&self.removed, &removed),
                client.execute(&self.attempts, &attempts),
                client.batch_execute("COMMIT"),
            );
            begun?;
            for done in [events, outbox, removed, attempts] {
                done?;
            }
            Ok(committed?)
        })
    }
}
