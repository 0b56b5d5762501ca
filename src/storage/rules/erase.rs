//! Erasure: of each event of a worker the body, the tags, what it is found by and what receivers answered are removed;
//! what is left is the SHA-256 of the body and what became of the deliveries. The steps of a job, inside the open write
//! transaction. Runs on the writer thread.

use std::time::{Duration, Instant};

use crate::domain::delivery::Delivery;
use crate::domain::event::event_type::EventType;
use crate::domain::event::find;
use crate::domain::job::{Erasure, Job, JobState, JobTask};
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId};
use crate::storage::counts::Kind;
use crate::storage::engine::Tx;
use crate::storage::error::StorageError;
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rows::record::EventRow;
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::jobs::{Step, StepSize};

/// In the place of a receiver in a job's position: all of the event is done.
const PASSED: SubscriptionId = SubscriptionId(u32::MAX);
/// How long an erasure that awaits deliveries rests before it looks at them again: a quarter of the time that it has
/// taken so far, between these.
const REST: (Duration, Duration) = (Duration::from_millis(250), Duration::from_mins(1));

impl<T: Tx> Batch<T> {
    /// Whether the event was erased.
    pub(in crate::storage) fn is_erased(&mut self, account: AccountId, event: EventId) -> Result<bool, StorageError> {
        Ok(matches!(self.tx.event_head(account, event)?, Some(Ok(head)) if head.is_erased))
    }

    /// Erases some events.
    pub fn erase_step(
        &mut self,
        state: &State,
        job: &mut Job,
        mut erasure: Erasure,
        size: StepSize,
    ) -> Result<Step, StorageError> {
        let begun = Instant::now();
        // The index alone tells which events are the worker's.
        while self.tx.index_events(job.account, size.rows)?.has_more {
            if begun.elapsed() >= size.time {
                return Ok(Step::Made);
            }
        }
        loop {
            let event = match job.position {
                Some(at) if at.subscription != PASSED => Some(at.event),
                at => {
                    let after = at.map_or(EventId(0), |at| at.event);
                    self.tx.indexed_after(job.account, &erasure.worker, after, erasure.until)?
                }
            };
            let Some(event) = event else { return Ok(end_of_round(state, job, erasure)) };
            self.erase_some(state, job, &mut erasure, event, size.rows)?;
            job.task = JobTask::Erase(erasure.clone());
            if begun.elapsed() >= size.time {
                return Ok(Step::Made);
            }
        }
    }

    /// Erases an event and goes on with its deliveries, up to so many of them.
    fn erase_some(
        &mut self,
        state: &State,
        job: &mut Job,
        erasure: &mut Erasure,
        event: EventId,
        deliveries: usize,
    ) -> Result<(), StorageError> {
        let account = job.account;
        let at = |subscription| Some(DeliveryId { event, subscription });
        let row = match self.tx.event_rows(account, event..=event, 1)?.pop() {
            Some((_, Ok(row))) => Some(row),
            Some((_, Err(error))) => {
                log::error!("event {event} cannot be read, and is not erased: {error}");
                job.error = Some(format!("event {event} cannot be read, and was not erased"));
                None
            }
            None => None,
        };
        let is_begun = job.position.is_some_and(|at| at.event == event);
        let row = row.filter(|row| is_begun || find::keys(row.content.body(), &[]).contains(&erasure.worker));
        let Some(row) = row else {
            job.position = at(PASSED);
            return Ok(());
        };
        if !is_begun {
            if erasure.deliver_pending && self.has_pending(state, account, event, &row)? {
                erasure.has_left = true;
                job.position = at(PASSED);
                return Ok(());
            }
            let content = row.content.clone().erase(state.clock.wall());
            self.tx.erase_event(account, event, &EventRow { content, ..row.clone() })?;
            job.position = at(SubscriptionId(0));
            job.done += 1;
        }
        let done = job.position.map_or(SubscriptionId(0), |at| at.subscription);
        let mut left = row.subscriptions.iter().copied().filter(|id| *id > done);
        for subscription in left.by_ref().take(deliveries) {
            self.erase_answers(state, account, row.content.event_type, DeliveryId { event, subscription })?;
            job.position = at(subscription);
        }
        if left.next().is_none() {
            job.position = at(PASSED);
        }
        Ok(())
    }

    fn has_pending(
        &mut self,
        state: &State,
        account: AccountId,
        event: EventId,
        row: &EventRow,
    ) -> Result<bool, StorageError> {
        for subscription in row.subscriptions.iter().copied() {
            // What is pending for a subscription that was deleted is never sent.
            if state.registry.subscription(subscription).is_none() {
                continue;
            }
            let id = DeliveryId { event, subscription };
            let is_pending = match self.tx.delivery_state(account, id)? {
                Some(Ok(found)) => found.is_pending(),
                Some(Err(_)) => false,
                None => self.tx.is_unattempted(id)? || self.tx.waiting_row(id)?.is_some(),
            };
            if is_pending {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Cancels a delivery if it is pending, and removes what its attempts were answered.
    fn erase_answers(
        &mut self,
        state: &State,
        account: AccountId,
        event_type: EventType,
        id: DeliveryId,
    ) -> Result<(), StorageError> {
        let is_known = state.registry.subscription(id.subscription).is_some();
        let mut place = OutboxRow::default();
        let (before, mut delivery) = match self.tx.delivery(account, id)? {
            Some(Ok(delivery)) => (Kind::of(delivery.state), delivery),
            Some(Err(error)) => {
                log::error!("delivery {id} cannot be read, and is left alone: {error}");
                return Ok(());
            }
            // Its reader is told that it was erased.
            None if state.registry.subscription(id.subscription).is_some_and(|found| found.is_pull()) => return Ok(()),
            None if is_known => {
                let row = match self.take_unattempted(id)? {
                    Some(row) => Some(row),
                    None => self.take_waiting(id)?,
                };
                let Some(row) = row else { return Ok(()) };
                place = row;
                (Kind::Unattempted, Delivery::unattempted(event_type, id.event.time()))
            }
            None => return Ok(()),
        };
        for attempt in &mut delivery.attempts {
            attempt.response = None;
        }
        if let crate::domain::delivery::DeliveryState::Pending { due } = delivery.state
            && is_known
        {
            if before == Kind::Retrying {
                place = self.take_attempted(id, due)?;
            }
            delivery.cancel(state.time.now());
            self.changes.cancelled.push(id);
            return self.settle(state, (account, id), before, &delivery, place).map(drop);
        }
        self.tx.put_delivery(account, id, &delivery)
    }
}

/// What follows once every event was looked at.
fn end_of_round(state: &State, job: &mut Job, erasure: Erasure) -> Step {
    let now = state.clock.wall();
    if !erasure.has_left {
        let end = if job.error.is_none() { JobState::Finished } else { JobState::Failed };
        job.end(end, now);
        return Step::Made;
    }
    job.position = None;
    job.task = JobTask::Erase(Erasure { has_left: false, ..erasure });
    let (shortest, longest) = REST;
    let taken = job.started_at.map_or(Duration::ZERO, |begun| now.since(begun));
    Step::MadeAndRests((taken / 4).clamp(shortest, longest))
}
