//! Callers that hold connections, send slowly or never read take little, and others are served beside them.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Resource, getrlimit};

use crate::harness::{PATIENCE, Receiver, Reply, Server, eventually};
use crate::operate::service::{ask, connect, exchange, with_tls};

fn open_files(server: &Server) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count()
}

/// Reads until the server ends the connection, and gives what came.
pub fn rest(stream: &mut TcpStream) -> String {
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
    let (before_kib, files) = (server.resident_kib(), open_files(&server));
    // What a wave leaves is used by the next one.
    for wave in 1..=2 {
        let idle: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
        eventually("all connections are taken in", || (open_files(&server) >= count).then_some(()));
        client.get("/webhooks").expect(200);
        let held_kib = server.resident_kib() - before_kib;
        println!("{count} idle connections take {held_kib} KiB in wave {wave}");
        // No buffer before anything has come.
        assert!(held_kib < count as u64 * 3 + 4096, "{count} idle connections take {held_kib} KiB in wave {wave}");
        drop(idle);
        eventually("all connections are let go", || (open_files(&server) < files + 100).then_some(()));
    }
    client.get("/webhooks").expect(200);
}

#[test]
fn a_connection_that_says_nothing_is_closed_after_the_time_limit_and_does_not_hold_up_a_stop() {
    let mut server = Server::start(&[("server.request_timeout", r#""1s""#)]);
    let mut silent = TcpStream::connect(server.address()).unwrap();
    assert_eq!(rest(&mut silent), "");
    server.configure(&[("server.request_timeout", r#""10m""#), ("delivery.drain", r#""10m""#)]);
    assert!(server.terminate().success());
    server.launch();
    let mut silent = TcpStream::connect(server.address()).unwrap();
    server.client().get("/healthz").expect(200);
    assert!(server.terminate().success());
    assert_eq!(rest(&mut silent), "");
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
        let dripping = thread::spawn(move || {
            while writer.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let answer = rest(&mut stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{beginning:?} got {answer}");
        drop(stream);
        dripping.join().unwrap();
    }
}

#[test]
fn a_slow_head_is_cut_off_behind_an_answered_request_too() {
    let server = Server::start(&[("server.request_timeout", r#""5s""#), ("server.workers", "1")]);
    for interval in [None, Some(Duration::from_millis(50))] {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = [0; 16];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK\r");
        // The only worker is done with this connection when it answers on another: what follows gets a turn of its own.
        server.stranger().send("GET", "/healthz", &[], None).expect(200);
        stream.write_all(b"GET /healthz HTTP/1.1\r\nX-Slow: ").unwrap();
        let mut writer = stream.try_clone().unwrap();
        let dripping = thread::spawn(move || {
            if let Some(interval) = interval {
                while writer.write_all(b" ").is_ok() {
                    thread::sleep(interval);
                }
            }
        });
        assert!(!rest(&mut stream).contains("HTTP/1.1 "), "half a head is not answered");
        drop(stream);
        dripping.join().unwrap();
    }
}

#[test]
fn half_a_head_that_came_with_a_whole_request_is_cut_off_too() {
    let server = Server::start(&[("server.request_timeout", r#""5s""#)]);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /healthz HTTP/1.1\r\nX-Slow: ").unwrap();
    assert_eq!(rest(&mut stream).matches("HTTP/1.1 200 ").count(), 1);
}

#[test]
fn an_answer_that_takes_longer_than_a_head_may_is_waited_for() {
    let server = Server::start(&[("delivery.timeout", r#""10s""#), ("server.request_timeout", r#""5s""#)]);
    let client = server.client();
    let receiver = Receiver::first([Reply::Hang]);
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let ping = client.raw_head("POST", &format!("/api/v1/webhooks/{id}/test"));
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(format!("{ping}\r\n").as_bytes()).unwrap();
    receiver.wait_for(1, "the ping");
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let answers = rest(&mut stream);
    assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 2, "{answers}");
}

/// What Linux counts the time of processes in, on every machine.
const TICKS_PER_SECOND: u64 = 100;

/// How long the server's threads have run so far.
fn cpu_time(server: &Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).unwrap();
    // The name of the program stands in parentheses; time in user and in kernel mode are the 12th and 13th after it.
    let after = stat.rsplit_once(") ").unwrap().1;
    let ticks: u64 = after.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// Sends requests until the server takes no more of them.
fn send_without_reading(stream: &mut impl Write, one: &str) {
    let many = one.repeat(16 * 1024 / one.len() + 1);
    let mut sent_bytes = 0;
    while stream.write_all(many.as_bytes()).is_ok() {
        sent_bytes += many.len();
        assert!(sent_bytes < 64 << 20, "{sent_bytes} bytes were taken without one answer being read");
    }
}

/// How long a server that takes nothing more is waited for.
const FULL: Option<Duration> = Some(Duration::from_millis(500));

fn caller_that_never_reads(server: &Server, one: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_write_timeout(FULL).unwrap();
    send_without_reading(&mut stream, one);
    stream
}

/// Waits until there is a second or more in which the server has hardly anything to do.
fn wait_until_it_rests(server: &Server) {
    let mut since = (Instant::now(), cpu_time(server));
    eventually("the server rests", || {
        let (now, worked) = (Instant::now(), cpu_time(server));
        let passed = now - since.0;
        if passed < Duration::from_secs(1) {
            return None;
        }
        let share = worked.saturating_sub(since.1).as_secs_f64() / passed.as_secs_f64();
        since = (now, worked);
        (share < 0.05).then_some(())
    });
}

/// Callers that send requests of several kinds and never read.
fn callers_that_never_read(server: &Server) -> Vec<TcpStream> {
    let with_key = format!("{}\r\n", server.client().raw_head("GET", "/api/v1/event-types"));
    let requests = [
        "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /api/v1/webhooks HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
        &with_key,
    ];
    thread::scope(|scope| {
        let senders: Vec<_> =
            requests.iter().cycle().take(16).map(|one| scope.spawn(|| caller_that_never_reads(server, one))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    })
}

#[test]
fn whoever_never_reads_costs_little_memory_and_hardly_any_work() {
    let server = Server::start(&[("server.request_timeout", r#""10m""#), ("storage.cache", r#""8MiB""#)]);
    let client = server.client();
    client.get("/webhooks").expect(200);
    let before_kib = server.resident_kib();
    let callers = callers_that_never_read(&server);
    let held_kib = server.resident_kib().saturating_sub(before_kib);
    println!("{} callers that never read hold {held_kib} KiB", callers.len());
    assert!(held_kib < 512 * callers.len() as u64, "{held_kib} KiB are held for {} callers", callers.len());
    // What they had sent takes a while to be answered; after that there is nothing to do.
    wait_until_it_rests(&server);
    assert!(open_files(&server) > callers.len(), "they are still connected");
    client.get("/webhooks").expect(200);
}

#[test]
fn whoever_sends_on_while_an_answer_takes_its_time_costs_hardly_any_work() {
    let server = Server::start(&[("delivery.timeout", r#""10m""#), ("server.request_timeout", r#""10m""#)]);
    let client = server.client();
    let receiver = Receiver::first([Reply::Hang]);
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let ping = client.raw_head("POST", &format!("/api/v1/webhooks/{id}/test"));
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_write_timeout(FULL).unwrap();
    stream.write_all(format!("{ping}\r\n").as_bytes()).unwrap();
    receiver.wait_for(1, "the ping");
    send_without_reading(&mut stream, "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_until_it_rests(&server);
    stream.set_nonblocking(true).unwrap();
    let nothing = stream.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "the ping is still under way");
    client.get("/webhooks").expect(200);
}

#[test]
fn whoever_never_reads_is_cut_off() {
    let server = Server::start(&[("server.request_timeout", r#""1s""#)]);
    server.client().get("/webhooks").expect(200);
    let files = open_files(&server);
    let callers = callers_that_never_read(&server);
    eventually("they are cut off", || (open_files(&server) <= files).then_some(()));
    server.client().get("/webhooks").expect(200);
    drop(callers);
}

#[test]
fn whoever_never_reads_over_tls_is_cut_off_too() {
    let mut server = Server::stopped(&[("server.request_timeout", r#""5s""#)]);
    let certificate = exchange(&server);
    with_tls(&mut server);
    server.launch();
    // What the server opens once and keeps is open now.
    ask(&mut connect(&server, &[&certificate]));
    let files = open_files(&server);
    let mut stream = connect(&server, &[&certificate]);
    ask(&mut stream);
    stream.sock.set_write_timeout(FULL).unwrap();
    send_without_reading(&mut stream, "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n");
    eventually("it is cut off", || (open_files(&server) <= files).then_some(()));
    ask(&mut connect(&server, &[&certificate]));
}

#[test]
fn whoever_reads_slowly_gets_everything() {
    let server = Server::start(&[("server.request_timeout", r#""3s""#)]);
    let count = 200;
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sending = thread::spawn(move || {
        let one = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";
        let last = "GET /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        writer.write_all((one.repeat(count - 1) + last).as_bytes()).unwrap();
    });
    let mut read = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    let begun = Instant::now();
    loop {
        let bytes = stream.read(&mut buffer).unwrap();
        if bytes == 0 {
            break;
        }
        read.extend_from_slice(&buffer[..bytes]);
        // Longer in all than the time limit, but never without taking something within it.
        if begun.elapsed() < Duration::from_secs(6) {
            thread::sleep(Duration::from_millis(100));
        }
    }
    sending.join().unwrap();
    assert_eq!(String::from_utf8(read).unwrap().matches("HTTP/1.1 200 OK").count(), count);
}

/// A connection whose one request was answered.
fn answered(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut beginning = [0; 15];
    stream.read_exact(&mut beginning).unwrap();
    assert_eq!(&beginning, b"HTTP/1.1 200 OK");
    stream
}

#[test]
fn a_connection_without_a_request_is_kept_for_as_long_as_configured_and_holds_up_no_stop() {
    let server = Server::start(&[("server.keep_alive", r#""2s""#)]);
    let begun = Instant::now();
    rest(&mut answered(&server));
    // The HTTP library's own clock moves twice a second.
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());

    let mut server = Server::start(&[("server.keep_alive", r#""1h""#), ("delivery.drain", r#""10m""#)]);
    let mut idle = answered(&server);
    assert!(server.terminate().success());
    rest(&mut idle);
}
