//! What becomes of a delivery with each of its attempts.

use super::*;
use crate::domain::delivery::attempt::{Signed, VERSION};
use crate::domain::signing::Signatures;

const PUSHED_BACK: Outcome = Outcome::HttpError(429);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn attempt(number: u32, started_at: Timestamp, outcome: Outcome) -> Attempt {
    Attempt {
        number,
        started_at,
        duration_ms: 1,
        url: "".into(),
        version: VERSION.into(),
        signed: Signed { timestamp_s: 0, signatures: Signatures { tempclock: [0; 32], standard: [0; 32] } },
        outcome,
        response: None,
        request: None,
    }
}

fn rule() -> RetryRule {
    RetryRule { waits: vec![Duration::from_secs(5)], retry_after_max: Duration::from_mins(1) }
}

fn circumstances(now_ms: u64, last_success_ms: Option<u64>) -> Circumstances {
    let (wall, last_success) = (at(now_ms), last_success_ms.map(at));
    Circumstances { now: wall, wall, monotonic: wall, retry_after: None, jitter: 0, last_success }
}

/// One more attempt, which began a millisecond before it is recorded.
fn try_once(delivery: &mut Delivery, outcome: Outcome, now_ms: u64, last_success_ms: Option<u64>) {
    let attempt = attempt(delivery.next_number(), at(now_ms - 1), outcome);
    delivery.record(attempt, &rule(), &circumstances(now_ms, last_success_ms));
}

fn fresh() -> Delivery {
    Delivery::unattempted(EventType::ClockIn, at(1))
}

fn run(delivery: &mut Delivery, outcomes: &[Outcome]) {
    for outcome in outcomes {
        try_once(delivery, outcome.clone(), 1000, None);
    }
}

#[test]
fn a_schedule_of_one_wait_makes_two_attempts_and_then_is_exhausted() {
    for outcome in [Outcome::HttpError(500), PUSHED_BACK] {
        let mut delivery = fresh();
        run(&mut delivery, std::slice::from_ref(&outcome));
        assert_eq!(delivery.state, DeliveryState::Pending { due: at(6000) });
        run(&mut delivery, &[outcome]);
        assert_eq!(delivery.state.name(), "exhausted");
    }
}

#[test]
fn an_attempt_that_is_pushed_back_while_others_get_through_uses_up_no_wait() {
    let mut delivery = fresh();
    for round in 1..100 {
        let now = round * 10_000;
        try_once(&mut delivery, PUSHED_BACK, now, Some(now - 2));
        assert_eq!(delivery.state, DeliveryState::Pending { due: at(now + 5000) });
        assert_eq!(delivery.attempts.last().unwrap().outcome, Outcome::PushedBack(429));
    }
    assert_eq!((delivery.attempt_count, delivery.attempts.len()), (99, KEPT_ATTEMPTS));
    // The whole schedule still lies ahead.
    try_once(&mut delivery, Outcome::HttpError(500), 2_000_000, Some(1_999_990));
    assert_eq!(delivery.state.name(), "pending");
    try_once(&mut delivery, Outcome::HttpError(500), 2_010_000, Some(2_009_990));
    assert_eq!((delivery.state.name(), delivery.attempt_count), ("exhausted", 101));
}

#[test]
fn a_pushback_counts_unless_another_delivery_arrived_since_the_attempt_before() {
    // The first attempt ends at 1000; of a first one, the event's own time counts.
    for (last_success_ms, counts) in
        [(None, true), (Some(999), true), (Some(1000), true), (Some(1001), false), (Some(9001), true)]
    {
        let mut delivery = fresh();
        try_once(&mut delivery, PUSHED_BACK, 1000, None);
        try_once(&mut delivery, PUSHED_BACK, 9000, last_success_ms);
        assert_eq!(delivery.state.name() == "exhausted", counts, "{last_success_ms:?}");
    }
    for (last_success_ms, counts) in [(Some(1), true), (Some(2), false)] {
        let mut delivery = fresh();
        try_once(&mut delivery, PUSHED_BACK, 1000, last_success_ms);
        assert_eq!(delivery.attempts[0].outcome.counts(), counts, "{last_success_ms:?}");
    }
}

