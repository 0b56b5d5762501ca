//! Work on many deliveries: asked for once, counted beforehand, followed, stopped, and gone on with after a kill.

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Receiver, Reply, Server, clock_in, eventually, fields, time};

/// One attempt and no more.
const ONCE: (&str, &str) = ("delivery.retry_schedule", "[]");

fn publish_batch(client: &Client, count: u64) {
    let events: Vec<_> = (0..count).map(|entry| json!({"event": "clock_in", "data": clock_in(entry)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
}

fn wait_for_end(client: &Client, created: &Answer) -> Value {
    let path = format!("/jobs/{}", created.data()["job"]["id"].as_str().unwrap());
    eventually("the job has ended", || {
        let job = client.get(&path).expect(200).data().clone();
        (!["waiting", "running"].contains(&job["state"].as_str().unwrap())).then_some(job)
    })
}

#[test]
fn a_job_redelivers_what_is_selected_and_nothing_else() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let receiver = Receiver::start();
    receiver.rule(|_| Reply::status(500));
    let ids = ["/a", "/b"].map(|path| client.subscribe(&receiver.url(path), &["clock_in"]).id);
    publish_batch(&client, 40);
    client.wait_for_total("/deliveries?status=exhausted", 80);
    let before = client.publish("clock_in", &clock_in(99));
    client.wait_for_total("/deliveries?status=exhausted", 82);
    receiver.rule(|_| Reply::status(200));

    let wanted = json!({"subscription": ids[0], "event": "clock_in", "status": null});
    let mut dry = wanted.clone();
    dry["dry_run"] = true.into();
    let counted = client.post("/deliveries/retry", &dry).expect(200);
    assert_eq!(counted.json, json!({"data": {"count": 41, "is_exact": true}}));
    assert_eq!(client.get("/jobs").expect(200).json["data"], json!([]));
    assert_eq!(client.total("/deliveries?status=exhausted"), 82, "a dry run has sent something");

    let created = client.post("/deliveries/retry", &wanted).expect(202);
    let job = &created.data()["job"];
    assert_eq!((&job["kind"], &job["of"]), (&json!("retry"), &json!(41)), "{job}");
    let ended = wait_for_end(&client, &created);
    assert_eq!(fields(&ended), fields(job));
    assert_eq!((&ended["state"], &ended["done"], &ended["of"]), (&json!("finished"), &json!(41), &json!(41)));
    assert!(time(&ended["started_at"]) <= time(&ended["finished_at"]) && ended["error"].is_null(), "{ended}");
    client.wait_for_total(&format!("/webhooks/{}/deliveries?status=delivered", ids[0]), 41);
    assert_eq!(client.total(&format!("/webhooks/{}/deliveries?status=exhausted", ids[1])), 41);

    let until = client.get(&format!("/events/{before}")).data()["created_at"].clone();
    for (more, count) in [
        (json!({"event": "clock_out"}), 0),
        (json!({"until": until}), 40),
        (json!({"since": until}), 1),
        (json!({"status": "delivered"}), 41),
    ] {
        let mut asked = more.clone();
        asked["dry_run"] = true.into();
        assert_eq!(client.post("/deliveries/retry", &asked).expect(200).data()["count"], count, "{more}");
    }
    let rest = wait_for_end(&client, &client.post("/deliveries/retry", &json!({})).expect(202));
    assert_eq!(rest["done"], 41);
    client.wait_for_total("/deliveries?status=delivered", 82);
}

#[test]
fn jobs_are_listed_newest_first_page_by_page_and_stay_with_their_account() {
    let server = Server::start(&[]);
    let (client, other) = (server.client(), server.client_of("other"));
    let made: Vec<String> = (0..5)
        .map(|_| wait_for_end(&client, &client.post("/deliveries/retry", &json!({})).expect(202)))
        .map(|job| job["id"].as_str().unwrap().to_owned())
        .collect();
    let listed = client.get("/jobs?limit=2&offset=1").expect(200);
    let ids: Vec<_> = listed.rows().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [made[3].as_str(), made[2].as_str()]);
    assert_eq!(listed.json["pagination"], json!({"total": 5, "limit": 2, "offset": 1, "has_more": true}));
    let last = client.get("/jobs?limit=2&offset=4").expect(200);
    assert_eq!((last.rows().len(), &last.json["pagination"]["has_more"]), (1, &json!(false)));

    assert_eq!(other.get("/jobs").expect(200).json["data"], json!([]));
    for id in [made[0].as_str(), "job_00000000000000000000000000000000", "job_x", "evt_1"] {
        other.get(&format!("/jobs/{id}")).expect(404).expect_error("not_found");
        other.delete(&format!("/jobs/{id}")).expect(404).expect_error("not_found");
    }
    // What has ended stays as it ended.
    let stopped = client.delete(&format!("/jobs/{}", made[0])).expect(200);
    assert_eq!(stopped.data()["state"], "finished");
}

#[test]
fn a_job_that_is_stopped_says_so_whenever_that_was() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let receiver = Receiver::start();
    receiver.rule(|_| Reply::status(500));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    publish_batch(&client, 300);
    client.wait_for_total("/deliveries?status=exhausted", 300);
    let created = client.post("/deliveries/retry", &json!({})).expect(202);
    let path = format!("/jobs/{}", created.data()["job"]["id"].as_str().unwrap());
    let stopped = client.delete(&path).expect(200);
    let (state, done) = (stopped.data()["state"].as_str().unwrap(), stopped.data()["done"].as_u64().unwrap());
    assert!(state == "stopped" || (state, done) == ("finished", 300), "{}", stopped.text);
    assert!(stopped.json["message"].is_string() && stopped.data()["finished_at"].is_string(), "{}", stopped.text);
    client.wait_for_total("/deliveries?status=exhausted", 300);
    assert_eq!(client.get(&path).expect(200).data(), stopped.data());
    assert_eq!(receiver.requests().len() as u64, 300 + done);
}

