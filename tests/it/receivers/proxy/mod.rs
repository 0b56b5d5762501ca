//! Deliveries through the operator's proxy: https in a tunnel, plain http as it is; its login stays with it; its own failures
//! are nobody else's.

mod forward_proxy;

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Authority, Client, Gate, Nobody, Receiver, Reply, Server, TlsReceiver, clock_in, printed, time};
use crate::operate::service::{hang_up, logged};
use crate::receivers::proxy::forward_proxy::{ForwardProxy, Instead};

/// A server that sends everything through the proxy, with a login if one is given.
fn behind(proxy: &str, login: Option<&str>, more: &[(&str, &str)]) -> Server {
    let mut server = Server::stopped(more);
    server.configure(&[("delivery.proxy", proxy)]);
    if let Some(login) = login {
        let file = server.folder().join("proxy-login");
        fs::write(&file, format!("{login}\n")).unwrap();
        server.configure(&[("delivery.proxy_credentials_file", &format!("'{}'", file.display()))]);
    }
    server.launch();
    server
}

/// A server behind the proxy that trusts the authority.
fn trusting(proxy: &ForwardProxy, authority: &Authority, login: Option<&str>) -> Server {
    let mut server = behind(&proxy.setting(), login, &[]);
    let file = format!("'{}'", authority.write_to(server.folder()).display());
    server.configure(&[("delivery.ca_certificates", &file)]);
    server.restart();
    server
}

#[track_caller]
fn deliver(client: &Client, entry: u64) -> Value {
    client.settled(&client.publish("clock_in", &clock_in(entry)), "delivered")
}

/// Why a test of the subscription fails.
#[track_caller]
fn cause(client: &Client, id: i64) -> String {
    let result = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200).data().clone();
    assert_eq!(result["success"], false, "{result}");
    result["error"].as_str().unwrap().to_owned()
}

fn has_login(head: &str) -> bool {
    head.to_lowercase().contains("proxy-authorization: basic ")
}

#[test]
fn https_goes_through_a_tunnel_and_plain_http_with_its_whole_url() {
    let (proxy, authority) = (ForwardProxy::start(), Authority::new());
    let server = trusting(&proxy, &authority, Some("user:pa:ss"));
    let client = server.client();
    let secure = TlsReceiver::start(&authority.identity("localhost", |_| {}));
    let plain = Receiver::start();
    client.subscribe(&format!("https://localhost:{}/in", secure.port()), &["clock_out"]);
    let subscription = client.subscribe(&plain.url("/in?a=b"), &["clock_in"]);
    client.settled(&client.publish("clock_out", &crate::harness::sample("clock_out")), "delivered");
    assert_eq!(proxy.lines(), [format!("CONNECT localhost:{} HTTP/1.1", secure.port())]);
    assert!(proxy.heads()[0].contains(&format!("Host: localhost:{}\r\n", secure.port())));
    // The tunnel is asked for with the login, and what goes through it is nobody's to read.
    assert!(has_login(&proxy.heads()[0]) && !proxy.heads()[0].contains("X-TempClock"));
    assert_eq!(secure.requests(), 1);
    deliver(&client, 1);
    deliver(&client, 2);
    let line = format!("POST {} HTTP/1.1", plain.url("/in?a=b"));
    assert_eq!(proxy.lines()[1..], [line.clone(), line]);
    // This one asks for no login, and might hand it on to the receiver.
    assert!(proxy.heads()[1..].iter().all(|head| !has_login(head)), "{:?}", proxy.heads());
    for request in plain.requests() {
        assert_eq!(request.path, "/in?a=b");
        request.assert_signed_with(&subscription.secret);
    }
}

#[test]
fn a_login_is_given_over_plain_http_once_the_proxy_has_asked_for_it_and_reaches_no_receiver() {
    let proxy = ForwardProxy::with_login("user:pa:ss");
    let server = behind(&proxy.setting(), Some("user:pa:ss"), &[]);
    let (client, receiver) = (server.client(), Receiver::start());
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let delivery = deliver(&client, 1);
    assert_eq!(delivery["attempt_count"], 1, "the receiver has not got the first request");
    deliver(&client, 2);
    assert_eq!(proxy.heads().iter().map(|head| has_login(head)).collect::<Vec<_>>(), [false, true, true]);
    for request in receiver.requests() {
        assert!(request.headers.iter().all(|(name, _)| !name.to_lowercase().starts_with("proxy-")), "{request:?}");
    }
    assert!(!server.log().contains("pa:ss"));
}

