//! Opens the store: tells a first start from a lost, swapped, foreign or newer file before a row is written, and
//! says who holds the file when it is in use. Runs on the main thread, before any other thread exists.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use redb::{Database, ReadableDatabase, ReadableTable as _};

use super::apply::{Batch, Rules, State};
use super::damage;
use super::database_file::{OpenFile, check_magic, open_database, open_file_of, open_sound};
use super::error::{Loss, OpenError, StorageError};
use super::folder::{
    DATABASE_FILE, MARKER_FILE, file_error, make_folder, remove_unfinished, settle_marker, sync_folder_of,
};
use super::housekeeping::Housekeeping;
use super::key_record;
use super::migrate;
use super::moment::SharedMoment;
use super::outbox::{Outbox, Pending};
use super::owner::{OwnedDatabase, Owner};
use super::queue::WriterHandle;
use super::random::Randomness;
use super::reader::Reader;
use super::registry::Registry;
use super::reseal::{self, Step};
use super::sealing::Seal;
use super::service_time::{Seen, ServiceTime, last_event};
use super::space::SpaceRule;
use super::subscription_record::SubscriptionRow;
use super::tables;
use super::writer::{self, Listeners, Writer};
use crate::clock::Clock;
use crate::domain::ids::EventIds;
use crate::domain::{AccountId, KeyId, SubscriptionId};

/// Where the store is and how it is to behave.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The folder with the database and what lies beside it.
    pub data_dir: PathBuf,
    /// The file with the key that signing secrets are sealed with; none: they are stored as they are.
    pub encryption_key_file: Option<PathBuf>,
    /// Memory for the database's page cache, in bytes; also what repair after a crash may take.
    pub cache_bytes: usize,
    /// Below this much free space publishing is refused.
    pub free_space_reserve_bytes: u64,
    /// The rules that the writer applies.
    pub rules: Rules,
}

/// The store, open but without its writer.
pub struct Opened {
    db: Arc<OwnedDatabase>,
    state: State,
    moment: Arc<SharedMoment>,
    space: SpaceRule,
}

/// The store at work.
pub struct Store {
    /// The way to the writer.
    pub writer: WriterHandle,
    /// The way to what is stored.
    pub reader: Reader,
    /// Ends when the last [`WriterHandle`] is dropped and everything before that is committed.
    pub thread: JoinHandle<()>,
}

impl Opened {
    /// Opens the store in that folder, or makes one if there never was one. One of an earlier format is brought to the
    /// present one, and secrets that are not sealed yet are sealed.
    pub fn open(settings: &StoreSettings, clock: Clock) -> Result<Self, OpenError> {
        Self::open_after(settings, clock, |_, _| Ok(()))
    }

    /// Opens the store like [`Self::open`], but not one that would be written anew for it.
    pub fn open_as_it_is(settings: &StoreSettings, clock: Clock) -> Result<Self, OpenError> {
        Self::open_after(settings, clock, |format, step| match (format, step) {
            (format, _) if format != tables::FORMAT_VERSION => Err(format!(
                "has format {format}, and the next start of the server brings it to format {}",
                tables::FORMAT_VERSION
            )),
            (_, Step::Rewrite) => Err("has signing secrets that the next start of the server encrypts".to_owned()),
            _ => Ok(()),
        })
    }

