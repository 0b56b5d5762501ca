//! Each key has its own allowance a minute, shown on every answer; publishing has another.

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
fn a_stranger_does_not_use_up_the_allowance_of_a_key() {
    let server = Server::start(&[("rate_limit.management_per_minute", "3")]);
    let key = server.key(ALL_SCOPES);
    let guess = format!("{}{}", &key[..12], "0".repeat(36));
    for status in [401, 401, 401, 429, 429] {
        server.client_with(&guess).get("/webhooks").expect(status);
    }
    assert_allowance(&server.client_with(&key).get("/webhooks").expect(200), 3, 2);
    for _ in 0..10 {
        server.stranger().send("GET", "/healthz", &[], None).expect(200);
    }
}
