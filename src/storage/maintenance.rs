//! Everything that is done to a store because it lies in files, beside the engine that serves it: look at them without
//! opening the store, back up, restore, verify, compact, change the key. An engine that keeps no files has none of this.
//! Runs in a command, on its main thread or on one of its own.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use crate::domain::Timestamp;
use crate::storage::redb::copy::{backup, inspect, reseal, restore};
use crate::storage::redb::file::disk::free_bytes;
use crate::storage::redb::file::folder::{DATABASE_FILE, HOLDER_FILE, MARKER_FILE};
use crate::storage::sealing::Seal;

pub use crate::storage::redb::copy::backup::{Verified, verify};
pub use crate::storage::redb::copy::backup_file::{BackupFile, BackupFileError};
pub use crate::storage::redb::copy::dump::{DumpError, Manifest};
pub use crate::storage::redb::copy::error::BackupError;
pub use crate::storage::redb::copy::inspect::{InspectError, Inspection, SubscriptionBacklog};
pub use crate::storage::redb::copy::restore::Restored;
pub use crate::storage::redb::copy::verify::rows as verify_rows;

/// What the number of blocks of a file counts in.
const BLOCK_BYTES: u64 = 512;
/// How much is tried to be written.
const TRIED_BYTES: usize = 64 * 1024;

/// The files of the store in one folder.
pub struct Maintenance<'a> {
    folder: &'a Path,
}

/// Whether a folder has a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It never had one.
    Never,
    /// It had one, whose database is gone.
    Missing,
    /// It has one, or this user cannot tell.
    Present,
}

/// How large the store is, and the room that it has.
#[derive(Debug)]
pub struct Room {
    /// Where that was looked up: the folder, or the first above it that exists.
    pub folder: PathBuf,
    /// Bytes that are free there; `None` if unknown.
    pub free_bytes: Option<u64>,
    /// Bytes that the database takes up, which are fewer than its length; `None` if this user may not see them.
    pub occupied_bytes: Option<u64>,
}

/// This user may not use the files.
#[derive(Debug)]
pub struct NoAccess {
    /// The folder or file.
    pub path: PathBuf,
    /// The other user that it belongs to; `None` if it is this one's, or unknown.
    pub owner: Option<u32>,
}

impl<'a> Maintenance<'a> {
    /// The files in that folder.
    #[must_use]
    pub fn of(folder: &'a Path) -> Self {
        Self { folder }
    }

    fn database(&self) -> PathBuf {
        self.folder.join(DATABASE_FILE)
    }

    /// Whether there is a store.
    #[must_use]
    pub fn presence(&self) -> Presence {
        let is_missing = |name: &str| matches!(self.folder.join(name).try_exists(), Ok(false));
        match (is_missing(DATABASE_FILE), is_missing(MARKER_FILE)) {
            (false, _) => Presence::Present,
            (true, true) => Presence::Never,
            (true, false) => Presence::Missing,
        }
    }

    /// The paths of the files that no other user should read, the database first.
    #[must_use]
    pub fn private_files(&self) -> [PathBuf; 3] {
        [DATABASE_FILE, MARKER_FILE, HOLDER_FILE].map(|name| self.folder.join(name))
    }

    /// Checks that this user may open the store.
    pub fn check_access(&self) -> Result<(), NoAccess> {
        let needs = [
            (self.folder.to_owned(), Access::WRITE_OK | Access::EXEC_OK),
            (self.database(), Access::READ_OK | Access::WRITE_OK),
        ];
        for (path, rights) in needs {
            if rustix::fs::access(&path, rights) == Err(Errno::ACCESS) {
                let owner = fs::metadata(&path).or_else(|_| fs::metadata(self.folder)).map(|found| found.uid()).ok();
                let own = rustix::process::geteuid().as_raw();
                return Err(NoAccess { path, owner: owner.filter(|owner| *owner != own) });
            }
        }
        Ok(())
    }

    /// Tries whether the file system takes what is written, which rights alone do not tell. Leaves nothing behind.
    pub fn try_writing(&self) -> io::Result<()> {
        // To open it changes nothing.
        File::options().write(true).open(self.database())?;
        // Into a file that has no name, where the file system knows such files.
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(CWD, self.folder, flags, Mode::RUSR | Mode::WUSR)?;
        File::from(file).write_all(&vec![0; TRIED_BYTES])
    }

    /// How large it is, and the room that it has.
    #[must_use]
    pub fn room(&self) -> Room {
        let folder = self.folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        let occupied_bytes = match fs::metadata(self.database()) {
            Ok(found) => Some(found.blocks().saturating_mul(BLOCK_BYTES)),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => None,
            Err(_) => Some(0),
        };
        Room { folder: folder.to_owned(), free_bytes: free_bytes(folder), occupied_bytes }
    }

    /// Length of the database; a backup of a running server is never longer.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        fs::metadata(self.database()).map_or(0, |found| found.len())
    }

    /// Makes the file for a backup, on whose disk so much is to stay free for the server if it is the database's.
    pub fn backup_file(&self, output: &Path, reserve_bytes: u64) -> Result<BackupFile, BackupFileError> {
        BackupFile::create(output, self.folder, reserve_bytes)
    }

    /// Looks at the store without opening it for writing, at that time by the machine's clock; nothing if there is none.
    pub fn inspect(&self, now: Timestamp) -> Result<Option<Inspection>, InspectError> {
        match self.database().try_exists() {
            Ok(true) => inspect::inspect(self.folder, now).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(InspectError::Denied(error)),
        }
    }

    /// Restores a backup in the place of the database, in the name of a user. The old file is kept. `progress` is called with the rows done and
    /// the total.
    pub fn restore(
        &self,
        backup: &Path,
        by: (Timestamp, &str),
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Restored, BackupError> {
        restore::restore(backup, self.folder, by, progress)
    }

    /// Compacts the database. Returns its size in bytes before and after.
    pub fn compact(&self) -> Result<(u64, u64), BackupError> {
        backup::compact(self.folder)
    }

    /// Encrypts the secrets with another key, or with none. Returns their number.
    pub fn change_key(&self, from: &Seal, to: &Seal) -> Result<u64, BackupError> {
        reseal::change_key(self.folder, from, to)
    }
}
