//! One owner, one file: the claim of this process on a data folder. Locks do not show it to everybody, because one folder
//! can be reached by several paths (an overlay, a FUSE mount, a network share), so it also stands in the file `holder`,
//! which is always written in place, as that is seen by every path. Made on the thread that opens a store, before the
//! database is opened; a thread of its own raises the beat in it and looks each second whether folder and file are still
//! this process's; the writer looks before it answers. Of the database it reads the header alone.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read as _};
use std::ops::Deref;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use redb::{Database, WriteTransaction};
use rustix::fs::OFlags;

use crate::domain::Timestamp;
use crate::storage::error::{Loss, OpenError, StorageError, is_full};
use crate::storage::holder::{self, BEAT, Holder, Life};
use crate::storage::random::Randomness;
use crate::storage::redb::file::folder::{
    DATABASE_FILE, FileId, HOLDER_FILE, chown_to_folder_owner, create_private_file, file_error, in_use,
};
use crate::storage::redb::file::last_commit::LastCommit;

/// Whom a loss is told.
type LossListener = Box<dyn Fn(&Loss) + Send>;

/// The claim; the folder is given back when it is dropped, which has to be after the database is closed.
pub(in crate::storage) struct Owner {
    claim: Arc<Claim>,
    beating: Option<(Sender<()>, JoinHandle<()>)>,
}

struct Claim {
    database: PathBuf,
    /// The database that this process has open, once it has.
    opened: OnceLock<Opened>,
    path: PathBuf,
    /// Where the claim stands, locked. None where there was no room for it.
    file: Option<File>,
    /// Whether that file counts its names.
    is_linked: bool,
    holder: Holder,
    /// How the file begins as long as the claim stands.
    head: String,
    listener: Mutex<Option<LossListener>>,
}

/// A database that is open.
struct Opened {
    id: FileId,
    last_commit: Option<LastCommit>,
}

impl Owner {
    /// Takes the folder, unless somebody has it who is at work.
    pub fn claim(folder: &Path, now: Timestamp) -> Result<Self, OpenError> {
        let path = folder.join(HOLDER_FILE);
        let token = Randomness::new().next_u128().map_err(|source| OpenError::failed(&path, source))?;
        let holder = Holder::own(token, now);
        let file = take(folder, &path, &holder)?;
        let claim = Arc::new(Claim {
            database: folder.join(DATABASE_FILE),
            opened: OnceLock::new(),
            path,
            is_linked: file.as_ref().and_then(|file| file.metadata().ok()).is_some_and(|found| found.nlink() > 0),
            file,
            head: holder.head(),
            holder,
            listener: Mutex::new(None),
        });
        let (stop, stopped) = bounded(0);
        let kept = Arc::clone(&claim);
        let thread = std::thread::Builder::new().name("owner".to_owned()).spawn(move || kept.keep(&stopped));
        let thread = thread.map_err(|error| file_error(&claim.path, error))?;
        Ok(Self { claim, beating: Some((stop, thread)) })
    }

    /// The database is open, and this is its file. From here on it has to be the one in the folder.
    fn guard(&self, id: FileId) {
        let last_commit = LastCommit::of(&self.claim.database, id);
        // A claim is for one database, so this is the first time.
        let _ = self.claim.opened.set(Opened { id, last_commit });
    }

    /// Are folder and file still this process's? Takes a few microseconds.
    pub fn check(&self) -> Result<(), Loss> {
        self.claim.check()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let Some((stop, thread)) = self.beating.take() else { return };
        drop(stop);
        if thread.join().is_err() {
            log::error!("the thread that kept the claim had panicked");
        }
        let claim = &self.claim;
        let Some(file) = &claim.file else { return };
        let emptied = if claim.check_holder().is_ok() { file.set_len(0) } else { Ok(()) };
        // Unlocked, not only closed: a process that was started just now still has the file open, and so locked.
        if let Err(error) = emptied.and(file.unlock()) {
            log::debug!("{} could not be released: {error}", claim.path.display());
        }
    }
}

impl Claim {
    /// Raises the beat until it is told to stop, or until the folder is lost and somebody was told.
    fn keep(&self, stopped: &Receiver<()>) {
        let mut beat = 0;
        while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            beat += 1;
            let Err(loss) = self.check_database().and_then(|()| self.raise(beat)) else { continue };
            let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(tell) = &*listener {
                return tell(&loss);
            }
        }
    }

    /// Looks at the file by its path, as others see it, and closes it again, which is when a network file system passes
    /// on what was written.
    fn raise(&self, beat: u64) -> Result<(), Loss> {
        if self.file.is_none() {
            return Ok(());
        }
        let file = match open_there(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.gone()),
            // A folder or a link.
            Err(_) if fs::symlink_metadata(&self.path).is_ok_and(|found| !found.is_file()) => return Err(self.gone()),
            // Too many open files, for one: then this beat is left out.
            Err(_) => return Ok(()),
        };
        let mut text = String::new();
        let seen = file.metadata().and_then(|found| (&file).read_to_string(&mut text).map(|_| found));
        if seen.is_ok_and(|found| found.nlink() == 0 && self.is_linked) {
            return Err(self.gone());
        }
        if !text.starts_with(&self.head) {
            return Err(self.taken());
        }
        if let Err(error) = file.write_all_at(self.holder.text(beat).as_bytes(), 0) {
            log::debug!("the heartbeat in {} could not be updated: {error}", self.path.display());
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Loss> {
        self.check_database()?;
        self.check_holder()
    }

    fn check_database(&self) -> Result<(), Loss> {
        let Some(opened) = self.opened.get() else { return Ok(()) };
        let path = self.database.clone();
        match fs::metadata(&path) {
            // A path of an overlay goes on to lead to a file that the folder below it does not have any more.
            Ok(found) if FileId::of(&found) == opened.id => match &opened.last_commit {
                Some(last_commit) => last_commit.check(&path),
                None => Ok(()),
            },
            Ok(found) if found.nlink() > 0 => Err(Loss::Replaced(path)),
            Ok(_) => Err(Loss::Removed(path)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Loss::Removed(path)),
            // Rights that were taken away say nothing of the file.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(Loss::Unseen(path, error.to_string())),
        }
    }

    /// By the open file, which takes no time and no path.
    fn check_holder(&self) -> Result<(), Loss> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut found = vec![0; self.head.len()];
        match file.read_exact_at(&mut found, 0) {
            Ok(()) if found == self.head.as_bytes() => Ok(()),
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
                Err(Loss::Unseen(self.path.clone(), error.to_string()))
            }
            _ => Err(self.taken()),
        }
    }

    fn taken(&self) -> Loss {
        match holder::who(&self.path) {
            Some(by) => Loss::Taken { holder: self.path.clone(), by },
            None => self.gone(),
        }
    }

    fn gone(&self) -> Loss {
        Loss::Gone(self.path.clone())
    }
}

