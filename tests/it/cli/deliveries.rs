//! Deliveries on the command line: why one failed, sending again one or many, following what goes out.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver as Lines, channel};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{
    BINARY, Client, PATIENCE, Receiver, Reply, Server, Strace, assert_has_fields, clock_in, printed, sample,
    wait_guarded,
};

fn publish_batch(client: &Client, count: u64) {
    let events: Vec<_> = (0..count).map(|entry| json!({"event": "clock_in", "data": clock_in(entry)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
}

#[test]
fn a_failed_delivery_says_what_happened_what_to_do_and_when_the_next_attempt_comes() {
    let mut server = Server::start(&[("delivery.retry_schedule", r#"["1h"]"#)]);
    let client = server.client();
    let receiver = Receiver::start();
    receiver.rule(|_| Reply::with(404, &[], "no \u{1b}[31msuch page"));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let id = client.delivery_ids(&event).remove(0);
    client.wait_for_delivery(&id, "has failed once", |delivery| delivery["attempt_count"] == 1);
    let check = |server: &Server| {
        let shown = server.cli(&["deliveries", "show", &id]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        let line = |name: &str| {
            let line = shown.stdout.lines().find(|line| line.starts_with(name));
            line.unwrap_or_else(|| panic!("no {name} in {}", shown.stdout)).to_owned()
        };
        assert!(line("cause").contains("answered 404"), "{}", shown.stdout);
        assert!(line("what to do").contains("check the subscription's URL"), "{}", shown.stdout);
        assert!(line("next attempt").contains("20"), "{}", shown.stdout);
        assert!(line("response body").contains(r"no \u{1b}[31msuch page"), "{}", shown.stdout);
        let json = printed(&server.cli(&["deliveries", "show", &id, "--json"]));
        assert_has_fields(&json["data"], &["id", "event_id", "subscription_id", "status", "attempts", "body"]);
        let listed = printed(&server.cli(&["deliveries", "list", "--response-code", "404", "--json"]));
        assert_eq!(listed["data"][0]["id"], id.as_str());
        let table = server.cli(&["deliveries", "list"]);
        assert!(table.stdout.contains("ERROR") && table.stdout.contains("answered 404"), "{table:?}");
        assert!(!table.stdout.contains("check the subscription's URL"), "more than the cause: {table:?}");
        let none = printed(&server.cli(&["deliveries", "list", "--status", "delivered", "--json"]));
        assert_eq!(none["data"], json!([]));
    };
    check(&server);
    assert!(server.terminate().success());
    check(&server);
}

#[test]
fn one_delivery_is_sent_again_also_when_it_was_asked_for_while_the_server_was_down() {
    let mut server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let id = client.settled(&event, "delivered")["id"].as_str().unwrap().to_owned();

    let looked = server.cli(&["deliveries", "retry", &id, "--dry-run"]);
    assert_eq!(looked.code, Some(0), "{looked:?}");
    let again = printed(&server.cli(&["deliveries", "retry", &id, "--json"]));
    assert_eq!(again["data"]["id"], id.as_str());
    client.wait_for_delivery(&id, "was sent twice", |delivery| delivery["attempt_count"] == 2);
    assert!(server.terminate().success());
    assert_eq!(server.cli(&["deliveries", "retry", &id]).code, Some(0));
    let waits = printed(&server.cli(&["deliveries", "show", &id, "--json"]));
    assert_eq!(waits["data"]["waiting_for"], "thread", "{waits}");
    assert_eq!(receiver.requests_to("/").len(), 2, "sent without a server");
    server.launch();
    server.client().wait_for_delivery(&id, "was sent three times", |delivery| delivery["attempt_count"] == 3);
    let unknown = server.cli(&["deliveries", "retry", "dlv_0"]);
    assert_eq!(unknown.code, Some(5), "{unknown:?}");
}

#[test]
fn all_exhausted_deliveries_of_a_subscription_are_sent_again_after_a_yes() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1s"]"#)]);
    let client = server.client();
    let receiver = Receiver::start();
    receiver.rule(|_| Reply::status(500));
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id.to_string();
    publish_batch(&client, 120);
    client.wait_for_total("/deliveries?status=exhausted", 120);
    receiver.rule(|_| Reply::status(200));

    let retry = ["deliveries", "retry", "--subscription", &id, "--since", "1h"];
    let counted = server.cli(&[&retry[..], &["--dry-run"]].concat());
    assert!(counted.stdout.contains("120 deliveries would"), "{counted:?}");
    let unasked = server.cli(&retry);
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    assert_eq!(client.total("/deliveries?status=exhausted"), 120, "something was sent again without a yes");
    let counted = printed(&server.cli(&[&retry[..], &["--dry-run", "--json"]].concat()));
    assert_eq!(counted, json!({"data": {"count": 120, "is_exact": true}}));
    let other = printed(&server.cli(&["deliveries", "retry", "--event", "clock_out", "--yes", "--json"]));
    assert_eq!((&other["data"]["state"], &other["data"]["done"]), (&json!("finished"), &json!(0)));

    let all = printed(&server.cli(&[&retry[..], &["--yes", "--json"]].concat()));
    assert_eq!((&all["data"]["kind"], &all["data"]["done"]), (&json!("retry"), &json!(120)), "{all}");
    client.wait_for_total("/deliveries?status=delivered", 120);
    let one = client.delivery_ids(&client.publish("clock_in", &clock_in(999))).remove(0);
    client.wait_for_status(&one, "delivered");
    let now = client.get(&format!("/deliveries/{one}")).expect(200).data()["created_at"].as_str().unwrap().to_owned();
    let of_one = ["deliveries", "retry", "--status", "delivered", "--since", &now];
    let counted = server.cli(&[&of_one[..], &["--dry-run"]].concat());
    assert_eq!(counted.stdout, "1 delivery would be redelivered.\n", "{counted:?}");
    let again = server.cli(&[&of_one[..], &["--yes"]].concat());
    assert!(again.stdout.starts_with("1 delivery is due now"), "{again:?}");
    client.wait_for_delivery(&one, "was sent twice", |delivery| delivery["attempt_count"] == 2);
    let listed = printed(&server.cli(&["deliveries", "list", "--limit", "110", "--json"]));
    assert_eq!(listed["data"].as_array().unwrap().len(), 110);
    for arguments in [vec!["deliveries", "retry"], vec!["deliveries", "retry", "dlv_0", "--since", "1h"]] {
        let refused = server.cli(&arguments);
        assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:?}");
    }
    let wrong = server.cli(&["deliveries", "list", "--status", "lost", "--event", "clock_im"]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(wrong.stderr.contains("exhausted") && wrong.stderr.contains("clock_in"), "{}", wrong.stderr);
}

#[test]
fn many_are_made_due_while_the_server_is_down_too_and_the_job_is_listed_shown_and_stopped() {
    let mut server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let client = server.client();
    let receiver = Receiver::start();
    receiver.rule(|_| Reply::status(500));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    publish_batch(&client, 30);
    client.wait_for_total("/deliveries?status=exhausted", 30);
    assert!(server.terminate().success());
    receiver.rule(|_| Reply::status(200));

    let again = server.cli(&["deliveries", "retry", "--since", "1h", "--yes"]);
    assert!(again.stdout.starts_with("30 deliveries are due now"), "{again:?}");
    assert_eq!(receiver.requests().len(), 30, "sent without a server");
    let listed = printed(&server.cli(&["jobs", "list", "--json"]));
    let id = listed["data"][0]["id"].as_str().unwrap();
    assert_eq!(listed["data"][0]["state"], "finished");
    let table = server.cli(&["jobs", "list"]);
    assert!(table.stdout.contains(id) && table.stdout.contains("30 of 30"), "{table:?}");
    let shown = server.cli(&["jobs", "show", id]);
    assert!(shown.stdout.contains("finished") && shown.stdout.contains("30 of 30"), "{shown:?}");
    let stopped = server.cli(&["jobs", "stop", id]);
    assert_eq!((stopped.code, stopped.stderr.as_str()), (Some(0), "The job had ended before.\n"), "{stopped:?}");
    let unknown = server.cli(&["jobs", "show", "job_0"]);
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(5), ""), "{unknown:?}");

    server.launch();
    server.client().wait_for_total("/deliveries?status=delivered", 30);
}

/// `deliveries tail` of a server, which has begun to follow, and the lines that it prints.
fn tail(server: &Server) -> (Child, Lines<String>) {
    let mut child = Command::new(BINARY)
        .args(["deliveries", "tail", "--json", "--config"])
        .arg(server.config_file())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut notes = BufReader::new(child.stderr.take().unwrap());
    let mut ready = String::new();
    notes.read_line(&mut ready).unwrap();
    assert!(ready.contains("Ctrl-C"), "{ready}");
    let (sender, shown) = channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
    (child, shown)
}

#[test]
fn tail_shows_every_attempt_of_new_and_old_deliveries_until_it_is_interrupted() {
    let mut server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let event = client.publish("clock_in", &clock_in(1));
    let old = client.settled(&event, "delivered")["id"].as_str().unwrap().to_owned();
    // Answered after all that the commit before has told others.
    client.publish("worker_created", &sample("worker_created"));

    let (mut child, shown) = tail(&server);
    let next = || -> Value { serde_json::from_str(&shown.recv_timeout(PATIENCE).expect("a line")).unwrap() };

    let event = client.publish("clock_in", &clock_in(2));
    let new = next();
    assert_eq!(new["event_id"], event.as_str(), "the one before was there already");
    assert_eq!(new["status"], "delivered");
    client.post_nothing(&format!("/deliveries/{old}/retry")).expect(202);
    let again = next();
    assert_eq!(again["id"], old.as_str());
    assert_eq!(again["attempt_count"], 2);
    assert_eq!(
        again.as_object().unwrap().keys().collect::<Vec<_>>(),
        new.as_object().unwrap().keys().collect::<Vec<_>>()
    );
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(wait_guarded(&mut child, "tail").code(), Some(0));

    assert!(server.terminate().success());
    let alone = server.cli(&["deliveries", "tail"]);
    assert_eq!(alone.code, Some(1), "{alone:?}");
    assert!(alone.stderr.contains("no server is running"), "{}", alone.stderr);
}

#[test]
fn a_failed_test_ping_is_not_among_those_that_a_filter_sends_again() {
    let server = Server::start(&[]);
    let receiver = Receiver::start();
    receiver.rule(|_| Reply::status(500));
    let id = server.client().subscribe(&receiver.url("/"), &["clock_in"]).id.to_string();
    assert_ne!(server.cli(&["subscriptions", "test", &id]).code, Some(0));
    assert_eq!(server.client().total("/deliveries?status=exhausted"), 1);
    let listed = server.cli(&["deliveries", "list", "--status", "exhausted"]);
    assert!(listed.stdout.contains(" failed ") && !listed.stdout.contains("exhausted"), "{listed:?}");
    let looked = server.cli(&["deliveries", "retry", "--since", "1h", "--dry-run"]);
    assert!(looked.stderr.contains("1 test ping skipped"), "{looked:?}");
    assert!(looked.stdout.contains("No delivery matches with status exhausted"), "{looked:?}");
    let again = printed(&server.cli(&["deliveries", "retry", "--since", "1h", "--yes", "--json"]));
    assert_eq!(again["data"]["done"], 0, "{again}");
}

#[test]
fn what_is_held_is_found_by_that_word() {
    let server = Server::start(&[("delivery.retry_schedule", r#"["1h"]"#)]);
    let client = server.client();
    let held = client.subscribe("http://127.0.0.1:1/", &["clock_in"]).id;
    let active = client.subscribe("http://127.0.0.1:1/", &["clock_in"]).id;
    client.change(held, &json!({"active": false})).expect(200);
    client.publish("clock_in", &clock_in(1));
    assert_eq!(client.total("/deliveries?status=pending"), 2);
    for list in [vec![], vec!["--subscription".to_owned(), held.to_string()]] {
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let found = printed(&server.cli(&[&["deliveries", "list", "--status", "held", "--json"], &list[..]].concat()));
        assert_eq!(found["pagination"]["total"], 1, "{found}");
        assert_eq!((&found["data"][0]["subscription_id"], &found["data"][0]["held"]), (&json!(held), &json!(true)));
    }
    assert_eq!(client.total(&format!("/webhooks/{active}/deliveries?status=held")), 0);
    client.change(held, &json!({"active": true})).expect(200);
    assert_eq!(client.total("/deliveries?status=held"), 0);
}

#[test]
fn a_time_that_is_none_is_told_with_the_forms_that_are() {
    let server = Server::stopped(&[]);
    server.key("*");
    let key = ["keys", "create", "--name", "a", "--scopes", "*", "--expires"];
    let publish = ["events", "publish", "--event", "worker_created", "--data", "{}", "--occurred-at"];
    for (arguments, values, forms) in [
        (&["deliveries", "list", "--since"][..], &["yesterday", "2026-13-01", ""][..], &["2026-03-02", "2h"][..]),
        (&["deliveries", "retry", "--dry-run", "--until"], &["08:00"], &["2026-03-02T08:00:00Z", "2h"]),
        (&["events", "list", "--since"], &["last week"], &["2026-03-02", "2h"]),
        (&key, &["never", "0s", "90"], &["90d", "12h", "never expires"]),
        (&publish, &["today"], &["2026-03-02T08:00:00Z"]),
        (&["listen", "--delay"], &["soon"], &["5s"]),
    ] {
        for value in values {
            let refused = server.cli(&[arguments, &[value]].concat());
            assert_eq!(refused.code, Some(2), "{arguments:?} {value}: {refused:?}");
            assert!(forms.iter().all(|form| refused.stderr.contains(form)), "{value}: {}", refused.stderr);
        }
    }
    for good in ["2026-03-02", "2026-03-02T08:00:00+01:00", "2h", "1h 30m"] {
        assert_eq!(server.cli(&["deliveries", "list", "--since", good]).code, Some(0), "{good}");
    }
}

#[test]
fn a_subscription_that_does_not_exist_is_not_one_without_deliveries() {
    let server = Server::start(&[]);
    let id = server.client().subscribe("http://127.0.0.1:1/", &["clock_in"]).id.to_string();
    let none = server.cli(&["deliveries", "list", "--subscription", &id]);
    assert_eq!((none.code, none.stderr.as_str()), (Some(0), "No deliveries.\n"), "{none:?}");
    for arguments in [&["deliveries", "list"][..], &["deliveries", "retry", "--dry-run"]] {
        let missing = server.cli(&[arguments, &["--subscription", "99"]].concat());
        assert_eq!((missing.code, missing.stdout.as_str()), (Some(5), ""), "{missing:?}");
        assert!(missing.stderr.contains("subscription"), "{missing:?}");
    }
}

#[test]
fn tail_shows_each_of_many_deliveries_that_go_out_at_once() {
    const EVENTS: usize = 1500;
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    client.change(id, &json!({"active": false})).expect(200);
    for part in [1000, 500] {
        publish_batch(&client, part);
    }
    let (mut child, shown) = tail(&server);
    client.change(id, &json!({"active": true})).expect(200);
    let mut seen = BTreeSet::new();
    while seen.len() < EVENTS {
        let line = shown.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("only {} were shown", seen.len()));
        let delivery: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(delivery["status"], "delivered", "{delivery:#}");
        assert!(seen.insert(delivery["id"].as_str().unwrap().to_owned()), "{delivery:#} was shown twice");
    }
    // A test ping is shown too, and another account's are not.
    let yours = server.client_of("yours");
    let other = yours.subscribe(&receiver.url("/"), &["clock_in"]).id;
    yours.post_nothing(&format!("/webhooks/{other}/test")).expect(200);
    client.post_nothing(&format!("/webhooks/{id}/test")).expect(200);
    let ping: Value = serde_json::from_str(&shown.recv_timeout(PATIENCE).expect("the ping")).unwrap();
    assert_eq!((&ping["event"], &ping["subscription_id"]), (&json!("ping"), &json!(id)), "{ping:#}");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(wait_guarded(&mut child, "tail").code(), Some(0));
}

#[test]
fn many_deliveries_are_sent_again_over_one_connection() {
    const EVENTS: u64 = 120;
    let server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let client = server.client();
    let receiver = Receiver::start();
    receiver.rule(|_| Reply::status(500));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    publish_batch(&client, EVENTS);
    client.wait_for_total("/deliveries?status=exhausted", EVENTS);
    receiver.rule(|_| Reply::status(200));
    // What connects to the control socket is accepted without an address.
    let strace = Strace::attach(&server, &["-e", "trace=accept,accept4"]);
    let again = printed(&server.cli(&["deliveries", "retry", "--since", "1h", "--yes", "--json"]));
    let trace = strace.detach();
    assert_eq!((&again["data"]["done"], &again["data"]["of"]), (&json!(EVENTS), &json!(EVENTS)));
    let connections = trace.lines().filter(|line| line.contains("AF_UNIX")).count();
    // One looks whether the server is there.
    assert!((1..=4).contains(&connections), "{connections} connections: {trace}");
    client.wait_for_total("/deliveries?status=delivered", EVENTS);
}
