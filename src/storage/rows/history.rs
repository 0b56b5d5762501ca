//! The stored form of what is known of a subscription's endpoint: its health, last attempts, and marks for the backlog.
//! Pure; any thread. A stored struct never changes: another shape is another version.

use serde::{Deserialize, Serialize};

use crate::domain::delivery::attempt::Attempt;
use crate::domain::delivery::health::EndpointHealth;
use crate::domain::delivery::repair::Repair;
use crate::domain::event::event_type::EventType;
use crate::domain::event::event_types::{EventTypes, Removed};
use crate::domain::{EventId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::rows::codec;

const VERSION: u8 = 4;
const WITHOUT_FEED: u8 = 3;
const WITHOUT_MARKS: u8 = 2;
const FIRST_VERSION: u8 = 1;

/// The health of a subscription's endpoint and its last attempts, newest last.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The endpoint's health.
    pub health: EndpointHealth,
    /// When it took a delivery last, by the calendar, if that is known.
    pub last_success: Option<Timestamp>,
    /// The last attempts.
    pub recent: Vec<(EventId, u32)>,
    /// The last repair of the endpoint.
    pub repair: Option<Repair>,
    /// What was removed from the types of the subscription: what is pending of events up to that one is cancelled. It is
    /// emptied when there is none left.
    pub withdrawn: Vec<(Removed, EventId)>,
    /// How many events of its types had not fitted its filter when they were counted here; from then on they are beside its
    /// deliveries.
    pub filtered: u64,
    /// Of a subscription that is read: up to which event its reader has acknowledged.
    pub acknowledged: EventId,
    /// What was acknowledged is not settled to its end yet.
    pub is_settling: bool,
}

/// Number of attempts in `recent_deliveries`.
pub const RECENT_ATTEMPTS: usize = 10;

#[derive(Deserialize)]
struct HistoryV1 {
    failing_since_ms: Option<u64>,
    is_suspect: bool,
    recent: Vec<(u128, u32)>,
}

/// Since when it has failed, when the last of the failures was, and how many there were.
type FailingV2 = (u64, u64, u32);

/// On the monotonic and the wall clock, and whether it is open.
type RepairV3 = (u64, u64, bool);

#[derive(Serialize, Deserialize)]
struct HistoryV4 {
    before: HistoryV3,
    acknowledged: u128,
    is_settling: bool,
}

#[derive(Serialize, Deserialize)]
struct HistoryV3 {
    before: HistoryV2,
    repair: Option<RepairV3>,
    withdrawn: Vec<(String, u128)>,
    filtered: u64,
}

#[derive(Serialize, Deserialize)]
struct HistoryV2 {
    failing: Option<FailingV2>,
    is_suspect: bool,
    recent: Vec<(u128, u32)>,
    last_success_ms: Option<u64>,
}

