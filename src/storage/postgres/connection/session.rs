//! One connection to the database: its settings, its prepared statements, and the ways to ask. Used from any thread, by one
//! at a time; the work is done on the thread of all connections.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Row, Socket, Statement};
use uuid::Uuid;

use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::runtime::Runtime;
use crate::storage::postgres::connection::url::{self, Target};
use crate::storage::postgres::tables::Part;

/// For a connection to one of the hosts, with TLS and login.
const CONNECT: Duration = Duration::from_secs(10);
/// For each answer. The database gives up a statement earlier.
const ANSWER: Duration = Duration::from_secs(30);

/// How soon a connection is closed after the server has said why, and how often that is looked at.
const ENDS_WITHIN: Duration = Duration::from_millis(500);
const ENDS_CHECK: Duration = Duration::from_millis(10);
/// The timeline that is written.
const TIMELINE: &str = "SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int8";

/// A value of a statement.
#[derive(Debug)]
pub(in crate::storage::postgres) enum Value {
    /// A number.
    Int(i64),
    /// 128 bits.
    Id(Uuid),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A column of numbers.
    Ints(Vec<i64>),
    /// A column of ids.
    Ids(Vec<Uuid>),
    /// A column of texts.
    Texts(Vec<String>),
    /// A column of bytes.
    Rows(Vec<Vec<u8>>),
}

impl From<&Part> for Value {
    fn from(part: &Part) -> Self {
        match part {
            Part::Int(number) => Self::Int(*number),
            Part::Id(id) => Self::Id(Uuid::from_u128(*id)),
            Part::Text(text) => Self::Text(text.clone()),
        }
    }
}

impl Value {
    fn as_sql(&self) -> &(dyn ToSql + Sync) {
        match self {
            Self::Int(value) => value,
            Self::Id(value) => value,
            Self::Text(value) => value,
            Self::Bytes(value) => value,
            Self::Ints(value) => value,
            Self::Ids(value) => value,
            Self::Texts(value) => value,
            Self::Rows(value) => value,
        }
    }
}

/// How many rows a statement has changed, some time.
type Answer<'a> = Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + Send + 'a>>;

/// A connection. It is closed when this is dropped, and an open transaction is rolled back.
pub(in crate::storage::postgres) struct Session {
    inner: Arc<Inner>,
    runtime: Runtime,
}

struct Inner {
    client: Client,
    statements: Mutex<HashMap<String, Statement>>,
    /// The server has said that it did not wait for its standby.
    gave_up_waiting: Arc<AtomicBool>,
    timeline: u64,
}

impl Session {
    /// Connects to that host of the target, if it takes writes.
    pub fn connect(runtime: &Runtime, host: &Config, target: &Target, schema: &str) -> Result<Self, Fault> {
        let (host, tls) = (host.clone(), target.tls.clone());
        let settings = settings(schema);
        let inner = runtime.run(CONNECT, async move {
            let gave_up_waiting = Arc::new(AtomicBool::new(false));
            let gave_up = Arc::clone(&gave_up_waiting);
            let client = if url::is_unix(&host) {
                keep(host.connect(NoTls).await?, gave_up)
            } else {
                keep(host.connect(tls).await?, gave_up)
            };
            client.batch_execute(&settings).await?;
            let row = client.query_one(TIMELINE, &[]).await?;
            let timeline = u64::try_from(row.get::<_, i64>(0)).unwrap_or_default();
            Ok(Arc::new(Inner { client, statements: Mutex::default(), gave_up_waiting, timeline }))
        })?;
        Ok(Self { inner, runtime: runtime.clone() })
    }

    /// The timeline that the server writes: it goes up when a standby takes over.
    pub fn timeline(&self) -> u64 {
        self.inner.timeline
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.inner.client.is_closed()
    }

    /// Whether the connection has ended, after an error: the last words of the server come before its end is noticed.
    pub fn has_ended(&self) -> bool {
        (0..ENDS_WITHIN.as_millis() / ENDS_CHECK.as_millis()).any(|_| {
            let is_closed = self.is_closed();
            if !is_closed {
                std::thread::sleep(ENDS_CHECK);
            }
            is_closed
        })
    }

