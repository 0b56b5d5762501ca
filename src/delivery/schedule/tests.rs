//! The schedule's rules, step by step without threads.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::options::order::OrderKey;
use crate::storage::read::reader::{PendingEvent, Retry};

const LANE: SubscriptionId = SubscriptionId(1);

fn ended(signal: EndpointSignal, took: Duration) -> AttemptResult {
    AttemptResult { signal, took, pushback: None }
}

fn schedule(has_backlog: bool) -> Schedule {
    let mut schedule = Schedule::new(Limits { threads: 8, per_endpoint: 4 });
    schedule.put_lane(LANE, true, Responsiveness::Unknown, has_backlog);
    schedule
}

fn content() -> Arc<EventContent> {
    Arc::new(EventContent::new(EventType::ClockIn, b"{}".to_vec()))
}

pub(super) fn pending(event: u128, content: Option<Arc<EventContent>>) -> PendingEvent {
    PendingEvent { event: EventId(event), key: None, content }
}

pub(super) fn retry(due: Timestamp, event: u128) -> Retry {
    Retry { due, event: EventId(event), key: None, is_batch: false }
}

pub(super) fn offer(schedule: &mut Schedule, event: u128) {
    schedule.add(NewDelivery { subscription: LANE, event: EventId(event), key: None, content: content() });
}

/// Takes and finishes every job, and returns the events in order.
fn drain(schedule: &mut Schedule) -> Vec<u128> {
    let mut events = Vec::new();
    while let Some(job) = schedule.take(Timestamp::from_ms(0)) {
        events.push(job.delivery.event.0);
        schedule.finished(job.finished(), Some(ended(EndpointSignal::Healthy, Duration::ZERO)), Timestamp::from_ms(0));
    }
    events
}

#[test]
fn a_delivery_that_a_page_brought_is_not_taken_again_when_its_commit_is_told() {
    let mut schedule = schedule(true);
    let now = Timestamp::from_ms(1);
    // The backlog and the retries of a lane that is resumed are both looked for.
    while let Some(page) = schedule.next_page(now) {
        match page {
            PageWanted::Unattempted { limit, .. } => {
                let page = vec![pending(7, None), pending(8, Some(content()))];
                schedule.add_unattempted_page(LANE, limit, page);
            }
            PageWanted::Retries { limit, .. } => schedule.add_retry_page(LANE, limit, &[], now),
        }
    }
    offer(&mut schedule, 8);
    offer(&mut schedule, 9);
    assert_eq!(drain(&mut schedule), [7, 8, 9]);
}

#[test]
fn what_does_not_fit_into_memory_is_read_from_the_disk_once_and_in_order() {
    let mut schedule = schedule(false);
    let last = 3 * PAGE_ROWS as u128;
    for event in 1..=last {
        offer(&mut schedule, event);
    }
    let mut taken = drain(&mut schedule);
    while let Some(PageWanted::Unattempted { after, limit, .. }) = schedule.next_page(Timestamp::from_ms(1)) {
        let first = after.map_or(1, |event| event.0 + 1);
        let page = (first..=last).take(limit).map(|event| pending(event, None)).collect();
        schedule.add_unattempted_page(LANE, limit, page);
        taken.extend(drain(&mut schedule));
    }
    assert_eq!(taken, (1..=last).collect::<Vec<_>>());
}

