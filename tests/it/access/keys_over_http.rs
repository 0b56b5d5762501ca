//! Keys are created, rotated and revoked over the API by a key that may, and no key gives more than it has.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{Client, Receiver, Server, assert_has_fields, clock_in, time};

const UNUSED: &str = "http://127.0.0.1:9/hook";

fn admin(server: &Server, more: &[&str]) -> Client {
    let arguments = ["--name", "admin", "--scopes", "keys:admin,webhooks:read,webhooks:write,events:write"];
    let made = server.create_key(&[&arguments[..], more].concat());
    server.client_with(made["key"].as_str().unwrap())
}

fn create(client: &Client, body: &Value) -> Value {
    client.post("/keys", body).expect(201).data().clone()
}

#[test]
fn a_key_is_created_listed_and_revoked_with_its_text_shown_once() {
    let server = Server::start(&[]);
    let admin = admin(&server, &[]);
    let made = create(
        &admin,
        &json!({"name": "crm", "scopes": ["webhooks:read"], "expires": "90d", "networks": ["127.0.0.0/8"]}),
    );
    assert_has_fields(&made, &["id", "account", "name", "prefix", "scopes", "expires_at", "networks", "key"]);
    let lasts = time(&made["expires_at"]).duration_since(Timestamp::now());
    assert!(lasts > SignedDuration::from_hours(89 * 24) && lasts <= SignedDuration::from_hours(90 * 24), "{lasts}");
    let text = made["key"].as_str().unwrap();
    let own = server.client_with(text);
    own.get("/webhooks").expect(200);
    own.get("/keys").expect(403);
    let listed = admin.get("/keys?limit=1&offset=1").expect(200);
    assert_eq!(listed.rows()[0]["id"], made["id"]);
    assert_eq!(listed.json["pagination"]["total"], 2);
    assert!(!listed.text.contains(text), "{}", listed.text);
    let revoked = admin.delete(&format!("/keys/{}", made["id"])).expect(200);
    assert!(revoked.data()["revoked_at"].is_string(), "{}", revoked.text);
    own.get("/webhooks").expect(401);
}

#[test]
fn keys_of_another_account_are_not_found() {
    let server = Server::start(&[]);
    let other = server.create_key(&["--name", "other", "--account", "acme", "--scopes", "webhooks:read"]);
    let admin = admin(&server, &[]);
    assert_eq!(admin.get("/keys").expect(200).rows().len(), 1);
    admin.delete(&format!("/keys/{}", other["id"])).expect(404);
    admin.post_nothing(&format!("/keys/{}/rotate", other["id"])).expect(404);
    server.client_with(other["key"].as_str().unwrap()).get("/webhooks").expect(200);
}

#[test]
fn a_rotated_key_and_its_successor_are_both_valid_for_the_overlap_and_no_longer() {
    let server = Server::start(&[]);
    let admin = admin(&server, &[]);
    let first = create(&admin, &json!({"name": "crm", "scopes": ["webhooks:read"]}));
    let path = format!("/keys/{}/rotate", first["id"]);
    let before = Timestamp::now();
    let second = admin.post_nothing(&path).expect(200).data().clone();
    assert_eq!((&second["name"], &second["scopes"]), (&first["name"], &first["scopes"]));
    assert_eq!(second["previous_id"], first["id"]);
    let overlap = time(&second["previous_valid_until"]).duration_since(before);
    assert!(overlap > SignedDuration::from_hours(23) && overlap < SignedDuration::from_hours(25), "{overlap}");
    for key in [&first, &second] {
        server.client_with(key["key"].as_str().unwrap()).get("/webhooks").expect(200);
    }
    let third = admin.post(&format!("/keys/{}/rotate", second["id"]), &json!({"overlap": "0s"})).expect(200);
    server.client_with(second["key"].as_str().unwrap()).get("/webhooks").expect(401);
    server.client_with(third.data()["key"].as_str().unwrap()).get("/webhooks").expect(200);
    admin.post_nothing(&format!("/keys/{}/rotate", second["id"])).expect(409).expect_error("key_ended");
    admin.post(&path, &json!({"overlap": "8d"})).expect(400).expect_wrong(&["overlap"]);
    admin.post(&path, &json!({"overlap": 5, "over": "1d"})).expect(400).expect_wrong(&["over", "overlap"]);
}

#[test]
fn a_key_gives_and_rotates_no_more_than_it_has() {
    let server = Server::start(&[]);
    let powerful = server.create_key(&["--name", "all", "--scopes", "*"]);
    let limits = ["--networks", "127.0.0.0/8", "--expires", "10d"];
    let admin = admin(&server, &limits);
    let within = json!({"name": "x", "scopes": ["events:write"], "expires": "9d", "networks": ["127.0.0.1/32"]});
    create(&admin, &within);
    for (field, beyond) in [
        ("scopes", json!(["events:read"])),
        ("scopes", json!(["*"])),
        ("expires", json!("11d")),
        ("expires", json!(null)),
        ("networks", json!(["10.0.0.0/8"])),
        ("networks", json!([])),
    ] {
        let mut body = within.clone();
        body[field] = beyond;
        admin.post("/keys", &body).expect(403).expect_error("beyond_rights");
    }
    admin.post_nothing(&format!("/keys/{}/rotate", powerful["id"])).expect(403).expect_error("beyond_rights");
    let all = server.client_with(powerful["key"].as_str().unwrap());
    create(&all, &json!({"name": "y", "scopes": ["*"]}));
    let erase = json!({"name": "z", "scopes": ["events:erase"]});
    all.post("/keys", &erase).expect(403).expect_error("beyond_rights");
}

