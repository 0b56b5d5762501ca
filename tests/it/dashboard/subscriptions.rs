//! Subscriptions: made, changed and tried out in pages as over the API, with every option.

use serde_json::json;

use super::Browser;
use super::browser::shown_once;
use crate::harness::{ALL_SCOPES, Client, Receiver, Reply, Server, clock_in, eventually};

struct World {
    server: Server,
    client: Client,
    browser: Browser,
    receiver: Receiver,
}

impl World {
    fn new() -> Self {
        let server = Server::start(&[("delivery.retry_schedule", "[]")]);
        let key = server.key(ALL_SCOPES);
        let (client, browser) = (server.client_with(&key), Browser::signed_in(&server, &key));
        Self { server, client, browser, receiver: Receiver::start() }
    }
}

#[test]
fn a_subscription_is_created_with_options_and_its_secret_is_shown_once() {
    let World { server: _server, client, mut browser, receiver } = World::new();
    let url = receiver.url("/");
    let fields = [
        ("url", url.as_str()),
        ("description", "Time sheets <b>"),
        ("events", "clock_in"),
        ("events", "clock_out"),
        ("headers", "X-Site: north\nX-Other: a: b"),
        ("auth.type", "basic"),
        ("auth.username", "anna"),
        ("auth.password", "geheim"),
        ("format", "cloudevents"),
        ("filter", "{\"location_id\": [7, 8]}"),
        ("rate_limit", "10/s"),
        ("max_in_flight", "3"),
        ("timeout", "10s"),
        ("retry_schedule", "5s, 1m"),
        ("delivery_window.days", "mon"),
        ("delivery_window.days", "sun"),
        ("delivery_window.from", "06:00"),
        ("delivery_window.to", "20:00"),
        ("delivery_window.time_zone", "Europe/London"),
    ];
    let created = browser.submit("/subscriptions/new", "/subscriptions/new", &fields).expect(200);
    let secret = shown_once(&created.text);
    assert_eq!(secret.len(), 64, "{}", created.text);
    let stored = client.subscription(1);
    for (name, value) in [
        ("url", json!(url)),
        ("description", json!("Time sheets <b>")),
        ("events", json!(["clock_in", "clock_out"])),
        ("headers", json!({"X-Site": "set", "X-Other": "set"})),
        ("auth", json!({"type": "basic", "username": "anna", "password": "set"})),
        ("format", json!("cloudevents")),
        ("filter", json!({"location_id": [7, 8]})),
        ("rate_limit", json!("10/s")),
        ("max_in_flight", json!(3)),
        ("retry_schedule", json!(["5s", "1m"])),
        (
            "delivery_window",
            json!({"days": ["mon", "sun"], "from": "06:00", "to": "20:00", "time_zone": "Europe/London"}),
        ),
    ] {
        assert_eq!(stored[name], value, "{name}");
    }
    for path in ["/subscriptions", "/subscriptions/1", "/subscriptions/1/edit"] {
        let page = browser.page(path);
        assert!(page.contains("Time sheets &#60;b&#62;") && page.contains(&url), "{page}");
        assert!(!page.contains(&secret) && !page.contains("geheim") && !page.contains("north"), "{page}");
    }
}

