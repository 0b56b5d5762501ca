//! Every request is signed twice from one secret, and carries the headers that receivers rely on.

use jiff::Timestamp;
use proptest::{
    collection::vec,
    strategy::{Strategy as _, ValueTree as _},
    test_runner::TestRunner,
};
use serde_json::{Value, json};

use crate::harness::{Receiver, Reply, Server, clock_in, sample, signature_hex};

#[test]
fn a_delivery_carries_every_promised_header_once() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let subscription = client.subscribe(&receiver.url("/hook?tenant=7"), &["clock_out"]);
    let before = Timestamp::now().as_second();
    let event = client.publish("clock_out", &sample("clock_out"));

    let came = receiver.wait_for(1, "the event").remove(0);
    let after = Timestamp::now().as_second();
    assert_eq!(came.method, "POST");
    assert_eq!(came.path, "/hook?tenant=7");
    assert_eq!(came.header("host"), format!("127.0.0.1:{}", receiver.port()));
    assert_eq!(came.header("content-type"), "application/json");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(came.header("user-agent"), format!("TempClock-Webhooks/{version}"));
    assert_eq!(came.header("x-tempclock-event"), "clock_out");
    assert_eq!(came.header("x-tempclock-attempt"), "1");
    assert_eq!(came.header("webhook-id"), event);
    let delivery = client.delivery_of(&event)["id"].as_str().unwrap().to_owned();
    assert!(delivery.starts_with("dlv_"), "{delivery}");
    assert_eq!(came.header("x-tempclock-delivery"), delivery);
    let timestamp: i64 = came.header("webhook-timestamp").parse().expect("whole seconds");
    assert!((before..=after).contains(&timestamp), "{timestamp} is not in {before}..={after}");

    let signature = came.header("x-tempclock-signature");
    assert_eq!(signature.len(), 64);
    assert_eq!(signature, signature.to_ascii_lowercase());
    assert!(came.header("webhook-signature").starts_with("v1,"));
    came.assert_signed_with(&subscription.secret);
}

#[test]
fn each_subscription_signs_with_its_own_secret() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let first = client.subscribe(&receiver.url("/first"), &["clock_in"]);
    let second = client.subscribe(&receiver.url("/second"), &["clock_in"]);
    client.publish("clock_in", &clock_in(1));

    let came = receiver.wait_for(2, "both deliveries");
    for request in came {
        let (own, other) = match request.path.as_str() {
            "/first" => (&first, &second),
            _ => (&second, &first),
        };
        request.assert_signed_with(&own.secret);
        let foreign = signature_hex(&other.secret, &request.body);
        assert_ne!(request.header("x-tempclock-signature"), foreign);
    }
}

#[test]
fn a_retry_is_signed_for_its_own_time() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["2s"]"#)]);
    let client = server.client();
    let receiver = Receiver::first([Reply::status(500)]);
    let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]);
    client.publish("clock_in", &clock_in(1));

    let came = receiver.wait_for(2, "both attempts");
    for request in &came {
        request.assert_signed_with(&subscription.secret);
    }
    let seconds = |n: usize| came[n].header("webhook-timestamp").parse::<i64>().unwrap();
    assert!(seconds(1) > seconds(0), "the retry carries the time of the first attempt");
    assert_eq!(came[0].header("webhook-id"), came[1].header("webhook-id"));
    assert_eq!(came[0].header("x-tempclock-signature"), came[1].header("x-tempclock-signature"));
    assert_ne!(came[0].header("webhook-signature"), came[1].header("webhook-signature"));
}

#[test]
fn a_large_body_is_signed_whole() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let mut data = clock_in(1);
    data["note"] = "Überstunden 😀 ".repeat(12_000).into();
    assert!(data.to_string().len() > 200_000);
    client.publish("clock_in", &data);

    let came = receiver.wait_for(1, "the large event").remove(0);
    assert_eq!(came.json()["data"], data);
    came.assert_signed_with(&subscription.secret);
}

