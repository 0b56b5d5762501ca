//! A database of an earlier format is brought to the present one by the server that opens it: with all that is in it,
//! beside a backup of the earlier format, and only where there is room. What a kill on the way leaves is in `every_call`.

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;

use crate::harness::{
    ALL_SCOPES, DiskKind, Received, Receiver, Server, SmallDisk, clock_in, put_database_of_format_1,
    put_database_of_format_2, run,
};

/// The signing secrets of its subscriptions.
const SECRETS: [&str; 3] = [
    "7eb5a17e9aa5d66508220ef8844a0c7c4fa7ca7f147baf45d5bd5ca661e43150",
    "15c8cfec995b2bab8cc03bcd25e60cafb7ec79c792c834725bf33839ac46e525",
    "f79eec3a74edcd7feed98384fec190d4e760387f683542e3aca3e492d9753f41",
];
/// The first of its events.
const FIRST: &str = "evt_01a21352be537aebb7646d76ffb6f10c";

fn old_server() -> Server {
    // Nobody listens there: what `doctor` says must not depend on what else runs on this machine.
    let mut server = Server::stopped(&[("server.listen", "\"127.0.0.1:1\"")]);
    let folder = server.data_dir();
    put_database_of_format_1(&mut server, &folder);
    server
}

fn look(server: &Server, name: &str) -> String {
    let verified = run(&["verify", server.data_dir().join(name).to_str().unwrap()], &[]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    verified.stdout
}

/// One of its events, to the byte as it was published.
fn event(entry: u64) -> String {
    let data = r#""worker_id": 7, "worker_name": "Ana", "clock_in": "2026-03-02T08:00:00Z", "location_id": 2"#;
    format!(r#"{{"event": "clock_in", "data": {{"entry_id": {entry}, {data}}}}}"#)
}

#[test]
fn all_that_a_database_of_format_1_holds_is_there_and_goes_out() {
    let mut server = old_server();
    // Subscription 1 leads nowhere at first, for however long.
    server.configure(&[("delivery.retry_schedule", &format!("{:?}", ["1s"; 50]))]);
    assert!(look(&server, "tempclock.redb").contains("has format 1, and its pages are sound"));
    server.launch();
    for line in ["from format 1 to format 3", "writing a backup of format 1 to", "now has format 3"] {
        assert!(server.log().contains(line), "{line} is not in: {}", server.log());
    }
    assert!(look(&server, "before-format-3.bak").contains("with format 1"));

    let client = server.client_with(&server.key(ALL_SCOPES));
    assert_eq!(client.total("/events"), 3);
    assert_eq!(client.total("/deliveries"), 9);
    assert_eq!(client.total("/deliveries?subscription=1&status=delivered"), 2);
    for paused in [2, 3] {
        assert_eq!(client.subscription(paused)["active"], false);
        assert_eq!(client.total(&format!("/deliveries?subscription={paused}&status=pending")), 3);
    }
    let recent = &client.subscription(2)["recent_deliveries"];
    assert_eq!((&recent[0]["event_id"], &recent[0]["status"]), (&json!(FIRST), &json!("failed")), "{recent}");
    // The publisher's keys of then are still known.
    let key = [("Idempotency-Key", "first")];
    let again = client.post_with("/events", &key, &event(1)).expect(202);
    assert_eq!((&again.data()["id"], &again.data()["duplicate"]), (&json!(FIRST), &json!(true)));
    client.post_with("/events", &key, &event(2)).expect(409);

    let receiver = Receiver::start();
    for subscription in [1, 2, 3] {
        let url = receiver.url(&format!("/{subscription}"));
        client.change(subscription, &json!({"url": url, "active": true})).expect(200);
    }
    client.wait_for_total("/deliveries?status=pending", 0);
    assert_eq!(client.total("/deliveries?status=delivered"), 9);
    let mut came: BTreeMap<(String, u64), Vec<Received>> = BTreeMap::new();
    for request in receiver.requests() {
        let entry = request.json()["data"]["entry_id"].as_u64().unwrap();
        came.entry((request.path.clone(), entry)).or_default().push(request);
    }
    let mut attempts = BTreeMap::new();
    for ((path, entry), requests) in &came {
        let [request] = &requests[..] else { panic!("{path} got {entry} {} times", requests.len()) };
        let subscription: usize = path[1..].parse().unwrap();
        request.assert_signed_with(SECRETS[subscription - 1]);
        attempts.insert((subscription, *entry), request.attempt());
    }
    // The first of this one went, or will have gone, to where nobody listens.
    assert!(attempts.remove(&(1, 3)).is_some_and(|attempt| attempt >= 1), "{attempts:?}");
    let wanted = [((2, 1), 2), ((2, 2), 1), ((2, 3), 1), ((3, 1), 1), ((3, 2), 1), ((3, 3), 1)];
    assert_eq!(attempts, BTreeMap::from(wanted));

    server.restart();
    assert_eq!(server.log().matches("upgrading ").count(), 1, "{}", server.log());
    assert!(server.terminate().success());
    assert!(look(&server, "tempclock.redb").contains("is sound"));
}

#[test]
fn commands_that_look_leave_the_format_to_the_server_and_compact_upgrades_it() {
    for (command, upgrades) in [
        (&["keys", "list"][..], false),
        (&["events", "list"], false),
        (&["compact"], true),
        (&["backup", "--output", "FILE"], false),
    ] {
        let server = old_server();
        let file = server.folder().join("new.bak");
        let command: Vec<_> =
            command.iter().map(|word| if *word == "FILE" { file.to_str().unwrap() } else { word }).collect();
        let seen = server.cli(&["doctor"]);
        assert!(seen.stdout.contains("has format 1; the next start upgrades it to format 3"), "{seen:?}");
        assert!(look(&server, "tempclock.redb").contains("has format 1"));
        let done = server.cli(&command);
        if !upgrades {
            assert_eq!(done.code, Some(1), "{command:?}: {done:?}");
            assert!(done.stderr.contains("has format 1") && done.stderr.contains("start the server first"), "{done:?}");
            assert!(look(&server, "tempclock.redb").contains("has format 1"), "{command:?}");
            assert!(!server.data_dir().join("before-format-3.bak").exists(), "{command:?}");
            continue;
        }
        assert_eq!(done.code, Some(0), "{command:?}: {done:?}");
        assert!(look(&server, "tempclock.redb").contains("is sound"), "{command:?}");
        assert!(look(&server, "before-format-3.bak").contains("with format 1"), "{command:?}");
    }
}

#[test]
fn without_room_for_the_backup_nothing_is_changed() {
    let mut server = Server::stopped(&[("storage.free_space_reserve", r#""0""#)]);
    let Some(disk) = SmallDisk::under(&mut server, DiskKind::Tmpfs, 8 << 20) else { return };
    put_database_of_format_1(&mut server, &disk.path(""));
    let size = fs::metadata(disk.path("tempclock.redb")).unwrap().len();
    disk.fill_up_to(size * 2 - 4096);
    let failed = server.fail_to_start();
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let said = format!("has format 1 and must be upgraded to format 3, which needs about {} bytes", size * 2);
    assert!(failed.stderr.contains(&said), "{}", failed.stderr);
    for name in ["before-format-3.bak", "before-format-3.part"] {
        assert!(!disk.path(name).exists(), "{name} was made");
    }
    let database = server.data_dir().join("tempclock.redb");
    let verified = server.command(&["verify", database.to_str().unwrap()]);
    assert!(verified.stdout.contains("has format 1, and its pages are sound"), "{verified:?}");

    disk.clear();
    server.launch();
    assert_eq!(server.client().total("/deliveries?subscription=2&status=pending"), 3);
}

#[test]
fn all_that_a_database_of_format_2_holds_is_there_and_goes_out() {
    for kind in ["clear", "sealed"] {
        let mut server = Server::stopped(&[("delivery.retry_schedule", r#"["30d"]"#)]);
        if kind == "sealed" {
            let file = server.folder().join("secrets.key");
            fs::write(&file, format!("{}\n", "1".repeat(64))).unwrap();
            server.configure(&[("storage.encryption_key_file", &format!("'{}'", file.display()))]);
        }
        let folder = server.data_dir();
        put_database_of_format_2(&mut server, &folder, kind);
        assert!(look(&server, "tempclock.redb").contains("has format 2, and its pages are sound"));
        server.launch();
        assert!(server.log().contains("from format 2 to format 3"), "{}", server.log());
        assert!(look(&server, "before-format-3.bak").contains("with format 2"));

        let client = server.client_with(&server.key(ALL_SCOPES));
        let total = |query: &str| client.total(&format!("/deliveries{query}"));
        assert_eq!((client.total("/events"), total("")), (6, 16), "{kind}");
        let (delivered, exhausted, pending) =
            (total("?status=delivered"), total("?status=exhausted"), total("?status=pending"));
        assert_eq!((delivered, exhausted, pending), (5, 2, 9), "{kind}");
        assert_eq!(total("?subscription=3&event=clock_out"), 1);
        assert_eq!(total("?response_code=500"), 5);
        let row = &client.get("/deliveries?status=exhausted&subscription=2").expect(200).json["data"][0];
        let shown = client.get(&format!("/deliveries/{}", row["id"].as_str().unwrap())).expect(200);
        assert_eq!(shown.data()["attempts"].as_array().unwrap().len(), 2, "{kind}");
        let again = json!({"event": "clock_in", "id": "second", "data": clock_in(9)});
        client.post("/events", &again).expect(409);

        let receiver = Receiver::start();
        for subscription in [2, 3] {
            client.change(subscription, &json!({"url": receiver.url("/"), "active": true})).expect(200);
        }
        // What was never attempted goes out at once, and then what waits for a retry, as the endpoint takes it.
        client.wait_for_total("/deliveries?status=delivered", 5 + 9);
        assert_eq!(total("?status=pending"), 0, "{kind}");
        assert!(server.terminate().success());
        assert!(look(&server, "tempclock.redb").contains("is sound"), "{kind}");
    }
}
