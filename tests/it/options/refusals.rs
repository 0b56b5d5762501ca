//! Bad options are refused with a sentence, all at once, and change nothing.

use serde_json::{Value, json};

use crate::harness::Server;

fn window(day: &str, from: &str, to: &str, zone: &str) -> Value {
    json!({"delivery_window": {"days": [day], "from": from, "to": to, "time_zone": zone}})
}

fn oauth2(change: &Value) -> Value {
    let mut auth = json!({
        "type": "oauth2_client_credentials", "token_url": "http://127.0.0.1:9/token", "client_id": "a",
        "client_secret": "b",
    });
    auth.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    json!({"auth": auth})
}

/// What is refused, the field that is named, and a part of the sentence.
fn refused() -> Vec<(Value, &'static str, &'static str)> {
    let many: Value = (0..21).map(|n| (format!("X-{n}"), json!("a"))).collect::<serde_json::Map<_, _>>().into();
    vec![
        (json!({"headers": []}), "headers", "must be an object"),
        (json!({"headers": many.clone()}), "headers", "at most 20"),
        (json!({"headers": {"Content-Length": "5"}}), "headers.Content-Length", "set by the server"),
        (json!({"headers": {"proxy-authorization": "x"}}), "headers.proxy-authorization", "set by the server"),
        (json!({"headers": {"webhook-id": "x"}}), "headers.webhook-id", "set by the server"),
        (json!({"headers": {"X-TempClock-Event": "x"}}), "headers.X-TempClock-Event", "names"),
        (json!({"headers": {"X-A": "a\r\nHost: evil"}}), "headers.X-A", "control characters"),
        (json!({"headers": {"X A": "a"}}), "headers.X A", "1 to 64"),
        (json!({"headers": {"X-A": "x".repeat(1025)}}), "headers.X-A", "at most 1024 bytes"),
        (json!({"headers": {"X-A": "a", "x-a": "b"}}), "headers.x-a", "same header"),
        (json!({"headers": {"X-A": "set"}}), "headers.X-A", "none is stored"),
        (json!({"auth": "basic"}), "auth", "must be an object"),
        (json!({"auth": {"type": "digest"}}), "auth.type", "basic"),
        (json!({"auth": {"type": "basic", "username": "a:b", "password": "x"}}), "auth.username", "colons"),
        (json!({"auth": {"type": "basic", "username": "a"}}), "auth.password", "is missing"),
        (json!({"auth": {"type": "bearer", "token": "a b"}}), "auth.token", "without spaces"),
        (json!({"auth": {"type": "bearer", "token": "set"}}), "auth.token", "none is stored"),
        (oauth2(&json!({"token_url": "http://169.254.169.254/"})), "auth.token_url", "169.254.169.254"),
        (oauth2(&json!({"token_url": "nowhere"})), "auth.token_url", "https://"),
        (oauth2(&json!({"client_id": null})), "auth.client_id", "1 to 512"),
        (oauth2(&json!({"client_secret": "set"})), "auth.client_secret", "none is stored"),
        (oauth2(&json!({"client_secret": "a\nb"})), "auth.client_secret", "control characters"),
        (oauth2(&json!({"client_authentication": "jwt"})), "auth.client_authentication", "basic"),
        (oauth2(&json!({"scope": "a\"b"})), "auth.scope", "quotes"),
        (oauth2(&json!({"audience": ""})), "auth.audience", "1 to 2048"),
        (oauth2(&json!({"scop": "a"})), "auth.scop", "scope"),
        (json!({"auth": {"type": "bearer", "token": "a", "tokn": 1}}), "auth.tokn", "token"),
        (json!({"format": "xml"}), "format", "cloudevents"),
        (json!({"names": {"signature": "Content-Type"}}), "names.signature", "set by the server"),
        (json!({"names": {"sinature": "X"}}), "names.sinature", "signature"),
        (json!({"names": {"event": "X-A", "attempt": "x-a"}}), "names", "x-a"),
        (json!({"names": {"envelope": {"data": ""}}}), "names.envelope.data", "1 to 64"),
        (json!({"signatures": []}), "signatures", "at least one"),
        (json!({"signatures": ["tempclock", "rsa"]}), "signatures[1]", "ed25519"),
        (json!({"filter": [1]}), "filter", "must be an object"),
        (json!({"filter": many.clone()}), "filter", "at most 10 lines"),
        (json!({"filter": {"location_id": {"regex": "^3"}}}), "filter.location_id", "regular expressions"),
        (json!({"filter": {"location_id": []}}), "filter.location_id", "1 to 100"),
        (json!({"filter": {"site..name": 1}}), "filter.site..name", "dots"),
        (json!({"order": "location"}), "order", "\"worker\""),
        (json!({"order": ["worker"]}), "order", "\"subscription\""),
        (json!({"batch": 5}), "batch", "\"max\""),
        (json!({"batch": {"max": 0, "wait": "5s"}}), "batch.max", "from 1 to 1000"),
        (json!({"batch": {"max": 1001, "wait": "5s"}}), "batch.max", "from 1 to 1000"),
        (json!({"batch": {"max": 5, "wait": "2h"}}), "batch.wait", "from 1ms to 1h"),
        (json!({"batch": {"max": 5, "wait": "1s", "size": 1}}), "batch.size", "max"),
        (json!({"batch": {"max": 5, "wait": "1s"}, "format": "form"}), "batch", "requires the format json"),
        (json!({"batch": {"max": 5, "wait": "1s"}, "order": "worker"}), "batch", "the order worker"),
        (json!({"rate_limit": "10/h"}), "rate_limit", "10/s"),
        (json!({"rate_limit": "1001/s"}), "rate_limit", "up to 1000/s"),
        (json!({"rate_limit": "0/m"}), "rate_limit", "10/s"),
        (json!({"max_in_flight": 0}), "max_in_flight", "1 to 256"),
        (json!({"max_in_flight": 200}), "max_in_flight", "delivery.max_in_flight_per_endpoint"),
        (json!({"timeout": 5}), "timeout", "such as"),
        (json!({"timeout": "59m"}), "timeout", "delivery.timeout"),
        (json!({"retry_schedule": "10s"}), "retry_schedule", "a list"),
        (json!({"retry_schedule": ["10s", "1M"]}), "retry_schedule[1]", "from 1ms to 366d"),
        (json!({"retry_schedule": vec!["1s"; 51]}), "retry_schedule", "up to 50"),
        (json!({"delivery_window": "always"}), "delivery_window", "must be an object"),
        (window("mon", "06:00", "06:00", "Europe/London"), "delivery_window.to", "zero length"),
        (window("mon", "06:00", "20:00", "Europe/Lodnon"), "delivery_window.time_zone", "Europe/London"),
        (window("mon", "6", "20:00", "Europe/London"), "delivery_window.from", "23:59"),
        (window("monday", "06:00", "20:00", "Europe/London"), "delivery_window.days", "mon"),
        (json!({"signature": ["tempclock"]}), "signature", "signatures"),
        (
            json!({"headers": {"Authorization": "x"}, "auth": {"type": "bearer", "token": "a"}}),
            "headers.Authorization",
            "auth",
        ),
        (json!({"headers": {"X-E": "x"}, "names": {"event": "x-e"}}), "headers.X-E", "names"),
        (json!({"format": "cloudevents", "names": {"envelope": {"id": "i"}}}), "names.envelope", "cloudevents"),
    ]
}

