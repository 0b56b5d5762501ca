//! A name with several addresses is delivered to for as long as one of them answers, and followed when it moves.

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs as _},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::harness::{
    Authority, BlackHole, Client, NameServer, Receiver, Reply, Server, clock_in, eventually, hosts, on_an_island,
};

const PORT: u16 = 8080;
/// Names of which the first address is a black hole.
const FIRSTS: u8 = 4;

/// What `/etc/hosts` says of a name, and its addresses in the order in which the C library gives them.
fn named(addresses: impl Iterator<Item = IpAddr>) -> Vec<SocketAddr> {
    let mut lines = String::new();
    for address in addresses {
        writeln!(lines, "{address} many.example").unwrap();
    }
    hosts(&lines);
    ("many.example", PORT).to_socket_addrs().unwrap().collect()
}

fn loopback(count: u8) -> impl Iterator<Item = IpAddr> {
    (1..=count).map(|last| IpAddr::from([127, 0, 1, last]))
}

/// Publishes one event, waits until it has arrived, and gives its attempts.
fn attempts(client: &Client, entry: u64) -> Vec<Value> {
    let event = client.publish("clock_in", &clock_in(entry));
    client.settled(&event, "delivered")["attempts"].as_array().unwrap().clone()
}

/// Publishes one event, which arrives with its first attempt, and gives how long that took.
#[track_caller]
fn only_attempt(client: &Client, entry: u64) -> Duration {
    let attempts = attempts(client, entry);
    assert_eq!(attempts.len(), 1, "{attempts:#?}");
    Duration::from_millis(attempts[0]["duration_ms"].as_u64().unwrap())
}

/// A receiver that ends each connection after its answer, so that every delivery makes a new one.
fn of_one_request(address: SocketAddr) -> Receiver {
    let receiver = Receiver::at(&address.to_string());
    receiver.rule(|_| Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()));
    receiver
}

