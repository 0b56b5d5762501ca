//! The database as a file: checks that it is redb's, opens it, and verifies the checksum of every page where that is wanted.
//! Runs on the thread that opens a store, before any other uses it. It never reads rows.

use std::cell::Cell;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::rc::Rc;

use redb::backends::FileBackend;
use redb::{Database, DatabaseError};

use crate::storage::error::OpenError;
use crate::storage::holder;
use crate::storage::redb::file::catch_panic;
use crate::storage::redb::file::folder::{
    DATABASE_FILE, FileId, HOLDER_FILE, chown_to_folder_owner, file_error, in_use,
};
use crate::storage::redb::file::newest_commit;

/// Page cache for these operations.
pub(in crate::storage) const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// The magic number of redb files.
const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";

/// Enough for the branch pages of a large file; each of its leaf pages is read only once.
const CHECK_CACHE_BYTES: usize = 4 * 1024 * 1024;
/// Smaller files are checked in well under a second, with little memory.
const LARGE_BYTES: u64 = 32 * 1024 * 1024;

pub(in crate::storage) fn check_magic(path: &Path) -> Result<(), OpenError> {
    let not_ours = |found: &str| OpenError::NotOurs { path: path.to_owned(), found: found.to_owned() };
    let mut head = Vec::new();
    // Opening a pipe would block until something writes to it.
    if !fs::metadata(path).map_err(|source| file_error(path, source))?.is_file() {
        return Err(not_ours("not a regular file"));
    }
    let file = fs::File::open(path).map_err(|source| file_error(path, source))?;
    let length = u64::try_from(MAGIC.len()).unwrap_or(0);
    file.take(length).read_to_end(&mut head).map_err(|source| file_error(path, source))?;
    match head.as_slice() {
        [] => Err(not_ours("the file is empty")),
        head if head == MAGIC => Ok(()),
        head if head.iter().all(|byte| *byte == 0) => Err(not_ours("the file begins with zeros")),
        _ => Err(not_ours("it begins like another program's file")),
    }
}

/// Opens the database after verifying the checksum of every page. redb does that only after an unclean shutdown, and
/// otherwise trusts every page.
pub(in crate::storage) fn open_checked(path: &Path, cache_bytes: usize) -> Result<OpenFile, OpenError> {
    drop_cached_pages(path);
    let size_bytes = fs::metadata(path).map_or(0, |found| found.len());
    let is_large = size_bytes >= LARGE_BYTES;
    let (mut open_file, is_checked) = open(path, if is_large { CHECK_CACHE_BYTES } else { cache_bytes })?;
    if !is_checked {
        if is_large {
            log::info!("checking every page of {}, {size_bytes} bytes", path.display());
        }
        if !check_pages(&mut open_file.db, path)? {
            log::warn!("the list of free pages in {} was wrong; it was rebuilt", path.display());
        }
    }
    if !is_large {
        return Ok(open_file);
    }
    // Reopen, so that the check's page cache is freed before serving.
    drop(open_file);
    open_file_of(path, cache_bytes)
}

/// Opens the database of a server or a command. What redb verifies after an unclean end is verified, and a small file as a
/// whole, which takes no time; a large one that was closed in order is not, so that a start takes no longer the more is
/// stored. Gives whether every page was verified.
pub(in crate::storage) fn open_to_use(path: &Path, cache_bytes: usize) -> Result<(OpenFile, bool), OpenError> {
    if fs::metadata(path).map_or(0, |found| found.len()) < LARGE_BYTES {
        return open_checked(path, cache_bytes).map(|open_file| (open_file, true));
    }
    drop_cached_pages(path);
    let (open_file, is_checked) = open(path, CHECK_CACHE_BYTES)?;
    // Opened again, with the page cache that it is to have.
    drop(open_file);
    Ok((open_file_of(path, cache_bytes)?, is_checked))
}

