//! The time that stored things are dated with. It goes by the wall clock and never back; where the wall clock leaps ahead
//! of the monotonic one, it tells which stretch was leapt over, and a leap of days is believed only after it has lasted a
//! while. Pure; any thread.
//!
//! Event ids carry this time and only grow, so one that is made while the clock is wrong dates all that follow until the
//! calendar has caught up.

use std::time::Duration;

use super::Timestamp;

/// Leaps up to this are none: a store that is idle notes the time every ten minutes, and a restart takes a moment.
pub const TOLERANCE: Duration = Duration::from_mins(15);
/// A leap up to this is believed at once: a machine that is off over a weekend is common, a clock wrong by days is not.
pub const BELIEVED_AT_ONCE: Duration = Duration::from_hours(72);
/// A longer one is believed after this time, in which a machine that has just started usually gets its clock set right.
pub const DOUBT: Duration = Duration::from_mins(5);

/// The calendar as far as it has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calendar {
    now: Timestamp,
    /// A wall time that was believed, and the steady time then.
    anchor: (Timestamp, Timestamp),
    doubt: Option<Doubt>,
}

/// Since when the wall clock has been too far ahead to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doubt {
    monotonic: Timestamp,
    calendar: Timestamp,
}

/// A stretch that the clock leapt over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leap {
    /// What the time was before it. What was dated while it was doubted has a time in the stretch.
    pub from: Timestamp,
    /// So much later, by the length of the leap.
    pub to: Timestamp,
}

impl Calendar {
    /// Goes on at a time that was seen.
    #[must_use]
    pub fn resumed(seen: Timestamp, monotonic: Timestamp) -> Self {
        Self { now: seen, anchor: (seen, monotonic), doubt: None }
    }

    /// The latest time that it has shown.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What the time was when the wall clock leapt, while that is doubted.
    #[must_use]
    pub fn doubted_from(&self) -> Option<Timestamp> {
        self.doubt.map(|doubt| doubt.calendar)
    }

    /// What it shows at these readings of the clocks, and what was leapt over, if anything was.
    #[must_use]
    pub fn at(self, wall: Timestamp, monotonic: Timestamp) -> (Self, Option<Leap>) {
        let expected = self.expected(monotonic);
        if wall <= expected.plus(TOLERANCE) {
            // Leaps that are too small to be told add up against the same anchor.
            let anchor = if wall < expected { (wall, monotonic) } else { self.anchor };
            return (Self { now: self.now.max(wall), anchor, doubt: None }, None);
        }
        let now = self.now.max(expected);
        let doubt = self.doubt.unwrap_or(Doubt { monotonic, calendar: now });
        if wall.since(now) > BELIEVED_AT_ONCE && monotonic.since(doubt.monotonic) < DOUBT {
            return (Self { now, doubt: Some(doubt), ..self }, None);
        }
        self.believing(wall, monotonic)
    }

    /// The same where somebody has said that the wall clock is right.
    #[must_use]
    pub fn believing(self, wall: Timestamp, monotonic: Timestamp) -> (Self, Option<Leap>) {
        // What was tolerated before is told with it, as the next anchor tolerates as much again.
        let before = self.expected(monotonic).max(self.now.minus(TOLERANCE));
        let from = self.doubted_from().unwrap_or(before);
        let leap = (wall > before).then(|| Leap { from, to: from.plus(wall.since(before)) });
        (Self { now: self.now.max(wall), anchor: (wall, monotonic), doubt: None }, leap)
    }

