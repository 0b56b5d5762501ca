//! When lanes rest, and what ends that. Pure; part of the schedule.

use crate::delivery::schedule::Schedule;
use crate::domain::{SubscriptionId, Timestamp};

impl Schedule {
    /// Puts the end of a lane's rest among those that are waited for.
    pub(super) fn await_rest(&mut self, id: SubscriptionId) {
        if let Some(until) = self.lanes.get(&id).and_then(|lane| lane.backoff_until) {
            self.has_new_rest |= self.backoffs.insert((until, id));
        }
    }

    /// Has a rest begun since this was asked last?
    pub fn has_new_rest(&mut self) -> bool {
        std::mem::take(&mut self.has_new_rest)
    }

    /// Resumes lanes whose backoff is over.
    pub fn end_backoffs(&mut self, now: Timestamp) {
        while let Some((until, id)) = self.backoffs.first().copied().filter(|(until, _)| *until <= now) {
            self.backoffs.remove(&(until, id));
            if let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.backoff_until == Some(until)) {
                lane.end_rest(now);
                self.await_rest(id);
                self.requeue(id);
            }
        }
    }

    /// Until when the subscription's endpoint is left alone because it asked for that.
    #[must_use]
    pub fn rests_until(&self, id: SubscriptionId, now: Timestamp) -> Option<Timestamp> {
        self.lanes.get(&id)?.rests_until(now)
    }

    /// Somebody expects the endpoint to take deliveries again: one attempt finds out, however long it asked to be left alone.
    pub fn try_now(&mut self, id: SubscriptionId, now: Timestamp) {
        if let Some(lane) = self.lanes.get_mut(&id)
            && lane.try_now(now)
        {
            self.await_rest(id);
            self.requeue(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::delivery::schedule::Limits;
    use crate::delivery::schedule::job::{AttemptResult, Job, Pushback};
    use crate::delivery::schedule::lane::Responsiveness;
    use crate::delivery::schedule::tests::offer;
    use crate::domain::delivery::outcome::EndpointSignal;

    const LANE: SubscriptionId = SubscriptionId(1);
    const ASKED: Duration = Duration::from_hours(2);

    /// A lane whose endpoint pushes back, at some time.
    struct Resting {
        schedule: Schedule,
        now: Timestamp,
    }

    impl Resting {
        /// Five attempts were pushed back, and more wait.
        fn new() -> Self {
            let mut schedule = Schedule::new(Limits { threads: 8, per_endpoint: 4 });
            schedule.put_lane(LANE, true, Responsiveness::Quick, false);
            (1..=20).for_each(|event| offer(&mut schedule, event));
            let mut resting = Self { schedule, now: Timestamp::from_ms(1_000_000) };
            while resting.rests_until().is_none() {
                resting.push_back_one();
            }
            resting
        }

        fn rests_until(&self) -> Option<Timestamp> {
            self.schedule.rests_until(LANE, self.now)
        }

        fn take(&mut self) -> Option<Job> {
            self.schedule.end_backoffs(self.now);
            self.schedule.take(self.now)
        }

        fn push_back_one(&mut self) {
            let job = loop {
                match self.take() {
                    Some(job) => break job,
                    None => self.now = self.schedule.next_due().expect("it goes on some time"),
                }
            };
            let pushback = Some(Pushback { retry_after: Some(ASKED) });
            let ended = AttemptResult { signal: EndpointSignal::Healthy, took: Duration::ZERO, pushback };
            self.schedule.finished(job.finished(), Some(ended), self.now);
        }
    }

    #[test]
    fn a_rest_that_somebody_ends_is_followed_by_one_attempt_and_by_another_rest_if_that_is_pushed_back() {
        let mut resting = Resting::new();
        // The earliest of what was asked for.
        assert_eq!(resting.rests_until(), Some(Timestamp::from_ms(1_000_000).plus(ASKED)));
        assert!(resting.take().is_none());
        for _ in 0..3 {
            resting.now = resting.now.plus(Duration::from_secs(7));
            resting.schedule.try_now(LANE, resting.now);
            assert_eq!(resting.rests_until(), None);
            resting.schedule.try_now(LANE, resting.now);
            resting.push_back_one();
            assert_eq!(resting.rests_until(), Some(resting.now.plus(ASKED)));
            assert!(resting.take().is_none());
        }
    }

    #[test]
    fn a_rest_that_somebody_ends_is_over_once_that_attempt_gets_through() {
        let mut resting = Resting::new();
        resting.schedule.try_now(LANE, resting.now);
        let job = resting.take().unwrap();
        assert!(resting.take().is_none(), "one finds out");
        let ended = AttemptResult { signal: EndpointSignal::Healthy, took: Duration::ZERO, pushback: None };
        resting.schedule.finished(job.finished(), Some(ended), resting.now);
        // The rate that it takes may be low at first.
        let soon = resting.now.plus(Duration::from_secs(30));
        let next = resting.schedule.next_due().map_or(resting.now, |due| due.max(resting.now));
        assert!(next <= soon);
        resting.now = next;
        assert!(resting.take().is_some());
    }

    #[test]
    fn a_lane_that_does_not_rest_stays_as_it_is() {
        let mut schedule = Schedule::new(Limits { threads: 8, per_endpoint: 4 });
        let now = Timestamp::from_ms(1_000_000);
        schedule.try_now(LANE, now);
        schedule.put_lane(LANE, true, Responsiveness::Suspect, false);
        offer(&mut schedule, 1);
        offer(&mut schedule, 2);
        let job = schedule.take(now).unwrap();
        let ended = AttemptResult { signal: EndpointSignal::Unresponsive, took: Duration::ZERO, pushback: None };
        schedule.finished(job.finished(), Some(ended), now);
        schedule.try_now(LANE, now);
        assert!(schedule.take(now).is_none() && schedule.rests_until(LANE, now).is_none());
    }
}
