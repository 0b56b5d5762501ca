//! Backups, restores and starts on disks that are full, small, or unable to do something: they take the room that they
//! need and not more, and say what to do.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::harness::{ALL_SCOPES, Client, DiskKind, Fault, Ledger, Output, Server, SmallDisk, clock_in, was_injected};

const MIB: u64 = 1024 * 1024;
const DATABASE: &str = "tempclock.redb";

const EVENTS: u64 = 10_000;

/// Some MiB of events.
fn fill_with_events(client: &Client) {
    for first in (0..EVENTS).step_by(1000) {
        let event = |entry: u64| json!({"event": "clock_in", "data": clock_in(entry)});
        let events: Vec<_> = (first..first + 1000).map(event).collect();
        client.post("/events/batch", &json!({"events": events})).expect(202);
    }
}

/// Returns when the find index, which is made behind the events and takes room too, has all of them. Each commit adds at
/// least 32 events to it.
fn index_all(client: &Client) {
    let id = client.subscribe("https://crm.example.com/", &["shift_created"]).id;
    for number in 0..EVENTS / 32 {
        client.put(&format!("/webhooks/{id}"), &json!({"description": number.to_string()})).expect(200);
    }
}

fn backup(server: &Server, file: &Path) -> Output {
    server.cli(&["backup", "--output", file.to_str().unwrap()])
}

fn restore(server: &Server, file: &Path) -> Output {
    server.cli(&["restore", "--yes", file.to_str().unwrap()])
}

/// The words before a command with which a file cannot have two names, and a further fault.
fn without_links(trace: &Path, further: &[&str]) -> Vec<String> {
    let trace = trace.to_str().unwrap();
    let words = ["strace", "-D", "-f", "-o", trace, "-e", "trace=link,linkat,rename", "-e"];
    let words = words.iter().chain(&["inject=link,linkat:error=EPERM"]).chain(further);
    words.map(|word| (*word).to_owned()).collect()
}

#[test]
fn a_restore_works_where_a_file_cannot_have_two_names_and_wherever_it_is_cut_off() {
    let mut server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let ledger = Ledger::default();
    assert_eq!(ledger.publish(&server.client_with(&key), &[1, 2, 3]), Some(202));
    let (file, trace) = (server.folder().join("a.bak"), server.folder().join("trace"));
    assert_eq!(backup(&server, &file).code, Some(0));
    assert!(server.terminate().success());
    let mut cuts = 0;
    loop {
        let cut = format!("inject=rename:signal=KILL:when={}", cuts + 1);
        let words = without_links(&trace, &["-e", &cut]);
        server.inside(words);
        let restored = restore(&server, &file);
        server.inside(Vec::new());
        assert!(was_injected(&trace));
        if restored.code == Some(0) {
            let line = restored.stdout.lines().find(|line| line.contains("is kept as")).unwrap();
            let kept = line.split("is kept as ").nth(1).unwrap().trim_end_matches('.');
            let verified = server.command(&["verify", kept]);
            assert_eq!(verified.code, Some(0), "{verified:?}");
            break;
        }
        cuts += 1;
        if server.data_dir().join(DATABASE).exists() {
            server.launch();
        } else {
            // Never taken for a first start.
            let refused = server.fail_to_start();
            assert!(refused.stderr.contains("is missing"), "{refused:?}");
            assert_eq!(restore(&server, &file).code, Some(0));
            server.launch();
        }
        assert_eq!(server.client_with(&key).total("/events"), 3, "after cut {cuts}");
        assert!(server.terminate().success());
    }
    assert!(cuts >= 3, "only {cuts} renames");
    server.launch();
    assert_eq!(server.client_with(&key).total("/events"), 3);
}

