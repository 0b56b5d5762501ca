//! Every answer that curl reads is read, over plain HTTP and over TLS, and requests go out as they are documented.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::harness::{Authority, Client, SENT_HEADERS, ScriptedReceiver, Server, Step, clock_in};

/// A server that trusts the authority and tries once.
fn server(authority: &Authority) -> (Server, Client) {
    let mut server = Server::stopped(&[("delivery.retry_schedule", "[]")]);
    let file = format!("'{}'", authority.write_to(server.folder()).display());
    server.configure(&[("delivery.ca_certificates", &file)]);
    server.launch();
    let client = server.client();
    (server, client)
}

fn tls(authority: &Authority, is_tls: bool) -> Option<Arc<ServerConfig>> {
    is_tls.then(|| Arc::new(authority.identity("localhost", |_| {}).server_config()))
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// The URL of a receiver that does so with each connection, and then closes it, whatever it has not read.
fn receiver(tls: Option<Arc<ServerConfig>>, act: impl Fn(&mut dyn Stream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://localhost:{}/hook", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Otherwise an answer behind the end of a handshake waits, and is lost when the connection is closed.
            stream.set_nodelay(true).unwrap();
            match &tls {
                None => act(&mut stream),
                Some(config) => {
                    let session = ServerConnection::new(Arc::clone(config)).unwrap();
                    act(&mut StreamOwned::new(session, stream));
                }
            }
        }
    });
    url
}

fn whole(lines: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok").into_bytes()
}

fn chunked(extension: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2{extension}\r\nok\r\n0\r\n\r\n").into_bytes()
}

fn after(interim: &str, answer: &[u8]) -> Vec<u8> {
    [interim.as_bytes(), answer].concat()
}

