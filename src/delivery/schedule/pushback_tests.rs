//! Receivers of the usual kinds that push back, on virtual time: how soon everything arrives, how often they have to
//! refuse, and what becomes of those that they refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::tests::{pending, retry};
use super::*;
use crate::domain::delivery::attempt::{Attempt, Signed, VERSION};
use crate::domain::delivery::outcome::Outcome;
use crate::domain::delivery::retry::RetryRule;
use crate::domain::delivery::{Circumstances, Delivery, DeliveryState};
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::signing::Signatures;

const LANE: SubscriptionId = SubscriptionId(1);
const SECOND_US: u64 = 1_000_000;
/// Where the clock begins.
const BEGINS_MS: u64 = 1000;
/// How long outcomes wait until they are recorded: about what they wait for company.
const RECORDED_AFTER_US: u64 = 5_000;
const FAILURE_RECORDED_AFTER_US: u64 = 250_000;

/// What a receiver does with a request: it takes it, or answers with that status.
trait Receiver {
    fn arrives(&mut self, now_us: u64) -> Result<(), u16>;
    fn is_done(&mut self) {}
}

/// So many a second, and so many more at once after a quiet time.
struct TokenBucket {
    a_second: u64,
    burst: u64,
    millionths: u64,
    at_us: u64,
}

impl Receiver for TokenBucket {
    fn arrives(&mut self, now_us: u64) -> Result<(), u16> {
        let earned = (now_us - self.at_us) * self.a_second;
        (self.millionths, self.at_us) = ((self.millionths + earned).min(self.burst * SECOND_US), now_us);
        self.millionths = self.millionths.checked_sub(SECOND_US).ok_or(429_u16)?;
        Ok(())
    }
}

/// So many in each second of the clock.
struct FixedWindow {
    a_second: u64,
    second: u64,
    came: u64,
}

impl Receiver for FixedWindow {
    fn arrives(&mut self, now_us: u64) -> Result<(), u16> {
        // Seconds do not begin when the first request comes.
        let second = (now_us + 370_000) / SECOND_US;
        self.came = if second == self.second { self.came + 1 } else { 1 };
        self.second = second;
        if self.came <= self.a_second { Ok(()) } else { Err(429) }
    }
}

/// So many within any second.
struct SlidingWindow {
    a_second: usize,
    taken_us: VecDeque<u64>,
}

impl Receiver for SlidingWindow {
    fn arrives(&mut self, now_us: u64) -> Result<(), u16> {
        while self.taken_us.front().is_some_and(|at| at + SECOND_US <= now_us) {
            self.taken_us.pop_front();
        }
        if self.taken_us.len() == self.a_second {
            return Err(429);
        }
        self.taken_us.push_back(now_us);
        Ok(())
    }
}

/// So many at the same time.
struct AtOnce {
    most: usize,
    now: usize,
}

impl Receiver for AtOnce {
    fn arrives(&mut self, _: u64) -> Result<(), u16> {
        if self.now == self.most {
            return Err(503);
        }
        self.now += 1;
        Ok(())
    }

    fn is_done(&mut self) {
        self.now -= 1;
    }
}

fn token_bucket(a_second: u64, burst: u64) -> Box<dyn Receiver> {
    Box::new(TokenBucket { a_second, burst, millionths: burst * SECOND_US, at_us: 0 })
}

fn fixed_window(a_second: u64) -> Box<dyn Receiver> {
    Box::new(FixedWindow { a_second, second: 0, came: 0 })
}

fn sliding_window(a_second: usize) -> Box<dyn Receiver> {
    Box::new(SlidingWindow { a_second, taken_us: VecDeque::new() })
}

fn at_once(most: usize) -> Box<dyn Receiver> {
    Box::new(AtOnce { most, now: 0 })
}

enum Step {
    Arrives(Flight),
    Served(Flight),
    Answered(Flight, Outcome),
    RecordedAttempt(u128, Outcome, u64),
}

#[derive(Clone, Copy)]
struct Flight {
    event: u128,
    job: FinishedJob,
    began_us: u64,
}

/// One endpoint, its lane, and what lies on the disk for it.
struct World {
    schedule: Schedule,
    receiver: Box<dyn Receiver>,
    retry_after: Option<Duration>,
    latency_us: u64,
    service_us: u64,
    now_us: u64,
    steps: BTreeMap<(u64, u64), Step>,
    steps_made: u64,
    fresh: BTreeSet<u128>,
    retries: BTreeSet<(Timestamp, u128)>,
    deliveries: BTreeMap<u128, Delivery>,
    pending: usize,
    last_success: Option<Timestamp>,
    refused: usize,
    /// When each arrived, in the order of arrival.
    arrived: Vec<(u128, u64)>,
}

