//! Where a pending delivery is in the outbox, and how it comes there: it may start, waits for its retry, or waits for the
//! first one of its order key. Runs on the writer thread, inside the open write transaction; never commits.
//!
//! That a settled delivery lets the next one of its key start is part of the commit that settles it, so it holds over
//! restarts, and no step and no thread has to come by.

use crate::domain::delivery::order::Turn;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::event_type::EventType;
use crate::domain::event::find;
use crate::domain::options::order::{Order, OrderKey};
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::counts::Kind;
use crate::storage::engine::{Pending, Tx};
use crate::storage::error::StorageError;
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rules::apply::{Batch, State};

impl<T: Tx> Batch<T> {
    /// Adds a delivery of a new event. Returns whether it may start.
    pub(in crate::storage) fn put_new(&mut self, id: DeliveryId, key: Option<OrderKey>) -> Result<bool, StorageError> {
        self.pending.unattempted += 1;
        if let Some(key) = key
            && self.turn(id, key)? == Turn::Waits
        {
            self.tx.put_waiting(id, OutboxRow::of(Some(key)))?;
            return Ok(false);
        }
        self.tx.put_unattempted(id, key)?;
        Ok(true)
    }

    /// Adds a delivery with an outcome that is to be sent then, or in its turn.
    pub(in crate::storage) fn put_pending(
        &mut self,
        id: DeliveryId,
        due: Timestamp,
        key: Option<OrderKey>,
    ) -> Result<(), StorageError> {
        let is_new = match key {
            Some(key) if self.turn(id, key)? == Turn::Waits => {
                self.tx.put_waiting(id, OutboxRow { has_outcome: true, ..OutboxRow::of(Some(key)) })?
            }
            _ => self.tx.put_retry(id, due, OutboxRow::of(key))?,
        };
        self.pending.retrying += u64::from(is_new);
        Ok(())
    }

    /// The turn of a delivery, which is the first one from now on if it may start.
    pub(in crate::storage) fn turn(&mut self, id: DeliveryId, key: OrderKey) -> Result<Turn, StorageError> {
        let first = self.tx.first_of(id.subscription, key)?;
        let turn = Turn::of(id.event, first);
        if turn == Turn::Starts && first.is_none() {
            self.tx.put_first(id.subscription, key, Some(id.event))?;
        }
        Ok(turn)
    }

    /// Takes a delivery that was never attempted out of the outbox. Returns its row, if it was there.
    pub(in crate::storage) fn take_unattempted(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>, StorageError> {
        let row = self.tx.take_unattempted(id)?;
        self.pending.subtract(Pending { unattempted: row.is_some().into(), retrying: 0 });
        Ok(row)
    }

    /// Takes a retry out of the outbox. Returns its row, if it was there.
    pub(in crate::storage) fn take_retry(
        &mut self,
        id: DeliveryId,
        due: Timestamp,
    ) -> Result<Option<OutboxRow>, StorageError> {
        let row = self.tx.take_retry(id, due)?;
        self.pending.subtract(Pending { retrying: row.is_some().into(), unattempted: 0 });
        Ok(row)
    }

    /// Takes a delivery that waits for another one out of the outbox. Returns its row, if it was there.
    pub(in crate::storage) fn take_waiting(&mut self, id: DeliveryId) -> Result<Option<OutboxRow>, StorageError> {
        let row = self.tx.take_waiting(id)?;
        if let Some(OutboxRow { has_outcome, .. }) = row {
            self.pending.subtract(Pending { retrying: has_outcome.into(), unattempted: (!has_outcome).into() });
        }
        Ok(row)
    }

    /// Takes a delivery with an outcome, which is due then, out of the outbox. Returns its row.
    pub(in crate::storage) fn take_attempted(
        &mut self,
        id: DeliveryId,
        due: Timestamp,
    ) -> Result<OutboxRow, StorageError> {
        Ok(match self.take_retry(id, due)? {
            Some(row) => row,
            None => self.take_waiting(id)?.unwrap_or_default(),
        })
    }

    /// Lets the next one of an order key start, if that delivery was the first one. Returns whether there is a next one.
    pub(in crate::storage) fn pass_on(
        &mut self,
        state: &State,
        account: AccountId,
        done: DeliveryId,
        key: Option<OrderKey>,
    ) -> Result<bool, StorageError> {
        let Some(key) = key else { return Ok(false) };
        let subscription = done.subscription;
        if self.tx.first_of(subscription, key)? != Some(done.event) {
            return Ok(false);
        }
        let next = self.tx.next_of(subscription, key)?;
        self.tx.put_first(subscription, key, next)?;
        if let Some(event) = next {
            self.start_waiting(state, account, DeliveryId { event, subscription }, Some(key))?;
        }
        Ok(next.is_some())
    }

    /// Makes a delivery due that has waited for another one.
    fn start_waiting(
        &mut self,
        state: &State,
        account: AccountId,
        id: DeliveryId,
        key: Option<OrderKey>,
    ) -> Result<(), StorageError> {
        let now = state.clock.monotonic();
        if let Some(row) = self.tx.waiting_row(id)?.filter(|row| row.is_batch()) {
            self.tx.take_waiting(id)?;
            return self.start_batch(state, id, row);
        }
        let row = self.take_waiting(id)?.unwrap_or_default();
        let mut delivery = match self.tx.delivery(account, id)? {
            Some(Ok(delivery)) => delivery,
            None => self.unattempted(account, id.event)?,
            Some(Err(error)) => {
                log::error!("delivery {id} has lost its earlier attempts: {error}");
                self.unattempted(account, id.event)?
            }
        };
        delivery.state = DeliveryState::Pending { due: now };
        self.pending.retrying += u64::from(self.tx.put_retry(id, now, OutboxRow::of(key))?);
        self.tx.put_delivery(account, id, &delivery)?;
        if !row.has_outcome {
            self.count(account, id, Some(Kind::Unattempted), Some(Kind::Retrying));
        }
        self.changes.redelivered.push((id.subscription, now));
        Ok(())
    }

    /// A delivery of that event without an attempt. An event that cannot be read is told by its attempt.
    pub(in crate::storage) fn unattempted(
        &mut self,
        account: AccountId,
        event: EventId,
    ) -> Result<Delivery, StorageError> {
        let event_type = self.tx.event_type(account, event)?.unwrap_or(EventType::Ping);
        Ok(Delivery::unattempted(event_type, event.time()))
    }

    /// The order key of a delivery whose event is stored.
    pub(in crate::storage) fn order_key(
        &mut self,
        state: &State,
        account: AccountId,
        id: DeliveryId,
    ) -> Result<Option<OrderKey>, StorageError> {
        let order = order_of(state, id.subscription);
        if order != Order::Worker {
            return Ok(order.key(|| None));
        }
        // One that cannot be read is told by its attempt.
        let row = self.tx.event_rows(account, id.event..=id.event, 1)?.pop().and_then(|(_, row)| row.ok());
        Ok(row.and_then(|row| find::worker_key_of(row.content.body())))
    }
}

fn order_of(state: &State, id: SubscriptionId) -> Order {
    state.registry.subscription(id).map(|found| found.options.order).unwrap_or_default()
}
