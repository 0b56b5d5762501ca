//! Which subscriptions' backlogs are gone through after a change, and how far each has come. Kept in memory by the writer;
//! what is stored are the marks in the histories.

use std::collections::{HashMap, VecDeque};

use crate::domain::delivery::history::History;
use crate::domain::{EventId, SubscriptionId, Timestamp};

/// The backlogs that are gone through, in turn.
#[derive(Default)]
pub struct Backlogs(VecDeque<(SubscriptionId, Position)>);

/// How far one has come.
#[derive(Clone, Copy)]
pub enum Position {
    /// The deliveries of events after this one that wait for others. They come first, as one that is cancelled lets the
    /// next one start.
    Waiting(EventId),
    /// The deliveries of events after this one that were never attempted.
    Unattempted(EventId),
    /// The retries after this one.
    Retries(Timestamp, EventId),
}

impl Position {
    /// Where the retries of a subscription begin.
    pub const FIRST_RETRY: Self = Self::Retries(Timestamp::from_ms(0), EventId(u128::MAX));

    fn first(history: &History) -> Self {
        match history.repair {
            _ if !history.withdrawn.is_empty() => Self::Waiting(EventId(0)),
            _ if history.is_settling => Self::Unattempted(EventId(0)),
            // What was due before it is due already.
            Some(repair) => Self::Retries(repair.monotonic, EventId(u128::MAX)),
            None => Self::FIRST_RETRY,
        }
    }
}

impl Backlogs {
    /// Goes on with what is marked.
    pub fn resume(histories: &HashMap<SubscriptionId, History>) -> Self {
        let mut marked: Vec<_> = histories.iter().filter(|(_, history)| history.is_marked()).collect();
        marked.sort_unstable_by_key(|(id, _)| **id);
        Self(marked.into_iter().map(|(id, history)| (*id, Position::first(history))).collect())
    }

    /// Whether there is a step to make.
    pub fn is_active(&self) -> bool {
        !self.0.is_empty()
    }

    /// Goes through a backlog from its beginning.
    pub fn begin(&mut self, id: SubscriptionId, history: &History) {
        self.0.retain(|(other, _)| *other != id);
        self.0.push_back((id, Position::first(history)));
    }

    /// Takes out the one whose turn it is.
    pub fn next(&mut self) -> Option<(SubscriptionId, Position)> {
        self.0.pop_front()
    }

    /// Puts one back that is not at its end.
    pub fn put_back(&mut self, id: SubscriptionId, position: Position) {
        self.0.push_back((id, position));
    }
}