#[test]
fn with_the_first_of_two_addresses_black_holed_the_first_attempt_arrives_soon_and_the_next_at_once() {
    on_an_island(
        "receivers::addresses::with_the_first_of_two_addresses_black_holed_the_first_attempt_arrives_soon_and_the_next_at_once",
        || {
            // One of many first attempts is enough, because a machine may stand still for a while.
            let mut lines = String::new();
            let pairs: Vec<[IpAddr; 2]> =
                (1..=FIRSTS).map(|name| [1, 2].map(|last| IpAddr::from([127, 0, name, last]))).collect();
            for (name, pair) in pairs.iter().enumerate() {
                for address in pair {
                    writeln!(lines, "{address} {name}.example").unwrap();
                }
            }
            hosts(&lines);
            let order = |name: usize| -> Vec<SocketAddr> {
                (format!("{name}.example"), PORT).to_socket_addrs().unwrap().collect()
            };
            let _holes: Vec<BlackHole> = (0..pairs.len()).map(|name| BlackHole::at(order(name)[0])).collect();
            let _receivers: Vec<Receiver> = (0..pairs.len()).map(|name| of_one_request(order(name)[1])).collect();
            let server = Server::start(&[("delivery.timeout", r#""60s""#)]);
            let client = server.client();
            let (mut first, mut next) = (Vec::new(), Vec::new());
            for name in 0..pairs.len() {
                let id = client.subscribe(&format!("http://{name}.example:{PORT}/"), &["clock_in"]).id;
                first.push(only_attempt(&client, 1));
                next.extend((2..6).map(|entry| only_attempt(&client, entry)));
                client.delete(&format!("/webhooks/{id}")).expect(200);
            }
            // In equal shares of the time limit it would be half a minute.
            assert!(first.iter().all(|duration| *duration < Duration::from_secs(15)), "{first:?}");
            assert!(first.iter().any(|duration| *duration < Duration::from_millis(1_500)), "{first:?}");
            assert!(next.iter().any(|duration| *duration < Duration::from_millis(200)), "{next:?}");
        },
    );
}

#[test]
fn every_address_is_tried_however_many_there_are() {
    on_an_island("receivers::addresses::every_address_is_tried_however_many_there_are", || {
        let order = named(loopback(100));
        assert_eq!(order.len(), 100);
        let _receiver = Receiver::at(&order[99].to_string());
        let server = Server::start(&[]);
        let client = server.client();
        client.subscribe(&format!("http://many.example:{PORT}/"), &["clock_in"]);
        assert_eq!(attempts(&client, 1).len(), 1);
    });
}

#[test]
fn an_address_that_takes_the_connection_and_stays_silent_is_tried_last_next_time() {
    on_an_island(
        "receivers::addresses::an_address_that_takes_the_connection_and_stays_silent_is_tried_last_next_time",
        || {
            let order = named(loopback(20));
            // The system accepts for it; it never says a word.
            let _silent: Vec<TcpListener> =
                order[..2].iter().map(|address| TcpListener::bind(address).unwrap()).collect();
            let _receivers: Vec<Receiver> = order[2..].iter().map(|address| of_one_request(*address)).collect();
            let waits = format!("{:?}", ["1s"; 20]);
            let server = Server::start(&[("delivery.timeout", r#""1s""#), ("delivery.retry_schedule", &waits)]);
            let client = server.client();
            client.subscribe(&format!("http://many.example:{PORT}/"), &["clock_in"]);
            let first = attempts(&client, 1);
            assert!(first.iter().any(|attempt| attempt["status"] == "failed"), "{first:#?}");
            // From now on both are the last. One of some deliveries is enough, because a machine may stand still for a while.
            assert!((2..6).any(|entry| attempts(&client, entry).len() == 1), "they are tried first again");
        },
    );
}

#[test]
fn a_name_with_too_many_addresses_is_refused_in_words() {
    on_an_island("receivers::addresses::a_name_with_too_many_addresses_is_refused_in_words", || {
        let order = named((0..10_000_u16).map(|number| {
            let [high, low] = number.to_be_bytes();
            IpAddr::from([127, 1, high, low])
        }));
        assert_eq!(order.len(), 10_000);
        let server = Server::start(&[("delivery.retry_schedule", "[]")]);
        let client = server.client();
        client.subscribe(&format!("http://many.example:{PORT}/"), &["clock_in"]);
        let event = client.publish("clock_in", &clock_in(1));
        let cause = client.settled(&event, "exhausted")["attempts"][0]["error"].as_str().unwrap().to_owned();
        assert!(cause.contains("many.example has more than 256 addresses; "), "{cause}");
    });
}

#[test]
fn a_name_that_moves_is_followed_under_steady_traffic() {
    on_an_island("receivers::addresses::a_name_that_moves_is_followed_under_steady_traffic", || {
        let place = Arc::new(AtomicU8::new(2));
        let placed = Arc::clone(&place);
        let _name_server =
            NameServer::start(move |_, _| Some(vec![IpAddr::from([127, 0, 0, placed.load(Ordering::SeqCst)])]));
        let at = |last: u8| Receiver::at(&format!("127.0.0.{last}:{PORT}"));
        let server = Server::start(&[]);
        let client = server.client();
        client.subscribe(&format!("http://moving.example:{PORT}/"), &["clock_in"]);
        let (mut old, mut entry) = (at(2), 1);
        attempts(&client, entry);
        assert_eq!(old.requests().len(), 1);
        // One move is enough, because a machine may stand still for a while.
        let is_soon = (3..6).any(|last| {
            let new = at(last);
            place.store(last, Ordering::SeqCst);
            let begun = Instant::now();
            eventually("the new address is used", || {
                entry += 1;
                attempts(&client, entry);
                (!new.requests().is_empty()).then_some(())
            });
            let took = begun.elapsed();
            let before = old.requests().len();
            entry += 1;
            attempts(&client, entry);
            assert_eq!(old.requests().len(), before, "nothing goes to the old address any more");
            old = new;
            took < Duration::from_secs(10)
        });
        assert!(is_soon, "within ten seconds");
    });
}

/// The URL of a receiver that serves one connection at a time, each until its other side ends it.
fn one_at_a_time(tls: Option<Arc<ServerConfig>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://localhost:{}/", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            match &tls {
                None => answer_all(&mut stream),
                Some(config) => {
                    let session = ServerConnection::new(Arc::clone(config)).unwrap();
                    answer_all(&mut StreamOwned::new(session, stream));
                }
            }
        }
    });
    url
}

/// Answers each request, which comes in pieces of any length, until the connection ends.
fn answer_all(stream: &mut (impl Read + Write)) {
    let (mut request, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        request.extend_from_slice(&piece[..count]);
        // An event ends so, and nothing else does.
        if request.ends_with(b"}}") {
            request.clear();
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").and(stream.flush()).is_err() {
                return;
            }
        }
    }
}

/// Delivers a burst to a receiver that serves one connection at a time, and a ping.
fn does_not_starve(is_tls: bool) {
    let authority = Authority::new();
    let mut server = Server::stopped(&[("delivery.timeout", r#""60s""#)]);
    let file = format!("'{}'", authority.write_to(server.folder()).display());
    server.configure(&[("delivery.ca_certificates", &file)]);
    server.launch();
    let client = server.client();
    let url = one_at_a_time(is_tls.then(|| Arc::new(authority.identity("localhost", |_| {}).server_config())));
    // The second is another endpoint with the same server.
    let all = [client.subscribe(&url, &["clock_in"]), client.subscribe(&url, &["clock_in"])];
    let begun = Instant::now();
    let events: Vec<_> = (0..8).map(|entry| client.publish("clock_in", &clock_in(entry))).collect();
    for id in events.iter().flat_map(|event| client.delivery_ids(event)) {
        let delivery = client.wait_for_delivery(&id, "is delivered", |delivery| delivery["status"] == "delivered");
        assert_eq!(delivery["attempt_count"], 1, "{delivery:#}");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "that is how long a connection is kept");
    let ping = client.post(&format!("/webhooks/{}/test", all[0].id), &json!({ "verify": true })).expect(200);
    assert_eq!(ping.data()["success"], true, "{}", ping.text);
}

#[test]
fn a_receiver_that_serves_one_plain_connection_at_a_time_does_not_starve_behind_a_kept_one() {
    does_not_starve(false);
}

#[test]
fn a_receiver_that_serves_one_tls_connection_at_a_time_does_not_starve_behind_a_kept_one() {
    does_not_starve(true);
}

#[test]
fn a_connection_that_the_receiver_says_it_will_close_at_once_is_not_kept() {
    let server = Server::start(&[]);
    let client = server.client();
    for (says, connections) in [("timeout=60, max=100", 1), ("timeout=1", 3)] {
        let receiver = Receiver::answering(move |_| Reply::with(200, &[("Keep-Alive", says)], "taken"));
        let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]);
        for entry in 1..=3 {
            assert_eq!(attempts(&client, entry).len(), 1);
        }
        assert_eq!(receiver.connections(), connections, "{says}");
        client.delete(&format!("/webhooks/{}", subscription.id)).expect(200);
    }
}

#[test]
fn doctor_tries_the_addresses_of_a_name_as_deliveries_do() {
    on_an_island("receivers::addresses::doctor_tries_the_addresses_of_a_name_as_deliveries_do", || {
        let order = named(loopback(8));
        let _holes: Vec<BlackHole> = order[..5].iter().map(|address| BlackHole::at(*address)).collect();
        let _receiver = of_one_request(order[7]);
        let server = Server::start(&[]);
        let output = server.cli(&["doctor", "--json", "--host", &format!("http://many.example:{PORT}")]);
        let found: Value = serde_json::from_str(&output.stdout).unwrap();
        let is_connected = |finding: &Value| finding["check"] == "connection" && finding["level"] == "ok";
        assert!(found["data"].as_array().unwrap().iter().any(is_connected), "{found:#}");
    });
}