#[test]
fn whatever_text_is_in_the_data_the_signatures_hold() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let subscription = client.subscribe(&receiver.url("/"), &["worker_created"]);
    let mut runner = TestRunner::deterministic();
    let texts: Vec<String> = vec("\\PC{0,40}|[\\x01-\\x1f\"\\\\]{1,8}", 60).new_tree(&mut runner).unwrap().current();
    let events: Vec<Value> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| {
            let data = json!({"worker_id": n, "worker_name": text, text.as_str(): [text]});
            json!({"event": "worker_created", "data": data})
        })
        .collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);

    for request in receiver.wait_for(texts.len(), "every text") {
        request.assert_signed_with(&subscription.secret);
        let data = request.json()["data"].clone();
        let number = usize::try_from(data["worker_id"].as_u64().unwrap()).unwrap();
        assert_eq!(data, events[number]["data"]);
    }
}

#[test]
fn keys_and_secrets_stay_out_of_the_log_and_of_later_answers() {
    let mut server = Server::start(&[]);
    let key = server.key("webhooks:read,webhooks:write,events:write,events:read");
    let client = server.client_with(&key);
    let receiver = Receiver::answering(|_| Reply::status(500));
    let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "exhausted");
    client.post_nothing(&format!("/webhooks/{}/test", subscription.id)).expect(200);
    let wrong = json!({"url": "x", "events": [], "secret": subscription.secret});
    client.post("/webhooks", &wrong).expect(400);

    for path in [
        format!("/webhooks/{}", subscription.id),
        format!("/webhooks/{}/deliveries", subscription.id),
        format!("/deliveries/{}", delivery["id"].as_str().unwrap()),
        "/webhooks".to_owned(),
        "/deliveries".to_owned(),
        "/events".to_owned(),
    ] {
        let answer = client.get(&path).expect(200);
        assert!(!answer.text.contains(&subscription.secret), "{path}: {}", answer.text);
        assert!(!answer.text.contains(&key), "{path}: {}", answer.text);
    }
    assert!(server.terminate().success());
    let log = server.log();
    assert!(!log.contains(&subscription.secret), "the secret is in the log: {log}");
    assert!(!log.contains(&key["tc_live_".len()..]), "the key is in the log: {log}");
}

#[test]
fn a_secret_is_replaced_by_a_second_subscription_and_no_event_is_lost() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["2s"]"#)]);
    let client = server.client();
    let receiver = Receiver::first([Reply::status(500)]);
    let url = receiver.url("/");
    let old = client.subscribe(&url, &["clock_in"]);
    let pending = client.publish("clock_in", &clock_in(1));
    receiver.wait_for(1, "the attempt that fails");

    let new = client.subscribe(&url, &["ping"]);
    assert_ne!(new.secret, old.secret);
    let tested = client.post_nothing(&format!("/webhooks/{}/test", new.id)).expect(200);
    assert_eq!(tested.data()["success"], true);
    client.change(new.id, &json!({"events": ["clock_in"]})).expect(200);
    let between = client.publish("clock_in", &clock_in(2));
    let since = client.get(&format!("/events/{between}")).expect(200).data()["created_at"].as_str().unwrap().to_owned();
    client.wait_for_total(&format!("/webhooks/{}/deliveries?status=pending&until={since}", old.id), 0);
    receiver.wait_for(5, "what was published in between, from both");
    client.delete(&format!("/webhooks/{}", old.id)).expect(200);
    let after = client.publish("clock_in", &clock_in(3));

    let came = receiver.wait_until("every event, one of them twice", |requests| requests.len() >= 6);
    let signed_by = |event: &str, secret: &str| {
        let sent = came.iter().filter(|request| request.header("webhook-id") == event);
        sent.filter(|request| request.header("x-tempclock-signature") == signature_hex(secret, &request.body)).count()
    };
    assert_eq!((signed_by(&pending, &old.secret), signed_by(&pending, &new.secret)), (2, 0));
    assert_eq!((signed_by(&between, &old.secret), signed_by(&between, &new.secret)), (1, 1));
    assert_eq!((signed_by(&after, &old.secret), signed_by(&after, &new.secret)), (0, 1));
}
