//! What callers were told, and what the store has to hold because of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tempclock_webhooks::domain::calendar::TOLERANCE;
use tempclock_webhooks::domain::delivery::{Delivery, DeliveryState, KEPT_ATTEMPTS};
use tempclock_webhooks::domain::event::IdempotencyKey;
use tempclock_webhooks::domain::event::event_type::EventType;
use tempclock_webhooks::domain::event::event_types::EventTypes;
use tempclock_webhooks::domain::{AccountId, BatchId, DeliveryId, EventId, SubscriptionId, Timestamp};
use tempclock_webhooks::storage::StoreSettings;
use tempclock_webhooks::storage::command::Published;
use tempclock_webhooks::storage::error::Rejection;
use tempclock_webhooks::storage::read::reader::{DeliveryFilter, EventFilter, Page, PageRequest, Reader, Retry};

use super::attempts::Reported;
use super::pushback::Successes;

/// One event as a publisher asks for it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub event_type: EventType,
    pub key: Option<IdempotencyKey>,
    pub fingerprint: [u8; 16],
    /// The worker that it is about; 0: none.
    pub worker: u8,
}

#[derive(Clone, Debug)]
pub struct Wish {
    pub account: AccountId,
    pub types: EventTypes,
    pub url: String,
}

/// Everything that was acknowledged.
#[derive(Default)]
pub struct Model {
    pub wishes: BTreeMap<SubscriptionId, Wish>,
    pub events: BTreeMap<EventId, (AccountId, Vec<SubscriptionId>)>,
    keys: HashMap<(AccountId, IdempotencyKey), (EventId, [u8; 16])>,
    attempts: HashMap<DeliveryId, u32>,
    /// Deliveries as they were seen last.
    pub last: BTreeMap<DeliveryId, Delivery>,
    /// For how long the server had been at work when they were not yet settled so.
    settled: BTreeMap<DeliveryId, (DeliveryState, Duration)>,
    /// And at the last look.
    at_work: Duration,
    pub successes: Successes,
    forgotten: BTreeSet<DeliveryId>,
}

type Answer<T> = Result<T, Rejection>;

impl Model {
    pub fn attempts_of(&self, id: DeliveryId) -> u32 {
        self.attempts.get(&id).copied().unwrap_or(0)
    }

    pub fn attempt_stored(&mut self, id: DeliveryId, number: u32) -> Result<(), String> {
        if !self.wishes.contains_key(&id.subscription) {
            return Ok(());
        }
        let before = self.attempts.insert(id, number).unwrap_or(0);
        if number != before + 1 {
            return Err(format!("attempt {number} of {id} was recorded after {before}"));
        }
        Ok(())
    }

    pub fn published(
        &mut self,
        account: AccountId,
        wanted: &[Wanted],
        answer: Answer<Vec<Published>>,
    ) -> Result<bool, String> {
        let known = |one: &Wanted| one.key.and_then(|key| self.keys.get(&(account, key)).copied());
        let events = match answer {
            Ok(events) => events,
            Err(Rejection::IdempotencyConflicts(conflicts)) => {
                for (index, _) in conflicts {
                    let one = wanted[index];
                    let within = wanted[..index].iter().any(|other| other.key == one.key);
                    let is_other = known(&one).is_some_and(|(_, print)| print != one.fingerprint);
                    if !is_other && !within {
                        return Err(format!("no conflict: {one:?}"));
                    }
                }
                return Ok(false);
            }
            Err(refusal) => return Err(format!("a publish was refused: {refusal}")),
        };
        for (one, event) in wanted.iter().zip(events) {
            if let Some(key) = one.key {
                let before = self.keys.insert((account, key), (event.id, one.fingerprint));
                if before != event.duplicate.then_some((event.id, one.fingerprint)) {
                    return Err(format!("{one:?} was answered {event:?}, and before {before:?}"));
                }
            }
            if !event.duplicate {
                let receivers: Vec<_> = self.receivers(account, one.event_type);
                if usize::try_from(event.deliveries) != Ok(receivers.len()) {
                    return Err(format!("{event:?} has other receivers than {receivers:?}"));
                }
                self.events.insert(event.id, (account, receivers));
            }
        }
        Ok(true)
    }

