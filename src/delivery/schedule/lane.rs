//! The schedule's state of one subscription: how its endpoint responds, what is queued in memory and what is on the
//! disk. Pure; part of the schedule, without a lock of its own.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::delivery::schedule::backoff::{Backoff, Hold, Turn};
use crate::delivery::schedule::job::{AttemptResult, Queued};
use crate::delivery::schedule::priority::PriorityClass;
use crate::delivery::schedule::waiting::Waiting;
use crate::delivery::schedule::window::Window;
use crate::domain::delivery::order::UnderWay;
use crate::domain::delivery::outcome::EndpointSignal;
use crate::domain::options::Options;
use crate::domain::options::order::OrderKey;
use crate::domain::options::rate::Pacer;
use crate::domain::{EventId, Timestamp};
use crate::tuning::schedule::{SLOW_RESPONSE, SUSPECT_WAIT_MAX, SUSPECT_WAIT_MIN};

/// How an endpoint has been responding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Responsiveness {
    /// Not known yet.
    Unknown,
    /// Responds within a second.
    Quick,
    /// Responds, but takes longer.
    Slow,
    /// The last attempt got no response.
    Suspect,
}

/// One subscription in the schedule.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one lane")]
pub(in crate::delivery) struct Lane {
    pub(in crate::delivery) is_active: bool,
    /// The subscription's options: its cap, rate and window.
    options: Arc<Options>,
    /// The starts of its attempts, for its rate.
    pacer: Pacer,
    pub(in crate::delivery) responsiveness: Responsiveness,
    pub(in crate::delivery) window: Window,
    /// How much the endpoint takes, if it has pushed back.
    backoff: Backoff,
    /// As many attempts are under way as it takes.
    is_full: bool,
    /// Number of attempts in a row without a response.
    pub(in crate::delivery) unresponsive_in_a_row: u32,
    /// How many attempts in a row came to nothing by faults of our own.
    own_faults: u32,
    /// Whether it ever responded, as far as is known.
    pub(in crate::delivery) has_responded: bool,
    /// Whether its last response was a failure.
    pub(in crate::delivery) is_failing: bool,
    /// Whether the next attempt is likely to hold its thread for the whole time limit.
    pub(in crate::delivery) holds_threads: bool,
    /// Until when no attempt is made.
    pub(in crate::delivery) backoff_until: Option<Timestamp>,
    pub(in crate::delivery) in_flight: usize,
    pub(in crate::delivery) ready: VecDeque<Queued>,
    /// Which of those that go in order have an attempt whose outcome is not recorded yet.
    under_way: UnderWay,
    /// Its priority class and its position there.
    pub(in crate::delivery) position: Option<(PriorityClass, u64)>,
    /// Deliveries in flight or not yet recorded, and queued retries: their rows are still in the outbox.
    pub(in crate::delivery) claims: HashSet<EventId>,
    /// The last unattempted delivery that was queued.
    pub(in crate::delivery) cursor: Option<EventId>,
    /// Whether unattempted deliveries after the cursor are on the disk.
    pub(in crate::delivery) has_unattempted_on_disk: bool,
    /// Whether some were added there while a page was being read.
    pub(in crate::delivery) unattempted_added_during_read: bool,
    pub(in crate::delivery) is_reading_unattempted: bool,
    pub(in crate::delivery) is_reading_retries: bool,
    /// Claims that ended while a page of retries was being read: their rows in that page are stale.
    pub(in crate::delivery) ended_during_read: HashSet<EventId>,
    /// What expired while a page of unattempted deliveries was being read.
    pub(in crate::delivery) expired_during_read: HashSet<EventId>,
    /// The earliest due time of the unclaimed retries on the disk.
    pub(in crate::delivery) retry_due: Option<Timestamp>,
    /// Whether the last page of retries left due ones on the disk.
    pub(in crate::delivery) has_due_on_disk: bool,
    /// Whether it is yielding to other lanes until outcomes are committed.
    pub(in crate::delivery) is_yielding: bool,
    /// Whether it was yielding until the last commit.
    pub(in crate::delivery) yielded_until_commit: bool,
}

impl Lane {
    /// A lane with an empty queue.
    pub(in crate::delivery) fn new(is_active: bool, responsiveness: Responsiveness, has_backlog: bool) -> Self {
        Self {
            is_active,
            options: Options::defaults(),
            pacer: Pacer::default(),
            responsiveness,
            window: Window::first(),
            backoff: Backoff::default(),
            is_full: false,
            unresponsive_in_a_row: 0,
            own_faults: 0,
            has_responded: responsiveness == Responsiveness::Quick,
            is_failing: false,
            holds_threads: responsiveness == Responsiveness::Suspect,
            backoff_until: None,
            in_flight: 0,
            ready: VecDeque::new(),
            under_way: UnderWay::default(),
            position: None,
            claims: HashSet::new(),
            cursor: None,
            has_unattempted_on_disk: has_backlog,
            unattempted_added_during_read: false,
            is_reading_unattempted: false,
            is_reading_retries: false,
            ended_during_read: HashSet::new(),
            expired_during_read: HashSet::new(),
            retry_due: has_backlog.then(|| Timestamp::from_ms(0)),
            has_due_on_disk: false,
            is_yielding: false,
            yielded_until_commit: false,
        }
    }

