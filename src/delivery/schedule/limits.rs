//! What an endpoint that has pushed back is held to: attempts a second, and attempts under way, as some receivers count
//! requests in a time and others those at the same time. Pure; lives inside a lane's back-off, and has no lock of its own.
//!
//! A push-back lowers the limit that held attempts back last, or the rate, if all that were under way were pushed back.
//! The rate falls to a bit under what got through lately. Both grow again while they hold attempts back, slowly at first,
//! then ever faster; in the end there is no limit any more.

use std::time::Duration;

use crate::domain::Timestamp;

/// The part of what got through that the rate falls to.
const DECREASE: f64 = 0.9;
/// Attempts a second after the first push-back, if fewer were made lately: then nothing is known of the limit.
const FIRST_RATE: f64 = 10.0;
/// Attempts a second at least.
const LEAST_RATE: f64 = 0.5;
/// By what part of itself the rate grows in the first second; this doubles with each further one.
const GROWTH: f64 = 0.05;
/// The same as long as no limit is known: from the first push-back to the second.
const FIRST_GROWTH: f64 = 1.0;
/// By how many attempts under way their limit grows in the first second; this doubles with each further one.
const ATTEMPTS_GROWTH: f64 = 0.25;
/// A second counts as one for growing if there are so many answers in it, so that a slow receiver is not asked too often
/// whether it takes more.
const ANSWERS_A_SECOND: f64 = 10.0;
/// After so many such seconds without a push-back there is no limit any more.
const FORGOTTEN_AFTER: f64 = 10.0;
/// A push-back sooner than this after the rate fell shows that this did not help; so often in a row, and it never will.
const HELPED_AFTER: f64 = 1.0;
const IN_VAIN: u32 = 5;
/// The first pause, if the time between two attempts is not longer: some receivers take so many requests in each second,
/// and what is left of the second has to go by.
const PAUSE_S: f64 = 0.025;
/// What got through is measured over one to two such times, in seconds.
const MEASURED_S: f64 = 1.0;
/// What comes at shorter intervals than this goes out several at a time, as lanes wake up at whole milliseconds.
const TOGETHER_S: f64 = 0.005;

/// The limits of one endpoint, and what they are made of.
#[derive(Debug)]
pub(in crate::delivery) struct Limits {
    /// All times below are seconds since then.
    since: Timestamp,
    rate: Growing,
    attempts: Growing,
    growth: f64,
    /// Which of the two held attempts back last.
    bound: Bound,
    next_at: f64,
    last_sent: f64,
    last_taken: f64,
    /// Did more wait when the last attempt began?
    more_waited: bool,
    /// For how long there was something to send, and how much of it was taken meanwhile.
    busy: f64,
    taken: f64,
    /// How many were under way when their limit was lowered, as long as it may turn out to be the rate.
    lowered_from: Option<f64>,
    lowered_in_vain: u32,
}

/// A limit that grows while it holds attempts back and none is pushed back.
#[derive(Clone, Copy, Debug)]
struct Growing {
    base: f64,
    /// For how many seconds it has grown.
    grown: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Rate,
    Attempts,
    Neither,
}

impl Limits {
    /// For an endpoint that has taken so many within the last second, and so many are under way beside the one that it
    /// pushed back.
    pub(in crate::delivery) fn new(now: Timestamp, taken_in_a_second: u32, others: usize) -> Self {
        let rate = f64::from(taken_in_a_second).max(FIRST_RATE) * DECREASE;
        let others = float(others);
        Self {
            since: now,
            rate: Growing::from(rate),
            attempts: Growing::from(others.max(1.0)),
            growth: FIRST_GROWTH,
            bound: Bound::Neither,
            next_at: 0.0,
            last_sent: 0.0,
            last_taken: 0.0,
            more_waited: true,
            busy: 0.0,
            taken: 0.0,
            lowered_from: Some(others + 1.0),
            lowered_in_vain: 0,
        }
    }

    /// An attempt begins. `more_waits`: there is a further one to make.
    pub(in crate::delivery) fn sent(&mut self, now: Timestamp, more_waits: bool) {
        let (now, interval) = (self.at(now), self.rate().recip());
        let gap = now - self.last_sent;
        if self.more_waited {
            self.busy += gap;
        } else {
            // There was nothing to send, and so nothing to learn of the limits. They are forgotten all the same.
            self.busy += gap.min(interval);
            let idle = (gap - interval).max(0.0);
            let grown = idle.min(idle / interval / ANSWERS_A_SECOND);
            self.rate.grown += grown;
            self.attempts.grown += grown;
            self.bound = Bound::Neither;
        }
        if self.busy > MEASURED_S {
            self.busy /= 2.0;
            self.taken /= 2.0;
        }
        self.last_sent = now;
        self.more_waited = more_waits;
        self.next_at = self.next_at.max(now - (TOGETHER_S - interval).max(0.0)) + interval;
    }

