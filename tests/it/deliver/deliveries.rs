//! Deliveries can be searched, looked into and asked for again; a receiver cannot abuse them.

use std::{collections::BTreeSet, time::Duration};

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::harness::{
    Client, Gate, Received, Receiver, Reply, Server, assert_has_fields, clock_in, eventually, sample, time,
    wait_for_the_next_millisecond,
};

/// One attempt and no more.
const ONCE: (&str, &str) = ("delivery.retry_schedule", "[]");

fn ids(client: &Client, path: &str) -> BTreeSet<String> {
    let answer = client.get(path).expect(200);
    let ids: BTreeSet<String> = answer.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(answer.json["pagination"]["total"], ids.len(), "{path}");
    ids
}

#[test]
fn a_delivery_shows_everything_about_its_attempts() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::first([
        Reply::with(500, &[("X-Reason", "tired"), ("Content-Type", "text/plain")], "not today"),
        Reply::with(202, &[("X-Job", "77")], "{\"ok\":true}"),
    ]);
    let subscription = client.subscribe(&receiver.url("/hook?x=1"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "delivered");
    let came = receiver.requests();

    assert_has_fields(
        &delivery,
        &[
            "id",
            "event_id",
            "event",
            "subscription_id",
            "status",
            "attempt_count",
            "next_attempt_at",
            "created_at",
            "completed_at",
            "attempts",
            "body",
        ],
    );
    assert_eq!(delivery["event_id"], event);
    assert_eq!(delivery["event"], "clock_in");
    assert_eq!(delivery["subscription_id"], subscription.id);
    assert_eq!(delivery["attempt_count"], 2);
    assert_eq!(delivery["body"], came[0].text());
    assert!(time(&delivery["created_at"]) <= time(&delivery["completed_at"]));

    let mut attempts = delivery["attempts"].as_array().unwrap().clone();
    attempts.sort_by_key(|attempt| attempt["attempt"].as_u64());
    assert_eq!(attempts.len(), 2);
    let wanted =
        [(1, "failed", 500, "x-reason", "tired", "not today"), (2, "delivered", 202, "x-job", "77", "{\"ok\":true}")];
    for ((attempt, request), (number, status, code, header, value, body)) in attempts.iter().zip(&came).zip(wanted) {
        assert!(attempt["id"].as_str().unwrap().starts_with("att_"));
        assert_eq!(attempt["attempt"], number);
        assert_eq!(attempt["status"], status);
        assert_eq!(attempt["response_code"], code);
        assert!(attempt["duration_ms"].is_u64(), "{attempt}");
        assert!(time(&attempt["created_at"]) <= time(&attempt["completed_at"]));
        assert_eq!(attempt["request"]["url"], receiver.url("/hook?x=1"));
        for name in ["X-TempClock-Delivery", "X-TempClock-Event", "X-TempClock-Attempt", "webhook-id", "User-Agent"] {
            assert_eq!(header_of(&attempt["request"]["headers"], name), request.header(name), "{name}");
        }
        assert_eq!(header_of(&attempt["response"]["headers"], header), value);
        assert_eq!(attempt["response"]["body"], body);
    }
    assert_eq!(attempts[1]["error"], json!(null));
    assert!(attempts[0]["error"].as_str().unwrap().contains("500"), "{}", attempts[0]);
}

#[track_caller]
fn header_of<'a>(headers: &'a Value, name: &str) -> &'a str {
    let object = headers.as_object().unwrap_or_else(|| panic!("{headers} are no headers"));
    let found = object.iter().find(|(present, _)| present.eq_ignore_ascii_case(name));
    found.unwrap_or_else(|| panic!("no {name} in {headers:#}")).1.as_str().unwrap()
}

