//! The dispatcher: holds the schedule behind one short lock and fills it. Its thread reads pages of the outbox from the
//! disk, and sleeps until the next retry is due or a wake-up. It never sends and never writes. The writer's thread
//! passes in commits; delivery threads take jobs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::schedule::{Limits, PageWanted, Schedule};
use crate::clock::{Clock, Readings};
use crate::delivery::schedule::job::{AttemptResult, FinishedJob, Job};
use crate::delivery::schedule::lane::Responsiveness;
use crate::delivery::schedule::waiting::Waiting;
use crate::domain::delivery::health::EndpointHealth;
use crate::domain::{DeliveryId, SubscriptionId, Timestamp};
use crate::storage::catch_damage;
use crate::storage::command::Committed;
use crate::storage::error::StorageError;
use crate::storage::read::reader::{PendingEvent, Reader, Retry};
use crate::storage::read::registry::Registry;

/// The locked schedule and the two condition variables on it.
pub struct Dispatcher {
    clock: Clock,
    state: Mutex<DispatcherState>,
    jobs: Condvar,
    pages: Condvar,
    ended: Condvar,
    threads: usize,
    alive: AtomicUsize,
}

/// Counts a thread as alive until it ends, also by a panic.
pub(super) struct ThreadGuard(Arc<Dispatcher>);

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A finished job.
pub struct Finished {
    /// Which job.
    pub job: FinishedJob,
    /// The attempt's result; `None` if there was nothing to send.
    pub ended: Option<AttemptResult>,
}

/// A page of the outbox.
pub enum PageRead {
    /// Never attempted deliveries.
    Unattempted(Vec<PendingEvent>),
    /// Retries.
    Retries {
        /// The requested latest due time.
        until: Timestamp,
        /// What was read.
        rows: Vec<Retry>,
    },
}

struct DispatcherState {
    schedule: Schedule,
    idle_workers: usize,
    /// Until when the dispatcher's thread sleeps unless it is woken; none while it is awake.
    sleeps_until: Option<Timestamp>,
    is_stopping: bool,
}

impl DispatcherState {
    /// Whether the dispatcher's thread sleeps though a page is to be read, or until after what is due next.
    fn sleeps_too_long(&self, now: Timestamp) -> bool {
        self.sleeps_until.is_some_and(|until| {
            self.schedule.wants_page(now) || self.schedule.next_due().is_some_and(|due| due < until)
        })
    }
}

impl Dispatcher {
    /// A dispatcher without lanes.
    #[must_use]
    pub fn new(threads: usize, per_endpoint: usize, clock: Clock) -> Arc<Self> {
        let schedule = Schedule::new(Limits { threads, per_endpoint });
        Arc::new(Self {
            clock,
            state: Mutex::new(DispatcherState { schedule, idle_workers: 0, sleeps_until: None, is_stopping: false }),
            jobs: Condvar::new(),
            pages: Condvar::new(),
            ended: Condvar::new(),
            // The delivery threads and the dispatcher's thread.
            threads: threads + 1,
            alive: AtomicUsize::new(0),
        })
    }

    /// Registers a thread that is about to start, until the returned guard is dropped.
    pub(super) fn register_thread(self: &Arc<Self>) -> ThreadGuard {
        self.alive.fetch_add(1, Ordering::Relaxed);
        ThreadGuard(Arc::clone(self))
    }