#[test]
fn every_wrong_field_of_a_new_key_is_named() {
    let server = Server::start(&[]);
    let admin = admin(&server, &[]);
    admin.post("/keys", &json!({})).expect(400).expect_wrong(&["name", "scopes"]);
    let wrong = json!({
        "name": "", "scopes": ["webhook:read"], "expires": "soon", "networks": ["10.0.0.1", 5], "subscriptions": [9], "x": 1
    });
    admin.post("/keys", &wrong).expect(400).expect_wrong(&[
        "expires",
        "name",
        "networks",
        "scopes",
        "subscriptions",
        "x",
    ]);
}

#[test]
fn a_key_for_some_subscriptions_sees_and_changes_no_other() {
    let receiver = Receiver::start();
    let server = Server::start(&[]);
    let admin = admin(&server, &[]);
    let own = admin.subscribe(&receiver.url("/own"), &["*"]);
    let other = admin.subscribe(&receiver.url("/other"), &["*"]);
    let event = admin.publish("clock_in", &clock_in(1));
    let scopes = ["webhooks:read", "webhooks:write", "keys:admin"];
    let made = create(&admin, &json!({"name": "crm", "scopes": scopes, "subscriptions": [own.id]}));
    assert_eq!(made["subscriptions"], json!([own.id]));
    let limited = server.client_with(made["key"].as_str().unwrap());
    let listed = limited.get("/webhooks").expect(200);
    assert_eq!(listed.rows().iter().map(|row| &row["id"]).collect::<Vec<_>>(), [&json!(own.id)]);
    assert_eq!(listed.json["pagination"]["total"], 1);
    limited.get(&format!("/webhooks/{}", own.id)).expect(200);
    limited.put(&format!("/webhooks/{}", own.id), &json!({"description": "mine"})).expect(200);
    for path in [format!("/webhooks/{}", other.id), format!("/webhooks/{}/deliveries", other.id)] {
        limited.get(&path).expect(404);
    }
    limited.get(&format!("/webhooks.php?id={}", other.id)).expect(404);
    limited.put(&format!("/webhooks/{}", other.id), &json!({"active": false})).expect(404);
    limited.delete(&format!("/webhooks/{}", other.id)).expect(404);
    limited.post_nothing(&format!("/webhooks/{}/test", other.id)).expect(404);
    let new = json!({"url": UNUSED, "events": ["*"]});
    limited.post("/webhooks", &new).expect(403).expect_error("limited_to_subscriptions");
    let ids = |client: &Client, path: &str| -> Vec<String> {
        let rows = client.get(path).expect(200).rows().clone();
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
    };
    let all = ids(&admin, "/deliveries");
    let seen = ids(&limited, "/deliveries");
    assert_eq!((all.len(), seen.len()), (2, 1), "{event}");
    assert!(ids(&limited, &format!("/deliveries?subscription={}", other.id)).is_empty());
    for id in all {
        let status = if seen.contains(&id) { 200 } else { 404 };
        limited.get(&format!("/deliveries/{id}")).expect(status);
        limited.post_nothing(&format!("/deliveries/{id}/retry")).expect(if status == 200 { 202 } else { 404 });
    }
    limited.post("/deliveries/retry", &json!({})).expect(400).expect_wrong(&["subscription"]);
    limited.post("/deliveries/retry", &json!({"subscription": other.id})).expect(404);
    limited.post("/deliveries/retry", &json!({"subscription": own.id, "dry_run": true})).expect(200);
    let job = |body: &Value| admin.post("/deliveries/retry", body).expect(202).data()["job"]["id"].clone();
    let (all, mine) = (job(&json!({})), job(&json!({"subscription": own.id})));
    assert_eq!(ids(&limited, "/jobs"), [mine.as_str().unwrap()]);
    for (id, status) in [(all, 404), (mine, 200)] {
        limited.get(&format!("/jobs/{}", id.as_str().unwrap())).expect(status);
        limited.delete(&format!("/jobs/{}", id.as_str().unwrap())).expect(status);
    }
    let wider = json!({"name": "wider", "scopes": ["webhooks:read"], "subscriptions": [own.id, other.id]});
    limited.post("/keys", &wider).expect(403).expect_error("beyond_rights");
    limited.post("/keys", &json!({"name": "all", "scopes": ["webhooks:read"]})).expect(403);
    let by_command =
        server.create_key(&["--name", "b", "--scopes", "webhooks:read", "--subscriptions", &other.id.to_string()]);
    assert_eq!(by_command["subscriptions"], json!([other.id]));
}

#[test]
fn a_command_rotates_a_key_by_its_name() {
    let server = Server::start(&[]);
    let first = server.create_key(&["--name", "crm", "--scopes", "webhooks:read"]);
    let rotated = server.cli(&["keys", "rotate", "crm", "--overlap", "0s", "--json"]);
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    let rotated: Value = serde_json::from_str(&rotated.stdout).unwrap();
    server.client_with(first["key"].as_str().unwrap()).get("/webhooks").expect(401);
    server.client_with(rotated["data"]["key"].as_str().unwrap()).get("/webhooks").expect(200);
    let plain = server.cli(&["keys", "rotate", &format!("id:{}", rotated["data"]["id"])]);
    assert_eq!(plain.code, Some(0), "{plain:?}");
    server.client_with(plain.stdout.trim()).get("/webhooks").expect(200);
    assert!(plain.stderr.contains("is valid until"), "{}", plain.stderr);
}