/// Writes the claim into the file and gives it, locked; none if there is no room for it.
fn take(folder: &Path, path: &Path, holder: &Holder) -> Result<Option<File>, OpenError> {
    let without = |error: io::Error| {
        if !is_full(&error) {
            return Err(file_error(path, error));
        }
        // It only tells others, so a disk without a byte to spare must not keep deliveries from going on.
        log::warn!("{} cannot show other servers that this one uses the folder: {error}", path.display());
        Ok(None)
    };
    let file = match open(path) {
        Ok(file) => file,
        Err(error) => return without(error),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(folder)),
        // Where locks are not known, the beat alone tells.
        Err(TryLockError::Error(error)) => log::debug!("{} cannot be locked: {error}", path.display()),
    }
    if let Some(before) = Holder::read(path).map_err(|error| file_error(path, error))?
        && before.look(path) == Life::AtWork
    {
        return Err(OpenError::HeldElsewhere { folder: folder.to_owned(), holder: before.who });
    }
    let text = holder.text(0);
    let written = file.write_all_at(text.as_bytes(), 0).and_then(|()| file.set_len(text.len() as u64));
    // Synced, so that other machines see it before the database is touched.
    match written.and_then(|()| file.sync_all()) {
        Ok(()) => Ok(Some(file)),
        Err(error) => without(error),
    }
}

/// Opens the file in the folder, or makes it. What lies there and is not the folder's own is removed and not written to:
/// a link leads elsewhere.
fn open(path: &Path) -> io::Result<File> {
    match open_there(path) {
        Ok(file) => {
            let found = file.metadata()?;
            if found.is_file() && found.nlink() <= 1 {
                chown_to_folder_owner(&file, path)?;
                return Ok(file);
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) => {}
        Err(error) => return Err(error),
    }
    create_private_file(path)
}

fn open_there(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or_default();
    File::options().read(true).write(true).custom_flags(flags).open(path)
}

/// A database with the claim on its folder.
pub(in crate::storage) struct OwnedDatabase {
    // Closed before the folder is given back.
    db: Database,
    owner: Option<Owner>,
}

impl OwnedDatabase {
    /// A database in a folder; `file` is the one that is open.
    pub fn in_folder(db: Database, file: FileId, owner: Owner) -> Self {
        owner.guard(file);
        Self { db, owner: Some(owner) }
    }

    /// A database that keeps its bytes elsewhere, which nobody else can open.
    pub fn elsewhere(db: Database) -> Self {
        Self { db, owner: None }
    }

    /// Are folder and file still this process's?
    pub fn check_owner(&self) -> Result<(), Loss> {
        self.owner.as_ref().map_or(Ok(()), Owner::check)
    }

    /// Begins a transaction, unless somebody else has written to the file.
    pub fn begin(&self) -> Result<WriteTransaction, StorageError> {
        if let Some((last_commit, path)) = self.last_commit() {
            last_commit.begin(path)?;
        }
        Ok(self.db.begin_write()?)
    }

    /// Commits a transaction, unless somebody else has written to the file.
    pub fn commit(&self, transaction: WriteTransaction) -> Result<(), StorageError> {
        let commit = || Ok(transaction.commit()?);
        match self.last_commit() {
            Some((last_commit, path)) => last_commit.around(path, commit),
            None => commit(),
        }
    }

    fn last_commit(&self) -> Option<(&LastCommit, &Path)> {
        let claim = &self.owner.as_ref()?.claim;
        Some((claim.opened.get()?.last_commit.as_ref()?, &claim.database))
    }

    /// `listener` is told once, from a thread of its own, when that is no longer so.
    pub fn when_lost(&self, listener: LossListener) {
        if let Some(owner) = &self.owner {
            *owner.claim.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
        }
    }
}

impl Deref for OwnedDatabase {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.db
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As while another thread starts a program, which has every open file until it runs.
    #[test]
    fn a_folder_is_given_back_while_another_process_still_has_its_claim_open() {
        let folder = tempfile::tempdir().unwrap();
        let owner = Owner::claim(folder.path(), Timestamp::from_ms(1)).unwrap();
        let inherited = owner.claim.file.as_ref().unwrap().try_clone().unwrap();
        drop(owner);
        assert!(Owner::claim(folder.path(), Timestamp::from_ms(1)).is_ok());
        drop(inherited);
    }
}