    /// An attempt got an answer that does not push back.
    pub(in crate::delivery) fn taken(&mut self, now: Timestamp) {
        let now = self.at(now);
        self.taken += 1.0;
        let grown = (now - self.last_taken).min(ANSWERS_A_SECOND.recip());
        self.last_taken = now;
        if self.bound != Bound::Attempts {
            self.rate.grown += grown;
        }
        if self.bound != Bound::Rate {
            self.attempts.grown += grown;
        }
    }

    /// A rest is over, in which nothing could grow.
    pub(in crate::delivery) fn resume(&mut self, now: Timestamp) {
        self.last_taken = self.at(now);
    }

    /// An attempt was pushed back, and so many others are under way. `rounds`: how many rounds before it were pushed back
    /// as well; none if it belongs to a round that has lowered the limits already.
    pub(in crate::delivery) fn lower(&mut self, now: Timestamp, rounds: Option<u32>, others: usize) {
        let others = float(others);
        self.last_taken = self.at(now);
        match rounds {
            None => {
                // They came together, and those that were not taken are too many, unless none was taken.
                self.attempts.base = self.attempts.base.min(others.max(1.0));
                if others < 1.0
                    && let Some(before) = self.lowered_from.take()
                {
                    self.attempts = Growing::from(before);
                    self.lower_rate();
                }
            }
            Some(0) if self.bound == Bound::Attempts && others >= 1.0 => {
                self.lowered_from = Some(self.attempts.base.max(others + 1.0));
                self.attempts = Growing::from(others);
            }
            Some(0) => {
                self.lowered_from = None;
                self.lower_rate();
            }
            Some(_) => {}
        }
    }

    fn lower_rate(&mut self) {
        let has_helped = self.rate.grown >= HELPED_AFTER;
        self.lowered_in_vain = if has_helped { 0 } else { self.lowered_in_vain.saturating_add(1) };
        let got_through = if self.busy > 0.0 { self.taken / self.busy } else { self.rate() };
        self.rate = Growing::from((DECREASE * got_through.min(self.rate())).max(LEAST_RATE));
        self.growth = GROWTH;
    }

    /// Leaves the endpoint alone for a moment, the longer the more rounds were pushed back.
    pub(in crate::delivery) fn pause(&mut self, now: Timestamp, rounds: u32, longest: Duration) {
        let pause = self.rate().recip().max(PAUSE_S) * f64::from(rounds.min(20)).exp2();
        self.next_at = self.next_at.max(self.at(now) + pause.min(longest.as_secs_f64()));
    }

    /// Takes note of which limit holds attempts back while so many are under way.
    pub(in crate::delivery) fn note_bound(&mut self, now: Timestamp, under_way: usize) {
        if self.are_reached(under_way) {
            self.bound = Bound::Attempts;
        } else if self.next_at > self.at(now) {
            self.bound = Bound::Rate;
        }
    }

    /// Would one more be too many at the same time?
    pub(in crate::delivery) fn are_reached(&self, under_way: usize) -> bool {
        float(under_way) + 1.0 > self.attempts.base + ATTEMPTS_GROWTH * self.attempts.doublings()
    }

    /// When the next attempt may begin, if that is not now.
    pub(in crate::delivery) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        // Timestamps are whole milliseconds, and too early would be too often.
        let next = Duration::try_from_secs_f64(self.next_at).unwrap_or(Duration::MAX);
        let next = self.since.plus(next.saturating_add(Duration::from_micros(999)));
        (next > now).then_some(next)
    }

    /// Has nothing been pushed back for so long that there is no limit any more?
    pub(in crate::delivery) fn are_forgotten(&self) -> bool {
        self.rate.grown.max(self.attempts.grown) > FORGOTTEN_AFTER
    }

    /// Does the endpoint push back whatever the limits are?
    pub(in crate::delivery) fn are_in_vain(&self) -> bool {
        self.lowered_in_vain >= IN_VAIN
    }

    fn at(&self, now: Timestamp) -> f64 {
        now.since(self.since).as_secs_f64()
    }

    fn rate(&self) -> f64 {
        self.rate.base * (1.0 + self.growth * self.rate.doublings())
    }
}

impl Growing {
    fn from(base: f64) -> Self {
        Self { base, grown: 0.0 }
    }

    /// 0 at first, 1 after a second, 3 after another.
    fn doublings(self) -> f64 {
        self.grown.min(FORGOTTEN_AFTER).exp2() - 1.0
    }
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
