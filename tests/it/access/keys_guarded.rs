//! A key is good from where and for as long as it may be, its use is noted, and a wrong one learns nothing.

use serde_json::{Value, json};

use crate::harness::{ALL_SCOPES, Server, clock_in, eventually, time};

/// What the server knows of a key, from `keys list`.
fn listed(server: &Server, id: &Value) -> Value {
    let output = server.cli(&["keys", "list", "--json"]);
    let listed: Value = serde_json::from_str(&output.stdout).unwrap();
    listed["data"].as_array().unwrap().iter().find(|row| row["id"] == *id).unwrap().clone()
}

#[test]
fn a_key_works_only_from_its_networks() {
    let server = Server::start(&[]);
    let make = |network: &str| {
        let made = server.create_key(&["--name", network, "--scopes", "webhooks:read", "--networks", network]);
        server.client_with(made["key"].as_str().unwrap())
    };
    for inside in ["127.0.0.0/8", "127.0.0.1/32", "0.0.0.0/0"] {
        make(inside).get("/webhooks").expect(200);
    }
    let stranger = server.stranger().get("/webhooks").expect(401);
    for outside in ["10.0.0.0/8", "127.0.0.2/32", "::/0", "::1/128"] {
        let refused = make(outside).get("/webhooks").expect(401);
        assert_eq!(refused.json["message"], stranger.json["message"]);
    }
}

#[test]
fn keys_are_changed_without_a_moment_in_which_none_is_good() {
    let mut server = Server::start(&[]);
    let old = server.create_key(&["--name", "2025", "--scopes", ALL_SCOPES]);
    let publish = |server: &Server, key: &Value, entry: u64| {
        let client = server.client_with(key["key"].as_str().unwrap());
        client.post("/events", &json!({"event": "clock_in", "data": clock_in(entry)})).status
    };
    assert_eq!(publish(&server, &old, 1), 202);
    let new = server.create_key(&["--name", "2026", "--scopes", ALL_SCOPES]);
    for entry in [2, 3] {
        assert_eq!((publish(&server, &old, entry), publish(&server, &new, entry)), (202, 202));
    }
    assert_eq!(server.cli(&["keys", "revoke", "2025"]).code, Some(0));
    assert_eq!((publish(&server, &old, 4), publish(&server, &new, 4)), (401, 202));
    server.restart();
    assert_eq!((publish(&server, &old, 5), publish(&server, &new, 5)), (401, 202));
    let reader = server.client_with(new["key"].as_str().unwrap());
    assert_eq!(reader.total("/events"), 7, "both keys published into one account");
}

#[test]
fn the_last_use_of_a_key_is_known_and_seldom_written() {
    let mut server = Server::start(&[]);
    let made = server.create_key(&["--name", "used", "--scopes", ALL_SCOPES]);
    let idle = server.create_key(&["--name", "idle", "--scopes", ALL_SCOPES]);
    assert_eq!(listed(&server, &made["id"])["last_used_at"], Value::Null);
    let client = server.client_with(made["key"].as_str().unwrap());
    let before = jiff::Timestamp::now();
    client.get("/webhooks").expect(200);
    let used = eventually("the use is noted", || {
        let used = listed(&server, &made["id"])["last_used_at"].clone();
        used.is_string().then_some(used)
    });
    let ahead = time(&used).duration_since(before);
    assert!(ahead > -jiff::SignedDuration::from_secs(1), "{used}");
    for entry in 0..50 {
        client.publish("clock_in", &clock_in(entry));
    }
    server.restart();
    assert_eq!(listed(&server, &made["id"])["last_used_at"], used, "it is not written at every use");
    assert_eq!(listed(&server, &idle["id"])["last_used_at"], Value::Null);
    let table = server.cli(&["keys", "list"]).stdout;
    assert!(table.contains("LAST USED"), "{table}");
}

#[test]
fn a_refused_key_leaves_no_trace_of_use() {
    let server = Server::start(&[]);
    let outside = server.create_key(&["--name", "a", "--scopes", ALL_SCOPES, "--networks", "10.0.0.0/8"]);
    server.client_with(outside["key"].as_str().unwrap()).get("/webhooks").expect(401);
    let good = server.client();
    good.publish("clock_in", &clock_in(1));
    assert_eq!(listed(&server, &outside["id"])["last_used_at"], Value::Null);
}

/// Everything of an answer that does not differ from one request to the next.
fn lasting(server: &Server, authorization: &str) -> (u16, Vec<(String, String)>, String) {
    let headers = [("Authorization", authorization), ("X-Request-Id", "same")];
    let answer = server.stranger().send("GET", "/api/v1/webhooks", &headers, None);
    let mut headers: Vec<_> = answer.headers.into_iter().filter(|(name, _)| name != "date").collect();
    headers.sort();
    (answer.status, headers, answer.text)
}

#[test]
fn every_kind_of_wrong_key_gets_the_very_same_answer() {
    let server = Server::start(&[]);
    let good = server.create_key(&["--name", "good", "--scopes", ALL_SCOPES]);
    let good = good["key"].as_str().unwrap();
    let revoked = server.create_key(&["--name", "revoked", "--scopes", ALL_SCOPES]);
    server.cli(&["keys", "revoke", &revoked["id"].to_string()]);
    let expired = server.create_key(&["--name", "expired", "--scopes", ALL_SCOPES, "--expires", "1s"]);
    let elsewhere = server.create_key(&["--name", "b", "--scopes", ALL_SCOPES, "--networks", "10.0.0.0/8"]);
    let bearer = |key: &Value| format!("Bearer {}", key["key"].as_str().unwrap());
    eventually("the key expires", || (lasting(&server, &bearer(&expired)).0 == 401).then_some(()));
    let unknown = lasting(&server, &format!("Bearer tc_live_{}", "0".repeat(40)));
    assert_eq!(unknown.0, 401);
    let wrong = [
        bearer(&revoked),
        bearer(&expired),
        bearer(&elsewhere),
        format!("Bearer {}", &good[..47]),
        format!("Bearer {good}0"),
        format!("Bearer {}", good.to_uppercase()),
        format!("Basic {good}"),
        "Bearer".to_owned(),
        "Bearer tc_live_".to_owned(),
        format!("Bearer {}", "x".repeat(4_000)),
        good.to_owned(),
    ];
    for authorization in wrong {
        assert_eq!(lasting(&server, &authorization), unknown, "{authorization}");
    }
    // Which of two keys counts is nothing that anybody could know, even if both are good.
    let good = format!("Bearer {good}");
    let twice = [("Authorization", good.as_str()), ("Authorization", good.as_str())];
    server.stranger().send("GET", "/api/v1/webhooks", &twice, None).expect(401);
    server.stranger().send("GET", "/api/v1/webhooks", &twice[..1], None).expect(200);
}