#[test]
fn a_feed_whose_reader_is_behind_is_on_the_overview_until_it_has_caught_up() {
    let server = Server::start(&[("alerts.feed_behind_after", r#""1ms""#)]);
    let key = server.key("*");
    let (client, mut browser) = (server.client_with(&key), Browser::signed_in(&server, &key));
    client.post("/webhooks", &json!({"events": ["clock_in"], "mode": "pull", "description": "Pay <b>"})).expect(201);
    assert!(browser.page("/subscriptions/1").contains("has acknowledged everything"));
    client.publish("clock_in", &clock_in(1));
    let behind = "Its reader has not acknowledged events stored since";
    let seen = eventually("it is behind", || Some(browser.page("/")).filter(|page| page.contains(behind)));
    assert!(seen.contains("Pay &#60;b&#62; (feed)"), "{seen}");
    for path in ["/subscriptions", "/subscriptions/1"] {
        let page = browser.page(path);
        assert!(page.contains("not acknowledged"), "{page}");
    }
    let read = client.get("/feeds/1").expect(200);
    let cursor = &read.json["pagination"]["next_cursor"];
    client.post("/feeds/1/ack", &json!({"cursor": cursor})).expect(200);
    assert!(!browser.page("/").contains(behind));
    assert!(browser.page("/subscriptions/1").contains("has acknowledged everything"));
}

#[test]
fn a_form_changes_what_differs_and_nothing_else() {
    let World { server, client, mut browser, receiver } = World::new();
    let wish = json!({
        "url": receiver.url("/"), "events": ["clock_in"], "headers": {"X-Site": "north"},
        "auth": {"type": "bearer", "token": "geheim"}, "rate_limit": "10/s",
    });
    client.post("/webhooks", &wish).expect(201);
    let page = browser.page("/subscriptions/1/edit");
    assert!(page.contains("X-Site: set"), "{page}");
    let url = receiver.url("/");
    let same = [
        ("url", url.as_str()),
        ("events", "clock_in"),
        ("headers", "X-Site: set"),
        ("auth.type", "bearer"),
        ("auth.token", "set"),
        ("format", "json"),
        ("signatures", "tempclock"),
        ("signatures", "standard"),
        ("rate_limit", "5/s"),
        ("description", "CRM"),
    ];
    let changed = browser.submit("/subscriptions/1/edit", "/subscriptions/1/edit", &same);
    assert_eq!(changed.header("location"), Some("/subscriptions/1?done=changed"), "{}", changed.text);
    let stored = client.subscription(1);
    assert_eq!((&stored["rate_limit"], &stored["description"]), (&json!("5/s"), &json!("CRM")));
    let audit = server.client_with(&server.key("audit:read")).get("/audit").expect(200);
    let last = audit.rows().iter().find(|row| row["action"] == "subscription.updated").unwrap();
    assert_eq!(last["after"], json!({"rate_limit": "5/s", "description": "CRM"}), "nothing else was changed");
    client.publish("clock_in", &clock_in(1));
    let sent = receiver.wait_for(1, "the delivery").remove(0);
    assert_eq!((sent.header("X-Site"), sent.header("Authorization")), ("north", "Bearer geheim"));
}

#[test]
fn what_is_wrong_stands_beside_its_field_and_what_was_typed_stays() {
    let World { server: _server, mut browser, .. } = World::new();
    let fields = [
        ("url", "ftp://x"),
        ("description", "kept \"text\""),
        ("further_events", "clock_inn"),
        ("max_in_flight", "0"),
        ("delivery_window.from", "6"),
    ];
    let refused = browser.submit("/subscriptions/new", "/subscriptions/new", &fields).expect(400);
    let page = &refused.text;
    assert!(page.contains("role=\"alert\"") && page.contains("kept &#34;text&#34;"), "{page}");
    for problem in ["url-problem", "events-problem", "max_in_flight-problem"] {
        assert!(page.contains(problem), "{problem}: {page}");
    }
    assert!(page.contains("clock_in") && page.contains("value=\"clock_inn\""), "{page}");
    let unread = [("url", "https://x.example"), ("max_in_flight", "many"), ("filter", "{")];
    let refused = browser.submit("/subscriptions/new", "/subscriptions/new", &unread).expect(400);
    for words in ["must be a number", "must be JSON"] {
        assert!(refused.text.contains(words), "{}", refused.text);
    }
}

#[test]
fn a_subscription_is_tried_out_paused_resumed_and_deleted() {
    let World { server: _server, client, mut browser, receiver } = World::new();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let own = "/subscriptions/1";
    let good = browser.submit(own, "/subscriptions/1/test", &[("verify", "yes")]).expect(200);
    assert!(good.text.contains("does not verify signatures") && good.text.contains("dlv_"), "{}", good.text);
    receiver.rule(|_| Reply::with(500, &[], "<script>no</script>"));
    let bad = browser.submit(own, "/subscriptions/1/test", &[]).expect(200);
    assert!(bad.text.contains("answered 500") && bad.text.contains("&#60;script&#62;no"), "{}", bad.text);
    assert!(browser.page(own).contains("ping"));
    let off = browser.submit(own, "/subscriptions/1/active", &[("active", "false")]);
    assert_eq!(off.header("location"), Some("/subscriptions/1?done=off"));
    assert_eq!(client.subscription(1)["active"], false);
    let page = browser.page(off.header("location").unwrap());
    assert!(page.contains("Resume") && page.contains("are held until it is enabled"), "{page}");
    browser.submit(own, "/subscriptions/1/active", &[("active", "true")]).expect(303);
    assert_eq!(client.subscription(1)["active"], true);
    let gone = browser.submit("/subscriptions/1/delete", "/subscriptions/1/delete", &[]);
    assert_eq!(gone.header("location"), Some("/subscriptions?done=deleted"));
    client.get("/webhooks/1").expect(404);
    assert_eq!(browser.get(own).status, 404);
}

#[test]
fn a_secret_is_rotated_and_the_new_one_shown_once() {
    let World { server: _server, client, mut browser, receiver } = World::new();
    let made = client.subscribe(&receiver.url("/"), &["clock_in"]);
    let rotated =
        browser.submit("/subscriptions/1/rotate", "/subscriptions/1/rotate", &[("overlap", "0s")]).expect(200);
    let secret = shown_once(&rotated.text);
    assert!(secret != made.secret && rotated.text.contains("valid until"), "{}", rotated.text);
    client.publish("clock_in", &clock_in(1));
    receiver.wait_for(1, "the delivery").remove(0).assert_signed_with(&secret);
    let wrong = browser.submit("/subscriptions/1/rotate", "/subscriptions/1/rotate", &[("overlap", "8d")]);
    assert!(wrong.status == 400 && wrong.text.contains("overlap"), "{}", wrong.text);
}

#[test]
fn stored_events_are_counted_and_then_replayed() {
    let World { server: _server, client, mut browser, receiver } = World::new();
    for entry in 1..=3 {
        client.publish("clock_in", &clock_in(entry));
    }
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let path = "/subscriptions/1/replay";
    let asked = browser.page(&format!("{path}?from=2020-01-01&to=&events=&only=missing"));
    assert!(asked.contains("<strong>3</strong> deliveries"), "{asked}");
    let wrong = browser.page(&format!("{path}?from=soon"));
    assert!(wrong.contains("role=\"alert\"") && wrong.contains("must be a day"), "{wrong}");
    let fields = [("from", "2020-01-01"), ("to", ""), ("events", ""), ("only", "missing")];
    let job = browser.submit(path, path, &fields);
    let job = job.header("location").unwrap().to_owned();
    receiver.wait_for(3, "the replayed events");
    eventually("the job is finished", || browser.page(&job).contains("finished").then_some(()));
}

#[test]
fn who_may_only_read_is_shown_no_form_and_may_send_none() {
    let World { server, client, receiver, .. } = World::new();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    client.subscribe(&receiver.url("/two"), &["clock_in"]);
    let mut reader = Browser::signed_in(&server, &server.key("webhooks:read"));
    for path in ["/subscriptions", "/subscriptions/1"] {
        let page = reader.page(path);
        assert!(!page.contains("/edit") && !page.contains("/new") && !page.contains("Pause"), "{page}");
    }
    for path in ["new", "1/edit", "1/rotate", "1/delete", "1/replay"] {
        let refused = reader.get(&format!("/subscriptions/{path}"));
        assert!(refused.status == 403 && refused.text.contains("webhooks:write"), "{path}: {}", refused.text);
    }
    for path in ["new", "1/edit", "1/rotate", "1/delete", "1/replay", "1/test", "1/active"] {
        let fields = [("url", "https://x.example"), ("events", "clock_in"), ("from", "2020-01-01")];
        let refused = reader.submit("/", &format!("/subscriptions/{path}"), &fields);
        assert_eq!(refused.status, 403, "{path}: {}", refused.text);
    }
    client.get("/webhooks/1").expect(200);
    let limited = server.create_key(&["--name", "l", "--scopes", "*", "--subscriptions", "1"]);
    let mut limited = Browser::signed_in(&server, limited["key"].as_str().unwrap());
    let page = limited.page("/subscriptions");
    assert!(page.contains("/subscriptions/1\"") && !page.contains("/subscriptions/2\""), "{page}");
    assert_eq!(limited.get("/subscriptions/2").status, 404);
}
