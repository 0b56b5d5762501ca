//! Which events a subscription gets: its filter, the count of what did not fit, and the question what would.

use serde_json::{Value, json};

use crate::harness::{Client, Receiver, Server, clock_in, printed, sample};

#[track_caller]
fn subscribe(client: &Client, receiver: &Receiver, filter: &Value) -> i64 {
    let wish = json!({"url": receiver.url("/"), "events": ["clock_in", "worker_created"], "filter": filter});
    let made = client.post("/webhooks", &wish).expect(201);
    assert_eq!(&made.data()["filter"], filter);
    made.data()["id"].as_i64().unwrap()
}

fn at_location(entry: u64, location: &Value) -> Value {
    let mut data = clock_in(entry);
    data["location_id"] = location.clone();
    data
}

#[test]
fn only_events_that_fit_make_a_delivery_and_the_others_are_counted() {
    let mut server = Server::start(&[]);
    let key = server.key("*");
    let client = server.client_with(&key);
    let receiver = Receiver::start();
    let id = subscribe(&client, &receiver, &json!({"location_id": [3, "north"], "worker_name": {"prefix": "Ada"}}));
    let all = client.subscribe(&receiver.url("/all"), &["clock_in"]).id;
    let deliveries = |location: &Value| {
        let event = json!({"event": "clock_in", "data": at_location(1, location)});
        client.post("/events", &event).expect(202).data()["deliveries"].as_u64().unwrap()
    };
    for (location, wanted) in
        [(json!(3), 2), (json!(3.0), 2), (json!("north"), 2), (json!("3"), 1), (json!(4), 1), (Value::Null, 1)]
    {
        assert_eq!(deliveries(&location), wanted, "{location}");
    }
    // Another type that it wants, and one that it does not want and so is not filtered.
    client.publish("worker_created", &sample("worker_created"));
    client.publish("shift_created", &sample("shift_created"));
    assert_eq!(client.subscription(id)["filtered"], 4);
    assert_eq!(client.subscription(all)["filtered"], 0);
    client.wait_for_total(&format!("/webhooks/{id}/deliveries?status=delivered"), 3);
    assert_eq!(client.total(&format!("/webhooks/{id}/deliveries")), 3);
    assert!(server.terminate().success());
    let database = server.data_dir().join("tempclock.redb");
    let verified = server.command(&["verify", database.to_str().unwrap()]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    server.launch();
    let client = server.client_with(&key);
    assert_eq!(client.subscription(id)["filtered"], 4, "it is stored");
    let events = client.total("/events");
    client.delete(&format!("/webhooks/{id}")).expect(200);
    assert_eq!(client.total("/events"), events);
}

#[test]
fn every_event_of_a_batch_is_judged_and_a_test_ping_always_fits() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let id = subscribe(&client, &receiver, &json!({"location_id": 3}));
    let events: Vec<_> = (1..=4).map(|n| json!({"event": "clock_in", "data": at_location(n, &json!(n))})).collect();
    let stored = client.post("/events/batch", &json!({"events": events})).expect(202);
    let deliveries: Vec<_> = stored.rows().iter().map(|row| row["deliveries"].as_u64().unwrap()).collect();
    assert_eq!(deliveries, [0, 0, 1, 0]);
    let partial = client.post("/events/batch?partial=true", &json!({"events": events})).expect(202);
    assert_eq!(partial.rows().iter().map(|row| row["deliveries"].as_u64().unwrap()).sum::<u64>(), 1);
    assert_eq!(client.subscription(id)["filtered"], 6);
    let ping = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
    assert_eq!(ping.data()["success"], true);
    // A replay sends what never came and fits: nothing so far, and one event with another filter.
    let wish = json!({"since": "2020-01-01T00:00:00Z", "dry_run": true});
    let replay = || client.post(&format!("/webhooks/{id}/replay"), &wish).expect(200).data()["count"].clone();
    assert_eq!(replay(), 0);
    client.change(id, &json!({"filter": {"location_id": [1, 3]}}));
    assert_eq!(replay(), 2, "of two publishes");
    client.change(id, &json!({"filter": null}));
    assert_eq!(client.post("/events", &events[0]).expect(202).data()["deliveries"], 1);
    assert_eq!(client.subscription(id)["filter"], Value::Null);
}

#[test]
fn a_match_says_line_by_line_what_fits_and_stores_nothing() {
    let server = Server::start(&[]);
    let client = server.client();
    let id = subscribe(&client, &Receiver::start(), &json!({"location_id": 3, "site.name": {"exists": true}}));
    let ask = |event: &str, data: &Value| {
        let answer = client.post(&format!("/webhooks/{id}/match"), &json!({"event": event, "data": data})).expect(200);
        (answer.data()["matches"].as_bool().unwrap(), answer.data()["because"].to_string())
    };
    let (matches, because) = ask("clock_in", &json!({"location_id": 3, "site": {"name": "North"}}));
    assert!(matches && because.contains("clock_in is one of its event types"), "{because}");
    assert!(because.contains("mode is push") && because.contains("it is active"), "{because}");
    let (matches, because) = ask("clock_in", &json!({"location_id": 4}));
    assert!(!matches && because.contains("location_id is 4") && because.contains("site.name is missing"), "{because}");
    let (matches, because) = ask("clock_out", &json!({"location_id": 3, "site": {"name": "North"}}));
    assert!(!matches && because.contains("clock_out is not one of its event types"), "{because}");
    client.change(id, &json!({"active": false}));
    let (matches, because) = ask("clock_in", &json!({"location_id": 3, "site": {"name": "North"}}));
    assert!(matches && because.contains("held"), "{because}");
    assert_eq!(client.subscription(id)["filtered"], 0);
    let wrong = client.post(&format!("/webhooks/{id}/match"), &json!({"event": "clockin", "data": [], "x": 1}));
    wrong.expect_wrong(&["event", "data", "x"]);
    client.post("/webhooks/99/match", &json!({"event": "clock_in", "data": {}})).expect(404);
}

#[test]
fn the_command_line_tells_what_matches() {
    let server = Server::start(&[]);
    server.key("*");
    let url = Receiver::start().url("/");
    let create = ["subscriptions", "create", "--url", &url, "--events", "clock_in", "--json"];
    let made = printed(&server.cli(&[&create[..], &["--filter", r#"{"location_id": [3, 4]}"#]].concat()));
    let id = made["data"]["id"].to_string();
    let file = server.folder().join("data.json");
    for (location, code, word) in [(3, 0, "matches"), (5, 1, "does not match")] {
        std::fs::write(&file, at_location(1, &json!(location)).to_string()).unwrap();
        let asked =
            server.cli(&["subscriptions", "match", &id, "--event", "clock_in", "--file", file.to_str().unwrap()]);
        assert_eq!(asked.code, Some(code), "{asked:?}");
        assert!(asked.stdout.starts_with(word) && asked.stdout.contains("location_id is"), "{}", asked.stdout);
    }
}