#[test]
fn a_wrong_login_is_the_proxys_failure_and_a_right_one_is_taken_at_a_reload() {
    let proxy = ForwardProxy::with_login("user:right");
    let server = behind(&proxy.setting(), Some("user:wr0ng"), &[("log.level", "\"trace\"")]);
    let (client, receiver) = (server.client(), Receiver::start());
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.delivery_ids(&event).remove(0);
    let failed = client.wait_for_delivery(&delivery, "has failed", |delivery| delivery["attempt_count"] != 0);
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("answered 407") && error.contains("delivery.proxy_credentials_file"), "{error}");
    // It is tried again soon, and nothing is held against the endpoint.
    assert_eq!((&failed["status"], &client.subscription(id)["failing_since"]), (&json!("pending"), &Value::Null));
    let attempt = failed["attempts"].as_array().unwrap().last().unwrap();
    let wait = time(&failed["next_attempt_at"]).as_millisecond() - time(&attempt["completed_at"]).as_millisecond();
    assert!(wait >= 4_900, "{wait} ms");
    fs::write(server.folder().join("proxy-login"), "user:right\r\n").unwrap();
    hang_up(&server);
    logged(&server, "certificates reloaded", 1);
    client.post_nothing(&format!("/deliveries/{delivery}/retry")).expect(202);
    client.wait_for_status(&delivery, "delivered");
    for secret in ["wr0ng", "user:right"] {
        assert!(!server.log().contains(secret));
    }
}

#[test]
fn a_proxy_that_wants_a_login_no_more_is_given_none_after_a_reload() {
    let proxy = ForwardProxy::with_login("user:right");
    let server = behind(&proxy.setting(), Some("user:right"), &[]);
    let (client, receiver) = (server.client(), Receiver::start());
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    deliver(&client, 1);
    proxy.want_no_login();
    hang_up(&server);
    logged(&server, "certificates reloaded", 1);
    deliver(&client, 2);
    assert_eq!(proxy.heads().iter().map(|head| has_login(head)).collect::<Vec<_>>(), [false, true, false]);
    for request in receiver.requests() {
        assert!(request.headers.iter().all(|(name, _)| !name.to_lowercase().starts_with("proxy-")), "{request:?}");
    }
}

