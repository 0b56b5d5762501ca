//! No request leaves for an address that the operator did not open.

use serde_json::json;

use crate::harness::{ALL_SCOPES, Answer, Client, Receiver, Server, clock_in};

fn wish(client: &Client, url: &str) -> Answer {
    client.post("/webhooks", &json!({"url": url, "events": ["clock_in"]}))
}

#[track_caller]
fn assert_all_refused(client: &Client, hosts: &[&str]) {
    for host in hosts {
        for scheme in ["http", "https"] {
            let answer = wish(client, &format!("{scheme}://{host}/hook"));
            assert_eq!(answer.status, 400, "{scheme}://{host} was taken: {}", answer.text);
            answer.expect_wrong(&["url"]);
        }
    }
}

#[track_caller]
fn assert_all_taken(client: &Client, hosts: &[&str]) {
    for host in hosts {
        let answer = wish(client, &format!("http://{host}/hook"));
        assert_eq!(answer.status, 201, "{host} was refused: {}", answer.text);
    }
}

/// A server that opens no network but speaks `http`.
fn closed() -> Server {
    Server::start(&[("delivery.allow_networks", "[]")])
}

#[test]
fn plain_http_is_refused_unless_allowed() {
    let server = Server::start(&[("delivery.allow_http", "")]);
    let client = server.client();
    for url in ["http://example.com/hook", "HTTP://example.com/hook", "http://127.0.0.1:9/hook"] {
        wish(&client, url).expect_wrong(&["url"]);
    }
    let id = wish(&client, "https://example.com/hook").expect(201).data()["id"].as_i64().unwrap();
    let change = json!({"url": "http://example.com/hook"});
    client.put(&format!("/webhooks/{id}"), &change).expect_wrong(&["url"]);
    assert_eq!(client.subscription(id)["url"], "https://example.com/hook");
}

#[test]
fn special_addresses_are_refused_in_every_spelling() {
    let server = closed();
    let client = server.client();
    assert_all_refused(
        &client,
        &[
            "127.0.0.1",
            "127.255.255.254",
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "169.254.169.254",
            "169.254.0.1",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
        ],
    );
    assert_all_refused(
        &client,
        &[
            "[::1]",
            "[::]",
            "[fe80::1]",
            "[febf::1]",
            "[fc00::1]",
            "[fdff::1]",
            "[ff02::1]",
            "[fec0::1]",
            "[2001:db8::1]",
            "[100::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:10.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::a00:1]",
            "[2002:7f00:1::]",
            "[2002:a00:1::1]",
            "[2001::1]",
        ],
    );
    assert_all_refused(
        &client,
        &[
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "0",
            "127.0.0.1.",
            "127.0.0.1:8080",
            "[0:0:0:0:0:ffff:7f00:1]",
            "[::FFFF:7F00:0001]",
            "１２７.0.0.1",
            "169.254.43518",
        ],
    );
    assert_eq!(client.total("/webhooks"), 0);
}

#[test]
fn the_neighbours_of_special_addresses_are_taken() {
    let server = closed();
    assert_all_taken(
        &server.client(),
        &[
            "9.255.255.255",
            "11.0.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "172.15.255.255",
            "172.32.0.1",
            "192.167.255.255",
            "192.169.0.1",
            "169.253.255.255",
            "169.255.0.1",
            "100.63.255.254",
            "100.128.0.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.254",
            "1.1.1.1",
            "[2606:4700:4700::1111]",
            "[2001:4860:4860::8888]",
            "[64:ff9b::101:101]",
            "example.com",
        ],
    );
}