/// Opens the database, or creates an empty one.
pub(in crate::storage) fn open_database(path: &Path, cache_bytes: usize) -> Result<Database, OpenError> {
    open(path, cache_bytes).map(|(open_file, _)| open_file.db)
}

/// The same, with which file it is.
pub(in crate::storage) fn open_file_of(path: &Path, cache_bytes: usize) -> Result<OpenFile, OpenError> {
    open(path, cache_bytes).map(|(open_file, _)| open_file)
}

/// A database and the file that it is in.
pub(in crate::storage) struct OpenFile {
    pub db: Database,
    pub file: FileId,
}

/// Returns the database and whether opening verified every page.
fn open(path: &Path, cache_bytes: usize) -> Result<(OpenFile, bool), OpenError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    // Created here so that no other user can read it; redb treats an empty file as a new database.
    let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(|source| file_error(path, source))?;
    chown_to_folder_owner(&file, path).map_err(|source| file_error(path, source))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    newest_commit::select_newest(&file, path, cache_bytes.min(CHECK_CACHE_BYTES)).map_err(|source| {
        if source.kind() == ErrorKind::WouldBlock { in_use(folder) } else { file_error(path, source) }
    })?;
    let id = FileId::of(&file.metadata().map_err(|source| file_error(path, source))?);
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    let is_checked = Rc::new(Cell::new(false));
    let (shown, checked) = (path.to_owned(), Rc::clone(&is_checked));
    builder.set_repair_callback(move |session| {
        checked.set(true);
        log::info!("checking {} after an unclean end: {:.0} %", shown.display(), session.progress() * 100.0);
    });
    // This very file, and not whatever has its name by now.
    match catch_panic::catch_redb_panic(|| builder.create_with_backend(FileBackend::new(file)?)) {
        Some(Ok(db)) => Ok((OpenFile { db, file: id }, is_checked.get())),
        Some(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(in_use(folder)),
        Some(Err(error)) => Err(OpenError::failed(path, error.into())),
        None => Err(OpenError::unreadable(path)),
    }
}

/// Opens the database to look at it. Whatever redb changes in it for that stays in memory.
pub(in crate::storage) fn open_to_look(path: &Path, cache_bytes: usize) -> Result<Database, OpenError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::WouldBlock => in_use(folder),
        _ => file_error(path, source),
    };
    let view = fs::File::open(path).and_then(|file| newest_commit::view(&file, cache_bytes.min(CHECK_CACHE_BYTES)));
    let view = view.map_err(failed)?;
    // Where the lock does not show it, a file that is being written would look damaged.
    if path.file_name().is_some_and(|name| name == DATABASE_FILE)
        && let Some(holder) = holder::at_work(&folder.join(HOLDER_FILE))
    {
        return Err(OpenError::HeldElsewhere { folder: folder.to_owned(), holder });
    }
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    match catch_panic::catch_redb_panic(|| builder.create_with_backend(view)) {
        Some(opened) => opened.map_err(|error| OpenError::failed(path, error.into())),
        None => Err(OpenError::unreadable(path)),
    }
}

/// Verifies the checksum of every page. `false`: the database's list of free pages was wrong and is repaired; no stored
/// data is affected.
pub(in crate::storage) fn check_pages(db: &mut Database, path: &Path) -> Result<bool, OpenError> {
    match catch_panic::catch_redb_panic(|| db.check_integrity()) {
        Some(checked) => checked.map_err(|error| OpenError::failed(path, error.into())),
        None => Err(OpenError::unreadable(path)),
    }
}

/// After a failed write-back the kernel may cache pages as clean that never reached the disk. Later reads must come
/// from the disk.
fn drop_cached_pages(path: &Path) {
    let dropped = fs::File::open(path).and_then(|file| {
        file.sync_all()?;
        Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
    });
    if let Err(error) = dropped {
        log::warn!("the cached pages of {} could not be dropped: {error}", path.display());
    }
}
