//! Opens the store: distinguishes a first start from a lost, swapped, foreign or newer file before writing a row, and
//! reports the holder of a file in use. Runs on the main thread, before any other thread exists.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable as _, TableHandle as _};

use crate::clock::Clock;
use crate::domain::{AccountId, KeyId, SubscriptionId};
use crate::storage::error::{OpenError, StorageError};
use crate::storage::opened::{Loaded, Opened, StoreSettings};
use crate::storage::random::Randomness;
use crate::storage::read::registry::Registry;
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
use crate::storage::sealing::Seal;
use crate::storage::store_engine::StoreEngine;

/// Opens the store in that folder, or creates it if there never was one. Upgrades an earlier format, and encrypts secrets
/// that are not encrypted yet; with `as_it_is` it fails if it had to.
pub(in crate::storage) fn open(settings: &StoreSettings, clock: Clock, as_it_is: bool) -> Result<Opened, OpenError> {
    let may_go_on = |format, step| match (format, step) {
        _ if !as_it_is => Ok(()),
        (format, _) if format != tables::FORMAT_VERSION => Err(format!(
            "has format {format}, and the next start of the server upgrades it to format {}",
            tables::FORMAT_VERSION
        )),
        (_, EncryptionStep::Rewrite) => {
            Err("has signing secrets that the next start of the server encrypts".to_owned())
        }
        _ => Ok(()),
    };
    open_after(settings, clock, may_go_on)
}

/// `may_go_on` gets the format and the pending encryption step before anything is written.
fn open_after(
    settings: &StoreSettings,
    clock: Clock,
    may_go_on: impl FnOnce(u128, EncryptionStep) -> Result<(), String>,
) -> Result<Opened, OpenError> {
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
    let engine = RedbEngine::new(OwnedDatabase::in_folder(db, file, owner), path.clone(), seal);
    let loaded = catch_panic::catch_redb_panic(|| load(&engine));
    let loaded = loaded.ok_or_else(|| OpenError::unreadable(&path))?.map_err(failed)?;
    engine.db().check_owner()?;
    let opened = Opened::of(StoreEngine::Redb(engine), loaded, settings, clock, random).map_err(failed)?;
    Ok(opened.checked(is_checked))
}

impl Opened {
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
        let engine = RedbEngine::new(OwnedDatabase::elsewhere(db), path.clone(), Seal::NONE);
        let loaded = load(&engine).map_err(failed)?;
        Self::of(StoreEngine::Redb(engine), loaded, settings, clock, random).map_err(failed)
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

/// Makes the tables of an empty store.
pub(in crate::storage) fn initialise(db: &Database, store_id: u128) -> Result<(), StorageError> {
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

/// Reads what a server has in memory.
fn load(engine: &RedbEngine) -> Result<Loaded, StorageError> {
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
    let last_event = last_event(&transaction)?;
    Ok(Loaded {
        registry,
        histories,
        gathered,
        pending: counts::pending(&transaction)?.map_or_else(|| outbox.count(), Ok)?,
        last_event,
        seen: time::read(&transaction.open_table(tables::META)?, last_event)?,
        fronts: retained::fronts(&transaction)?,
        notices: notices::waiting(&transaction)?,
        told: told::all(&transaction)?,
    })
}