impl History {
    /// Whether its backlog has to be gone through.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.is_settling || !self.withdrawn.is_empty() || self.repair.is_some_and(|repair| repair.is_open)
    }

    /// Notes that its backlog was gone through.
    pub fn clear_marks(&mut self) {
        self.withdrawn.clear();
        self.is_settling = false;
        if let Some(repair) = &mut self.repair {
            repair.is_open = false;
        }
    }

    /// Whether a pending delivery of that event is to be cancelled, where the subscription has these types left.
    #[must_use]
    pub fn withdraws(&self, event_type: EventType, event: EventId, left: &EventTypes) -> bool {
        self.withdrawn.iter().any(|(removed, last)| event <= *last && removed.covers(&event_type, left))
    }

    /// Adds an attempt.
    pub fn push(&mut self, event: EventId, attempt: &Attempt) {
        if self.recent.len() >= RECENT_ATTEMPTS {
            self.recent.remove(0);
        }
        self.recent.push((event, attempt.number));
        if attempt.outcome.is_delivered() {
            self.last_success = Some(attempt.ended_at());
        }
    }

    /// The stored form.
    pub fn encode(&self) -> Result<Vec<u8>, StorageError> {
        let EndpointHealth { failing_since, last_failure, failures, is_suspect } = self.health;
        let failing = failing_since.zip(last_failure).map(|(since, last)| (since.as_ms(), last.as_ms(), failures));
        let recent = self.recent.iter().map(|(event, number)| (event.0, *number)).collect();
        let last_success_ms = self.last_success.map(Timestamp::as_ms);
        let before = HistoryV2 { failing, is_suspect, recent, last_success_ms };
        let repair = self.repair.map(|repair| (repair.monotonic.as_ms(), repair.wall.as_ms(), repair.is_open));
        let withdrawn = self.withdrawn.iter().map(|(removed, last)| (removed.to_string(), last.0)).collect();
        let before = HistoryV3 { before, repair, withdrawn, filtered: self.filtered };
        let (acknowledged, is_settling) = (self.acknowledged.0, self.is_settling);
        codec::encode(VERSION, &HistoryV4 { before, acknowledged, is_settling })
    }

    /// Reads the stored form. An earlier one does not say when the last failure was, so only the first is known.
    pub fn decode(bytes: &[u8]) -> Result<Self, StorageError> {
        let unmarked = |before| HistoryV3 { before, repair: None, withdrawn: Vec::new(), filtered: 0 };
        let without_feed = |before| HistoryV4 { before, acknowledged: 0, is_settling: false };
        let HistoryV4 { before, acknowledged, is_settling } = match bytes.first() {
            Some(&FIRST_VERSION) => {
                let HistoryV1 { failing_since_ms, is_suspect, recent } = codec::decode(FIRST_VERSION, bytes)?;
                let failing = failing_since_ms.map(|since| (since, since, 1));
                without_feed(unmarked(HistoryV2 { failing, is_suspect, recent, last_success_ms: None }))
            }
            Some(&WITHOUT_MARKS) => without_feed(unmarked(codec::decode(WITHOUT_MARKS, bytes)?)),
            Some(&WITHOUT_FEED) => without_feed(codec::decode(WITHOUT_FEED, bytes)?),
            _ => codec::decode(VERSION, bytes)?,
        };
        let HistoryV3 { before, repair, withdrawn, filtered } = before;
        let HistoryV2 { failing, is_suspect, recent, last_success_ms } = before;
        let withdrawn = withdrawn.into_iter().map(|(name, last)| {
            let removed = Removed::from_name(&name);
            let removed = removed.ok_or_else(|| StorageError::Codec(format!("{name:?} is no event type")))?;
            Ok((removed, EventId(last)))
        });
        Ok(Self {
            health: EndpointHealth {
                failing_since: failing.map(|(since, ..)| Timestamp::from_ms(since)),
                last_failure: failing.map(|(_, last, _)| Timestamp::from_ms(last)),
                failures: failing.map_or(0, |(.., count)| count),
                is_suspect,
            },
            last_success: last_success_ms.map(Timestamp::from_ms),
            recent: recent.into_iter().map(|(event, number)| (EventId(event), number)).collect(),
            repair: repair.map(|(monotonic_ms, wall_ms, is_open)| Repair {
                monotonic: Timestamp::from_ms(monotonic_ms),
                wall: Timestamp::from_ms(wall_ms),
                is_open,
            }),
            withdrawn: withdrawn.collect::<Result<_, StorageError>>()?,
            filtered,
            acknowledged: EventId(acknowledged),
            is_settling,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_an_earlier_version_wrote_is_read() {
        let old: (Option<u64>, bool, Vec<(u128, u32)>) = (Some(5), true, vec![(7, 2)]);
        let read = History::decode(&codec::encode(FIRST_VERSION, &old).unwrap()).unwrap();
        assert_eq!((read.last_success, read.recent.as_slice()), (None, [(EventId(7), 2)].as_slice()));
        let since = Some(Timestamp::from_ms(5));
        let health = EndpointHealth { failing_since: since, last_failure: since, failures: 1, is_suspect: true };
        assert_eq!(read.health, health);

        let known =
            History { last_success: Some(Timestamp::from_ms(9)), filtered: 4, acknowledged: EventId(8), ..read };
        let again = History::decode(&known.encode().unwrap()).unwrap();
        assert!(!again.is_marked());
        assert_eq!((again.filtered, again.acknowledged), (4, EventId(8)));
        assert_eq!((again.last_success, again.recent, again.health), (known.last_success, known.recent, known.health));

        let at = Timestamp::from_ms(9);
        let repair = Some(Repair { monotonic: at, wall: at, is_open: true });
        let names = ["clock_out", "shift.moved", "shift.*", "*"];
        let withdrawn: Vec<_> = names.map(|name| (Removed::from_name(name).unwrap(), EventId(7))).into();
        let marked = History { repair, withdrawn: withdrawn.clone(), ..History::default() };
        let again = History::decode(&marked.encode().unwrap()).unwrap();
        assert_eq!((again.repair, again.withdrawn), (repair, withdrawn));
    }

    #[test]
    fn a_history_without_marks_is_read() {
        let old =
            HistoryV2 { failing: Some((5, 6, 2)), is_suspect: false, recent: vec![(7, 2)], last_success_ms: None };
        let read = History::decode(&codec::encode(WITHOUT_MARKS, &old).unwrap()).unwrap();
        assert_eq!((read.health.failures, read.is_marked()), (2, false));
    }
}