#[test]
fn silent_endpoints_never_hold_all_threads_and_an_unknown_one_finds_its_place_among_them() {
    let mut schedule = Schedule::new(Limits { threads: 64, per_endpoint: 16 });
    for id in 1..=100 {
        schedule.put_lane(SubscriptionId(id), true, Responsiveness::Unknown, false);
        schedule.add(NewDelivery {
            subscription: SubscriptionId(id),
            event: EventId(1),
            key: None,
            content: content(),
        });
    }
    let silent: Vec<_> = std::iter::from_fn(|| schedule.take(Timestamp::from_ms(0))).collect();
    assert_eq!(silent.len(), 56, "an eighth of the threads stays free for whoever is known to answer");
    for job in &silent {
        schedule.finished(
            job.finished(),
            Some(ended(EndpointSignal::Unresponsive, Duration::from_secs(30))),
            Timestamp::from_ms(1),
        );
    }
    for event in 2..=3 {
        for id in 1..=100 {
            schedule.add(NewDelivery {
                subscription: SubscriptionId(id),
                event: EventId(event),
                key: None,
                content: content(),
            });
        }
    }
    schedule.end_backoffs(Timestamp::from_ms(1000));
    let next: Vec<_> =
        std::iter::from_fn(|| schedule.take(Timestamp::from_ms(0))).map(|job| job.delivery.subscription).collect();
    let suspects = next.iter().filter(|id| silent.iter().any(|job| job.delivery.subscription == **id)).count();
    assert_eq!(next.len() - suspects, 44, "all that were not heard of yet get their first attempt");
    assert_eq!(suspects, 12, "suspects have what is left, but for the last threads");

    let mut schedule = Schedule::new(Limits { threads: 64, per_endpoint: 16 });
    for id in 1..=100 {
        schedule.put_lane(SubscriptionId(id), true, Responsiveness::Suspect, false);
        schedule.add(NewDelivery {
            subscription: SubscriptionId(id),
            event: EventId(1),
            key: None,
            content: content(),
        });
    }
    let suspects = std::iter::from_fn(|| schedule.take(Timestamp::from_ms(0))).count();
    assert_eq!(suspects, 16, "suspects hold a quarter of the threads at most");
}

#[test]
fn an_endpoint_that_was_silent_rests_before_it_is_tried_again() {
    let mut schedule = schedule(false);
    offer(&mut schedule, 1);
    offer(&mut schedule, 2);
    let job = schedule.take(Timestamp::from_ms(0)).unwrap();
    schedule.finished(
        job.finished(),
        Some(ended(EndpointSignal::Unresponsive, Duration::ZERO)),
        Timestamp::from_ms(1000),
    );
    assert!(schedule.take(Timestamp::from_ms(0)).is_none(), "no rest");
    let until = schedule.next_due().unwrap();
    schedule.end_backoffs(until.minus(Duration::from_millis(1)));
    assert!(schedule.take(Timestamp::from_ms(0)).is_none(), "too short a rest");
    schedule.end_backoffs(until);
    assert_eq!(drain(&mut schedule), [2]);
}

#[test]
fn an_endpoint_that_answers_does_not_queue_behind_hanging_ones_after_one_mishap() {
    let mut schedule = Schedule::new(Limits { threads: 8, per_endpoint: 4 });
    let healthy = SubscriptionId(100);
    for id in 1..=20 {
        schedule.put_lane(SubscriptionId(id), true, Responsiveness::Suspect, false);
        schedule.add(NewDelivery {
            subscription: SubscriptionId(id),
            event: EventId(1),
            key: None,
            content: content(),
        });
    }
    schedule.put_lane(healthy, true, Responsiveness::Quick, false);
    for event in 1..=2 {
        schedule.add(NewDelivery { subscription: healthy, event: EventId(event), key: None, content: content() });
    }
    let held: Vec<_> = std::iter::from_fn(|| schedule.take(Timestamp::from_ms(0))).collect();
    let mishap = held.iter().find(|job| job.delivery.subscription == healthy).unwrap();
    let limit = Duration::from_secs(30);
    schedule.finished(mishap.finished(), Some(ended(EndpointSignal::Unresponsive, limit)), Timestamp::from_ms(1));
    schedule.end_backoffs(Timestamp::from_ms(1000));
    let next = schedule.take(Timestamp::from_ms(0)).unwrap();
    assert_eq!(next.delivery, DeliveryId { event: EventId(2), subscription: healthy });
}

