//! Memory that work has taken comes back, whatever the machine and the number of its processors.

use std::{fs, thread};

use serde_json::json;

use crate::harness::{Client, Server, clock_in};

const BATCHES: u64 = 20;
const BATCH: u64 = 1_000;
/// With a page cache of 8 MiB, which a second arena of the allocator can come to as well; without a bound on arenas it is
/// 45 MiB and more on two processors.
const GROWTH_KIB: u64 = 16 * 1024;
const AT_ONCE: usize = 32;

/// So many events that a list of them goes several times through the page cache.
fn publish_much(client: &Client) {
    let filling = "x".repeat(1_000);
    for batch in 0..BATCHES {
        let event = |entry| {
            let mut data = clock_in(entry);
            data["filling"] = filling.as_str().into();
            json!({"event": "clock_in", "data": data})
        };
        let events: Vec<_> = (batch * BATCH..(batch + 1) * BATCH).map(event).collect();
        client.post("/events/batch", &json!({"events": events})).expect(202);
    }
}

/// Lists that read every event, on as many threads as there are. One that is told that too much is being read comes again.
fn list_at_once(server: &Server, at_once: usize) {
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                let list = || server.client().get("/events?event=worker_created");
                let read = std::iter::repeat_with(list).find(|answer| answer.status != 503);
                read.expect("an answer").expect(200);
            });
        }
    });
}

fn environment(server: &Server) -> String {
    String::from_utf8_lossy(&fs::read(format!("/proc/{}/environ", server.pid())).unwrap()).replace('\0', "\n")
}

#[test]
fn lists_at_once_take_no_more_memory_than_one_after_another() {
    let server = Server::start(&[("storage.cache", r#""8MiB""#), ("limits.event_bytes", r#""8MiB""#)]);
    publish_much(&server.client());
    list_at_once(&server, 1);
    let before_kib = server.resident_kib();
    for _ in 0..4 {
        list_at_once(&server, AT_ONCE);
    }
    let after_kib = server.resident_kib();
    println!("{before_kib} KiB before, {after_kib} KiB after");
    assert!(after_kib < before_kib + GROWTH_KIB, "{before_kib} KiB became {after_kib}");
}

#[test]
fn the_allocator_has_two_arenas_unless_the_operator_says_otherwise() {
    let server = Server::start(&[]);
    assert!(environment(&server).contains("MALLOC_ARENA_MAX=2\n"), "{}", environment(&server));
    for (name, value) in [("MALLOC_ARENA_MAX", "4"), ("GLIBC_TUNABLES", "glibc.malloc.arena_max=4")] {
        let mut server = Server::stopped(&[]);
        server.environment(name, value);
        server.launch();
        let environment = environment(&server);
        assert!(environment.contains(&format!("{name}={value}\n")), "{environment}");
        assert!(!environment.contains("MALLOC_ARENA_MAX=2"), "{environment}");
    }
}
