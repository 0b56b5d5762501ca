//! The webhooks section of the API's description, one entry per event type. Pure.

use serde_json::{Map, Value, json};

use super::answers::capitalized;
use super::example::SCHEMAS;
use crate::domain::delivery::attempt::{RequestHeaders, Signed, VERSION};
use crate::domain::event::data;
use crate::domain::event::event_type::EventType;
use crate::domain::signing::SigningSecret;
use crate::domain::{DeliveryId, EventId, event};
use crate::http::api::{event_body, event_types};

/// `ClockIn` of `clock_in`.
fn type_name(event_type: EventType) -> String {
    event_type.name().split('_').map(capitalized).collect()
}

/// A reference to the schema of a type's data.
fn data_of(event_type: EventType) -> Value {
    json!({"$ref": format!("{SCHEMAS}{}Data", type_name(event_type))})
}

/// The name of the schema of an event to publish.
fn new_event_name(event_type: EventType) -> String {
    format!("New{}Event", type_name(event_type))
}

/// The schema of any event to publish: one of the named ones, by its `event`.
fn new_event() -> Value {
    let reference = |event_type| format!("{SCHEMAS}{}", new_event_name(event_type));
    let choices = EventType::ALL.map(|event_type| json!({"$ref": reference(event_type)}));
    let mapping: Map<String, Value> =
        EventType::ALL.into_iter().map(|kind| (kind.name().to_owned(), reference(kind).into())).collect();
    json!({
        "description": "An event to publish; the required fields of `data` depend on `event`, and more may follow.",
        "oneOf": choices,
        "discriminator": {"propertyName": "event", "mapping": mapping},
        "examples": [new_event_example(EventType::ClockIn)],
    })
}

/// The schemas of every type's data, of every event to publish, and of every body that is delivered.
pub fn schemas() -> Map<String, Value> {
    let mut schemas = Map::from_iter([("NewEvent".to_owned(), new_event())]);
    for event_type in EventType::ALL {
        let name = type_name(event_type);
        let mut data = event_types::schema(event_type);
        data["description"] =
            format!("`data` of `{event_type}`: what it has at least. {}", event_type.description()).into();
        data["examples"] = json!([event_types::example(event_type)]);
        schemas.insert(format!("{name}Data"), data);
        schemas.insert(format!("{name}Webhook"), envelope(event_type));
        let mut new = event_body::schema(event_type, &data_of(event_type));
        new["examples"] = json!([new_event_example(event_type)]);
        schemas.insert(new_event_name(event_type), new);
    }
    schemas
}

/// An event to publish.
pub fn new_event_example(event_type: EventType) -> Value {
    json!({"event": event_type.name(), "id": "entry-4711", "data": event_types::example(event_type)})
}

fn envelope(event_type: EventType) -> Value {
    json!({
        "description": format!("The body of a delivery of `{event_type}`; the same bytes on every attempt."),
        "type": "object",
        "required": ["id", "event", "timestamp", "data"],
        "properties": {
            "id": {"$ref": format!("{SCHEMAS}EventId")},
            "event": {"type": "string", "const": event_type.name()},
            "timestamp": {"$ref": format!("{SCHEMAS}Timestamp")},
            "data": data_of(event_type),
        },
    })
}

/// One entry for each event type.
pub fn section() -> Map<String, Value> {
    EventType::ALL.into_iter().map(|event_type| (event_type.name().to_owned(), entry(event_type))).collect()
}

fn entry(event_type: EventType) -> Value {
    let time = EventId::EXAMPLE.time();
    let body = event::body(EventId::EXAMPLE, event_type, time, data::example(event_type));
    let example: Value = serde_json::from_slice(&body).unwrap_or_default();
    let schema = format!("{SCHEMAS}{}Webhook", type_name(event_type));
    json!({"post": {
        "operationId": format!("receive{}", type_name(event_type)),
        "summary": event_type.description(),
        "description": "Check a signature of the raw body, then respond with any 2xx within 30 s, and do the work \
                        afterwards. The same event can arrive again: store each `webhook-id` and ignore duplicates.",
        "parameters": headers(event_type, time.as_seconds(), &body),
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": {"$ref": schema}, "example": example}},
        },
        "responses": {
            "2XX": {"description": "Delivered. The body is ignored, but it has to be complete."},
            "410": {"description": "Disables the subscription."},
            "default": {"description": "Failed: retried by the schedule; `Retry-After` can make the wait longer. Redirects are not followed."},
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
            "Hexadecimal HMAC-SHA256 of the raw body; the key is the secret's text as it was shown.",
            json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
        ),
        "webhook-id" => ("The event's id (Standard Webhooks).", json!({"$ref": format!("{SCHEMAS}EventId")})),
        "webhook-timestamp" => (
            "When this attempt was made, in seconds since 1970 (Standard Webhooks).",
            json!({"type": "string", "pattern": "^[0-9]+$"}),
        ),
        "webhook-signature" => (
            "`v1,` and the Base64 of HMAC-SHA256 over `webhook-id.webhook-timestamp.body`; the key is the secret, read \
             as Base64 (Standard Webhooks).",
            json!({"type": "string", "pattern": "^v1,[A-Za-z0-9+/]{43}=$"}),
        ),
        _ => ("", json!({"type": "string"})),
    };
    json!({"name": name, "in": "header", "required": true, "description": description, "schema": schema, "example": example})
}
