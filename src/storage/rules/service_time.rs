//! How far this store's time has come: the calendar, the steady clock and the gaps. Runs on the writer thread, and on
//! the main thread before that exists. What is kept and which endpoints have failed for too long is decided by this time,
//! never by a clock alone. It stores nothing itself.

use std::time::Duration;

use crate::clock::{Clock, Readings};
use crate::domain::Timestamp;
use crate::domain::calendar::{BELIEVED_AT_ONCE, Calendar, Leap, TOLERANCE};
use crate::domain::delivery::health::{HealthLimits, HealthRule};
use crate::domain::delivery::outcome::Outcome;
use crate::domain::gaps::{Gaps, Purpose};
use crate::domain::outage::Outage;
use crate::domain::timestamp::span_in_words;

/// How often it is written down beside what is committed anyway. After a crash so much seems not to have passed.
const NOTED_EVERY: Duration = Duration::from_mins(1);
/// Leaps and stretches from this length on are told as a warning.
const WARNED_FROM: Duration = Duration::from_hours(24);
/// The time of a store. It is the clock of one process, continued after a restart; an engine that several share has to
/// give them one.
#[derive(Debug)]
pub struct ServiceTime {
    calendar: Calendar,
    gaps: Gaps,
    outage: Outage,
    /// When it was last written down, by the steady clock.
    noted: Option<Timestamp>,
    /// The gaps in `meta` are others.
    is_changed: bool,
    /// The wall clock is behind the calendar, and the log says so.
    is_behind: bool,
}

/// Where a store's time stood when it was last written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The calendar's time, if there ever was one.
    pub now: Option<Timestamp>,
    /// The steady clock's time then.
    pub monotonic: Timestamp,
    /// What does not count.
    pub gaps: Gaps,
}

impl Seen {
    /// How much does not count for retention, if the time went on now: what is noted, and what is not yet.
    #[must_use]
    pub fn left_out(&self, wall: Timestamp) -> Duration {
        let since = self.now.map_or(Duration::ZERO, |now| wall.since(now));
        self.gaps.unconfirmed() + if since > TOLERANCE { since } else { Duration::ZERO }
    }

    /// When a time on the steady clock was or will be by the calendar, as far as that had come.
    #[must_use]
    pub fn on_the_calendar(&self, monotonic: Timestamp) -> Timestamp {
        Readings { wall: self.now.unwrap_or_default(), monotonic: self.monotonic }.on_the_wall(monotonic)
    }

    /// Where the steady clock goes on: what was planned is due when it would have been, unless the server seems to have
    /// been down for so long that the clock may well be wrong.
    fn steady_at(&self, wall: Timestamp) -> Timestamp {
        let late = self.now.map_or(Duration::ZERO, |now| wall.since(now));
        if late <= BELIEVED_AT_ONCE { self.monotonic.plus(late) } else { self.monotonic }
    }

    /// After a restore, now by the clock: the time since the backup counts for nothing, so that what was restored is as
    /// old as it was. New events are dated after all that the store that is `replaced` has dated.
    #[must_use]
    pub fn skipped_to(self, now: Timestamp, replaced: Option<Timestamp>) -> Self {
        let Some(then) = self.now else { return self };
        let now = now.max(then).max(replaced.map(resumed).unwrap_or_default());
        let monotonic = self.steady_at(now);
        let mut gaps = self.gaps;
        gaps.add(resumed(then), now);
        Self { now: Some(now), monotonic, gaps }
    }
}

/// How far a store's time has come, to be stored.
#[derive(Debug)]
pub struct Note<'a> {
    /// The calendar's time.
    pub now: Timestamp,
    /// The steady clock's time.
    pub monotonic: Timestamp,
    /// The gaps, if they are others than those that are stored.
    pub gaps: Option<&'a Gaps>,
}

impl ServiceTime {
    /// Goes on with the time of a store. Gives the clock whose steady reading goes on, too.
    pub fn resume(seen: Seen, clock: Clock) -> (Self, Clock) {
        let wall = clock.wall();
        let (now, clock) = match seen.now {
            None => (wall, clock),
            Some(now) => {
                // A moment's absence is no gap.
                let now = if wall.since(now) <= TOLERANCE { now.max(wall) } else { resumed(now) };
                (now, clock.resumed_at(seen.steady_at(wall)))
            }
        };
        let calendar = Calendar::resumed(now, clock.monotonic());
        let gaps = seen.gaps;
        let mut time =
            Self { calendar, gaps, outage: Outage::default(), noted: None, is_changed: false, is_behind: false };
        time.observe(clock.read());
        (time, clock)
    }

    /// The calendar, as far as it was looked at.
    pub fn calendar(&self) -> Calendar {
        self.calendar
    }

    /// The time that what happens now is dated with.
    pub fn now(&self) -> Timestamp {
        self.calendar.now()
    }

