//! Replay: a subscription gets stored events, those that it missed or all, behind what is new.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::contract::check_delivery;
use crate::harness::{Answer, Client, Gate, Receiver, Reply, Server, clock_in, eventually, printed, run, sample};

/// One attempt and no more.
const ONCE: (&str, &str) = ("delivery.retry_schedule", "[]");
/// The API reads this as any time before the tests.
const LONG_AGO: &str = "2020-01-01T00:00:00Z";
/// No more of a replay is due at the same time.
const WINDOW: u64 = 32;

fn publish_batch(client: &Client, count: u64) {
    let events: Vec<_> = (0..count).map(|entry| json!({"event": "clock_in", "data": clock_in(entry)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
}

fn replay(client: &Client, id: i64, further: &Value) -> Answer {
    let mut body = json!({"since": LONG_AGO});
    body.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    client.post(&format!("/webhooks/{id}/replay"), &body)
}

fn job(client: &Client, created: &Answer) -> Value {
    let id = created.data()["job"]["id"].as_str().unwrap();
    client.get(&format!("/jobs/{id}")).expect(200).data().clone()
}

fn wait_for_end(client: &Client, created: &Answer) -> Value {
    eventually("the job has ended", || {
        let job = job(client, created);
        (!["waiting", "running"].contains(&job["state"].as_str().unwrap())).then_some(job)
    })
}

#[test]
fn a_subscription_gets_events_from_before_it_was_made_and_each_once() {
    let mut server = Server::start(&[]);
    let client = server.client();
    let other = client.subscribe("http://127.0.0.1:9/", &["clock_out"]).id;
    client.change(other, &json!({"active": false})).expect(200);
    publish_batch(&client, 50);
    let out = client.publish("clock_out", &sample("clock_out"));
    client.post_nothing(&format!("/webhooks/{other}/test")).expect(200);
    let receiver = Receiver::start();
    let new = client.subscribe(&receiver.url("/"), &["clock_in", "clock_out", "ping"]);
    let later = client.publish("clock_in", &clock_in(99));
    client.settled(&later, "delivered");

    let dry = replay(&client, new.id, &json!({"dry_run": true})).expect(200);
    assert_eq!(dry.json, json!({"data": {"count": 51, "is_exact": true}}));
    assert_eq!(replay(&client, new.id, &json!({"dry_run": true, "events": ["clock_out"]})).data()["count"], 1);
    assert_eq!(receiver.requests().len(), 1, "a dry run has sent something");

    let created = replay(&client, new.id, &json!({"events": ["clock_in"]})).expect(202);
    assert_eq!(created.data()["job"]["kind"], "replay");
    let ended = wait_for_end(&client, &created);
    assert_eq!(
        (&ended["state"], &ended["done"], &ended["of"]),
        (&json!("finished"), &json!(50), &json!(50)),
        "{ended}"
    );
    client.wait_for_total(&format!("/webhooks/{}/deliveries?status=delivered", new.id), 51);
    let came = receiver.requests();
    assert_eq!(came.iter().map(|request| request.event_id()).collect::<BTreeSet<_>>().len(), 51);
    for request in &came {
        assert_eq!(request.attempt(), 1);
        request.assert_signed_with(&new.secret);
        check_delivery(request);
    }
    let first = came[1].event_id();
    let event = client.get(&format!("/events/{first}")).expect(200);
    assert_eq!(event.data()["deliveries"][0]["status"], "delivered", "{}", event.text);

    let again = wait_for_end(&client, &replay(&client, new.id, &json!({"events": ["clock_in"]})).expect(202));
    assert_eq!(again["done"], 0, "{again}");
    // What the other one has stays as it is, and the rest follows.
    let rest = wait_for_end(&client, &replay(&client, new.id, &json!({"only": null})).expect(202));
    assert_eq!(rest["done"], 1);
    receiver.wait_until("the clock_out", |came| came.iter().any(|request| request.event_id() == out));
    client.wait_for_total("/deliveries?status=pending", 1);
    assert!(server.terminate().success());
    let database = server.data_dir().join("tempclock.redb");
    let verified = run(&["verify", database.to_str().unwrap()], &[]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn what_failed_or_all_is_replayed_when_that_is_asked_for() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let receiver = Receiver::start();
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    publish_batch(&client, 5);
    client.wait_for_total("/deliveries?status=delivered", 5);
    receiver.rule(|_| Reply::status(500));
    publish_batch(&client, 10);
    client.wait_for_total("/deliveries?status=exhausted", 10);
    receiver.rule(|_| Reply::status(200));
    for (only, count) in [("missing", 0), ("failed", 10), ("all", 15)] {
        let dry = replay(&client, id, &json!({"only": only, "dry_run": true})).expect(200);
        assert_eq!(dry.data()["count"], count, "{only}");
    }
    let failed = wait_for_end(&client, &replay(&client, id, &json!({"only": "failed"})).expect(202));
    assert_eq!(failed["done"], 10);
    client.wait_for_total("/deliveries?status=delivered", 15);
    let all = wait_for_end(&client, &replay(&client, id, &json!({"only": "all"})).expect(202));
    assert_eq!(all["done"], 15);
    receiver.wait_for(40, "each of them again");
}

/// A server with a replay of 200 events to a receiver that answers nothing until the gate opens, as far as it goes then.
fn held_replay(server: &Server, key: &str, gate: &Gate) -> (Receiver, i64, Answer) {
    let client = server.client_with(key);
    publish_batch(&client, 200);
    let receiver = Receiver::start();
    let held = gate.clone();
    receiver.rule(move |_| Reply::Held(held.clone(), 204));
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let created = replay(&client, id, &json!({})).expect(202);
    eventually("the window is full", || (job(&client, &created)["done"] == WINDOW).then_some(()));
    (receiver, id, created)
}

#[test]
fn a_new_event_passes_all_of_a_replay_but_a_few_and_one_replay_of_a_subscription_runs_at_a_time() {
    let server = Server::start(&[("delivery.timeout", r#""10m""#)]);
    let key = server.key("*");
    let client = server.client_with(&key);
    let gate = Gate::default();
    let (receiver, id, created) = held_replay(&server, &key, &gate);
    replay(&client, id, &json!({})).expect(409).expect_error("replay_under_way");
    // Neither another subscription nor another job waits for it.
    let other = client.subscribe("http://127.0.0.1:9/", &["clock_out"]).id;
    assert_eq!(wait_for_end(&client, &replay(&client, other, &json!({})).expect(202))["state"], "finished");
    let retry = client.post("/deliveries/retry", &json!({"subscription": other})).expect(202);
    assert_eq!(wait_for_end(&client, &retry)["state"], "finished");
    assert_eq!(job(&client, &created)["done"], WINDOW, "more of it is due than its endpoint takes");

    let live = client.publish("clock_in", &clock_in(999));
    gate.open();
    assert_eq!(wait_for_end(&client, &created)["done"], 200);
    client.wait_for_total("/deliveries?status=delivered", 201);
    let came = receiver.requests();
    let place = came.iter().position(|request| request.event_id() == live).unwrap();
    // Of those that are in flight at the same time, any may come first.
    assert!(place as u64 <= 2 * WINDOW, "it came after {place} others");
    replay(&client, id, &json!({})).expect(202);
}

#[test]
fn a_replay_goes_on_after_a_kill() {
    let mut server = Server::start(&[("delivery.timeout", r#""10m""#)]);
    let key = server.key("*");
    let gate = Gate::default();
    let (receiver, _, created) = held_replay(&server, &key, &gate);
    server.kill_9();
    server.launch();
    gate.open();
    let client = server.client_with(&key);
    assert_eq!(wait_for_end(&client, &created)["done"], 200);
    client.wait_for_total("/deliveries?status=delivered", 200);
    let came: BTreeSet<_> = receiver.requests().iter().map(|request| request.event_id()).collect();
    assert_eq!(came.len(), 200);
}

#[test]
fn every_wrong_field_of_a_replay_is_named() {
    let server = Server::start(&[]);
    let client = server.client();
    let id = client.subscribe("http://127.0.0.1:9/", &["clock_in"]).id;
    let post = |body: Value| client.post(&format!("/webhooks/{id}/replay"), &body);
    post(json!({})).expect_wrong(&["since"]);
    post(json!({"since": "0001-01-01T00:00:00Z"})).expect_wrong(&["since"]);
    post(json!({"since": LONG_AGO, "until": LONG_AGO})).expect_wrong(&["until"]);
    let wrong = json!({"since": 5, "until": "now", "events": ["clock_im"], "only": "lost", "dry_run": 1, "sinc": 1});
    post(wrong).expect_wrong(&["since", "until", "events", "only", "dry_run", "sinc"]);
    replay(&client, id + 1, &json!({})).expect(404).expect_error("not_found");
    replay(&server.client_of("other"), id, &json!({})).expect(404).expect_error("not_found");
}

#[test]
fn the_command_line_replays_and_waits_for_it() {
    let server = Server::start(&[]);
    let client = server.client();
    publish_batch(&client, 40);
    let receiver = Receiver::start();
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id.to_string();
    let replay = ["deliveries", "replay", "--subscription", &id, "--since", "1h"];
    let dry = server.cli(&[&replay[..], &["--dry-run"]].concat());
    assert_eq!(dry.stdout, "40 events would be replayed.\n", "{dry:?}");
    let done = server.cli(&replay);
    assert_eq!((done.code, done.stdout.as_str()), (Some(0), "40 events replayed.\n"), "{done:?}");
    client.wait_for_total("/deliveries?status=delivered", 40);
    let again = printed(&server.cli(&[&replay[..], &["--json", "--only", "missing"]].concat()));
    assert_eq!((&again["data"]["state"], &again["data"]["done"]), (&json!("finished"), &json!(0)));
    let wrong = server.cli(&[&replay[..], &["--only", "lost"]].concat());
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    let unknown = server.cli(&["deliveries", "replay", "--subscription", "99", "--since", "1h"]);
    assert_eq!(unknown.code, Some(5), "{unknown:?}");
}
