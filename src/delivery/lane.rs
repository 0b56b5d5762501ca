//! What the schedule knows of one subscription: how far its endpoint is trusted, what is at hand for it and what lies
//! on the disk. Pure; lives inside the schedule, and has no lock of its own.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::rings::Ring;
use super::window::Window;
use crate::domain::outcome::EndpointSign;
use crate::domain::{EventId, Timestamp};
use crate::storage::record::EventRow;

/// An endpoint that takes longer than this to answer holds threads; it is slow.
const SLOW_ANSWER: Duration = Duration::from_secs(1);

/// After silence an endpoint is left alone for this long, doubled with every further silence up to the maximum. It
/// costs a dead endpoint's backlog nothing that it would not wait for anyway, and nobody else a busy thread.
const FIRST_REST: Duration = Duration::from_millis(20);
const LONGEST_REST: Duration = Duration::from_millis(500);

/// What a delivery thread has to find out before it can send.
#[derive(Debug)]
pub enum Work {
    /// A first attempt; the event is here, or has to be read.
    First(Option<Arc<EventRow>>),
    /// A further attempt; event and attempt number have to be read.
    Further,
}

impl Work {
    /// How many bytes of a body it keeps in memory.
    pub(super) fn body_bytes(&self) -> usize {
        match self {
            Self::First(Some(row)) => row.body().len(),
            _ => 0,
        }
    }
}

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
    /// How many attempts in a row met silence.
    pub(super) silences: u32,
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
            silences: 0,
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
        self.rest_until = None;
        if self.trust != Trust::Quick {
            self.trust = Trust::Unknown;
        }
    }

    /// Learns from an attempt that has ended. `cap`: how many may be in flight at most.
    pub(super) fn learn(&mut self, sign: EndpointSign, took: Duration, cap: usize, now: Timestamp) {
        if sign == EndpointSign::Unknown {
            return;
        }
        self.is_failing = sign != EndpointSign::Healthy;
        self.trust = match sign {
            EndpointSign::Unresponsive => {
                // Who refuses at once holds nobody up, and one silence of an endpoint that answers may be a mishap: it
                // must not queue behind those that hang.
                self.holds_threads = took > SLOW_ANSWER && (self.silences > 0 || !self.has_answered);
                let rest = FIRST_REST.saturating_mul(1 << self.silences.min(10)).min(LONGEST_REST);
                self.silences = self.silences.saturating_add(1);
                self.rest_until = Some(now.plus(rest));
                self.window.silent();
                return self.trust = Trust::Suspect;
            }
            _ if took > SLOW_ANSWER => Trust::Slow,
            _ => Trust::Quick,
        };
        self.window.answered(took, cap);
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
        if !self.is_active || self.ready.is_empty() || self.rest_until.is_some() || self.stands_back {
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
