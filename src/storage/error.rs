//! Errors of the store and the reasons for rejecting a command. Any thread.

mod loss;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::domain::event::KeySource;
use crate::storage::postgres::error::PostgresError;

pub use self::loss::Loss;

/// A failure of the store itself. After such an error in a write nothing more is written (see `writer`).
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// An error of the database.
    #[error("the database reported: {0}")]
    Database(#[source] Box<redb::Error>),
    /// A row could not be encoded or decoded.
    #[error("a row cannot be read or written: {0}")]
    Codec(String),
    /// A row does not match its digest.
    #[error("{0} is damaged: it does not match its digest")]
    Damaged(String),
    /// The operating system provided no random numbers.
    #[error("the operating system returned no random numbers: {0}")]
    Randomness(String),
    /// A file beside the database could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A database server did not do what it was asked.
    #[error("PostgreSQL: {0}")]
    Remote(String),
    /// Nobody knows whether a commit was made.
    #[error("PostgreSQL: {0}; whether the last commit was made is not known")]
    Unknown(String),
    /// The store is not this process's any more.
    #[error(transparent)]
    Lost(#[from] Loss),
}

impl StorageError {
    /// Is the disk full, or what this user may have of it?
    pub(super) fn is_full(&self) -> bool {
        self.of_system().is_some_and(is_full)
    }

    /// What the operating system said, if the error is its.
    fn of_system(&self) -> Option<&std::io::Error> {
        match self {
            Self::File { source, .. } => Some(source),
            Self::Database(error) => match &**error {
                redb::Error::Io(source) => Some(source),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Is the disk full, or what this user may have of it?
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Why the writer cannot go on. The process has to end.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The store failed.
    #[error("the store failed, and the process ends so that nothing more is read from it: {0}. {next}", next = next_start(.0))]
    Store(#[from] StorageError),
    /// A panic while a commit was made.
    #[error(
        "an internal error aborted a commit, and the process ends; nothing of that commit was acknowledged. The line before this one has the cause"
    )]
    Panicked,
    /// A panic in what was told of a commit.
    #[error(
        "an internal error prevented deliveries of a commit from being scheduled, and the process ends; the commit is stored, and the next start continues from it. The line before this one has the cause"
    )]
    NotTold,
}

fn next_start(error: &StorageError) -> &'static str {
    match error {
        StorageError::Remote(_)
        | StorageError::Unknown(_)
        | StorageError::Lost(Loss::TakenOver(_) | Loss::Behind(_)) => {
            "The next start continues from what is stored; repeat requests without a response with the same idempotency key"
        }
        _ => "The next start checks the whole file and reports any damage",
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StorageError {
            fn from(error: redb::$error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )*};
}
from_redb!(DatabaseError, TransactionError, TableError, StorageError, CursorError, CommitError, SetDurabilityError);

/// Why a key file cannot be used. The file name is left out, because by mistake the setting can hold the key itself.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is not there, or may not be read.
    #[error("the file with the encryption key cannot be read: {0}")]
    Unreadable(std::io::Error),
    /// It holds something else.
    #[error("the file does not contain an encryption key: 32 bytes, as 64 hexadecimal characters, as base64, or raw")]
    NotAKey,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{path} is in use{holder}. If that is a running server, stop it first, or run this command with the server's own configuration, so that it finds server.control_socket; if it is stopping, wait",
         holder = holder_text(.holder.as_deref()))]
    InUse {
        /// The database file.
        path: PathBuf,
        /// What the holder recorded about itself.
        holder: Option<String>,
    },
    /// The PostgreSQL database cannot be used.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Another process has it, which the lock does not show.
    #[error(
        "{folder} is in use by {holder}, which is running. Its lock is not visible here, because it uses the folder by another path or from another machine, and two servers on one folder destroy the database. Stop that server first, or use a separate folder for this one"
    )]
    HeldElsewhere {
        /// The data folder.
        folder: PathBuf,
        /// What the holder recorded about itself.
        holder: String,
    },
    /// Somebody has taken it meanwhile.
    #[error(transparent)]
    Lost(#[from] Loss),
    /// Not a database of ours.
    #[error(
        "{path} is not a tempclock-webhooks database ({found}); it was not changed. If it used to be one, restore a backup with: tempclock-webhooks restore FILE; otherwise point storage.data_dir at another folder"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// What was found in it.
        found: String,
    },
    /// The file was written by a newer version of the program.
    #[error(
        "{path} has format {found}, but this version only reads formats up to {known}; it was not changed. Install the newer version again, or restore a backup made before the upgrade"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u128,
        /// The newest known format.
        known: u128,
    },
    /// The file has an earlier format, and there is not enough space to upgrade it.
    #[error(
        "{path} has format {format} and must be upgraded to format {known}, which needs about {needed_bytes} bytes of free space on its disk, but {free_bytes} are free; nothing was changed. Free some space, or install the earlier version again"
    )]
    NoRoom {
        /// The database file.
        path: PathBuf,
        /// Its format.
        format: u128,
        /// The current format.
        known: u128,
        /// How much is free.
        free_bytes: u64,
        /// How much is needed.
        needed_bytes: u64,
    },
    /// The file has an earlier format and could not be upgraded.
    #[error(
        "{path} could not be upgraded from format {format} to format {known}: {reason}. It is intact in one of the two, and the next start continues from there"
    )]
    NotUpgraded {
        /// The database file.
        path: PathBuf,
        /// Its format.
        format: u128,
        /// The current format.
        known: u128,
        /// Why.
        reason: String,
    },
    /// Opening would rewrite it, which is left to the server.
    #[error("{path} {reason}; start the server first. Nothing was changed")]
    NotYet {
        /// The database file.
        path: PathBuf,
        /// What has to be done.
        reason: String,
    },
    /// There was a database and it is missing.
    #[error(
        "{path} is missing, although {marker} shows that there was a database here; nothing was created. Restore a backup, or remove {marker} to start with an empty database"
    )]
    Missing {
        /// The database file.
        path: PathBuf,
        /// The marker that names it.
        marker: PathBuf,
    },
    /// The database does not match the marker beside it.
    #[error(
        "{path} is not the database that {marker} belongs to; nothing was changed. Put the right file back, or remove {marker} if the change is intended"
    )]
    Swapped {
        /// The database file.
        path: PathBuf,
        /// The marker.
        marker: PathBuf,
    },
    /// The file is damaged.
    #[error(
        "{path} is damaged ({cause}); its contents were not changed. Restore a backup with: tempclock-webhooks restore FILE"
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What was found.
        cause: String,
    },
    /// The key file cannot be used; no secret is encrypted yet.
    #[error(
        "storage.encryption_key_file: {0}. A systemd credential exists only while the service runs. If there is no key yet, create one with: tempclock-webhooks secrets make-key FILE"
    )]
    KeyFile(KeyFileError),
    /// The key file cannot be used; the secrets are encrypted.
    #[error(
        "storage.encryption_key_file: {cause}. The signing secrets in {path} are encrypted with it: put the same file back, because a new key cannot decrypt them. A systemd credential exists only while the service runs. Nothing was changed"
    )]
    KeyLost {
        /// The database file.
        path: PathBuf,
        /// What is wrong with the key file.
        cause: KeyFileError,
    },
    /// The secrets are encrypted with another key.
    #[error(
        "the signing secrets in {path} are encrypted with a different key than the one in storage.encryption_key_file; nothing was changed. Put the right key file back"
    )]
    WrongKey {
        /// The database file.
        path: PathBuf,
    },
    /// The secrets are encrypted and there is no key.
    #[error(
        "the signing secrets in {path} are encrypted; set storage.encryption_key_file to the file with their key. Nothing was changed"
    )]
    KeyNeeded {
        /// The database file.
        path: PathBuf,
    },
    /// The secrets could not be encrypted.
    #[error("the signing secrets in {path} cannot be encrypted: {reason}. Nothing was changed")]
    NotSealed {
        /// The database file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The data folder does not exist and cannot be created.
    #[error(
        "the data folder {path} cannot be created: {source}. Point storage.data_dir at a folder that this user can create or write to"
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The disk is full, or what this user may have of it; some file systems need room to open a file.
    #[error("{path} cannot be opened: {cause}. Free some space on its disk, or raise the quota, and try again",
        cause = cause_text(.path, .source))]
    Full {
        /// The file.
        path: PathBuf,
        /// Why.
        source: StorageError,
    },
    /// Nothing can be written there.
    #[error(
        "the store in {folder} cannot be opened, because its file system is read-only, and opening a store writes there: {cause}. Mount it read-write, or copy the folder to another disk; if it became read-only by itself, its disk failed: see dmesg. To check the database without opening it for writing: tempclock-webhooks verify FILE"
    )]
    ReadOnly {
        /// The data folder.
        folder: PathBuf,
        /// What the operating system said.
        cause: String,
    },
    /// The store failed while opening.
    #[error("{path} cannot be opened: {cause}", cause = cause_text(.path, .source))]
    Failed {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: StorageError,
    },
}

