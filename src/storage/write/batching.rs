//! Group commit: decides when the writer commits next, and how many outcomes of attempts go with it. A caller's command
//! is committed at once. Outcomes, which nobody awaits, get a commit delay, so that many of them share a page. Pure; the
//! writer asks between two commits, and says afterwards how long the commit took.

use std::time::{Duration, Instant};

use crate::tuning::commit::{
    CALLERS_OF_A_LARGE_COMMIT, DELIVERED_DELAY, DELIVERED_ENOUGH, FAILED_DELAY, FAILED_MIN, FAILED_SLOWDOWN_DIVISOR,
    MEASURE_EVERY, REPLAYED_BESIDE_CALLERS, UNATTEMPTED_MAX,
};

/// Maximum number of commands per commit: beyond it the gain is small and the first caller waits longer.
pub(in crate::storage) const COMMANDS: usize = 1024;
/// At most about so many deliveries are made in one commit, unless one command alone makes more.
pub(in crate::storage) const DELIVERIES: usize = 8192;
/// At most so many outcomes of a kind are held between two commits; the rest waits in its queue.
pub(in crate::storage) const OUTCOMES: usize = 1024;

/// What waits for a commit.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::storage) struct Waiting {
    /// Commands of callers.
    pub commands: usize,
    /// How many deliveries those make at most.
    pub deliveries: usize,
    /// One of them has to see every outcome that came before it.
    pub is_ordered: bool,
    /// Outcomes of deliveries that arrived.
    pub delivered: usize,
    /// Since when the oldest of them waits.
    pub delivered_since: Option<Instant>,
    /// Failed attempts whose commit delay runs.
    pub failed: usize,
    /// Since when the oldest of them waits.
    pub failed_since: Option<Instant>,
    /// Failed attempts whose commit delay is over.
    pub failed_due: usize,
    /// Outcomes of deliveries that a replay made, which arrived.
    pub replayed: usize,
    /// Since when the oldest of them waits.
    pub replayed_since: Option<Instant>,
    /// Until when the next caller is expected: a while after the last one. Until then a replay and its outcomes are a
    /// small part of commits that are made anyway.
    pub callers_until: Option<Instant>,
    /// When a job makes a step in a commit of its own, if there is one.
    pub job_at: Option<Instant>,
    /// Nothing more can come.
    pub is_closed: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.commands + self.delivered + self.failed + self.failed_due + self.replayed == 0
    }

    /// Is there no room to wait for more?
    fn is_full(&self) -> bool {
        let is_full = |held: usize| held >= OUTCOMES;
        self.commands >= COMMANDS || self.deliveries >= DELIVERIES || is_full(self.delivered) || is_full(self.failed)
    }

    /// Do callers keep coming?
    fn has_callers(&self, now: Instant) -> bool {
        self.callers_until.is_some_and(|until| now < until)
    }
}

/// What the writer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Next {
    /// Commit all commands that wait and this much of the rest.
    Commit(Share),
    /// Wait for more until then.
    WaitUntil(Instant),
    /// Nothing waits, and nothing can come.
    End,
}

/// Which outcomes go with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) struct Share {
    /// Why it is made.
    pub reason: Reason,
    /// Do the outcomes of deliveries that arrived go with it?
    pub delivered: bool,
    /// How many failed attempts go with it at most.
    pub failed: usize,
    /// How many outcomes of replayed deliveries go with it at most.
    pub replayed: usize,
}

/// Why a commit is made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage) enum Reason {
    /// A command has to see all outcomes before it.
    Order,
    /// Many callers wait.
    Crowd,
    /// A caller waits.
    Caller,
    /// So many outcomes wait that they share pages well.
    Enough,
    /// The commit delay of an outcome is over.
    Delay,
    /// A job goes on.
    Job,
    /// Housekeeping is due, and nothing waits.
    Idle,
    /// The writer ends.
    End,
}