/// What curl 7.88 reads as a whole answer with 200.
fn answers() -> Vec<(&'static str, Vec<u8>)> {
    let with_date = "HTTP/1.1 100 Continue\r\nDate: Mon, 02 Mar 2026 07:58:00 GMT\r\nServer: akka-http\r\n\r\n";
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let large = [b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n".to_vec(), vec![b'x'; 40_000]].concat();
    let many = "X-Many: 1\r\n".repeat(300);
    let folded = "Content-Security-Policy: default-src 'self';\r\n    img-src *\r\n";
    vec![
        ("100 with fields", after(with_date, &whole(""))),
        ("three interim answers", after(&[with_date, hints, "HTTP/1.1 102 Processing\r\n\r\n"].concat(), &whole(""))),
        ("an interim answer before a large body", after(hints, &large)),
        ("100 before a large body", after("HTTP/1.1 100 Continue\r\n\r\n", &large)),
        ("an extension of 18 bytes", chunked(";sig=0123456789abcd")),
        ("an extension of 15,000 bytes", chunked(&format!("; sig=\"{}\"", "s".repeat(15_000)))),
        ("a folded line", whole(folded)),
        ("a line folded at its begin", whole("X-Long:\r\n\ta\r\n")),
        ("a space before a colon", whole("X-Name : 1\r\n")),
        ("a space in a name", whole("X Y: 1\r\n")),
        ("a warning of PHP", whole("PHP Warning:  Module x is already loaded\r\n")),
        ("300 headers", whole(&many)),
        ("two equal lengths", whole("Content-Length: 2\r\n")),
        ("a list of equal lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok".to_vec()),
        ("bare line feeds", b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n".to_vec()),
    ]
}

fn all_are_delivered(is_tls: bool) {
    let authority = Authority::new();
    let (_server, client) = server(&authority);
    let all = answers();
    let sent: Vec<_> = all.iter().map(|(_, bytes)| bytes.clone()).collect();
    let receiver = ScriptedReceiver::start(tls(&authority, is_tls), move |entry| {
        vec![Step::Send(sent[usize::try_from(entry).unwrap()].clone())]
    });
    client.subscribe(receiver.url(), &["clock_in"]);
    for (number, (what, _)) in (0..).zip(&all) {
        let event = client.publish("clock_in", &clock_in(number));
        let delivery = client.wait_for_delivery(&client.delivery_ids(&event)[0], "is settled", is_settled);
        assert_eq!(delivery["status"], "delivered", "{what}: {delivery:#}");
        assert_eq!(delivery["attempts"][0]["response_code"], 200, "{what}");
    }
    assert_eq!(receiver.connections(), 1, "each was read to its end");
}

fn is_settled(delivery: &Value) -> bool {
    delivery["status"] != "pending"
}

#[test]
fn all_that_curl_reads_over_plain_http_is_delivered() {
    all_are_delivered(false);
}

#[test]
fn all_that_curl_reads_over_tls_is_delivered() {
    all_are_delivered(true);
}

#[test]
fn an_answer_that_is_none_ends_soon_with_its_cause_and_its_connection() {
    const TOO_LONG: &str =
        "the endpoint answered 200, but the answer's headers are longer than 16 KiB, or more than 512; ";
    const TOO_MANY: &str = "the answer's headers are longer than 16 KiB, or too many; ";
    const BROKEN: &str = "the endpoint answered 200, but the rest of the answer is not valid HTTP";
    let chunk = |size: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\n").into_bytes();
    let cases: [(Vec<u8>, &str); 8] = [
        (
            whole("Content-Length: 3\r\n"),
            "the endpoint answered 200, but the answer is not valid HTTP: it has two different values of Content-Length, 3 and 2; ",
        ),
        (whole(&format!("X-Long: {}\r\n", "x".repeat(1_000_000))), TOO_LONG),
        (after(&"HTTP/1.1 102 Processing\r\n\r\n".repeat(1_000), &whole("")), TOO_MANY),
        (chunk("10000000000000000"), BROKEN),
        (chunk(&format!("2;{}", "x".repeat(20_000))), BROKEN),
        (
            whole("Content-Length 2\r\n"),
            r#"the endpoint answered 200, but the answer is not valid HTTP: a header line has no colon: "Content-Length 2"; "#,
        ),
        (
            whole("X-Good: 1\r\nX-Bad: \0\r\n"),
            r#"the endpoint answered 200, but the answer is not valid HTTP: header line 2 is not valid HTTP: "X-Bad: \u{0}"; "#,
        ),
        (
            b"220 mail.example ESMTP Postfix\r\n".to_vec(),
            r#"the answer is not valid HTTP (its first line is "220 mail.example ESMTP Postfix"); "#,
        ),
    ];
    for is_tls in [false, true] {
        let authority = Authority::new();
        let (_server, client) = server(&authority);
        let sent: Vec<_> = cases.iter().map(|(bytes, _)| bytes.clone()).collect();
        let receiver = ScriptedReceiver::start(tls(&authority, is_tls), move |entry| {
            sent[usize::try_from(entry).unwrap()].chunks(16_000).map(|piece| Step::Send(piece.to_vec())).collect()
        });
        client.subscribe(receiver.url(), &["clock_in"]);
        for (number, (_, cause)) in (0..).zip(&cases) {
            let event = client.publish("clock_in", &clock_in(number));
            let delivery = client.settled(&event, "exhausted");
            let attempts = delivery["attempts"].as_array().unwrap();
            assert_eq!(attempts.len(), 1, "{delivery:#}");
            assert!(attempts[0]["error"].as_str().unwrap().starts_with(cause), "{cause}: {delivery:#}");
        }
        assert_eq!(receiver.connections(), cases.len());
    }
}

fn early_answers_count(is_tls: bool) {
    let authority = Authority::new();
    let (_server, client) = server(&authority);
    let turn = Mutex::new(0);
    let url = receiver(tls(&authority, is_tls), move |stream| {
        let mut turn = turn.lock().unwrap();
        *turn += 1;
        stream.read_exact(&mut [0; 2048]).unwrap();
        let status = if *turn % 2 == 0 { "200 OK" } else { "413 Content Too Large" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        stream.write_all(answer.as_bytes()).unwrap();
        stream.flush().unwrap();
    });
    client.subscribe(&url, &["clock_in"]);
    for number in 1..=20 {
        let mut data = clock_in(number);
        data["note"] = "x".repeat(200_000).into();
        let event = client.publish("clock_in", &data);
        let (status, code) = if number % 2 == 0 { ("delivered", 200) } else { ("exhausted", 413) };
        let delivery = client.settled(&event, status);
        let attempts = delivery["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 1, "{delivery:#}");
        assert_eq!(attempts[0]["response_code"], code, "{delivery:#}");
    }
}

#[test]
fn what_a_receiver_answers_before_it_has_read_the_body_counts_over_plain_http() {
    early_answers_count(false);
}

#[test]
fn what_a_receiver_answers_before_it_has_read_the_body_counts_over_tls() {
    early_answers_count(true);
}

/// A server that takes events that no kernel buffers, and whose attempts may last longer than the test.
fn server_of_large_events(authority: &Authority) -> (Server, Client) {
    let mut server = Server::stopped(&[
        ("delivery.retry_schedule", "[]"),
        ("delivery.timeout", r#""60s""#),
        ("limits.event_bytes", r#""8MiB""#),
    ]);
    let file = format!("'{}'", authority.write_to(server.folder()).display());
    server.configure(&[("delivery.ca_certificates", &file)]);
    server.launch();
    let client = server.client();
    (server, client)
}

/// More than the kernel takes for a receiver that does not read.
const LARGE_BYTES: usize = 5_000_000;

/// A receiver that answers so when it has read the head, and then does that.
fn answering_early(
    tls: Option<Arc<ServerConfig>>,
    answer: &'static str,
    then: impl Fn(&mut dyn Stream) + Send + 'static,
) -> String {
    receiver(tls, move |stream| {
        stream.read_exact(&mut [0; 2048]).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        stream.flush().unwrap();
        then(stream);
    })
}

/// Publishes a large event, and gives the only attempt for each subscription, in their order.
fn attempts_of_a_large_event(client: &Client) -> Vec<Value> {
    let mut data = clock_in(1);
    data["note"] = "x".repeat(LARGE_BYTES).into();
    let event = client.publish("clock_in", &data);
    let mut ids = client.delivery_ids(&event);
    // They end with the subscription.
    ids.sort();
    let delivery = |id: &String| client.wait_for_delivery(id, "is settled", is_settled);
    let attempts = ids.iter().map(|id| delivery(id)["attempts"].as_array().unwrap().clone());
    attempts.flat_map(|attempts| <[Value; 1]>::try_from(attempts).unwrap()).collect()
}

#[test]
fn an_answer_counts_while_the_body_is_sent_to_a_receiver_that_reads_no_further_and_keeps_the_connection() {
    const ANSWERS: [(u64, &str); 2] = [
        (413, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"),
        (200, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ];
    let authority = Authority::new();
    let (_server, client) = server_of_large_events(&authority);
    let mut releases = Vec::new();
    for is_tls in [false, true] {
        for (_, answer) in ANSWERS {
            let (release, held) = mpsc::channel::<()>();
            releases.push(release);
            let url = answering_early(tls(&authority, is_tls), answer, move |_| assert!(held.recv().is_err()));
            client.subscribe(&url, &["clock_in"]);
        }
    }
    let attempts = attempts_of_a_large_event(&client);
    for (attempt, (code, _)) in attempts.iter().zip([ANSWERS, ANSWERS].as_flattened()) {
        assert_eq!(attempt["response_code"], *code, "{attempt:#}");
        assert_eq!(attempt["status"] == "delivered", *code == 200, "{attempt:#}");
    }
    drop(releases);
}

#[test]
fn a_receiver_that_accepts_an_event_before_it_reads_it_still_gets_all_of_it() {
    let authority = Authority::new();
    let (_server, client) = server_of_large_events(&authority);
    let (report, read) = mpsc::channel();
    for is_tls in [false, true] {
        let report = report.clone();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let url = answering_early(tls(&authority, is_tls), answer, move |stream| {
            let (mut bytes, mut piece) = (2048, vec![0; 1 << 16]);
            while bytes < LARGE_BYTES {
                bytes += stream.read(&mut piece).ok().filter(|count| *count > 0).expect("there is more");
            }
            report.send(bytes).unwrap();
        });
        client.subscribe(&url, &["clock_in"]);
    }
    let attempts = attempts_of_a_large_event(&client);
    assert!(attempts.iter().all(|attempt| attempt["status"] == "delivered"), "{attempts:#?}");
    assert!(read.iter().take(2).all(|bytes| bytes > LARGE_BYTES));
}

#[test]
fn header_names_are_sent_as_they_are_documented() {
    for is_tls in [false, true] {
        let authority = Authority::new();
        let (_server, client) = server(&authority);
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        let url = receiver(tls(&authority, is_tls), move |stream| {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            seen.lock().unwrap().push(String::from_utf8(head).unwrap());
            stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
            stream.flush().unwrap();
        });
        client.subscribe(&url, &["clock_in"]);
        let event = client.publish("clock_in", &clock_in(1));
        client.settled(&event, "delivered");
        let heads = heads.lock().unwrap();
        let [head] = &heads[..] else { panic!("{heads:?}") };
        let names: Vec<_> = head.lines().skip(1).filter_map(|line| Some(line.split_once(": ")?.0)).collect();
        assert_eq!(names, SENT_HEADERS, "{head}");
        assert!(head.starts_with("POST /hook HTTP/1.1\r\nHost: localhost:"), "{head}");
    }
}
