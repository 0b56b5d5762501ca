//! `storage copy`: a store goes from a file to PostgreSQL and back, and is the same for everybody.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{
    ALL_SCOPES, Client, Ledger, Output, Postgres, Receiver, Reply, Server, clock_in, printed, repeated,
};

/// Retries of a copied store are due long after the test.
const LATE: (&str, &str) = ("delivery.retry_schedule", r#"["2h", "2h"]"#);

/// A server on a file, whichever engine the tests run on.
fn on_a_file() -> Server {
    let mut server = Server::stopped(&[]);
    server.configure(&[
        ("storage.engine", ""),
        ("storage.postgres.url_file", ""),
        ("storage.postgres.schema", ""),
        LATE,
    ]);
    server
}

fn copy(from: &Server, to: &Server) -> Output {
    from.cli(&["storage", "copy", "--to", to.config_file().to_str().unwrap()])
}

#[track_caller]
fn copied(from: &Server, to: &Server) {
    let output = copy(from, to);
    assert_eq!(output.code, Some(0), "{output:?}");
    for said in ["each compared", "accounts", "Not copied", "Now start the server with --config"] {
        assert!(output.stdout.contains(said), "{said:?} is not in {output:?}");
    }
}

#[track_caller]
fn refused(output: &Output, code: i32, said: &[&str]) {
    assert_eq!(output.code, Some(code), "{output:?}");
    for said in said {
        assert!(output.stderr.contains(said), "{said:?} is not in {output:?}");
    }
}

/// Everything that somebody with the key sees, but for when retries are due: the steady clock is set anew at each start, to the
/// millisecond.
fn shown(client: &Client) -> Vec<Value> {
    let lists = ["/webhooks", "/events?limit=100", "/deliveries?limit=100", "/deliveries?status=pending"];
    let mut all: Vec<Value> = lists.iter().map(|path| client.get(path).expect(200).rows().clone().into()).collect();
    all.extend(lists.iter().map(|path| Value::from(client.total(path))));
    for event in client.get("/events?limit=100").expect(200).rows() {
        all.push(client.get(&format!("/events/{}", event["id"].as_str().unwrap())).expect(200).data().clone());
    }
    all.iter_mut().for_each(leave_out_due_times);
    all
}

fn leave_out_due_times(value: &mut Value) {
    match value {
        Value::Array(rows) => rows.iter_mut().for_each(leave_out_due_times),
        Value::Object(fields) => {
            fields.remove("next_attempt_at");
            fields.values_mut().for_each(leave_out_due_times);
        }
        _ => {}
    }
}

#[test]
fn a_store_goes_to_postgresql_and_back_with_all_that_it_holds() {
    let (good, bad, held) = (Receiver::start(), Receiver::answering(|_| Reply::status(500)), Receiver::start());
    let mut file = on_a_file();
    file.launch();
    let key = file.key(ALL_SCOPES);
    let client = file.client_with(&key);
    client.subscribe(&good.url("/good"), &["clock_in"]);
    client.subscribe(&bad.url("/bad"), &["clock_in"]);
    let paused = client.subscribe(&held.url("/held"), &["clock_in"]);
    client.change(paused.id, &json!({"active": false}));
    let ordered = client.subscribe(&held.url("/ordered"), &["clock_in"]).id;
    client.change(ordered, &json!({"active": false, "order": "worker"}));
    let ledger = Ledger::default();
    for entry in 1..=3 {
        assert_eq!(ledger.publish(&client, &[entry]), Some(202));
    }
    assert_eq!(ledger.publish(&client, &[4, 5]), Some(202));
    client.post("/events", &json!({"event": "clock_in", "data": clock_in(6), "tags": ["night"]})).expect(202);
    client.wait_for_total("/deliveries?status=delivered", 6);
    bad.wait_for(6, "each first attempt");
    client.wait_for_total("/deliveries?status=pending", 18);
    let first = client.get("/events?limit=2").expect(200);
    let cursor = first.json["pagination"]["next_cursor"].as_str().unwrap().to_owned();
    let rest = client.get(&format!("/events?limit=2&cursor={cursor}")).expect(200).rows().clone();
    // The attempts are all recorded: nothing changes any more.
    assert!(file.terminate().success());
    file.launch();
    let before = shown(&file.client_with(&key));
    assert!(file.terminate().success());

    let mut database = Server::stopped_on_postgres(&[LATE]);
    copied(&file, &database);
    database.launch();
    let client = database.client_with(&key);
    assert_eq!(shown(&client), before);
    assert_eq!(client.get(&format!("/events?limit=2&cursor={cursor}")).expect(200).rows(), &rest);
    assert_eq!((client.total("/events?worker_id=42"), client.total("/events?tag=night")), (6, 1));
    // A key of a publish is known again, on both sides of the move.
    assert_eq!(ledger.publish(&client, &[1]), Some(202));
    let other = json!({"event": "clock_in", "data": clock_in(9)}).to_string();
    client.post_with("/events", &[("Idempotency-Key", "entry-1")], &other).expect(409);
    assert_eq!(ledger.publish(&client, &[7]), Some(202));
    good.wait_for(7, "the event that was published there");
    client.change(paused.id, &json!({"active": true}));
    held.wait_for(7, "everything that was held");
    client.wait_for_total("/deliveries?status=delivered", 14);
    let id = client.subscribe(&held.url("/later"), &["clock_out"]).id;
    assert!(id > ordered, "numbers go on");
    assert!(database.terminate().success());
    database.launch();
    let before = shown(&database.client_with(&key));
    assert!(database.terminate().success());

    let mut back = on_a_file();
    copied(&database, &back);
    let verified = back.command(&["verify", back.data_dir().join("tempclock.redb").to_str().unwrap()]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    back.launch();
    let client = back.client_with(&key);
    assert_eq!(shown(&client), before);
    assert_eq!(client.get(&format!("/events?limit=2&cursor={cursor}")).expect(200).rows(), &rest);
    assert_eq!(client.total("/events?worker_id=42"), 7);
    assert_eq!(ledger.publish(&client, &[7]), Some(202));
    client.change(ordered, &json!({"active": true}));
    held.wait_for(14, "what was kept in order");
    client.wait_for_total("/deliveries?status=delivered", 21);
    let ordered = held.requests_to("/ordered");
    let entries: Vec<_> = ordered.iter().map(|came| came.json()["data"]["entry_id"].as_u64().unwrap()).collect();
    assert_eq!(entries, [1, 2, 3, 4, 5, 6, 7], "in the order of their publishing");
    for receiver in [&good, &held] {
        assert_eq!(repeated(&receiver.requests()), 0);
    }
    let faults = ledger.faults(&good.requests(), |_| true);
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(printed(&back.cli(&["keys", "list", "--json"]))["data"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_copy_replaces_nothing_and_needs_a_stopped_server_and_another_engine() {
    let mut file = on_a_file();
    let database = Server::stopped_on_postgres(&[]);
    refused(&copy(&file, &database), 5, &["there is no store in"]);
    refused(&copy(&database, &file), 5, &["there is no store in schema"]);
    file.launch();
    file.client().publish("clock_in", &clock_in(1));
    refused(&copy(&file, &database), 1, &["the server is running; stop it first"]);
    assert!(file.terminate().success());
    refused(&copy(&file, &on_a_file()), 2, &["one engine to the other", "backup and restore"]);
    copied(&file, &database);
    refused(&copy(&file, &database), 1, &["has a store already", "replaces nothing", "DROP SCHEMA"]);
    refused(&copy(&database, &file), 1, &["tempclock.redb already exists", "storage.data_dir"]);
    let mut other = Server::stopped_on_postgres(&[]);
    other.move_to_postgres("postgres://postgres:x@127.0.0.1:1/postgres", "nowhere");
    refused(&copy(&file, &other), 74, &["cannot be reached"]);
}

#[test]
fn a_copy_that_was_broken_off_is_no_store_and_begins_anew() {
    let mut file = on_a_file();
    file.launch();
    let key = file.key(ALL_SCOPES);
    file.client_with(&key).publish("clock_in", &clock_in(1));
    assert!(file.terminate().success());
    let mut database = Server::stopped_on_postgres(&[]);
    copied(&file, &database);
    // As it is until the last step.
    let sql = format!("UPDATE {}.store SET product = 'tempclock-webhooks, unfinished copy'", database.schema());
    Postgres::shared().sql(&sql);
    let refusal = database.fail_to_start();
    refused(&refusal, 3, &["was not finished", "storage copy again"]);
    copied(&file, &database);
    database.launch();
    assert_eq!(database.client_with(&key).total("/events"), 1);
    assert!(database.terminate().success());

    let mut back = on_a_file();
    copied(&database, &back);
    let path = back.data_dir().join("tempclock.redb");
    fs::rename(&path, path.with_extension("copying")).unwrap();
    let refusal = back.fail_to_start();
    assert!(refusal.stderr.contains("is missing"), "{refusal:?}");
    copied(&database, &back);
    back.launch();
    assert_eq!(back.client_with(&key).total("/events"), 1);
    assert!(!path.with_extension("copying").exists());
}

#[test]
fn encrypted_secrets_are_copied_as_they_are_for_the_same_key() {
    let receiver = Receiver::start();
    let mut file = on_a_file();
    let key_file = file.folder().join("sealing.key");
    assert_eq!(file.command(&["secrets", "make-key", key_file.to_str().unwrap()]).code, Some(0));
    let setting = format!("'{}'", key_file.display());
    file.configure(&[("storage.encryption_key_file", &setting)]);
    file.launch();
    let key = file.key(ALL_SCOPES);
    let hook = file.client_with(&key).subscribe(&receiver.url("/hook"), &["clock_in"]);
    assert!(file.terminate().success());
    let mut database = Server::stopped_on_postgres(&[]);
    refused(&copy(&file, &database), 3, &["has another key, or none"]);
    database.configure(&[("storage.encryption_key_file", &setting)]);
    copied(&file, &database);
    database.launch();
    database.client_with(&key).publish("clock_in", &clock_in(1));
    receiver.wait_for(1, "the event")[0].assert_signed_with(&hook.secret);
    assert!(database.terminate().success());
    let mut back = on_a_file();
    back.configure(&[("storage.encryption_key_file", &setting)]);
    copied(&database, &back);
    let stored = fs::read(back.data_dir().join("tempclock.redb")).unwrap();
    assert!(!stored.windows(hook.secret.len()).any(|found| found == hook.secret.as_bytes()));
    back.launch();
    back.client_with(&key).publish("clock_in", &clock_in(2));
    receiver.wait_for(2, "the next event")[1].assert_signed_with(&hook.secret);
}
