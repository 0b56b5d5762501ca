//! Any of several servers answers everything: what one on standby is asked, the active one executes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use crate::harness::{ALL_SCOPES, Ledger, Postgres, Receiver, Server, clock_in, eventually, parse_answer, printed};
use crate::operate::metrics::page;

/// An active server and one on standby.
fn two(overrides: &[(&str, &str)]) -> [Server; 2] {
    let first = Server::start_on_postgres(overrides);
    let mut second = Server::stopped_on_postgres(overrides);
    second.move_to_postgres(&Postgres::shared().url(), first.schema());
    second.launch();
    eventually("the second one knows of the first", || second.log().contains("on standby for").then_some(()));
    [first, second]
}

#[test]
fn what_is_done_at_one_server_is_seen_at_the_other() {
    let receiver = Receiver::start();
    let [first, second] = two(&[]);
    let key = second.key(ALL_SCOPES);
    let (active, standby) = (first.client_with(&key), second.client_with(&key));
    let hook = standby.subscribe(&receiver.url("/hook"), &["clock_in"]);
    let event = standby.publish("clock_in", &clock_in(1));
    receiver.wait_for(1, "the event")[0].assert_signed_with(&hook.secret);
    active.settled(&event, "delivered");
    standby.settled(&event, "delivered");
    let body = json!({"event": "clock_in", "data": clock_in(2), "id": "twice"}).to_string();
    let [one, other] = [&active, &standby].map(|client| client.post_text("/events", &body).expect(202));
    assert_eq!(one.data()["id"], other.data()["id"]);
    active.change(hook.id, &json!({"active": false}));
    assert_eq!(standby.subscription(hook.id)["active"], false);
    standby.delete(&format!("/webhooks/{}", hook.id)).expect(200);
    active.get(&format!("/webhooks/{}", hook.id)).expect(404);
    // Refusals are those of the active one, too.
    standby.get("/webhooks/7").expect(404).expect_error("not_found");
    standby.post_text("/events", "{").expect(400);
    second.client_with("tck_nothing").get("/webhooks").expect(401).expect_error("unauthorized");
    standby.send("GET", "/nowhere", &[], None).expect(404);
    let named = standby.send("GET", "/api/v1/events?limit=1", &[("X-Request-Id", "mine")], None);
    assert_eq!(named.header("x-request-id"), Some("mine"));
    assert!(named.header("x-ratelimit-remaining").is_some(), "{named:?}");
}

#[test]
fn a_revoked_key_ends_at_every_server_at_once() {
    let [first, second] = two(&[]);
    let made = first.create_key(&["--name", "short", "--scopes", "events:read"]);
    let (id, key) = (format!("id:{}", made["id"]), made["key"].as_str().unwrap());
    second.client_with(key).get("/events").expect(200);
    let revoked = first.cli(&["keys", "revoke", &id]);
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    second.client_with(key).get("/events").expect(401);
}

#[test]
fn the_address_of_a_caller_is_its_own_whichever_server_it_asks() {
    let [_first, second] = two(&[]);
    for (network, status) in [("127.0.0.0/8", 200), ("10.0.0.0/8", 401)] {
        let made = second.create_key(&["--name", "near", "--scopes", "events:read", "--networks", network]);
        second.client_with(made["key"].as_str().unwrap()).get("/events").expect(status);
    }
}

