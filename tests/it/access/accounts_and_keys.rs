//! Keys open what their scopes say, for their own account, until they are revoked or expire.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::harness::{
    ALL_SCOPES, Answer, Client, Receiver, Server, assert_has_fields, clock_in, eventually, sample, time,
};

const UNUSED: &str = "http://127.0.0.1:9/hook";

#[test]
fn a_new_key_is_printed_once_with_all_that_is_known_of_it() {
    let server = Server::start(&[]);
    let before = Timestamp::now();
    let made = server.create_key(&[
        "--name",
        "payroll",
        "--account",
        "acme",
        "--scopes",
        "webhooks:read,events:write",
        "--expires",
        "90d",
    ]);
    assert_has_fields(&made, &["id", "account", "name", "prefix", "scopes", "expires_at", "key"]);
    assert_eq!(made["account"], "acme");
    assert_eq!(made["name"], "payroll");
    let scopes: BTreeSet<&str> = made["scopes"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert_eq!(scopes, BTreeSet::from(["events:write", "webhooks:read"]));
    let lasts = time(&made["expires_at"]).duration_since(before);
    let ninety_days = SignedDuration::from_hours(90 * 24);
    assert!(lasts >= ninety_days - SignedDuration::from_secs(1), "{lasts}");
    assert!(lasts < ninety_days + SignedDuration::from_mins(5), "{lasts}");

    let key = made["key"].as_str().unwrap();
    let hex = key.strip_prefix("tc_live_").expect("tc_live_ in front");
    assert_eq!(hex.len(), 40);
    assert!(hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{key}");
    assert_eq!(made["prefix"], key[..12]);

    let listed = server.cli(&["keys", "list", "--json"]);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    assert!(!listed.stdout.contains(key), "the key is listed: {}", listed.stdout);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let row = listed["data"].as_array().unwrap().iter().find(|row| row["id"] == made["id"]).unwrap();
    assert_eq!(row["prefix"], made["prefix"]);
    assert_eq!(row["name"], "payroll");
    assert_eq!(row["account"], "acme");
}

#[test]
fn a_key_is_of_the_default_account_and_without_end_unless_said() {
    let server = Server::start(&[]);
    let made = server.create_key(&["--name", "plain", "--scopes", "webhooks:read"]);
    assert_eq!(made["account"], "default");
    assert_eq!(made["expires_at"], json!(null));
}

#[test]
fn a_key_is_not_on_disk() {
    let server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    server.client_with(&key).get("/webhooks").expect(200);
    let hidden = &key["tc_live_".len()..];
    let mut files = 0;
    for_each_file(server.folder(), &mut |path| {
        let Ok(bytes) = fs::read(path) else { return };
        files += 1;
        let found = bytes.windows(hidden.len()).any(|w| w == hidden.as_bytes());
        assert!(!found, "the key is in {}", path.display());
        let raw = hex::decode(hidden).unwrap();
        assert!(!bytes.windows(raw.len()).any(|w| w == raw), "the key is in {}", path.display());
    });
    assert!(files >= 2, "only {files} files were looked into");
}

fn for_each_file(folder: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            for_each_file(&entry.path(), visit);
        } else if kind.is_file() {
            visit(&entry.path());
        }
    }
}

#[test]
fn a_key_without_scopes_is_refused_and_the_scopes_are_listed() {
    let server = Server::start(&[]);
    for arguments in [
        vec!["keys", "create", "--name", "none", "--json"],
        vec!["keys", "create", "--name", "none", "--json", "--scopes", ""],
    ] {
        let refused = server.cli(&arguments);
        assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
        assert_eq!(refused.stdout, "");
        for scope in ["webhooks:read", "webhooks:write", "events:write", "events:read", "keys:admin"] {
            assert!(refused.stderr.contains(scope), "{scope} is not in {}", refused.stderr);
        }
    }
    let refused = server.cli(&["keys", "create", "--name", "odd", "--scopes", "webhooks:red", "--json"]);
    assert!(refused.code.is_some_and(|code| code != 0), "{refused:?}");
    assert!(refused.stderr.contains("webhooks:red"), "{}", refused.stderr);
    assert!(refused.stderr.contains("webhooks:read"), "{}", refused.stderr);
}

