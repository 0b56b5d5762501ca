//! The catalogue of event types: name, description, JSON Schema, example. Runs on the HTTP workers.

use actix_web::HttpResponse;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::event::data;
use crate::domain::event::event_type::EventType;
use crate::domain::event::field::{FieldKind, ID_CHARS};
use crate::domain::time_text;
use crate::http::request::error::ApiError;
use crate::http::request::extract::Caller;
use crate::http::request::respond::{self, Pagination};

pub async fn list(_caller: Caller) -> Result<HttpResponse, ApiError> {
    let data = catalogue();
    let pagination = Pagination::of_whole(data.len(), data.len(), 0, data.len());
    Ok(respond::list(&data, &pagination))
}

/// An event type, as the catalogue shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventTypeDescription")]
pub struct EventTypeView {
    /// The name of the type.
    #[schemars(with = "EventType")]
    pub name: &'static str,
    /// What has happened.
    #[schemars(example = EventType::ClockIn.description())]
    pub description: &'static str,
    /// JSON Schema of `data`: what it must hold; more may follow.
    #[schemars(with = "serde_json::Map<String, Value>", extend("examples" = [crate::http::api::event_types::schema(EventType::ClockIn)]))]
    pub schema: Value,
    /// A valid `data`.
    #[schemars(with = "serde_json::Map<String, Value>", extend("examples" = [example(EventType::ClockIn)]))]
    pub example: Value,
}

/// Every event type, as the API shows it.
#[must_use]
pub fn catalogue() -> Vec<EventTypeView> {
    EventType::ALL.into_iter().map(describe).collect()
}

fn describe(event_type: EventType) -> EventTypeView {
    EventTypeView {
        name: event_type.name(),
        description: event_type.description(),
        schema: schema(event_type),
        example: example(event_type),
    }
}

/// Example `data` of a type.
pub fn example(event_type: EventType) -> Value {
    serde_json::from_str(data::example(event_type)).unwrap_or_default()
}

/// JSON Schema of a type's `data`.
pub fn schema(event_type: EventType) -> Value {
    let fields = event_type.fields();
    let required = fields.iter().filter(|(_, kind)| !kind.is_optional());
    let properties: serde_json::Map<String, Value> =
        fields.iter().map(|(name, kind)| ((*name).to_owned(), field_schema(*kind))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": required.map(|(name, _)| *name).collect::<Vec<_>>(),
        "properties": properties,
        "additionalProperties": true,
    })
}

fn field_schema(kind: FieldKind) -> Value {
    match kind {
        FieldKind::Id => json!({
            "description": "Passed on as it came.",
            "type": ["integer", "string"],
            "minLength": 1,
            "maxLength": ID_CHARS,
        }),
        FieldKind::OptionalId => json!({
            "description": "Passed on as it came; may be null or missing.",
            "type": ["integer", "string", "null"],
            "minLength": 1,
            "maxLength": ID_CHARS,
        }),
        FieldKind::Count => json!({"type": "integer", "minimum": 0}),
        FieldKind::Text => json!({"type": "string"}),
        FieldKind::TextList => json!({"type": "array", "items": {"type": "string"}}),
        FieldKind::Time => json!({
            "description": "RFC 3339 with seconds and an offset (`Z` or `+01:00`), from 1970 on.",
            "type": "string",
            "format": "date-time",
            "examples": [time_text::EXAMPLE],
        }),
        FieldKind::Date => json!({"type": "string", "format": "date"}),
        FieldKind::TimeOfDay => {
            json!({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?$"})
        }
    }
}
