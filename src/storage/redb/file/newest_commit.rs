//! Selects the newer of a database's two commits. redb uses the one that the header's flag selects: a flipped bit there
//! selects the previous commit, which is as consistent, so that no checksum detects it. Runs on the thread that opens a
//! store, before redb opens the file. It writes only that bit, and only if the newer commit is intact; if that commit
//! was not acknowledged, its events are delivered all the same.

use std::cell::Cell;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::{Database, DatabaseError, StorageBackend};

use crate::storage::redb::file::catch_panic;

/// redb's file format 3: a byte of flags behind the magic, then the two commits, each with the number of its format
/// first. In another format the places below may hold something else, so then nothing is judged or written here.
const FORMAT: u8 = 3;
const FORMATS_AT: [usize; 2] = [64, 192];
const FLAGS_AT: usize = 9;
const NUMBERS_AT: [usize; 2] = [64 + 104, 192 + 104];
pub(super) const HEADER_BYTES: usize = 320;

const SECOND_IS_CURRENT: u8 = 1;
const IS_UNCLEAN: u8 = 2;
const IS_TWO_PHASE: u8 = 4;

/// Selects the newest commit if the file was not closed and that commit is intact. `WouldBlock`: another process has
/// the file open.
pub(in crate::storage) fn select_newest(file: &File, path: &Path, cache_bytes: usize) -> io::Result<()> {
    file.try_lock().map_err(in_use)?;
    let Some(flags) = newer(file)? else { return Ok(()) };
    // The commit must be on the disk, not only in the page cache, before the header may select it.
    file.sync_all()?;
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
    if is_whole(OverlayFile::new(file.try_clone()?, Some(flags))?, cache_bytes)? {
        log::info!("{} was left during a commit, which is complete and is used", path.display());
        file.write_all_at(&[flags], FLAGS_AT as u64)?;
        file.sync_data()
    } else {
        log::info!("{} was left during a commit, which is incomplete; the previous commit is used", path.display());
        Ok(())
    }
}

/// The file as it would be opened, to be looked at: nothing in it changes, so it can lie where nothing can be written.
/// An error of the kind `WouldBlock` says that somebody has it.
pub(in crate::storage) fn view(file: &File, cache_bytes: usize) -> io::Result<OverlayFile> {
    file.try_lock_shared().map_err(in_use)?;
    let newer = newer(file)?;
    let view = |flags| OverlayFile::new(file.try_clone()?, flags);
    match newer {
        Some(flags) if is_whole(view(Some(flags))?, cache_bytes)? => view(Some(flags)),
        _ => view(None),
    }
}

fn in_use(error: TryLockError) -> io::Error {
    match error {
        TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        TryLockError::Error(error) => error,
    }
}

