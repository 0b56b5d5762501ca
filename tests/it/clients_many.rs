//! Callers that hold connections, send slowly or never read take little, and others are served beside them.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use rustix::process::{Resource, getrlimit};

use crate::harness::{PATIENCE, Server, eventually};

/// What the server holds in memory now, in KiB.
fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn open_files(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// Reads until the server ends the connection, and gives what came.
fn rest(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut read = Vec::new();
    match stream.read_to_end(&mut read) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection stays open: {error}"),
    }
    String::from_utf8(read).unwrap()
}

/// As many as the machine lets one process have, up to what was promised.
fn idle_connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files).unwrap().saturating_sub(500).min(10_000)
}

#[test]
fn ten_thousand_idle_connections_take_little_memory_and_hold_nobody_up() {
    let count = idle_connections();
    let server = Server::start(&[
        ("server.max_connections", &(count + 1_000).to_string()),
        ("server.request_timeout", r#""10m""#),
    ]);
    let client = server.client();
    client.get("/webhooks").expect(200);
    let (before_kib, files) = (resident_kib(&server), open_files(&server));
    let idle: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    eventually("all connections are taken in", || (open_files(&server) >= count).then_some(()));
    client.get("/webhooks").expect(200);
    let held_kib = resident_kib(&server) - before_kib;
    println!("{count} idle connections take {held_kib} KiB");
    // A connection has a buffer for what it may send and one for the answer.
    assert!(held_kib < count as u64 * 12 + 4096, "{count} idle connections take {held_kib} KiB");
    drop(idle);
    eventually("all connections are let go", || (open_files(&server) < files + 100).then_some(()));
    client.get("/webhooks").expect(200);
}

#[test]
fn whoever_sends_too_slowly_is_cut_off_and_makes_room() {
    let server = Server::start(&[("server.max_connections", "8"), ("server.request_timeout", r#""1s""#)]);
    let client = server.client();
    let head = client.raw_head("POST", "/api/v1/events");
    let beginnings = [
        String::new(),
        "P".to_owned(),
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nX-Slow".to_owned(),
        format!("{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"),
        format!("{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{".to_owned(),
        "POST /api/v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab".to_owned(),
        "GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab".to_owned(),
        "GET /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab".to_owned(),
    ];
    // More than there is room for: whoever comes later waits until the first ones are cut off.
    let mut slow: Vec<(String, TcpStream)> = Vec::new();
    for beginning in beginnings.iter().cycle().take(27) {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(beginning.as_bytes()).unwrap();
        slow.push((beginning.clone(), stream));
    }
    client.get("/webhooks").expect(200);
    for (beginning, mut stream) in slow {
        // Whatever is answered, the connection ends.
        let answer = rest(&mut stream);
        let wanted = ["HTTP/1.1 408 ", "HTTP/1.1 401 ", "HTTP/1.1 404 ", "HTTP/1.1 200 "];
        let is_wanted = wanted.iter().any(|wanted| answer.starts_with(wanted));
        assert!(answer.is_empty() || is_wanted, "{beginning:?} got {answer}");
    }
    assert_eq!(client.total("/events"), 0);
}

#[test]
fn a_byte_now_and_then_does_not_lengthen_the_time_limit() {
    let server = Server::start(&[("server.request_timeout", r#""1s""#)]);
    let client = server.client();
    let head = client.raw_head("POST", "/api/v1/events");
    for beginning in [
        "GET /api/v1/webhooks HTTP/1.1\r\nX-Slow: ".to_owned(),
        format!("{head}Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"),
    ] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(beginning.as_bytes()).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let dripping = std::thread::spawn(move || {
            while writer.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let answer = rest(&mut stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{beginning:?} got {answer}");
        drop(stream);
        dripping.join().unwrap();
    }
}

#[test]
fn whoever_never_reads_is_not_answered_into_memory() {
    let server = Server::start(&[]);
    let client = server.client();
    let one = format!("{}\r\n", client.raw_head("GET", "/api/v1/event-types"));
    let many = one.repeat(100);
    let before_kib = resident_kib(&server);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut sent = 0;
    // Until the server takes no more: it does not read on while its answers are not taken.
    while sent < 1_000_000 && stream.write_all(many.as_bytes()).is_ok() {
        sent += 100;
    }
    assert!(sent < 1_000_000, "a million requests were taken without one answer being read");
    client.get("/webhooks").expect(200);
    let held_kib = resident_kib(&server).saturating_sub(before_kib);
    assert!(held_kib < 16 * 1024, "{held_kib} KiB are held for one caller");
}
