//! `storage copy`: a store goes from a file to PostgreSQL and back, and is the same for everybody.

use std::fs;

use crate::harness::{ALL_SCOPES, Output, Postgres, Server, clock_in};

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
    refused(&copy(&database, &file), 1, &["tempclock.redb is there already", "storage.data_dir"]);
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