    fn receivers(&self, account: AccountId, event_type: EventType) -> Vec<SubscriptionId> {
        let wishes = self.wishes.iter();
        let wanting = wishes.filter(|(_, wish)| wish.account == account && wish.types.contains(&event_type, false));
        wanting.map(|(id, _)| *id).collect()
    }

    /// After a crash: takes in what the store has of that which nobody was told the end of.
    pub fn adopt(&mut self, reader: &Reader, wanted: &[(AccountId, Wanted)], ended: &[Reported]) {
        self.wishes = reader
            .registry()
            .subscriptions()
            .map(|subscription| {
                let url = subscription.endpoint.as_str().to_owned();
                (subscription.id, Wish { account: subscription.account, types: subscription.events.clone(), url })
            })
            .collect();
        for reported in ended {
            for id in reported.deliveries() {
                if let Ok(Some(delivery)) = reader.view().delivery(*id) {
                    self.attempts.insert(*id, delivery.attempt_count);
                }
            }
            let batch = BatchId(reported.id.event.0);
            if let Ok(Some((head, _))) = reader.view().batch(reported.id.subscription, batch) {
                self.attempts.insert(reported.id, head.attempts);
            }
        }
        let mut left = wanted.to_vec();
        for account in [AccountId(1), AccountId(2)] {
            let view = reader.view();
            for (id, found) in all_pages(|request| view.events(account, EventFilter::default(), request).unwrap()) {
                if self.events.contains_key(&id) {
                    continue;
                }
                let fits = |(of, one): &(AccountId, Wanted)| {
                    *of == account
                        && one.event_type == found.content.event_type
                        && one.key == found.idempotency.first().copied()
                };
                // What nobody asked for stays unknown, and the next look finds it.
                if let Some(place) = left.iter().position(fits) {
                    let (_, one) = left.swap_remove(place);
                    self.events.insert(id, (account, found.receivers.to_vec()));
                    if let Some(key) = one.key {
                        self.keys.insert((account, key), (id, one.fingerprint));
                    }
                }
            }
        }
    }

    /// Compares the store with what was acknowledged, and its tables with one another. `at_work`: for how long the server
    /// has been at work by now, which alone takes anything away.
    pub fn compare(
        &mut self,
        reader: &Reader,
        settings: &StoreSettings,
        at_work: Duration,
        wall: Timestamp,
    ) -> Result<(), String> {
        let rule = settings.rules.retention;
        let registry = reader.registry();
        let stored: Vec<_> = registry.subscriptions().map(|subscription| subscription.id).collect();
        if stored != self.wishes.keys().copied().collect::<Vec<_>>() {
            return Err(format!("there are the subscriptions {stored:?}, and should be {:?}", self.wishes));
        }
        for (id, wish) in &self.wishes {
            let stored =
                registry.subscription(*id).map(|found| (found.endpoint.as_str().to_owned(), found.events.clone()));
            if stored != Some((wish.url.clone(), wish.types.clone())) {
                return Err(format!("subscription {id} is {stored:?}, and should be {wish:?}"));
            }
        }
        let view = reader.view();
        let mut now = BTreeMap::new();
        for account in [AccountId(1), AccountId(2)] {
            let of = registry.subscriptions_of(account).iter().map(|subscription| subscription.id).collect();
            let filter = DeliveryFilter::of(account, of);
            let listed = all_pages(|request| view.deliveries(&filter, request).unwrap());
            let (count, of): (_, BTreeMap<_, _>) = (listed.len(), listed.into_iter().collect());
            if of.len() != count {
                return Err("a delivery is listed twice".to_owned());
            }
            let counted = view.deliveries(&filter, PageRequest { limit: 1, offset: 0, after: None }).unwrap().total;
            if counted != count {
                let lists = |id: &&SubscriptionId| of.keys().filter(|key| key.subscription == **id).count();
                let counts = |id: &&SubscriptionId| {
                    let filter = DeliveryFilter::of(account, vec![**id]);
                    view.deliveries(&filter, PageRequest { limit: 1, offset: 0, after: None }).unwrap().total
                };
                let each: Vec<_> = self.wishes.keys().map(|id| (*id, counts(&id), lists(&id))).collect();
                return Err(format!("{counted} deliveries are counted, and there are {count}: {each:?}"));
            }
            let pending = DeliveryFilter { status: Some("pending"), ..filter };
            look_at_pending(reader, &pending, &of)?;
            now.extend(of);
        }
        self.look_at_outbox(reader, &now)?;
        // A job may have sent one again in the commit that has removed its attempts.
        let is_bare = |delivery: &Delivery| delivery.attempts.is_empty() && delivery.attempt_count > 0;
        let bare = now.iter().filter(|(id, delivery)| is_bare(delivery) && self.is_over(**id, rule.attempts, at_work));
        let forgotten: Vec<_> = bare.map(|(id, _)| *id).collect();
        self.forgotten.extend(forgotten);
        let waits = settings.rules.retry.waits.len();
        for (id, delivery) in &now {
            if self.settled.get(id).is_none_or(|(state, _)| *state != delivery.state) {
                self.settled.insert(*id, (delivery.state, self.at_work));
            }
        }
        self.at_work = at_work;
        for (id, delivery) in &now {
            self.look_at_delivery(*id, delivery)?;
            self.successes.look_at(*id, self.last.get(id), delivery, waits, wall)?;
        }
        self.successes.committed();
        self.last.retain(|id, _| self.wishes.contains_key(&id.subscription));
        for (id, before) in &self.last {
            if !now.contains_key(id) && !self.is_over(*id, rule.events, at_work) {
                return Err(format!("{id} is gone; it was {before:?}"));
            }
        }
        let swept: BTreeSet<_> = self.last.keys().filter(|id| !now.contains_key(id)).map(|id| id.event).collect();
        self.last = now;
        self.look_at_events(reader, &swept)
    }

