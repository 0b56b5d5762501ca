//! A publish that is repeated under one key adds nothing; the same key for another body is refused.

use std::{collections::BTreeSet, thread};

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Receiver, Server, WallClock, clock_in, eventually, sample};

fn publish_under(client: &Client, key: &str, event: &str, data: &Value) -> Answer {
    let body = json!({"event": event, "data": data}).to_string();
    client.post_with("/events", &[("Idempotency-Key", key)], &body)
}

/// The id of the event, after checking whether it is said to be a duplicate.
#[track_caller]
fn id_of(answer: &Answer, duplicate: bool) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.data()["duplicate"], duplicate, "{}", answer.text);
    let id = answer.data()["id"].as_str().unwrap();
    assert!(id.starts_with("evt_"), "{id}");
    id.to_owned()
}

#[test]
fn a_repeated_key_gives_the_same_answer_and_adds_nothing() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);

    let first = publish_under(&client, "shift-1", "clock_in", &clock_in(1));
    let id = id_of(&first, false);
    for _ in 0..3 {
        let again = publish_under(&client, "shift-1", "clock_in", &clock_in(1));
        assert_eq!(id_of(&again, true), id);
        assert_eq!(again.data()["event"], first.data()["event"]);
        assert_eq!(again.data()["deliveries"], first.data()["deliveries"]);
    }
    let other = publish_under(&client, "shift-2", "clock_in", &clock_in(1));
    let other = id_of(&other, false);
    assert_ne!(other, id);

    client.settled(&id, "delivered");
    client.settled(&other, "delivered");
    assert_eq!(client.total("/events"), 2);
    assert_eq!(client.total("/deliveries"), 2);
    assert_eq!(receiver.requests().len(), 2);
}

#[test]
fn the_id_in_the_body_is_a_key_too() {
    let server = Server::start(&[]);
    let client = server.client();
    let body = json!({"event": "clock_in", "data": clock_in(1), "id": "entry-9001"});
    let id = id_of(&client.post("/events", &body), false);
    assert_eq!(id_of(&client.post("/events", &body), true), id);
    let other = json!({"event": "clock_in", "data": clock_in(2), "id": "entry-9001"});
    client.post("/events", &other).expect(409).expect_error("idempotency_conflict");
    assert_eq!(client.total("/events"), 1);
}

#[test]
fn a_conflict_names_the_field_that_was_used_before() {
    let server = Server::start(&[]);
    let client = server.client();
    let event = |entry: u64| json!({"event": "clock_in", "data": clock_in(entry), "id": "entry-1"});
    client.post("/events", &event(1)).expect(202);
    assert_eq!(client.post("/events", &event(2)).expect(409).wrong_fields(), ["id"]);
    publish_under(&client, "shift-1", "clock_in", &clock_in(1)).expect(202);
    let conflict = publish_under(&client, "shift-1", "clock_in", &clock_in(2)).expect(409);
    assert_eq!(conflict.wrong_fields(), ["Idempotency-Key"]);
    let batch = json!({"events": [{"event": "clock_in", "data": clock_in(3)}, event(2)]});
    assert_eq!(client.post("/events/batch", &batch).expect(409).wrong_fields(), ["events[1]"]);
}

#[test]
fn the_same_key_with_another_body_is_a_conflict() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["*"]);
    let id = id_of(&publish_under(&client, "key", "clock_in", &clock_in(1)), false);
    client.settled(&id, "delivered");

    publish_under(&client, "key", "clock_in", &clock_in(2)).expect(409).expect_error("idempotency_conflict");
    let other_type = publish_under(&client, "key", "clock_out", &sample("clock_out"));
    other_type.expect(409).expect_error("idempotency_conflict");
    let body = json!({
        "event": "clock_in", "data": clock_in(1), "occurred_at": "2026-03-02T08:00:00Z"
    });
    let later = client.post_with("/events", &[("Idempotency-Key", "key")], &body.to_string());
    later.expect(409).expect_error("idempotency_conflict");

    assert_eq!(id_of(&publish_under(&client, "key", "clock_in", &clock_in(1)), true), id);
    assert_eq!(client.total("/events"), 1);
    assert_eq!(client.total("/deliveries"), 1);
}

