//! `kill -9` under load, again and again: every acknowledged event arrives at every subscriber, nothing arrives as
//! something else, and only attempts that were in flight are made again.
//!
//! A short form runs with all tests. The long form of 1,000 cycles takes some minutes:
//! `TEMPCLOCK_LONG=1 cargo test --test it kill::`. `TEMPCLOCK_SEED=n` chooses the moments of a run that failed; what
//! the threads do meanwhile is up to the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{ALL_SCOPES, Client, Gate, Ledger, Received, Receiver, Reply, Server, repeated};

const SHORT_CYCLES: u64 = 40;
const LONG_CYCLES: u64 = 1000;
const PUBLISHERS: usize = 4;
/// Attempts in flight at one endpoint.
const CAP: usize = 4;

/// Numbers that look random and are the same for the same seed (`SplitMix64`).
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Something that can be counted, and is the end of the server at some count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Acknowledged,
    Received,
}

/// Ends the server at the n-th of something. It strikes in the thread that counts, so the kill falls right there.
#[derive(Default)]
struct Trigger(Mutex<Option<Armed>>);

struct Armed {
    server: Pid,
    at: Moment,
    left: u64,
    pause: Duration,
}

impl Trigger {
    fn arm(&self, server: &Server, at: Moment, left: u64, pause: Duration) {
        let server = Pid::from_raw(server.pid().cast_signed()).unwrap();
        *self.0.lock().unwrap() = Some(Armed { server, at, left, pause });
    }

    fn count(&self, what: Moment) {
        let mut armed = self.0.lock().unwrap();
        let Some(counted) = armed.as_mut().filter(|armed| armed.at == what) else { return };
        counted.left = counted.left.saturating_sub(1);
        if counted.left == 0 {
            // A part of a millisecond more or less decides between request, answer, write and sync.
            thread::sleep(counted.pause);
            kill_process(counted.server, Signal::KILL).unwrap();
            *armed = None;
        }
    }
}

/// One publisher, which is a careful one: what was not acknowledged it sends again under the same keys.
#[derive(Default)]
struct Publisher {
    unanswered: Option<Vec<u64>>,
}

impl Publisher {
    /// Publishes single events and small batches until the server is gone. Notes in `sent` when the last of the
    /// acknowledged requests was sent.
    fn run(&mut self, client: &Client, ledger: &Ledger, next: &AtomicU64, trigger: &Trigger, sent: &Mutex<Instant>) {
        loop {
            let entries = self.unanswered.take().unwrap_or_else(|| {
                let first = next.fetch_add(3, Ordering::Relaxed);
                if first.is_multiple_of(2) { vec![first] } else { (first..first + 3).collect() }
            });
            let now = Instant::now();
            let Some(status) = ledger.publish(client, &entries) else {
                self.unanswered = Some(entries);
                return;
            };
            assert_eq!(status, 202);
            let mut sent = sent.lock().unwrap();
            *sent = now.max(*sent);
            drop(sent);
            trigger.count(Moment::Acknowledged);
        }
    }
}

/// Which attempts a receiver with moods refuses. It depends on nothing else, so the books can ask again.
fn is_refused(request: &Received) -> bool {
    let entry = request.json()["data"]["entry_id"].as_u64().unwrap();
    (entry.is_multiple_of(5) && request.attempt() == 1) || (entry.is_multiple_of(35) && request.attempt() == 2)
}

/// The numbers that are missing below the last attempt of some delivery.
fn gaps(came: &[Received]) -> Vec<String> {
    let mut numbers: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for request in came {
        numbers.entry(request.header("x-tempclock-delivery")).or_default().insert(request.attempt());
    }
    let has_gap = |numbers: &BTreeSet<u32>| !numbers.iter().copied().eq(1..=u32::try_from(numbers.len()).unwrap());
    let broken = numbers.iter().filter(|(_, numbers)| has_gap(numbers));
    broken.map(|(delivery, numbers)| format!("{delivery} was attempted as {numbers:?}")).collect()
}