impl OpenError {
    /// Opening failed; reported as damage if the cause is in the file.
    pub(super) fn failed(path: &Path, source: StorageError) -> Self {
        let damaged = |cause: &str| Self::Damaged { path: path.to_owned(), cause: cause.to_owned() };
        if source.is_full() {
            return Self::Full { path: path.to_owned(), source };
        }
        if let Some(cause) = source.of_system().filter(|error| error.kind() == ErrorKind::ReadOnlyFilesystem) {
            return Self::ReadOnly { folder: path.parent().unwrap_or(path).to_owned(), cause: cause.to_string() };
        }
        match &source {
            StorageError::Codec(cause) => damaged(cause),
            StorageError::Database(error) => match &**error {
                redb::Error::Corrupted(cause) => damaged(cause),
                redb::Error::TableDoesNotExist(_) | redb::Error::TableTypeMismatch { .. } => {
                    damaged(&error.to_string())
                }
                redb::Error::Io(cause) if cause.kind() == ErrorKind::UnexpectedEof => damaged("it is truncated"),
                redb::Error::Io(cause) if cause.kind() == ErrorKind::InvalidData => damaged(&cause.to_string()),
                _ => Self::Failed { path: path.to_owned(), source },
            },
            _ => Self::Failed { path: path.to_owned(), source },
        }
    }

