//! An endpoint that was turned off because it failed is probed, and turned on when it works again.

use serde_json::json;

use crate::harness::{Client, Receiver, Reply, Server, WallClock, clock_in, eventually};
use crate::operate::service::logged;

const HALF_AN_HOUR: i64 = 31 * 60;

/// A server with a subscription that was disabled because its endpoint failed, and an event held for it.
fn turned_off(server: &mut Server, receiver: &Receiver) -> (Client, i64, WallClock) {
    server.configure(&[
        ("delivery.disable_after", r#""1ms""#),
        ("delivery.retry_schedule", r#"["10ms", "10ms", "10ms", "10ms", "1h"]"#),
    ]);
    let clock = WallClock::of(server);
    server.launch();
    let client = server.client();
    receiver.rule(|_| Reply::status(500));
    let id = client.subscribe(&receiver.url("/"), &["clock_in"]).id;
    client.publish("clock_in", &clock_in(1));
    eventually("the subscription is off", || (client.subscription(id)["active"] == false).then_some(()));
    (client, id, clock)
}

fn pings(receiver: &Receiver) -> usize {
    receiver.requests().iter().filter(|sent| sent.json()["event"] == "ping").count()
}

#[test]
fn two_probes_in_a_row_that_are_taken_turn_it_on_and_what_was_held_goes_out() {
    let receiver = Receiver::start();
    let mut server = Server::stopped(&[]);
    let (client, id, clock) = turned_off(&mut server, &receiver);
    let before = client.subscription(id)["recent_deliveries"].clone();
    receiver.rule(|sent| Reply::status(if sent.json()["event"] == "ping" { 204 } else { 200 }));
    clock.set(HALF_AN_HOUR);
    let first = receiver.wait_until("a probe", |all| all.iter().any(|sent| sent.json()["event"] == "ping"));
    let ping = first.iter().find(|sent| sent.json()["event"] == "ping").unwrap();
    assert!(ping.header("webhook-signature").starts_with("v1,"));
    // The next one is half an hour after this one has ended.
    logged(&server, "was probed: the endpoint responds", 1);
    let seen = client.subscription(id);
    assert_eq!((&seen["active"], &seen["recent_deliveries"]), (&json!(false), &before), "one is not enough, nor shown");
    clock.set(2 * HALF_AN_HOUR);
    eventually("it is on", || (client.subscription(id)["active"] == true).then_some(()));
    client.wait_for_total("/deliveries?status=delivered", 1);
    assert_eq!(pings(&receiver), 2);
    clock.set(3 * HALF_AN_HOUR);
    client.settled(&client.publish("clock_in", &clock_in(2)), "delivered");
    assert_eq!(pings(&receiver), 2, "it is probed no more");
}

#[test]
fn time_that_does_not_count_against_an_endpoint_does_not_end_its_probing() {
    const SIXTY_HOURS: i64 = 60 * 3600;
    let receiver = Receiver::start();
    let mut server = Server::stopped(&[]);
    let (client, _, clock) = turned_off(&mut server, &receiver);
    // Together these are more than the seven days of probing, and the server seems to have been off meanwhile.
    for leap in 1..=4 {
        clock.set(leap * SIXTY_HOURS);
        client.publish("clock_in", &clock_in(2));
        receiver.wait_until("a probe", |all| {
            all.iter().filter(|sent| sent.json()["event"] == "ping").count() == usize::try_from(leap).unwrap()
        });
        logged(&server, "was probed: the endpoint still fails", usize::try_from(leap).unwrap());
    }
}

#[test]
fn a_410_ends_the_probing_and_what_its_owner_disabled_is_never_probed() {
    let receiver = Receiver::start();
    let mut server = Server::stopped(&[]);
    let (client, id, clock) = turned_off(&mut server, &receiver);
    let own = client.subscribe(&receiver.url("/own"), &["clock_in"]).id;
    client.change(own, &json!({"active": false})).expect(200);
    receiver.rule(|_| Reply::status(410));
    clock.set(HALF_AN_HOUR);
    let words = "the endpoint responded 410 Gone";
    eventually("it is gone", || (client.subscription(id)["disabled_reason"] == words).then_some(()));
    assert_eq!(pings(&receiver), 1);
    assert!(receiver.requests_to("/own").is_empty());
}
