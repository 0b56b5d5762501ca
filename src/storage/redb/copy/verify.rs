//! Verifies a whole store: page checksums, rows that decode, bodies that match their digests, and an outbox consistent
//! with the deliveries (I3). Runs in a command, on the main thread. Read-only.

use redb::{ReadTransaction, ReadableDatabase, ReadableTable as _};

use crate::domain::delivery::DeliveryState;
use crate::domain::event::event_type::EventType;
use crate::domain::{DeliveryId, EventId, KeyId, SubscriptionId};
use crate::storage::error::StorageError;
use crate::storage::redb::outbox::{Outbox, OutboxEntry};
use crate::storage::redb::tables;
use crate::storage::redb::{audit, find_index, jobs};
use crate::storage::rows::delivery_record;
use crate::storage::rows::key_record;
use crate::storage::rows::record::{EventRow, IdempotencyRow};
use crate::storage::rows::subscription_record::SubscriptionRow;

/// The result.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Number of rows checked.
    pub rows: u64,
    /// How many deliveries are pending.
    pub pending: u64,
    /// Descriptions of the first errors.
    pub faults: Vec<String>,
    /// Number of further errors.
    pub more_faults: u64,
}

/// Maximum number of described errors.
const LISTED_FAULTS_MAX: usize = 20;

impl VerifyReport {
    fn fault(&mut self, text: String) {
        if self.faults.len() < LISTED_FAULTS_MAX {
            self.faults.push(text);
        } else {
            self.more_faults += 1;
        }
    }

    fn check<T>(&mut self, what: impl std::fmt::Display, result: Result<T, StorageError>) -> Option<T> {
        self.rows += 1;
        result.map_err(|error| self.fault(format!("{what}: {error}"))).ok()
    }
}

/// Checks every row and the consistency between rows.
pub fn rows(db: &impl ReadableDatabase) -> Result<VerifyReport, StorageError> {
    let transaction = db.begin_read()?;
    let mut report = VerifyReport::default();
    small_tables(&transaction, &mut report)?;
    events(&transaction, &mut report)?;
    outbox(&transaction, &mut report)?;
    deliveries(&transaction, &mut report)?;
    Ok(report)
}

fn small_tables(transaction: &ReadTransaction, report: &mut VerifyReport) -> Result<(), StorageError> {
    for row in transaction.open_table(tables::KEYS)?.iter()? {
        let (id, row) = row?;
        report.check(format_args!("key {}", id.value()), key_record::decode(KeyId(id.value()), row.value()));
    }
    for row in transaction.open_table(tables::SUBSCRIPTIONS)?.iter()? {
        let (id, row) = row?;
        let id = SubscriptionId(id.value());
        report.check(format_args!("subscription {id}"), SubscriptionRow::decode(row.value()));
    }
    audit::all(transaction, |id, record| drop(report.check(id, record)))?;
    for (_, id, job) in jobs::all(transaction)? {
        report.check(id, job);
    }
    Ok(())
}

fn events(transaction: &ReadTransaction, report: &mut VerifyReport) -> Result<(), StorageError> {
    for row in transaction.open_table(tables::EVENTS)?.iter()? {
        let (key, row) = row?;
        let id = EventId(key.value().1);
        let row = report.check(format_args!("event {id}"), EventRow::decode(row.value()));
        if row.is_some_and(|row| !row.is_intact()) {
            report.fault(format!("event {id}: the body does not match its digest"));
        }
    }
    for (id, error) in find_index::damaged_tags(transaction)? {
        report.fault(format!("tags of event {id}: {error}"));
    }
    for row in transaction.open_table(tables::IDEMPOTENCY)?.iter()? {
        let (key, row) = row?;
        report.check(format_args!("idempotency key {:x}", key.value().1), IdempotencyRow::decode(row.value()));
    }
    Ok(())
}

fn outbox(transaction: &ReadTransaction, report: &mut VerifyReport) -> Result<(), StorageError> {
    let deliveries = transaction.open_table(tables::DELIVERIES)?;
    for entry in Outbox::of(transaction)?.entries()? {
        match entry? {
            OutboxEntry::History(id, history) => {
                report.check(format_args!("history of subscription {id}"), history);
            }
            OutboxEntry::Unattempted(id, number) => {
                report.rows += 1;
                report.pending += 1;
                if EventType::from_number(number).is_none() {
                    report.fault(format!("delivery {id}: unknown event type {number}"));
                }
                if deliveries.get((id.subscription.0, id.event.0))?.is_some() {
                    report.fault(format!("delivery {id}: in the outbox as never attempted, but it was attempted"));
                }
            }
            OutboxEntry::Retry(id, due) => {
                report.rows += 1;
                report.pending += 1;
                let row = deliveries.get((id.subscription.0, id.event.0))?;
                let delivery = row.map(|row| delivery_record::decode(row.value()));
                let fits = matches!(delivery, Some(Ok(delivery))
                    if matches!(delivery.state, DeliveryState::Pending { due: own } if own == due));
                if !fits {
                    report.fault(format!("delivery {id}: in the outbox, but its own row does not say so"));
                }
            }
        }
    }
    Ok(())
}

fn deliveries(transaction: &ReadTransaction, report: &mut VerifyReport) -> Result<(), StorageError> {
    // A deleted subscription's rows are removed table by table, so they can be inconsistent.
    let purges = transaction.open_table(tables::PURGES)?;
    let outbox = Outbox::of(transaction)?;
    for row in transaction.open_table(tables::DELIVERIES)?.iter()? {
        let (key, row) = row?;
        let (subscription, event) = key.value();
        let id = DeliveryId { event: EventId(event), subscription: SubscriptionId(subscription) };
        let Some(delivery) = report.check(format_args!("delivery {id}"), delivery_record::decode(row.value())) else {
            continue;
        };
        if let DeliveryState::Pending { due } = delivery.state
            && purges.get(subscription)?.is_none()
            && !outbox.has_retry(id, due)?
        {
            report.fault(format!("delivery {id}: pending, but not in the outbox"));
        }
    }
    Ok(())
}
