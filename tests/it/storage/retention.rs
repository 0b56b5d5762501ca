//! How long events are kept: as long as is set, and never for less than a week after the last delivery was settled, however
//! often the clock leaps.

use serde_json::json;

use crate::harness::{Receiver, Server, WallClock, clock_in, eventually};

/// Hours in a day.
const DAY: i64 = 24;

/// Lets the server's clock show so many hours more than at the start, and says that they have passed.
fn pass_to(server: &Server, clock: &WallClock, hours: i64) {
    clock.set(hours * 3600);
    let confirmed = server.cli(&["clock", "confirm", "--yes"]);
    assert_eq!(confirmed.code, Some(0), "{confirmed:?}");
}

#[test]
fn an_event_is_kept_for_a_week_after_its_last_delivery_was_settled_however_little_is_set() {
    let mut server = Server::stopped(&[("retention.events", r#""24h""#), ("retention.attempts", r#""1h""#)]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let client = server.client();
    let receiver = Receiver::start();
    let early = client.subscribe(&receiver.url("/early"), &["clock_in"]).id;
    let at_once = client.publish("clock_in", &clock_in(1));
    client.settled(&at_once, "delivered");
    client.change(early, &json!({"active": false}));
    let held = client.publish("clock_in", &clock_in(2));
    let stored = |event: &str| client.get(&format!("/events/{event}")).status == 200;

    pass_to(&server, &clock, 5 * DAY);
    client.change(early, &json!({"active": true}));
    client.settled(&held, "delivered");
    pass_to(&server, &clock, 7 * DAY - 1);
    // What is removed goes with commits that follow the confirmation, such as these.
    for entry in 3..6 {
        let later = client.publish("clock_in", &clock_in(entry));
        client.settled(&later, "delivered");
    }
    assert!(stored(&at_once), "it was removed within a week of its delivery");
    pass_to(&server, &clock, 7 * DAY + 1);
    eventually("what was delivered a week ago is removed", || (!stored(&at_once)).then_some(()));
    assert!(stored(&held), "it was delivered two days ago");
    pass_to(&server, &clock, 12 * DAY + 1);
    eventually("what was delivered later is removed later", || (!stored(&held)).then_some(()));
}

#[test]
fn retention_goes_on_however_often_the_clock_leaps_within_the_time_that_events_are_kept() {
    let mut server = Server::stopped(&[("retention.events", r#""7d""#)]);
    let clock = WallClock::of(&mut server);
    server.launch();
    let client = server.client();
    // Ten days in leaps of an hour, of which a week has 168.
    let events: Vec<_> = (0..240)
        .map(|leaps| {
            clock.set(leaps * 3600);
            client.publish("clock_in", &clock_in(1))
        })
        .collect();
    let stored = |hours_ago: usize| client.get(&format!("/events/{}", events[events.len() - hours_ago])).status == 200;
    assert!(stored(events.len()), "the time that was leapt over does not count");
    pass_to(&server, &clock, 240);
    eventually("what is older than a week and a third of one is removed", || (!stored(7 * 32)).then_some(()));
    assert!(stored(7 * 24 - 1), "it is not a week old");
}
