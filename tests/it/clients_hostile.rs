//! Requests that two readers could understand differently are refused, and what follows them is never carried out.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
};

use serde_json::json;

use crate::harness::{PATIENCE, Server, clock_in};

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
    let server = Server::start(&[("server.request_timeout", r#""1s""#)]);
    let client = server.client();
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
        if !answers.iter().all(|status| (400..500).contains(status)) || client.total("/events") != 1 {
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
        "GET http://169.254.169.254/ HTTP/1.1",
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
