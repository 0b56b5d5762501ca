//! `kill -9` under load, again and again: every acknowledged event arrives everywhere it should, and only attempts
//! that were in flight are made again.
//!
//! A short form runs with all tests. The long form: `TEMPCLOCK_KILL_CYCLES=1000 cargo test --test it kill::`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use serde_json::json;

use crate::harness::{ALL_SCOPES, Client, Received, Receiver, Reply, Server, clock_in, eventually};

const SHORT_CYCLES: u64 = 6;
const PUBLISHERS: u64 = 4;
/// An attempt is in flight until its outcome is committed: four on the wire, the others in the commit under way and in
/// the one after it. Four publishers that wait for their answers keep these commits small.
const IN_FLIGHT: usize = 64;

/// Event ids that were acknowledged, each with its own number.
type Acknowledged = Mutex<BTreeMap<String, u64>>;

/// Publishes one by one and in small batches until the server is gone.
fn publish_until_killed(client: &Client, numbers: &AtomicU64, acknowledged: &Acknowledged) {
    loop {
        let number = numbers.fetch_add(3, Ordering::Relaxed);
        let event = |number: u64| json!({"event": "clock_in", "data": clock_in(number), "id": format!("own-{number}")});
        let (path, body, numbers) = if number.is_multiple_of(2) {
            ("/api/v1/events", event(number), vec![number])
        } else {
            let numbers: Vec<u64> = (number..number + 3).collect();
            ("/api/v1/events/batch", json!({"events": numbers.iter().map(|n| event(*n)).collect::<Vec<_>>()}), numbers)
        };
        let json = [("Content-Type", "application/json")];
        let Ok(answer) = client.try_send("POST", path, &json, Some(body.to_string().as_bytes())) else { return };
        assert_eq!(answer.status, 202, "{}", answer.text);
        let rows = answer.data().as_array().cloned().unwrap_or_else(|| vec![answer.data().clone()]);
        let ids = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned());
        acknowledged.lock().unwrap().extend(ids.zip(numbers));
    }
}

/// What is missing at a receiver.
fn missing(acknowledged: &BTreeMap<String, u64>, came: &[Received]) -> Vec<u64> {
    let arrived: BTreeSet<String> = came.iter().map(Received::event_id).collect();
    acknowledged.iter().filter(|(id, _)| !arrived.contains(*id)).map(|(_, number)| *number).collect()
}

/// How many requests repeat an attempt of the same number, or follow an answer that had settled their delivery.
fn repeated(came: &[Received], settled: impl Fn(&Received) -> bool) -> usize {
    let mut attempts = BTreeSet::new();
    let mut done = BTreeSet::new();
    let mut count = 0;
    for request in came {
        let is_new = attempts.insert((request.event_id(), request.attempt()));
        count += usize::from(!is_new || done.contains(&request.event_id()));
        if settled(request) {
            done.insert(request.event_id());
        }
    }
    count
}

fn fails_first(request: &Received) -> bool {
    request.attempt() == 1 && request.json()["data"]["entry_id"].as_u64().is_some_and(|id| id.is_multiple_of(5))
}

#[test]
fn nothing_acknowledged_is_lost_and_only_attempts_in_flight_are_repeated() {
    let cycles = std::env::var("TEMPCLOCK_KILL_CYCLES").ok().and_then(|text| text.parse().ok()).unwrap_or(SHORT_CYCLES);
    let mut server = Server::start(&[("delivery.max_in_flight_per_endpoint", "4")]);
    let key = server.key(ALL_SCOPES);
    let (good, shaky) =
        (Receiver::start(), Receiver::answering(|request| Reply::status(if fails_first(request) { 500 } else { 200 })));
    let client = server.client_with(&key);
    client.subscribe(&good.url("/"), &["clock_in"]);
    client.subscribe(&shaky.url("/"), &["clock_in"]);
    let (acknowledged, numbers) = (Acknowledged::default(), AtomicU64::new(0));
    for cycle in 0..cycles {
        let client = server.client_with(&key);
        let before = acknowledged.lock().unwrap().len();
        // Each cycle ends after another amount of work, so that the kill falls on ever other moments.
        let wanted = before + 5 + usize::try_from(cycle * 37 % 61).unwrap();
        thread::scope(|scope| {
            for _ in 0..PUBLISHERS {
                scope.spawn(|| publish_until_killed(&client, &numbers, &acknowledged));
            }
            eventually("enough is acknowledged", || (acknowledged.lock().unwrap().len() >= wanted).then_some(()));
            server.kill_9();
        });
        server.launch();
    }
    let client = server.client_with(&key);
    client.wait_for_total("/deliveries?status=pending", 0);

    let acknowledged = acknowledged.into_inner().unwrap();
    let own: BTreeSet<&u64> = acknowledged.values().collect();
    assert_eq!(own.len(), acknowledged.len(), "an event has two ids");
    let in_flight = IN_FLIGHT * usize::try_from(cycles).unwrap();
    for (name, receiver) in [("good", &good), ("shaky", &shaky)] {
        let came = receiver.requests();
        assert_eq!(missing(&acknowledged, &came), Vec::<u64>::new(), "lost on the way to the {name} receiver");
        let settled = |request: &Received| name == "good" || !fails_first(request);
        let repeated = repeated(&came, settled);
        assert!(
            repeated <= in_flight,
            "{repeated} repeated at the {name} receiver, {in_flight} can have been in flight"
        );
    }
    // The check itself would notice a loss.
    let mut more = acknowledged;
    more.insert("evt_never_published".to_owned(), u64::MAX);
    assert_eq!(missing(&more, &good.requests()), [u64::MAX]);
}
