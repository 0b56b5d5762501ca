//! Events are checked, kept, and delivered exactly as they were published.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{PUBLISHED_TYPES, Received, Receiver, Server, assert_has_fields, clock_in, fields, sample, time};

/// An address that is never sent to.
const UNUSED: &str = "http://127.0.0.1:9/hook";

#[test]
fn each_event_type_reaches_a_subscription_to_everything() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let subscription = client.subscribe(&receiver.url("/all"), &["*"]);

    for (number, event) in PUBLISHED_TYPES.into_iter().enumerate() {
        let answer = client.post("/events", &json!({"event": event, "data": sample(event)})).expect(202);
        let made = answer.data();
        assert_eq!(made["event"], event);
        assert_eq!(made["deliveries"], 1);
        assert_eq!(made["duplicate"], false);
        let id = made["id"].as_str().unwrap();
        assert!(id.starts_with("evt_"), "{id}");

        let came = receiver.wait_for(number + 1, event).pop().unwrap();
        assert_eq!(came.method, "POST");
        assert_eq!(came.path, "/all");
        assert_eq!(came.header("x-tempclock-event"), event);
        assert_eq!(came.json()["event"], event);
        assert_eq!(came.json()["id"], id);
        assert_eq!(came.json()["data"], sample(event));
        came.assert_signed_with(&subscription.secret);
        client.settled(id, "delivered");
    }
    client.post_nothing(&format!("/webhooks/{}/test", subscription.id)).expect(200);
    let came = receiver.requests();
    assert_eq!(came.len(), PUBLISHED_TYPES.len() + 1);
    assert_eq!(came.last().unwrap().header("x-tempclock-event"), "ping");
}

#[test]
fn the_body_has_id_event_timestamp_and_data_in_this_order() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    client.publish("clock_in", &clock_in(1));

    let came = receiver.wait_for(1, "the event").remove(0);
    assert_eq!(fields(&came.json()), ["data", "event", "id", "timestamp"]);
    let places: Vec<usize> = ["\"id\"", "\"event\"", "\"timestamp\"", "\"data\""]
        .iter()
        .map(|name| came.text().find(name).unwrap())
        .collect();
    assert!(places.is_sorted(), "{}", came.text());
}

#[test]
fn data_is_delivered_byte_for_byte_as_it_was_published() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["worker_created"]);
    let spellings = [
        r#"{"worker_name":"Zoë \"Z\" O'Neil\/\\","zz":1.0,"worker_id":42,"aa":1e2}"#,
        "{ \"worker_id\" : 42 ,\t\"worker_name\":\n\"spaced\"  }",
        r#"{"worker_id":42,"worker_name":"\u00e9\ud83d\ude00é😀","n":12345678901234567890123.4500E+0}"#,
        r#"{"z":[[],{},[1 , 2]],"worker_name":"order","y":null,"worker_id":42,"x":{"b":1,"a":-0}}"#,
        r#"{"worker_id":42,"worker_name":"","event":"clock_in","id":"evt_x","data":{"data":0.10}}"#,
    ];
    for (number, data) in spellings.into_iter().enumerate() {
        let body = format!(r#"{{"data":{data},"event":"worker_created"}}"#);
        let answer = client.post_text("/events", &body).expect(202);
        let came = receiver.wait_for(number + 1, data).pop().unwrap();
        let (_, rest) = came.text().split_once("\"data\":").unwrap();
        let delivered = rest.trim_start().strip_suffix('}').unwrap();
        assert_eq!(delivered, data);
        let id = answer.data()["id"].as_str().unwrap();
        let kept = client.get(&format!("/events/{id}")).expect(200);
        assert!(kept.text.contains(data), "{} does not hold {data}", kept.text);
    }
}

#[test]
fn the_timestamp_is_the_time_of_publication_in_milliseconds() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let before = Timestamp::now() - SignedDuration::from_millis(1);
    client.publish("clock_in", &clock_in(1));
    let after = Timestamp::now();

    let timestamp = receiver.wait_for(1, "the event").remove(0).json()["timestamp"].clone();
    assert!(before <= time(&timestamp) && time(&timestamp) <= after, "{timestamp}");
    assert_eq!(timestamp.as_str().unwrap().len(), "2026-03-02T08:00:00.000Z".len(), "{timestamp}");
}