impl Reason {
    /// Does anybody wait for the commit?
    pub fn has_caller(self) -> bool {
        matches!(self, Self::Order | Self::Crowd | Self::Caller)
    }
}

/// The policy, with what it has learned from earlier commits.
#[derive(Default)]
pub(in crate::storage) struct Batching {
    rest_until: Option<Instant>,
    failures: FailureBudget,
}

impl Batching {
    /// What to do now. With nothing that waits, there is housekeeping to be done from `idle_at` on.
    pub fn next(&self, waiting: &Waiting, idle_at: Instant, now: Instant) -> Next {
        let Some(reason) = reason(waiting, idle_at, now) else {
            return if waiting.is_closed { Next::End } else { Next::WaitUntil(wait_until(waiting, idle_at)) };
        };
        match self.rest_until {
            Some(until) if now < until && !waiting.is_full() && !waiting.is_closed => Next::WaitUntil(until),
            _ => Next::Commit(self.share(waiting, reason, now)),
        }
    }

    fn share(&self, waiting: &Waiting, reason: Reason, now: Instant) -> Share {
        let delivered = reason != Reason::Caller || is_delivered_due(waiting, now);
        let failed = match reason {
            Reason::Order | Reason::End => usize::MAX,
            _ if !is_failed_due(waiting, now) => 0,
            Reason::Crowd => self.failures.rows,
            _ => self.failures.share(reason == Reason::Caller, now),
        };
        let is_small = match reason {
            Reason::Order | Reason::Crowd | Reason::End => false,
            Reason::Caller => true,
            _ => waiting.has_callers(now),
        };
        let replayed = if is_small { REPLAYED_BESIDE_CALLERS } else { usize::MAX };
        Share { reason, delivered, failed, replayed }
    }

    /// Takes in what a commit has come to.
    pub fn committed(&mut self, done: &Done, now: Instant) {
        let is_crowded = done.events >= CALLERS_OF_A_LARGE_COMMIT as u64 && done.outcomes >= CALLERS_OF_A_LARGE_COMMIT;
        let outruns = is_crowded && done.never_attempted >= UNATTEMPTED_MAX;
        self.rest_until = outruns.then(|| now + done.took.min(DELIVERED_DELAY));
        self.failures.committed(done, now);
    }
}

/// A commit in figures.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) struct Done {
    /// Why it was made.
    pub reason: Reason,
    /// How many new events it stored.
    pub events: u64,
    /// How many outcomes it recorded.
    pub outcomes: usize,
    /// How many of them were failed attempts.
    pub failed: usize,
    /// How many deliveries were never attempted after it.
    pub never_attempted: u64,
    /// How long it took, the disk included.
    pub took: Duration,
}

fn reason(waiting: &Waiting, idle_at: Instant, now: Instant) -> Option<Reason> {
    match waiting {
        Waiting { commands: 0, is_closed: false, job_at: Some(at), .. } if now >= *at => Some(Reason::Job),
        waiting if waiting.is_empty() => (!waiting.is_closed && now >= idle_at).then_some(Reason::Idle),
        Waiting { is_closed: true, .. } => Some(Reason::End),
        Waiting { is_ordered: true, .. } => Some(Reason::Order),
        Waiting { commands: CALLERS_OF_A_LARGE_COMMIT.., .. } => Some(Reason::Crowd),
        Waiting { commands: 1.., .. } => Some(Reason::Caller),
        Waiting { delivered: DELIVERED_ENOUGH.., .. }
        | Waiting { failed: OUTCOMES.., .. }
        | Waiting { failed_due: 1.., .. } => Some(Reason::Enough),
        _ => {
            let is_due = is_delivered_due(waiting, now) || is_failed_due(waiting, now) || is_replayed_due(waiting, now);
            is_due.then_some(Reason::Delay)
        }
    }
}