    /// Was it settled so long ago, by the time in which the server was at work?
    fn is_over(&self, id: DeliveryId, age: Duration, at_work: Duration) -> bool {
        let settled = self.settled.get(&id).filter(|(state, _)| !state.is_pending());
        settled.is_some_and(|(_, then)| at_work + TOLERANCE > *then + age)
    }

    fn look_at_outbox(&self, reader: &Reader, now: &BTreeMap<DeliveryId, Delivery>) -> Result<(), String> {
        let mut outbox = BTreeSet::new();
        for subscription in self.wishes.keys().copied() {
            for pending in reader.view().unattempted_after(subscription, None, now.len() + 1, 0).unwrap() {
                outbox.insert((DeliveryId { event: pending.event, subscription }, None));
            }
            let retries = reader.view().retries(subscription, Timestamp::from_ms(u64::MAX), usize::MAX).unwrap();
            for Retry { due, event, .. } in retries.into_iter().filter(|retry| !retry.is_batch) {
                outbox.insert((DeliveryId { event, subscription }, Some(due)));
            }
        }
        let view = reader.view();
        let pending = now.iter().filter(|(_, delivery)| delivery.state.is_pending());
        let in_outbox = pending.filter(|(id, _)| view.waits_for(**id).unwrap().is_none());
        let pending = in_outbox.filter_map(|(id, delivery)| match delivery.state {
            // What was never attempted waits for a retry if it was sent again, or has waited for its turn.
            DeliveryState::Pending { due }
                if delivery.attempt_count == 0 && due == id.event.time() && !outbox.contains(&(*id, Some(due))) =>
            {
                Some((*id, None))
            }
            DeliveryState::Pending { due } => Some((*id, Some(due))),
            _ => None,
        });
        let pending: BTreeSet<_> = pending.collect();
        let retrying = pending.iter().filter(|(_, due)| due.is_some()).count() as u64;
        let counted = view.backlog().unwrap().pending;
        // Those that wait for another one are counted, and nothing of a deleted subscription.
        let all = now.values().filter(|delivery| delivery.state.is_pending()).count() as u64;
        let least = (retrying, pending.len() as u64 - retrying);
        if counted.retrying < least.0 || counted.unattempted < least.1 || counted.retrying + counted.unattempted != all
        {
            return Err(format!("{all} are pending, of them {least:?} in the outbox, but {counted:?} is counted"));
        }
        let unlike: Vec<_> = outbox.symmetric_difference(&pending).collect();
        if unlike.is_empty() { Ok(()) } else { Err(format!("outbox and deliveries contradict each other: {unlike:?}")) }
    }

