//! A backup holds one moment and comes back as it was; nothing damaged is ever taken for a database.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use redb::ReadableTable as _;
use serde_json::{Value, json};

use crate::harness::{
    ALL_SCOPES, BINARY, Client, Failure, Fault, Output, Receiver, Server, clock_in, eventually, run, wait_guarded,
};

fn backup(server: &Server, file: &Path) {
    let output = server.cli(&["backup", "--output", file.to_str().unwrap()]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
}

fn verify(file: &Path) -> Output {
    run(&["verify", file.to_str().unwrap()], &[])
}

fn publish_batch(client: &Client, first: u64, count: u64) {
    let events: Vec<_> = (first..first + count).map(|n| json!({"event": "clock_in", "data": clock_in(n)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
}

#[test]
fn a_restored_backup_holds_what_was_stored_when_it_was_made_and_resends_nothing_that_was_confirmed() {
    let mut server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::start();
    let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]);
    publish_batch(&client, 0, 300);
    client.wait_for_total("/deliveries?status=delivered", 300);
    client.change(subscription.id, &json!({"active": false}));
    publish_batch(&client, 300, 100);

    let file = server.folder().join("moment.bak");
    backup(&server, &file);
    let verified = verify(&file);
    assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
    let rows: Vec<Vec<&str>> = verified.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    for (table, count) in [("events", "400"), ("accounts", "1")] {
        assert!(rows.contains(&vec![table, count]), "{table}: {}", verified.stdout);
    }

    publish_batch(&client, 400, 50);
    let later = client.subscribe(&receiver.url("/later"), &["clock_out"]).id;
    let refused = server.cli(&["restore", "--yes", file.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1), "a restore beside a running server");
    assert!(refused.stderr.contains("running"), "{}", refused.stderr);

    assert!(server.terminate().success());
    let unasked = server.cli(&["restore", file.to_str().unwrap()]);
    assert_eq!(unasked.code, Some(2), "{}", unasked.stderr);
    let restored = server.cli(&["restore", "--yes", file.to_str().unwrap()]);
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    assert!(restored.stdout.contains("before-restore"), "{}", restored.stdout);
    let database = server.data_dir().join("tempclock.redb");
    let sound = verify(&database);
    assert_eq!(sound.code, Some(0), "{}{}", sound.stdout, sound.stderr);

    server.launch();
    let client = server.client_with(&key);
    assert_eq!(client.total("/events"), 400);
    assert_eq!(client.total("/deliveries?status=delivered"), 300);
    client.change(subscription.id, &json!({"active": true}));
    client.wait_for_total("/deliveries?status=delivered", 400);
    assert_eq!(receiver.requests_to("/").len(), 400, "something confirmed was sent again, or something is missing");
    let fresh = client.subscribe(&receiver.url("/new"), &["clock_out"]).id;
    assert!(fresh > later, "number {fresh} was given out before the restore");
}

#[test]
fn a_backup_goes_to_stdout_and_works_without_a_server_too() {
    let mut server = Server::start(&[]);
    publish_batch(&server.client(), 0, 5);
    assert!(server.terminate().success());
    let file = server.folder().join("offline.bak");
    backup(&server, &file);
    assert_eq!(verify(&file).code, Some(0));
    let config = server.config_file();
    let piped = std::process::Command::new(crate::harness::BINARY)
        .args(["backup", "--output", "-", "--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(piped.status.success());
    let copy = server.folder().join("piped.bak");
    fs::write(&copy, piped.stdout).unwrap();
    assert_eq!(verify(&copy).code, Some(0));
}

#[test]
fn a_backup_whose_reader_stalls_is_never_taken_for_a_whole_one() {
    let server = Server::start(&[]);
    let client = server.client();
    // More than pipe, sockets and the server's own queue hold.
    for first in (0..20_000).step_by(1000) {
        publish_batch(&client, first, 1000);
    }
    let config = server.config_file();
    let mut reader = Command::new(crate::harness::BINARY)
        .args(["backup", "--output", "-", "--config", config.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut out = reader.stdout.take().unwrap();
    out.read_exact(&mut [0; 1024]).unwrap();
    // The server's patience is ten seconds.
    eventually("the server gives up", || server.log().contains("a backup was not completed").then_some(()));
    out.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(wait_guarded(&mut reader, "the backup").code(), Some(1));
}

#[test]
fn a_backup_follows_no_link_that_lies_in_its_way_and_replaces_what_an_earlier_one_left() {
    let server = Server::start(&[]);
    publish_batch(&server.client(), 0, 5);
    let (file, victim) = (server.folder().join("moment.bak"), server.folder().join("victim"));
    let unfinished = server.folder().join("moment.bak.part");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, &unfinished).unwrap();
    let refused = server.cli(&["backup", "--output", file.to_str().unwrap()]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("moment.bak.part exists and is not an unfinished backup"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert!(unfinished.is_symlink() && !file.exists());
    fs::remove_file(&unfinished).unwrap();
    fs::write(&unfinished, "half of an earlier one").unwrap();
    backup(&server, &file);
    assert_eq!(verify(&file).code, Some(0));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_damaged_backup_is_refused_and_the_database_stays_as_it_was() {
    let mut server = Server::start(&[]);
    publish_batch(&server.client(), 0, 20);
    let file = server.folder().join("good.bak");
    backup(&server, &file);
    assert!(server.terminate().success());
    let good = fs::read(&file).unwrap();
    let database = fs::read(server.data_dir().join("tempclock.redb")).unwrap();
    let bad = server.folder().join("bad.bak");
    let flipped = |place: usize| {
        let mut bytes = good.clone();
        bytes[place] ^= 0x10;
        bytes
    };
    let mut cases = vec![Vec::new(), vec![0; good.len()], b"#!/bin/sh\n".to_vec(), good[..good.len() / 2].to_vec()];
    cases.push(good[..good.len() - 1].to_vec());
    cases.push([&good[..], b"\n"].concat());
    cases.extend((0..16).map(|n| flipped(n * (good.len() - 1) / 15)));
    for (number, bytes) in cases.into_iter().enumerate() {
        fs::write(&bad, bytes).unwrap();
        for output in [verify(&bad), server.cli(&["restore", "--yes", bad.to_str().unwrap()])] {
            assert_eq!(output.code, Some(1), "case {number}: {}{}", output.stdout, output.stderr);
            assert!(!output.stderr.is_empty() && !output.stderr.contains("panicked"), "{}", output.stderr);
        }
    }
    for n in 0..150 {
        fs::write(&bad, flipped(n * (good.len() - 1) / 149)).unwrap();
        let output = verify(&bad);
        assert_eq!(output.code, Some(1), "flip {n}: {}{}", output.stdout, output.stderr);
        let blames_another = output.stderr.contains("the database that it was made from");
        assert!(!blames_another && !output.stderr.contains("panicked"), "flip {n}: {}", output.stderr);
    }
    assert!(fs::read(server.data_dir().join("tempclock.redb")).unwrap() == database, "the database was touched");
}

#[test]
fn a_damaged_database_is_found_by_verify_and_never_taken_for_a_first_start() {
    let mut server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    publish_batch(&client, 0, 200);
    client.wait_for_total("/deliveries?status=delivered", 200);
    assert!(server.terminate().success());
    let path = server.data_dir().join("tempclock.redb");
    let good = fs::read(&path).unwrap();

    for (what, bytes) in
        [("zeros", vec![0; good.len()]), ("empty", Vec::new()), ("another program's", b"SQLite format 3\0".repeat(64))]
    {
        fs::write(&path, bytes).unwrap();
        let output = server.fail_to_start();
        assert!(output.stderr.contains("tempclock.redb"), "{what}: {}", output.stderr);
        assert_ne!(verify(&path).code, Some(0), "{what}");
    }
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    assert_ne!(verify(&path).code, Some(0), "cut in half");
    let output = server.fail_to_start();
    assert!(output.stderr.contains("tempclock.redb"), "cut in half: {}", output.stderr);

    // In every place, as any one of them may be a page that is free by now.
    let bodies: Vec<usize> = (0..good.len()).filter(|&place| good[place..].starts_with(b"Ada Lovelace")).collect();
    assert!(!bodies.is_empty(), "no body in the file");
    let mut flipped = good.clone();
    for place in bodies {
        flipped[place] ^= 0x01;
    }
    fs::write(&path, &flipped).unwrap();
    let output = verify(&path);
    assert_eq!(output.code, Some(1), "a flipped bit in each body: {}{}", output.stdout, output.stderr);
    // Wherever a bit flips, nothing ends in a panic.
    for n in 0..40 {
        let mut flipped = good.clone();
        flipped[n * (good.len() - 1) / 39] ^= 0x04;
        fs::write(&path, &flipped).unwrap();
        let output = verify(&path);
        assert!(matches!(output.code, Some(0 | 1)), "{n}: {:?} {}", output.code, output.stderr);
        assert!(!output.stderr.contains("panicked"), "{n}: {}", output.stderr);
    }
}

#[test]
fn a_server_that_was_stopped_in_order_never_starts_on_a_file_with_flipped_bits_that_matter() {
    const PLACES: usize = 100;
    let mut server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let receiver = Receiver::start();
    let subscription = server.client_with(&key).subscribe(&receiver.url("/"), &["clock_in"]);
    publish_batch(&server.client_with(&key), 0, 150);
    server.client_with(&key).wait_for_total("/deliveries?status=delivered", 150);
    server.client_with(&key).change(subscription.id, &json!({"active": false}));
    publish_batch(&server.client_with(&key), 150, 150);
    assert!(server.terminate().success());
    let path = server.data_dir().join("tempclock.redb");
    let good = fs::read(&path).unwrap();
    let written: Vec<usize> = (0..good.len()).filter(|place| good[*place] != 0).collect();

    let mut refused = 0;
    for n in 0..PLACES {
        let mut flipped = good.clone();
        flipped[written[n * (written.len() - 1) / (PLACES - 1)]] ^= 1 << (n % 8);
        fs::write(&path, &flipped).unwrap();
        let Err(Failure { status, said }) = server.try_launch() else {
            // The page was free, so nothing is amiss.
            let client = server.client_with(&key);
            assert_eq!(client.total("/deliveries?status=delivered"), 150, "{n}");
            assert_eq!(client.total("/deliveries?status=pending"), 150, "{n}");
            assert!(server.terminate().success());
            let sound = verify(&path);
            assert_eq!(sound.code, Some(0), "{n}: {}{}", sound.stdout, sound.stderr);
            continue;
        };
        refused += 1;
        assert_eq!(status.code(), Some(1), "{n}: {said}");
        assert!(!said.contains("panicked") && said.to_lowercase().contains("restore"), "{n}: {said}");
    }
    assert!(refused > PLACES / 4, "only {refused} of {PLACES} were refused");
}

#[test]
fn a_backup_of_a_damaged_body_is_refused_and_leaves_the_earlier_one_in_its_place() {
    let mut server = Server::start(&[]);
    let client = server.client();
    client.subscribe("http://127.0.0.1:9/", &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let file = server.folder().join("earlier.bak");
    backup(&server, &file);
    let earlier = fs::read(&file).unwrap();
    assert!(server.terminate().success());
    let events = redb::TableDefinition::<(u32, u128), &[u8]>::new("events");
    let database = redb::Database::open(server.data_dir().join("tempclock.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut events = transaction.open_table(events).unwrap();
        let (key, mut row) = events.first().unwrap().map(|(key, row)| (key.value(), row.value().to_vec())).unwrap();
        *row.last_mut().unwrap() ^= 1;
        events.insert(key, row.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);

    for is_running in [false, true] {
        if is_running {
            server.launch();
        }
        let output = server.cli(&["backup", "--output", file.to_str().unwrap()]);
        assert_eq!(output.code, Some(1), "{}", output.stderr);
        assert!(output.stderr.contains(&event), "{}", output.stderr);
        assert!(fs::read(&file).unwrap() == earlier, "the earlier backup was replaced");
    }
}

#[test]
fn a_backup_takes_the_place_of_an_earlier_one_and_of_nothing_else() {
    let mut server = Server::start(&[]);
    server.key("*");
    let [file, text, pipe, link] = ["today.bak", "text", "pipe", "link"].map(|name| server.folder().join(name));
    fs::write(&file, "").unwrap();
    fs::write(&text, "precious").unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink(&file, &link).unwrap();
    backup(&server, &file);
    backup(&server, &file);
    assert_eq!(verify(&file).code, Some(0));
    assert!(server.terminate().success());
    for path in [server.data_dir().join("tempclock.redb"), server.data_dir().join("identity"), text, pipe, link] {
        let before = fs::symlink_metadata(&path).unwrap();
        let refused = server.cli(&["backup", "--output", path.to_str().unwrap()]);
        assert_eq!(refused.code, Some(2), "{}: {refused:?}", path.display());
        assert!(refused.stderr.contains("already exists and is not a backup"), "{refused:?}");
        let after = fs::symlink_metadata(&path).unwrap();
        assert_eq!((before.ino(), before.file_type()), (after.ino(), after.file_type()), "{}", path.display());
    }
    server.launch();
}

#[test]
fn what_a_restore_keeps_gets_a_name_that_nothing_has_yet() {
    let server = Server::stopped(&[]);
    server.key("*");
    let file = server.folder().join("moment.bak");
    backup(&server, &file);
    let now = jiff::Timestamp::now().as_second();
    for second in now..now + 600 {
        fs::write(server.data_dir().join(format!("tempclock.before-restore-{second}")), "an earlier one").unwrap();
    }
    let mut kept = Vec::new();
    for _ in 0..2 {
        let restored = server.cli(&["restore", "--yes", file.to_str().unwrap()]);
        assert_eq!(restored.code, Some(0), "{restored:?}");
        let line = restored.stdout.lines().find(|line| line.contains("is kept as")).unwrap();
        let path = line.split("is kept as ").nth(1).unwrap().trim_end_matches('.').to_owned();
        assert_eq!(verify(Path::new(&path)).code, Some(0), "{path}");
        kept.push(path);
    }
    assert_ne!(kept[0], kept[1]);
}

#[test]
fn a_restore_of_another_store_that_is_cut_off_leaves_a_store_that_starts() {
    let file = tempfile::tempdir().unwrap();
    let (file, trace) = (file.path().join("backup"), file.path().join("trace"));
    let other = Server::start(&[]);
    publish_batch(&other.client(), 0, 3);
    backup(&other, &file);
    let (mut cuts, mut before, mut after) = (0, 0, 0);
    loop {
        let mut server = Server::start(&[]);
        server.key(ALL_SCOPES);
        assert!(server.terminate().success());
        let words = Fault { call: "rename", what: "signal=KILL", number: cuts + 1 }.words(&trace, &[]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(BINARY).args(["restore", "--yes"]).arg(&file);
        let status = command.arg("--config").arg(server.config_file()).stdout(Stdio::null()).status().unwrap();
        server.launch();
        let stored = server.client().total("/events");
        *(if stored == 3 { &mut after } else { &mut before }) += 1;
        assert!(!server.data_dir().join("tempclock.restoring").exists());
        if status.success() {
            assert_eq!(stored, 3);
            break;
        }
        cuts += 1;
    }
    assert!(before >= 1 && after >= 2, "{before} before the switch and {after} after it prove little");
}

#[test]
fn a_second_backup_to_the_same_place_leaves_the_first_one_alone() {
    let server = Server::start(&[]);
    server.key(ALL_SCOPES);
    let part = server.folder().join("nightly.part");
    let first = fs::File::create(&part).unwrap();
    first.try_lock().unwrap();
    let output = server.cli(&["backup", "--output", server.folder().join("nightly").to_str().unwrap()]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("another backup") && part.exists(), "{output:?}");
    // Closing alone leaves the lock to a process that another test is starting, which has all files until it is itself.
    first.unlock().unwrap();
    backup(&server, &server.folder().join("nightly"));
}

#[test]
fn what_verify_finds_can_be_read_by_programs() {
    let mut server = Server::start(&[]);
    let client = server.client();
    publish_batch(&client, 0, 3);
    let file = server.folder().join("backup");
    assert_eq!(server.cli(&["backup", "--output", file.to_str().unwrap()]).code, Some(0));
    assert!(server.terminate().success());
    let found = |file: &Path| -> Value {
        let output = run(&["verify", "--json", file.to_str().unwrap()], &[]);
        assert_eq!(output.code, Some(0), "{output:?}");
        serde_json::from_str::<Value>(&output.stdout).unwrap()["data"].take()
    };
    let backup = found(&file);
    assert_eq!((&backup["kind"], &backup["sound"]), (&json!("backup"), &json!(true)));
    assert_eq!(backup["rows"]["events"], 3);
    let database = found(&server.data_dir().join("tempclock.redb"));
    assert_eq!((&database["kind"], &database["sound"]), (&json!("database"), &json!(true)));
    assert_eq!(database["pending"], 0);
    let mut bytes = fs::read(&file).unwrap();
    bytes.truncate(bytes.len() - 7);
    fs::write(&file, bytes).unwrap();
    let output = run(&["verify", "--json", file.to_str().unwrap()], &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let damaged: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(damaged["data"]["sound"], false);
}

#[test]
fn compacting_gives_space_back_and_keeps_everything() {
    let mut server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::start();
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    publish_batch(&client, 0, 1000);
    client.wait_for_total("/deliveries?status=delivered", 1000);
    client.delete(&format!("/webhooks/{id}")).expect(200);
    assert!(server.terminate().success());
    let output = server.cli(&["compact"]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    server.launch();
    let client = server.client_with(&key);
    assert_eq!(client.total("/events"), 1000);
}
