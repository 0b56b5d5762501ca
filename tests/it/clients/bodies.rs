//! Long bodies: nobody fills the server's memory with them, and who may not publish gets no byte of one taken in.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::channel;
use std::thread;

use serde_json::json;

use crate::harness::{ALL_SCOPES, Answer, PATIENCE, Server, clock_in, eventually, parse_answer};

const MIB: usize = 1 << 20;
/// What the server allows for all bodies together is 64 MiB.
const CALLERS: usize = 16;

/// Begins a batch of 7 MiB and sends so many bytes of it.
fn begin_batch(server: &Server, key: &str, sent_bytes: usize) -> TcpStream {
    let head = server.client_with(key).raw_head("POST", "/api/v1/events/batch");
    let head = format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", 7 * MIB);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be refused before it is read to its end.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&vec![b' '; sent_bytes]));
    stream
}

/// What is answered, if the answer comes through before the end of the connection.
fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read);
    parse_answer(&read)
}

#[test]
fn a_key_that_may_not_publish_is_refused_before_the_body_comes() {
    let server = Server::start(&[]);
    let key = server.key("webhooks:read,events:read");
    assert_eq!(answer(&mut begin_batch(&server, &key, 0)).expect("an answer").status, 403);
}

#[test]
fn all_bodies_together_have_so_much_room_and_no_more() {
    let mut server = Server::start(&[("server.request_timeout", r#""10m""#)]);
    let key = server.key(ALL_SCOPES);
    // Whoever has room keeps it, and is not answered; whoever has none is answered at once.
    let (sender, answers) = channel();
    let callers: Vec<TcpStream> = thread::scope(|scope| {
        let begun: Vec<_> = (0..CALLERS).map(|_| scope.spawn(|| begin_batch(&server, &key, 7 * MIB - 1))).collect();
        begun.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    for caller in &callers {
        let (mut caller, sender) = (caller.try_clone().unwrap(), sender.clone());
        thread::spawn(move || answer(&mut caller).map(|answer| sender.send(answer)));
    }
    let refused = answers.recv_timeout(PATIENCE).expect("somebody is asked to wait").expect(503);
    refused.expect_error("busy");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    for caller in callers {
        let _ = caller.shutdown(Shutdown::Both);
    }
    drop(sender);
    assert!(answers.iter().all(|answer| answer.status == 503), "a body that is not whole was answered");
    // The room is given back.
    let client = server.client_with(&key);
    let event = json!({"event": "clock_in", "data": clock_in(1)});
    eventually("there is room again", || (client.post("/events", &event).status == 202).then_some(()));
    assert!(server.terminate().success());
}
