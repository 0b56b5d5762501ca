//! At whichever write, sync or answer the disk fails or the process dies, what was acknowledged is there afterwards and
//! arrives, and the database is sound: while it works, while it starts, while it starts for the first time, and while it
//! brings a database of an earlier format to the present one.
//! Faults come from strace, which `tests/run` installs.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::{
    ALL_SCOPES, Client, Failure, Fault, Ledger, Receiver, Server, eventually, put_database_of_format_1, run, sample,
    was_injected,
};

/// No call is made so often for one event or in one start.
const MANY: u32 = 100;

/// A server that is down, with one subscription for what its receiver wants.
struct Bench {
    server: Server,
    key: String,
    receiver: Receiver,
    ledger: Ledger,
}

impl Bench {
    fn new() -> Self {
        let mut server = Server::start(&[("delivery.threads", "4"), ("server.workers", "1")]);
        let key = server.key(ALL_SCOPES);
        let receiver = Receiver::start();
        server.client_with(&key).subscribe(&receiver.url("/"), &["clock_in"]);
        server.terminate();
        Self { server, key, receiver, ledger: Ledger::default() }
    }

    fn client(&self) -> Client {
        self.server.client_with(&self.key)
    }

    /// Waits until everything that was acknowledged has arrived and is recorded, or the server has ended.
    fn settle(&mut self) {
        let client = self.client();
        eventually("all is delivered and recorded, or the server ends", || {
            if self.server.has_exited().is_some() {
                return Some(());
            }
            let pending = client.try_send("GET", "/api/v1/deliveries?status=pending", &[], None).ok()?;
            let has_arrived = self.ledger.missing(&self.receiver.requests()).is_empty();
            (pending.json["pagination"]["total"] == 0 && has_arrived).then_some(())
        });
    }

    /// After the fault: a start without one, a repetition of the publish, and all that was acknowledged arrives.
    fn prove(&mut self, entry: u64, what: &str) {
        self.server.through(&[]);
        self.server.launch();
        let client = self.client();
        assert_eq!(self.ledger.publish(&client, &[entry]), Some(202));
        client.wait_for_total("/deliveries?status=pending", 0);
        assert_eq!(self.ledger.faults(&self.receiver.requests(), |_| true), [""; 0], "{what}");
        assert_eq!(client.total("/events"), self.ledger.len() as u64, "{what}: an event is there twice");
        assert!(self.server.terminate().success());
        verify(&self.server, what);
    }
}

fn verify(server: &Server, what: &str) {
    let database = server.data_dir().join("tempclock.redb");
    let verified = run(&["verify", database.to_str().unwrap()], &[]);
    assert_eq!(verified.code, Some(0), "{what}: {}{}", verified.stdout, verified.stderr);
}

/// One publish and its delivery, with a fault at the n-th call for every n until there is no n-th call.
fn at_every_call_of_an_event(call: &str, what: &str) {
    let mut bench = Bench::new();
    for number in 1..MANY {
        let entry = u64::from(number);
        let fault = Fault { call, what, number };
        bench.server.launch();
        let tracer = fault.arm(&bench.server);
        let status = bench.ledger.publish(&bench.client(), &[entry]);
        assert!(matches!(status, None | Some(202 | 503)), "{fault:?}: answered {status:?}");
        bench.settle();
        let ended = bench.server.has_exited();
        let has_struck = tracer.disarm();
        if let Some(status) = ended.filter(|_| has_struck && what.starts_with("error")) {
            assert_eq!(status.code(), Some(74), "{fault:?}: {}", bench.server.log());
        }
        assert!(has_struck || ended.is_none(), "{fault:?}: the server ended by itself");
        bench.server.kill_9();
        bench.prove(entry, &format!("{fault:?}"));
        if !has_struck {
            assert!(number > 1, "{call} is never made: the fault proves nothing");
            return;
        }
    }
    panic!("{call} is made without end");
}

/// A start after a kill, with a fault at the n-th call of each thread for every n until there is no n-th call.
fn at_every_call_of_a_start(call: &str, what: &str) {
    let mut bench = Bench::new();
    for number in 1..MANY {
        let entry = u64::from(number);
        let fault = Fault { call, what, number };
        bench.server.through(&[]);
        bench.server.launch();
        assert_eq!(bench.ledger.publish(&bench.client(), &[entry]), Some(202));
        bench.server.kill_9();
        let has_struck = start_with(&mut bench.server, fault);
        bench.prove(entry, &format!("{fault:?}"));
        if !has_struck {
            assert!(number > 1, "{call} is never made: the fault proves nothing");
            return;
        }
    }
    panic!("{call} is made without end");
}