#[test]
fn the_timestamp_is_the_time_of_occurrence_when_that_is_given() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let cases = [
        ("2026-03-02T08:00:00Z", "2026-03-02T08:00:00.000Z"),
        ("2026-03-02T08:00:00.125+05:30", "2026-03-02T02:30:00.125Z"),
        ("2025-12-31T23:30:00-01:00", "2026-01-01T00:30:00.000Z"),
    ];
    for (number, (given, wanted)) in cases.into_iter().enumerate() {
        let body = json!({"event": "clock_in", "data": clock_in(1), "occurred_at": given});
        client.post("/events", &body).expect(202);
        let came = receiver.wait_for(number + 1, given).pop().unwrap();
        assert_eq!(came.json()["timestamp"], wanted);
    }
}

#[test]
fn every_missing_field_of_each_event_type_is_named_at_once() {
    let server = Server::start(&[]);
    let client = server.client();
    client.subscribe(UNUSED, &["*"]);
    for event in PUBLISHED_TYPES {
        let whole = sample(event);
        let mut required = fields(&whole);
        required.retain(|name| *name != "location_id");
        client.post("/events", &json!({"event": event, "data": {}})).expect_wrong(&required);
        for name in required {
            let mut data = whole.clone();
            data.as_object_mut().unwrap().remove(name);
            client.post("/events", &json!({"event": event, "data": data})).expect_wrong(&[name]);
        }
    }
    assert_eq!(client.total("/events"), 0);
}

#[test]
fn every_field_of_the_wrong_type_is_named() {
    let server = Server::start(&[]);
    let client = server.client();
    let cases = [
        ("clock_in", "entry_id", vec![json!(""), json!(1.5), json!(null), json!([1]), json!(true)]),
        ("clock_in", "worker_id", vec![json!("a".repeat(256)), json!({})]),
        ("clock_in", "worker_name", vec![json!(42), json!(null), json!(["Ada"])]),
        (
            "clock_in",
            "clock_in",
            vec![json!("yesterday"), json!("2026-03-02"), json!("2026-02-30T08:00:00Z"), json!(1_772_000_000)],
        ),
        ("clock_in", "location_id", vec![json!(""), json!(7.5), json!([])]),
        ("clock_out", "clock_out", vec![json!("08:00"), json!("2026-03-02T25:00:00Z")]),
        ("clock_out", "total_minutes", vec![json!(-1), json!(1.5), json!("510")]),
        ("worker_updated", "changed_fields", vec![json!("phone"), json!([1]), json!(["phone", null])]),
        (
            "shift_created",
            "shift_date",
            vec![json!("2026-13-01"), json!("2026-02-29"), json!("01/02/2026"), json!("2026-03-05T00:00:00Z")],
        ),
        ("shift_created", "start_time", vec![json!("24:00"), json!("8:00"), json!("08:60"), json!("08"), json!(8)]),
        ("shift_created", "end_time", vec![json!("16:30:61"), json!("16:30:00Z"), json!("")]),
        ("document_expired", "document_type", vec![json!(1)]),
        ("document_expired", "expired_on", vec![json!("2026-3-1"), json!("soon")]),
    ];
    for (event, field, wrong) in cases {
        for value in wrong {
            let mut data = sample(event);
            data[field] = value.clone();
            let answer = client.post("/events", &json!({"event": event, "data": data}));
            assert_eq!(answer.status, 400, "{event} with {field} {value}: {}", answer.text);
            answer.expect_wrong(&[field]);
        }
    }
}

#[test]
fn every_accepted_spelling_of_a_field_is_taken() {
    let server = Server::start(&[]);
    let client = server.client();
    let cases = [
        ("clock_in", "clock_in", json!("2026-03-02T08:00:00.123456+02:00")),
        ("clock_in", "worker_name", json!("Łukasz 😀")),
        ("clock_in", "entry_id", json!("T35HMQSN89SV4")),
        ("clock_in", "worker_id", json!("ż".repeat(255))),
        ("clock_in", "worker_id", json!(u64::MAX)),
        ("clock_in", "location_id", json!(null)),
        ("clock_out", "total_minutes", json!(485.0)),
        ("clock_out", "total_minutes", json!(0)),
        ("worker_updated", "changed_fields", json!([])),
        ("shift_created", "shift_date", json!("2028-02-29")),
        ("shift_created", "start_time", json!("00:00")),
        ("shift_created", "end_time", json!("23:59:59")),
        ("document_expired", "more", json!({"fields": ["may", "follow"]})),
    ];
    for (event, field, value) in cases {
        let mut data = sample(event);
        data[field] = value;
        client.post("/events", &json!({"event": event, "data": data})).expect(202);
    }
}