#[test]
fn a_missing_a_wrong_a_revoked_and_an_expired_key_are_told_the_same() {
    let server = Server::start(&[]);
    let revoked = server.create_key(&["--name", "revoked", "--scopes", "webhooks:read"]);
    let expired = server.create_key(&["--name", "expired", "--scopes", "webhooks:read", "--expires", "1s"]);
    let revoke = server.cli(&["keys", "revoke", &plain(&revoked["id"])]);
    assert_eq!(revoke.code, Some(0), "{revoke:?}");

    let missing = server.stranger().get("/webhooks");
    let wrong = server.client_with(&format!("tc_live_{}", "0".repeat(40))).get("/webhooks");
    let revoked = server.client_with(revoked["key"].as_str().unwrap()).get("/webhooks");
    let expired = server.client_with(expired["key"].as_str().unwrap());
    let expired = eventually("the key expires", || Some(expired.get("/webhooks")).filter(|a| a.status != 200));
    for answer in [&missing, &wrong, &revoked, &expired] {
        assert_eq!(answer.status, 401, "{}", answer.text);
        answer.expect_error("unauthorized");
        assert_eq!(answer.json["message"], missing.json["message"]);
        assert_eq!(answer.header("www-authenticate"), missing.header("www-authenticate"));
    }
}

fn plain(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

#[test]
fn a_revoked_key_is_refused_at_once_and_for_good() {
    let mut server = Server::start(&[]);
    let made = server.create_key(&["--name", "old", "--scopes", ALL_SCOPES]);
    let key = made["key"].as_str().unwrap();
    let other = server.key(ALL_SCOPES);
    let client = server.client_with(key);
    client.get("/webhooks").expect(200);
    assert_eq!(server.cli(&["keys", "revoke", &plain(&made["id"])]).code, Some(0));
    client.get("/webhooks").expect(401);
    client.post("/events", &json!({"event": "clock_in", "data": clock_in(1)})).expect(401);
    server.client_with(&other).get("/webhooks").expect(200);

    server.restart();
    server.client_with(key).get("/webhooks").expect(401);
    server.client_with(&other).get("/webhooks").expect(200);
    let unknown = server.cli(&["keys", "revoke", "999999"]);
    assert!(unknown.code.is_some_and(|code| code != 0), "{unknown:?}");
}

#[test]
fn the_scheme_is_read_in_any_case_and_the_key_exactly() {
    let server = Server::start(&[]);
    let key = server.key("webhooks:read");
    let ask = |authorization: &str| -> u16 {
        let headers = [("Authorization", authorization)];
        server.stranger().send("GET", "/api/v1/webhooks", &headers, None).status
    };
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(ask(&format!("{scheme} {key}")), 200, "{scheme}");
    }
    let (shouted, hex) = (key.to_uppercase(), &key["tc_live_".len()..]);
    let upper_hex = format!("tc_live_{}", hex.to_uppercase());
    for wrong in [
        format!("Basic {key}"),
        format!("Bearer{key}"),
        format!("Bearer {key}0"),
        format!("Bearer {}", &key[..key.len() - 1]),
        format!("Bearer {shouted}"),
        format!("Bearer {hex}"),
        format!("Bearer {key} {key}"),
        key.clone(),
        "Bearer".to_owned(),
    ] {
        assert_eq!(ask(&wrong), 401, "{wrong}");
    }
    if upper_hex != key {
        assert_eq!(ask(&format!("Bearer {upper_hex}")), 401);
    }
}