#[test]
fn what_was_delivered_before_is_no_other_delivery() {
    let mut delivery = fresh();
    try_once(&mut delivery, Outcome::Delivered(200), 1000, None);
    let arrived_at = delivery.attempts[0].ended_at().as_ms();
    delivery.redeliver(at(2000));
    try_once(&mut delivery, PUSHED_BACK, 2001, Some(arrived_at));
    try_once(&mut delivery, PUSHED_BACK, 8000, Some(arrived_at));
    assert_eq!((delivery.state.name(), delivery.attempt_count), ("exhausted", 3));
}

#[test]
fn a_pushback_that_does_not_count_waits_as_long_as_was_asked_for() {
    let mut delivery = fresh();
    let asked = Circumstances { retry_after: Some(Duration::from_secs(2)), ..circumstances(1000, Some(999)) };
    delivery.record(attempt(1, at(999), PUSHED_BACK), &rule(), &asked);
    assert_eq!(delivery.state, DeliveryState::Pending { due: at(3000) });
    let counted = Circumstances { retry_after: Some(Duration::from_secs(2)), ..circumstances(9000, None) };
    delivery.record(attempt(2, at(8999), PUSHED_BACK), &rule(), &counted);
    assert_eq!(delivery.state, DeliveryState::Pending { due: at(14_000) }, "the schedule's wait is not shortened");
}

#[test]
fn faults_of_our_own_use_up_no_wait_and_many_in_a_row_are_waited_for_ever_longer() {
    let mut delivery = fresh();
    let mut waits = Vec::new();
    for round in 1..=12 {
        let now = round * 100_000;
        try_once(&mut delivery, Outcome::Internal(String::new()), now, None);
        let DeliveryState::Pending { due } = delivery.state else { panic!("{delivery:?}") };
        waits.push(due.as_ms() - now);
    }
    assert_eq!(waits, [[5000; 10].as_slice(), &[10_000, 20_000]].concat());
    run(&mut delivery, &[Outcome::HttpError(500), Outcome::LookupsBusy]);
    assert_eq!(delivery.state, DeliveryState::Pending { due: at(6000) }, "they are no longer in a row");
    run(&mut delivery, &[Outcome::HttpError(500)]);
    assert_eq!((delivery.state.name(), delivery.attempt_count), ("exhausted", 15));
}

#[test]
fn it_is_settled_by_the_calendar_and_planned_by_the_steady_clock() {
    let found = Circumstances { now: at(90_000_000), monotonic: at(1000), ..circumstances(7, None) };
    let mut delivery = fresh();
    delivery.record(attempt(1, at(1), Outcome::HttpError(500)), &rule(), &found);
    assert_eq!(delivery.state, DeliveryState::Pending { due: at(6000) });
    delivery.record(attempt(2, at(2), Outcome::Delivered(200)), &rule(), &found);
    assert_eq!(delivery.state, DeliveryState::Delivered { at: found.now });
}

