//! A failed delivery is tried again by the schedule, as the receiver asks, and never forgotten.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp, fmt::strtime};
use serde_json::{Value, json};

use crate::harness::{
    Client, Gate, Received, Receiver, Reply, Server, clock_in, eventually, on_an_island, sample, time,
};

/// What rounding to milliseconds may take off a wait.
const ROUNDING: Duration = Duration::from_millis(5);

#[track_caller]
fn assert_waited(before: &Received, after: &Received, least: Duration) {
    let waited = after.at - before.at;
    assert!(waited + ROUNDING >= least, "waited {waited:?}, at least {least:?} was promised");
}

#[test]
fn of_attempts_that_ended_in_the_same_way_the_last_one_shows_the_response_body_and_all_show_the_rest() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["10ms", "10ms", "10ms", "10ms"]"#)]);
    let client = server.client();
    let replies = [(500, "page 1"), (404, "no such page"), (500, "page 2"), (500, "page 2"), (200, "")];
    let reply = |(status, body): (u16, &str)| Reply::with(status, &[("X-Page", body)], body);
    let receiver = Receiver::first(replies.map(reply));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "delivered");
    let mut attempts = delivery["attempts"].as_array().unwrap().clone();
    attempts.sort_by_key(|attempt| attempt["attempt"].as_u64());
    let bodies: Vec<&Value> = attempts.iter().map(|attempt| &attempt["response"]["body"]).collect();
    let wanted = [json!(null), json!("no such page"), json!("page 2"), json!("page 2"), json!("")];
    assert_eq!(bodies, wanted.iter().collect::<Vec<_>>());
    for (attempt, (status, body)) in attempts.iter().zip(replies) {
        assert_eq!(
            (&attempt["response_code"], &attempt["response"]["headers"]["x-page"]),
            (&json!(status), &json!(body))
        );
    }
}

#[test]
fn two_failures_and_a_success_are_three_attempts_of_one_delivery() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1s", "2s", "1h"]"#)]);
    let client = server.client();
    let receiver = Receiver::first([Reply::status(500), Reply::status(500)]);
    let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));

    let came = receiver.wait_for(3, "three attempts");
    for (request, number) in came.iter().zip(1..) {
        assert_eq!(request.attempt(), number);
        assert_eq!(request.body, came[0].body);
        assert_eq!(request.header("x-tempclock-delivery"), came[0].header("x-tempclock-delivery"));
        assert_eq!(request.header("webhook-id"), event);
        request.assert_signed_with(&subscription.secret);
    }
    assert_waited(&came[0], &came[1], Duration::from_secs(1));
    assert_waited(&came[1], &came[2], Duration::from_secs(2));

    let delivery = client.settled(&event, "delivered");
    assert_eq!(delivery["attempt_count"], 3);
    assert_eq!(delivery["next_attempt_at"], json!(null));
    time(&delivery["completed_at"]);
    let recent = client.subscription(subscription.id)["recent_deliveries"].clone();
    let rows: Vec<(&Value, &Value, &Value)> =
        recent.as_array().unwrap().iter().map(|row| (&row["attempt"], &row["status"], &row["response_code"])).collect();
    let wanted = [(3, "delivered", 200), (2, "failed", 500), (1, "failed", 500)];
    assert_eq!(rows.len(), wanted.len(), "{recent:#}");
    for (row, (attempt, status, code)) in rows.iter().zip(wanted) {
        assert_eq!((row.0, row.1, row.2), (&json!(attempt), &json!(status), &json!(code)));
    }
    for row in recent.as_array().unwrap() {
        assert_eq!(row["delivery_id"], delivery["id"]);
        assert!(time(&row["created_at"]) <= time(&row["completed_at"]));
    }
    for (later, earlier) in [(0, 1), (1, 2)] {
        assert!(time(&recent[later]["created_at"]) > time(&recent[earlier]["completed_at"]));
        assert!(recent[earlier]["error"].as_str().is_some_and(|e| !e.is_empty()), "{recent:#}");
    }
    assert_eq!(recent[0]["error"], json!(null));
}

