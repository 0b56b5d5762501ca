//! At whichever write or sync the disk fails or the process dies, what was acknowledged is there afterwards and
//! arrives, and the database is sound. Faults come from strace, which `tests/run` installs.

use serde_json::json;

use crate::harness::{ALL_SCOPES, Receiver, Server, Strace, clock_in, eventually, run};

/// One publish and its delivery, with a fault at the n-th call for every n until there is no n-th call.
fn at_every(call: &str, what: &str) {
    let mut server = Server::stopped(&[]);
    server.launch();
    let key = server.key(ALL_SCOPES);
    let receiver = Receiver::start();
    server.client_with(&key).subscribe(&receiver.url("/"), &["clock_in"]);
    server.terminate();

    for number in 1_u32.. {
        assert!(number < 100, "{call} is made without end");
        server.launch();
        let inject = format!("inject={call}:{what}:when={number}");
        let fault = Strace::attach(&server, &["-e", &format!("trace={call}"), "-e", &inject]);
        let body = json!({"event": "clock_in", "data": clock_in(u64::from(number))}).to_string();
        let name = format!("event-{number}");
        let own_id = [("Idempotency-Key", name.as_str()), ("Content-Type", "application/json")];
        let answer = server.client_with(&key).try_send("POST", "/api/v1/events", &own_id, Some(body.as_bytes()));
        let acknowledged = answer.ok().filter(|answer| answer.status == 202);
        let acknowledged = acknowledged.map(|answer| answer.data()["id"].as_str().unwrap().to_owned());
        let has_arrived = |id: &String| receiver.requests().iter().any(|request| request.event_id() == *id);
        let ended = eventually("the server ends or delivers", || match server.has_exited() {
            Some(status) => Some(Some(status)),
            None if acknowledged.as_ref().is_some_and(has_arrived) => Some(None),
            None => None,
        });
        if ended.is_none() {
            // The outcome is recorded, or fails to be, after the delivery has arrived.
            let client = server.client_with(&key);
            eventually("the outcome is recorded, or the server ends", || {
                let path = "/api/v1/deliveries?status=pending";
                let pending = client.try_send("GET", path, &[], None).ok().map(|answer| answer.json);
                let is_recorded = pending.is_some_and(|json| json["pagination"]["total"] == 0);
                (is_recorded || server.has_exited().is_some()).then_some(())
            });
        }
        let status = server.has_exited();
        let trace = fault.detach();
        let has_struck = trace.contains("INJECTED") || trace.contains("killed by SIGKILL");
        let wants_code = what.starts_with("error") && has_struck;
        if let (Some(status), true) = (status, wants_code) {
            assert_eq!(status.code(), Some(74), "{call} {what} at {number}: {}", server.log());
        }
        server.kill_9();

        server.launch();
        let client = server.client_with(&key);
        let again = client.post_with("/events", &own_id[..1], &body).expect(202);
        let id = again.data()["id"].as_str().unwrap().to_owned();
        if let Some(acknowledged) = acknowledged {
            assert_eq!(id, acknowledged, "{call} {what} at {number}: what was acknowledged is gone");
        }
        eventually("it arrives after the restart", || has_arrived(&id).then_some(()));
        client.wait_for_total("/deliveries?status=pending", 0);
        assert!(server.terminate().success());
        let database = server.data_dir().join("tempclock.redb");
        let verified = run(&["verify", database.to_str().unwrap()], &[]);
        assert_eq!(verified.code, Some(0), "{call} {what} at {number}: {}{}", verified.stdout, verified.stderr);
        if !has_struck {
            assert!(number > 1, "{call} is never made: the fault proves nothing");
            return;
        }
    }
}

#[test]
fn nothing_is_lost_when_any_sync_fails() {
    at_every("fdatasync", "error=EIO");
}

#[test]
fn nothing_is_lost_when_the_process_dies_at_any_sync() {
    at_every("fdatasync", "signal=KILL");
}

#[test]
fn nothing_is_lost_when_any_write_fails() {
    at_every("pwrite64", "error=EIO");
}

#[test]
fn nothing_is_lost_when_the_disk_is_full_at_any_write() {
    at_every("pwrite64", "error=ENOSPC");
}

#[test]
fn nothing_is_lost_when_the_process_dies_at_any_write() {
    at_every("pwrite64", "signal=KILL");
}
