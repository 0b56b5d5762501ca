//! Opens a store in PostgreSQL: reaches the database, sees whether it can be used, makes or knows its schema, takes it, and
//! reads what a server has in memory. Runs on the main thread, before any other thread uses the store.

use std::collections::{BTreeMap, HashMap};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::clock::Clock;
use crate::domain::access::SessionId;
use crate::domain::alert::{AlertKind, Told};
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, EventId, KeyId, SubscriptionId, Timestamp};
use crate::storage::engine::{Engine as _, Front, Pending, View as _};
use crate::storage::error::{OpenError, StorageError};
use crate::storage::opened::{Loaded, Opened, PostgresSettings, StoreSettings};
use crate::storage::postgres::connection::fault::Fault;
use crate::storage::postgres::connection::line::Line;
use crate::storage::postgres::connection::place::Place;
use crate::storage::postgres::connection::pool::Pool;
use crate::storage::postgres::connection::reach::{explained, reach};
use crate::storage::postgres::connection::runtime::Runtime;
use crate::storage::postgres::connection::session::{Session, Value};
use crate::storage::postgres::connection::url::Target;
use crate::storage::postgres::counts::{self, front};
use crate::storage::postgres::engine::PostgresEngine;
use crate::storage::postgres::error::PostgresError;
use crate::storage::postgres::nodes::Node;
use crate::storage::postgres::owner::{Claiming, Owner};
use crate::storage::postgres::rows::{Rows, Walk};
use crate::storage::postgres::schema::{self, Identity, Refusal};
use crate::storage::postgres::stored::{
    self, GATHERED, UNATTEMPTED, VERSION, WAITING, due_in, event_in, events_between, outbox_row,
};
use crate::storage::postgres::tables::{
    ACCOUNTS, EVENTS, FRONTS, KEYS, ORDERS, OUTBOX, Order, Part, SESSIONS, SUBSCRIPTIONS, Span, TOLD, key,
};
use crate::storage::postgres::view::PostgresView;
use crate::storage::random::Randomness;
use crate::storage::read::registry::Registry;
use crate::storage::rows::subscription_record::{self, SubscriptionRow};
use crate::storage::rows::{codec, digest, key_record, session_record};
use crate::storage::sealing::Seal;
use crate::storage::store_engine::StoreEngine;

type Result<T> = std::result::Result<T, OpenError>;
type Read<T> = std::result::Result<T, StorageError>;

/// Opens the store in that schema, or creates it if there never was one. Encrypts secrets that are not encrypted yet; with
/// `as_it_is` it fails if it had to.
pub(in crate::storage) fn open(
    settings: &StoreSettings,
    database: &PostgresSettings,
    clock: Clock,
    as_it_is: bool,
) -> Result<Opened> {
    let seal = Seal::from_file(settings.encryption_key_file.as_deref());
    let target = Target::read(&database.url_file)?;
    let schema = database.schema.as_str();
    let failed = |fault: Fault| OpenError::from(explained(&fault, &target, schema));
    let odd = |source: StorageError| PostgresError::Failed { place: target.place.clone(), reason: source.to_string() };
    create_folder(&settings.data_dir)?;
    let runtime = Runtime::start().map_err(|error| failed(Fault::Other(error.to_string())))?;
    let (session, _) = reach(&runtime, &target, schema, clock.wall())?;
    // Before anything is written: what lacks is noticed here.
    let place = Place::new(runtime, target.clone(), schema, &session);
    let pool = Pool::connect(&place).map_err(failed)?;
    let mut random = Randomness::new();
    let store_id = random.next_u128().map_err(odd)?;
    let identity =
        schema::open_or_create(&session, schema, store_id).map_err(|refusal| refused(refusal, &target, schema))?;
    let shown = PathBuf::from(format!("schema {schema}"));
    let seal = match (seal, identity.sealed_with) {
        (Ok(seal), _) => seal,
        (Err(cause), Some(_)) => return Err(OpenError::KeyLost { path: shown, cause }),
        (Err(cause), None) => return Err(OpenError::KeyFile(cause)),
    };
    let is_to_seal = check_key(&identity, &seal, &shown)?;
    let line = Line::to(&place);
    let token = random.next_u128().map_err(odd)?;
    // A command is no server.
    let node = (!as_it_is).then(|| Node::own(token, clock.wall(), &seal)).transpose().map_err(odd)?;
    let owner = Owner::claim(&session, schema, (token, clock.wall(), node.clone()), line);
    let owner = owner.map_err(|error| match error {
        Claiming::Refused(error) => OpenError::from(error),
        Claiming::Failed(fault) => failed(fault),
    })?;
    let view = PostgresView::new(pool.clone());
    if is_to_seal {
        if as_it_is && has_subscriptions(&view).map_err(odd)? {
            let reason = "has signing secrets that the next start of the server encrypts".to_owned();
            return Err(PostgresError::NotYet { schema: schema.to_owned(), reason }.into());
        }
        encrypt(&session, &view, &seal)
            .map_err(|error| OpenError::NotSealed { path: shown, reason: error.to_string() })?;
    }
    drop(view);
    place.resume(&session).map_err(failed)?;
    let loaded = {
        // A snapshot from after the claim: nobody else writes any more.
        let view = PostgresView::new(pool.clone());
        load(&view, &seal).map_err(odd)?
    };
    let engine = PostgresEngine::new((session, pool, owner, node), place, seal, settings.cache_bytes);
    engine.check_owner().map_err(odd)?;
    Ok(Opened::of(StoreEngine::Postgres(Box::new(engine)), loaded, settings, clock, random).map_err(odd)?)
}

