//! How many answers an endpoint gave within the last second. Pure; lives inside a lane's back-off, and has no lock of
//! its own.

use std::time::Duration;

use crate::domain::Timestamp;

const SECOND: Duration = Duration::from_secs(1);

/// Answers of this second and the one before.
#[derive(Debug, Default)]
pub(in crate::delivery) struct AnswerCount {
    since: Timestamp,
    now: Answers,
    before: Answers,
}

#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    taken: u32,
    pushed_back: u32,
}

impl AnswerCount {
    /// An answer came.
    pub(in crate::delivery) fn count(&mut self, now: Timestamp, is_pushback: bool) {
        let age = now.since(self.since);
        if age >= SECOND {
            let is_next = age < SECOND * 2;
            self.before = if is_next { self.now } else { Answers::default() };
            self.now = Answers::default();
            self.since = if is_next { self.since.plus(SECOND) } else { now };
        }
        let count = if is_pushback { &mut self.now.pushed_back } else { &mut self.now.taken };
        *count = count.saturating_add(1);
    }

    /// How many push-backs there were in this second and the one before.
    pub(in crate::delivery) fn pushed_back(&self) -> u32 {
        self.now.pushed_back.saturating_add(self.before.pushed_back)
    }

    /// How many others there were in the second that has just gone by, about.
    pub(in crate::delivery) fn taken_in_a_second(&self, now: Timestamp) -> u32 {
        let left = SECOND.saturating_sub(now.since(self.since));
        let of_before = Duration::from_millis(self.before.taken.into()).mul_f64(left.as_secs_f64());
        self.now.taken.saturating_add(u32::try_from(of_before.as_millis()).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_that_has_begun_is_filled_up_with_the_one_before() {
        let mut count = AnswerCount::default();
        let at = |ms: u64| Timestamp::from_ms(10_000 + ms);
        (0..100).for_each(|ms| count.count(at(ms * 10), false));
        assert_eq!(count.taken_in_a_second(at(999)), 100);
        (0..10).for_each(|_| count.count(at(1500), true));
        assert_eq!((count.taken_in_a_second(at(1500)), count.pushed_back()), (50, 10));
        count.count(at(60_000), false);
        assert_eq!((count.taken_in_a_second(at(60_000)), count.pushed_back()), (1, 0));
    }
}
