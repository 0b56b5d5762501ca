//! Stretches of time that count for nothing: the server was down, the clock was set forward, or nothing could leave the
//! machine. Ages are measured without them. Pure; any thread. Not here: how a gap is noticed (`calendar`, `outage`).
//!
//! So that there are never many, neighbours that lie close together, for how long ago they were, become one. All that is
//! older than both, or younger, keeps its age; what lies between them is taken to be as young as the end of the second. So
//! nothing is removed earlier for it, and nothing kept for more than a quarter longer.

use std::time::Duration;

use super::Timestamp;

/// More are merged.
pub const MAX_GAPS: usize = 128;

/// One stretch, from the first time that does not count to the first that does again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its begin.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
    /// How much of it counts, as it lay between gaps that were merged.
    pub between: Duration,
    /// The operator has said that this time has passed: it counts for retention, and still not against endpoints.
    pub is_confirmed: bool,
}

/// For what an age is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// How long something is kept.
    Retention,
    /// How long an endpoint has failed.
    Health,
}

impl Gap {
    /// How much of it does not count.
    #[must_use]
    pub fn left_out(&self) -> Duration {
        self.whole().saturating_sub(self.between)
    }

    fn whole(&self) -> Duration {
        self.to.since(self.from)
    }

    /// How much of the part of it before `end` counts.
    fn counted(&self, end: Timestamp, purpose: Purpose) -> Duration {
        let whole = self.to.min(end).since(self.from);
        if self.is_confirmed && purpose == Purpose::Retention { whole } else { self.between.min(whole) }
    }

    /// Both in one.
    fn merged_with(&self, next: &Self) -> Self {
        Self {
            from: self.from,
            to: next.to,
            between: self.between + next.from.since(self.to) + next.between,
            is_confirmed: self.is_confirmed && next.is_confirmed,
        }
    }
}

/// Gaps in the order of time, none of which overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps(Vec<Gap>);

impl Gaps {
    /// From what was stored, in any order.
    #[must_use]
    pub fn new(mut gaps: Vec<Gap>) -> Self {
        gaps.sort_by_key(|gap| gap.from);
        let mut all = Self::default();
        for gap in gaps {
            all.push(gap);
        }
        all
    }

    /// All of them, the oldest first.
    #[must_use]
    pub fn all(&self) -> &[Gap] {
        &self.0
    }

    /// Adds a stretch. What lies before the end of the last one is left as it is.
    pub fn add(&mut self, from: Timestamp, to: Timestamp) {
        self.push(Gap { from, to, between: Duration::ZERO, is_confirmed: false });
    }

    /// Adds a stretch like [`Self::add`]; together with the one that it continues it is at most that long, so that
    /// what goes on for ever does not stop retention for ever.
    pub fn add_at_most(&mut self, from: Timestamp, to: Timestamp, longest: Duration) {
        self.add(from, to);
        if let Some(last) = self.0.last_mut().filter(|last| last.to == to) {
            last.from = last.from.max(to.minus(longest));
        }
    }

    fn push(&mut self, gap: Gap) {
        self.insert(gap);
        while self.0.len() > MAX_GAPS {
            self.merge_two();
        }
    }

    fn insert(&mut self, gap: Gap) {
        let from = self.0.last().map_or(gap.from, |last| gap.from.max(last.to));
        if gap.to <= from {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.to == from && last.is_confirmed == gap.is_confirmed => {
                last.to = gap.to;
                last.between += gap.between;
            }
            _ => self.0.push(Gap { from, ..gap }),
        }
    }

    /// Makes one of the two neighbours that together are shortest for their age, of two of the same kind if there are any:
    /// as much detail is left of yesterday as of last year.
    fn merge_two(&mut self) {
        let Some(now) = self.0.last().map(|last| last.to) else { return };
        let mut best: Option<(usize, Gap, bool)> = None;
        for (place, pair) in self.0.windows(2).enumerate() {
            let [first, second] = pair else { continue };
            let (merged, is_mixed) = (first.merged_with(second), first.is_confirmed != second.is_confirmed);
            let is_better = best.is_none_or(|(_, best, best_is_mixed)| match (is_mixed, best_is_mixed) {
                (true, false) => false,
                (false, true) => true,
                _ => is_shorter_for_its_age(&merged, &best, now),
            });
            if is_better {
                best = Some((place, merged, is_mixed));
            }
        }
        if let Some((place, merged, _)) = best {
            self.0.splice(place..=place + 1, [merged]);
        }
    }