    /// Number of live threads: delivery threads and the dispatcher's.
    #[must_use]
    pub fn alive_threads(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// Whether all delivery threads and the dispatcher's are alive.
    #[must_use]
    pub fn has_all_threads(&self) -> bool {
        self.alive_threads() == self.threads
    }

    fn lock(&self) -> MutexGuard<'_, DispatcherState> {
        // The schedule's methods do not panic half-way, so a poisoned lock still holds a consistent schedule.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates a lane for every subscription, each marked as having a backlog.
    pub fn resume(&self, reader: &Reader) -> Result<(), StorageError> {
        let snapshot = reader.view();
        // What is read by its receiver is never sent, and needs no lane.
        for subscription in snapshot.registry().subscriptions().filter(|found| !found.is_pull()) {
            let history = snapshot.history(subscription.id)?;
            let responsiveness = match history.health {
                EndpointHealth { is_suspect: true, .. } => Responsiveness::Suspect,
                EndpointHealth { failing_since: None, .. } if !history.recent.is_empty() => Responsiveness::Quick,
                _ => Responsiveness::Unknown,
            };
            if let Some(zone) = subscription.options.delivery_window.as_ref().and_then(|window| window.lost_zone()) {
                let id = subscription.id;
                log::error!(
                    "subscription {id} has a delivery_window in the time zone {zone}, which is no longer known: its deliveries wait until the subscription gets another one"
                );
            }
            let mut state = self.lock();
            state.schedule.put_lane(subscription.id, subscription.state.is_active(), responsiveness, true);
            state.schedule.set_options(subscription.id, &subscription.options, self.clock.monotonic(), true);
        }
        Ok(())
    }

    /// Applies the changes of a commit. Called on the writer's thread.
    pub fn committed(&self, committed: Committed, registry: &Registry) {
        let mut state = self.lock();
        for id in committed.changed {
            match registry.subscription(id) {
                Some(subscription) if subscription.is_pull() => {}
                Some(subscription) => {
                    state.schedule.put_lane(id, subscription.state.is_active(), Responsiveness::Unknown, false);
                    state.schedule.set_options(id, &subscription.options, self.clock.monotonic(), false);
                }
                None => state.schedule.remove_lane(id),
            }
        }
        for delivery in committed.expired.into_iter().chain(committed.cancelled) {
            state.schedule.expired(delivery);
        }
        for unattempted in committed.unattempted {
            state.schedule.add(unattempted);
        }
        for recorded in committed.recorded {
            state.schedule.recorded(recorded.delivery, recorded.due, recorded.is_delivered);
        }
        state.schedule.committed(committed.events);
        for (id, due) in committed.redelivered {
            state.schedule.retry_due_at(id, due);
        }
        for id in committed.to_try {
            state.schedule.try_now(id, self.clock.monotonic());
        }
        self.wake(&state);
        if state.sleeps_too_long(self.clock.monotonic()) {
            self.pages.notify_one();
        }
    }

    /// Wakes one thread if there is a job for it; that thread wakes the next.
    fn wake(&self, state: &DispatcherState) {
        if state.idle_workers > 0 && state.schedule.has_job() {
            self.jobs.notify_one();
        }
    }

    /// Finishes the previous job, if any, and waits for the next; `None` when the dispatcher stops. Both under one
    /// lock, so that a busy thread continues without waking another.
    pub(super) fn next_job(&self, finished: Option<&Finished>) -> Option<Job> {
        let mut state = self.lock();
        self.finish_job(&mut state, finished);
        loop {
            if state.is_stopping {
                self.ended.notify_all();
                return None;
            }
            if let Some(job) = self.take_job(&mut state) {
                return Some(job);
            }
            state.idle_workers += 1;
            state = self.jobs.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle_workers -= 1;
        }
    }

    /// Finishes the previous job, if any, and takes the next without waiting.
    pub fn try_next_job(&self, finished: Option<&Finished>) -> Option<Job> {
        let mut state = self.lock();
        self.finish_job(&mut state, finished);
        self.take_job(&mut state)
    }

    fn finish_job(&self, state: &mut DispatcherState, finished: Option<&Finished>) {
        let Some(&Finished { job, ended }) = finished else { return };
        state.schedule.finished(job, ended, self.clock.monotonic());
    }

    fn take_job(&self, state: &mut DispatcherState) -> Option<Job> {
        let now = self.look_at_clocks(state);
        let job = state.schedule.take(now);
        if job.is_some() {
            // Each thread that takes a job wakes the next: a burst wakes as many threads as it has work for.
            self.wake(state);
        }
        // The dispatcher's thread has to see the end of a rest.
        if state.schedule.has_new_rest() || (job.is_some() && state.schedule.wants_page(now)) {
            self.pages.notify_one();
        }
        job
    }

    /// The monotonic time. The wall clock is looked at only where it makes a difference.
    fn look_at_clocks(&self, state: &mut DispatcherState) -> Timestamp {
        if !state.schedule.has_windows() {
            return self.clock.monotonic();
        }
        let Readings { wall, monotonic } = self.clock.read();
        state.schedule.set_clocks(monotonic, wall);
        monotonic
    }

    /// What a pending delivery waits for that is due.
    #[must_use]
    pub fn waiting(&self, delivery: DeliveryId) -> Waiting {
        let mut state = self.lock();
        let now = self.look_at_clocks(&mut state);
        state.schedule.waiting(delivery, now)
    }

    /// Until when the subscription's endpoint is left alone because it asked for that, on the monotonic clock.
    #[must_use]
    pub fn rests_until(&self, id: SubscriptionId) -> Option<Timestamp> {
        self.lock().schedule.rests_until(id, self.clock.monotonic())
    }

    /// Number of deliveries in memory and bytes of their bodies.
    #[must_use]
    pub fn in_memory(&self) -> (usize, usize) {
        self.lock().schedule.in_memory()
    }

    /// When the next retry is due or the next backoff ends.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.lock().schedule.next_due()
    }

