//! Subscriptions are made, read, changed, tested and removed as the contract says.

use serde_json::json;

use crate::harness::{
    Received, Receiver, Reply, Server, assert_has_fields, clock_in, eventually, fields, sample, time,
};

/// An address that is never sent to: nothing is published to these subscriptions.
const UNUSED: &str = "http://127.0.0.1:9/hook";

#[test]
fn a_new_subscription_is_answered_with_its_secret_and_all_its_fields() {
    let server = Server::start(&[]);
    let client = server.client();
    let wish = json!({"url": UNUSED, "events": ["clock_in", "clock_out"], "description": "Bullhörn"});
    let answer = client.post("/webhooks", &wish).expect(201);

    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert!(answer.json["message"].as_str().is_some_and(|m| !m.is_empty()));
    let made = answer.data();
    assert_has_fields(made, &["id", "url", "events", "active", "description", "secret", "created_at", "updated_at"]);
    assert!(made["id"].as_i64().is_some_and(|id| id > 0), "{made}");
    assert_eq!(made["url"], UNUSED);
    assert_eq!(made["events"], json!(["clock_in", "clock_out"]));
    assert_eq!(made["active"], true);
    assert_eq!(made["description"], "Bullhörn");
    assert!(time(&made["created_at"]) <= time(&made["updated_at"]));
    let secret = made["secret"].as_str().unwrap();
    assert_eq!(secret.len(), 64);
    assert!(secret.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{secret}");
}

#[test]
fn the_secret_is_in_the_first_answer_only() {
    let server = Server::start(&[]);
    let client = server.client();
    let first = client.subscribe(UNUSED, &["clock_in"]);
    let second = client.subscribe(UNUSED, &["clock_in"]);
    assert_ne!(first.secret, second.secret);

    let one = format!("/webhooks/{}", first.id);
    let changed = client.put(&one, &json!({"description": "now with one"})).expect(200);
    for answer in [client.get(&one).expect(200), client.get("/webhooks").expect(200), changed] {
        assert!(!answer.text.contains(&first.secret), "{}", answer.text);
        assert!(!answer.text.contains(r#""secret""#), "{}", answer.text);
    }
    assert!(!server.log().contains(&first.secret), "the secret is in the log");
}

#[test]
fn a_subscription_is_read_as_it_was_made() {
    let server = Server::start(&[]);
    let client = server.client();
    let wish = json!({"url": UNUSED, "events": ["*"], "description": "all"});
    let mut made = client.post("/webhooks", &wish).expect(201).data().clone();
    made.as_object_mut().unwrap().remove("secret");

    let read = client.subscription(made["id"].as_i64().unwrap());
    assert_eq!(read["recent_deliveries"], json!([]));
    let listed = client.get("/webhooks").expect(200).rows()[0].clone();
    for name in fields(&made) {
        assert_eq!(read[name], made[name], "{name}");
        assert_eq!(listed[name], made[name], "{name}");
    }
}

#[test]
fn a_list_has_pages() {
    let server = Server::start(&[]);
    let client = server.client();
    let mut ids: Vec<i64> = (0..5).map(|_| client.subscribe(UNUSED, &["clock_in"]).id).collect();

    let mut seen = Vec::new();
    for (offset, rows, more) in [(0, 2, true), (2, 2, true), (4, 1, false), (6, 0, false)] {
        let page = client.get(&format!("/webhooks?limit=2&offset={offset}")).expect(200);
        let wanted = json!({"total": 5, "limit": 2, "offset": offset, "has_more": more});
        assert_eq!(page.json["pagination"], wanted);
        assert_eq!(page.rows().len(), rows);
        seen.extend(page.rows().iter().map(|row| row["id"].as_i64().unwrap()));
    }
    seen.sort_unstable();
    ids.sort_unstable();
    assert_eq!(seen, ids);

    let page = client.get("/webhooks").expect(200);
    let wanted = json!({"total": 5, "limit": 50, "offset": 0, "has_more": false});
    assert_eq!(page.json["pagination"], wanted);
}

#[test]
fn a_part_of_a_subscription_can_be_changed_and_the_rest_stays() {
    let server = Server::start(&[]);
    let client = server.client();
    let id = client.subscribe(UNUSED, &["clock_in"]).id;

    let answer = client.change(id, &json!({"description": "one field"}));
    assert!(answer.json["message"].is_string(), "{}", answer.text);
    let mut expected = client.subscription(id);
    assert_eq!(expected["description"], "one field");
    assert_eq!(expected["url"], UNUSED);
    assert_eq!(expected["events"], json!(["clock_in"]));
    assert_eq!(expected["active"], true);

    let parts = [
        ("url", json!("http://127.0.0.1:9/other?key=1")),
        ("events", json!(["clock_out", "shift_created"])),
        ("active", json!(false)),
        ("description", json!("another")),
    ];
    for (name, value) in parts {
        client.change(id, &json!({name: value}));
        expected[name] = value;
        let read = client.subscription(id);
        for field in ["id", "url", "events", "active", "description", "created_at"] {
            assert_eq!(read[field], expected[field], "{field} after a change of {name}");
        }
        assert!(time(&read["updated_at"]) >= time(&expected["updated_at"]));
    }
}

#[test]
fn a_change_to_what_is_there_already_leaves_the_time_of_the_last_change() {
    let server = Server::start(&[]);
    let client = server.client();
    let id = client.subscribe("http://127.0.0.1:9/hook", &["clock_in"]).id;
    let before = client.subscription(id);
    let same = [
        json!({}),
        json!({"active": true}),
        json!({"url": "http://127.0.0.1:9/hook", "events": ["clock_in"], "description": ""}),
    ];
    for part in same {
        client.change(id, &part);
        assert_eq!(client.subscription(id), before, "{part}");
    }
    client.change(id, &json!({"description": "CRM"}));
    assert_ne!(client.subscription(id)["updated_at"], before["updated_at"]);
}

#[test]
fn a_whole_subscription_can_be_changed() {
    let server = Server::start(&[]);
    let client = server.client();
    let id = client.subscribe(UNUSED, &["clock_in"]).id;
    let whole = json!({
        "url": "http://127.0.0.1:9/new", "events": ["*"], "active": false, "description": "new"
    });
    let answered = client.change(id, &whole).data().clone();
    let read = client.subscription(id);
    for (name, value) in whole.as_object().unwrap() {
        assert_eq!(&answered[name], value);
        assert_eq!(&read[name], value);
    }
}

#[test]
fn a_change_that_is_wrong_changes_nothing() {
    let server = Server::start(&[]);
    let client = server.client();
    let id = client.subscribe(UNUSED, &["clock_in"]).id;
    let before = client.subscription(id);

    let wrong = json!({"description": "good", "url": "nonsense", "active": "yes", "events": []});
    client.put(&format!("/webhooks/{id}"), &wrong).expect_wrong(&["url", "active", "events"]);
    let wrong = json!({"description": "good", "activ": false});
    let answer = client.put(&format!("/webhooks/{id}"), &wrong).expect_wrong(&["activ"]);
    assert!(answer.text.contains("active"), "the nearest field is not named: {}", answer.text);
    assert_eq!(client.subscription(id), before);
}

#[test]
fn every_wrong_field_of_a_new_subscription_is_named_at_once() {
    let server = Server::start(&[]);
    let client = server.client();
    let cases = [
        (json!({}), vec!["url", "events"]),
        (json!({"url": 5, "events": "clock_in", "description": 7}), vec!["url", "events", "description"]),
        (json!({"url": null, "events": null}), vec!["url", "events"]),
        (json!({"url": UNUSED, "events": []}), vec!["events"]),
        (json!({"url": UNUSED, "events": ["clock_in", "clockin"]}), vec!["events"]),
        (json!({"url": UNUSED, "events": [1]}), vec!["events"]),
        (json!({"url": UNUSED, "events": ["clock_in"], "secret": "a".repeat(15)}), vec!["secret"]),
        (json!({"url": "", "events": ["nothing"], "evnts": []}), vec!["url", "events", "evnts"]),
    ];
    for (wish, wrong) in cases {
        client.post("/webhooks", &wish).expect_wrong(&wrong);
    }
    assert_eq!(client.total("/webhooks"), 0);
}

#[test]
fn an_unknown_field_is_named_with_the_nearest_known_one() {
    let server = Server::start(&[]);
    let client = server.client();
    let wish = json!({"url": UNUSED, "events": ["clock_in"], "descripton": "x"});
    let answer = client.post("/webhooks", &wish).expect_wrong(&["descripton"]);
    let message = answer.json["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("description"), "{message}");
}

#[test]
fn a_url_that_cannot_be_delivered_to_is_refused() {
    let server = Server::start(&[]);
    let client = server.client();
    let urls = [
        "nonsense",
        "/hook",
        "//127.0.0.1/hook",
        "http://",
        "http:///hook",
        "ftp://127.0.0.1/hook",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://user@127.0.0.1/hook",
        "http://user:password@127.0.0.1/hook",
        "http://:password@127.0.0.1/hook",
        "http://127.0.0.1:99999/hook",
        "http://127.0.0.1 /hook",
    ];
    for url in urls {
        let answer = client.post("/webhooks", &json!({"url": url, "events": ["clock_in"]}));
        assert_eq!(answer.status, 400, "{url} was answered with {}", answer.text);
        answer.expect_wrong(&["url"]);
    }
}

#[test]
fn a_removed_subscription_is_gone_with_its_history() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let id = client.subscribe(&receiver.url("/a"), &["clock_in"]).id;
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "delivered")["id"].as_str().unwrap().to_owned();

    let one = format!("/webhooks/{id}");
    let answer = client.delete(&one).expect(200);
    assert_eq!(answer.data()["id"], id);
    assert_eq!(answer.data()["deleted"], true);
    assert!(answer.json["message"].is_string());

    client.get(&one).expect(404).expect_error("not_found");
    client.put(&one, &json!({"active": true})).expect(404).expect_error("not_found");
    client.delete(&one).expect(404).expect_error("not_found");
    client.post_nothing(&format!("{one}/test")).expect(404).expect_error("not_found");
    client.get(&format!("{one}/deliveries")).expect(404).expect_error("not_found");
    client.get(&format!("/deliveries/{delivery}")).expect(404).expect_error("not_found");
    client.post_nothing(&format!("/deliveries/{delivery}/retry")).expect(404);
    assert_eq!(client.total("/webhooks"), 0);
    client.wait_for_total("/deliveries", 0);
    client.get(&format!("/events/{event}")).expect(200);

    let later = client.post("/events", &json!({"event": "clock_in", "data": clock_in(2)})).expect(202);
    assert_eq!(later.data()["deliveries"], 0);
}

#[test]
fn the_id_of_a_removed_subscription_is_not_given_again() {
    let server = Server::start(&[]);
    let client = server.client();
    let first = client.subscribe(UNUSED, &["clock_in"]).id;
    client.delete(&format!("/webhooks/{first}")).expect(200);
    let second = client.subscribe(UNUSED, &["clock_in"]).id;
    assert!(second > first, "{second} after {first}");
}

#[test]
fn an_account_has_no_more_subscriptions_than_allowed() {
    let server = Server::start(&[("limits.subscriptions_per_account", "2")]);
    let client = server.client();
    let wish = json!({"url": UNUSED, "events": ["clock_in"]});
    let first = client.subscribe(UNUSED, &["clock_in"]).id;
    client.subscribe(UNUSED, &["clock_in"]);
    let refused = client.post("/webhooks", &wish);
    assert!([400, 409].contains(&refused.status), "{} {}", refused.status, refused.text);
    assert!(refused.json["message"].as_str().unwrap().contains('2'), "{}", refused.text);
    assert_eq!(client.total("/webhooks"), 2);

    server.client_of("another").subscribe(UNUSED, &["clock_in"]);
    client.delete(&format!("/webhooks/{first}")).expect(200);
    client.post("/webhooks", &wish).expect(201);
}

#[test]
fn a_test_ping_is_sent_signed_and_its_result_answered() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::first([Reply::with(201, &[], "welcome")]);
    let subscription = client.subscribe(&receiver.url("/crm"), &["clock_in"]);

    let answer = client.post_nothing(&format!("/webhooks/{}/test", subscription.id)).expect(200);
    let result = answer.data();
    assert_eq!(result["success"], true);
    assert_eq!(result["response_code"], 201);
    assert_eq!(result["error"], json!(null));
    assert!(result["duration_ms"].as_u64().is_some(), "{result}");

    let came = receiver.requests();
    assert_eq!(came.len(), 1, "the answer came before the ping, or after more than one");
    assert_ping(&came[0], subscription.id, &subscription.secret);
    assert_eq!(result["delivery_id"], came[0].header("x-tempclock-delivery"));

    let recent = client.subscription(subscription.id)["recent_deliveries"].clone();
    assert_eq!(recent.as_array().unwrap().len(), 1);
    assert_eq!(recent[0]["event"], "ping");
    assert_eq!(recent[0]["status"], "delivered");
    assert_eq!(recent[0]["delivery_id"], result["delivery_id"]);
}

#[track_caller]
fn assert_ping(ping: &Received, subscription: i64, secret: &str) {
    assert_eq!(ping.path, "/crm");
    assert_eq!(ping.header("x-tempclock-event"), "ping");
    let body = ping.json();
    assert_eq!(body["event"], "ping");
    assert_eq!(body["data"]["webhook_id"], subscription);
    assert!(body["data"]["message"].as_str().is_some_and(|m| !m.is_empty()), "{body}");
    ping.assert_signed_with(secret);
}

#[test]
fn a_failed_test_ping_says_why_and_is_never_retried() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1s"]"#)]);
    let client = server.client();
    let receiver = Receiver::answering(|request| match request.header("x-tempclock-event") {
        "ping" => Reply::status(500),
        _ if request.attempt() == 1 => Reply::status(503),
        _ => Reply::status(200),
    });
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;

    let answer = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
    let result = answer.data();
    assert_eq!(result["success"], false);
    assert_eq!(result["response_code"], 500);
    assert!(result["error"].as_str().is_some_and(|e| !e.is_empty()), "{result}");

    // An event that fails after the ping and is retried shows that the ping's turn is over.
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "delivered");
    let ping = client.delivery(result["delivery_id"].as_str().unwrap());
    assert_eq!(ping["status"], "exhausted");
    assert_eq!(ping["attempt_count"], 1);
    assert_eq!(ping["next_attempt_at"], json!(null));
    let pings = || receiver.requests().iter().filter(|r| r.header("x-tempclock-event") == "ping").count();
    assert_eq!(pings(), 1);

    let delivery = result["delivery_id"].as_str().unwrap();
    let again = client.post_nothing(&format!("/deliveries/{delivery}/retry")).expect(202);
    assert!(again.json["message"].as_str().unwrap().contains("never retried"), "{again:?}");
    let ping = client.wait_for_delivery(delivery, "was sent twice", |delivery| delivery["attempt_count"] == 2);
    assert_eq!((&ping["status"], &ping["next_attempt_at"]), (&json!("exhausted"), &json!(null)), "{ping}");
    assert_eq!(pings(), 2);
}

