//! Carries out one command inside the open write transaction: checks everything first, then writes. Runs on the
//! writer thread. It never commits, never answers, and never touches anything for a command that it refuses.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use redb::{ReadableTable, Table, WriteTransaction};

use super::command::{AttemptFigures, Committed, Completion, FreshDelivery, Published, Recorded};
use super::delivery_record;
use super::error::{Refusal, StorageError};
use super::housekeeping::RetentionRule;
use super::outbox::{OutboxWriter, Pending};
use super::random::Randomness;
use super::record::{EventRow, History, IdempotencyRow};
use super::registry::Registry;
use super::runs::Runs;
use super::sealing::Seal;
use super::service_time::ServiceTime;
use super::tables;
use crate::clock::Clock;
use crate::domain::attempt::Attempt;
use crate::domain::delivery::{Circumstances, Delivery, DeliveryState};
use crate::domain::event::{self, NewEvent};
use crate::domain::event_type::EventType;
use crate::domain::health::HealthRule;
use crate::domain::ids::EventIds;
use crate::domain::outcome::Outcome;
use crate::domain::retry::RetryRule;
use crate::domain::subscription::{Subscription, SubscriptionState};
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId};

/// How many deliveries the events of one request may make: as many as the greatest number of subscriptions that an
/// account may be given makes of one event. They go into one commit, which others wait for.
const MAX_DELIVERIES: usize = 100_000;

/// The rules that the writer applies.
#[derive(Clone, Debug)]
pub struct Rules {
    /// When the next attempt follows a failed one.
    pub retry: RetryRule,
    /// How long an endpoint may fail without a success before its subscription is switched off.
    pub health: HealthRule,
    /// How long settled things are kept.
    pub retention: RetentionRule,
    /// How many subscriptions an account may have.
    pub subscriptions_per_account: u32,
}

/// Everything that lives in the writer's memory from one transaction to the next.
pub struct State {
    pub rules: Rules,
    pub clock: Clock,
    pub time: ServiceTime,
    pub registry: Arc<Registry>,
    pub histories: HashMap<SubscriptionId, History>,
    pub pending: Pending,
    pub ids: EventIds,
    pub random: Randomness,
    pub seal: Seal,
}

pub(super) type Answer<T> = Result<Result<T, Refusal>, StorageError>;
pub(super) type Rows<'txn, K> = Table<'txn, K, &'static [u8]>;

/// The tables of one write transaction and what has been done in it so far.
pub struct Batch<'txn> {
    pub(super) meta: Table<'txn, &'static str, u128>,
    pub(super) accounts: Rows<'txn, u32>,
    pub(super) keys: Rows<'txn, u32>,
    pub(super) subscriptions: Rows<'txn, u32>,
    pub(super) events: Runs<'txn, (u32, u128)>,
    pub(super) idempotency: Rows<'txn, (u32, u128)>,
    pub(super) outbox: OutboxWriter<'txn>,
    pub(super) deliveries: Runs<'txn, (u32, u128)>,
    pub(super) purges: Table<'txn, u32, ()>,
    pub(super) touched: BTreeSet<SubscriptionId>,
    pub(super) done: Committed,
}

impl<'txn> Batch<'txn> {
    /// Opens every table of the transaction, making those that are not there yet. So much is pending so far.
    pub fn open(transaction: &'txn WriteTransaction, pending: Pending) -> Result<Self, StorageError> {
        Ok(Self {
            meta: transaction.open_table(tables::META)?,
            accounts: transaction.open_table(tables::ACCOUNTS)?,
            keys: transaction.open_table(tables::KEYS)?,
            subscriptions: transaction.open_table(tables::SUBSCRIPTIONS)?,
            events: Runs::new(transaction.open_table(tables::EVENTS)?),
            idempotency: transaction.open_table(tables::IDEMPOTENCY)?,
            outbox: OutboxWriter::open(transaction, pending)?,
            deliveries: Runs::new(transaction.open_table(tables::DELIVERIES)?),
            purges: transaction.open_table(tables::PURGES)?,
            touched: BTreeSet::new(),
            done: Committed::default(),
        })
    }

