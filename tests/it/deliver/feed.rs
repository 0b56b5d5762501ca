//! Feeds: events that a receiver reads, and acknowledges.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Receiver, Server, WallClock, clock_in, eventually, signature_standard};

/// A subscription whose events are read: its number and secret.
#[track_caller]
fn feed(client: &Client) -> (i64, String) {
    let made = client.post("/webhooks", &json!({"events": ["clock_in"], "mode": "pull"})).expect(201);
    assert!(made.data().get("url").is_none(), "{}", made.text);
    (made.data()["id"].as_i64().unwrap(), made.data()["secret"].as_str().unwrap().to_owned())
}

fn entries(page: &Answer) -> Vec<u64> {
    page.rows().iter().map(|item| item["event"]["data"]["entry_id"].as_u64().unwrap()).collect()
}

fn next(page: &Answer) -> String {
    page.json["pagination"]["next_cursor"].as_str().unwrap().to_owned()
}

#[track_caller]
fn read(client: &Client, id: i64, query: &str) -> Answer {
    client.get(&format!("/feeds/{id}?{query}")).expect(200)
}

#[track_caller]
fn acknowledge(client: &Client, id: i64, cursor: &str) -> String {
    let done = client.post(&format!("/feeds/{id}/ack"), &json!({"cursor": cursor})).expect(200);
    done.data()["cursor"].as_str().unwrap().to_owned()
}

#[test]
fn a_feed_is_read_page_by_page_and_full_pages_stay_as_they_were() {
    let mut server = Server::start(&[]);
    let key = server.key("*");
    let client = server.client_with(&key);
    let (id, secret) = feed(&client);
    for entry in 1..=5 {
        client.publish("clock_in", &clock_in(entry));
    }
    let first = read(&client, id, "limit=2");
    assert_eq!((entries(&first), &first.json["pagination"]["has_more"]), (vec![1, 2], &json!(true)));
    let header = |name: &str| first.header(name).unwrap();
    let signed = signature_standard(&secret, header("webhook-id"), header("webhook-timestamp"), first.text.as_bytes());
    assert_eq!(header("webhook-signature"), signed);
    let second = read(&client, id, &format!("limit=2&cursor={}", next(&first)));
    assert_eq!(entries(&second), [3, 4]);
    let last = read(&client, id, &format!("cursor={}", next(&second)));
    assert_eq!((entries(&last), &last.json["pagination"]["has_more"]), (vec![5], &json!(false)));
    let pending = client.get(&format!("/webhooks/{id}/deliveries")).expect(200);
    assert!(
        pending.rows().iter().all(|row| row["status"] == "pending" && row["waiting_for"] == "pull"),
        "{}",
        pending.text
    );

    let assert_oldest = |page: &Answer| {
        let stored = client.delivery(page.rows()[0]["delivery_id"].as_str().unwrap())["created_at"].clone();
        assert_eq!(client.subscription(id)["unacknowledged_since"], stored);
        assert_eq!(client.get("/webhooks").expect(200).rows()[0]["unacknowledged_since"], stored);
    };
    assert_oldest(&first);
    assert_eq!(acknowledge(&client, id, &next(&second)), next(&second));
    assert_oldest(&last);
    assert_eq!(acknowledge(&client, id, &next(&first)), next(&second), "it never goes back");
    assert_eq!(entries(&read(&client, id, "")), [5]);
    assert_eq!(client.total(&format!("/webhooks/{id}/deliveries?status=delivered")), 4);
    let beginning = format!("cur_{id}_{:032x}", 0);
    for _ in 0..2 {
        let client = server.client_with(&key);
        assert_eq!(read(&client, id, &format!("limit=2&cursor={beginning}")).text, first.text);
        assert_eq!(read(&client, id, &format!("limit=2&cursor={}", next(&first))).text, second.text);
        assert_eq!(entries(&read(&client, id, &format!("cursor={beginning}"))), [1, 2, 3, 4, 5]);
        assert_eq!(entries(&read(&client, id, "")), [5]);
        server.kill_9();
        server.launch();
    }
}

