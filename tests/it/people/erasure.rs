//! An erasure leaves of a worker's events what proves that they were delivered, and nothing that they said.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Answer, Client, Gate, Received, Receiver, Reply, Server, clock_in, eventually};

const SCOPES: &str = "webhooks:read,webhooks:write,events:write,events:read,events:erase,audit:read";
/// Stands in what a worker's events say, and nowhere else.
const NAME: &str = "Zofia-Erased-Me";
/// What a receiver answers.
const ANSWERED: &str = "thank-you-zofia";

fn of_worker(entry: u64, worker: &Value) -> Value {
    let mut data = clock_in(entry);
    data["worker_id"] = worker.clone();
    data["worker_name"] = if *worker == json!(52) { NAME.into() } else { "Ada".into() };
    data
}

fn publish(client: &Client, entry: u64, worker: &Value) -> String {
    client.publish("clock_in", &of_worker(entry, worker))
}

fn wait_for_end(client: &Client, created: &Answer) -> Value {
    let path = format!("/jobs/{}", created.data()["job"]["id"].as_str().unwrap());
    eventually("the erasure has ended", || {
        let job = client.get(&path).expect(200).data().clone();
        (!["waiting", "running"].contains(&job["state"].as_str().unwrap())).then_some(job)
    })
}

fn erase(client: &Client, body: &Value) -> Value {
    let ended = wait_for_end(client, &client.post("/erasures", body).expect(202));
    assert_eq!((&ended["kind"], &ended["state"]), (&json!("erasure"), &json!("finished")), "{ended}");
    ended
}