#[test]
fn what_is_named_is_connected_to_directly_and_loopback_only_then() {
    let proxy = ForwardProxy::start();
    let mut server = behind(&proxy.setting(), None, &[("delivery.no_proxy", r#"["127.0.0.2/32", "localhost"]"#)]);
    server.restart();
    let (client, named, other) = (server.client(), Receiver::at("127.0.0.2:0"), Receiver::start());
    client.subscribe(&named.url("/"), &["clock_in"]);
    client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
    client.subscribe(&format!("http://localhost:{}/", other.port()), &["clock_out"]);
    client.settled(&client.publish("clock_out", &crate::harness::sample("clock_out")), "delivered");
    assert_eq!(proxy.lines(), [""; 0]);
    client.subscribe(&other.url("/"), &["worker_created"]);
    client.settled(&client.publish("worker_created", &crate::harness::sample("worker_created")), "delivered");
    assert_eq!(proxy.lines().len(), 1);
}

#[test]
fn literal_addresses_are_judged_as_ever_and_names_are_the_proxys() {
    let proxy = ForwardProxy::start();
    let mut server = behind(&proxy.setting(), None, &[]);
    let (client, receiver) = (server.client(), Receiver::start());
    let wish = json!({"url": "http://10.0.0.1/", "events": ["clock_in"]});
    client.post("/webhooks", &wish).expect(400).expect_wrong(&["url"]);
    let literal = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let name = client.subscribe("http://crm.invalid/in", &["clock_in"]).id;
    server.configure(&[("delivery.allow_networks", "[]")]);
    server.restart();
    let client = server.client();
    assert!(cause(&client, literal).contains("delivery.allow_networks"));
    assert_eq!(proxy.lines(), [""; 0]);
    let said = cause(&client, name);
    assert!(said.contains("no connection to the endpoint (the proxy 127.0.0.1:") && said.contains("503"), "{said}");
    assert_eq!(proxy.lines(), ["POST http://crm.invalid/in HTTP/1.1"]);
}

#[test]
fn each_failure_is_told_with_the_proxys_name_and_apart_from_the_receivers() {
    let (proxy, authority, gate) = (ForwardProxy::start(), Authority::new(), Gate::default());
    let server = trusting(&proxy, &authority, None);
    let client = server.client();
    let secure = TlsReceiver::start(&authority.identity("localhost", |_| {}));
    let plain = Receiver::start();
    let subscribe = |url: &str, timeout: Value| {
        let wish = json!({"url": url, "events": ["clock_in"], "timeout": timeout});
        client.post("/webhooks", &wish).expect(201).data()["id"].as_i64().unwrap()
    };
    let https = subscribe(&format!("https://localhost:{}/", secure.port()), Value::Null);
    let hasty = subscribe(&format!("https://localhost:{}/", secure.port()), json!("2s"));
    let http = subscribe(&plain.url("/"), Value::Null);
    let own = "not sent to the endpoint, and not counted against it: the proxy 127.0.0.1:";
    let not_reached = "no connection to the endpoint (";
    for (id, instead, kind, words) in [
        (https, Instead::Answer("HTTP/1.1 407 x\r\n\r\n"), own, "it requires a login"),
        (https, Instead::Answer("HTTP/1.1 403 x\r\n\r\n"), own, "configure it to allow connections to localhost:"),
        (https, Instead::Answer("HTTP/1.1 405 x\r\n\r\n"), own, "not be a forward proxy"),
        (https, Instead::Answer("HTTP/1.1 400 x\r\n\r\n"), own, "not be a forward proxy"),
        (https, Instead::Answer("HTTP/1.1 401 x\r\n\r\n"), own, "it requires a login"),
        (https, Instead::Answer("220 mail.example ESMTP\r\n"), own, "not valid HTTP"),
        (https, Instead::Answer("HTTP/1.1 200 x\r\n\r\n220 mail"), own, "data after its answer"),
        (https, Instead::Answer("HTTP/1.1 502 x\r\n\r\n"), not_reached, "answered 502 to CONNECT"),
        (https, Instead::Answer("HTTP/1.1 404 x\r\n\r\n"), not_reached, "answered 404 to CONNECT"),
        (https, Instead::Close, not_reached, "closed the connection without an answer"),
        (hasty, Instead::Hang(gate.clone()), not_reached, "timed out waiting for the proxy"),
        (https, Instead::Die(100), not_reached, "the connection through the proxy"),
        (
            http,
            Instead::Answer("HTTP/1.1 403 x\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n\r\n"),
            own,
            "allow connections",
        ),
        (http, Instead::Answer("HTTP/1.0 401 x\r\nServer: tinyproxy/1.11.1\r\n\r\n"), own, "it requires a login"),
        (http, Instead::Answer("HTTP/1.1 504 x\r\nX-Squid-Error: ERR_READ_TIMEOUT 0\r\n\r\n"), not_reached, "504"),
        (http, Instead::Close, not_reached, "ended without an answer"),
        (http, Instead::Die(20), not_reached, "ended without an answer"),
    ] {
        proxy.then([instead.clone()]);
        let said = cause(&client, id);
        assert!(said.starts_with(kind) && said.contains(words), "{instead:?}: {said}");
        assert_eq!(said.matches("; ").count(), 1, "{said}");
    }
    gate.open();
    // What it hands on is the receiver's.
    plain.rule(|_| Reply::with(401, &[("Server", "nginx")], ""));
    assert!(cause(&client, http).starts_with("the endpoint answered 401"));
    assert_eq!(secure.requests(), 0);
}

#[test]
fn a_proxy_that_is_not_there_is_told_and_doctor_says_so() {
    let nobody = Nobody::new();
    let mut server = behind(&format!("\"{}\"", nobody.url("")), None, &[]);
    let listen = format!("\"{}\"", server.address());
    server.configure(&[("server.listen", &listen)]);
    let (client, receiver) = (server.client(), Receiver::start());
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let said = cause(&client, id);
    assert!(said.contains("cannot be reached (connection refused); check delivery.proxy"), "{said}");
    let finding = |server: &Server| {
        let output = server.cli(&["doctor", "--json"]);
        let found: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        let of_proxy = found["data"].as_array().unwrap().iter().find(|finding| finding["check"] == "proxy");
        of_proxy.unwrap_or_else(|| panic!("{found:#}")).clone()
    };
    let found = finding(&server);
    assert_eq!(found["level"], "problem", "{found}");
    assert!(found["fix"].as_str().unwrap().contains("delivery.proxy"), "{found}");
    let proxy = ForwardProxy::start();
    server.configure(&[("delivery.proxy", &proxy.setting())]);
    let found = finding(&server);
    assert_eq!(found["level"], "ok", "{found}");
}

#[test]
fn a_proxys_401_drops_no_access_token() {
    let proxy = ForwardProxy::start();
    let server = behind(&proxy.setting(), None, &[]);
    let (client, receiver) = (server.client(), Receiver::start());
    let tokens = Receiver::answering(|_| Reply::with(200, &[], r#"{"access_token": "abc", "expires_in": 3600}"#));
    let auth = json!({
        "type": "oauth2_client_credentials", "token_url": tokens.url("/token"), "client_id": "a", "client_secret": "b",
    });
    let wish = json!({"url": receiver.url("/"), "events": ["clock_in"], "auth": auth});
    client.post("/webhooks", &wish).expect(201);
    deliver(&client, 1);
    assert_eq!(
        proxy.lines()[0],
        format!("POST {} HTTP/1.1", tokens.url("/token")),
        "it is asked for through the proxy too"
    );
    proxy.then([Instead::Answer("HTTP/1.0 401 x\r\nServer: tinyproxy/1.11.1\r\n\r\n")]);
    let delivery = client.delivery_ids(&client.publish("clock_in", &clock_in(2))).remove(0);
    client.wait_for_delivery(&delivery, "has failed", |delivery| delivery["attempt_count"] != 0);
    client.post_nothing(&format!("/deliveries/{delivery}/retry")).expect(202);
    client.wait_for_status(&delivery, "delivered");
    assert_eq!(tokens.requests().len(), 1);
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_in_words_and_its_password_is_not_shown() {
    let mut server = Server::stopped(&[]);
    let file = server.folder().join("login");
    fs::write(&file, "no-colon-s3cret").unwrap();
    let credentials = format!("'{}'", file.display());
    server.configure(&[("delivery.proxy_credentials_file", &credentials)]);
    let refused = server.cli(&["config", "check"]);
    assert!(refused.stderr.contains("delivery.proxy is not; set both or neither"), "{refused:?}");
    server.configure(&[("delivery.proxy", "\"http://127.0.0.1:9\"")]);
    for refused in [server.cli(&["config", "check"]), server.fail_to_start()] {
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(
            refused.stderr.contains("not contain user:password") && !refused.stderr.contains("s3cret"),
            "{refused:?}"
        );
    }
    server.configure(&[("delivery.proxy", "\"http://user:s3cret@127.0.0.1:9\"")]);
    let refused = server.cli(&["config", "check"]);
    assert!(refused.stderr.contains("proxy_credentials_file") && !refused.stderr.contains("s3cret"), "{refused:?}");
    server
        .configure(&[("delivery.proxy", "\"http://127.0.0.1:9\""), ("delivery.proxy_credentials_file", "\"s3cret\"")]);
    let shown = printed(&server.cli(&["config", "show", "--json"]));
    assert!(!shown.to_string().contains("s3cret"), "{shown}");
}
