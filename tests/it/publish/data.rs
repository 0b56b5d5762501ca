//! What publishers' systems send is taken as it comes, and what cannot be taken is refused with words that say what to
//! change. The times and bodies are those that runtimes and HR systems were seen to produce.

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Receiver, Server, clock_in, printed, sample};

/// What the answer says about a field.
#[track_caller]
fn words(answer: &Answer, field: &str) -> String {
    let errors = answer.json["errors"].as_array().unwrap_or_else(|| panic!("{}", answer.text));
    let error = errors.iter().find(|error| error["field"] == field);
    error.unwrap_or_else(|| panic!("nothing about {field}: {}", answer.text))["message"].as_str().unwrap().to_owned()
}

fn send(client: &Client, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    client.send("POST", "/api/v1/events", &headers, Some(body))
}

#[test]
fn each_id_reaches_the_receiver_as_it_was_published() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["*"]);
    let ids = [
        "4711",
        "4711.0",
        "18446744073709551616",
        r#""0022""#,
        r#""T35HMQSN89SV4""#,
        r#""HR-EMP-00001""#,
        r#""5f0c7b0e-8f0f-4c55-9d3e-3d1b6f0d2a11""#,
        r#""\u00fc\/ 1""#,
    ];
    for (number, id) in ids.into_iter().enumerate() {
        let data = format!(
            r#"{{"entry_id":{id},"worker_id":{id},"worker_name":"Ana","clock_in":"2026-03-02T08:58:00+01:00","location_id":{id}}}"#
        );
        client.post_text("/events", &format!(r#"{{"event":"clock_in","data":{data}}}"#)).expect(202);
        let came = receiver.wait_for(number + 1, id).pop().unwrap();
        assert!(came.text().contains(&data), "{} does not hold {data}", came.text());
    }
}

#[test]
fn the_shapes_of_real_sources_are_taken_with_their_fields_renamed() {
    let server = Server::start(&[]);
    let client = server.client();
    let entry = |entry: Value, worker: Value, clock_in: &str| json!({"entry_id": entry, "worker_id": worker, "worker_name": "Ana", "clock_in": clock_in});
    let worked = |minutes: &str| -> Value {
        let text = format!(
            r#"{{"entry_id":1,"worker_id":2,"worker_name":"Ana","clock_in":"2026-03-02T08:58:00+01:00",
                "clock_out":"2026-03-02T17:03:00+01:00","total_minutes":{minutes},"location_id":null}}"#
        );
        serde_json::from_str(&text).unwrap()
    };
    for (source, event, data) in [
        ("Square", "clock_in", entry(json!("T35HMQSN89SV4"), json!("TMFcmjiLd0QZ7DCh"), "2026-03-02T07:58:00Z")),
        ("UKG", "clock_in", entry(json!("P-19"), json!("EMP001"), "2026-03-02T07:58:00-06:00")),
        ("Clockify", "clock_in", entry(json!("64c777ddd3fcab07cfbb210c"), json!("5a0ab5acb0"), "2026-03-02T07:58:00Z")),
        ("Kimai", "clock_out", worked("485.0")),
        ("PostgreSQL", "clock_out", worked("485.0000000000000000")),
        ("MariaDB", "clock_out", worked("485.0000")),
        ("Supabase", "clock_in", entry(json!("b1f6-22"), json!("0022"), "2026-03-02T07:58:00.123456+00:00")),
        ("pandas", "clock_in", entry(json!(4711.0), json!(52.0), "2026-03-02T07:58:00.000Z")),
        (
            "Staffomatic",
            "shift_created",
            json!({"shift_id": "81a2", "worker_id": "17", "shift_date": "2026-03-02", "start_time": "22:00", "end_time": "06:00"}),
        ),
        (
            "a document without a place",
            "document_expired",
            json!({"document_id": "D/7", "worker_id": 1, "worker_name": "Ana", "document_type": "visa", "expired_on": "2026-03-01"}),
        ),
    ] {
        let answer = client.post("/events", &json!({"event": event, "data": data}));
        assert_eq!(answer.status, 202, "{source}: {}", answer.text);
    }
}

