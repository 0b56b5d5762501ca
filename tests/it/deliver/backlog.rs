//! What waits of a subscription moves when its owner has mended something, and is cancelled when its type is removed.

use serde_json::json;

use crate::harness::{Client, Receiver, Reply, Server, clock_in, eventually, printed, sample};

/// The first retry is far away, and so is the next one.
const HOURS: (&str, &str) = ("delivery.retry_schedule", r#"["1h", "2h"]"#);
const EVENTS: u64 = 40;

fn publish(client: &Client, count: u64) {
    let events: Vec<_> = (0..count).map(|entry| json!({"event": "clock_in", "data": clock_in(entry)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
}

/// A subscription whose deliveries all wait for their retry.
fn waiting(client: &Client, receiver: &Receiver) -> i64 {
    receiver.rule(|_| Reply::status(500));
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    publish(client, EVENTS);
    client.wait_for_total("/deliveries?status=pending&response_code=500", EVENTS);
    id
}

#[test]
fn what_waits_for_a_retry_goes_out_when_the_endpoint_is_enabled_has_a_new_url_or_takes_a_ping() {
    type Repair = fn(&Server, &Client, &Receiver, i64);
    let repairs: [(&str, Repair); 3] = [
        ("enabled", |server, _, _, id| {
            let id = id.to_string();
            let paused = server.cli(&["subscriptions", "pause", &id]);
            assert!(paused.stderr.contains("disabled") && paused.stderr.contains("held"), "{paused:?}");
            let resumed = server.cli(&["subscriptions", "resume", &id]);
            assert!(resumed.stderr.contains("enabled") && resumed.stderr.contains("due now"), "{resumed:?}");
        }),
        ("a new URL", |_, client, receiver, id| {
            let changed = client.change(id, &json!({"url": receiver.url("/new")})).expect(200);
            let message = changed.json["message"].as_str().unwrap();
            assert!(message.contains("the new URL") && message.contains("due now"), "{message}");
        }),
        ("a ping", |_, client, _, id| {
            let tested = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
            assert_eq!(tested.data()["success"], true);
        }),
    ];
    for (name, repair) in repairs {
        let server = Server::start(&[HOURS]);
        server.key("*");
        let (client, receiver) = (server.client(), Receiver::start());
        let id = waiting(&client, &receiver);
        receiver.rule(|_| Reply::status(204));
        repair(&server, &client, &receiver, id);
        eventually(name, || (client.total("/deliveries?status=delivered&event=clock_in") == EVENTS).then_some(()));
    }
}

#[test]
fn a_repair_that_did_not_help_costs_each_delivery_one_attempt() {
    let mut server = Server::start(&[HOURS]);
    let (client, receiver) = (server.client(), Receiver::start());
    let id = waiting(&client, &receiver);
    client.change(id, &json!({"active": false})).expect(200);
    client.change(id, &json!({"active": true})).expect(200);
    // All are attempted once more and wait for two hours, also after a restart.
    for is_restarted in [false, true] {
        if is_restarted {
            assert!(server.terminate().success());
            server.launch();
        }
        let client = server.client();
        let rows = eventually("each was attempted twice", || {
            let rows = client.get("/deliveries?status=pending&limit=100").expect(200).rows().clone();
            rows.iter().all(|row| row["attempt_count"] == 2).then_some(rows)
        });
        assert_eq!(rows.len() as u64, EVENTS);
        let soon = jiff::Timestamp::now() + std::time::Duration::from_mins(90);
        for row in rows {
            let next: jiff::Timestamp = row["next_attempt_at"].as_str().unwrap().parse().unwrap();
            assert!(next > soon, "{row}");
        }
    }
    assert_eq!(receiver.requests().len() as u64, 2 * EVENTS);
}

#[test]
fn what_waits_of_a_removed_type_is_cancelled_and_said_to_be() {
    let server = Server::start(&[HOURS]);
    let (client, receiver) = (server.client(), Receiver::start());
    receiver.rule(|_| Reply::status(500));
    let id = client.subscribe(&receiver.url("/"), &["clock_in", "worker_created"]).id;
    let failed = client.publish("clock_in", &clock_in(1));
    client.wait_for_total("/deliveries?status=pending&response_code=500", 1);
    client.change(id, &json!({"active": false})).expect(200);
    publish(&client, EVENTS);
    let wanted = client.publish("worker_created", &sample("worker_created"));
    receiver.rule(|_| Reply::status(204));
    let changed = client.change(id, &json!({"events": ["worker_created"], "active": true})).expect(200);
    let message = changed.json["message"].as_str().unwrap();
    assert!(message.contains("Pending deliveries of clock_in are cancelled"), "{message}");
    client.wait_for_total("/deliveries?status=cancelled", EVENTS + 1);
    client.settled(&wanted, "delivered");
    assert_eq!(client.total("/deliveries?status=pending"), 0);
    let came = receiver.requests().iter().filter(|request| request.header("X-TempClock-Event") == "clock_in").count();
    assert_eq!(came, 1, "the attempt before the change");
    // It is final, unless somebody asks for it.
    let cancelled = client.delivery_of(&failed);
    assert_eq!((&cancelled["status"], &cancelled["next_attempt_at"]), (&json!("cancelled"), &json!(null)));
    assert!(cancelled["completed_at"].is_string(), "{cancelled}");
    let shown = printed(&server.cli(&["deliveries", "list", "--status", "cancelled", "--json"]));
    assert_eq!(shown["data"].as_array().unwrap().len() as u64, EVENTS + 1);
    client.post_nothing(&format!("/deliveries/{}/retry", cancelled["id"].as_str().unwrap())).expect(202);
    client.settled(&failed, "delivered");
}