#[test]
fn a_key_means_nothing_to_another_account() {
    let server = Server::start(&[]);
    let (here, there) = (server.client_of("here"), server.client_of("there"));
    let first = id_of(&publish_under(&here, "key", "clock_in", &clock_in(1)), false);
    let second = id_of(&publish_under(&there, "key", "clock_in", &clock_in(2)), false);
    assert_ne!(first, second);
    assert_eq!(id_of(&publish_under(&here, "key", "clock_in", &clock_in(1)), true), first);
}

#[test]
fn a_key_holds_for_every_api_key_of_its_account() {
    let server = Server::start(&[]);
    let (one, two) = (server.client(), server.client());
    let id = id_of(&publish_under(&one, "key", "clock_in", &clock_in(1)), false);
    assert_eq!(id_of(&publish_under(&two, "key", "clock_in", &clock_in(1)), true), id);
}

#[test]
fn a_refused_publish_does_not_use_up_its_key() {
    let server = Server::start(&[]);
    let client = server.client();
    publish_under(&client, "key", "clock_in", &json!({})).expect(400);
    let id = id_of(&publish_under(&client, "key", "clock_in", &clock_in(1)), false);
    publish_under(&client, "key", "clock_in", &json!({})).expect(400);
    assert_eq!(id_of(&publish_under(&client, "key", "clock_in", &clock_in(1)), true), id);
}

