//! `POST /events/batch?partial=true`: the valid events are stored, and the others named.

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Receiver, Server, clock_in, printed};

const PARTIAL: &str = "/events/batch?partial=true";

fn event(entry: u64) -> Value {
    json!({"event": "clock_in", "data": clock_in(entry)})
}

fn wrong() -> Value {
    json!({"event": "clock_in", "data": {"entry_id": 1}})
}

fn send(client: &Client, events: &[Value], key: &str) -> Answer {
    let body = json!({"events": events}).to_string();
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", key)];
    client.send("POST", &format!("/api/v1{PARTIAL}"), &headers, Some(body.as_bytes()))
}

#[test]
fn the_valid_events_are_stored_and_delivered_and_the_others_named() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["*"]);
    let events = [event(1), wrong(), event(3), json!("text")];
    let answer = client.post(PARTIAL, &json!({"events": events})).expect(202);
    let rows = answer.rows();
    assert_eq!(rows.iter().map(Value::is_null).collect::<Vec<_>>(), [false, true, false, true]);
    assert_eq!(rows[2]["deliveries"], 1);
    let fields = answer.wrong_fields();
    assert!(fields.contains(&"events[1].data.worker_id") && fields.contains(&"events[3]"), "{}", answer.text);
    assert!(fields.iter().all(|field| !field.starts_with("events[0]") && !field.starts_with("events[2]")));
    receiver.wait_for(2, "the valid events");
    assert_eq!(client.total("/events"), 2);

    let answer = client.post(PARTIAL, &json!({"events": [event(4)]})).expect(202);
    assert_eq!(answer.json["errors"], json!([]));
    let answer = client.post("/events/batch?partial=false", &json!({"events": [event(5), wrong()]}));
    answer.expect_wrong(&["worker_id", "worker_name", "clock_in"]);
    client.post(PARTIAL, &json!({"events": [wrong(), wrong()]})).expect(400).expect_error("invalid_input");
    client.post("/events/batch?partial=some", &json!({"events": [event(6)]})).expect_wrong(&["partial"]);
    assert_eq!(client.total("/events"), 3);
}

#[test]
fn an_event_whose_id_stands_for_another_one_is_named_and_the_rest_is_stored() {
    let server = Server::start(&[]);
    let client = server.client();
    let with_id = |entry: u64, id: &str| json!({"event": "clock_in", "data": clock_in(entry), "id": id});
    client.post("/events", &with_id(1, "a")).expect(202);
    let events = [with_id(2, "a"), with_id(3, "b"), with_id(4, "b"), with_id(1, "a")];
    let refused = client.post("/events/batch", &json!({"events": events})).expect(409);
    assert_eq!(refused.wrong_fields(), ["events[0]", "events[2]"], "{}", refused.text);
    let answer = client.post(PARTIAL, &json!({"events": events})).expect(202);
    let rows = answer.rows();
    assert_eq!(rows.iter().map(Value::is_null).collect::<Vec<_>>(), [true, false, true, false]);
    assert_eq!((&rows[1]["duplicate"], &rows[3]["duplicate"]), (&json!(false), &json!(true)));
    assert_eq!(answer.wrong_fields(), ["events[0]", "events[2]"]);
    assert_eq!(client.total("/events"), 2);
    let only = client.post(PARTIAL, &json!({"events": [with_id(5, "a")]})).expect(400);
    assert_eq!(only.wrong_fields(), ["events[0]"]);
}

#[test]
fn the_key_of_the_header_counts_by_place_so_that_a_mended_event_is_added_later() {
    let server = Server::start(&[]);
    let client = server.client();
    let first = send(&client, &[event(1), wrong(), event(3)], "morning").expect(202);
    let again = send(&client, &[event(1), event(2), event(3)], "morning").expect(202);
    let duplicates: Vec<_> = again.rows().iter().map(|row| row["duplicate"].clone()).collect();
    assert_eq!(duplicates, [true, false, true]);
    assert_eq!((&again.rows()[0]["id"], &again.rows()[2]["id"]), (&first.rows()[0]["id"], &first.rows()[2]["id"]));
    assert_eq!(client.total("/events"), 3);
}

#[test]
fn the_command_line_publishes_what_is_valid_of_a_file_and_names_the_rest() {
    let server = Server::start(&[]);
    server.key("*");
    let file = server.folder().join("events.ndjson");
    let lines: Vec<String> = [event(1), wrong(), event(3)].iter().map(Value::to_string).collect();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let publish = ["events", "publish", "--file", file.to_str().unwrap(), "--partial"];
    let told = server.cli(&publish);
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.stdout.contains("2 events published"), "{told:?}");
    assert!(told.stderr.contains("event 2: data.worker_id: is missing"), "{told:?}");
    assert!(told.stderr.contains("1 of 3 events were refused"), "{told:?}");
    let told = server.cli(&[&publish[..], &["--json"]].concat());
    let rows: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(rows["data"][1], Value::Null);
    assert_eq!(server.client().total("/events"), 4);
    std::fs::write(&file, [event(5), event(6)].map(|event| event.to_string()).join("\n")).unwrap();
    assert_eq!(printed(&server.cli(&[&publish[..], &["--json"]].concat()))["data"].as_array().unwrap().len(), 2);
}
