//! The webhooks section of the API's description, one entry per event type. Pure.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::answers::capitalized;
use super::example::SCHEMAS;
use crate::domain::delivery::attempt::VERSION;
use crate::domain::delivery::headers::{RequestHeaders, Signed};
use crate::domain::event::catalogue::{Catalogue, TypeDescription};
use crate::domain::event::event_type::EventType;
use crate::domain::signing::SigningSecret;
use crate::domain::{DeliveryId, EventId, event};
use crate::http::api::{event_body, event_types};

/// Event types with their names in the description.
pub struct NamedTypes<'a>(Vec<NamedType<'a>>);

/// A type, and what begins the names of its schemas: `ClockIn` for `clock_in`.
struct NamedType<'a> {
    known: &'a TypeDescription,
    name: String,
}

impl<'a> NamedTypes<'a> {
    /// Names those of a catalogue.
    pub fn of(catalogue: &'a Catalogue) -> Self {
        let mut taken = HashSet::new();
        let named = catalogue.types().iter().map(|known| {
            let own = known.event_type.name();
            let name: String = own.split(['_', '.']).map(capitalized).collect();
            // Where two would have one name, the second keeps its own, which begins with a small letter.
            let name = if taken.insert(name.clone()) { name } else { own.to_owned() };
            NamedType { known, name }
        });
        Self(named.collect())
    }
}

impl NamedType<'_> {
    /// A reference to the schema of the data.
    fn data(&self) -> Value {
        json!({"$ref": format!("{SCHEMAS}{}Data", self.name)})
    }

    /// The name of the schema of an event to publish.
    fn new_event(&self) -> String {
        format!("New{}Event", self.name)
    }
}

/// The schema of any event to publish: one of the named ones, by its `event`.
fn new_event(types: &NamedTypes<'_>) -> Value {
    let reference = |named: &NamedType<'_>| format!("{SCHEMAS}{}", named.new_event());
    let choices: Vec<_> = types.0.iter().map(|named| json!({"$ref": reference(named)})).collect();
    let mapping: Map<String, Value> =
        types.0.iter().map(|named| (named.known.event_type.to_string(), reference(named).into())).collect();
    json!({
        "description": "An event to publish. The required fields of `data` depend on `event`; others are allowed.",
        "oneOf": choices,
        "discriminator": {"propertyName": "event", "mapping": mapping},
        "examples": [clock_in()],
    })
}

/// The schemas of every type's data, of every event to publish, and of every body that is delivered.
pub fn schemas(types: &NamedTypes<'_>) -> Map<String, Value> {
    let mut schemas = Map::from_iter([("NewEvent".to_owned(), new_event(types))]);
    for named in &types.0 {
        let NamedType { known, name } = named;
        let event_type = known.event_type;
        let mut data = event_types::schema(&known.fields);
        data["description"] =
            format!("`data` of `{event_type}`, with its required fields. {}", known.description).into();
        data["examples"] = json!([event_types::example(&known.example)]);
        schemas.insert(format!("{name}Data"), data);
        schemas.insert(format!("{name}Webhook"), envelope(named));
        let mut new = event_body::schema(event_type, &named.data());
        new["examples"] = json!([new_event_example(event_type, &known.example)]);
        schemas.insert(named.new_event(), new);
    }
    schemas
}

/// A `clock_in` to publish.
pub fn clock_in() -> Value {
    new_event_example(EventType::ClockIn, EventType::ClockIn.example())
}

fn new_event_example(event_type: EventType, data: &str) -> Value {
    json!({"event": event_type, "id": "entry-4711", "data": event_types::example(data)})
}

fn envelope(named: &NamedType<'_>) -> Value {
    let event_type = named.known.event_type;
    json!({
        "description": format!("The body of a delivery of `{event_type}`; the same bytes on every attempt."),
        "type": "object",
        "required": ["id", "event", "timestamp", "data"],
        "properties": {
            "id": {"$ref": format!("{SCHEMAS}EventId")},
            "event": {"type": "string", "const": event_type},
            "timestamp": {"$ref": format!("{SCHEMAS}Timestamp")},
            "data": named.data(),
        },
    })
}

