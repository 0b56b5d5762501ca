//! Every refusal has one shape, the right status, and a request id that leads to it.

use serde_json::{Value, json};

use crate::harness::{Answer, Server, clock_in, eventually};

const UNUSED: &str = "http://127.0.0.1:9/hook";

#[test]
fn every_kind_of_refusal_has_the_same_shape() {
    let server = Server::start(&[("limits.event_bytes", r#""4KiB""#)]);
    let client = server.client();
    let mut large = clock_in(1);
    large["note"] = "x".repeat(5000).into();
    let text = [("Content-Type", "text/plain")];
    let cases: Vec<(u16, &str, Answer)> = vec![
        (400, "invalid_input", client.post("/webhooks", &json!({}))),
        (400, "invalid_json", client.post_text("/webhooks", "{\"url\":")),
        (401, "unauthorized", server.stranger().get("/webhooks")),
        (403, "forbidden", server.client_with(&server.key("events:write")).get("/webhooks")),
        (404, "not_found", client.get("/webhooks/999999")),
        (404, "not_found", client.get("/nowhere")),
        (404, "not_found", client.send("GET", "/api", &[], None)),
        (405, "method_not_allowed", client.delete("/webhooks")),
        (413, "too_large", client.post("/events", &json!({"event": "clock_in", "data": large}))),
        (415, "unsupported_media_type", client.send("POST", "/api/v1/webhooks", &text, Some(b"{}"))),
    ];
    for (status, code, answer) in cases {
        assert_eq!(answer.status, status, "{} answered {}", answer.asked, answer.text);
        answer.expect_error(code);
    }
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::start(&[]);
    let client = server.client();
    let cases = [
        ("DELETE", "/webhooks", vec!["GET", "POST"]),
        ("PATCH", "/webhooks/1", vec!["DELETE", "GET", "PUT"]),
        ("GET", "/webhooks/1/test", vec!["POST"]),
        ("PUT", "/events", vec!["GET", "POST"]),
        ("GET", "/events/batch", vec!["POST"]),
        ("POST", "/deliveries", vec!["GET"]),
        ("GET", "/deliveries/dlv_x/retry", vec!["POST"]),
        ("GET", "/deliveries/retry", vec!["POST"]),
        ("GET", "/webhooks/1/replay", vec!["POST"]),
        ("GET", "/webhooks/1/secret", vec!["POST"]),
        ("PUT", "/webhooks/1/match", vec!["POST"]),
        ("POST", "/jobs", vec!["GET"]),
        ("PUT", "/jobs/job_x", vec!["DELETE", "GET"]),
        ("POST", "/event-types", vec!["GET"]),
    ];
    for (method, path, wanted) in cases {
        // Over a raw connection, because HTTP libraries refuse some of these themselves.
        let head = client.raw_head(method, &format!("/api/v1{path}"));
        let answer = client.raw(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).expect("an answer");
        // `GET /events/batch` may as well be read as an unknown event.
        if path == "/events/batch" && answer.status == 404 {
            continue;
        }
        assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text);
        answer.expect_error("method_not_allowed");
        let allow = answer.header("allow").expect("an Allow header");
        let mut allowed: Vec<&str> =
            allow.split(',').map(str::trim).filter(|m| !["HEAD", "OPTIONS"].contains(m)).collect();
        allowed.sort_unstable();
        assert_eq!(allowed, wanted, "{method} {path}");
    }
}

#[test]
fn text_that_is_no_json_is_refused_as_such() {
    let server = Server::start(&[]);
    let client = server.client();
    let bodies: Vec<&[u8]> = vec![
        b"",
        b"{",
        b"{\"url\":}",
        b"{'url': 1}",
        b"{\"url\": \"x\",}",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"{\"url\": \"a\nb\"}",
    ];
    for body in bodies {
        for path in ["/webhooks", "/events", "/events/batch"] {
            let headers = [("Content-Type", "application/json")];
            let answer = client.send("POST", &format!("/api/v1{path}"), &headers, Some(body));
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
            assert_eq!(answer.status, 400, "{path} took {shown}: {}", answer.text);
            answer.expect_error("invalid_json");
        }
    }
    assert_eq!(client.total("/webhooks"), 0);
    assert_eq!(client.total("/events"), 0);
}

#[test]
fn text_that_cannot_be_passed_on_is_refused_wherever_it_is() {
    let server = Server::start(&[]);
    let client = server.client();
    let around = |value: &[u8]| -> Vec<u8> {
        let before = br#"{"event":"worker_created","data":{"worker_id":1,"worker_name":"Ada","x":"#;
        [before, value, b"}}"].concat()
    };
    let send = |body: &[u8]| client.send("POST", "/api/v1/events", &[("Content-Type", "application/json")], Some(body));
    send(&around(b"1")).expect(202);
    for wrong in [&b"\"\xff\""[..], b"\"\xc3(\"", b"\"a\nb\"", b"01", b"+1", b".5", b"1.", b"nul", b"\"\\x\""] {
        let answer = send(&around(wrong));
        let shown = String::from_utf8_lossy(wrong).into_owned();
        assert_eq!(answer.status, 400, "{shown} was taken: {}", answer.text);
        assert_eq!(answer.json["error"], true);
    }
    // Nesting without end must not take the server down, whether it is accepted or not.
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let answer = send(&around(&deep));
    assert!([202, 400].contains(&answer.status), "{} {}", answer.status, answer.text);
    let answer = client.send(
        "POST",
        "/api/v1/webhooks",
        &[("Content-Type", "application/json")],
        Some(&[br#"{"url":"#, &deep[..], b"}"].concat()),
    );
    assert_eq!(answer.status, 400);
    send(&around(b"2")).expect(202);
}

#[test]
fn json_that_is_no_object_is_refused() {
    let server = Server::start(&[]);
    let client = server.client();
    for body in ["[]", "null", "5", "\"text\"", "true", "[{}]"] {
        for path in ["/webhooks", "/events", "/events/batch"] {
            let answer = client.post_text(path, body);
            assert_eq!(answer.status, 400, "{path} took {body}: {}", answer.text);
            assert_eq!(answer.json["error"], true);
        }
    }
}

#[test]
fn json_is_taken_under_every_spelling_of_its_type() {
    let server = Server::start(&[]);
    let client = server.client();
    let body = json!({"url": UNUSED, "events": ["clock_in"]}).to_string();
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"] {
        let headers = [("Content-Type", kind)];
        client.send("POST", "/api/v1/webhooks", &headers, Some(body.as_bytes())).expect(201);
    }
    for kind in ["application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data", "json"] {
        let headers = [("Content-Type", kind)];
        let answer = client.send("POST", "/api/v1/webhooks", &headers, Some(body.as_bytes())).expect(415);
        answer.expect_error("unsupported_media_type");
    }
}

#[test]
fn an_event_is_as_large_as_allowed_and_no_larger() {
    let server = Server::start(&[("limits.event_bytes", r#""8KiB""#)]);
    let client = server.client();
    let body_of = |size: usize| -> String {
        let empty = format!(r#"{{"event":"clock_in","data":{}}}"#, with_note(""));
        format!(r#"{{"event":"clock_in","data":{}}}"#, with_note(&"x".repeat(size - empty.len())))
    };
    client.post_text("/events", &body_of(7 << 10)).expect(202);
    let answer = client.post_text("/events", &body_of(10 << 10)).expect(413);
    answer.expect_error("too_large");
    assert!(answer.json["message"].as_str().unwrap().contains('8'), "the limit is not named: {}", answer.text);
    assert_eq!(client.total("/events"), 1);

    let head = client.raw_head("POST", "/api/v1/events");
    let request = format!("{head}Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{{");
    assert_eq!(client.raw(request.as_bytes()).expect("an answer").status, 413);
}

fn with_note(note: &str) -> Value {
    let mut data = clock_in(1);
    data["note"] = note.into();
    data
}

#[test]
fn a_large_event_in_a_batch_is_refused_and_the_batch_with_it() {
    let server = Server::start(&[("limits.event_bytes", r#""8KiB""#)]);
    let client = server.client();
    let event = |note: &str| json!({"event": "clock_in", "data": with_note(note)});
    let batch = json!({"events": [event("small"), event(&"x".repeat(9 << 10))]});
    let answer = client.post("/events/batch", &batch);
    assert!([400, 413].contains(&answer.status), "{} {}", answer.status, answer.text);
    assert_eq!(client.total("/events"), 0);
    // Together the events may be larger than one alone.
    let many: Vec<Value> = (0..10).map(|_| event(&"x".repeat(4 << 10))).collect();
    client.post("/events/batch", &json!({"events": many})).expect(202);
}

#[test]
fn a_safe_request_id_is_kept_and_another_is_made() {
    let server = Server::start(&[]);
    let client = server.client();
    let ask = |id: &str| client.send("GET", "/api/v1/webhooks/999999", &[("X-Request-Id", id)], None);
    for id in ["abc-123_x.Y", "0190f3e0-7c1b-7e57-9d3c-1f2e3d4c5b6a"] {
        let answer = ask(id).expect(404);
        assert_eq!(answer.header("x-request-id"), Some(id));
        answer.expect_error("not_found");
    }
    for id in ["a b", "x\"y", "<script>", "a;b", &"x".repeat(1000), "é"] {
        let answer = ask(id).expect(404);
        assert_ne!(answer.header("x-request-id"), Some(id));
        answer.expect_error("not_found");
    }
    let made = [client.get("/webhooks").expect(200), client.get("/webhooks").expect(200)];
    let ids = made.each_ref().map(|answer| answer.header("x-request-id").expect("a request id"));
    assert!(ids.iter().all(|id| !id.is_empty()));
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_log_names_the_request() {
    let server = Server::start(&[]);
    let client = server.client();
    let headers = [("X-Request-Id", "find-me-in-the-log-4711"), ("Content-Type", "application/json")];
    let body = json!({"url": UNUSED, "events": ["clock_in"]}).to_string();
    client.send("POST", "/api/v1/webhooks", &headers, Some(body.as_bytes())).expect(201);
    eventually("the request is in the log", || server.log().contains("find-me-in-the-log-4711").then_some(()));
}

#[test]
fn a_request_that_is_no_http_is_refused_and_the_server_lives_on() {
    let server = Server::start(&[]);
    let client = server.client();
    let head = client.raw_head("POST", "/api/v1/events");
    let key = client.raw_head("GET", "/api/v1/webhooks");
    let requests = [
        "GARBAGE\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n".to_owned(),
        format!("{key}Bad Header: x\r\n\r\n"),
        format!("{key}: empty\r\n\r\n"),
        format!("{head}Content-Length: -5\r\n\r\n"),
        format!("{head}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        format!("{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nzz\r\n"),
        format!("{key}X-Long: {}\r\n\r\n", "x".repeat(1 << 20)),
    ];
    for request in requests {
        let shown: String = request.chars().take(200).collect();
        if let Some(answer) = client.raw(request.as_bytes()) {
            assert!((400..500).contains(&answer.status), "{shown:?} got {} {}", answer.status, answer.text);
        }
    }
    client.get("/webhooks").expect(200);
}

#[test]
fn an_id_that_cannot_be_one_is_not_found() {
    let server = Server::start(&[]);
    let client = server.client();
    for path in [
        "/webhooks/abc",
        "/webhooks/-1",
        "/webhooks/0",
        "/webhooks/99999999999999999999999999",
        "/webhooks/1.5",
        "/events/1",
        "/events/evt_",
        "/events/dlv_0",
        "/deliveries/evt_0",
        "/deliveries/%00",
        "/deliveries/..%2f..%2fetc",
        "/deliveries/%ff",
    ] {
        let answer = client.get(path);
        assert!([400, 404].contains(&answer.status), "{path}: {} {}", answer.status, answer.text);
        answer.expect_error(if answer.status == 404 { "not_found" } else { "invalid_input" });
    }
}

#[test]
fn an_error_names_a_hundred_fields_of_an_object_at_most_and_says_how_many_there_are() {
    let server = Server::start(&[]);
    let client = server.client();
    let unknown: Vec<String> = (0..2000).map(|number| format!("\"field_{number}\":0")).collect();
    let event = format!("{{{}}}", unknown.join(","));
    let batch = format!("{{\"events\":[{}]}}", vec![event.as_str(); 200].join(","));
    // Beside the 2,000 unknown ones, two are missing.
    let subscription = ("/webhooks", event.clone(), 2002);
    for (path, body, count) in [subscription, ("/events", event.clone(), 2002)] {
        let answer = client.post_text(path, &body).expect(400);
        answer.expect_error("invalid_input");
        assert_eq!(answer.wrong_fields().len(), 100, "{path}");
        let message = format!("{count} fields are invalid; 100 of them are listed");
        assert_eq!(answer.json["message"], message.as_str(), "{path}");
        assert!(answer.text.len() < 32 * 1024, "{path}: {} bytes", answer.text.len());
    }
    // Of a batch each event is named, and no more than a thousand fields but for that.
    let answer = client.post_text("/events/batch", &batch).expect(400);
    answer.expect_error("invalid_input");
    let named = answer.wrong_fields();
    assert_eq!(named.len(), 1000 + 190);
    assert!((0..200).all(|index| named.iter().any(|field| field.starts_with(&format!("events[{index}].")))));
    let message = format!("{} fields are invalid; 1190 of them are listed", 200 * 2002);
    assert_eq!(answer.json["message"], message.as_str());
    assert!(answer.text.len() < 256 * 1024, "{} bytes", answer.text.len());
}

#[test]
fn an_error_repeats_no_more_than_the_beginning_of_what_was_sent() {
    let server = Server::start(&[]);
    let client = server.client();
    let long = "x".repeat(2_000);
    let event = json!({"event": long.as_str(), "data": {}, long.as_str(): 1});
    let twice = format!("{{\"{long}\":1,\"{long}\":2}}");
    for answer in [
        client.post("/events", &event),
        client.post("/events/batch", &json!({"events": [event]})),
        client.post_text("/webhooks", &twice),
        client.post("/webhooks", &json!({"url": format!("{long}://a"), "events": [long.as_str()]})),
        client.post("/webhooks", &json!({"url": format!("http://{long}/"), "events": ["clock_in"]})),
        client.get(&format!("/{long}")),
        client.get(&format!("/events?event={long}")),
    ] {
        assert!(!answer.text.contains(&"x".repeat(65)), "{} answered {}", answer.asked, answer.text);
        assert!(answer.text.contains("xxx…"), "{} answered {}", answer.asked, answer.text);
    }
}

#[test]
fn what_is_no_url_is_told_how_one_begins() {
    let server = Server::start(&[]);
    for url in ["not a url", "", "crm.example.com/hooks", "//crm.example.com/hooks"] {
        let answer = server.client().post("/webhooks", &json!({"url": url, "events": ["clock_in"]})).expect(400);
        let message = answer.json["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("must begin with https://"), "{url}: {message}");
    }
}

#[test]
fn a_misspelled_parameter_of_a_query_is_refused_and_the_right_one_is_named() {
    let server = Server::start(&[]);
    let client = server.client_with(&server.key("*"));
    for (path, field, near) in [
        ("/events?work_id=9", "work_id", "worker_id"),
        ("/deliveries?statsu=exhausted&limit=2", "statsu", "status"),
        ("/webhooks?limits=2", "limits", "limit"),
        ("/jobs?ofset=1", "ofset", "offset"),
        ("/audit?sinse=1d", "sinse", "since"),
    ] {
        let refused = client.get(path).expect(400);
        let error = &refused.json["errors"][0];
        assert_eq!(error["field"], field, "{path}: {}", refused.text);
        assert!(error["message"].as_str().unwrap().contains(near), "{path}: {}", refused.text);
    }
    // Every fault at once, and nothing of an empty one.
    client.get("/deliveries?statsu=x&response_code=7").expect_wrong(&["response_code", "statsu"]);
    client.get("/deliveries?status=&limit=").expect(200);
    // What is like nothing that is known is ignored.
    client.get("/webhooks.php?active=true&_=1772438292").expect(200);
}

#[test]
fn strangers_leave_no_line_in_the_log_and_nobody_a_long_one() {
    let server = Server::start(&[("log.level", "\"info\"")]);
    let stranger = server.stranger();
    let endless = format!("/{}", "x".repeat(3_000));
    for path in ["/webhooks", "/events", "/no-such-route", &endless] {
        stranger.post(path, &json!({}));
        server.client_with("tc_live_0").post(path, &json!({}));
        stranger.send("DELETE", "/healthz", &[], None).expect(405);
    }
    server.client().post(&endless, &json!({})).expect(404);
    eventually("who has a key is in the log", || server.log().contains("POST /api/v1/xxx").then_some(()));
    let log = server.log();
    let answered: Vec<&str> =
        log.lines().filter(|line| line.contains(" answered ") && !line.contains("/control/")).collect();
    assert_eq!(answered.len(), 1, "{log}");
    assert!(answered[0].len() < 500, "{log}");
}
