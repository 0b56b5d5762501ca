//! Event types that the configuration declares, the built-in opt-in ones, and `prefix.*`.

use serde_json::{Value, json};

use crate::harness::{Answer, Client, Receiver, Server, clock_in, eventually, printed, run};
use crate::operate::service::hang_up;

const TYPES: &str = r#"[
    { name = "timesheet_approved", description = "Approved.", required = { timesheet_id = "id", total_minutes = "integer", approved_at = "timestamp", lines = "array" } },
    { name = "shift.moved", opt_in = false, required = { shift_id = "id" }, example = '{"shift_id": "S-1", "to": null}' },
    { name = "shift.swapped" },
]"#;

fn approved() -> Value {
    json!({"timesheet_id": "T-7", "total_minutes": 485.0, "approved_at": "2026-03-02T08:58:00+01:00", "lines": []})
}

#[track_caller]
fn publish(client: &Client, event: &str, data: &Value) -> Answer {
    client.post("/events", &json!({"event": event, "data": data}))
}

#[track_caller]
fn receivers(client: &Client, event: &str, data: &Value) -> u64 {
    publish(client, event, data).expect(202).data()["deliveries"].as_u64().unwrap()
}

#[test]
fn a_declared_type_is_checked_published_found_and_delivered_as_any_other() {
    let server = Server::start(&[("event_type", TYPES)]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["timesheet_approved"]);
    let wrong = json!({"timesheet_id": true, "total_minutes": 1.5, "approved_at": "2026-03-02", "lines": {}});
    let fields = ["data.approved_at", "data.lines", "data.timesheet_id", "data.total_minutes"];
    let mut told: Vec<_> = publish(&client, "timesheet_approved", &wrong)
        .expect(400)
        .wrong_fields()
        .join(" ")
        .split(' ')
        .map(str::to_owned)
        .collect();
    told.sort_unstable();
    assert_eq!(told, fields);
    let misspelt = publish(&client, "timesheet_aproved", &approved()).expect(400);
    assert!(misspelt.text.contains("did you mean \\\"timesheet_approved\\\"?"), "{}", misspelt.text);
    let event =
        publish(&client, "timesheet_approved", &approved()).expect(202).data()["id"].as_str().unwrap().to_owned();
    let request = receiver.wait_for(1, "the delivery").remove(0);
    assert_eq!(request.header("x-tempclock-event"), "timesheet_approved");
    assert_eq!(request.json()["event"], "timesheet_approved");
    client.publish("clock_in", &clock_in(1));
    let found = client.get("/events?event=timesheet_approved").expect(200);
    assert_eq!(found.rows().iter().map(|row| &row["id"]).collect::<Vec<_>>(), [event.as_str()]);
    assert_eq!(client.total("/deliveries?event=timesheet_approved"), 1);

    let shown = client.get("/event-types").expect(200);
    let row = shown.rows().iter().find(|row| row["name"] == "timesheet_approved").unwrap();
    assert_eq!((&row["description"], &row["opt_in"]), (&json!("Approved."), &json!(true)));
    assert_eq!(row["schema"]["properties"]["total_minutes"]["type"], "integer");
    publish(&client, "timesheet_approved", &row["example"]).expect(202);
    let document = client.get("/openapi.json").expect(200).json;
    assert!(document["webhooks"]["shift.moved"]["post"]["requestBody"].is_object());
    let mapping = &document["components"]["schemas"]["NewEvent"]["discriminator"]["mapping"];
    assert_eq!(mapping["timesheet_approved"], "#/components/schemas/NewTimesheetApprovedEvent");
    assert!(client.get("/docs").expect(200).text.contains("timesheet_approved"));
    let types = printed(&server.cli(&["events", "types", "--json"]));
    assert_eq!(types, shown.json);
    assert!(!run(&["events", "types"], &[]).stdout.contains("timesheet_approved"), "it is declared in that file alone");
}

