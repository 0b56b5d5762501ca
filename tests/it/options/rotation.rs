//! Another signing secret, beside which the earlier one stays valid for a while.

use serde_json::{Value, json};

use crate::harness::{
    Client, Received, Receiver, Server, WallClock, clock_in, printed, signature_hex, signature_standard, time,
};

fn new_secret(client: &Client, id: i64, wish: &Value) -> Value {
    client.post(&format!("/webhooks/{id}/secret"), wish).expect(200).data().clone()
}

#[track_caller]
fn next(client: &Client, receiver: &Receiver, entry: u64) -> Received {
    let before = receiver.requests().len();
    client.publish("clock_in", &clock_in(entry));
    receiver.wait_for(before + 1, "the delivery").remove(before)
}

/// Panics unless the request is signed with these secrets, newest first.
#[track_caller]
fn assert_signed(request: &Received, secrets: &[&str]) {
    let (id, timestamp) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    let standard = secrets.iter().map(|secret| signature_standard(secret, id, timestamp, &request.body));
    assert_eq!(request.header("webhook-signature"), standard.collect::<Vec<_>>().join(" "));
    let oldest = secrets.last().unwrap();
    assert_eq!(request.header("x-tempclock-signature"), signature_hex(oldest, &request.body));
}

#[test]
fn during_the_overlap_both_secrets_sign_and_a_test_can_try_the_new_one_alone() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let made = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let first = made.secret.as_str();
    let rotated = new_secret(&client, made.id, &json!({"overlap": "2h"}));
    let second = rotated["secret"].as_str().unwrap();
    assert_ne!(first, second);
    let valid_for = time(&rotated["previous_valid_until"]).duration_since(jiff::Timestamp::now());
    assert!((7000..=7200).contains(&valid_for.as_secs()), "{valid_for}");
    assert_signed(&next(&client, &receiver, 1), &[second, first]);
    client.post_nothing(&format!("/webhooks/{}/test", made.id)).expect(200);
    assert_signed(&receiver.wait_for(2, "a ping").remove(1), &[second, first]);
    client.post_nothing(&format!("/webhooks/{}/test?secret=new", made.id)).expect(200);
    assert_signed(&receiver.wait_for(3, "a ping with the new one").remove(2), &[second]);
    client.post_nothing(&format!("/webhooks/{}/test?secret=old", made.id)).expect(400);

    let given = "b".repeat(64);
    let rotated = new_secret(&client, made.id, &json!({"secret": given}));
    assert_eq!(rotated["secret"], given.as_str());
    assert_signed(&next(&client, &receiver, 2), &[&given, second, first]);
    // Without an overlap all earlier ones end at once, as after a leak.
    let last = new_secret(&client, made.id, &json!({"overlap": "0s"}));
    let last = last["secret"].as_str().unwrap();
    assert_signed(&next(&client, &receiver, 3), &[last]);
    let shown = client.subscription(made.id).to_string();
    for secret in [first, second, &given, last] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

#[test]
fn after_the_overlap_the_earlier_secret_signs_nothing_and_a_clock_that_was_ahead_ends_it_for_no_longer() {
    let mut server = Server::stopped(&[]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let key = server.key("*");
    let receiver = Receiver::start();
    let client = server.client_with(&key);
    let made = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let rotated = new_secret(&client, made.id, &json!({}));
    let second = rotated["secret"].as_str().unwrap().to_owned();
    assert_signed(&next(&client, &receiver, 1), &[&second, &made.secret]);
    for (sent, (days, secrets)) in (2..).zip([
        (2, vec![&second]),
        (0, vec![&second, &made.secret]),
        (60, vec![&second]),
        (0, vec![&second, &made.secret]),
    ]) {
        // Otherwise it may be sent once more.
        server.client_with(&key).wait_for_total("/deliveries?status=pending", 0);
        server.kill_9();
        clock.set(days * 24 * 60 * 60);
        server.launch();
        let secrets: Vec<&str> = secrets.into_iter().map(String::as_str).collect();
        assert_signed(&next(&server.client_with(&key), &receiver, sent), &secrets);
    }
}

#[test]
fn a_bad_rotation_is_refused_and_changes_nothing() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let made = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let path = format!("/webhooks/{}/secret", made.id);
    for (wish, fields) in [
        (json!({"overlap": "8d"}), vec!["overlap"]),
        (json!({"overlap": 5, "secret": "short"}), vec!["overlap", "secret"]),
        (json!({"secret": made.secret}), vec!["secret"]),
        (json!({"grace": "1h"}), vec!["grace"]),
    ] {
        client.post(&path, &wish).expect_wrong(&fields);
    }
    client.post("/webhooks/99/secret", &json!({})).expect(404);
    let reader = server.key("webhooks:read");
    server.client_with(&reader).post(&path, &json!({})).expect(403);
    next(&client, &receiver, 1).assert_signed_with(&made.secret);
    let auditor = server.client_with(&server.key("webhooks:write,audit:read"));
    let rotated = new_secret(&auditor, made.id, &json!({}));
    let audit = auditor.get("/audit").expect(200);
    let record = &audit.rows()[0];
    assert_eq!(
        (&record["action"], &record["object"]),
        (&json!("subscription.secret_rotated"), &json!(made.id.to_string()))
    );
    assert!(!audit.text.contains(rotated["secret"].as_str().unwrap()), "{}", audit.text);
}

#[test]
fn the_command_line_rotates_a_secret() {
    let server = Server::start(&[]);
    server.key("*");
    let receiver = Receiver::start();
    let made = server.client().subscribe(&receiver.url("/"), &["clock_in"]);
    let file = server.folder().join("new.txt");
    std::fs::write(&file, "an-own-secret-of-thirty-characters\n").unwrap();
    let id = made.id.to_string();
    let rotate = ["subscriptions", "rotate-secret", &id, "--overlap", "1h"];
    let with_file = [&rotate[..], &["--secret-file", file.to_str().unwrap(), "--json"]].concat();
    let rotated = printed(&server.cli(&with_file));
    assert_eq!(rotated["data"]["secret"], "an-own-secret-of-thirty-characters");
    let shown = server.cli(&rotate);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("earlier secret until"), "{}", shown.stdout);
    assert!(!shown.stdout.contains("an-own-secret"), "{}", shown.stdout);
}