#[test]
fn an_endpoint_that_answers_is_served_while_hanging_ones_hold_most_threads() {
    let mut schedule = Schedule::new(Limits { threads: 16, per_endpoint: 4 });
    for id in 1..=12 {
        schedule.put_lane(SubscriptionId(id), true, Responsiveness::Unknown, false);
        schedule.add(NewDelivery {
            subscription: SubscriptionId(id),
            event: EventId(1),
            key: None,
            content: content(),
        });
    }
    let hanging: Vec<_> = std::iter::from_fn(|| schedule.take(Timestamp::from_ms(0))).collect();
    assert_eq!(hanging.len(), 12);
    let healthy = SubscriptionId(100);
    schedule.put_lane(healthy, true, Responsiveness::Quick, false);
    schedule.add(NewDelivery { subscription: healthy, event: EventId(1), key: None, content: content() });
    for event in 2..100 {
        let job = schedule.take(Timestamp::from_ms(0)).expect("a thread is free, and this endpoint answers");
        // The next one arrives while this one is in flight.
        schedule.add(NewDelivery { subscription: healthy, event: EventId(event), key: None, content: content() });
        schedule.finished(job.finished(), Some(ended(EndpointSignal::Healthy, Duration::ZERO)), Timestamp::from_ms(1));
    }
}

#[test]
fn in_a_burst_endpoints_that_answer_well_go_before_those_that_fail_and_never_shut_them_out() {
    let mut schedule = Schedule::new(Limits { threads: 64, per_endpoint: 4 });
    let now = Timestamp::from_ms(1);
    let offer_to = |schedule: &mut Schedule, id: u32, event: u128| {
        schedule.add(NewDelivery {
            subscription: SubscriptionId(id),
            event: EventId(event),
            key: None,
            content: content(),
        });
    };
    let is_failing = |id: u32| id <= 10;
    for id in 1..=20 {
        schedule.put_lane(SubscriptionId(id), true, Responsiveness::Quick, false);
        offer_to(&mut schedule, id, 1);
    }
    while let Some(job) = schedule.take(now) {
        let signal =
            if is_failing(job.delivery.subscription.0) { EndpointSignal::Failing } else { EndpointSignal::Healthy };
        schedule.finished(job.finished(), Some(ended(signal, Duration::ZERO)), now);
    }
    (1..=20).for_each(|id| offer_to(&mut schedule, id, 2));
    let order: Vec<_> = std::iter::from_fn(|| schedule.take(now)).collect();
    let position = order.iter().rposition(|job| !is_failing(job.delivery.subscription.0)).unwrap();
    assert!(order.len() == 20 && position < 14, "the last of ten healthy ones came at place {position}");
    for job in &order {
        schedule.finished(job.finished(), Some(ended(EndpointSignal::Healthy, Duration::ZERO)), now);
    }

    offer_to(&mut schedule, 1, 3);
    let job = schedule.take(now).unwrap();
    schedule.finished(job.finished(), Some(ended(EndpointSignal::Failing, Duration::ZERO)), now);
    offer_to(&mut schedule, 1, 4);
    let mut came = false;
    for event in 3..60 {
        (11..=20).for_each(|id| offer_to(&mut schedule, id, event));
        let job = schedule.take(now).expect("there is always a job");
        came |= job.delivery.subscription.0 == 1;
        schedule.finished(job.finished(), Some(ended(EndpointSignal::Healthy, Duration::ZERO)), now);
    }
    assert!(came, "an endpoint that fails was shut out");
}

/// Fails the first attempt of a delivery, with a retry due at that time.
fn fail_first_attempt(schedule: &mut Schedule, event: u128, due: Timestamp) {
    offer(schedule, event);
    let job = schedule.take(Timestamp::from_ms(0)).unwrap();
    schedule.finished(job.finished(), Some(ended(EndpointSignal::Failing, Duration::ZERO)), Timestamp::from_ms(1));
    schedule.recorded(job.delivery, Some(due), false);
}

#[test]
fn a_retry_is_not_forgotten_when_a_page_could_not_be_read() {
    let mut schedule = schedule(false);
    let (early, late) = (Timestamp::from_ms(10), Timestamp::from_ms(20));
    schedule.retry_due_at(LANE, early);
    let page = schedule.next_page(early).unwrap();
    fail_first_attempt(&mut schedule, 7, late);
    schedule.page_failed(page, early);
    let Some(PageWanted::Retries { limit, .. }) = schedule.next_page(late) else { panic!("no page is wanted") };
    schedule.add_retry_page(LANE, limit, &[retry(late, 7)], late);
    assert_eq!(drain(&mut schedule), [7]);
}

