//! Commands whose output nobody reads any more, or whose disk is full, end without a fault inside.

use std::fs::File;
use std::process::{Command, Stdio};

use crate::harness::{BINARY, Server, wait_guarded};

/// Runs a command with that as stdout and stderr, and gives its exit code.
#[track_caller]
fn code(server: &Server, arguments: &[&str], out: impl Fn() -> Stdio) -> Option<i32> {
    let mut command = Command::new(BINARY);
    command.args(arguments).env("TEMPCLOCK_WEBHOOKS_CONFIG", server.config_file());
    command.stdin(Stdio::null()).stdout(out()).stderr(out());
    wait_guarded(&mut command.spawn().unwrap(), &arguments.join(" ")).code()
}

/// A pipe whose reader has gone.
fn gone() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A file on a disk without any space.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn output_that_nobody_takes_ends_a_command_without_a_fault() {
    let server = Server::stopped(&[]);
    server.key("*");
    let database = server.data_dir().join("tempclock.redb").display().to_string();
    let folder = server.folder().join("man").display().to_string();
    for (index, arguments) in [
        &["config", "check"][..],
        &["config", "show"],
        &["config", "show", "--json"],
        &["completions", "bash"],
        &["man"],
        &["man", "--output", &folder],
        &["events", "types"],
        &["keys", "list"],
        &["keys", "create", "--name", "further", "--scopes", "*"],
        &["subscriptions", "list", "--json"],
        &["verify", &database],
        &["compact"],
        &["--help"],
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(code(&server, arguments, gone), Some(0), "{arguments:?} whose reader has gone");
        let is_help = index == 12;
        let on_full = code(&server, arguments, full);
        assert!(on_full == Some(1) || is_help && on_full == Some(0), "{arguments:?} on a full disk: {on_full:?}");
    }
}

#[test]
fn a_verdict_is_kept_when_nobody_reads_it() {
    let server = Server::stopped(&[]);
    let body = server.folder().join("body");
    std::fs::write(&body, "{}").unwrap();
    let wrong =
        ["verify", "--secret", &"0".repeat(64), "--signature", &"0".repeat(64), "--file", body.to_str().unwrap()];
    assert_eq!(code(&server, &wrong, gone), Some(1));
    assert_eq!(code(&server, &["doctor"], gone), Some(1), "there is no database");
    for looks in [&["keys", "list"][..], &["keys", "revoke", "1"], &["backup", "--output", "-"]] {
        assert_eq!(code(&server, looks, gone), Some(5), "{looks:?} has made a database");
    }
}