/// Method, path, body and scope of every route that needs a scope.
fn guarded_routes(
    webhook: i64,
    event: &str,
    delivery: &str,
) -> Vec<(&'static str, String, Option<Value>, &'static str)> {
    let change = json!({"description": "changed"});
    let publish = json!({"event": "clock_in", "data": clock_in(1)});
    vec![
        ("POST", "/webhooks".to_owned(), Some(json!({"url": UNUSED, "events": ["ping"]})), "webhooks:write"),
        ("GET", "/webhooks".to_owned(), None, "webhooks:read"),
        ("GET", format!("/webhooks/{webhook}"), None, "webhooks:read"),
        ("PUT", format!("/webhooks/{webhook}"), Some(change), "webhooks:write"),
        ("POST", format!("/webhooks/{webhook}/test"), None, "webhooks:write"),
        ("GET", format!("/webhooks/{webhook}/deliveries"), None, "webhooks:read"),
        ("POST", "/events".to_owned(), Some(publish.clone()), "events:write"),
        ("POST", "/events/batch".to_owned(), Some(json!({"events": [publish]})), "events:write"),
        ("GET", "/events".to_owned(), None, "events:read"),
        ("GET", format!("/events/{event}"), None, "events:read"),
        ("GET", "/deliveries".to_owned(), None, "webhooks:read"),
        ("GET", format!("/deliveries/{delivery}"), None, "webhooks:read"),
        ("POST", format!("/deliveries/{delivery}/retry"), None, "webhooks:write"),
        (
            "POST",
            format!("/webhooks/{webhook}/replay"),
            Some(json!({"since": "2020-01-01T00:00:00Z", "dry_run": true})),
            "webhooks:write",
        ),
        ("POST", format!("/webhooks/{webhook}/match"), Some(json!({"event": "clock_in", "data": {}})), "webhooks:read"),
        ("POST", format!("/webhooks/{webhook}/secret"), Some(json!({})), "webhooks:write"),
        ("POST", "/deliveries/retry".to_owned(), Some(json!({})), "webhooks:write"),
        ("GET", "/jobs".to_owned(), None, "webhooks:read"),
        ("DELETE", format!("/webhooks/{webhook}"), None, "webhooks:write"),
    ]
}

fn ask(client: &Client, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let text = body.map(Value::to_string);
    let headers: &[(&str, &str)] = if text.is_some() { &[("Content-Type", "application/json")] } else { &[] };
    client.send(method, &format!("/api/v1{path}"), headers, text.as_deref().map(str::as_bytes))
}

#[test]
fn every_route_asks_for_its_scope_and_names_it() {
    let server = Server::start(&[]);
    let receiver = Receiver::start();
    let client = server.client();
    let webhook = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "delivered")["id"].as_str().unwrap().to_owned();

    let scopes = ["webhooks:read", "webhooks:write", "events:write", "events:read", "keys:admin"];
    let without = |missing: &str| -> Client {
        let rest: Vec<&str> = scopes.into_iter().filter(|scope| *scope != missing).collect();
        server.client_with(&server.key(&rest.join(",")))
    };
    let lacking: Vec<(&str, Client)> = scopes.iter().map(|scope| (*scope, without(scope))).collect();
    let only: Vec<(&str, Client)> =
        scopes.iter().map(|scope| (*scope, server.client_with(&server.key(scope)))).collect();
    for (method, path, body, scope) in guarded_routes(webhook, &event, &delivery) {
        let poor = &lacking.iter().find(|(missing, _)| *missing == scope).unwrap().1;
        let refused = ask(poor, method, &path, body.as_ref());
        assert_eq!(refused.status, 403, "{method} {path} without {scope}: {}", refused.text);
        refused.expect_error("forbidden");
        assert!(refused.json["message"].as_str().unwrap().contains(scope), "{}", refused.text);
        ask(&server.stranger(), method, &path, body.as_ref()).expect(401).expect_error("unauthorized");

        let enough = &only.iter().find(|(present, _)| *present == scope).unwrap().1;
        let answer = ask(enough, method, &path, body.as_ref());
        assert!((200..300).contains(&answer.status), "{method} {path} with {scope}: {}", answer.text);
    }
}

#[test]
fn a_star_opens_everything_and_any_key_the_catalogue() {
    let server = Server::start(&[]);
    let receiver = Receiver::start();
    let client = server.client_with(&server.key("*"));
    let webhook = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    let event = client.publish("clock_in", &clock_in(1));
    let delivery = client.settled(&event, "delivered")["id"].as_str().unwrap().to_owned();
    for (method, path, body, _) in guarded_routes(webhook, &event, &delivery) {
        let answer = ask(&client, method, &path, body.as_ref());
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.text);
    }
    server.client_with(&server.key("keys:admin")).get("/event-types").expect(200);
    server.stranger().get("/event-types").expect(401).expect_error("unauthorized");
}

