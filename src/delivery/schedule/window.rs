//! The concurrency window of one endpoint. Pure; part of a lane, without a lock of its own.
//!
//! It starts at one and doubles with every quick response up to a useful size: by Little's law, as many attempts as are
//! in flight at the highest rate the machine can reach. More would only wait for a processor, each at the cost of a
//! context switch. A nearby endpoint that responds within a fraction of a millisecond gets a few, and one across the
//! Internet as many as its cap allows.

use std::time::Duration;

use crate::tuning::schedule::{AVERAGE_DIVISOR, AVERAGE_WEIGHT, RESPONSES_PER_SECOND, SHORTEST_WEIGHT, WINDOW_MIN};

/// The window of one endpoint and its measurements.
#[derive(Debug)]
pub(in crate::delivery) struct Window {
    attempts: usize,
    times: Option<ResponseTimes>,
}

/// Response times.
#[derive(Clone, Copy, Debug)]
struct ResponseTimes {
    shortest: Duration,
    average: Duration,
}

impl Window {
    /// The window of an unknown endpoint.
    pub(in crate::delivery) fn first() -> Self {
        Self { attempts: 1, times: None }
    }

    /// Maximum attempts in flight.
    pub(in crate::delivery) fn attempts(&self) -> usize {
        self.attempts
    }

    /// Records a response time. `cap`: maximum attempts in flight.
    pub(in crate::delivery) fn record_response(&mut self, took: Duration, cap: usize) {
        let times = self.times.map_or(ResponseTimes { shortest: took, average: took }, |times| times.after(took));
        self.times = Some(times);
        self.attempts = self.attempts.saturating_mul(2).min(times.useful()).min(cap);
    }

    /// No response came: the window restarts at one; response times are kept.
    pub(in crate::delivery) fn reset(&mut self) {
        self.attempts = 1;
    }
}

impl ResponseTimes {
    fn after(self, took: Duration) -> Self {
        let average = self.average.saturating_mul(AVERAGE_WEIGHT - 1).saturating_add(took) / AVERAGE_WEIGHT;
        let back = self.shortest.saturating_add(average.saturating_sub(self.shortest) / SHORTEST_WEIGHT);
        Self { shortest: took.min(back), average }
    }

    fn useful(self) -> usize {
        let each = self.shortest.max(self.average / AVERAGE_DIVISOR);
        let attempts = (each.as_nanos() * RESPONSES_PER_SECOND).div_ceil(Duration::from_secs(1).as_nanos());
        usize::try_from(attempts).unwrap_or(usize::MAX).max(WINDOW_MIN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAP: usize = 16;

    /// The window after that many responses of that duration.
    fn after(answers: &[(usize, Duration)]) -> usize {
        let mut window = Window::first();
        for (count, took) in answers {
            (0..*count).for_each(|_| window.record_response(*took, CAP));
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
        assert_eq!(after(&[(9, Duration::from_micros(100))]), WINDOW_MIN);
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
                    Some(took_us) => window.record_response(Duration::from_micros(took_us), cap),
                    None => window.reset(),
                }
                prop_assert!((1..=cap).contains(&window.attempts()));
            }
        }
    }
}
