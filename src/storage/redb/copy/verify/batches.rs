//! Checks batches: each is to be sent, and what is said to be in one is pending.

use redb::{ReadOnlyTable, ReadTransaction, TableHandle as _};

use crate::domain::{BatchId, DeliveryId, EventId, SubscriptionId};
use crate::storage::error::StorageError;
use crate::storage::redb::copy::verify::report::{Subscriptions, VerifyReport};
use crate::storage::redb::outbox::{Outbox, OutboxAt, batches};
use crate::storage::redb::tables::{self, BatchKey};
use crate::storage::rows::outbox_row::{InBatch, OutboxRow};

type Bytes = &'static [u8];

/// The tables that tell of batches.
pub struct Batches {
    /// A store that never had a batch lacks it.
    table: Option<ReadOnlyTable<BatchKey, Bytes>>,
    outbox: OutboxAt,
}

impl Batches {
    /// As that transaction sees them.
    pub fn of(rows: &ReadTransaction) -> Result<Self, StorageError> {
        let has_batches = tables::has(rows, tables::BATCHES.name())?;
        let table = if has_batches { Some(rows.open_table(tables::BATCHES)?) } else { None };
        Ok(Self { table, outbox: Outbox::of(rows)? })
    }

    fn has(&self, id: SubscriptionId, batch: BatchId, event: u128) -> Result<bool, StorageError> {
        let Some(batches) = &self.table else { return Ok(false) };
        Ok(batches.get((id.0, batch.0, event))?.is_some())
    }

    /// Checks every row.
    pub fn check(&self, subscriptions: &Subscriptions, report: &mut VerifyReport) -> Result<(), StorageError> {
        let Some(batches) = &self.table else { return Ok(()) };
        for row in batches.range::<BatchKey>(..)? {
            let (key, row) = row?;
            let (subscription, batch, event) = key.value();
            let (subscription, batch) = (SubscriptionId(subscription), BatchId(batch));
            // Those of a deleted subscription are about to be removed.
            if !subscriptions.contains_key(&subscription) {
                continue;
            }
            if event != batches::HEAD {
                let id = DeliveryId { event: EventId(event), subscription };
                let opened = tables::open::<BatchKey>(key.value(), row.value(), || format!("batch of delivery {id}"));
                report.check("batch", opened);
                if self.outbox.waiting(id)?.is_none_or(|row| row.batch != InBatch::Member(batch)) {
                    report.fault(format!("delivery {id}: recorded in {batch}, but not in it"));
                }
                continue;
            }
            let Some(head) = report.check("batch", batches::decode_head(key.value(), row.value())) else { continue };
            let item = batch.of(subscription);
            if !self.outbox.has_retry(item, head.due)? && self.outbox.waiting(item)?.is_none() {
                report.fault(format!("{batch} of subscription {subscription}: not to be sent"));
            }
        }
        Ok(())
    }

    /// Checks that a batch that is to be sent is there.
    pub fn check_batch(
        &self,
        subscriptions: &Subscriptions,
        id: DeliveryId,
        report: &mut VerifyReport,
    ) -> Result<(), StorageError> {
        let batch = BatchId(id.event.0);
        if subscriptions.contains_key(&id.subscription) && !self.has(id.subscription, batch, batches::HEAD)? {
            report.fault(format!("{batch} of subscription {}: to be sent, but missing", id.subscription));
        }
        Ok(())
    }

    /// Checks that a delivery that is said to be in a batch is in it.
    pub fn check_waiting(
        &self,
        subscriptions: &Subscriptions,
        id: DeliveryId,
        row: OutboxRow,
        report: &mut VerifyReport,
    ) -> Result<(), StorageError> {
        let InBatch::Member(batch) = row.batch else { return Ok(()) };
        if subscriptions.contains_key(&id.subscription) && !self.has(id.subscription, batch, id.event.0)? {
            report.fault(format!("delivery {id}: in {batch}, which does not say so"));
        }
        Ok(())
    }
}
