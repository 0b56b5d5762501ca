//! Which of the deliveries that go one after the other may start. Pure; any thread.
//!
//! The store keeps which delivery of a key is the first one: it stays that until it is settled, through all its retries, and
//! the others wait in the order of their events. So a redelivered event, which is older than those that wait, goes next.
//! The schedule keeps which keys have an attempt under way, as a delivery can be settled while its attempt is.

use std::collections::HashMap;

use crate::domain::EventId;
use crate::domain::options::order::OrderKey;

/// Where a delivery goes that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may start, and is the first one of its key.
    Starts,
    /// It waits until the first one is settled.
    Waits,
}

impl Turn {
    /// The turn of an event's delivery, where that one is the first of its key.
    #[must_use]
    pub fn of(event: EventId, first: Option<EventId>) -> Self {
        match first {
            Some(first) if first != event => Self::Waits,
            _ => Self::Starts,
        }
    }
}

/// The keys of one subscription that have an attempt under way, each with its event. A delivery without a key is not in it.
#[derive(Debug, Default)]
pub struct UnderWay {
    events: HashMap<OrderKey, EventId>,
    keys: HashMap<EventId, OrderKey>,
}

impl UnderWay {
    /// Whether an attempt of that key may start.
    #[must_use]
    pub fn may_start(&self, key: Option<OrderKey>) -> bool {
        key.is_none_or(|key| !self.events.contains_key(&key))
    }

    /// An attempt starts.
    pub fn begin(&mut self, event: EventId, key: Option<OrderKey>) {
        if let Some(key) = key {
            debug_assert!(self.may_start(Some(key)), "{event} starts beside another one of its key");
            self.events.insert(key, event);
            self.keys.insert(event, key);
        }
    }

    /// What came of an attempt is stored, or there was none. Gives whether it had a key.
    pub fn end(&mut self, event: EventId) -> bool {
        let key = self.keys.remove(&event);
        key.is_some_and(|key| self.events.remove(&key).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_key_starts_as_often_as_it_has_to_and_others_wait() {
        assert_eq!(Turn::of(EventId(5), None), Turn::Starts);
        assert_eq!(Turn::of(EventId(5), Some(EventId(5))), Turn::Starts);
        for other in [4, 6] {
            assert_eq!(Turn::of(EventId(other), Some(EventId(5))), Turn::Waits);
        }
    }

    #[test]
    fn one_attempt_of_a_key_is_under_way_and_any_number_without_a_key() {
        let (ana, jonas) = (Some(OrderKey::of_worker("52")), Some(OrderKey::of_worker("53")));
        let mut under_way = UnderWay::default();
        under_way.begin(EventId(1), ana);
        under_way.begin(EventId(2), None);
        assert_eq!([ana, jonas, None].map(|key| under_way.may_start(key)), [false, true, true]);
        under_way.end(EventId(2));
        assert!(!under_way.may_start(ana));
        under_way.end(EventId(1));
        assert!(under_way.may_start(ana));
    }
}
