//! Executes what changes a delivery inside the open write transaction: finished attempts, test pings, redeliveries. Runs
//! on the writer thread and follows the same rules as `apply`: check first, then write, never commit.

use std::time::Duration;

use crate::domain::delivery::attempt::Attempt;
use crate::domain::delivery::health::{EndpointHealth, HealthRule};
use crate::domain::delivery::outcome::Outcome;
use crate::domain::delivery::retry::RetryRule;
use crate::domain::delivery::{Circumstances, Delivery, DeliveryState};
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::options::order::OrderKey;
use crate::domain::subscription::{DisabledReason, Subscription, SubscriptionState};
use crate::domain::{AccountId, DeliveryId, EventId};
use crate::storage::command::{AttemptFigures, Completion, RecordedAttempt};
use crate::storage::counts::Kind;
use crate::storage::engine::{Pending, Tx};
use crate::storage::error::{Rejection, StorageError};
use crate::storage::rows::outbox_row::{InBatch, OutboxRow};
use crate::storage::rows::record::EventRow;
use crate::storage::rules::apply::{Batch, CommandResult, State};

/// What an attempt means beside its deliveries.
pub struct Observed {
    pub found: Circumstances,
    /// The subscription's own schedule.
    pub own_rule: Option<RetryRule>,
    pub disabled: Option<DisabledReason>,
    /// It began before the endpoint was repaired.
    pub is_before_repair: bool,
}

/// A delivery that was taken out of the outbox.
struct TakenOut {
    /// What it was counted as.
    counted_as: Kind,
    delivery: Delivery,
    /// What it goes in order by.
    key: Option<OrderKey>,
}

impl<T: Tx> Batch<T> {
    /// Records a finished attempt: the delivery's new state, the endpoint's health, the next due time.
    pub fn complete(&mut self, state: &mut State, completion: Completion) -> Result<(), StorageError> {
        let Completion { delivery: id, attempt, retry_after, explanation, before, event_type, .. } = completion;
        let is_delivered = attempt.outcome.is_delivered();
        let Some(subscription) = state.registry.subscription(id.subscription).cloned() else {
            // Deleted while the attempt was in flight: there is no history left to update.
            self.changes.recorded.push(RecordedAttempt::of_nothing(id, is_delivered));
            return Ok(());
        };
        let account = subscription.account;
        let Some(TakenOut { counted_as, mut delivery, key }) = self.take_pending(state, account, id, event_type)?
        else {
            self.changes.recorded.push(RecordedAttempt::of_nothing(id, is_delivered));
            return Ok(());
        };
        let is_short_failure = delivery.is_short_name_server_failure(&attempt);
        let parts = (&attempt, before.as_slice(), retry_after);
        let Observed { found, own_rule, disabled, is_before_repair } =
            self.observe(state, &subscription, parts, &[id.event], is_short_failure)?;
        let rule = own_rule.as_ref().unwrap_or(&state.rules.retry);
        let delivered_after = is_delivered.then(|| found.now.since(id.event.time()));
        let mut figures = AttemptFigures { delivered_after, ..AttemptFigures::of(&attempt, explanation) };
        // Of one that was erased while it was sent, nothing is kept that the endpoint answered.
        let (attempt, before) = match counted_as {
            Kind::Cancelled if self.is_erased(account, id.event)? => {
                let unanswered = |attempt| Attempt { response: None, ..attempt };
                (unanswered(attempt), before.into_iter().map(unanswered).collect())
            }
            _ => (attempt, before),
        };
        let before = before.into_iter().map(|before| {
            let figures = AttemptFigures::of(&before, before.explanation());
            delivery.record(before, rule, &found);
            figures
        });
        let before = before.collect();
        delivery.record(attempt, rule, &found);
        if is_before_repair {
            delivery.hasten(found.monotonic);
        }
        if let Some(last) = delivery.attempts.last().filter(|last| matches!(last.outcome, Outcome::PushedBack(_))) {
            // Only here it is known that it does not count, and the words say so.
            figures.explanation = last.explanation();
        }
        let due = match delivery.state {
            DeliveryState::Pending { due } => {
                self.put_pending(id, due, key)?;
                self.put_outcome(state, account, id, counted_as, &delivery)?;
                Some(due)
            }
            settled => {
                let row = OutboxRow::of(key);
                let has_next = self.settle(state, (account, id), counted_as, &delivery, row)?;
                if has_next && matches!(settled, DeliveryState::Exhausted { .. }) {
                    self.note_gap(format_args!("delivery {id}"));
                }
                None
            }
        };
        self.alert_of_attempt(state, &subscription, &delivery, disabled)?;
        self.changes.recorded.push(RecordedAttempt { delivery: id, due, is_delivered, attempt: Some(figures), before });
        self.disable(state, &subscription, disabled)
    }

