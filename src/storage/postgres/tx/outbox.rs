//! The rows of the outbox in a write transaction. Runs on the writer thread, and never commits.

use crate::domain::delivery::history::History;
use crate::domain::options::order::OrderKey;
use crate::domain::{BatchId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::engine::{BatchHead, OutboxTx};
use crate::storage::error::StorageError;
use crate::storage::postgres::rows::{Row, Rows as _, Walk};
use crate::storage::postgres::stored::{
    self, GATHERED, UNATTEMPTED, VERSION, WAITING, batch_members, due, due_in, event_in, ms, outbox_at, outbox_row,
    retries_of,
};
use crate::storage::postgres::tables::{BATCHES, HISTORIES, Key, ORDERS, OUTBOX, Order, Span, Table, key};
use crate::storage::postgres::tx::PostgresTx;
use crate::storage::rows::outbox_row::{InBatch, OutboxRow};
use crate::storage::rows::{codec, history_record};

type Result<T> = std::result::Result<T, StorageError>;

/// In place of an event: the row that names the first of an order key, or that is a batch itself.
const HEAD: u128 = 0;

fn unattempted_key(id: DeliveryId) -> Key {
    key![id.subscription.0, UNATTEMPTED, id.event.0]
}

fn retry_key(id: DeliveryId, at: Timestamp) -> Key {
    key![id.subscription.0, due(at), id.event.0]
}

fn waiting_key(id: DeliveryId) -> Key {
    key![id.subscription.0, WAITING, id.event.0]
}

/// An order key as a column: its bits, as nothing goes by its size.
fn column(key: OrderKey) -> i64 {
    key.0.get().cast_signed()
}

fn events(rows: &[Row]) -> Vec<EventId> {
    rows.iter().map(|(at, _)| event_in(at)).collect()
}

fn retries(rows: &[Row]) -> Vec<(Timestamp, EventId)> {
    rows.iter().map(|(at, _)| (stored::time(due_in(at)), event_in(at))).collect()
}

impl PostgresTx<'_> {
    fn take_row(&self, at: &Key) -> Result<Option<OutboxRow>> {
        Ok(self.rows.take(&OUTBOX, at.clone())?.map(|row| outbox_row(at, &row)))
    }

    fn add_row(&self, at: Key, row: OutboxRow) -> Result<bool> {
        let is_new = self.rows.get(&OUTBOX, &at)?.is_none();
        self.rows.put(&OUTBOX, at, row.encode()?);
        Ok(is_new)
    }

    /// Where it is noted what a waiting delivery waits for.
    fn note_of(id: DeliveryId, row: OutboxRow) -> Option<(&'static Table, Key)> {
        let (subscription, event) = (id.subscription.0, id.event.0);
        match row.batch {
            InBatch::Member(batch) => Some((&BATCHES, key![subscription, batch.0, event])),
            InBatch::Gathered => Some((&ORDERS, key![subscription, GATHERED, event])),
            InBatch::No | InBatch::Whole => row.key.map(|of| (&ORDERS, key![subscription, column(of), event])),
        }
    }
}