#[test]
fn an_event_that_is_wrong_outside_its_data_is_refused() {
    let server = Server::start(&[]);
    let client = server.client();
    let data = clock_in(1);
    let cases = [
        (json!({}), vec!["event", "data"]),
        (json!({"event": "clock_in"}), vec!["data"]),
        (json!({"data": data}), vec!["event"]),
        (json!({"event": "clockin", "data": data}), vec!["event"]),
        (json!({"event": "*", "data": data}), vec!["event"]),
        (json!({"event": 1, "data": data}), vec!["event"]),
        (json!({"event": "clock_in", "data": [data]}), vec!["data"]),
        (json!({"event": "clock_in", "data": "text"}), vec!["data"]),
        (json!({"event": "clock_in", "data": data, "occurred_at": "today"}), vec!["occurred_at"]),
        (json!({"event": "clock_in", "data": data, "id": {}}), vec!["id"]),
        (json!({"event": "clock_in", "data": data, "ocurred_at": "2026-03-02T08:00:00Z"}), vec!["ocurred_at"]),
    ];
    for (body, wrong) in cases {
        client.post("/events", &body).expect_wrong(&wrong);
    }
    assert_eq!(client.total("/events"), 0);
}

#[test]
fn an_event_goes_to_those_who_asked_for_its_type_and_to_nobody_else() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/in"), &["clock_in"]);
    client.subscribe(&receiver.url("/out"), &["clock_out"]);
    client.subscribe(&receiver.url("/both"), &["clock_in", "clock_out"]);
    client.subscribe(&receiver.url("/all"), &["*"]);
    client.subscribe(&receiver.url("/ping"), &["ping"]);

    for (event, wanted) in [
        ("clock_in", vec!["/all", "/both", "/in"]),
        ("clock_out", vec!["/all", "/both", "/out"]),
        ("shift_created", vec!["/all"]),
    ] {
        let answer = client.post("/events", &json!({"event": event, "data": sample(event)})).expect(202);
        assert_eq!(answer.data()["deliveries"], wanted.len());
        let id = answer.data()["id"].as_str().unwrap();
        for delivery in client.delivery_ids(id) {
            client.wait_for_status(&delivery, "delivered");
        }
        let mut paths: Vec<String> = receiver
            .requests()
            .into_iter()
            .filter(|request| request.event_id() == id)
            .map(|request| request.path)
            .collect();
        paths.sort_unstable();
        assert_eq!(paths, wanted);
    }
}

#[test]
fn an_event_that_nobody_asked_for_is_kept_and_not_sent() {
    let server = Server::start(&[]);
    let client = server.client();
    let answer = client.post("/events", &json!({"event": "clock_in", "data": clock_in(1)})).expect(202);
    assert_eq!(answer.data()["deliveries"], 0);
    let id = answer.data()["id"].as_str().unwrap();
    let kept = client.get(&format!("/events/{id}")).expect(200);
    assert_eq!(kept.data()["deliveries"], json!([]));

    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let later = client.publish("clock_in", &clock_in(2));
    client.settled(&later, "delivered");
    assert_eq!(receiver.requests().len(), 1, "an event from before the subscription was sent");
}