#[test]
fn a_redelivery_gets_the_whole_schedule_and_goes_on_counting() {
    let mut delivery = fresh();
    run(&mut delivery, &[Outcome::HttpError(500), Outcome::HttpError(500)]);
    delivery.redeliver(at(9));
    run(&mut delivery, &[Outcome::HttpError(500)]);
    assert_eq!(delivery.state.name(), "pending");
    run(&mut delivery, &[Outcome::Delivered(200)]);
    assert_eq!(delivery.state.name(), "delivered");
    let numbers: Vec<u32> = delivery.attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

#[test]
fn a_ping_that_is_sent_again_is_attempted_once() {
    let mut published = Delivery::unattempted(EventType::Ping, at(1));
    try_once(&mut published, PUSHED_BACK, 1000, Some(999));
    run(&mut published, &[Outcome::HttpError(500)]);
    assert_eq!(published.state.name(), "pending", "a published one is an event as any other");
    let tested = Delivery::tested(EventType::Ping, attempt(1, at(1), Outcome::HttpError(500)), at(2));
    assert_eq!(tested.state, DeliveryState::Exhausted { at: at(2) });
    for (mut delivery, attempts) in [(published, 3), (tested, 2)] {
        delivery.redeliver(at(9));
        try_once(&mut delivery, PUSHED_BACK, 9000, Some(8999));
        assert_eq!((delivery.state.name(), delivery.attempt_count), ("exhausted", attempts));
    }
}

#[test]
fn a_name_server_that_fails_is_held_against_the_endpoint_after_an_hour_in_a_row() {
    const MINUTE_MS: u64 = 60_000;
    let failed = |minute: u64| attempt(1, at(minute * MINUTE_MS), Outcome::NameServerFailed(String::new()));
    let mut delivery = fresh();
    for minute in [10, 40, 69] {
        assert!(delivery.is_short_name_server_failure(&failed(minute)), "{minute}");
        delivery.attempts.push(failed(minute));
    }
    assert!(!delivery.is_short_name_server_failure(&failed(70)));
    // An answer in between shows that the name server was mended.
    delivery.attempts.push(attempt(4, at(70 * MINUTE_MS), Outcome::HttpError(500)));
    assert!(delivery.is_short_name_server_failure(&failed(80)));
    assert!(!delivery.is_short_name_server_failure(&attempt(5, at(80 * MINUTE_MS), Outcome::HttpError(500))));
}

/// An attempt that was answered with that body.
fn answered(delivery: &mut Delivery, outcome: Outcome, body: &str) {
    let response = Some(Response { headers: Vec::new(), body: body.into() });
    let attempt = Attempt { response, ..attempt(delivery.next_number(), at(1), outcome) };
    delivery.record(attempt, &rule(), &circumstances(2, None));
}

#[test]
fn of_attempts_with_the_same_outcome_only_the_last_ones_body_is_kept_however_many_there_are() {
    let (broken, gone) = (Outcome::HttpError(500), Outcome::HttpError(404));
    let mut delivery = fresh();
    answered(&mut delivery, broken.clone(), "no 1");
    answered(&mut delivery, gone.clone(), "gone");
    answered(&mut delivery, broken.clone(), "no 2");
    answered(&mut delivery, broken.clone(), "no 2");
    run(&mut delivery, std::slice::from_ref(&broken));
    answered(&mut delivery, broken.clone(), "");
    let kept = |delivery: &Delivery| -> Vec<Option<String>> {
        let body = |attempt| delivery.kept_body(attempt).map(|body| String::from_utf8_lossy(body).into_owned());
        delivery.attempts.iter().map(body).collect()
    };
    let some = |body: &str| Some(body.to_owned());
    assert_eq!(kept(&delivery), [None, some("gone"), some("no 2"), some("no 2"), None, some("")]);
    for number in 0..KEPT_ATTEMPTS {
        answered(&mut delivery, if number % 2 == 0 { gone.clone() } else { broken.clone() }, &format!("{number}"));
    }
    assert_eq!(kept(&delivery).iter().flatten().count(), 2);
}

#[test]
fn a_body_that_the_cause_was_told_by_is_kept() {
    let mut delivery = fresh();
    for page in ["plain HTTP to HTTPS port, 1", "plain HTTP to HTTPS port, 2"] {
        answered(&mut delivery, Outcome::HttpError(400), page);
        for attempt in &mut delivery.attempts {
            attempt.url = "http://crm.example.com/".into();
        }
    }
    answered(&mut delivery, Outcome::HttpError(400), "bad");
    let told: Vec<_> = delivery.attempts.iter().map(Attempt::explanation).collect();
    assert_eq!(told[0], told[1]);
    assert_ne!(told[1], told[2]);
}
