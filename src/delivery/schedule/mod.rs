//! Decides which delivery is attempted next. A pure state machine without I/O or clock: the dispatcher fills it,
//! delivery threads take jobs from it.
//!
//! Every subscription has a lane. Lanes are in one of six priority classes by what is known of their endpoint, and each
//! class is limited to a share of the threads, so that a healthy endpoint always finds a free one: *idle* (responds
//! quickly, nothing in flight), *active* (responds quickly, has attempts in flight), *failing* (responds quickly, last
//! with a failure), *new* (unknown yet, refused at once, or unresponsive for the first time), *slow* (slow to respond)
//! and *suspect* (unresponsive recently: one attempt at a time, with a short backoff after each). A lane's concurrency
//! window starts at one and doubles with every quick response up to a useful size. One whose endpoint answers 429 or
//! 503 is slowed down to what that takes ([`crate::delivery::schedule::backoff`]).
//!
//! Memory is bounded: a lane holds a short queue and otherwise only knows that there is more on the disk.

pub(super) mod answer_count;
pub mod backoff;
pub(super) mod backpressure;
pub mod job;
pub mod lane;
pub(super) mod limits;
mod pages;
pub(super) mod priority;
mod rests;
pub mod waiting;
pub(super) mod window;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::delivery::schedule::backpressure::Backpressure;
use crate::delivery::schedule::job::{AttemptResult, FinishedJob, Job, Queued, Work};
use crate::delivery::schedule::lane::{Lane, Responsiveness};
use crate::delivery::schedule::priority::PriorityQueues;
use crate::delivery::schedule::waiting::Waiting;
use crate::domain::delivery::outcome::EndpointSignal;
use crate::domain::options::Options;
use crate::domain::{DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::command::NewDelivery;

/// Maximum number of deliveries in a lane's queue and in a page from the disk.
pub const PAGE_ROWS: usize = 256;
/// A lane whose queue is shorter than this requests its next page.
const LOW_WATER: usize = 64;
/// Number of deliveries in memory, over all lanes, beyond which new ones stay on the disk and pages become small.
const IN_MEMORY_MAX: usize = 32_768;
/// Size of such a small page, and of a lane's queue that is still filled directly.
const SMALL_PAGE_ROWS: usize = 8;
/// Maximum bytes of bodies in memory; beyond it delivery threads read the body from the store.
const BODIES_BYTES: usize = 16 * 1024 * 1024;

/// Number of threads and how many of them one endpoint may use.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Delivery threads.
    pub threads: usize,
    /// Maximum concurrent attempts of one endpoint.
    pub per_endpoint: usize,
}

/// A page that the dispatcher has to read for a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageWanted {
    /// Never attempted deliveries after this event.
    Unattempted {
        /// Its subscription.
        subscription: SubscriptionId,
        /// The last event in the lane's queue.
        after: Option<EventId>,
        /// Maximum number of rows.
        limit: usize,
        /// Bytes of bodies to read with them; other bodies are left to the delivery threads.
        bodies_bytes: usize,
    },
    /// Retries, earliest due first.
    Retries {
        /// Its subscription.
        subscription: SubscriptionId,
        /// Latest due time; the first row after it is read too.
        until: Timestamp,
        /// Maximum number of rows: a page plus the claimed rows at its front.
        limit: usize,
    },
}

#[derive(Clone, Copy)]
enum PageKind {
    Unattempted(SubscriptionId),
    Retries(SubscriptionId),
}

/// All lanes and their order.
pub struct Schedule {
    per_endpoint: usize,
    lanes: HashMap<SubscriptionId, Lane>,
    queues: PriorityQueues,
    backpressure: Backpressure,
    timers: BTreeSet<(Timestamp, SubscriptionId)>,
    backoffs: BTreeSet<(Timestamp, SubscriptionId)>,
    /// Has a rest begun that nobody waits for yet?
    has_new_rest: bool,
    /// How many lanes have a delivery window.
    windows: usize,
    /// What both clocks showed when the wall clock was looked at last, for windows.
    clocks: (Timestamp, Timestamp),
    pages: VecDeque<PageKind>,
    in_memory: usize,
    bodies_bytes: usize,
}