    fn look_at_delivery(&self, id: DeliveryId, delivery: &Delivery) -> Result<(), String> {
        if !self.events.get(&id.event).is_some_and(|(_, receivers)| receivers.contains(&id.subscription)) {
            return Err(format!("nobody asked for {id}"));
        }
        if delivery.attempt_count != self.attempts_of(id) {
            return Err(format!("{id} has {} attempts and not {}", delivery.attempt_count, self.attempts_of(id)));
        }
        let numbers: Vec<u32> = delivery.attempts.iter().map(|attempt| attempt.number).collect();
        let kept = u32::try_from(numbers.len()).unwrap();
        if numbers != (delivery.attempt_count - kept + 1..=delivery.attempt_count).collect::<Vec<_>>() {
            return Err(format!("{id} has the attempts {numbers:?} of {}", delivery.attempt_count));
        }
        if numbers.len() < KEPT_ATTEMPTS && kept < delivery.attempt_count && !self.forgotten.contains(&id) {
            return Err(format!("{id} has lost attempts: {delivery:?}"));
        }
        Ok(())
    }

    fn look_at_events(&mut self, reader: &Reader, swept: &BTreeSet<EventId>) -> Result<(), String> {
        let mut gone = Vec::new();
        for (id, (account, receivers)) in &self.events {
            let live = |id: &&SubscriptionId| self.wishes.contains_key(*id);
            match reader.view().event(*account, *id).unwrap() {
                Some(found) if !found.content.is_intact() => return Err(format!("event {id} is damaged")),
                Some(found) if found.receivers[..] != receivers[..] => {
                    return Err(format!("event {id} is for {:?} and not {receivers:?}", found.receivers));
                }
                Some(_) => {
                    let of = |subscription| DeliveryId { event: *id, subscription };
                    if let Some(lost) = receivers.iter().filter(live).find(|id| !self.last.contains_key(&of(**id))) {
                        return Err(format!("event {id} has no delivery for subscription {lost}"));
                    }
                }
                None if swept.contains(id) || !receivers.iter().any(|id| live(&id)) => gone.push(*id),
                None => return Err(format!("event {id} was acknowledged and is gone")),
            }
        }
        for id in gone {
            self.events.remove(&id);
            self.keys.retain(|_, (event, _)| *event != id);
        }
        Ok(())
    }
}

/// A whole list: one call looks at some of it only.
fn all_pages<C: Copy, T>(mut page: impl FnMut(PageRequest<C>) -> Page<C, T>) -> Vec<(C, T)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let Page { items, next, .. } = page(PageRequest { limit: usize::MAX, offset: 0, after });
        all.extend(items);
        after = next;
        if after.is_none() {
            return all;
        }
    }
}

/// The list of what is pending, read from the outbox page by page, has what the list of everything has.
fn look_at_pending(
    reader: &Reader,
    filter: &DeliveryFilter,
    now: &BTreeMap<DeliveryId, Delivery>,
) -> Result<(), String> {
    const PAGE_ROWS: usize = 7;
    let wanted: Vec<_> = now.iter().rev().filter(|(_, delivery)| delivery.state.is_pending()).collect();
    let snapshot = reader.view();
    let mut after = None;
    for (number, want) in wanted.chunks(PAGE_ROWS).enumerate() {
        let by_cursor = PageRequest { limit: PAGE_ROWS, offset: 0, after };
        let by_offset = PageRequest { limit: PAGE_ROWS, offset: number * PAGE_ROWS, after: None };
        for request in [by_cursor, by_offset] {
            let page = snapshot.deliveries(filter, request).unwrap();
            let found: Vec<_> = page.items.iter().map(|(id, delivery)| (id, delivery)).collect();
            let has_more = (number + 1) * PAGE_ROWS < wanted.len();
            if found != want || page.total != wanted.len() || page.next.is_some() != has_more {
                return Err(format!("{request:?} of what is pending is {page:?}, and should be {want:?}"));
            }
        }
        after = want.last().map(|(id, _)| **id);
    }
    Ok(())
}
