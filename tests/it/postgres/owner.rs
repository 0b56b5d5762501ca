//! One server writes to a schema at a time, and one that was taken over acknowledges nothing.

use serde_json::json;

use crate::harness::{Postgres, Server, clock_in, eventually};

#[test]
fn a_server_that_was_taken_over_acknowledges_nothing_and_ends() {
    let mut server = Server::start_on_postgres(&[]);
    let client = server.client();
    Postgres::shared().sql(&format!("UPDATE {}.owner SET epoch = epoch + 1", server.schema()));
    let body = json!({"event": "clock_in", "data": clock_in(1)}).to_string();
    let headers = [("Content-Type", "application/json")];
    // It may have ended before it could answer.
    if let Ok(answer) = client.try_send("POST", "/api/v1/events", &headers, Some(body.as_bytes())) {
        assert_eq!(answer.status, 503, "{answer:?}");
    }
    let status = server.wait_for_exit();
    assert_eq!(status.code(), Some(74), "{}", server.log());
    assert!(server.log().contains("was taken over by another process"), "{}", server.log());
    assert_eq!(Postgres::shared().sql(&format!("SELECT count(*) FROM {}.events", server.schema())), "0");
}

#[test]
fn a_server_that_nobody_asks_anything_notices_that_it_was_taken_over() {
    let mut server = Server::start_on_postgres(&[]);
    Postgres::shared().sql(&format!("UPDATE {}.owner SET epoch = epoch + 1", server.schema()));
    let status = eventually("it ends", || server.has_exited());
    assert_eq!(status.code(), Some(74));
}
