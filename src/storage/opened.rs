//! An open store before its writer runs, and the running one, whatever its engine. Made on the thread that opens a store.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crate::clock::Clock;
use crate::domain::alert::{AlertKind, Notice, Told};
use crate::domain::delivery::history::History;
use crate::domain::ids::EventIds;
use crate::domain::{AccountId, EventId, SubscriptionId};
use crate::storage::engine::{Front, Pending};
use crate::storage::error::{Loss, OpenError, StorageError};
use crate::storage::random::Randomness;
use crate::storage::read::reader::Reader;
use crate::storage::read::registry::Registry;
use crate::storage::read::snapshot::SharedSnapshot;
use crate::storage::rules::alerts::told::Alerts;
use crate::storage::rules::apply::State;
use crate::storage::rules::backlog::positions::Backlogs;
use crate::storage::rules::batches::gathering::Gatherings;
use crate::storage::rules::find::FindIndexing;
use crate::storage::rules::jobs::Jobs;
use crate::storage::rules::retain::Housekeeping;
use crate::storage::rules::service_time::{Seen, ServiceTime};
use crate::storage::rules::settings::Rules;
use crate::storage::store_engine::StoreEngine;
use crate::storage::write::queue::WriterHandle;
use crate::storage::write::writer::{self, Listeners, OwnWork, Writer};

/// The store's location and rules.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The folder of the database and the files beside it.
    pub data_dir: PathBuf,
    /// The PostgreSQL database; `None`: a file in the folder.
    pub postgres: Option<PostgresSettings>,
    /// The file with the key that signing secrets are encrypted with; `None`: they are stored unencrypted.
    pub encryption_key_file: Option<PathBuf>,
    /// Memory in bytes for rows that are read again; an embedded database may use as much in a repair.
    pub cache_bytes: usize,
    /// Publishing is refused below this much free space.
    pub free_space_reserve_bytes: u64,
    /// The rules that the writer applies.
    pub rules: Rules,
}

/// Where the PostgreSQL database is.
#[derive(Clone, Debug)]
pub struct PostgresSettings {
    /// The file with its URL.
    pub url_file: PathBuf,
    /// The schema in it, a name that needs no quotes.
    pub schema: String,
}

/// The store, open but without its writer.
pub struct Opened {
    engine: Arc<StoreEngine>,
    state: State,
    snapshot: Arc<SharedSnapshot>,
    folder: PathBuf,
    reserve_bytes: u64,
    is_checked: bool,
}

/// The running store.
pub struct Store {
    /// The writer's handle.
    pub writer: WriterHandle,
    /// The reader.
    pub reader: Reader,
    /// Ends when the last [`WriterHandle`] is dropped and everything before that is committed.
    pub thread: JoinHandle<()>,
}

/// What an engine has read of its store for the memory of a server.
pub(in crate::storage) struct Loaded {
    /// Accounts, keys, sessions and subscriptions.
    pub registry: Registry,
    /// The histories of subscriptions that have one.
    pub histories: HashMap<SubscriptionId, History>,
    /// What is gathered for the next batch of a subscription, oldest event first.
    pub gathered: BTreeMap<SubscriptionId, Vec<EventId>>,
    /// How many deliveries are pending.
    pub pending: Pending,
    /// The newest event of all accounts.
    pub last_event: Option<EventId>,
    /// How far the store's time had come.
    pub seen: Seen,
    /// How far retention had come.
    pub fronts: BTreeMap<AccountId, Front>,
    /// The alerts that wait, oldest first.
    pub notices: Vec<Notice>,
    /// What was told, and when.
    pub told: Vec<((AlertKind, String), Told)>,
}

