//! `doctor` says where the data folder lies, whether it can be written, and what has become of the database.

use std::fs;

use serde_json::Value;

use crate::harness::{DiskKind, Overlay, Server, SmallDisk};

const MIB: u64 = 1024 * 1024;

/// What it says of one thing: level and words of each finding.
fn says(server: &Server, check: &str) -> Vec<(String, String)> {
    let output = server.cli(&["doctor", "--json"]);
    let printed: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = printed["data"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    findings
        .map(|finding| (text(&finding["level"]), format!("{} {}", text(&finding["message"]), text(&finding["fix"]))))
        .collect()
}

#[track_caller]
fn assert_says(server: &Server, check: &str, level: &str, words: &[&str]) {
    let seen = says(server, check);
    let is_meant = |(found, text): &&(String, String)| found == level && words.iter().all(|word| text.contains(word));
    assert!(seen.iter().any(|finding| is_meant(&finding)), "no {level} of {words:?} in {seen:#?}");
}

#[test]
fn a_disk_that_became_read_only_or_full_is_not_called_writable() {
    for kind in [DiskKind::Tmpfs, DiskKind::Ext4] {
        let mut server = Server::stopped(&[("storage.free_space_reserve", r#""0""#)]);
        let Some(disk) = SmallDisk::under(&mut server, kind, 32 * MIB) else { return };
        assert_eq!(server.cli(&["init"]).code, Some(0));
        disk.fill();
        assert_says(&server, "file system", "problem", &["No space left on device", "Free some space"]);
        disk.clear();
        assert!(says(&server, "file system").iter().all(|(level, _)| level != "problem"));
        // As the kernel does it after a fault.
        disk.remount(if kind == DiskKind::Ext4 { "abort" } else { "ro" });
        assert_says(&server, "file system", "problem", &["Read-only file system", "fsck"]);
        // A file of the store's own that happens to be opened first says nothing to anybody.
        let backup = server.cli(&["backup", "--output", server.folder().join("copy.bak").to_str().unwrap()]);
        let folder = server.data_dir().display().to_string();
        assert!(backup.code == Some(74) || backup.code == Some(1), "{backup:?}");
        for words in [folder.as_str(), "read-only", "verify FILE"] {
            assert!(backup.stderr.contains(words), "{words}: {backup:?}");
        }
        assert!(!backup.stderr.contains("holder"), "{backup:?}");
    }
}

#[test]
fn a_folder_that_does_not_last_or_whose_locks_are_not_seen_is_named() {
    let mut server = Server::stopped(&[]);
    let Some(_disk) = SmallDisk::under(&mut server, DiskKind::Tmpfs, 32 * MIB) else { return };
    assert_says(&server, "file system", "warning", &["tmpfs", "next boot", "local disk"]);

    let (mut above, mut below) = (Server::stopped(&[]), Server::stopped(&[]));
    let Some(_overlay) = Overlay::under(&mut above, &mut below) else { return };
    below.configure(&[("server.control_socket", &format!("'{}'", below.folder().join("sock").display()))]);
    above.launch();
    assert_says(&above, "file system", "warning", &["overlay", "container", "volume"]);
    let who = format!("process {} on ", above.pid());
    assert_says(&below, "queue", "warning", &["not checked", &who]);
}

#[test]
fn a_database_that_is_gone_is_not_called_one_that_was_never_made() {
    let mut server = Server::stopped(&[]);
    fs::create_dir(server.data_dir()).unwrap();
    assert_says(&server, "data folder", "warning", &["no database yet", "init"]);
    server.launch();
    fs::rename(server.data_dir().join("tempclock.redb"), server.folder().join("moved")).unwrap();
    assert_says(&server, "data folder", "problem", &["tempclock.redb is missing", "Put it back"]);
    assert_eq!(server.wait_for_exit().code(), Some(74));
    assert_says(&server, "data folder", "problem", &["tempclock.redb is missing", "restore"]);
}