#[test]
fn long_bodies_and_answers_go_through_whole() {
    let [first, second] = two(&[]);
    let key = second.key(ALL_SCOPES);
    let client = second.client_with(&key);
    let long = "x".repeat(200_000);
    let mut data = clock_in(1);
    data["note"] = json!(long);
    let events: Vec<_> = (0..8).map(|_| json!({"event": "clock_in", "data": data})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
    let answer = client.get("/events?limit=8").expect(200);
    let direct = first.client_with(&key).get("/events?limit=8").expect(200);
    assert_eq!(answer.json["data"], direct.json["data"]);
    // A stream without a length.
    let [here, there] = [&second, &first].map(|server| server.cli(&["evidence", "--worker", "42", "--format", "csv"]));
    assert_eq!((here.code, there.code), (Some(0), Some(0)), "{}", here.stderr);
    assert_eq!(here.stdout.lines().count(), there.stdout.lines().count());
    assert!(here.stdout.lines().count() > 8, "{}", here.stdout.lines().count());
}

#[test]
fn commands_work_at_every_server_and_nodes_list_shows_them_all() {
    let [mut first, second] = two(&[("server.metrics_listen", "'127.0.0.1:0'"), ("log.level", "'info'")]);
    for server in [&first, &second] {
        let listed = printed(&server.cli(&["nodes", "list", "--json"]));
        let rows = listed["data"].as_array().unwrap();
        let states: Vec<&str> = rows.iter().map(|row| row["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["active", "standby"], "{listed}");
        assert!(rows[0]["node"].as_str().unwrap().contains(&format!("process {} on ", first.pid())), "{listed}");
        assert!(rows[1]["node"].as_str().unwrap().contains(&format!("process {} on ", second.pid())), "{listed}");
        assert!(rows[0]["lease_s"].as_f64().is_some_and(|left| left > 0.0 && left <= 8.0), "{listed}");
        assert_eq!(
            (&rows[0]["lag_s"], &rows[1]["lag_s"], &rows[1]["lease_s"]),
            (&json!(0.0), &json!(null), &json!(null))
        );
        let table = server.cli(&["nodes", "list"]);
        assert!(table.stdout.starts_with("NODE") && table.stdout.contains("standby"), "{table:?}");
    }
    let page = page(&first).send("GET", "/metrics", &[], None).expect(200).text;
    for line in
        ["tempclock_servers{state=\"active\"} 1", "tempclock_servers{state=\"standby\"} 1", "tempclock_lease_seconds "]
    {
        assert!(page.contains(line), "{line:?} is not in {page}");
    }
    assert!(first.terminate().success());
    eventually("the other one is alone", || {
        let listed = second.cli(&["nodes", "list", "--json"]);
        (listed.code == Some(0) && printed(&listed)["data"].as_array().is_some_and(|rows| rows.len() == 1))
            .then_some(())
    });
}

#[test]
fn who_publishes_at_a_server_on_standby_loses_nothing_when_the_active_one_is_killed() {
    let receiver = Receiver::start();
    let [mut first, second] = two(&[("storage.free_space_reserve", "'0B'")]);
    let key = first.key(ALL_SCOPES);
    first.client_with(&key).subscribe(&receiver.url("/hook"), &["clock_in"]);
    let (ledger, client, is_killed) = (Ledger::default(), second.client_with(&key), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for entry in 0..60_u64 {
                if entry == 20 {
                    is_killed.store(true, Ordering::SeqCst);
                }
                // A careful publisher: what was not acknowledged it sends again under the same key.
                eventually("it is acknowledged", || match ledger.publish(&client, &[entry]) {
                    Some(202) => Some(()),
                    Some(503) | None => None,
                    other => panic!("{other:?}"),
                });
            }
        });
        eventually("some are published", || is_killed.load(Ordering::SeqCst).then_some(()));
        first.kill_9();
    });
    client.wait_for_total("/deliveries?status=delivered", 60);
    let came = receiver.requests();
    assert_eq!(ledger.faults(&came, |_| true), [""; 0]);
}

/// Has a table of that schema do this with each row that is put into it.
fn with_each_row(schema: &str, table: &str, what: &str) {
    Postgres::shared().sql(&format!(
        "CREATE FUNCTION {schema}.of_{table}() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {what} END'; \
         CREATE TRIGGER of_{table} BEFORE INSERT ON {schema}.{table} FOR EACH ROW EXECUTE FUNCTION {schema}.of_{table}()"
    ));
}

/// Keeps a copy of each row, in a table of that name with `seen_` before it.
fn watch(schema: &str, table: &str) {
    Postgres::shared().sql(&format!("CREATE TABLE {schema}.seen_{table} (line text)"));
    with_each_row(
        schema,
        table,
        &format!("INSERT INTO {schema}.seen_{table} VALUES (encode(NEW.{}, ''escape'')); RETURN NEW;", value_of(table)),
    );
}

fn value_of(table: &str) -> &'static str {
    if table == "requests" { "message" } else { "value" }
}

