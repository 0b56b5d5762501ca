//! One slow, hanging or dead endpoint does not hold up the others.

use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{Client, Gate, Receiver, Reply, Server, clock_in, eventually, sample, time};

fn publish_many(client: &Client, event: &str, count: usize) {
    let events: Vec<Value> = (0..count).map(|_| json!({"event": event, "data": sample(event)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
}

/// When the attempts that have ended, from this number on, began and ended.
fn attempts(client: &Client, deliveries: &[String], from: u64) -> Vec<(Timestamp, Timestamp)> {
    let shown = deliveries.iter().flat_map(|id| client.delivery(id)["attempts"].as_array().unwrap().clone());
    let meant = shown.filter(|attempt| attempt["attempt"].as_u64().unwrap() >= from);
    meant.map(|attempt| (time(&attempt["created_at"]), time(&attempt["completed_at"]))).collect()
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
    let deliveries = client.delivery_ids(&client.publish("clock_in", &clock_in(1)));
    let retries = eventually("every suspect is tried again", || {
        let retries = attempts(&client, &deliveries, 2);
        (retries.len() >= hanging.len()).then_some(retries)
    });
    for (begun, _) in &retries {
        let together = retries.iter().filter(|other| other.0 <= *begun && *begun < other.1).count();
        assert!(together < THREADS, "{together} suspects held all {THREADS} threads");
    }
    client.publish("clock_out", &sample("clock_out"));
    healthy.wait_for(1, "the event for the healthy endpoint");
}

#[test]
fn an_endpoint_that_timed_out_gets_one_attempt_at_a_time() {
    let server = Server::start(&[("delivery.timeout", r#""1s""#)]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::Hang);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let first = client.publish("clock_in", &clock_in(1));
    let delivery = client.delivery_ids(&first).remove(0);
    client.wait_for_delivery(&delivery, "timed out", |d| d["attempt_count"] != 0);
    publish_many(&client, "clock_in", 20);

    let deliveries = client.get("/deliveries").expect(200);
    let deliveries: Vec<_> = deliveries.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    let mut seen = eventually("more attempts", || {
        let seen = attempts(&client, &deliveries, 1);
        (seen.len() >= 5).then_some(seen)
    });
    seen.sort();
    for pair in seen.windows(2) {
        assert!(
            pair[0].1 <= pair[1].0,
            "an attempt began at {} while one was under way until {}",
            pair[1].0,
            pair[0].1
        );
    }
}
