//! Every change leaves a record of who made it, in the same commit, and no secret is in one.

use serde_json::{Value, json};

use crate::harness::{Client, Fault, Receiver, Server, assert_has_fields, clock_in, eventually};

const SCOPES: &str = "webhooks:read,webhooks:write,events:write,events:read,keys:admin,audit:read";

fn records(client: &Client) -> Vec<Value> {
    client.get("/audit").expect(200).rows().clone()
}

#[test]
fn each_change_over_the_api_is_recorded_with_its_key_its_request_and_what_differs() {
    let receiver = Receiver::start();
    let server = Server::start(&[]);
    let key = server.create_key(&["--name", "admin", "--scopes", SCOPES]);
    let client = server.client_with(key["key"].as_str().unwrap());
    let subscription = client.subscribe(&receiver.url("/a"), &["clock_in"]);
    let path = format!("/webhooks/{}", subscription.id);
    let change = json!({"description": "new", "headers": {"X-Site": "s3cret-value"}});
    let body = change.to_string();
    let headers = [("Content-Type", "application/json"), ("X-Request-Id", "change-17")];
    client.send("PUT", &format!("/api/v1{path}"), &headers, Some(body.as_bytes())).expect(200);
    client.put(&path, &json!({"description": "new"})).expect(200);
    client.put(&path, &json!({"url": "nonsense"})).expect(400);
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "delivered")["id"].clone();
    client.post_nothing(&format!("/deliveries/{}/retry", delivery.as_str().unwrap())).expect(202);
    let job = client.post("/deliveries/retry", &json!({})).expect(202).data()["job"]["id"].clone();
    let made = client.post("/keys", &json!({"name": "x", "scopes": ["webhooks:read"]})).expect(201).data().clone();
    client.post_nothing(&format!("/keys/{}/rotate", made["id"])).expect(200);
    client.delete(&format!("/keys/{}", made["id"])).expect(200);
    client.delete(&path).expect(200);

    let found = records(&client);
    let actions: Vec<_> = found.iter().map(|record| record["action"].as_str().unwrap()).collect();
    let expected = [
        "subscription.deleted",
        "key.revoked",
        "key.rotated",
        "key.created",
        "key.created",
        "job.created",
        "delivery.retried",
        "subscription.updated",
        "subscription.created",
    ];
    // The first key was created by a command.
    assert_eq!(actions[..expected.len()], expected);
    for record in &found[..expected.len()] {
        assert_has_fields(record, &["id", "object", "actor", "request_id", "source_address", "created_at"]);
        assert_eq!(record["actor"], json!({"key_id": key["id"], "key_prefix": key["prefix"], "user": null}));
        assert_eq!(record["source_address"], "127.0.0.1");
    }
    let updated = &found[7];
    assert_eq!(updated["request_id"], "change-17");
    assert_eq!(updated["object"], subscription.id.to_string());
    assert_eq!(updated["before"], json!({"description": "", "headers": null}));
    assert_eq!(updated["after"], json!({"description": "new", "headers": {"X-Site": "set"}}));
    assert_eq!((&found[0]["after"], &found[0]["before"]["url"]), (&json!(null), &json!(receiver.url("/a"))));
    assert_eq!((&found[5]["object"], &found[6]["object"]), (&job, &delivery));
    let all = client.get("/audit").text;
    for secret in [&subscription.secret, "s3cret-value", key["key"].as_str().unwrap(), made["key"].as_str().unwrap()] {
        assert!(!all.contains(secret), "{secret} is in {all}");
    }
}

