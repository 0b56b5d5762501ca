//! Opens the store: distinguishes a first start from a lost, swapped, foreign or newer file before writing a row, and
//! reports the holder of a file in use. Runs on the main thread, before any other thread exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use redb::{Database, ReadableDatabase, ReadableTable as _, TableHandle as _};

use crate::clock::Clock;
use crate::domain::ids::EventIds;
use crate::domain::{AccountId, KeyId, SubscriptionId};
use crate::storage::engine::{Front, View as _};
use crate::storage::error::{Loss, OpenError, StorageError};
use crate::storage::random::Randomness;
use crate::storage::read::reader::Reader;
use crate::storage::read::registry::Registry;
use crate::storage::read::snapshot::SharedSnapshot;
use crate::storage::redb::alerts::{notices, told};
use crate::storage::redb::copy::reseal::{self, EncryptionStep};
use crate::storage::redb::engine::RedbEngine;
use crate::storage::redb::file::catch_panic;
use crate::storage::redb::file::database_file::{OpenFile, check_magic, open_database, open_file_of, open_to_use};
use crate::storage::redb::file::folder::{
    DATABASE_FILE, MARKER_FILE, check_or_write_marker, create_folder, file_error, remove_unfinished, sync_folder_of,
};
use crate::storage::redb::file::formats;
use crate::storage::redb::file::identity::{Identity, check_format};
use crate::storage::redb::file::migrate;
use crate::storage::redb::file::owner::{OwnedDatabase, Owner};
use crate::storage::redb::outbox::{Outbox, orders};
use crate::storage::redb::small_rows::{account_name, key_row, subscription_row};
use crate::storage::redb::time::{self, last_event};
use crate::storage::redb::tx::RedbTx;
use crate::storage::redb::{counts, retained, sessions, tables};
use crate::storage::rows::sealing::Seal;
use crate::storage::rules::alerts::told::Alerts;
use crate::storage::rules::apply::State;
use crate::storage::rules::backlog::positions::Backlogs;
use crate::storage::rules::batches::gathering::Gatherings;
use crate::storage::rules::find::FindIndexing;
use crate::storage::rules::jobs::Jobs;
use crate::storage::rules::retain::Housekeeping;
use crate::storage::rules::service_time::ServiceTime;
use crate::storage::rules::settings::Rules;
use crate::storage::write::queue::WriterHandle;
use crate::storage::write::writer::{self, Listeners, OwnWork, Writer};

/// The store's location and rules.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The folder of the database and the files beside it.
    pub data_dir: PathBuf,
    /// The file with the key that signing secrets are encrypted with; `None`: they are stored unencrypted.
    pub encryption_key_file: Option<PathBuf>,
    /// Memory for the database's page cache, in bytes; repair after a crash may use as much.
    pub cache_bytes: usize,
    /// Publishing is refused below this much free space.
    pub free_space_reserve_bytes: u64,
    /// The rules that the writer applies.
    pub rules: Rules,
}

/// The store, open but without its writer.
pub struct Opened {
    engine: Arc<RedbEngine>,
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

impl Opened {
    /// Opens the store in that folder, or creates it if there never was one. Upgrades an earlier format, and encrypts
    /// secrets that are not encrypted yet.
    pub fn open(settings: &StoreSettings, clock: Clock) -> Result<Self, OpenError> {
        Self::open_after(settings, clock, |_, _| Ok(()))
    }

    /// Opens the store like [`Self::open`], but fails if that would rewrite it.
    pub fn open_as_it_is(settings: &StoreSettings, clock: Clock) -> Result<Self, OpenError> {
        Self::open_after(settings, clock, |format, step| match (format, step) {
            (format, _) if format != tables::FORMAT_VERSION => Err(format!(
                "has format {format}, and the next start of the server brings it to format {}",
                tables::FORMAT_VERSION
            )),
            (_, EncryptionStep::Rewrite) => {
                Err("has signing secrets that the next start of the server encrypts".to_owned())
            }
            _ => Ok(()),
        })
    }