#[test]
fn retries_behind_one_that_is_claimed_are_looked_for_when_they_are_due() {
    let mut schedule = schedule(false);
    let (first, second) = (Timestamp::from_ms(20), Timestamp::from_ms(30));
    schedule.retry_due_at(LANE, Timestamp::from_ms(10));
    offer(&mut schedule, 7);
    let job = schedule.take(Timestamp::from_ms(0)).unwrap();
    schedule.finished(job.finished(), Some(ended(EndpointSignal::Failing, Duration::ZERO)), Timestamp::from_ms(1));
    // The page ends with the row of a commit that is not reported yet; another row follows it.
    let now = Timestamp::from_ms(10);
    let Some(PageWanted::Retries { limit, .. }) = schedule.next_page(now) else { panic!("no page is wanted") };
    schedule.add_retry_page(LANE, limit, &[retry(first, 7)], now);
    let Some(PageWanted::Retries { limit, .. }) = schedule.next_page(second) else {
        panic!("what is due is forgotten")
    };
    schedule.add_retry_page(LANE, limit, &[retry(first, 7), retry(second, 8)], second);
    assert_eq!(drain(&mut schedule), [8], "the claimed one is not attempted, the other one is");
}

#[test]
fn a_delivery_made_due_by_hand_in_the_commit_of_its_first_attempt_is_attempted_once_at_a_time() {
    let mut schedule = schedule(false);
    let now = Timestamp::from_ms(10);
    offer(&mut schedule, 7);
    let job = schedule.take(Timestamp::from_ms(0)).unwrap();
    schedule.finished(job.finished(), Some(ended(EndpointSignal::Failing, Duration::ZERO)), now);
    // The page is read after that commit, and the commit is reported after the page.
    schedule.retry_due_at(LANE, now);
    let Some(PageWanted::Retries { limit, .. }) = schedule.next_page(now) else { panic!("no page is wanted") };
    schedule.add_retry_page(LANE, limit, &[retry(now, 7)], now);
    let mut taken = drain(&mut schedule);
    schedule.recorded(job.delivery, Some(Timestamp::from_ms(5000)), false);
    schedule.retry_due_at(LANE, now);
    if let Some(PageWanted::Retries { limit, .. }) = schedule.next_page(now) {
        schedule.add_retry_page(LANE, limit, &[retry(now, 7)], now);
    }
    taken.extend(drain(&mut schedule));
    assert_eq!(taken, [7], "the redelivery is one attempt");
}

#[test]
fn slow_endpoints_leave_the_last_threads_to_whoever_answers_quickly() {
    let mut schedule = Schedule::new(Limits { threads: 8, per_endpoint: 4 });
    for id in 1..=10 {
        schedule.put_lane(SubscriptionId(id), true, Responsiveness::Unknown, false);
        schedule.add(NewDelivery {
            subscription: SubscriptionId(id),
            event: EventId(1),
            key: None,
            content: content(),
        });
    }
    let new = std::iter::from_fn(|| schedule.take(Timestamp::from_ms(0))).count();
    schedule.put_lane(SubscriptionId(21), true, Responsiveness::Slow, false);
    schedule.add(NewDelivery { subscription: SubscriptionId(21), event: EventId(2), key: None, content: content() });
    assert_eq!((new, schedule.take(Timestamp::from_ms(0)).map(|job| job.delivery)), (7, None));
}

/// A lane with more on the disk than memory holds of it.
fn fall_behind(schedule: &mut Schedule, lane: SubscriptionId) {
    for event in 1..=2 * PAGE_ROWS as u128 {
        schedule.add(NewDelivery { subscription: lane, event: EventId(event), key: None, content: content() });
    }
}

/// Takes jobs of that lane, each finishing at once, until it gets no more; their outcomes wait for a commit.
fn take_all(schedule: &mut Schedule, lane: SubscriptionId, now: Timestamp) -> Vec<DeliveryId> {
    let mut taken = Vec::new();
    while let Some(job) = schedule.take(now) {
        assert_eq!(job.delivery.subscription, lane);
        schedule.finished(job.finished(), Some(ended(EndpointSignal::Healthy, Duration::ZERO)), now);
        taken.push(job.delivery);
    }
    taken
}