#[test]
fn a_star_leaves_out_what_is_opt_in_and_a_prefix_takes_all_of_its_kind() {
    let server = Server::start(&[("event_type", TYPES)]);
    let client = server.client();
    let receiver = Receiver::start();
    let subscribe = |path: &str, events: &[&str]| client.subscribe(&receiver.url(path), events).id;
    let (all, shifts) = (subscribe("/all", &["*"]), subscribe("/shifts", &["shift.*"]));
    subscribe("/named", &["clock.geofence_breach", "shift.swapped"]);
    subscribe("/clock", &["clock.*"]);
    for (event, data, wanted) in [
        ("shift.moved", json!({"shift_id": 1}), 2),
        ("shift.swapped", json!({}), 2),
        ("timesheet_approved", approved(), 0),
        ("clock.geofence_breach", json!({"worker_id": 5}), 2),
        ("clock.low_gps_confidence", json!({"worker_id": "w"}), 1),
        ("clock_in", clock_in(1), 1),
    ] {
        assert_eq!(receivers(&client, event, &data), wanted, "{event}");
    }
    publish(&client, "clock.geofence_breach", &json!({})).expect(400).expect_wrong(&["worker_id"]);
    assert_eq!(client.subscription(shifts)["events"], json!(["shift.*"]));
    let matches = |id: i64, event: &str| {
        client.post(&format!("/webhooks/{id}/match"), &json!({"event": event, "data": {}})).expect(200).data()["matches"].clone()
    };
    assert_eq!((matches(all, "shift.moved"), matches(all, "shift.swapped")), (json!(true), json!(false)));
    assert_eq!((matches(shifts, "shift.swapped"), matches(shifts, "clock_in")), (json!(true), json!(false)));
    for wrong in ["shift.", "Shift.*", "*.moved", "shift*", "unknown_type"] {
        let wish = json!({"url": receiver.url("/"), "events": ["clock_in", wrong]});
        client.post("/webhooks", &wish).expect(400).expect_wrong(&["events"]);
    }
    let many: Vec<_> = (0..101).map(|n| format!("a{n}.*")).collect();
    client.post("/webhooks", &json!({"url": receiver.url("/"), "events": many})).expect(400).expect_wrong(&["events"]);
}

#[test]
fn what_is_pending_of_a_type_that_a_prefix_took_along_is_cancelled_with_it() {
    let server = Server::start(&[("event_type", TYPES)]);
    let client = server.client();
    let off = json!({"url": "http://127.0.0.1:9/", "events": ["*", "shift.*"], "active": false});
    let id = client.post("/webhooks", &off).expect(201).data()["id"].as_i64().unwrap();
    assert_eq!(receivers(&client, "shift.swapped", &json!({})), 1);
    assert_eq!(receivers(&client, "shift.moved", &json!({"shift_id": 1})), 1);
    let changed = client.change(id, &json!({"events": ["*"]})).expect(200);
    assert!(
        changed.json["message"].as_str().unwrap().ends_with("Pending deliveries of shift.swapped are cancelled."),
        "{}",
        changed.text
    );
    client.wait_for_total(&format!("/webhooks/{id}/deliveries?status=cancelled"), 1);
    let kept = client.get(&format!("/webhooks/{id}/deliveries?status=pending")).expect(200);
    assert_eq!(kept.rows().iter().map(|row| &row["event"]).collect::<Vec<_>>(), ["shift.moved"]);
}

#[test]
fn what_is_pending_of_a_type_that_is_no_longer_declared_is_cancelled_with_its_prefix_or_star() {
    let mut server = Server::start(&[("event_type", TYPES)]);
    let key = server.key("*");
    let client = server.client_with(&key);
    let off = |events: Value| {
        let wish = json!({"url": "http://127.0.0.1:9/", "events": events, "active": false});
        client.post("/webhooks", &wish).expect(201).data()["id"].as_i64().unwrap()
    };
    let (prefix, star) = (off(json!(["shift.*"])), off(json!(["*"])));
    let (named, wider) = (off(json!(["shift.*", "shift.moved"])), off(json!(["shift.*", "*"])));
    assert_eq!(receivers(&client, "shift.moved", &json!({"shift_id": 1})), 4);
    assert!(server.terminate().success());
    server.configure(&[("event_type", "")]);
    server.launch();
    let client = server.client_with(&key);
    let change = |id: i64, events: Value| {
        let changed = client.change(id, &json!({"events": events})).expect(200);
        changed.json["message"].as_str().unwrap().to_owned()
    };
    assert!(change(prefix, json!(["ping"])).ends_with("Pending deliveries of shift.* are cancelled."));
    change(star, json!(["clock_in"]));
    assert_eq!(
        change(named, json!(["shift.moved"])),
        "Subscription updated. Pending deliveries of shift.* are cancelled."
    );
    // A `*` may stand for it.
    assert_eq!(change(wider, json!(["*"])), "Subscription updated.");
    for id in [prefix, star] {
        client.wait_for_total(&format!("/webhooks/{id}/deliveries?status=cancelled"), 1);
    }
    for id in [named, wider] {
        client.change(id, &json!({"active": true})).expect(200);
        let delivery = client.get(&format!("/webhooks/{id}/deliveries")).expect(200).rows()[0]["id"].clone();
        let delivery = delivery.as_str().unwrap();
        client.wait_for_delivery(delivery, "is attempted", |delivery| delivery["attempt_count"] != 0);
    }
}

