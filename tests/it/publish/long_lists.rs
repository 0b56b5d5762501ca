//! A list call looks at a bounded number of rows, however long the list is.

use serde_json::{Value, json};

use crate::harness::{Client, Server, clock_in, sample};

const LOOKED_AT_MAX: usize = 10_000;
const BATCH: usize = 1000;

fn publish_many(client: &Client, count: usize) {
    let one = json!({"event": "clock_out", "data": sample("clock_out")});
    for _ in 0..count.div_ceil(BATCH) {
        client.post("/events/batch", &json!({"events": vec![&one; BATCH]})).expect(202);
    }
}

fn page(client: &Client, query: &str) -> Value {
    client.get(query).expect(200).json
}

#[test]
fn a_page_that_a_filter_does_not_fill_is_short_and_its_cursor_leads_on_to_the_end() {
    let server = Server::start(&[]);
    let client = server.client();
    let oldest = client.publish("clock_in", &clock_in(1));
    publish_many(&client, LOOKED_AT_MAX);
    let first = page(&client, "/events?event=clock_in");
    let pagination = &first["pagination"];
    assert_eq!(first["data"], json!([]));
    assert_eq!((&pagination["total"], &pagination["total_is_exact"]), (&json!(0), &json!(false)), "{pagination}");
    assert_eq!(pagination["has_more"], true);
    let cursor = pagination["next_cursor"].as_str().unwrap();
    let second = page(&client, &format!("/events?event=clock_in&cursor={cursor}"));
    assert_eq!(second["data"][0]["id"], oldest.as_str());
    let pagination = &second["pagination"];
    assert_eq!((&pagination["has_more"], &pagination["next_cursor"]), (&json!(false), &Value::Null), "{pagination}");
    // The list as a whole is counted.
    let whole = page(&client, "/events?limit=1");
    assert_eq!(whole["pagination"]["total"], LOOKED_AT_MAX + 1);
    assert_eq!(whole["pagination"]["total_is_exact"], Value::Null);
    // The command line goes on by itself.
    let listed = server.cli(&["events", "list", "--event", "clock_in", "--json"]);
    assert!(listed.stdout.contains(&oldest), "{listed:?}");
}

#[test]
fn an_offset_beyond_ten_thousand_is_refused_and_the_refusal_names_the_cursor() {
    let server = Server::start(&[]);
    let client = server.client();
    for path in ["/events", "/deliveries"] {
        client.get(&format!("{path}?offset=10000")).expect(200);
        let refused = client.get(&format!("{path}?offset=10001")).expect(400);
        assert!(refused.text.contains("offset") && refused.text.contains("cursor"), "{}", refused.text);
    }
}