#[test]
fn an_answer_that_is_lost_with_the_active_server_is_unknown_and_its_repeat_makes_no_second_event() {
    let [mut first, second] = two(&[]);
    let key = second.key(ALL_SCOPES);
    let (active, standby) = (first.client_with(&key), second.client_with(&key));
    with_each_row(first.schema(), "answers", "RETURN NULL;");
    let body = json!({"event": "clock_in", "data": clock_in(1), "id": "once"}).to_string();
    let lost = thread::scope(|scope| {
        let asked = scope.spawn(|| standby.post_text("/events", &body));
        active.wait_for_total("/events", 1);
        first.kill_9();
        asked.join().unwrap()
    });
    assert_eq!((lost.status, &lost.json["code"]), (503, &json!("store_failed")), "{}", lost.text);
    assert!(lost.json["message"].as_str().unwrap().contains("idempotency key"), "{}", lost.text);
    let json = [("Content-Type", "application/json")];
    let repeated = eventually("the other one is active", || {
        // A connection that was kept ends when it takes over, maybe just now.
        let answered = standby.try_send("POST", "/api/v1/events", &json, Some(body.as_bytes()));
        answered.ok().filter(|answer| answer.status == 202)
    });
    assert_eq!(standby.total("/events"), 1, "{}", repeated.text);
}

#[test]
fn what_servers_hand_to_each_other_is_nowhere_in_the_database_as_it_is() {
    let [first, second] = two(&[]);
    let key = second.key(ALL_SCOPES);
    for table in ["requests", "answers"] {
        watch(first.schema(), table);
    }
    let mut data = clock_in(1);
    data["note"] = json!("a word that nobody reads");
    let event = second.client_with(&key).publish("clock_in", &data);
    second.client_with(&key).get(&format!("/events/{event}")).expect(200);
    let made = second.create_key(&["--name", "new", "--scopes", "events:read"]);
    let made = made["key"].as_str().unwrap();
    for table in ["requests", "answers"] {
        let count = |like: &str| {
            let condition = format!("position('{like}' IN line) > 0");
            Postgres::shared().sql(&format!("SELECT count(*) FROM {}.seen_{table} WHERE {condition}", first.schema()))
        };
        assert_ne!(count(""), "0");
        for secret in [key.as_str(), made, "a word that nobody reads", "authorization", "clock_in"] {
            assert_eq!(count(secret), "0", "{secret} in {table}");
        }
    }
}

#[test]
fn a_caller_that_reads_late_gets_the_whole_answer_and_holds_up_nobody() {
    let [first, second] = two(&[("server.request_timeout", "'10m'")]);
    let key = second.key(ALL_SCOPES);
    let (active, client) = (first.client_with(&key), second.client_with(&key));
    let mut data = clock_in(1);
    data["note"] = json!("x".repeat(200_000));
    let events: Vec<_> = (0..8).map(|_| json!({"event": "clock_in", "data": data})).collect();
    active.post("/events/batch", &json!({"events": events})).expect(202);
    let direct = active.get("/events?limit=8").expect(200);
    let ask = format!(
        "GET /api/v1/events?limit=8 HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    );
    let mut late: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(second.address()).unwrap()).collect();
    for stream in &mut late {
        stream.write_all(ask.as_bytes()).unwrap();
    }
    assert_eq!(client.total("/events"), 8);
    for mut stream in late {
        let mut whole = Vec::new();
        stream.read_to_end(&mut whole).unwrap();
        let answer = parse_answer(&whole).unwrap();
        assert_eq!(answer.header("content-length"), direct.header("content-length"));
        assert_eq!(answer.json["data"], direct.json["data"]);
    }
    let left = format!("SELECT count(*) FROM {}.answers", first.schema());
    eventually("nothing is left behind", || (Postgres::shared().sql(&left) == "0").then_some(()));
}

#[test]
fn what_is_under_way_is_answered_when_the_active_server_stops() {
    let [mut first, second] = two(&[]);
    let client = second.client_with(&second.key("webhooks:write,feed:read"));
    let hook = client.post("/webhooks", &json!({"mode": "pull", "events": ["clock_in"]})).expect(201);
    watch(first.schema(), "requests");
    let waiting = format!("/feeds/{}?wait=30s", hook.data()["id"]);
    let schema = first.schema().to_owned();
    let count = |table: &str| Postgres::shared().sql(&format!("SELECT count(*) FROM {schema}.{table}"));
    let answer = thread::scope(|scope| {
        let asked = scope.spawn(|| client.get(&waiting));
        eventually("the request has come", || (count("seen_requests") == "1").then_some(()));
        eventually("it is taken", || (count("requests") == "0").then_some(()));
        assert!(first.terminate().success(), "{}", first.log());
        asked.join().unwrap()
    });
    assert_eq!((answer.status, answer.rows().len()), (200, 0), "{}", answer.text);
}
