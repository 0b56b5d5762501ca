//! The step from format 2 to 3: events name their set of receivers and their type, outcomes lie with their event, every row
//! has a digest, and what there is of each kind is counted. Runs on the main thread, with exclusive access.
//!
//! Rows move from the tables of format 2 to those of format 3, some in each transaction. What is left in the former is what
//! is still to be done, so the upgrade goes on after a kill at any point, in memory that does not grow with the store.

use std::collections::{BTreeSet, HashMap};

use redb::{Database, ReadableTable as _, ReadableTableMetadata as _, Table, TableDefinition, TableHandle as _};
use redb::{TableError, WriteTransaction};

use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::IdempotencyKey;
use crate::domain::event::event_type::EventType;
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::counts::Kind;
use crate::storage::engine::{OutboxTx as _, Tx as _};
use crate::storage::error::StorageError;
use crate::storage::redb::file::durable::begin;
use crate::storage::redb::file::progress::Progress;
use crate::storage::redb::small_rows::subscription_row;
use crate::storage::redb::tables::{self, OutboxKey, Visit};
use crate::storage::redb::tx::RedbTx;
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rows::record::IdempotencyRow;
use crate::storage::rows::{delivery_record, format_2, history_record};
use crate::storage::sealing::Seal;

type EventKey = (u32, u128);
type Bytes = &'static [u8];

/// (subscription, event) → delivery with its attempts.
pub const DELIVERIES_2: TableDefinition<EventKey, Bytes> = TableDefinition::new("deliveries");
/// Deleted subscriptions whose rows are still being removed.
pub const PURGES_2: TableDefinition<u32, ()> = TableDefinition::new("purges");

// Tables of the same name and types have other rows in format 3. They are renamed before any row moves.
const OLD_EVENTS: TableDefinition<EventKey, Bytes> = TableDefinition::new("events_of_format_2");
const OLD_IDEMPOTENCY: TableDefinition<EventKey, Bytes> = TableDefinition::new("idempotency_of_format_2");
const OLD_OUTBOX: TableDefinition<OutboxKey, Bytes> = TableDefinition::new("outbox_of_format_2");
const OLD_PURGES: TableDefinition<u32, ()> = TableDefinition::new("purges_of_format_2");

/// Rows in one transaction.
const ROWS_A_COMMIT: usize = 2000;

/// Visits every table of format 2.
pub fn visit_all_of_format_2<V: Visit>(visitor: &mut V) -> Result<(), V::Error> {
    visitor.table(tables::META)?;
    visitor.table(tables::ACCOUNTS)?;
    visitor.table(tables::KEYS)?;
    visitor.table(tables::SUBSCRIPTIONS)?;
    visitor.table(tables::EVENTS)?;
    visitor.table(tables::IDEMPOTENCY)?;
    visitor.table(tables::OUTBOX)?;
    visitor.table(DELIVERIES_2)?;
    visitor.table(PURGES_2)?;
    if visitor.has(tables::JOBS.name())? {
        visitor.table(tables::JOBS)?;
    }
    if visitor.has(tables::TAGS.name())? {
        visitor.table(tables::TAGS)?;
    }
    if visitor.has(tables::AUDIT.name())? { visitor.table(tables::AUDIT) } else { Ok(()) }
}

/// Upgrades, or goes on with it.
pub fn upgrade(db: &Database) -> Result<(), StorageError> {
    let mut upgrade = Upgrade { db, rows: ROWS_A_COMMIT, all: 0, progress: Progress::of("the upgrade") };
    while upgrade.step()? {}
    Ok(())
}

struct Upgrade<'a> {
    db: &'a Database,
    /// Rows in one transaction.
    rows: usize,
    /// How many there were to move at first.
    all: u64,
    progress: Progress,
}

/// The subscriptions and accounts that there are.
type Owners = HashMap<SubscriptionId, AccountId>;

