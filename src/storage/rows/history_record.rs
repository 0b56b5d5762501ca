//! The stored form of what is known of a subscription's endpoint: its health, last attempts, and marks for the backlog.
//! Pure; any thread. A stored struct never changes: another shape is another version.

use serde::{Deserialize, Serialize};

use crate::domain::delivery::health::EndpointHealth;
use crate::domain::delivery::history::History;
use crate::domain::delivery::repair::Repair;
use crate::domain::event::event_types::Removed;
use crate::domain::{EventId, Timestamp};
use crate::storage::error::StorageError;
use crate::storage::rows::codec;

const VERSION: u8 = 4;
const WITHOUT_FEED: u8 = 3;
const WITHOUT_MARKS: u8 = 2;
const FIRST_VERSION: u8 = 1;

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

/// The stored form.
pub fn encode(history: &History) -> Result<Vec<u8>, StorageError> {
    let EndpointHealth { failing_since, last_failure, failures, is_suspect } = history.health;
    let failing = failing_since.zip(last_failure).map(|(since, last)| (since.as_ms(), last.as_ms(), failures));
    let recent = history.recent.iter().map(|(event, number)| (event.0, *number)).collect();
    let last_success_ms = history.last_success.map(Timestamp::as_ms);
    let before = HistoryV2 { failing, is_suspect, recent, last_success_ms };
    let repair = history.repair.map(|repair| (repair.monotonic.as_ms(), repair.wall.as_ms(), repair.is_open));
    let withdrawn = history.withdrawn.iter().map(|(removed, last)| (removed.to_string(), last.0)).collect();
    let before = HistoryV3 { before, repair, withdrawn, filtered: history.filtered };
    let (acknowledged, is_settling) = (history.acknowledged.0, history.is_settling);
    codec::encode(VERSION, &HistoryV4 { before, acknowledged, is_settling })
}

/// Reads the stored form. An earlier one does not say when the last failure was, so only the first is known.
pub fn decode(bytes: &[u8]) -> Result<History, StorageError> {
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
    Ok(History {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_an_earlier_version_wrote_is_read() {
        let old: (Option<u64>, bool, Vec<(u128, u32)>) = (Some(5), true, vec![(7, 2)]);
        let read = decode(&codec::encode(FIRST_VERSION, &old).unwrap()).unwrap();
        assert_eq!((read.last_success, read.recent.as_slice()), (None, [(EventId(7), 2)].as_slice()));
        let since = Some(Timestamp::from_ms(5));
        let health = EndpointHealth { failing_since: since, last_failure: since, failures: 1, is_suspect: true };
        assert_eq!(read.health, health);

        let known =
            History { last_success: Some(Timestamp::from_ms(9)), filtered: 4, acknowledged: EventId(8), ..read };
        let again = decode(&encode(&known).unwrap()).unwrap();
        assert!(!again.is_marked());
        assert_eq!((again.filtered, again.acknowledged), (4, EventId(8)));
        assert_eq!((again.last_success, again.recent, again.health), (known.last_success, known.recent, known.health));

        let at = Timestamp::from_ms(9);
        let repair = Some(Repair { monotonic: at, wall: at, is_open: true });
        let names = ["clock_out", "shift.moved", "shift.*", "*"];
        let withdrawn: Vec<_> = names.map(|name| (Removed::from_name(name).unwrap(), EventId(7))).into();
        let marked = History { repair, withdrawn: withdrawn.clone(), ..History::default() };
        let again = decode(&encode(&marked).unwrap()).unwrap();
        assert_eq!((again.repair, again.withdrawn), (repair, withdrawn));
    }

    #[test]
    fn a_history_without_marks_is_read() {
        let old =
            HistoryV2 { failing: Some((5, 6, 2)), is_suspect: false, recent: vec![(7, 2)], last_success_ms: None };
        let read = decode(&codec::encode(WITHOUT_MARKS, &old).unwrap()).unwrap();
        assert_eq!((read.health.failures, read.is_marked()), (2, false));
    }
}