    /// Resets the endpoint's health, since it may be another endpoint now.
    pub(in crate::delivery) fn reset_health(&mut self) {
        self.unresponsive_in_a_row = 0;
        self.backoff = Backoff::default();
        self.is_full = false;
        self.backoff_until = None;
        if self.responsiveness != Responsiveness::Quick {
            self.responsiveness = Responsiveness::Unknown;
        }
    }

    /// Sets the subscription's options. An attempt may have started before the program did, so the first one of a program
    /// waits for its rate.
    pub(in crate::delivery) fn set_options(&mut self, options: &Arc<Options>, now: Timestamp, is_start: bool) {
        if let Some(rate) = &options.rate_limit {
            if is_start {
                self.pacer = Pacer::after_start(rate, now);
            } else if self.options.rate_limit.as_ref() != Some(rate) {
                self.pacer.change(rate, now);
            }
        }
        self.options = Arc::clone(options);
    }

    /// Whether it has a window of its own.
    pub(in crate::delivery) fn has_window(&self) -> bool {
        self.options.delivery_window.is_some()
    }

    /// The most attempts in flight, where the server allows so many.
    pub(in crate::delivery) fn cap(&self, of_server: usize) -> usize {
        self.options.max_in_flight.map_or(of_server, |own| own.min(of_server))
    }

    /// Until when its options keep an attempt from starting, if they do. `wall` is what the wall clock shows now.
    pub(in crate::delivery) fn kept_until(&self, now: Timestamp, wall: Timestamp) -> Option<(Waiting, Timestamp)> {
        let closed_for = self.options.delivery_window.as_ref().and_then(|window| window.closed_for(wall));
        if let Some(closed_for) = closed_for {
            return Some((Waiting::Window, now.plus(closed_for)));
        }
        self.options.rate_limit.as_ref()?;
        self.pacer.next(now).map(|next| (Waiting::RateLimit, next))
    }

    /// What a pending delivery waits for that is due.
    pub(in crate::delivery) fn waiting(&self, event: EventId, cap: usize, now: Timestamp, wall: Timestamp) -> Waiting {
        let is_claimed = self.claims.contains(&event);
        if !self.is_active {
            return Waiting::Off;
        }
        if is_claimed && !self.ready.iter().any(|queued| queued.event == event) {
            return Waiting::InFlight;
        }
        let kept = self.kept_until(now, wall);
        if let Some((Waiting::Window, _)) = kept {
            return Waiting::Window;
        }
        let is_held_back = self.backoff.hold(now, self.in_flight).is_some();
        let rests = self.backoff_until.is_some_and(|until| until > now);
        match kept {
            _ if is_held_back => Waiting::Backoff,
            Some((why, _)) => why,
            None if rests => Waiting::Backoff,
            None if self.in_flight >= self.window.attempts().min(self.cap(cap)) => Waiting::InFlight,
            None => Waiting::Thread,
        }
    }

    /// Where in the queue the next delivery is that may start. Others of its order key wait in the store, so it is nearly
    /// always the first one.
    fn next_ready(&self) -> Option<usize> {
        self.ready.iter().position(|queued| self.under_way.may_start(queued.key))
    }

    /// Takes the next delivery that may start out of the queue.
    pub(in crate::delivery) fn take_next(&mut self) -> Option<Queued> {
        self.ready.remove(self.next_ready()?)
    }

    /// A delivery's claim ends: its outcome is recorded, or there is none. Gives whether others may start because of that.
    pub(in crate::delivery) fn end_claim(&mut self, event: EventId) -> bool {
        self.claims.remove(&event);
        self.under_way.end(event)
    }

    /// An attempt begins.
    pub(in crate::delivery) fn begin(&mut self, event: EventId, key: Option<OrderKey>, now: Timestamp) -> Turn {
        // First attempts too: a retry row must not be taken before the commit that wrote it is reported.
        self.claims.insert(event);
        self.under_way.begin(event, key);
        self.in_flight += 1;
        if let Some(rate) = &self.options.rate_limit {
            self.pacer.started(rate, now);
        }
        let more_waits = !self.ready.is_empty() || self.has_backlog_on_disk();
        let turn = self.backoff.sent(now, self.in_flight, more_waits);
        self.hold(now);
        turn
    }