impl Upgrade<'_> {
    /// One transaction. Gives whether there is more to do.
    fn step(&mut self) -> Result<bool, StorageError> {
        let transaction = begin(self.db)?;
        let format = transaction.open_table(tables::META)?.get(tables::FORMAT)?.map(|row| row.value());
        let has_more = if format == Some(2) {
            check_tables(&transaction, OF_FORMAT_2)?;
            transaction.rename_table(tables::EVENTS, OLD_EVENTS)?;
            transaction.rename_table(tables::IDEMPOTENCY, OLD_IDEMPOTENCY)?;
            transaction.rename_table(tables::OUTBOX, OLD_OUTBOX)?;
            transaction.rename_table(PURGES_2, OLD_PURGES)?;
            seal_small_tables(&transaction)?;
            // From here on no earlier version takes it for its own.
            transaction.open_table(tables::META)?.insert(tables::FORMAT, 3)?;
            true
        } else if is_moved(&transaction)? {
            false
        } else {
            check_tables(&transaction, EMPTIED)?;
            self.move_rows(&transaction)?
        };
        transaction.commit()?;
        Ok(has_more)
    }

    fn move_rows(&mut self, transaction: &WriteTransaction) -> Result<bool, StorageError> {
        let mut left = self.rows;
        {
            let owners = owners(transaction)?;
            let mut tx = RedbTx::open(transaction, &Seal::NONE)?;
            let mut deliveries = transaction.open_table(DELIVERIES_2)?;
            let mut outbox = transaction.open_table(OLD_OUTBOX)?;
            let mut events = transaction.open_table(OLD_EVENTS)?;
            let left_now = events.len()? + outbox.len()?;
            self.all = self.all.max(left_now);
            self.progress.report(self.all - left_now, self.all);
            while left > 0
                && let Some((key, row)) = pop(&mut events)?
            {
                let (account, event) = (AccountId(key.0), EventId(key.1));
                let moved = move_event(&mut tx, (&mut deliveries, &outbox), &owners, (account, event), &row)?;
                left = left.saturating_sub(moved);
            }
            while left > 0
                && let Some((key, row)) = pop(&mut outbox)?
            {
                move_outbox_row(&mut tx, &owners, key, &row)?;
                left -= 1;
            }
            let mut idempotency = transaction.open_table(OLD_IDEMPOTENCY)?;
            while left > 0
                && let Some(((account, digest), row)) = pop(&mut idempotency)?
            {
                let key = IdempotencyKey(digest);
                match IdempotencyRow::decode(&row) {
                    Ok(used_for) => tx.put_idempotency(AccountId(account), key, &used_for)?,
                    Err(error) => log::error!("idempotency key {digest:x} is left out: {error}"),
                }
                left -= 1;
            }
            while left > 0
                && let Some(((subscription, event), row)) = pop(&mut deliveries)?
            {
                let id = DeliveryId { event: EventId(event), subscription: SubscriptionId(subscription) };
                move_left_over(&mut tx, &owners, id, &row)?;
                left -= 1;
            }
            tx.finish()?;
        }
        if left > 0 {
            transaction.delete_table(OLD_EVENTS)?;
            transaction.delete_table(OLD_OUTBOX)?;
            transaction.delete_table(OLD_IDEMPOTENCY)?;
            transaction.delete_table(DELIVERIES_2)?;
            transaction.delete_table(OLD_PURGES)?;
        }
        Ok(left == 0)
    }
}

/// The tables that are emptied, and removed together at the end.
const EMPTIED: [&str; 5] =
    ["events_of_format_2", "idempotency_of_format_2", "outbox_of_format_2", "deliveries", "purges_of_format_2"];
const OF_FORMAT_2: [&str; 5] = ["events", "idempotency", "outbox", "deliveries", "purges"];

fn names(transaction: &WriteTransaction) -> Result<BTreeSet<String>, StorageError> {
    Ok(transaction.list_tables()?.map(|table| table.name().to_owned()).collect())
}

/// Whether everything was moved before.
fn is_moved(transaction: &WriteTransaction) -> Result<bool, StorageError> {
    let names = names(transaction)?;
    Ok(!EMPTIED.iter().any(|name| names.contains(*name)))
}

