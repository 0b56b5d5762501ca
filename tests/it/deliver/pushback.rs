//! A receiver that answers 429 or 503 is followed, not worn out.

use std::fs;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Client, Gate, Received, Receiver, Reply, Server, clock_in, eventually, sample, time};

/// What rounding to milliseconds may take off a wait.
const ROUNDING: Duration = Duration::from_millis(5);
/// One attempt that counts, and a delivery is exhausted.
const ONCE: (&str, &str) = ("delivery.retry_schedule", "[]");

fn publish_many(client: &Client, count: u64) {
    let events: Vec<Value> = (0..count).map(|entry| json!({"event": "clock_in", "data": clock_in(entry)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
}

fn too_many(retry_after_s: u64) -> Reply {
    Reply::with(429, &[("Retry-After", &retry_after_s.to_string())], "")
}

/// So many a second, and as many at once after a quiet time; beyond that 429.
struct TokenBucket {
    a_second: f64,
    filled: Mutex<(Instant, f64)>,
}

impl TokenBucket {
    fn new(a_second: f64) -> Self {
        Self { a_second, filled: Mutex::new((Instant::now(), a_second)) }
    }

    fn answer(&self) -> Reply {
        let (at, tokens) = &mut *self.filled.lock().unwrap();
        *tokens = (*tokens + at.elapsed().as_secs_f64() * self.a_second).min(self.a_second);
        *at = Instant::now();
        if *tokens < 1.0 {
            return too_many(1);
        }
        *tokens -= 1.0;
        Reply::status(200)
    }
}

#[test]
fn a_receiver_with_a_limit_gets_everything_and_nothing_is_exhausted() {
    const EVENTS: u64 = 200;
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let bucket = TokenBucket::new(50.0);
    let refused = AtomicUsize::new(0);
    let receiver = Receiver::answering(move |_| {
        // However slow the machine is, some are refused.
        let is_first = (20..25).contains(&refused.fetch_add(1, Ordering::Relaxed));
        if is_first { too_many(1) } else { bucket.answer() }
    });
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    publish_many(&client, EVENTS);
    client.wait_for_total("/deliveries?status=delivered", EVENTS);
    assert_eq!(client.total("/deliveries?status=exhausted"), 0);
    let requests = receiver.requests().len() as u64;
    assert!((EVENTS + 5..=EVENTS * 6 / 5).contains(&requests), "{requests} requests for {EVENTS} deliveries");
    let retried: Vec<Received> = receiver.requests().into_iter().filter(|request| request.attempt() > 1).collect();
    for request in &retried {
        let delivery = client.delivery(request.header("x-tempclock-delivery"));
        let attempts = delivery["attempts"].as_array().unwrap();
        let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["attempt"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn a_pushback_while_others_get_through_uses_up_nothing_and_says_so() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    // What may be in flight grows with every quick answer.
    for entry in 0..4 {
        client.settled(&client.publish("clock_in", &clock_in(entry)), "delivered");
    }
    let gate = Gate::default();
    receiver.then([429, 503, 500].map(|status| Reply::Held(gate.clone(), status)));
    let held = [4, 5, 6].map(|entry| client.publish("clock_in", &clock_in(entry)));
    let came = receiver.wait_for(7, "all that are held");
    client.settled(&client.publish("clock_in", &clock_in(7)), "delivered");
    gate.open();
    for request in &came[4..6] {
        let id = request.header("x-tempclock-delivery");
        let delivery = client.wait_for_status(id, "delivered");
        assert_eq!(delivery["attempt_count"], 2, "{delivery:#}");
        let attempt = &delivery["attempts"][0];
        assert_eq!(attempt["status"], "failed");
        let error = attempt["error"].as_str().unwrap();
        assert!(error.contains("does not count against the retry schedule"), "{error}");
        let is_line = |line: &&str| line.contains(id) && line.contains(error) && line.contains("next attempt at");
        eventually("the log says so too", || server.log().lines().find(is_line).map(|_| ()));
    }
    // Any other failure counts as ever.
    let other = client.wait_for_status(came[6].header("x-tempclock-delivery"), "exhausted");
    assert!(held.iter().any(|event| other["event_id"] == event.as_str()));
    assert!(!other["error"].as_str().unwrap().contains("does not count"), "{other:#}");
}

#[test]
fn a_503_is_tried_again_when_it_asks_for_it_or_after_the_first_wait() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["2s"]"#)]);
    let client = server.client();
    for (headers, wait_s) in [(&[("Retry-After", "3")][..], 3), (&[], 2)] {
        let receiver = Receiver::first([Reply::with(503, headers, "")]);
        let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
        let event = client.publish("clock_in", &clock_in(1));
        let came = receiver.wait_for(2, "the retry");
        let waited = came[1].at - came[0].at;
        assert!(waited + ROUNDING >= Duration::from_secs(wait_s), "{headers:?}: waited {waited:?}");
        client.settled(&event, "delivered");
        client.delete(&format!("/webhooks/{id}")).expect(200);
    }
}

#[test]
fn after_five_pushbacks_in_a_row_the_endpoint_is_left_alone_and_then_gets_one() {
    const ASKED: Duration = Duration::from_secs(3);
    let server = Server::start(&[("delivery.retry_schedule", r#"["1h"]"#)]);
    let client = server.client();
    let gate = Gate::default();
    let held = gate.clone();
    let count = AtomicUsize::new(0);
    let receiver = Receiver::answering(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        // The earliest of what is asked for is the third.
        place @ 0..5 => too_many(if place == 2 { 3 } else { 600 }),
        _ => Reply::Held(held.clone(), 200),
    });
    let marker = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    client.subscribe(&marker.url("/"), &["clock_out"]);
    publish_many(&client, 20);
    let came = receiver.wait_for(6, "the one after the rest");
    let rested = came[5].at - came[2].at;
    assert!(rested + ROUNDING >= ASKED, "after {rested:?}");
    // Others are served meanwhile, and no second one comes beside it.
    for number in 1..=20 {
        client.publish("clock_out", &sample("clock_out"));
        marker.wait_for(number, "the event for the other endpoint");
    }
    assert_eq!(receiver.requests().len(), 6);
    gate.open();
    client.wait_for_total("/deliveries?status=delivered&event=clock_in", 15);
    assert_eq!(client.total("/deliveries?status=exhausted"), 0);
    assert_eq!(receiver.requests().len(), 20, "those that were pushed back wait as long as they were asked to");
}

#[test]
fn what_got_through_is_remembered_over_a_restart() {
    let stops: [fn(&mut Server); 2] = [Server::restart, |server| {
        server.kill_9();
        server.launch();
    }];
    for stop in stops {
        for does_another_arrive in [true, false] {
            let mut server = Server::start(&[("delivery.retry_schedule", r#"["1h"]"#)]);
            let client = server.client();
            let receiver = Receiver::first([Reply::status(429)]);
            client.subscribe(&receiver.url("/"), &["clock_in"]);
            let event = client.publish("clock_in", &clock_in(1));
            let id = client.delivery_ids(&event).remove(0);
            client.wait_for_delivery(&id, "was tried", |seen| seen["attempt_count"] == 1);
            if does_another_arrive {
                client.settled(&client.publish("clock_in", &clock_in(2)), "delivered");
            }
            stop(&mut server);
            let client = server.client();
            receiver.then([Reply::status(429)]);
            client.post_nothing(&format!("/deliveries/{id}/retry")).expect(202);
            let seen = client.wait_for_delivery(&id, "was tried again", |seen| seen["attempt_count"] == 2);
            let is_said = seen["error"].as_str().unwrap().contains("does not count");
            assert_eq!((&seen["status"], is_said), (&json!("pending"), does_another_arrive), "{seen:#}");
        }
    }
}

#[test]
fn faults_of_the_servers_own_use_up_nothing() {
    const DESCRIPTORS: usize = 80;
    let hold = ("server.request_timeout", r#""10m""#);
    let mut server = Server::stopped(&[ONCE, hold, ("delivery.threads", "4"), ("server.workers", "1")]);
    server.launch();
    // As if something else had taken what the server counts on.
    server.limit_descriptors(DESCRIPTORS);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let open = format!("/proc/{}/fd", server.pid());
    let callers: Vec<TcpStream> = (0..DESCRIPTORS).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    eventually("no descriptor is left", || (fs::read_dir(&open).unwrap().count() >= DESCRIPTORS).then_some(()));
    let event = client.publish("clock_in", &clock_in(1));
    let id = client.delivery_ids(&event).remove(0);
    let seen = client.wait_for_delivery(&id, "was tried in vain", |seen| seen["attempt_count"].as_u64() >= Some(2));
    assert_eq!(seen["status"], "pending", "{seen:#}");
    drop(callers);
    let delivery = client.settled(&event, "delivered");
    let attempts = delivery["attempts"].as_array().unwrap();
    assert!(attempts[0]["error"].as_str().unwrap().contains("too many files"), "{delivery:#}");
    assert_eq!(attempts.len() as u64, delivery["attempt_count"].as_u64().unwrap());
}

/// The deliveries without an attempt, once each of them shows that the endpoint rests.
fn unattempted_in_a_rest(client: &Client) -> Vec<Value> {
    eventually("the lane rests", || {
        let pending = client.get("/deliveries?status=pending").expect(200);
        let rows: Vec<Value> = pending.rows().iter().filter(|row| row["attempt_count"] == 0).cloned().collect();
        let waits = |row: &Value| time(&row["next_attempt_at"]).duration_since(time(&row["created_at"]));
        let rests = |row: &Value| row["waiting_for"] == "backoff" && waits(row).as_mins() >= 110;
        (!rows.is_empty() && rows.iter().all(rests)).then_some(rows)
    })
}

#[test]
fn a_rest_is_shown_and_a_redelivery_or_a_successful_ping_ends_it() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::with(503, &[("Retry-After", "7200")], ""));
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    publish_many(&client, 12);
    let rows = unattempted_in_a_rest(&client);
    let requests = receiver.requests().len();
    let one = rows[0]["id"].as_str().unwrap();

    // Of one and of many: each has one attempt made, and the endpoint, which still pushes back, rests again.
    client.post_nothing(&format!("/deliveries/{one}/retry")).expect(202);
    receiver.wait_for(requests + 1, "the attempt after a redelivery");
    unattempted_in_a_rest(&client);
    assert_eq!(receiver.requests().len(), requests + 1);
    client.post("/deliveries/retry", &json!({"status": "pending"})).expect(202);
    receiver.wait_for(requests + 2, "the attempt after the redelivery of many");
    unattempted_in_a_rest(&client);
    assert_eq!(receiver.requests().len(), requests + 2);

    receiver.rule(|_| Reply::status(200));
    client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
    eventually("a delivery arrives after the ping", || {
        (client.total("/deliveries?status=delivered&event=clock_in") > 0).then_some(())
    });
}
