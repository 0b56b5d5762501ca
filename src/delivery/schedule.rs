//! What goes next. A pure state machine without I/O or clock: the dispatcher feeds it, delivery threads take from it.
//!
//! Every subscription has a lane of its own. Lanes stand in one of six rings by what is known of their endpoint,
//! and each ring may hold only so many of the threads, so that a healthy endpoint always finds a free one:
//! *first* (answers quickly, nothing in flight), *further* (answers quickly, has attempts in flight), *failing* (answers
//! quickly, but the last time with a failure), *new* (not known yet, refused at once, or silent for the first time),
//! *slow* (slow to answer) and *suspect* (was silent lately: one attempt at a time, with a short rest after each). A
//! lane's window of concurrent attempts begins at one and doubles with every quick answer up to what is of use. One whose
//! endpoint answers 429 or 503 is slowed down to what that takes ([`super::backoff`]).
//!
//! Memory is bounded: a lane holds a short queue and otherwise remembers only that there is more on the disk.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::job::{Ended, FinishedJob, Job, Work};
use super::lane::{Lane, Trust};
use super::pace::Pace;
use super::rings::Rings;
use crate::domain::outcome::EndpointSign;
use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::command::FreshDelivery;
use crate::storage::reader::FreshRow;

/// How many deliveries a lane keeps at hand, and how many one page from the disk brings.
pub const PAGE: usize = 256;
/// A lane with fewer than this at hand asks for its next page.
const LOW_WATER: usize = 64;
/// How many deliveries all lanes together keep at hand before new ones stay on the disk and pages become small.
const TOTAL_AT_HAND: usize = 32_768;
/// How long a page is then, and how many a lane keeps at hand without going to the disk.
const SMALL_PAGE: usize = 8;
/// How many bytes of bodies are kept with them; beyond it delivery threads read the body from the store.
const BODIES_BYTES: usize = 16 * 1024 * 1024;

/// How many threads there are and how many of them one endpoint may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Delivery threads.
    pub threads: usize,
    /// Concurrent attempts of one endpoint.
    pub per_endpoint: usize,
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
        /// How many to read.
        limit: usize,
        /// How many bytes of bodies to read with them; further bodies are left to the delivery threads.
        bodies_bytes: usize,
    },
    /// Deliveries that wait for a further attempt, earliest due first.
    Retries {
        /// Of which subscription.
        subscription: SubscriptionId,
        /// By when they are due; the first that is due later is of interest, too.
        until: Timestamp,
        /// How many rows to read: a page, and those at its front that are claimed.
        limit: usize,
    },
}

#[derive(Clone, Copy)]
enum PageKind {
    Fresh(SubscriptionId),
    Retries(SubscriptionId),
}

/// All lanes and whose turn it is.
pub struct Schedule {
    per_endpoint: usize,
    lanes: HashMap<SubscriptionId, Lane>,
    rings: Rings,
    pace: Pace,
    timers: BTreeSet<(Timestamp, SubscriptionId)>,
    rests: BTreeSet<(Timestamp, SubscriptionId)>,
    /// Has a rest begun that nobody waits for yet?
    has_new_rest: bool,
    pages: VecDeque<PageKind>,
    at_hand: usize,
    bodies_bytes: usize,
}