    /// Notes that others go on in order without what is exhausted.
    pub(in crate::storage) fn note_gap(&mut self, what: std::fmt::Arguments<'_>) {
        self.changes.order_gaps += 1;
        log::warn!("{what} is exhausted; deliveries that waited for it in order continue without it");
    }

    /// What an attempt of these events, and those before it that it followed at once, means for the subscription: the health
    /// of its endpoint and its last attempts.
    pub(in crate::storage) fn observe(
        &mut self,
        state: &mut State,
        subscription: &Subscription,
        (attempt, before, retry_after): (&Attempt, &[Attempt], Option<Duration>),
        events: &[EventId],
        is_short_failure: bool,
    ) -> Result<Observed, StorageError> {
        let now = state.time.now();
        let history = state.histories.entry(subscription.id).or_default();
        let last_success = history.last_success;
        let endpoint = &subscription.endpoint;
        // What is on this machine tells nothing of the way out of it.
        let is_out = !endpoint.is_loopback()
            && state.time.attempted(&attempt.outcome, endpoint.host(), state.rules.retention.events);
        let own_rule = subscription.options.retry_rule(&state.rules.retry);
        let health_rule = match &own_rule {
            Some(own) => HealthRule::new(state.rules.health.disable_after, own.longest_wait()),
            None => state.rules.health,
        };
        let (health, disabled) = if is_out || is_short_failure {
            (history.health.after_outage(), None)
        } else {
            history.health.after(&attempt.outcome, now, state.time.health_limits(health_rule))
        };
        history.health = health;
        for event in events {
            for part in before.iter().chain([attempt]) {
                history.push(*event, part);
            }
        }
        self.changed_histories.insert(subscription.id);
        let found = Circumstances {
            now,
            wall: state.clock.wall(),
            monotonic: state.clock.monotonic(),
            retry_after,
            jitter: state.random.next_u32()?,
            last_success,
        };
        // An attempt that began before a repair says nothing of what is there now.
        let is_before_repair =
            retry_after.is_none() && history.repair.is_some_and(|repair| repair.came_during(attempt, found.monotonic));
        Ok(Observed { found, own_rule, disabled, is_before_repair })
    }

    /// Disables a subscription after an attempt, if there is a reason.
    pub(in crate::storage) fn disable(
        &mut self,
        state: &mut State,
        subscription: &Subscription,
        reason: Option<DisabledReason>,
    ) -> Result<(), StorageError> {
        let Some(reason) = reason.filter(|_| subscription.state.is_active()) else { return Ok(()) };
        let account = state.registry.account_name(subscription.account);
        let (number, reason_words) = (subscription.id, reason.words());
        log::warn!("subscription {number} of account {account} disabled: {reason_words}; its deliveries are held");
        let wall = state.clock.wall();
        let disabled = SubscriptionState::Disabled { reason, since: wall };
        self.put_subscription(state, Subscription { state: disabled, updated_at: wall, ..subscription.clone() })
    }

    /// Takes a delivery whose attempt has ended out of the outbox; none if there is no such delivery any more. An event of
    /// unknown type is read.
    fn take_pending(
        &mut self,
        state: &State,
        account: AccountId,
        id: DeliveryId,
        event_type: Option<EventType>,
    ) -> Result<Option<TakenOut>, StorageError> {
        let unattempted = match self.take_unattempted(id)? {
            Some(row) => Some(row),
            // While its attempt was under way, another one became the first of its order.
            None => self.take_waiting(id)?,
        };
        if let Some(row) = unattempted.filter(|row| !row.has_outcome) {
            let delivery = match event_type {
                Some(event_type) => Delivery::unattempted(event_type, id.event.time()),
                None => self.unattempted(account, id.event)?,
            };
            return Ok(Some(TakenOut { counted_as: Kind::Unattempted, delivery, key: row.key }));
        }
        let key = unattempted.and_then(|row| row.key);
        Ok(match self.tx.delivery(account, id)? {
            None => None,
            Some(Ok(delivery)) => {
                let key = match delivery.state {
                    DeliveryState::Pending { due } => key.or(self.take_attempted(id, due)?.key),
                    _ => self.order_key(state, account, id)?,
                };
                Some(TakenOut { counted_as: Kind::of(delivery.state), delivery, key })
            }
            // Retention has removed it meanwhile, or is about to.
            Some(Err(_)) if !self.tx.has_event(account, id.event)? => None,
            // A damaged row loses the history of this delivery only.
            Some(Err(error)) => {
                log::error!("delivery {id} has lost its earlier attempts: {error}");
                let taken = self.tx.take_retry_at_any_time(id)?;
                self.pending.subtract(Pending { retrying: taken.len() as u64, unattempted: 0 });
                let key = key.or(taken.first().and_then(|row| row.key));
                let delivery = self.unattempted(account, id.event)?;
                Some(TakenOut { counted_as: Kind::Retrying, delivery, key })
            }
        })
    }

