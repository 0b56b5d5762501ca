//! Several servers on one schema: one is active, the others wait for its end and take over.
//!
//! A short form runs with all tests. The long form, with 1,000 kills and 1,000 pauses of 30 s, or so many as are named:
//! `TEMPCLOCK_LONG=1 TEMPCLOCK_ROUNDS=50 cargo test --test it standby:: -- --nocapture`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::harness::{
    ALL_SCOPES, Client, Gate, Ledger, Postgres, Received, Receiver, Reply, Server, clock_in, eventually, repeated,
};

/// Within this time another server has to be active.
const TAKEN_OVER: Duration = Duration::from_secs(15);
const LONG_ROUNDS: u64 = 1000;
/// Attempts in flight at one endpoint.
const CAP: usize = 4;

fn is_long() -> bool {
    std::env::var_os("TEMPCLOCK_LONG").is_some()
}

/// How many rounds there are, and so many in the short form.
fn rounds(short: u64) -> u64 {
    let named = std::env::var("TEMPCLOCK_ROUNDS").ok().map(|text| text.parse().expect("a number of rounds"));
    if is_long() { named.unwrap_or(LONG_ROUNDS) } else { short }
}

/// Another server on the schema of that one.
#[track_caller]
fn beside(first: &Server, overrides: &[(&str, &str)]) -> Server {
    let mut second = Server::stopped_on_postgres(overrides);
    second.move_to_postgres(&Postgres::shared().url(), first.schema());
    second
}

fn signal(server: &Server, signal: Signal) {
    kill_process(Pid::from_raw(server.pid().cast_signed()).unwrap(), signal).unwrap();
}

/// How often it has taken over.
fn takeovers(server: &Server) -> usize {
    server.log().matches("this server has taken over").count()
}

/// Waits until the server has taken over once more than before. How long that took.
#[track_caller]
fn wait_until_active(server: &Server, before: usize) -> Duration {
    let begun = Instant::now();
    eventually("the other server takes over", || (takeovers(server) > before).then_some(()));
    let took = begun.elapsed();
    // How fast it is depends on the machine, and is looked at in the long form alone.
    assert!(took < TAKEN_OVER || !is_long(), "taken over after {took:?}");
    took
}

#[test]
fn a_second_server_waits_and_takes_over_when_the_first_stops() {
    let mut first = Server::start_on_postgres(&[]);
    let key = first.key(ALL_SCOPES);
    let mut second = beside(&first, &[]);
    second.launch();
    let asked = second.client_with(&key);
    assert_eq!(asked.send("GET", "/healthz", &[], None).status, 200);
    eventually("it says for whom it waits", || second.log().contains("on standby for process ").then_some(()));
    eventually("it is ready to pass requests on", || {
        (asked.send("GET", "/readyz", &[], None).status == 200).then_some(())
    });
    first.client_with(&key).publish("clock_in", &clock_in(1));
    assert!(first.terminate().success(), "{}", first.log());
    wait_until_active(&second, 0);
    let asked = second.client_with(&key);
    assert_eq!(asked.total("/events"), 1);
    // The first one waits now, and stops when it is asked to.
    first.launch();
    assert!(first.terminate().success(), "{}", first.log());
    assert_eq!(takeovers(&first), 0, "{}", first.log());
    asked.publish("clock_in", &clock_in(2));
}

#[test]
fn a_server_on_standby_says_so_while_nobody_is_active() {
    let mut database = Postgres::start();
    let mut first = Server::stopped(&[]);
    first.move_to_postgres(&database.url(), "tempclock_webhooks");
    first.launch();
    let mut second = Server::stopped(&[]);
    second.move_to_postgres(&database.url(), "tempclock_webhooks");
    second.launch();
    database.stop();
    let asked = second.stranger();
    let ready = eventually("it is not ready", || {
        Some(asked.send("GET", "/readyz", &[], None)).filter(|answer| answer.status == 503)
    });
    assert_eq!((&ready.json["status"], &ready.json["checks"]["store"]), (&json!("not_ready"), &json!("failed")));
    let answer = Client::elsewhere(second.address()).send("GET", "/api/v1/webhooks", &[], None);
    assert_eq!((answer.status, &answer.json["code"]), (503, &json!("store_failed")), "{}", answer.text);
}

#[test]
fn a_server_with_another_encryption_key_does_not_wait() {
    let mut first = Server::stopped_on_postgres(&[]);
    let keys = ["own.key", "other.key"].map(|name| first.folder().join(name));
    for key in &keys {
        assert_eq!(first.command(&["secrets", "make-key", key.to_str().unwrap()]).code, Some(0));
    }
    let setting = |index: usize| format!("'{}'", keys[index].display());
    first.configure(&[("storage.encryption_key_file", &setting(0))]);
    first.launch();
    for (value, said) in [(setting(1), "a different key"), (String::new(), "set storage.encryption_key_file")] {
        let refused = beside(&first, &[("storage.encryption_key_file", &value)]).fail_to_start();
        assert_eq!(refused.code, Some(3), "{refused:?}");
        assert!(refused.stderr.contains(said), "{refused:?}");
    }
}

