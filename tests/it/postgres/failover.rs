//! A primary that fails and a standby that takes over: the server goes on by itself, and nothing that was acknowledged is
//! lost. With `FAILOVER_ROUNDS` it happens so many times.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::harness::{ALL_SCOPES, Ledger, PATIENCE, Postgres, Receiver, Server, clock_in, eventually};

/// How long a publish may take to be accepted after a promotion.
const BACK: Duration = Duration::from_secs(10);
const PUBLISHERS: u64 = 4;

fn rounds() -> u32 {
    std::env::var("FAILOVER_ROUNDS").map_or(2, |text| text.parse().expect("FAILOVER_ROUNDS is a number"))
}

/// Ends the publishers, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn no_acknowledged_event_is_lost_when_the_primary_is_killed_and_its_standby_takes_over() {
    let mut primary = Postgres::start();
    let mut standby = primary.standby(None);
    primary.wait_for_standby();
    let receiver = Receiver::start();
    let mut server = Server::stopped(&[]);
    server.move_to_postgres(&primary.url_with(&standby), "tempclock_webhooks");
    server.launch();
    let key = server.key(ALL_SCOPES);
    server.client_with(&key).subscribe(&receiver.url("/hook"), &["clock_in"]);
    let ledger = Ledger::default();
    let (mut restarts, mut slowest) = (0, Duration::ZERO);
    let is_long = std::env::var_os("FAILOVER_ROUNDS").is_some();
    for round in 0..rounds() {
        let (is_over, next) = (AtomicBool::new(false), AtomicU64::new(u64::from(round) * 1_000_000));
        let mut back = None;
        let client = server.client_with(&key);
        thread::scope(|scope| {
            let over = Over(&is_over);
            for _ in 0..PUBLISHERS {
                scope.spawn(|| {
                    while !is_over.load(Ordering::SeqCst) {
                        let entry = next.fetch_add(1, Ordering::SeqCst);
                        // Whoever gets no answer asks again under the same key.
                        while ![Some(202), Some(200)].contains(&ledger.publish(&client, &[entry]))
                            && !is_over.load(Ordering::SeqCst)
                        {
                            thread::sleep(Duration::from_millis(10));
                        }
                    }
                });
            }
            let begun = ledger.len();
            eventually("events are published", || (ledger.len() > begun + 20).then_some(()));
            primary.kill_9();
            standby.promote();
            let promoted = (Instant::now(), ledger.len());
            // What was under way at the promotion may be acknowledged late; this many were begun after it.
            let wanted = promoted.1 + usize::try_from(2 * PUBLISHERS).unwrap();
            while back.is_none() && promoted.0.elapsed() < PATIENCE && server.has_exited().is_none() {
                back = (ledger.len() > wanted).then(|| promoted.0.elapsed());
                thread::sleep(Duration::from_millis(5));
            }
            drop(over);
        });
        if let Some(status) = server.has_exited() {
            assert_eq!(status.code(), Some(74), "round {round}: {}", server.log());
            server.wait_for_exit();
            restarts += 1;
            server.launch();
        } else {
            let back = back.expect("events are accepted again");
            // How fast it is depends on the machine, and is looked at in the long form alone.
            assert!(back <= BACK || !is_long, "round {round}: back after {back:?}");
            slowest = slowest.max(back);
        }
        // The one that failed is made anew, as the standby of the other one.
        let next = standby.standby(Some(&primary));
        (primary, standby) = (standby, next);
        primary.wait_for_standby();
    }
    eventually("every event arrives", || ledger.missing(&receiver.requests()).is_empty().then_some(()));
    let faults = ledger.faults(&receiver.requests(), |_| true);
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(restarts, 0, "the server went on by itself: {}", server.log());
    println!("{} rounds, {} events, slowest {slowest:?}", rounds(), ledger.len());
}

