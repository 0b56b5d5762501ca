//! What PostgreSQL says when something goes wrong, or that it says nothing. Pure; any thread.

use std::error::Error as _;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::storage::error::{Loss, StorageError};

/// Why something could not be asked of the database.
#[derive(Clone, Debug)]
pub(in crate::storage::postgres) enum Fault {
    /// There was no answer within that time.
    Late(Duration),
    /// The connection has ended.
    Closed(String),
    /// The database refused, with a code of SQL and its own words.
    Refused(SqlState, String),
    /// The server lacks commits that were acknowledged.
    Behind(String),
    /// TLS was not agreed on, or the URL not understood, or the like.
    Other(String),
}

impl Fault {
    /// The code of SQL, if there is one.
    pub fn code(&self) -> Option<&SqlState> {
        if let Self::Refused(code, _) = self { Some(code) } else { None }
    }

    /// In words.
    pub fn words(&self) -> String {
        match self {
            Self::Late(limit) => format!("no answer within {} s", limit.as_secs()),
            Self::Closed(words) | Self::Behind(words) | Self::Other(words) => words.clone(),
            Self::Refused(code, words) => format!("{words} ({})", code.code()),
        }
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        if let Some(refusal) = error.as_db_error() {
            let detail = refusal.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
            return Self::Refused(refusal.code().clone(), format!("{}{detail}", refusal.message()));
        }
        let mut words = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            let text = source.to_string();
            if !words.contains(&text) {
                words = format!("{words}: {text}");
            }
            cause = source.source();
        }
        if error.is_closed() { Self::Closed(words) } else { Self::Other(words) }
    }
}

impl From<Fault> for StorageError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Behind(words) => Loss::Behind(words).into(),
            fault => Self::Remote(fault.words()),
        }
    }
}
