//! How many attempts of one endpoint are to be under way at once. Pure; lives inside a lane, and has no lock of its own.
//!
//! It begins at one and doubles with every quick answer, up to what is of use: by Little's law that many attempts are
//! under way when as many are answered as the machine can make. More would not arrive sooner, they would wait for a
//! processor, and each would cost a switch between threads. So an endpoint near by that answers within a fraction of a
//! millisecond gets a few, and one across the Internet as many as its cap allows.

use std::time::Duration;

/// One endpoint is given attempts enough for so many answers a second, if each takes its shortest time: more than single
/// publishes bring it with two processors at full speed (docs/performance.md).
const ANSWERS_A_SECOND: u128 = 32_000;
/// Never fewer, so that the processors have work while answers are under way.
const LEAST: usize = 4;
/// An endpoint that takes much longer on the average than at best is not held to its best: it has attempts enough for at
/// least 4,000 answers a second, if its cap allows.
const AVERAGE_PART: u32 = 8;
/// By what part one answer moves the average, and by what part the best that is remembered goes back towards it.
const AVERAGE_MOVES: u32 = 16;
const SHORTEST_MOVES: u32 = 256;

/// The window of one endpoint, and what it is made of.
#[derive(Debug)]
pub(super) struct Window {
    attempts: usize,
    times: Option<Times>,
}

/// How long answers take.
#[derive(Clone, Copy, Debug)]
struct Times {
    shortest: Duration,
    average: Duration,
}

impl Window {
    /// Of an endpoint of which nothing is known.
    pub(super) fn first() -> Self {
        Self { attempts: 1, times: None }
    }

    /// How many attempts may be under way.
    pub(super) fn attempts(&self) -> usize {
        self.attempts
    }

    /// An answer came after that time. `cap`: how many attempts may be under way at most.
    pub(super) fn answered(&mut self, took: Duration, cap: usize) {
        let times = self.times.map_or(Times { shortest: took, average: took }, |times| times.after(took));
        self.times = Some(times);
        self.attempts = self.attempts.saturating_mul(2).min(times.useful()).min(cap);
    }

    /// No answer came: it begins with one again. How long answers take is not forgotten.
    pub(super) fn silent(&mut self) {
        self.attempts = 1;
    }
}

impl Times {
    fn after(self, took: Duration) -> Self {
        let average = self.average.saturating_mul(AVERAGE_MOVES - 1).saturating_add(took) / AVERAGE_MOVES;
        let back = self.shortest.saturating_add(average.saturating_sub(self.shortest) / SHORTEST_MOVES);
        Self { shortest: took.min(back), average }
    }

    fn useful(self) -> usize {
        let each = self.shortest.max(self.average / AVERAGE_PART);
        let attempts = (each.as_nanos() * ANSWERS_A_SECOND).div_ceil(Duration::from_secs(1).as_nanos());
        usize::try_from(attempts).unwrap_or(usize::MAX).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAP: usize = 16;

    /// The window after so many answers that each took so long.
    fn after(answers: &[(usize, Duration)]) -> usize {
        let mut window = Window::first();
        for (count, took) in answers {
            (0..*count).for_each(|_| window.answered(*took, CAP));
        }
        window.attempts()
    }

    #[test]
    fn it_doubles_up_to_the_cap_for_an_endpoint_that_is_far_away() {
        let far = Duration::from_millis(20);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|count| after(&[(count, far)])), [1, 2, 4, 8, 16, 16]);
    }

    #[test]
    fn an_endpoint_near_by_gets_as_many_as_are_of_use() {
        assert_eq!(after(&[(9, Duration::from_micros(100))]), LEAST);
        assert_eq!(after(&[(9, Duration::from_micros(250))]), 8);
        assert_eq!(after(&[(9, Duration::from_micros(500))]), CAP);
    }

    #[test]
    fn a_few_quick_answers_among_slow_ones_do_not_narrow_it() {
        let mixed: Vec<_> =
            (0..50).flat_map(|_| [(9, Duration::from_millis(20)), (1, Duration::from_micros(100))]).collect();
        assert_eq!(after(&mixed), CAP);
    }

    #[test]
    fn an_endpoint_whose_times_differ_has_enough_for_four_thousand_answers_a_second() {
        let mixed: Vec<_> =
            (0..100).flat_map(|_| [(1, Duration::from_micros(200)), (1, Duration::from_millis(4))]).collect();
        // By Little's law, at 2.1 ms on the average.
        assert!(after(&mixed) * 1000 >= 4 * 2100);
    }

    #[test]
    fn it_follows_an_endpoint_that_becomes_slower() {
        assert_eq!(after(&[(1000, Duration::from_micros(100)), (20, Duration::from_millis(20))]), CAP);
    }

    proptest! {
        #[test]
        fn it_is_never_empty_and_never_beyond_the_cap(
            answers in prop::collection::vec(prop::option::of(any::<u64>()), 0..50),
            cap in 1..300_usize,
        ) {
            let mut window = Window::first();
            for answer in answers {
                match answer {
                    Some(took_us) => window.answered(Duration::from_micros(took_us), cap),
                    None => window.silent(),
                }
                prop_assert!((1..=cap).contains(&window.attempts()));
            }
        }
    }
}