    /// Number of attempts in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.lock().schedule.in_flight()
    }

    /// Whether it hands out no more jobs.
    pub(super) fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    /// Stops handing out jobs.
    pub fn begin_stop(&self) {
        self.lock().is_stopping = true;
        self.jobs.notify_all();
        self.pages.notify_all();
    }

    /// Waits until no attempt is in flight or the deadline passes. Returns how many still are.
    pub(super) fn await_end(&self, deadline: Instant) -> usize {
        let mut state = self.lock();
        while state.schedule.in_flight() > 0 {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { break };
            state = self.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.schedule.in_flight()
    }

    fn run(&self, reader: &Reader) {
        let mut state = self.lock();
        while !state.is_stopping {
            if let Some(page) = self.next_page_to_read(&mut state) {
                drop(state);
                let is_read = self.end_page(page, Self::read_page(reader, page));
                state = self.lock();
                if let Err(error) = is_read {
                    // Reads fail when the store has failed, and then the writer ends the process. Until it does, or if
                    // the error is transient, retry a little later instead of spinning.
                    log::error!("the outbox could not be read: {error}");
                    state = self.wait(state, Some(Duration::from_secs(1)));
                }
                continue;
            }
            let due = state.schedule.next_due();
            state.sleeps_until = Some(due.unwrap_or(Timestamp::from_ms(u64::MAX)));
            state = self.wait(state, due.map(|due| due.since(self.clock.monotonic())));
            state.sleeps_until = None;
        }
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, DispatcherState>,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, DispatcherState> {
        let limit = limit.unwrap_or(Duration::from_hours(1)).max(Duration::from_millis(1));
        self.pages.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The page to read now, if any. Each must be passed to [`Self::end_page`].
    pub fn begin_page(&self) -> Option<PageWanted> {
        self.next_page_to_read(&mut self.lock())
    }

    fn next_page_to_read(&self, state: &mut DispatcherState) -> Option<PageWanted> {
        let now = self.clock.monotonic();
        state.schedule.end_backoffs(now);
        self.wake(state);
        state.schedule.next_page(now)
    }

    /// Reads a page, without any lock.
    pub fn read_page(reader: &Reader, page: PageWanted) -> Result<PageRead, StorageError> {
        let read = catch_damage(|| match page {
            PageWanted::Unattempted { subscription, after, limit, bodies_bytes } => {
                reader.view().unattempted_after(subscription, after, limit, bodies_bytes).map(PageRead::Unattempted)
            }
            PageWanted::Retries { subscription, until, limit } => {
                reader.view().retries(subscription, until, limit).map(|rows| PageRead::Retries { until, rows })
            }
        });
        read.unwrap_or_else(|| Err(StorageError::Damaged("a page of the outbox".to_owned())))
    }

    /// Adds the page to the schedule, or notes that it could not be read.
    pub fn end_page(&self, page: PageWanted, read: Result<PageRead, StorageError>) -> Result<(), StorageError> {
        let (PageWanted::Unattempted { subscription, limit, .. } | PageWanted::Retries { subscription, limit, .. }) =
            page;
        let mut state = self.lock();
        let now = self.clock.monotonic();
        let is_read = match read {
            Ok(PageRead::Unattempted(events)) => {
                state.schedule.add_unattempted_page(subscription, limit, events);
                Ok(())
            }
            Ok(PageRead::Retries { until, rows }) => {
                state.schedule.add_retry_page(subscription, limit, &rows, until);
                Ok(())
            }
            Err(error) => {
                state.schedule.page_failed(page, now);
                Err(error)
            }
        };
        self.wake(&state);
        is_read
    }
}

pub(super) fn spawn(dispatcher: Arc<Dispatcher>, reader: Reader) -> std::io::Result<JoinHandle<()>> {
    let alive = dispatcher.register_thread();
    std::thread::Builder::new().name("dispatcher".to_owned()).spawn(move || {
        dispatcher.run(&reader);
        drop(alive);
    })
}
