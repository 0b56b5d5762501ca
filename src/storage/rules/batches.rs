//! Batches: events of a subscription with `batch` are gathered until there are enough or the first has waited for long enough.
//! Then they become a batch, which is stored before it is sent, has the same members at each attempt, and is due like a
//! delivery. Runs on the writer thread, inside the open write transaction; never commits.

pub mod gathering;

use crate::domain::delivery::attempt::Attempt;
use crate::domain::delivery::order::Turn;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::options::batch::{BODY_BYTES, Batch as BatchOption};
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, BatchId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::command::{AttemptFigures, Completion, RecordedAttempt};
use crate::storage::counts::Kind;
use crate::storage::engine::{BatchHead, Tx};
use crate::storage::error::StorageError;
use crate::storage::rows::outbox_row::{InBatch, OutboxRow};
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::batches::gathering::Gathering;
use crate::storage::rules::outcomes::Observed;

/// What an event takes in the body beside its envelope, and the most that the rest of the body takes.
const COMMA_BYTES: usize = 1;
const FRAME_BYTES: usize = 64;

impl<T: Tx> Batch<T> {
    /// Gathers a delivery of a new event, whose envelope has so many bytes.
    pub(in crate::storage) fn gather(
        &mut self,
        state: &mut State,
        subscription: &Subscription,
        event: EventId,
        bytes: usize,
    ) -> Result<(), StorageError> {
        let id = subscription.id;
        let Some(BatchOption { max, wait }) = &subscription.options.batch else { return Ok(()) };
        let longer_names = subscription.options.names.envelope.iter().map(String::len).sum::<usize>();
        let bytes = bytes + longer_names + COMMA_BYTES;
        let is_too_long = |gathering: &Gathering| gathering.bytes + bytes > BODY_BYTES - FRAME_BYTES;
        if state.gatherings.0.get(&id).is_some_and(is_too_long) {
            self.close(state, id)?;
        }
        self.pending.unattempted += 1;
        let row = OutboxRow { batch: InBatch::Gathered, ..OutboxRow::default() };
        self.tx.put_waiting(DeliveryId { event, subscription: id }, row)?;
        let closes_at = state.clock.monotonic().plus(wait.length);
        let gathering = state.gatherings.0.entry(id).or_insert_with(|| Gathering { closes_at, ..Gathering::default() });
        gathering.events.push(event);
        gathering.bytes += bytes;
        if gathering.events.len() >= *max {
            self.close(state, id)?;
        }
        Ok(())
    }

