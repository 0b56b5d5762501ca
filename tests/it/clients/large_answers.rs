//! Long answers: a page of large events ends early and the next one goes on, and callers of one account that do not take
//! theirs leave memory for others.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::harness::{Client, PATIENCE, Server, clock_in, eventually};

const MIB: usize = 1 << 20;
/// What the rows of a page may take.
const PAGE: usize = 4 * MIB;
/// A length of which four fit on a page.
const LARGE: usize = 1_000_000;

fn publish(client: &Client, entry: u64, bytes: usize) -> String {
    let mut data = clock_in(entry);
    data["note"] = "x".repeat(bytes).into();
    client.publish("clock_in", &data)
}

/// The ids of a page, and the cursor of the next one.
fn page(client: &Client, query: &str) -> (Vec<String>, Value) {
    let answer = client.get(&format!("/events?{query}")).expect(200);
    let pagination = &answer.json["pagination"];
    assert_eq!(pagination["has_more"], json!(!pagination["next_cursor"].is_null()), "{pagination}");
    assert!(answer.text.len() < PAGE + LARGE || answer.rows().len() == 1, "{} bytes", answer.text.len());
    let ids = answer.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    (ids, pagination["next_cursor"].clone())
}

#[test]
fn a_page_of_large_events_ends_early_and_the_next_one_goes_on() {
    let server = Server::start(&[("limits.event_bytes", r#""16MiB""#)]);
    let client = server.client();
    let lengths = [LARGE, 10, 5 * MIB, LARGE, LARGE, LARGE, LARGE, LARGE, 10];
    let mut published: Vec<String> = (0..).zip(lengths).map(|(entry, bytes)| publish(&client, entry, bytes)).collect();
    published.reverse();
    let (mut seen, mut counts, mut cursor) = (Vec::new(), Vec::new(), String::new());
    loop {
        let (ids, next) = page(&client, &format!("limit=100{cursor}"));
        counts.push(ids.len());
        seen.extend(ids);
        let Some(next) = next.as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, published);
    // A short event behind a long one that has no room does not come before it, and one that is longer than a page has one
    // for itself.
    assert_eq!(counts, [5, 1, 1, 2]);
    assert_eq!(client.total("/events?limit=1"), lengths.len() as u64);
    let (ids, _) = page(&client, "limit=100&offset=5");
    assert_eq!(ids, published[5..6]);
}

/// Asks for a page and takes no more of it than its beginning.
fn caller_that_stops_reading(client: &Client) -> TcpStream {
    let mut stream = TcpStream::connect(client.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("{}\r\n", client.raw_head("GET", "/api/v1/events?limit=100")).as_bytes()).unwrap();
    let mut beginning = [0; 12];
    stream.read_exact(&mut beginning).unwrap();
    assert_eq!(&beginning, b"HTTP/1.1 200");
    stream
}

#[test]
fn callers_that_do_not_take_their_answers_hold_up_their_own_account_alone() {
    let server = Server::start(&[("limits.event_bytes", r#""2MiB""#), ("server.request_timeout", r#""10m""#)]);
    let (own, other) = (server.client(), server.client_of("other"));
    for entry in 0..4 {
        publish(&own, entry, LARGE);
        publish(&other, entry, LARGE);
    }
    // Sixteen MiB are for one account. These hold twelve, and a page is taken to need eight before it is read.
    let callers: Vec<TcpStream> = (0..3).map(|_| caller_that_stops_reading(&own)).collect();
    let refused = own.get("/events?limit=100").expect(503);
    refused.expect_error("busy");
    assert_eq!(refused.header("retry-after"), Some("1"));
    for client in [&other, &other, &other] {
        assert_eq!(page(client, "limit=100").0.len(), 4);
    }
    // What needs no memory worth speaking of goes on, and so does the operator's work.
    own.get("/webhooks").expect(200);
    publish(&own, 4, 10);
    let listed = server.cli(&["events", "list", "--json"]);
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    drop(callers);
    eventually("the memory is given back", || (own.get("/events?limit=100").status == 200).then_some(()));
}