    /// The file is so damaged that redb panicked.
    pub(super) fn unreadable(path: &Path) -> Self {
        Self::Damaged { path: path.to_owned(), cause: "its pages are inconsistent".to_owned() }
    }

    /// Whether it is a configuration error, which a restart cannot cure.
    #[must_use]
    pub fn is_of_the_configuration(&self) -> bool {
        match self {
            Self::KeyFile(_) | Self::KeyLost { .. } | Self::WrongKey { .. } | Self::KeyNeeded { .. } => true,
            Self::Postgres(error) => error.is_of_the_configuration(),
            _ => false,
        }
    }

    /// Whether a later start may succeed without any change here, as the database server is another program.
    #[must_use]
    pub fn is_of_the_database_server(&self) -> bool {
        matches!(self, Self::Postgres(error) if !error.is_of_the_configuration())
    }
}

/// The cause without the path that the message begins with already.
fn cause_text(path: &Path, source: &StorageError) -> String {
    match source {
        StorageError::File { path: same, source } if same == path => source.to_string(),
        other => other.to_string(),
    }
}

fn holder_text(holder: Option<&str>) -> String {
    holder.map(|text| format!(" by {text}")).unwrap_or_default()
}

/// Why a command was rejected. A rejected command has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Not found in that account.
    #[error("not found")]
    NotFound,
    /// The same idempotency key was used for another event; for each such event of the batch its index, and where the key
    /// was given.
    #[error("the idempotency key was used before with another event")]
    IdempotencyConflicts(Vec<(usize, KeySource)>),
    /// The account has reached its limit of subscriptions.
    #[error("the account has {0} subscriptions, which is the limit")]
    TooManySubscriptions(u32),
    /// The account has so many jobs that have not ended, which is the limit.
    #[error("{0} jobs of the account have not ended, which is the limit")]
    TooManyJobs(usize),
    /// The account has reached its limit of API keys, those that ended lately included.
    #[error("the account has {0} API keys, which is the limit")]
    TooManyKeys(usize),
    /// The key was revoked or has expired.
    #[error("the key has ended")]
    KeyEnded,
    /// The delivery's event was erased, and there is nothing left to send.
    #[error("the event was erased")]
    EventErased,
    /// A replay for that subscription has not ended.
    #[error("another replay for this subscription has not ended")]
    ReplayUnderWay,
    /// Every number that such a thing could have was given to one before.
    #[error("no number is left")]
    OutOfNumbers,
    /// A batch of so many new events makes more deliveries than one commit may.
    #[error("{deliveries} deliveries of one request, and {limit} is the limit")]
    TooManyDeliveries {
        /// How many deliveries it would make.
        deliveries: usize,
        /// How many one request may make.
        limit: usize,
        /// How many events the request may have.
        events: usize,
    },
    /// The disk is nearly full; the rest is reserved for deliveries.
    #[error("out of space")]
    OutOfSpace,
    /// More waits for the writer than memory is kept for.
    #[error("busy")]
    Busy,
    /// The store failed; whether the command took effect is unknown.
    #[error("the store failed")]
    StoreFailed,
}
