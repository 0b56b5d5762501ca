//! What goes next. A pure state machine without I/O or clock: the dispatcher feeds it, delivery threads take from it.
//!
//! Every subscription has a lane of its own. Lanes stand in one of four rings by what is known of their endpoint,
//! and each ring may hold only so many of the threads, so that a healthy endpoint always finds a free one:
//! *first* (answers quickly, nothing in flight), *further* (answers quickly, has attempts in flight), *slow* (not
//! known yet, or slow to answer) and *suspect* (was silent lately: one attempt at a time). A lane's window of
//! concurrent attempts begins at one and doubles with every quick answer up to the endpoint's cap.
//!
//! Memory is bounded: a lane holds a short queue and otherwise remembers only that there is more on the disk.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::domain::outcome::EndpointSign;
use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::command::FreshDelivery;
use crate::storage::record::EventRow;

/// How many deliveries a lane keeps at hand, and how many one page from the disk brings.
pub const PAGE: usize = 256;
/// A lane with fewer than this at hand asks for its next page.
const LOW_WATER: usize = 64;
/// How many deliveries all lanes together keep at hand before new ones stay on the disk.
const TOTAL_AT_HAND: usize = 32_768;
/// How many bytes of bodies are kept with them; beyond it delivery threads read the body from the store.
const BODIES_BYTES: usize = 16 * 1024 * 1024;
/// An endpoint that takes longer than this to answer holds threads; it is slow.
const SLOW_ANSWER: Duration = Duration::from_secs(1);

/// How many threads there are and how many of them one endpoint may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Delivery threads.
    pub threads: usize,
    /// Concurrent attempts of one endpoint.
    pub per_endpoint: usize,
}

/// One attempt to make.
#[derive(Debug)]
pub struct Job {
    /// Of which delivery.
    pub delivery: DeliveryId,
    /// What is known of it already.
    pub work: Work,
    ring: Ring,
}

/// What a delivery thread has to find out before it can send.
#[derive(Debug)]
pub enum Work {
    /// A first attempt; the event is here, or has to be read.
    First(Option<EventRow>),
    /// A further attempt; event and attempt number have to be read.
    Further,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ring {
    First = 0,
    Further = 1,
    Slow = 2,
    Suspect = 3,
}

const RINGS: [Ring; 4] = [Ring::First, Ring::Further, Ring::Slow, Ring::Suspect];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    Quick,
    Slow,
    Suspect,
}

/// A page that the dispatcher is to read for a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageWanted {
    /// Never attempted deliveries after this event.
    Fresh {
        /// Of which subscription.
        subscription: SubscriptionId,
        /// Where the lane's queue ends.
        after: Option<EventId>,
    },
    /// Deliveries that wait for a further attempt, earliest due first.
    Retries {
        /// Of which subscription.
        subscription: SubscriptionId,
        /// How many rows to read: a page, and those at its front that are claimed.
        limit: usize,
    },
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts about one lane")]
struct Lane {
    is_active: bool,
    trust: Trust,
    window: usize,
    in_flight: usize,
    ready: VecDeque<(EventId, Work)>,
    ring: Option<Ring>,
    /// Retries that are queued, in flight or not yet recorded: they still have their row in the outbox.
    claims: HashSet<EventId>,
    /// The last never attempted delivery that came into the queue.
    cursor: Option<EventId>,
    /// Are there never attempted deliveries after the cursor on the disk?
    has_fresh_on_disk: bool,
    /// Did some arrive there while a page was being read?
    fresh_came_meanwhile: bool,
    is_reading_fresh: bool,
    is_reading_retries: bool,
    /// Claims that ended while a page of retries was being read: what that page says of them is out of date.
    ended_meanwhile: HashSet<EventId>,
    /// When the earliest retry on the disk that is not claimed is due.
    retry_due: Option<Timestamp>,
}

/// All lanes and whose turn it is.
pub struct Schedule {
    limits: Limits,
    lanes: HashMap<SubscriptionId, Lane>,
    rings: [VecDeque<SubscriptionId>; 4],
    held: [usize; 4],
    next_ring: usize,
    timers: BTreeSet<(Timestamp, SubscriptionId)>,
    pages: VecDeque<PageWanted>,
    at_hand: usize,
    bodies_bytes: usize,
}

