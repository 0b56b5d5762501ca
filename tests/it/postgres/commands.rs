//! Commands on a server in PostgreSQL: the same as ever, but for those on a file, which say what does the same there.

use crate::harness::{Server, printed};

#[test]
fn commands_on_a_file_name_the_database_s_own() {
    let server = Server::stopped_on_postgres(&[]);
    let backup = server.folder().join("backup");
    let backup = backup.to_str().unwrap();
    let key = server.folder().join("new.key");
    assert_eq!(server.command(&["secrets", "make-key", key.to_str().unwrap()]).code, Some(0));
    for (arguments, said) in [
        (vec!["backup", "--output", backup], "pg_dump"),
        (vec!["restore", "--yes", backup], "pg_restore"),
        (vec!["compact"], "VACUUM"),
        (vec!["secrets", "rotate", "--new-key-file", key.to_str().unwrap()], "next start"),
        (vec!["secrets", "decrypt", "--yes"], "next start"),
    ] {
        let output = server.cli(&arguments);
        assert_eq!(output.code, Some(1), "{arguments:?}: {output:?}");
        assert!(output.stderr.contains("is for the embedded engine") && output.stderr.contains(said), "{output:?}");
    }
}

#[test]
fn commands_work_with_a_server_and_without() {
    let mut server = Server::stopped_on_postgres(&[]);
    let first = printed(&server.cli(&["init", "--json"]));
    assert!(first["data"]["key"].is_string(), "{first}");
    assert_eq!(printed(&server.cli(&["keys", "list", "--json"]))["data"].as_array().map(Vec::len), Some(1));
    server.launch();
    server.client_with(first["data"]["key"].as_str().unwrap()).get("/webhooks").expect(200);
    assert_eq!(printed(&server.cli(&["keys", "list", "--json"]))["data"].as_array().map(Vec::len), Some(1));
    let doctor = server.cli(&["doctor"]);
    assert!(doctor.stdout.contains("PostgreSQL ") && doctor.stdout.contains("synchronous standby"), "{doctor:?}");
}