#[test]
fn deliveries_are_found_by_status_event_subscription_code_and_time() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/good" => Reply::status(201),
        _ => Reply::status(418),
    });
    let good = client.subscribe(&receiver.url("/good"), &["clock_in", "clock_out"]).id;
    let bad = client.subscribe(&receiver.url("/bad"), &["clock_in"]).id;
    let first = client.publish("clock_in", &clock_in(1));
    for id in client.delivery_ids(&first) {
        client.wait_for_delivery(&id, "is settled", |d| d["status"] != "pending");
    }
    wait_for_the_next_millisecond();
    let second = client.publish("clock_out", &sample("clock_out"));
    client.settled(&second, "delivered");

    let all = ids(&client, "/deliveries");
    assert_eq!(all.len(), 3);
    let exhausted = ids(&client, "/deliveries?status=exhausted");
    assert_eq!(exhausted.len(), 1);
    let delivered = ids(&client, "/deliveries?status=delivered");
    assert_eq!(delivered.len(), 2);
    assert_eq!(ids(&client, "/deliveries?status=pending").len(), 0);
    assert_eq!(ids(&client, &format!("/deliveries?subscription={good}")), delivered);
    assert_eq!(ids(&client, &format!("/webhooks/{good}/deliveries")), delivered);
    assert_eq!(ids(&client, &format!("/webhooks/{bad}/deliveries")), exhausted);
    assert_eq!(ids(&client, "/deliveries?response_code=418"), exhausted);
    assert_eq!(ids(&client, "/deliveries?response_code=201"), delivered);
    assert_eq!(ids(&client, "/deliveries?response_code=500").len(), 0);
    let outs: BTreeSet<String> = client.delivery_ids(&second).into_iter().collect();
    assert_eq!(ids(&client, "/deliveries?event=clock_out"), outs);
    assert_eq!(ids(&client, &format!("/webhooks/{good}/deliveries?event=clock_out")), outs);
    assert_eq!(ids(&client, &format!("/deliveries?event=clock_in&subscription={good}")).len(), 1);
    assert_eq!(ids(&client, "/deliveries?event=clock_out&status=exhausted").len(), 0);

    let last = time(&client.delivery(outs.first().unwrap())["created_at"]);
    let after = last + SignedDuration::from_millis(1);
    assert_eq!(ids(&client, &format!("/deliveries?since={last:.3}")), outs);
    assert_eq!(ids(&client, &format!("/deliveries?since={after:.3}")).len(), 0);
    assert_eq!(ids(&client, &format!("/deliveries?until={after:.3}")), all);
    assert_eq!(ids(&client, &format!("/deliveries?since={last:.3}&until={after:.3}&status=exhausted")).len(), 0);
}

