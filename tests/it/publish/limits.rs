//! What the system denies a process: descriptors, threads, large files, permissions, a place for its log. A start
//! that cannot work says why and ends; work goes on as far as it can; nothing that was acknowledged is lost.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::harness::{
    ALL_SCOPES, Client, DiskKind, Failure, Fault, Ledger, Receiver, Server, SmallDisk, eventually, was_injected,
};

/// A server with one subscription, what it has acknowledged so far, and its receiver.
struct Bench {
    server: Server,
    key: String,
    receiver: Receiver,
    ledger: Ledger,
}

impl Bench {
    fn new(settings: &[(&str, &str)]) -> Self {
        let mut server = Server::stopped(settings);
        server.launch();
        Self::on(server)
    }

    fn on(server: Server) -> Self {
        let key = server.key(ALL_SCOPES);
        let receiver = Receiver::start();
        server.client_with(&key).subscribe(&receiver.url("/"), &["clock_in"]);
        Self { server, key, receiver, ledger: Ledger::default() }
    }

    fn client(&self) -> Client {
        self.server.client_with(&self.key)
    }

    /// Publishes one event and sees it arrive.
    fn assert_works(&self, entry: u64) {
        assert_eq!(self.ledger.publish(&self.client(), &[entry]), Some(202));
        self.receiver.wait_until("the event", |came| self.ledger.missing(came).is_empty());
    }

    /// Starts the server as usual again: what was acknowledged arrives, and so does what comes now.
    fn prove(&mut self, entry: u64) {
        self.server.through(&[]);
        self.server.launch();
        self.assert_works(entry);
        self.client().wait_for_total("/deliveries?status=pending", 0);
        assert_eq!(self.ledger.faults(&self.receiver.requests(), |_| true), [""; 0]);
    }
}

/// A start that failed has said why.
#[track_caller]
fn assert_says(failure: &Failure, wanted: &[&str]) {
    assert_eq!(failure.status.code(), Some(1), "{failure:?}");
    for words in wanted {
        assert!(failure.said.contains(words), "{words} is not in: {}", failure.said);
    }
}

