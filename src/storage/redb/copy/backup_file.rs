//! The file that a backup is written to: made where nobody else can read it and nothing is in its way, under a temporary
//! name until it is complete, and never larger than its disk can bear. Runs on the main thread of a command.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::storage::redb::copy::backup::verify;
use crate::storage::redb::copy::error::BackupError;
use crate::storage::redb::copy::read_backup::is_backup;
use crate::storage::redb::file::disk::free_bytes;

/// How much is written between two looks at what is free.
const UNCHECKED_BYTES: u64 = 1024 * 1024;

/// Why a backup could not be written to a file.
#[derive(Debug, thiserror::Error)]
pub enum BackupFileError {
    /// Another file could be the database itself, or a pipe.
    #[error("{0} already exists and is not a backup; choose another --output")]
    NoBackup(PathBuf),
    /// It could not be looked at.
    #[error(transparent)]
    Unread(#[from] BackupError),
    /// Two backups to one place.
    #[error("{0} is being written by another backup; wait until that has finished")]
    BeingWritten(PathBuf),
    /// Something else has the temporary name.
    #[error(
        "{0} exists and is not an unfinished backup of this user; it was not changed. Remove it, or choose another --output"
    )]
    InTheWay(PathBuf),
    /// There is no such folder, or this user may not write to it.
    #[error(
        "{path}, the temporary file for the backup, cannot be created: {source}. Choose an --output in an existing folder that this user can write to"
    )]
    NoFolder {
        /// The temporary name.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be made, removed or renamed.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could not be written.
    #[error("{0}")]
    Write(#[from] io::Error),
    /// What was written is no backup.
    #[error("{source}. {output} was not written")]
    NotWhole {
        /// What was to be written.
        output: PathBuf,
        /// What is wrong with it.
        source: Box<BackupError>,
    },
}

/// The file. How large a backup becomes is not known before; what does not fit ends with an error that says so. Unless it
/// is finished, it is removed.
pub struct BackupFile {
    file: File,
    output: PathBuf,
    unfinished: PathBuf,
    reserve_bytes: u64,
    unchecked_bytes: u64,
    is_finished: bool,
}

/// A backup that is in its place.
pub struct FinishedBackup {
    /// Its length.
    pub bytes: u64,
    /// Why its name could not be synced, if it could not.
    pub unsynced: Option<BackupFileError>,
}

impl BackupFile {
    /// Makes the file for a backup of the store in that folder. An earlier backup or an empty file is replaced.
    pub(in crate::storage) fn create(output: &Path, store: &Path, reserve_bytes: u64) -> Result<Self, BackupFileError> {
        if let Ok(found) = fs::symlink_metadata(output)
            && !(found.is_file() && (found.len() == 0 || is_backup(output)?))
        {
            return Err(BackupFileError::NoBackup(output.to_owned()));
        }
        let unfinished = PathBuf::from(format!("{}.part", output.display()));
        let file = create(&unfinished)?;
        let device = |found: io::Result<fs::Metadata>| found.ok().map(|found| found.dev());
        let is_on_its_disk = device(fs::metadata(store)) == device(file.metadata());
        let reserve_bytes = if is_on_its_disk { reserve_bytes } else { 0 };
        Ok(Self { file, output: output.to_owned(), unfinished, reserve_bytes, unchecked_bytes: 0, is_finished: false })
    }

    /// Verifies what was written by reading it again, and puts it in its place.
    pub fn finish(mut self) -> Result<FinishedBackup, BackupFileError> {
        self.file.sync_all().map_err(|error| self.in_words(&error))?;
        let output = &self.output;
        verify(&self.unfinished)
            .map_err(|source| BackupFileError::NotWhole { output: output.clone(), source: source.into() })?;
        fs::rename(&self.unfinished, output).map_err(|source| file_error(output, source))?;
        self.is_finished = true;
        let folder = folder_of(&self.output);
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        let bytes = self.file.metadata().map_or(0, |found| found.len());
        Ok(FinishedBackup { bytes, unsynced: synced.map_err(|source| file_error(folder, source)).err() })
    }

    fn check(&self) -> io::Result<()> {
        match free_bytes(folder_of(&self.unfinished)) {
            Some(free) if self.reserve_bytes > 0 && free < self.reserve_bytes.saturating_add(UNCHECKED_BYTES) => {
                let kept =
                    format!("{} bytes are kept free for the server (storage.free_space_reserve)", self.reserve_bytes);
                Err(self.in_words(&io::Error::new(ErrorKind::StorageFull, kept)))
            }
            _ => Ok(()),
        }
    }

    fn in_words(&self, error: &io::Error) -> io::Error {
        let shown = self.unfinished.display();
        let words = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => format!(
                "the backup does not fit on the disk of {shown}: {error}. It was removed; free some space there, or choose another --output"
            ),
            _ => format!("{shown}: {error}"),
        };
        io::Error::new(error.kind(), words)
    }
}

impl Write for BackupFile {
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

impl Drop for BackupFile {
    fn drop(&mut self) {
        if !self.is_finished {
            drop(fs::remove_file(&self.unfinished));
        }
    }
}

fn file_error(path: &Path, source: io::Error) -> BackupFileError {
    BackupFileError::File { path: path.to_owned(), source }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a file that no other user can read. A leftover of this user's earlier backup is replaced; a link is neither
/// followed nor removed.
fn create(path: &Path) -> Result<File, BackupFileError> {
    let failed = |source| file_error(path, source);
    let own = rustix::process::geteuid().as_raw();
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_file() && found.uid() == own) {
        let left = File::open(path).map_err(failed)?;
        if matches!(left.try_lock(), Err(fs::TryLockError::WouldBlock)) {
            return Err(BackupFileError::BeingWritten(path.to_owned()));
        }
        fs::remove_file(path).map_err(failed)?;
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    // Lock it against a concurrent backup to the same path, which would take it for a leftover; best effort where locks
    // are not supported.
    made.inspect(|made| drop(made.try_lock())).map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => BackupFileError::InTheWay(path.to_owned()),
        ErrorKind::NotFound | ErrorKind::PermissionDenied => {
            BackupFileError::NoFolder { path: path.to_owned(), source }
        }
        _ => failed(source),
    })
}