impl Opened {
    /// The store of an engine, with what it has read, all of it verified.
    pub(in crate::storage) fn of(
        engine: StoreEngine,
        loaded: Loaded,
        settings: &StoreSettings,
        clock: Clock,
        random: Randomness,
    ) -> Result<Self, StorageError> {
        let engine = Arc::new(engine);
        let (time, clock) = ServiceTime::resume(loaded.seen, clock);
        let latest = loaded.last_event.map_or(time.now(), |event| event.time().max(time.now()));
        let mut fronts = loaded.fronts;
        for (account, front) in &mut fronts {
            if front.is_beyond(latest) {
                log::error!(
                    "the retention position of account {account} is {}, after all events; retention starts over there",
                    front.events.max(front.attempts)
                );
                *front = Front::default();
            }
        }
        let newest_alert = loaded.notices.last().map(|notice| notice.alert.id);
        let registry = Arc::new(loaded.registry);
        let calendar = time.calendar();
        let snapshot = SharedSnapshot::new(Arc::clone(&engine), Arc::clone(&registry), loaded.pending, calendar)?;
        let state = State {
            rules: settings.rules.clone(),
            clock,
            time,
            registry,
            histories: loaded.histories,
            backlogs: Backlogs::default(),
            gatherings: Gatherings::resume(loaded.gathered),
            pending: loaded.pending,
            fronts,
            look: None,
            ids: EventIds::after(loaded.last_event.max(newest_alert)),
            random,
            alerts: Alerts::resume(loaded.told, &loaded.notices),
        };
        let (folder, reserve_bytes) = (settings.data_dir.clone(), settings.free_space_reserve_bytes);
        Ok(Self { engine, state, snapshot: Arc::new(snapshot), folder, reserve_bytes, is_checked: true })
    }

    /// Its engine.
    pub(in crate::storage) fn engine(&self) -> &StoreEngine {
        &self.engine
    }

    /// The clock that the store goes by; its steady reading goes on from where it stood.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.state.clock
    }

    /// The same, with or without everything verified.
    pub(in crate::storage) fn checked(self, is_checked: bool) -> Self {
        Self { is_checked, ..self }
    }

    /// Whether everything in it was verified as it was opened, or is verified by others. Otherwise rows are compared with
    /// their digests when they are read, and a server checks all of them meanwhile.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.is_checked
    }

    /// The reader, before the writer runs.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.snapshot))
    }

    /// `listener` is told, once and from another thread, when the store is not this process's any more. Whoever has none
    /// learns it from the next commit.
    pub fn when_lost(&self, listener: impl Fn(&Loss) + Send + 'static) {
        self.engine.when_lost(Box::new(listener));
    }

    /// Starts the writer.
    pub fn start(self, listeners: Listeners) -> Result<Store, OpenError> {
        self.start_with(true, listeners)
    }

    /// Starts the writer for a command: by itself it removes nothing and goes on with no job, so that looking at a store
    /// leaves it as it is.
    pub fn start_for_a_command(self, listeners: Listeners) -> Result<Store, OpenError> {
        self.start_with(false, listeners)
    }

    fn start_with(self, is_server: bool, listeners: Listeners) -> Result<Store, OpenError> {
        let reader = self.reader();
        let folder = self.folder.clone();
        let (handle, writer) = self.writer_with(is_server, listeners)?;
        let thread = writer
            .start()
            .map_err(|source| OpenError::failed(&folder, StorageError::File { path: folder.clone(), source }))?;
        Ok(Store { writer: handle, reader, thread })
    }

    /// The writer without a thread, for callers that decide when to commit.
    pub fn writer(self, listeners: Listeners) -> Result<(WriterHandle, Writer), OpenError> {
        self.writer_with(true, listeners)
    }

    /// A server removes what is over, goes on with jobs, and indexes events; a command does what it is asked to.
    fn writer_with(mut self, is_server: bool, listeners: Listeners) -> Result<(WriterHandle, Writer), OpenError> {
        let work = if is_server {
            self.state.backlogs = Backlogs::resume(&self.state.histories);
            let unfinished = self.engine.view().and_then(|view| view.unfinished_jobs());
            OwnWork {
                housekeeping: Some(Housekeeping::default()),
                jobs: Jobs::resume(unfinished.map_err(|source| self.engine.open_error(source))?),
                find: Some(FindIndexing::of_accounts(self.state.registry.accounts())),
            }
        } else {
            OwnWork::default()
        };
        Ok(writer::new(self.engine, self.state, self.snapshot, self.reserve_bytes, (work, listeners)))
    }
}
