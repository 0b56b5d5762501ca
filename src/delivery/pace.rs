//! How fast a backlog is worked off beside others. A lane that is behind could fill every commit with its outcomes and
//! both cores with its requests, and whoever publishes meanwhile would wait for them. While another lane is not
//! behind, those that are stand back as soon as a few outcomes wait for their commit. With nobody to stand back for
//! they go as fast as they can. Pure; lives inside the schedule.

use std::time::Duration;

use crate::domain::{SubscriptionId, Timestamp};

/// So many outcomes may wait for their commit before lanes that are behind stand back: a commit of this size takes
/// hardly longer than that of a single event.
const UNRECORDED: i64 = 20;
/// So many failures, which wait longer, before lanes do whose endpoints fail.
const UNRECORDED_FAILURES: i64 = 64;
/// For so long after its last job a lane counts as one to stand back for.
const RECENT: Duration = Duration::from_secs(1);
/// With more events than this in one commit there is no quick commit to keep free for anybody.
const QUICK_EVENTS: u64 = 8;

/// Who is to be stood back for, and how much waits for its commit.
#[derive(Default)]
pub(super) struct Pace {
    /// The last two different lanes that had a job and were not behind, the latest first.
    prompt: [Option<(SubscriptionId, Timestamp)>; 2],
    /// Below zero for a moment when an outcome is recorded before its thread says that it has ended.
    unrecorded: i64,
    unrecorded_failures: i64,
    /// Did the last commit of events hold many of them?
    is_crowded: bool,
    standing_back: Vec<SubscriptionId>,
}

impl Pace {
    /// A lane for which hardly anything waits has taken a job.
    pub(super) fn prompt(&mut self, id: SubscriptionId, now: Timestamp) {
        let [latest, before] = &mut self.prompt;
        if latest.is_some_and(|(lane, _)| lane != id) {
            *before = *latest;
        }
        *latest = Some((id, now));
    }

    /// Has this lane, which is behind, to stand back? It then waits for [`Self::committed`] to name it.
    pub(super) fn stand_back(&mut self, id: SubscriptionId, is_failing: bool, now: Timestamp) -> bool {
        let is_recent = |at: Timestamp| now.since(at) < RECENT;
        let others = self.prompt.iter().flatten().any(|&(lane, at)| lane != id && is_recent(at));
        let much_waits =
            if is_failing { self.unrecorded_failures >= UNRECORDED_FAILURES } else { self.unrecorded >= UNRECORDED };
        let stands_back = others && !self.is_crowded && much_waits;
        if stands_back {
            self.standing_back.push(id);
        }
        stands_back
    }

    /// A commit has stored so many events. Gives the lanes that stood back, which are judged anew.
    pub(super) fn committed(&mut self, events: u64) -> Vec<SubscriptionId> {
        if events > 0 {
            self.is_crowded = events > QUICK_EVENTS;
        }
        std::mem::take(&mut self.standing_back)
    }

    /// An attempt has ended; its outcome goes to the writer.
    pub(super) fn ended(&mut self, is_delivered: bool) {
        *self.count(is_delivered) += 1;
    }

    /// An outcome is recorded.
    pub(super) fn recorded(&mut self, is_delivered: bool) {
        *self.count(is_delivered) -= 1;
    }

    fn count(&mut self, is_delivered: bool) -> &mut i64 {
        if is_delivered { &mut self.unrecorded } else { &mut self.unrecorded_failures }
    }
}