/// The very first start, with a fault likewise. The next one has to work as if it were the first.
fn at_every_call_of_a_first_start(call: &str, what: &str) {
    for number in 1..MANY {
        let fault = Fault { call, what, number };
        let mut server = Server::stopped(&[("delivery.threads", "4"), ("server.workers", "1")]);
        let has_struck = start_with(&mut server, fault);
        server.through(&[]);
        if let Err(failure) = server.try_launch() {
            panic!("{fault:?}: the next start fails: {}", failure.said);
        }
        let client = server.client();
        let receiver = Receiver::start();
        client.subscribe(&receiver.url("/"), &["clock_in"]);
        assert_eq!(Ledger::default().publish(&client, &[1]), Some(202));
        receiver.wait_for(1, "the event");
        assert!(server.terminate().success());
        verify(&server, &format!("{fault:?}"));
        if !has_struck {
            assert!(number > 1, "{call} is never made: the fault proves nothing");
            return;
        }
    }
    panic!("{call} is made without end");
}

/// The start that brings a database of format 1 to the present one, with a fault likewise. Whatever opens it next finds
/// all of it, and the backup beside it.
fn at_every_call_of_an_upgrade(call: &str, what: &str) {
    let mut left_as_it_was = 0;
    for number in 1..MANY {
        let fault = Fault { call, what, number };
        let settings = [("delivery.retry_schedule", r#"["1h"]"#), ("delivery.threads", "4"), ("server.workers", "1")];
        let mut server = Server::stopped(&settings);
        let folder = server.data_dir();
        put_database_of_format_1(&mut server, &folder);
        let has_struck = start_with(&mut server, fault);
        let copy = server.folder().join("copy");
        fs::copy(server.data_dir().join("tempclock.redb"), &copy).unwrap();
        let found = run(&["verify", copy.to_str().unwrap()], &[]).stdout;
        assert!(found.contains("has format 1") || found.contains("is sound"), "{fault:?}: {found}");
        left_as_it_was += u32::from(found.contains("has format 1"));
        let compacted = server.cli(&["compact"]);
        assert_eq!(compacted.code, Some(0), "{fault:?}: {}", compacted.stderr);
        let listed = server.cli(&["deliveries", "list", "--json"]);
        assert_eq!(listed.code, Some(0), "{fault:?}: {}", listed.stderr);
        assert!(listed.stdout.contains(r#""total":9"#), "{fault:?}: {}", listed.stdout);
        let look = |name: &str| run(&["verify", server.data_dir().join(name).to_str().unwrap()], &[]);
        let (database, backup) = (look("tempclock.redb"), look("before-format-3.bak"));
        assert!(database.stdout.contains("is sound"), "{fault:?}: {database:?}");
        assert!(database.stdout.contains("7 pending"), "{fault:?}: {database:?}");
        assert!(backup.stdout.contains("with format 1"), "{fault:?}: {backup:?}");
        if !has_struck {
            assert!(left_as_it_was > 0, "{call} is never made before the commit: the fault proves little");
            return;
        }
    }
    panic!("{call} is made without end");
}

/// Starts and stops the server with a fault, and sees that it ends in order. Tells whether the fault has struck.
fn start_with(server: &mut Server, fault: Fault) -> bool {
    let trace = server.folder().join("trace");
    // Programs read and write much else when they start.
    let files = ["", "tempclock.redb", "tempclock.new", "identity", "identity.new", "holder", "holder.new"];
    let files = [&files[..], &["before-format-3.part", "before-format-3.bak"]].concat();
    let files: Vec<_> = files.into_iter().map(|name| server.data_dir().join(name)).collect();
    let words = fault.words(&trace, &files);
    server.through(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let (status, said) = match server.try_launch() {
        Ok(()) => {
            server.wait_until_it_heeds_signals();
            let status = if server.has_exited().is_some() { server.wait_for_exit() } else { server.terminate() };
            (status, server.log())
        }
        Err(Failure { status, said }) => {
            if fault.what.starts_with("error") {
                let names_a_file = said.contains(&server.data_dir().display().to_string());
                assert!(names_a_file, "{fault:?} names no file: {said}");
            }
            (status, said)
        }
    };
    if fault.what.starts_with("error") {
        assert!(matches!(status.code(), Some(0 | 1 | 74)), "{fault:?}: {status}: {said}");
        assert!(!said.contains("panicked"), "{fault:?} ends in a panic: {said}");
    }
    !status.success() || was_injected(&trace)
}

#[test]
fn nothing_is_lost_when_any_sync_fails() {
    at_every_call_of_an_event("fdatasync", "error=EIO");
}

#[test]
fn nothing_is_lost_when_the_process_dies_at_any_sync() {
    at_every_call_of_an_event("fdatasync", "signal=KILL");
}

#[test]
fn nothing_is_lost_when_any_write_fails() {
    at_every_call_of_an_event("pwrite64", "error=EIO");
}

#[test]
fn nothing_is_lost_when_the_disk_is_full_at_any_write() {
    at_every_call_of_an_event("pwrite64", "error=ENOSPC");
}

#[test]
fn nothing_is_lost_when_the_process_dies_at_any_write() {
    at_every_call_of_an_event("pwrite64", "signal=KILL");
}

#[test]
fn nothing_is_lost_when_the_process_dies_at_any_answer_or_request() {
    at_every_call_of_an_event("sendto", "signal=KILL");
}

#[test]
fn a_start_after_a_kill_that_fails_at_any_read_write_or_sync_is_made_good_by_the_next() {
    for call in ["fdatasync", "fsync", "pwrite64", "pread64"] {
        at_every_call_of_a_start(call, "error=EIO");
    }
}

#[test]
fn a_start_after_a_kill_that_dies_at_any_sync_or_write_is_made_good_by_the_next() {
    for call in ["fdatasync", "fsync", "pwrite64"] {
        at_every_call_of_a_start(call, "signal=KILL");
    }
}

#[test]
fn a_first_start_that_dies_at_any_change_of_the_disk_is_made_good_by_the_next() {
    for call in ["fdatasync", "fsync", "pwrite64", "ftruncate", "rename", "write"] {
        at_every_call_of_a_first_start(call, "signal=KILL");
    }
}

#[test]
fn a_first_start_on_a_disk_that_is_full_or_broken_is_made_good_by_the_next() {
    for call in ["fdatasync", "fsync", "rename"] {
        at_every_call_of_a_first_start(call, "error=EIO");
    }
    for call in ["pwrite64", "ftruncate", "write"] {
        at_every_call_of_a_first_start(call, "error=ENOSPC");
    }
}

#[test]
fn an_upgrade_that_dies_at_any_change_of_the_disk_is_made_good_by_the_next_start() {
    for call in ["fdatasync", "fsync", "pwrite64", "ftruncate", "rename", "write"] {
        at_every_call_of_an_upgrade(call, "signal=KILL");
    }
}

#[test]
fn an_upgrade_on_a_disk_that_is_full_or_broken_is_made_good_by_the_next_start() {
    for call in ["fdatasync", "fsync", "rename"] {
        at_every_call_of_an_upgrade(call, "error=EIO");
    }
    for call in ["pwrite64", "write"] {
        at_every_call_of_an_upgrade(call, "error=ENOSPC");
    }
}

#[test]
fn a_publish_is_acknowledged_only_after_all_its_syncs() {
    const LATE: Duration = Duration::from_millis(300);
    let mut bench = Bench::new();
    for number in 1..MANY {
        bench.server.launch();
        let client = bench.client();
        // What is due after a start is done in the commit of this one, or was done before.
        client.publish("worker_created", &sample("worker_created"));
        // Nobody wants it, so that its commit is the only one.
        let tracer = Fault { call: "fdatasync", what: "delay_exit=300000", number }.arm(&bench.server);
        let begun = Instant::now();
        client.publish("worker_created", &sample("worker_created"));
        let took = begun.elapsed();
        let has_struck = tracer.disarm();
        assert!(bench.server.terminate().success());
        if !has_struck {
            // Two-phase: the data, and then the word that it is valid.
            assert!(number > 2, "only {} syncs", number - 1);
            return;
        }
        assert!(took >= LATE, "acknowledged after {took:?}, before sync {number} was over");
    }
}
