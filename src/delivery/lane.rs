//! What the schedule knows of one subscription: how far its endpoint is trusted, what is at hand for it and what lies
//! on the disk. Pure; lives inside the schedule, and has no lock of its own.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use super::backoff::{Backoff, Hold, Turn};
use super::job::{Ended, Work};
use super::rings::Ring;
use super::window::Window;
use crate::domain::outcome::EndpointSign;
use crate::domain::{EventId, Timestamp};

/// An endpoint that takes longer than this to answer holds threads; it is slow.
const SLOW_ANSWER: Duration = Duration::from_secs(1);

/// After silence an endpoint is left alone for this long, doubled with every further silence up to the maximum. It
/// costs a dead endpoint's backlog nothing that it would not wait for anyway, and nobody else a busy thread. After a fault
/// of our own, which may be one of all attempts, it keeps the lane from trying them all one after the other.
const FIRST_REST: Duration = Duration::from_millis(20);
const LONGEST_REST: Duration = Duration::from_millis(500);

/// What is known of how an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Nobody knows yet.
    Unknown,
    /// It answers, and within a second.
    Quick,
    /// It answers, but takes its time.
    Slow,
    /// The last attempt met silence.
    Suspect,
}

/// One subscription in the schedule.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one lane")]
pub(super) struct Lane {
    pub(super) is_active: bool,
    pub(super) trust: Trust,
    pub(super) window: Window,
    /// How much the endpoint takes, if it has pushed back.
    backoff: Backoff,
    /// As many attempts are under way as it takes.
    is_full: bool,
    /// How many attempts in a row met silence.
    pub(super) silences: u32,
    /// How many attempts in a row came to nothing by faults of our own.
    own_faults: u32,
    /// Did it ever answer, as far as is known?
    pub(super) has_answered: bool,
    /// Was its last answer a failure?
    pub(super) is_failing: bool,
    /// Is the next attempt likely to hold its thread for the whole time limit?
    pub(super) holds_threads: bool,
    /// Until when the endpoint is left alone.
    pub(super) rest_until: Option<Timestamp>,
    pub(super) in_flight: usize,
    pub(super) ready: VecDeque<(EventId, Work)>,
    /// In which ring it stands, and its place there.
    pub(super) place: Option<(Ring, u64)>,
    /// What is in flight or not yet recorded, and retries that are queued: they still have their row in the outbox.
    pub(super) claims: HashSet<EventId>,
    /// The last never attempted delivery that came into the queue.
    pub(super) cursor: Option<EventId>,
    /// Are there never attempted deliveries after the cursor on the disk?
    pub(super) has_fresh_on_disk: bool,
    /// Did some arrive there while a page was being read?
    pub(super) fresh_came_meanwhile: bool,
    pub(super) is_reading_fresh: bool,
    pub(super) is_reading_retries: bool,
    /// Claims that ended while a page of retries was being read: what that page says of them is out of date.
    pub(super) ended_meanwhile: HashSet<EventId>,
    /// When the earliest retry on the disk that is not claimed is due.
    pub(super) retry_due: Option<Timestamp>,
    /// Did the last page of retries leave some on the disk that were due?
    pub(super) has_due_on_disk: bool,
    /// Does it wait for outcomes to be recorded, so that others find the writer free?
    pub(super) stands_back: bool,
    /// Did it, until the last commit?
    pub(super) has_stood_back: bool,
}

impl Lane {
    /// A lane with nothing at hand.
    pub(super) fn new(is_active: bool, trust: Trust, has_backlog: bool) -> Self {
        Self {
            is_active,
            trust,
            window: Window::first(),
            backoff: Backoff::default(),
            is_full: false,
            silences: 0,
            own_faults: 0,
            has_answered: trust == Trust::Quick,
            is_failing: false,
            holds_threads: trust == Trust::Suspect,
            rest_until: None,
            in_flight: 0,
            ready: VecDeque::new(),
            place: None,
            claims: HashSet::new(),
            cursor: None,
            has_fresh_on_disk: has_backlog,
            fresh_came_meanwhile: false,
            is_reading_fresh: false,
            is_reading_retries: false,
            ended_meanwhile: HashSet::new(),
            retry_due: has_backlog.then(|| Timestamp::from_ms(0)),
            has_due_on_disk: false,
            stands_back: false,
            has_stood_back: false,
        }
    }

