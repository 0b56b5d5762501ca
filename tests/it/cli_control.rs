//! The control socket makes its user the operator, and nothing else does.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::harness::{ALL_SCOPES, Server};

#[test]
fn who_calls_over_tcp_is_never_taken_for_the_operator() {
    let server = Server::start(&[]);
    let key = server.key_for("mine", ALL_SCOPES);
    let yours = server.client_of("yours");
    yours.subscribe("http://127.0.0.1:9/", &["ping"]);
    let headers: [&[(&str, &str)]; 4] = [
        &[],
        &[("X-Account", "yours"), ("X-Operator", "1")],
        &[("Host", "control.sock"), ("Forwarded", "for=unix:")],
        &[("X-Forwarded-For", "127.0.0.1")],
    ];
    for headers in headers {
        let stranger = server.stranger().send("GET", "/api/v1/webhooks?account=yours", headers, None);
        stranger.expect(401).expect_error("unauthorized");
        let mine = server.client_with(&key).send("GET", "/api/v1/webhooks?account=yours", headers, None);
        assert_eq!(mine.expect(200).json["data"], json!([]), "another account's subscriptions");
        for caller in [server.stranger(), server.client_with(&key), server.client_with(&server.key("*"))] {
            for (method, path) in [
                ("GET", "/control/keys"),
                ("POST", "/control/keys"),
                ("POST", "/control/keys/revoke"),
                ("GET", "/control/backup"),
                ("GET", "/api/v1/control/keys"),
            ] {
                caller.send(method, path, headers, None).expect(404).expect_error("not_found");
            }
        }
    }
    let narrow = server.client_with(&server.key_for("mine", "events:read"));
    narrow.get("/webhooks?account=mine").expect(403).expect_error("forbidden");
}

#[test]
fn the_operator_has_no_rate_limit_and_leaves_that_of_the_keys_alone() {
    let server = Server::start(&[("rate_limit.management_per_minute", "5")]);
    let key = server.key("*");
    for _ in 0..12 {
        assert_eq!(server.cli(&["subscriptions", "list"]).code, Some(0));
    }
    server.client_with(&key).get("/webhooks").expect(200);
}

#[test]
fn connections_that_say_nothing_do_not_keep_a_command_out() {
    let server = Server::start(&[]);
    server.key("*");
    let socket = server.data_dir().join("control.sock");
    let idle: Vec<_> = (0..40).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let listed = server.cli(&["subscriptions", "list"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    drop(idle);
    server.stranger().send("GET", "/healthz", &[], None).expect(200);
}

#[test]
fn what_is_no_request_is_refused_on_the_socket_and_the_next_command_works() {
    let server = Server::start(&[]);
    server.key("*");
    let socket = server.data_dir().join("control.sock");
    let endless = vec![b'a'; 300_000];
    for bytes in [&b"\0\0\0"[..], b"{\"command\":\"back_up\"}\n", b"GET / HTTP/9\r\n\r\n", &endless] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // The server may refuse before it has read everything.
        let _ = stream.write_all(bytes).and_then(|()| stream.shutdown(std::net::Shutdown::Write));
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let is_refusal = answer.is_empty() || answer.starts_with(b"HTTP/1.1 4");
        assert!(is_refusal, "{:?}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(server.cli(&["subscriptions", "list"]).code, Some(0));
}

#[test]
fn a_command_without_a_server_leaves_nothing_behind_and_stands_back_for_one() {
    let mut server = Server::stopped(&[]);
    let nothing = server.cli(&["subscriptions", "list"]);
    assert_eq!(nothing.code, Some(5), "{nothing:?}");
    assert!(nothing.stderr.contains("tempclock-webhooks init"), "{}", nothing.stderr);
    assert!(!server.data_dir().exists(), "a look made a database");
    server.key("*");
    let listed = server.cli(&["subscriptions", "list", "--json"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(!server.data_dir().join("control.sock").exists());
    server.launch();
    let configured = server.data_dir().join("control.sock");
    std::fs::rename(&configured, server.folder().join("elsewhere.sock")).unwrap();
    let refused = server.cli(&["subscriptions", "list"]);
    assert_eq!(refused.code, Some(1), "a second owner of the file: {refused:?}");
    assert!(refused.stderr.contains("tempclock.redb"), "{}", refused.stderr);
}

#[test]
fn keys_are_listed_as_the_api_lists_things_and_a_name_that_fits_several_is_refused() {
    let server = Server::start(&[]);
    server.create_key(&["--name", "twin", "--scopes", "webhooks:read"]);
    server.create_key(&["--name", "twin", "--scopes", "webhooks:read"]);
    let listed: Value = serde_json::from_str(&server.cli(&["keys", "list", "--json"]).stdout).unwrap();
    assert_eq!(listed["pagination"]["total"], 2);
    let refused = server.cli(&["keys", "revoke", "twin"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let unknown = server.cli(&["keys", "revoke", "nobody"]);
    assert_eq!(unknown.code, Some(5), "{unknown:?}");
    let wrong = server.cli(&["keys", "create", "--name", "", "--scopes", "webhooks:red", "--networks", "ten"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    for wanted in ["name", "webhooks:read", "ten"] {
        assert!(wrong.stderr.contains(wanted), "{wanted} is not in {}", wrong.stderr);
    }
    let elsewhere = server.cli(&["keys", "list", "--account", "nobody"]);
    assert_eq!(elsewhere.code, Some(5), "{elsewhere:?}");
}
