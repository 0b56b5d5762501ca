//! A disk without room: low space is refused politely and foreseen, a full disk ends the process in order, and neither
//! loses anything.

use crate::harness::{
    ALL_SCOPES, Answer, Client, DiskKind, Gate, Ledger, Received, Receiver, Reply, Server, SmallDisk, Strace,
    eventually,
};

const MIB: u64 = 1 << 20;

/// A publish that is refused for want of space, and has left nothing behind.
fn assert_refused(client: &Client, entries: &[u64]) {
    let before = client.total("/events");
    let answer: Answer = client.try_publish(entries).unwrap().expect(503);
    answer.expect_error("out_of_space");
    let seconds: u32 = answer.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!(seconds > 0, "{answer:?}");
    assert_eq!(client.total("/events"), before);
}

/// The check of the disk, out of what `readyz` says.
fn says_of_its_disk(client: &Client) -> (u16, String) {
    let answer = client.get("/readyz");
    (answer.status, answer.json["checks"]["disk_space"].as_str().unwrap().to_owned())
}

/// How often the disk is asked how much is free while 20 events are published.
fn asked_for_space(reserve: &str) -> usize {
    let server = Server::start(&[("storage.free_space_reserve", reserve)]);
    let client = server.client();
    let strace = Strace::attach(&server, &["-e", "trace=statfs"]);
    (0..20).for_each(|entry| drop(client.try_publish(&[entry]).unwrap().expect(202)));
    strace.detach().lines().filter(|line| line.contains("statfs(")).count()
}