impl Schedule {
    /// A schedule without lanes.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            per_endpoint: limits.per_endpoint.min(limits.threads),
            lanes: HashMap::new(),
            queues: PriorityQueues::new(limits.threads),
            backpressure: Backpressure::default(),
            timers: BTreeSet::new(),
            backoffs: BTreeSet::new(),
            has_new_rest: false,
            windows: 0,
            clocks: (Timestamp::default(), Timestamp::default()),
            pages: VecDeque::new(),
            in_memory: 0,
            bodies_bytes: 0,
        }
    }

    /// Creates a lane for a subscription, or applies a change by its owner. `has_backlog`: there may be deliveries on
    /// the disk already.
    pub fn put_lane(&mut self, id: SubscriptionId, is_active: bool, responsiveness: Responsiveness, has_backlog: bool) {
        let lane = self.lanes.entry(id).or_insert_with(|| Lane::new(is_active, responsiveness, has_backlog));
        if responsiveness == Responsiveness::Unknown {
            lane.reset_health();
        }
        lane.is_active = is_active;
        self.requeue(id);
    }

    /// Sets the options of a lane. `is_start`: when the program starts.
    pub fn set_options(&mut self, id: SubscriptionId, options: &Arc<Options>, now: Timestamp, is_start: bool) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        self.windows -= usize::from(lane.has_window());
        lane.set_options(options, now, is_start);
        self.windows += usize::from(lane.has_window());
        // What its earlier options have kept back is looked at again.
        if lane.backoff_until.is_some() {
            lane.end_rest(now);
            self.await_rest(id);
        }
        self.requeue(id);
    }

    /// Whether it has to be told what the wall clock shows.
    #[must_use]
    pub fn has_windows(&self) -> bool {
        self.windows > 0
    }

    /// What both clocks show now.
    pub fn set_clocks(&mut self, now: Timestamp, wall: Timestamp) {
        self.clocks = (now, wall);
    }

    fn wall_at(&self, now: Timestamp) -> Timestamp {
        let (then, wall) = self.clocks;
        wall.plus(now.since(then))
    }

    /// What a pending delivery waits for that is due.
    #[must_use]
    pub fn waiting(&self, delivery: DeliveryId, now: Timestamp) -> Waiting {
        let wall = self.wall_at(now);
        let lane = self.lanes.get(&delivery.subscription);
        // Only what is read by its receiver has no lane.
        lane.map_or(Waiting::Pull, |lane| lane.waiting(delivery.event, self.per_endpoint, now, wall))
    }

    /// Removes the lane of a deleted subscription; attempts in flight finish.
    pub fn remove_lane(&mut self, id: SubscriptionId) {
        let Some(lane) = self.lanes.remove(&id) else { return };
        self.windows -= usize::from(lane.has_window());
        self.leave(lane.ready.len(), lane.ready.iter().map(|queued| queued.work.body_bytes()).sum());
        if let Some(due) = lane.retry_due {
            self.timers.remove(&(due, id));
        }
        if let Some((class, position)) = lane.position {
            self.queues.remove(class, position);
        }
    }

    /// So many deliveries with so many bytes of bodies are no longer in memory.
    fn leave(&mut self, deliveries: usize, bytes: usize) {
        debug_assert!(
            self.in_memory >= deliveries && self.bodies_bytes >= bytes,
            "{deliveries} of {} deliveries and {bytes} of {} bytes leave",
            self.in_memory,
            self.bodies_bytes
        );
        self.in_memory = self.in_memory.saturating_sub(deliveries);
        self.bodies_bytes = self.bodies_bytes.saturating_sub(bytes);
    }

    /// Notes a commit with that many events: each yielding lane may take at least one job.
    pub fn committed(&mut self, events: u64) {
        for id in self.backpressure.committed(events) {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.is_yielding = false;
                lane.yielded_until_commit = true;
                self.requeue(id);
            }
        }
    }

    /// Adds a new delivery right after its commit.
    pub fn add(&mut self, unattempted: NewDelivery) {
        let Some(lane) = self.lanes.get_mut(&unattempted.subscription) else { return };
        // A page that was read between the commit and this call already had it; ids grow with every commit.
        if lane.cursor.is_some_and(|cursor| unattempted.event <= cursor) {
            return;
        }
        let is_full =
            lane.ready.len() >= PAGE_ROWS || (self.in_memory >= IN_MEMORY_MAX && lane.ready.len() >= SMALL_PAGE_ROWS);
        if lane.has_unattempted_on_disk || is_full {
            lane.has_unattempted_on_disk = true;
            lane.unattempted_added_during_read = true;
        } else {
            let NewDelivery { event, key, content, .. } = unattempted;
            let length = content.body().len();
            let content = (self.bodies_bytes + length <= BODIES_BYTES).then_some(content);
            self.bodies_bytes += if content.is_some() { length } else { 0 };
            lane.cursor = Some(event);
            lane.ready.push_back(Queued { event, key, work: Work::First(content) });
            self.in_memory += 1;
        }
        self.requeue(unattempted.subscription);
    }

    /// Notes that an attempt was stored: its claim ends, and a retry may be due.
    pub fn recorded(&mut self, delivery: DeliveryId, due: Option<Timestamp>, is_delivered: bool) {
        let mut lets_others_start = false;
        if let Some(lane) = self.lanes.get_mut(&delivery.subscription) {
            lets_others_start = lane.end_claim(delivery.event);
            if lane.is_reading_retries {
                lane.ended_during_read.insert(delivery.event);
            }
        }
        self.backpressure.recorded(is_delivered);
        if let Some(due) = due {
            self.retry_due_at(delivery.subscription, due);
        }
        if lets_others_start {
            self.requeue(delivery.subscription);
        }
    }

    /// Notes that a retry of the subscription is due at that time.
    pub fn retry_due_at(&mut self, id: SubscriptionId, due: Timestamp) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if lane.retry_due.is_none_or(|earlier| due < earlier) {
            if let Some(earlier) = lane.retry_due.replace(due) {
                self.timers.remove(&(earlier, id));
            }
            self.requeue(id);
        }
    }

    /// Takes the next job, if a thread may run one now.
    pub fn take(&mut self, now: Timestamp) -> Option<Job> {
        let wall = self.wall_at(now);
        for class in self.queues.in_order() {
            while self.queues.may_take(class) {
                let Some(id) = self.queues.pop(class) else { break };
                let Some(lane) = self.lanes.get_mut(&id) else { continue };
                lane.position = None;
                if lane.priority_class(self.per_endpoint) != Some(class) {
                    self.requeue(id);
                    continue;
                }
                if let Some((_, until)) = lane.kept_until(now, wall) {
                    lane.backoff_until = lane.backoff_until.max(Some(until));
                    self.await_rest(id);
                    continue;
                }
                if lane.has_backlog_on_disk() {
                    // It gets one job per commit, so that others can slow it down but never stop it.
                    if !std::mem::take(&mut lane.yielded_until_commit)
                        && self.backpressure.must_yield(id, lane.is_failing, now)
                    {
                        lane.is_yielding = true;
                        continue;
                    }
                } else if lane.ready.len() <= SMALL_PAGE_ROWS {
                    self.backpressure.note_caught_up(id, now);
                }
                let Some(Queued { event, key, work }) = lane.take_next() else { continue };
                let turn = lane.begin(event, key, now);
                self.queues.acquire(class);
                self.leave(1, work.body_bytes());
                self.await_rest(id);
                self.requeue(id);
                return Some(Job { delivery: DeliveryId { event, subscription: id }, work, class, turn });
            }
        }
        None
    }

    /// Notes that a job has finished; its claim lasts until the outcome is recorded. `ended`: `None` if there was
    /// nothing to send, and so there will be no outcome.
    pub fn finished(&mut self, job: FinishedJob, ended: Option<AttemptResult>, now: Timestamp) {
        self.queues.release(job.class);
        if let Some(AttemptResult { signal, .. }) = ended {
            self.backpressure.ended(signal == EndpointSignal::Healthy);
        }
        let DeliveryId { event, subscription } = job.delivery;
        let Some(lane) = self.lanes.get_mut(&subscription) else { return };
        debug_assert!(lane.in_flight > 0, "{subscription}: a job ended that was not in flight");
        lane.in_flight = lane.in_flight.saturating_sub(1);
        match ended {
            Some(ended) => lane.record_outcome(job.turn, ended, self.per_endpoint, now),
            None => lane.skip(job.turn, event, now),
        }
        self.await_rest(subscription);
        self.requeue(subscription);
    }

    /// Number of attempts in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.queues.busy_threads()
    }

    /// Number of deliveries in memory and bytes of their bodies.
    #[must_use]
    pub fn in_memory(&self) -> (usize, usize) {
        (self.in_memory, self.bodies_bytes)
    }

    /// Whether there is a job for one more thread.
    #[must_use]
    pub fn has_job(&self) -> bool {
        self.queues.has_job()
    }

    /// The next page to read from the disk, if one is needed now.
    pub fn next_page(&mut self, now: Timestamp) -> Option<PageWanted> {
        while let Some((due, id)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, id));
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.retry_due = None;
            lane.is_reading_retries = true;
            self.pages.push_back(PageKind::Retries(id));
        }
        while let Some(kind) = self.pages.pop_front() {
            let (PageKind::Unattempted(id) | PageKind::Retries(id)) = kind;
            // The limit is decided when the page is read, since earlier pages may have filled the memory meanwhile.
            let Some(lane) = self.lanes.get(&id) else { continue };
            let limit = if self.in_memory < IN_MEMORY_MAX { PAGE_ROWS } else { SMALL_PAGE_ROWS };
            let bodies_bytes = BODIES_BYTES.saturating_sub(self.bodies_bytes);
            return Some(match kind {
                PageKind::Unattempted(_) => {
                    PageWanted::Unattempted { subscription: id, after: lane.cursor, limit, bodies_bytes }
                }
                PageKind::Retries(_) => {
                    PageWanted::Retries { subscription: id, until: now, limit: limit + lane.claims.len() }
                }
            });
        }
        None
    }

    /// Whether a page has to be read now.
    #[must_use]
    pub fn wants_page(&self, now: Timestamp) -> bool {
        !self.pages.is_empty() || self.timers.first().is_some_and(|(due, _)| *due <= now)
    }

    /// When the next retry is due or the next backoff ends.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timers.first().into_iter().chain(self.backoffs.first()).map(|(due, _)| *due).min()
    }

    /// Updates a lane's place in the priority queues, the timers and the list of pages to read.
    fn requeue(&mut self, id: SubscriptionId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if let Some(due) = lane.retry_due {
            // A lane that has both on the disk takes turns, so that neither waits until the other is done.
            let room = if lane.has_unattempted_on_disk { LOW_WATER } else { PAGE_ROWS };
            let is_timed = lane.is_active && !lane.is_reading_retries && lane.ready.len() < room;
            if is_timed {
                self.timers.insert((due, id));
            } else {
                self.timers.remove(&(due, id));
            }
        }
        let low_water = if self.in_memory < IN_MEMORY_MAX { LOW_WATER } else { SMALL_PAGE_ROWS / 2 };
        if lane.is_active
            && lane.has_unattempted_on_disk
            && !lane.is_reading_unattempted
            && lane.ready.len() < low_water
        {
            lane.is_reading_unattempted = true;
            lane.unattempted_added_during_read = false;
            self.pages.push_back(PageKind::Unattempted(id));
        }
        let wanted = lane.priority_class(self.per_endpoint);
        if wanted == lane.position.map(|(class, _)| class) {
            return;
        }
        if let Some((class, position)) = lane.position.take() {
            self.queues.remove(class, position);
        }
        lane.position = wanted.map(|class| (class, self.queues.push(class, id)));
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod pushback_tests;