#[test]
fn a_request_that_waits_is_answered_by_the_event_and_by_the_end_of_its_time() {
    let mut server = Server::start(&[]);
    let client = server.client_with(&server.key("*"));
    let (id, _) = feed(&client);
    let begun = Instant::now();
    assert_eq!(read(&client, id, "wait=50ms").rows().len(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let client = client.clone();
            thread::spawn(move || entries(&read(&client, id, "wait=60s")))
        })
        .collect();
    client.publish("clock_in", &clock_in(7));
    for waiting in waiting {
        assert_eq!(waiting.join().unwrap(), [7]);
    }
    // One that waits does not hold up the end of the server.
    let page = read(&client, id, "");
    let cursor = next(&page);
    let last = {
        let client = client.clone();
        thread::spawn(move || client.get(&format!("/feeds/{id}?wait=60s&cursor={cursor}")))
    };
    let begun = Instant::now();
    assert!(server.terminate().success());
    assert!(begun.elapsed() < Duration::from_secs(20));
    drop(last);
}

#[test]
fn what_is_no_cursor_of_the_feed_is_refused_with_a_sentence() {
    let server = Server::start(&[]);
    let client = server.client_with(&server.key("*"));
    let ((id, _), (other, _)) = (feed(&client), feed(&client));
    client.publish("clock_in", &clock_in(1));
    let foreign = next(&read(&client, other, ""));
    for (cursor, words) in [
        ("x".to_owned(), "is not a cursor of a feed"),
        (foreign, "is a cursor of the feed of subscription"),
        (format!("cur_{id}_{:032x}", u128::MAX), "is in the future"),
    ] {
        let refused = client.get(&format!("/feeds/{id}?cursor={cursor}")).expect(400);
        assert!(refused.text.contains(words), "{}", refused.text);
        let refused = client.post(&format!("/feeds/{id}/ack"), &json!({"cursor": cursor})).expect(400);
        assert!(refused.text.contains(words), "{}", refused.text);
    }
    for wrong in ["limit=0", "wait=61s", "wait=x"] {
        client.get(&format!("/feeds/{id}?{wrong}")).expect(400);
    }
    client.post(&format!("/feeds/{id}/ack"), &json!({})).expect(400).expect_wrong(&["cursor"]);
}

#[test]
fn a_feed_has_no_options_of_sending_and_nothing_is_sent_for_it() {
    let server = Server::start(&[]);
    let client = server.client_with(&server.key("*"));
    let receiver = Receiver::start();
    let wish =
        json!({"events": ["clock_in"], "mode": "pull", "url": receiver.url("/"), "timeout": "5s", "rate_limit": "1/s"});
    client.post("/webhooks", &wish).expect(400).expect_wrong(&["rate_limit", "timeout"]);
    let wish = json!({"events": ["clock_in"], "mode": "pull", "url": receiver.url("/")});
    client.post("/webhooks", &wish).expect(400).expect_wrong(&["url"]);
    client.post("/webhooks", &json!({"events": ["clock_in"]})).expect(400).expect_wrong(&["url"]);
    let (id, _) = feed(&client);
    client.put(&format!("/webhooks/{id}"), &json!({"mode": "push"})).expect(400).expect_wrong(&["mode"]);
    let whole = client.subscription(id);
    assert_eq!(client.change(id, &whole).expect(200).data()["mode"], "pull");
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.delivery_ids(&event).remove(0);
    for path in [format!("/webhooks/{id}/test"), format!("/deliveries/{delivery}/retry")] {
        client.post_nothing(&path).expect(409).expect_error("is_a_feed");
    }
    client.post(&format!("/webhooks/{id}/replay"), &json!({"since": "2001-01-01T00:00:00Z"})).expect(409);
    let pushed = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    client.get(&format!("/feeds/{pushed}")).expect(409).expect_error("not_a_feed");
    client.change(id, &json!({"active": false})).expect(200);
    client.get(&format!("/feeds/{id}")).expect(409).expect_error("feed_disabled");
    let stranger = server.client_with(&server.key("webhooks:read"));
    stranger.get(&format!("/feeds/{id}")).expect(403);
    server.client_with(&server.key_for("other", "*")).get(&format!("/feeds/{id}")).expect(404);
}