#[test]
fn a_time_is_taken_as_rfc_3339_has_it_and_else_told_what_is_wrong_with_it() {
    let server = Server::start(&[]);
    let client = server.client();
    let answer = |time: Value| {
        let mut data = clock_in(1);
        data["clock_in"] = time;
        client.post("/events", &json!({"event": "clock_in", "data": data}))
    };
    for time in [
        "2026-03-02T07:58:00Z",
        "2026-03-02t07:58:00z",
        "2026-03-02T08:58:00+01:00",
        "2026-03-02T13:28:00.0000000+05:30",
        "2026-03-02T07:58:00.123456789012Z",
        "2026-03-02T07:58:00-00:00",
        "2016-12-31T23:59:60Z",
    ] {
        assert_eq!(answer(json!(time)).status, 202, "{time}");
    }
    for (time, fault) in [
        (json!("2026-03-02T07:58:00"), "no offset from UTC"),
        (json!("2026-03-02T07:58Z"), "no seconds"),
        (json!("2026-03-02 07:58:00Z"), "a space instead of the T"),
        (json!("2026-03-02 07:58:00"), "a space instead of the T and no offset from UTC"),
        (json!("2026-03-02T07:58:00+0000"), "an offset without a colon"),
        (json!("2026-03-02T08:58:12+01:00[Europe/Berlin]"), "the name of a time zone"),
        (json!(1_772_438_280), "it is a number"),
        (json!("1772438280000"), "it is a number"),
        (json!("2026-02-30T07:58:00Z"), "2026-02 has no day 30"),
        (json!("2026-03-02T24:00:00Z"), "out of range: the hour"),
        (json!("2026-03-02T07:58:60Z"), "out of range: a leap second"),
        (json!("2026-03-02T07:58:00+24:00"), "out of range: the offset"),
        (json!("0001-01-01T00:00:00Z"), "out of range: it is before 1970"),
        (json!("Mon, 02 Mar 2026 07:58:00 GMT"), "it has another format"),
        (json!({"date": "2026-03-02 07:58:00.000000", "timezone": "UTC"}), "it is an object"),
    ] {
        let message = words(&answer(time.clone()).expect(400), "data.clock_in");
        assert!(message.contains(fault), "{time}: {message}");
        assert!(message.contains("\"2026-03-02T08:58:00+01:00\""), "{time}: {message}");
    }
    let body = json!({"event": "clock_in", "data": clock_in(1), "occurred_at": "2026-03-02 07:58:00"});
    assert!(words(&client.post("/events", &body).expect(400), "occurred_at").contains("no offset"));
    let refused = client.get("/events?since=2026-03-02T08:58:00").expect(400);
    assert!(words(&refused, "since").contains("no offset"), "{}", refused.text);
}

#[test]
fn a_body_that_is_no_json_is_told_what_it_is_and_where() {
    let server = Server::start(&[]);
    let client = server.client();
    let body = json!({"event": "clock_in", "data": clock_in(1)}).to_string();
    let said = |status: u16, headers: &[(&str, &str)], body: &[u8], wanted: &str| {
        let answer = send(&client, headers, body).expect(status);
        assert!(answer.text.contains(wanted), "{}", answer.text);
    };
    said(400, &[], format!("\u{feff}{body}").as_bytes(), "byte order mark");
    said(415, &[("Content-Encoding", "gzip")], b"\x1f\x8b\x08\0", "compressed (gzip)");
    said(
        400,
        &[],
        body.replace("Ada", "Zo\u{eb}").chars().map(|c| c as u8).collect::<Vec<_>>().as_slice(),
        "is 0xEB, as in Latin-1",
    );
    said(400, &[], b"\xff\xfe{\0", "UTF-16");
    said(415, &[], b"\x1f\x8b\x08\0", "compressed (gzip)");
    said(202, &[("Content-Encoding", "identity")], body.as_bytes(), "clock_in");
}

