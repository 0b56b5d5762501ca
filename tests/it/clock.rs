//! Somebody sets the machine's clock, by an hour or a day, forward or back: no retry is early, none is late, nothing is
//! sent more often, and ids go on growing.

use std::time::Duration;

use crate::harness::{
    ALL_SCOPES, Client, Ledger, Received, Receiver, Reply, Server, WallClock, clock_in, eventually, sample, time,
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// How far the server's wall clock, as its ids and answers show it, is from the machine's.
fn assert_is_set(client: &Client, event: &str, offset_s: i64) {
    let shown = client.get(&format!("/events/{event}")).expect(200).data()["created_at"].clone();
    let apart = time(&shown).as_second() - jiff::Timestamp::now().as_second() - offset_s;
    assert!(apart.abs() < 30 * 60, "{shown} with the clock at {offset_s}: it was not set");
}

#[test]
fn a_step_of_the_clock_makes_no_retry_early_or_late_and_nothing_twice() {
    const WAIT: Duration = Duration::from_secs(1);
    const EVENTS: u64 = 20;
    let mut server = Server::stopped(&[("delivery.retry_schedule", r#"["1s", "1s", "1s", "1s"]"#)]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let client = server.client();
    let failing = Receiver::answering(|request| Reply::status(if request.attempt() < 5 { 500 } else { 200 }));
    let healthy = Receiver::start();
    client.subscribe(&failing.url("/"), &["clock_in"]);
    client.subscribe(&healthy.url("/"), &["worker_created"]);
    let (ledger, entries) = (Ledger::default(), (0..EVENTS).collect::<Vec<_>>());
    assert_eq!(ledger.publish(&client, &entries), Some(202));
    for (attempts, offset_s) in (1..).zip([HOUR, 0, DAY, 0]) {
        failing.wait_until("everything was attempted once more", |came| came.len() as u64 >= EVENTS * attempts);
        // Not before the outcomes are recorded: only then are retries planned.
        eventually("all outcomes are recorded", || {
            let rows = client.get("/deliveries?event=clock_in&limit=100").expect(200);
            rows.rows().iter().all(|delivery| delivery["attempt_count"].as_u64() >= Some(attempts)).then_some(())
        });
        clock.set(offset_s);
        let event = client.publish("worker_created", &sample("worker_created"));
        healthy.wait_for(usize::try_from(attempts).unwrap(), "an event published after the step");
        if offset_s > 0 {
            assert_is_set(&client, &event, offset_s);
        }
    }
    client.wait_for_total("/deliveries?status=pending", 0);

    let came = failing.requests();
    assert_eq!(ledger.faults(&came, |request| request.attempt() == 5), [""; 0]);
    assert_eq!((came.len() as u64, healthy.requests().len()), (5 * EVENTS, 4));
    for last in came.iter().filter(|request| request.attempt() > 1) {
        let is_before = |r: &&Received| r.event_id() == last.event_id() && r.attempt() + 1 == last.attempt();
        let apart = last.at - came.iter().find(is_before).expect("the attempt before").at;
        assert!(apart + Duration::from_millis(5) >= WAIT, "attempt {} came after {apart:?}", last.attempt());
    }
}

/// A retry is planned, the process dies, the clock is set, the process comes back.
fn a_retry_after_a_restart_with_the_clock_set_by(offset_s: i64) {
    let mut server = Server::stopped(&[("delivery.retry_schedule", r#"["1s"]"#)]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::answering(|request| Reply::status(if request.attempt() < 2 { 500 } else { 200 }));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let delivery = client.delivery_ids(&client.publish("clock_in", &clock_in(1))).remove(0);
    client.wait_for_delivery(&delivery, "was tried", |delivery| delivery["attempt_count"] == 1);
    server.kill_9();
    clock.set(offset_s);
    server.launch();

    let client = server.client_with(&key);
    let event = client.publish("worker_created", &sample("worker_created"));
    client.wait_for_status(&delivery, "delivered");
    assert_eq!(receiver.requests().iter().map(Received::attempt).collect::<Vec<_>>(), [1, 2]);
    if offset_s > 0 {
        assert_is_set(&client, &event, offset_s);
    }
}

#[test]
fn a_retry_is_made_after_a_restart_with_the_clock_an_hour_back() {
    a_retry_after_a_restart_with_the_clock_set_by(-HOUR);
}

#[test]
fn a_retry_is_made_after_a_restart_with_the_clock_a_day_back() {
    a_retry_after_a_restart_with_the_clock_set_by(-DAY);
}

#[test]
fn a_retry_is_made_after_a_restart_with_the_clock_a_day_forward() {
    a_retry_after_a_restart_with_the_clock_set_by(DAY);
}

#[test]
fn ids_grow_and_idempotency_keys_are_known_however_the_clock_is_set() {
    let mut server = Server::stopped(&[]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let key = server.key(ALL_SCOPES);
    let receiver = Receiver::start();
    server.client_with(&key).subscribe(&receiver.url("/"), &["clock_in"]);
    let ledger = Ledger::default();
    let mut ids = Vec::new();
    for (entry, offset_s) in (1..).zip([0, HOUR, 0, DAY, -HOUR, -DAY, HOUR]) {
        clock.set(offset_s);
        // Half of the steps are made while the server runs, and half while it does not.
        if entry % 2 == 0 {
            server.kill_9();
            server.launch();
        }
        let client = server.client_with(&key);
        assert_eq!(ledger.publish(&client, &[entry]), Some(202));
        assert_eq!(ledger.publish(&client, &[1]), Some(202));
        for _ in 0..3 {
            ids.push(client.publish("clock_out", &sample("clock_out")));
        }
    }
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:#?}");
    server.client_with(&key).wait_for_total("/deliveries?status=pending", 0);
    assert_eq!(ledger.len(), 7);
    assert_eq!(ledger.faults(&receiver.requests(), |_| true), [""; 0]);
}
