//! Whoever publishes and awaits each answer is taken in, however much is being delivered and however slow the disk is;
//! what one request makes has a bound.

use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::harness::{ALL_SCOPES, PATIENCE, Receiver, Reply, Server, Strace, clock_in, eventually};

/// Gives the account of a running server so many subscriptions to one receiver, and a key of it.
fn subscribe(server: &Server, receiver: &Receiver, subscriptions: usize, active: bool) -> String {
    let key = server.key(ALL_SCOPES);
    thread::scope(|scope| {
        for caller in 0..8 {
            let (client, url) = (server.client_with(&key), receiver.url("/"));
            scope.spawn(move || {
                for _ in (caller..subscriptions).step_by(8) {
                    let new = json!({"url": url, "events": ["clock_in"], "active": active});
                    client.post("/webhooks", &new).expect(201);
                }
            });
        }
    });
    key
}

/// Publishes so many events over four connections, each of which awaits its answer.
fn publish(server: &Server, key: &str, events: u64) {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = server.client_with(key);
                while next.fetch_add(1, Ordering::Relaxed) < events {
                    client.publish("clock_in", &clock_in(1));
                }
            });
        }
    });
}

#[test]
fn an_event_for_a_thousand_subscriptions_takes_no_room_from_the_next_ones() {
    let receiver = Receiver::start();
    let server = Server::start(&[("limits.subscriptions_per_account", "1000")]);
    let key = subscribe(&server, &receiver, 1000, true);
    publish(&server, &key, 60);
    assert_eq!(server.client_with(&key).total("/events"), 60);
}

fn batch(events: u64) -> Value {
    let event = |entry: u64| json!({"event": "clock_in", "data": clock_in(entry), "id": format!("entry-{entry}")});
    json!({"events": (0..events).map(event).collect::<Vec<_>>()})
}

#[test]
fn a_batch_that_makes_too_many_deliveries_is_refused_with_what_to_do_and_one_event_never_is() {
    let receiver = Receiver::start();
    // Switched off, so that they get deliveries and nothing is sent.
    let server = Server::start(&[("limits.subscriptions_per_account", "101")]);
    let key = subscribe(&server, &receiver, 101, false);
    let client = server.client_with(&key);
    let refused = client.post("/events/batch", &batch(1000)).expect(413);
    refused.expect_error("too_many_deliveries");
    let message = refused.json["message"].as_str().unwrap();
    for words in ["101000 deliveries", "100000", "at most 990 events"] {
        assert!(message.contains(words), "{words} is not in: {message}");
    }
    assert_eq!(client.total("/events"), 0);
    client.post("/events/batch", &batch(990)).expect(202);
    // What is there already makes no delivery again.
    let answer = client.post("/events/batch", &batch(1000)).expect(202);
    assert_eq!(answer.rows().iter().filter(|row| row["duplicate"] == true).count(), 990);
    assert_eq!(client.total("/deliveries"), 101_000);
    // The command finds out by itself how many fit.
    let file = server.folder().join("events");
    let events: Vec<_> = batch(1000)["events"].as_array().unwrap().iter().map(Value::to_string).collect();
    std::fs::write(&file, events.join("\n").replace("entry-", "other-")).unwrap();
    let output = server.cli(&["events", "publish", "--file", file.to_str().unwrap()]);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_eq!(client.total("/events"), 2000);
}

#[test]
fn a_slow_disk_refuses_no_publisher_who_awaits_each_answer_beside_failing_deliveries() {
    const PILED_UP: usize = 5300;
    let receiver = Receiver::answering(|_| Reply::status(500));
    let mut server = Server::stopped(&[]);
    let trace = server.folder().join("trace").display().to_string();
    let slow = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=30000"];
    server.through(&[&["strace", "-D", "-f", "--seccomp-bpf", "-o", trace.as_str()], &slow[..]].concat());
    server.launch();
    let key = subscribe(&server, &receiver, 100, true);
    server.client_with(&key).post("/events/batch", &batch(200)).expect(202);
    receiver.wait_for(PILED_UP, "more failures than may wait for such a disk");
    publish(&server, &key, 40);
}

#[test]
fn the_watchdog_is_fed_while_the_writer_waits_for_a_slow_disk() {
    let mut server = Server::stopped(&[]);
    let socket = server.folder().join("notify.sock");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    server.environment("NOTIFY_SOCKET", socket.to_str().unwrap());
    server.environment("WATCHDOG_USEC", "300000");
    server.launch();
    let (client, is_answered) = (server.client(), AtomicBool::new(false));
    let strace = Strace::attach(&server, &["-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=20000000"]);
    let alive = || {
        let mut message = [0; 4096];
        let count = manager.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..count]).contains("WATCHDOG=1").then_some(())
    };
    thread::scope(|scope| {
        for entry in 0..2 {
            let (client, is_answered) = (&client, &is_answered);
            scope.spawn(move || {
                // The server is gone before it can answer.
                let _ = client.try_publish(&[entry]);
                is_answered.store(true, Ordering::Relaxed);
            });
            // The first one is being committed when the second one comes, and what was told before says nothing.
            manager.set_nonblocking(true).unwrap();
            while manager.recv(&mut [0; 4096]).is_ok() {}
            manager.set_nonblocking(false).unwrap();
            // Few, as the writer may wait for the disk at so many looks only, and each message that was thrown away was one.
            for _ in 0..4 {
                eventually("it is alive", alive);
            }
        }
        assert!(!is_answered.load(Ordering::Relaxed), "the disk was not slow");
        server.ask_to_stop();
        strace.detach();
    });
}