#[test]
fn every_wrong_field_of_a_redelivery_of_many_is_named() {
    let server = Server::start(&[]);
    let client = server.client();
    let id = client.subscribe("http://127.0.0.1:9/", &["clock_in"]).id;
    let wrong = json!({
        "subscription": "1", "status": "lost", "event": "clock_im", "since": "yesterday", "until": 5, "dry_run": "yes",
        "statu": 1,
    });
    let refused = client.post("/deliveries/retry", &wrong).expect(400);
    refused.expect_wrong(&["subscription", "status", "event", "since", "until", "dry_run", "statu"]);
    for event in ["clock_im", "clock im"] {
        client.post("/deliveries/retry", &json!({"event": event})).expect(400).expect_wrong(&["event"]);
    }
    let held = client.post("/deliveries/retry", &json!({"status": "held"})).expect(400);
    assert!(held.json["errors"][0]["message"].as_str().unwrap().contains("when their subscription is enabled"));
    client.post_text("/deliveries/retry", r#"{"since": null, "since": null}"#).expect(400).expect_wrong(&["since"]);
    for (subscription, client) in [(id + 1, &client), (id, &server.client_of("other"))] {
        let missing = client.post("/deliveries/retry", &json!({"subscription": subscription})).expect(404);
        missing.expect_error("not_found");
    }
    assert_eq!(client.get("/jobs").expect(200).json["data"], json!([]));
}

#[test]
fn a_job_goes_on_after_a_kill_and_makes_each_delivery_due_once() {
    const EVENTS: u64 = 300;
    let mut server = Server::start(&[ONCE]);
    let key = server.key("*");
    let receiver = Receiver::start();
    receiver.rule(|_| Reply::status(500));
    let client = server.client_with(&key);
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    publish_batch(&client, EVENTS);
    client.wait_for_total("/deliveries?status=exhausted", EVENTS);
    // Nothing is sent before the count below.
    client.change(id, &json!({"active": false})).expect(200);
    let created = client.post("/deliveries/retry", &json!({})).expect(202);
    server.kill_9();
    server.launch();
    let client = server.client_with(&key);
    let ended = wait_for_end(&client, &created);
    assert_eq!((&ended["state"], &ended["done"]), (&json!("finished"), &json!(EVENTS)), "{ended}");
    assert_eq!(client.total("/deliveries?status=pending"), EVENTS);
    receiver.rule(|_| Reply::status(200));
    client.change(id, &json!({"active": true})).expect(200);
    client.wait_for_total("/deliveries?status=delivered", EVENTS);
    assert_eq!(receiver.requests().len() as u64, 2 * EVENTS);
}

#[test]
fn jobs_are_in_a_backup() {
    let mut server = Server::start(&[]);
    let key = server.key("*");
    let client = server.client_with(&key);
    let job = wait_for_end(&client, &client.post("/deliveries/retry", &json!({})).expect(202));
    let file = server.folder().join("moment.bak");
    let file = file.to_str().unwrap();
    assert_eq!(server.cli(&["backup", "--output", file]).code, Some(0));
    assert_eq!(server.cli(&["verify", file]).code, Some(0));
    wait_for_end(&client, &client.post("/deliveries/retry", &json!({})).expect(202));
    assert!(server.terminate().success());
    let restored = server.cli(&["restore", "--yes", file]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    server.launch();
    assert_eq!(server.client_with(&key).get("/jobs").expect(200).json["data"], json!([job]));
}
