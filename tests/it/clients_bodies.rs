//! Long bodies: nobody fills the server's memory with them, and who may not publish gets no byte of one taken in.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;

use crate::harness::{ALL_SCOPES, Answer, PATIENCE, Server, clock_in, parse_answer};

const MIB: usize = 1 << 20;
/// What the server allows for all bodies together is 64 MiB.
const CALLERS: usize = 16;

/// Begins a batch of 7 MiB, sends so many bytes of it, and gives what is answered, if the answer comes through.
fn begin_batch(server: &Server, key: &str, sent_bytes: usize) -> Option<Answer> {
    let head = server.client_with(key).raw_head("POST", "/api/v1/events/batch");
    let head = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", 7 * MIB);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be refused before it is read to its end.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&vec![b' '; sent_bytes]));
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read);
    parse_answer(&read)
}

#[test]
fn a_key_that_may_not_publish_is_refused_before_the_body_comes() {
    let server = Server::start(&[]);
    let key = server.key("webhooks:read,events:read");
    assert_eq!(begin_batch(&server, &key, 0).expect("an answer").status, 403);
}

#[test]
fn all_bodies_together_have_so_much_room_and_no_more() {
    let mut server = Server::start(&[("server.request_timeout", r#""5s""#)]);
    let key = server.key(ALL_SCOPES);
    let answers: Vec<Option<Answer>> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| begin_batch(&server, &key, 7 * MIB - 1))).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let statuses: Vec<u16> = answers.iter().flatten().map(|answer| answer.status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 408 | 503)), "{statuses:?}");
    let refused = answers.iter().flatten().find(|answer| answer.status == 503).expect("somebody is asked to wait");
    refused.expect_error("busy");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    // The room is given back.
    server.client_with(&key).publish("clock_in", &clock_in(1));
    assert!(server.terminate().success());
}