    /// `may_go_on` is told the format and what is to be done with the secrets before anything is written.
    fn open_after(
        settings: &StoreSettings,
        clock: Clock,
        may_go_on: impl FnOnce(u128, Step) -> Result<(), String>,
    ) -> Result<Self, OpenError> {
        let folder = &settings.data_dir;
        let path = folder.join(DATABASE_FILE);
        let marker = folder.join(MARKER_FILE);
        make_folder(folder)?;
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
        let OpenFile { db, file } = open_sound(&path, settings.cache_bytes)?;
        let Identity { store_id, format } = check_format(&db, &path)?;
        settle_marker(&path, &marker, store_id)?;
        remove_unfinished(&path);
        let seal = seal.or_else(|cause| Err(reseal::without_key(&db, &path, cause)?))?;
        reseal::check_key(&db, &path, &seal)?;
        may_go_on(format, reseal::step_before_use(&db, &path, &seal)?)
            .map_err(|reason| OpenError::NotYet { path: path.clone(), reason })?;
        migrate::upgrade(&db, &path, format)?;
        let OpenFile { db, file } = settle_seal(OpenFile { db, file }, &path, &seal, settings.cache_bytes)?;
        let db = Arc::new(OwnedDatabase::in_folder(db, file, owner));
        let loaded = damage::caught(|| load(&db, settings.rules.clone(), clock, random, seal));
        let (moment, state) = loaded.ok_or_else(|| OpenError::unreadable(&path))?.map_err(failed)?;
        db.check_owner()?;
        let space = SpaceRule { folder: folder.clone(), reserve_bytes: settings.free_space_reserve_bytes };
        Ok(Self { db, state, moment, space })
    }

    /// The store on a database that is open already, wherever it keeps its bytes; made anew if it is empty. For tests
    /// that put a store of their own under the database.
    pub fn on(db: Database, settings: &StoreSettings, clock: Clock, mut random: Randomness) -> Result<Self, OpenError> {
        let path = settings.data_dir.join(DATABASE_FILE);
        let failed = |source: StorageError| OpenError::failed(&path, source);
        let is_empty = db.begin_read().and_then(|read| Ok(read.list_tables()?.next().is_none()));
        if is_empty.map_err(|error| failed(error.into()))? {
            let store_id = random.next_u128().map_err(failed)?;
            initialise(&db, store_id).map_err(failed)?;
        }
        let Identity { format, .. } = check_format(&db, &path)?;
        migrate::run_steps(&db, format).map_err(failed)?;
        let db = Arc::new(OwnedDatabase::elsewhere(db));
        let (moment, state) = load(&db, settings.rules.clone(), clock, random, Seal::NONE).map_err(failed)?;
        let space = SpaceRule { folder: settings.data_dir.clone(), reserve_bytes: settings.free_space_reserve_bytes };
        Ok(Self { db, state, moment, space })
    }

    /// The clock that the store goes by; its steady reading goes on from where it stood.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.state.clock
    }

    /// The way to what is stored, before the writer runs.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.moment))
    }

    /// `listener` is told, once and from another thread, when folder or file are not this process's any more. Whoever has
    /// none learns it from the next commit.
    pub fn when_lost(&self, listener: impl Fn(&Loss) + Send + 'static) {
        self.db.when_lost(Box::new(listener));
    }

    /// Starts the writer.
    pub fn start(self, listeners: Listeners) -> Result<Store, OpenError> {
        self.start_with(Some(Housekeeping::default()), listeners)
    }

    /// Starts the writer for a command: it removes nothing by itself, so that looking at a store leaves it as it is.
    pub fn start_for_a_command(self, listeners: Listeners) -> Result<Store, OpenError> {
        self.start_with(None, listeners)
    }

    fn start_with(self, housekeeping: Option<Housekeeping>, listeners: Listeners) -> Result<Store, OpenError> {
        let reader = self.reader();
        let folder = self.space.folder.clone();
        let (handle, writer) = self.writer_with(housekeeping, listeners);
        let thread = writer.start().map_err(|source| file_error(&folder, source))?;
        Ok(Store { writer: handle, reader, thread })
    }

    /// The writer without a thread: whoever holds it says when to commit.
    #[must_use]
    pub fn writer(self, listeners: Listeners) -> (WriterHandle, Writer) {
        self.writer_with(Some(Housekeeping::default()), listeners)
    }

    fn writer_with(self, housekeeping: Option<Housekeeping>, listeners: Listeners) -> (WriterHandle, Writer) {
        writer::new(self.db, self.state, self.moment, self.space, (housekeeping, listeners))
    }
}

/// Makes a database under another name and gives it its own when it is complete, so that a power cut on the way never
/// leaves half a database under that name.
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
        drop(Batch::open(&transaction, Pending::default())?);
        let mut meta = transaction.open_table(tables::META)?;
        meta.insert(tables::FORMAT, tables::FORMAT_VERSION)?;
        meta.insert(tables::STORE_ID, store_id)?;
    }
    transaction.commit()?;
    Ok(())
}

