//! Deliveries: what the list shows, one delivery with all that was sent and came back, and sending again.

use serde_json::json;

use super::Browser;
use crate::harness::{ALL_SCOPES, Receiver, Reply, Server, clock_in, eventually};

/// Texts that are a page's own words if they are not escaped.
const HOSTILE: &str = "</pre><script>alert(1)</script><img src=x onerror=alert(1)> \"'& {{7*7}} \u{202e}abc";

#[test]
fn the_list_shows_what_the_api_lists_with_its_filters_in_the_url() {
    let server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::answering(|request| Reply::status(if request.path == "/bad" { 500 } else { 200 }));
    let (good, bad) = (
        client.subscribe(&receiver.url("/good"), &["clock_in"]),
        client.subscribe(&receiver.url("/bad"), &["clock_in"]),
    );
    let ids = client.delivery_ids(&client.publish("clock_in", &clock_in(1)));
    for id in &ids {
        client.wait_for_delivery(id, "is settled", |delivery| delivery["status"] != "pending");
    }
    let failed = client.get("/deliveries?status=exhausted").expect(200);
    let failed = failed.rows()[0]["id"].as_str().unwrap();
    let delivered = ids.iter().find(|id| *id != failed).unwrap();
    let mut browser = Browser::signed_in(&server, &key);
    let all = browser.page("/deliveries");
    assert!(all.contains(failed) && all.contains(delivered.as_str()), "{all}");
    for (query, shown, hidden) in [
        ("status=exhausted", failed, delivered.as_str()),
        (&format!("subscription={}", good.id), delivered, failed),
        ("response_code=500&event=&from=2020-01-01", failed, delivered),
        (&format!("worker_id=42&subscription={}", bad.id), failed, delivered),
    ] {
        let page = browser.page(&format!("/deliveries?{query}"));
        assert!(page.contains(shown) && !page.contains(hidden), "{query}: {page}");
    }
    let today = browser.page("/deliveries?to=2020-01-01");
    assert!(today.contains("Nothing on this page matches") && !today.contains(failed), "{today}");
    let overview = browser.page("/");
    assert!(overview.contains("Every attempt has failed since") && overview.contains("answered 500"), "{overview}");
    for (wrong, words) in
        [("status=lost", "must be one of"), ("from=yesterday", "must be a day"), ("cursor=x", "next_cursor")]
    {
        let page = browser.page(&format!("/deliveries?{wrong}"));
        assert!(page.contains("role=\"alert\"") && page.contains(words), "{wrong}: {page}");
    }
}