#[test]
fn a_type_that_is_no_longer_declared_is_refused_and_what_is_stored_of_it_stays() {
    let mut server = Server::start(&[("event_type", TYPES)]);
    let key = server.key("*");
    let client = server.client_with(&key);
    let receiver = Receiver::start();
    let wish = json!({"url": receiver.url("/"), "events": ["timesheet_approved", "shift.*"], "active": false});
    let id = client.post("/webhooks", &wish).expect(201).data()["id"].as_i64().unwrap();
    let event =
        publish(&client, "timesheet_approved", &approved()).expect(202).data()["id"].as_str().unwrap().to_owned();
    publish(&client, "shift.moved", &json!({"shift_id": 4})).expect(202);
    assert!(server.terminate().success());
    server.configure(&[("event_type", "")]);
    server.launch();
    let client = server.client_with(&key);

    publish(&client, "timesheet_approved", &approved()).expect(400).expect_wrong(&["event"]);
    assert_eq!(client.get(&format!("/events/{event}")).expect(200).data()["event"], "timesheet_approved");
    for list in ["/events", "/deliveries", &format!("/webhooks/{id}/deliveries")] {
        assert_eq!(client.total(&format!("{list}?event=timesheet_approved")), 1, "{list}");
        assert_eq!(client.total(&format!("{list}?event=shift.moved&shift_id=4")), 1, "{list}");
        client.get(&format!("{list}?event=shift.mowed&limit=0")).expect(400).expect_wrong(&["event", "limit"]);
    }
    let whole = client.subscription(id);
    client.change(id, &json!({"events": whole["events"], "active": true})).expect(200);
    let mut sent: Vec<_> =
        receiver.wait_for(2, "what was held").iter().map(|got| got.header("x-tempclock-event").to_owned()).collect();
    sent.sort_unstable();
    assert_eq!(sent, ["shift.moved", "timesheet_approved"]);
    let wish = json!({"url": receiver.url("/"), "events": ["timesheet_approved"]});
    client.post("/webhooks", &wish).expect(400).expect_wrong(&["events"]);
    client.wait_for_total(&format!("/webhooks/{id}/deliveries?status=delivered"), 2);
    let replay =
        json!({"since": "2001-01-01T00:00:00Z", "only": "all", "dry_run": true, "events": ["timesheet_approved"]});
    let size = client.post(&format!("/webhooks/{id}/replay"), &replay).expect(200);
    assert_eq!(size.data()["count"], 1);
    let retry = |event: &str| {
        client.post("/deliveries/retry", &json!({"event": event, "status": "delivered", "dry_run": true}))
    };
    assert_eq!(retry("timesheet_approved").expect(200).data()["count"], 1);
    retry("timesheet_aproved").expect(400).expect_wrong(&["event"]);
}

#[test]
fn a_replay_to_a_star_brings_what_is_not_opt_in() {
    let server = Server::start(&[("event_type", TYPES)]);
    let client = server.client();
    let receiver = Receiver::start();
    assert_eq!(receivers(&client, "shift.moved", &json!({"shift_id": 1})), 0);
    assert_eq!(receivers(&client, "shift.swapped", &json!({})), 0);
    assert_eq!(receivers(&client, "clock_in", &clock_in(1)), 0);
    let id = client.subscribe(&receiver.url("/"), &["*"]).id;
    let replay = |wish: Value| client.post(&format!("/webhooks/{id}/replay"), &wish);
    let size = replay(json!({"since": "2001-01-01T00:00:00Z", "events": ["shift.*"], "dry_run": true})).expect(200);
    assert_eq!(size.data()["count"], 1);
    replay(json!({"since": "2001-01-01T00:00:00Z"})).expect(202);
    let mut sent: Vec<_> =
        receiver.wait_for(2, "the replay").iter().map(|got| got.header("x-tempclock-event").to_owned()).collect();
    sent.sort_unstable();
    assert_eq!(sent, ["clock_in", "shift.moved"]);
}

#[test]
fn a_reload_takes_new_event_types_and_leaves_the_old_ones_when_they_are_wrong() {
    let mut server = Server::start(&[]);
    let client = server.client();
    publish(&client, "shift.swapped", &json!({})).expect(400);
    server.configure(&[("event_type", TYPES)]);
    hang_up(&server);
    eventually("the reload", || (publish(&client, "shift.swapped", &json!({})).status == 202).then_some(()));
    assert!(client.get("/openapi.json").expect(200).json["webhooks"]["shift.swapped"].is_object());
    server.configure(&[("event_type", r#"[{ name = "Wrong" }]"#)]);
    hang_up(&server);
    eventually("the refusal", || server.log().contains("is not a valid name of a type").then_some(()));
    publish(&client, "shift.swapped", &json!({})).expect(202);
}