#[test]
fn a_restore_takes_the_room_that_it_needs_and_gives_it_back_when_there_is_less() {
    let mut server = Server::stopped(&[("storage.free_space_reserve", r#""0""#)]);
    let Some(disk) = SmallDisk::under(&mut server, DiskKind::Tmpfs, 64 * MIB) else { return };
    let [small, large] = ["small.bak", "large.bak"].map(|name| server.folder().join(name));
    server.launch();
    let key = server.key(ALL_SCOPES);
    assert_eq!(backup(&server, &small).code, Some(0));
    fill_with_events(&server.client_with(&key));
    assert_eq!(backup(&server, &large).code, Some(0));
    assert!(server.terminate().success());
    let size = fs::metadata(&large).unwrap().len();

    disk.fill_up_to(size / 2);
    let refused = restore(&server, &large);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("nothing was changed"), "{refused:?}");
    disk.clear();

    // How much a database of so few rows takes is not known before.
    disk.fill_up_to(32 * 1024);
    let before = disk.free();
    let refused = restore(&server, &small);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("became full") && refused.stderr.contains("Free some space"), "{refused:?}");
    assert_eq!(disk.free(), before, "something is left of it");
    disk.clear();

    disk.fill_up_to(size + size / 2);
    let restored = restore(&server, &large);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    disk.clear();
    server.launch();
    assert_eq!(server.client_with(&key).total("/events"), EVENTS);
}

#[test]
fn a_backup_takes_the_room_that_it_needs_and_never_what_is_kept_for_the_server() {
    const RESERVE: u64 = 8 * MIB;
    let mut server = Server::stopped(&[("storage.free_space_reserve", r#""8MiB""#)]);
    let Some(disk) = SmallDisk::under(&mut server, DiskKind::Tmpfs, 96 * MIB) else { return };
    server.launch();
    let client = server.client();
    fill_with_events(&client);
    index_all(&client);
    let elsewhere = server.folder().join("a.bak");
    assert_eq!(backup(&server, &elsewhere).code, Some(0));
    let size = fs::metadata(&elsewhere).unwrap().len();
    let length = fs::metadata(disk.path(DATABASE)).unwrap().len();
    let beside = server.data_dir().join("a.bak");
    assert!(size + size / 4 < length, "a file of {length} bytes is as long as what it holds");

    for is_running in [true, false] {
        disk.fill_up_to(RESERVE + size / 2);
        let refused = backup(&server, &beside);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("does not fit") && refused.stderr.contains("free some space"), "{refused:?}");
        let names: Vec<_> = fs::read_dir(disk.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().contains("bak")), "{names:?}");
        disk.clear();

        disk.fill_up_to(RESERVE + 2 * MIB + size);
        let made = backup(&server, &beside);
        assert_eq!(made.code, Some(0), "{made:?}");
        fs::remove_file(disk.path("a.bak")).unwrap();
        disk.clear();
        if is_running {
            assert!(server.terminate().success());
        }
    }
}

#[test]
fn a_full_disk_or_quota_that_keeps_the_database_from_being_opened_is_told_with_what_to_do() {
    let mut server = Server::start(&[]);
    server.kill_9();
    let (trace, database) = (server.folder().join("trace"), server.data_dir().join(DATABASE));
    for (error, said) in [("error=EDQUOT", "quota exceeded"), ("error=ENOSPC", "No space left on device")] {
        let fault = Fault { call: "pwrite64", what: error, number: 1 };
        let words = fault.words(&trace, std::slice::from_ref(&database));
        server.inside(words);
        for refused in [server.fail_to_start(), server.cli(&["compact"])] {
            assert!(was_injected(&trace));
            assert_eq!(refused.code, Some(1), "{refused:?}");
            for said in [said, "tempclock.redb cannot be opened", "Free some space on its disk, or raise the quota"] {
                assert!(refused.stderr.contains(said), "{said}: {refused:?}");
            }
        }
        server.inside(Vec::new());
    }
    server.launch();
}

#[test]
fn a_database_is_verified_where_nothing_can_be_written_and_stays_as_it_is() {
    let mut server = Server::stopped(&[("storage.free_space_reserve", r#""0""#)]);
    let Some(disk) = SmallDisk::under(&mut server, DiskKind::Tmpfs, 32 * MIB) else { return };
    server.launch();
    assert_eq!(Ledger::default().publish(&server.client(), &[1, 2, 3]), Some(202));
    server.kill_9();
    let before = fs::read(disk.path(DATABASE)).unwrap();
    for mode in ["ro", "rw"] {
        disk.remount(mode);
        let verified = server.command(&["verify", server.data_dir().join(DATABASE).to_str().unwrap()]);
        assert_eq!(verified.code, Some(0), "{mode}: {verified:?}");
        assert!(fs::read(disk.path(DATABASE)).unwrap() == before, "{mode}: it was changed");
    }
    server.launch();
    assert_eq!(server.client().total("/events"), 3);
}
