//! Deliveries that go one after the other: by worker or by subscription, through retries, restarts, redeliveries and
//! changes, while others go on.

use serde_json::{Value, json};

use crate::harness::{Client, Gate, Received, Receiver, Reply, Server, clock_in, eventually, sample};

#[track_caller]
fn subscribe(client: &Client, receiver: &Receiver, options: &Value) -> i64 {
    let mut wish = json!({"url": receiver.url("/"), "events": ["clock_in", "clock_out", "ping"]});
    wish.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    client.post("/webhooks", &wish).expect(201).data()["id"].as_i64().unwrap()
}

/// Publishes the clock-in with that number of a worker.
fn of_worker(client: &Client, worker: &Value, entry: u64) -> String {
    let mut data = clock_in(entry);
    data["worker_id"] = worker.clone();
    client.publish("clock_in", &data)
}

fn waiting_for(client: &Client, event: &str) -> Value {
    let delivery = client.delivery_of(event);
    if delivery["waiting_for"] == "order" {
        assert_eq!(delivery["next_attempt_at"], Value::Null, "{delivery:#}");
    }
    delivery["waiting_for"].clone()
}

fn entry(request: &Received) -> u64 {
    request.json()["data"]["entry_id"].as_u64().unwrap()
}

fn entries(receiver: &Receiver) -> Vec<u64> {
    receiver.requests().iter().map(entry).collect()
}

