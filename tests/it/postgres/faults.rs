//! What becomes of a server whose database goes away and comes back.

use crate::harness::{ALL_SCOPES, Ledger, Postgres, Receiver, Server, clock_in, eventually};

/// Ends the connections of a server's writer and readers, as an administrator or a restart does.
fn cut_connections(of: &Postgres) {
    of.sql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'tempclock-webhooks'",
    );
}

#[test]
fn a_server_goes_on_when_its_idle_connections_were_ended() {
    let mut database = Postgres::start();
    let receiver = Receiver::start();
    let mut server = Server::stopped(&[]);
    server.move_to_postgres(&database.url(), "tempclock_webhooks");
    server.launch();
    let client = server.client();
    client.subscribe(&receiver.url("/hook"), &["clock_in"]);
    client.settled(&client.publish("clock_in", &clock_in(1)), "delivered");
    cut_connections(&database);
    client.settled(&client.publish("clock_in", &clock_in(2)), "delivered");
    database.restart();
    client.settled(&client.publish("clock_in", &clock_in(3)), "delivered");
    assert_eq!(client.total("/events"), 3);
    assert!(server.terminate().success(), "{}", server.log());
}

#[test]
fn what_was_acknowledged_is_there_whenever_the_connection_ended() {
    let database = Postgres::start();
    let receiver = Receiver::start();
    let mut server = Server::stopped(&[]);
    server.move_to_postgres(&database.url(), "tempclock_webhooks");
    server.launch();
    let key = server.key(ALL_SCOPES);
    server.client_with(&key).subscribe(&receiver.url("/hook"), &["clock_in"]);
    let ledger = Ledger::default();
    let mut unanswered = Vec::new();
    for entry in 0..60 {
        if entry % 20 == 10 {
            cut_connections(&database);
        }
        if ledger.publish(&server.client_with(&key), &[entry]) != Some(202) {
            unanswered.push(entry);
        }
        if server.has_exited().is_some() {
            assert_eq!(server.wait_for_exit().code(), Some(74), "{}", server.log());
            server.launch();
        }
    }
    // Whoever got no answer asks again under the same key.
    for entry in unanswered {
        let published = eventually("the server takes it", || {
            if server.has_exited().is_some() {
                server.wait_for_exit();
                server.launch();
            }
            ledger.publish(&server.client_with(&key), &[entry])
        });
        assert!([200, 202].contains(&published), "{published}");
    }
    eventually("every event arrives", || ledger.missing(&receiver.requests()).is_empty().then_some(()));
    assert_eq!(server.client_with(&key).total("/events"), 60);
}