#[test]
fn a_batch_is_answered_row_by_row_and_delivered() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in", "clock_out"]);
    let types = ["clock_in", "clock_out", "shift_created"];
    let events: Vec<Value> = types.iter().map(|event| json!({"event": event, "data": sample(event)})).collect();

    let answer = client.post("/events/batch", &json!({"events": events})).expect(202);
    let rows = answer.rows();
    assert_eq!(rows.len(), 3);
    for (row, (event, deliveries)) in rows.iter().zip(types.iter().zip([1, 1, 0])) {
        assert!(row["id"].as_str().unwrap().starts_with("evt_"));
        assert_eq!(row["event"], **event);
        assert_eq!(row["deliveries"], deliveries);
        assert_eq!(row["duplicate"], false);
    }
    let wanted: BTreeSet<&str> = rows[..2].iter().map(|row| row["id"].as_str().unwrap()).collect();
    let came = receiver.wait_for(2, "both events of the batch");
    let ids: Vec<String> = came.iter().map(Received::event_id).collect();
    assert_eq!(ids.iter().map(String::as_str).collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn a_batch_with_one_wrong_event_is_refused_whole() {
    let server = Server::start(&[]);
    let client = server.client();
    let mut wrong = clock_in(2);
    wrong["worker_id"] = json!(42.5);
    let events = json!([
        {"event": "clock_in", "data": clock_in(1)},
        {"event": "clock_in", "data": wrong},
        {"event": "nothing", "data": {}},
    ]);
    let answer = client.post("/events/batch", &json!({"events": events}));
    let answer = answer.expect_wrong(&["worker_id", "event"]);
    assert!(answer.wrong_fields().iter().any(|f| f.contains('1')), "which one? {}", answer.text);
    assert!(answer.wrong_fields().iter().any(|f| f.contains('2')), "which one? {}", answer.text);
    assert_eq!(client.total("/events"), 0);

    for body in [json!({}), json!({"events": []}), json!({"events": {}})] {
        client.post("/events/batch", &body).expect_wrong(&["events"]);
    }
}

#[test]
fn a_batch_holds_a_thousand_events_and_no_more() {
    let server = Server::start(&[]);
    let client = server.client();
    let batch = |count: u64| -> Value {
        let events: Vec<Value> = (0..count).map(|n| json!({"event": "clock_in", "data": clock_in(n)})).collect();
        json!({"events": events})
    };
    let refused = client.post("/events/batch", &batch(1001));
    assert!([400, 413].contains(&refused.status), "{} {}", refused.status, refused.text);
    assert_eq!(client.total("/events"), 0);
    let answer = client.post("/events/batch", &batch(1000)).expect(202);
    assert_eq!(answer.rows().len(), 1000);
    assert_eq!(client.total("/events"), 1000);
}

const OPT_IN_TYPES: [&str; 4] =
    ["clock.blocked_by_survey", "clock.geofence_breach", "clock.geofence_refused", "clock.low_gps_confidence"];

#[test]
fn the_catalogue_shows_every_built_in_type_and_examples_that_are_accepted() {
    let server = Server::start(&[]);
    let client = server.client();
    let answer = client.get("/event-types").expect(200);
    let mut names: Vec<&str> = answer.rows().iter().map(|row| row["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    let mut wanted = PUBLISHED_TYPES.to_vec();
    wanted.push("ping");
    wanted.extend(OPT_IN_TYPES);
    wanted.sort_unstable();
    assert_eq!(names, wanted);
    let opt_in = answer.rows().iter().filter(|row| row["opt_in"] == true).map(|row| row["name"].as_str().unwrap());
    assert_eq!(opt_in.collect::<Vec<_>>(), OPT_IN_TYPES);

    for row in answer.rows() {
        let name = row["name"].as_str().unwrap();
        assert!(row["description"].as_str().is_some_and(|d| !d.is_empty()), "{row}");
        let schema = row.as_object().unwrap().iter().find(|(key, _)| key.contains("schema"));
        let schema = schema.unwrap_or_else(|| panic!("no JSON Schema in {row}")).1.to_string();
        if OPT_IN_TYPES.contains(&name) {
            assert!(schema.contains(r#""required":["worker_id"]"#), "{schema}");
            client.post("/events", &json!({"event": name, "data": row["example"]})).expect(202);
            continue;
        }
        for field in fields(&sample(name)) {
            assert!(schema.contains(&format!("\"{field}\"")), "{field} of {name} in {schema}");
        }
        // The example may be the data alone or the whole event.
        let example = row["example"].get("data").unwrap_or(&row["example"]);
        assert_has_fields(example, &fields(&sample(name)));
        if name != "ping" {
            client.post("/events", &json!({"event": name, "data": example})).expect(202);
        }
    }
}
