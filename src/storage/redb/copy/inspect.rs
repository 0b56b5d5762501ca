//! Inspects a store that no server has open, read-only: the newest event and each subscription's backlog. Runs in a
//! command, on its own thread.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use redb::{DatabaseError, ReadOnlyDatabase, ReadableDatabase as _, ReadableTable as _};

use crate::domain::endpoint::Endpoint;
use crate::domain::subscription::SubscriptionState;
use crate::domain::{AccountId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::Pending;
use crate::storage::error::{OpenError, StorageError};
use crate::storage::holder;
use crate::storage::redb::file::catch_panic;
use crate::storage::redb::file::database_file::check_magic;
use crate::storage::redb::file::folder::{DATABASE_FILE, HOLDER_FILE};
use crate::storage::redb::file::identity::{Identity, check_format};
use crate::storage::redb::outbox::{Outbox, OutboxAt};
use crate::storage::redb::small_rows::{account_name, subscription_row};
use crate::storage::redb::tables;
use crate::storage::redb::time::{self, last_event};
use crate::storage::rows::subscription_record::SubscriptionRow;
use crate::storage::rules::service_time::Seen;

/// What was seen.
#[derive(Debug, Default)]
pub struct Inspection {
    /// When the newest event was stored.
    pub newest_event: Option<Timestamp>,
    /// How much of the time until now does not count for retention.
    pub left_out: Duration,
    /// How many deliveries are pending.
    pub pending: u64,
    /// Every subscription with its backlog.
    pub subscriptions: Vec<SubscriptionBacklog>,
}

/// A subscription and its backlog.
#[derive(Debug)]
pub struct SubscriptionBacklog {
    /// The subscription's number.
    pub id: SubscriptionId,
    /// The name of the account that it belongs to.
    pub account: String,
    /// Where its deliveries go.
    pub endpoint: Endpoint,
    /// Whether deliveries go out.
    pub state: SubscriptionState,
    /// Since when its endpoint has been failing.
    pub failing_since: Option<Timestamp>,
    /// Whether its deliveries are read by its receiver.
    pub is_pull: bool,
    /// The earliest due time of its pending deliveries; none where they are read.
    pub oldest_due: Option<Timestamp>,
    /// When the oldest event was stored that its reader has not acknowledged.
    pub unacknowledged_since: Option<Timestamp>,
}

/// Why the store could not be inspected.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// A server or a command has the store open; who, if that is known.
    #[error("{} has the database open", .0.as_deref().unwrap_or("another process"))]
    InUse(Option<String>),
    /// It was not closed properly; the next start checks it.
    #[error("the database was not closed cleanly; the next start checks it")]
    Unclean,
    /// It has an earlier format.
    #[error("the database has format {0}; the next start upgrades it to format {known}", known = tables::FORMAT_VERSION)]
    Older(u128),
    /// This user may not see it.
    #[error("{0}")]
    Denied(std::io::Error),
    /// It cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Looks at the store in that folder, at that time by the machine's clock.
pub fn inspect(folder: &Path, now: Timestamp) -> Result<Inspection, InspectError> {
    let path = folder.join(DATABASE_FILE);
    check_magic(&path)?;
    let holder_file = folder.join(HOLDER_FILE);
    // Where the lock does not show it, a file that is being written would look damaged.
    if let Some(who) = holder::at_work(&holder_file) {
        return Err(InspectError::InUse(Some(who)));
    }
    let failed = |source: StorageError| OpenError::failed(&path, source);
    let looked = catch_panic::catch_redb_panic(|| match ReadOnlyDatabase::open(&path) {
        Ok(db) => match check_format(&db, &path)? {
            Identity { format, .. } if format < tables::FORMAT_VERSION => Err(InspectError::Older(format)),
            _ => Ok(inspect_database(&db, now).map_err(failed)?),
        },
        Err(DatabaseError::DatabaseAlreadyOpen) => Err(InspectError::InUse(holder::who(&holder_file))),
        Err(DatabaseError::RepairAborted) => Err(InspectError::Unclean),
        Err(error) => Err(failed(error.into()).into()),
    });
    looked.unwrap_or_else(|| Err(OpenError::unreadable(&path).into()))
}

fn inspect_database(db: &ReadOnlyDatabase, now: Timestamp) -> Result<Inspection, StorageError> {
    let transaction = db.begin_read()?;
    let outbox = Outbox::of(&transaction)?;
    let Pending { unattempted, retrying } = outbox.count()?;
    let last_event = last_event(&transaction)?;
    let seen = time::read(&transaction.open_table(tables::META)?, last_event)?;
    let mut accounts = HashMap::new();
    for row in transaction.open_table(tables::ACCOUNTS)?.iter()? {
        let (id, name) = row?;
        accounts.insert(AccountId(id.value()), account_name(AccountId(id.value()), name.value())?);
    }
    let mut subscriptions = Vec::new();
    for row in transaction.open_table(tables::SUBSCRIPTIONS)?.iter()? {
        let (id, row) = row?;
        // The secret is not decrypted.
        let id = SubscriptionId(id.value());
        let subscription = subscription_row(id, row.value())?;
        let account = accounts.get(&subscription.account).cloned().unwrap_or_default();
        subscriptions.push(subscription_backlog(&outbox, &seen, id, account, subscription)?);
    }
    Ok(Inspection {
        newest_event: last_event.map(EventId::time),
        left_out: seen.left_out(now),
        pending: unattempted + retrying,
        subscriptions,
    })
}

fn subscription_backlog(
    outbox: &OutboxAt,
    seen: &Seen,
    id: SubscriptionId,
    account: String,
    row: SubscriptionRow,
) -> Result<SubscriptionBacklog, StorageError> {
    let history = outbox.history(id)?.unwrap_or_default();
    let behind = EventId(history.acknowledged.0.saturating_add(1));
    let oldest_unattempted = outbox.unattempted_of(id, behind..)?.next().transpose()?.map(EventId::time);
    let oldest_retry = outbox.retries_of(id)?.next().transpose()?.map(|retry| seen.on_the_calendar(retry.due));
    // What is read has no endpoint.
    let is_pull = row.endpoint.as_str().is_empty();
    Ok(SubscriptionBacklog {
        id,
        account,
        endpoint: row.endpoint,
        state: row.state,
        failing_since: history.health.failing_since,
        oldest_due: oldest_unattempted.into_iter().chain(oldest_retry).min().filter(|_| !is_pull),
        is_pull,
        unacknowledged_since: oldest_unattempted.filter(|_| is_pull),
    })
}
