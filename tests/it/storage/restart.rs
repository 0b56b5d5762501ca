//! Nothing that was acknowledged is lost, whatever becomes of the process.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpStream,
    path::PathBuf,
    sync::Mutex,
    thread,
};

use redb::{Database, ReadableTable as _, TableDefinition};
use serde_json::{Value, json};

use crate::harness::{ALL_SCOPES, Gate, Received, Receiver, Reply, Server, clock_in, eventually, run};

#[test]
fn a_thousand_pending_deliveries_survive_kill_9_and_all_arrive() {
    let mut server = Server::start(&[("delivery.max_in_flight_per_endpoint", "16")]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::answering(|_| Reply::Hang);
    let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let events: Vec<Value> = (0..1000).map(|n| json!({"event": "clock_in", "data": clock_in(n)})).collect();
    let answer = client.post("/events/batch", &json!({"events": events})).expect(202);
    let published: BTreeSet<String> = answer.rows().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(published.len(), 1000);
    receiver.wait_for(1, "a first attempt in flight");
    assert_eq!(client.total("/deliveries?status=pending"), 1000);

    server.kill_9();
    receiver.rule(|_| Reply::status(200));
    server.launch();
    let client = server.client_with(&key);
    client.wait_for_total("/deliveries?status=delivered", 1000);

    let came = receiver.requests();
    let arrived: BTreeSet<String> = came.iter().map(Received::event_id).collect();
    assert_eq!(arrived, published);
    assert!(came.len() <= 1000 + 16, "{} requests: more than those in flight were repeated", came.len());
    let mut event_of = BTreeMap::new();
    for request in &came {
        request.assert_signed_with(&subscription.secret);
        let delivery = request.header("x-tempclock-delivery").to_owned();
        let event = event_of.entry(delivery).or_insert_with(|| request.event_id());
        assert_eq!(*event, request.event_id(), "a delivery id stands for two events");
    }
    assert_eq!(event_of.len(), 1000, "an event was repeated under another delivery id");
}

#[test]
fn a_flipped_bit_in_the_header_of_a_killed_server_takes_nothing_back() {
    let mut server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let event = |entry| json!({"event": "clock_in", "data": clock_in(entry)});
    for entry in 0..3 {
        client.post("/events", &event(entry)).expect(202);
    }
    let database = server.data_dir().join("tempclock.redb");
    // Killed during a commit, such as that of a key's last use, the header still selects the commit before.
    let mut bytes = eventually("a server is killed between two commits", || {
        server.kill_9();
        let bytes = fs::read(&database).unwrap();
        let is_settled = selects_the_newest_commit(&bytes);
        if !is_settled {
            server.launch();
        }
        is_settled.then_some(bytes)
    });
    bytes[9] ^= 1;
    fs::write(&database, bytes).unwrap();
    server.launch();
    assert_eq!(server.client_with(&key).total("/events"), 3);
}

/// Whether the flag in the header of redb's file format 3 selects the later one of the two commits.
fn selects_the_newest_commit(database: &[u8]) -> bool {
    let number = |at: usize| u64::from_le_bytes(database[at..at + 8].try_into().unwrap());
    let [first, second] = [168, 296].map(number);
    if database[9] & 1 == 0 { first > second } else { second > first }
}

#[test]
fn whatever_was_acknowledged_before_kill_9_is_there_and_arrives() {
    let mut server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let receiver = Receiver::start();
    server.client_with(&key).subscribe(&receiver.url("/"), &["clock_in"]);
    let acknowledged = Mutex::new(BTreeSet::new());
    for round in 1..=3 {
        let client = server.client_with(&key);
        thread::scope(|scope| {
            for publisher in 0..4 {
                let (client, acknowledged) = (client.clone(), &acknowledged);
                scope.spawn(move || {
                    let json = [("Content-Type", "application/json")];
                    let body = json!({"event": "clock_in", "data": clock_in(publisher)}).to_string();
                    while let Ok(answer) = client.try_send("POST", "/api/v1/events", &json, Some(body.as_bytes())) {
                        assert_eq!(answer.status, 202, "{}", answer.text);
                        let id = answer.data()["id"].as_str().unwrap().to_owned();
                        assert!(acknowledged.lock().unwrap().insert(id), "an id was given twice");
                    }
                });
            }
            eventually("many events are acknowledged", || {
                (acknowledged.lock().unwrap().len() >= round * 50).then_some(())
            });
            server.kill_9();
        });
        server.launch();
    }

    let acknowledged = acknowledged.into_inner().unwrap();
    let client = server.client_with(&key);
    receiver.wait_until("every acknowledged event", |requests| {
        let arrived: BTreeSet<String> = requests.iter().map(Received::event_id).collect();
        acknowledged.is_subset(&arrived)
    });
    for id in &acknowledged {
        client.get(&format!("/events/{id}")).expect(200);
    }
    client.wait_for_total("/deliveries?status=pending", 0);
    assert_eq!(client.total("/deliveries?status=delivered"), client.total("/events"));
}

#[test]
fn a_retry_that_was_due_later_is_made_after_a_crash() {
    let mut server = Server::start(&[("delivery.retry_schedule", r#"["3s", "1s"]"#)]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::first([Reply::status(500)]);
    let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let id = client.delivery_ids(&event).remove(0);
    client.wait_for_delivery(&id, "was tried", |d| d["attempt_count"] == 1);
    server.kill_9();
    server.launch();

    let client = server.client_with(&key);
    let delivery = client.wait_for_status(&id, "delivered");
    assert_eq!(delivery["attempt_count"], 2);
    let came = receiver.requests();
    assert_eq!(came.iter().map(Received::attempt).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(came[1].body, came[0].body);
    assert_eq!(came[1].header("x-tempclock-delivery"), id);
    assert!((came[1].at - came[0].at).as_millis() >= 2_995, "the crash shortened the wait");
    came[1].assert_signed_with(&subscription.secret);
}

#[test]
fn keys_subscriptions_history_and_what_is_held_survive() {
    let mut server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::start();
    let on = client.subscribe(&receiver.url("/on"), &["clock_in"]);
    let off = client.subscribe(&receiver.url("/off"), &["clock_in"]);
    client.change(off.id, &json!({"active": false, "description": "held"}));
    let event = client.publish("clock_in", &clock_in(1));
    client.wait_for_total("/deliveries?status=delivered", 1);
    let before = [client.subscription(on.id), client.subscription(off.id)];
    let shown = client.get(&format!("/events/{event}")).expect(200).json;

    server.kill_9();
    server.launch();
    let client = server.client_with(&key);
    assert_eq!([client.subscription(on.id), client.subscription(off.id)], before);
    assert_eq!(client.get(&format!("/events/{event}")).expect(200).json, shown);
    let later = client.publish("clock_in", &clock_in(2));
    client.wait_for_total("/deliveries?status=delivered", 2);
    assert_eq!(receiver.requests_to("/off").len(), 0);
    client.change(off.id, &json!({"active": true}));
    client.wait_for_total("/deliveries?status=delivered", 4);
    let late: BTreeSet<String> = receiver.requests_to("/off").iter().map(Received::event_id).collect();
    assert_eq!(late, BTreeSet::from([event, later]));
    for request in receiver.requests_to("/off") {
        request.assert_signed_with(&off.secret);
    }
}

#[test]
fn keys_are_made_after_a_crash_whether_the_server_is_down_or_up_again() {
    let mut server = Server::start(&[]);
    server.kill_9();
    let down = server.key(ALL_SCOPES);
    server.launch();
    let up = server.key(ALL_SCOPES);
    for key in [down, up] {
        server.client_with(&key).get("/webhooks").expect(200);
    }
}

#[test]
fn ids_are_not_given_again_after_a_restart() {
    let mut server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let first = client.subscribe("http://127.0.0.1:9/hook", &["clock_in"]).id;
    client.delete(&format!("/webhooks/{first}")).expect(200);
    server.restart();
    let second = server.client_with(&key).subscribe("http://127.0.0.1:9/hook", &["clock_in"]).id;
    assert!(second > first, "{second} after {first}");
}

#[test]
fn sigterm_lets_an_attempt_in_flight_end_and_counts_it() {
    let mut server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let gate = Gate::default();
    let receiver = Receiver::first([Reply::Held(gate.clone(), 200)]);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    receiver.wait_for(1, "the attempt in flight");

    let address = server.address();
    server.ask_to_stop();
    eventually("nothing is accepted any more", || TcpStream::connect(address).is_err().then_some(()));
    gate.open();
    assert_eq!(server.wait_for_exit().code(), Some(0), "{}", server.log());

    server.launch();
    let delivery = server.client_with(&key).settled(&event, "delivered");
    assert_eq!(delivery["attempt_count"], 1);
    assert_eq!(receiver.requests().len(), 1, "an attempt that had ended was repeated");
}

#[test]
fn sigterm_waits_no_longer_than_the_drain_time_and_what_is_left_is_sent_later() {
    let mut server = Server::start(&[("delivery.drain", r#""1s""#), ("delivery.timeout", r#""10m""#)]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::first([Reply::Hang]);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    receiver.wait_for(1, "the attempt in flight");
    assert_eq!(server.terminate().code(), Some(0), "{}", server.log());

    server.launch();
    server.client_with(&key).settled(&event, "delivered");
    let came = receiver.requests();
    assert_eq!(came.len(), 2);
    assert_eq!(came[1].body, came[0].body);
    assert_eq!(came[1].header("x-tempclock-delivery"), came[0].header("x-tempclock-delivery"));
}

#[test]
fn a_second_server_on_the_same_folder_says_who_holds_it() {
    let server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let refused = server.fail_to_start();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let pid = server.pid().to_string();
    assert!(refused.stderr.contains(&pid), "process {pid} is not named: {}", refused.stderr);
    // The first is none the worse for it, its control socket included.
    server.client_with(&key).get("/webhooks").expect(200);
    server.client().get("/webhooks").expect(200);
}

/// The file that holds the data: the largest in the folder of a server that is stopped.
fn store_of(server: &Server) -> PathBuf {
    let entries = fs::read_dir(server.data_dir()).unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    files.max_by_key(|entry| entry.metadata().unwrap().len()).expect("a file with the data").path()
}

#[test]
fn a_file_that_is_no_database_is_refused_by_name_and_not_touched() {
    let mut server = Server::start(&[]);
    server.client().subscribe("http://127.0.0.1:9/hook", &["clock_in"]);
    assert!(server.terminate().success());
    let store = store_of(&server);
    let good = fs::read(&store).unwrap();
    let text = b"Dear diary, today I was put where a database should be.\n".repeat(1000);
    let mut zeros = good.clone();
    zeros[..4096].fill(0);
    for wrong in [text, zeros, b"short".to_vec(), Vec::new()] {
        fs::write(&store, &wrong).unwrap();
        let refused = server.fail_to_start();
        assert_eq!(refused.code, Some(1), "{} bytes: {refused:?}", wrong.len());
        let name = store.file_name().unwrap().to_str().unwrap();
        assert!(refused.stderr.contains(name), "{name} is not named: {}", refused.stderr);
        assert!(fs::read(&store).unwrap() == wrong, "{} bytes were touched", wrong.len());
    }
    fs::write(&store, &good).unwrap();
    server.launch();
    assert_eq!(server.client().total("/webhooks"), 1);
}

#[test]
fn a_data_folder_that_cannot_be_made_is_named_with_what_to_do() {
    let server = Server::stopped(&[]);
    let file = server.folder().join("file");
    fs::write(&file, "").unwrap();
    let folder = file.join("data");
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", folder.to_str().unwrap()], &[]);
    assert_eq!(output.code, Some(1), "{}", output.stderr);
    assert!(output.stderr.contains(folder.to_str().unwrap()), "{}", output.stderr);
    assert!(output.stderr.contains("storage.data_dir"), "{}", output.stderr);
}

#[test]
fn a_pending_delivery_whose_row_is_damaged_is_sent_until_it_arrives() {
    let mut server = Server::start(&[("delivery.retry_schedule", r#"["1s"]"#)]);
    let key = server.key(ALL_SCOPES);
    let receiver = Receiver::answering(|_| Reply::Hang);
    let client = server.client_with(&key);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    receiver.wait_for(1, "a first attempt in flight");
    server.kill_9();

    let outbox = TableDefinition::<(u32, u64, u128), &[u8]>::new("outbox");
    let database = Database::open(server.data_dir().join("tempclock.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut outbox = transaction.open_table(outbox).unwrap();
        let keys: Vec<_> = outbox.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
        // (subscription, 0 as it was never attempted, event)
        let pending: Vec<_> = keys.into_iter().filter(|(_, due_ms, event)| *due_ms == 0 && *event != 0).collect();
        assert_eq!(pending.len(), 1);
        outbox.insert(pending[0], [0xee].as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);

    receiver.rule(|request| Reply::status(if request.attempt() == 1 { 500 } else { 200 }));
    server.launch();
    let came = receiver.wait_for(3, "the attempt that was cut off, one that fails, one that succeeds");
    assert!(came.iter().all(|request| request.event_id() == event));
    assert_eq!(came.iter().map(Received::attempt).collect::<Vec<_>>(), [1, 1, 2]);
}
