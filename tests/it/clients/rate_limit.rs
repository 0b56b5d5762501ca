//! Each key has its own allowance a minute, shown on every answer; publishing has another.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{ALL_SCOPES, Answer, Server, clock_in, sample};

#[track_caller]
fn assert_allowance(answer: &Answer, limit: u64, remaining: u64) {
    let number = |name: &str| answer.header(name).and_then(|value| value.parse::<u64>().ok());
    assert_eq!(number("x-ratelimit-limit"), Some(limit), "{} {:?}", answer.asked, answer.headers);
    assert_eq!(number("x-ratelimit-remaining"), Some(remaining), "{} {:?}", answer.asked, answer.headers);
}

#[track_caller]
fn assert_refused(answer: &Answer, limit: u64) {
    assert_eq!(answer.status, 429, "{}", answer.text);
    answer.expect_error("rate_limited");
    assert_allowance(answer, limit, 0);
    let wait: u64 = answer.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((1..=60).contains(&wait), "{wait}");
}

#[test]
fn sixty_requests_a_minute_are_allowed_unless_configured() {
    let server = Server::start(&[("rate_limit.management_per_minute", "")]);
    let client = server.client();
    for remaining in (0..60).rev() {
        assert_allowance(&client.get("/webhooks").expect(200), 60, remaining);
    }
    assert_refused(&client.get("/webhooks"), 60);
}

#[test]
fn every_answer_shows_what_is_left_and_a_refused_request_does_nothing() {
    let server = Server::start(&[("rate_limit.management_per_minute", "5")]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let wish = json!({"url": "http://127.0.0.1:9/hook", "events": ["clock_in"]});
    assert_allowance(&client.post("/webhooks", &wish).expect(201), 5, 4);
    assert_allowance(&client.post("/webhooks", &json!({})).expect(400), 5, 3);
    assert_allowance(&client.get("/webhooks/999999").expect(404), 5, 2);
    assert_allowance(&client.get("/deliveries").expect(200), 5, 1);
    assert_allowance(&client.get("/webhooks.php").expect(200), 5, 0);
    assert_refused(&client.post("/webhooks", &wish), 5);
    assert_refused(&client.get("/webhooks"), 5);

    // Another key of the same account has its own allowance, and sees that nothing was made.
    let other = server.client();
    let list = other.get("/webhooks").expect(200);
    assert_allowance(&list, 5, 4);
    assert_eq!(list.json["pagination"]["total"], 1);
}

#[test]
fn publishing_does_not_count_as_management() {
    let server = Server::start(&[("rate_limit.management_per_minute", "2")]);
    let client = server.client();
    for number in 0..10 {
        client.publish("clock_in", &clock_in(number));
    }
    client.get("/webhooks").expect(200);
    client.get("/webhooks").expect(200);
    assert_refused(&client.get("/webhooks"), 2);
    client.publish("clock_in", &clock_in(11));
}

#[test]
fn publishing_can_have_a_limit_of_its_own() {
    let server = Server::start(&[("rate_limit.publish_per_minute", "3")]);
    let client = server.client();
    let body = json!({"event": "worker_created", "data": sample("worker_created")});
    for remaining in [2, 1, 0] {
        assert_allowance(&client.post("/events", &body).expect(202), 3, remaining);
    }
    assert_refused(&client.post("/events", &body), 3);
    assert_eq!(client.total("/events"), 3);
    server.client().post("/events", &body).expect(202);
}

#[test]
fn reading_a_feed_can_have_a_limit_of_its_own() {
    let unlimited = u64::from(u32::MAX);
    for (configured, limit) in [("0", unlimited), ("3", 3)] {
        let server =
            Server::start(&[("rate_limit.feed_per_minute", configured), ("rate_limit.management_per_minute", "2")]);
        let client = server.client_with(&server.key("*"));
        let made = client.post("/webhooks", &json!({"events": ["clock_in"], "mode": "pull"})).expect(201);
        let feed = format!("/feeds/{}", made.data()["id"]);
        let left = |used: u64| if limit == unlimited { unlimited } else { limit - used };
        let page = client.get(&format!("{feed}?wait=1ms")).expect(200);
        assert_allowance(&page, limit, left(1));
        let acknowledge = || {
            let cursor = &page.json["pagination"]["next_cursor"];
            client.post(&format!("{feed}/ack"), &json!({"cursor": cursor}))
        };
        assert_allowance(&acknowledge().expect(200), limit, left(2));
        assert_allowance(&client.get(&format!("{feed}?wait=x")).expect(400), limit, left(3));
        if limit != unlimited {
            assert_refused(&client.get(&feed), limit);
            assert_refused(&acknowledge(), limit);
        }
        // Creating it was the other one.
        assert_allowance(&client.get("/webhooks").expect(200), 2, 0);
    }
}

/// A key that looks like one and is none.
fn guess() -> String {
    format!("tc_live_{}", "0".repeat(40))
}

#[test]
fn whoever_guesses_keys_is_slowed_down_and_a_good_key_from_there_is_not() {
    // Whether or not requests with a key are limited.
    for management in ["0", "3"] {
        let server = Server::start(&[
            ("rate_limit.management_per_minute", management),
            ("rate_limit.wrong_keys_per_minute", "4"),
        ]);
        let key = server.key(ALL_SCOPES);
        let guesser = server.client_with(&guess());
        for path in ["/webhooks", "/events", "/webhooks", "/webhooks/1"] {
            guesser.get(path).expect(401).expect_error("unauthorized");
        }
        for (method, path) in [("GET", "/webhooks"), ("GET", "/no-such-route"), ("DELETE", "/events")] {
            let begun = Instant::now();
            let slowed = guesser.send(method, &format!("/api/v1{path}"), &[], None).expect(429);
            slowed.expect_error("rate_limited");
            assert!(begun.elapsed() >= Duration::from_millis(900), "{path} was answered at once");
            let wait: u64 = slowed.header("retry-after").expect("Retry-After").parse().expect("seconds");
            assert!((1..=60).contains(&wait), "{wait}");
        }
        server.client_with(&key).get("/webhooks").expect(200);
        // No key is no guess.
        for _ in 0..10 {
            server.stranger().send("GET", "/healthz", &[], None).expect(200);
            server.stranger().get("/webhooks").expect(401);
        }
    }
}

#[test]
fn wrong_keys_on_routes_that_need_none_are_guesses_too() {
    let server = Server::start(&[("rate_limit.wrong_keys_per_minute", "2")]);
    let guesser = server.client_with(&guess());
    guesser.get("/no-such-route").expect(404);
    guesser.delete("/events").expect(405);
    guesser.get("/no-such-route").expect(429);
}

#[test]
fn answers_of_no_route_show_what_is_left_too() {
    let server = Server::start(&[("rate_limit.management_per_minute", "9")]);
    let client = server.client();
    assert_allowance(&client.get("/no-such-route").expect(404), 9, 8);
    assert_allowance(&client.delete("/events").expect(405), 9, 7);
    assert_allowance(&server.stranger().get("/no-such-route").expect(404), 9, 0);
    assert_allowance(&server.stranger().delete("/events").expect(405), 9, 0);
    assert_allowance(&client.get("/webhooks").expect(200), 9, 6);
}
