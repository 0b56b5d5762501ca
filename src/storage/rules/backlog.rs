//! What becomes of a subscription's backlog after a change: what waits for a retry is due now after a repair, and what
//! waits of an event type that was removed is cancelled. A backlog may be large, so the change only leaves a mark in the
//! subscription's history, and steps of bounded size go through the rows, beside what callers do. A restart begins the
//! steps of a mark again, which changes nothing that was done. Runs on the writer thread.

pub(in crate::storage) mod positions;

use std::time::Instant;

use crate::domain::delivery::Delivery;
use crate::domain::delivery::history::History;
use crate::domain::delivery::repair::Repair;
use crate::domain::event::event_types::Removed;
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, BatchId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::counts::Kind;
use crate::storage::engine::Tx;
use crate::storage::error::StorageError;
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::backlog::positions::Position;
use crate::storage::rules::jobs::StepSize;

impl<T: Tx> Batch<T> {
    /// The endpoint was repaired, as far as anybody knows: what waits for a retry is due now.
    pub(in crate::storage) fn hasten(&mut self, state: &mut State, id: SubscriptionId) {
        let history = state.histories.entry(id).or_default();
        let (monotonic, wall) = (state.clock.monotonic(), state.clock.wall());
        history.repair = Some(Repair { monotonic, wall, is_open: true });
        state.backlogs.begin(id, history);
        self.changed_histories.insert(id);
        self.changes.to_try.push(id);
    }

    /// Cancels what waits of what was removed.
    pub(in crate::storage) fn withdraw(&mut self, state: &mut State, id: SubscriptionId, removed: &[Removed]) {
        let Some(last) = state.ids.last() else { return };
        let history = state.histories.entry(id).or_default();
        history.withdrawn.retain(|(earlier, _)| !removed.contains(earlier));
        history.withdrawn.extend(removed.iter().map(|removed| (*removed, last)));
        state.backlogs.begin(id, history);
        self.changed_histories.insert(id);
    }

    /// Goes on with the backlog whose turn it is.
    pub(in crate::storage) fn step_backlogs(&mut self, state: &mut State, size: StepSize) -> Result<(), StorageError> {
        let Some((id, position)) = state.backlogs.next() else { return Ok(()) };
        let (Some(subscription), Some(history)) =
            (state.registry.subscription(id).cloned(), state.histories.get(&id).cloned())
        else {
            // Deleted, and its rows are removed by other steps.
            return Ok(());
        };
        let begun = Instant::now();
        let mut next = Some(position);
        while let Some(position) = next {
            next = match position {
                Position::Waiting(after) => self.step_waiting(state, &subscription, &history, after, size.rows)?,
                Position::Unattempted(after) => {
                    self.step_unattempted(state, &subscription, &history, after, size.rows)?
                }
                Position::Retries(due, after) => {
                    self.step_retries(state, &subscription, &history, (due, after), size.rows)?
                }
            };
            if begun.elapsed() >= size.time {
                break;
            }
        }
        if let Some(next) = next {
            state.backlogs.put_back(id, next);
            return Ok(());
        }
        if let Some(history) = state.histories.get_mut(&id) {
            history.clear_marks();
            self.changed_histories.insert(id);
        }
        Ok(())
    }

    fn step_waiting(
        &mut self,
        state: &State,
        subscription: &Subscription,
        history: &History,
        after: EventId,
        rows: usize,
    ) -> Result<Option<Position>, StorageError> {
        let Subscription { id, account, events: left, .. } = subscription;
        let (id, account) = (*id, *account);
        let waiting = self.tx.waiting(id, (after, EventId(u128::MAX)), rows)?;
        if waiting.is_empty() {
            return self.step_unattempted(state, subscription, history, EventId(0), rows);
        }
        let last = waiting.last().map(|(event, _)| *event).filter(|_| waiting.len() == rows);
        for (event, row) in waiting {
            let delivery_id = DeliveryId { event, subscription: id };
            let Ok(event_type) = self.tx.event_type(account, event)? else { continue };
            if !history.withdraws(event_type, event, left) {
                continue;
            }
            let (before, delivery) = match self.tx.delivery(account, delivery_id)? {
                Some(Ok(delivery)) => (Kind::Retrying, delivery),
                None if !row.has_outcome => (Kind::Unattempted, Delivery::unattempted(event_type, event.time())),
                _ => continue,
            };
            self.take_waiting(delivery_id)?;
            self.put_cancelled(state, (account, delivery_id), before, delivery, row)?;
        }
        Ok(Some(last.map_or(Position::Unattempted(EventId(0)), Position::Waiting)))
    }

