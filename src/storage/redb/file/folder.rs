//! The data folder: the files beside the database, their owner and permissions. Runs on the thread that opens a store
//! or works on a whole file. It never reads the database.

use std::fs;
use std::path::Path;

use crate::storage::error::{OpenError, StorageError};
use crate::storage::holder;

/// The name of the database in its folder.
pub(in crate::storage) const DATABASE_FILE: &str = "tempclock.redb";
pub(in crate::storage) const MARKER_FILE: &str = "identity";
pub(in crate::storage) const HOLDER_FILE: &str = "holder";
/// Extensions of databases that are still being written.
pub(in crate::storage) const RESTORING: &str = "restoring";
pub(in crate::storage) const SEALING: &str = "sealing";
pub(in crate::storage) const COPYING: &str = "copying";

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct FileId {
    device: u64,
    inode: u64,
    /// Not, once the last name of the file is removed; and never, where the file system does not count names.
    is_linked: bool,
}

impl FileId {
    pub fn of(found: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { device: found.dev(), inode: found.ino(), is_linked: found.nlink() > 0 }
    }
}

/// Somebody has the database open.
pub(in crate::storage) fn in_use(folder: &Path) -> OpenError {
    OpenError::InUse { path: folder.join(DATABASE_FILE), holder: holder::who(&folder.join(HOLDER_FILE)) }
}

pub(in crate::storage) fn file_error(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::failed(path, StorageError::File { path: path.to_owned(), source })
}

pub(in crate::storage) fn create_folder(folder: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| OpenError::Folder { path: folder.to_owned(), source })
}

/// Files that root creates here are chowned to the folder's owner, or the server could not open them. Links placed
/// there are never followed.
pub(in crate::storage) fn chown_to_folder_owner(file: &fs::File, path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let Some(folder) = path.parent().filter(|_| rustix::process::geteuid().is_root()) else { return Ok(()) };
    let (folder, found, named) = (fs::metadata(folder)?, file.metadata()?, fs::symlink_metadata(path)?);
    let is_no_link = (named.dev(), named.ino(), found.nlink()) == (found.dev(), found.ino(), 1);
    if is_no_link && found.uid() == 0 && folder.uid() != 0 {
        std::os::unix::fs::fchown(file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

/// Creates a file that no other user can read; replaces one that was left unfinished. A link is removed, not followed.
pub(in crate::storage) fn create_private_file(path: &Path) -> std::io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    chown_to_folder_owner(&file, path)?;
    Ok(file)
}

/// Writes a small file atomically: under a temporary name, then renamed.
pub(in crate::storage) fn write_private(path: &Path, text: &str) -> Result<(), OpenError> {
    use std::io::Write as _;
    let unfinished = path.with_extension("new");
    create_private_file(&unfinished)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&unfinished, path))
        .map_err(|source| file_error(path, source))
}

pub(in crate::storage) fn sync_folder_of(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| file_error(folder, source))
}

/// The text of the marker file.
pub(in crate::storage) fn marker_text(store_id: u128) -> String {
    format!("{store_id:032x}\n")
}

/// Checks that the marker belongs to the database with this identity, or writes it.
pub(in crate::storage) fn check_or_write_marker(path: &Path, marker: &Path, store_id: u128) -> Result<(), OpenError> {
    let expected = marker_text(store_id);
    match fs::read(marker) {
        Ok(found) if found == expected.as_bytes() => Ok(()),
        Ok(_) => Err(OpenError::Swapped { path: path.to_owned(), marker: marker.to_owned() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_private(marker, &expected)?;
            sync_folder_of(marker)
        }
        Err(source) => Err(file_error(marker, source)),
    }
}

/// Removes files that interrupted commands left beside the database. While the database is open no such command is
/// running.
pub(in crate::storage) fn remove_unfinished(path: &Path) {
    for unfinished in [RESTORING, SEALING, COPYING].map(|name| path.with_extension(name)) {
        if fs::remove_file(&unfinished).is_ok() {
            log::info!("{} was never finished and is removed", unfinished.display());
        }
    }
}