/// The folder has the control socket.
fn create_folder(folder: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| OpenError::Folder { path: folder.to_owned(), source })
}

fn refused(refusal: Refusal, target: &Target, schema: &str) -> OpenError {
    match refusal {
        Refusal::Refused(error) => error.into(),
        Refusal::Failed(fault) => explained(&fault, target, schema).into(),
    }
}

/// Whether secrets have to be encrypted first.
fn check_key(identity: &Identity, seal: &Seal, shown: &Path) -> Result<bool> {
    match (identity.sealed_with, seal.check()) {
        (None, key) => Ok(key.is_some()),
        (Some(_), None) => Err(OpenError::KeyNeeded { path: shown.to_owned() }),
        (Some(stored), Some(own)) if stored == own => Ok(false),
        (Some(_), Some(_)) => Err(OpenError::WrongKey { path: shown.to_owned() }),
    }
}

fn has_subscriptions(rows: &dyn Rows) -> Read<bool> {
    Ok(!rows.scan(&SUBSCRIPTIONS, &SUBSCRIPTIONS.all(), Order::Rising, 1)?.is_empty())
}

/// Encrypts all secrets and notes the key, in one transaction. What was stored before stays in dead rows and in the log of
/// the database until those are used again.
fn encrypt(session: &Session, rows: &dyn Rows, seal: &Seal) -> Read<()> {
    let mut statements = Vec::new();
    for subscription in subscriptions(rows, &Seal::NONE)? {
        let at = key![subscription.id.0];
        let row = SUBSCRIPTIONS.seal(&at, subscription_record::encode(&subscription, seal)?);
        let values = vec![Value::Ints(vec![subscription.id.0.into()]), Value::Rows(vec![row])];
        statements.push((SUBSCRIPTIONS.statements().put.clone(), values));
    }
    let check = seal.check().map(Uuid::from_u128).unwrap_or_default();
    statements.push(("UPDATE store SET sealed_with = $1".to_owned(), vec![Value::Id(check)]));
    session.execute("BEGIN".to_owned())?;
    Ok(session.commit(statements)?)
}

fn subscriptions(rows: &dyn Rows, seal: &Seal) -> Read<Vec<Subscription>> {
    let walk = Walk::over(rows, &SUBSCRIPTIONS, SUBSCRIPTIONS.all(), Order::Rising);
    walk.map(|row| {
        let (at, row) = row?;
        let id = SubscriptionId(at.first().map(Part::number).unwrap_or_default());
        let row = SUBSCRIPTIONS.open(&at, &row, digest::named("subscription", id))?;
        SubscriptionRow::decode(row)?.open(id, seal)
    })
    .collect()
}

