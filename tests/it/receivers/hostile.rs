//! Whatever a receiver does with the connection, it costs one attempt, its time limit and a bounded piece of memory.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::harness::{Receiver, Reply, Server, clock_in, eventually, sample};

const ONCE: (&str, &str) = ("delivery.retry_schedule", "[]");
/// Time enough for an answer that comes at once.
const SHORT: (&str, &str) = ("delivery.timeout", r#""4s""#);
const OFTEN: Duration = Duration::from_millis(50);
const AT_ONCE: Duration = Duration::ZERO;

/// What comes without end, each beginning with a head of its own.
const ENDLESS: [(&str, &[u8], &[u8], Duration); 9] = [
    ("/a-status-line-byte-by-byte", b"HTTP/1.1 200 ", b"O", OFTEN),
    ("/a-header-byte-by-byte", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"y", OFTEN),
    ("/headers", b"HTTP/1.1 200 OK\r\n", b"X-More: and more and more and more\r\n", AT_ONCE),
    ("/one-header", b"HTTP/1.1 200 OK\r\nX-Long: ", b"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", AT_ONCE),
    ("/preliminary-answers", b"", b"HTTP/1.1 100 Continue\r\n\r\n", AT_ONCE),
    ("/chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nabcd\r\n", OFTEN),
    ("/a-chunk-size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0", AT_ONCE),
    ("/trailers", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-T: 1\r\n", AT_ONCE),
    ("/no-line-at-all", b"", b"x", AT_ONCE),
];

/// A receiver that answers without end, as its path says.
fn endless() -> Receiver {
    Receiver::answering(|request| match ENDLESS.iter().find(|(path, ..)| *path == request.path) {
        Some((_, first, again, pause)) => Reply::Endless(first, again, *pause),
        None => Reply::status(200),
    })
}

#[test]
fn an_answer_without_end_ends_with_the_time_limit() {
    let server = Server::start(&[ONCE, SHORT]);
    let client = server.client();
    let receiver = endless();
    for (path, ..) in ENDLESS {
        client.subscribe(&receiver.url(path), &["clock_in"]);
    }
    let event = client.publish("clock_in", &clock_in(1));
    let attempts = client.first_attempts(&event);
    assert_eq!(attempts.len(), ENDLESS.len());
    let error = |attempt: &Value| attempt["error"].as_str().unwrap().to_owned();
    let errors: Vec<String> = attempts.iter().map(error).collect();
    let too_long = errors.iter().filter(|error| error.contains("the answer's headers are longer than 16 KiB, or "));
    assert!(too_long.count() >= 3, "{errors:#?}");
    for attempt in &attempts {
        assert_eq!(attempt["status"], "failed", "{attempt:#}");
        assert!(attempt["error"].as_str().is_some_and(|cause| !cause.is_empty()), "{attempt:#}");
        assert!(attempt["duration_ms"].as_u64().unwrap() < 60_000, "{attempt:#}");
    }
    // Others are still served, on threads that are free again.
    client.subscribe(&receiver.url("/fine"), &["worker_created"]);
    let event = client.publish("worker_created", &sample("worker_created"));
    client.settled(&event, "delivered");
}

#[test]
fn preliminary_answers_without_end_are_cut_off_long_before_the_time_limit() {
    let server = Server::start(&[ONCE, ("delivery.timeout", r#""60s""#)]);
    let client = server.client();
    let receiver = endless();
    client.subscribe(&receiver.url("/preliminary-answers"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let attempt = client.first_attempts(&event).remove(0);
    assert!(attempt["error"].as_str().unwrap().starts_with("the answer's headers are longer than"), "{attempt:#}");
}

#[test]
fn headers_of_12_kib_are_taken_and_of_20_kib_are_told_and_neither_is_sent_twice() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let receiver = Receiver::answering(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let kib: usize = request.path.trim_start_matches('/').parse().unwrap();
        // Of an endpoint that has answered before, a connection that ends at once looks as if it was closed while idle.
        if body["data"]["entry_id"] == 1 {
            Reply::status(200)
        } else {
            Reply::with(200, &[("X-Long", &"x".repeat(kib << 10))], "fine")
        }
    });
    for path in ["/12", "/20"] {
        client.subscribe(&receiver.url(path), &["clock_in"]);
    }
    client.first_attempts(&client.publish("clock_in", &clock_in(1)));
    let attempts = client.first_attempts(&client.publish("clock_in", &clock_in(2)));
    let errors: Vec<&str> = attempts.iter().filter_map(|attempt| attempt["error"].as_str()).collect();
    assert!(
        matches!(errors[..], [error] if error.starts_with("the endpoint answered 200, but the answer's headers are longer than 16 KiB")),
        "{attempts:#?}"
    );
    assert_eq!(receiver.requests().len(), 4);
}

/// The most memory that the server has had since the last [`forget_peak`], in KiB.
fn peak_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn forget_peak(server: &Server) {
    fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").unwrap();
}

#[test]
fn answers_without_end_take_a_bounded_piece_of_memory_each() {
    const ENDPOINTS: u64 = 48;
    let server = Server::start(&[ONCE, SHORT]);
    let client = server.client();
    let receiver = Receiver::start();
    for number in 0..ENDPOINTS {
        client.subscribe(&receiver.url(&format!("/{number}")), &["clock_in"]);
    }
    let event = client.publish("clock_in", &clock_in(1));
    client.first_attempts(&event);
    forget_peak(&server);
    let before = peak_kib(&server);

    receiver.rule(|request| {
        let number: usize = request.path.trim_start_matches('/').parse().unwrap();
        match number % (ENDLESS.len() + 2) {
            0 => Reply::Flood(200, 64 << 20),
            1 => Reply::Flood(500, 64 << 20),
            kind => {
                let (_, first, again, pause) = ENDLESS[kind - 2];
                Reply::Endless(first, again, pause)
            }
        }
    });
    let event = client.publish("clock_in", &clock_in(2));
    assert_eq!(client.first_attempts(&event).len() as u64, ENDPOINTS);
    let grown = peak_kib(&server).saturating_sub(before);
    // Per endpoint 64 KiB and its buffers; what the allocator keeps for 48 threads comes on top.
    assert!(grown < ENDPOINTS * 128 + 8 * 1024, "{grown} KiB more for {ENDPOINTS} endpoints");
}

#[test]
fn a_compressed_answer_is_never_unpacked() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    // 16 MiB of zeros in 16 KiB.
    let receiver = Receiver::answering(|_| {
        let packed = include_bytes!("zeros.gz");
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            packed.len()
        );
        Reply::Raw([head.as_bytes(), packed].concat())
    });
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    forget_peak(&server);
    let before = peak_kib(&server);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "delivered");
    assert!(receiver.requests()[0].headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("accept-encoding")));
    let kept = delivery["attempts"][0]["response"]["body"].as_str().unwrap();
    assert!(kept.starts_with('\u{1f}'), "the answer was unpacked");
    let grown = peak_kib(&server).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more");
}

#[test]
fn a_connection_that_is_reset_is_a_failure_with_its_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Closed with the rest of the request unread, the system resets the connection.
            let _ = stream.read(&mut [0]);
        }
    });
    let server = Server::start(&[ONCE]);
    let client = server.client();
    client.subscribe(&url, &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "exhausted");
    let cause = delivery["attempts"][0]["error"].as_str().unwrap();
    assert!(cause.contains("connection broke"), "{cause}");
}