    /// Looks at the clocks.
    pub fn observe(&mut self, Readings { wall, monotonic }: Readings) {
        let before = self.calendar;
        let (calendar, leap) = before.at(wall, monotonic);
        self.calendar = calendar;
        if let Some(leap) = leap {
            self.gaps.add(leap.from, leap.to);
            self.is_changed = true;
            tell_leap(leap);
        } else if calendar.doubted_from().is_some() && before.doubted_from().is_none() {
            let (now, ahead) = (calendar.now(), span_in_words(wall.since(calendar.now())));
            log::warn!(
                "the clock says {wall}, {ahead} after {now}, when this store was last used. If that persists for some minutes, it is accepted; until then new events get times from {now} on. If the clock is right, confirm it: tempclock-webhooks clock confirm"
            );
        }
        self.note_clock_behind(wall);
    }

    fn note_clock_behind(&mut self, wall: Timestamp) {
        let now = self.calendar.now();
        let behind = now.since(wall);
        let is_behind = behind > TOLERANCE;
        if is_behind && !self.is_behind {
            log::warn!(
                "the clock says {wall}, {} before {now}, the newest time in this store. Until the clock reaches it, new events get the time {now}, and nothing ages. If the clock is wrong, correct it; NTP keeps it right",
                span_in_words(behind)
            );
        }
        self.is_behind = is_behind;
    }

    /// Takes in how an attempt at that host ended. Says whether it failed because this machine's network is out.
    pub fn attempted(&mut self, outcome: &Outcome, host: &str, longest_gap: Duration) -> bool {
        let before = self.outage.stretch();
        let is_out = self.outage.after(outcome.way_out(), host, self.calendar.now());
        match (before, self.outage.stretch()) {
            (_, Some((from, to))) if to.since(from) > TOLERANCE => {
                if before.is_none_or(|(from, to)| to.since(from) <= TOLERANCE) {
                    log::warn!(
                        "no attempt has got a response since {from}: this machine has no route or name server, or no host responds, so the fault is on this side. This time counts neither against endpoints nor for retention"
                    );
                }
                let told = self.gaps.all().last().map(|gap| gap.to).unwrap_or_default();
                if to.since(told.max(from)) >= NOTED_EVERY {
                    self.gaps.add_at_most(from, to, longest_gap);
                    self.is_changed = true;
                }
            }
            (Some((from, to)), None) if to.since(from) > TOLERANCE => {
                log::info!("attempts get responses again; none did from {from} to {to}");
            }
            _ => {}
        }
        is_out
    }

    /// The operator says that the clock is right. Gives how much counts for retention that did not.
    pub fn confirm(&mut self, Readings { wall, monotonic }: Readings) -> Duration {
        if self.calendar.doubted_from().is_some() {
            let (calendar, leap) = self.calendar.believing(wall, monotonic);
            self.calendar = calendar;
            if let Some(Leap { from, to }) = leap {
                self.gaps.add(from, to);
            }
        }
        let counted = self.gaps.unconfirmed();
        self.gaps.confirm();
        self.is_changed = true;
        counted
    }

    /// What is from before this is older than `age`.
    pub fn kept_from(&self, age: Duration) -> Timestamp {
        self.gaps.cutoff(self.now(), age, Purpose::Retention)
    }

    /// The rule about endpoints, at this time.
    pub fn health_limits(&self, rule: HealthRule) -> HealthLimits {
        let before = |age| self.gaps.cutoff(self.now(), age, Purpose::Health);
        HealthLimits { disable_before: before(rule.disable_after), forget_before: before(rule.forget_after) }
    }

    /// Forgets gaps that matter to nothing that is kept for `longest` at most.
    pub fn forget_gaps(&mut self, longest: Duration) {
        let ages = [Purpose::Retention, Purpose::Health].map(|purpose| self.gaps.cutoff(self.now(), longest, purpose));
        self.is_changed |= self.gaps.forget_before(ages[0].min(ages[1]));
    }

    /// What is to be stored now, if it is time to.
    pub fn note(&mut self, monotonic: Timestamp) -> Option<Note<'_>> {
        let is_changed = std::mem::take(&mut self.is_changed);
        if !is_changed && self.noted.is_some_and(|noted| monotonic.since(noted) < NOTED_EVERY) {
            return None;
        }
        self.noted = Some(monotonic);
        // A doubt begins anew with the next process, and at the same time.
        let now = self.calendar.doubted_from().map_or(self.now(), |from| from.minus(NOTED_EVERY));
        Some(Note { now, monotonic, gaps: is_changed.then_some(&self.gaps) })
    }
}

/// The latest time at which a store can have been at work that has noted that one.
fn resumed(seen: Timestamp) -> Timestamp {
    seen.plus(NOTED_EVERY)
}

fn tell_leap(Leap { from, to }: Leap) {
    let length = to.since(from);
    let level = if length >= WARNED_FROM { log::Level::Warn } else { log::Level::Info };
    log::log!(
        level,
        "the {} from {from} to {to} count neither for retention nor against endpoints: the server was stopped, or the clock was set. To count them for retention: tempclock-webhooks clock confirm",
        span_in_words(length)
    );
}

#[cfg(test)]
mod tests;
