//! What generators of clients need of the API's description, and what the clients that they make send. Clients made by
//! the generators themselves are run by `tests/clients-generated/run`.

use serde_json::{Value, json};
use tempclock_webhooks::http;

use crate::harness::{Server, clock_in};

/// Every object of the description, with the pointer to it.
fn objects() -> Vec<(String, &'static Value)> {
    let mut found = Vec::new();
    let mut places = vec![(String::new(), http::document())];
    while let Some((place, value)) = places.pop() {
        match value {
            Value::Object(fields) => {
                places.extend(fields.iter().map(|(name, field)| (format!("{place}/{name}"), field)));
                found.push((place, value));
            }
            Value::Array(items) => {
                places.extend(items.iter().enumerate().map(|(index, item)| (format!("{place}/{index}"), item)));
            }
            _ => {}
        }
    }
    found
}

/// Several generators read a choice and forget the properties beside it: `id` was lost, and a repeat made a second event.
#[test]
fn no_schema_has_a_choice_beside_properties() {
    for (place, object) in objects() {
        let has_choice = ["oneOf", "anyOf", "allOf"].iter().any(|name| object[name].is_array());
        assert!(!has_choice || object.get("properties").is_none(), "{place}");
    }
}

#[test]
fn every_event_to_publish_has_a_named_schema_with_its_id() {
    let document = http::document();
    let mapping = document["components"]["schemas"]["NewEvent"]["discriminator"]["mapping"].as_object().unwrap();
    assert_eq!(mapping["clock_in"], "#/components/schemas/NewClockInEvent");
    assert_eq!(mapping.len(), document["webhooks"].as_object().unwrap().len());
    for (event, reference) in mapping {
        let schema = document.pointer(&reference.as_str().unwrap()[1..]).unwrap();
        assert_eq!(schema["properties"]["event"], json!({"type": "string", "const": event}));
        assert_eq!(schema["required"], json!(["event", "data"]));
        assert!(schema["properties"]["id"].is_object() && schema["properties"]["occurred_at"].is_object());
    }
}

#[test]
fn every_object_that_is_answered_has_a_name() {
    for (place, object) in objects().into_iter().filter(|(place, _)| place.ends_with("/application/json/schema")) {
        let is_free = object.get("properties").is_none();
        assert!(object.get("$ref").is_some() || is_free, "{place} has no name: {object}");
    }
}

/// `openapi-typescript` requires a field with a default, Go's and Python's generators match a pattern from the start,
/// and some make no type of a constant without one.
#[test]
fn schemas_are_written_as_generators_read_them() {
    for (place, object) in objects() {
        let is_body = place.starts_with("/components/schemas/New") || place.contains("/SubscriptionChange");
        assert!(!is_body || object.get("default").is_none(), "{place} has a default");
        assert!(object["format"] != "date-time" || object.get("pattern").is_none(), "{place} has a pattern");
        let constant = object.get("const").filter(|_| object.get("type").is_none());
        assert!(constant.is_none(), "{place} has no type");
        assert!(!object["const"].is_boolean(), "{place} is a constant");
    }
}

#[test]
fn licence_headings_and_webhooks_are_described_as_linters_want() {
    let document = http::document();
    assert_eq!(document["info"]["license"]["identifier"], env!("CARGO_PKG_LICENSE"));
    for tag in document["tags"].as_array().unwrap() {
        assert!(tag["description"].as_str().is_some_and(|text| !text.is_empty()), "{tag}");
    }
    for (event, entry) in document["webhooks"].as_object().unwrap() {
        assert_eq!(entry["post"]["security"], json!([]), "{event}");
    }
}

/// As Python's `strftime` of the generated client writes it, and as a `+` arrives that nobody encoded.
#[test]
fn a_time_in_a_query_may_lack_the_colon_or_the_encoding_of_its_offset() {
    let server = Server::start(&[]);
    let client = server.client();
    client.publish("clock_in", &clock_in(1));
    for since in [
        "2001-03-02T08:00:00%2B0000",
        "2001-03-02T08:00:00.000000%2B0000",
        "2001-03-02T08:00:00+00:00",
        "2001-03-02T08:00:00+0000",
        "2001-03-02T08:00:00-0800",
    ] {
        let found = client.get(&format!("/events?since={since}")).expect(200);
        assert_eq!(found.json["pagination"]["total"], 1, "{since}: {}", found.text);
    }
    for wrong in ["2001-03-02%2008:00:00Z", "2001-03-02T08:00:00", "2001-03-02T08:00:00%2B00", "2001-0302"] {
        assert_eq!(client.get(&format!("/events?since={wrong}")).expect(400).wrong_fields(), ["since"], "{wrong}");
    }
}
