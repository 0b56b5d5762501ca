//! An integration that was written for `/api/v1/webhooks.php` runs unchanged.

use serde_json::json;

use crate::harness::{Receiver, Server, clock_in};

const UNUSED: &str = "http://127.0.0.1:9/hook";

#[test]
fn a_subscription_lives_its_whole_life_at_the_old_address() {
    let server = Server::start(&[]);
    let client = server.client();
    let receiver = Receiver::start();
    let wish = json!({"url": receiver.url("/php"), "events": ["clock_in"]});
    let made = client.post("/webhooks.php", &wish).expect(201);
    let id = made.data()["id"].as_i64().unwrap();
    let secret = made.data()["secret"].as_str().unwrap().to_owned();
    let one = format!("/webhooks.php?id={id}");

    let list = client.get("/webhooks.php").expect(200);
    assert_eq!(list.rows().len(), 1);
    assert_eq!(list.json["pagination"]["total"], 1);
    assert_eq!(list.json, client.get("/webhooks").expect(200).json);
    assert_eq!(client.get(&one).expect(200).data(), &client.subscription(id));
    let page = client.get("/webhooks.php?limit=1&offset=1").expect(200);
    assert_eq!(page.json["pagination"]["offset"], 1);
    assert_eq!(page.rows().len(), 0);

    let changed = client.put(&one, &json!({"description": "from PHP"})).expect(200);
    assert_eq!(changed.data()["description"], "from PHP");
    let tested = client.post_nothing(&format!("/webhooks.php?id={id}&action=test")).expect(200);
    assert_eq!(tested.data()["success"], true);
    let verified = client.post(&format!("/webhooks.php?id={id}&action=test"), &json!({"verify": true})).expect(200);
    assert_eq!(verified.data()["verifies_signatures"], false);
    let event = client.publish("clock_in", &clock_in(1));
    client.settled(&event, "delivered");
    let came = receiver.requests();
    assert_eq!(came.len(), 4);
    // All but the ping that has to be refused.
    for request in [&came[0], &came[1], &came[3]] {
        request.assert_signed_with(&secret);
    }
    let recent = client.get(&one).expect(200).data()["recent_deliveries"].clone();
    assert_eq!(recent[0]["event"], "clock_in");
    assert_eq!(recent[1]["event"], "ping");

    let gone = client.delete(&one).expect(200);
    assert_eq!(gone.data()["deleted"], true);
    client.get(&one).expect(404).expect_error("not_found");
    client.get(&format!("/webhooks/{id}")).expect(404);
}

#[test]
fn the_old_address_refuses_what_the_new_one_refuses() {
    let server = Server::start(&[]);
    let client = server.client();
    let id = client.subscribe(UNUSED, &["clock_in"]).id;
    client.post("/webhooks.php", &json!({})).expect_wrong(&["url", "events"]);
    client.post_nothing("/webhooks.php?id=999999&action=test").expect(404).expect_error("not_found");
    client.get("/webhooks.php?id=999999").expect(404).expect_error("not_found");
    client.put("/webhooks.php", &json!({"active": false})).expect_wrong(&["id"]);
    client.delete("/webhooks.php").expect_wrong(&["id"]);
    client.post_nothing("/webhooks.php?action=test").expect_wrong(&["id"]);
    client.post_nothing(&format!("/webhooks.php?id={id}&action=nothing")).expect_wrong(&["action"]);
    assert_eq!(client.subscription(id)["active"], true);

    server.stranger().get("/webhooks.php").expect(401).expect_error("unauthorized");
    let reader = server.client_with(&server.key("webhooks:read"));
    let refused = reader.delete(&format!("/webhooks.php?id={id}")).expect(403);
    assert!(refused.json["message"].as_str().unwrap().contains("webhooks:write"), "{}", refused.text);
    let foreign = server.client_of("another");
    foreign.get(&format!("/webhooks.php?id={id}")).expect(404).expect_error("not_found");

    let head = client.raw_head("PATCH", "/api/v1/webhooks.php");
    let answer = client.raw(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).expect("an answer");
    assert_eq!(answer.status, 405);
    let allow = answer.header("allow").expect("an Allow header");
    for method in ["GET", "POST", "PUT", "DELETE"] {
        assert!(allow.contains(method), "{method} is not in {allow}");
    }
}
