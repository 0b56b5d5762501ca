//! The catalogue of event types: name, description, JSON Schema, example. Runs on the HTTP workers.

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::event::catalogue::{Catalogue, TypeDescription};
use crate::domain::event::event_type::EventType;
use crate::domain::event::event_types::TYPES_PATTERN;
use crate::domain::event::field::{FieldKind, ID_CHARS};
use crate::domain::event::meaning;
use crate::domain::time_text;
use crate::http::request::error::ApiError;
use crate::http::request::extract::Caller;
use crate::http::request::respond::{self, Pagination};
use crate::http::request::state::HttpState;

pub async fn list(state: web::Data<HttpState>, _caller: Caller) -> Result<HttpResponse, ApiError> {
    let catalogue = state.settings.catalogue.get();
    let data = shown(&catalogue);
    let pagination = Pagination::of_whole(data.len(), data.len(), 0, data.len());
    Ok(respond::list(&data, &pagination))
}

/// An event type, as the catalogue shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventTypeDescription")]
pub struct EventTypeView<'a> {
    /// The type.
    pub name: EventType,
    /// What happened.
    #[schemars(with = "String", example = EventType::ClockIn.description())]
    pub description: &'a str,
    /// Only subscriptions that name the type, or a prefix such as `clock.*`, get it; `*` does not include it.
    #[schemars(example = false)]
    pub opt_in: bool,
    /// JSON Schema of `data`, with the required fields; `data` may have others.
    #[schemars(with = "serde_json::Map<String, Value>", extend("examples" = [schema_of_clock_in()]))]
    pub schema: Value,
    /// Example of a valid `data`.
    #[schemars(with = "serde_json::Map<String, Value>", extend("examples" = [clock_in()]))]
    pub example: Value,
}

/// Every event type, as the API shows it.
#[must_use]
pub fn shown(catalogue: &Catalogue) -> Vec<EventTypeView<'_>> {
    catalogue.types().iter().map(describe).collect()
}

fn describe(known: &TypeDescription) -> EventTypeView<'_> {
    EventTypeView {
        name: known.event_type,
        description: &known.description,
        opt_in: known.is_opt_in,
        schema: schema(&known.fields),
        example: example(&known.example),
    }
}

/// Example `data` as JSON.
pub fn example(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Example `data` of a `clock_in`.
pub fn clock_in() -> Value {
    example(EventType::ClockIn.example())
}

/// JSON Schema of `data` with these fields.
pub fn schema<N: AsRef<str>>(fields: &[(N, FieldKind)]) -> Value {
    let required = fields.iter().filter(|(_, kind)| !kind.is_optional());
    let properties: serde_json::Map<String, Value> = fields
        .iter()
        .map(|(name, kind)| (name.as_ref().to_owned(), described(name.as_ref(), field_schema(*kind))))
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": required.map(|(name, _)| name.as_ref()).collect::<Vec<_>>(),
        "properties": properties,
        "additionalProperties": true,
    })
}

fn schema_of_clock_in() -> Value {
    schema(EventType::ClockIn.fields())
}

/// JSON Schema of an entry of a list of event types.
pub fn types_schema() -> Value {
    json!({
        "description": "An event type, a prefix such as `clock.*`, or `*`.",
        "type": "string",
        "pattern": TYPES_PATTERN,
        "examples": EventType::BASE_NAMES,
    })
}

/// With what the field means before what its kind of value is.
fn described(name: &str, mut schema: Value) -> Value {
    let words = [meaning::of_field(name), schema["description"].as_str()];
    let words: Vec<_> = words.into_iter().flatten().collect();
    if !words.is_empty() {
        schema["description"] = words.join(" ").into();
    }
    schema
}

fn field_schema(kind: FieldKind) -> Value {
    match kind {
        FieldKind::Id => json!({
            "description": "Passed on unchanged.",
            "type": ["integer", "string"],
            "minLength": 1,
            "maxLength": ID_CHARS,
        }),
        FieldKind::OptionalId => json!({
            "description": "Passed on unchanged; may be null or missing.",
            "type": ["integer", "string", "null"],
            "minLength": 1,
            "maxLength": ID_CHARS,
        }),
        FieldKind::Count => json!({"type": "integer", "minimum": 0}),
        FieldKind::Integer => json!({"type": "integer"}),
        FieldKind::Number => json!({"type": "number"}),
        FieldKind::Boolean => json!({"type": "boolean"}),
        FieldKind::Array => json!({"type": "array"}),
        FieldKind::Object => json!({"type": "object"}),
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