impl Schedule {
    /// A schedule without lanes.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            per_endpoint: limits.per_endpoint.min(limits.threads),
            lanes: HashMap::new(),
            rings: Rings::new(limits.threads),
            pace: Pace::default(),
            timers: BTreeSet::new(),
            rests: BTreeSet::new(),
            has_new_rest: false,
            pages: VecDeque::new(),
            at_hand: 0,
            bodies_bytes: 0,
        }
    }

    /// Makes a lane for a subscription, or takes note that its owner changed it. `has_backlog`: there may be
    /// deliveries for it on the disk already.
    pub fn put_lane(&mut self, id: SubscriptionId, is_active: bool, trust: Trust, has_backlog: bool) {
        let lane = self.lanes.entry(id).or_insert_with(|| Lane::new(is_active, trust, has_backlog));
        if trust == Trust::Unknown {
            lane.forgive();
        }
        lane.is_active = is_active;
        self.settle(id);
    }

    /// Forgets a subscription that was deleted; what is in flight ends.
    pub fn remove_lane(&mut self, id: SubscriptionId) {
        let Some(lane) = self.lanes.remove(&id) else { return };
        self.at_hand = self.at_hand.saturating_sub(lane.ready.len());
        for (_, work) in &lane.ready {
            self.bodies_bytes = self.bodies_bytes.saturating_sub(work.body_bytes());
        }
        if let Some(due) = lane.retry_due {
            self.timers.remove(&(due, id));
        }
        if let Some((ring, place)) = lane.place {
            self.rings.leave(ring, place);
        }
    }

    /// Takes note of a commit that has stored so many events: whoever stood back may take a job at least.
    pub fn committed(&mut self, events: u64) {
        for id in self.pace.committed(events) {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.stands_back = false;
                lane.has_stood_back = true;
                self.settle(id);
            }
        }
    }

    /// Takes in a new delivery right after its commit.
    pub fn offer(&mut self, fresh: FreshDelivery) {
        let Some(lane) = self.lanes.get_mut(&fresh.subscription) else { return };
        // A page that was read between the commit and this call has brought it already; ids grow with every commit.
        if lane.cursor.is_some_and(|cursor| fresh.event <= cursor) {
            return;
        }
        let is_crowded = lane.ready.len() >= PAGE || (self.at_hand >= TOTAL_AT_HAND && lane.ready.len() >= SMALL_PAGE);
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
    pub fn recorded(&mut self, delivery: DeliveryId, due: Option<Timestamp>, is_delivered: bool) {
        if let Some(lane) = self.lanes.get_mut(&delivery.subscription) {
            lane.claims.remove(&delivery.event);
            if lane.is_reading_retries {
                lane.ended_meanwhile.insert(delivery.event);
            }
        }
        self.pace.recorded(is_delivered);
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
    pub fn take(&mut self, now: Timestamp) -> Option<Job> {
        for ring in self.rings.in_turn() {
            while self.rings.may_take(ring) {
                let Some(id) = self.rings.pop(ring) else { break };
                let Some(lane) = self.lanes.get_mut(&id) else { continue };
                lane.place = None;
                if lane.wanted_ring(self.per_endpoint) != Some(ring) {
                    self.settle(id);
                    continue;
                }
                if lane.is_behind() {
                    // Once in each commit it goes, so that others can slow it down but never stop it.
                    if !std::mem::take(&mut lane.has_stood_back) && self.pace.stand_back(id, lane.is_failing, now) {
                        lane.stands_back = true;
                        continue;
                    }
                } else if lane.ready.len() <= SMALL_PAGE {
                    self.pace.prompt(id, now);
                }
                let Some((event, work)) = lane.ready.pop_front() else { continue };
                let turn = lane.begin(event, now);
                self.rings.hold(ring);
                self.at_hand = self.at_hand.saturating_sub(1);
                self.bodies_bytes = self.bodies_bytes.saturating_sub(work.body_bytes());
                self.await_rest(id);
                self.settle(id);
                return Some(Job { delivery: DeliveryId { event, subscription: id }, work, ring, turn });
            }
        }
        None
    }

    /// An attempt has ended and its thread is free; its claim lasts until the outcome is recorded. `ended`: none if
    /// there was nothing to send after all, and so there will be no outcome.
    pub fn finished(&mut self, job: FinishedJob, ended: Option<Ended>, now: Timestamp) {
        self.rings.release(job.ring);
        if let Some(Ended { sign, .. }) = ended {
            self.pace.ended(sign == EndpointSign::Healthy);
        }
        let DeliveryId { event, subscription } = job.delivery;
        let Some(lane) = self.lanes.get_mut(&subscription) else { return };
        lane.in_flight = lane.in_flight.saturating_sub(1);
        match ended {
            Some(ended) => lane.learn(job.turn, ended, self.per_endpoint, now),
            None => lane.skip(job.turn, event, now),
        }
        self.await_rest(subscription);
        self.settle(subscription);
    }

    /// Puts the end of a lane's rest among those that are waited for.
    fn await_rest(&mut self, id: SubscriptionId) {
        if let Some(until) = self.lanes.get(&id).and_then(|lane| lane.rest_until) {
            self.has_new_rest |= self.rests.insert((until, id));
        }
    }

    /// Has a rest begun since this was asked last?
    pub fn has_new_rest(&mut self) -> bool {
        std::mem::take(&mut self.has_new_rest)
    }

    /// How many attempts are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.rings.held()
    }

    /// How many deliveries are kept in memory, and how many bytes of bodies with them.
    #[must_use]
    pub fn at_hand(&self) -> (usize, usize) {
        (self.at_hand, self.bodies_bytes)
    }

    /// Is there a job that one more thread may take?
    #[must_use]
    pub fn has_job(&self) -> bool {
        self.rings.has_job()
    }

    /// The next page to read from the disk, if one is wanted now.
    pub fn next_page(&mut self, now: Timestamp) -> Option<PageWanted> {
        while let Some((due, id)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, id));
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.retry_due = None;
            lane.is_reading_retries = true;
            self.pages.push_back(PageKind::Retries(id));
        }
        while let Some(kind) = self.pages.pop_front() {
            let (PageKind::Fresh(id) | PageKind::Retries(id)) = kind;
            // What a page may hold is decided when it is read, as those before it have filled the memory meanwhile.
            let Some(lane) = self.lanes.get(&id) else { continue };
            let limit = if self.at_hand < TOTAL_AT_HAND { PAGE } else { SMALL_PAGE };
            let bodies_bytes = BODIES_BYTES.saturating_sub(self.bodies_bytes);
            return Some(match kind {
                PageKind::Fresh(_) => PageWanted::Fresh { subscription: id, after: lane.cursor, limit, bodies_bytes },
                PageKind::Retries(_) => {
                    PageWanted::Retries { subscription: id, until: now, limit: limit + lane.claims.len() }
                }
            });
        }
        None
    }

    /// Lets lanes go on whose rest is over.
    pub fn end_rests(&mut self, now: Timestamp) {
        while let Some((until, id)) = self.rests.first().copied().filter(|(until, _)| *until <= now) {
            self.rests.remove(&(until, id));
            if let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.rest_until == Some(until)) {
                lane.end_rest(now);
                self.await_rest(id);
                self.settle(id);
            }
        }
    }

    /// Is a page to be read now?
    #[must_use]
    pub fn wants_page(&self, now: Timestamp) -> bool {
        !self.pages.is_empty() || self.timers.first().is_some_and(|(due, _)| *due <= now)
    }

    /// When the next retry is due or the next rest is over.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().into_iter().chain(self.rests.first()).map(|(due, _)| *due).min()
    }

    /// Takes in a page of never attempted deliveries.
    pub fn fresh_page(&mut self, id: SubscriptionId, limit: usize, events: Vec<FreshRow>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.is_reading_fresh = false;
        lane.cursor = events.last().map(|(event, _)| *event).or(lane.cursor);
        lane.has_fresh_on_disk = events.len() >= limit || lane.fresh_came_meanwhile;
        self.at_hand += events.len();
        for (event, row) in events {
            let work = Work::First(row);
            self.bodies_bytes += work.body_bytes();
            lane.ready.push_back((event, work));
        }
        self.settle(id);
    }

    /// Takes in a page of retries that was asked for with that limit and that time.
    pub fn retry_page(&mut self, id: SubscriptionId, limit: usize, rows: &[(Timestamp, EventId)], until: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.is_reading_retries = false;
        lane.has_due_on_disk = false;
        let ended = std::mem::take(&mut lane.ended_meanwhile);
        let mut next = None;
        let mut taken = 0;
        for (due, event) in rows {
            if lane.claims.contains(event) || ended.contains(event) {
                continue;
            }
            if *due > until || taken == PAGE {
                lane.has_due_on_disk = *due <= until;
                next = Some(*due);
                break;
            }
            lane.claims.insert(*event);
            lane.ready.push_back((*event, Work::Further));
            taken += 1;
        }
        self.at_hand += taken;
        if next.is_none() && rows.len() >= limit {
            lane.has_due_on_disk = true;
            next = Some(until);
        }
        // The page ends with the first row after that time, also if that one is claimed.
        let last = rows.last().map(|(due, _)| *due).filter(|due| *due > until);
        let next = next.or(last);
        self.settle(id);
        if let Some(due) = next {
            self.due_at(id, due);
        }
    }

    /// Takes note that a page could not be read: it is asked for again.
    pub fn page_failed(&mut self, page: PageWanted, now: Timestamp) {
        let (PageWanted::Fresh { subscription: id, .. } | PageWanted::Retries { subscription: id, .. }) = page;
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        match page {
            PageWanted::Fresh { .. } => lane.is_reading_fresh = false,
            PageWanted::Retries { .. } => {
                lane.is_reading_retries = false;
                // The next page is read later than all of these ended, so it is not out of date.
                lane.ended_meanwhile.clear();
                self.due_at(id, now);
            }
        }
        self.settle(id);
    }

    /// Puts a lane where it belongs now: into a ring, onto the timers, onto the list of pages to read.
    fn settle(&mut self, id: SubscriptionId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if let Some(due) = lane.retry_due {
            // A lane that has both on the disk takes turns, so that neither waits until the other is done.
            let room = if lane.has_fresh_on_disk { LOW_WATER } else { PAGE };
            let is_timed = lane.is_active && !lane.is_reading_retries && lane.ready.len() < room;
            if is_timed {
                self.timers.insert((due, id));
            } else {
                self.timers.remove(&(due, id));
            }
        }
        let low_water = if self.at_hand < TOTAL_AT_HAND { LOW_WATER } else { SMALL_PAGE / 2 };
        if lane.is_active && lane.has_fresh_on_disk && !lane.is_reading_fresh && lane.ready.len() < low_water {
            lane.is_reading_fresh = true;
            lane.fresh_came_meanwhile = false;
            self.pages.push_back(PageKind::Fresh(id));
        }
        let wanted = lane.wanted_ring(self.per_endpoint);
        if wanted == lane.place.map(|(ring, _)| ring) {
            return;
        }
        if let Some((ring, place)) = lane.place.take() {
            self.rings.leave(ring, place);
        }
        lane.place = wanted.map(|ring| (ring, self.rings.join(ring, id)));
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "pushback_tests.rs"]
mod pushback_tests;
