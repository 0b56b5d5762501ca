//! What commands print fits the terminal; those whose output nobody reads any more, or whose disk is full, end without
//! a fault inside.

use std::fs::File;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::{BINARY, Server, clock_in, run, wait_guarded};

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
fn every_manual_page_is_written_also_when_nobody_reads_the_list_of_them() {
    let server = Server::stopped(&[]);
    let count = |name: &str, out: fn() -> Stdio| {
        let folder = server.folder().join(name);
        code(&server, &["man", "--output", folder.to_str().unwrap()], out);
        std::fs::read_dir(folder).unwrap().count()
    };
    let all = count("heard", Stdio::null);
    assert!(all > 40, "{all}");
    assert_eq!(count("unheard", gone), all);
    assert_eq!(count("full", full), all);
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

#[test]
fn lists_show_every_column_in_80_characters() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1h"]"#)]);
    let client = server.client();
    let subscription = client.subscribe("http://127.0.0.1:1/hook", &["clock_in"]).id.to_string();
    let event = client.publish("clock_in", &clock_in(1));
    let id = client.delivery_ids(&event).remove(0);
    let delivery = client.wait_for_delivery(&id, "has failed once", |delivery| delivery["attempt_count"] == 1);
    let config = server.config_file();
    let next = &delivery["next_attempt_at"].as_str().unwrap()[..19];
    for (arguments, wanted) in [
        (&["deliveries", "list"][..], &[id.as_str(), "pending", "clock_in", next, "no connection to the endpoint"][..]),
        (&["subscriptions", "list"], &[&subscription, "failing", "clock_in", "http://127.0.0.1:1/hook"]),
        (
            &["subscriptions", "show", &subscription],
            &[&id, "failed", "no connection to the endpoint", "check that it runs", next],
        ),
        (&["events", "list"], &[&event, "clock_in", "entry_id"]),
        (&["events", "show", &event], &[&event, &id, "pending"]),
        (&["events", "types"], &["document_expired", "expired_on"]),
        (&["keys", "list"], &["tests", "active", "webhooks:read", "all", "never"]),
    ] {
        let all = [arguments, &["--config", config.to_str().unwrap()]].concat();
        let narrow = run(&all, &[("COLUMNS", "80")]);
        assert_eq!((narrow.code, narrow.stderr.as_str()), (Some(0), ""), "{narrow:?}");
        // JSON of one event stays whole, so that it can be copied.
        let is_narrow = |line: &str| line.chars().count() <= 80 || line.starts_with("data ");
        assert!(narrow.stdout.lines().all(is_narrow), "{arguments:?}: {}", narrow.stdout);
        let wide = run(&all, &[]);
        for text in wanted {
            assert!(narrow.stdout.contains(text), "{arguments:?} lacks {text}: {}", narrow.stdout);
            assert!(wide.stdout.contains(text), "{arguments:?} lacks {text}: {}", wide.stdout);
        }
    }
    let many = json!({"event": "clock_in", "data": {"entry_id": 1, "worker_id": 1, "location_id": 1, "worker_name": "x".repeat(500), "clock_in": "2026-03-02T08:00:00Z"}});
    client.post("/events", &many).expect(202);
    let long = run(&["events", "list", "--config", config.to_str().unwrap()], &[("COLUMNS", "80")]);
    assert!(long.stdout.lines().all(|line| line.chars().count() <= 80) && long.stdout.contains('…'), "{}", long.stdout);
}