/// Looks for every table that is needed; a missing one is named.
fn check_tables(transaction: &WriteTransaction, needed: [&'static str; 5]) -> Result<(), StorageError> {
    let names = names(transaction)?;
    let kept = [tables::ACCOUNTS.name(), tables::KEYS.name(), tables::SUBSCRIPTIONS.name()];
    match kept.into_iter().chain(needed).find(|name| !names.contains(*name)) {
        Some(missing) => Err(TableError::TableDoesNotExist(missing.to_owned()).into()),
        None => Ok(()),
    }
}

fn seal_small_tables(transaction: &WriteTransaction) -> Result<(), StorageError> {
    for table in [tables::ACCOUNTS, tables::KEYS, tables::SUBSCRIPTIONS] {
        let mut table = transaction.open_table(table)?;
        let rows: Vec<(u32, Vec<u8>)> = table
            .iter()?
            .map(|row| row.map(|(number, row)| (number.value(), row.value().to_vec())))
            .collect::<Result<_, _>>()?;
        for (number, row) in rows {
            table.insert(number, tables::seal::<u32>(number, row).as_slice())?;
        }
    }
    seal_rows(transaction, tables::JOBS)?;
    seal_rows(transaction, tables::TAGS)?;
    seal_rows(transaction, tables::AUDIT)
}

fn seal_rows(
    transaction: &WriteTransaction,
    table: TableDefinition<'static, EventKey, Bytes>,
) -> Result<(), StorageError> {
    let mut table = transaction.open_table(table)?;
    let rows: Vec<(EventKey, Vec<u8>)> =
        table.iter()?.map(|row| row.map(|(key, row)| (key.value(), row.value().to_vec()))).collect::<Result<_, _>>()?;
    for (key, row) in rows {
        table.insert(key, tables::seal::<EventKey>(key, row).as_slice())?;
    }
    Ok(())
}

fn owners(transaction: &WriteTransaction) -> Result<Owners, StorageError> {
    let mut owners = Owners::new();
    for row in transaction.open_table(tables::SUBSCRIPTIONS)?.iter()? {
        let (number, row) = row?;
        let id = SubscriptionId(number.value());
        owners.insert(id, subscription_row(id, row.value())?.account);
    }
    Ok(owners)
}

fn pop<K: redb::Key + for<'a> redb::Value<SelfType<'a> = K> + 'static>(
    table: &mut Table<'_, K, Bytes>,
) -> Result<Option<(K, Vec<u8>)>, StorageError> {
    Ok(table.pop_first()?.map(|(key, row)| (key.value(), row.value().to_vec())))
}

/// Moves an event with the outcomes of its deliveries. Gives how many rows that are.
fn move_event(
    tx: &mut RedbTx<'_>,
    (deliveries, outbox): (&mut Table<'_, EventKey, Bytes>, &Table<'_, OutboxKey, Bytes>),
    owners: &Owners,
    (account, event): (AccountId, EventId),
    row: &[u8],
) -> Result<usize, StorageError> {
    let read = format_2::event(event, row)?;
    tx.put_event(account, event, &read)?;
    tx.count_events(account, 1);
    let mut moved = 1;
    for subscription in read.subscriptions.iter() {
        let outcome = deliveries.remove((subscription.0, event.0))?.map(|row| row.value().to_vec());
        if !owners.contains_key(subscription) {
            // It was deleted, and its rows were being removed.
            continue;
        }
        moved += 1;
        let id = DeliveryId { event, subscription: *subscription };
        if let Some(row) = outcome {
            move_outcome(tx, account, id, &row, read.content.event_type)?;
            continue;
        }
        if outbox.get((subscription.0, 0, event.0))?.is_none() {
            log::error!("delivery {id} had neither an outcome nor a place in the outbox; it is due again");
            tx.put_unattempted(id, None)?;
        }
        tx.count(account, id.subscription, Kind::Unattempted, 1);
    }
    Ok(moved)
}

fn move_outcome(
    tx: &mut RedbTx<'_>,
    account: AccountId,
    id: DeliveryId,
    row: &[u8],
    event_type: EventType,
) -> Result<(), StorageError> {
    let delivery = delivery_record::decode(row, event_type).unwrap_or_else(|error| {
        log::error!("delivery {id} has lost its attempts: {error}");
        Delivery::unattempted(event_type, id.event.time())
    });
    tx.count(account, id.subscription, Kind::of(delivery.state), 1);
    tx.put_delivery(account, id, &delivery)
}

fn move_outbox_row(tx: &mut RedbTx<'_>, owners: &Owners, key: OutboxKey, row: &[u8]) -> Result<(), StorageError> {
    let (subscription, due_ms, event) = key;
    let id = DeliveryId { event: EventId(event), subscription: SubscriptionId(subscription) };
    if !owners.contains_key(&id.subscription) {
        return Ok(());
    }
    match (due_ms, event) {
        (0, 0) => match history_record::decode(row) {
            Ok(history) => tx.put_history(id.subscription, &history),
            Err(error) => {
                log::error!("subscription {subscription} has lost its last attempts: {error}");
                Ok(())
            }
        },
        (0, _) => tx.put_unattempted(id, None),
        (due_ms, _) => tx.put_retry(id, Timestamp::from_ms(due_ms), OutboxRow::default()).map(drop),
    }
}

/// A delivery of an event that is not there, or does not name it among its receivers: what is pending of it stays.
fn move_left_over(tx: &mut RedbTx<'_>, owners: &Owners, id: DeliveryId, row: &[u8]) -> Result<(), StorageError> {
    let Some(account) = owners.get(&id.subscription) else { return Ok(()) };
    let is_pending = delivery_record::decode_state(row).is_ok_and(DeliveryState::is_pending);
    log::error!("delivery {id} has no event; it is {}", if is_pending { "kept, as it is pending" } else { "left out" });
    if is_pending { move_outcome(tx, *account, id, row, EventType::Ping) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