#[test]
fn the_next_event_of_a_worker_waits_for_the_one_before_and_other_workers_go_on_also_after_a_restart() {
    let mut server = Server::start(&[("delivery.retry_schedule", r#"["1h"]"#)]);
    let key = server.key("*");
    let client = server.client_with(&key);
    let receiver = Receiver::answering(|request| Reply::status(if entry(request) == 1 { 500 } else { 200 }));
    let id = subscribe(&client, &receiver, &json!({"order": "worker"}));
    let first = of_worker(&client, &json!(52), 1);
    client.wait_for_delivery(&client.delivery_ids(&first).remove(0), "waits for its retry", |delivery| {
        delivery["waiting_for"] == "retry"
    });
    // However its id is written, it is one worker; 0052 is another one.
    let behind = [of_worker(&client, &json!("52"), 2), of_worker(&client, &json!(52.0), 3)];
    let others = [of_worker(&client, &json!(53), 4), of_worker(&client, &json!("0052"), 5)];
    for event in &others {
        client.settled(event, "delivered");
    }
    for event in &behind {
        assert_eq!(waiting_for(&client, event), "order");
    }
    let pending = client.get(&format!("/webhooks/{id}/deliveries?status=pending")).expect(200);
    let listed: Vec<_> = pending.rows().iter().map(|row| (&row["event_id"], &row["waiting_for"])).collect();
    let wanted =
        [(&json!(behind[1]), &json!("order")), (&json!(behind[0]), &json!("order")), (&json!(first), &json!("retry"))];
    assert_eq!(listed, wanted);

    server.kill_9();
    server.launch();
    let client = server.client_with(&key);
    client.settled(&of_worker(&client, &json!(53), 6), "delivered");
    for event in &behind {
        assert_eq!(waiting_for(&client, event), "order");
    }
    receiver.rule(|_| Reply::status(200));
    let head = client.delivery_ids(&first).remove(0);
    client.post_nothing(&format!("/deliveries/{head}/retry")).expect(202);
    for event in &behind {
        client.settled(event, "delivered");
    }
    let of_52: Vec<_> = entries(&receiver).into_iter().filter(|entry| *entry <= 3).collect();
    assert_eq!(of_52, [1, 1, 2, 3]);
}

#[test]
fn one_that_is_exhausted_lets_the_next_go_on_and_is_counted_and_logged() {
    let server = Server::start(&[("server.metrics_listen", "\"127.0.0.1:0\"")]);
    let client = server.client();
    let receiver = Receiver::answering(|request| Reply::status(if entry(request) == 1 { 500 } else { 200 }));
    subscribe(&client, &receiver, &json!({"order": "worker", "retry_schedule": ["100ms", "100ms"]}));
    let first = of_worker(&client, &json!(52), 1);
    let next = of_worker(&client, &json!(52), 2);
    client.settled(&next, "delivered");
    let lost = client.settled(&first, "exhausted");
    assert_eq!(entries(&receiver), [1, 1, 1, 2]);
    let said = format!(
        "delivery {} is exhausted; deliveries that waited for it in order continue without it",
        lost["id"].as_str().unwrap()
    );
    eventually("the log says so", || server.log().contains(&said).then_some(()));
    let page = server.log().split("metrics at http://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    let metrics = Client::elsewhere(page).send("GET", "/metrics", &[], None).expect(200).text;
    assert!(metrics.contains("\ntempclock_order_gaps_total 1\n"), "{metrics}");
    // Sent again it is an event like others: it waits for nobody, as nothing is pending.
    receiver.rule(|_| Reply::status(200));
    client.post_nothing(&format!("/deliveries/{}/retry", lost["id"].as_str().unwrap())).expect(202);
    client.settled(&first, "delivered");
}

#[test]
fn a_subscription_in_order_gets_one_event_after_the_other_as_they_were_stored() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["5ms", "5ms", "5ms", "5ms"]"#)]);
    let client = server.client();
    // Every third attempt fails.
    let count = std::sync::atomic::AtomicU32::new(0);
    let receiver = Receiver::answering(move |_| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Reply::status(if number % 3 == 2 { 503 } else { 200 })
    });
    let id = subscribe(&client, &receiver, &json!({"order": "subscription"}));
    let events: Vec<_> = (1..=12).map(|n| json!({"event": "clock_in", "data": clock_in(n)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
    client.wait_for_total(&format!("/webhooks/{id}/deliveries?status=delivered"), 12);
    let mut taken = entries(&receiver);
    taken.dedup();
    assert_eq!(taken, (1..=12).collect::<Vec<_>>());
    assert_eq!(receiver.most_open(), 1);
}

#[test]
fn a_redelivered_event_waits_for_one_that_is_under_way_and_goes_before_those_that_wait() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    subscribe(&client, &receiver, &json!({"order": "worker", "max_in_flight": 4}));
    let old = of_worker(&client, &json!(52), 1);
    client.settled(&old, "delivered");
    let gate = Gate::default();
    let held = gate.clone();
    receiver.rule(move |_| Reply::Held(held.clone(), 200));
    let under_way = of_worker(&client, &json!(52), 2);
    receiver.wait_for(2, "the second event");
    let last = of_worker(&client, &json!(52), 3);
    let again = client.delivery_ids(&old).remove(0);
    let shown = client.post_nothing(&format!("/deliveries/{again}/retry")).expect(202);
    assert_eq!((&shown.data()["status"], &shown.data()["waiting_for"]), (&json!("pending"), &json!("order")));
    // Asking once more changes nothing.
    client.post_nothing(&format!("/deliveries/{again}/retry")).expect(202);
    let other = of_worker(&client, &json!(53), 4);
    receiver.wait_for(3, "the other worker's event");
    gate.open();
    for event in [&under_way, &other, &old, &last] {
        client.settled(event, "delivered");
    }
    let of_52: Vec<_> = entries(&receiver).into_iter().filter(|entry| *entry <= 3).collect();
    assert_eq!(of_52, [1, 2, 1, 3]);
}

#[test]
fn what_waits_is_held_and_cancelled_like_everything_else_and_an_event_without_worker_waits_for_nobody() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1h", "1h", "1h"]"#)]);
    let client = server.client();
    let receiver = Receiver::answering(|request| {
        let is_ping = request.json()["event"] == "ping";
        Reply::status(if is_ping || entry(request) > 1 { 200 } else { 500 })
    });
    let id = subscribe(&client, &receiver, &json!({"order": "worker"}));
    let mut out = sample("clock_out");
    out["entry_id"] = json!(1);
    let first = client.publish("clock_out", &out);
    let [waiting, of_type] = [of_worker(&client, &out["worker_id"], 2), client.publish("clock_out", &out)];
    let ping = client.publish("ping", &sample("ping"));
    client.settled(&ping, "delivered");
    client.wait_for_delivery(&client.delivery_ids(&first).remove(0), "waits for its retry", |delivery| {
        delivery["waiting_for"] == "retry"
    });
    client.change(id, &json!({"active": false}));
    assert_eq!(waiting_for(&client, &waiting), "off");
    client.change(id, &json!({"active": true}));
    // The first one goes with its type, and what waited for it goes on.
    client.change(id, &json!({"events": ["clock_in", "ping"]}));
    for event in [&first, &of_type] {
        client.settled(event, "cancelled");
    }
    client.settled(&waiting, "delivered");
    client.delete(&format!("/webhooks/{id}")).expect(200);
}

#[test]
fn a_change_of_order_holds_for_new_events_and_what_is_pending_goes_on_as_it_was_stored() {
    let server = Server::start(&[]);
    let client = server.client();
    let gate = Gate::default();
    let held = gate.clone();
    let receiver = Receiver::answering(move |request| match entry(request) {
        1 => Reply::Held(held.clone(), 200),
        _ => Reply::status(200),
    });
    let id = subscribe(&client, &receiver, &json!({"order": "worker"}));
    // An endpoint that is known gets more than one at a time.
    for n in 11..=14 {
        client.settled(&of_worker(&client, &json!(n), n), "delivered");
    }
    let first = of_worker(&client, &json!(52), 1);
    receiver.wait_for(5, "the first one");
    let behind = of_worker(&client, &json!(52), 2);
    client.change(id, &json!({"order": "none"}));
    client.settled(&of_worker(&client, &json!(52), 3), "delivered");
    assert_eq!(waiting_for(&client, &behind), "order");
    gate.open();
    for event in [&first, &behind] {
        client.settled(event, "delivered");
    }
    assert_eq!(entries(&receiver)[4..], [1, 3, 2]);
}

#[test]
fn a_replay_keeps_to_one_event_at_a_time() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let id = subscribe(&client, &receiver, &json!({"order": "subscription"}));
    for n in 1..=8 {
        client.settled(&of_worker(&client, &json!(n), n), "delivered");
    }
    let since = json!({"since": "2020-01-01T00:00:00Z", "only": "all"});
    client.post(&format!("/webhooks/{id}/replay"), &since).expect(202);
    receiver.wait_for(16, "all of them again");
    assert_eq!(receiver.most_open(), 1);
}