impl OutboxTx for PostgresTx<'_> {
    fn put_unattempted(&mut self, id: DeliveryId, key: Option<OrderKey>) -> Result<()> {
        self.rows.put(&OUTBOX, unattempted_key(id), OutboxRow::of(key).encode()?);
        Ok(())
    }

    fn is_unattempted(&mut self, id: DeliveryId) -> Result<bool> {
        Ok(self.rows.get(&OUTBOX, &unattempted_key(id))?.is_some())
    }

    fn take_unattempted(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>> {
        self.take_row(&unattempted_key(id))
    }

    fn unattempted_before(&mut self, id: SubscriptionId, before: EventId, limit: usize) -> Result<Vec<EventId>> {
        let span = outbox_at(id, UNATTEMPTED, 0, before.0).before();
        self.rows.scan(&OUTBOX, &span, Order::Rising, limit).map(|rows| events(&rows))
    }

    fn retries_before(
        &mut self,
        id: SubscriptionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>> {
        let span = Span { to: key![id.0, ms(before), 0_u128], ..retries_of(id) }.before();
        self.rows.scan(&OUTBOX, &span, Order::Rising, limit).map(|rows| retries(&rows))
    }

    fn put_retry(&mut self, id: DeliveryId, due: Timestamp, row: OutboxRow) -> Result<bool> {
        self.add_row(retry_key(id, due), row)
    }

    fn take_retry(&mut self, id: DeliveryId, due: Timestamp) -> Result<Option<OutboxRow>> {
        self.take_row(&retry_key(id, due))
    }

    fn take_retry_at_any_time(&mut self, id: DeliveryId) -> Result<Vec<OutboxRow>> {
        let mut taken = Vec::new();
        for row in Walk::over(self.rows, &OUTBOX, retries_of(id.subscription), Order::Rising) {
            let (at, row) = row?;
            if event_in(&at) == id.event {
                taken.push(outbox_row(&at, &row));
                self.rows.remove(&OUTBOX, at);
            }
        }
        Ok(taken)
    }

    fn unattempted_after(&mut self, id: SubscriptionId, after: EventId, limit: usize) -> Result<Vec<EventId>> {
        let span = outbox_at(id, UNATTEMPTED, after.0, u128::MAX).behind();
        self.rows.scan(&OUTBOX, &span, Order::Rising, limit).map(|rows| events(&rows))
    }

    fn retries_after(
        &mut self,
        id: SubscriptionId,
        (due, event): (Timestamp, EventId),
        limit: usize,
    ) -> Result<Vec<(Timestamp, EventId)>> {
        let after = key![id.0, ms(due).max(UNATTEMPTED + 1), if ms(due) > UNATTEMPTED { event.0 } else { 0 }];
        let span = Span { from: after, ..retries_of(id) };
        // A time before all retries leaves out none of them.
        let span = if ms(due) > UNATTEMPTED { span.behind() } else { span };
        self.rows.scan(&OUTBOX, &span, Order::Rising, limit).map(|rows| retries(&rows))
    }

    fn put_waiting(&mut self, id: DeliveryId, row: OutboxRow) -> Result<bool> {
        if let Some((table, at)) = Self::note_of(id, row) {
            self.rows.put(table, at, Vec::new());
        }
        self.add_row(waiting_key(id), row)
    }

    fn take_waiting(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>> {
        let Some(row) = self.take_row(&waiting_key(id))? else { return Ok(None) };
        if let Some((table, at)) = Self::note_of(id, row) {
            self.rows.remove(table, at);
        }
        Ok(Some(row))
    }

    fn waiting_row(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>> {
        let at = waiting_key(id);
        Ok(self.rows.get(&OUTBOX, &at)?.map(|row| outbox_row(&at, &row)))
    }

    fn waiting(
        &mut self,
        id: SubscriptionId,
        (after, before): (EventId, EventId),
        limit: usize,
    ) -> Result<Vec<(EventId, OutboxRow)>> {
        let span = outbox_at(id, WAITING, after.0, before.0).behind().before();
        let rows = self.rows.scan(&OUTBOX, &span, Order::Rising, limit)?;
        Ok(rows.iter().map(|(at, row)| (event_in(at), outbox_row(at, row))).collect())
    }

    fn first_of(&mut self, id: SubscriptionId, key: OrderKey) -> Result<Option<EventId>> {
        let at = key![id.0, column(key), HEAD];
        let Some(row) = self.rows.get(&ORDERS, &at)? else { return Ok(None) };
        let row = ORDERS.open(&at, &row, || format!("the first of an order of subscription {id}"));
        // A row that is damaged names none: the next one starts, rather than none ever again.
        let first = row.and_then(|row| codec::decode(VERSION, row).map(EventId));
        Ok(first.inspect_err(|error| log::error!("{error}")).ok())
    }

    fn put_first(&mut self, id: SubscriptionId, key: OrderKey, first: Option<EventId>) -> Result<()> {
        let at = key![id.0, column(key), HEAD];
        match first {
            Some(event) => self.rows.put(&ORDERS, at, codec::encode(VERSION, &event.0)?),
            None => self.rows.remove(&ORDERS, at),
        }
        Ok(())
    }

    fn next_of(&mut self, id: SubscriptionId, key: OrderKey) -> Result<Option<EventId>> {
        let span = Span::of(key![id.0, column(key), HEAD], key![id.0, column(key), u128::MAX]).behind();
        Ok(self.rows.scan(&ORDERS, &span, Order::Rising, 1)?.first().map(|(at, _)| event_in(at)))
    }

    fn batch(&mut self, id: SubscriptionId, batch: BatchId) -> Result<Option<BatchHead>> {
        stored::batch(self.rows, &key![id.0, batch.0, HEAD])
    }

    fn put_batch(&mut self, id: SubscriptionId, batch: BatchId, head: Option<BatchHead>) -> Result<()> {
        let at = key![id.0, batch.0, HEAD];
        match head {
            Some(BatchHead { attempts, due }) => {
                self.rows.put(&BATCHES, at, codec::encode(VERSION, &(attempts, due.as_ms()))?);
            }
            None => self.rows.remove(&BATCHES, at),
        }
        Ok(())
    }

    fn batch_members(&mut self, id: SubscriptionId, batch: BatchId) -> Result<Vec<EventId>> {
        let rows = Walk::over(self.rows, &BATCHES, batch_members(id, batch.0), Order::Rising);
        rows.map(|row| Ok(event_in(&row?.0))).collect()
    }

    fn has_batch_members(&mut self, id: SubscriptionId, batch: BatchId) -> Result<bool> {
        Ok(!self.rows.scan(&BATCHES, &batch_members(id, batch.0), Order::Rising, 1)?.is_empty())
    }

    fn put_history(&mut self, id: SubscriptionId, history: &History) -> Result<()> {
        self.rows.put(&HISTORIES, key![id.0], history_record::encode(history)?);
        Ok(())
    }
}
