//! Evidence holds what a worker's events were, where they went and what became of them.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::harness::{Client, Receiver, Reply, Server, clock_in};

fn of_worker(entry: u64, worker: &Value) -> Value {
    let mut data = clock_in(entry);
    data["worker_id"] = worker.clone();
    data
}

fn lines(client: &Client, query: &str) -> Vec<Value> {
    let answer = client.get(&format!("/evidence?{query}")).expect(200);
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn each_event_of_the_worker_is_there_with_its_digest_and_each_attempt_with_its_signature() {
    let (good, bad) = (Receiver::start(), Receiver::answering(|_| Reply::status(500)));
    let server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let client = server.client();
    let first = client.subscribe(&good.url("/good"), &["clock_in"]);
    client.subscribe(&bad.url("/bad"), &["clock_in"]);
    let own = client.publish("clock_in", &of_worker(1, &json!(52)));
    let other = client.publish("clock_in", &of_worker(2, &json!("0052")));
    client.wait_for_total("/deliveries?status=pending", 0);
    let found = lines(&client, "worker_id=52");
    assert_eq!(found.iter().map(|line| &line["id"]).collect::<Vec<_>>(), [&json!(own)], "{other} is of another worker");
    let received =
        good.wait_for(2, "both events").into_iter().find(|request| request.json()["id"] == own.as_str()).unwrap();
    assert_eq!(found[0]["sha256"], hex::encode(Sha256::digest(&received.body)));
    let deliveries = found[0]["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 2);
    let delivered = &deliveries[0];
    assert_eq!((&delivered["subscription_id"], &delivered["status"]), (&json!(first.id), &json!("delivered")));
    let attempt = &delivered["attempts"][0];
    assert_eq!(attempt["signature"], received.header("x-tempclock-signature"));
    assert_eq!(attempt["headers"]["X-TempClock-Signature"], attempt["signature"]);
    assert_eq!((&attempt["url"], &attempt["response_code"]), (&json!(good.url("/good")), &json!(200)));
    assert_eq!(deliveries[1]["attempts"][0]["response_code"], 500);
    assert!(lines(&client, "worker_id=52&until=2020-01-01T00:00:00Z").is_empty());
    assert!(lines(&client, "worker_id=53").is_empty());
}

#[test]
fn all_pages_follow_each_other_and_a_table_has_a_row_for_each_attempt() {
    let receiver = Receiver::start();
    let server = Server::start(&[]);
    let client = server.client();
    client.subscribe(&receiver.url("/a"), &["clock_in"]);
    let events: Vec<Value> =
        (0..230).map(|entry| json!({"event": "clock_in", "data": of_worker(entry, &json!(7))})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
    client.wait_for_total("/deliveries?status=pending", 0);
    let ids: Vec<_> =
        lines(&client, "worker_id=7").iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 230);
    assert!(ids.is_sorted_by(|one, next| one > next), "newest first, each once");
    let table = client.get("/evidence?worker_id=7&format=csv").expect(200).text;
    let mut rows = table.lines();
    assert!(rows.next().unwrap().starts_with("event_id,event,"));
    assert_eq!(rows.clone().count(), 230);
    assert!(rows.all(|row| row.contains(",delivered,") && row.contains(",200,")), "{table}");
    let printed = server.cli(&["evidence", "--worker", "7", "--since", "1d"]);
    assert_eq!((printed.code, printed.stdout.lines().count()), (Some(0), 230), "{}", printed.stderr);
    let printed = server.cli(&["evidence", "--worker", "7", "--format", "csv"]);
    assert_eq!(printed.stdout, table.replace("\r\n", "\n"), "{}", printed.stderr);
}

#[test]
fn what_is_wrong_with_a_request_for_evidence_is_named_and_its_scope_is_needed() {
    let server = Server::start(&[]);
    let client = server.client();
    client.get("/evidence?format=xml&since=x").expect(400).expect_wrong(&["format", "since", "worker_id"]);
    server.client_with(&server.key("webhooks:read")).get("/evidence?worker_id=1").expect(403);
    let wrong = server.cli(&["evidence", "--worker", &"9".repeat(300)]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("worker_id"), "{}", wrong.stderr);
}
