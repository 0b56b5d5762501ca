//! How many attempts each subscription had in every hour of the last seven days, and how long they took: what the charts
//! show. In memory only, so it begins with the process. The writer's listener counts after each commit, HTTP workers read;
//! the lock is held to count one commit or to copy a list of hours, and nothing here waits.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::domain::{SubscriptionId, Timestamp};

/// Hours that are kept.
const HOURS: u64 = 7 * 24;
/// Tallies that are kept, of one subscription in one hour each, which are 5 MB at most; beyond that the oldest hours go.
const TALLIES: usize = 32_768;
/// Milliseconds in an hour.
const HOUR_MS: u64 = 60 * 60 * 1000;
/// Up to how many milliseconds an attempt may take to be counted with others; the last ones have no bound.
const BOUNDS_MS: [u64; 12] = [5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000];

/// Attempts by outcome and duration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that delivered.
    pub delivered: u64,
    /// Those that did not.
    pub failed: u64,
    took: [u64; BOUNDS_MS.len() + 1],
}

impl Tally {
    fn count(&mut self, is_delivered: bool, took: Duration) {
        if is_delivered {
            self.delivered += 1;
        } else {
            self.failed += 1;
        }
        let place = BOUNDS_MS.partition_point(|bound| Duration::from_millis(*bound) < took);
        if let Some(count) = self.took.get_mut(place) {
            *count += 1;
        }
    }

    /// Counts all of another along.
    pub fn merge(&mut self, other: &Self) {
        self.delivered += other.delivered;
        self.failed += other.failed;
        for (own, more) in self.took.iter_mut().zip(other.took) {
            *own += more;
        }
    }

    /// All attempts.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.delivered + self.failed
    }

    /// Within which time so many of a hundred attempts ended; none for more than the last bound. Without attempts the first.
    #[must_use]
    pub fn took(&self, percent: u64) -> Option<Duration> {
        let wanted = (self.attempts() * percent).div_ceil(100);
        let mut counted = 0;
        let place = self.took.iter().position(|count| {
            counted += count;
            counted >= wanted
        });
        BOUNDS_MS.get(place.unwrap_or(BOUNDS_MS.len())).copied().map(Duration::from_millis)
    }
}

/// The hours of the last seven days in which there were attempts.
#[derive(Debug)]
pub struct Activity(Mutex<Kept>);

#[derive(Clone, Debug)]
struct Kept {
    since: Timestamp,
    hours: VecDeque<Arc<Hour>>,
}

#[derive(Clone, Debug)]
struct Hour {
    /// Counted from 1970.
    number: u64,
    tallies: HashMap<SubscriptionId, Tally>,
}

/// One attempt: whose it was, whether it delivered, and how long it took.
pub type Counted = (SubscriptionId, bool, Duration);

impl Activity {
    /// With nothing counted yet.
    #[must_use]
    pub fn beginning_at(now: Timestamp) -> Self {
        Self(Mutex::new(Kept { since: now, hours: VecDeque::new() }))
    }