#[test]
fn the_disk_is_asked_how_much_is_free_only_as_long_as_some_of_it_is_to_stay_so() {
    assert_eq!(asked_for_space(r#""0""#), 0);
    assert!(asked_for_space(r#""1B""#) > 0);
}

#[test]
fn low_space_refuses_publishing_and_stores_nothing_while_deliveries_go_on() {
    let mut server = Server::stopped(&[("storage.free_space_reserve", r#""0""#)]);
    // Where mounting is not possible, the disk of the machine is hopefully smaller than the largest reserve.
    let _disk = SmallDisk::under(&mut server, DiskKind::Tmpfs, 32 * MIB);
    server.launch();
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::first([Reply::status(500)]);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let ledger = Ledger::default();
    assert_eq!(ledger.publish(&client, &[1]), Some(202));
    receiver.wait_for(1, "the first attempt");
    server.kill_9();

    server.configure(&[("storage.free_space_reserve", r#""1TiB""#)]);
    server.launch();
    let client = server.client_with(&key);
    client.wait_for_total("/deliveries?status=delivered", 1);
    assert_refused(&client, &[2]);
    assert_refused(&client, &[2, 3, 4]);
    assert_eq!(says_of_its_disk(&client), (503, "failed".to_owned()));
    assert!(!server.log().contains("/readyz"), "whoever asks fills the log: {}", server.log());

    server.configure(&[("storage.free_space_reserve", r#""0""#)]);
    server.restart();
    let client = server.client_with(&key);
    assert_eq!(says_of_its_disk(&client), (200, "ok".to_owned()));
    for entries in [[2].as_slice(), &[3, 4]] {
        assert_eq!(ledger.publish(&client, entries), Some(202));
    }
    client.wait_for_total("/deliveries?status=delivered", 4);
    let succeeded = |request: &Received| request.attempt() > 1 || request.json()["data"]["entry_id"] != 1;
    assert_eq!(ledger.faults(&receiver.requests(), succeeded), [""; 0]);
}

#[test]
fn publishing_comes_back_by_itself_when_there_is_room_again() {
    let mut server = Server::stopped(&[("storage.free_space_reserve", r#""8MiB""#)]);
    let Some(disk) = SmallDisk::under(&mut server, DiskKind::Tmpfs, 32 * MIB) else { return };
    server.launch();
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let gate = Gate::default();
    let receiver = Receiver::answering({
        let gate = gate.clone();
        move |_| Reply::Held(gate.clone(), 200)
    });
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let ledger = Ledger::default();
    let backlog: Vec<u64> = (0..200).collect();
    assert_eq!(ledger.publish(&client, &backlog), Some(202));
    receiver.wait_for(1, "an attempt in flight");

    disk.fill_up_to(7 * MIB);
    let mut next = 200;
    eventually("publishing is refused", || {
        next += 1;
        match ledger.publish(&client, &[next]) {
            Some(202) => None,
            answer => {
                assert_eq!(answer, Some(503));
                Some(())
            }
        }
    });
    assert_refused(&client, &[next]);
    assert_refused(&client, &[next, 9000, 9001]);
    assert_eq!(says_of_its_disk(&client), (503, "failed".to_owned()));
    gate.open();
    client.wait_for_total("/deliveries?status=pending", 0);
    server.restart();
    let client = server.client_with(&key);
    assert_refused(&client, &[next]);

    disk.clear();
    eventually("publishing is accepted again", || (ledger.publish(&client, &[next]) == Some(202)).then_some(()));
    client.wait_for_total("/deliveries?status=pending", 0);
    assert_eq!(says_of_its_disk(&client), (200, "ok".to_owned()));
    assert_eq!(client.total("/events"), ledger.len() as u64);
    assert_eq!(ledger.faults(&receiver.requests(), |_| true), [""; 0]);
    // One line when it begins and one when it is over, in each of the two runs, however often somebody is refused.
    assert!(server.terminate().success());
    let log = server.log();
    assert_eq!(log.matches("publishing is refused").count(), 2, "{log}");
    assert_eq!(log.matches("publishing is accepted").count(), 1, "{log}");
}

/// Publishes batches until one is not acknowledged, and gives that one and its answer.
fn publish_until_refused(ledger: &Ledger, client: &Client) -> (Vec<u64>, Option<u16>) {
    let refused = (0..100_000).step_by(50).find_map(|first| {
        let entries: Vec<u64> = (first..first + 50).collect();
        let status = ledger.publish(client, &entries);
        (status != Some(202)).then_some((entries, status))
    });
    refused.expect("an end of the disk")
}

/// With room again: a repetition of the last publish is accepted, and everything that was acknowledged arrives.
fn prove(server: &mut Server, key: &str, ledger: &Ledger, receiver: &Receiver, last: &[u64]) {
    let client = server.client_with(key);
    assert_eq!(ledger.publish(&client, last), Some(202));
    client.wait_for_total("/deliveries?status=pending", 0);
    assert_eq!(client.total("/events"), ledger.len() as u64);
    assert_eq!(ledger.faults(&receiver.requests(), |_| true), [""; 0]);
    assert!(server.terminate().success());
    let verified = server.command(&["verify", server.data_dir().join("tempclock.redb").to_str().unwrap()]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// On a disk that is as bad as before, a start may succeed, or says what is wrong with what.
fn assert_comes_up_or_says(server: &mut Server, cause: &str) {
    let Err(failure) = server.try_launch() else { return server.kill_9() };
    assert!(matches!(failure.status.code(), Some(1 | 74)), "{failure:?}");
    for said in [cause, server.data_dir().to_str().unwrap()] {
        assert!(failure.said.contains(said), "{said} is not in: {}", failure.said);
    }
    assert!(!failure.said.contains("panicked"), "{}", failure.said);
}

/// Publishes until the disk is full, with nothing that foresees it.
fn a_full_disk(kind: DiskKind) {
    let mut server = Server::stopped(&[("storage.free_space_reserve", r#""0""#)]);
    let Some(disk) = SmallDisk::under(&mut server, kind, 32 * MIB) else { return };
    server.launch();
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let ledger = Ledger::default();
    disk.fill();
    let (entries, status) = publish_until_refused(&ledger, &client);
    assert!(matches!(status, None | Some(503)), "answered {status:?}");
    assert_eq!(server.wait_for_exit().code(), Some(74), "{}", server.log());
    assert!(server.log().contains("No space left on device"), "{}", server.log());

    assert_comes_up_or_says(&mut server, "No space left on device");
    disk.clear();
    server.launch();
    prove(&mut server, &key, &ledger, &receiver, &entries);
}

#[test]
fn what_could_not_be_recorded_is_not_sent_by_one_start_after_another() {
    let mut server =
        Server::stopped(&[("storage.free_space_reserve", r#""0""#), ("delivery.retry_schedule", r#"["1s"]"#)]);
    let Some(disk) = SmallDisk::under(&mut server, DiskKind::Tmpfs, 32 * MIB) else { return };
    server.launch();
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::answering(|_| Reply::Hang);
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let ledger = Ledger::default();
    assert_eq!(ledger.publish(&client, &[1, 2, 3]), Some(202));
    receiver.wait_for(1, "an attempt in flight");
    server.kill_9();
    let sent = receiver.requests().len();

    disk.fill();
    receiver.rule(|_| Reply::status(200));
    for _ in 0..3 {
        let refused = server.fail_to_start();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("3 pending deliveries"), "{refused:?}");
    }
    assert_eq!(receiver.requests().len(), sent, "sent although nothing can be recorded");
    disk.clear();
    server.launch();
    server.client_with(&key).wait_for_total("/deliveries?status=delivered", 3);
}

#[test]
fn a_full_disk_ends_the_process_and_loses_nothing() {
    a_full_disk(DiskKind::Tmpfs);
}

#[test]
fn a_full_ext4_ends_the_process_and_loses_nothing() {
    a_full_disk(DiskKind::Ext4);
}

#[test]
fn a_disk_that_fails_to_write_what_it_took_ends_the_process_and_loses_nothing() {
    let mut server = Server::stopped(&[("storage.free_space_reserve", r#""0""#)]);
    let Some(disk) = SmallDisk::under(&mut server, DiskKind::Thin, 32 * MIB) else { return };
    server.launch();
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let ledger = Ledger::default();
    let (entries, status) = publish_until_refused(&ledger, &client);
    assert!(matches!(status, None | Some(503)), "answered {status:?}");
    assert_eq!(server.wait_for_exit().code(), Some(74), "{}", server.log());
    // The kernel calls a write-back that the disk below has refused by one name or the other.
    let log = server.log();
    assert!(["Input/output error", "No space left on device"].iter().any(|name| log.contains(name)), "{log}");
    assert_comes_up_or_says(&mut server, "os error");

    disk.thicken();
    server.launch();
    prove(&mut server, &key, &ledger, &receiver, &entries);
}