fn wait_until(waiting: &Waiting, idle_at: Instant) -> Instant {
    let delivered = waiting.delivered_since.map(|since| since + DELIVERED_DELAY);
    let failed = waiting.failed_since.map(|since| since + FAILED_DELAY);
    let replayed = waiting.replayed_since.map(|since| replayed_at(waiting, since));
    let outcomes = delivered.into_iter().chain(failed).chain(replayed).min().unwrap_or(idle_at);
    waiting.job_at.map_or(outcomes, |at| outcomes.min(at))
}

fn is_delivered_due(waiting: &Waiting, now: Instant) -> bool {
    waiting.delivered >= DELIVERED_ENOUGH || waiting.delivered_since.is_some_and(|since| now >= since + DELIVERED_DELAY)
}

fn is_failed_due(waiting: &Waiting, now: Instant) -> bool {
    let is_over = waiting.failed_since.is_some_and(|since| now >= since + FAILED_DELAY);
    waiting.failed_due > 0 || waiting.failed >= OUTCOMES || is_over
}

fn is_replayed_due(waiting: &Waiting, now: Instant) -> bool {
    let is_enough = waiting.replayed >= DELIVERED_ENOUGH && !waiting.has_callers(now);
    is_enough || waiting.replayed_since.is_some_and(|since| now >= replayed_at(waiting, since))
}

/// When outcomes of replayed deliveries get a commit of their own.
fn replayed_at(waiting: &Waiting, since: Instant) -> Instant {
    let own = since + DELIVERED_DELAY;
    waiting.callers_until.map_or(own, |until| own.max(until))
}

/// How many failed attempts go with one commit: as many as make it a quarter longer than one without them, found out by
/// trying (additive increase, multiplicative decrease). On a disk that takes long to sync these are many, and no caller
/// waits much longer for them.
struct FailureBudget {
    rows: usize,
    /// How long the last commits without them took. The shortest counts: a disk stands still now and then.
    quick: [Duration; 4],
    /// When that was measured last.
    measured: Option<Instant>,
}

impl Default for FailureBudget {
    fn default() -> Self {
        Self { rows: FAILED_MIN, quick: [Duration::MAX; 4], measured: None }
    }
}

impl FailureBudget {
    fn share(&self, has_caller: bool, now: Instant) -> usize {
        match (self.wants_measure(now), has_caller) {
            (false, _) => self.rows,
            (true, true) => 0,
            // Nothing else is to be committed, so it is measured with the fewest.
            (true, false) => FAILED_MIN,
        }
    }

    fn wants_measure(&self, now: Instant) -> bool {
        self.measured.is_none_or(|at| now >= at + MEASURE_EVERY)
    }

    fn committed(&mut self, done: &Done, now: Instant) {
        match done.reason {
            // What is large for other reasons says nothing about failed attempts.
            Reason::Order | Reason::Crowd | Reason::Job | Reason::Idle | Reason::End => {}
            Reason::Caller if done.failed == 0 => self.measure(done.took, now),
            Reason::Enough | Reason::Delay if done.failed == 0 => {}
            Reason::Enough | Reason::Delay if done.failed <= FAILED_MIN && self.wants_measure(now) => {
                self.measure(done.took, now);
            }
            Reason::Caller | Reason::Enough | Reason::Delay => self.adjust(done.failed, done.took),
        }
    }

    fn measure(&mut self, took: Duration, now: Instant) {
        self.quick.rotate_left(1);
        self.quick[3] = took;
        self.measured = Some(now);
    }

    fn adjust(&mut self, failed: usize, took: Duration) {
        let quick = self.quick.into_iter().min().unwrap_or_default();
        if took > quick.saturating_add(quick / FAILED_SLOWDOWN_DIVISOR) {
            self.rows = (self.rows / 2).max(FAILED_MIN);
        } else if failed >= self.rows {
            self.rows = (self.rows + FAILED_MIN).min(OUTCOMES);
        }
    }
}

#[cfg(test)]
mod tests;