#[test]
fn a_filter_that_makes_no_sense_is_named() {
    let server = Server::start(&[]);
    let client = server.client();
    for (query, field) in [
        ("status=done", "status"),
        ("since=yesterday", "since"),
        ("until=2026-13-01T00:00:00Z", "until"),
        ("response_code=abc", "response_code"),
        ("response_code=99", "response_code"),
        ("response_code=9999", "response_code"),
        ("subscription=abc", "subscription"),
        ("limit=abc", "limit"),
        ("limit=-1", "limit"),
        ("offset=-1", "offset"),
        ("cursor=%00nonsense", "cursor"),
    ] {
        let answer = client.get(&format!("/deliveries?{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", answer.text);
        answer.expect_wrong(&[field]);
    }
    client.get("/deliveries?status=done&limit=abc&since=x").expect_wrong(&["status", "limit", "since"]);
}

#[test]
fn a_cursor_walks_through_all_deliveries_once_while_more_come_in() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let events: Vec<Value> = (0..25).map(|n| json!({"event": "clock_in", "data": clock_in(n)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);

    for list in ["/deliveries".to_owned(), format!("/webhooks/{id}/deliveries")] {
        let before = ids(&client, &format!("{list}?limit=100"));
        assert!(before.len() >= 25);
        let mut seen = Vec::new();
        let mut path = format!("{list}?limit=10");
        for page in 0.. {
            assert!(page < 10, "the cursor never ends");
            let answer = client.get(&path).expect(200);
            seen.extend(answer.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()));
            if page == 0 {
                client.publish("clock_in", &clock_in(99));
            }
            let Some(cursor) = answer.json["pagination"]["next_cursor"].as_str() else { break };
            path = format!("{list}?limit=10&cursor={cursor}");
        }
        let different: BTreeSet<&String> = seen.iter().collect();
        assert_eq!(different.len(), seen.len(), "a delivery was on two pages of {list}");
        assert!(before.iter().all(|id| different.contains(id)), "a delivery was left out of {list}");
    }
}

#[test]
fn no_page_has_more_than_a_hundred_rows() {
    let server = Server::start(&[]);
    let client = server.client();
    let events: Vec<Value> = (0..120).map(|n| json!({"event": "clock_in", "data": clock_in(n)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
    assert_eq!(client.get("/events").expect(200).rows().len(), 50);
    assert_eq!(client.get("/events?limit=100").expect(200).rows().len(), 100);
    // More than allowed may be refused by name or answered with what is allowed.
    let greedy = client.get("/events?limit=101");
    if greedy.status == 400 {
        greedy.expect_wrong(&["limit"]);
    } else {
        assert_eq!(greedy.json["pagination"]["limit"], 100);
        assert_eq!(greedy.expect(200).rows().len(), 100);
    }
}

#[test]
fn an_exhausted_delivery_is_sent_again_with_its_whole_schedule() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1s"]"#)]);
    let client = server.client();
    let receiver = Receiver::first([500, 500, 500].map(Reply::status));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "exhausted");
    let id = delivery["id"].as_str().unwrap();
    assert_eq!(delivery["attempt_count"], 2);

    let answer = client.post_nothing(&format!("/deliveries/{id}/retry")).expect(202);
    assert_eq!(answer.data()["id"], id);
    assert!(answer.json["message"].is_string(), "{}", answer.text);
    let delivery = client.wait_for_status(id, "delivered");
    assert_eq!(delivery["attempt_count"], 4);
    let came = receiver.requests();
    assert_eq!(came.iter().map(Received::attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for request in &came {
        assert_eq!(request.header("x-tempclock-delivery"), id);
        assert_eq!(request.header("webhook-id"), event);
        assert_eq!(request.body, came[0].body);
    }
    assert_eq!(client.total("/deliveries"), 1);
}

#[test]
fn a_delivered_delivery_can_be_asked_for_again() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let id = client.settled(&event, "delivered")["id"].as_str().unwrap().to_owned();
    client.post_nothing(&format!("/deliveries/{id}/retry")).expect(202);
    let came = receiver.wait_for(2, "the redelivery");
    assert_eq!(came[1].attempt(), 2);
    assert_eq!(came[1].body, came[0].body);
    client.wait_for_delivery(&id, "is settled", |d| d["attempt_count"] == 2 && d["status"] == "delivered");
    client.post_nothing("/deliveries/dlv_unknown/retry").expect(404).expect_error("not_found");
}

#[test]
fn a_redelivery_takes_the_place_of_the_retry_that_was_due_later() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1h"]"#)]);
    let client = server.client();
    let receiver = Receiver::first([Reply::status(500)]);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let id = client.delivery_ids(&event).remove(0);
    client.wait_for_delivery(&id, "was tried", |d| d["attempt_count"] == 1);

    client.post_nothing(&format!("/deliveries/{id}/retry")).expect(202);
    let delivery = client.wait_for_status(&id, "delivered");
    assert_eq!(delivery["attempt_count"], 2);
    assert_eq!(delivery["next_attempt_at"], json!(null));
    assert_eq!(receiver.requests().len(), 2);
}

#[test]
fn only_a_2xx_is_a_success() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let receiver = Receiver::answering(|request| {
        let status = request.path.trim_start_matches('/').parse().unwrap();
        Reply::with(status, &[("Location", "/followed")], "")
    });
    let good = [200, 201, 202, 204, 206, 299];
    let bad = [300, 301, 302, 303, 304, 307, 308, 400, 401, 404, 409, 418, 429, 500, 502, 503, 504, 599];
    for status in good.iter().chain(&bad) {
        client.subscribe(&receiver.url(&format!("/{status}")), &["clock_in"]);
    }
    let event = client.publish("clock_in", &clock_in(1));
    for id in client.delivery_ids(&event) {
        let delivery = client.wait_for_delivery(&id, "is settled", |d| d["status"] != "pending");
        let code = delivery["attempts"][0]["response_code"].as_u64().unwrap();
        let wanted = if good.contains(&code) { "delivered" } else { "exhausted" };
        assert_eq!(delivery["status"], wanted, "{code}");
        assert_eq!(delivery["attempt_count"], 1);
    }
    let came = receiver.requests();
    assert_eq!(came.len(), good.len() + bad.len());
    assert!(came.iter().all(|request| request.path != "/followed"), "a redirect was followed");
}

#[test]
fn an_endpoint_that_never_answers_is_given_up_after_the_time_limit() {
    // Time enough for the head that one of them sends.
    let server = Server::start(&[ONCE, ("delivery.timeout", r#""4s""#)]);
    let client = server.client();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/hang" => Reply::Hang,
        _ => Reply::Drip,
    });
    for path in ["/hang", "/drip"] {
        client.subscribe(&receiver.url(path), &["clock_in"]);
    }
    let event = client.publish("clock_in", &clock_in(1));
    for id in client.delivery_ids(&event) {
        let delivery = client.wait_for_status(&id, "exhausted");
        let attempt = &delivery["attempts"][0];
        assert_eq!(attempt["status"], "failed", "{attempt:#}");
        let duration = attempt["duration_ms"].as_u64().unwrap();
        assert!((3_990..60_000).contains(&duration), "{duration} ms");
        let (code, words) = if attempt["request"]["url"].as_str().unwrap().ends_with("/hang") {
            (json!(null), "while waiting for the answer; ")
        } else {
            (json!(200), "while reading the answer; ")
        };
        assert!(attempt["error"].as_str().is_some_and(|error| error.contains(words)), "{attempt:#}");
        assert_eq!(attempt["response_code"], code, "{attempt:#}");
    }
}

#[test]
fn an_endless_answer_is_read_to_a_limit_and_no_further() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/good" => Reply::Flood(200, 256 << 20),
        _ => Reply::Flood(500, 256 << 20),
    });
    client.subscribe(&receiver.url("/good"), &["clock_in"]);
    client.subscribe(&receiver.url("/bad"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let mut statuses = BTreeSet::new();
    for id in client.delivery_ids(&event) {
        let delivery = client.wait_for_delivery(&id, "is settled", |d| d["status"] != "pending");
        statuses.insert(delivery["status"].as_str().unwrap().to_owned());
        let kept = delivery["attempts"][0]["response"]["body"].as_str().unwrap();
        assert!(kept.starts_with("xxxx") && kept.len() <= 64 << 10, "{} bytes are kept", kept.len());
    }
    assert_eq!(statuses, BTreeSet::from(["delivered".to_owned(), "exhausted".to_owned()]));
    eventually("both floods are cut off", || (receiver.flooded() > 0).then_some(()));
    assert!(receiver.flooded() < 64 << 20, "{} bytes were taken", receiver.flooded());
}

#[test]
fn a_strange_answer_is_kept_as_far_as_it_can_be() {
    let server = Server::start(&[ONCE]);
    let client = server.client();
    let receiver = Receiver::answering(|request| {
        let text: &[u8] = match request.path.as_str() {
            "/header" => b"HTTP/1.1 200 OK\r\nX-Odd: \xff\xfe\r\nContent-Length: 2\r\n\r\nok",
            "/body" => b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\x00\xc3(",
            "/gzip" => b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
            "/until-closed" => b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
            _ => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        };
        Reply::Raw(text.to_vec())
    });
    let paths = ["/header", "/body", "/gzip", "/until-closed", "/chunked"];
    for id in client.deliver_to_each(&receiver, &paths) {
        let delivery = client.wait_for_delivery(&id, "is settled", |d| d["status"] != "pending");
        assert_eq!(delivery["status"], "delivered", "{delivery:#}");
    }
}

#[test]
fn removing_a_subscription_cancels_what_is_pending_and_lets_what_is_in_flight_end() {
    let server = Server::start(&[("delivery.max_in_flight_per_endpoint", "1")]);
    let client = server.client();
    let gate = Gate::default();
    let receiver = Receiver::first([Reply::Held(gate.clone(), 500)]);
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    for number in 0..5 {
        client.publish("clock_in", &clock_in(number));
    }
    receiver.wait_for(1, "the first attempt");
    client.delete(&format!("/webhooks/{id}")).expect(200);
    gate.open();

    // A second subscription fails once, waits, and succeeds: the retry of the first was due before.
    let other = Receiver::first([Reply::status(500), Reply::status(500)]);
    client.subscribe(&other.url("/"), &["worker_created"]);
    let event = client.publish("worker_created", &sample("worker_created"));
    let delivery = client.settled(&event, "delivered");
    assert!(other.requests()[2].at - other.requests()[0].at > Duration::from_millis(1_990));
    assert_eq!(receiver.requests().len(), 1, "sent for a subscription that is gone");
    assert_eq!(ids(&client, "/deliveries"), BTreeSet::from([delivery["id"].as_str().unwrap().to_owned()]));
}

#[test]
fn every_page_says_how_many_there_are_and_none_is_missing_or_another_accounts() {
    let server = Server::start(&[ONCE]);
    let receiver = Receiver::start();
    let mine = server.client();
    for path in ["/a", "/b"] {
        mine.subscribe(&receiver.url(path), &["clock_in"]);
    }
    for entry in 0..5 {
        mine.publish("clock_in", &clock_in(entry));
    }
    let walk = |total: u64| {
        let (mut seen, mut cursor) = (BTreeSet::new(), String::new());
        loop {
            let answer = mine.get(&format!("/deliveries?limit=3{cursor}")).expect(200);
            let pagination = &answer.json["pagination"];
            assert_eq!(pagination["total"], total, "{pagination}");
            for row in answer.rows() {
                assert!(seen.insert(row["id"].to_string()), "{} comes twice", row["id"]);
            }
            let Some(next) = pagination["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen.len() as u64, total);
    };
    walk(10);
    let yours = server.client_of("yours");
    yours.subscribe(&receiver.url("/c"), &["clock_in"]);
    yours.publish("clock_in", &clock_in(9));
    walk(10);
    mine.delete("/webhooks/2").expect(200);
    walk(5);
}
