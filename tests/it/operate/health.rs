//! Whether the server is up and ready can be asked without a key; figures are off until configured.

use std::thread;

use crate::harness::{Client, Server, Strace, eventually};

#[test]
fn up_and_ready_are_open_to_all_at_both_addresses() {
    let server = Server::start(&[]);
    let stranger = server.stranger();
    for path in ["/healthz", "/readyz", "/api/v1/healthz", "/api/v1/readyz"] {
        let answer = stranger.send("GET", path, &[], None).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"), "{path}");
        assert!(answer.json.is_object(), "{path}: {}", answer.text);
        assert!(answer.header("x-request-id").is_some(), "{path}");
    }
}

#[test]
fn health_tells_a_stranger_nothing_of_the_machine() {
    let server = Server::start(&[]);
    let folder = server.data_dir();
    for path in ["/healthz", "/readyz"] {
        let answer = server.stranger().send("GET", path, &[], None).expect(200);
        assert!(!answer.text.contains(folder.to_str().unwrap()), "{path}: {}", answer.text);
    }
}

#[test]
fn health_is_asked_by_get_alone() {
    let server = Server::start(&[]);
    let stranger = server.stranger();
    for path in ["/healthz", "/readyz"] {
        let request = format!("DELETE {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let answer = stranger.raw(request.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 405, "{path}");
        assert!(answer.header("allow").is_some_and(|allow| allow.contains("GET")), "{path}");
    }
}

#[test]
fn metrics_are_not_on_the_public_listener() {
    let server = Server::start(&[]);
    for path in ["/metrics", "/api/v1/metrics"] {
        server.client().send("GET", path, &[], None).expect(404).expect_error("not_found");
    }
}

#[test]
fn a_disk_that_hangs_is_asked_once_however_many_ask_and_holds_up_nobody_else() {
    const CALLERS: usize = 20;
    let server = Server::start(&[("server.workers", "1")]);
    // The writer asks the disk with its first commit, which is this one at the latest.
    server.key("*");
    // Much longer than everything below takes; taking strace off ends it.
    let hangs = ["-e", "trace=statfs,fstatfs", "-e", "inject=statfs,fstatfs:delay_enter=300000000"];
    let strace = Strace::attach(&server, &hangs);
    let address = server.address();
    let ask = move |path| Client::new(address, None).send("GET", path, &[], None).expect(200);
    let waiting: Vec<_> = (0..CALLERS).map(|_| thread::spawn(move || ask("/readyz"))).collect();
    eventually("the disk is asked", || strace.written().contains("statfs(").then_some(()));
    ask("/healthz");
    assert!(waiting.iter().all(|caller| !caller.is_finished()), "the disk did not hang");
    let trace = strace.detach();
    assert_eq!(trace.matches("statfs(").count(), 1, "{trace}");
    for caller in waiting {
        assert_eq!(caller.join().unwrap().json["checks"]["disk_space"], "ok");
    }
}
