//! A server on PostgreSQL does what one on a file does.

use serde_json::json;

use crate::harness::{ALL_SCOPES, Ledger, Postgres, Receiver, Reply, Server, clock_in, eventually};

#[test]
fn an_event_is_delivered_listed_found_and_known_again_after_a_kill() {
    let receiver = Receiver::first([Reply::status(500)]);
    let mut server = Server::start_on_postgres(&[]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let hook = client.subscribe(&receiver.url("/hook"), &["clock_in"]);
    let body = json!({"event": "clock_in", "data": clock_in(7), "id": "first", "tags": ["night"]});
    let published = client.post("/events", &body).expect(202);
    let id = published.data()["id"].as_str().unwrap().to_owned();
    let came = receiver.wait_for(2, "the attempt and its retry");
    came[1].assert_signed_with(&hook.secret);
    assert_eq!((came[0].event_id(), came[1].attempt()), (id.clone(), 2));
    client.settled(&id, "delivered");
    assert_eq!(client.total("/events?worker_id=42"), 1);
    assert_eq!(client.total("/deliveries?tag=night&status=delivered"), 1);

    server.kill_9();
    server.launch();
    let client = server.client_with(&key);
    assert_eq!(client.total("/events"), 1);
    let again = client.post("/events", &body).expect(202);
    assert_eq!(again.data()["id"], id.as_str(), "the key is remembered");
    let other = json!({"event": "clock_in", "data": clock_in(8), "id": "first"});
    client.post("/events", &other).expect(409);
    let next = client.publish("clock_in", &clock_in(9));
    assert_eq!(receiver.wait_for(3, "the next event")[2].event_id(), next);
    assert_eq!(client.settled(&id, "delivered")["attempts"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_was_acknowledged_before_a_kill_arrives_once_more_at_most() {
    let receiver = Receiver::start();
    let mut server = Server::start_on_postgres(&[]);
    let key = server.key(ALL_SCOPES);
    server.client_with(&key).subscribe(&receiver.url("/hook"), &["clock_in"]);
    let ledger = Ledger::default();
    for round in 0..3_u64 {
        for entry in 0..20 {
            let entries = [round * 100 + entry];
            assert_eq!(ledger.publish(&server.client_with(&key), &entries), Some(202));
        }
        server.kill_9();
        server.launch();
    }
    eventually("every acknowledged event arrives", || ledger.missing(&receiver.requests()).is_empty().then_some(()));
    let client = server.client_with(&key);
    client.wait_for_total("/deliveries?status=delivered", 60);
    assert_eq!(client.total("/deliveries?status=pending"), 0);
}

#[test]
fn secrets_are_encrypted_in_the_database_and_a_wrong_key_is_refused() {
    let mut server = Server::start_on_postgres(&[]);
    let hook = server.client().subscribe("https://crm.example.com/hook", &["clock_in"]);
    let sees = |server: &Server| {
        let text = format!(
            "SELECT count(*) FROM {}.subscriptions WHERE position('{}'::bytea in value) > 0",
            server.schema(),
            hook.secret
        );
        Postgres::shared().sql(&text)
    };
    assert_eq!(sees(&server), "1");
    let key = server.folder().join("sealing.key");
    assert_eq!(server.command(&["secrets", "make-key", key.to_str().unwrap()]).code, Some(0));
    server.configure(&[("storage.encryption_key_file", &format!("'{}'", key.display()))]);
    server.restart();
    assert_eq!(sees(&server), "0");
    server.terminate();
    let other = server.folder().join("other.key");
    assert_eq!(server.command(&["secrets", "make-key", other.to_str().unwrap()]).code, Some(0));
    for (path, said) in [(Some(&other), "a different key"), (None, "set storage.encryption_key_file")] {
        let value = path.map_or(String::new(), |path| format!("'{}'", path.display()));
        server.configure(&[("storage.encryption_key_file", &value)]);
        let refused = server.fail_to_start();
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
}

#[test]
fn a_socket_of_the_machine_leads_to_the_database_whatever_is_said_of_tls() {
    let receiver = Receiver::start();
    for options in ["", "sslmode=require", "sslmode=verify-full"] {
        let mut server = Server::stopped(&[]);
        server.move_to_postgres(&Postgres::shared().url_of_socket(options), &Postgres::new_schema());
        server.launch();
        let client = server.client();
        client.subscribe(&receiver.url("/hook"), &["clock_in"]);
        client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
        let looked = server.cli(&["doctor"]);
        assert!(looked.stdout.contains("/.s.PGSQL."), "{looked:?}");
    }
}
