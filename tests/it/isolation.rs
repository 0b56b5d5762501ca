//! One slow, hanging or dead endpoint does not hold up the others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Gate, Received, Receiver, Reply, Server, clock_in, eventually, sample};

fn publish_many(client: &Client, event: &str, count: usize) {
    let events: Vec<Value> = (0..count).map(|_| json!({"event": event, "data": sample(event)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
}

#[test]
fn an_endpoint_never_gets_more_attempts_at_once_than_its_cap() {
    let server = Server::start(&[("delivery.max_in_flight_per_endpoint", "3"), ("delivery.threads", "16")]);
    let client = server.client();
    let gate = Gate::default();
    let held = gate.clone();
    // What may be in flight grows with every quick answer; from the fifth request on none is answered.
    let answered = AtomicUsize::new(0);
    let receiver = Receiver::answering(move |_| match answered.fetch_add(1, Ordering::Relaxed) {
        0..4 => Reply::status(200),
        _ => Reply::Held(held.clone(), 200),
    });
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    publish_many(&client, "clock_in", 60);
    receiver.wait_for(4 + 3, "as many attempts as the cap allows");
    gate.open();
    client.wait_for_total("/deliveries?status=delivered", 60);
    assert_eq!(receiver.requests().len(), 60);
    assert_eq!(receiver.most_open(), 3);
}

#[test]
fn a_hanging_endpoint_with_a_backlog_does_not_hold_up_another() {
    let server = Server::start(&[
        ("delivery.max_in_flight_per_endpoint", "2"),
        ("delivery.threads", "4"),
        ("delivery.timeout", r#""10m""#),
    ]);
    let client = server.client();
    let hanging = Receiver::answering(|_| Reply::Hang);
    let healthy = Receiver::start();
    client.subscribe(&hanging.url("/"), &["clock_in"]);
    client.subscribe(&healthy.url("/"), &["clock_out"]);
    publish_many(&client, "clock_in", 500);
    hanging.wait_for(1, "the hanging endpoint holds a thread");
    publish_many(&client, "clock_out", 100);
    healthy.wait_for(100, "everything for the healthy endpoint");
    client.wait_for_total("/deliveries?status=delivered&event=clock_out", 100);
    assert!(hanging.requests().len() <= 2, "more attempts than the cap, or one ended long before its time limit");
    assert_eq!(client.total("/deliveries?status=pending&event=clock_in"), 500);
}

#[test]
fn a_dead_endpoint_with_a_backlog_does_not_hold_up_another() {
    let server = Server::start(&[("delivery.threads", "4"), ("delivery.retry_schedule", r#"["1h"]"#)]);
    let client = server.client();
    let dead = Receiver::answering(|_| Reply::Close);
    let healthy = Receiver::start();
    client.subscribe(&dead.url("/"), &["clock_in"]);
    client.subscribe(&healthy.url("/"), &["clock_out"]);
    publish_many(&client, "clock_in", 300);
    for number in 0..20 {
        client.publish("clock_out", &sample("clock_out"));
        healthy.wait_for(number + 1, "the event for the healthy endpoint");
    }
    client.wait_for_total("/deliveries?status=delivered&event=clock_out", 20);
}

#[test]
fn endpoints_that_timed_out_never_hold_all_threads_together() {
    const THREADS: usize = 8;
    const LIMIT: Duration = Duration::from_secs(2);
    let server = Server::start(&[
        ("delivery.threads", "8"),
        ("delivery.timeout", r#""2s""#),
        ("delivery.retry_schedule", r#"["1s", "1s", "1s", "1s"]"#),
    ]);
    let client = server.client();
    let hanging: Vec<Receiver> = (0..12).map(|_| Receiver::answering(|_| Reply::Hang)).collect();
    for receiver in &hanging {
        client.subscribe(&receiver.url("/"), &["clock_in"]);
    }
    let healthy = Receiver::start();
    client.subscribe(&healthy.url("/"), &["clock_out"]);
    client.publish("clock_in", &clock_in(1));
    let mut retries: Vec<Received> = eventually("every suspect is tried again", || {
        let came = hanging.iter().flat_map(Receiver::requests);
        let retries: Vec<Received> = came.filter(|request| request.attempt() > 1).collect();
        (retries.len() >= hanging.len()).then_some(retries)
    });

    // An attempt holds its thread for the whole time limit, so those that began within half of it
    // were in flight together.
    retries.sort_by_key(|request| request.at);
    for last in &retries {
        let with_it = |other: &&Received| other.at <= last.at && last.at - other.at < LIMIT / 2;
        let together = retries.iter().filter(with_it).count();
        assert!(together < THREADS, "{together} suspects held all {THREADS} threads");
    }
    client.publish("clock_out", &sample("clock_out"));
    healthy.wait_for(1, "the event for the healthy endpoint");
}

#[test]
fn an_endpoint_that_timed_out_gets_one_attempt_at_a_time() {
    const LIMIT: Duration = Duration::from_secs(2);
    let server = Server::start(&[("delivery.timeout", r#""2s""#)]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::Hang);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let first = client.publish("clock_in", &clock_in(1));
    let delivery = client.delivery_ids(&first).remove(0);
    client.wait_for_delivery(&delivery, "timed out", |d| d["attempt_count"] == 1);
    publish_many(&client, "clock_in", 20);

    // Every attempt hangs for the whole limit: two that began within half of it were together.
    let came = receiver.wait_for(5, "more attempts");
    for pair in came.windows(2) {
        let apart = pair[1].at - pair[0].at;
        assert!(apart > LIMIT / 2, "two attempts began only {apart:?} apart");
    }
}