#[test]
fn pages_of_a_list_follow_each_other_with_its_filters() {
    let server = Server::start(&[]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    client.subscribe("http://127.0.0.1:9/", &["clock_in"]);
    client.change(1, &json!({"active": false}));
    let events: Vec<_> = (0..120).map(|entry| json!({"event": "clock_in", "data": clock_in(entry)})).collect();
    client.post("/events/batch", &json!({"events": events})).expect(202);
    let mut browser = Browser::signed_in(&server, &key);
    let mut path = "/deliveries?status=held".to_owned();
    let (mut pages, mut rows) = (0, 0);
    loop {
        let page = browser.page(&path);
        (pages, rows) = (pages + 1, rows + page.matches("<tr data-id=").count());
        assert!(page.contains("120 that match"), "{page}");
        let Some((before, _)) = page.split_once("\" rel=\"next\"") else { break };
        path = before.rsplit_once("href=\"").unwrap().1.replace("&#38;", "&");
        assert!(path.starts_with("/deliveries?status=held&cursor=dlv_"), "{path}");
    }
    assert_eq!((pages, rows), (3, 120));
}

#[test]
fn one_delivery_shows_all_that_was_sent_and_came_back_as_text() {
    let server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::answering(|_| Reply::with(500, &[("X-Note", "<b>bold</b>")], HOSTILE));
    client.subscribe(&receiver.url("/"), &["worker_created"]);
    let event = client.publish("worker_created", &json!({"worker_id": 7, "worker_name": HOSTILE, "pay": 1}));
    let delivery = client.settled(&event, "exhausted");
    let mut browser = Browser::signed_in(&server, &key);
    let page = browser.page(&format!("/deliveries/{}", delivery["id"].as_str().unwrap()));
    assert!(page.contains("&#60;/pre&#62;&#60;script&#62;alert(1)") && page.contains("&#60;b&#62;bold"), "{page}");
    for markup in ["<script>", "<img", "<b>", "</pre><"] {
        let own = page.matches(markup).count();
        // The page's own.
        let allowed = if markup == "</pre><" { page.matches("</pre></details>").count() } else { 0 };
        assert_eq!(own, allowed, "{markup} in {page}");
    }
    for part in [&event, "X-TempClock-Signature", "curl -X POST", "--data-binary", "webhook-id"] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let list = browser.page("/deliveries");
    assert!(!list.contains("<img"), "{list}");
    let missing = browser.get("/deliveries/dlv_019cadc7b1c07ad1ea45cf36ac5ac54300000001");
    assert!(missing.status == 404 && missing.text.contains("delivery not found"), "{}", missing.text);
    let other = Browser::signed_in(&server, &server.key_for("other", ALL_SCOPES))
        .get(&format!("/deliveries/{}", delivery["id"].as_str().unwrap()));
    assert_eq!(other.status, 404, "another account's delivery");
}

#[test]
fn one_delivery_and_many_are_sent_again_and_the_job_shows_how_far_it_is() {
    let server = Server::start(&[("delivery.retry_schedule", "[]")]);
    let key = server.key(ALL_SCOPES);
    let client = server.client_with(&key);
    let receiver = Receiver::first([500, 500, 500].map(Reply::status));
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let events: Vec<_> = (1..=3).map(|entry| client.publish("clock_in", &clock_in(entry))).collect();
    let ids: Vec<_> =
        events.iter().map(|event| client.settled(event, "exhausted")["id"].as_str().unwrap().to_owned()).collect();
    let mut browser = Browser::signed_in(&server, &key);
    let page = format!("/deliveries/{}", ids[0]);
    let again = browser.submit(&page, &format!("{page}/retry"), &[]);
    assert_eq!((again.status, again.header("location")), (303, Some(format!("{page}?done=retried").as_str())));
    assert!(browser.page(again.header("location").unwrap()).contains("The delivery is due now"));
    client.wait_for_status(&ids[0], "delivered");
    let list = browser.page("/deliveries?status=exhausted");
    assert!(list.contains("/deliveries/retry?status=exhausted"), "{list}");
    let ask = "/deliveries/retry?status=exhausted&subscription=1";
    assert!(browser.page(ask).contains("<strong>2</strong> deliveries"));
    let job = browser.submit(ask, "/deliveries/retry", &[("status", "exhausted"), ("subscription", "1")]);
    let job = job.header("location").unwrap().to_owned();
    assert!(job.starts_with("/jobs/job_"), "{job}");
    for id in &ids {
        client.wait_for_status(id, "delivered");
    }
    eventually("the job is finished", || browser.page(&job).contains("finished").then_some(()));
    assert!(browser.page("/jobs").contains(&job));
    let refused = browser.get("/deliveries/retry?tag=x&status=exhausted");
    assert_eq!(refused.status, 400, "{}", refused.text);
    let audit = server.client_with(&server.key("*")).get("/audit").expect(200);
    let (retried, created) = ("delivery.retried", "job.created");
    for action in [retried, created] {
        let row = audit.rows().iter().find(|row| row["action"] == action).unwrap_or_else(|| panic!("{}", audit.text));
        assert!(row["actor"]["key_prefix"].as_str().is_some_and(|prefix| key.starts_with(prefix)), "{row}");
    }
    let mut reader = Browser::signed_in(&server, &server.key("webhooks:read"));
    assert!(!reader.page(&page).contains("Redeliver"));
    let refused = reader.submit("/", &format!("{page}/retry"), &[]);
    assert!(refused.status == 403 && refused.text.contains("webhooks:write"), "{}", refused.text);
}
