//! Verifies a whole store: page checksums, rows that decode, bodies that match their digests, and an outbox consistent
//! with the deliveries (I3). Runs in a command, on the main thread. Read-only.

mod batches;
mod deliveries;
mod orders;
mod report;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable as _};

use crate::domain::delivery::DeliveryState;
use crate::domain::{AccountId, KeyId, SubscriptionId};
use crate::storage::error::StorageError;
use crate::storage::redb::copy::verify::batches::Batches;
use crate::storage::redb::copy::verify::orders::Orders;
use crate::storage::redb::copy::verify::report::Subscriptions;
pub use crate::storage::redb::copy::verify::report::VerifyReport;
use crate::storage::redb::outbox::{Outbox, OutboxEntry};
use crate::storage::redb::small_rows::{account_name, key_row, subscription_row};
use crate::storage::redb::tables;
use crate::storage::redb::tx::purged_account;
use crate::storage::redb::{audit, find_index, jobs};
use crate::storage::rows::delivery_record;
use crate::storage::rows::record::IdempotencyRow;

/// Checks every row and the consistency between rows.
pub fn rows(db: &impl ReadableDatabase) -> Result<VerifyReport, StorageError> {
    let transaction = db.begin_read()?;
    let mut report = VerifyReport::default();
    let subscriptions = small_tables(&transaction, &mut report)?;
    deliveries::check(&transaction, &subscriptions, &mut report)?;
    outbox(&transaction, &subscriptions, &mut report)?;
    for (id, error) in find_index::damaged_tags(&transaction)? {
        report.fault(format!("tags of event {id}: {error}"));
    }
    for row in transaction.open_table(tables::IDEMPOTENCY)?.iter()? {
        let (key, row) = row?;
        let name = || format!("idempotency key {:x}", key.value().1);
        let row = tables::open::<(u32, u128)>(key.value(), row.value(), name).and_then(IdempotencyRow::decode);
        report.check("idempotency", row);
    }
    Ok(report)
}

/// Gives the subscriptions with their accounts.
fn small_tables(transaction: &ReadTransaction, report: &mut VerifyReport) -> Result<Subscriptions, StorageError> {
    for row in transaction.open_table(tables::ACCOUNTS)?.iter()? {
        let (id, row) = row?;
        report.check(format_args!("account {}", id.value()), account_name(AccountId(id.value()), row.value()));
    }
    for row in transaction.open_table(tables::KEYS)?.iter()? {
        let (id, row) = row?;
        report.check(format_args!("key {}", id.value()), key_row(KeyId(id.value()), row.value()));
    }
    let mut subscriptions = Subscriptions::new();
    for row in transaction.open_table(tables::SUBSCRIPTIONS)?.iter()? {
        let (id, row) = row?;
        let id = SubscriptionId(id.value());
        let row = report.check(format_args!("subscription {id}"), subscription_row(id, row.value()));
        subscriptions.extend(row.map(|row| (id, row.account)));
    }
    for row in transaction.open_table(tables::PURGES)?.iter()? {
        let (id, row) = row?;
        report.check("deleted", purged_account(id.value(), row.value()));
    }
    audit::all(transaction, |id, record| drop(report.check(id, record)))?;
    for (_, id, job) in jobs::all(transaction)? {
        report.check(id, job);
    }
    Ok(subscriptions)
}

fn outbox(
    transaction: &ReadTransaction,
    subscriptions: &Subscriptions,
    report: &mut VerifyReport,
) -> Result<(), StorageError> {
    let outcomes = transaction.open_table(tables::OUTCOMES)?;
    let orders = Orders::of(transaction)?;
    orders.check(subscriptions, report)?;
    let batches = Batches::of(transaction)?;
    batches.check(subscriptions, report)?;
    for entry in Outbox::of(transaction)?.entries()? {
        let (id, due, checked) = match entry? {
            OutboxEntry::History(id, history) => {
                report.check(format_args!("history of subscription {id}"), history);
                continue;
            }
            OutboxEntry::Unattempted(id, checked) => (id, None, checked),
            OutboxEntry::Retry(id, due, checked) => (id, Some(due), checked),
            OutboxEntry::Batch(id, checked) => {
                report.check("batch", checked);
                batches.check_batch(subscriptions, id, report)?;
                continue;
            }
            OutboxEntry::Waiting(id, row) => {
                report.pending += 1;
                if let Some(row) = report.check("outbox", row) {
                    orders.check_waiting(subscriptions, id, row, report)?;
                    batches.check_waiting(subscriptions, id, row, report)?;
                }
                continue;
            }
        };
        report.pending += 1;
        report.check("outbox", checked);
        // Those of a deleted subscription are about to be removed.
        let Some(account) = subscriptions.get(&id.subscription) else { continue };
        let row = outcomes.get((account.0, id.event.0, id.subscription.0))?;
        match (due, row) {
            (None, None) => {}
            (None, Some(_)) => {
                report.fault(format!("delivery {id}: in the outbox as never attempted, but it was attempted"));
            }
            (Some(due), row) => {
                let state = row.map(|row| delivery_record::decode_state(row.value()));
                let fits = matches!(state, Some(Ok(DeliveryState::Pending { due: own })) if own == due);
                if !fits {
                    report.fault(format!("delivery {id}: in the outbox, but its own row does not say so"));
                }
            }
        }
    }
    Ok(())
}