#[test]
fn a_used_up_schedule_leaves_the_delivery_exhausted() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1s", "1s"]"#)]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::status(503));
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let event = client.publish("clock_in", &clock_in(1));

    let delivery = client.settled(&event, "exhausted");
    assert_eq!(delivery["attempt_count"], 3);
    assert_eq!(delivery["next_attempt_at"], json!(null));
    time(&delivery["completed_at"]);
    let numbers: Vec<u32> = receiver.requests().iter().map(Received::attempt).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(client.subscription(id)["active"], true);
}

#[test]
fn an_empty_schedule_means_one_attempt() {
    let server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::status(500));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    assert_eq!(client.settled(&event, "exhausted")["attempt_count"], 1);
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn the_built_in_schedule_waits_five_seconds_first() {
    let server = Server::start(&[("delivery.retry_schedule", "")]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::status(500));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));

    let id = client.delivery_ids(&event).remove(0);
    let seen = client.wait_for_delivery(&id, "was tried", |d| d["attempt_count"] == 1);
    assert_eq!(seen["status"], "pending");
    let ended = time(&seen["attempts"][0]["completed_at"]);
    let wait = time(&seen["next_attempt_at"]).duration_since(ended);
    // The second wait of the schedule would be five minutes.
    let bounds = SignedDuration::from_millis(4_995)..SignedDuration::from_mins(1);
    assert!(bounds.contains(&wait), "{wait} after the first attempt");
}

#[test]
fn a_receiver_can_ask_for_a_longer_wait_in_seconds() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver =
        Receiver::first([Reply::with(429, &[("Retry-After", "3")], ""), Reply::with(400, &[("Retry-After", "2")], "")]);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    client.publish("clock_in", &clock_in(1));
    let came = receiver.wait_for(3, "three attempts");
    assert_waited(&came[0], &came[1], Duration::from_secs(3));
    assert_waited(&came[1], &came[2], Duration::from_secs(2));
}

#[test]
fn a_receiver_can_ask_for_a_longer_wait_by_date() {
    let server = Server::start(&[]);
    let client = server.client();
    let date_for = |first: &Received| Timestamp::from_second(first.wall.as_second() + 4).unwrap();
    let receiver = Receiver::answering(move |request| {
        let text = strtime::format("%a, %d %b %Y %H:%M:%S GMT", date_for(request)).unwrap();
        Reply::with(if request.attempt() == 1 { 503 } else { 200 }, &[("Retry-After", &text)], "")
    });
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    client.publish("clock_in", &clock_in(1));
    let came = receiver.wait_for(2, "both attempts");
    let date = date_for(&came[0]);
    assert!(came[1].wall + SignedDuration::from_millis(5) >= date, "{} before {date}", came[1].wall);
}

