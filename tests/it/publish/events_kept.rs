//! Events that were published can be listed, searched and read again.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Receiver, Server, assert_has_fields, clock_in, sample, time, wait_for_the_next_millisecond};

#[test]
fn a_kept_event_is_shown_with_its_deliveries() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let first = client.subscribe(&receiver.url("/1"), &["clock_in"]).id;
    let second = client.subscribe(&receiver.url("/2"), &["clock_in"]).id;
    let id = client.publish("clock_in", &clock_in(5));

    let shown = client.get(&format!("/events/{id}")).expect(200).data().clone();
    assert_eq!(shown["id"], *id);
    assert_eq!(shown["event"], "clock_in");
    assert_eq!(shown["data"], clock_in(5));
    assert!(time(&shown["created_at"]) <= Timestamp::now());
    time(&shown["timestamp"]);
    let of: BTreeSet<i64> = shown["deliveries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|delivery| {
            assert_has_fields(delivery, &["id", "status"]);
            delivery["subscription_id"].as_i64().unwrap()
        })
        .collect();
    assert_eq!(of, BTreeSet::from([first, second]));

    client.get("/events/evt_unknown").expect(404).expect_error("not_found");
}

#[test]
fn events_are_listed_by_type_and_time() {
    let server = Server::start(&[]);
    let client = server.client();
    let first = client.publish("clock_in", &clock_in(1));
    wait_for_the_next_millisecond();
    let second = client.publish("clock_out", &sample("clock_out"));
    wait_for_the_next_millisecond();
    let third = client.publish("clock_in", &clock_in(3));

    let ids = |query: &str| -> BTreeSet<String> {
        let answer = client.get(&format!("/events{query}")).expect(200);
        let total = answer.json["pagination"]["total"].as_u64().unwrap();
        let ids: BTreeSet<String> = answer.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
        assert_eq!(ids.len() as u64, total, "{query}");
        ids
    };
    let set = |wanted: &[&String]| wanted.iter().map(|id| (*id).clone()).collect::<BTreeSet<_>>();
    assert_eq!(ids(""), set(&[&first, &second, &third]));
    assert_eq!(ids("?event=clock_in"), set(&[&first, &third]));
    assert_eq!(ids("?event=shift_created"), set(&[]));

    let middle = client.get(&format!("/events/{second}")).expect(200).data()["created_at"].clone();
    let middle = middle.as_str().unwrap();
    let after = time(&json!(middle)) + SignedDuration::from_millis(1);
    assert_eq!(ids(&format!("?since={middle}")), set(&[&second, &third]));
    assert_eq!(ids(&format!("?since={after:.3}")), set(&[&third]));
    assert_eq!(ids(&format!("?until={after:.3}&event=clock_in")), set(&[&first]));
    assert_eq!(ids(&format!("?since={middle}&until={after:.3}&event=clock_out")), set(&[&second]));
}

#[test]
fn a_cursor_walks_through_all_events_once() {
    let server = Server::start(&[]);
    let client = server.client();
    let events: Vec<Value> = (0..23).map(|n| json!({"event": "clock_in", "data": clock_in(n)})).collect();
    let answer = client.post("/events/batch", &json!({"events": events})).expect(202);
    let published: Vec<String> = answer.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();

    let mut seen = Vec::new();
    let mut path = "/events?limit=5".to_owned();
    for page in 0.. {
        assert!(page < 10, "the cursor never ends");
        let answer = client.get(&path).expect(200);
        assert!(answer.rows().len() <= 5);
        seen.extend(answer.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        if page == 1 {
            // What comes in meanwhile does not move the pages.
            client.publish("clock_in", &clock_in(99));
        }
        let Some(cursor) = answer.json["pagination"]["next_cursor"].as_str() else { break };
        path = format!("/events?limit=5&cursor={cursor}");
    }
    let different: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(different.len(), seen.len(), "an event was on two pages");
    assert!(published.iter().all(|id| different.contains(id)), "an event was left out");
}

#[test]
fn event_ids_sort_by_time() {
    let server = Server::start(&[]);
    let client = server.client();
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(client.publish("clock_in", &clock_in(number)));
        wait_for_the_next_millisecond();
    }
    assert!(ids.is_sorted(), "{ids:?}");
}
