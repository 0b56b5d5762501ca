//! Looks through a whole store for anything that is not as it was written: pages that do not fit their checksums,
//! rows that cannot be read, bodies that do not fit their digests, and an outbox that contradicts the deliveries (I3).
//! Runs in a command, on the main thread. It changes nothing.

use redb::{ReadTransaction, ReadableDatabase, ReadableTable as _};

use super::delivery_record;
use super::error::StorageError;
use super::key_record;
use super::outbox::{Entry, Outbox};
use super::record::{EventRow, IdempotencyRow};
use super::subscription_record::SubscriptionRow;
use super::tables;
use crate::domain::delivery::DeliveryState;
use crate::domain::event_type::EventType;
use crate::domain::{DeliveryId, EventId, KeyId, SubscriptionId};

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// How many rows were looked at.
    pub rows: u64,
    /// How many deliveries are pending.
    pub pending: u64,
    /// What is wrong, the first of it in words.
    pub faults: Vec<String>,
    /// How many more faults there are.
    pub further: u64,
}

/// So many faults are told in words.
const TOLD: usize = 20;

impl Findings {
    fn fault(&mut self, text: String) {
        if self.faults.len() < TOLD {
            self.faults.push(text);
        } else {
            self.further += 1;
        }
    }

    fn check<T>(&mut self, what: impl std::fmt::Display, result: Result<T, StorageError>) -> Option<T> {
        self.rows += 1;
        result.map_err(|error| self.fault(format!("{what}: {error}"))).ok()
    }
}

/// Looks at every row and at how rows fit together.
pub fn rows(db: &impl ReadableDatabase) -> Result<Findings, StorageError> {
    let transaction = db.begin_read()?;
    let mut findings = Findings::default();
    small_tables(&transaction, &mut findings)?;
    events(&transaction, &mut findings)?;
    outbox(&transaction, &mut findings)?;
    deliveries(&transaction, &mut findings)?;
    Ok(findings)
}

fn small_tables(transaction: &ReadTransaction, findings: &mut Findings) -> Result<(), StorageError> {
    for row in transaction.open_table(tables::KEYS)?.iter()? {
        let (id, row) = row?;
        findings.check(format_args!("key {}", id.value()), key_record::decode(KeyId(id.value()), row.value()));
    }
    for row in transaction.open_table(tables::SUBSCRIPTIONS)?.iter()? {
        let (id, row) = row?;
        let id = SubscriptionId(id.value());
        findings.check(format_args!("subscription {id}"), SubscriptionRow::decode(row.value()));
    }
    Ok(())
}

fn events(transaction: &ReadTransaction, findings: &mut Findings) -> Result<(), StorageError> {
    for row in transaction.open_table(tables::EVENTS)?.iter()? {
        let (key, row) = row?;
        let id = EventId(key.value().1);
        let row = findings.check(format_args!("event {id}"), EventRow::decode(row.value()));
        if row.is_some_and(|row| !row.is_intact()) {
            findings.fault(format!("event {id}: the body does not fit its digest"));
        }
    }
    for row in transaction.open_table(tables::IDEMPOTENCY)?.iter()? {
        let (key, row) = row?;
        findings.check(format_args!("idempotency key {:x}", key.value().1), IdempotencyRow::decode(row.value()));
    }
    Ok(())
}

fn outbox(transaction: &ReadTransaction, findings: &mut Findings) -> Result<(), StorageError> {
    let deliveries = transaction.open_table(tables::DELIVERIES)?;
    for entry in Outbox::of(transaction)?.entries()? {
        match entry? {
            Entry::History(id, history) => {
                findings.check(format_args!("history of subscription {id}"), history);
            }
            Entry::Fresh(id, number) => {
                findings.rows += 1;
                findings.pending += 1;
                if EventType::from_number(number).is_none() {
                    findings.fault(format!("delivery {id}: unknown event type {number}"));
                }
                if deliveries.get((id.subscription.0, id.event.0))?.is_some() {
                    findings.fault(format!("delivery {id}: in the outbox as never attempted, but it was attempted"));
                }
            }
            Entry::Retry(id, due) => {
                findings.rows += 1;
                findings.pending += 1;
                let row = deliveries.get((id.subscription.0, id.event.0))?;
                let delivery = row.map(|row| delivery_record::decode(row.value()));
                let fits = matches!(delivery, Some(Ok(delivery))
                    if matches!(delivery.state, DeliveryState::Pending { due: own } if own == due));
                if !fits {
                    findings.fault(format!("delivery {id}: in the outbox, but its own row does not say so"));
                }
            }
        }
    }
    Ok(())
}

fn deliveries(transaction: &ReadTransaction, findings: &mut Findings) -> Result<(), StorageError> {
    // The rows of a deleted subscription go table by table, so they need not fit together.
    let purges = transaction.open_table(tables::PURGES)?;
    let outbox = Outbox::of(transaction)?;
    for row in transaction.open_table(tables::DELIVERIES)?.iter()? {
        let (key, row) = row?;
        let (subscription, event) = key.value();
        let id = DeliveryId { event: EventId(event), subscription: SubscriptionId(subscription) };
        let Some(delivery) = findings.check(format_args!("delivery {id}"), delivery_record::decode(row.value())) else {
            continue;
        };
        if let DeliveryState::Pending { due } = delivery.state
            && purges.get(subscription)?.is_none()
            && !outbox.has_retry(id, due)?
        {
            findings.fault(format!("delivery {id}: pending, but not in the outbox"));
        }
    }
    Ok(())
}