#[test]
fn a_test_ping_to_nobody_says_so() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::answering(|_| Reply::Close);
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let answer = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
    assert_eq!(answer.data()["success"], false);
    assert_eq!(answer.data()["response_code"], json!(null));
    assert!(answer.data()["error"].as_str().is_some_and(|e| !e.is_empty()), "{}", answer.text);
    assert_eq!(client.subscription(id)["recent_deliveries"][0]["status"], "failed");
}

#[test]
fn a_test_ping_goes_out_even_when_the_subscription_is_off() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let subscription = client.subscribe(&receiver.url("/crm"), &["clock_in"]);
    client.change(subscription.id, &json!({"active": false}));
    let answer = client.post_nothing(&format!("/webhooks/{}/test", subscription.id)).expect(200);
    assert_eq!(answer.data()["success"], true);
    assert_ping(&receiver.requests()[0], subscription.id, &subscription.secret);
    assert_eq!(client.subscription(subscription.id)["active"], false);
}

#[test]
fn the_last_ten_attempts_are_shown_newest_first() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let id = client.subscribe(&receiver.url("/"), &["worker_created"]).id;
    let mut events = Vec::new();
    for _ in 0..12 {
        let event = client.publish("worker_created", &sample("worker_created"));
        client.settled(&event, "delivered");
        events.push(event);
    }

    let recent = eventually("ten attempts are shown", || {
        let rows = client.subscription(id)["recent_deliveries"].as_array().unwrap().clone();
        (rows.len() == 10).then_some(rows)
    });
    let shown: Vec<&str> = recent.iter().map(|row| row["event_id"].as_str().unwrap()).collect();
    let wanted: Vec<&str> = events.iter().rev().take(10).map(String::as_str).collect();
    assert_eq!(shown, wanted);
    for row in &recent {
        assert_has_fields(
            row,
            &[
                "id",
                "delivery_id",
                "event_id",
                "event",
                "attempt",
                "status",
                "response_code",
                "error",
                "duration_ms",
                "created_at",
                "completed_at",
                "next_attempt_at",
            ],
        );
        assert!(row["id"].as_str().unwrap().starts_with("att_"), "{row}");
        assert!(row["delivery_id"].as_str().unwrap().starts_with("dlv_"), "{row}");
        assert_eq!(row["event"], "worker_created");
        assert_eq!(row["attempt"], 1);
        assert_eq!(row["status"], "delivered");
        assert_eq!(row["response_code"], 200);
        assert_eq!(row["error"], json!(null));
        assert!(row["duration_ms"].is_u64(), "{row}");
        assert!(time(&row["created_at"]) <= time(&row["completed_at"]));
        assert_eq!(row["next_attempt_at"], json!(null));
    }
}
