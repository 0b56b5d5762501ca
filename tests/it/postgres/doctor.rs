//! `doctor` says what would make a database slow, unsafe or useless, and how to mend it.

use crate::harness::{Output, Postgres, Server, WallClock, eventually};

fn on(database: &Postgres) -> Server {
    let mut server = Server::stopped(&[]);
    server.move_to_postgres(&database.url(), "tempclock_webhooks");
    server.launch();
    assert!(server.terminate().success());
    server
}

#[track_caller]
fn says(output: &Output, all: &[&str]) {
    let text = output.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for said in all {
        assert!(text.contains(said), "{said:?} is not in {output:?}");
    }
}

#[track_caller]
fn says_nothing_of(output: &Output, all: &[&str]) {
    for said in all {
        assert!(!output.stdout.contains(said), "{said:?} is in {output:?}");
    }
}

#[test]
fn a_database_that_loses_or_keeps_waiting_is_a_problem() {
    let database = Postgres::start();
    let server = on(&database);
    let doctor = || server.cli(&["doctor"]);
    let set = |setting: &str| {
        database.sql(&format!("ALTER SYSTEM SET {setting}"));
        database.sql("SELECT pg_reload_conf()");
    };
    let sound = doctor();
    says(&sound, &["database: PostgreSQL ", "schema tempclock_webhooks; no synchronous standby"]);
    says_nothing_of(&sound, &["fsync", "autovacuum", "replication slot", "clock is", "connections are left"]);
    set("full_page_writes = off");
    set("autovacuum = off");
    set("synchronous_standby_names = 'nobody'");
    database.sql("SELECT pg_create_physical_replication_slot('left_over', true)");
    eventually("the settings hold", || (database.sql("SHOW autovacuum") == "off").then_some(()));
    let output = doctor();
    assert_eq!(output.code, Some(1), "{output:?}");
    says(
        &output,
        &[
            "problem database: fsync or full_page_writes is off",
            "problem database: autovacuum is off",
            "problem database: commits wait for 1 standby of synchronous_standby_names = 'nobody', and 0 of them",
            "warning database: no standby reads the replication slot left_over",
        ],
    );
}

#[test]
fn hosts_that_are_of_no_use_or_take_writes_beside_the_primary_are_named() {
    let mut primary = Postgres::start();
    let standby = primary.standby(None);
    primary.wait_for_standby();
    let mut server = on(&primary);
    server.move_to_postgres(&primary.url_with(&standby), "tempclock_webhooks");
    let sound = server.cli(&["doctor"]);
    says(&sound, &["commits wait for a standby"]);
    says_nothing_of(&sound, &["host localhost", "all accept writes", "of them is connected"]);
    primary.kill_9();
    standby.promote();
    says(&server.cli(&["doctor"]), &["warning database: host localhost:", "cannot be used", "no synchronous standby"]);
    primary.start_again();
    says(&server.cli(&["doctor"]), &["all accept writes, so one of them is a former primary"]);
}

#[test]
fn a_user_with_few_connections_or_rights_and_dead_rows_and_a_wrong_clock_are_named() {
    let database = Postgres::shared();
    let mut server = Server::start_on_postgres(&[]);
    assert!(server.terminate().success());
    let schema = server.schema().to_owned();
    says_nothing_of(&server.cli(&["doctor"]), &["dead rows", "connections are left", "may not read", "clock is"]);
    database.sql(&format!("ALTER TABLE {schema}.find SET (autovacuum_enabled = off)"));
    // In one transaction, so that both are counted in this order.
    database.sql(&format!(
        "INSERT INTO {schema}.find SELECT n, gen_random_uuid(), '' FROM generate_series(1, 120000) n; \
         DELETE FROM {schema}.find"
    ));
    let seen = format!(
        "SELECT n_dead_tup > 100000 FROM pg_stat_user_tables WHERE schemaname = '{schema}' AND relname = 'find'"
    );
    eventually("the dead rows are counted", || (database.sql(&seen) == "t").then_some(()));
    let clock = WallClock::of(&mut server);
    clock.set(60);
    says(
        &server.cli(&["doctor"]),
        &["table find has", "dead rows and 0 live", "the database server's clock is", "s behind this machine's"],
    );
    clock.set(0);
    let role = format!("of_{schema}");
    database.sql(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'few' CONNECTION LIMIT 5; GRANT USAGE ON SCHEMA {schema} TO {role}"
    ));
    server.move_to_postgres(&database.url_of(&role, "few", "postgres", "sslmode=disable"), &schema);
    let output = server.cli(&["doctor"]);
    says(&output, &["may not read and write", "Make it the owner", "connections are left, and a server needs 11"]);
    assert_eq!(output.code, Some(1), "{output:?}");
}