    /// Counts attempts that have ended now.
    pub fn push(&self, now: Timestamp, attempts: impl IntoIterator<Item = Counted>) {
        let mut attempts = attempts.into_iter().peekable();
        if attempts.peek().is_none() {
            return;
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.make_room(now);
        let Some(hour) = kept.hours.back_mut() else { return };
        // Copied only if a page that is being made has it too.
        let hour = Arc::make_mut(hour);
        for (subscription, is_delivered, took) in attempts {
            hour.tallies.entry(subscription).or_default().count(is_delivered, took);
        }
    }

    /// Everything as it is now.
    #[must_use]
    pub fn history(&self) -> History {
        History(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Kept {
    /// Makes the last hour that of now.
    fn make_room(&mut self, now: Timestamp) {
        let number = now.as_ms() / HOUR_MS;
        // A clock that was set back: what lies ahead of it would stay for ever.
        if self.hours.back().is_some_and(|last| last.number > number + 1) {
            *self = Self { since: now, hours: VecDeque::new() };
        }
        if self.hours.back().is_none_or(|last| last.number < number) {
            self.hours.push_back(Arc::new(Hour { number, tallies: HashMap::new() }));
        }
        let mut tallies: usize = self.hours.iter().map(|hour| hour.tallies.len()).sum();
        while let Some(first) = self.hours.front()
            && self.hours.len() > 1
            && (first.number + HOURS <= number || tallies > TALLIES)
        {
            tallies -= first.tallies.len();
            self.since = self.since.max(start_of(first.number + 1));
            self.hours.pop_front();
        }
    }
}

fn start_of(hour: u64) -> Timestamp {
    Timestamp::from_ms(hour.saturating_mul(HOUR_MS))
}

/// A copy of all that is known, for one page.
#[derive(Debug)]
pub struct History(Kept);

/// How far back a chart goes, in steps of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// 24 steps of an hour.
    Day,
    /// 28 steps of six hours.
    Week,
}

impl Span {
    /// Hours in a step.
    fn step(self) -> u64 {
        match self {
            Self::Day => 1,
            Self::Week => 6,
        }
    }

    /// Steps.
    fn steps(self) -> u64 {
        match self {
            Self::Day => 24,
            Self::Week => 28,
        }
    }
}

/// What was attempted in one step of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When it begins.
    pub start: Timestamp,
    /// What was attempted.
    pub tally: Tally,
}

impl History {
    /// Since when everything is known.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.0.since
    }

    /// The steps of a chart that ends now, oldest first, with what is wanted of them.
    #[must_use]
    pub fn steps(&self, span: Span, now: Timestamp, is_wanted: impl Fn(SubscriptionId) -> bool) -> Vec<Step> {
        let last = now.as_ms() / HOUR_MS / span.step();
        let first = (last + 1).saturating_sub(span.steps());
        let mut steps: Vec<Step> = (first..=last)
            .map(|number| Step { start: start_of(number * span.step()), tally: Tally::default() })
            .collect();
        for hour in &self.0.hours {
            let place = (hour.number / span.step()).checked_sub(first).and_then(|place| usize::try_from(place).ok());
            let Some(step) = place.and_then(|place| steps.get_mut(place)) else { continue };
            for (_, tally) in hour.tallies.iter().filter(|(id, _)| is_wanted(**id)) {
                step.tally.merge(tally);
            }
        }
        steps
    }

    /// What one subscription did in the last 24 hours.
    #[must_use]
    pub fn last_day_of(&self, subscription: SubscriptionId, now: Timestamp) -> Tally {
        let first = (now.as_ms() / HOUR_MS).saturating_sub(23);
        let mut all = Tally::default();
        let hours = self.0.hours.iter().filter(|hour| hour.number >= first);
        for tally in hours.filter_map(|hour| hour.tallies.get(&subscription)) {
            all.merge(tally);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(3);

    fn at(hour: u64) -> Timestamp {
        Timestamp::from_ms(hour * HOUR_MS + 1_000)
    }

    fn id(number: u32) -> SubscriptionId {
        SubscriptionId(number)
    }

    fn attempts(steps: &[Step]) -> Vec<u64> {
        steps.iter().map(|step| step.tally.attempts()).collect()
    }

    #[test]
    fn attempts_are_found_in_their_hour_for_those_who_may_see_them() {
        let activity = Activity::beginning_at(at(1_000));
        activity.push(at(1_000), [(id(1), true, FAST), (id(2), true, FAST)]);
        activity.push(at(1_002), [(id(1), false, FAST), (id(1), true, FAST)]);
        let history = activity.history();
        let day = history.steps(Span::Day, at(1_003), |wanted| wanted == id(1));
        assert_eq!((day.len(), day[23].start), (24, start_of(1_003)));
        assert_eq!(attempts(&day)[20..], [1, 0, 2, 0]);
        assert_eq!((day[22].tally.delivered, day[22].tally.failed), (1, 1));
        let week = history.steps(Span::Week, at(1_003), |_| true);
        assert_eq!((week.len(), week[27].start), (28, start_of(1_002)));
        assert_eq!(attempts(&week)[25..], [0, 2, 2]);
        assert_eq!(history.last_day_of(id(1), at(1_023)).attempts(), 3);
        assert_eq!(history.last_day_of(id(1), at(1_024)).attempts(), 2);
        assert_eq!(history.last_day_of(id(3), at(1_003)), Tally::default());
    }

    #[test]
    fn what_is_no_longer_kept_is_not_said_to_be_known() {
        let activity = Activity::beginning_at(at(0));
        activity.push(at(0), [(id(1), true, FAST)]);
        activity.push(at(HOURS - 1), [(id(1), true, FAST)]);
        assert_eq!(activity.history().since(), at(0));
        activity.push(at(HOURS), [(id(1), true, FAST)]);
        assert_eq!(activity.history().since(), start_of(1));
        // So many subscriptions that two hours are too much: the oldest ones go.
        let many = u32::try_from(TALLIES).unwrap();
        activity.push(at(HOURS + 1), (0..many).map(|number| (id(number), true, FAST)));
        activity.push(at(HOURS + 2), [(id(1), true, FAST)]);
        let history = activity.history();
        assert_eq!(history.since(), start_of(HOURS + 1));
        assert_eq!(attempts(&history.steps(Span::Day, at(HOURS + 2), |_| true))[21..], [0, u64::from(many), 1]);
    }

    #[test]
    fn a_clock_that_is_set_back_begins_anew_and_a_small_step_back_does_not() {
        let activity = Activity::beginning_at(at(5_000));
        activity.push(at(5_000), [(id(1), true, FAST)]);
        activity.push(at(4_999), [(id(1), true, FAST)]);
        assert_eq!(activity.history().last_day_of(id(1), at(5_000)).attempts(), 2);
        activity.push(at(4_000), [(id(1), true, FAST)]);
        let history = activity.history();
        assert_eq!((history.since(), history.last_day_of(id(1), at(4_000)).attempts()), (at(4_000), 1));
    }

    #[test]
    fn durations_are_told_by_the_bound_that_so_many_of_a_hundred_kept() {
        let mut tally = Tally::default();
        for took in [3, 5, 6, 90, 40_000] {
            tally.count(true, Duration::from_millis(took));
        }
        let bounds = [40, 50, 80, 99].map(|percent| tally.took(percent).map(|bound| bound.as_millis()));
        assert_eq!(bounds, [Some(5), Some(10), Some(100), None]);
    }
}