#[test]
fn an_answer_cannot_put_words_into_the_log_or_a_terminal() {
    let server = Server::start(&[ONCE, ("log.level", r#""debug""#)]);
    let client = server.client();
    let receiver = Receiver::answering(|_| {
        Reply::Raw(
            b"HTTP/1.1 500 \x1b[31mred\r\nX-Odd: \x1b]0;title\x07\r\nContent-Length: 8\r\n\r\n\x1b[2Jgone".to_vec(),
        )
    });
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "exhausted");
    assert!(!client.get(&format!("/deliveries/{}", delivery["id"].as_str().unwrap())).text.contains('\x1b'));
    assert!(!server.log().contains('\x1b'), "{}", server.log());
}

/// Answers the next request on a connection.
fn answer(stream: &TcpStream, status: u16) {
    let mut reader = BufReader::new(stream);
    let mut body_bytes = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.to_ascii_lowercase().trim_end().split_once(": ") {
            Some(("content-length", length)) => body_bytes = length.parse().unwrap(),
            None if line == "\r\n" => break,
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; body_bytes]).unwrap();
    write!(&*stream, "HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\n\r\nok").unwrap();
}

/// Has something come that the other side of a connection has not read?
fn is_unread(stream: &TcpStream) -> bool {
    let [here, there] =
        [stream.local_addr(), stream.peer_addr()].map(|address| format!(":{:04X}", address.unwrap().port()));
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1].ends_with(&there) && row[2].ends_with(&here)).expect("the connection");
    !row[4].ends_with(":00000000")
}

#[test]
fn what_comes_behind_an_answer_is_not_taken_for_the_next_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(&[ONCE]);
    let client = server.client();
    client.subscribe(&format!("http://{}/", listener.local_addr().unwrap()), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let (first, _) = listener.accept().unwrap();
    answer(&first, 200);
    client.settled(&event, "delivered");
    write!(&first, "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n").unwrap();
    eventually("it has come", || is_unread(&first).then_some(()));

    let event = client.publish("clock_in", &clock_in(2));
    listener.set_nonblocking(true).unwrap();
    let (second, _) = eventually("a new connection", || listener.accept().ok());
    second.set_nonblocking(false).unwrap();
    answer(&second, 200);
    let delivery = client.settled(&event, "delivered");
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1, "{delivery:#}");
}