/// How many attempts can have been in flight when a server was killed, which is until their outcome is committed.
///
/// The writer takes its commands in their order, but for failed attempts, so an acknowledged publish proves that every
/// outcome that was reported before it is committed. Left are the attempts under way when it was sent, those that came after it, and
/// those still on the wire at the end.
fn possibly_in_flight(came: &[Received], lives: &[(Instant, Instant)]) -> usize {
    let after = |(sent, end): &(Instant, Instant)| came.iter().filter(|r| r.at > *sent && r.at <= *end).count();
    lives.iter().map(|life| 2 * CAP + after(life)).sum()
}

fn seed() -> u64 {
    let from_clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
    std::env::var("TEMPCLOCK_SEED").map_or_else(|_| from_clock(), |text| text.parse().expect("TEMPCLOCK_SEED"))
}

#[test]
fn nothing_acknowledged_is_lost_and_only_attempts_in_flight_are_repeated() {
    let cycles = if std::env::var_os("TEMPCLOCK_LONG").is_some() { LONG_CYCLES } else { SHORT_CYCLES };
    let seed = seed();
    eprintln!("{cycles} cycles with TEMPCLOCK_SEED={seed}");
    let mut seeded = Seeded(seed);
    let trigger = Arc::new(Trigger::default());
    let counting = |reply: fn(&Received) -> Reply| {
        let trigger = Arc::clone(&trigger);
        Receiver::answering(move |request| {
            trigger.count(Moment::Received);
            reply(request)
        })
    };
    let receivers = [
        counting(|_| Reply::status(200)),
        counting(|request| Reply::status(if is_refused(request) { 500 } else { 204 })),
        // Slow enough that something is always on the wire.
        counting(|_| Reply::Late(Duration::from_millis(3), 200)),
    ];

    let mut server = Server::start(&[("delivery.max_in_flight_per_endpoint", &CAP.to_string())]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let subscriptions = receivers.each_ref().map(|receiver| client.subscribe(&receiver.url("/"), &["clock_in"]));
    let (ledger, next) = (Ledger::default(), AtomicU64::new(1));
    let mut publishers: [Publisher; PUBLISHERS] = Default::default();
    let mut lives = Vec::new();
    for _ in 0..cycles {
        let sent = Mutex::new(Instant::now());
        let at = if seeded.below(2) == 0 { Moment::Acknowledged } else { Moment::Received };
        trigger.arm(&server, at, 1 + seeded.below(60), Duration::from_micros(seeded.below(3000)));
        let client = server.client_with(&key);
        thread::scope(|scope| {
            for publisher in &mut publishers {
                scope.spawn(|| publisher.run(&client, &ledger, &next, &trigger, &sent));
            }
        });
        assert!(server.wait_for_exit().code().is_none(), "the server ended by itself");
        lives.push((sent.into_inner().unwrap(), Instant::now()));
        server.launch();
    }
    let client = server.client_with(&key);
    for entries in publishers.into_iter().filter_map(|publisher| publisher.unanswered) {
        assert_eq!(ledger.publish(&client, &entries), Some(202));
    }
    client.wait_for_total("/deliveries?status=pending", 0);

    assert_eq!(client.total("/events"), ledger.len() as u64, "an event that nobody published, or one published twice");
    assert_eq!(client.total("/deliveries?status=delivered"), 3 * ledger.len() as u64);
    for (receiver, subscription) in receivers.iter().zip(&subscriptions) {
        let mut came = receiver.requests();
        let has_moods = subscription.id == subscriptions[1].id;
        assert_eq!(ledger.faults(&came, |request| !(has_moods && is_refused(request))), [""; 0]);
        assert_eq!(gaps(&came), [""; 0]);
        for request in &came {
            request.assert_signed_with(&subscription.secret);
        }
        // What was refused may come again: it waits a little longer for its commit, and has not arrived anyway.
        came.retain(|request| !(has_moods && is_refused(request)));
        let (repeated, most) = (repeated(&came), possibly_in_flight(&came, &lives));
        eprintln!("{} events, {} requests, {repeated} of {most} repeated", ledger.len(), came.len());
        assert!(repeated <= most, "{repeated} attempts were repeated, {most} can have been in flight");
    }
}

#[test]
fn a_kill_repeats_exactly_the_attempts_on_the_wire_when_all_others_are_recorded() {
    const QUICK: u32 = 8;
    let mut server = Server::start(&[("delivery.max_in_flight_per_endpoint", &CAP.to_string())]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    // What may be in flight at once grows with every quick answer; later requests are never answered.
    let answered = AtomicU32::new(0);
    let receiver = Receiver::answering(move |_| match answered.fetch_add(1, Ordering::Relaxed) {
        0..QUICK => Reply::status(200),
        _ => Reply::Held(Gate::default(), 200),
    });
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let ledger = Ledger::default();
    let entries: Vec<u64> = (0..50).collect();
    assert_eq!(ledger.publish(&client, &entries), Some(202));
    let held = receiver.wait_for(QUICK as usize + CAP, "as many attempts on the wire as the cap allows");
    client.wait_for_total("/deliveries?status=delivered", u64::from(QUICK));

    server.kill_9();
    receiver.rule(|_| Reply::status(200));
    server.launch();
    server.client_with(&key).wait_for_total("/deliveries?status=delivered", 50);
    let came = receiver.requests();
    assert_eq!(ledger.faults(&came, |_| true), [""; 0]);
    assert_eq!(came.len(), 50 + CAP);
    for request in &held[QUICK as usize..] {
        assert_eq!(came.iter().filter(|again| again.event_id() == request.event_id()).count(), 2);
    }
}

#[test]
fn the_books_show_what_is_lost_changed_renamed_or_sent_after_a_success() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let ledger = Ledger::default();
    assert_eq!(ledger.publish(&client, &[1, 2]), Some(202));
    let mut came = receiver.wait_for(2, "both events");
    came.sort_by_key(Received::event_id);
    let faults = |came: &[Received]| ledger.faults(came, |_| true).join(", ");
    assert_eq!(faults(&came), "");
    assert_eq!(repeated(&came), 0);

    assert_eq!(faults(&came[1..]), "entry 1 was lost");
    let with = |change: fn(&mut Received)| {
        let mut further = came[0].clone();
        change(&mut further);
        [came.as_slice(), &[further]].concat()
    };
    let again = with(|_| {});
    assert_eq!((faults(&again), repeated(&again)), (String::new(), 1));
    let changed = faults(&with(|request| request.body.push(b' ')));
    assert!(changed.ends_with("came with two bodies"), "{changed}");
    let further = faults(&with(|request| change_header(request, "x-tempclock-attempt", "2")));
    assert!(further.ends_with("was attempted as number 2 after number 1 succeeded"), "{further}");
    let renamed = faults(&with(|request| change_header(request, "x-tempclock-delivery", "dlv_other")));
    assert!(renamed.contains("has two of delivery id"), "{renamed}");
    let skipped = [came[1].clone(), with(|request| change_header(request, "x-tempclock-attempt", "3"))[2].clone()];
    assert_eq!(gaps(&skipped).len(), 1);

    // An acknowledgement that was never kept, and one under another id than before.
    ledger.book(3, "evt_never_published");
    assert_eq!(faults(&came), "entry 3 was lost");
    ledger.book(2, "evt_never_published");
    assert!(faults(&came).contains("has two of event"), "{}", faults(&came));
}

fn change_header(request: &mut Received, name: &str, value: &str) {
    let header = request.headers.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name));
    value.clone_into(&mut header.expect("the header").1);
}
