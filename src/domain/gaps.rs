//! Stretches of time that count for nothing: the server was down, the clock was set forward, or nothing could leave the
//! machine. Ages are measured without them. Pure; any thread. Not here: how a gap is noticed (`calendar`, `outage`).

use std::time::Duration;

use super::Timestamp;

/// More are merged, the oldest first.
pub const MAX_GAPS: usize = 64;

/// One stretch, from the first time that does not count to the first that does again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its begin.
    pub from: Timestamp,
    /// Its end.
    pub to: Timestamp,
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
    /// How long it is.
    #[must_use]
    pub fn length(self) -> Duration {
        self.to.since(self.from)
    }

    fn counts(self, purpose: Purpose) -> bool {
        self.is_confirmed && purpose == Purpose::Retention
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
        self.push(Gap { from, to, is_confirmed: false });
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
        let from = self.0.last().map_or(gap.from, |last| gap.from.max(last.to));
        if gap.to <= from {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.to == from && last.is_confirmed == gap.is_confirmed => last.to = gap.to,
            _ => self.0.push(Gap { from, ..gap }),
        }
        while self.0.len() > MAX_GAPS {
            self.merge_the_oldest();
        }
    }

    /// Makes one of the two oldest, as long as both, at the place of the younger. What is older than both has the age
    /// that it had; what lies between them may seem younger for it, never older.
    fn merge_the_oldest(&mut self) {
        let [first, second, ..] = self.0.as_mut_slice() else { return };
        second.from = second.from.minus(first.length());
        second.is_confirmed &= first.is_confirmed;
        self.0.remove(0);
    }

    /// The time whose age is just that at `now`. What is from before it is older.
    #[must_use]
    pub fn cutoff(&self, now: Timestamp, age: Duration, purpose: Purpose) -> Timestamp {
        let (mut end, mut left) = (now, age);
        for gap in self.0.iter().rev().filter(|gap| !gap.counts(purpose) && gap.from < now) {
            let after = end.since(gap.to);
            if left <= after {
                break;
            }
            left -= after;
            end = gap.from;
        }
        let cutoff = end.minus(left);
        // What has a time in a gap was stored while that was still doubted, and is as young as its end.
        let mut counted = self.0.iter().filter(|gap| gap.counts(purpose));
        counted.find(|gap| gap.from < cutoff && cutoff < gap.to).map_or(cutoff, |gap| gap.from)
    }

    /// How much time does not count for retention.
    #[must_use]
    pub fn unconfirmed(&self) -> Duration {
        self.0.iter().filter(|gap| !gap.is_confirmed).map(|gap| gap.length()).sum()
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
        assert_eq!(gaps.all(), [Gap { from: at(100), to: at(400), is_confirmed: false }]);
    }

    #[test]
    fn a_gap_that_goes_on_for_ever_is_no_longer_than_permitted() {
        let mut gaps = Gaps::default();
        for end in (100..900).step_by(100) {
            gaps.add_at_most(at(50), at(end), hours(300));
        }
        assert_eq!(gaps.all(), [Gap { from: at(500), to: at(800), is_confirmed: false }]);
    }

    #[test]
    fn a_gap_is_forgotten_when_everything_that_counts_is_younger() {
        let mut gaps = gaps(&[(100, 200), (500, 900)]);
        assert!(gaps.forget_before(at(200)));
        assert!(!gaps.forget_before(at(899)));
        assert_eq!(gaps.all().len(), 1);
    }

    proptest! {
        #[test]
        fn however_many_gaps_there_are_few_are_kept_and_nothing_gets_older_by_it(
            steps in prop::collection::vec((1_u64..100, 1_u64..100), 1..200),
            age_h in 0_u64..20_000,
        ) {
            let (mut kept, mut all, mut now) = (Gaps::default(), Vec::new(), 0);
            for (service, gap) in steps {
                let from = now + service;
                now = from + gap;
                kept.add(at(from), at(now));
                all.push(Gap { from: at(from), to: at(now), is_confirmed: false });
            }
            let total: Duration = all.iter().map(|gap| gap.length()).sum();
            prop_assert!(kept.all().len() <= MAX_GAPS);
            prop_assert_eq!(kept.unconfirmed(), total);
            prop_assert!(kept.all().windows(2).all(|pair| pair[0].to <= pair[1].from));
            let cutoff = kept.cutoff(at(now), hours(age_h), Purpose::Retention);
            prop_assert!(cutoff <= Gaps(all).cutoff(at(now), hours(age_h), Purpose::Retention));
        }
    }
}
