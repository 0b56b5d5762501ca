//! The schema: made at the first start, known by its `store` row, and brought to the present format under a lock on that row.
//! Nothing is written where something else is found. Runs on the thread that opens a store.

use uuid::Uuid;

use crate::storage::copy::rows::StoreIdentity;
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::postgres::error::PostgresError;
use crate::storage::postgres::relay;
use crate::storage::postgres::tables::ALL;

/// The version of the tables. A schema with a newer one is refused.
const FORMAT: i64 = 1;
/// What the `store` row says of whose it is.
const PRODUCT: &str = "tempclock-webhooks";

/// What it says of a copy that is not finished.
const UNFINISHED: &str = "tempclock-webhooks, unfinished copy";
/// Ends a copy: from then on it is a store.
pub(super) const END_OF_COPY: &str = "UPDATE store SET product = 'tempclock-webhooks'";

/// What is known of a schema before it is used.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    /// The check number of the key that secrets are sealed with.
    pub sealed_with: Option<u128>,
}

/// What is there.
enum Found {
    Nothing,
    EmptySchema,
    Store {
        format: i64,
        identity: Identity,
    },
    /// A copy that was begun.
    Unfinished {
        format: i64,
    },
}

/// The identity of the schema, which is made if there is none.
pub(super) fn open_or_create(session: &Session, schema: &str, store_id: u128) -> Result<Identity, Refusal> {
    let has_schema = match find(session, schema)? {
        Found::Store { format, identity } => return check(schema, format).map(|()| identity),
        Found::Unfinished { .. } => return Err(PostgresError::Unfinished { schema: schema.to_owned() }.into()),
        Found::EmptySchema => true,
        Found::Nothing => false,
    };
    match session.execute(creation(schema, has_schema, (PRODUCT, store_id))) {
        Ok(()) => log::info!("schema {schema} was made"),
        // Two that begin at the same time: the other one has made it, or there is another reason.
        Err(fault) => match find(session, schema)? {
            Found::Store { format, identity } => return check(schema, format).map(|()| identity),
            _ => return Err(fault.into()),
        },
    }
    Ok(Identity::default())
}

/// Makes the tables for a copy, unless a copy was begun there. Whether it may go on: not if there is a store.
pub(super) fn begin_copy(session: &Session, schema: &str, identity: StoreIdentity) -> Result<bool, Refusal> {
    let has_schema = match find(session, schema)? {
        Found::Store { .. } => return Ok(false),
        Found::Unfinished { format } => return check(schema, format).map(|()| true),
        Found::EmptySchema => true,
        Found::Nothing => false,
    };
    session.execute(creation(schema, has_schema, (UNFINISHED, identity.store_id)))?;
    Ok(true)
}

/// Empties the tables of a copy that was begun, and notes which store it becomes.
pub(super) fn empty(identity: StoreIdentity) -> String {
    let names: Vec<_> = ALL.iter().map(|table| table.name).collect();
    let id = |number: u128| format!("'{}'", Uuid::from_u128(number).as_hyphenated());
    let sealed_with = identity.sealed_with.map_or("NULL".to_owned(), id);
    format!(
        "TRUNCATE {}; UPDATE store SET store_id = {}, sealed_with = {sealed_with}",
        names.join(", "),
        id(identity.store_id)
    )
}

fn check(schema: &str, format: i64) -> Result<(), Refusal> {
    if format == FORMAT {
        return Ok(());
    }
    // There is none before the first.
    let schema = schema.to_owned();
    Err(PostgresError::Newer { schema, found: format, known: FORMAT }.into())
}

fn find(session: &Session, schema: &str) -> Result<Found, Refusal> {
    let schemas = session
        .query("SELECT 1 FROM pg_namespace WHERE nspname = $1".to_owned(), vec![Value::Text(schema.to_owned())])?;
    if schemas.is_empty() {
        return Ok(Found::Nothing);
    }
    let tables = session.query(
        "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'v', 'p', 'f', 'm', 'S') LIMIT 1000"
            .to_owned(),
        vec![Value::Text(schema.to_owned())],
    )?;
    let names: Vec<String> = tables.iter().map(|row| row.get(0)).collect();
    let Some(first) = names.iter().min() else { return Ok(Found::EmptySchema) };
    let not_ours = |found: String| PostgresError::NotOurs { schema: schema.to_owned(), found };
    if !names.iter().any(|name| name == "store") {
        return Err(not_ours(format!("it has a table {first}, and none called store")).into());
    }
    let row = session.query("SELECT product, format, sealed_with FROM store".to_owned(), Vec::new());
    let row = match row {
        Err(Fault::Refused(code, words)) if code.code() == "42703" => return Err(not_ours(words).into()),
        row => row?,
    };
    match row.first() {
        Some(row) if row.get::<_, &str>(0) == PRODUCT => {
            let sealed_with = row.get::<_, Option<Uuid>>(2).map(|check| check.as_u128());
            Ok(Found::Store { format: row.get(1), identity: Identity { sealed_with } })
        }
        Some(row) if row.get::<_, &str>(0) == UNFINISHED => Ok(Found::Unfinished { format: row.get(1) }),
        _ => Err(not_ours("its table store is of something else".to_owned()).into()),
    }
}

/// All or nothing: PostgreSQL takes several statements in one message as one transaction.
fn creation(schema: &str, has_schema: bool, (product, store_id): (&str, u128)) -> String {
    let mut statements = Vec::new();
    if !has_schema {
        statements.push(format!("CREATE SCHEMA {schema}"));
    }
    statements.push(
        "CREATE TABLE store (one bool PRIMARY KEY CHECK (one), product text NOT NULL, format int8 NOT NULL, \
         store_id uuid NOT NULL, sealed_with uuid)"
            .to_owned(),
    );
    statements.push(format!(
        "INSERT INTO store VALUES (true, '{product}', {FORMAT}, '{}', NULL)",
        Uuid::from_u128(store_id).as_hyphenated()
    ));
    let lease = "node uuid NOT NULL, holder text NOT NULL, expires_at timestamptz NOT NULL, ";
    for (table, columns, first) in [("owner", "", ""), ("lease", lease, ", gen_random_uuid(), '', now()")] {
        statements.push(format!(
            "CREATE TABLE {table} (one bool NOT NULL, epoch int8 NOT NULL, {columns}CHECK (one), PRIMARY KEY (one)) \
             WITH (fillfactor = 20)"
        ));
        statements.push(format!("INSERT INTO {table} VALUES (true, 1{first})"));
    }
    statements.push(
        "CREATE TABLE nodes (node uuid PRIMARY KEY, name text NOT NULL, version text NOT NULL, \
         seen_at timestamptz NOT NULL, public_key bytea NOT NULL) WITH (fillfactor = 20)"
            .to_owned(),
    );
    statements.push(relay::DEFINITION.to_owned());
    statements.extend(ALL.iter().map(|table| table.definition()));
    statements.join("; ")
}

/// Why a schema is not used.
pub(super) enum Refusal {
    /// It is not ours, or not for this version.
    Refused(PostgresError),
    /// The database refuses, or does not answer.
    Failed(Fault),
}

impl From<PostgresError> for Refusal {
    fn from(error: PostgresError) -> Self {
        Self::Refused(error)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}