#[test]
fn of_many_at_the_same_time_one_is_the_first() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let rounds = 5;
    for round in 0..rounds {
        let key = format!("race-{round}");
        let answers: Vec<Answer> = thread::scope(|scope| {
            let racers: Vec<_> = (0..12)
                .map(|_| scope.spawn(|| publish_under(&client.clone(), &key, "clock_in", &clock_in(round))))
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        let ids: BTreeSet<&str> = answers.iter().map(|answer| answer.data()["id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), 1, "different ids under one key");
        let firsts = answers.iter().filter(|answer| answer.data()["duplicate"] == false).count();
        assert_eq!(firsts, 1);
        client.settled(ids.first().unwrap(), "delivered");
    }
    assert_eq!(client.total("/events"), rounds);
    assert_eq!(receiver.requests().len() as u64, rounds);
}

#[test]
fn a_repeated_batch_adds_nothing() {
    let server = Server::start(&[]);
    let client = server.client();
    let event = |n: u64| json!({"event": "clock_in", "data": clock_in(n), "id": format!("entry-{n}")});
    let ids = |answer: &Answer| -> Vec<String> {
        answer.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let batch = json!({"events": [event(1), event(2)]});
    let first = client.post("/events/batch", &batch).expect(202);
    let again = client.post("/events/batch", &batch).expect(202);
    assert_eq!(ids(&again), ids(&first));
    assert!(again.rows().iter().all(|row| row["duplicate"] == true), "{}", again.text);

    let mixed = client.post("/events/batch", &json!({"events": [event(2), event(3)]})).expect(202);
    assert_eq!(ids(&mixed)[0], ids(&first)[1]);
    assert_eq!(mixed.rows()[0]["duplicate"], true);
    assert_eq!(mixed.rows()[1]["duplicate"], false);
    assert_eq!(client.total("/events"), 3);
}

#[test]
fn a_batch_with_one_conflict_is_refused_whole() {
    let server = Server::start(&[]);
    let client = server.client();
    let known = json!({"event": "clock_in", "data": clock_in(1), "id": "known"});
    let id = id_of(&client.post("/events", &known), false);
    let batch = json!({"events": [
        {"event": "clock_in", "data": clock_in(2), "id": "new"},
        {"event": "clock_in", "data": clock_in(3), "id": "known"},
    ]});
    client.post("/events/batch", &batch).expect(409).expect_error("idempotency_conflict");
    assert_eq!(client.total("/events"), 1);
    assert_eq!(id_of(&client.post("/events", &known), true), id);
}

#[test]
fn a_key_stands_for_the_whole_of_its_batch() {
    let server = Server::start(&[]);
    let client = server.client();
    let event = |entry: u64| json!({"event": "clock_in", "data": clock_in(entry)});
    let publish = |key: &str, entries: &[u64]| {
        let body = json!({"events": entries.iter().map(|entry| event(*entry)).collect::<Vec<_>>()}).to_string();
        client.post_with("/events/batch", &[("Idempotency-Key", key)], &body)
    };
    publish("day", &[1, 2]).expect(202);
    for other in [&[1][..], &[1, 2, 3], &[2, 1], &[1, 3]] {
        let conflict = publish("day", other).expect(409);
        conflict.expect_error("idempotency_conflict");
        assert_eq!(conflict.wrong_fields(), ["Idempotency-Key"], "{other:?}");
    }
    publish("twins", &[7]).expect(202);
    publish("twins", &[7, 7]).expect(409);
    let again = publish("day", &[1, 2]).expect(202);
    assert!(again.rows().iter().all(|row| row["duplicate"] == true), "{}", again.text);
    assert_eq!(client.total("/events"), 3);
}

#[test]
fn of_two_keys_in_one_request_the_one_in_conflict_is_named() {
    let server = Server::start(&[]);
    let client = server.client();
    let publish = |key: &str, id: &str, entry: u64| {
        let body = json!({"event": "clock_in", "data": clock_in(entry), "id": id}).to_string();
        client.post_with("/events", &[("Idempotency-Key", key)], &body)
    };
    publish("first", "one", 1).expect(202);
    assert_eq!(publish("first", "two", 2).expect(409).wrong_fields(), ["Idempotency-Key"]);
    assert_eq!(publish("second", "one", 2).expect(409).wrong_fields(), ["id"]);
}

#[test]
fn a_request_has_one_key_at_most() {
    let server = Server::start(&[]);
    let client = server.client();
    let body = json!({"event": "clock_in", "data": clock_in(1)}).to_string();
    let answer = client.post_with("/events", &[("Idempotency-Key", "a"), ("Idempotency-Key", "b")], &body).expect(400);
    assert_eq!(answer.wrong_fields(), ["Idempotency-Key"]);
    assert_eq!(client.total("/events"), 0);
}

#[test]
fn a_key_outlives_a_crash() {
    let mut server = Server::start(&[]);
    let key = server.key("events:write,events:read");
    let client = server.client_with(&key);
    let id = id_of(&publish_under(&client, "key", "clock_in", &clock_in(1)), false);
    server.kill_9();
    server.launch();
    let client = server.client_with(&key);
    assert_eq!(id_of(&publish_under(&client, "key", "clock_in", &clock_in(1)), true), id);
    publish_under(&client, "key", "clock_in", &clock_in(2)).expect(409);
    assert_eq!(client.total("/events"), 1);
}

#[test]
fn a_repeat_is_recognized_for_as_long_as_is_set_and_a_key_that_is_used_again_outlives_its_first_event() {
    let mut server = Server::stopped(&[("retention.events", r#""7d""#), ("retention.idempotency", r#""100h""#)]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let client = server.client();
    let publish = || publish_under(&client, "shift-1", "clock_in", &clock_in(1));
    let first = id_of(&publish(), false);
    // Only somebody who confirms the clock makes that time count.
    let pass = |hours: i64| {
        clock.set(hours * 3600);
        let confirmed = server.cli(&["clock", "confirm", "--yes"]);
        assert_eq!(confirmed.code, Some(0), "{confirmed:?}");
    };
    pass(99);
    assert_eq!(id_of(&publish(), true), first);
    pass(110);
    let second = id_of(&publish(), false);
    assert_ne!(first, second);
    pass(172);
    eventually("the first event is removed", || (client.get(&format!("/events/{first}")).status == 404).then_some(()));
    assert_eq!(id_of(&publish(), true), second);
}
