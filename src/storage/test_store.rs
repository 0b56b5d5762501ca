//! A store of its own for a test of this layer, and what is asked of it there.

use std::path::Path;
use std::time::Duration;

use tokio::sync::oneshot;

use super::command::{Command, ReplySender};
use super::error::Rejection;
use super::{Opened, RetentionRule, Rules, Store, StoreSettings};
use crate::clock::Clock;
use crate::domain::delivery::health::HealthRule;
use crate::domain::delivery::retry::RetryRule;
use crate::domain::endpoint::{Endpoint, EndpointPolicy};
use crate::domain::event::NewEvent;
use crate::domain::event::event_type::EventType;
use crate::domain::event::event_types::EventTypes;
use crate::domain::options::Options;
use crate::domain::signing::SigningSecret;
use crate::domain::signing_keys::SigningKeys;
use crate::domain::subscription::NewSubscription;
use crate::domain::{AccountId, EventId, SubscriptionId};
use crate::storage::write::writer::Listeners;

/// The account that the functions here work for.
pub const OWN: AccountId = AccountId(1);

/// Opens the store of a folder, which keeps what is settled for that long.
pub fn open(folder: &Path, keep: Duration) -> Store {
    let listeners = Listeners { committed: Box::new(|_, _| {}), failed: Box::new(|error| panic!("{error}")) };
    open_with(folder, keep, listeners)
}

/// The same with others to be told.
pub fn open_with(folder: &Path, keep: Duration, listeners: Listeners) -> Store {
    opened(folder, keep).start(listeners).unwrap()
}

/// The same before its writer runs.
pub fn opened(folder: &Path, keep: Duration) -> Opened {
    let rules = Rules {
        retry: RetryRule { waits: Vec::new(), retry_after_max: Duration::ZERO },
        health: HealthRule::new(Duration::MAX, Duration::ZERO),
        retention: RetentionRule { events: keep, idempotency: keep, attempts: keep, held: Duration::MAX },
        audit_kept: Duration::MAX,
        alerts: None,
        subscriptions_per_account: 10,
    };
    let settings = StoreSettings {
        data_dir: folder.into(),
        postgres: None,
        encryption_key_file: None,
        cache_bytes: 8 << 20,
        free_space_reserve_bytes: 0,
        rules,
    };
    Opened::open(&settings, Clock::start()).unwrap()
}

/// Asks the writer and waits for its answer.
pub fn ask<T>(store: &Store, command: impl FnOnce(ReplySender<T>) -> Command) -> T {
    let (reply, answer) = oneshot::channel::<Result<T, Rejection>>();
    store.writer.try_send(command(reply)).unwrap();
    answer.blocking_recv().unwrap().unwrap()
}

/// Creates a subscription to `clock_in`.
pub fn subscribe(store: &Store) -> SubscriptionId {
    let endpoint = Endpoint::parse("https://crm.example.com/hook", &EndpointPolicy::default()).unwrap();
    let events = EventTypes::from_stored(["clock_in"]).unwrap();
    let new =
        NewSubscription { endpoint, events, description: String::new(), active: true, options: Options::defaults() };
    let keys = SigningKeys::of(SigningSecret::from_random(&[1; 32]));
    ask(store, |reply| Command::CreateSubscription { account: OWN, new, keys, reply }).id
}

/// Publishes a `clock_in`.
pub fn publish(store: &Store) -> EventId {
    let event = NewEvent {
        event_type: EventType::ClockIn,
        is_opt_in: false,
        data: "{}".into(),
        occurred_at: None,
        tags: Vec::new(),
        worker: None,
        unfit: Vec::new(),
        idempotency: Vec::new(),
    };
    ask(store, |reply| Command::Publish { account: OWN, events: vec![event], reply })[0].id
}

/// Ends the writer, which closes the file.
pub fn close(store: Store) {
    let Store { writer, reader, thread } = store;
    drop((writer, reader));
    thread.join().unwrap();
}