    /// `may_go_on` gets the format and the pending encryption step before anything is written.
    fn open_after(
        settings: &StoreSettings,
        clock: Clock,
        may_go_on: impl FnOnce(u128, EncryptionStep) -> Result<(), String>,
    ) -> Result<Self, OpenError> {
        let folder = &settings.data_dir;
        let path = folder.join(DATABASE_FILE);
        let marker = folder.join(MARKER_FILE);
        create_folder(folder)?;
        // Before the database is looked for: somebody else may be making it.
        let owner = Owner::claim(folder, clock.wall())?;
        let seal = Seal::from_file(settings.encryption_key_file.as_deref());
        let failed = |source: StorageError| OpenError::failed(&path, source);
        let mut random = Randomness::new();
        if !path.exists() {
            if marker.exists() {
                return Err(OpenError::Missing { path, marker });
            }
            if let Err(cause) = seal {
                return Err(OpenError::KeyFile(cause));
            }
            let store_id = random.next_u128().map_err(failed)?;
            create(&path, store_id, settings.cache_bytes)?;
        }
        check_magic(&path)?;
        let (OpenFile { db, file }, is_checked) = open_to_use(&path, settings.cache_bytes)?;
        let Identity { store_id, format } = check_format(&db, &path)?;
        check_or_write_marker(&path, &marker, store_id)?;
        remove_unfinished(&path);
        let seal = seal.or_else(|cause| Err(reseal::without_key(&db, &path, cause)?))?;
        reseal::check_key(&db, &path, &seal)?;
        may_go_on(format, reseal::step_before_use(&db, &path, &seal)?)
            .map_err(|reason| OpenError::NotYet { path: path.clone(), reason })?;
        migrate::upgrade(&db, &path, format)?;
        let OpenFile { db, file } = apply_encryption(OpenFile { db, file }, &path, &seal, settings.cache_bytes)?;
        let engine = Arc::new(RedbEngine::new(OwnedDatabase::in_folder(db, file, owner), path.clone(), seal));
        let loaded = catch_panic::catch_redb_panic(|| load(&engine, settings.rules.clone(), clock, random));
        let (snapshot, state) = loaded.ok_or_else(|| OpenError::unreadable(&path))?.map_err(failed)?;
        engine.db().check_owner()?;
        let (folder, reserve_bytes) = (folder.clone(), settings.free_space_reserve_bytes);
        Ok(Self { engine, state, snapshot, folder, reserve_bytes, is_checked })
    }

    /// A store on an open database with any backend, initialised if it is empty. For tests with a storage backend of
    /// their own.
    pub fn on(db: Database, settings: &StoreSettings, clock: Clock, mut random: Randomness) -> Result<Self, OpenError> {
        let path = settings.data_dir.join(DATABASE_FILE);
        let failed = |source: StorageError| OpenError::failed(&path, source);
        let is_empty = db.begin_read().and_then(|read| Ok(read.list_tables()?.next().is_none()));
        if is_empty.map_err(|error| failed(error.into()))? {
            let store_id = random.next_u128().map_err(failed)?;
            initialise(&db, store_id).map_err(failed)?;
        }
        check_format(&db, &path)?;
        formats::run_steps(&db).map_err(failed)?;
        let engine = Arc::new(RedbEngine::new(OwnedDatabase::elsewhere(db), path.clone(), Seal::NONE));
        let (snapshot, state) = load(&engine, settings.rules.clone(), clock, random).map_err(failed)?;
        let (folder, reserve_bytes) = (settings.data_dir.clone(), settings.free_space_reserve_bytes);
        Ok(Self { engine, state, snapshot, folder, reserve_bytes, is_checked: true })
    }

    /// The clock that the store goes by; its steady reading goes on from where it stood.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.state.clock
    }

    /// Whether everything in it was verified as it was opened. Otherwise rows are compared with their digests when they are
    /// read, and a server checks all of them meanwhile.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.is_checked
    }

    /// The reader, before the writer runs.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.snapshot))
    }

    /// `listener` is told, once and from another thread, when folder or file are not this process's any more. Whoever has
    /// none learns it from the next commit.
    pub fn when_lost(&self, listener: impl Fn(&Loss) + Send + 'static) {
        self.engine.db().when_lost(Box::new(listener));
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
        let thread = writer.start().map_err(|source| file_error(&folder, source))?;
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
            let unfinished = self.snapshot.get().view.unfinished_jobs();
            let failed = |source| OpenError::failed(&self.folder.join(DATABASE_FILE), source);
            OwnWork {
                housekeeping: Some(Housekeeping::default()),
                jobs: Jobs::resume(unfinished.map_err(failed)?),
                find: Some(FindIndexing::of_accounts(self.state.registry.accounts())),
            }
        } else {
            OwnWork::default()
        };
        Ok(writer::new(self.engine, self.state, self.snapshot, self.reserve_bytes, (work, listeners)))
    }
}

/// Creates a database under a temporary name and renames it when complete, so that a power cut never leaves half a
/// database.
fn create(path: &Path, store_id: u128, cache_bytes: usize) -> Result<(), OpenError> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file_error(&unfinished, error)),
        _ => {}
    }
    let db = open_database(&unfinished, cache_bytes)?;
    initialise(&db, store_id).map_err(|source| OpenError::failed(&unfinished, source))?;
    drop(db);
    fs::rename(&unfinished, path).map_err(|source| file_error(path, source))?;
    sync_folder_of(path)
}