    /// The time whose age is just that at `now`. What is from before it is older.
    #[must_use]
    pub fn cutoff(&self, now: Timestamp, age: Duration, purpose: Purpose) -> Timestamp {
        let (mut end, mut left) = (now, age);
        for gap in self.0.iter().rev().filter(|gap| gap.from < now) {
            let after = end.since(gap.to);
            if left <= after {
                break;
            }
            left -= after;
            let counted = gap.counted(end, purpose);
            // What has a time in a gap was stored while that was doubted, or lies between gaps that were merged, and is as
            // young as its end.
            if left <= counted {
                return gap.from;
            }
            left -= counted;
            end = gap.from;
        }
        end.minus(left)
    }

    /// How much time does not count for retention.
    #[must_use]
    pub fn unconfirmed(&self) -> Duration {
        self.0.iter().filter(|gap| !gap.is_confirmed).map(Gap::left_out).sum()
    }

    /// From now on all of them count for retention.
    pub fn confirm(&mut self) {
        for gap in &mut self.0 {
            gap.is_confirmed = true;
        }
    }

    /// Forgets those that ended before, which matter to nothing that is younger. Says whether there were any.
    pub fn forget_before(&mut self, time: Timestamp) -> bool {
        let before = self.0.len();
        self.0.retain(|gap| gap.to > time);
        self.0.len() < before
    }
}

