//! A process as it dies and comes again: the real store, writer and dispatcher on a simulated disk, and what its threads
//! have in hand.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redb::Database;
use tempclock_webhooks::clock::Clock;
use tempclock_webhooks::delivery::Dispatcher;
use tempclock_webhooks::delivery::dispatcher::{Finished, PageRead};
use tempclock_webhooks::delivery::schedule::PageWanted;
use tempclock_webhooks::delivery::schedule::job::FinishedJob;
use tempclock_webhooks::domain::delivery::health::HealthRule;
use tempclock_webhooks::domain::delivery::outcome::Outcome;
use tempclock_webhooks::domain::delivery::retry::RetryRule;
use tempclock_webhooks::domain::{DeliveryId, Timestamp};
use tempclock_webhooks::storage::command::Committed;
use tempclock_webhooks::storage::error::StorageError;
use tempclock_webhooks::storage::read::reader::Reader;
use tempclock_webhooks::storage::write::queue::WriterHandle;
use tempclock_webhooks::storage::write::writer::{Listeners, Writer};
use tempclock_webhooks::storage::{Opened, Randomness, RetentionRule, Rules, StoreSettings};

use super::dice::Dice;
use super::disk::{Backend, Change};
use super::endpoints::Endpoints;

/// What a simulation does wrong on purpose, to prove that it would be noticed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sabotage {
    /// A thread takes a retry and forgets it.
    DropRetries,
    /// The disk says it has synced and has not.
    LieAboutSyncs,
    /// The commit of an attempt is told before it has happened, as if claims ended with the attempt.
    EndClaimsEarly,
}

/// After how many more syncs a disk fails.
pub type Fuse = Arc<Mutex<Option<usize>>>;

/// An attempt on its way.
pub struct Running {
    /// The delivery, or the batch.
    pub delivery: DeliveryId,
    /// The deliveries in the batch; of a delivery none.
    pub members: Vec<DeliveryId>,
    pub job: FinishedJob,
    pub number: u32,
    pub outcome: Outcome,
    pub took: Duration,
    pub ends_at: Timestamp,
}

/// What dies with the process.
pub struct Process {
    pub writer: WriterHandle,
    pub reader: Reader,
    pub thread: Writer,
    pub dispatcher: Arc<Dispatcher>,
    pub committed: Arc<Mutex<Vec<Committed>>>,
    pub page: Option<(PageWanted, Option<Result<PageRead, StorageError>>)>,
    pub running: Vec<Running>,
    pub ended: Vec<(DeliveryId, Finished)>,
    pub claims: BTreeSet<DeliveryId>,
    pub endpoints: Endpoints,
    pub backend: Backend,
}

pub fn failed(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// How the store of a run is set.
pub fn draw_settings(dice: &mut Dice) -> StoreSettings {
    let waits: Vec<_> = (0..dice.below(5)).map(|_| Duration::from_secs(dice.pick(&[1, 5, 60, 3600]))).collect();
    let keep = |dice: &mut Dice| Duration::from_hours(dice.pick(&[1, 24, 1000]));
    let rules = Rules {
        retry: RetryRule { waits, retry_after_max: Duration::from_hours(2) },
        health: HealthRule::new(Duration::from_hours(dice.pick(&[1, 120])), Duration::from_hours(3)),
        retention: RetentionRule {
            events: keep(dice),
            idempotency: Duration::MAX,
            attempts: keep(dice),
            held: keep(dice),
        },
        audit_kept: Duration::MAX,
        alerts: None,
        subscriptions_per_account: 8,
    };
    StoreSettings {
        data_dir: std::env::temp_dir(),
        postgres: None,
        encryption_key_file: None,
        cache_bytes: 4 << 20,
        free_space_reserve_bytes: 0,
        rules,
    }
}

/// A disk that fails when its fuse is burnt down.
pub fn disk(bytes: Vec<u8>, sabotage: Option<Sabotage>, fuse: &Fuse) -> Backend {
    let fuse = Arc::clone(fuse);
    let at_sync = move |_: &[u8], _: &[Change]| match &mut *fuse.lock().unwrap() {
        Some(0) => Err(io::Error::other("the disk has failed")),
        Some(left) => {
            *left -= 1;
            Ok(true)
        }
        None => Ok(sabotage != Some(Sabotage::LieAboutSyncs)),
    };
    Backend::new(bytes, Box::new(at_sync))
}

/// Starts the server on that disk.
pub fn start(
    backend: Backend,
    settings: &StoreSettings,
    clock: Clock,
    dice: &mut Dice,
    (threads, per_endpoint): (usize, usize),
) -> Result<Process, String> {
    let db = Database::builder().set_cache_size(settings.cache_bytes).create_with_backend(backend.clone());
    let random = Randomness::from_seed(dice.next());
    let opened = Opened::on(db.map_err(failed)?, settings, clock, random).map_err(failed)?;
    let reader = opened.reader();
    let committed = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&committed);
    let listeners =
        Listeners { committed: Box::new(move |done, _| told.lock().unwrap().push(done)), failed: Box::new(|_| {}) };
    let (writer, thread) = opened.writer(listeners).map_err(failed)?;
    let dispatcher = Dispatcher::new(threads, per_endpoint, clock);
    dispatcher.resume(&reader).map_err(failed)?;
    let endpoints = Endpoints::at_start(&reader, threads, per_endpoint);
    let (page, running, ended, claims) = (None, Vec::new(), Vec::new(), BTreeSet::new());
    Ok(Process { writer, reader, thread, dispatcher, committed, page, running, ended, claims, endpoints, backend })
}
