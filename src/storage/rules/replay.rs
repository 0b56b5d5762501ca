//! Replay: gives a subscription events that are stored already, as deliveries that are due now, a few at a time, so that
//! new events of the same endpoint hardly wait for them. Runs on the writer thread.

use std::time::Instant;

use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::job::{Job, JobState, Replay};
use crate::domain::{DeliveryId, EventId, Timestamp};
use crate::storage::counts::Kind;
use crate::storage::engine::Tx;
use crate::storage::error::StorageError;
use crate::storage::rows::record::EventRow;
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::jobs::StepSize;

/// No more is replayed while so many deliveries of the subscription are due.
const WINDOW: usize = 32;
/// Before every retry.
const FIRST_RETRY: (Timestamp, EventId) = (Timestamp::from_ms(1), EventId(0));

/// Whether the event fits the filter of the subscription.
fn fits(state: &State, id: DeliveryId, row: &EventRow) -> bool {
    let filter = state.registry.subscription(id.subscription).and_then(|found| found.options.filter.as_ref());
    filter.is_none_or(|filter| filter.fits_body(row.content.body()))
}

impl<T: Tx> Batch<T> {
    /// Replays some events. Returns whether it could do anything.
    pub fn replay_step(
        &mut self,
        state: &State,
        job: &mut Job,
        replay: &Replay,
        size: StepSize,
    ) -> Result<bool, StorageError> {
        let Some(subscription) = state.registry.subscription_of(job.account, replay.subscription) else {
            job.error = Some(format!("subscription {} was deleted", replay.subscription));
            job.end(JobState::Failed, state.clock.wall());
            return Ok(true);
        };
        let now = state.clock.monotonic();
        // What is held waits for nobody.
        let mut room = if subscription.state.is_active() {
            let retries = self.tx.retries_after(subscription.id, FIRST_RETRY, WINDOW)?;
            WINDOW.saturating_sub(retries.iter().filter(|(due, _)| *due <= now).count())
        } else {
            usize::MAX
        };
        if room == 0 {
            return Ok(false);
        }
        // Each that is made due has an attempt and its outcome, too.
        let size = size.quarter();
        let begun = Instant::now();
        let last = EventId(EventId::first_at(replay.until).0.saturating_sub(1));
        loop {
            let first =
                job.position.map_or(EventId::first_at(replay.since), |id| EventId(id.event.0.saturating_add(1)));
            let rows = self.tx.event_rows(job.account, first..=last, size.rows)?;
            if rows.is_empty() {
                job.end(JobState::Finished, state.clock.wall());
                return Ok(true);
            }
            for (event, row) in rows {
                if room == 0 {
                    return Ok(true);
                }
                let id = DeliveryId { event, subscription: subscription.id };
                match row {
                    Ok(row)
                        if row.content.erased().is_none()
                            && replay.is_about(row.content.event_type, &subscription.events) =>
                    {
                        if self.replay_one(state, job, replay, id, row)? {
                            job.done += 1;
                            room -= 1;
                        }
                    }
                    Ok(_) => {}
                    Err(error) => log::error!("event {event} cannot be read, and is not replayed: {error}"),
                }
                job.position = Some(id);
            }
            if begun.elapsed() >= size.time {
                return Ok(true);
            }
        }
    }

    /// Makes the delivery due, if it is one of those that are replayed. Returns whether it is.
    fn replay_one(
        &mut self,
        state: &State,
        job: &Job,
        replay: &Replay,
        id: DeliveryId,
        mut row: EventRow,
    ) -> Result<bool, StorageError> {
        if self.tx.is_unattempted(id)? || self.tx.waiting_row(id)?.is_some() {
            return Ok(false);
        }
        match self.tx.delivery(job.account, id)? {
            Some(Ok(delivery)) if replay.only.includes(Some(delivery.state)) => {
                Ok(self.redeliver(state, job.account, id)?.is_ok())
            }
            Some(Err(error)) => {
                log::error!("delivery {id} cannot be read, and is not replayed: {error}");
                Ok(false)
            }
            None if replay.only.includes(None) && fits(state, id, &row) => {
                let now = state.clock.monotonic();
                let pending = DeliveryState::Pending { due: now };
                let unattempted = Delivery::unattempted(row.content.event_type, id.event.time());
                let delivery = Delivery { state: pending, ..unattempted };
                // Among the receivers, so that retention waits for it.
                if let Err(place) = row.subscriptions.binary_search(&id.subscription) {
                    let mut receivers = row.subscriptions.to_vec();
                    receivers.insert(place, id.subscription);
                    row.subscriptions = receivers.into();
                    self.tx.put_receivers(job.account, id.event, &row)?;
                }
                let key = self.order_key(state, job.account, id)?;
                self.put_pending(id, now, key)?;
                self.tx.put_delivery(job.account, id, &delivery)?;
                self.count(job.account, id, None, Some(Kind::Retrying));
                self.pending_behind_front(state, job.account, id)?;
                self.changes.redelivered.push((id.subscription, now));
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}