#[test]
fn a_name_for_a_closed_address_is_never_connected_to() {
    let server = closed();
    let client = server.client();
    let receiver = Receiver::start();
    let answer = wish(&client, &format!("http://localhost:{}/hook", receiver.port()));
    if answer.status == 201 {
        let id = answer.data()["id"].as_i64().unwrap();
        let result = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
        assert_eq!(result.data()["success"], false, "{}", result.text);
        assert_eq!(result.data()["response_code"], json!(null));
        assert!(result.data()["error"].as_str().is_some_and(|e| !e.is_empty()), "{}", result.text);
    } else {
        answer.expect_wrong(&["url"]);
    }
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn the_rule_holds_at_every_attempt_and_not_only_when_saved() {
    let mut server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let key = server.key(ALL_SCOPES);
    let receiver = Receiver::start();
    let client = server.client_with(&key);
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    server.configure(&[("delivery.allow_networks", "[]")]);
    server.restart();

    let client = server.client_with(&key);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "exhausted");
    let attempt = &delivery["attempts"][0];
    assert_eq!(attempt["status"], "failed");
    assert_eq!(attempt["response_code"], json!(null));
    assert!(attempt["error"].as_str().is_some_and(|e| !e.is_empty()), "{attempt}");
    let result = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
    assert_eq!(result.data()["success"], false);
    assert_eq!(receiver.connections(), 0);

    server.configure(&[("delivery.allow_networks", r#"["127.0.0.0/8"]"#)]);
    server.restart();
    let client = server.client_with(&key);
    client.post_nothing(&format!("/deliveries/{}/retry", delivery["id"].as_str().unwrap())).expect(202);
    client.settled(&event, "delivered");
}

#[test]
fn a_change_of_url_meets_the_same_rule() {
    let server = closed();
    let client = server.client();
    let id = wish(&client, "http://example.com/hook").expect(201).data()["id"].as_i64().unwrap();
    for url in ["http://127.0.0.1/", "http://[::ffff:10.0.0.1]/", "http://a:b@example.com/"] {
        client.put(&format!("/webhooks/{id}"), &json!({"url": url})).expect_wrong(&["url"]);
        client.put(&format!("/webhooks.php?id={id}"), &json!({"url": url})).expect_wrong(&["url"]);
    }
    assert_eq!(client.subscription(id)["url"], "http://example.com/hook");
}

#[test]
fn a_wide_block_opens_private_networks_but_neither_loopback_nor_metadata() {
    let server = Server::start(&[("delivery.allow_networks", r#"["0.0.0.0/0", "::/0"]"#)]);
    let client = server.client();
    assert_all_taken(&client, &["10.1.2.3", "192.168.1.5", "172.16.9.9", "[fd12:3456::1]"]);
    assert_all_refused(
        &client,
        &[
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "169.254.1.1",
            "[::1]",
            "[fe80::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:169.254.169.254]",
            "0.0.0.0",
        ],
    );
}

#[test]
fn a_narrow_block_opens_what_it_names_and_no_more() {
    let allowed = r#"["169.254.169.254/32", "127.0.0.0/8", "10.20.0.0/16"]"#;
    let server = Server::start(&[("delivery.allow_networks", allowed)]);
    let client = server.client();
    assert_all_taken(&client, &["169.254.169.254", "127.0.0.1", "127.8.8.8", "10.20.255.1"]);
    assert_all_refused(&client, &["169.254.169.253", "10.21.0.1", "10.19.255.255", "192.168.0.1", "[::1]"]);
}

#[test]
fn an_allowed_host_is_let_through_to_any_address_and_no_other_name_is() {
    let server = Server::start(&[
        ("delivery.allow_networks", "[]"),
        ("delivery.allow_hosts", r#"["localhost"]"#),
        ("delivery.retry_schedule", "[]"),
    ]);
    let client = server.client();
    let receiver = Receiver::start();
    let url = format!("http://localhost:{}/hook", receiver.port());
    let id = wish(&client, &url).expect(201).data()["id"].as_i64().unwrap();
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "delivered");
    let result = client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
    assert_eq!(result.data()["success"], true, "{}", result.text);
    assert_eq!(receiver.requests()[0].header("host"), format!("localhost:{}", receiver.port()));
    assert_all_refused(&client, &["127.0.0.1", "10.0.0.1"]);
}

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let proxy = Receiver::start();
    let mut server = Server::stopped(&[]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        server.environment(name, &proxy.url(""));
    }
    server.launch();
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "delivered");
    assert_eq!(receiver.requests().len(), 1);
    assert_eq!(proxy.connections(), 0);
}
