//! How long events are kept: as long as is set, and never for less than a week after the last delivery was settled.

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
