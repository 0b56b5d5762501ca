//! The dispatcher: guards the schedule with one short lock and feeds it. Its thread reads pages of the outbox from
//! the disk, and sleeps until the next retry is due or somebody wakes it. It never sends and never writes. The
//! writer's thread hands in what was committed; delivery threads take jobs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::job::{Ended, FinishedJob, Job};
use super::lane::Trust;
use super::schedule::{Limits, PageWanted, Schedule};
use crate::clock::Clock;
use crate::domain::health::Health;
use crate::domain::{EventId, Timestamp};
use crate::storage::command::Committed;
use crate::storage::error::StorageError;
use crate::storage::reader::{FreshRow, Reader};
use crate::storage::registry::Registry;

/// The schedule behind its lock, and the two places where threads wait for it.
pub struct Dispatcher {
    clock: Clock,
    state: Mutex<State>,
    jobs: Condvar,
    pages: Condvar,
    ended: Condvar,
    threads: usize,
    alive: AtomicUsize,
}

/// Counts a thread as alive for as long as it exists, however it ends.
pub(super) struct Alive(Arc<Dispatcher>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A job that has ended.
pub struct Finished {
    /// Which job.
    pub job: FinishedJob,
    /// How its attempt ended; none if there was nothing to send after all.
    pub ended: Option<Ended>,
}

/// What a page of the outbox holds.
pub enum PageRead {
    /// Never attempted deliveries.
    Fresh(Vec<FreshRow>),
    /// Deliveries that wait for a further attempt.
    Retries {
        /// By when they were asked for.
        until: Timestamp,
        /// With their due times.
        rows: Vec<(Timestamp, EventId)>,
    },
}

struct State {
    schedule: Schedule,
    idle_workers: usize,
    is_stopping: bool,
}

impl Dispatcher {
    /// A dispatcher without lanes.
    #[must_use]
    pub fn new(threads: usize, per_endpoint: usize, clock: Clock) -> Arc<Self> {
        let schedule = Schedule::new(Limits { threads, per_endpoint });
        Arc::new(Self {
            clock,
            state: Mutex::new(State { schedule, idle_workers: 0, is_stopping: false }),
            jobs: Condvar::new(),
            pages: Condvar::new(),
            ended: Condvar::new(),
            // The delivery threads and the dispatcher's own.
            threads: threads + 1,
            alive: AtomicUsize::new(0),
        })
    }

    /// Counts a thread that is about to be started as alive until the guard, which it takes along, is dropped.
    pub(super) fn count_alive(self: &Arc<Self>) -> Alive {
        self.alive.fetch_add(1, Ordering::Relaxed);
        Alive(Arc::clone(self))
    }

    /// How many delivery threads there are, with the dispatcher's own.
    #[must_use]
    pub fn alive_threads(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    /// Are all delivery threads and the dispatcher's own there?
    #[must_use]
    pub fn has_all_threads(&self) -> bool {
        self.alive_threads() == self.threads
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The schedule is changed by methods that do not panic half-way; a thread that died elsewhere while holding
        // the lock has left it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a lane for every subscription, each with whatever lies in the outbox for it.
    pub fn resume(&self, reader: &Reader) -> Result<(), StorageError> {
        let snapshot = reader.snapshot();
        for subscription in snapshot.registry().subscriptions() {
            let history = snapshot.history(subscription.id)?;
            let trust = match history.health {
                Health { is_suspect: true, .. } => Trust::Suspect,
                Health { failing_since: None, .. } if !history.recent.is_empty() => Trust::Quick,
                _ => Trust::Unknown,
            };
            self.lock().schedule.put_lane(subscription.id, subscription.state.is_active(), trust, true);
        }
        Ok(())
    }

    /// Takes in what a commit has changed. Called by the writer, so it only ever holds the lock briefly.
    pub fn committed(&self, committed: Committed, registry: &Registry) {
        let mut state = self.lock();
        for id in committed.changed {
            match registry.subscription(id) {
                Some(subscription) => {
                    state.schedule.put_lane(id, subscription.state.is_active(), Trust::Unknown, false);
                }
                None => state.schedule.remove_lane(id),
            }
        }
        for fresh in committed.fresh {
            state.schedule.offer(fresh);
        }
        for recorded in committed.recorded {
            state.schedule.recorded(recorded.delivery, recorded.due, recorded.is_delivered);
        }
        state.schedule.committed(committed.events);
        for (id, due) in committed.redelivered {
            state.schedule.due_at(id, due);
        }
        self.wake(&state);
        // The dispatcher's thread looks for itself whether a page is wanted or an earlier retry is due.
        self.pages.notify_one();
    }

    /// Wakes one thread if there is a job that it may take; that thread wakes the next.
    fn wake(&self, state: &State) {
        if state.idle_workers > 0 && state.schedule.has_job() {
            self.jobs.notify_one();
        }
    }

    /// Hands back a job that has ended, if there was one, and waits for the next; `None` when the dispatcher stops.
    /// Both under one lock, so that a busy thread goes on without waking another.
    pub(super) fn next_job(&self, finished: Option<&Finished>) -> Option<Job> {
        let mut state = self.lock();
        self.hand_back(&mut state, finished);
        loop {
            if state.is_stopping {
                self.ended.notify_all();
                return None;
            }
            if let Some(job) = self.pick(&mut state) {
                return Some(job);
            }
            state.idle_workers += 1;
            state = self.jobs.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle_workers -= 1;
        }
    }

    /// Hands back a job that has ended, if there was one, and takes the next without waiting for it.
    pub fn try_next_job(&self, finished: Option<&Finished>) -> Option<Job> {
        let mut state = self.lock();
        self.hand_back(&mut state, finished);
        self.pick(&mut state)
    }

    fn hand_back(&self, state: &mut State, finished: Option<&Finished>) {
        let Some(&Finished { job, ended }) = finished else { return };
        state.schedule.finished(job, ended, self.clock.steady());
    }

    fn pick(&self, state: &mut State) -> Option<Job> {
        let now = self.clock.steady();
        let job = state.schedule.take(now);
        if job.is_some() {
            // Whoever takes a job wakes the next: a burst wakes as many threads as it has work for.
            self.wake(state);
        }
        // The dispatcher's thread has to see the end of a rest.
        if state.schedule.has_new_rest() || (job.is_some() && state.schedule.wants_page(now)) {
            self.pages.notify_one();
        }
        job
    }

    /// How many deliveries are kept in memory, and how many bytes of bodies with them.
    #[must_use]
    pub fn at_hand(&self) -> (usize, usize) {
        self.lock().schedule.at_hand()
    }

    /// When a retry is due or a rest over, if nothing else happens before.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.lock().schedule.next_due()
    }

    /// How many attempts are in flight now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.lock().schedule.in_flight()
    }

    /// Hands out no more jobs from now on.
    pub fn begin_stop(&self) {
        self.lock().is_stopping = true;
        self.jobs.notify_all();
        self.pages.notify_all();
    }

    /// Waits, at most until then, until no attempt is in flight. Gives how many still are.
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
            if let Some(page) = self.look(&mut state) {
                drop(state);
                let is_read = self.end_page(page, Self::read_page(reader, page));
                state = self.lock();
                if let Err(error) = is_read {
                    // Reads fail when the store has failed; the writer ends the process then. Until it does, or if
                    // it was a passing fault, look again a little later instead of spinning.
                    log::error!("the outbox could not be read: {error}");
                    state = self.wait(state, Some(Duration::from_secs(1)));
                }
                continue;
            }
            let due = state.schedule.next_due().map(|due| due.since(self.clock.steady()));
            state = self.wait(state, due);
        }
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Option<Duration>) -> MutexGuard<'a, State> {
        let limit = limit.unwrap_or(Duration::from_hours(1)).max(Duration::from_millis(1));
        self.pages.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Which page is to be read now, if any. Every page that is begun has to be ended.
    pub fn begin_page(&self) -> Option<PageWanted> {
        self.look(&mut self.lock())
    }

    fn look(&self, state: &mut State) -> Option<PageWanted> {
        let now = self.clock.steady();
        state.schedule.end_rests(now);
        self.wake(state);
        state.schedule.next_page(now)
    }

    /// Reads a page, without any lock.
    pub fn read_page(reader: &Reader, page: PageWanted) -> Result<PageRead, StorageError> {
        match page {
            PageWanted::Fresh { subscription, after, limit, bodies_bytes } => {
                reader.snapshot().fresh_after(subscription, after, limit, bodies_bytes).map(PageRead::Fresh)
            }
            PageWanted::Retries { subscription, until, limit } => {
                reader.snapshot().retries(subscription, until, limit).map(|rows| PageRead::Retries { until, rows })
            }
        }
    }

    /// Takes in what the page holds, or that it could not be read.
    pub fn end_page(&self, page: PageWanted, read: Result<PageRead, StorageError>) -> Result<(), StorageError> {
        let (PageWanted::Fresh { subscription, limit, .. } | PageWanted::Retries { subscription, limit, .. }) = page;
        let mut state = self.lock();
        let now = self.clock.steady();
        let is_read = match read {
            Ok(PageRead::Fresh(events)) => {
                state.schedule.fresh_page(subscription, limit, events);
                Ok(())
            }
            Ok(PageRead::Retries { until, rows }) => {
                state.schedule.retry_page(subscription, limit, &rows, until);
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
    let alive = dispatcher.count_alive();
    std::thread::Builder::new().name("dispatcher".to_owned()).spawn(move || {
        dispatcher.run(&reader);
        drop(alive);
    })
}