#[test]
fn callers_that_take_all_descriptors_hold_up_and_lose_nothing() {
    const DESCRIPTORS: usize = 80;
    let waits = format!("[{}]", [r#""1s""#; 40].join(", "));
    let settings = [("delivery.threads", "4"), ("server.workers", "1"), ("delivery.retry_schedule", &waits)];
    let mut server = Server::stopped(&settings);
    server.launch();
    // As if something else had taken what the server counts on.
    server.limit_descriptors(DESCRIPTORS);
    let bench = Bench::on(server);
    let client = bench.client();
    client.get("/webhooks").expect(200);
    let open = format!("/proc/{}/fd", bench.server.pid());
    let address = bench.server.address();
    let callers: Vec<TcpStream> = (0..DESCRIPTORS).map(|_| TcpStream::connect(address).unwrap()).collect();
    eventually("no descriptor is left", || (fs::read_dir(&open).unwrap().count() >= DESCRIPTORS).then_some(()));

    // Over the connection that there is, events are still taken; none is left to deliver them over.
    assert_eq!(bench.ledger.publish(&client, &[1]), Some(202));
    let row = client.get("/deliveries").expect(200).rows()[0].clone();
    let id = row["id"].as_str().unwrap();
    client.wait_for_delivery(id, "was tried in vain", |delivery| delivery["attempt_count"].as_u64() > Some(0));
    let tries = |delivery: &serde_json::Value| delivery["attempt_count"].as_u64().unwrap();
    let before = tries(&client.delivery(id));
    let (begun, busy) = (Instant::now(), busy(bench.server.pid()));
    // A command takes the last one, and whoever waits in the queue takes it then.
    bench.server.cli(&["keys", "list"]);
    // Two waits of a second at least, so that the share is one of a time that means something.
    client.wait_for_delivery(id, "was tried again", |delivery| tries(delivery) > before + 2);
    let used = crate::publish::limits::busy(bench.server.pid()).saturating_sub(busy);
    let share = used.as_secs_f64() / begun.elapsed().as_secs_f64();
    drop(callers);
    client.wait_for_status(id, "delivered");
    bench.assert_works(2);
    let log = eventually("the log names the cause", || {
        Some(bench.server.log()).filter(|log| log.contains("Too many open files"))
    });
    assert!(log.lines().count() < 200, "{} lines of log", log.lines().count());
    assert!(share < 0.3, "{:.0} % of a processor used for waiting", share * 100.0);
}

/// How much processor time a process has used.
fn busy(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

#[test]
fn a_start_with_too_few_descriptors_says_so_or_works() {
    let mut bench = Bench::new(&[("delivery.threads", "4"), ("server.workers", "1")]);
    bench.server.terminate();
    let mut could_be_loaded = false;
    for descriptors in 4.. {
        bench.server.through(&["prlimit", &format!("--nofile={descriptors}")]);
        if let Err(failure) = bench.server.try_launch() {
            // The first few do not do to load the program, the more so if whoever started the tests left some open.
            could_be_loaded |= failure.status.code() != Some(127);
            if could_be_loaded {
                assert_says(&failure, &["Too many open files"]);
            }
            continue;
        }
        // Enough for a start can still be one too few for the first caller; nothing is lost by it.
        bench.server.kill_9();
        break;
    }
    bench.prove(1);
}

#[test]
fn a_start_without_enough_threads_says_so_or_works() {
    let mut bench = Bench::new(&[("delivery.threads", "2"), ("server.workers", "1")]);
    bench.server.terminate();
    let trace = bench.server.folder().join("trace");
    for number in 1..100 {
        let fault = Fault { call: "clone3", what: "error=EAGAIN", number };
        let words = fault.words(&trace, &[]);
        bench.server.through(&words.iter().map(String::as_str).collect::<Vec<_>>());
        if let Err(failure) = bench.server.try_launch() {
            assert_says(&failure, &["Resource temporarily unavailable"]);
            continue;
        }
        bench.assert_works(u64::from(number));
        bench.server.kill_9();
        if !was_injected(&trace) {
            assert!(number > 1, "no thread is ever started: the fault proves nothing");
            return bench.prove(0);
        }
    }
    panic!("threads are started without end");
}

#[test]
fn a_limit_on_the_size_of_files_ends_the_process_in_order_and_loses_nothing() {
    let mut server = Server::stopped(&[]);
    server.through(&["prlimit", "--fsize=1048576"]);
    server.launch();
    let mut bench = Bench::on(server);
    let client = bench.client();
    let refused = (0..100_000).step_by(50).find_map(|first| {
        let entries: Vec<u64> = (first..first + 50).collect();
        let status = bench.ledger.publish(&client, &entries);
        (status != Some(202)).then_some((entries, status))
    });
    let (entries, status) = refused.expect("an end of the file");
    assert!(matches!(status, None | Some(503)), "answered {status:?}");
    let ended = bench.server.wait_for_exit();
    let log = bench.server.log();
    bench.prove(200_000);
    assert_eq!(bench.ledger.publish(&bench.client(), &entries), Some(202));
    assert_eq!(ended.code(), Some(74), "{ended}: {log}");
    assert!(log.contains("File too large"), "{log}");
}

#[test]
fn a_start_on_a_read_only_disk_says_so_and_the_next_one_works() {
    let mut server = Server::stopped(&[("storage.free_space_reserve", r#""0""#)]);
    let Some(disk) = SmallDisk::under(&mut server, DiskKind::Tmpfs, 32 << 20) else { return };
    server.launch();
    let mut bench = Bench::on(server);
    assert_eq!(bench.ledger.publish(&bench.client(), &[1]), Some(202));
    bench.server.kill_9();
    disk.remount("ro");
    let folder = bench.server.data_dir().display().to_string();
    assert_says(&bench.server.try_launch().unwrap_err(), &[&folder, "Read-only file system"]);
    disk.remount("rw");
    bench.prove(2);
}

/// Root reads and writes whatever it likes, unless this capability is out of reach.
fn without_special_rights(server: &mut Server) {
    if rustix::process::geteuid().is_root() {
        server.through(&["setpriv", "--bounding-set=-dac_override,-dac_read_search"]);
    }
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn permissions_that_are_lost_before_a_start_are_named() {
    let mut bench = Bench::new(&[]);
    assert_eq!(bench.ledger.publish(&bench.client(), &[1]), Some(202));
    assert!(bench.server.terminate().success());
    without_special_rights(&mut bench.server);
    let folder = bench.server.data_dir();
    let database = folder.join("tempclock.redb");
    let shown = folder.display().to_string();
    for (path, mode, usual) in [(&folder, 0o000, 0o700), (&folder, 0o500, 0o700), (&database, 0o400, 0o600)] {
        allow(path, mode);
        assert_says(&bench.server.try_launch().unwrap_err(), &[&shown, "Permission denied", "chmod u+rwX"]);
        allow(path, usual);
    }
    bench.prove(2);
}

#[test]
fn permissions_that_are_lost_while_it_runs_hold_up_neither_work_nor_a_stop() {
    let mut bench = Bench::new(&[]);
    assert!(bench.server.terminate().success());
    without_special_rights(&mut bench.server);
    bench.server.launch();
    allow(&bench.server.data_dir(), 0o000);
    bench.assert_works(1);
    assert_eq!(bench.server.terminate().code(), Some(0), "{}", bench.server.log());
    allow(&bench.server.data_dir(), 0o700);
    bench.prove(2);
}

#[test]
fn a_control_socket_that_somebody_removed_does_not_hold_up_a_stop() {
    let mut bench = Bench::new(&[]);
    fs::remove_file(bench.server.data_dir().join("control.sock")).unwrap();
    bench.assert_works(1);
    assert_eq!(bench.server.terminate().code(), Some(0), "{}", bench.server.log());
    bench.prove(2);
}

/// The server on a stderr that takes nothing: it works, and ends when asked to.
fn assert_works_unheard(stderr: Stdio, words: &[&str]) {
    let mut bench = Bench::new(&[]);
    assert!(bench.server.terminate().success());
    bench.server.through(words);
    bench.server.launch_unheard(stderr);
    bench.assert_works(1);
    bench.server.wait_until_it_heeds_signals();
    assert_eq!(bench.server.terminate().code(), Some(0));
    bench.prove(2);
}

#[test]
fn a_full_disk_under_the_log_stops_nothing() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    assert_works_unheard(full.into(), &[]);
}

#[test]
fn a_log_that_nobody_reads_stops_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_works_unheard(writer.into(), &[]);
}

#[test]
fn a_log_that_is_not_read_for_a_while_stops_nothing_and_says_how_much_it_has_left_out() {
    const EVENTS: u64 = 6000;
    let mut bench = Bench::new(&[("log.level", r#""debug""#)]);
    assert!(bench.server.terminate().success());
    let (reader, writer) = std::io::pipe().unwrap();
    bench.server.launch_unheard(writer.into());
    // Each of them has a line, and a pipe has room for some hundred.
    for first in (0..EVENTS).step_by(100) {
        assert_eq!(bench.ledger.publish(&bench.client(), &(first..first + 100).collect::<Vec<_>>()), Some(202));
    }
    bench.receiver.wait_until("the events", |came| bench.ledger.missing(came).is_empty());
    let lines = BufReader::new(reader).lines().map_while(Result::ok);
    let said = lines.take(20_000).find(|line| line.contains("lines of the log were dropped"));
    assert!(said.is_some_and(|line| line.contains("WARN")));
    assert_eq!(bench.server.terminate().code(), Some(0));
    bench.prove(EVENTS + 1);
}

#[test]
fn a_log_that_is_closed_stops_nothing() {
    assert_works_unheard(Stdio::null(), &["sh", "-c", r#"exec "$0" "$@" 2>&-"#]);
}

#[test]
fn a_reader_of_the_log_that_goes_away_stops_nothing() {
    let mut bench = Bench::new(&[]);
    assert!(bench.server.terminate().success());
    let (reader, writer) = std::io::pipe().unwrap();
    bench.server.launch_unheard(writer.into());
    let mut lines = BufReader::new(reader).lines();
    lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("listening on"))).unwrap().unwrap();
    drop(lines);
    bench.assert_works(1);
    bench.server.wait_until_it_heeds_signals();
    assert_eq!(bench.server.terminate().code(), Some(0));
    bench.prove(2);
}
