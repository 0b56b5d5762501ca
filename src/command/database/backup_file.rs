//! The file that a backup is written to: made where nobody else can read it and nothing is in its way, and never larger
//! than its disk can bear. Runs on the main thread.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::command::console::output::say;
use crate::command::failure::failed;
use crate::command::{Exit, Failure, Outcome};
use crate::config::Config;
use crate::disk::free_bytes;
use crate::storage::maintenance::backup;

/// How much is written between two looks at what is free.
const UNCHECKED_BYTES: u64 = 1024 * 1024;

/// A backup may only overwrite an earlier backup or an empty file: another file could be the database itself, or a
/// pipe.
pub fn check_place(output: &Path) -> Outcome {
    let Ok(found) = fs::symlink_metadata(output) else { return Ok(()) };
    if found.is_file() && (found.len() == 0 || backup::is_backup(output).map_err(failed)?) {
        return Ok(());
    }
    let message = format!("{} is there already and is no backup; give another --output", output.display());
    Err((Exit::Usage, message))
}

/// Creates a file that no other user can read. A leftover of this user's earlier backup is replaced; a link is neither
/// followed nor removed.
fn create(path: &Path) -> Result<File, Failure> {
    let shown = path.display();
    let own = rustix::process::geteuid().as_raw();
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.uid() == own) {
        let left = File::open(path).map_err(|error| failed(format!("{shown}: {error}")))?;
        if matches!(left.try_lock(), Err(fs::TryLockError::WouldBlock)) {
            return Err(failed(format!("{shown} is being written by another backup; wait until that is done")));
        }
        fs::remove_file(path).map_err(|error| failed(format!("{shown}: {error}")))?;
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    // Lock it against a concurrent backup to the same path, which would take it for a leftover; best effort where locks
    // are not supported.
    made.inspect(|made| drop(made.try_lock())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => failed(format!(
            "{shown} is in the way, and is no unfinished backup of this user; it was not touched. Remove it, or name another --output"
        )),
        ErrorKind::NotFound | ErrorKind::PermissionDenied => failed(format!(
            "{shown}, which becomes the backup when it is whole, cannot be made: {error}. Give an --output in a folder that is there and that this user may write to"
        )),
        _ => failed(format!("{shown}: {error}")),
    })
}

/// What is to stay free for the server where the backup is on the disk of the database.
fn reserve(config: &Config, backup: &File) -> u64 {
    let device = |found: io::Result<fs::Metadata>| found.ok().map(|found| found.dev());
    let is_same = device(fs::metadata(&config.storage.data_dir)) == device(backup.metadata());
    if is_same { config.storage.free_space_reserve_bytes } else { 0 }
}

/// The file, which does not fill up the disk. How large a backup becomes is not known before; what does not fit ends with an
/// error that says so.
pub struct BackupFile<'a> {
    file: File,
    path: &'a Path,
    reserve_bytes: u64,
    unchecked_bytes: u64,
}

impl<'a> BackupFile<'a> {
    /// Makes the file for a backup of that configuration's store.
    pub fn create(path: &'a Path, config: &Config) -> Result<Self, Failure> {
        let file = create(path)?;
        Ok(Self { reserve_bytes: reserve(config, &file), file, path, unchecked_bytes: 0 })
    }

    /// Has the disk keep what was written.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all().map_err(|error| self.in_words(&error))
    }

    fn check(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match free_bytes(folder) {
            Some(free) if self.reserve_bytes > 0 && free < self.reserve_bytes.saturating_add(UNCHECKED_BYTES) => {
                let kept =
                    format!("{} bytes are kept free for the server (storage.free_space_reserve)", self.reserve_bytes);
                Err(self.in_words(&io::Error::new(ErrorKind::StorageFull, kept)))
            }
            _ => Ok(()),
        }
    }

    fn in_words(&self, error: &io::Error) -> io::Error {
        let shown = self.path.display();
        let words = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!(
                "the backup does not fit on the disk of {shown}: {error}. It was removed; make room there, or give another --output"
            ),
            _ => format!("{shown}: {error}"),
        };
        io::Error::new(error.kind(), words)
    }
}

impl Write for BackupFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unchecked_bytes == 0 {
            self.check()?;
        }
        let written = self.file.write(bytes).map_err(|error| self.in_words(&error))?;
        self.unchecked_bytes = self.unchecked_bytes.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        if self.unchecked_bytes >= UNCHECKED_BYTES {
            self.unchecked_bytes = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Has the disk keep the name of a file.
pub fn sync_folder_of(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
        say(&format!("{} could not be synced: {error}", folder.display()));
    }
}
