//! Those who run the server are told of what goes wrong: once, whatever happens to the server meanwhile, and of nothing that
//! an event says.

use std::fs;
use std::os::unix::fs::FileExt as _;

use serde_json::{Value, json};

use crate::harness::{
    Receiver, Reply, Server, WallClock, clock_in, eventually, printed, signature_standard, write_program,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const ONCE: (&str, &str) = ("delivery.retry_schedule", "[]");
const AT_ONCE: (&str, &str) = ("alerts.failing_after", r#""0s""#);

/// A server that tells a webhook.
pub fn server_that_tells(told: &Receiver, further: &[(&str, &str)]) -> Server {
    let mut server = Server::stopped(further);
    let secret = server.folder().join("alert.secret");
    fs::write(&secret, format!("{SECRET}\n")).unwrap();
    server.configure(&[
        ("alerts.webhook_url", &format!("'{}'", told.url("/alerts"))),
        ("alerts.webhook_secret_file", &format!("'{}'", secret.display())),
    ]);
    server
}

/// Waits until no alert waits any more: what was not told by then is not told.
pub fn nothing_waits(server: &Server) {
    eventually("nothing waits", || server.cli(&["doctor", "--json"]).stdout.contains(" 0 alerts wait").then_some(()));
}

fn kinds(told: &Receiver) -> Vec<Value> {
    told.requests().iter().map(|sent| sent.json()["event"].clone()).collect()
}

#[test]
fn an_endpoint_that_fails_and_recovers_is_told_of_once_each_signed_and_without_its_events() {
    let told = Receiver::start();
    let mut server = server_that_tells(&told, &[ONCE, AT_ONCE]);
    server.launch();
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::status(500));
    let id = client.subscribe(&receiver.url("/hook?token=s3cret"), &["clock_in"]).id;
    for entry in 0..3 {
        let event = client.publish("clock_in", &clock_in(entry));
        client.settled(&event, "exhausted");
    }
    told.wait_for(2, "both alerts");
    receiver.rule(|_| Reply::status(200));
    client.settled(&client.publish("clock_in", &clock_in(9)), "delivered");
    let alerts = told.wait_for(3, "the recovery");
    let names = ["alert.endpoint_failing", "alert.delivery_exhausted", "alert.endpoint_recovered"];
    assert_eq!(kinds(&told), names);
    for alert in &alerts {
        let envelope = alert.json();
        assert_eq!(envelope["id"], alert.header("webhook-id"));
        let timestamp = alert.header("webhook-timestamp");
        let signature = signature_standard(SECRET, alert.header("webhook-id"), timestamp, &alert.body);
        assert_eq!(alert.header("webhook-signature"), signature);
        let data = &envelope["data"];
        assert_eq!(
            (&data["account"], &data["subscription_id"], &data["host"]),
            (&json!("default"), &json!(id), &json!("127.0.0.1"))
        );
        for hidden in ["s3cret", "Ada Lovelace", "worker_id", "X-TempClock"] {
            assert!(!alert.text().contains(hidden), "{hidden} is in {}", alert.text());
        }
    }
    // It fails again at once: within the hour nothing more is told, and what else is told overtakes nothing.
    receiver.rule(|_| Reply::status(410));
    client.publish("clock_in", &clock_in(10));
    told.wait_for(4, "that it is off");
    assert_eq!(kinds(&told)[3], "alert.endpoint_off");
    nothing_waits(&server);
    server.restart();
    let again = server.client();
    again.change(id, &json!({"active": true})).expect(200);
    let event = again.publish("clock_in", &clock_in(11));
    receiver.wait_until("it is tried once more", |came| came.iter().any(|request| request.event_id() == event));
    assert_eq!(kinds(&told).len(), 4);
}

#[test]
fn an_alert_outlasts_a_kill_and_is_told_by_each_way() {
    let told = Receiver::answering(|_| Reply::status(503));
    let mut server = server_that_tells(&told, &[ONCE, AT_ONCE]);
    let (program, file) = (server.folder().join("tell"), server.folder().join("told.json"));
    write_program(&program, format!("#!/bin/sh\n/bin/cat >> '{}'\n", file.display()).as_bytes());
    server.configure(&[("alerts.command", &format!("'{}'", program.display()))]);
    server.launch();
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::status(410));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    client.publish("clock_in", &clock_in(1));
    told.wait_for(1, "the first try");
    let by_program = || fs::read_to_string(&file).unwrap_or_default().matches("alert.endpoint_off").count();
    eventually("the program has it", || (by_program() == 1).then_some(()));
    server.kill_9();
    // The delivery that failed is told of too.
    let off = || -> Vec<_> {
        let alerts = told.requests().iter().map(|request| request.json()).collect::<Vec<_>>();
        alerts.into_iter().filter(|alert| alert["event"] == "alert.endpoint_off").collect()
    };
    let before = off().len();
    told.rule(|_| Reply::status(200));
    server.launch();
    eventually("it is told", || (off().len() > before).then_some(()));
    let sent = off();
    assert!(sent.iter().all(|alert| *alert == sent[0]), "not the same, with the same id: {sent:?}");
    server.restart();
    eventually("nothing waits", || {
        server.cli(&["doctor", "--json"]).stdout.contains("none failing, 0 alerts wait").then_some(())
    });
    // Once more than it has to be, for the kill.
    assert!(off().len() <= before + 2 && by_program() <= 2, "{before} and {}", by_program());
}