fn initialise(db: &Database, store_id: u128) -> Result<(), StorageError> {
    let mut transaction = db.begin_write()?;
    transaction.set_two_phase_commit(true);
    {
        drop(RedbTx::open(&transaction, &Seal::NONE)?);
        let mut meta = transaction.open_table(tables::META)?;
        meta.insert(tables::FORMAT, tables::FORMAT_VERSION)?;
        meta.insert(tables::STORE_ID, store_id)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Encrypts the secrets if there is a key and they are not encrypted yet.
fn apply_encryption(open_file: OpenFile, path: &Path, seal: &Seal, cache_bytes: usize) -> Result<OpenFile, OpenError> {
    let db = &open_file.db;
    match reseal::step_before_use(db, path, seal)? {
        EncryptionStep::None => Ok(open_file),
        EncryptionStep::Mark => {
            reseal::mark(db, seal).map_err(|source| OpenError::failed(path, source))?;
            Ok(open_file)
        }
        EncryptionStep::Rewrite => {
            log::info!("encrypting the signing secrets in {}; the whole file is rewritten", path.display());
            let count = reseal::rewrite(db, path, &Seal::NONE, seal)
                .map_err(|error| OpenError::NotSealed { path: path.to_owned(), reason: error.to_string() })?;
            drop(open_file);
            log::info!("{count} signing secrets encrypted");
            open_file_of(path, cache_bytes)
        }
    }
}

fn load(
    engine: &Arc<RedbEngine>,
    rules: Rules,
    clock: Clock,
    random: Randomness,
) -> Result<(Arc<SharedSnapshot>, State), StorageError> {
    let transaction = engine.db().begin_read()?;
    let mut registry = Registry::default();
    for row in transaction.open_table(tables::ACCOUNTS)?.iter()? {
        let (id, name) = row?;
        let id = AccountId(id.value());
        registry.put_account(id, &account_name(id, name.value())?);
    }
    for row in transaction.open_table(tables::KEYS)?.iter()? {
        let (id, key) = row?;
        registry.put_key(key_row(KeyId(id.value()), key.value())?);
    }
    for session in sessions::all(&transaction)? {
        registry.put_session(session);
    }
    for row in transaction.open_table(tables::SUBSCRIPTIONS)?.iter()? {
        let (id, subscription) = row?;
        let id = SubscriptionId(id.value());
        registry.put_subscription(subscription_row(id, subscription.value())?.open(id, engine.seal())?);
    }
    let mut histories = std::collections::HashMap::new();
    let outbox = Outbox::of(&transaction)?;
    for subscription in registry.subscriptions() {
        if let Some(history) = outbox.history(subscription.id)? {
            histories.insert(subscription.id, history);
        }
    }
    let backlogs = Backlogs::default();
    let mut gathered = BTreeMap::new();
    if tables::has(&transaction, tables::ORDERS.name())? {
        let orders = transaction.open_table(tables::ORDERS)?;
        for subscription in registry.subscriptions() {
            let events = orders::gathered(&orders, subscription.id)?;
            if !events.is_empty() {
                gathered.insert(subscription.id, events);
            }
        }
    }
    let gatherings = Gatherings::resume(gathered);
    let pending = counts::pending(&transaction)?.map_or_else(|| outbox.count(), Ok)?;
    let last_event = last_event(&transaction)?;
    let seen = time::read(&transaction.open_table(tables::META)?, last_event)?;
    let (time, clock) = ServiceTime::resume(seen, clock);
    let latest = last_event.map_or(time.now(), |event| event.time().max(time.now()));
    let mut fronts = retained::fronts(&transaction)?;
    for (account, front) in &mut fronts {
        if front.is_beyond(latest) {
            log::error!(
                "the retention front of account {account} lies at {}, beyond all events; retention begins anew there",
                front.events.max(front.attempts)
            );
            *front = Front::default();
        }
    }
    let waiting = notices::waiting(&transaction)?;
    let newest_alert = waiting.last().map(|notice| notice.alert.id);
    let alerts = Alerts::resume(told::all(&transaction)?, &waiting);
    let ids = EventIds::after(last_event.max(newest_alert));
    let registry = Arc::new(registry);
    let snapshot = Arc::new(SharedSnapshot::new(Arc::clone(engine), Arc::clone(&registry), pending, time.calendar())?);
    Ok((
        snapshot,
        State {
            rules,
            clock,
            time,
            registry,
            histories,
            backlogs,
            gatherings,
            pending,
            fronts,
            look: None,
            ids,
            random,
            alerts,
        },
    ))
}
