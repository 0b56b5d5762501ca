//! Events and their deliveries are found by the ids in their data and by the tags that their publisher gave them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Client, Receiver, Server, clock_in, printed, sample};

fn ids(client: &Client, path: &str) -> Vec<String> {
    let answer = client.get(path).expect(200);
    answer.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// All of a list, over its pages.
fn all_ids(client: &Client, path: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let answer = client.get(&format!("{path}&limit=20{cursor}")).expect(200);
        found.extend(answer.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        let Some(next) = answer.json["pagination"]["next_cursor"].as_str() else { return found };
        cursor = format!("&cursor={next}");
    }
}

fn of_worker(worker: &Value) -> Value {
    json!({"worker_id": worker, "worker_name": "Ana Kowalska"})
}

#[test]
fn events_and_deliveries_are_found_by_each_id_and_by_tag() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let id = client.subscribe(&receiver.url("/"), &["*"]).id;
    let publish = |event: &str, change: &dyn Fn(&mut Value), tags: &[&str]| {
        let mut data = sample(event);
        change(&mut data);
        let answer = client.post("/events", &json!({"event": event, "data": data, "tags": tags})).expect(202);
        answer.data()["id"].as_str().unwrap().to_owned()
    };
    let clock = publish("clock_in", &|data| data["entry_id"] = "E-9".into(), &["night", "north"]);
    let shift = publish("shift_created", &|data| data["shift_id"] = 4711.into(), &[]);
    let document = publish("document_expired", &|data| data["document_id"] = "DBS 7/é".into(), &["north"]);
    let created = publish("worker_created", &|data| data["worker_id"] = "W&1".into(), &[]);
    publish("clock_out", &|data| data["location_id"] = "L9".into(), &[]);
    // Two lists are only alike while nothing changes.
    client.wait_for_total("/deliveries?status=delivered", 5);
    let of = |query: &str| {
        let events = ids(&client, &format!("/events?{query}"));
        let deliveries = client.get(&format!("/deliveries?{query}")).expect(200);
        let of_events: Vec<_> = deliveries.rows().iter().map(|row| row["event_id"].as_str().unwrap()).collect();
        assert_eq!(of_events, events, "{query}");
        assert_eq!(client.get(&format!("/webhooks/{id}/deliveries?{query}")).expect(200).json, deliveries.json);
        events
    };
    assert_eq!(of("entry_id=E-9"), std::slice::from_ref(&clock));
    assert_eq!(of("shift_id=4711"), [shift]);
    assert_eq!(of("document_id=DBS%207/%C3%A9"), std::slice::from_ref(&document));
    assert_eq!(of("worker_id=W%261"), [created]);
    assert_eq!(of("location_id=L9").len(), 1);
    assert_eq!(of("tag=north"), [document, clock.clone()]);
    assert_eq!(of("tag=north&tag=x&entry_id=E-9&event=clock_in"), std::slice::from_ref(&clock));
    for nothing in
        ["tag=nort", "tag=north&worker_id=W%261", "entry_id=4711", "tag=night&event=clock_out", "worker_id=E-9"]
    {
        assert_eq!(of(nothing), [""; 0], "{nothing}");
    }
    assert_eq!(client.total("/deliveries?tag=north&status=delivered&response_code=200"), 2);
    assert_eq!(client.total("/deliveries?tag=north&status=pending"), 0);
    assert_eq!(server.client_of("other").get("/events?tag=north").expect(200).json["data"], json!([]));
    // Receivers do not get tags, and whoever reads an event does.
    assert!(receiver.requests().iter().all(|request| !request.text().contains("night")));
    assert_eq!(client.get(&format!("/events/{clock}")).expect(200).data()["tags"], json!(["night", "north"]));
    assert_eq!(client.get("/events?entry_id=E-9").expect(200).rows()[0]["tags"], json!(["night", "north"]));
    assert_eq!(client.get("/events?shift_id=4711").expect(200).rows()[0]["tags"], json!([]));
}

