//! Requests to the whole API, made of right and wrong parts by chance that is the same in every run. `FUZZ_CASES` says
//! how many, in all.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::thread;

use crate::changes::{Numbers, cases, changed, corpus};
use crate::harness::{ALL_SCOPES, PATIENCE, Server};

const CASES: u64 = 3_000;
/// So many ask at the same time, each the same in every run.
const LANES: u64 = 8;
/// By how much the server's memory may grow after the first quarter of the requests, however many there are.
const GROWTH_KIB: u64 = 24 * 1024;
/// What the documents say that can be answered, 503 for a full queue left out.
const DOCUMENTED: [u16; 13] = [200, 201, 202, 400, 401, 403, 404, 405, 408, 409, 413, 415, 429];
const METHODS: [&str; 11] = ["GET", "GET", "POST", "POST", "POST", "PUT", "PUT", "DELETE", "HEAD", "OPTIONS", "BREW"];
const PATHS: [&str; 21] = [
    "/webhooks",
    "/webhooks/1",
    "/webhooks/2",
    "/webhooks/1/deliveries",
    "/webhooks/-1",
    "/webhooks.php",
    "/webhooks.php?id=1",
    "/events",
    "/events",
    "/events/batch",
    "/events/evt_00000000000000000000000000000000",
    "/deliveries",
    "/deliveries/dlv_0000000000000000000000000000000000000001",
    "/deliveries/dlv_0000000000000000000000000000000000000001/retry",
    "/deliveries/retry",
    "/webhooks/1/replay",
    "/webhooks/1/secret",
    "/webhooks/1/match",
    "/jobs",
    "/jobs/job_00000000000000000000000000000001",
    "/event-types",
];
const QUERIES: [&str; 14] = [
    "limit=1",
    "limit=0",
    "limit=99999999999999999999",
    "offset=18446744073709551615",
    "cursor=evt_0",
    "since=2026-03-02T08:00:00Z",
    "until=now",
    "status=pending",
    "event=clock_in",
    "event=%00%ff",
    "subscription=1",
    "response_code=200",
    "worker_id=52",
    "tag=%00%ff",
];
const CONTENT_TYPES: [&str; 5] =
    ["application/json", "application/json; charset=utf-8", "application/x+json", "text/plain", "application/json;;"];

fn pick<T: Copy>(from: &[T], numbers: &mut Numbers) -> T {
    from[numbers.below(from.len())]
}

fn request(key: &str, bodies: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let method = pick(&METHODS, numbers);
    let mut path = pick(&PATHS, numbers).to_owned();
    for _ in 0..numbers.below(3) {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str(pick(&QUERIES, numbers));
    }
    let mut head = format!("{method} /api/v1{path} HTTP/1.1\r\nHost: fuzz\r\nConnection: close\r\n");
    if numbers.below(20) > 0 {
        write!(head, "Authorization: Bearer {key}\r\n").unwrap();
    }
    if numbers.below(10) > 0 {
        write!(head, "Content-Type: {}\r\n", pick(&CONTENT_TYPES, numbers)).unwrap();
    }
    if numbers.below(4) == 0 {
        write!(head, "Idempotency-Key: {}\r\n", numbers.below(5)).unwrap();
    }
    let body = match numbers.below(2) {
        0 => bodies[numbers.below(bodies.len())].clone(),
        _ => changed(bodies, numbers),
    };
    if numbers.below(3) > 0 {
        write!(head, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
        [head.as_bytes(), &body].concat()
    } else {
        write!(head, "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len()).unwrap();
        [head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat()
    }
}

/// The status of the first answer, if there is one before the server hangs up.
fn ask(server: &Server, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // What is refused early is not read to its end.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut read = Vec::new();
    match stream.read_to_end(&mut read) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{:?} leaves the connection open: {error}", String::from_utf8_lossy(request)),
    }
    let text = String::from_utf8_lossy(&read);
    text.strip_prefix("HTTP/1.1 ").map(|rest| rest[..3].parse().unwrap())
}

#[test]
fn no_request_is_answered_with_what_is_not_documented() {
    let server = Server::start(&[
        ("delivery.allow_networks", r#"["127.0.0.0/8"]"#),
        ("limits.subscriptions_per_account", "20"),
        ("delivery.retry_schedule", "[]"),
        ("storage.cache", r#""8MiB""#),
    ]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    client.subscribe("http://127.0.0.1:9/", &["*"]);
    let bodies = [corpus("publish"), corpus("subscription"), vec![b"{}".to_vec()]].concat();
    let mut lanes: Vec<_> = (0..LANES).map(Numbers::of_lane).collect();
    let answered = Mutex::new(std::collections::BTreeSet::new());
    let mut ask_all = |cases: u64| {
        thread::scope(|scope| {
            for numbers in &mut lanes {
                scope.spawn(|| {
                    for case in 0..cases / LANES {
                        let mut sent = request(&key, &bodies, numbers);
                        // Every fourth is changed as a whole, head and all.
                        if case % 4 == 0 {
                            sent = changed(&[sent], numbers);
                        }
                        let status = ask(&server, &sent);
                        let shown = String::from_utf8_lossy(&sent);
                        assert!(status.is_none_or(|status| DOCUMENTED.contains(&status)), "{status:?} to {shown:?}");
                        answered.lock().unwrap().insert(status);
                    }
                });
            }
        });
    };
    let cases = cases(CASES);
    ask_all(cases / 4);
    let settled_kib = server.resident_kib();
    ask_all(cases - cases / 4);
    let answered = answered.into_inner().unwrap();
    client.get("/webhooks").expect(200);
    let held_kib = server.resident_kib();
    println!("{settled_kib} KiB were held after a quarter of {cases} requests, {held_kib} KiB after all of them");
    assert!(held_kib < settled_kib + GROWTH_KIB, "{settled_kib} KiB became {held_kib} KiB");
    assert!(!server.log().contains("internal fault"), "{}", server.log());
    // Chance that only ever meets one refusal would prove nothing.
    for status in [200, 202, 400, 401, 404, 405, 415] {
        assert!(answered.contains(&Some(status)), "{status} is never answered: {answered:?}");
    }
}
