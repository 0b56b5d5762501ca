//! Data that is made to break its reader is refused or passed on as it is; it never breaks anything.

use serde_json::{Value, json};

use crate::harness::{Client, Receiver, Server, eventually, printed, sample};

const UNUSED: &str = "http://127.0.0.1:9/hook";

fn send(client: &Client, path: &str, body: &[u8]) -> (u16, String) {
    let answer = client.send("POST", &format!("/api/v1{path}"), &[("Content-Type", "application/json")], Some(body));
    (answer.status, answer.text)
}

fn around(value: &[u8]) -> Vec<u8> {
    let before = br#"{"event":"worker_created","data":{"worker_id":1,"worker_name":"Ada","x":"#;
    [before, value, b"}}"].concat()
}

#[test]
fn a_value_that_receivers_could_not_read_is_refused_and_any_other_passed_on() {
    let server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["worker_created"]);
    let deep = |levels: usize| [b"[".repeat(levels), b"]".repeat(levels)].concat();
    let cases: Vec<(u16, Vec<u8>)> = vec![
        (202, b"123456789012345678901234567890".to_vec()),
        (202, b"-0.000000000000000000000000000000000000000000000000001".to_vec()),
        (202, b"1e308".to_vec()),
        (400, b"1e".to_vec()),
        (400, b"0x10".to_vec()),
        (400, b"NaN".to_vec()),
        (400, b"Infinity".to_vec()),
        (400, b"-".to_vec()),
        (400, b"'a'".to_vec()),
        (202, br#""\u0000""#.to_vec()),
        (400, b"\"\0\"".to_vec()),
        (400, br#""\ud800""#.to_vec()),
        (400, br#""\udc00\ud800""#.to_vec()),
        (400, br#"{"\ud800":1}"#.to_vec()),
        (202, br#""\ud83d\ude00""#.to_vec()),
        (400, b"\"\xc0\xaf\"".to_vec()),
        (400, b"\"\xed\xa0\x80\"".to_vec()),
        (400, b"\"\xf4\x90\x80\x80\"".to_vec()),
        (202, "\"\u{202e}\u{2028}\u{feff}\u{1f468}\"".as_bytes().to_vec()),
        (400, b"\"\x1b[31m\"".to_vec()),
        (202, br#""\u001b[31m<script>alert(1)</script>""#.to_vec()),
        (202, br#"{"a":1,"a":2}"#.to_vec()),
        (202, deep(31)),
        (400, deep(32)),
        (400, deep(10_000)),
        (400, b"{\"a\":".repeat(5_000)),
        (400, b"[".repeat(100_000)),
        (400, b"1}}{".to_vec()),
        (400, b"/* */1".to_vec()),
    ];
    let mut wanted = Vec::new();
    for (status, value) in cases {
        let (answered, text) = send(&client, "/events", &around(&value));
        let shown = String::from_utf8_lossy(&value[..value.len().min(60)]).into_owned();
        assert_eq!(answered, status, "{shown}: {text}");
        if status == 202 {
            wanted.push(String::from_utf8(value).unwrap());
        }
    }
    let came = receiver.wait_for(wanted.len(), "all that was taken");
    for value in wanted {
        let is_whole = |text: &str| text.contains(&format!("\"x\":{value}}}"));
        assert!(came.iter().any(|request| is_whole(request.text())), "{value} did not arrive as it was sent");
    }
}

#[test]
fn a_field_given_twice_is_refused_wherever_the_server_reads_it() {
    let server = Server::start(&[]);
    let client = server.client();
    let data = sample("worker_created");
    for (path, body) in [
        ("/events", format!(r#"{{"event":"worker_created","event":"ping","data":{data}}}"#)),
        ("/events", format!(r#"{{"event":"worker_created","data":{data},"data":{data}}}"#)),
        ("/events", r#"{"event":"worker_created","data":{"worker_id":1,"worker_id":2,"worker_name":"a"}}"#.to_owned()),
        ("/events/batch", r#"{"events":[],"events":[]}"#.to_owned()),
        ("/webhooks", format!(r#"{{"url":"{UNUSED}","url":"http://127.0.0.1:9/other","events":["*"]}}"#)),
        ("/webhooks", format!(r#"{{"url":"{UNUSED}","events":["*"],"events":["ping"]}}"#)),
    ] {
        let (status, text) = send(&client, path, body.as_bytes());
        assert_eq!(status, 400, "{path} {body}: {text}");
    }
    assert_eq!((client.total("/events"), client.total("/webhooks")), (0, 0));
}

#[test]
fn a_field_given_twice_is_named_on_every_other_route_and_within_every_object() {
    let server = Server::start(&[]);
    let made = server.create_key(&["--name", "all", "--scopes", "*,events:erase"]);
    let client = server.client_with(made["key"].as_str().unwrap());
    let id = client.subscribe(UNUSED, &["clock_in"]).id;
    let (before, keys) = (client.subscription(id), client.total("/keys"));
    let of = |rest: &str| format!("/webhooks/{id}{rest}");
    let option = |option: &str| ("PUT", of(""), format!("{{{option}}}"));
    let feed = json!({"mode": "pull", "events": ["clock_in"]});
    let feed = client.post("/webhooks", &feed).expect(201).data()["id"].clone();
    for ((method, path, body), field) in [
        (
            ("POST", "/keys".to_owned(), r#"{"name":"b","scopes":["webhooks:read"],"scopes":["*"]}"#.to_owned()),
            "scopes",
        ),
        (("POST", format!("/keys/{}/rotate", made["id"]), r#"{"overlap":"0s","overlap":"7d"}"#.to_owned()), "overlap"),
        (("POST", of("/secret"), r#"{"overlap":"0s","overlap":"7d"}"#.to_owned()), "overlap"),
        (("POST", of("/test"), r#"{"verify":true,"verify":false}"#.to_owned()), "verify"),
        (("POST", of("/match"), r#"{"event":"ping","event":"clock_in","data":{}}"#.to_owned()), "event"),
        (
            ("POST", of("/replay"), r#"{"since":"2026-01-01T00:00:00Z","only":"all","only":"failed"}"#.to_owned()),
            "only",
        ),
        (
            ("POST", "/deliveries/retry".to_owned(), r#"{"status":"exhausted","status":"delivered"}"#.to_owned()),
            "status",
        ),
        (("POST", "/erasures".to_owned(), r#"{"worker_id":1,"worker_id":2}"#.to_owned()), "worker_id"),
        (("POST", format!("/feeds/{feed}/ack"), r#"{"cursor":"a","cursor":"b"}"#.to_owned()), "cursor"),
        (option(r#""description":"a","description":"b""#), "description"),
        (option(r#""headers":{"X-A":"1","X-A":"2"}"#), "headers.X-A"),
        (option(r#""auth":{"type":"bearer","token":"a","token":"b"}"#), "auth.token"),
        (option(r#""filter":{"location_id":{"not":[1],"not":[2]}}"#), "filter.location_id.not"),
        (option(r#""names":{"envelope":{"id":"a","id":"b"}}"#), "names.envelope.id"),
        (option(r#""batch":{"max":5,"max":6,"wait":"5s"}"#), "batch.max"),
    ] {
        let json = [("Content-Type", "application/json")];
        let answer = client.send(method, &format!("/api/v1{path}"), &json, Some(body.as_bytes())).expect(400);
        assert!(answer.wrong_fields().contains(&field), "{method} {path} {body}: {}", answer.text);
        assert!(answer.text.contains("is given twice"), "{}", answer.text);
    }
    assert_eq!((client.subscription(id), client.total("/keys"), client.total("/jobs")), (before, keys, 0));
    // What an event may hold is what is matched.
    let data = r#"{"event":"clock_in","data":{"note":{"a":1,"a":2}}}"#;
    assert_eq!(client.post_text(&of("/match"), data).expect(200).data()["matches"], true);
}

#[test]
fn a_body_without_its_type_is_not_taken_for_none_and_none_is_taken_whatever_its_type() {
    let server = Server::start(&[]);
    let made = server.create_key(&["--name", "all", "--scopes", "*"]);
    let client = server.client_with(made["key"].as_str().unwrap());
    let receiver = Receiver::start();
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let spare = server.create_key(&["--name", "spare", "--scopes", "webhooks:read"]);
    let send = |path: &str, rest: &str| {
        let head = client.raw_head("POST", &format!("/api/v1{path}"));
        client.raw(format!("{head}{rest}").as_bytes()).expect("an answer")
    };
    let routes = [
        (format!("/webhooks/{id}/secret"), r#"{"overlap":"0s"}"#),
        (format!("/webhooks/{id}/test"), r#"{"verify":true}"#),
        (format!("/webhooks.php?id={id}&action=test"), r#"{"verify":true}"#),
        (format!("/keys/{}/rotate", spare["id"]), r#"{"overlap":"0s"}"#),
    ];
    let keys = client.total("/keys");
    for (path, body) in &routes {
        for rest in [
            format!("Content-Length: {}\r\n\r\n{body}", body.len()),
            format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len()),
            format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        ] {
            send(path, &rest).expect(415).expect_error("unsupported_media_type");
        }
    }
    // What they would have done was not done.
    assert_eq!((receiver.requests().len(), client.total("/keys")), (0, keys));
    for (path, _) in &routes {
        for content_type in ["", "Content-Type: application/x-www-form-urlencoded\r\n", "Content-Type: text/plain\r\n"]
        {
            send(path, &format!("{content_type}Content-Length: 0\r\n\r\n")).expect(200);
        }
        send(path, "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n").expect(200);
        send(path, "\r\n").expect(200);
    }
}

#[test]
fn ten_megabytes_are_refused_before_they_are_read() {
    let server = Server::start(&[]);
    let client = server.client();
    let large = format!(r#"{{"event":"worker_created","data":{{"x":"{}"}}}}"#, "x".repeat(10 << 20));
    for path in ["/events", "/events/batch", "/webhooks"] {
        let request = format!(
            "{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            client.raw_head("POST", &format!("/api/v1{path}")),
            large.len()
        );
        assert_eq!(client.raw(request.as_bytes()).expect("an answer").status, 413, "{path}");
        // Of unknown length it is read up to the limit.
        let chunked = format!(
            "{}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}",
            client.raw_head("POST", &format!("/api/v1{path}")),
            large.len()
        );
        if let Some(answer) = client.raw(chunked.as_bytes()) {
            assert_eq!(answer.status, 413, "{path}: {}", answer.text);
        }
    }
    client.get("/webhooks").expect(200);
    assert_eq!(client.total("/events"), 0);
}

#[test]
fn nothing_that_is_sent_becomes_a_header_of_a_delivery() {
    let server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/a%0d%0aX-Forged:%201?b%0d%0aX-Forged:%202"), &["worker_created"]);
    for event in ["worker_created\r\nX-Forged: 1", "worker_created\u{0}", "worker_created "] {
        let body = json!({"event": event, "data": sample("worker_created")});
        client.post("/events", &body).expect(400);
    }
    let own = "id\r\nX-Forged: 1";
    let body = json!({"event": "worker_created", "data": sample("worker_created"), "id": own});
    let answer = client.post("/events", &body);
    assert!([202, 400].contains(&answer.status), "{}", answer.text);
    let event = client.publish("worker_created", &sample("worker_created"));
    client.settled(&event, "delivered");
    for request in receiver.requests() {
        assert!(request.headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("x-forged")), "{request:?}");
        assert_eq!(request.path, "/a%0d%0aX-Forged:%201?b%0d%0aX-Forged:%202");
    }
}

#[test]
fn an_answer_repeats_no_header_of_the_caller() {
    let server = Server::start(&[]);
    let client = server.client();
    for id in ["a%0d%0aX-Forged: 1", "a\tb", "<b>", "a,b"] {
        let answer = client.send("GET", "/api/v1/webhooks", &[("X-Request-Id", id)], None).expect(200);
        assert_ne!(answer.header("x-request-id"), Some(id));
        assert_eq!(answer.header("x-forged"), None);
    }
}

/// What would forge a line, colour a terminal, or turn the direction of writing.
const ACTING: &str = "a\u{1b}[31m\nFORGED line\r\u{202e}z";
/// What of it a name can have.
const TURNING: &str = "FORGED \u{202e}z\u{2066}";

#[test]
fn the_log_shows_what_would_act_on_a_terminal_as_escapes() {
    let server = Server::start(&[("log.level", r#""debug""#)]);
    let client = server.client();
    client.post("/webhooks", &json!({"url": UNUSED, "events": ["*"], ACTING: 1})).expect(400);
    client.post("/events", &json!({"event": ACTING, "data": {}})).expect(400);
    client.post("/webhooks", &json!({"url": UNUSED, "events": [ACTING]})).expect(400);
    client.post("/webhooks", &json!({"url": format!("http://{ACTING}/"), "events": ["*"]})).expect(400);
    client.post("/webhooks", &json!({"url": UNUSED, "events": ["*"], "description": ACTING}));
    client.send("GET", "/api/v1/webhooks/%1b%5b31m%0aFORGED", &[], None).expect(404);
    server.create_key(&["--name", TURNING, "--account", TURNING, "--scopes", "*"]);
    client.send("GET", "/api/v1/last", &[("X-Request-Id", "the-last-one")], None).expect(404);
    let log = eventually("the log has come so far", || Some(server.log()).filter(|log| log.contains("the-last-one")));
    assert!(log.contains("FORGED"), "the log shows nothing of it: {log}");
    assert!(log.lines().all(|line| !line.starts_with("FORGED")), "{log}");
    assert!(!log.contains(['\u{1b}', '\u{202e}', '\r']), "{log}");
}

#[test]
fn the_command_line_shows_what_would_act_on_a_terminal_as_escapes() {
    let server = Server::start(&[]);
    for wrong in [["--name", ACTING, "--account", "default"], ["--name", "a", "--account", ACTING]] {
        let refused = server.cli(&[&["keys", "create", "--scopes", "webhooks:read"], &wrong[..]].concat());
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(!refused.stderr.contains('\u{1b}'), "{refused:?}");
    }
    let key = server.create_key(&["--name", TURNING, "--account", TURNING, "--scopes", "webhooks:read"]);
    let listed = server.cli(&["keys", "list"]);
    let revoked = server.cli(&["keys", "revoke", &key["id"].to_string()]);
    for output in [&listed, &revoked] {
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.stdout.contains(r"FORGED \u{202e}z\u{2066}"), "{output:?}");
        assert!(!output.stdout.contains(['\u{202e}', '\u{2066}']), "{output:?}");
    }
    let as_json = server.cli(&["keys", "list", "--json"]);
    assert!(!as_json.stdout.contains(['\u{202e}', '\u{2066}']), "{as_json:?}");
    let as_json: Value = serde_json::from_str(&as_json.stdout).unwrap();
    assert!(as_json["data"].as_array().unwrap().iter().any(|row| row["name"] == TURNING), "programs get it unchanged");

    server.key("*");
    let data = json!({"worker_id": 1, "worker_name": TURNING, "note": "\u{9b}2J\u{7f}"});
    let pretty = serde_json::to_string_pretty(&data).unwrap();
    let publish = ["events", "publish", "--event", "worker_created", "--data", &pretty, "--json"];
    let published = printed(&server.cli(&publish));
    let id = published["data"]["id"].as_str().unwrap();
    for arguments in [["events", "show", id, "--json"], ["events", "list", "--limit=1", "--json"]] {
        let shown = server.cli(&arguments);
        assert!(!shown.stdout.contains(['\u{202e}', '\u{2066}', '\u{9b}', '\u{7f}']), "{shown:?}");
        assert_eq!(shown.stdout.lines().count(), 1, "not one line: {shown:?}");
        let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
        let event = shown["data"].as_array().map_or(&shown["data"], |rows| &rows[0]);
        assert_eq!(event["data"], data, "programs get it unchanged");
    }
}
