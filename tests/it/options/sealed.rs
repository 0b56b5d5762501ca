//! The secrets of options are nowhere to be read, and live through restarts, backups and another key.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{ALL_SCOPES, Client, Receiver, Reply, Server, clock_in, run};
use crate::operate::metrics;

const SECRETS: [&str; 5] =
    ["h3ader-value", "p4ssword-of-basic", "t0ken-of-bearer", "a-given-signing-secret-5", "s3cret-of-a-client"];
/// It is in memory alone.
const ACCESS_TOKEN: &str = "t0ken-of-a-token-server";

fn make_key(server: &Server, name: &str) -> String {
    let file = server.folder().join(name);
    assert_eq!(run(&["secrets", "make-key", file.to_str().unwrap()], &[]).code, Some(0));
    file.to_str().unwrap().to_owned()
}

fn use_key(server: &mut Server, file: &str) {
    server.configure(&[("storage.encryption_key_file", &format!("'{file}'"))]);
}

fn shows(path: &Path, text: &str) -> bool {
    fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}

/// The files under the data folder and the backup that show one of the secrets.
fn files_that_show(server: &Server, backup: &str) -> Vec<String> {
    let files = fs::read_dir(server.data_dir()).unwrap().map(|entry| entry.unwrap().path());
    let files = files.chain([backup.into()]).filter(|path| path.is_file());
    files
        .filter(|path| SECRETS.iter().chain([&ACCESS_TOKEN]).any(|text| shows(path, text)))
        .map(|path| path.display().to_string())
        .collect()
}

fn token_server() -> Receiver {
    let body = format!(r#"{{"access_token": "{ACCESS_TOKEN}"}}"#);
    Receiver::answering(move |_| Reply::with(200, &[("Content-Type", "application/json")], &body))
}

fn subscribe(client: &Client, receiver: &Receiver, tokens: &Receiver) {
    let oauth2 = json!({
        "type": "oauth2_client_credentials", "token_url": tokens.url("/token"), "client_id": "a",
        "client_secret": SECRETS[4],
    });
    let basic = json!({"type": "basic", "username": "u", "password": SECRETS[1]});
    let bearer = json!({"type": "bearer", "token": SECRETS[2]});
    for (path, auth) in [("/basic", basic), ("/bearer", bearer), ("/oauth2", oauth2)] {
        let wish = json!({
            "url": receiver.url(path), "events": ["clock_in"], "secret": SECRETS[3], "auth": auth,
            "headers": {"X-Key": SECRETS[0]}, "signatures": ["tempclock", "ed25519"],
        });
        client.post("/webhooks", &wish).expect(201);
    }
}

/// Publishes an event, which arrives at all with everything that is secret. Gives the public keys.
fn works(client: &Client, receiver: &Receiver, entry: u64) -> Vec<Value> {
    let event = client.publish("clock_in", &clock_in(entry));
    // Some are retried, so there may be more requests than deliveries.
    let all = receiver.wait_until("all deliveries", |all| {
        let of_event = all.iter().filter(|one| one.header("webhook-id") == event);
        of_event.map(|one| one.path.as_str()).collect::<BTreeSet<_>>().len() == 3
    });
    for request in all.iter().filter(|one| one.header("webhook-id") == event) {
        assert_eq!(request.header("x-key"), SECRETS[0]);
        let login = request.header("authorization");
        let bearers = [SECRETS[2], ACCESS_TOKEN].map(|token| format!("Bearer {token}"));
        assert!(login.starts_with("Basic ") || bearers.iter().any(|bearer| bearer == login), "{login}");
        assert_eq!(request.header("x-tempclock-signature"), crate::harness::signature_hex(SECRETS[3], &request.body));
    }
    [1, 2].map(|id| client.subscription(id)["public_key"].clone()).into()
}

#[test]
fn no_secret_of_an_option_is_readable_anywhere_and_all_work_after_a_new_key_and_a_restore() {
    let mut server = Server::stopped(&[("log.level", "\"trace\""), ("server.metrics_listen", "\"127.0.0.1:0\"")]);
    let (old, new) = (make_key(&server, "old.key"), make_key(&server, "new.key"));
    use_key(&mut server, &old);
    server.launch();
    let key = server.key(ALL_SCOPES);
    // A first failure, so that it is in the log and in the stored attempts.
    let receiver = Receiver::first([Reply::status(400)]);
    let tokens = token_server();
    // A failure of that one, too, by one who repeats what it was sent.
    let leak = format!(r#"{{"error": "no", "error_description": "{}"}}"#, SECRETS[4]);
    tokens.then([Reply::with(400, &[], &leak)]);
    let client = server.client_with(&key);
    subscribe(&client, &receiver, &tokens);
    client.put("/webhooks/1", &json!({"headers": {"X-Bad": format!("{}\n", SECRETS[0])}})).expect(400);
    let public_keys = works(&client, &receiver, 1);
    let mut said = String::new();
    for path in ["/webhooks", "/webhooks/1", "/webhooks/2", "/deliveries", "/events"] {
        said.push_str(&client.get(path).text);
    }
    for delivery in client.get("/deliveries").rows() {
        said.push_str(&client.delivery(delivery["id"].as_str().unwrap()).to_string());
    }
    said.push_str(&server.cli(&["subscriptions", "show", "1"]).stdout);
    said.push_str(&metrics::page(&server).send("GET", "/metrics", &[], None).expect(200).text);
    let backup = server.folder().join("moment.bak").display().to_string();
    assert_eq!(server.cli(&["backup", "--output", &backup]).code, Some(0));
    assert!(server.terminate().success());
    said.push_str(&server.log());
    for text in SECRETS.into_iter().chain([ACCESS_TOKEN]) {
        assert!(!said.contains(text), "{text} was said");
    }
    assert_eq!(files_that_show(&server, &backup), [""; 0]);

    assert_eq!(server.cli(&["secrets", "rotate", "--new-key-file", &new]).code, Some(0));
    use_key(&mut server, &new);
    server.launch();
    assert_eq!(works(&server.client_with(&key), &receiver, 2), public_keys);
    assert!(server.terminate().success());

    use_key(&mut server, &old);
    let restored = server.cli(&["restore", "--yes", &backup]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    server.launch();
    assert_eq!(works(&server.client_with(&key), &receiver, 3), public_keys);
}

#[test]
fn without_a_key_they_are_in_the_file_so_that_the_search_for_them_means_something() {
    let mut server = Server::start(&[]);
    let receiver = Receiver::start();
    subscribe(&server.client(), &receiver, &token_server());
    assert!(server.terminate().success());
    let database = server.data_dir().join("tempclock.redb");
    for text in SECRETS {
        assert!(shows(&database, text), "{text}");
    }
}