    /// Closes what has been gathered for long enough.
    pub(in crate::storage) fn close_due(&mut self, state: &mut State) -> Result<(), StorageError> {
        let now = state.clock.monotonic();
        let due = state.gatherings.0.iter().filter(|(_, gathering)| gathering.closes_at <= now);
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close(state, id)?;
        }
        Ok(())
    }

    /// Makes a batch of what is gathered and still pending.
    pub(in crate::storage) fn close(&mut self, state: &mut State, id: SubscriptionId) -> Result<(), StorageError> {
        let Some(Gathering { events, .. }) = state.gatherings.0.remove(&id) else { return Ok(()) };
        let Some(subscription) = state.registry.subscription(id).cloned() else { return Ok(()) };
        let batch = BatchId(state.ids.next(state.time.now(), state.random.next_u128()?).0);
        let mut has_members = false;
        for event in events {
            let member = DeliveryId { event, subscription: id };
            if let Some(row) = self.tx.take_waiting(member)? {
                self.tx.put_waiting(member, OutboxRow { batch: InBatch::Member(batch), ..row })?;
                has_members = true;
            }
        }
        if !has_members {
            return Ok(());
        }
        let key = subscription.options.order.key(|| None);
        self.put_batch(id, batch, BatchHead { attempts: 0, due: state.clock.monotonic() }, OutboxRow::of_batch(key))
    }

    /// Stores a batch that is to be sent then, or in its turn.
    fn put_batch(
        &mut self,
        id: SubscriptionId,
        batch: BatchId,
        head: BatchHead,
        row: OutboxRow,
    ) -> Result<(), StorageError> {
        let item = batch.of(id);
        self.tx.put_batch(id, batch, Some(head))?;
        match row.key {
            Some(key) if self.turn(item, key)? == Turn::Waits => self.tx.put_waiting(item, row)?,
            _ => self.tx.put_retry(item, head.due, row)?,
        };
        self.changes.redelivered.push((id, head.due));
        Ok(())
    }

    /// Makes a batch due that has waited for one before it.
    pub(in crate::storage) fn start_batch(
        &mut self,
        state: &State,
        item: DeliveryId,
        row: OutboxRow,
    ) -> Result<(), StorageError> {
        let (id, batch) = (item.subscription, BatchId(item.event.0));
        let Some(head) = self.tx.batch(id, batch)? else { return Ok(()) };
        let due = state.clock.monotonic();
        self.tx.put_batch(id, batch, Some(BatchHead { due, ..head }))?;
        self.tx.put_retry(item, due, row)?;
        self.changes.redelivered.push((id, due));
        Ok(())
    }

    /// Makes the next attempt of a batch due now, if it waits for a retry.
    pub(in crate::storage) fn hasten_batch(
        &mut self,
        state: &State,
        id: SubscriptionId,
        batch: BatchId,
    ) -> Result<(), StorageError> {
        let Some(head) = self.tx.batch(id, batch)? else { return Ok(()) };
        if head.due > state.clock.monotonic()
            && let Some(row) = self.tx.take_retry(batch.of(id), head.due)?
        {
            self.start_batch(state, batch.of(id), row)?;
        }
        Ok(())
    }

    /// A delivery of a batch was settled beside it: without any the batch ends.
    pub(in crate::storage) fn left_batch(
        &mut self,
        state: &State,
        account: AccountId,
        id: SubscriptionId,
        batch: BatchId,
    ) -> Result<(), StorageError> {
        if self.tx.has_batch_members(id, batch)? {
            return Ok(());
        }
        let key = self.take_batch(id, batch)?.and_then(|(_, row)| row.key);
        self.tx.put_batch(id, batch, None)?;
        self.pass_on(state, account, batch.of(id), key).map(drop)
    }

    /// Takes a batch out of the outbox; none if it has ended.
    fn take_batch(
        &mut self,
        id: SubscriptionId,
        batch: BatchId,
    ) -> Result<Option<(BatchHead, OutboxRow)>, StorageError> {
        let Some(head) = self.tx.batch(id, batch)? else { return Ok(None) };
        let row = match self.tx.take_retry(batch.of(id), head.due)? {
            Some(row) => row,
            None => self.tx.take_waiting(batch.of(id))?.unwrap_or_else(|| OutboxRow::of_batch(None)),
        };
        Ok(Some((head, row)))
    }

    /// Records the attempt of a batch for each delivery in it. Each goes on as if it had been sent alone, and those that are
    /// still pending are sent again together.
    pub(in crate::storage) fn complete_batch(
        &mut self,
        state: &mut State,
        completion: Completion,
    ) -> Result<(), StorageError> {
        let Completion { delivery: item, attempt, retry_after, explanation, before, .. } = completion;
        let (id, batch) = (item.subscription, BatchId(item.event.0));
        let is_delivered = attempt.outcome.is_delivered();
        let mut recorded = RecordedAttempt::of_nothing(item, is_delivered);
        let Some(subscription) = state.registry.subscription(id).cloned() else {
            self.changes.recorded.push(recorded);
            return Ok(());
        };
        let account = subscription.account;
        let Some((head, row)) = self.take_batch(id, batch)? else {
            self.changes.recorded.push(recorded);
            return Ok(());
        };
        let members = self.tx.batch_members(id, batch)?;
        let first = members.first().map(|event| DeliveryId { event: *event, subscription: id });
        let is_short_failure = match first {
            Some(first) => self.member(account, first)?.1.is_short_name_server_failure(&attempt),
            None => false,
        };
        let Observed { found, own_rule, disabled, is_before_repair } =
            self.observe(state, &subscription, (&attempt, &before, retry_after), &members, is_short_failure)?;
        let mut due: Option<Timestamp> = None;
        // One line in the log says it for all of them.
        let mut explanation = explanation;
        for event in members {
            let member = DeliveryId { event, subscription: id };
            let (counted_as, mut delivery) = self.member(account, member)?;
            self.take_waiting(member)?;
            let mut figures = Vec::with_capacity(before.len() + 1);
            for part in before.iter().chain([&attempt]) {
                let part = Attempt { number: delivery.next_number(), ..part.clone() };
                figures.push(AttemptFigures::of(&part, None));
                delivery.record(part, own_rule.as_ref().unwrap_or(&state.rules.retry), &found);
            }
            if is_before_repair {
                delivery.hasten(found.monotonic);
            }
            let of_member = match delivery.state {
                DeliveryState::Pending { due: own } => {
                    due = due.max(Some(own));
                    let waiting = OutboxRow { key: None, has_outcome: true, batch: InBatch::Member(batch) };
                    self.tx.put_waiting(member, waiting)?;
                    self.pending.retrying += 1;
                    Some(own)
                }
                _ => None,
            };
            self.put_outcome(state, account, member, counted_as, &delivery)?;
            // Alerts are of the endpoint, and once for a batch.
            if first == Some(member) {
                self.alert_of_attempt(state, &subscription, &delivery, disabled)?;
            }
            if let Some(last) = figures.pop() {
                let delivered_after = is_delivered.then(|| found.now.since(event.time()));
                let attempt = AttemptFigures { delivered_after, explanation: explanation.take(), ..last };
                self.changes.in_batches.push(RecordedAttempt {
                    delivery: member,
                    due: of_member,
                    is_delivered,
                    attempt: Some(attempt),
                    before: figures,
                });
            }
        }
        recorded.due = due;
        self.changes.recorded.push(recorded);
        if let Some(due) = due {
            let attempts = head.attempts.saturating_add(u32::try_from(before.len() + 1).unwrap_or(1));
            self.put_batch(id, batch, BatchHead { attempts, due }, row)?;
        } else {
            self.tx.put_batch(id, batch, None)?;
            let has_next = self.pass_on(state, account, item, row.key)?;
            if has_next && !is_delivered {
                self.note_gap(format_args!("{batch} of subscription {id}"));
            }
        }
        self.disable(state, &subscription, disabled)
    }

    /// A delivery in a batch, and what it is counted as. One whose attempts cannot be read has lost them.
    fn member(&mut self, account: AccountId, id: DeliveryId) -> Result<(Kind, Delivery), StorageError> {
        let has_outcome = self.tx.waiting_row(id)?.is_some_and(|row| row.has_outcome);
        let kind = if has_outcome { Kind::Retrying } else { Kind::Unattempted };
        let delivery = match self.tx.delivery(account, id)? {
            Some(Ok(delivery)) => delivery,
            None => self.unattempted(account, id.event)?,
            Some(Err(error)) => {
                log::error!("delivery {id} has lost its earlier attempts: {error}");
                self.unattempted(account, id.event)?
            }
        };
        Ok((kind, delivery))
    }
}
