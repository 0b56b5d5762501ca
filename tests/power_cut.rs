//! The power fails at every sync of a run: what was written since the last sync arrives on the disk in part, torn and
//! out of order, or not at all. Whatever was acknowledged before is there afterwards, and the store is sound.
//!
//! The store is the real one, on a disk of this test's own. A short form runs with all tests. The long form:
//! `TEMPCLOCK_POWER_CUT_OPERATIONS=2000 cargo test --release --test power_cut`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test stops at the first thing that is not as promised")]

mod disk;

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use disk::{Backend, Change};
use redb::Database;
use tempclock_webhooks::clock::Clock;
use tempclock_webhooks::domain::delivery::attempt::{Attempt, Signed, VERSION};
use tempclock_webhooks::domain::delivery::health::HealthRule;
use tempclock_webhooks::domain::delivery::outcome::Outcome;
use tempclock_webhooks::domain::delivery::retry::RetryRule;
use tempclock_webhooks::domain::endpoint::{Endpoint, EndpointPolicy};
use tempclock_webhooks::domain::event::NewEvent;
use tempclock_webhooks::domain::event::event_type::EventType;
use tempclock_webhooks::domain::event::event_types::EventTypes;
use tempclock_webhooks::domain::options::Options;
use tempclock_webhooks::domain::signing::{Signatures, SigningSecret};
use tempclock_webhooks::domain::signing_keys::SigningKeys;
use tempclock_webhooks::domain::subscription::NewSubscription;
use tempclock_webhooks::domain::{AccountId, DeliveryId, EventId, SubscriptionId};
use tempclock_webhooks::storage::command::{Command, Completion, ReplySender};
use tempclock_webhooks::storage::maintenance::{Verified, verify, verify_rows};
use tempclock_webhooks::storage::write::writer::Listeners;
use tempclock_webhooks::storage::{Opened, Randomness, RetentionRule, Rules, Store, StoreSettings};
use tokio::sync::oneshot;

const DATABASE_FILE: &str = "tempclock.redb";

const SHORT_OPERATIONS: usize = 200;
const OWN: AccountId = AccountId(1);
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A database of an earlier format. Unpacked before anything is opened: a program that is being started holds the locks
/// of all open files for a moment, and the next test to open one would find it in use.
static FORMAT_1: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let stored = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/formats/1.redb.gz");
    let unpacked = std::process::Command::new("gzip").args(["-dc", stored]).output().unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
    unpacked.stdout
});

/// What a disk that is watched has gone through.
#[derive(Default)]
struct Watch {
    /// What was acknowledged so far.
    acknowledged: Vec<EventId>,
    /// The disk as power cuts leave it, each with what had been acknowledged before.
    cuts: Vec<(Vec<u8>, usize)>,
    random: u64,
}

impl Watch {
    /// A small generator with a fixed seed, so that a failure comes again.
    fn random(&mut self) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.random >> 33).unwrap()
    }

    /// The disk after a cut now: the durable bytes, and of each later write all, nothing, or some sectors.
    fn cut(&mut self, durable: &[u8], unsynced: &[Change]) {
        let mut bytes = durable.to_vec();
        let mut changes: Vec<&Change> = unsynced.iter().collect();
        let turns = changes.len();
        for _ in 0..turns {
            let (a, b) = (self.random() % turns, self.random() % turns);
            // The order of lengths and writes to the same place matters to no disk cache.
            changes.swap(a, b);
        }
        for change in changes {
            match (self.random() % 3, change) {
                (0, _) => {}
                (1, Change::Write(offset, data)) => {
                    for (index, sector) in data.chunks(SECTOR).enumerate() {
                        if self.random().is_multiple_of(2) {
                            Change::Write(offset + index * SECTOR, sector.to_vec()).apply(&mut bytes);
                        }
                    }
                }
                // A length never takes away what is durable.
                (_, Change::Length(length)) if *length < bytes.len() => {}
                (_, change) => change.apply(&mut bytes),
            }
        }
        self.cuts.push((bytes, self.acknowledged.len()));
    }
}

