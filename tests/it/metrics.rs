//! The metrics page says what happens, on a listener of its own, and never in words that a caller chose.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{ALL_SCOPES, Client, Receiver, Reply, Server, clock_in, eventually};

/// Where the log says that the page is.
fn page(server: &Server) -> Client {
    let log = eventually("the log names the metrics page", || {
        let log = server.log();
        log.contains("metrics at http://").then_some(log)
    });
    let address = log.split("metrics at http://").nth(1).unwrap().split('/').next().unwrap();
    Client::elsewhere(address.parse().unwrap())
}

fn read(page: &Client) -> String {
    let answer = page.send("GET", "/metrics", &[], None).expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text"));
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
    assert_eq!(value(&after, "tempclock_subscriptions{state=\"off\"}"), 1);
    assert!(value(&after, "tempclock_commit_seconds_count") >= 3);
    assert!(value(&after, "tempclock_database_size_bytes") > 0);
    assert!(value(&after, "tempclock_delivery_threads") > 1);
    for hidden in ["a-path-of-its-own", &subscription.secret, &key, "default"] {
        assert!(!after.contains(hidden), "the page shows {hidden}");
    }
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
    assert_eq!(value(&read(&page(&server)), "tempclock_deliveries_exhausted_total"), 1);
}

/// Every name of a metric in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|character: char| !(character.is_ascii_lowercase() || character == '_'));
    words.filter(|word| word.starts_with("tempclock_")).collect()
}

#[test]
fn what_the_documents_name_is_on_the_page_and_the_other_way_round() {
    let table = include_str!("../../docs/operate.md");
    let others = [include_str!("../../docs/grafana.json"), include_str!("../../docs/alerts.yml")];
    let server = Server::start(&[("server.metrics_listen", "\"127.0.0.1:0\""), ("log.level", "\"info\"")]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    // What is counted by outcome is shown from the first attempt on.
    client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
    let page = read(&page(&server));
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