#[test]
fn a_backup_that_is_missed_is_told_of_once_and_a_backup_ends_that() {
    let told = Receiver::start();
    let mut server = server_that_tells(&told, &[("alerts.backup_missed_after", r#""100ms""#)]);
    server.launch();
    server.key("*");
    let alert = told.wait_for(1, "the alert").remove(0);
    assert_eq!(alert.json()["event"], "alert.backup_missed");
    assert!(alert.json()["data"]["message"].as_str().unwrap().contains("there is no backup yet"), "{}", alert.text());
    let file = server.folder().join("b.bak");
    assert_eq!(server.cli(&["backup", "--output", file.to_str().unwrap()]).code, Some(0));
    nothing_waits(&server);
    server.restart();
    assert_eq!(told.requests().len(), 1, "within the hour it is not told again");
}

#[test]
fn a_feed_whose_reader_is_behind_is_told_of_once_and_again_when_it_had_caught_up() {
    let told = Receiver::start();
    let mut server = server_that_tells(
        &told,
        &[("alerts.feed_behind_after", r#""100ms""#), ("alerts.backup_missed_after", r#""0s""#)],
    );
    let clock = WallClock::of(&mut server);
    server.launch();
    let client = server.client_with(&server.key("*"));
    let made = client.post("/webhooks", &json!({"events": ["clock_in"], "mode": "pull"})).expect(201);
    let id = made.data()["id"].clone();
    client.publish("clock_in", &clock_in(1));
    let alert = told.wait_for(1, "the alert").remove(0);
    assert_eq!(alert.json()["event"], "alert.feed_behind");
    let data = alert.json()["data"].clone();
    assert_eq!(
        (&data["account"], &data["subscription_id"], &data["host"]),
        (&json!("default"), &id, &Value::Null),
        "{data}"
    );
    assert!(data["message"].as_str().unwrap().contains("alerts.feed_behind_after"), "{data}");
    // The reader catches up with one of two events, and then with both.
    client.publish("clock_in", &clock_in(2));
    nothing_waits(&server);
    server.restart();
    let client = server.client_with(&server.key("*"));
    for _ in 0..2 {
        let read = client.get(&format!("/feeds/{id}?limit=1")).expect(200);
        let cursor = &read.json["pagination"]["next_cursor"];
        client.post(&format!("/feeds/{id}/ack"), &json!({"cursor": cursor})).expect(200);
    }
    assert_eq!(kinds(&told).len(), 1, "a state is told once");
    clock.set(2 * 3600);
    client.publish("clock_in", &clock_in(3));
    told.wait_for(2, "the next alert");
    assert_eq!(kinds(&told), ["alert.feed_behind"; 2]);
}

#[test]
fn a_store_that_fails_is_told_of_at_once_or_after_the_next_start() {
    let told = Receiver::start();
    let mut server = server_that_tells(&told, &[]);
    server.launch();
    let client = server.client();
    client.subscribe("http://127.0.0.1:9/", &["clock_in"]);
    // That the key was used has a commit of its own, and the file is to be damaged while there is none.
    eventually("the use of the key is stored", || {
        let keys = printed(&server.cli(&["keys", "list", "--json"]));
        keys["data"][0]["last_used_at"].is_string().then_some(())
    });
    let database = server.data_dir().join("tempclock.redb");
    let kept = fs::read(&database).unwrap();
    fs::File::options().write(true).open(&database).unwrap().write_all_at(&[0; 512], 0).unwrap();
    assert_eq!(server.wait_for_exit().code(), Some(74));
    let alert = told.wait_for(1, "the alert").remove(0);
    assert_eq!(alert.json()["event"], "alert.store_failed");
    let left = server.data_dir().join("store-failed");
    assert!(!left.exists());

    // As it is left if nobody could be told.
    fs::write(&database, kept).unwrap();
    fs::write(&left, "2026-03-02T08:00:00.000Z").unwrap();
    server.launch();
    let alert = told.wait_for(2, "the alert after the start").remove(1);
    assert_eq!(alert.json()["event"], "alert.store_failed");
    assert!(alert.text().contains("2026-03-02T08:00:00.000Z") && !left.exists(), "{}", alert.text());
}

#[test]
fn a_webhook_into_a_forbidden_network_and_wrong_settings_are_refused_at_the_start() {
    let told = Receiver::start();
    for (settings, words) in [
        (vec![("alerts.webhook_url", "'http://10.0.0.1/'")], "alerts.webhook_url: "),
        (vec![("alerts.webhook_url", "'ftp://example.com/'")], "alerts.webhook_url is not a URL"),
        (vec![("alerts.webhook_secret_file", "")], "alerts.webhook_secret_file"),
        (vec![("alerts.email_to", "['ops@localhost']")], "alerts.email_to entry 1 is not a mail address"),
        (vec![("alerts.email_to", "['ops@example.com']")], "alerts.smtp"),
        (vec![("alerts.smtp", "'smtp://u:pa55@mail.example:25'")], "alerts.smtp is not a mail server"),
        (vec![("alerts.command", "'tell'")], "alerts.command is not an absolute path"),
        (vec![("alerts.digest", "'7'")], "alerts.digest is not a time of day"),
        (
            vec![("alerts.smtp", "'smtp://127.0.0.1:25'"), ("alerts.smtp_credentials_file", "'/etc/hostname'")],
            "is not encrypted",
        ),
    ] {
        let mut server = server_that_tells(&told, &[]);
        server.configure(&settings);
        let refused = server.fail_to_start();
        assert_eq!(refused.code, Some(3), "{settings:?}: {refused:?}");
        assert!(refused.stderr.contains(words) && !refused.stderr.contains("pa55"), "{settings:?}: {}", refused.stderr);
    }
    assert!(told.requests().is_empty());
}

#[test]
fn a_test_says_what_happened_by_each_way() {
    let told = Receiver::start();
    let mut server = server_that_tells(&told, &[("alerts.command", "'/bin/false'")]);
    let tried = server.cli(&["alerts", "test"]);
    assert_eq!(tried.code, Some(1), "{tried:?}");
    assert!(tried.stdout.contains("webhook") && tried.stdout.contains("sent"), "{tried:?}");
    assert!(tried.stdout.contains("/bin/false failed"), "{tried:?}");
    assert_eq!(kinds(&told), ["alert.test"]);
    server.configure(&[("alerts.command", ""), ("alerts.webhook_url", ""), ("alerts.webhook_secret_file", "")]);
    let nobody = server.cli(&["alerts", "test"]);
    assert!(nobody.code == Some(2) && nobody.stderr.contains("alerts.email_to"), "{nobody:?}");
}