#[test]
fn a_receiver_cannot_shorten_the_wait() {
    let wishes = ["0", "1", "-5", "soon", "", "Sun, 06 Nov 1994 08:49:37 GMT"];
    let server = Server::start(&[("delivery.retry_schedule", r#"["2s"]"#)]);
    let client = server.client();
    let receivers: Vec<Receiver> =
        wishes.iter().map(|wish| Receiver::first([Reply::with(503, &[("Retry-After", wish)], "")])).collect();
    for receiver in &receivers {
        client.subscribe(&receiver.url("/"), &["clock_in"]);
    }
    client.publish("clock_in", &clock_in(1));
    for (receiver, wish) in receivers.iter().zip(wishes) {
        let came = receiver.wait_for(2, wish);
        assert_waited(&came[0], &came[1], Duration::from_secs(2));
    }
}

#[test]
fn a_wish_for_a_wait_without_end_is_capped() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::with(503, &[("Retry-After", "2592000")], ""));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let id = client.delivery_ids(&event).remove(0);
    let seen = client.wait_for_delivery(&id, "was tried", |d| d["attempt_count"] == 1);
    let wait = time(&seen["next_attempt_at"]).duration_since(Timestamp::now());
    assert!(wait < SignedDuration::from_hours(29 * 24), "{wait}");
    assert!(wait > SignedDuration::from_secs(2), "the wish was not heard at all: {wait}");
}

#[test]
fn a_410_turns_the_subscription_off_and_what_is_pending_is_held() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/gone" => Reply::status(410),
        _ => Reply::status(200),
    });
    let id = client.subscribe(&receiver.url("/gone"), &["clock_in"]).id;
    let before = Timestamp::now();
    let first = client.publish("clock_in", &clock_in(1));
    let off = eventually("the subscription is off", || {
        let seen = client.subscription(id);
        (seen["active"] == false).then_some(seen)
    });
    assert_turned_off(&off, "410", before);
    assert_eq!(client.delivery_of(&first)["status"], "pending");
    eventually("the log says so", || server.log().contains("410").then_some(()));

    let answer = client.post("/events", &json!({"event": "clock_in", "data": clock_in(2)})).expect(202);
    assert_eq!(answer.data()["deliveries"], 1);
    let second = answer.data()["id"].as_str().unwrap().to_owned();
    see_two_retries_through(&client);
    assert_eq!(client.delivery_of(&first)["attempt_count"], 1);
    assert_eq!(client.delivery_of(&second)["attempt_count"], 0);
    assert_eq!(receiver.requests_to("/gone").len(), 1);

    receiver.rule(|_| Reply::status(200));
    client.change(id, &json!({"active": true}));
    for event in [first, second] {
        client.settled(&event, "delivered");
    }
    let on = client.subscription(id);
    assert!(on["disabled_reason"].is_null() && on["disabled_at"].is_null(), "the old reason is still shown: {on:#}");
}

/// The subscription says why and when it was turned off, in fields of its own.
#[track_caller]
fn assert_turned_off(subscription: &Value, reason: &str, since: Timestamp) {
    let shown = subscription["disabled_reason"].as_str();
    assert!(shown.is_some_and(|shown| shown.contains(reason)), "no reason in {subscription:#}");
    let at = &subscription["disabled_at"];
    assert!(time(at) + SignedDuration::from_secs(1) >= since, "{at} is before {since}");
}

/// Sees another subscription through a failure and two retries of a second each: what was due
/// within a second when this began has had its turn when it returns.
#[track_caller]
fn see_two_retries_through(client: &Client) {
    let receiver = Receiver::first([Reply::status(500), Reply::status(500)]);
    let marker = client.subscribe(&receiver.url("/marker"), &["worker_updated"]);
    let event = client.publish("worker_updated", &sample("worker_updated"));
    assert_eq!(client.settled(&event, "delivered")["attempt_count"], 3);
    client.delete(&format!("/webhooks/{}", marker.id)).expect(200);
}

#[test]
fn what_is_pending_is_held_while_a_subscription_is_off_and_sent_when_it_is_on() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    client.change(id, &json!({"active": false}));
    let mut events = Vec::new();
    for number in 0..5 {
        let body = json!({"event": "clock_in", "data": clock_in(number)});
        let answer = client.post("/events", &body).expect(202);
        assert_eq!(answer.data()["deliveries"], 1, "an event for a subscription that is off");
        events.push(answer.data()["id"].as_str().unwrap().to_owned());
    }
    see_two_retries_through(&client);
    assert_eq!(receiver.requests().len(), 0, "sent although the subscription is off");
    assert_eq!(client.total(&format!("/webhooks/{id}/deliveries?status=pending")), 5);

    client.change(id, &json!({"active": true}));
    for event in &events {
        client.settled(event, "delivered");
    }
    assert_eq!(receiver.requests().len(), 5);
}