#[test]
fn ids_are_compared_as_text() {
    let server = Server::start(&[]);
    let client = server.client();
    for worker in [json!(52), json!("52"), json!("0022"), json!(22)] {
        client.publish("worker_created", &of_worker(&worker));
    }
    let data = r#"{"worker_id": 52.0, "worker_name": "Ana Kowalska"}"#;
    client.post_text("/events", &format!(r#"{{"event": "worker_created", "data": {data}}}"#)).expect(202);
    for (query, count) in [("52", 3), ("52.0", 3), ("0022", 1), ("22", 1), ("052", 0)] {
        assert_eq!(client.total(&format!("/events?worker_id={query}")), count, "{query}");
    }
    let long = "x".repeat(256);
    client.get(&format!("/events?worker_id={long}&tag={long}")).expect(400).expect_wrong(&["worker_id", "tag"]);
}

#[test]
fn many_events_are_found_page_by_page_also_after_a_restart_and_a_restore() {
    const EVENTS: u64 = 700;
    let mut server = Server::start(&[]);
    let key = server.key("*");
    let client = server.client_with(&key);
    let id = client.subscribe("http://127.0.0.1:1/", &["clock_in"]).id;
    client.change(id, &json!({"active": false})).expect(200);
    let events: Vec<_> = (0..EVENTS)
        .map(|entry| {
            let mut data = clock_in(entry);
            data["worker_id"] = (entry % 7).into();
            json!({"event": "clock_in", "data": data, "tags": [format!("t{}", entry % 3)]})
        })
        .collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
    let file = server.folder().join("moment.bak");
    let check = |client: &Client| {
        for (query, count) in [("worker_id=3", 100), ("tag=t1", 233), ("entry_id=600", 1), ("worker_id=3&tag=t0", 34)] {
            let events = all_ids(client, &format!("/events?{query}"));
            assert_eq!(events.len(), count, "{query}");
            assert!(events.is_sorted_by(|one, next| one > next), "{query}: {events:?}");
            let deliveries: BTreeSet<_> = all_ids(client, &format!("/deliveries?{query}")).into_iter().collect();
            assert_eq!(deliveries.len(), count, "deliveries of {query}");
        }
        let pages = client.get("/events?worker_id=3&limit=100").expect(200);
        assert_eq!(pages.json["pagination"]["has_more"], false, "{}", pages.text);
        assert_eq!(pages.json["pagination"]["total"], 100);
    };
    check(&client);
    assert_eq!(server.cli(&["backup", "--output", file.to_str().unwrap()]).code, Some(0));
    server.restart();
    check(&server.client_with(&key));
    assert!(server.terminate().success());
    let restored = server.cli(&["restore", "--yes", file.to_str().unwrap()]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    server.launch();
    check(&server.client_with(&key));
}

#[test]
fn tags_belong_to_what_a_repeat_is_compared_with() {
    let server = Server::start(&[]);
    let client = server.client();
    let body = |tags: Value| json!({"event": "clock_in", "data": clock_in(1), "id": "a", "tags": tags});
    client.post("/events", &body(json!(["x", "y"]))).expect(202);
    let again = client.post("/events", &body(json!(["x", "y"]))).expect(202);
    assert_eq!(again.data()["duplicate"], true);
    for other in [json!(["y", "x"]), json!(["xy"]), json!([]), Value::Null] {
        client.post("/events", &body(other)).expect(409).expect_error("idempotency_conflict");
    }
}

#[test]
fn every_wrong_tag_is_named() {
    let server = Server::start(&[]);
    let client = server.client();
    let longest = "é".repeat(64);
    let publish =
        |tags: &Value| client.post("/events", &json!({"event": "clock_in", "data": clock_in(1), "tags": tags}));
    publish(&json!([longest, "1", "2", "3", "4", "5", "6", "7"])).expect(202);
    assert_eq!(client.total(&format!("/events?tag={}", "%C3%A9".repeat(64))), 1);
    for (tags, field) in [
        (json!("x"), "tags"),
        (json!(["1", "2", "3", "4", "5", "6", "7", "8", "9"]), "tags"),
        (json!(["x", ""]), "tags[1]"),
        (json!([5]), "tags[0]"),
        (json!(["a\u{0}b"]), "tags[0]"),
        (json!([longest + "x"]), "tags[0]"),
    ] {
        assert_eq!(publish(&tags).expect(400).wrong_fields(), [field]);
    }
    let batch = json!({"events": [{"event": "clock_in", "data": clock_in(1), "tags": [7]}]});
    assert_eq!(client.post("/events/batch", &batch).expect(400).wrong_fields(), ["events[0].tags[0]"]);
}

#[test]
fn the_command_line_finds_by_the_same_ids_and_tags() {
    let mut server = Server::start(&[]);
    let client = server.client();
    client.subscribe("http://127.0.0.1:1/", &["*"]);
    let publish = |worker: u32, further: &[&str]| {
        let data = of_worker(&json!(worker)).to_string();
        let publish = ["events", "publish", "--event", "worker_created", "--data", &data];
        let made = server.cli(&[&publish[..], further].concat());
        assert_eq!(made.code, Some(0), "{made:?}");
    };
    publish(52, &["--tag", "night", "--tag", "north"]);
    publish(53, &["--tag", "north"]);
    let count = |server: &Server, arguments: &[&str]| {
        printed(&server.cli(&[arguments, &["--json"]].concat()))["data"].as_array().unwrap().len()
    };
    let check = |server: &Server| {
        for list in ["events", "deliveries"] {
            assert_eq!(count(server, &[list, "list", "--worker", "52"]), 1);
            assert_eq!(count(server, &[list, "list", "--tag", "north"]), 2);
            assert_eq!(count(server, &[list, "list", "--tag", "north", "--worker", "53"]), 1);
            for none in ["--entry", "--shift", "--document", "--location"] {
                assert_eq!(count(server, &[list, "list", none, "52"]), 0);
            }
        }
    };
    check(&server);
    let id = printed(&server.cli(&["events", "list", "--worker", "52", "--json"]))["data"][0]["id"].clone();
    let shown = server.cli(&["events", "show", id.as_str().unwrap()]);
    assert!(shown.stdout.contains("night,north"), "{shown:?}");
    assert!(server.terminate().success());
    check(&server);
}