    fn expected(&self, monotonic: Timestamp) -> Timestamp {
        let (wall, then) = self.anchor;
        wall.plus(monotonic.since(then))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::gaps::Gaps;
    use super::*;

    const DAY: u64 = 86_400;
    const START: u64 = 20_000 * DAY;

    fn at(s: u64) -> Timestamp {
        Timestamp::from_ms(s * 1000)
    }

    /// Both clocks at the beginning, in seconds; the steady one reads something else.
    fn begun() -> Calendar {
        Calendar::resumed(at(START), at(0))
    }

    #[test]
    fn it_goes_with_the_wall_clock_while_both_clocks_run_alike() {
        let (calendar, leap) = begun().at(at(START + 600), at(600));
        assert_eq!((calendar.now(), leap), (at(START + 600), None));
    }

    #[test]
    fn a_leap_of_hours_is_followed_and_told() {
        let (calendar, leap) = begun().at(at(START + 10 + 7200), at(10));
        assert_eq!(calendar.now(), at(START + 7210));
        assert_eq!(leap, Some(Leap { from: at(START + 10), to: at(START + 7210) }));
        assert_eq!(calendar.at(at(START + 7220), at(20)).1, None, "it is told once");
    }

    #[test]
    fn a_leap_of_weeks_is_believed_only_after_it_has_lasted() {
        let ahead = 60 * DAY;
        let (calendar, leap) = begun().at(at(START + 10 + ahead), at(10));
        assert_eq!((calendar.now(), leap), (at(START + 10), None));
        assert_eq!(calendar.doubted_from(), Some(at(START + 10)));
        let (calendar, leap) = calendar.at(at(START + 309 + ahead), at(309));
        assert_eq!((calendar.now(), leap), (at(START + 309), None), "it runs on without it");
        let (back, leap) = calendar.at(at(START + 309), at(309));
        assert_eq!((back.now(), back.doubted_from(), leap), (at(START + 309), None, None), "nothing is left of it");
        let (calendar, leap) = calendar.at(at(START + 310 + ahead), at(310));
        assert_eq!(calendar.now(), at(START + 310 + ahead));
        let leapt = Leap { from: at(START + 10), to: at(START + 10 + ahead) };
        assert_eq!(leap, Some(leapt), "it lies where the doubt began");
    }

    #[test]
    fn what_is_confirmed_is_believed_at_once() {
        let (calendar, _) = begun().at(at(START + 60 * DAY), at(0));
        let (calendar, leap) = calendar.believing(at(START + 60 * DAY), at(0));
        assert_eq!((calendar.now(), calendar.doubted_from()), (at(START + 60 * DAY), None));
        assert_eq!(leap, Some(Leap { from: at(START), to: at(START + 60 * DAY) }));
    }

    #[test]
    fn it_stands_still_while_the_wall_clock_is_behind_it() {
        let (calendar, leap) = begun().at(at(START - DAY), at(10));
        assert_eq!((calendar.now(), leap), (at(START), None));
        let (calendar, leap) = calendar.at(at(START + 5), at(DAY + 15));
        assert_eq!((calendar.now(), leap), (at(START + 5), None), "until that has caught up");
    }

    #[test]
    fn many_small_leaps_are_told_as_one_large_one() {
        let (mut calendar, mut told) = (begun(), Duration::ZERO);
        for minute in 1..=100 {
            let (next, leap) = calendar.at(at(START + minute * 120), at(minute * 60));
            told += leap.map_or(Duration::ZERO, |leap| leap.to.since(leap.from));
            calendar = next;
        }
        assert!(told + 2 * TOLERANCE >= Duration::from_mins(100), "only {told:?} of 100 minutes");
    }

    proptest! {
        #[test]
        fn it_never_goes_back_and_never_further_than_the_time_that_passed_and_the_gaps_that_it_tells(
            steps in prop::collection::vec((0_u64..2000, -90_i64 * 86_400..90 * 86_400, any::<bool>()), 1..60),
        ) {
            let (mut calendar, mut monotonic, mut wall, mut gaps) = (begun(), 0, START, Gaps::default());
            for (passed, leap, is_set) in steps {
                monotonic += passed;
                wall += passed;
                if is_set {
                    // As many of minutes as of days.
                    let leap = if passed % 2 == 0 { leap } else { leap / 7200 };
                    wall = wall.saturating_add_signed(leap);
                }
                let before = calendar.now();
                let (next, leap) = calendar.at(at(wall), at(monotonic));
                calendar = next;
                prop_assert!(calendar.now() >= before);
                if let Some(Leap { from, to }) = leap {
                    gaps.add(from, to);
                }
                let counted = calendar.now().since(at(START)).saturating_sub(gaps.unconfirmed());
                prop_assert!(counted <= Duration::from_secs(monotonic) + TOLERANCE, "{counted:?} in {monotonic} s");
            }
        }
    }
}