#[test]
fn an_event_that_was_erased_keeps_its_place_before_and_after_it_is_acknowledged() {
    let server = Server::start(&[]);
    let scopes = "webhooks:read,webhooks:write,events:write,events:read,events:erase,feed:read";
    let client = server.client_with(&server.key(scopes));
    let (id, _) = feed(&client);
    for (entry, worker) in [(1, 52), (2, 53), (3, 52)] {
        let mut data = clock_in(entry);
        data["worker_id"] = worker.into();
        client.publish("clock_in", &data);
    }
    let whole = read(&client, id, "");
    acknowledge(&client, id, &next(&read(&client, id, "limit=1")));
    let erasure = client.post("/erasures", &json!({"worker_id": 52})).expect(202);
    let job = format!("/jobs/{}", erasure.data()["job"]["id"].as_str().unwrap());
    eventually("both events are erased", || (client.get(&job).data()["state"] == "finished").then_some(()));
    let beginning = format!("cursor=cur_{id}_{:032x}", 0);
    let after = read(&client, id, &beginning);
    let expected: Vec<Value> = whole
        .rows()
        .iter()
        .map(|item| {
            let is_erased = item["event"]["data"]["worker_id"] == 52;
            if is_erased { json!({"delivery_id": item["delivery_id"], "erased": true}) } else { item.clone() }
        })
        .collect();
    assert_eq!(*after.rows(), expected);
    acknowledge(&client, id, &next(&after));
    client.wait_for_total(&format!("/webhooks/{id}/deliveries?status=delivered"), 3);
    assert_eq!(read(&client, id, &beginning).text, after.text);
}

#[test]
fn what_is_not_acknowledged_in_time_expires_and_the_reader_goes_on_with_what_comes() {
    let mut server = Server::stopped(&[("retention.held", r#""1h""#)]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let client = server.client_with(&server.key("*"));
    let (id, _) = feed(&client);
    let read_one = client.publish("clock_in", &clock_in(1));
    let late = client.publish("clock_in", &clock_in(2));
    acknowledge(&client, id, &next(&read(&client, id, "limit=1")));
    let before = read(&client, id, "");
    assert_eq!(entries(&before), [2]);
    clock.set(2 * 3600);
    assert_eq!(server.cli(&["clock", "confirm", "--yes"]).code, Some(0));
    let expired = client.settled(&late, "expired");
    assert_eq!(expired["attempt_count"], 0, "{expired}");
    assert_eq!(client.delivery_of(&read_one)["status"], "delivered");
    assert_eq!(read(&client, id, "").rows().len(), 0);
    assert_eq!(client.subscription(id).get("unacknowledged_since"), None);
    // A page that was read before it expired changes nothing any more.
    acknowledge(&client, id, &next(&before));
    assert_eq!(client.delivery_of(&late)["status"], "expired");
    client.publish("clock_in", &clock_in(3));
    assert_eq!(entries(&read(&client, id, "")), [3]);
    assert_eq!(entries(&read(&client, id, &format!("cursor=cur_{id}_{:032x}", 0))), [1, 3]);
}

#[test]
fn a_long_backlog_is_settled_in_steps_and_survives_a_kill() {
    let mut server = Server::start(&[]);
    let key = server.key("*");
    let client = server.client_with(&key);
    let (id, _) = feed(&client);
    for _ in 0..2 {
        let events: Vec<Value> = (0..1000).map(|entry| json!({"event": "clock_in", "data": clock_in(entry)})).collect();
        client.post("/events/batch", &json!({"events": events})).expect(202);
    }
    let mut page = read(&client, id, "");
    while page.json["pagination"]["has_more"] == true {
        page = read(&client, id, &format!("cursor={}", next(&page)));
    }
    acknowledge(&client, id, &next(&page));
    server.kill_9();
    server.launch();
    let client = server.client_with(&key);
    assert_eq!(read(&client, id, "").rows().len(), 0);
    let delivered = format!("/webhooks/{id}/deliveries?status=delivered");
    eventually("everything is delivered", || (client.total(&delivered) == 2000).then_some(()));
}