#[test]
fn a_server_that_waits_outlives_an_outage_of_its_database() {
    let mut database = Postgres::start();
    let [mut first, mut second] = [(); 2].map(|()| {
        let mut server = Server::stopped(&[]);
        server.move_to_postgres(&database.url(), "tempclock_webhooks");
        server
    });
    first.launch();
    let key = first.key(ALL_SCOPES);
    second.launch();
    database.restart();
    first.client_with(&key).publish("clock_in", &clock_in(1));
    first.kill_9();
    wait_until_active(&second, 0);
    assert_eq!(second.client_with(&key).total("/events"), 1);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_active_server_is_killed_and_only_attempts_in_flight_are_repeated() {
    let rounds = rounds(2);
    let settings = [("delivery.max_in_flight_per_endpoint", "4")];
    let receiver = Receiver::start();
    let mut active = Server::start_on_postgres(&settings);
    let key = active.key(ALL_SCOPES);
    active.client_with(&key).subscribe(&receiver.url("/hook"), &["clock_in"]);
    let mut standby = beside(&active, &settings);
    let (ledger, mut lives, mut longest) = (Ledger::default(), Vec::new(), Duration::ZERO);
    for round in 0..rounds {
        standby.launch();
        let client = active.client_with(&key);
        let mut sent = Instant::now();
        for entry in 0..10 {
            sent = Instant::now();
            assert_eq!(ledger.publish(&client, &[round * 100 + entry]), Some(202));
        }
        let before = takeovers(&standby);
        active.kill_9();
        lives.push((sent, Instant::now()));
        longest = longest.max(wait_until_active(&standby, before));
        std::mem::swap(&mut active, &mut standby);
    }
    let client = active.client_with(&key);
    client.wait_for_total("/deliveries?status=delivered", rounds * 10);
    let came = receiver.requests();
    assert_eq!(ledger.faults(&came, |_| true), [""; 0]);
    // The outcomes before the last acknowledged publish are committed with it at the latest.
    let after = |(sent, end): &(Instant, Instant)| came.iter().filter(|one| one.at > *sent && one.at <= *end).count();
    let in_flight: usize = lives.iter().map(|life| 2 * CAP + after(life)).sum();
    assert!(repeated(&came) <= in_flight, "{} of {in_flight} were repeated", repeated(&came));
    println!(
        "{rounds} kills: {} events delivered, {} attempts repeated, taken over within {longest:?}",
        ledger.len(),
        repeated(&came)
    );
}

#[test]
fn a_server_that_was_paused_starts_nothing_once_another_one_may_have_taken_over() {
    let settings = [("delivery.max_in_flight_per_endpoint", "4")];
    let mut active = Server::start_on_postgres(&settings);
    let key = active.key(ALL_SCOPES);
    let mut standby = beside(&active, &settings);
    let (rounds, mut longest) = (rounds(1), Duration::ZERO);
    for _ in 0..rounds {
        standby.launch();
        longest = longest.max(pause(&mut active, &standby, &key));
        std::mem::swap(&mut active, &mut standby);
    }
    println!("{rounds} pauses: taken over within {longest:?}");
}

/// Pauses the active server while its attempts are on the wire. How long the other one took to take over.
fn pause(first: &mut Server, second: &Server, key: &str) -> Duration {
    const QUICK: u32 = 8;
    let client = first.client_with(key);
    let (answered, gate) = (AtomicU32::new(0), Gate::default());
    let held = gate.clone();
    let receiver = Receiver::answering(move |_| match answered.fetch_add(1, Ordering::Relaxed) {
        0..QUICK => Reply::status(200),
        _ => Reply::Held(held.clone(), 200),
    });
    let hook = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let delivered = format!("/deliveries?status=delivered&subscription={}", hook.id);
    let ledger = Ledger::default();
    let entries: Vec<u64> = (0..50).map(|entry| u64::try_from(hook.id).unwrap() * 100 + entry).collect();
    assert_eq!(ledger.publish(&client, &entries), Some(202));
    let on_the_wire = receiver.wait_for(QUICK as usize + CAP, "as many attempts on the wire as the cap allows");
    client.wait_for_total(&delivered, u64::from(QUICK));

    let before = takeovers(second);
    signal(first, Signal::STOP);
    receiver.rule(|_| Reply::status(200));
    let took = wait_until_active(second, before);
    let active = second.client_with(key);
    active.wait_for_total(&delivered, 50);
    let revoked = second.create_key(&["--name", "short", "--scopes", "events:read"]);
    // What was on the wire ends well, so that the first one has threads for what it has in memory.
    gate.open();
    if is_long() {
        std::thread::sleep(Duration::from_secs(30));
    }
    signal(first, Signal::CONT);
    // It answers nothing either: it knows no such key, and does not say so.
    let asked = first.client_with(revoked["key"].as_str().unwrap());
    if let Ok(answer) = asked.try_send("GET", "/api/v1/events", &[], None) {
        assert_eq!(answer.status, 503, "{}", answer.text);
    }
    assert_eq!(first.wait_for_exit().code(), Some(74), "{}", first.log());
    assert!(first.log().contains("was taken over by another process"), "{}", first.log());
    active.delete(&format!("/webhooks/{}", hook.id)).expect(200);
    let came = receiver.requests();
    assert_eq!(ledger.faults(&came, |_| true), [""; 0]);
    assert_eq!(came.len(), 50 + CAP);
    let again = |request: &Received| came.iter().filter(|one| one.event_id() == request.event_id()).count();
    assert!(on_the_wire[QUICK as usize..].iter().all(|request| again(request) == 2));
    took
}