#[test]
fn what_the_events_of_a_worker_said_is_gone_and_what_became_of_them_stays() {
    let said = |sent: &Received| if sent.text().contains(NAME) { ANSWERED } else { "thank you" };
    let good = Receiver::answering(move |sent| Reply::with(200, &[("X-Said", said(sent))], said(sent)));
    let bad = Receiver::answering(move |sent| Reply::with(500, &[], said(sent)));
    let mut server = Server::start(&[("delivery.retry_schedule", "[\"1h\"]")]);
    let client = server.client_with(&server.key(SCOPES));
    client.subscribe(&good.url("/good"), &["clock_in"]);
    let failing = client.subscribe(&bad.url("/bad"), &["clock_in"]).id;
    let whole = json!({"event": "clock_in", "id": "mine-1", "tags": [NAME], "data": of_worker(1, &json!(52))});
    let own = client.post("/events", &whole).expect(202).data()["id"].as_str().unwrap().to_owned();
    let own_too = publish(&client, 2, &json!("52"));
    let other = publish(&client, 3, &json!("0052"));
    client.wait_for_total("/deliveries?status=delivered", 3);
    let failed = client.delivery_ids(&own).into_iter().find(|id| id.ends_with(&format!("{failing:08x}"))).unwrap();
    client.wait_for_delivery(&failed, "was attempted", |delivery| delivery["attempt_count"] == 1);
    let sent = good.wait_for(3, "all events").into_iter().find(|sent| sent.json()["id"] == own.as_str()).unwrap();

    let ended = erase(&client, &json!({"worker_id": 52}));
    assert_eq!((&ended["done"], &ended["of"], &ended["error"]), (&json!(2), &json!(2), &json!(null)));
    let event = client.get(&format!("/events/{own}")).expect(200).data().clone();
    assert_eq!(event["sha256"], hex::encode(Sha256::digest(&sent.body)));
    assert!(event["erased_at"].is_string(), "{event}");
    assert_eq!((&event["data"], &event["timestamp"], &event["tags"]), (&json!(null), &json!(null), &json!([])));
    let states: Vec<_> = event["deliveries"].as_array().unwrap().iter().map(|found| &found["status"]).collect();
    assert_eq!(states, ["delivered", "cancelled"]);
    for id in client.delivery_ids(&own) {
        let delivery = client.delivery(&id);
        assert_eq!((&delivery["body"], delivery["attempts"].as_array().unwrap().len()), (&json!(null), 1));
        assert_eq!(delivery["attempts"][0]["response"], json!(null));
        assert!(delivery["attempts"][0]["request"]["headers"]["X-TempClock-Signature"].is_string());
        let refused = client.post_nothing(&format!("/deliveries/{id}/retry")).expect(409);
        refused.expect_error("event_erased");
    }
    for found_by in ["worker_id=52", &format!("tag={NAME}"), "entry_id=1", "entry_id=2"] {
        assert!(client.get(&format!("/events?{found_by}")).expect(200).rows().is_empty(), "{found_by}");
        assert!(client.get(&format!("/deliveries?{found_by}")).expect(200).rows().is_empty(), "{found_by}");
    }
    assert_eq!(client.get("/evidence?worker_id=52").expect(200).text, "");
    assert!(client.get(&format!("/events/{own_too}")).expect(200).data()["data"].is_null());
    assert_eq!(client.get(&format!("/events/{other}")).expect(200).data()["data"]["worker_name"], "Ada");
    assert_eq!(client.get("/events?worker_id=0052").expect(200).rows().len(), 1, "that is another worker");
    assert_eq!((client.total("/events"), client.total("/deliveries?status=cancelled")), (3, 2));

    // A repeat of the publish is still a repeat, and brings nothing back.
    let again = client.post("/events", &whole).expect(202);
    assert_eq!((&again.data()["id"], &again.data()["duplicate"]), (&json!(own), &json!(true)));
    let replay = json!({"since": "2020-01-01T00:00:00Z", "only": "all", "dry_run": true});
    let counted = client.post(&format!("/webhooks/{failing}/replay"), &replay).expect(200);
    assert_eq!(counted.data()["count"], 0, "erased events are never replayed");

    let audit = client.get("/audit").expect(200);
    let record = audit.rows().iter().find(|record| record["object"] == ended["id"]).unwrap();
    assert_eq!((&record["action"], &record["after"]["worker_id"]), (&json!("job.created"), &json!("52")));
    // Nothing that is stored has a word of it any more.
    let file = server.folder().join("after.bak");
    let saved = server.cli(&["backup", "--output", file.to_str().unwrap()]);
    assert_eq!(saved.code, Some(0), "{saved:?}");
    let stored = fs::read(&file).unwrap();
    for word in [NAME, ANSWERED] {
        assert!(!stored.windows(word.len()).any(|part| part == word.as_bytes()), "{word} is in the backup");
    }
    assert!(stored.windows(3).any(|part| part == b"Ada"), "and what is stored of others is");
    assert!(server.terminate().success());
    let compacted = server.cli(&["compact"]);
    assert_eq!(compacted.code, Some(0), "{compacted:?}");
    let stored = fs::read(server.data_dir().join("tempclock.redb")).unwrap();
    for word in [NAME, ANSWERED] {
        assert!(!stored.windows(word.len()).any(|part| part == word.as_bytes()), "{word} is in the compacted database");
    }
    let verified = server.cli(&["verify", file.to_str().unwrap()]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn an_event_with_pending_deliveries_is_kept_until_they_are_settled_if_that_is_asked_for() {
    let receiver = Receiver::start();
    let server = Server::start(&[]);
    let client = server.client_with(&server.key(SCOPES));
    client.subscribe(&receiver.url("/on"), &["clock_in"]);
    let settled = publish(&client, 1, &json!(52));
    client.settled(&settled, "delivered");
    let off = client.subscribe(&receiver.url("/off"), &["clock_in"]).id;
    client.change(off, &json!({"active": false})).expect(200);
    let held = publish(&client, 2, &json!(52));
    client.wait_for_total("/deliveries?status=delivered", 2);
    let created = client.post("/erasures", &json!({"worker_id": "52", "deliver_pending": true})).expect(202);
    let path = format!("/events/{settled}");
    eventually("what is settled is erased", || client.get(&path).data()["erased_at"].is_string().then_some(()));
    assert_eq!(client.get(&format!("/events/{held}")).data()["data"]["worker_name"], NAME);
    let job = client.get(&format!("/jobs/{}", created.data()["job"]["id"].as_str().unwrap())).expect(200);
    assert_eq!((&job.data()["state"], &job.data()["done"]), (&json!("running"), &json!(1)));
    client.change(off, &json!({"active": true})).expect(200);
    let ended = wait_for_end(&client, &created);
    assert_eq!((&ended["state"], &ended["done"]), (&json!("finished"), &json!(2)), "{ended}");
    assert!(client.get(&format!("/events/{held}")).data()["data"].is_null());
    assert_eq!(client.total("/deliveries?status=delivered"), 3, "it was delivered first");
}

#[test]
fn an_attempt_that_is_under_way_leaves_nothing_of_its_answer_and_is_the_last() {
    let gate = Gate::default();
    let receiver = Receiver::first([Reply::Held(gate.clone(), 500)]);
    let server = Server::start(&[]);
    let client = server.client_with(&server.key(SCOPES));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = publish(&client, 1, &json!(52));
    receiver.wait_for(1, "the attempt");
    erase(&client, &json!({"worker_id": 52}));
    let id = client.delivery_ids(&event).remove(0);
    assert_eq!(client.delivery(&id)["status"], "cancelled");
    gate.open();
    let delivery = client.wait_for_delivery(&id, "the attempt is recorded", |found| found["attempt_count"] == 1);
    assert_eq!((&delivery["status"], &delivery["attempts"][0]["response"]), (&json!("cancelled"), &json!(null)));
    // What comes after it overtakes nothing.
    client.settled(&publish(&client, 2, &json!(7)), "delivered");
    assert_eq!(receiver.requests().len(), 2);
}

#[test]
fn an_erasure_goes_on_after_a_kill() {
    const EVENTS: u64 = 300;
    let mut server = Server::start(&[]);
    let key = server.key(SCOPES);
    let client = server.client_with(&key);
    let id = client.subscribe("http://127.0.0.1:9/", &["clock_in"]).id;
    client.change(id, &json!({"active": false})).expect(200);
    let events: Vec<_> =
        (0..EVENTS).map(|entry| json!({"event": "clock_in", "data": of_worker(entry, &json!(52))})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
    let created = client.post("/erasures", &json!({"worker_id": 52})).expect(202);
    server.kill_9();
    server.launch();
    let client = server.client_with(&key);
    let ended = wait_for_end(&client, &created);
    assert_eq!((&ended["state"], &ended["done"]), (&json!("finished"), &json!(EVENTS)), "{ended}");
    assert_eq!(client.total("/deliveries?status=cancelled"), EVENTS);
    assert_eq!(client.total("/deliveries?status=pending"), 0);
}

#[test]
fn only_a_key_that_names_the_scope_may_erase_and_wrong_fields_are_named() {
    let server = Server::start(&[]);
    let client = server.client_with(&server.key(SCOPES));
    let id = client.subscribe("http://127.0.0.1:9/", &["clock_in"]).id.to_string();
    let body = json!({"worker_id": 52});
    server.client_with(&server.key("*")).post("/erasures", &body).expect(403).expect_error("forbidden");
    let limited = server.create_key(&["--name", "one", "--scopes", "events:erase", "--subscriptions", &id]);
    let limited = server.client_with(limited["key"].as_str().unwrap());
    limited.post("/erasures", &body).expect(403).expect_error("limited_to_subscriptions");
    client.post("/erasures", &json!({"deliver_pending": 1, "worker": 2})).expect(400).expect_wrong(&[
        "deliver_pending",
        "worker",
        "worker_id",
    ]);
    assert!(client.get("/jobs").expect(200).rows().is_empty());
}

#[test]
fn the_command_erases_and_names_the_last_backup() {
    let mut server = Server::start(&[]);
    let client = server.client_with(&server.key(SCOPES));
    let event = publish(&client, 1, &json!(52));
    let first = client.post("/erasures", &json!({"worker_id": 1})).expect(202);
    assert!(first.data()["last_backup_at"].is_null(), "{}", first.text);
    assert!(server.cli(&["events", "erase", "--worker", "52"]).stderr.contains("--yes"));
    let file = server.folder().join("kept.bak");
    let saved = server.cli(&["backup", "--output", file.to_str().unwrap()]);
    assert_eq!((saved.code, saved.stderr.contains("does not know")), (Some(0), false), "{saved:?}");
    let erased = server.cli(&["events", "erase", "--worker", "52", "--yes"]);
    assert_eq!((erased.code, erased.stdout.as_str()), (Some(0), "1 event erased.\n"), "{erased:?}");
    assert!(erased.stderr.contains("The last backup before the erasure is from"), "{erased:?}");
    let shown = server.cli(&["events", "show", &event]);
    assert!(shown.stdout.contains("sha256") && !shown.stdout.contains(NAME), "{shown:?}");
    let waits = server.cli(&["events", "erase", "--worker", "52", "--yes", "--deliver-pending"]);
    assert!(waits.code == Some(0) && waits.stdout.contains("jobs show job_"), "{waits:?}");
    assert!(server.terminate().success());
    let saved = server.cli(&["backup", "--output", file.to_str().unwrap()]);
    assert_eq!((saved.code, saved.stderr.contains("does not know")), (Some(0), false), "{saved:?}");
}
