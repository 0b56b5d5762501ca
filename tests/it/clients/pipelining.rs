//! Requests that are sent before the last answer: each is answered as if it came alone, and none is carried out behind
//! the end of a connection.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use serde_json::json;

use crate::clients::many::rest;
use crate::harness::{Client, PATIENCE, Receiver, Reply, Server, clock_in};

const DOCS: &str = "GET /docs HTTP/1.1\r\nHost: x\r\n";
const LIVE: &str = "GET /healthz HTTP/1.1\r\nHost: x\r\n";

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads one answer with its body.
fn answer(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
    let head = String::from_utf8(read).unwrap();
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

fn statuses(answers: &str) -> Vec<u16> {
    let lines = answers.match_indices("HTTP/1.").map(|(at, mark)| &answers[at + mark.len()..]);
    lines.map(|line| line[2..5].parse().unwrap()).collect()
}

/// A request that publishes, with further headers.
fn publish(client: &Client, entry: u64, further: &str) -> String {
    let body = json!({"event": "clock_in", "data": clock_in(entry)}).to_string();
    let head = client.raw_head("POST", "/api/v1/events");
    format!("{head}{further}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn an_answer_is_not_shaped_by_the_request_behind_it() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let ping = client.raw_head("POST", &format!("/api/v1/webhooks/{id}/test"));
    // One that wants no body, one of an older version, and one that ends the connection.
    for behind in [
        "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ] {
        let mut stream = connect(&server);
        stream.write_all(format!("{ping}\r\n{behind}").as_bytes()).unwrap();
        let first = answer(&mut stream);
        assert!(first.starts_with("HTTP/1.1 200 ") && first.contains("\"success\":true"), "{first}");
        assert!(!first.contains("connection: close"), "{first}");
        stream.shutdown(Shutdown::Write).unwrap();
        let all = first + &rest(&mut stream);
        assert_eq!(statuses(&all), [200, 200], "{all}");
    }
}

#[test]
fn a_body_that_has_begun_to_come_does_not_close_the_connection_behind_the_answer_before() {
    let server = Server::start(&[("delivery.timeout", r#""1s""#)]);
    let client = server.client();
    let receiver = Receiver::first([Reply::Hang]);
    let id = client.subscribe(&receiver.url("/"), &["worker_created"]).id;
    let ping = client.raw_head("POST", &format!("/api/v1/webhooks/{id}/test"));
    let second = publish(&client, 1, "");
    let (beginning, end) = second.split_at(second.len() - 10);
    let mut stream = connect(&server);
    stream.write_all(format!("{ping}\r\n{beginning}").as_bytes()).unwrap();
    let first = answer(&mut stream);
    assert!(first.contains("\"success\":false") && !first.contains("connection: close"), "{first}");
    let last = publish(&client, 2, "Connection: close\r\n");
    stream.write_all(format!("{end}{last}").as_bytes()).unwrap();
    assert_eq!(statuses(&rest(&mut stream)), [202, 202]);
    assert_eq!(client.total("/events?event=clock_in"), 2);
}

#[test]
fn nothing_is_carried_out_behind_the_end_of_a_connection() {
    let server = Server::start(&[]);
    let client = server.client();
    let behind = publish(&client, 1, "");
    let stranger = "POST /api/v1/events HTTP/1.1\r\nHost: x\r\n";
    for (last, status) in [
        (format!("{LIVE}Connection: close\r\n\r\n"), 200),
        (format!("{LIVE}Connection: keep-alive, close\r\n\r\n"), 200),
        ("GET /healthz HTTP/1.0\r\n\r\n".to_owned(), 200),
        // The connection cannot speak another protocol.
        (format!("{LIVE}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"), 200),
        // The server ends the connection when it does not want to read the body.
        (format!("{stranger}Content-Length: 4\r\n\r\nbody"), 401),
        (format!("{stranger}Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"), 401),
        (client.raw_head("POST", "/api/v1/events") + "Connection: close\r\nContent-Length: 0\r\n\r\n", 415),
    ] {
        let mut stream = connect(&server);
        stream.write_all(format!("{last}{behind}{behind}").as_bytes()).unwrap();
        let answers = rest(&mut stream);
        assert_eq!(statuses(&answers), [status], "{last}: {answers}");
        assert!(answers.starts_with("HTTP/1.0 ") || answers.contains("connection: close\r\n"), "{last}: {answers}");
        assert_eq!(client.total("/events"), 0, "{last}");
    }
}

#[test]
fn requests_in_one_piece_and_byte_by_byte_get_their_answers_in_order() {
    let server = Server::start(&[]);
    let client = server.client();
    let chunked = |entry| {
        let body = json!({"event": "clock_in", "data": clock_in(entry)}).to_string();
        let (first, second) = body.split_at(10);
        let head = client.raw_head("POST", "/api/v1/events");
        format!(
            "{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
             a;name=value\r\n{first}\r\n{:X} \r\n{second}\r\n0\r\nX-Trailer: 1\r\n\r\n",
            second.len()
        )
    };
    let all = [
        &format!("\r\n\n{LIVE}\r\n"),
        &publish(&client, 1, ""),
        &chunked(2),
        "GET /nowhere HTTP/1.1\nHost: x\n\n",
        &chunked(3),
        &publish(&client, 4, ""),
        &format!("{LIVE}Connection: close\r\n\r\n"),
    ]
    .concat();
    let wanted = [200, 202, 202, 404, 202, 202, 200];
    for piece_bytes in [all.len(), 1, 7, 100] {
        let mut stream = connect(&server);
        stream.set_nodelay(true).unwrap();
        for piece in all.as_bytes().chunks(piece_bytes) {
            stream.write_all(piece).unwrap();
        }
        let answers = rest(&mut stream);
        assert_eq!(statuses(&answers), wanted, "in pieces of {piece_bytes}: {answers}");
    }
    assert_eq!(client.total("/events"), 16);
}

#[test]
fn a_thousand_requests_in_one_go_are_answered_each() {
    let server = Server::start(&[]);
    let mut stream = connect(&server);
    let mut writer = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let last = format!("{LIVE}Connection: close\r\n\r\n");
        writer.write_all((format!("{LIVE}\r\n").repeat(999) + &last).as_bytes()).unwrap();
    });
    assert_eq!(statuses(&rest(&mut stream)), [200; 1000]);
    sending.join().unwrap();
}

#[test]
fn an_answer_comes_whole_whatever_is_sent_behind_it() {
    let server = Server::start(&[]);
    let mut stream = connect(&server);
    stream.write_all(format!("{DOCS}\r\n").as_bytes()).unwrap();
    let whole = answer(&mut stream);
    drop(stream);
    let much = "x".repeat(20_000);
    for behind in [format!("Connection: close\r\n\r\n{much}"), format!("\r\njunk\r\n\r\n{much}")] {
        for _ in 0..10 {
            let mut stream = connect(&server);
            stream.write_all(format!("{DOCS}{behind}").as_bytes()).unwrap();
            let answers = rest(&mut stream);
            let body = answers.split_once("\r\n\r\n").unwrap().1;
            assert!(body.starts_with(whole.split_once("\r\n\r\n").unwrap().1), "{} of {}", answers.len(), whole.len());
        }
    }
}