    /// Forgets what was held against the endpoint, as it may be another one now.
    pub(super) fn forgive(&mut self) {
        self.silences = 0;
        self.backoff = Backoff::default();
        self.is_full = false;
        self.rest_until = None;
        if self.trust != Trust::Quick {
            self.trust = Trust::Unknown;
        }
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self, event: EventId, now: Timestamp) -> Turn {
        // A first attempt too: a retry row of its own commit must not be taken before that commit is told.
        self.claims.insert(event);
        self.in_flight += 1;
        let more_waits = !self.ready.is_empty() || self.is_behind();
        let turn = self.backoff.sent(now, self.in_flight, more_waits);
        self.hold(now);
        turn
    }

    /// Learns from an attempt that has ended. `cap`: how many may be in flight at most.
    pub(super) fn learn(&mut self, turn: Turn, ended: Ended, cap: usize, now: Timestamp) {
        let Ended { sign, took, pushback } = ended;
        match (sign, pushback) {
            (_, Some(pushback)) => self.backoff.pushed_back(turn, now, pushback.retry_after, self.in_flight),
            (EndpointSign::Unknown | EndpointSign::Unresponsive, None) => self.backoff.ended(turn),
            (_, None) => self.backoff.taken(turn, now, self.in_flight),
        }
        self.judge(sign, took, cap, pushback.is_some(), now);
        self.hold(now);
    }

    /// There was nothing to send after all.
    pub(super) fn skip(&mut self, turn: Turn, event: EventId, now: Timestamp) {
        self.claims.remove(&event);
        self.backoff.ended(turn);
        self.hold(now);
    }

    /// A rest is over, and perhaps another one begins.
    pub(super) fn end_rest(&mut self, now: Timestamp) {
        self.rest_until = None;
        self.hold(now);
    }

    /// Keeps the lane to what the endpoint takes.
    fn hold(&mut self, now: Timestamp) {
        let held = self.backoff.hold(now, self.in_flight);
        self.is_full = held == Some(Hold::Full);
        if let Some(Hold::Paced(until) | Hold::Resting(until)) = held {
            self.rest_until = self.rest_until.max(Some(until));
        }
    }

    fn judge(&mut self, sign: EndpointSign, took: Duration, cap: usize, is_pushback: bool, now: Timestamp) {
        if sign == EndpointSign::Unknown {
            self.rest_until = Some(now.plus(rest_after(self.own_faults)));
            self.own_faults = self.own_faults.saturating_add(1);
            return;
        }
        self.own_faults = 0;
        self.is_failing = sign != EndpointSign::Healthy;
        self.trust = match sign {
            EndpointSign::Unresponsive => {
                // Who refuses at once holds nobody up, and one silence of an endpoint that answers may be a mishap: it
                // must not queue behind those that hang.
                self.holds_threads = took > SLOW_ANSWER && (self.silences > 0 || !self.has_answered);
                self.rest_until = Some(now.plus(rest_after(self.silences)));
                self.silences = self.silences.saturating_add(1);
                self.window.silent();
                return self.trust = Trust::Suspect;
            }
            _ if took > SLOW_ANSWER => Trust::Slow,
            _ => Trust::Quick,
        };
        if !is_pushback {
            self.window.answered(took, cap);
        }
        self.silences = 0;
        self.has_answered = true;
        self.rest_until = None;
    }

    /// Is there more that may go than memory holds of it?
    pub(super) fn is_behind(&self) -> bool {
        self.has_fresh_on_disk || self.has_due_on_disk
    }

    /// In which ring it is to stand, if it has a job that may go.
    pub(super) fn wanted_ring(&self, cap: usize) -> Option<Ring> {
        let is_held = self.rest_until.is_some() || self.is_full || self.stands_back;
        // While the server itself has a fault, one attempt finds out whether it still has.
        let is_awaited = self.own_faults > 0 && self.in_flight > 0;
        if !self.is_active || self.ready.is_empty() || is_held || is_awaited {
            return None;
        }
        let has_room = self.in_flight < self.window.attempts().min(cap);
        match self.trust {
            Trust::Suspect if self.in_flight > 0 => None,
            Trust::Suspect => Some(if self.holds_threads { Ring::Suspect } else { Ring::New }),
            Trust::Unknown => has_room.then_some(Ring::New),
            Trust::Slow => has_room.then_some(Ring::Slow),
            Trust::Quick if self.is_failing => has_room.then_some(Ring::Failing),
            Trust::Quick if self.in_flight == 0 => Some(Ring::First),
            Trust::Quick => has_room.then_some(Ring::Further),
        }
    }
}

/// How long a lane rests after so many attempts in a row of the same kind.
fn rest_after(before: u32) -> Duration {
    FIRST_REST.saturating_mul(1 << before.min(10)).min(LONGEST_REST)
}
