//! Requests that two readers could understand differently are refused, and what follows them is never carried out.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
};

use serde_json::json;

use crate::harness::{ALL_SCOPES, PATIENCE, Server, clock_in, parse_answer};

/// Sends bytes on one connection and gives the status of every answer until it ends.
fn statuses(server: &Server, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be refused before it is read to its end.
    let _ = stream.write_all(bytes);
    let mut read = Vec::new();
    match stream.read_to_end(&mut read) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{:?}: the connection stays open: {error}", String::from_utf8_lossy(bytes)),
    }
    let text = String::from_utf8(read).unwrap();
    let lines = text.match_indices("HTTP/1.1 ").map(|(at, mark)| &text[at + mark.len()..]);
    lines.map(|line| line[..3].parse().unwrap()).collect()
}

/// Ends of a head and beginnings of a body that leave open where the body ends. The second request comes after them.
const AMBIGUOUS: [(&str, &str); 38] = [
    ("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 4", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 0", "0\r\n\r\n"),
    ("Content-Length: 0\r\nContent-Length: 2", "{}"),
    ("Content-Length: 2\r\nContent-Length: 0", "{}"),
    ("Content-Length: 0, 2", "{}"),
    ("Content-Length: +2", "{}"),
    ("Content-Length: -2", "{}"),
    ("Content-Length: 0x2", "{}"),
    ("Content-Length: 2 2", "{}"),
    ("Content-Length: 2a", "{}"),
    ("Content-Length: ", "{}"),
    ("Content-Length: 0\r\n 2", "{}"),
    ("Content-Length: 99999999999999999999999999", "{}"),
    ("Content-Length : 2", "{}"),
    (" Content-Length: 2", "{}"),
    ("Content-Length\u{b}: 2", "{}"),
    ("Content-Length: 2\u{0}", "{}"),
    ("Transfer-Encoding: xchunked", "0\r\n\r\n"),
    ("Transfer-Encoding: identity, chunked, identity", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked, chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: \u{b}chunked", "0\r\n\r\n"),
    ("Transfer-Encoding : chunked", "0\r\n\r\n"),
    ("Transfer-Encoding\u{0}: chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n"),
    ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "zz\r\n\r\n"),
    ("Transfer-Encoding: chunked", "-1\r\n\r\n"),
    ("Transfer-Encoding: chunked", "0x0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "+0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "\r\n\r\n"),
    ("Transfer-Encoding: chunked", "1\r\n{}\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "10000000000000002\r\n{}\r\n0\r\n\r\n"),
    ("Transfer-Encoding: chunked", "2\r\n{}0\r\n\r\n"),
    ("Host: other\r\nTransfer-Encoding: xchunked", "0\r\n\r\n"),
];

#[test]
fn nothing_is_smuggled_in_behind_an_ambiguous_request() {
    let server = Server::start(&[("server.request_timeout", r#""1s""#), ("server.keep_alive", r#""1s""#)]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let first = client.raw_head("POST", "/api/v1/webhooks");
    let body = json!({"event": "clock_in", "data": clock_in(1)}).to_string();
    let second = format!(
        "{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        client.raw_head("POST", "/api/v1/events"),
        body.len()
    );
    let plain = format!("{first}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}{second}");
    assert_eq!(statuses(&server, plain.as_bytes()), [400, 202], "a second request on a connection is carried out");
    let mut taken = Vec::new();
    for (head, beginning) in AMBIGUOUS {
        let request = format!("{first}Content-Type: application/json\r\n{head}\r\n\r\n{beginning}{second}");
        let answers = statuses(&server, request.as_bytes());
        // Asked on a connection of its own: one that was kept may be closed at this moment.
        let total = server.client_with(&key).total("/events");
        if !answers.iter().all(|status| (400..500).contains(status)) || total != 1 {
            taken.push((head, beginning, answers));
        }
    }
    assert!(taken.is_empty(), "{taken:#?}");
    assert_eq!(client.total("/events"), 1);
    client.get("/webhooks").expect(200);
}

#[test]
fn a_head_that_is_no_proper_http_is_refused() {
    let server = Server::start(&[("server.request_timeout", r#""1s""#)]);
    let client = server.client();
    let key = client.raw_head("GET", "/api/v1/webhooks");
    let bearer = key.split("\r\n").nth(2).unwrap().to_owned();
    let get = "GET /api/v1/webhooks HTTP/1.1";
    let heads: Vec<Vec<u8>> = [
        format!("{get}\r\nHost: a\r\nHost: b\r\n{bearer}\r\n\r\n"),
        format!("{get}\r\nHost: a\r\n{bearer}\r\nX\u{0}: 1\r\n\r\n"),
        format!("{get}\r\nHost: a\r\n{bearer}\r\nX: 1\u{0}\r\n\r\n"),
        format!("{get}\r\nHost: a\r\n{bearer}\r\nX: 1\rY: 2\r\n\r\n"),
        format!("{get}\r\nHost: a\r\n{bearer}\r\n X: folded\r\n\r\n"),
        format!("{get}\r\nHost: a\r\n{bearer}\r\nX y: 1\r\n\r\n"),
        format!("{get}\r\nHost: a\r\n{bearer}\r\nno colon\r\n\r\n"),
        format!("GET  /api/v1/webhooks HTTP/1.1\r\nHost: a\r\n{bearer}\r\n\r\n"),
        format!("GET /api/v1/web hooks HTTP/1.1\r\nHost: a\r\n{bearer}\r\n\r\n"),
        format!("GET /api/v1/web\u{0}hooks HTTP/1.1\r\nHost: a\r\n{bearer}\r\n\r\n"),
        format!("GET /api/v1/webhooks HTTP/1.2\r\nHost: a\r\n{bearer}\r\n\r\n"),
        format!("GET /api/v1/webhooks HTTP/2.0\r\nHost: a\r\n{bearer}\r\n\r\n"),
        format!("G\u{0}T /api/v1/webhooks HTTP/1.1\r\nHost: a\r\n{bearer}\r\n\r\n"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("{get}\r\nHost: a\r\nX-Long: {}\r\n{bearer}\r\n\r\n", "x".repeat(200_000)),
        format!("{get}\r\nHost: a\r\n{}{bearer}\r\n\r\n", "X-Many: 1\r\n".repeat(10_000)),
        format!("GET /api/v1/webhooks?{} HTTP/1.1\r\nHost: a\r\n{bearer}\r\n\r\n", "x".repeat(200_000)),
    ]
    .map(String::into_bytes)
    .into();
    let mut taken = Vec::new();
    for head in heads {
        let answers = statuses(&server, &head);
        if !answers.iter().all(|status| (400..500).contains(status)) {
            taken.push((String::from_utf8_lossy(&head[..head.len().min(120)]).into_owned(), answers));
        }
    }
    assert!(taken.is_empty(), "{taken:#?}");
    client.get("/webhooks").expect(200);
    // Whoever sends garbage does not fill the log with errors.
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[test]
fn odd_methods_and_targets_are_no_way_in() {
    let server = Server::start(&[("server.request_timeout", r#""1s""#)]);
    let client = server.client();
    for line in [
        "OPTIONS * HTTP/1.1",
        "CONNECT 169.254.169.254:80 HTTP/1.1",
        "TRACE /api/v1/webhooks HTTP/1.1",
        "GET http://169.254.169.254/latest/meta-data HTTP/1.1",
        "GET //169.254.169.254/ HTTP/1.1",
        "GET /../../etc/passwd HTTP/1.1",
        "GET /api/v1/../../etc/passwd HTTP/1.1",
        "GET /api/v1/webhooks%2f1 HTTP/1.1",
        "BREW /api/v1/webhooks HTTP/1.1",
    ] {
        let request = format!("{line}\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answers = statuses(&server, request.as_bytes());
        assert!(answers.iter().all(|status| (400..500).contains(status)), "{line}: {answers:?}");
    }
    client.get("/webhooks").expect(200);
}

#[test]
fn whoever_wants_another_protocol_gets_an_answer_and_nothing_behind_it_is_carried_out() {
    let server = Server::start(&[]);
    let client = server.client();
    let body = json!({"event": "clock_in", "data": clock_in(1)}).to_string();
    let publish = |further: &str| {
        format!(
            "{}{further}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            client.raw_head("POST", "/api/v1/events"),
            body.len()
        )
    };
    for further in [
        "Upgrade: websocket\r\n",
        "Upgrade: WebSocket\r\nConnection: keep-alive\r\n",
        "Upgrade: h2c\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade:\twebsocket \r\nConnection: keep-alive, Upgrade\r\n",
    ] {
        let request = publish(further);
        let answer = client.raw(request.as_bytes()).expect("an answer");
        answer.expect_error("bad_request");
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{further}");
        assert_eq!(statuses(&server, (request + &publish("")).as_bytes()), [400], "{further}");
        assert_eq!(client.total("/events"), 0, "{further}");
    }
    // A protocol that the server may pass over, as HTTP clients offer it.
    for (count, further) in
        ["Connection: Upgrade\r\n", "Connection: Upgrade\r\nUpgrade: h2c\r\n"].into_iter().enumerate()
    {
        let answer = client.raw(publish(further).as_bytes()).expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (202, Some("close")), "{further}");
        assert_eq!(client.total("/events"), count as u64 + 1);
    }
}

/// A longer head is not read to its end.
const LONGEST_HEAD_BYTES: usize = 128 * 1024;

#[test]
fn a_malformed_head_gets_an_error_status_and_the_end_of_its_connection() {
    let server = Server::start(&[]);
    let hasty = Server::start(&[("server.request_timeout", r#""5s""#)]);
    let client = server.client();
    let slow = "GET / HTTP/1.1\r\nX: ";
    let whole = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    for (bytes, status) in [
        ("GET / HTTP/1.2\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        ("\u{16}\u{3}\u{1}".to_owned(), 400),
        (slow.to_owned() + &"x".repeat(LONGEST_HEAD_BYTES - slow.len()), 431),
        (slow.to_owned(), 408),
        (format!("{whole}GET / HTTP/1.2\r\n\r\n"), 400),
    ] {
        // Where a head stays half, the end of its time is waited for; no other one is to come too late.
        let asked = if bytes == slow { &hasty } else { &server };
        let mut stream = TcpStream::connect(asked.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let shown = &bytes[..bytes.len().min(60)];
        let last = text.rfind("HTTP/1.1 ").unwrap_or_else(|| panic!("{shown:?} got no answer"));
        let answer = parse_answer(&text.as_bytes()[last..]).expect("a whole answer");
        assert_eq!(answer.status, status, "{shown:?}");
        assert!(answer.header("date").is_some(), "{shown:?}");
        assert_eq!(text.contains("\"status\":\"ok\""), bytes.starts_with(whole), "{shown:?}");
    }
    client.get("/webhooks").expect(200);
}

#[test]
fn a_body_in_chunks_that_is_read_to_its_end_keeps_its_connection() {
    let server = Server::start(&[]);
    let client = server.client();
    let head = client.raw_head("POST", "/api/v1/events");
    let body = |entry| json!({"event": "clock_in", "data": clock_in(entry)}).to_string();
    let one = |entry, further: &str| {
        let body = body(entry);
        let (first, second) = body.split_at(10);
        format!(
            "{head}{further}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
             a\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
            second.len()
        )
    };
    let three = [one(1, ""), one(2, ""), one(3, "Connection: close\r\n")].concat();
    assert_eq!(statuses(&server, three.as_bytes()), [202, 202, 202]);
    assert_eq!(client.total("/events"), 3);
}