#[test]
fn a_value_that_json_does_not_have_is_named_with_its_field() {
    let server = Server::start(&[]);
    let client = server.client();
    let with = |field: &str, value: &str| {
        format!(
            r#"{{"event":"clock_in","data":{{"entry_id":1,"worker_id":2,"clock_in":"2026-03-02T07:58:00Z","worker_name":"Ana","{field}":{value}}}}}"#
        )
    };
    for (value, wanted) in [
        ("NaN", "NaN is not JSON"),
        ("-Infinity", "-Infinity is not JSON"),
        ("None", "None is not JSON: write null"),
        (r#""Ana Kowalsk\ud83d""#, r"contains \ud83d, half of a character"),
        ("1e400", "beyond the range of a double"),
    ] {
        let answer = send(&client, &[], with("note", value).as_bytes()).expect(400);
        assert!(words(&answer, "data.note").contains(wanted), "{}", answer.text);
        let batch = format!(r#"{{"events":[{},{}]}}"#, with("note", "1"), with("note", value));
        let answer = client.post_text("/events/batch", &batch).expect(400);
        assert!(words(&answer, "events[1].data.note").contains(wanted), "{}", answer.text);
    }
    for (id, wanted) in [
        (format!("\"{}\"", "a".repeat(256)), "it has 256 characters"),
        (r#""a\ud83d""#.to_owned(), r"contains \ud83d"),
        ("1e400".to_owned(), "beyond the range of a double"),
        ("1.5".to_owned(), "it has a fraction"),
        ("true".to_owned(), "it is a boolean"),
    ] {
        let body = format!(r#"{{"event":"clock_in","data":{},"id":{id}}}"#, clock_in(1));
        let answer = send(&client, &[], body.as_bytes()).expect(400);
        assert!(words(&answer, "id").contains(wanted), "{}", answer.text);
    }
    assert_eq!(client.total("/events"), 0);
    for id in ["18446744073709551615", "18446744073709551616", "1.0", "-7"] {
        let body = format!(r#"{{"event":"clock_in","data":{},"id":{id}}}"#, clock_in(1));
        assert_eq!(send(&client, &[], body.as_bytes()).expect(202).data()["duplicate"], false, "{id}");
    }
    let body = json!({"event": "clock_in", "data": clock_in(1), "id": "1"});
    assert_eq!(client.post("/events", &body).expect(202).data()["duplicate"], true, "1.0 and \"1\" are one id");
}

#[test]
fn each_event_of_a_refused_batch_is_named_with_what_is_wrong_with_it() {
    let server = Server::start(&[]);
    let client = server.client();
    let wrong = |field: &str, value: Value| {
        let mut data = clock_in(1);
        data[field] = value;
        json!({"event": "clock_in", "data": data})
    };
    let events = json!([
        wrong("worker_id", json!(1.5)),
        wrong("clock_in", json!("2026-03-02T07:58Z")),
        {"event": "punch_in", "data": {}},
        {"event": "worker_deleted", "data": {}},
        "text",
        {"event": "clock_in", "data": clock_in(1), "id": []},
    ]);
    let answer = client.post("/events/batch", &json!({"events": events})).expect(400);
    for (field, wanted) in [
        ("events[0].data.worker_id", "it has a fraction"),
        ("events[1].data.clock_in", "no seconds"),
        ("events[2].event", "known are: clock_in, "),
        ("events[3].event", "unknown event type \"worker_deleted\"; known are: clock_in, "),
        ("events[4]", "must be an object; it is a string"),
        ("events[5].id", "it is an array"),
    ] {
        assert!(words(&answer, field).contains(wanted), "{}", answer.text);
    }
    // Of a thousand events each one is named.
    let many: Vec<Value> = (0..1000).map(|_| json!({"event": "clock_in", "data": {}})).collect();
    let answer = client.post("/events/batch", &json!({"events": many})).expect(400);
    for index in 0..1000 {
        words(&answer, &format!("events[{index}].data.entry_id"));
    }
    assert_eq!(client.total("/events"), 0);
}

#[test]
fn the_command_line_passes_over_a_byte_order_mark() {
    let server = Server::start(&[]);
    server.key("*");
    let event = json!({"event": "worker_created", "data": sample("worker_created")});
    let file = server.folder().join("events.json");
    std::fs::write(&file, format!("\u{feff}{event}\r\n")).unwrap();
    printed(&server.cli(&["events", "publish", "--file", file.to_str().unwrap(), "--json"]));
    assert_eq!(server.client().total("/events"), 1);
}