#[test]
fn a_lane_that_is_behind_waits_for_commits_while_another_is_not_behind() {
    let mut schedule = schedule(false);
    let prompt = SubscriptionId(2);
    schedule.put_lane(prompt, true, Responsiveness::Quick, false);
    let now = Timestamp::from_ms(1);
    schedule.add(NewDelivery { subscription: prompt, event: EventId(1), key: None, content: content() });
    assert_eq!(take_all(&mut schedule, prompt, now).len(), 1);
    fall_behind(&mut schedule, LANE);
    let taken = take_all(&mut schedule, LANE, now);
    assert!(taken.len() < PAGE_ROWS, "it went on");

    schedule.add(NewDelivery { subscription: prompt, event: EventId(2), key: None, content: content() });
    assert_eq!(take_all(&mut schedule, prompt, now).len(), 1, "the other one does not wait");
    for delivery in taken {
        schedule.recorded(delivery, None, true);
    }
    schedule.committed(1);
    assert!(!take_all(&mut schedule, LANE, now).is_empty(), "it goes on when its outcomes are recorded");
}

#[test]
fn a_lane_that_is_behind_makes_progress_with_every_commit_whatever_others_do() {
    let mut schedule = schedule(false);
    let prompt = SubscriptionId(2);
    schedule.put_lane(prompt, true, Responsiveness::Quick, false);
    let now = Timestamp::from_ms(1);
    schedule.add(NewDelivery { subscription: prompt, event: EventId(1), key: None, content: content() });
    take_all(&mut schedule, prompt, now);
    fall_behind(&mut schedule, LANE);
    take_all(&mut schedule, LANE, now);
    for _ in 0..10 {
        // None of the outcomes that wait is in this commit.
        schedule.committed(1);
        assert_eq!(take_all(&mut schedule, LANE, now).len(), 1);
    }
    schedule.committed(100);
    assert!(take_all(&mut schedule, LANE, now).len() > 64, "there is no quick commit left to stand back for");
}

#[test]
fn a_lane_that_is_behind_waits_for_nobody_when_it_is_alone() {
    let mut schedule = schedule(false);
    let gone = SubscriptionId(2);
    schedule.put_lane(gone, true, Responsiveness::Quick, false);
    schedule.add(NewDelivery { subscription: gone, event: EventId(1), key: None, content: content() });
    take_all(&mut schedule, gone, Timestamp::from_ms(1));
    fall_behind(&mut schedule, LANE);
    assert_eq!(take_all(&mut schedule, LANE, Timestamp::from_ms(5000)).len(), PAGE_ROWS, "all that memory holds");
}

#[test]
fn one_of_an_order_key_is_under_way_until_its_outcome_is_recorded_and_others_go_on() {
    let mut schedule = schedule(false);
    let now = Timestamp::from_ms(1);
    let healthy = ended(EndpointSignal::Healthy, Duration::ZERO);
    // So that more than one may be in flight.
    for event in [1, 2] {
        offer(&mut schedule, event);
    }
    drain(&mut schedule);
    let (ana, jonas) = (Some(OrderKey::of_worker("52")), Some(OrderKey::of_worker("53")));
    let keys = [(3, ana), (4, ana), (5, None), (6, jonas)];
    let rows: Vec<_> = keys.map(|(event, key)| Retry { due: now, event: EventId(event), key, is_batch: false }).into();
    schedule.add_retry_page(LANE, 10, &rows, now);
    let take = |schedule: &mut Schedule| schedule.take(now).map(|job| (job.delivery.event.0, job.finished()));
    let (first, job) = take(&mut schedule).unwrap();
    let others = [take(&mut schedule).unwrap().0, take(&mut schedule).unwrap().0];
    assert_eq!((first, others), (3, [5, 6]));
    assert!(take(&mut schedule).is_none(), "the second of a worker beside the first");
    schedule.finished(job, Some(healthy), now);
    assert!(take(&mut schedule).is_none(), "what came of the first is not stored");
    let third = DeliveryId { event: EventId(3), subscription: LANE };
    schedule.recorded(third, None, true);
    assert_eq!(take(&mut schedule).unwrap().0, 4);
}
