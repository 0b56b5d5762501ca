//! One owner, one file: two servers never work on one folder, whatever paths they reach it by, and nothing is
//! acknowledged into a file that is not the one in the folder.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use crate::harness::{Client, Ledger, Output, Overlay, Receiver, Server};

const DATABASE: &str = "tempclock.redb";
/// A server that was killed there did not die here.
const OTHER_MACHINE: &str = "boot 7c9e6679-7425-40de-944b-e07fc1f90ae7 machine 00000000000000000000000000000001";

/// What the file in the folder says, after somebody was killed who had it.
fn left_behind(server: &mut Server) -> String {
    server.launch();
    server.kill_9();
    let text = fs::read_to_string(server.data_dir().join("holder")).unwrap();
    assert!(text.starts_with("process ") && text.contains(" on "), "{text}");
    text
}

/// The same from a process of another machine that has the same name and number.
fn of_another_machine(text: &str) -> String {
    let (before, after) = text.split_once("boot ").unwrap();
    let (_, beat) = after.split_once('\n').unwrap();
    format!("{before}{OTHER_MACHINE}\n{beat}")
}

/// Does something while a process of another machine has the folder and is at work.
fn while_another_works<T>(folder: &Path, text: &str, body: impl FnOnce() -> T) -> T {
    let (stop, stopped) = channel::<()>();
    let (path, text) = (folder.join("holder"), of_another_machine(text));
    let (fixed, _) = text.split_once("beat ").unwrap();
    let fixed = format!("{fixed}beat ");
    thread::scope(|scope| {
        scope.spawn(move || {
            let holder = File::options().write(true).create(true).truncate(false).open(&path).unwrap();
            for beat in 0_u64.. {
                holder.write_all_at(format!("{fixed}{beat}\n").as_bytes(), 0).unwrap();
                if stopped.recv_timeout(Duration::from_millis(200)) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        let done = body();
        drop(stop);
        done
    })
}

#[track_caller]
fn assert_refused(refused: &Output) {
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for said in ["in use by process", " on ", "Stop that server first"] {
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
}

#[track_caller]
fn assert_sound(server: &Server) {
    let verified = server.command(&["verify", server.data_dir().join(DATABASE).to_str().unwrap()]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn a_folder_that_two_paths_lead_to_has_one_server() {
    let (mut above, mut below) = (Server::stopped(&[]), Server::stopped(&[]));
    below.configure(&[("server.control_socket", &format!("'{}'", below.folder().join("sock").display()))]);
    let Some(_overlay) = Overlay::under(&mut above, &mut below) else { return };
    let ledger = Ledger::default();
    for first in [0, 10] {
        above.launch();
        let client = above.client();
        assert_eq!(ledger.publish(&client, &[first, first + 1]), Some(202));
        assert_refused(&below.fail_to_start());
        let database = below.data_dir().join(DATABASE);
        for command in [["keys", "list"].as_slice(), &["compact"], &["verify", database.to_str().unwrap()]] {
            assert_refused(&if command[0] == "verify" { below.command(command) } else { below.cli(command) });
        }
        assert_eq!(ledger.publish(&client, &[first + 2, first + 3]), Some(202));
        assert!(above.terminate().success());
        assert_sound(&above);
        // Whoever ended in order, or was killed, is in nobody's way.
        below.launch();
        assert_refused(&above.fail_to_start());
        below.kill_9();
    }
    assert!(!format!("{}{}", above.log(), below.log()).contains("watching"), "{}", above.log());
    above.launch();
    assert_eq!(above.client().total("/events"), 8);
}

#[test]
fn a_second_server_by_the_same_path_is_told_who_has_the_folder() {
    let server = Server::start(&[]);
    let mut second = Server::stopped(&[]);
    second.move_to(&server.data_dir());
    second.configure(&[("server.control_socket", &format!("'{}'", second.folder().join("sock").display()))]);
    let refused = second.fail_to_start();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let who = format!("tempclock.redb is in use by process {} on ", server.pid());
    assert!(refused.stderr.contains(&who), "{refused:?}");
    let ledger = Ledger::default();
    assert_eq!(ledger.publish(&server.client(), &[1]), Some(202));
}

#[test]
fn whoever_is_at_work_on_another_machine_keeps_the_folder() {
    let mut server = Server::stopped(&[]);
    let text = left_behind(&mut server);
    let backup = server.folder().join("a.bak");
    let backup = backup.to_str().unwrap();
    assert_eq!(server.cli(&["backup", "--output", backup]).code, Some(0));
    let database = fs::read(server.data_dir().join(DATABASE)).unwrap();
    while_another_works(&server.data_dir(), &text, || {
        assert_refused(&server.fail_to_start());
        for command in
            [["init"].as_slice(), &["restore", "--yes", backup], &["compact"], &["backup", "--output", backup]]
        {
            assert_refused(&server.cli(command));
        }
    });
    assert!(fs::read(server.data_dir().join(DATABASE)).unwrap() == database, "the database was touched");
}

#[test]
fn whoever_shows_no_life_on_another_machine_is_taken_over_from_without_a_hand() {
    let mut server = Server::stopped(&[]);
    let text = left_behind(&mut server);
    fs::write(server.data_dir().join("holder"), of_another_machine(&text)).unwrap();
    server.launch();
    assert!(server.log().contains("watching"), "{}", server.log());
    let ledger = Ledger::default();
    assert_eq!(ledger.publish(&server.client(), &[1]), Some(202));
    server.kill_9();
    // Of a process of this machine it is known at once.
    let before = server.log().len();
    server.launch();
    assert!(!server.log()[before..].contains("watching"), "{}", server.log());
}

#[test]
fn what_lies_in_the_place_of_the_holder_file_is_not_written_to() {
    let mut server = Server::stopped(&[]);
    left_behind(&mut server);
    let holder = server.data_dir().join("holder");
    let victim = server.folder().join("victim");
    fs::write(&victim, "precious").unwrap();
    for put in [
        |from: &Path, to: &Path| std::os::unix::fs::symlink(from, to),
        |from: &Path, to: &Path| fs::hard_link(from, to),
    ] {
        fs::remove_file(&holder).unwrap();
        put(&victim, &holder).unwrap();
        server.restart();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(fs::symlink_metadata(&holder).unwrap().is_file());
        assert!(server.terminate().success());
    }
}

/// What becomes of a server when something happens to its folder: it acknowledges nothing from then on, ends with 74,
/// and says what has happened. With the next request, and without one.
fn ends(happens: impl Fn(&Server, &Client), said: &[&str]) -> Vec<Server> {
    let each = [true, false].map(|is_asked| {
        let mut server = Server::start(&[]);
        let client = server.client();
        let receiver = Receiver::start();
        client.subscribe(&receiver.url("/"), &["clock_in"]);
        let ledger = Ledger::default();
        assert_eq!(ledger.publish(&client, &(0..50).collect::<Vec<_>>()), Some(202));
        client.wait_for_total("/deliveries?status=delivered", 50);
        // That the key was used is committed with these at the latest, so that nothing is left to commit afterwards.
        assert_eq!(ledger.publish(&client, &[50]), Some(202));
        client.wait_for_total("/deliveries?status=delivered", 51);
        happens(&server, &client);
        if is_asked {
            let answer = ledger.publish(&client, &[52]);
            assert!(matches!(answer, None | Some(503)), "answered {answer:?}");
        }
        assert_eq!(server.wait_for_exit().code(), Some(74), "{}", server.log());
        for said in said {
            assert!(server.log().contains(said), "{said}: {}", server.log());
        }
        server
    });
    each.into()
}

#[test]
fn nothing_is_acknowledged_into_a_database_that_was_replaced() {
    // As rsync does it.
    let replaced = |server: &Server, _: &Client| {
        let (path, copy) = (server.data_dir().join(DATABASE), server.data_dir().join(".tempclock.redb.x"));
        fs::copy(&path, &copy).unwrap();
        fs::rename(&copy, &path).unwrap();
    };
    ends(replaced, &["tempclock.redb was replaced by another file"]);
}

#[test]
fn nothing_is_acknowledged_into_a_database_that_was_overwritten_in_place_or_cut_off() {
    // As cp does it with an earlier copy.
    let overwritten = |server: &Server, client: &Client| {
        let path = server.data_dir().join(DATABASE);
        let earlier = fs::read(&path).unwrap();
        assert_eq!(Ledger::default().publish(client, &[51]), Some(202));
        client.wait_for_total("/deliveries?status=delivered", 52);
        File::options().write(true).open(&path).unwrap().write_all_at(&earlier, 0).unwrap();
    };
    ends(overwritten, &["tempclock.redb was overwritten or truncated"]);
    for length in [0, 100, 4096] {
        let cut = |server: &Server, _: &Client| {
            File::options().write(true).open(server.data_dir().join(DATABASE)).unwrap().set_len(length).unwrap();
        };
        ends(cut, &["tempclock.redb was overwritten or truncated"]);
    }
}

#[test]
fn nothing_is_acknowledged_into_a_database_that_was_moved_away_or_removed() {
    let moved = |server: &Server, _: &Client| {
        fs::rename(server.data_dir().join(DATABASE), server.folder().join("moved")).unwrap();
    };
    for mut server in ends(moved, &["tempclock.redb was removed or moved away"]) {
        assert!(server.fail_to_start().stderr.contains("is missing"));
        fs::rename(server.folder().join("moved"), server.data_dir().join(DATABASE)).unwrap();
        server.launch();
        let total = server.client().total("/events");
        assert!((51..=52).contains(&total), "{total}");
    }
    ends(|server, _| fs::remove_file(server.data_dir().join(DATABASE)).unwrap(), &["was removed or moved away"]);
    ends(
        |server, _| fs::rename(server.data_dir(), server.folder().join("all")).unwrap(),
        &["was removed or moved away"],
    );
}

#[test]
fn a_server_whose_folder_another_one_has_taken_ends_and_names_it() {
    let taken = |server: &Server, _: &Client| {
        let holder = File::options().write(true).open(server.data_dir().join("holder")).unwrap();
        holder.write_all_at(b"process 7 on web-2 since 2026-03-02T08:00:00.000Z\n", 0).unwrap();
    };
    ends(taken, &["taken over by process 7 on web-2 since 2026-03-02T08:00:00.000Z"]);
    let gone = &["holder was removed, emptied or replaced"];
    ends(|server, _| fs::write(server.data_dir().join("holder"), "").unwrap(), gone);
    // Until the next beat, which sees it, its database is still its own.
    let mut server = Server::start(&[]);
    fs::remove_file(server.data_dir().join("holder")).unwrap();
    fs::create_dir(server.data_dir().join("holder")).unwrap();
    assert_eq!(server.wait_for_exit().code(), Some(74), "{}", server.log());
    assert!(server.log().contains(gone[0]), "{}", server.log());
}

#[test]
fn a_database_that_was_replaced_below_an_overlay_is_noticed_above_it() {
    let (mut above, mut below) = (Server::stopped(&[]), Server::stopped(&[]));
    let Some(overlay) = Overlay::under(&mut above, &mut below) else { return };
    above.launch();
    let client = above.client();
    let ledger = Ledger::default();
    assert_eq!(ledger.publish(&client, &[1]), Some(202));
    fs::copy(overlay.below(DATABASE), overlay.below("copy")).unwrap();
    fs::rename(overlay.below("copy"), overlay.below(DATABASE)).unwrap();
    let answer = ledger.publish(&client, &[2]);
    assert!(matches!(answer, None | Some(503)), "answered {answer:?}");
    assert_eq!(above.wait_for_exit().code(), Some(74), "{}", above.log());
}
