//! What can go wrong with whole files. Any thread.

use std::path::{Path, PathBuf};

use crate::storage::error::OpenError;
use crate::storage::redb::copy::dump::DumpError;

/// Why a file could not be verified, restored or compacted.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file is neither.
    #[error(
        "{path} is neither a database nor a backup of tempclock-webhooks ({found}). If it used to be one, it is damaged from its first bytes on: use an earlier backup"
    )]
    Neither {
        /// The file.
        path: PathBuf,
        /// What was found in it.
        found: String,
    },
    /// The backup could not be read.
    #[error("{path}: {source}")]
    Dump {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DumpError,
    },
    /// The restored copy has errors, so nothing was switched.
    #[error("the restored copy has faults, so the database was not changed; the first fault: {0}")]
    Faults(String),
    /// The database was created or removed meanwhile.
    #[error(
        "{0} was created or removed while the backup was read; nothing was replaced. Stop the server, and restore again"
    )]
    Meanwhile(PathBuf),
    /// There is not enough room.
    #[error("{path} has {free_bytes} bytes free, but about {needed_bytes} are needed; nothing was changed")]
    NoSpace {
        /// The folder.
        path: PathBuf,
        /// How much is free.
        free_bytes: u64,
        /// How much is needed.
        needed_bytes: u64,
    },
    /// There was less room than was needed.
    #[error(
        "{0} became full while the backup was read into it; the new files were removed, and nothing was replaced. Free some space there, or raise the quota"
    )]
    Full(PathBuf),
}

impl BackupError {
    /// The same, in plain words if it is that the folder became full.
    pub(in crate::storage) fn with_room_in(self, folder: &Path) -> Self {
        let is_full = match &self {
            Self::Open(OpenError::Full { .. }) => true,
            Self::Dump { source: DumpError::Storage(source), .. } => source.is_full(),
            _ => false,
        };
        if is_full { Self::Full(folder.to_owned()) } else { self }
    }

    /// Whether the error is about a file's content rather than access to it.
    #[must_use]
    pub fn is_of_the_content(&self) -> bool {
        match self {
            Self::Neither { .. } => true,
            Self::Dump { source, .. } => {
                matches!(source, DumpError::CutShort | DumpError::Damaged(_) | DumpError::Body(_))
            }
            Self::Open(error) => matches!(error, OpenError::Damaged { .. } | OpenError::NotOurs { .. }),
            Self::Faults(_) | Self::Meanwhile(_) | Self::NoSpace { .. } | Self::Full(_) => false,
        }
    }
}