fn rule() -> RetryRule {
    let waits = [5, 300, 1800, 7200].map(Duration::from_secs).to_vec();
    RetryRule { waits, retry_after_max: Duration::from_hours(24) }
}

impl World {
    /// So many events wait for that receiver.
    fn new(receiver: Box<dyn Receiver>, events: u128) -> Self {
        let mut schedule = Schedule::new(Limits { threads: 64, per_endpoint: 16 });
        schedule.put_lane(LANE, true, Responsiveness::Unknown, true);
        Self {
            schedule,
            receiver,
            retry_after: Some(Duration::from_secs(1)),
            latency_us: 300,
            service_us: 0,
            now_us: 0,
            steps: BTreeMap::new(),
            steps_made: 0,
            fresh: (1..=events).collect(),
            retries: BTreeSet::new(),
            pending: usize::try_from(events).unwrap(),
            deliveries: (1..=events).map(|event| (event, Delivery::unattempted(EventType::ClockIn, at(0)))).collect(),
            last_success: None,
            refused: 0,
            arrived: Vec::new(),
        }
    }

    fn far(self, latency: Duration) -> Self {
        Self { latency_us: u64::try_from(latency.as_micros()).unwrap(), ..self }
    }

    fn working_for(self, service: Duration) -> Self {
        Self { service_us: u64::try_from(service.as_micros()).unwrap(), ..self }
    }

    fn silent_about_when(self) -> Self {
        Self { retry_after: None, ..self }
    }

    fn then(&mut self, after_us: u64, step: Step) {
        self.steps.insert((self.now_us + after_us, self.steps_made), step);
        self.steps_made += 1;
    }

    /// Goes on until everything is settled, or until that time.
    fn run(&mut self, until: Duration) {
        let until_us = u64::try_from(until.as_micros()).unwrap();
        while self.now_us < until_us && self.pending > 0 {
            self.read_pages();
            while let Some(job) = self.schedule.take(at(self.now_us)) {
                let flight = Flight { event: job.delivery.event.0, job: job.finished(), began_us: self.now_us };
                self.then(self.latency_us / 2, Step::Arrives(flight));
            }
            let next = self.steps.keys().next().map(|(at_us, _)| *at_us);
            let due = self.schedule.next_due().map(|due| (due.as_ms() - BEGINS_MS) * 1000);
            self.now_us = next.into_iter().chain(due).min().expect("it stands still").max(self.now_us);
            while self.steps.first_key_value().is_some_and(|((at_us, _), _)| *at_us <= self.now_us) {
                let (_, step) = self.steps.pop_first().unwrap();
                self.step(step);
            }
        }
    }