    /// Updates the lane after an attempt. `cap`: maximum attempts in flight.
    pub(in crate::delivery) fn record_outcome(&mut self, turn: Turn, ended: AttemptResult, cap: usize, now: Timestamp) {
        let AttemptResult { signal, took, pushback } = ended;
        match (signal, pushback) {
            (_, Some(pushback)) => self.backoff.pushed_back(turn, now, pushback.retry_after, self.in_flight),
            (EndpointSignal::Unknown | EndpointSignal::Unresponsive, None) => self.backoff.ended(turn),
            (_, None) => self.backoff.taken(turn, now, self.in_flight),
        }
        self.judge(signal, took, cap, pushback.is_some(), now);
        self.hold(now);
    }

    /// There was nothing to send after all.
    pub(in crate::delivery) fn skip(&mut self, turn: Turn, event: EventId, now: Timestamp) {
        self.end_claim(event);
        self.backoff.ended(turn);
        self.hold(now);
    }

    /// A rest is over, and perhaps another one begins.
    pub(in crate::delivery) fn end_rest(&mut self, now: Timestamp) {
        self.backoff_until = None;
        self.hold(now);
    }

    /// Until when the endpoint is left alone because it asked for that.
    pub(in crate::delivery) fn rests_until(&self, now: Timestamp) -> Option<Timestamp> {
        match self.backoff.hold(now, self.in_flight) {
            Some(Hold::Resting(until)) => Some(until),
            _ => None,
        }
    }

    /// Ends such a rest, so that one attempt finds out. Returns whether there was one.
    pub(in crate::delivery) fn try_now(&mut self, now: Timestamp) -> bool {
        let is_resting = self.backoff.end_rest(now);
        if is_resting {
            self.end_rest(now);
        }
        is_resting
    }

    /// Keeps the lane to what the endpoint takes.
    fn hold(&mut self, now: Timestamp) {
        let held = self.backoff.hold(now, self.in_flight);
        self.is_full = held == Some(Hold::Full);
        if let Some(Hold::Paced(until) | Hold::Resting(until)) = held {
            self.backoff_until = self.backoff_until.max(Some(until));
        }
    }

    fn judge(&mut self, signal: EndpointSignal, took: Duration, cap: usize, is_pushback: bool, now: Timestamp) {
        if signal == EndpointSignal::Unknown {
            self.backoff_until = Some(now.plus(rest_after(self.own_faults)));
            self.own_faults = self.own_faults.saturating_add(1);
            return;
        }
        self.own_faults = 0;
        self.is_failing = signal != EndpointSignal::Healthy;
        self.responsiveness = match signal {
            EndpointSignal::Unresponsive => {
                // A fast refusal occupies no thread, and a single timeout of a healthy endpoint may be a fluke: it must
                // not queue behind endpoints that hang.
                self.holds_threads = took > SLOW_RESPONSE && (self.unresponsive_in_a_row > 0 || !self.has_responded);
                self.backoff_until = Some(now.plus(rest_after(self.unresponsive_in_a_row)));
                self.unresponsive_in_a_row = self.unresponsive_in_a_row.saturating_add(1);
                self.window.reset();
                return self.responsiveness = Responsiveness::Suspect;
            }
            _ if took > SLOW_RESPONSE => Responsiveness::Slow,
            _ => Responsiveness::Quick,
        };
        if !is_pushback {
            self.window.record_response(took, cap);
        }
        self.unresponsive_in_a_row = 0;
        self.has_responded = true;
        self.backoff_until = None;
    }

    /// Whether more deliveries are due than are in memory.
    pub(in crate::delivery) fn has_backlog_on_disk(&self) -> bool {
        self.has_unattempted_on_disk || self.has_due_on_disk
    }

    /// The lane's priority class, if it has a job that may run.
    pub(in crate::delivery) fn priority_class(&self, cap: usize) -> Option<PriorityClass> {
        let is_held = self.backoff_until.is_some() || self.is_full || self.is_yielding;
        // While the server itself has a fault, one attempt finds out whether it still has.
        let is_awaited = self.own_faults > 0 && self.in_flight > 0;
        if !self.is_active || self.next_ready().is_none() || is_held || is_awaited {
            return None;
        }
        let has_room = self.in_flight < self.window.attempts().min(self.cap(cap));
        match self.responsiveness {
            Responsiveness::Suspect if self.in_flight > 0 => None,
            Responsiveness::Suspect => {
                Some(if self.holds_threads { PriorityClass::Suspect } else { PriorityClass::New })
            }
            Responsiveness::Unknown => has_room.then_some(PriorityClass::New),
            Responsiveness::Slow => has_room.then_some(PriorityClass::Slow),
            Responsiveness::Quick if self.is_failing => has_room.then_some(PriorityClass::Failing),
            Responsiveness::Quick if self.in_flight == 0 => Some(PriorityClass::Idle),
            Responsiveness::Quick => has_room.then_some(PriorityClass::Active),
        }
    }
}

/// How long a lane rests after so many attempts in a row of the same kind.
fn rest_after(before: u32) -> Duration {
    SUSPECT_WAIT_MIN.saturating_mul(1 << before.min(10)).min(SUSPECT_WAIT_MAX)
}