/// One entry for each event type.
pub fn section(types: &NamedTypes<'_>) -> Map<String, Value> {
    types.0.iter().map(|named| (named.known.event_type.to_string(), entry(named))).collect()
}

fn entry(NamedType { known, name }: &NamedType<'_>) -> Value {
    let event_type = known.event_type;
    let time = EventId::EXAMPLE.time();
    let body = event::body(EventId::EXAMPLE, event_type, time, &known.example);
    let example: Value = serde_json::from_slice(&body).unwrap_or_default();
    let schema = format!("{SCHEMAS}{name}Webhook");
    let summary = if known.description.is_empty() { event_type.name() } else { &known.description };
    json!({"post": {
        "operationId": format!("receive{name}"),
        "summary": summary,
        "description": "Check a signature of the raw body, then respond with any 2xx within 30 s, and do the work \
                        afterwards. An event can arrive more than once: store each `webhook-id` and ignore duplicates.",
        "parameters": headers(event_type, time.as_seconds(), &body),
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": {"$ref": schema}, "example": example}},
        },
        "responses": {
            "2XX": {"description": "Delivered. The body is ignored, but must be complete."},
            "410": {"description": "Disables the subscription."},
            "default": {"description": "Failed: retried on schedule; `Retry-After` can make the wait longer. Redirects are not followed."},
        },
        "security": [],
    }})
}

/// The headers of [`RequestHeaders`] for `OpenAPI`, where the content type belongs to the body.
fn headers(event_type: EventType, timestamp_s: u64, body: &[u8]) -> Vec<Value> {
    let Some(secret) = SigningSecret::parse(SigningSecret::EXAMPLE) else { return Vec::new() };
    let signed = Signed { timestamp_s, signatures: secret.sign(EventId::EXAMPLE, timestamp_s, body) };
    let sent = RequestHeaders::of(DeliveryId::EXAMPLE, event_type, 1, VERSION, &signed);
    let sent = sent.iter().filter(|(name, _)| *name != "Content-Type");
    sent.map(|(name, value)| header(name, value, event_type)).collect()
}

fn header(name: &str, example: &str, event_type: EventType) -> Value {
    let (description, schema) = match name {
        "User-Agent" => ("The server and its version.", json!({"type": "string", "pattern": "^TempClock-Webhooks/"})),
        "X-TempClock-Event" => ("The event type.", json!({"type": "string", "const": event_type.name()})),
        "X-TempClock-Delivery" => {
            ("The delivery's id, the same on every attempt.", json!({"$ref": format!("{SCHEMAS}DeliveryId")}))
        }
        "X-TempClock-Attempt" => ("Counted from 1.", json!({"type": "string", "pattern": "^[1-9][0-9]*$"})),
        "X-TempClock-Signature" => (
            "Hexadecimal HMAC-SHA256 of the raw body; the key is the text of the secret, as it was shown.",
            json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
        ),
        "webhook-id" => ("The event's id (Standard Webhooks).", json!({"$ref": format!("{SCHEMAS}EventId")})),
        "webhook-timestamp" => (
            "When this attempt was made, in seconds since 1970 (Standard Webhooks).",
            json!({"type": "string", "pattern": "^[0-9]+$"}),
        ),
        "webhook-signature" => (
            "`v1,` and the Base64 of HMAC-SHA256 over `webhook-id.webhook-timestamp.body`; the key is the secret, decoded as Base64 (Standard Webhooks).",
            json!({"type": "string", "pattern": "^v1,[A-Za-z0-9+/]{43}=$"}),
        ),
        _ => ("", json!({"type": "string"})),
    };
    json!({"name": name, "in": "header", "required": true, "description": description, "schema": schema, "example": example})
}