    fn read_pages(&mut self) {
        let now = at(self.now_us);
        self.schedule.end_backoffs(now);
        while let Some(page) = self.schedule.next_page(now) {
            match page {
                PageWanted::Unattempted { after, limit, .. } => {
                    let from = after.map_or(0, |event| event.0 + 1);
                    let events = self.fresh.range(from..).take(limit).map(|event| pending(*event, None)).collect();
                    self.schedule.add_unattempted_page(LANE, limit, events);
                }
                PageWanted::Retries { until, limit, .. } => {
                    let due = self.retries.iter().take_while(|(due, _)| *due <= until).count();
                    let rows = self.retries.iter().take(limit.min(due + 1)).map(|(due, event)| retry(*due, *event));
                    self.schedule.add_retry_page(LANE, limit, &rows.collect::<Vec<_>>(), until);
                }
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Arrives(flight) => match self.receiver.arrives(self.now_us) {
                Ok(()) => self.then(self.service_us, Step::Served(flight)),
                Err(status) => {
                    self.refused += 1;
                    self.then(self.latency_us / 2, Step::Answered(flight, Outcome::HttpError(status)));
                }
            },
            Step::Served(flight) => {
                self.receiver.is_done();
                self.arrived.push((flight.event, self.now_us));
                self.then(self.latency_us / 2, Step::Answered(flight, Outcome::Delivered(200)));
            }
            Step::Answered(Flight { event, job, began_us }, outcome) => {
                let took = Duration::from_micros(self.now_us - began_us);
                self.schedule.finished(job, Some(AttemptResult::of(&outcome, took, self.retry_after)), at(self.now_us));
                let wait_us = if outcome.is_delivered() { RECORDED_AFTER_US } else { FAILURE_RECORDED_AFTER_US };
                self.then(wait_us, Step::RecordedAttempt(event, outcome, began_us));
            }
            Step::RecordedAttempt(event, outcome, began_us) => self.record(event, outcome, at(began_us)),
        }
    }

    fn record(&mut self, event: u128, outcome: Outcome, started_at: Timestamp) {
        let (now, is_delivered) = (at(self.now_us), outcome.is_delivered());
        let delivery = self.deliveries.get_mut(&event).unwrap();
        if let DeliveryState::Pending { due } = delivery.state {
            self.retries.remove(&(due, event));
        }
        self.fresh.remove(&event);
        let attempt = Attempt {
            number: delivery.next_number(),
            started_at,
            duration_ms: 0,
            url: "".into(),
            version: VERSION.into(),
            signed: Signed { timestamp_s: 0, signatures: Signatures::NONE },
            outcome,
            response: None,
            request: None,
        };
        let found = Circumstances {
            now,
            wall: now,
            monotonic: now,
            retry_after: self.retry_after,
            jitter: 0,
            last_success: self.last_success,
        };
        if is_delivered {
            self.last_success = Some(now);
        }
        delivery.record(attempt, &rule(), &found);
        let due = match delivery.state {
            DeliveryState::Pending { due } => Some(due),
            _ => None,
        };
        self.retries.extend(due.map(|due| (due, event)));
        self.pending -= usize::from(due.is_none());
        self.schedule.recorded(DeliveryId { event: EventId(event), subscription: LANE }, due, is_delivered);
        self.schedule.committed(0);
    }

    fn exhausted(&self) -> usize {
        self.deliveries.values().filter(|delivery| delivery.state.name() == "exhausted").count()
    }
}

fn at(us: u64) -> Timestamp {
    Timestamp::from_ms(BEGINS_MS + us / 1000)
}

/// Has everything arrived, and with how many refusals and how late?
#[track_caller]
fn assert_followed(mut world: World, what: &str, needs: Duration) {
    let events = world.deliveries.len();
    world.run(needs.mul_f64(1.3));
    let (arrived, refused, exhausted) = (world.arrived.len(), world.refused, world.exhausted());
    let seconds = world.now_us / SECOND_US;
    println!("{what}: {arrived} of {events} in {seconds} s, {refused} refusals, {exhausted} exhausted");
    assert_eq!((arrived, exhausted), (events, 0), "{what}, {refused} refusals");
    assert!(refused * 5 <= events, "{what}: {refused} refusals for {events} deliveries");
}

#[test]
fn a_receiver_that_takes_a_hundred_a_second_gets_five_thousand_in_little_more_than_fifty_seconds() {
    let needs = Duration::from_secs(50);
    for latency in [Duration::from_micros(300), Duration::from_millis(20)] {
        let world = |receiver| World::new(receiver, 5000).far(latency);
        assert_followed(world(token_bucket(100, 100)), "a token bucket", needs);
        assert_followed(world(token_bucket(100, 10)), "a small token bucket", needs);
        assert_followed(world(fixed_window(100)), "a window of a second", needs);
        assert_followed(world(sliding_window(100)), "a window that slides", needs);
        assert_followed(world(token_bucket(100, 100)).silent_about_when(), "without Retry-After", needs);
        assert_followed(world(fixed_window(100)).silent_about_when(), "a window without Retry-After", needs);
    }
}

#[test]
fn a_receiver_that_takes_few_at_the_same_time_gets_no_more() {
    for (most, service_ms) in [(1, 20), (2, 50), (4, 50), (8, 300)] {
        let service = Duration::from_millis(service_ms);
        let a_second = most as u64 * 1000 / service_ms;
        let needs = Duration::from_secs(50);
        let world = || World::new(at_once(most), u128::from(a_second) * 50).working_for(service);
        assert_followed(world(), &format!("{most} at once"), needs);
        assert_followed(world().silent_about_when(), &format!("{most} at once without Retry-After"), needs);
    }
}

#[test]
fn slow_receivers_and_fast_ones_are_followed_too() {
    for a_second in [5, 20, 1000] {
        let needs = Duration::from_secs(50);
        let world = |receiver| World::new(receiver, u128::from(a_second) * 50);
        assert_followed(world(token_bucket(a_second, a_second)), &format!("{a_second} a second"), needs);
        assert_followed(world(fixed_window(a_second)), &format!("{a_second} in each second"), needs);
    }
}

#[test]
fn a_receiver_without_a_limit_is_not_slowed_down() {
    let mut world = World::new(token_bucket(1_000_000, 1_000_000), 50_000);
    world.run(Duration::from_mins(1));
    // As many as are of use are under way, one after the other without a pause.
    assert_eq!((world.arrived.len(), world.refused), (50_000, 0));
    let ideal_us = 50_000 / 4 * world.latency_us;
    assert!(world.now_us < ideal_us * 11 / 10, "{} us", world.now_us);
}

#[test]
fn a_limit_that_falls_or_rises_is_noticed() {
    struct Changing(u64, Box<dyn Receiver>, Box<dyn Receiver>);
    impl Receiver for Changing {
        fn arrives(&mut self, now_us: u64) -> Result<(), u16> {
            if now_us < self.0 { self.1.arrives(now_us) } else { self.2.arrives(now_us) }
        }
    }
    let change = |before, after| Box::new(Changing(10 * SECOND_US, before, after));
    let falls = World::new(change(token_bucket(100, 100), token_bucket(20, 20)), 1600);
    assert_followed(falls, "from 100 to 20 a second", Duration::from_secs(10 + 30));
    let rises = World::new(change(token_bucket(20, 20), token_bucket(1000, 1000)), 10_200);
    assert_followed(rises, "from 20 to 1,000 a second", Duration::from_secs(10 + 10 + 5));
}

#[test]
fn each_that_was_refused_comes_again_soon_after_its_turn() {
    let mut world = World::new(fixed_window(100), 3000);
    world.run(Duration::from_secs(100));
    let latest =
        world.arrived.iter().map(|(event, at_us)| at_us.saturating_sub(u64::try_from(*event).unwrap() * 10_000));
    let latest = Duration::from_micros(latest.max().unwrap());
    assert!(latest < Duration::from_secs(15), "one came {latest:?} after its turn");
}

#[test]
fn neither_first_attempts_nor_retries_wait_until_the_others_are_done() {
    let mut world = World::new(token_bucket(100, 100), 8000);
    // Half of them were attempted before, and are due.
    for event in 1..=4000 {
        world.fresh.remove(&event);
        world.retries.insert((at(0), event));
        let delivery = world.deliveries.get_mut(&event).unwrap();
        (delivery.attempt_count, delivery.state) = (1, DeliveryState::Pending { due: at(0) });
    }
    world.run(Duration::from_secs(30));
    let retried = world.arrived.iter().filter(|(event, _)| *event <= 4000).count();
    let shares = [retried, world.arrived.len() - retried];
    assert!(shares.iter().all(|share| share * 3 > world.arrived.len()), "{shares:?}");
}

#[test]
fn an_endpoint_that_takes_nothing_is_asked_one_at_a_time_and_costs_the_others_of_its_lane_nothing() {
    let mut world = World::new(token_bucket(0, 0), 1000).silent_about_when();
    world.run(Duration::from_mins(5));
    let attempted = world.deliveries.values().filter(|delivery| delivery.attempt_count > 0).count();
    assert!(world.refused < 30 && attempted < 30, "{} refusals of {attempted} deliveries", world.refused);
}

#[test]
fn faults_of_our_own_do_not_run_through_a_backlog() {
    let mut schedule = Schedule::new(Limits { threads: 8, per_endpoint: 4 });
    schedule.put_lane(LANE, true, Responsiveness::Quick, false);
    let content = Arc::new(EventContent::new(EventType::ClockIn, b"{}".to_vec()));
    for event in 1..=200 {
        schedule.add(NewDelivery {
            subscription: LANE,
            event: EventId(event),
            key: None,
            content: Arc::clone(&content),
        });
    }
    let (mut attempts, mut now) = (0, at(0));
    let end = now.plus(Duration::from_secs(10));
    while now < end {
        schedule.end_backoffs(now);
        while let Some(job) = schedule.take(now) {
            attempts += 1;
            let outcome = Outcome::Internal("too many files and connections are open".to_owned());
            schedule.finished(job.finished(), Some(AttemptResult::of(&outcome, Duration::ZERO, None)), now);
        }
        now = schedule.next_due().expect("it rests");
    }
    assert!((10..40).contains(&attempts), "{attempts} attempts in ten seconds");
    // What was taken before, the endpoint is as it was: quick.
    schedule.end_backoffs(now);
    let job = schedule.take(now).unwrap();
    schedule.finished(job.finished(), Some(AttemptResult::of(&Outcome::Delivered(200), Duration::ZERO, None)), now);
    assert!(schedule.take(now).is_some() && schedule.take(now).is_some());
}
