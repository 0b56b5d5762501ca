//! Somebody sets the machine's clock, by an hour, a day or two months, forward or back: no retry is early, none is late,
//! nothing is sent more often, nothing that is stored is taken away, and ids go on growing.

use std::collections::HashSet;
use std::time::Duration;

use crate::harness::{
    ALL_SCOPES, Client, Ledger, Received, Receiver, Reply, Server, WallClock, clock_in, eventually, sample, time,
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Twice as long as anything is kept, and some minutes, which are not told.
const SIXTY_DAYS: i64 = 60 * DAY + HOUR;

/// How far the server's wall clock, as its ids and answers show it, is from the machine's.
fn assert_is_set(client: &Client, event: &str, offset_s: i64) {
    let shown = client.get(&format!("/events/{event}")).expect(200).data()["created_at"].clone();
    let apart = time(&shown).as_second() - jiff::Timestamp::now().as_second() - offset_s;
    assert!(apart.abs() < 30 * 60, "{shown} with the clock at {offset_s}: it was not set");
}

#[test]
fn a_step_of_the_clock_makes_no_retry_early_or_late_and_nothing_twice() {
    const WAIT: Duration = Duration::from_secs(1);
    const EVENTS: u64 = 20;
    let mut server = Server::stopped(&[("delivery.retry_schedule", r#"["1s", "1s", "1s", "1s"]"#)]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let client = server.client();
    let failing = Receiver::answering(|request| Reply::status(if request.attempt() < 5 { 500 } else { 200 }));
    let healthy = Receiver::start();
    client.subscribe(&failing.url("/"), &["clock_in"]);
    client.subscribe(&healthy.url("/"), &["worker_created"]);
    let (ledger, entries) = (Ledger::default(), (0..EVENTS).collect::<Vec<_>>());
    assert_eq!(ledger.publish(&client, &entries), Some(202));
    for (attempts, offset_s) in (1..).zip([HOUR, 0, DAY, 0]) {
        failing.wait_until("everything was attempted once more", |came| came.len() as u64 >= EVENTS * attempts);
        // Not before the outcomes are recorded: only then are retries planned.
        eventually("all outcomes are recorded", || {
            let rows = client.get("/deliveries?event=clock_in&limit=100").expect(200);
            rows.rows().iter().all(|delivery| delivery["attempt_count"].as_u64() >= Some(attempts)).then_some(())
        });
        clock.set(offset_s);
        let event = client.publish("worker_created", &sample("worker_created"));
        healthy.wait_for(usize::try_from(attempts).unwrap(), "an event published after the step");
        if offset_s > 0 {
            assert_is_set(&client, &event, offset_s);
        }
    }
    client.wait_for_total("/deliveries?status=pending", 0);

    let came = failing.requests();
    assert_eq!(ledger.faults(&came, |request| request.attempt() == 5), [""; 0]);
    assert_eq!((came.len() as u64, healthy.requests().len()), (5 * EVENTS, 4));
    for last in came.iter().filter(|request| request.attempt() > 1) {
        let is_before = |r: &&Received| r.event_id() == last.event_id() && r.attempt() + 1 == last.attempt();
        let apart = last.at - came.iter().find(is_before).expect("the attempt before").at;
        assert!(apart + Duration::from_millis(5) >= WAIT, "attempt {} came after {apart:?}", last.attempt());
    }
}

/// A retry is planned, the process dies, the clock is set, the process comes back.
fn a_retry_after_a_restart_with_the_clock_set_by(offset_s: i64) {
    let mut server = Server::stopped(&[("delivery.retry_schedule", r#"["1s"]"#)]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::answering(|request| Reply::status(if request.attempt() < 2 { 500 } else { 200 }));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let delivery = client.delivery_ids(&client.publish("clock_in", &clock_in(1))).remove(0);
    client.wait_for_delivery(&delivery, "was tried", |delivery| delivery["attempt_count"] == 1);
    server.kill_9();
    clock.set(offset_s);
    server.launch();

    let client = server.client_with(&key);
    let event = client.publish("worker_created", &sample("worker_created"));
    client.wait_for_status(&delivery, "delivered");
    assert_eq!(receiver.requests().iter().map(Received::attempt).collect::<Vec<_>>(), [1, 2]);
    if offset_s > 0 {
        assert_is_set(&client, &event, offset_s);
    }
}

#[test]
fn a_retry_is_made_after_a_restart_with_the_clock_an_hour_back() {
    a_retry_after_a_restart_with_the_clock_set_by(-HOUR);
}

#[test]
fn a_retry_is_made_after_a_restart_with_the_clock_a_day_back() {
    a_retry_after_a_restart_with_the_clock_set_by(-DAY);
}

#[test]
fn a_retry_is_made_after_a_restart_with_the_clock_a_day_forward() {
    a_retry_after_a_restart_with_the_clock_set_by(DAY);
}

#[test]
fn ids_grow_and_idempotency_keys_are_known_however_the_clock_is_set() {
    let mut server = Server::stopped(&[]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let key = server.key(ALL_SCOPES);
    let receiver = Receiver::start();
    server.client_with(&key).subscribe(&receiver.url("/"), &["clock_in"]);
    let ledger = Ledger::default();
    let mut ids = Vec::new();
    for (entry, offset_s) in (1..).zip([0, HOUR, 0, DAY, -HOUR, -DAY, HOUR]) {
        clock.set(offset_s);
        // Half of the steps are made while the server runs, and half while it does not.
        if entry % 2 == 0 {
            server.kill_9();
            server.launch();
        }
        let client = server.client_with(&key);
        assert_eq!(ledger.publish(&client, &[entry]), Some(202));
        assert_eq!(ledger.publish(&client, &[1]), Some(202));
        for _ in 0..3 {
            ids.push(client.publish("clock_out", &sample("clock_out")));
        }
    }
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]), "{ids:#?}");
    server.client_with(&key).wait_for_total("/deliveries?status=pending", 0);
    assert_eq!(ledger.len(), 7);
    assert_eq!(ledger.faults(&receiver.requests(), |_| true), [""; 0]);
}

/// A server with three events that were delivered and three that wait an hour for their retry, all stored while its clock
/// was set by so much.
struct Stored {
    server: Server,
    clock: WallClock,
    key: String,
    healthy: Receiver,
    failing: Receiver,
    subscription: i64,
    delivered: Vec<String>,
    waiting: Vec<String>,
}

impl Stored {
    fn at(offset_s: i64) -> Self {
        let mut server = Server::stopped(&[("delivery.retry_schedule", r#"["1h"]"#)]);
        let clock = WallClock::of(&mut server);
        clock.set(offset_s);
        server.launch();
        let key = server.key(ALL_SCOPES);
        let client = server.client_with(&key);
        let (healthy, failing) = (Receiver::start(), Receiver::answering(|_| Reply::status(500)));
        client.subscribe(&healthy.url("/"), &["worker_created"]);
        let subscription = client.subscribe(&failing.url("/"), &["clock_in"]).id;
        let delivered: Vec<_> = (0..3).map(|_| client.publish("worker_created", &sample("worker_created"))).collect();
        let waiting: Vec<_> = (0..3).map(|number| client.publish("clock_in", &clock_in(number))).collect();
        for event in &delivered {
            client.settled(event, "delivered");
        }
        for event in &waiting {
            let delivery = client.delivery_ids(event).remove(0);
            client.wait_for_delivery(&delivery, "was tried", |delivery| delivery["attempt_count"] == 1);
        }
        assert_is_set(&client, &delivered[0], offset_s);
        Self { server, clock, key, healthy, failing, subscription, delivered, waiting }
    }

    fn client(&self) -> Client {
        self.server.client_with(&self.key)
    }

    /// Kills the server, sets the clock, and starts the server again.
    fn start_again_at(&mut self, offset_s: i64) {
        self.server.kill_9();
        self.clock.set(offset_s);
        self.server.launch();
    }

    /// Commits often enough for all housekeeping there is: it goes along with each, and looks at a hundred rows.
    fn let_housekeeping_run(&self) {
        for _ in 0..6 {
            self.client().publish("clock_out", &sample("clock_out"));
        }
    }

    #[track_caller]
    fn assert_all_there(&self) {
        self.let_housekeeping_run();
        let client = self.client();
        for event in &self.delivered {
            let shown = client.get(&format!("/events/{event}")).expect(200);
            assert_eq!(shown.data()["deliveries"][0]["status"], "delivered");
            let delivery = client.delivery(&client.delivery_ids(event)[0]);
            assert_eq!(delivery["attempts"].as_array().map(Vec::len), Some(1), "{delivery}");
        }
        for event in &self.waiting {
            assert_eq!(client.delivery_of(event)["status"], "pending");
        }
        assert_eq!(self.failing.requests().len(), self.waiting.len(), "a retry was early");
    }

    /// How far the time of a new event is from the machine's.
    fn new_event_is_off_by(&self) -> (String, i64) {
        let client = self.client();
        let event = client.publish("worker_created", &sample("worker_created"));
        let shown = client.get(&format!("/events/{event}")).expect(200).data()["created_at"].clone();
        (event, time(&shown).as_second() - jiff::Timestamp::now().as_second())
    }
}

#[test]
fn a_start_with_the_clock_sixty_days_ahead_takes_nothing_away_and_leaves_nothing_behind() {
    let mut stored = Stored::at(0);
    stored.start_again_at(SIXTY_DAYS);
    stored.assert_all_there();
    let (ahead, _) = stored.new_event_is_off_by();
    let log = stored.server.log();
    assert_eq!(log.matches("clock confirm").count(), 1, "{log}");
    let told = stored.server.cli(&["doctor", "--json"]).stdout;
    assert!(told.contains("60 days do not count") && told.contains("clock confirm"), "{told}");
    // One more failure, five days after the first if the clock were right.
    let event = stored.client().publish("clock_in", &clock_in(9));
    let delivery = stored.client().delivery_ids(&event).remove(0);
    stored.client().wait_for_delivery(&delivery, "was tried", |delivery| delivery["attempt_count"] == 1);
    assert_eq!(stored.client().subscription(stored.subscription)["active"], true);

    for is_restarted in [false, true] {
        if is_restarted {
            stored.start_again_at(0);
        } else {
            stored.clock.set(0);
        }
        let (event, off_by_s) = stored.new_event_is_off_by();
        assert!(event > ahead, "{event} is not after {ahead}");
        assert!(off_by_s.abs() < 30 * 60, "an event is dated {off_by_s} s off");
    }
    let recent = jiff::Timestamp::now() - Duration::from_hours(1);
    assert!(stored.client().total(&format!("/events?since={recent}")) > 0);
    assert_eq!(stored.client().total(&format!("/events?since={}", recent + Duration::from_hours(2))), 0);
    stored
        .healthy
        .wait_until("every event", |came| came.iter().map(Received::event_id).collect::<HashSet<_>>().len() == 6);
}

#[test]
fn a_leap_while_the_server_runs_takes_nothing_away_and_leaves_nothing_behind() {
    for offset_s in [SIXTY_DAYS, -SIXTY_DAYS] {
        let mut stored = Stored::at(0);
        stored.clock.set(offset_s);
        stored.let_housekeeping_run();
        stored.start_again_at(offset_s);
        stored.assert_all_there();
        if offset_s < 0 {
            assert_clock_is_said_to_be_behind(&stored.server);
        }
        stored.clock.set(0);
        let (_, off_by_s) = stored.new_event_is_off_by();
        assert!(off_by_s.abs() < 30 * 60, "an event is dated {off_by_s} s off");
        stored.start_again_at(0);
        stored.assert_all_there();
    }
}

/// In the log, and to an operator who says that the clock is right.
fn assert_clock_is_said_to_be_behind(server: &Server) {
    eventually("the log says it", || server.log().contains("the newest time in this store").then_some(()));
    let confirmed = server.cli(&["clock", "confirm", "--yes"]);
    assert!(confirmed.stdout.contains("New events get the time "), "{confirmed:?}");
}

#[test]
fn what_was_down_for_sixty_days_keeps_everything_until_somebody_confirms_the_clock() {
    let mut stored = Stored::at(-SIXTY_DAYS);
    stored.start_again_at(0);
    stored.assert_all_there();
    let asked = stored.server.cli(&["clock", "confirm"]);
    assert_eq!(asked.code, Some(2), "{asked:?}");
    for words in ["60 days more count for retention", "deleted", "--yes"] {
        assert!(asked.stderr.contains(words), "{words}: {asked:?}");
    }
    stored.assert_all_there();
    let confirmed = stored.server.cli(&["clock", "confirm", "--yes"]);
    assert_eq!(confirmed.code, Some(0), "{confirmed:?}");
    assert!(confirmed.stdout.contains("60 days of excluded time now count for retention"), "{confirmed:?}");
    let (new, off_by_s) = stored.new_event_is_off_by();
    assert!(off_by_s.abs() < 30 * 60, "an event is dated {off_by_s} s off");
    let client = stored.client();
    for event in &stored.delivered {
        eventually("it is removed", || (client.get(&format!("/events/{event}")).status == 404).then_some(()));
    }
    client.get(&format!("/events/{new}")).expect(200);
    for event in &stored.waiting {
        assert_eq!(client.delivery_of(event)["status"], "pending", "what is pending is never removed");
    }
    assert_eq!(client.subscription(stored.subscription)["active"], true);
    let again: serde_json::Value =
        serde_json::from_str(&stored.server.cli(&["clock", "confirm", "--json"]).stdout).unwrap();
    assert_eq!(again["data"]["counted_s"], 0);
}

#[test]
fn a_command_on_a_stopped_store_removes_nothing_and_can_confirm_the_clock() {
    let mut stored = Stored::at(-SIXTY_DAYS);
    stored.server.kill_9();
    // By the clock that the commands see, everything is two months old.
    stored.clock.set(0);
    for _ in 0..2 {
        for list in ["deliveries", "events"] {
            let listed = stored.server.cli(&[list, "list", "--json"]);
            let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
            assert_eq!(listed["pagination"]["total"], 6, "{list}");
        }
    }
    let database = stored.server.data_dir().join("tempclock.redb");
    assert_eq!(stored.server.command(&["verify", database.to_str().unwrap()]).code, Some(0));
    stored.server.launch();
    stored.assert_all_there();

    stored.server.kill_9();
    let confirmed = stored.server.cli(&["clock", "confirm", "--yes"]);
    assert_eq!(confirmed.code, Some(0), "{confirmed:?}");
    stored.server.launch();
    stored.let_housekeeping_run();
    for event in &stored.delivered {
        stored.client().get(&format!("/events/{event}")).expect(404);
    }
}

#[test]
fn a_restored_backup_of_two_months_ago_keeps_what_was_in_it() {
    let mut stored = Stored::at(-SIXTY_DAYS);
    let file = stored.server.folder().join("old.bak");
    let file = file.to_str().unwrap();
    assert_eq!(stored.server.cli(&["backup", "--output", file]).code, Some(0));
    stored.server.kill_9();
    stored.clock.set(0);
    let restored = stored.server.cli(&["restore", "--yes", file]);
    assert_eq!(restored.code, Some(0), "{restored:?}");
    for _ in 0..2 {
        stored.server.launch();
        stored.assert_all_there();
        let (_, off_by_s) = stored.new_event_is_off_by();
        assert!(off_by_s.abs() < 30 * 60, "an event is dated {off_by_s} s off");
        stored.server.kill_9();
    }
}
