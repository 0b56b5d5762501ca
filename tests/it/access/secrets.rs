//! Signing secrets and API keys are nowhere to be read: not in the database, a backup, the log, an answer or a
//! complaint; and without the right key file nothing starts.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::harness::{ALL_SCOPES, Receiver, Server, clock_in, eventually, run};
use crate::operate::metrics;

fn make_key(server: &Server, name: &str) -> PathBuf {
    let file = server.folder().join(name);
    let made = run(&["secrets", "make-key", file.to_str().unwrap()], &[]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    file
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display())
}

fn use_key(server: &mut Server, file: &Path) {
    server.configure(&[("storage.encryption_key_file", &quoted(file))]);
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}

/// Every file under the data folder in which the text can be read.
fn files_that_show(server: &Server, text: &str) -> Vec<String> {
    let files = fs::read_dir(server.data_dir()).unwrap().map(|entry| entry.unwrap().path());
    let shows = files.filter(|path| path.is_file() && contains(&fs::read(path).unwrap(), text));
    shows.map(|path| path.display().to_string()).collect()
}

fn backup(server: &Server) -> PathBuf {
    let file = server.folder().join("moment.bak");
    let made = server.cli(&["backup", "--output", file.to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    file
}

/// Publishes one event and sees that it comes signed with that secret.
fn proves_its_secret(server: &Server, key: &str, receiver: &Receiver, secret: &str, entry: u64) {
    let event = server.client_with(key).publish("clock_in", &clock_in(entry));
    let came = receiver.wait_until("the event", |all| all.iter().any(|one| one.event_id() == event));
    came.iter().find(|one| one.event_id() == event).unwrap().assert_signed_with(secret);
}

#[test]
fn with_an_encryption_key_no_secret_is_readable_anywhere() {
    let mut server = Server::stopped(&[("log.level", "\"trace\""), ("server.metrics_listen", "\"127.0.0.1:0\"")]);
    let file = make_key(&server, "secrets.key");
    use_key(&mut server, &file);
    server.launch();
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::start();
    let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]);
    proves_its_secret(&server, &key, &receiver, &subscription.secret, 1);
    // Answers that could show one: the reads, a repeated mistake, and a wrong key that is nearly right.
    let mut said = String::new();
    for path in ["/webhooks", "/deliveries", "/events", "/webhooks/999"] {
        said.push_str(&client.get(path).json.to_string());
    }
    said.push_str(&client.subscription(subscription.id).to_string());
    said.push_str(&server.client_with(&format!("{key}0")).get("/webhooks").json.to_string());
    said.push_str(&metrics::page(&server).send("GET", "/metrics", &[], None).expect(200).text);
    let moment = backup(&server);
    said.push_str(&server.cli(&["keys", "list", "--json"]).stdout);
    assert!(server.terminate().success());
    said.push_str(&server.log());
    let encryption_key = fs::read_to_string(&file).unwrap();
    for text in [subscription.secret.as_str(), key.as_str(), encryption_key.trim()] {
        assert_eq!(files_that_show(&server, text), [""; 0]);
        assert!(!contains(&fs::read(&moment).unwrap(), text), "the backup shows it");
        assert!(!said.contains(text), "it was said");
    }

    server.launch();
    proves_its_secret(&server, &key, &receiver, &subscription.secret, 2);
}

#[test]
fn without_an_encryption_key_the_secret_is_in_the_file_so_that_the_search_for_it_means_something() {
    let mut server = Server::start(&[]);
    let receiver = Receiver::start();
    let subscription = server.client().subscribe(&receiver.url("/"), &["clock_in"]);
    assert!(server.terminate().success());
    assert_ne!(files_that_show(&server, &subscription.secret), [""; 0]);
}

#[test]
fn a_key_that_is_set_later_takes_earlier_secrets_out_of_the_file() {
    let mut server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let receiver = Receiver::start();
    let client = server.client_with(&key);
    let kept = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let deleted = client.subscribe(&receiver.url("/deleted"), &["clock_in"]);
    client.delete(&format!("/webhooks/{}", deleted.id)).expect(200);
    proves_its_secret(&server, &key, &receiver, &kept.secret, 1);
    assert!(server.terminate().success());

    let file = make_key(&server, "secrets.key");
    use_key(&mut server, &file);
    server.launch();
    assert_eq!(server.client_with(&key).total("/events"), 1);
    proves_its_secret(&server, &key, &receiver, &kept.secret, 2);
    assert!(server.terminate().success());
    for secret in [&kept.secret, &deleted.secret] {
        assert_eq!(files_that_show(&server, secret), [""; 0]);
    }
}

