//! Backpressure on backlogs. A backlogged lane could fill every commit with its outcomes and all processors with its
//! requests, and publishers would wait. While another lane is caught up, backlogged lanes yield as soon as a few
//! outcomes are uncommitted; otherwise they run at full speed. Pure; part of the schedule.

use crate::domain::{SubscriptionId, Timestamp};
use crate::tuning::schedule::{SMALL_COMMIT_EVENTS, UNCOMMITTED_FAILURES_MAX, UNCOMMITTED_MAX, YIELD_FOR};

/// The caught-up lanes and the number of uncommitted outcomes.
#[derive(Default)]
pub(in crate::delivery) struct Backpressure {
    /// The last two different caught-up lanes that had a job, the latest first.
    caught_up: [Option<(SubscriptionId, Timestamp)>; 2],
    /// Briefly below zero when an outcome is recorded before its thread reports the end of the attempt.
    uncommitted: i64,
    uncommitted_failures: i64,
    /// Whether the last commit with events was a large one.
    is_large_commit: bool,
    yielding: Vec<SubscriptionId>,
}

impl Backpressure {
    /// Notes that a caught-up lane has taken a job.
    pub(in crate::delivery) fn note_caught_up(&mut self, id: SubscriptionId, now: Timestamp) {
        let [latest, before] = &mut self.caught_up;
        if latest.is_some_and(|(lane, _)| lane != id) {
            *before = *latest;
        }
        *latest = Some((id, now));
    }

    /// Whether this backlogged lane must yield. It then waits for [`Self::committed`] to return it.
    pub(in crate::delivery) fn must_yield(&mut self, id: SubscriptionId, is_failing: bool, now: Timestamp) -> bool {
        let is_recent = |at: Timestamp| now.since(at) < YIELD_FOR;
        let others = self.caught_up.iter().flatten().any(|&(lane, at)| lane != id && is_recent(at));
        let is_over_limit = if is_failing {
            self.uncommitted_failures >= UNCOMMITTED_FAILURES_MAX
        } else {
            self.uncommitted >= UNCOMMITTED_MAX
        };
        let must_yield = others && !self.is_large_commit && is_over_limit;
        if must_yield {
            self.yielding.push(id);
        }
        must_yield
    }

    /// Notes a commit with that many events. Returns the yielding lanes, which are re-evaluated.
    pub(in crate::delivery) fn committed(&mut self, events: u64) -> Vec<SubscriptionId> {
        if events > 0 {
            self.is_large_commit = events > SMALL_COMMIT_EVENTS;
        }
        std::mem::take(&mut self.yielding)
    }

    /// Notes a finished attempt, whose outcome goes to the writer.
    pub(in crate::delivery) fn ended(&mut self, is_delivered: bool) {
        *self.count(is_delivered) += 1;
    }

    /// Notes a recorded outcome.
    pub(in crate::delivery) fn recorded(&mut self, is_delivered: bool) {
        *self.count(is_delivered) -= 1;
    }

    fn count(&mut self, is_delivered: bool) -> &mut i64 {
        if is_delivered { &mut self.uncommitted } else { &mut self.uncommitted_failures }
    }
}
