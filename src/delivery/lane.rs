//! What the schedule knows of one subscription: how far its endpoint is trusted, what is at hand for it and what lies
//! on the disk. Pure; lives inside the schedule, and has no lock of its own.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::outcome::EndpointSign;
use crate::domain::{EventId, Timestamp};
use crate::storage::record::EventRow;

/// An endpoint that takes longer than this to answer holds threads; it is slow.
const SLOW_ANSWER: Duration = Duration::from_secs(1);

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    First = 0,
    Further = 1,
    Slow = 2,
    Suspect = 3,
}

/// What is known of how an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Quick,
    Slow,
    Suspect,
}

/// One subscription in the schedule.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one lane")]
pub(super) struct Lane {
    pub(super) is_active: bool,
    pub(super) trust: Trust,
    pub(super) window: usize,
    pub(super) in_flight: usize,
    pub(super) ready: VecDeque<(EventId, Work)>,
    pub(super) ring: Option<Ring>,
    /// Retries that are queued, in flight or not yet recorded: they still have their row in the outbox.
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
}

impl Lane {
    /// A lane with nothing at hand.
    pub(super) fn new(is_active: bool, is_suspect: bool, has_backlog: bool) -> Self {
        Self {
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
        }
    }

    /// Learns from an attempt that has ended. `cap`: how many may be in flight at most.
    pub(super) fn learn(&mut self, sign: EndpointSign, took: Duration, cap: usize) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.window = (self.window * 2).min(cap);
        self.trust = match sign {
            EndpointSign::Unresponsive => {
                self.window = 1;
                Trust::Suspect
            }
            _ if took > SLOW_ANSWER => Trust::Slow,
            _ => Trust::Quick,
        };
    }

    /// In which ring it is to stand, if it has a job that may go.
    pub(super) fn wanted_ring(&self, cap: usize) -> Option<Ring> {
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