#[test]
fn two_accounts_see_nothing_of_each_other() {
    let server = Server::start(&[]);
    let receiver = Receiver::start();
    let (mine, yours) = (server.client_of("mine"), server.client_of("yours"));
    let webhook = mine.subscribe(&receiver.url("/mine"), &["clock_in"]).id;
    let event = mine.publish("clock_in", &clock_in(1));
    let delivery = mine.settled(&event, "delivered")["id"].as_str().unwrap().to_owned();
    let before = mine.subscription(webhook);

    for (method, path, body, _) in guarded_routes(webhook, &event, &delivery) {
        let answer = ask(&yours, method, &path, body.as_ref());
        let names_mine = path.contains(&format!("/{webhook}")) || path.contains('_');
        if names_mine {
            assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
            answer.expect_error("not_found");
        }
    }
    assert_eq!(yours.get(&format!("/deliveries?subscription={webhook}")).json["data"], json!([]));
    let list = yours.get("/deliveries").expect(200);
    assert!(!list.text.contains(&delivery), "{}", list.text);
    let list = yours.get("/events").expect(200);
    assert!(!list.text.contains(&event), "{}", list.text);
    let list = yours.get("/webhooks").expect(200);
    assert!(list.rows().iter().all(|row| row["id"] != webhook), "{}", list.text);

    assert_eq!(mine.subscription(webhook), before);
    assert_eq!(mine.delivery(&delivery)["attempt_count"], 1);
    assert_eq!(mine.total("/webhooks"), 1);
    assert_eq!(mine.total("/events"), 1);
}

#[test]
fn an_event_stays_in_its_account() {
    let server = Server::start(&[]);
    let receiver = Receiver::start();
    let (mine, yours) = (server.client_of("mine"), server.client_of("yours"));
    mine.subscribe(&receiver.url("/mine"), &["*"]);
    yours.subscribe(&receiver.url("/yours"), &["*"]);
    for _ in 0..5 {
        let body = json!({"event": "worker_created", "data": sample("worker_created")});
        let answer = mine.post("/events", &body).expect(202);
        assert_eq!(answer.data()["deliveries"], 1);
        mine.settled(answer.data()["id"].as_str().unwrap(), "delivered");
    }
    let last = yours.publish("clock_in", &clock_in(1));
    yours.settled(&last, "delivered");
    assert_eq!(receiver.requests_to("/mine").len(), 5);
    assert_eq!(receiver.requests_to("/yours").len(), 1);
    assert_eq!(yours.total("/deliveries"), 1);
}

#[test]
fn keys_are_made_listed_and_revoked_while_the_server_is_down() {
    let mut server = Server::stopped(&[]);
    let good = server.create_key(&["--name", "good", "--scopes", "webhooks:read"]);
    let bad = server.create_key(&["--name", "bad", "--scopes", "webhooks:read"]);
    let revoke = server.cli(&["keys", "revoke", &plain(&bad["id"])]);
    assert_eq!(revoke.code, Some(0), "{revoke:?}");
    let listed = server.cli(&["keys", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert!(listed["data"].as_array().unwrap().iter().any(|row| row["id"] == good["id"]), "{listed:#}");

    server.launch();
    server.client_with(good["key"].as_str().unwrap()).get("/webhooks").expect(200);
    server.client_with(bad["key"].as_str().unwrap()).get("/webhooks").expect(401);
}

#[test]
fn the_control_socket_and_the_store_are_for_their_owner_alone() {
    let server = Server::start(&[]);
    let socket = fs::metadata(server.data_dir().join("control.sock")).expect("control.sock");
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let is_closed = |mode: u32| mode.trailing_zeros() >= 6;
    let folder = mode(&server.data_dir());
    for_each_file(&server.data_dir(), &mut |path| {
        let closed = is_closed(folder) || is_closed(mode(path));
        assert!(closed, "{} is open to others: {:o} in {folder:o}", path.display(), mode(path));
    });
}