    /// Whether that fault is one of the connection, so that another one may do.
    pub fn is_lost(&self, fault: &Fault) -> bool {
        let ended = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT];
        match fault {
            Fault::Late(_) | Fault::Closed(_) => true,
            Fault::Refused(code, _) => ended.contains(code),
            Fault::Behind(_) | Fault::Other(_) => self.has_ended(),
        }
    }

    /// Whether the server has said since the last time that a commit did not wait for its standby.
    pub fn gave_up_waiting(&self) -> bool {
        self.inner.gave_up_waiting.swap(false, Ordering::Relaxed)
    }

    /// The rows that a statement gives.
    pub fn query(&self, sql: String, values: Vec<Value>) -> Result<Vec<Row>, Fault> {
        let inner = Arc::clone(&self.inner);
        self.runtime.run(ANSWER, async move { inner.query(&sql, &values).await })
    }

    /// Executes statements without values or rows, in one message: all of them, unless one fails.
    pub fn execute(&self, sql: String) -> Result<(), Fault> {
        let inner = Arc::clone(&self.inner);
        self.runtime.run(ANSWER, async move { Ok(inner.client.batch_execute(&sql).await?) })
    }

    /// Begins a transaction, and gives the rows of its first statement.
    pub fn begin(&self, how: &'static str, sql: String, values: Vec<Value>) -> Result<Vec<Row>, Fault> {
        let inner = Arc::clone(&self.inner);
        self.runtime.run(ANSWER, async move {
            let statement = inner.prepared(&sql).await?;
            let values: Vec<_> = values.iter().map(Value::as_sql).collect();
            // Sent together.
            let (begun, rows) = tokio::join!(inner.client.batch_execute(how), inner.client.query(&statement, &values));
            begun?;
            Ok(rows?)
        })
    }

    /// Executes these and commits, all sent together. With an error, nothing is known to be committed.
    pub fn commit(&self, statements: Vec<(String, Vec<Value>)>) -> Result<(), Fault> {
        let inner = Arc::clone(&self.inner);
        self.runtime.run(ANSWER, async move {
            let mut prepared = Vec::with_capacity(statements.len());
            for (sql, _) in &statements {
                prepared.push(inner.prepared(sql).await?);
            }
            let mut answers: Vec<Answer<'_>> = Vec::with_capacity(statements.len());
            for (statement, (_, values)) in prepared.iter().zip(&statements) {
                let client = &inner.client;
                answers.push(Box::pin(async move {
                    let values: Vec<_> = values.iter().map(Value::as_sql).collect();
                    client.execute(statement, &values).await
                }));
            }
            let mut committed = Box::pin(inner.client.batch_execute("COMMIT"));
            // Each is sent when it is first polled, so all of them are before the first answer is awaited.
            let mut results: Vec<Option<Result<u64, tokio_postgres::Error>>> = answers.iter().map(|_| None).collect();
            let mut last = None;
            poll_fn(|context| {
                let mut is_ready = true;
                for (answer, result) in answers.iter_mut().zip(&mut results) {
                    if result.is_none() {
                        match answer.as_mut().poll(context) {
                            std::task::Poll::Ready(done) => *result = Some(done),
                            std::task::Poll::Pending => is_ready = false,
                        }
                    }
                }
                if last.is_none() {
                    match committed.as_mut().poll(context) {
                        std::task::Poll::Ready(done) => last = Some(done),
                        std::task::Poll::Pending => is_ready = false,
                    }
                }
                if is_ready { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
            // After a statement that failed, COMMIT rolls back and says that it went well.
            for result in results.into_iter().flatten() {
                result?;
            }
            last.unwrap_or(Ok(()))?;
            Ok(())
        })
    }

    /// Ends the transaction without a trace, some time, and then hands the connection to `next`, if it is still one.
    pub fn roll_back_and(self, next: impl FnOnce(Option<Self>) + Send + 'static) {
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            let ended = tokio::time::timeout(ANSWER, self.inner.client.batch_execute("ROLLBACK")).await;
            next(matches!(ended, Ok(Ok(()))).then_some(self));
        });
    }
}

impl Inner {
    async fn prepared(&self, sql: &str) -> Result<Statement, Fault> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    async fn query(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Fault> {
        let statement = self.prepared(sql).await?;
        let values: Vec<_> = values.iter().map(Value::as_sql).collect();
        Ok(self.client.query(&statement, &values).await?)
    }
}

/// Has the thread of all connections attend to this one until it ends.
fn keep<T>((client, mut connection): (Client, Connection<Socket, T>), gave_up: Arc<AtomicBool>) -> Client
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => hear(&notice, &gave_up),
                Ok(_) => {}
                Err(error) => {
                    log::debug!("a connection to PostgreSQL has ended: {}", Fault::from(error).words());
                    break;
                }
            }
        }
    });
    client
}

/// A commit that did not wait for its standby is made, and told by a warning alone.
fn hear(notice: &tokio_postgres::error::DbError, gave_up: &AtomicBool) {
    let is_wait = [SqlState::QUERY_CANCELED, SqlState::ADMIN_SHUTDOWN].contains(notice.code());
    if is_wait {
        gave_up.store(true, Ordering::Relaxed);
    }
    log::debug!("PostgreSQL says: {}", notice.message());
}

/// How each session is set. The planner may have seen a table when it was empty: without these it then reads all of it, or
/// sorts it, where an index leads straight to the rows.
fn settings(schema: &str) -> String {
    format!(
        "SET search_path = {schema}; SET client_min_messages = warning; SET statement_timeout = '20s'; \
         SET lock_timeout = '15s'; SET idle_in_transaction_session_timeout = '10s'; SET enable_seqscan = off; \
         SET enable_bitmapscan = off; SET enable_sort = off; SET enable_mergejoin = off; \
         SET plan_cache_mode = force_generic_plan; SET tcp_keepalives_idle = 5; SET tcp_user_timeout = 5000; \
         SET jit = off; \
         SELECT set_config('synchronous_commit', 'on', false) \
         WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )
}