#[test]
fn a_retry_waits_for_a_subscription_that_is_off_and_keeps_its_number() {
    let server = Server::start(&[]);
    let client = server.client();
    let gate = Gate::default();
    let receiver = Receiver::first([Reply::Held(gate.clone(), 500)]);
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let event = client.publish("clock_in", &clock_in(1));
    receiver.wait_for(1, "the first attempt");
    client.change(id, &json!({"active": false}));
    gate.open();
    let delivery = client.delivery_ids(&event).remove(0);
    client.wait_for_delivery(&delivery, "was tried", |d| d["attempt_count"] == 1);
    see_two_retries_through(&client);
    assert_eq!(receiver.requests().len(), 1, "tried again although the subscription is off");

    client.change(id, &json!({"active": true}));
    assert_eq!(client.settled(&event, "delivered")["attempt_count"], 2);
    assert_eq!(receiver.requests()[1].attempt(), 2);
}

#[test]
fn a_pending_delivery_follows_its_subscription_to_a_new_url() {
    let server = Server::start(&[]);
    let client = server.client();
    let gate = Gate::default();
    let old = Receiver::first([Reply::Held(gate.clone(), 500)]);
    let new = Receiver::start();
    let subscription = client.subscribe(&old.url("/old"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    old.wait_for(1, "the first attempt");
    client.change(subscription.id, &json!({"url": new.url("/new")}));
    gate.open();

    let came = new.wait_for(1, "the retry at the new address").remove(0);
    assert_eq!(came.path, "/new");
    assert_eq!(came.attempt(), 2);
    assert_eq!(came.body, old.requests()[0].body);
    came.assert_signed_with(&subscription.secret);
    client.settled(&event, "delivered");
    assert_eq!(old.requests().len(), 1);
}

#[test]
fn an_endpoint_that_fails_for_too_long_is_turned_off() {
    let server = Server::start(&[
        ("delivery.disable_after", r#""2s""#),
        ("delivery.retry_schedule", r#"["1s", "1s", "1s", "1s", "1s", "1s", "1h"]"#),
    ]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::status(500));
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let before = Timestamp::now();
    let event = client.publish("clock_in", &clock_in(1));
    let off = eventually("the subscription is off", || {
        let seen = client.subscription(id);
        (seen["active"] == false).then_some(seen)
    });
    assert_turned_off(&off, "fail", before);
    let came = receiver.requests();
    let failing = came.last().unwrap().at - came[0].at;
    assert!(failing + ROUNDING >= Duration::from_secs(1), "turned off after only {failing:?}");
    let held = client.delivery_of(&event);
    assert_eq!(held["status"], "pending");
    assert_eq!(held["attempt_count"], came.len());

    receiver.rule(|_| Reply::status(200));
    client.change(id, &json!({"active": true}));
    client.settled(&event, "delivered");
}

#[test]
fn a_success_between_failures_keeps_an_endpoint_on() {
    // Fails for longer than allowed in sum, but never without a success in between.
    let server =
        Server::start(&[("delivery.disable_after", r#""12s""#), ("delivery.retry_schedule", r#"["1s", "1s", "1s"]"#)]);
    let client = server.client();
    let receiver = Receiver::answering(|request| match request.attempt() {
        1..=2 => Reply::status(500),
        _ => Reply::status(200),
    });
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    for number in 0..7 {
        let event = client.publish("clock_in", &clock_in(number));
        client.settled(&event, "delivered");
    }
    let came = receiver.requests();
    assert_eq!(came.len(), 21);
    assert!(came[20].at - came[0].at > Duration::from_secs(12), "too quick to show anything");
    assert_eq!(client.subscription(id)["active"], true);
}

#[test]
fn an_outage_of_the_servers_own_network_turns_no_endpoint_off() {
    // No way leads off the island.
    on_an_island("deliver::retries::an_outage_of_the_servers_own_network_turns_no_endpoint_off", || {
        let server = Server::start(&[
            ("delivery.disable_after", r#""2s""#),
            ("delivery.retry_schedule", r#"["1s", "1s", "1s", "1s"]"#),
        ]);
        let client = server.client();
        let id = client.subscribe("http://8.8.8.8/", &["clock_in"]).id;
        let event = client.publish("clock_in", &clock_in(1));
        client.settled(&event, "exhausted");
        let seen = client.subscription(id);
        assert_eq!((&seen["active"], seen.get("failing_since")), (&json!(true), None), "{seen}");
    });
}