/// The flags with which the commit that is not in force would be, if it is the newer one.
fn newer(file: &File) -> io::Result<Option<u8>> {
    let mut header = [0; HEADER_BYTES];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => Ok(flags_for_newer(&header)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The flags that select the other commit, if that is the newer one. After a clean shutdown nothing is to be done, and
/// without two-phase commits redb decides itself.
fn flags_for_newer(header: &[u8; HEADER_BYTES]) -> Option<u8> {
    let number = |at: usize| header.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let [first, second] = NUMBERS_AT.map(number);
    let flags = header[FLAGS_AT];
    let is_second = flags & SECOND_IS_CURRENT != 0;
    let is_newer = if is_second { first > second } else { second > first };
    let is_known = FORMATS_AT.iter().all(|at| header.get(*at) == Some(&FORMAT));
    let is_for_us = is_known && flags & IS_UNCLEAN != 0 && flags & IS_TWO_PHASE != 0;
    (is_for_us && is_newer).then_some(flags ^ SECOND_IS_CURRENT)
}

/// Whether every page of the selected commit matches its checksum. A read error leaves that unknown.
fn is_whole(view: OverlayFile, cache_bytes: usize) -> io::Result<bool> {
    let checked = catch_panic::catch_redb_panic(|| {
        let mut builder = Database::builder();
        builder.set_cache_size(cache_bytes);
        let is_checked = Rc::new(Cell::new(false));
        let checked = Rc::clone(&is_checked);
        // The file was not closed, so redb verifies every page before opening it.
        builder.set_repair_callback(move |_| checked.set(true));
        let mut db = builder.create_with_backend(view)?;
        if is_checked.get() { Ok(true) } else { db.check_integrity() }
    });
    match checked {
        Some(Ok(_)) => Ok(true),
        Some(Err(DatabaseError::Storage(redb::StorageError::Io(error)))) => Err(error),
        Some(Err(_)) | None => Ok(false),
    }
}

/// The file with other flags. redb's writes stay in memory: a few pages, since nothing is stored meanwhile.
#[derive(Debug)]
pub(in crate::storage) struct OverlayFile {
    file: File,
    changes: Mutex<OverlayPages>,
}

#[derive(Debug)]
struct OverlayPages {
    length: u64,
    written: Vec<(u64, Vec<u8>)>,
}

impl OverlayFile {
    fn new(file: File, flags: Option<u8>) -> io::Result<Self> {
        let length = file.metadata()?.len();
        let written = flags.into_iter().map(|flags| (FLAGS_AT as u64, vec![flags])).collect();
        Ok(Self { file, changes: Mutex::new(OverlayPages { length, written }) })
    }

    fn changes(&self) -> MutexGuard<'_, OverlayPages> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for OverlayFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changes().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < out.len() {
            match self.file.read_at(&mut out[filled..], offset + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        out[filled..].fill(0);
        for (at, bytes) in &self.changes().written {
            let from = offset.max(*at);
            let to = (offset + out.len() as u64).min(at + bytes.len() as u64);
            if from < to {
                let inside = |start: u64| Ok::<_, io::Error>(index(from - start)?..index(to - start)?);
                out[inside(offset)?].copy_from_slice(&bytes[inside(*at)?]);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.changes().length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.changes().written.push((offset, data.to_vec()));
        Ok(())
    }
}

fn index(count: u64) -> io::Result<usize> {
    usize::try_from(count).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use redb::{ReadableDatabase as _, TableDefinition};

    use super::*;

    const NUMBERS: TableDefinition<u64, u64> = TableDefinition::new("numbers");

    fn commit(db: &Database, number: u64) {
        let mut transaction = db.begin_write().unwrap();
        transaction.set_two_phase_commit(true);
        transaction.open_table(NUMBERS).unwrap().insert(number, number).unwrap();
        transaction.commit().unwrap();
    }

    /// A database with commits 0 to 9, as a killed process leaves it, and with a change to it, which is told how it was
    /// before the last commit.
    fn killed(folder: &Path, change: impl FnOnce(&mut [u8], &[u8])) -> std::path::PathBuf {
        let (used, left) = (folder.join("used.redb"), folder.join("left.redb"));
        let db = Database::create(&used).unwrap();
        (0..9).for_each(|number| commit(&db, number));
        let before = std::fs::read(&used).unwrap();
        commit(&db, 9);
        let mut bytes = std::fs::read(&used).unwrap();
        change(&mut bytes, &before);
        std::fs::write(&left, bytes).unwrap();
        left
    }

    fn numbers_after(path: &Path) -> Vec<u64> {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        select_newest(&file, path, 1024 * 1024).unwrap();
        // Unlocked, not only closed: a process that another test starts just now still has the file open, and so locked.
        file.unlock().unwrap();
        let db = Database::create(path).unwrap();
        let table = db.begin_read().unwrap().open_table(NUMBERS).unwrap();
        redb::ReadableTable::iter(&table).unwrap().map(|row| row.unwrap().0.value()).collect()
    }

    #[test]
    fn nothing_is_changed_where_the_newest_commit_is_in_force() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(numbers_after(&killed(folder.path(), |_, _| ())), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn the_newest_commit_is_put_in_force_when_the_header_names_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let left = killed(folder.path(), |bytes, _| bytes[FLAGS_AT] ^= SECOND_IS_CURRENT);
        assert_eq!(numbers_after(&left), (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn the_commit_before_counts_when_the_newest_is_not_whole() {
        let folder = tempfile::tempdir().unwrap();
        let left = killed(folder.path(), |bytes, _| {
            let newest = NUMBERS_AT[usize::from(bytes[FLAGS_AT] & SECOND_IS_CURRENT)];
            bytes[newest - 60] ^= 1;
            bytes[FLAGS_AT] ^= SECOND_IS_CURRENT;
        });
        assert_eq!(numbers_after(&left), (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn the_commit_before_counts_when_a_page_of_the_newest_is_not_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let left = killed(folder.path(), |bytes, before| {
            let is_new = |index: &usize| bytes[*index] != 0 && before.get(*index) != Some(&bytes[*index]);
            let torn = (4096..bytes.len()).find(is_new).unwrap();
            bytes[torn] ^= 1;
            bytes[FLAGS_AT] ^= SECOND_IS_CURRENT;
        });
        assert_eq!(numbers_after(&left), (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn a_header_of_another_format_is_not_judged() {
        let folder = tempfile::tempdir().unwrap();
        let left = killed(folder.path(), |bytes, _| bytes[FLAGS_AT] ^= SECOND_IS_CURRENT);
        let header: [u8; HEADER_BYTES] = std::fs::read(&left).unwrap()[..HEADER_BYTES].try_into().unwrap();
        assert!(flags_for_newer(&header).is_some(), "of the format that is known");
        for at in FORMATS_AT {
            let mut header = header;
            header[at] = FORMAT + 1;
            assert_eq!(flags_for_newer(&header), None);
        }
    }

    #[test]
    fn a_file_that_somebody_has_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let left = killed(folder.path(), |bytes, _| bytes[FLAGS_AT] ^= SECOND_IS_CURRENT);
        let [held, file] = [(); 2].map(|()| std::fs::OpenOptions::new().read(true).write(true).open(&left).unwrap());
        held.try_lock_shared().unwrap();
        let refused = select_newest(&file, &left, 1024 * 1024).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }
}
