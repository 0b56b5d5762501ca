//! Executes one command inside the open write transaction: checks first, then writes. Runs on the writer thread. It
//! never commits or replies, and writes nothing for a command that it rejects.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::clock::Clock;
use crate::domain::audit::Change;
use crate::domain::delivery::history::History;
use crate::domain::event::content::EventContent;
use crate::domain::event::{self, NewEvent};
use crate::domain::ids::EventIds;
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId};
use crate::storage::command::{Committed, NewDelivery, Published};
use crate::storage::counts::Kind;
use crate::storage::engine::{Front, Pending, Tx};
use crate::storage::error::{Rejection, StorageError};
use crate::storage::random::Randomness;
use crate::storage::read::registry::Registry;
use crate::storage::rows::record::{EventRow, IdempotencyRow};
use crate::storage::rules::alerts::told::Alerts;
use crate::storage::rules::backlog::positions::Backlogs;
use crate::storage::rules::batches::gathering::Gatherings;
use crate::storage::rules::retain::look::Look;
use crate::storage::rules::service_time::{Note, ServiceTime};
use crate::storage::rules::settings::Rules;

/// How many deliveries the events of one request may make: as many as the greatest number of subscriptions that an
/// account may be given makes of one event. They go into one commit, which others wait for.
const MAX_DELIVERIES: usize = 100_000;

/// The writer's state between transactions.
pub struct State {
    pub rules: Rules,
    pub clock: Clock,
    pub time: ServiceTime,
    pub registry: Arc<Registry>,
    pub histories: HashMap<SubscriptionId, History>,
    pub backlogs: Backlogs,
    /// What is gathered for batches.
    pub gatherings: Gatherings,
    pub pending: Pending,
    /// How far retention has come.
    pub fronts: BTreeMap<AccountId, Front>,
    /// What retention looks at over several steps.
    pub look: Option<Look>,
    pub ids: EventIds,
    pub random: Randomness,
    pub alerts: Alerts,
}

pub(in crate::storage) type CommandResult<T> = Result<Result<T, Rejection>, StorageError>;

/// The rows of one write transaction and the changes made in it so far.
pub struct Batch<T> {
    pub(in crate::storage) tx: T,
    pub(in crate::storage) pending: Pending,
    pub(in crate::storage) changed_histories: BTreeSet<SubscriptionId>,
    pub(in crate::storage) changes: Committed,
    /// What the command that is being executed changed.
    pub(in crate::storage) noted: Vec<Change>,
}

impl<T: Tx> Batch<T> {
    /// Nothing has changed yet. `pending` is the count before.
    pub fn new(tx: T, pending: Pending) -> Self {
        Self { tx, pending, changed_histories: BTreeSet::new(), changes: Committed::default(), noted: Vec::new() }
    }

    /// Writes what is written once per transaction, and returns what the commit will change.
    pub fn finish(mut self, state: &mut State) -> Result<Committed, StorageError> {
        for id in &self.changed_histories {
            if let Some(history) = state.histories.get(id) {
                self.tx.put_history(*id, history)?;
            }
        }
        if let Some(Note { now, monotonic, gaps }) = state.time.note(state.clock.monotonic()) {
            self.tx.put_time(now, monotonic, gaps)?;
        }
        self.tx.finish()?;
        state.pending = self.pending;
        Ok(self.changes)
    }

    /// Counts a delivery as something else than before; none: it was or is not there.
    pub(in crate::storage) fn count(
        &mut self,
        account: AccountId,
        id: DeliveryId,
        before: Option<Kind>,
        after: Option<Kind>,
    ) {
        for (kind, more) in before.map(|kind| (kind, -1)).into_iter().chain(after.map(|kind| (kind, 1))) {
            self.tx.count(account, id.subscription, kind, more);
        }
    }