/// An empty disk whose every sync is watched. `lies`: it says it has synced and has not, the negative control.
fn watched(lies: bool) -> (Backend, Arc<Mutex<Watch>>) {
    let watch = Arc::new(Mutex::new(Watch::default()));
    let watching = Arc::clone(&watch);
    let at_sync = move |durable: &[u8], unsynced: &[Change]| {
        watching.lock().unwrap().cut(durable, unsynced);
        Ok(!lies)
    };
    (Backend::new(Vec::new(), Box::new(at_sync)), watch)
}

fn sound(bytes: Vec<u8>) -> Backend {
    Backend::new(bytes, Box::new(|_, _| Ok(true)))
}

fn settings(data_dir: &Path) -> StoreSettings {
    let rules = Rules {
        retry: RetryRule { waits: vec![Duration::from_secs(5)], retry_after_max: Duration::ZERO },
        health: HealthRule::new(Duration::MAX, Duration::ZERO),
        retention: RetentionRule {
            events: Duration::MAX,
            idempotency: Duration::MAX,
            attempts: Duration::MAX,
            held: Duration::MAX,
        },
        audit_kept: Duration::MAX,
        alerts: None,
        subscriptions_per_account: 10,
    };
    StoreSettings {
        data_dir: data_dir.to_owned(),
        postgres: None,
        encryption_key_file: None,
        cache_bytes: 8 << 20,
        free_space_reserve_bytes: 0,
        rules,
    }
}

fn open(backend: Backend) -> Result<Opened, String> {
    let db = Database::builder().set_cache_size(8 << 20).create_with_backend(backend);
    let db = db.map_err(|error| error.to_string())?;
    Opened::on(db, &settings(&std::env::temp_dir()), Clock::start(), Randomness::new())
        .map_err(|error| error.to_string())
}

fn ask<T>(store: &Store, command: impl FnOnce(ReplySender<T>) -> Command) -> T {
    let (reply, answer) = oneshot::channel();
    store.writer.try_send(command(reply)).unwrap();
    answer.blocking_recv().unwrap().unwrap()
}

fn attempt(number: u32, outcome: Outcome) -> Attempt {
    let started_at = Clock::start().wall();
    let signed = Signed { timestamp_s: started_at.as_seconds(), signatures: Signatures::NONE };
    let url = "https://crm.example.com/hook".to_owned();
    let version = VERSION.into();
    Attempt {
        number,
        started_at,
        duration_ms: 1,
        url: url.into(),
        version,
        signed,
        outcome,
        response: None,
        request: None,
    }
}

