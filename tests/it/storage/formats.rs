//! What an earlier version has stored is read by this one, on the day it was stored. `tests/formats` holds a backup for
//! each format and for each way in which it keeps secrets; a new format adds its own and changes none.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::harness::{ALL_SCOPES, Receiver, Server, WallClock, clock_in, printed, run, time};

const ENCRYPTION_KEY: &str = "1111111111111111111111111111111111111111111111111111111111111111\n";

/// The stored secret of the first subscription, and where it is.
const STORED: [(&str, &str); 6] = [
    ("1-clear", "be29d1078b59a5ba7fa83637807153ae5c727808e7f32f8fadb3846ed5d309f5"),
    ("1-sealed", "bca345d018f536f250f3c9224aaeeb9467cf26a409e890cbffbe08fbab87b30d"),
    ("2-clear", "5edc427353c594675cef215f144e71cb82bee9c14eea4f56181402a88aca8a50"),
    ("2-sealed", "f714d159ebc59bf5749afdf66f82a4d23bfd5af3146bd2c30aa7057084f081a5"),
    ("3-clear", "5edc427353c594675cef215f144e71cb82bee9c14eea4f56181402a88aca8a50"),
    ("3-sealed", "f714d159ebc59bf5749afdf66f82a4d23bfd5af3146bd2c30aa7057084f081a5"),
];

fn restored(name: &str) -> Server {
    let mut server = Server::stopped(&[]);
    if name.ends_with("sealed") {
        let file = server.folder().join("secrets.key");
        fs::write(&file, ENCRYPTION_KEY).unwrap();
        server.configure(&[("storage.encryption_key_file", &format!("'{}'", file.display()))]);
    }
    let backup = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/formats/{name}.bak"));
    let looked_at = printed(&run(&["verify", "--json", backup.to_str().unwrap()], &[]));
    assert_eq!(looked_at["data"]["format"].to_string(), name.split_once('-').unwrap().0, "{looked_at}");
    // An endpoint that fails in it has not failed since, and nothing in it is too old to keep.
    WallClock::at(&mut server, time(&looked_at["data"]["created_at"]));
    let done = server.cli(&["restore", backup.to_str().unwrap()]);
    assert_eq!(done.code, Some(0), "{name}: {}", done.stderr);
    // Every row, before retention takes any away.
    verify(&server, name);
    server.launch();
    server
}

fn verify(server: &Server, name: &str) {
    let database = server.data_dir().join("tempclock.redb");
    let verified = run(&["verify", database.to_str().unwrap()], &[]);
    assert_eq!(verified.code, Some(0), "{name}: {}{}", verified.stdout, verified.stderr);
}

#[test]
fn every_stored_format_is_read_and_worked_with() {
    for (name, secret) in STORED {
        let mut server = restored(name);
        let keys = server.cli(&["keys", "list", "--json"]);
        let keys: serde_json::Value = serde_json::from_str(&keys.stdout).unwrap();
        assert_eq!(keys["data"][0]["name"], "crm", "{name}");
        assert_eq!(keys["data"][1]["networks"], json!(["10.0.0.0/8"]), "{name}");
        assert!(keys["data"][1]["revoked_at"].is_string(), "{name}");

        let client = server.client_with(&server.key(ALL_SCOPES));
        let first = client.subscription(1);
        assert_eq!((&first["description"], &first["events"]), (&json!("Zoë"), &json!(["clock_in"])), "{name}");
        assert_eq!(client.subscription(2)["active"], false, "{name}");
        assert_eq!(client.total("/events"), 2, "{name}");
        assert_eq!(client.total("/deliveries?subscription=2&status=pending"), 2, "{name}");
        // The publisher's key of then is still known.
        let again = json!({"event": "clock_in", "data": {"entry_id": 1, "worker_id": 7, "worker_name": "Ana",
            "clock_in": "2026-03-02T08:00:00Z", "location_id": 2}});
        client.post_with("/events", &[("Idempotency-Key", "first")], &again.to_string()).expect(409);

        let receiver = Receiver::start();
        client.change(1, &json!({"url": receiver.url("/")})).expect(200);
        let event = client.publish("clock_in", &clock_in(9));
        let came = receiver.wait_until("a new event", |all| all.iter().any(|one| one.event_id() == event));
        came.iter().find(|one| one.event_id() == event).unwrap().assert_signed_with(secret);
        assert!(server.terminate().success(), "{name}");
        verify(&server, name);
    }
}