#[test]
fn a_command_leaves_the_sealing_to_the_server_and_a_restore_says_which_files_still_show_secrets() {
    let mut server = Server::start(&[]);
    let receiver = Receiver::start();
    let secret = server.client().subscribe(&receiver.url("/"), &["clock_in"]).secret;
    let moment = backup(&server);
    assert!(server.terminate().success());
    let file = make_key(&server, "secrets.key");
    use_key(&mut server, &file);

    // Whoever opens the file may give space at its end back, so its length says nothing; encrypting makes another file.
    let inode = || fs::metadata(server.data_dir().join("tempclock.redb")).unwrap().ino();
    let before = inode();
    for arguments in [&["keys", "list"][..], &["deliveries", "list"], &["backup", "--output", "-"]] {
        let refused = server.cli(arguments);
        assert_eq!(refused.code, Some(1), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains("start the server first"), "{arguments:?}: {}", refused.stderr);
    }
    assert_eq!(inode(), before, "written anew");
    assert_eq!(files_that_show(&server, &secret).len(), 1);

    let restored = server.cli(&["restore", "--yes", moment.to_str().unwrap()]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    assert!(restored.stderr.contains("moment.bak are not encrypted"), "{}", restored.stderr);
    assert!(restored.stderr.contains("remove it when it is no longer needed"), "{}", restored.stderr);
    server.launch();
    assert!(server.terminate().success());
    let shown = files_that_show(&server, &secret);
    assert!(shown.len() == 1 && shown[0].contains("before-restore"), "{shown:?}");
    let restored = server.cli(&["restore", "--yes", moment.to_str().unwrap()]);
    assert!(!restored.stderr.contains("remove it"), "the kept one is encrypted: {}", restored.stderr);
}

#[test]
fn a_wrong_missing_or_unusable_key_file_is_said_at_the_start_and_changes_nothing() {
    let mut server = Server::stopped(&[]);
    let file = make_key(&server, "secrets.key");
    use_key(&mut server, &file);
    server.launch();
    let key = server.key(ALL_SCOPES);
    let receiver = Receiver::start();
    let subscription = server.client_with(&key).subscribe(&receiver.url("/"), &["clock_in"]);
    assert!(server.terminate().success());

    let other = make_key(&server, "other.key");
    let empty = server.folder().join("empty.key");
    fs::write(&empty, "").unwrap();
    for (path, words) in [
        (quoted(&other), "a different key"),
        (quoted(&empty), "does not contain an encryption key"),
        (quoted(&server.folder().join("nowhere.key")), "cannot be read"),
        (String::new(), "set storage.encryption_key_file"),
    ] {
        server.configure(&[("storage.encryption_key_file", &path)]);
        let failure = server.fail_to_start();
        assert_eq!(failure.code, Some(3), "{}", failure.stderr);
        assert!(failure.stderr.contains(words), "{}", failure.stderr);
        assert!(!failure.stderr.contains("make-key"), "a new key would open nothing: {}", failure.stderr);
    }
    let mistaken = fs::read_to_string(&file).unwrap();
    server.configure(&[("storage.encryption_key_file", &format!("{:?}", mistaken.trim()))]);
    let failure = server.fail_to_start();
    assert!(failure.stderr.contains("cannot be read"), "{}", failure.stderr);
    assert!(!failure.stderr.contains(mistaken.trim()), "the key in place of its file's name is shown");

    use_key(&mut server, &file);
    server.launch();
    proves_its_secret(&server, &key, &receiver, &subscription.secret, 1);
}

#[test]
fn the_encryption_key_can_be_changed_and_given_up_by_a_command() {
    let mut server = Server::stopped(&[]);
    let old = make_key(&server, "old.key");
    let new = make_key(&server, "new.key");
    use_key(&mut server, &old);
    server.launch();
    let key = server.key(ALL_SCOPES);
    let receiver = Receiver::start();
    let secret = server.client_with(&key).subscribe(&receiver.url("/"), &["clock_in"]).secret;
    let rotate = ["secrets", "rotate", "--new-key-file", new.to_str().unwrap()];
    let refused = server.cli(&rotate);
    assert_eq!(refused.code, Some(1), "beside a running server");
    assert!(refused.stderr.contains("running"), "{}", refused.stderr);
    assert!(server.terminate().success());

    let rotated = server.cli(&rotate);
    assert_eq!(rotated.code, Some(0), "{}", rotated.stderr);
    assert_eq!(server.fail_to_start().code, Some(3), "the old key still opens it");
    use_key(&mut server, &new);
    server.launch();
    proves_its_secret(&server, &key, &receiver, &secret, 1);
    assert!(server.terminate().success());

    assert_eq!(server.cli(&["secrets", "decrypt"]).code, Some(2), "without --yes");
    let given_up = server.cli(&["secrets", "decrypt", "--yes"]);
    assert_eq!(given_up.code, Some(0), "{}", given_up.stderr);
    server.configure(&[("storage.encryption_key_file", "")]);
    server.launch();
    proves_its_secret(&server, &key, &receiver, &secret, 2);
}

#[test]
fn who_has_no_encryption_key_yet_is_told_how_to_make_one() {
    let mut server = Server::start(&[]);
    server.client().subscribe("http://127.0.0.1:9/", &["clock_in"]);
    assert!(server.terminate().success());
    let nowhere = server.folder().join("nowhere.key");
    use_key(&mut server, &nowhere);
    for is_new in [false, true] {
        if is_new {
            fs::remove_dir_all(server.data_dir()).unwrap();
        }
        let failure = server.fail_to_start();
        assert_eq!(failure.code, Some(3), "{}", failure.stderr);
        assert!(failure.stderr.contains("secrets make-key"), "{}", failure.stderr);
    }
}

#[test]
fn a_key_file_is_never_written_over() {
    let server = Server::stopped(&[]);
    let file = make_key(&server, "secrets.key");
    let before = fs::read(&file).unwrap();
    let again = run(&["secrets", "make-key", file.to_str().unwrap()], &[]);
    assert_eq!(again.code, Some(1));
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_backup_of_encrypted_secrets_is_restored_with_its_key_alone() {
    let mut server = Server::stopped(&[]);
    let file = make_key(&server, "secrets.key");
    use_key(&mut server, &file);
    server.launch();
    let key = server.key(ALL_SCOPES);
    let receiver = Receiver::start();
    let secret = server.client_with(&key).subscribe(&receiver.url("/"), &["clock_in"]).secret;
    let moment = backup(&server);
    assert!(server.terminate().success());
    fs::remove_dir_all(server.data_dir()).unwrap();
    let restored = server.cli(&["restore", moment.to_str().unwrap()]);
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);

    server.configure(&[("storage.encryption_key_file", "")]);
    assert_eq!(server.fail_to_start().code, Some(3), "without the key");
    use_key(&mut server, &file);
    server.launch();
    proves_its_secret(&server, &key, &receiver, &secret, 1);
}

#[test]
fn a_key_in_the_wrong_place_of_a_request_is_not_in_the_log() {
    let server = Server::start(&[("log.level", r#""trace""#)]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let id = client.subscribe("http://127.0.0.1:9/", &["clock_in"]).id;
    let authorization = format!("Bearer {key}");
    let json = ("Content-Type", "application/json");
    let headers = [("Authorization", authorization.as_str()), ("X-Request-Id", key.as_str()), json];
    let description = json!({"description": "x"}).to_string();
    let answer =
        server.stranger().send("PUT", &format!("/api/v1/webhooks/{id}"), &headers, Some(description.as_bytes()));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_ne!(answer.header("x-request-id"), Some(key.as_str()));
    server.stranger().send("DELETE", &format!("/api/v1/webhooks/{key}"), &headers, None).expect(404);
    server.stranger().send("POST", &format!("/api/v1/{key}"), &headers, None).expect(404);
    let event = json!({"event": key, "data": {}}).to_string();
    server.stranger().send("POST", "/api/v1/events", &headers, Some(event.as_bytes())).expect(400);
    let log = eventually("all requests are logged", || {
        let log = server.log();
        let are_there = ["PUT /api/v1/webhooks/", "DELETE ", "POST /api/v1/tc_live_", "answered 400"];
        are_there.iter().all(|line| log.contains(line)).then_some(log)
    });
    assert!(!log.contains(&key), "{log}");
}
