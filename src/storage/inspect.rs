//! Looks at a store that no server has open, without changing a byte of it: the newest event, and what waits for which
//! subscription. Runs in a command, on a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use redb::{
    DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    ReadableTableMetadata as _,
};

use super::error::{OpenError, StorageError};
use super::open::{DATABASE_FILE, check_magic, last_event};
use super::record::History;
use super::subscription_record::SubscriptionRow;
use super::tables;
use crate::domain::endpoint::Endpoint;
use crate::domain::subscription::SubscriptionState;
use crate::domain::{EventId, SubscriptionId, Timestamp};

/// What was seen.
#[derive(Debug, Default)]
pub struct Inspection {
    /// When the newest event was stored.
    pub newest_event: Option<Timestamp>,
    /// How many deliveries are pending.
    pub pending: u64,
    /// Every subscription with what waits for it.
    pub subscriptions: Vec<Waiting>,
}

/// A subscription, and what waits for it.
#[derive(Debug)]
pub struct Waiting {
    /// The subscription's number.
    pub id: SubscriptionId,
    /// Where its deliveries go.
    pub endpoint: Endpoint,
    /// Whether deliveries go out.
    pub state: SubscriptionState,
    /// Since when its endpoint has been failing.
    pub failing_since: Option<Timestamp>,
    /// When the oldest of what is pending for it was or is due.
    pub oldest_due: Option<Timestamp>,
}

/// Why nothing could be seen.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A server or a command has the store open.
    #[error("another process has the database open")]
    InUse,
    /// The process that had it open ended without closing it; the next start checks it.
    #[error("the database was not closed in order; the next start checks it")]
    Unclean,
    /// It cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Looks at the store in that folder.
pub fn inspect(folder: &Path) -> Result<Inspection, InspectError> {
    let path = folder.join(DATABASE_FILE);
    check_magic(&path)?;
    let failed = |source: StorageError| OpenError::Failed { path: path.clone(), source };
    // redb ends some kinds of damage with a panic.
    let looked = catch_unwind(AssertUnwindSafe(|| match ReadOnlyDatabase::open(&path) {
        Ok(db) => Ok(look(&db).map_err(failed)?),
        Err(DatabaseError::DatabaseAlreadyOpen) => Err(InspectError::InUse),
        Err(DatabaseError::RepairAborted) => Err(InspectError::Unclean),
        Err(error) => Err(failed(error.into()).into()),
    }));
    looked.unwrap_or_else(|_| Err(OpenError::Damaged { path: path.clone() }.into()))
}

fn look(db: &ReadOnlyDatabase) -> Result<Inspection, StorageError> {
    let transaction = db.begin_read()?;
    let fresh = transaction.open_table(tables::FRESH)?.len()?;
    let retries = transaction.open_table(tables::RETRIES)?.len()?;
    let mut subscriptions = Vec::new();
    for row in transaction.open_table(tables::SUBSCRIPTIONS)?.iter()? {
        let (id, row) = row?;
        // Its secret stays as it is stored.
        let subscription = SubscriptionRow::decode(row.value())?;
        subscriptions.push(waiting(&transaction, SubscriptionId(id.value()), subscription)?);
    }
    Ok(Inspection {
        newest_event: last_event(&transaction)?.map(EventId::time),
        pending: fresh + retries,
        subscriptions,
    })
}

fn waiting(
    transaction: &ReadTransaction,
    number: SubscriptionId,
    row: SubscriptionRow,
) -> Result<Waiting, StorageError> {
    let id = number.0;
    let history = transaction.open_table(tables::HISTORIES)?.get(id)?.map(|row| History::decode(row.value()));
    let fresh = transaction.open_table(tables::FRESH)?;
    let oldest_fresh = fresh.range((id, 0)..=(id, u128::MAX))?.next().transpose()?;
    let retries = transaction.open_table(tables::RETRIES)?;
    let oldest_retry = retries.range((id, 0, 0)..=(id, u64::MAX, u128::MAX))?.next().transpose()?;
    let oldest_fresh = oldest_fresh.map(|(key, _)| EventId(key.value().1).time());
    let oldest_retry = oldest_retry.map(|(key, _)| Timestamp::from_ms(key.value().1));
    Ok(Waiting {
        id: number,
        endpoint: row.endpoint,
        state: row.state,
        failing_since: history.transpose()?.and_then(|history| history.health.failing_since),
        oldest_due: oldest_fresh.into_iter().chain(oldest_retry).min(),
    })
}
