//! How fast an endpoint is sent to that pushes back, that is, answers 429 or 503. A pure state machine without clock or
//! I/O; lives inside a lane, and has no lock of its own.
//!
//! It is congestion control as TCP has it. While an endpoint does not push back there is no limit. When it does, its
//! `Limits` fall to a bit under what got through, and grow again until the next push-back. Further push-backs before
//! anything gets through double a pause, after which one attempt has to be answered before the next begins. Five in a
//! row rest the lane for as long as the endpoint asks.

use std::time::Duration;

use crate::delivery::schedule::answer_count::AnswerCount;
use crate::delivery::schedule::limits::Limits;
use crate::domain::Timestamp;

/// So many push-backs in a row, and the endpoint is left alone for as long as it asks.
const IN_A_ROW: u32 = 5;
/// How long it is left alone if it does not say, doubled with each time that nothing got through in between.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// Fewer than one push-back among so many answers are a receiver's hiccups, and slow nobody down.
const FEW: u32 = 50;
/// An endpoint that pushes back however little it gets is not slowed down for this long; it still gets its rests.
const INDIFFERENT_FOR: Duration = Duration::from_secs(30);

/// Why no further attempt may begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The next one goes then, at the rate that the endpoint takes.
    Paced(Timestamp),
    /// The endpoint has pushed back five times in a row. Then one attempt finds out whether it takes more.
    Resting(Timestamp),
    /// As many are under way as the endpoint takes at the same time, or the one that finds out.
    Full,
}

/// One attempt of the endpoint; later ones are greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn(u64);

/// What is known of how much an endpoint takes.
#[derive(Debug, Default)]
pub struct Backoff {
    next_turn: Turn,
    lately: AnswerCount,
    /// How many answers in a row were push-backs.
    in_a_row: u32,
    /// Until when the first of those asked to be left alone.
    asked_until: Option<Timestamp>,
    limits: Option<Limits>,
    /// What began before it says nothing about the last change.
    round: Turn,
    /// How many rounds in a row were pushed back.
    rounds: u32,
    /// The attempt that finds out whether the endpoint takes more.
    probe: Option<Turn>,
    /// The rest that was taken, until something gets through.
    rest: Option<Timestamp>,
    backoffs: u32,
    indifferent_until: Option<Timestamp>,
}

impl Backoff {
    /// An attempt begins; with it so many are under way. `more_waits`: there is a further one to make.
    pub fn sent(&mut self, now: Timestamp, under_way: usize, more_waits: bool) -> Turn {
        let turn = self.next_turn;
        self.next_turn.0 += 1;
        if let Some(limits) = &mut self.limits {
            if self.rounds > 0 {
                self.probe = Some(turn);
            }
            limits.sent(now, more_waits);
            limits.note_bound(now, under_way);
        }
        turn
    }

    /// An attempt came to nothing that says how much the endpoint takes.
    pub fn ended(&mut self, turn: Turn) {
        if self.probe == Some(turn) {
            self.probe = None;
        }
    }

    /// An attempt got an answer that does not push back; now so many are under way.
    pub fn taken(&mut self, turn: Turn, now: Timestamp, under_way: usize) {
        self.ended(turn);
        self.in_a_row = 0;
        self.lately.count(now, false);
        let Some(limits) = &mut self.limits else { return };
        limits.taken(now);
        if turn >= self.round {
            self.rounds = 0;
            if self.rest.take().is_some() {
                self.backoffs = 0;
                limits.resume(now);
            }
        }
        limits.note_bound(now, under_way);
        if self.rest.is_none() && limits.are_forgotten() {
            self.limits = None;
        }
    }

    /// An attempt was pushed back; now so many are under way. `retry_after`: how long the endpoint asked to be left
    /// alone.
    pub fn pushed_back(&mut self, turn: Turn, now: Timestamp, retry_after: Option<Duration>, under_way: usize) {
        self.ended(turn);
        self.lately.count(now, true);
        let asked_until = retry_after.map(|wait| now.plus(wait));
        self.asked_until = match self.in_a_row {
            0 => asked_until,
            _ => self.asked_until.into_iter().chain(asked_until).min(),
        };
        self.in_a_row = self.in_a_row.saturating_add(1);
        let is_row = self.in_a_row >= IN_A_ROW;
        if self.limits.is_none() && !is_row && self.is_negligible(now) {
            return;
        }
        let is_new = self.limits.is_none() || turn >= self.round;
        match &mut self.limits {
            Some(limits) => limits.lower(now, is_new.then_some(self.rounds), under_way),
            none => {
                *none = Some(Limits::new(now, self.lately.taken_in_a_second(now), under_way));
                self.rounds = 0;
            }
        }
        let Some(limits) = self.limits.as_mut().filter(|limits| is_row || !limits.are_in_vain()) else {
            (self.limits, self.rest) = (None, None);
            self.indifferent_until = Some(now.plus(INDIFFERENT_FOR));
            return;
        };
        if is_new {
            limits.pause(now, self.rounds, BACKOFF_MAX);
            self.rounds = self.rounds.saturating_add(1);
            self.round = self.next_turn;
        }
        match self.rest {
            None if is_row => self.begin_rest(now, self.asked_until),
            // The attempt that was to find out has found out.
            Some(_) if is_new => self.begin_rest(now, asked_until),
            _ => {}
        }
        if let Some(limits) = &mut self.limits {
            limits.note_bound(now, under_way);
        }
    }

    /// May another attempt begin beside those that are under way?
    #[must_use]
    pub fn hold(&self, now: Timestamp, under_way: usize) -> Option<Hold> {
        let limits = self.limits.as_ref()?;
        match self.rest {
            Some(until) if until > now => Some(Hold::Resting(until)),
            Some(_) => (under_way > 0).then_some(Hold::Full),
            None if self.probe.is_some() || limits.are_reached(under_way) => Some(Hold::Full),
            None => limits.next(now).map(Hold::Paced),
        }
    }

    /// Somebody expects the endpoint to take more: its rest is over, and one attempt finds out. Returns whether it rested.
    pub fn end_rest(&mut self, now: Timestamp) -> bool {
        let is_resting = self.rest.is_some_and(|until| until > now);
        if is_resting {
            self.rest = Some(now);
        }
        is_resting
    }

    fn begin_rest(&mut self, now: Timestamp, asked_until: Option<Timestamp>) {
        let unasked = BACKOFF_MIN.saturating_mul(1 << self.backoffs.min(10)).min(BACKOFF_MAX);
        self.rest = Some(asked_until.unwrap_or(now.plus(unasked)).max(now.plus(BACKOFF_MIN)));
        self.backoffs = self.backoffs.saturating_add(1);
        self.round = self.next_turn;
    }

    /// Is it no sign of a limit?
    fn is_negligible(&self, now: Timestamp) -> bool {
        let is_indifferent = self.indifferent_until.is_some_and(|until| now < until);
        is_indifferent || self.lately.pushed_back().saturating_mul(FEW) < self.lately.taken_in_a_second(now)
    }
}

#[cfg(test)]
mod tests;