    /// Stores events with all their deliveries: all of them or, if one conflicts, none.
    pub fn publish(
        &mut self,
        state: &mut State,
        account: AccountId,
        events: &[NewEvent],
    ) -> CommandResult<Vec<Published>> {
        let known_from = state.time.kept_from(state.rules.retention.idempotency);
        let mut in_batch = HashMap::new();
        let mut known = Vec::with_capacity(events.len());
        let mut conflicts = Vec::new();
        'events: for (index, event) in events.iter().enumerate() {
            let mut earlier = None;
            for known in &event.idempotency {
                let stored = match self.tx.idempotency(account, known.key)? {
                    Some(Ok(row)) if EventId(row.event).time() >= known_from => Some(EarlierPublish::Stored(row)),
                    Some(Err(error)) => {
                        log::error!("an idempotency key cannot be read: {error}");
                        return Ok(Err(Rejection::StoreFailed));
                    }
                    // What was used too long ago may be used again.
                    Some(Ok(_)) | None => {
                        in_batch.get(&known.key).map(|(first, print)| EarlierPublish::InBatch(*first, *print))
                    }
                };
                let Some(found) = stored else { continue };
                let (EarlierPublish::Stored(IdempotencyRow { fingerprint, .. })
                | EarlierPublish::InBatch(_, fingerprint)) = found;
                if fingerprint != known.fingerprint {
                    conflicts.push((index, known.source));
                    continue 'events;
                }
                earlier = Some(found);
            }
            if earlier.is_none() {
                in_batch.extend(event.idempotency.iter().map(|known| (known.key, (index, known.fingerprint))));
            }
            known.push(earlier);
        }
        if !conflicts.is_empty() {
            return Ok(Err(Rejection::IdempotencyConflicts(conflicts)));
        }
        if let Some(refusal) = too_many_deliveries(state, account, events.iter().zip(&known)) {
            return Ok(Err(refusal));
        }
        let mut answers: Vec<Published> = Vec::with_capacity(events.len());
        for (event, earlier) in events.iter().zip(known) {
            let event_type = event.event_type;
            let answer = match earlier {
                None => self.store_event(state, account, event)?,
                Some(EarlierPublish::Stored(row)) => {
                    Published { id: EventId(row.event), event_type, deliveries: row.deliveries, duplicate: true }
                }
                Some(EarlierPublish::InBatch(first, _)) => match answers.get(first) {
                    Some(first) => Published { duplicate: true, ..*first },
                    None => return Ok(Err(Rejection::StoreFailed)),
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
        let of = |found: &Arc<Subscription>| (found.id, found.options.order, found.options.batch.is_some());
        let wanting: Vec<_> = wanting(state, account, event).map(of).collect();
        let deliveries = u32::try_from(wanting.len()).unwrap_or(u32::MAX);
        let keys = event.idempotency.iter().map(|known| known.key).collect();
        let receivers = wanting.iter().map(|(id, ..)| *id).collect();
        let content = EventContent::new(event_type, body);
        let row = EventRow { content, subscriptions: receivers, idempotency: keys };
        self.tx.put_event(account, id, &row)?;
        let content = Arc::new(row.content);
        if !event.tags.is_empty() {
            self.tx.put_tags(account, id, &event.tags)?;
        }
        for known in &event.idempotency {
            let answer = IdempotencyRow { event: id.0, fingerprint: known.fingerprint, deliveries };
            self.tx.put_idempotency(account, known.key, &answer)?;
        }
        self.tx.count_events(account, 1);
        for (subscription, order, is_batched) in wanting {
            self.tx.count(account, subscription, Kind::Unattempted, 1);
            if is_batched && let Some(of) = state.registry.subscription(subscription).cloned() {
                self.gather(state, &of, id, content.body().len())?;
                continue;
            }
            let key = order.key(|| event.worker);
            if self.put_new(DeliveryId { event: id, subscription }, key)? {
                self.changes.unattempted.push(NewDelivery {
                    subscription,
                    event: id,
                    key,
                    content: Arc::clone(&content),
                });
            }
        }
        for unfit in &event.unfit {
            if state.registry.subscription(*unfit).is_some() {
                self.tx.count_filtered(account, *unfit);
            }
        }
        self.changes.events += 1;
        Ok(Published { id, event_type, deliveries, duplicate: false })
    }
}

#[derive(Clone, Copy)]
enum EarlierPublish {
    Stored(IdempotencyRow),
    InBatch(usize, [u8; 16]),
}

/// Who gets an event.
fn wanting<'a>(
    state: &'a State,
    account: AccountId,
    event: &'a NewEvent,
) -> impl Iterator<Item = &'a Arc<Subscription>> {
    let all = state.registry.subscriptions_of(account).iter();
    let fits = |subscription: &Subscription| event.unfit.binary_search(&subscription.id).is_err();
    all.filter(move |subscription| {
        subscription.events.contains(&event.event_type, event.is_opt_in) && fits(subscription)
    })
}

/// A refusal of events that make more deliveries together than one commit may. One alone is always taken.
fn too_many_deliveries<'a>(
    state: &State,
    account: AccountId,
    events: impl Iterator<Item = (&'a NewEvent, &'a Option<EarlierPublish>)>,
) -> Option<Rejection> {
    let (mut deliveries, mut most, mut count) = (0_usize, 0, 0);
    for (event, _) in events.filter(|(_, earlier)| earlier.is_none()) {
        let of_this = wanting(state, account, event).count();
        deliveries = deliveries.saturating_add(of_this);
        most = most.max(of_this);
        count += 1;
    }
    let limit = MAX_DELIVERIES;
    let is_refused = count > 1 && deliveries > limit;
    is_refused.then(|| Rejection::TooManyDeliveries { deliveries, limit, events: (limit / most.max(1)).max(1) })
}
