//! What was held for too long expires: what is pending for a subscription that is disabled, and what the reader of a feed did
//! not acknowledge. Runs on the writer thread, as part of a step of housekeeping.

use crate::domain::delivery::Delivery;
use crate::domain::event::event_type::EventType;
use crate::domain::subscription::{Subscription, SubscriptionState};
use crate::domain::{AccountId, BatchId, DeliveryId, EventId};
use crate::storage::counts::Kind;
use crate::storage::engine::Tx;
use crate::storage::error::StorageError;
use crate::storage::rows::outbox_row::OutboxRow;
use crate::storage::rules::apply::{Batch, State};
use crate::storage::rules::budget::Budget;
use crate::storage::rules::kept::Cutoffs;

impl<T: Tx> Batch<T> {
    /// Gives up what has been held for too long for a subscription that is off, or was not read. Gives whether there is no
    /// more.
    pub(in crate::storage) fn expire_held(
        &mut self,
        state: &mut State,
        subscription: &Subscription,
        before: Cutoffs,
        budget: &mut Budget,
    ) -> Result<bool, StorageError> {
        budget.spend(1);
        let (calendar, monotonic) = before.held;
        match subscription.state {
            SubscriptionState::Disabled { since, .. } if since < calendar => {}
            // What nobody reads is held from the time when it could be read.
            SubscriptionState::Active if subscription.is_pull() => {}
            _ => return Ok(true),
        }
        let (account, of) = (subscription.account, subscription.id);
        let wanted = budget.rows().max(1);
        // What waits for its turn first, or else it would come to its turn here.
        let waiting = self.tx.waiting(of, (EventId(0), EventId::first_at(calendar)), wanted)?;
        let unattempted =
            self.tx.unattempted_before(of, EventId::first_at(calendar), wanted.saturating_sub(waiting.len()))?;
        let left = wanted.saturating_sub(waiting.len() + unattempted.len());
        let retries = self.tx.retries_before(of, monotonic, left)?;
        let looked_at = waiting.len() + unattempted.len() + retries.len();
        // A batch ends with the last delivery in it, and those are older.
        let mut alone = Vec::with_capacity(retries.len());
        for (due, event) in retries {
            if self.tx.batch(of, BatchId(event.0))?.is_none() {
                alone.push((due, event));
            }
        }
        let mut expired = 0;
        for (event, row) in waiting {
            let id = DeliveryId { event, subscription: of };
            if row.is_batch() || self.take_waiting(id)?.is_none() {
                continue;
            }
            let (before, delivery) = match self.tx.delivery(account, id)? {
                Some(Ok(delivery)) if row.has_outcome => (Kind::Retrying, delivery),
                _ => (
                    if row.has_outcome { Kind::Retrying } else { Kind::Unattempted },
                    self.unattempted(account, event)?,
                ),
            };
            self.expire(state, (account, id), before, delivery, row)?;
            expired += 1;
        }
        let acknowledged = state.histories.get(&of).map_or(EventId(0), |history| history.acknowledged);
        let (read, unattempted): (Vec<_>, Vec<_>) = unattempted.into_iter().partition(|event| *event <= acknowledged);
        for event in &read {
            self.settle_read(state, account, DeliveryId { event: *event, subscription: of })?;
        }
        for event in unattempted {
            let id = DeliveryId { event, subscription: of };
            if let Some(row) = self.take_unattempted(id)? {
                let delivery = self.unattempted(account, event)?;
                self.expire(state, (account, id), Kind::Unattempted, delivery, row)?;
                expired += 1;
            }
        }
        for (due, event) in alone {
            let id = DeliveryId { event, subscription: of };
            let row = self.take_attempted(id, due)?;
            let delivery = match self.tx.delivery(account, id)? {
                Some(Ok(delivery)) => delivery,
                lost => {
                    let why = lost.and_then(Result::err).map(|error| error.to_string());
                    log::error!("delivery {id} has lost its attempts: {}", why.as_deref().unwrap_or("it has no row"));
                    Delivery::unattempted(EventType::Ping, event.time())
                }
            };
            self.expire(state, (account, id), Kind::Retrying, delivery, row)?;
            expired += 1;
        }
        budget.spend(looked_at * 2);
        if expired > 0 {
            let name = state.registry.account_name(account);
            let why = if subscription.is_pull() { "their reader did not acknowledge them" } else { "they were held" };
            log::warn!(
                "{expired} deliveries of subscription {of} of account {name} expired: {why} for longer than retention.held"
            );
            self.alert_of_expired(state, subscription)?;
        }
        Ok(looked_at < wanted || (expired == 0 && read.is_empty()))
    }

    fn expire(
        &mut self,
        state: &State,
        (account, id): (AccountId, DeliveryId),
        before: Kind,
        mut delivery: Delivery,
        row: OutboxRow,
    ) -> Result<(), StorageError> {
        delivery.expire(state.time.now());
        self.changes.expired.push(id);
        self.settle(state, (account, id), before, &delivery, row).map(drop)
    }
}