fn load(view: &PostgresView, seal: &Seal) -> Read<Loaded> {
    let rows: &dyn Rows = view;
    let mut registry = Registry::default();
    for row in Walk::over(rows, &ACCOUNTS, ACCOUNTS.all(), Order::Rising) {
        let (at, row) = row?;
        let id = AccountId(at.first().map(Part::number).unwrap_or_default());
        let name = ACCOUNTS.open(&at, &row, digest::named("account", id))?;
        registry.put_account(id, &String::from_utf8_lossy(name));
    }
    for row in Walk::over(rows, &KEYS, KEYS.all(), Order::Rising) {
        let (at, row) = row?;
        let id = KeyId(at.first().map(Part::number).unwrap_or_default());
        registry.put_key(key_record::decode(id, KEYS.open(&at, &row, digest::named("key", id))?)?);
    }
    for row in Walk::over(rows, &SESSIONS, SESSIONS.all(), Order::Rising) {
        let (at, row) = row?;
        let id = SessionId(at.first().map(Part::id).unwrap_or_default());
        let opened = SESSIONS.open(&at, &row, digest::named("session", "of the dashboard"));
        // Whoever a damaged one belongs to signs in again.
        match opened.and_then(|row| session_record::decode(id, row)) {
            Ok(session) => registry.put_session(session),
            Err(error) => log::error!("a session of the dashboard is left out: {error}"),
        }
    }
    for subscription in subscriptions(rows, seal)? {
        registry.put_subscription(subscription);
    }
    let (mut histories, mut gathered) = (HashMap::new(), BTreeMap::new());
    for subscription in registry.subscriptions() {
        let id = subscription.id;
        histories.extend(stored::history(rows, id)?.map(|history| (id, history)));
        let span = Span::of(key![id.0, GATHERED, 0_u128], key![id.0, GATHERED, u128::MAX]).behind();
        let events = Walk::over(rows, &ORDERS, span, Order::Rising).map(|row| Ok(event_in(&row?.0)));
        let events: Vec<EventId> = events.collect::<Read<_>>()?;
        if !events.is_empty() {
            gathered.insert(id, events);
        }
    }
    let last_event = last_event(rows, &registry)?;
    Ok(Loaded {
        histories,
        gathered,
        pending: counts::pending(rows)?.map_or_else(|| pending(rows), Ok)?,
        last_event,
        seen: stored::seen(rows, last_event)?,
        fronts: fronts(rows)?,
        notices: view.notices()?,
        told: told(rows)?,
        registry,
    })
}

/// Number of pending deliveries. Reads every row; one that is damaged counts by its key.
fn pending(rows: &dyn Rows) -> Read<Pending> {
    let mut pending = Pending::default();
    for row in Walk::over(rows, &OUTBOX, OUTBOX.all(), Order::Rising) {
        let (at, row) = row?;
        let row = outbox_row(&at, &row);
        match due_in(&at) {
            _ if row.is_batch() => {}
            UNATTEMPTED => pending.unattempted += 1,
            WAITING if !row.has_outcome => pending.unattempted += 1,
            _ => pending.retrying += 1,
        }
    }
    Ok(pending)
}

/// The greatest event id of any account, so that ids keep growing even if the clock was set back meanwhile.
fn last_event(rows: &dyn Rows, registry: &Registry) -> Read<Option<EventId>> {
    let mut last = None;
    for account in registry.accounts() {
        let span = events_between(account, 0, u128::MAX);
        let newest = rows.scan(&EVENTS, &span, Order::Falling, 1)?;
        last = last.max(newest.first().map(|(at, _)| event_in(at)));
    }
    Ok(last)
}

fn fronts(rows: &dyn Rows) -> Read<BTreeMap<AccountId, Front>> {
    let walk = Walk::over(rows, &FRONTS, FRONTS.all(), Order::Rising);
    walk.map(|row| {
        let (at, row) = row?;
        let account = AccountId(at.first().map(Part::number).unwrap_or_default());
        // Without it all is passed once more, which removes nothing that may not be removed.
        let front = front(account, &row).inspect_err(|error| log::error!("{error}")).unwrap_or_default();
        Ok((account, front))
    })
    .collect()
}

fn told(rows: &dyn Rows) -> Read<Vec<((AlertKind, String), Told)>> {
    let mut found = Vec::new();
    for row in Walk::over(rows, &TOLD, TOLD.all(), Order::Rising) {
        let (at, row) = row?;
        let Some(Part::Text(subject)) = at.first() else { continue };
        let row = TOLD.open(&at, &row, digest::named("what was told", subject))?;
        let (at, is_open): (u64, bool) = codec::decode(VERSION, row)?;
        let parts = subject.split_once(' ').and_then(|(kind, of)| Some((AlertKind::from_name(kind)?, of.to_owned())));
        found.extend(parts.map(|key| (key, Told { at: Timestamp::from_ms(at), is_open })));
    }
    Ok(found)
}
