//! Events, keys, audit and system: each section shows what the API shows, to those who may see it.

use serde_json::json;

use super::Browser;
use super::browser::shown_once;
use crate::harness::{Receiver, Server, clock_in, eventually, printed};

#[test]
fn events_are_found_by_worker_and_shown_with_their_deliveries() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    client.subscribe(&receiver.url("/"), &["clock_in"]);
    let mut data = clock_in(1);
    data["worker_id"] = json!("w<7>");
    data["pay"] = json!("<img src=x>");
    let wanted = client.post("/events", &json!({"event": "clock_in", "data": data, "tags": ["<i>north"]})).expect(202);
    let wanted = wanted.data()["id"].as_str().unwrap();
    let other = client.publish("clock_in", &clock_in(2));
    let mut browser = Browser::signed_in(&server, &server.key("events:read"));
    let found = browser.page("/events?worker_id=w%3C7%3E");
    assert!(found.contains(wanted) && !found.contains(&other) && found.contains("&#60;i&#62;north"), "{found}");
    let delivery = client.delivery_ids(wanted).remove(0);
    let one = browser.page(&format!("/events/{wanted}"));
    assert!(one.contains(&delivery) && one.contains("&#60;img src=x&#62;") && !one.contains("<img"), "{one}");
    assert_eq!(browser.get("/deliveries").status, 403);
    assert!(found.contains("/evidence?worker_id=w%3C7%3E&#38;format=csv") && !found.contains("/erasures"), "{found}");
    let evidence = browser.get("/evidence?worker_id=w%3C7%3E&format=csv&from=2020-01-01").expect(200);
    assert_eq!(evidence.header("content-disposition"), Some("attachment; filename=\"evidence.csv\""));
    assert!(evidence.text.contains(wanted) && !evidence.text.contains(&other), "{}", evidence.text);
    assert_eq!(browser.get("/erasures?worker_id=1").status, 403);
    let mut eraser = Browser::signed_in(&server, &server.key("events:erase,events:read,webhooks:read"));
    let ask = "/erasures?worker_id=w%3C7%3E";
    assert!(
        eraser.page("/events?worker_id=w%3C7%3E").contains(ask) && eraser.page(ask).contains("value=\"w&#60;7&#62;\"")
    );
    let stored = eraser.submit(ask, "/erasures", &[("worker_id", "w<7>")]).expect(200);
    assert!(stored.text.contains("/jobs/job_") && stored.text.contains("none known"), "{}", stored.text);
    eventually("the event is erased", || {
        client.get(&format!("/events/{wanted}")).data()["data"].is_null().then_some(())
    });
    let left = browser.page(&format!("/events/{wanted}"));
    assert!(left.contains("Erased <time") && !left.contains("img src"), "{left}");
    assert!(browser.page("/events").contains("erased"));
    let types = browser.page("/event-types");
    assert!(types.contains("document_expired") && types.contains("additionalProperties"), "{types}");
    let wrong = browser.page("/events?cursor=x");
    assert!(wrong.contains("role=\"alert\""), "{wrong}");
}

#[test]
fn a_key_is_created_shown_once_rotated_and_revoked_and_gives_no_more_than_ones_own() {
    let server = Server::start(&[]);
    let admin = server.key("keys:admin,webhooks:read");
    let mut browser = Browser::signed_in(&server, &admin);
    let fields = [("name", "crm <b>"), ("scopes", "webhooks:read"), ("expires", "90d"), ("networks", "127.0.0.0/8")];
    let created = browser.submit("/keys", "/keys", &fields).expect(200);
    let key = shown_once(&created.text);
    server.client_with(&key).get("/webhooks").expect(200);
    let list = browser.page("/keys");
    assert!(list.contains("crm &#60;b&#62;") && list.contains("127.0.0.0/8") && !list.contains(&key), "{list}");
    let beyond = browser.submit("/keys", "/keys", &[("name", "x"), ("scopes", "events:write")]);
    assert!(beyond.status == 403 && beyond.text.contains("events:write"), "{}", beyond.text);
    let wrong = browser.submit("/keys", "/keys", &[("name", ""), ("subscriptions", "one")]);
    assert!(wrong.status == 400 && wrong.text.contains("subscriptions"), "{}", wrong.text);
    let rotated = browser.submit("/keys", "/keys/2/rotate", &[]).expect(200);
    assert!(rotated.text.contains("tc_live_") && rotated.text.contains("valid until"), "{}", rotated.text);
    let revoked = browser.submit("/keys", "/keys/2/revoke", &[]);
    assert_eq!(revoked.header("location"), Some("/keys?done=revoked"));
    server.client_with(&key).get("/webhooks").expect(401);
    // One's own: the session ends with it.
    browser.submit("/keys", "/keys/1/revoke", &[]);
    assert_eq!(browser.get("/").header("location"), Some("/sign-in"));
}

#[test]
fn the_audit_names_who_signed_in_and_the_system_page_tells_the_operator_more() {
    let server = Server::start(&[]);
    let key = server.key("*");
    let receiver = Receiver::start();
    server.client_with(&key).subscribe(&receiver.url("/"), &["clock_in"]);
    let link = printed(&server.cli(&["dashboard", "--json"]));
    let path = link["data"]["url"].as_str().unwrap().split_once("/sign-in").unwrap().1;
    let mut operator = Browser::new(&server);
    let token = path.split_once("link=").unwrap().1;
    operator.submit(&format!("/sign-in{path}"), "/sign-in/link", &[("link", token)]).expect(303);
    operator.submit("/subscriptions/1", "/subscriptions/1/active", &[("active", "false")]).expect(303);
    let audit = operator.page("/audit");
    assert!(audit.contains("subscription.updated") && audit.contains("the operator"), "{audit}");
    assert!(audit.contains("<ins><bdi>false</bdi></ins>"), "{audit}");
    assert!(operator.page("/audit?to=2020-01-01").contains("0 changes"));
    let whole = operator.page("/system");
    assert!(whole.contains("Database") && whole.contains(env!("CARGO_PKG_VERSION")), "{whole}");
    let mut tenant = Browser::signed_in(&server, &key);
    let system = tenant.page("/system");
    assert!(system.contains("The store is writable") && !system.contains("Database"), "{system}");
    let page = tenant.page("/audit");
    assert!(page.contains("127.0.0.1"), "{page}");
}
