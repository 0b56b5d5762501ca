//! A database that cannot be used is refused with a sentence, and nothing is written there.

use crate::harness::{Authority, Output, Postgres, Server, WallClock};

/// Starts a server with that URL where it must fail.
#[track_caller]
fn refused(url: &str, code: i32, said: &[&str]) -> Output {
    let schema = Postgres::new_schema();
    let mut server = Server::stopped_on_postgres(&[]);
    server.move_to_postgres(url, &schema);
    refused_by(&server, code, said)
}

#[track_caller]
fn refused_by(server: &Server, code: i32, said: &[&str]) -> Output {
    let before = tables(server.schema());
    let output = server.fail_to_start();
    assert_eq!(output.code, Some(code), "{output:?}");
    for said in said {
        assert!(output.stderr.contains(said), "{said:?} is not in {}", output.stderr);
    }
    assert!(!output.stderr.contains("secret of the tests"), "{output:?}");
    assert_eq!(tables(server.schema()), before, "something was written");
    output
}

fn tables(schema: &str) -> String {
    Postgres::shared().sql(&format!(
        "SELECT string_agg(relname || ' ' || relkind::text, ',' ORDER BY relname) FROM pg_class WHERE relnamespace = \
         (SELECT oid FROM pg_namespace WHERE nspname = '{schema}')"
    ))
}

#[test]
fn a_login_that_is_not_right_is_refused() {
    let database = Postgres::shared();
    refused(
        &database.url_of("postgres", "wrong", "postgres", "sslmode=disable"),
        3,
        &["refuses the login", "url_file"],
    );
    let unknown = database.url_of("postgres", "secret of the tests", "nowhere", "sslmode=disable");
    refused(&unknown, 3, &["no such database", "createdb"]);
    refused("postgres://postgres:x@127.0.0.1:1/postgres", 74, &["cannot be reached", "127.0.0.1:1"]);
    refused("mysql://postgres@localhost/postgres", 3, &["postgres://user:password@host"]);
}

#[test]
fn a_user_without_rights_is_refused() {
    let database = Postgres::shared();
    database.sql("CREATE ROLE reader LOGIN PASSWORD 'reader'");
    refused(&database.url_of("reader", "reader", "postgres", "sslmode=disable"), 3, &["lacks rights", "GRANT"]);
    let mut server = Server::start_on_postgres(&[]);
    server.terminate();
    let schema = server.schema().to_owned();
    database.sql(&format!(
        "GRANT USAGE ON SCHEMA {schema} TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader"
    ));
    server.move_to_postgres(&database.url_of("reader", "reader", "postgres", "sslmode=disable"), &schema);
    refused_by(&server, 3, &["lacks rights", &schema]);
}

#[test]
fn a_schema_of_something_else_or_of_a_newer_version_is_refused() {
    let database = Postgres::shared();
    let server = Server::stopped_on_postgres(&[]);
    let schema = server.schema();
    database.sql(&format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.invoices (id int)"));
    refused_by(&server, 3, &["is not one of tempclock-webhooks", "invoices", "storage.postgres.schema"]);
    database.sql(&format!("CREATE TABLE {schema}.store (id int)"));
    refused_by(&server, 3, &["is not one of tempclock-webhooks"]);
    let mut newer = Server::start_on_postgres(&[]);
    newer.terminate();
    database.sql(&format!("UPDATE {}.store SET format = 99", newer.schema()));
    refused_by(&newer, 3, &["format 99", "install the newer version"]);
}

#[test]
fn an_empty_schema_of_the_user_is_taken() {
    let database = Postgres::shared();
    database.sql("CREATE ROLE owner_of_one LOGIN PASSWORD 'owner'");
    let mut server = Server::stopped_on_postgres(&[]);
    let schema = server.schema().to_owned();
    database.sql(&format!("CREATE SCHEMA {schema} AUTHORIZATION owner_of_one"));
    server.move_to_postgres(&database.url_of("owner_of_one", "owner", "postgres", "sslmode=disable"), &schema);
    server.launch();
    server.client().get("/webhooks").expect(200);
}

#[test]
fn a_database_that_takes_no_writes_or_has_no_connections_left_is_refused() {
    let database = Postgres::shared();
    database.sql("CREATE ROLE idle LOGIN PASSWORD 'idle'; ALTER ROLE idle SET default_transaction_read_only = on");
    refused(&database.url_of("idle", "idle", "postgres", "sslmode=disable"), 74, &["is read-only", "standby"]);
    database.sql("CREATE ROLE few LOGIN PASSWORD 'few' CONNECTION LIMIT 4; GRANT CREATE ON DATABASE postgres TO few");
    let output = {
        let schema = Postgres::new_schema();
        let mut server = Server::stopped_on_postgres(&[]);
        server.move_to_postgres(&database.url_of("few", "few", "postgres", "sslmode=disable"), &schema);
        server.fail_to_start()
    };
    assert_eq!(output.code, Some(74), "{output:?}");
    assert!(output.stderr.contains("too few connections") && output.stderr.contains("max_connections"), "{output:?}");
}

#[test]
fn tls_that_does_not_fit_is_refused_and_one_that_fits_is_used() {
    let database = Postgres::shared();
    let of = |options: &str| database.url_of("postgres", "secret of the tests", "postgres", options);
    let folder = tempfile::tempdir().unwrap();
    let other = Authority::new().write_to(folder.path());
    refused(
        &of(&format!("sslmode=verify-full&sslrootcert={}", other.display())),
        3,
        &["TLS with PostgreSQL", "sslrootcert"],
    );
    refused(&of("sslmode=verify-full&sslrootcert=/nowhere.pem"), 3, &["/nowhere.pem cannot be used"]);
    refused(&of("sslmode=sometimes"), 3, &["sslmode is none of"]);
    let mut server = Server::stopped_on_postgres(&[]);
    let schema = server.schema().to_owned();
    let fits = of(&format!("sslmode=verify-full&sslrootcert={}", database.authority().display()));
    server.move_to_postgres(&fits, &schema);
    server.launch();
    server.client().get("/webhooks").expect(200);
    let encrypted = database.sql(
        "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'tempclock-webhooks' AND ssl",
    );
    assert_eq!(encrypted, "t");
}

#[test]
fn a_clock_that_is_an_hour_off_is_refused() {
    let mut server = Server::stopped_on_postgres(&[]);
    let clock = WallClock::of(&mut server);
    clock.set(3600);
    refused_by(&server, 74, &["the clock of the database server", "apart"]);
    clock.set(0);
    server.launch();
}