#[test]
fn each_bad_option_is_refused_with_its_field_and_a_sentence_and_changes_nothing() {
    let server = Server::start(&[]);
    let client = server.client();
    let id = client.subscribe("http://127.0.0.1:9/", &["clock_in"]).id;
    let before = client.subscription(id);
    for (options, field, words) in refused() {
        let answer = client.put(&format!("/webhooks/{id}"), &options).expect(400);
        assert_eq!(answer.wrong_fields(), [field], "{options}: {}", answer.text);
        let message = answer.json["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains(words), "{options}: {message}");
    }
    assert_eq!(client.subscription(id), before);
}

#[test]
fn all_wrong_options_are_told_at_once_beside_the_other_fields() {
    let server = Server::start(&[]);
    let wish = json!({
        "url": "nowhere", "events": ["clock_in"], "secret": "too short", "format": "xml", "auth": {"type": "bearer"},
        "headers": {"Host": "x", "Date": "x"}, "signatures": ["x"], "names": {"event": 5},
    });
    let answer = server.client().post("/webhooks", &wish).expect(400);
    let mut fields = answer.wrong_fields();
    fields.sort_unstable();
    let wanted =
        ["auth.token", "format", "headers.Date", "headers.Host", "names.event", "secret", "signatures[0]", "url"];
    assert_eq!(fields, wanted);
}

#[test]
fn a_secret_is_given_at_creation_alone() {
    let server = Server::start(&[]);
    let client = server.client();
    for wrong in
        [json!("fifteen_chars_x"), json!("x".repeat(129)), json!("with a space in it"), json!(1), json!("pä".repeat(9))]
    {
        let wish = json!({"url": "http://127.0.0.1:9/", "events": ["clock_in"], "secret": wrong});
        let answer = client.post("/webhooks", &wish).expect(400);
        assert_eq!(answer.wrong_fields(), ["secret"]);
        assert!(answer.text.contains("16 to 128"), "{}", answer.text);
    }
    let id = client.subscribe("http://127.0.0.1:9/", &["clock_in"]).id;
    let answer = client.put(&format!("/webhooks/{id}"), &json!({"secret": "x".repeat(40)})).expect(400);
    assert_eq!(answer.wrong_fields(), ["secret"]);
    client.change(id, &json!({"secret": "set"}));
}