impl Schedule {
    /// A schedule without lanes.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits: Limits { per_endpoint: limits.per_endpoint.min(limits.threads), ..limits },
            lanes: HashMap::new(),
            rings: Default::default(),
            held: [0; 4],
            next_ring: 0,
            timers: BTreeSet::new(),
            pages: VecDeque::new(),
            at_hand: 0,
            bodies_bytes: 0,
        }
    }

    /// Makes a lane for a subscription, or takes note that it was switched on or off. `has_backlog`: there may be
    /// deliveries for it on the disk already.
    pub fn put_lane(&mut self, id: SubscriptionId, is_active: bool, is_suspect: bool, has_backlog: bool) {
        let lane = self.lanes.entry(id).or_insert_with(|| Lane {
            is_active,
            trust: if is_suspect { Trust::Suspect } else { Trust::Slow },
            window: 1,
            in_flight: 0,
            ready: VecDeque::new(),
            ring: None,
            claims: HashSet::new(),
            cursor: None,
            has_fresh_on_disk: has_backlog,
            fresh_came_meanwhile: false,
            is_reading_fresh: false,
            is_reading_retries: false,
            ended_meanwhile: HashSet::new(),
            retry_due: has_backlog.then(|| Timestamp::from_ms(0)),
        });
        if is_active && !lane.is_active {
            lane.trust = Trust::Slow;
        }
        lane.is_active = is_active;
        self.settle(id);
    }

    /// Forgets a subscription that was deleted; what is in flight ends.
    pub fn remove_lane(&mut self, id: SubscriptionId) {
        let Some(lane) = self.lanes.remove(&id) else { return };
        self.at_hand = self.at_hand.saturating_sub(lane.ready.len());
        for (_, work) in &lane.ready {
            self.bodies_bytes = self.bodies_bytes.saturating_sub(body_bytes(work));
        }
        if let Some(due) = lane.retry_due {
            self.timers.remove(&(due, id));
        }
        for ring in &mut self.rings {
            ring.retain(|queued| *queued != id);
        }
    }

    /// Takes in a new delivery right after its commit.
    pub fn offer(&mut self, fresh: FreshDelivery) {
        let Some(lane) = self.lanes.get_mut(&fresh.subscription) else { return };
        let is_crowded = lane.ready.len() >= PAGE || (self.at_hand >= TOTAL_AT_HAND && lane.ready.len() >= 8);
        if lane.has_fresh_on_disk || is_crowded {
            lane.has_fresh_on_disk = true;
            lane.fresh_came_meanwhile = true;
        } else {
            let length = fresh.row.body().len();
            let row = (self.bodies_bytes + length <= BODIES_BYTES).then_some(fresh.row);
            self.bodies_bytes += if row.is_some() { length } else { 0 };
            lane.cursor = Some(fresh.event);
            lane.ready.push_back((fresh.event, Work::First(row)));
            self.at_hand += 1;
        }
        self.settle(fresh.subscription);
    }

    /// Takes note that an attempt is in the store: its claim ends, and it may be due again.
    pub fn recorded(&mut self, delivery: DeliveryId, due: Option<Timestamp>) {
        if let Some(lane) = self.lanes.get_mut(&delivery.subscription) {
            lane.claims.remove(&delivery.event);
            if lane.is_reading_retries {
                lane.ended_meanwhile.insert(delivery.event);
            }
        }
        if let Some(due) = due {
            self.due_at(delivery.subscription, due);
        }
    }

    /// Takes note that a retry of the subscription is due at that time.
    pub fn due_at(&mut self, id: SubscriptionId, due: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.retry_due.is_none_or(|earlier| due < earlier) {
            if let Some(earlier) = lane.retry_due.replace(due) {
                self.timers.remove(&(earlier, id));
            }
            self.settle(id);
        }
    }

    /// Takes the next job, if a thread may have one now.
    pub fn take(&mut self) -> Option<Job> {
        for step in 0..RINGS.len() {
            let ring = *RINGS.get((self.next_ring + step) % RINGS.len())?;
            while self.may_take(ring) {
                let Some(id) = self.ring_mut(ring).pop_front() else { break };
                let Some(lane) = self.lanes.get_mut(&id) else { continue };
                lane.ring = None;
                if lane.wanted_ring(self.limits.per_endpoint) != Some(ring) {
                    self.settle(id);
                    continue;
                }
                let Some((event, work)) = lane.ready.pop_front() else { continue };
                lane.in_flight += 1;
                if let Some(held) = self.held.get_mut(ring as usize) {
                    *held += 1;
                }
                self.at_hand = self.at_hand.saturating_sub(1);
                self.bodies_bytes = self.bodies_bytes.saturating_sub(body_bytes(&work));
                self.next_ring = (self.next_ring + step + 1) % RINGS.len();
                self.settle(id);
                return Some(Job { delivery: DeliveryId { event, subscription: id }, work, ring });
            }
        }
        None
    }

    fn may_take(&self, ring: Ring) -> bool {
        let [first, further, slow, suspect] = self.held;
        let threads = self.limits.threads;
        let share = (threads / 4).max(1);
        match ring {
            Ring::First => true,
            // Only a thread that is not needed for somebody's first attempt.
            Ring::Further => first + further + slow + suspect < threads - threads / 4,
            Ring::Slow => slow + suspect < (threads - threads / 4).max(1),
            Ring::Suspect => suspect < share && slow + suspect < (threads - threads / 4).max(1),
        }
    }

    /// An attempt has ended and its thread is free; its claim lasts until the outcome is recorded.
    pub fn finished(&mut self, job: FinishedJob, sign: EndpointSign, took: Duration) {
        if let Some(held) = self.held.get_mut(job.ring as usize) {
            *held = held.saturating_sub(1);
        }
        let cap = self.limits.per_endpoint;
        let Some(lane) = self.lanes.get_mut(&job.subscription) else { return };
        lane.in_flight = lane.in_flight.saturating_sub(1);
        match sign {
            EndpointSign::Unresponsive => {
                lane.trust = Trust::Suspect;
                lane.window = 1;
            }
            _ if took > SLOW_ANSWER => {
                lane.trust = Trust::Slow;
                lane.window = (lane.window * 2).min(cap);
            }
            _ => {
                lane.trust = Trust::Quick;
                lane.window = (lane.window * 2).min(cap);
            }
        }
        self.settle(job.subscription);
    }

    /// How many attempts are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.held.iter().sum()
    }

    /// Is there a job that a thread could perhaps take?
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.rings.iter().any(|ring| !ring.is_empty())
    }

    /// The next page to read from the disk, if one is wanted now.
    pub fn next_page(&mut self, now: Timestamp) -> Option<PageWanted> {
        while let Some((due, id)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, id));
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.retry_due = None;
            lane.is_reading_retries = true;
            self.pages.push_back(PageWanted::Retries { subscription: id, limit: PAGE + lane.claims.len() });
        }
        self.pages.pop_front()
    }

    /// When the next retry is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Takes in a page of never attempted deliveries.
    pub fn fresh_page(&mut self, id: SubscriptionId, events: &[EventId]) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.is_reading_fresh = false;
        lane.cursor = events.last().copied().or(lane.cursor);
        lane.has_fresh_on_disk = events.len() >= PAGE || lane.fresh_came_meanwhile;
        lane.ready.extend(events.iter().map(|event| (*event, Work::First(None))));
        self.at_hand += events.len();
        self.settle(id);
    }

    /// Takes in a page of retries that was asked for with that limit.
    pub fn retry_page(&mut self, id: SubscriptionId, limit: usize, rows: &[(Timestamp, EventId)], now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.is_reading_retries = false;
        let ended = std::mem::take(&mut lane.ended_meanwhile);
        let mut next = None;
        let mut taken = 0;
        for (due, event) in rows {
            if lane.claims.contains(event) || ended.contains(event) {
                continue;
            }
            if *due > now || taken == PAGE {
                next = Some(*due);
                break;
            }
            lane.claims.insert(*event);
            lane.ready.push_back((*event, Work::Further));
            taken += 1;
        }
        self.at_hand += taken;
        if next.is_none() && rows.len() >= limit {
            next = Some(now);
        }
        self.settle(id);
        if let Some(due) = next {
            self.due_at(id, due);
        }
    }

    /// Takes note that a page could not be read: it is asked for again.
    pub fn page_failed(&mut self, id: SubscriptionId, now: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.is_reading_fresh = false;
        if std::mem::take(&mut lane.is_reading_retries) {
            self.due_at(id, now);
        }
        self.settle(id);
    }

    /// Puts a lane where it belongs now: into a ring, onto the timers, onto the list of pages to read.
    fn settle(&mut self, id: SubscriptionId) {
        let cap = self.limits.per_endpoint;
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if let Some(due) = lane.retry_due {
            let is_timed = lane.is_active && !lane.is_reading_retries && lane.ready.len() < PAGE;
            if is_timed {
                self.timers.insert((due, id));
            } else {
                self.timers.remove(&(due, id));
            }
        }
        if lane.is_active && lane.has_fresh_on_disk && !lane.is_reading_fresh && lane.ready.len() < LOW_WATER {
            lane.is_reading_fresh = true;
            lane.fresh_came_meanwhile = false;
            self.pages.push_back(PageWanted::Fresh { subscription: id, after: lane.cursor });
        }
        if lane.ring.is_none()
            && let Some(ring) = lane.wanted_ring(cap)
        {
            lane.ring = Some(ring);
            self.ring_mut(ring).push_back(id);
        }
    }

    fn ring_mut(&mut self, ring: Ring) -> &mut VecDeque<SubscriptionId> {
        let [first, further, slow, suspect] = &mut self.rings;
        match ring {
            Ring::First => first,
            Ring::Further => further,
            Ring::Slow => slow,
            Ring::Suspect => suspect,
        }
    }
}

impl Lane {
    fn wanted_ring(&self, cap: usize) -> Option<Ring> {
        if !self.is_active || self.ready.is_empty() {
            return None;
        }
        let has_room = self.in_flight < self.window.min(cap);
        match self.trust {
            Trust::Suspect => (self.in_flight == 0).then_some(Ring::Suspect),
            Trust::Slow => has_room.then_some(Ring::Slow),
            Trust::Quick if self.in_flight == 0 => Some(Ring::First),
            Trust::Quick => has_room.then_some(Ring::Further),
        }
    }
}

/// What the schedule needs to know of a job that has ended.
#[derive(Clone, Copy, Debug)]
pub struct FinishedJob {
    subscription: SubscriptionId,
    ring: Ring,
}

impl Job {
    /// For [`Schedule::finished`].
    #[must_use]
    pub fn finished(&self) -> FinishedJob {
        FinishedJob { subscription: self.delivery.subscription, ring: self.ring }
    }
}

fn body_bytes(work: &Work) -> usize {
    match work {
        Work::First(Some(row)) => row.body().len(),
        _ => 0,
    }
}