/// Is one a smaller part of the time since its begin than the other?
fn is_shorter_for_its_age(one: &Gap, other: &Gap, now: Timestamp) -> bool {
    let age = |gap: &Gap| now.since(gap.from).as_millis();
    one.whole().as_millis() * age(other) < other.whole().as_millis() * age(one)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(h: u64) -> Timestamp {
        Timestamp::from_ms(h * 3_600_000)
    }

    fn hours(h: u64) -> Duration {
        Duration::from_hours(h)
    }

    fn gap(from: u64, to: u64) -> Gap {
        Gap { from: at(from), to: at(to), between: Duration::ZERO, is_confirmed: false }
    }

    fn gaps(stretches: &[(u64, u64)]) -> Gaps {
        let mut gaps = Gaps::default();
        for (from, to) in stretches {
            gaps.add(at(*from), at(*to));
        }
        gaps
    }

    fn cutoff(gaps: &Gaps, age_h: u64) -> Timestamp {
        gaps.cutoff(at(1000), hours(age_h), Purpose::Retention)
    }

    #[test]
    fn an_age_is_measured_without_the_gaps() {
        let gaps = gaps(&[(100, 200), (500, 900)]);
        assert_eq!(cutoff(&Gaps::default(), 300), at(700));
        assert_eq!(cutoff(&gaps, 100), at(900), "all of it after the last gap");
        assert_eq!(cutoff(&gaps, 101), at(499), "an hour before the last gap");
        assert_eq!(cutoff(&gaps, 401), at(99));
        assert_eq!(cutoff(&gaps, 5000), at(0), "longer than there is time");
    }

    #[test]
    fn a_gap_that_is_confirmed_counts_for_retention_and_still_not_against_endpoints() {
        let mut gaps = gaps(&[(500, 900)]);
        gaps.confirm();
        assert_eq!(cutoff(&gaps, 50), at(950));
        assert_eq!(cutoff(&gaps, 600), at(400));
        assert_eq!(cutoff(&gaps, 300), at(500), "in it, and nothing from in it is so old");
        assert_eq!(gaps.cutoff(at(1000), hours(300), Purpose::Health), at(300));
        gaps.add(at(900), at(950));
        assert_eq!(gaps.all().len(), 2, "a new one is not confirmed with it");
        assert_eq!(gaps.unconfirmed(), hours(50));
    }

    #[test]
    fn gaps_that_touch_become_one_and_none_overlap() {
        let gaps = gaps(&[(100, 200), (200, 300), (250, 280), (290, 400)]);
        assert_eq!(gaps.all(), [gap(100, 400)]);
    }

    #[test]
    fn a_gap_that_goes_on_for_ever_is_no_longer_than_permitted() {
        let mut gaps = Gaps::default();
        for end in (100..900).step_by(100) {
            gaps.add_at_most(at(50), at(end), hours(300));
        }
        assert_eq!(gaps.all(), [gap(500, 800)]);
    }

    #[test]
    fn a_gap_is_forgotten_when_everything_that_counts_is_younger() {
        let mut gaps = gaps(&[(100, 200), (500, 900)]);
        assert!(gaps.forget_before(at(200)));
        assert!(!gaps.forget_before(at(899)));
        assert_eq!(gaps.all().len(), 1);
    }

    /// As they were told, none of them merged.
    #[derive(Default)]
    struct Told {
        kept: Gaps,
        all: Gaps,
        now: u64,
    }

    impl Told {
        /// After each of these spans of service the clock leaps. Sometimes somebody confirms it.
        fn after(steps: &[(u64, u64, bool)]) -> Self {
            let mut told = Self::default();
            for (service, leap, is_confirmed) in steps {
                let from = told.now + service;
                told.now = from + leap;
                told.kept.add(at(from), at(told.now));
                told.all.insert(gap(from, told.now));
                if *is_confirmed {
                    told.kept.confirm();
                    told.all.confirm();
                }
            }
            told
        }

        /// What is removed with the gaps that are kept, and with all of them.
        fn cutoffs(&self, age_h: u64, purpose: Purpose) -> (Timestamp, Timestamp) {
            let [kept, all] = [&self.kept, &self.all].map(|gaps| gaps.cutoff(at(self.now), hours(age_h), purpose));
            (kept, all)
        }
    }

    #[test]
    fn two_that_are_merged_change_no_age_but_of_what_lies_between_them() {
        let apart = gaps(&[(100, 200), (500, 900)]);
        let merged = Gaps(vec![apart.0[0].merged_with(&apart.0[1])]);
        assert_eq!(merged.unconfirmed(), hours(500));
        let confirmed = [&apart, &merged].map(|gaps| {
            let mut gaps = gaps.clone();
            gaps.confirm();
            gaps
        });
        for [apart, merged] in [[apart, merged], confirmed] {
            for (age_h, purpose) in (0..1000).flat_map(|age_h| [(age_h, Purpose::Retention), (age_h, Purpose::Health)])
            {
                let [apart, merged] = [&apart, &merged].map(|gaps| gaps.cutoff(at(1000), hours(age_h), purpose));
                let is_between = at(100) <= apart && apart < at(900);
                assert_eq!(merged, if is_between { at(100) } else { apart }, "{purpose:?}, {age_h} h");
            }
        }
    }

    proptest! {
        #[test]
        fn however_often_the_clock_leaps_few_gaps_are_kept_and_nothing_is_removed_early_or_much_too_late(
            steps in prop::collection::vec((1_u64..100, 1_u64..100, prop::bool::weighted(0.1)), 1..600),
            age in 0..1200_u64,
        ) {
            let told = Told::after(&steps);
            prop_assert!(told.kept.all().len() <= MAX_GAPS);
            prop_assert_eq!(told.kept.unconfirmed(), told.all.unconfirmed());
            prop_assert!(told.kept.all().windows(2).all(|pair| pair[0].to <= pair[1].from));
            let age_h = age * told.now / 1000;
            for purpose in [Purpose::Retention, Purpose::Health] {
                let (kept, all) = told.cutoffs(age_h, purpose);
                prop_assert!(kept <= all, "{purpose:?}: {kept} is later than {all}");
                let late = all.since(kept);
                prop_assert!(late <= at(told.now).since(kept) / 4, "{purpose:?}: {kept} instead of {all}");
            }
        }
    }

    #[test]
    fn retention_goes_on_while_the_clock_leaps_for_ever() {
        // An hour of service and a leap of an hour, for years; at each time all that is kept is a week old at most, by either.
        for confirmed_every in [1, 7, 100, u64::MAX] {
            let mut gaps = Gaps::default();
            for leap in 1..5000_u64 {
                let now = at(2 * leap);
                gaps.add(at(2 * leap - 1), now);
                if leap.is_multiple_of(confirmed_every) {
                    gaps.confirm();
                }
                let cutoff = gaps.cutoff(now, hours(7 * 24), Purpose::Retention);
                assert!(now.since(cutoff) <= hours(2 * 7 * 24 * 5 / 4), "{confirmed_every} {leap}");
                gaps.forget_before(cutoff.min(gaps.cutoff(now, hours(7 * 24), Purpose::Health)));
            }
        }
    }
}