    /// Stores a delivery that is settled now, where it was counted as that before, and lets the next one of its order key
    /// start. Returns whether there is a next one.
    pub(in crate::storage) fn settle(
        &mut self,
        state: &State,
        (account, id): (AccountId, DeliveryId),
        before: Kind,
        delivery: &Delivery,
        row: OutboxRow,
    ) -> Result<bool, StorageError> {
        self.put_outcome(state, account, id, before, delivery)?;
        match row.batch {
            InBatch::Member(batch) => {
                self.left_batch(state, account, id.subscription, batch)?;
                Ok(false)
            }
            _ => self.pass_on(state, account, id, row.key),
        }
    }

    /// Stores a delivery with its new outcome, where it was counted as that before.
    pub(in crate::storage) fn put_outcome(
        &mut self,
        state: &State,
        account: AccountId,
        id: DeliveryId,
        before: Kind,
        delivery: &Delivery,
    ) -> Result<(), StorageError> {
        let after = Kind::of(delivery.state);
        self.count(account, id, Some(before), Some(after));
        self.tx.put_delivery(account, id, delivery)?;
        let was_pending = matches!(before, Kind::Unattempted | Kind::Retrying);
        match delivery.state.settled_at() {
            Some(at) if was_pending => self.settled_behind_front(state, account, id, at),
            None if !was_pending => self.pending_behind_front(state, account, id),
            _ => Ok(()),
        }
    }

    /// Stores a test ping and its only attempt; a ping never enters the outbox.
    pub fn record_ping(
        &mut self,
        state: &mut State,
        id: DeliveryId,
        content: EventContent,
        attempt: Attempt,
    ) -> CommandResult<()> {
        let Some(subscription) = state.registry.subscription(id.subscription).cloned() else {
            return Ok(Err(Rejection::NotFound));
        };
        let now = state.time.now();
        let history = state.histories.entry(id.subscription).or_default();
        history.push(id.event, &attempt);
        if attempt.outcome.is_delivered() {
            history.health = EndpointHealth::default();
        }
        self.changed_histories.insert(id.subscription);
        if attempt.outcome.is_delivered() {
            self.hasten(state, id.subscription);
        }
        let delivery = Delivery::tested(content.event_type, attempt, now);
        let account = subscription.account;
        let subscriptions = [id.subscription].into();
        self.tx.put_event(account, id.event, &EventRow { content, subscriptions, idempotency: Vec::new() })?;
        self.tx.count_events(account, 1);
        self.count(account, id, None, Some(Kind::of(delivery.state)));
        self.tx.put_delivery(account, id, &delivery)?;
        if matches!(delivery.state, DeliveryState::Delivered { .. }) {
            self.alert_of_recovery(state, &subscription)?;
        }
        Ok(Ok(()))
    }

    /// Makes a delivery due now and restarts its retry schedule.
    pub fn redeliver(&mut self, state: &State, account: AccountId, id: DeliveryId) -> CommandResult<()> {
        if state.registry.subscription_of(account, id.subscription).is_none() {
            return Ok(Err(Rejection::NotFound));
        }
        let Some(stored) = self.tx.delivery(account, id)? else {
            // Never attempted: it is due already, or in its turn, with its whole schedule left.
            let is_pending = self.tx.is_unattempted(id)? || self.tx.waiting_row(id)?.is_some();
            return Ok(if is_pending { Ok(()) } else { Err(Rejection::NotFound) });
        };
        match self.tx.event_head(account, id.event)? {
            None => return Ok(Err(Rejection::NotFound)),
            Some(Ok(head)) if head.is_erased => return Ok(Err(Rejection::EventErased)),
            Some(_) => {}
        }
        let mut delivery = match stored {
            Ok(delivery) => delivery,
            Err(error) => {
                log::error!("delivery {id} cannot be read: {error}");
                return Ok(Err(Rejection::StoreFailed));
            }
        };
        if let Some(InBatch::Member(batch)) = self.tx.waiting_row(id)?.map(|row| row.batch) {
            // It is sent with the others, whose bytes stay the same.
            self.hasten_batch(state, id.subscription, batch)?;
            return Ok(Ok(()));
        }
        let before = Kind::of(delivery.state);
        let key = match delivery.state {
            DeliveryState::Pending { due } => self.take_attempted(id, due)?.key,
            _ => self.order_key(state, account, id)?,
        };
        let now = state.clock.monotonic();
        delivery.redeliver(now);
        self.put_pending(id, now, key)?;
        self.put_outcome(state, account, id, before, &delivery)?;
        self.changes.redelivered.push((id.subscription, now));
        Ok(Ok(()))
    }
}
