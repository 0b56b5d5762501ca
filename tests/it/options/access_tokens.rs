//! A login by `OAuth2` client credentials: the token is asked for where and how the option says, used until it ends or is
//! refused, and whoever looks learns which of the two servers refused what.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{Authority, Client, Gate, Nobody, Received, Receiver, Reply, Server, TlsReceiver, clock_in};

/// A token server that numbers its tokens.
fn token_server(life: &'static str) -> Receiver {
    let count = AtomicUsize::new(0);
    Receiver::answering(move |_| given(count.fetch_add(1, Ordering::SeqCst) + 1, life))
}

fn given(number: usize, life: &str) -> Reply {
    let body = format!(r#"{{"access_token": "token-{number}", "token_type": "Bearer"{life}}}"#);
    Reply::with(200, &[("Content-Type", "application/json")], &body)
}

const HOUR: &str = r#", "expires_in": 3600"#;

fn login(token_url: &str) -> Value {
    json!({
        "type": "oauth2_client_credentials", "token_url": token_url, "client_id": "agency", "client_secret": "s3cret+/",
        "client_authentication": "basic",
    })
}

#[track_caller]
fn subscribe(client: &Client, url: &str, auth: &Value, more: &Value) -> i64 {
    let mut wish = json!({"url": url, "events": ["clock_in"], "auth": auth});
    wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.post("/webhooks", &wish).expect(201).data()["id"].as_i64().unwrap()
}

#[track_caller]
fn deliver(client: &Client, entry: u64) -> Value {
    client.settled(&client.publish("clock_in", &clock_in(entry)), "delivered")
}

/// What the only test of a subscription says.
#[track_caller]
fn tested(client: &Client, id: i64) -> Value {
    client.post_nothing(&format!("/webhooks/{id}/test")).expect(200).data().clone()
}

#[track_caller]
fn cause(client: &Client, id: i64) -> String {
    let result = tested(client, id);
    assert_eq!(result["success"], false, "{result}");
    result["error"].as_str().unwrap().to_owned()
}

fn tokens_of(requests: &[Received]) -> Vec<String> {
    requests.iter().map(|request| request.header("authorization").to_owned()).collect()
}

#[test]
fn one_token_is_asked_for_and_sent_with_every_delivery() {
    let server = Server::start(&[]);
    let (client, receiver, tokens) = (server.client(), Receiver::start(), token_server(HOUR));
    let mut auth = login(&tokens.url("/oauth2/token"));
    auth["scope"] = json!("events:write");
    auth["audience"] = json!("https://crm.example");
    let id = subscribe(&client, &receiver.url("/"), &auth, &json!({}));
    auth["client_secret"] = json!("set");
    assert_eq!(client.subscription(id)["auth"], auth);
    for entry in 1..=3 {
        let delivery = deliver(&client, entry);
        let headers = &delivery["attempts"][0]["request"]["headers"];
        assert!(headers.to_string().contains("redacted") && !delivery.to_string().contains("token-"), "{delivery}");
    }
    assert_eq!(tokens_of(&receiver.requests()), ["Bearer token-1"; 3]);
    let asked = tokens.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("POST", "/oauth2/token"));
    let text = STANDARD.encode("agency:s3cret%2B/");
    assert_eq!(asked[0].header("authorization"), format!("Basic {text}"));
    assert_eq!(asked[0].header("content-type"), "application/x-www-form-urlencoded");
    let form = "grant_type=client_credentials&scope=events%3Awrite&audience=https%3A%2F%2Fcrm.example";
    assert_eq!(asked[0].text(), form);
    // With other credentials there is another token; a secret that is sent back as it was shown stays.
    auth["client_authentication"] = json!("body");
    client.change(id, &json!({"auth": auth}));
    deliver(&client, 4);
    let asked = tokens.requests().remove(1);
    assert!(asked.headers.iter().all(|(name, _)| !name.eq_ignore_ascii_case("authorization")), "{asked:?}");
    assert!(asked.text().contains("&client_id=agency&client_secret=s3cret%2B%2F"), "{}", asked.text());
    assert_eq!(receiver.requests()[3].header("authorization"), "Bearer token-2");
}