    fn step_unattempted(
        &mut self,
        state: &State,
        subscription: &Subscription,
        history: &History,
        after: EventId,
        rows: usize,
    ) -> Result<Option<Position>, StorageError> {
        let Subscription { id, account, events: left, .. } = subscription;
        let (id, account) = (*id, *account);
        let events = self.tx.unattempted_after(id, after, rows)?;
        let last = events.last().copied().filter(|_| events.len() == rows);
        for event in events {
            let delivery = DeliveryId { event, subscription: id };
            if event <= history.acknowledged {
                self.settle_read(state, account, delivery)?;
                continue;
            }
            // One whose event cannot be read is told by its attempt.
            if let Ok(event_type) = self.tx.event_type(account, event)?
                && history.withdraws(event_type, event, left)
            {
                let row = self.take_unattempted(delivery)?.unwrap_or_default();
                let unattempted = Delivery::unattempted(event_type, event.time());
                self.put_cancelled(state, (account, delivery), Kind::Unattempted, unattempted, row)?;
            }
        }
        Ok(Some(last.map_or(Position::FIRST_RETRY, Position::Unattempted)))
    }

    fn step_retries(
        &mut self,
        state: &State,
        subscription: &Subscription,
        history: &History,
        after: (Timestamp, EventId),
        rows: usize,
    ) -> Result<Option<Position>, StorageError> {
        let Subscription { id, account, events: left, .. } = subscription;
        let (id, account) = (*id, *account);
        let retries = self.tx.retries_after(id, after, rows)?;
        let last = retries.last().copied().filter(|_| retries.len() == rows);
        let mut hastened = None;
        for (due, event) in retries {
            let delivery_id = DeliveryId { event, subscription: id };
            let mut delivery = match self.tx.delivery(account, delivery_id)? {
                Some(Ok(delivery)) => delivery,
                None => {
                    if history.repair.is_some_and(|repair| repair.is_open) {
                        self.hasten_batch(state, id, BatchId(event.0))?;
                    }
                    continue;
                }
                // A damaged one is left alone: its attempt tells of it.
                Some(Err(_)) => continue,
            };
            if history.withdraws(delivery.event_type, event, left) {
                let row = self.take_attempted(delivery_id, due)?;
                self.put_cancelled(state, (account, delivery_id), Kind::Retrying, delivery, row)?;
            } else if let Some(repair) = history.repair.filter(|repair| repair.hastens(due, &delivery)) {
                let row = self.take_attempted(delivery_id, due)?;
                delivery.hasten(repair.monotonic);
                self.put_pending(delivery_id, repair.monotonic, row.key)?;
                self.tx.put_delivery(account, delivery_id, &delivery)?;
                hastened = Some((id, repair.monotonic));
            }
        }
        self.changes.redelivered.extend(hastened);
        Ok(last.map(|(due, event)| Position::Retries(due, event)))
    }

    fn put_cancelled(
        &mut self,
        state: &State,
        (account, id): (AccountId, DeliveryId),
        before: Kind,
        mut delivery: Delivery,
        row: OutboxRow,
    ) -> Result<(), StorageError> {
        delivery.cancel(state.time.now());
        self.settle(state, (account, id), before, &delivery, row).map(drop)
    }
}