#[test]
fn the_audit_is_paged_needs_its_scope_and_shows_one_account() {
    let server = Server::start(&[]);
    let client = server.client_with(&server.key("audit:read,webhooks:write"));
    for number in 0..5 {
        client.subscribe(&format!("http://127.0.0.1:9/{number}"), &["*"]);
    }
    let first = client.get("/audit?limit=2").expect(200);
    let next = first.json["pagination"]["next_cursor"].as_str().unwrap().to_owned();
    let second = client.get(&format!("/audit?limit=2&cursor={next}")).expect(200);
    let urls = |rows: &[Value]| -> Vec<String> {
        rows.iter().map(|row| row["after"]["url"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(urls(first.rows()), ["http://127.0.0.1:9/4", "http://127.0.0.1:9/3"]);
    assert_eq!(urls(second.rows()), ["http://127.0.0.1:9/2", "http://127.0.0.1:9/1"]);
    assert!(client.get("/audit?since=2999-01-01T00:00:00Z").expect(200).rows().is_empty());
    client.get("/audit?cursor=x&since=now").expect(400).expect_wrong(&["cursor", "since"]);
    server.client().get("/audit").expect(403);
    let other = server.client_with(&server.key_for("acme", "audit:read"));
    let theirs = records(&other);
    assert!(theirs.iter().all(|record| record["action"] == "key.created"), "{theirs:?}");
}

#[test]
fn a_command_is_recorded_with_the_user_and_records_outlast_a_restart_and_a_backup() {
    let mut server = Server::start(&[]);
    let made = server.create_key(&["--name", "crm", "--scopes", "audit:read"]);
    let revoked = server.cli(&["keys", "revoke", "crm"]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    let list = |server: &Server| -> Value {
        let listed = server.cli(&["audit", "list", "--json"]);
        assert_eq!(listed.code, Some(0), "{listed:?}");
        serde_json::from_str(&listed.stdout).unwrap()
    };
    let before = list(&server);
    let newest = &before["data"][0];
    assert_eq!((&newest["action"], &newest["object"]), (&json!("key.revoked"), &json!(made["id"].to_string())));
    assert!(newest["actor"]["user"].as_str().is_some_and(|user| !user.is_empty()), "{newest}");
    assert_eq!(newest["source_address"], json!(null));
    let table = server.cli(&["audit", "list"]);
    assert!(table.stdout.contains("key.revoked") && table.stdout.contains("revoked_at"), "{}", table.stdout);
    let file = server.folder().join("b.bak");
    let saved = server.cli(&["backup", "--output", file.to_str().unwrap()]);
    assert_eq!(saved.code, Some(0), "{saved:?}");
    server.restart();
    assert_eq!(list(&server)["data"], before["data"]);
    server.terminate();
    let restored = server.cli(&["restore", "--yes", file.to_str().unwrap()]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    let after = list(&server);
    let restored = &after["data"][0];
    assert_eq!((&restored["action"], &restored["object"]), (&json!("backup.restored"), &json!("server")));
    assert!(restored["after"]["created_at"].is_string() && restored["actor"]["user"].is_string(), "{restored}");
    assert_eq!(after["data"].as_array().unwrap()[1..], before["data"].as_array().unwrap()[..]);
    let verified = server.cli(&["verify", file.to_str().unwrap()]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn a_reload_and_a_confirmed_clock_are_recorded_for_every_account() {
    let mut server = Server::start(&[]);
    let clients = ["default", "acme"].map(|name| server.client_with(&server.key_for(name, "audit:read")));
    server.wait_until_it_heeds_signals();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap(),
        rustix::process::Signal::HUP,
    )
    .unwrap();
    let newest = |client: &Client, action: &str| {
        eventually(&format!("{action} is recorded"), || {
            records(client).first().filter(|record| record["action"] == action).cloned()
        })
    };
    for client in &clients {
        let record = newest(client, "configuration.reloaded");
        assert_eq!((&record["object"], &record["actor"]["user"]), (&json!("server"), &json!("SIGHUP")));
        assert!(record["after"]["log_level"].is_string(), "{record}");
    }
    assert_eq!(server.cli(&["clock", "confirm"]).code, Some(0));
    for client in &clients {
        let record = newest(client, "clock.confirmed");
        assert!(record["after"]["counted_s"].is_u64() && record["actor"]["user"].is_string(), "{record}");
    }
}

#[test]
fn a_change_whose_record_cannot_be_written_is_not_made() {
    let mut server = Server::start(&[("server.workers", "1")]);
    let key = server.key(SCOPES);
    let id = server.client_with(&key).subscribe("http://127.0.0.1:9/", &["clock_in"]).id;
    // The first sync that fails, the second, and so on until all have passed: each is one of the commit with both.
    for number in 1.. {
        assert!(number < 20, "the commit has no end");
        let tracer = Fault { call: "fdatasync", what: "error=EIO", number }.arm(&server);
        let description = format!("change {number}");
        let body = json!({"description": description}).to_string();
        let client = server.client_with(&key);
        let headers = [("Content-Type", "application/json")];
        let answer = client.try_send("PUT", &format!("/api/v1/webhooks/{id}"), &headers, Some(body.as_bytes()));
        let has_struck = tracer.disarm();
        if has_struck {
            assert_eq!(server.wait_for_exit().code(), Some(74), "{}", server.log());
            server.launch();
        }
        let client = server.client_with(&key);
        let is_changed = client.subscription(id)["description"] == description;
        let is_recorded = records(&client).iter().any(|record| record["after"]["description"] == description);
        assert_eq!(is_changed, is_recorded, "with the fault at sync {number}");
        let is_acknowledged = answer.is_ok_and(|answer| answer.status == 200);
        assert!(is_changed || !is_acknowledged, "an acknowledged change is lost at sync {number}");
        if !has_struck {
            assert!(number > 1 && is_changed, "no sync failed, so nothing is proven");
            return;
        }
    }
}
