//! A row that is damaged in a large database: the server starts without reading all of it, works, and says which row it is.

use redb::{Database, ReadableTable as _, TableDefinition};
use serde_json::json;

use crate::harness::{ALL_SCOPES, Client, Receiver, Server, clock_in, eventually};

/// Makes the database of a server that is stopped larger than what is checked as a whole at each start.
fn enlarge(database: &Database) {
    let transaction = database.begin_write().unwrap();
    let filler = TableDefinition::<u32, &[u8]>::new("filler");
    transaction.open_table(filler).unwrap().insert(1, vec![0x11; 40 << 20].as_slice()).unwrap();
    transaction.commit().unwrap();
}

/// Flips a bit in the body of the event that is the first, the second… in the database.
fn damage_event(database: &Database, place: usize) {
    let transaction = database.begin_write().unwrap();
    {
        let mut events = transaction.open_table(TableDefinition::<(u32, u128), &[u8]>::new("events")).unwrap();
        let key = events.iter().unwrap().nth(place).unwrap().unwrap().0.value();
        let mut row = events.get(key).unwrap().unwrap().value().to_vec();
        let in_the_body = row.len() - 10;
        row[in_the_body] ^= 1;
        events.insert(key, row.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn a_damaged_row_of_a_large_database_is_named_while_the_server_works_and_fails_alone() {
    let mut server = Server::start(&[("server.metrics_listen", "\"127.0.0.1:0\""), ("log.level", "\"info\"")]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::start();
    let subscription = client.subscribe(&receiver.url("/"), &["clock_in"]);
    client.change(subscription.id, &json!({"active": false}));
    let [sound, damaged, other] = [1, 2, 3].map(|n| client.publish("clock_in", &clock_in(n)));
    assert!(server.terminate().success());
    let database = Database::open(server.data_dir().join("tempclock.redb")).unwrap();
    enlarge(&database);
    damage_event(&database, 1);
    drop(database);

    server.launch();
    let client = server.client_with(&key);
    // The log has the address of the first start as well.
    let log = eventually("the log names the page again", || {
        let log = server.log();
        (log.matches("metrics at http://").count() == 2).then_some(log)
    });
    let address = log.rsplit("metrics at http://").next().unwrap().split('/').next().unwrap().parse().unwrap();
    let read = || Client::elsewhere(address).send("GET", "/metrics", &[], None).expect(200).text;
    assert!(read().contains("tempclock_pending_deliveries 3\n"), "what is pending is known from the start");
    let checked = eventually("every row was checked", || {
        let text = read();
        text.contains("tempclock_unchecked_rows 0\n").then_some(text)
    });
    assert!(checked.contains("tempclock_damaged_rows 1\n"), "{checked}");
    let said = format!("event {damaged} is damaged");
    eventually("the log names the row", || server.log().contains(&said).then_some(()));
    client.get(&format!("/events/{damaged}")).expect(500);
    client.get(&format!("/events/{sound}")).expect(200);

    client.change(subscription.id, &json!({"active": true}));
    client.settled(&sound, "delivered");
    client.settled(&other, "delivered");
    assert!(server.terminate().success());
}
