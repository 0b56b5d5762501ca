//! Several events in one request: when a batch ends, what it looks like, and that it stays the same until it is settled.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Client, Gate, Received, Receiver, Reply, Server, clock_in, signature_hex, signature_standard};

const SECRET: &str = "6f1d0c5b2a4e83977e6b5d4c3b2a190817f6e5d4c3b2a1908f7e6d5c4b3a2918";

#[track_caller]
fn subscribe(client: &Client, receiver: &Receiver, options: &Value) -> i64 {
    let mut wish = json!({"url": receiver.url("/"), "events": ["clock_in"], "secret": SECRET});
    wish.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let made = client.post("/webhooks", &wish).expect(201);
    assert_eq!(made.data()["batch"], options["batch"]);
    made.data()["id"].as_i64().unwrap()
}

fn publish(client: &Client, entries: std::ops::RangeInclusive<u64>) -> Vec<String> {
    let events: Vec<_> = entries.map(|n| json!({"event": "clock_in", "data": clock_in(n)})).collect();
    let published = client.post("/events/batch", &json!({"events": events})).expect(202);
    published.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

fn entries(request: &Received) -> Vec<u64> {
    let body = request.json();
    body["events"].as_array().unwrap().iter().map(|event| event["data"]["entry_id"].as_u64().unwrap()).collect()
}

/// Panics unless the request is a batch as the documentation has it, signed once.
#[track_caller]
fn check(request: &Received) {
    let body = request.json();
    let id = body["id"].as_str().unwrap();
    assert_eq!((id.len(), &id[..4]), (36, "bat_"), "{id}");
    for header in ["webhook-id", "x-tempclock-delivery"] {
        assert_eq!(request.header(header), id, "{header}");
    }
    assert_eq!((request.header("x-tempclock-event"), request.header("content-type")), ("batch", "application/json"));
    assert_eq!(request.header("x-tempclock-signature"), signature_hex(SECRET, &request.body));
    let standard = signature_standard(SECRET, id, request.header("webhook-timestamp"), &request.body);
    assert_eq!(request.header("webhook-signature"), standard);
}

#[test]
fn a_batch_ends_with_its_last_event_or_when_the_first_has_waited_and_keeps_the_order_of_storing() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    subscribe(&client, &receiver, &json!({"batch": {"max": 3, "wait": "300ms"}}));
    let events = publish(&client, 1..=7);
    let last = client.settled(&events[6], "delivered");
    let requests = receiver.wait_for(3, "three batches");
    requests.iter().for_each(check);
    let mut sent: Vec<_> = requests.iter().map(entries).collect();
    sent.sort_unstable();
    assert_eq!(sent, [vec![1, 2, 3], vec![4, 5, 6], vec![7]]);
    let alone = requests.iter().find(|request| entries(request) == [7]).unwrap();
    // The events in it are the envelopes as they are sent alone.
    let envelope = last["body"].as_str().unwrap();
    assert_eq!(alone.text(), format!(r#"{{"id":"{}","events":[{envelope}]}}"#, alone.header("webhook-id")));
    let attempt = &last["attempts"][0];
    assert_eq!(attempt["request"]["headers"]["X-TempClock-Event"], "batch", "{attempt:#}");
    assert_eq!(attempt["response_code"], 200);
}

#[test]
fn what_is_gathered_says_so_and_is_sent_after_a_kill() {
    let mut server = Server::start(&[]);
    let key = server.key("*");
    let client = server.client_with(&key);
    let receiver = Receiver::start();
    let id = subscribe(&client, &receiver, &json!({"batch": {"max": 100, "wait": "1h"}}));
    let events = publish(&client, 1..=3);
    for event in &events {
        let delivery = client.delivery_of(event);
        assert_eq!((&delivery["status"], &delivery["waiting_for"]), (&json!("pending"), &json!("batch")));
        assert_eq!(delivery["next_attempt_at"], Value::Null);
    }
    assert_eq!(client.total(&format!("/webhooks/{id}/deliveries?status=pending")), 3);
    server.kill_9();
    server.launch();
    let client = server.client_with(&key);
    for event in &events {
        client.settled(event, "delivered");
    }
    let requests = receiver.requests();
    assert_eq!(requests.iter().map(entries).collect::<Vec<_>>(), [[1, 2, 3]]);
    check(&requests[0]);
}

#[test]
fn a_batch_that_fails_is_sent_again_byte_for_byte_also_after_a_restart_and_each_delivery_has_its_attempts() {
    let mut server = Server::start(&[]);
    let key = server.key("*");
    let client = server.client_with(&key);
    let receiver = Receiver::first([Reply::status(500), Reply::status(503)]);
    let schedule = json!(["300ms", "300ms", "300ms"]);
    subscribe(&client, &receiver, &json!({"batch": {"max": 4, "wait": "1h"}, "retry_schedule": schedule}));
    let events = publish(&client, 1..=4);
    receiver.wait_for(1, "the first attempt");
    let later = publish(&client, 5..=6);
    server.kill_9();
    server.launch();
    let client = server.client_with(&key);
    let deliveries: Vec<_> = events.iter().map(|event| client.settled(event, "delivered")).collect();
    let requests: Vec<_> = receiver.requests().into_iter().filter(|request| entries(request)[0] == 1).collect();
    requests.iter().for_each(check);
    // The kill may have come before the first attempt was stored, and then it was made again.
    assert!((3..=4).contains(&requests.len()), "{}", requests.len());
    assert!(requests.iter().all(|request| request.body == requests[0].body));
    for delivery in &deliveries {
        let codes: Vec<_> = delivery["attempts"].as_array().unwrap().iter().map(|one| &one["response_code"]).collect();
        assert_eq!(codes.last(), Some(&&json!(200)), "{delivery:#}");
        assert_eq!(delivery["attempt_count"], codes.len(), "{delivery:#}");
        assert!(codes.len() >= 2, "{delivery:#}");
    }
    for event in &later {
        client.settled(event, "delivered");
    }
}

#[test]
fn a_batch_that_is_exhausted_exhausts_every_delivery_of_it_and_a_redelivery_goes_in_a_batch_of_one() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::status(500));
    subscribe(&client, &receiver, &json!({"batch": {"max": 2, "wait": "1h"}, "retry_schedule": ["20ms"]}));
    let events = publish(&client, 1..=2);
    let exhausted: Vec<_> = events.iter().map(|event| client.settled(event, "exhausted")).collect();
    assert!(exhausted.iter().all(|delivery| delivery["attempt_count"] == 2), "{exhausted:#?}");
    receiver.rule(|_| Reply::status(200));
    let id = exhausted[1]["id"].as_str().unwrap();
    client.post_nothing(&format!("/deliveries/{id}/retry")).expect(202);
    client.settled(&events[1], "delivered");
    let requests = receiver.requests();
    let last = requests.last().unwrap();
    check(last);
    assert_eq!((entries(last), last.attempt()), (vec![2], 3));
    assert_ne!(last.header("webhook-id"), requests[0].header("webhook-id"));
    client.settled(&events[0], "exhausted");
}

