//! How a process loses its store while it runs. Pure; any thread.

use std::path::PathBuf;

/// How a process lost what it had. Nothing is acknowledged from then on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// Another file has the name of the database.
    #[error(
        "{0} was replaced by another file while the server had it open. Nothing written to the old file would be found again, so nothing was acknowledged from then on. Stop the server before you copy anything over its files; the next start uses the current file"
    )]
    Replaced(PathBuf),
    /// No file has the name of the database.
    #[error(
        "{0} was removed or moved away while the server had it open, so nothing was acknowledged from then on. Put it back, or restore a backup with: tempclock-webhooks restore FILE"
    )]
    Removed(PathBuf),
    /// The database was written to by somebody else.
    #[error(
        "{0} was overwritten or truncated while the server had it open. Nothing was acknowledged from then on, and earlier data may be damaged. Stop the server before you copy anything over its files; then check the file with: tempclock-webhooks verify FILE, or restore a backup"
    )]
    Overwritten(PathBuf),
    /// Another process has put itself in the place of this one.
    #[error(
        "the data folder was taken over by {by}, according to {holder}, so nothing was acknowledged from then on. Two servers on one folder destroy the database: stop that one, or use a separate folder for each"
    )]
    Taken {
        /// The file that says so.
        holder: PathBuf,
        /// What it says.
        by: String,
    },
    /// Nobody is named as the owner.
    #[error(
        "{0} was removed, emptied or replaced while the server had the data folder, so other servers can no longer see that it is in use; start the server again"
    )]
    Gone(PathBuf),
    /// Another process has taken a schema.
    #[error(
        "schema {0} was taken over by another process, because this one did not renew its lease in time, so nothing was acknowledged from then on. After a restart it waits on standby"
    )]
    TakenOver(String),
    /// The database server has lost commits.
    #[error(
        "{0}. Nothing was acknowledged from then on. Acknowledged events may be lost if only the failed database server has them: check it before you start again, and name synchronous standbys in synchronous_standby_names"
    )]
    Behind(String),
    /// The file system does not tell.
    #[error("{0} can no longer be checked, so nothing was acknowledged from then on: {1}")]
    Unseen(PathBuf, String),
}