/// What a store says of itself.
pub(super) struct Identity {
    pub store_id: u128,
    pub format: u128,
}

/// Is it a store of ours, and of no newer format than is known here?
pub(super) fn check_format(db: &impl ReadableDatabase, path: &Path) -> Result<Identity, OpenError> {
    let read = || -> Result<(Option<u128>, Option<u128>), StorageError> {
        let transaction = db.begin_read()?;
        let meta = transaction.open_table(tables::META)?;
        let format = meta.get(tables::FORMAT)?.map(|row| row.value());
        Ok((format, meta.get(tables::STORE_ID)?.map(|row| row.value())))
    };
    let not_ours =
        || OpenError::NotOurs { path: path.to_owned(), found: "a redb database of another program".to_owned() };
    match read() {
        Ok((Some(found), _)) if found > tables::FORMAT_VERSION => {
            Err(OpenError::Newer { path: path.to_owned(), found, known: tables::FORMAT_VERSION })
        }
        Ok((Some(format), Some(store_id))) => Ok(Identity { store_id, format }),
        Ok(_) => Err(not_ours()),
        Err(StorageError::Database(error))
            if matches!(*error, redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. }) =>
        {
            Err(not_ours())
        }
        Err(source) => Err(OpenError::failed(path, source)),
    }
}

/// Sees to it that secrets are sealed when there is a key for them, and that it is the right one.
fn settle_seal(open_file: OpenFile, path: &Path, seal: &Seal, cache_bytes: usize) -> Result<OpenFile, OpenError> {
    let db = &open_file.db;
    match reseal::step_before_use(db, path, seal)? {
        Step::None => Ok(open_file),
        Step::Mark => {
            reseal::mark(db, seal).map_err(|source| OpenError::failed(path, source))?;
            Ok(open_file)
        }
        Step::Rewrite => {
            log::info!("encrypting the signing secrets in {}; the whole file is written anew", path.display());
            let count = reseal::rewrite(db, path, &Seal::NONE, seal)
                .map_err(|error| OpenError::NotSealed { path: path.to_owned(), reason: error.to_string() })?;
            drop(open_file);
            log::info!("{count} signing secrets encrypted");
            open_file_of(path, cache_bytes)
        }
    }
}

fn load(
    db: &Arc<OwnedDatabase>,
    rules: Rules,
    clock: Clock,
    random: Randomness,
    seal: Seal,
) -> Result<(Arc<SharedMoment>, State), StorageError> {
    let transaction = db.begin_read()?;
    let mut registry = Registry::default();
    for row in transaction.open_table(tables::ACCOUNTS)?.iter()? {
        let (id, name) = row?;
        registry.put_account(AccountId(id.value()), &String::from_utf8_lossy(name.value()));
    }
    for row in transaction.open_table(tables::KEYS)?.iter()? {
        let (id, key) = row?;
        registry.put_key(key_record::decode(KeyId(id.value()), key.value())?);
    }
    for row in transaction.open_table(tables::SUBSCRIPTIONS)?.iter()? {
        let (id, subscription) = row?;
        let id = SubscriptionId(id.value());
        registry.put_subscription(SubscriptionRow::decode(subscription.value())?.open(id, &seal)?);
    }
    let mut histories = std::collections::HashMap::new();
    let outbox = Outbox::of(&transaction)?;
    for subscription in registry.subscriptions() {
        if let Some(history) = outbox.history(subscription.id)? {
            histories.insert(subscription.id, history);
        }
    }
    let pending = outbox.count()?;
    let last_event = last_event(&transaction)?;
    let seen = Seen::of(&transaction.open_table(tables::META)?, last_event)?;
    let (time, clock) = ServiceTime::resume(seen, clock);
    let ids = EventIds::after(last_event);
    let registry = Arc::new(registry);
    let moment = Arc::new(SharedMoment::new(Arc::clone(db), Arc::clone(&registry), pending, time.calendar())?);
    Ok((moment, State { rules, clock, time, registry, histories, pending, ids, random, seal }))
}