#[test]
fn a_batch_ends_before_a_mebibyte_and_one_event_that_is_longer_goes_alone() {
    let server = Server::start(&[("limits.event_bytes", "\"2MiB\"")]);
    let client = server.client();
    let receiver = Receiver::start();
    subscribe(&client, &receiver, &json!({"batch": {"max": 1000, "wait": "200ms"}}));
    let of_size = |entry: u64, bytes: usize| {
        let mut data = clock_in(entry);
        data["note"] = "x".repeat(bytes).into();
        client.publish("clock_in", &data)
    };
    let events = [of_size(1, 400_000), of_size(2, 400_000), of_size(3, 400_000), of_size(4, 1_200_000), of_size(5, 10)];
    for event in &events {
        client.settled(event, "delivered");
    }
    let requests = receiver.requests();
    assert!(requests.iter().all(|request| request.body.len() <= 1 << 20 || entries(request).len() == 1));
    let mut sent: Vec<_> = requests.iter().map(entries).collect();
    sent.sort_unstable();
    assert_eq!(sent.concat(), [1, 2, 3, 4, 5]);
    assert!(sent.contains(&vec![4]), "{sent:?}");
}

#[test]
fn a_change_of_batch_sends_what_was_gathered_at_once_and_holds_for_new_events() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let id = subscribe(&client, &receiver, &json!({"batch": {"max": 100, "wait": "1h"}}));
    let gathered = publish(&client, 1..=3);
    client.change(id, &json!({"batch": null}));
    for event in &gathered {
        client.settled(event, "delivered");
    }
    client.settled(&publish(&client, 4..=4)[0], "delivered");
    let requests = receiver.requests();
    check(&requests[0]);
    assert_eq!(entries(&requests[0]), [1, 2, 3]);
    assert_eq!(requests[1].header("x-tempclock-event"), "clock_in");
}

#[test]
fn with_the_order_of_a_subscription_one_batch_goes_at_a_time() {
    let server = Server::start(&[]);
    let client = server.client();
    let gate = Gate::default();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_| Reply::Held(held.clone(), 200));
    subscribe(&client, &receiver, &json!({"batch": {"max": 2, "wait": "1h"}, "order": "subscription"}));
    let events = publish(&client, 1..=6);
    receiver.wait_for(1, "the first batch");
    let waiting_for = |event: &String| client.delivery_of(event)["waiting_for"].clone();
    assert_eq!((waiting_for(&events[0]), waiting_for(&events[2])), (json!("in_flight"), json!("order")));
    gate.open();
    for event in &events {
        client.settled(event, "delivered");
    }
    assert_eq!(receiver.requests().iter().map(entries).collect::<Vec<_>>(), [[1, 2], [3, 4], [5, 6]]);
    assert_eq!(receiver.most_open(), 1);
}

#[test]
fn own_names_and_a_removed_type_hold_for_batches_and_a_test_ping_is_a_batch_of_one() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::Late(Duration::from_millis(1), 500));
    let names = json!({"event": "X-Kind", "envelope": {"data": "payload"}});
    let options = json!({"batch": {"max": 2, "wait": "1h"}, "names": names, "retry_schedule": ["1h"]});
    let id = subscribe(&client, &receiver, &options);
    let events = publish(&client, 1..=3);
    let first = receiver.wait_for(1, "the first batch").remove(0);
    let body = first.json();
    assert_eq!((first.header("x-kind"), body["events"][1]["payload"]["entry_id"].as_u64()), ("batch", Some(2)));
    client.change(id, &json!({"events": ["worker_created"]}));
    for event in &events {
        client.settled(event, "cancelled");
    }
    receiver.rule(|_| Reply::status(200));
    let ping = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
    assert_eq!(ping.data()["success"], true);
    let last = receiver.requests().pop().unwrap();
    assert_eq!(last.json()["events"][0]["event"], "ping");
    client.delete(&format!("/webhooks/{id}")).expect(200);
}