#[test]
fn a_refused_token_is_dropped_and_the_next_attempt_follows_at_once_outside_of_the_schedule() {
    let server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let (client, tokens) = (server.client(), token_server(HOUR));
    let receiver = Receiver::start();
    subscribe(&client, &receiver.url("/"), &login(&tokens.url("/")), &json!({}));
    deliver(&client, 1);
    // Its token was revoked. With an empty schedule nothing but this is tried again.
    receiver.rule(|request| Reply::status(if request.header("authorization") == "Bearer token-1" { 401 } else { 200 }));
    let delivery = deliver(&client, 2);
    let attempts = delivery["attempts"].as_array().unwrap();
    let seen: Vec<_> = attempts.iter().map(|one| (&one["attempt"], &one["response_code"])).collect();
    assert_eq!(seen, [(&json!(1), &json!(401)), (&json!(2), &json!(200))]);
    assert!(attempts[0]["error"].as_str().unwrap().contains("token was discarded"), "{delivery:#}");
    assert_eq!(receiver.requests()[2].attempt(), 2);
    assert_eq!(tokens_of(&receiver.requests()), ["Bearer token-1", "Bearer token-1", "Bearer token-2"]);

    // One that is refused as well is a failure as any other.
    receiver.rule(|_| Reply::status(401));
    let event = client.publish("clock_in", &clock_in(3));
    let delivery = client.settled(&event, "exhausted");
    assert_eq!(delivery["attempt_count"], 2);
    let error = delivery["error"].as_str().unwrap();
    assert!(error.contains("answered 401 to the access token") && error.contains("auth.scope"), "{error}");
    assert_eq!((receiver.requests().len(), tokens.requests().len()), (5, 3));
}

#[test]
fn with_a_rate_no_attempt_follows_at_once_and_the_next_retry_has_a_new_token() {
    let server = Server::start(&[]);
    let (client, tokens) = (server.client(), token_server(HOUR));
    let receiver = Receiver::first([Reply::status(401)]);
    subscribe(&client, &receiver.url("/"), &login(&tokens.url("/")), &json!({"rate_limit": "5/s"}));
    let delivery = deliver(&client, 1);
    assert_eq!(delivery["attempts"][0]["response_code"], 401);
    let came = receiver.requests();
    assert_eq!(tokens_of(&came), ["Bearer token-1", "Bearer token-2"]);
    assert!(came[1].at - came[0].at >= Duration::from_millis(900), "the wait of the schedule");
}