#[test]
fn a_standby_that_lacks_acknowledged_commits_is_not_gone_on_with() {
    // With nothing to store, too.
    for is_published in [true, false] {
        let mut primary = Postgres::start();
        let mut standby = primary.standby(None);
        let mut server = Server::stopped(&[]);
        server.move_to_postgres(&primary.url_with(&standby), "tempclock_webhooks");
        server.launch();
        let client = server.client();
        client.publish("clock_in", &clock_in(1));
        // It is not synchronous: it has the first event after a while, and hears nothing of what follows.
        let events_there = || standby.sql("SELECT count(*) FROM tempclock_webhooks.events");
        eventually("the standby has the first event", || (events_there() == "1").then_some(()));
        standby.pause();
        client.publish("clock_in", &clock_in(2));
        primary.kill_9();
        standby.start_again();
        standby.promote();
        let body = json!({"event": "clock_in", "data": clock_in(3)}).to_string();
        let headers = [("Content-Type", "application/json")];
        // It may have ended before it could answer.
        if is_published && let Ok(answer) = client.try_send("POST", "/api/v1/events", &headers, Some(body.as_bytes())) {
            assert_eq!(answer.status, 503, "{answer:?}");
        }
        let status = server.wait_for_exit();
        assert_eq!(status.code(), Some(74), "{}", server.log());
        for said in ["was acknowledged", "synchronous_standby_names"] {
            assert!(server.log().contains(said), "{}", server.log());
        }
        assert_eq!(standby.sql("SELECT count(*) FROM tempclock_webhooks.events"), "1");
    }
}

#[test]
fn a_commit_whose_wait_for_the_standby_was_ended_is_acknowledged_once_the_standby_has_it() {
    let primary = Postgres::start();
    let mut standby = primary.standby(None);
    primary.wait_for_standby();
    let mut server = Server::stopped(&[]);
    server.move_to_postgres(&primary.url_with(&standby), "tempclock_webhooks");
    server.launch();
    let client = server.client();
    client.publish("clock_in", &clock_in(1));
    standby.pause();
    let waiting = |columns: &str| {
        primary.sql(&format!(
            "SELECT {columns} FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query = 'COMMIT' AND backend_type = 'client backend'"
        ))
    };
    thread::scope(|scope| {
        let published = scope.spawn(|| client.publish("clock_in", &clock_in(2)));
        let first =
            eventually("the commit waits for the standby", || Some(waiting("pid")).filter(|pid| !pid.is_empty()));
        // Its transaction is committed then, and is seen, but the standby has not heard of it.
        primary.sql(&format!("SELECT pg_terminate_backend({first})"));
        eventually("another commit waits for the standby", || {
            assert!(!published.is_finished(), "it was acknowledged while the standby lacked it");
            Some(waiting("pid")).filter(|pid| !pid.is_empty() && *pid != first)
        });
        standby.start_again();
        published.join().unwrap();
    });
    assert_eq!(standby.sql("SELECT count(*) FROM tempclock_webhooks.events"), "2");
}

#[test]
fn a_primary_that_comes_back_after_another_took_over_is_not_used() {
    let mut primary = Postgres::start();
    let standby = primary.standby(None);
    primary.wait_for_standby();
    let mut server = Server::stopped(&[]);
    server.move_to_postgres(&primary.url_with(&standby), "tempclock_webhooks");
    server.launch();
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    client.publish("clock_in", &clock_in(1));
    primary.kill_9();
    standby.promote();
    client.publish("clock_in", &clock_in(2));
    // The first of the URL takes writes again, as if it still were the only one.
    primary.start_again();
    primary.sql("ALTER SYSTEM RESET synchronous_standby_names");
    standby.sql(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'tempclock-webhooks'",
    );
    client.publish("clock_in", &clock_in(3));
    assert_eq!(client.total("/events"), 3);
    server.restart();
    let client = server.client_with(&key);
    client.publish("clock_in", &clock_in(4));
    assert_eq!(client.total("/events"), 4);
    assert_eq!(standby.sql("SELECT count(*) FROM tempclock_webhooks.events"), "4");
}
