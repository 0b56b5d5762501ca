//! The metrics page says what happens, on a listener of its own, and never in words that a caller chose.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::TcpStream;

use serde_json::json;

use crate::clients::many::rest;
use crate::harness::{ALL_SCOPES, Client, Receiver, Reply, Server, clock_in, eventually};

/// Where the log says that the page is.
pub fn page(server: &Server) -> Client {
    let log = eventually("the log names the metrics page", || {
        let log = server.log();
        log.contains("metrics at http://").then_some(log)
    });
    let address = log.split("metrics at http://").nth(1).unwrap().split('/').next().unwrap();
    Client::elsewhere(address.parse().unwrap())
}

/// What Prometheus asks for since its version 2.5.
const NEWER: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// Reads the page over a connection of its own: one that was kept may be closed by the page just now.
fn read(page: &Client) -> String {
    // Whoever has not asked within two seconds is cut off.
    let ask = || Client::elsewhere(page.address()).try_send("GET", "/metrics", &[("Accept", NEWER)], None);
    let answer = eventually("the page answers", || ask().ok().filter(|answer| answer.status != 408)).expect(200);
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(media_type));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    answer.text
}

fn value(text: &str, sample: &str) -> u64 {
    let line = text.lines().find(|line| line.split(' ').next() == Some(sample));
    let line = line.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
    line.split(' ').nth(1).unwrap().parse().expect("a whole number")
}

#[test]
fn the_page_counts_events_attempts_and_what_is_pending() {
    let server = Server::start(&[("server.metrics_listen", "\"127.0.0.1:0\""), ("log.level", "\"info\"")]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::first([Reply::status(503)]);
    let subscription = client.subscribe(&receiver.url("/a-path-of-its-own"), &["clock_in"]);
    let page = page(&server);
    let before = read(&page);
    assert_eq!(value(&before, "tempclock_events_published_total"), 0);
    assert_eq!(value(&before, "tempclock_pending_deliveries"), 0);

    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "delivered");
    client.change(subscription.id, &json!({"active": false}));
    client.publish("clock_in", &clock_in(2));

    let after = read(&page);
    assert!(after.ends_with("# EOF\n"), "{after}");
    assert_eq!(value(&after, "tempclock_events_published_total"), 2);
    assert_eq!(value(&after, "tempclock_attempts_total{outcome=\"http_status\"}"), 1);
    assert_eq!(value(&after, "tempclock_attempts_total{outcome=\"delivered\"}"), 1);
    assert_eq!(value(&after, "tempclock_deliveries_delivered_total"), 1);
    assert_eq!(value(&after, "tempclock_delivery_latency_seconds_count"), 1);
    assert_eq!(value(&after, "tempclock_attempt_duration_seconds_count"), 2);
    assert_eq!(value(&after, "tempclock_pending_deliveries"), 1);
    assert_eq!(value(&after, "tempclock_subscriptions{state=\"disabled\"}"), 1);
    assert!(value(&after, "tempclock_commit_seconds_count") >= 3);
    assert!(value(&after, "tempclock_database_size_bytes") > 0);
    assert!(value(&after, "tempclock_delivery_threads") > 1);
    for hidden in ["a-path-of-its-own", &subscription.secret, &key, "default"] {
        assert!(!after.contains(hidden), "the page shows {hidden}");
    }
}

/// The alert of an old outbox would go on for as long as the subscription is disabled, and hide a receiver that is down.
#[test]
fn what_is_held_for_a_disabled_subscription_is_not_an_old_outbox() {
    let server = Server::start(&[("server.metrics_listen", "\"127.0.0.1:0\""), ("log.level", "\"info\"")]);
    let client = server.client();
    let receiver = Receiver::first([Reply::status(500)]);
    let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let page = page(&server);
    client.publish("clock_in", &clock_in(1));
    let ages = || {
        let text = read(&page);
        [value(&text, "tempclock_oldest_pending_seconds"), value(&text, "tempclock_oldest_held_seconds")]
    };
    client.change(subscription.id, &json!({"active": false}));
    client.publish("clock_in", &clock_in(2));
    eventually("the oldest held delivery is a second old", || (ages()[1] > 0).then_some(()));
    assert_eq!(ages()[0], 0);
    client.change(subscription.id, &json!({"active": true}));
    eventually("nothing is held", || (ages()[1] == 0).then_some(()));
}

#[test]
fn the_lag_of_a_feed_is_the_age_of_what_its_reader_has_not_acknowledged() {
    let server = Server::start(&[("server.metrics_listen", "\"127.0.0.1:0\""), ("log.level", "\"info\"")]);
    let client = server.client_with(&server.key("*"));
    let made = client.post("/webhooks", &json!({"events": ["clock_in"], "mode": "pull"})).expect(201);
    let id = made.data()["id"].clone();
    let page = page(&server);
    client.publish("clock_in", &clock_in(1));
    let ages = || {
        let text = read(&page);
        ["feed_lag", "oldest_pending", "oldest_held"].map(|name| value(&text, &format!("tempclock_{name}_seconds")))
    };
    let late = eventually("the oldest event is a second old", || Some(ages()).filter(|ages| ages[0] > 0));
    assert_eq!(late[1..], [0, 0], "it is neither late nor held");
    let read = client.get(&format!("/feeds/{id}")).expect(200);
    let cursor = read.json["pagination"]["next_cursor"].clone();
    client.post(&format!("/feeds/{id}/ack"), &json!({"cursor": cursor})).expect(200);
    eventually("nothing is left to acknowledge", || (ages()[0] == 0).then_some(()));
}

