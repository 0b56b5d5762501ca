//! Checks what goes in order: of each order key one delivery may start, and the others wait behind it.

use redb::{ReadOnlyTable, ReadTransaction, TableHandle as _};

use crate::domain::delivery::DeliveryState;
use crate::domain::{BatchId, DeliveryId, EventId, SubscriptionId};
use crate::storage::engine::Stored;
use crate::storage::error::StorageError;
use crate::storage::redb::copy::verify::report::{Subscriptions, VerifyReport};
use crate::storage::redb::outbox::{Outbox, OutboxAt, batches, orders};
use crate::storage::redb::tables::{self, OutboxKey, OutcomeKey};
use crate::storage::rows::delivery_record;
use crate::storage::rows::outbox_row::{InBatch, OutboxRow};

type Bytes = &'static [u8];

/// The tables that tell of order.
pub struct Orders<'a> {
    rows: &'a ReadTransaction,
    /// A store that never had an order lacks it.
    table: Option<ReadOnlyTable<OutboxKey, Bytes>>,
    outbox: OutboxAt,
    outcomes: ReadOnlyTable<OutcomeKey, Bytes>,
}

impl<'a> Orders<'a> {
    /// As that transaction sees them.
    pub fn of(rows: &'a ReadTransaction) -> Result<Self, StorageError> {
        let has_orders = tables::has(rows, tables::ORDERS.name())?;
        let table = if has_orders { Some(rows.open_table(tables::ORDERS)?) } else { None };
        Ok(Self { rows, table, outbox: Outbox::of(rows)?, outcomes: rows.open_table(tables::OUTCOMES)? })
    }

    fn state(&self, account: u32, id: DeliveryId) -> Result<Option<Stored<DeliveryState>>, StorageError> {
        let row = self.outcomes.get((account, id.event.0, id.subscription.0))?;
        Ok(row.map(|row| delivery_record::decode_state(row.value())))
    }

    fn is_batch(&self, id: DeliveryId) -> Result<bool, StorageError> {
        Ok(batches::read(self.rows, id.subscription, BatchId(id.event.0))?.is_some())
    }

    /// Checks that what is named first may start, and that what is named as waiting waits.
    pub fn check(&self, subscriptions: &Subscriptions, report: &mut VerifyReport) -> Result<(), StorageError> {
        let Some(orders) = &self.table else { return Ok(()) };
        for row in orders.range::<OutboxKey>(..)? {
            let (key, row) = row?;
            let (subscription, order, event) = key.value();
            let subscription = SubscriptionId(subscription);
            // Those of a deleted subscription are about to be removed.
            let Some(account) = subscriptions.get(&subscription) else { continue };
            if event != orders::FIRST {
                let id = DeliveryId { event: EventId(event), subscription };
                let opened = tables::open::<OutboxKey>(key.value(), row.value(), || format!("order of delivery {id}"));
                report.check("order", opened);
                if self.outbox.waiting(id)?.is_none() {
                    report.fault(format!("delivery {id}: recorded as waiting for its turn, but not waiting"));
                }
                continue;
            }
            let Some(event) = report.check("order", orders::decode_first(key.value(), row.value())) else { continue };
            let id = DeliveryId { event, subscription };
            let may_start = match self.state(account.0, id)? {
                // A batch has no row of its own here.
                None => self.outbox.is_unattempted(id)? || self.is_batch(id)?,
                Some(Ok(DeliveryState::Pending { due })) => self.outbox.has_retry(id, due)?,
                // One that cannot be read was told before.
                Some(state) => state.is_err(),
            };
            if !may_start {
                report.fault(format!("delivery {id}: the first of order {order:x}, but not to be sent"));
            }
        }
        Ok(())
    }

    /// Checks that a delivery that waits does so for another one, and is pending.
    pub fn check_waiting(
        &self,
        subscriptions: &Subscriptions,
        id: DeliveryId,
        row: OutboxRow,
        report: &mut VerifyReport,
    ) -> Result<(), StorageError> {
        let Some(account) = subscriptions.get(&id.subscription) else { return Ok(()) };
        if row.batch != InBatch::No {
            return Ok(());
        }
        let fits = match self.state(account.0, id)? {
            None => !row.has_outcome,
            Some(state) => row.has_outcome && !state.is_ok_and(|state| !state.is_pending()),
        };
        if !fits {
            report.fault(format!("delivery {id}: it waits for its turn, but its own row does not say so"));
        }
        let has = |event: u128| -> Result<bool, StorageError> {
            let (Some(orders), Some(key)) = (&self.table, row.key) else { return Ok(false) };
            Ok(orders.get((id.subscription.0, key.0.get(), event))?.is_some())
        };
        if !has(id.event.0)? || !has(orders::FIRST)? {
            report.fault(format!("delivery {id}: it waits for its turn, and there is none before it"));
        }
        Ok(())
    }
}
