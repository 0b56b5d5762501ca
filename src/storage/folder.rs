//! The data folder: what lies in it beside the database, and who may have it. Runs on whichever thread opens a store or
//! works on a whole file. It never looks into the database.

use std::fs;
use std::path::Path;

use super::error::{OpenError, StorageError};
use super::holder;

/// The name of the database in its folder.
pub const DATABASE_FILE: &str = "tempclock.redb";
pub(super) const MARKER_FILE: &str = "identity";
pub(super) const HOLDER_FILE: &str = "holder";
/// What a database is called that is not yet in its place, by its extension.
pub(super) const RESTORING: &str = "restoring";
pub(super) const SEALING: &str = "sealing";

/// Has no store ever been in this folder? Not if that cannot be seen.
#[must_use]
pub fn is_new(folder: &Path) -> bool {
    [DATABASE_FILE, MARKER_FILE].iter().all(|name| matches!(folder.join(name).try_exists(), Ok(false)))
}

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
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
pub(super) fn in_use(folder: &Path) -> OpenError {
    OpenError::InUse { path: folder.join(DATABASE_FILE), holder: holder::who(&folder.join(HOLDER_FILE)) }
}

pub(super) fn file_error(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::failed(path, StorageError::File { path: path.to_owned(), source })
}

pub(super) fn make_folder(folder: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| OpenError::Folder { path: folder.to_owned(), source })
}

/// What root makes in the folder of the user that the server runs as belongs to that user, who could not open it else.
/// A link that this user has put there gives away nothing that it points to.
pub(super) fn leave_to_owner(file: &fs::File, path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let Some(folder) = path.parent().filter(|_| rustix::process::geteuid().is_root()) else { return Ok(()) };
    let (folder, found, named) = (fs::metadata(folder)?, file.metadata()?, fs::symlink_metadata(path)?);
    let is_no_link = (named.dev(), named.ino(), found.nlink()) == (found.dev(), found.ino(), 1);
    if is_no_link && found.uid() == 0 && folder.uid() != 0 {
        std::os::unix::fs::fchown(file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

/// A new file that nobody else can read, in the place of one that was left unfinished. A link is removed, not followed.
pub(super) fn new_file(path: &Path) -> std::io::Result<fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = fs::OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
    leave_to_owner(&file, path)?;
    Ok(file)
}

/// Writes a small file beside its name and puts it in place whole.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), OpenError> {
    use std::io::Write as _;
    let unfinished = path.with_extension("new");
    new_file(&unfinished)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&unfinished, path))
        .map_err(|source| file_error(path, source))
}

pub(super) fn sync_folder_of(path: &Path) -> Result<(), OpenError> {
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| file_error(folder, source))
}

/// What the marker beside a store says.
pub(super) fn marker_text(store_id: u128) -> String {
    format!("{store_id:032x}\n")
}

/// Sees to it that the marker belongs to the database that has this identity.
pub(super) fn settle_marker(path: &Path, marker: &Path, store_id: u128) -> Result<(), OpenError> {
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

/// Takes away what commands that were cut off have left beside the database. Whoever has it open knows that none of them
/// is at work.
pub(super) fn remove_unfinished(path: &Path) {
    for unfinished in [RESTORING, SEALING].map(|name| path.with_extension(name)) {
        if fs::remove_file(&unfinished).is_ok() {
            log::info!("{} was never finished, and is removed", unfinished.display());
        }
    }
}