/// Publishes, delivers, fails and retries on that disk, and has every cut looked at: its bytes, and what had been
/// acknowledged before it.
fn work(lies: bool, operations: usize, mut look: impl FnMut(Vec<u8>, &[EventId])) {
    LazyLock::force(&FORMAT_1);
    let (backend, watch) = watched(lies);
    let mut look_at_cuts = || {
        let (cuts, acknowledged) = {
            let mut watch = watch.lock().unwrap();
            (std::mem::take(&mut watch.cuts), watch.acknowledged.clone())
        };
        // Before the first acknowledgement there need not even be a database.
        for (bytes, count) in cuts.into_iter().filter(|(_, count)| *count > 0) {
            look(bytes, &acknowledged[..count]);
        }
    };
    let listeners = Listeners { committed: Box::new(|_, _| {}), failed: Box::new(|error| panic!("{error}")) };
    let store = open(backend).unwrap().start(listeners).unwrap();
    let endpoint = Endpoint::parse("https://crm.example.com/hook", &EndpointPolicy::default()).unwrap();
    let events = EventTypes::from_stored(["clock_in"]).unwrap();
    let new =
        NewSubscription { endpoint, events, description: String::new(), active: true, options: Options::defaults() };
    let keys = SigningKeys::of(SigningSecret::from_random(&[1; 32]));
    ask(&store, |reply| Command::CreateSubscription { account: OWN, new, keys, reply });
    for operation in 0..operations {
        let data = format!(r#"{{"entry_id":{operation},"note":"{}"}}"#, "x".repeat(operation % 700)).into();
        let event_type = EventType::ClockIn;
        let event = NewEvent {
            event_type,
            is_opt_in: false,
            data,
            occurred_at: None,
            tags: Vec::new(),
            worker: None,
            unfit: Vec::new(),
            idempotency: Vec::new(),
        };
        let id = ask(&store, |reply| Command::Publish { account: OWN, events: vec![event], reply })[0].id;
        watch.lock().unwrap().acknowledged.push(id);
        let delivery = DeliveryId { event: id, subscription: SubscriptionId(1) };
        let outcomes = match operation % 3 {
            0 => vec![Outcome::Delivered(200)],
            1 => vec![Outcome::HttpError(500), Outcome::Delivered(200)],
            _ => Vec::new(),
        };
        for (number, outcome) in (1..).zip(outcomes) {
            store.writer.complete(Completion::new(delivery, attempt(number, outcome), None));
        }
        look_at_cuts();
    }
    ask(&store, |reply| Command::Flush { reply });
    look_at_cuts();
    let Store { writer, reader, thread } = store;
    drop((writer, reader));
    thread.join().unwrap();
}

/// What is wrong with a disk after a cut, as a start finds it: with the files in a folder, and with the choice between
/// the last two commits that is made before the database is opened.
fn faults(folder: &Path, bytes: &[u8], acknowledged: &[EventId]) -> Result<(), String> {
    let path = folder.join(DATABASE_FILE);
    std::fs::write(&path, bytes).unwrap();
    let store = Opened::open(&settings(folder), Clock::start()).map_err(|error| error.to_string())?;
    let reader = store.reader();
    for id in acknowledged {
        match reader.view().event(OWN, *id) {
            Ok(Some(event)) if event.content.is_intact() => {}
            found => return Err(format!("event {id} was acknowledged and is now {found:?}")),
        }
        let delivery = DeliveryId { event: *id, subscription: SubscriptionId(1) };
        if !matches!(reader.view().delivery(delivery), Ok(Some(_))) {
            return Err(format!("delivery {delivery} is gone"));
        }
    }
    drop((reader, store));
    match verify(&path).map_err(|error| error.to_string())? {
        Verified::Database(findings) if findings.faults.is_empty() => Ok(()),
        found => Err(format!("{found:?}")),
    }
}

#[test]
fn a_power_cut_at_any_sync_loses_nothing_that_was_acknowledged() {
    let given = std::env::var("TEMPCLOCK_POWER_CUT_OPERATIONS").ok().and_then(|text| text.parse().ok());
    let operations = given.unwrap_or(SHORT_OPERATIONS);
    let folder = tempfile::tempdir().unwrap();
    let mut cuts = 0;
    work(false, operations, |bytes, acknowledged| {
        cuts += 1;
        assert_eq!(faults(folder.path(), &bytes, acknowledged), Ok(()), "after the power was cut at sync {cuts}");
    });
    assert!(cuts > 2 * operations, "only {cuts} cuts: they prove little");
}

#[test]
fn a_power_cut_at_any_sync_of_an_upgrade_loses_nothing() {
    let watch = Arc::new(Mutex::new(Watch::default()));
    let watching = Arc::clone(&watch);
    let at_sync = move |durable: &[u8], unsynced: &[Change]| {
        watching.lock().unwrap().cut(durable, unsynced);
        Ok(true)
    };
    drop(open(Backend::new(FORMAT_1.clone(), Box::new(at_sync))).unwrap());
    let cuts = std::mem::take(&mut watch.lock().unwrap().cuts);
    assert!(cuts.len() > 4, "only {} cuts: they prove little", cuts.len());
    for (number, (bytes, _)) in cuts.into_iter().enumerate() {
        let backend = sound(bytes);
        drop(open(backend.clone()).unwrap());
        let db = Database::builder().create_with_backend(sound(backend.disk().seen.clone())).unwrap();
        let findings = verify_rows(&db).unwrap();
        assert_eq!((findings.pending, &findings.faults[..]), (7, &[][..]), "after the power was cut at sync {number}");
    }
}

#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut is_noticed = false;
    work(true, 10, |bytes, acknowledged| is_noticed |= faults(folder.path(), &bytes, acknowledged).is_err());
    assert!(is_noticed, "the check would not notice a loss");
}