#[test]
fn an_exhausted_delivery_is_counted() {
    let server = Server::start(&[
        ("server.metrics_listen", "\"127.0.0.1:0\""),
        ("log.level", "\"info\""),
        ("delivery.retry_schedule", "[]"),
    ]);
    let client = server.client();
    let receiver = Receiver::first([Reply::status(500)]);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "exhausted");
    eventually("it is counted", || {
        (value(&read(&page(&server)), "tempclock_deliveries_exhausted_total") == 1).then_some(())
    });
}

/// Every name of a metric in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|character: char| !(character.is_ascii_lowercase() || character == '_'));
    words.filter(|word| word.starts_with("tempclock_")).collect()
}

#[test]
fn what_the_documents_name_is_on_the_page_and_the_other_way_round() {
    let table = include_str!("../../../docs/operate.md");
    let others = [include_str!("../../../docs/grafana.json"), include_str!("../../../docs/alerts.yml")];
    let server = Server::start(&[("server.metrics_listen", "\"127.0.0.1:0\""), ("log.level", "\"info\"")]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    // What is counted by outcome is shown from the first attempt on.
    client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
    let page = eventually("it is counted", || {
        let text = read(&page(&server));
        (value(&text, "tempclock_deliveries_delivered_total") == 1).then_some(text)
    });
    let samples: BTreeSet<&str> = page.lines().filter_map(|line| line.split([' ', '{']).next()).collect();
    let histograms = |name: &&str| page.contains(&format!("# TYPE {name} histogram\n"));

    for name in named(table) {
        assert!(samples.contains(name) || histograms(&name), "docs/operate.md: {name} is not on the page");
    }
    for name in others.into_iter().flat_map(named) {
        assert!(samples.contains(name), "{name} is not on the page");
    }
    let documented = named(table);
    for sample in samples.iter().filter(|sample| sample.starts_with("tempclock_")) {
        let whole = ["_bucket", "_count", "_sum"].iter().find_map(|end| sample.strip_suffix(end)).unwrap_or(sample);
        assert!(documented.contains(whole), "docs/operate.md does not name {whole}");
    }
}

#[test]
fn the_api_has_no_metrics_page() {
    let server = Server::start(&[("server.metrics_listen", "\"127.0.0.1:0\"")]);
    server.stranger().send("GET", "/metrics", &[], None).expect(404);
    server.stranger().get("/metrics").expect(404);
}

#[test]
fn whoever_holds_the_page_up_is_cut_off_and_others_get_it_meanwhile() {
    let server = Server::start(&[("server.metrics_listen", "\"127.0.0.1:0\""), ("log.level", "\"info\"")]);
    let page = page(&server);
    // More than the page takes at once; most of them have an answer, and stay.
    let beginnings = [
        "GET /metrics HTTP/1.1\r\nX-Slow",
        "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "GET /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ];
    let mut slow: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(page.address()).unwrap()).collect();
    for (stream, beginning) in slow.iter_mut().zip(beginnings.iter().cycle()) {
        stream.write_all(beginning.as_bytes()).unwrap();
    }
    read(&page);
    for stream in &mut slow {
        let text = rest(stream);
        let wanted = ["HTTP/1.1 408 ", "HTTP/1.1 200 ", "HTTP/1.1 404 "];
        assert!(text.is_empty() || wanted.iter().any(|wanted| text.starts_with(wanted)), "{text}");
    }
    read(&page);
}

#[test]
fn whoever_does_not_ask_for_the_newer_form_gets_the_one_that_everything_reads() {
    let server = Server::start(&[("server.metrics_listen", "\"127.0.0.1:0\""), ("log.level", "\"info\"")]);
    server.client().publish("clock_in", &clock_in(1));
    let page = page(&server);
    for accepted in ["*/*", "text/plain;version=0.0.4", "text/html"] {
        let answer = page.send("GET", "/metrics", &[("Accept", accepted)], None).expect(200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let text = answer.text;
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"), "{text}");
        assert_eq!(value(&text, "tempclock_events_published_total"), 1);
        // Each sample belongs to a metric that was described before it, and of which it has the name.
        let mut described = BTreeSet::new();
        for line in text.lines() {
            let mut words = line.split([' ', '{']);
            match (words.next().unwrap(), words.next(), words.next()) {
                ("#", Some("TYPE"), Some(name)) => assert!(described.insert(name.to_owned()), "{line}"),
                ("#", Some("HELP"), Some(_)) => {}
                (name, ..) => {
                    let parts = ["_bucket", "_sum", "_count"];
                    let whole = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
                    assert!(described.contains(name) || described.contains(whole), "{line} in {text}");
                }
            }
        }
        for sample in read(&page).lines().filter(|line| !line.starts_with('#')) {
            let name = sample.split(' ').next().unwrap();
            assert!(text.lines().any(|line| line.split(' ').next() == Some(name)), "{name} is missing: {text}");
        }
    }
}