    /// Writes what is written once a transaction, and gives what the commit will have changed.
    pub fn finish(mut self, state: &mut State) -> Result<Committed, StorageError> {
        for id in &self.touched {
            if let Some(history) = state.histories.get(id) {
                self.outbox.put_history(*id, history)?;
            }
        }
        self.events.table()?;
        self.deliveries.table()?;
        state.time.note(&mut self.meta, state.clock.steady())?;
        state.pending = self.outbox.finish()?;
        Ok(self.done)
    }

    /// Stores events with all their deliveries: all of them or, when one is in conflict, none.
    pub fn publish(&mut self, state: &mut State, account: AccountId, events: &[NewEvent]) -> Answer<Vec<Published>> {
        let mut within = HashMap::new();
        let mut known = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            let mut earlier = None;
            for known in &event.idempotency {
                let stored = match self.idempotency.get((account.0, known.key.0))? {
                    Some(row) => match IdempotencyRow::decode(row.value()) {
                        Ok(row) => Some(Earlier::Stored(row)),
                        Err(error) => {
                            log::error!("an idempotency key cannot be read: {error}");
                            return Ok(Err(Refusal::StoreFailed));
                        }
                    },
                    None => within.get(&known.key).map(|(first, print)| Earlier::Within(*first, *print)),
                };
                let Some(found) = stored else { continue };
                let (Earlier::Stored(IdempotencyRow { fingerprint, .. }) | Earlier::Within(_, fingerprint)) = found;
                if fingerprint != known.fingerprint {
                    return Ok(Err(Refusal::IdempotencyConflict(index, known.given_in)));
                }
                earlier = Some(found);
            }
            if earlier.is_none() {
                within.extend(event.idempotency.iter().map(|known| (known.key, (index, known.fingerprint))));
            }
            known.push(earlier);
        }
        if let Some(refusal) = too_many_deliveries(state, account, events.iter().zip(&known)) {
            return Ok(Err(refusal));
        }
        let mut answers: Vec<Published> = Vec::with_capacity(events.len());
        for (event, earlier) in events.iter().zip(known) {
            let event_type = event.event_type;
            let answer = match earlier {
                None => self.store_event(state, account, event)?,
                Some(Earlier::Stored(row)) => {
                    Published { id: EventId(row.event), event_type, deliveries: row.deliveries, duplicate: true }
                }
                Some(Earlier::Within(first, _)) => match answers.get(first) {
                    Some(first) => Published { duplicate: true, ..*first },
                    None => return Ok(Err(Refusal::StoreFailed)),
                },
            };
            answers.push(answer);
        }
        Ok(Ok(answers))
    }

    fn store_event(
        &mut self,
        state: &mut State,
        account: AccountId,
        event: &NewEvent,
    ) -> Result<Published, StorageError> {
        let now = state.time.now();
        let id = state.ids.next(now, state.random.next_u128()?);
        let event_type = event.event_type;
        let happened_at = event.occurred_at.unwrap_or_else(|| state.clock.wall().max(now));
        let body = event::body(id, event_type, happened_at, &event.data);
        let receivers: Vec<_> = wanting(state, account, event_type).map(|subscription| subscription.id).collect();
        let deliveries = u32::try_from(receivers.len()).unwrap_or(u32::MAX);
        let keys = event.idempotency.iter().map(|known| known.key).collect();
        let row = Arc::new(EventRow::new(event_type, receivers, keys, body));
        self.events.put((account.0, id.0), row.encode()?);
        for known in &event.idempotency {
            let answer = IdempotencyRow { event: id.0, fingerprint: known.fingerprint, deliveries };
            self.idempotency.insert((account.0, known.key.0), answer.encode()?.as_slice())?;
        }
        for subscription in &row.subscriptions {
            self.outbox.put_fresh(DeliveryId { event: id, subscription: *subscription }, event_type);
            self.done.fresh.push(FreshDelivery { subscription: *subscription, event: id, row: Arc::clone(&row) });
        }
        self.done.events += 1;
        Ok(Published { id, event_type, deliveries, duplicate: false })
    }

    /// Records a finished attempt: the delivery's new state, the endpoint's health, the next due time.
    pub fn complete(&mut self, state: &mut State, completion: Completion) -> Result<(), StorageError> {
        let Completion { delivery: id, attempt, retry_after, explanation } = completion;
        let is_delivered = attempt.outcome.is_delivered();
        let place = (id.subscription.0, id.event.0);
        let Some(subscription) = state.registry.subscription(id.subscription).cloned() else {
            // Deleted while the attempt was under way: there is no history left to write to.
            self.done.recorded.push(Recorded { delivery: id, due: None, is_delivered, attempt: None });
            return Ok(());
        };
        let fresh = match self.outbox.take_fresh(id)? {
            Some(number) => Some(self.event_type(subscription.account, id.event, number)?),
            None => None,
        };
        // What was never attempted has no row.
        let stored = match fresh {
            Some(_) => None,
            None => self.deliveries.table()?.get(place)?.map(|row| delivery_record::decode(row.value())),
        };
        let mut delivery = match (stored, fresh) {
            (Some(Ok(delivery)), _) => delivery,
            (None, Some(event_type)) => Delivery::fresh(event_type, id.event.time()),
            // A damaged row costs this delivery its history, and nobody else anything.
            (Some(Err(error)), _) => {
                log::error!("delivery {id} has lost its earlier attempts: {error}");
                self.outbox.take_retry_at_any_time(id)?;
                Delivery::fresh(fresh.unwrap_or(EventType::Ping), id.event.time())
            }
            (None, None) => {
                self.done.recorded.push(Recorded { delivery: id, due: None, is_delivered, attempt: None });
                return Ok(());
            }
        };
        // What was never attempted has no row there.
        if let (None, DeliveryState::Pending { due }) = (fresh, delivery.state) {
            self.outbox.take_retry(id, due)?;
        }
        let now = state.time.now();
        let history = state.histories.entry(id.subscription).or_default();
        let last_success = history.last_success;
        let endpoint = &subscription.endpoint;
        // What is on this machine tells nothing of the way out of it.
        let is_out = !endpoint.is_loopback()
            && state.time.attempted(&attempt.outcome, endpoint.host(), state.rules.retention.events);
        let (health, off) = if is_out {
            (history.health.after_outage(), None)
        } else {
            history.health.after(&attempt.outcome, now, state.time.health_limits(state.rules.health))
        };
        history.health = health;
        history.push(id.event, &attempt);
        self.touched.insert(id.subscription);
        let jitter = state.random.next_u32()?;
        let mut figures = AttemptFigures {
            number: attempt.number,
            outcome: attempt.outcome.code(),
            took: Duration::from_millis(attempt.duration_ms.into()),
            response_code: attempt.outcome.response_code(),
            delivered_after: is_delivered.then(|| now.since(id.event.time())),
            explanation,
        };
        let found = Circumstances {
            now,
            wall: state.clock.wall(),
            steady: state.clock.steady(),
            retry_after,
            jitter,
            last_success,
        };
        delivery.record(attempt, &state.rules.retry, &found);
        if let Some(last) = delivery.attempts.last().filter(|last| matches!(last.outcome, Outcome::PushedBack(_))) {
            // Only here it is known that it does not count, and the words say so.
            figures.explanation = last.explanation();
        }
        let due = match delivery.state {
            DeliveryState::Pending { due } => {
                self.outbox.put_retry(id, due)?;
                Some(due)
            }
            _ => None,
        };
        self.deliveries.put(place, delivery_record::encode(&delivery)?);
        self.done.recorded.push(Recorded { delivery: id, due, is_delivered, attempt: Some(figures) });
        if let Some(reason) = off
            && subscription.state.is_active()
        {
            let account = state.registry.account_name(subscription.account);
            let (number, reason_words) = (id.subscription, reason.words());
            log::warn!(
                "subscription {number} of account {account} switched off: {reason_words}; its deliveries are held"
            );
            let wall = state.clock.wall();
            let off = SubscriptionState::Off { reason, since: wall };
            let subscription = Subscription { state: off, updated_at: wall, ..(*subscription).clone() };
            self.put_subscription(state, subscription)?;
        }
        Ok(())
    }

    /// The type that an outbox row says; a damaged one does not, but its event does.
    fn event_type(&mut self, account: AccountId, event: EventId, number: u8) -> Result<EventType, StorageError> {
        if let Some(event_type) = EventType::from_number(number) {
            return Ok(event_type);
        }
        let row = self.events.table()?.get((account.0, event.0))?;
        Ok(row.and_then(|row| EventRow::decode_type(row.value()).ok()).unwrap_or(EventType::Ping))
    }

    /// Stores a test ping and its one attempt; it never enters the outbox.
    pub fn record_ping(&mut self, state: &mut State, id: DeliveryId, row: &EventRow, attempt: Attempt) -> Answer<()> {
        let Some(subscription) = state.registry.subscription(id.subscription).cloned() else {
            return Ok(Err(Refusal::NotFound));
        };
        let now = state.time.now();
        let history = state.histories.entry(id.subscription).or_default();
        history.push(id.event, &attempt);
        if attempt.outcome.is_delivered() {
            history.health = crate::domain::health::Health::default();
        }
        self.touched.insert(id.subscription);
        let delivery = Delivery::tested(row.event_type, attempt, now);
        self.events.put((subscription.account.0, id.event.0), row.encode()?);
        self.deliveries.put((id.subscription.0, id.event.0), delivery_record::encode(&delivery)?);
        Ok(Ok(()))
    }

    /// Makes a delivery due now with its whole schedule ahead.
    pub fn redeliver(&mut self, state: &State, account: AccountId, id: DeliveryId) -> Answer<()> {
        if state.registry.subscription_of(account, id.subscription).is_none() {
            return Ok(Err(Refusal::NotFound));
        }
        let place = (id.subscription.0, id.event.0);
        let Some(row) = self.deliveries.table()?.get(place)?.map(|row| row.value().to_vec()) else {
            // Never attempted means due already, with the whole schedule ahead.
            let is_fresh = self.outbox.fresh(id)?.is_some();
            return Ok(if is_fresh { Ok(()) } else { Err(Refusal::NotFound) });
        };
        if self.events.table()?.get((account.0, id.event.0))?.is_none() {
            return Ok(Err(Refusal::NotFound));
        }
        let mut delivery = match delivery_record::decode(&row) {
            Ok(delivery) => delivery,
            Err(error) => {
                log::error!("delivery {id} cannot be read: {error}");
                return Ok(Err(Refusal::StoreFailed));
            }
        };
        if let DeliveryState::Pending { due } = delivery.state {
            self.outbox.take_retry(id, due)?;
        }
        let now = state.clock.steady();
        delivery.redeliver(now);
        self.outbox.put_retry(id, now)?;
        self.deliveries.put(place, delivery_record::encode(&delivery)?);
        self.done.redelivered.push((id.subscription, now));
        Ok(Ok(()))
    }
}

#[derive(Clone, Copy)]
enum Earlier {
    Stored(IdempotencyRow),
    Within(usize, [u8; 16]),
}

/// Who gets an event.
fn wanting(state: &State, account: AccountId, event_type: EventType) -> impl Iterator<Item = &Arc<Subscription>> {
    let all = state.registry.subscriptions_of(account).iter();
    all.filter(move |subscription| subscription.events.contains(event_type))
}

/// A refusal of events that make more deliveries together than one commit may. One alone is always taken.
fn too_many_deliveries<'a>(
    state: &State,
    account: AccountId,
    events: impl Iterator<Item = (&'a NewEvent, &'a Option<Earlier>)>,
) -> Option<Refusal> {
    let (mut deliveries, mut most, mut count) = (0_usize, 0, 0);
    for (event, _) in events.filter(|(_, earlier)| earlier.is_none()) {
        let of_this = wanting(state, account, event.event_type).count();
        deliveries = deliveries.saturating_add(of_this);
        most = most.max(of_this);
        count += 1;
    }
    let limit = MAX_DELIVERIES;
    let is_refused = count > 1 && deliveries > limit;
    is_refused.then(|| Refusal::TooManyDeliveries { deliveries, limit, events: (limit / most.max(1)).max(1) })
}
