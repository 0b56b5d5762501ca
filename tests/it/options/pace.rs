//! When attempts start: own time limit, schedule, cap, rate and window, and the one word for what a delivery waits for.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _};
use serde_json::{Value, json};

use crate::harness::{Client, Gate, Receiver, Reply, Server, clock_in, eventually, time};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

#[track_caller]
fn subscribe(client: &Client, receiver: &Receiver, options: &Value) -> i64 {
    let mut wish = json!({"url": receiver.url("/"), "events": ["clock_in"]});
    wish.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let made = client.post("/webhooks", &wish).expect(201);
    for (name, value) in options.as_object().unwrap() {
        assert_eq!(&made.data()[name], value, "{name}");
    }
    made.data()["id"].as_i64().unwrap()
}

fn publish_many(client: &Client, count: u64) {
    let events: Vec<_> = (1..=count).map(|n| json!({"event": "clock_in", "data": clock_in(n)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
}

/// Waits until the only delivery of the event waits for that.
#[track_caller]
fn waits_for(client: &Client, event: &str, word: &str) {
    let id = client.delivery_ids(event).remove(0);
    client.wait_for_delivery(&id, &format!("waits for {word}"), |delivery| delivery["waiting_for"] == word);
    let listed = client.get("/deliveries").expect(200);
    let row = listed.rows().iter().find(|row| row["id"] == id.as_str()).unwrap();
    assert_eq!(row["waiting_for"], word);
}

/// A window around or beside the present time, whatever time it is: from and to are hours from now.
fn window(from_hours: i64, to_hours: i64) -> Value {
    let at = |hours: i64| (Timestamp::now() + hours.hours()).strftime("%H:%M").to_string();
    json!({"days": DAYS, "from": at(from_hours), "to": at(to_hours), "time_zone": "UTC"})
}

#[test]
fn an_attempt_ends_at_its_own_time_limit_and_is_retried_on_its_own_schedule() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::Hang);
    subscribe(&client, &receiver, &json!({"timeout": "300ms", "retry_schedule": ["50ms", "60ms"]}));
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "exhausted");
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 3, "{delivery:#}");
    for attempt in attempts {
        let took = attempt["duration_ms"].as_u64().unwrap();
        assert!((300..20_000).contains(&took), "{took} ms is not its limit, nor below the server's");
    }
    assert_eq!(delivery.get("waiting_for"), None, "it is not pending");
}

#[test]
fn without_waits_there_is_one_attempt_and_the_servers_schedule_comes_back_with_null() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["10ms"]"#)]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::status(500));
    let id = subscribe(&client, &receiver, &json!({"retry_schedule": []}));
    let once = client.settled(&client.publish("clock_in", &clock_in(1)), "exhausted");
    assert_eq!(once["attempt_count"], 1);
    client.change(id, &json!({"retry_schedule": null}));
    let twice = client.settled(&client.publish("clock_in", &clock_in(2)), "exhausted");
    assert_eq!(twice["attempt_count"], 2);
}

#[test]
fn no_more_attempts_are_in_flight_than_the_subscription_allows() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::Late(Duration::from_millis(3), 200));
    let id = subscribe(&client, &receiver, &json!({"max_in_flight": 1}));
    publish_many(&client, 100);
    client.wait_for_total(&format!("/webhooks/{id}/deliveries?status=delivered"), 100);
    assert_eq!(receiver.most_open(), 1);
}

#[test]
fn starts_of_attempts_keep_to_the_rate_retries_included() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::first((0..20).map(|_| Reply::status(500)));
    let id = subscribe(&client, &receiver, &json!({"rate_limit": "30/s", "retry_schedule": ["10ms"]}));
    publish_many(&client, 30);
    client.wait_for_total(&format!("/webhooks/{id}/deliveries?status=delivered"), 30);
    let mut starts = Vec::new();
    for row in client.get(&format!("/webhooks/{id}/deliveries?limit=100")).rows() {
        for attempt in client.delivery(row["id"].as_str().unwrap())["attempts"].as_array().unwrap() {
            starts.push(time(&attempt["created_at"]).as_millisecond());
        }
    }
    starts.sort_unstable();
    assert_eq!(starts.len(), 50);
    // 49 intervals of a thirtieth of a second; the first start may have been late by a bit.
    let took = starts[49] - starts[0];
    assert!(took >= 1500, "50 starts within {took} ms");
    // And nothing waits for longer than it has to, even if the machine is slow.
    let most = starts.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
    assert!(most <= 40, "the shortest interval is {most} ms");
}

#[test]
fn what_waits_for_a_rate_says_so_also_after_a_restart() {
    let mut server = Server::start(&[]);
    let key = server.key("*");
    let receiver = Receiver::start();
    let id = subscribe(&server.client_with(&key), &receiver, &json!({"rate_limit": "1/m"}));
    let client = server.client_with(&key);
    let first = client.publish("clock_in", &clock_in(1));
    client.settled(&first, "delivered");
    let second = client.publish("clock_in", &clock_in(2));
    waits_for(&client, &second, "rate_limit");
    assert!(server.terminate().success());
    server.launch();
    let client = server.client_with(&key);
    waits_for(&client, &second, "rate_limit");
    assert_eq!(receiver.requests().len(), 1);
    // Another rate holds at once.
    client.change(id, &json!({"rate_limit": "100/s"}));
    client.settled(&second, "delivered");
}

#[test]
fn outside_of_its_window_a_delivery_waits_also_after_a_restart() {
    let mut server = Server::start(&[]);
    let key = server.key("*");
    let receiver = Receiver::start();
    let client = server.client_with(&key);
    let closed = window(2, 3);
    let id = subscribe(&client, &receiver, &json!({"delivery_window": closed}));
    let event = client.publish("clock_in", &clock_in(1));
    waits_for(&client, &event, "window");
    // A test ping is sent when somebody asks for it.
    client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
    assert!(server.terminate().success());
    server.launch();
    let client = server.client_with(&key);
    waits_for(&client, &event, "window");
    assert_eq!(client.subscription(id)["delivery_window"], closed);
    assert_eq!(receiver.requests().len(), 1, "the ping alone");
    client.change(id, &json!({"delivery_window": window(-2, 2)}));
    client.settled(&event, "delivered");
    client.change(id, &json!({"delivery_window": closed}));
    let event = client.publish("clock_in", &clock_in(2));
    waits_for(&client, &event, "window");
    client.change(id, &json!({"delivery_window": null}));
    client.settled(&event, "delivered");
}

#[test]
fn a_pending_delivery_says_in_one_word_what_it_waits_for() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1h"]"#)]);
    let client = server.client();
    let gate = Gate::default();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_| Reply::Held(held.clone(), 500));
    let id = subscribe(&client, &receiver, &json!({}));
    let event = client.publish("clock_in", &clock_in(1));
    waits_for(&client, &event, "in_flight");
    let shown = client.get(&format!("/events/{event}")).expect(200);
    assert_eq!(shown.data()["deliveries"][0]["waiting_for"], "in_flight");
    gate.open();
    waits_for(&client, &event, "retry");
    client.change(id, &json!({"active": false}));
    waits_for(&client, &event, "off");
    client.change(id, &json!({"active": true}));
    receiver.rule(|_| Reply::with(503, &[("Retry-After", "600")], ""));
    let many: Vec<_> = (2..10).map(|n| client.publish("clock_in", &clock_in(n))).collect();
    eventually("the rest waits for the endpoint", || {
        let word = |event: &String| client.delivery_of(event)["waiting_for"].clone();
        many.iter().any(|event| word(event) == "backoff").then_some(())
    });
}