#[test]
fn a_token_that_has_ended_or_is_good_for_once_is_not_sent_again() {
    let server = Server::start(&[]);
    let (client, receiver, tokens) = (server.client(), Receiver::start(), token_server(r#", "expires_in": "0""#));
    subscribe(&client, &receiver.url("/"), &login(&tokens.url("/")), &json!({}));
    deliver(&client, 1);
    deliver(&client, 2);
    assert_eq!(tokens_of(&receiver.requests()), ["Bearer token-1", "Bearer token-2"]);
}

#[test]
fn a_test_tells_apart_who_was_not_reached_and_who_refused() {
    let server = Server::start(&[]);
    let (client, receiver, tokens) = (server.client(), Receiver::start(), token_server(HOUR));
    let id = subscribe(&client, &receiver.url("/"), &login(&tokens.url("/token")), &json!({}));
    assert_eq!(tested(&client, id)["success"], true);
    let json = [("Content-Type", "application/json")];
    let token = |token: &str| Reply::with(200, &json, &format!(r#"{{"access_token": "{token}"}}"#));
    for (reply, words) in [
        (Reply::with(401, &json, r#"{"error": "invalid_client", "error_description": "sp1lled"}"#), "client_secret"),
        (Reply::with(400, &json, r#"{"error": "invalid_scope"}"#), "check auth.scope"),
        (Reply::with(200, &json, r#"{"error": "unauthorized_client"}"#), "grant client_credentials"),
        (Reply::with(301, &[("Location", "/token/")], ""), "slash at the end"),
        (Reply::with(404, &[], "<html>"), "answered 404; check auth.token_url"),
        (Reply::with(503, &[], ""), "answered 503"),
        (Reply::with(200, &[("Content-Type", "text/html")], "<html>sign in"), "no access_token"),
        (token(&"x".repeat(1 << 20)), "longer than 32 KiB"),
        (token(&"x".repeat(9000)), "longer than 8 KiB"),
        (token("a\\r\\nX-Evil: b"), "invalid characters"),
        (Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()), "not valid HTTP"),
        (Reply::CutShort, "did not end"),
    ] {
        tokens.then([reply.clone()]);
        let said = cause(&client, id);
        assert!(said.starts_with("no access token") && said.contains(words), "{reply:?}: {said}");
        assert!(!said.contains("sp1lled") && !said.contains("s3cret"), "{said}");
    }
    assert_eq!(receiver.requests().len(), 1, "without a token nothing is sent");
    receiver.rule(|_| Reply::status(401));
    assert!(cause(&client, id).contains("answered 401 to the access token; "));

    let nobody = Nobody::new();
    client.change(id, &json!({"auth": login(&nobody.url("/token"))}));
    let said = cause(&client, id);
    assert!(said.contains("token URL cannot be reached (connection refused); check auth.token_url"), "{said}");
}

#[test]
fn a_token_url_is_under_the_rules_of_the_address_and_of_trust() {
    let mut server = Server::stopped(&[("delivery.allow_networks", r#"["127.0.0.0/30"]"#)]);
    server.launch();
    let (client, receiver) = (server.client(), Receiver::start());
    for (url, words) in [
        ("http://169.254.169.254/token", "169.254.169.254"),
        ("http://127.0.0.9/token", "127.0.0.9"),
        ("http://10.0.0.1/token", "10.0.0.1"),
        ("ftp://login.example/token", "https://"),
        ("http://user@login.example/token", "user name"),
    ] {
        let wish = json!({"url": receiver.url("/"), "events": ["clock_in"], "auth": login(url)});
        let refused = client.post("/webhooks", &wish).expect(400);
        assert_eq!(refused.wrong_fields(), ["auth.token_url"], "{url}");
        assert!(refused.text.contains(words), "{}", refused.text);
    }
    // What was allowed when it was made is judged again when it is used.
    let tokens = token_server(HOUR);
    let url = format!("http://localhost:{}/token", tokens.port());
    let id = subscribe(&client, &receiver.url("/"), &login(&url), &json!({}));
    assert_eq!(tested(&client, id)["success"], true);
    let authority = Authority::new();
    let secure = TlsReceiver::start(&authority.identity("localhost", |_| {}));
    client.change(id, &json!({"auth": login(&format!("https://localhost:{}/", secure.port()))}));
    let said = cause(&client, id);
    assert!(said.contains("no trusted TLS connection to the token URL") && said.contains("authority"), "{said}");
    client.change(id, &json!({"auth": login(&url)}));
    server.configure(&[("delivery.allow_networks", r#"["127.0.0.2/32"]"#)]);
    server.restart();
    let client = server.client();
    let second = Receiver::at("127.0.0.2:0");
    client.change(id, &json!({"url": second.url("/")}));
    let said = cause(&client, id);
    assert!(said.starts_with("no access token") && said.contains("delivery.allow_networks"), "{said}");
    assert_eq!(second.requests().len(), 0);
}

#[test]
fn a_token_server_that_hangs_holds_one_thread_and_no_other_endpoint() {
    let server = Server::start(&[
        ("delivery.threads", "2"),
        ("delivery.max_in_flight_per_endpoint", "2"),
        ("delivery.timeout", r#""1h""#),
    ]);
    let (client, gate) = (server.client(), Gate::default());
    let (receiver, other, tokens) = (Receiver::start(), Receiver::start(), Arc::new(token_server(HOUR)));
    tokens.then([Reply::Held(gate.clone(), 503)]);
    subscribe(&client, &receiver.url("/"), &login(&tokens.url("/")), &json!({}));
    subscribe(&client, &other.url("/"), &Value::Null, &json!({}));
    for entry in 1..=20 {
        client.publish("clock_in", &clock_in(entry));
    }
    // All of them arrive at the other one over the second thread.
    other.wait_for(20, "the deliveries of the other endpoint");
    tokens.wait_for(1, "the request for a token");
    assert_eq!((tokens.requests().len(), receiver.requests().len()), (1, 0));
    gate.open();
    receiver.wait_for(20, "the deliveries after the token server answers again");
    assert_eq!(tokens.requests().len(), 2);
}

#[test]
fn a_token_that_cannot_be_had_is_a_failed_attempt_with_a_cause_of_its_own() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1s"]"#)]);
    let (client, receiver, tokens) = (server.client(), Receiver::start(), token_server(HOUR));
    tokens.rule(|_| Reply::with(401, &[], r#"{"error": "invalid_client"}"#));
    let id = subscribe(&client, &receiver.url("/"), &login(&tokens.url("/")), &json!({}));
    let delivery = client.settled(&client.publish("clock_in", &clock_in(1)), "exhausted");
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 2, "{delivery:#}");
    for attempt in delivery["attempts"].as_array().unwrap() {
        assert_eq!(attempt["response_code"], Value::Null);
        assert!(attempt["error"].as_str().unwrap().contains("invalid_client"), "{attempt}");
    }
    assert!(client.subscription(id)["failing_since"].is_string());
}
