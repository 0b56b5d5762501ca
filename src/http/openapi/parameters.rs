//! The parameters of operations, for the API's description. `extract` and the handlers parse them. Pure.

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use crate::domain::event::field::ID_CHARS;
use crate::domain::event::find::{FindKind, TAG_CHARS};
use crate::domain::{DeliveryId, EventId, JobId};
use crate::http::api::deliveries::{STATUSES, status_filters};
use crate::http::api::event_body::KEY_CHARS;
use crate::http::api::test_ping::NEWEST;
use crate::http::openapi::example::SCHEMAS;
use crate::http::openapi::operation::Parameter;
use crate::http::request::respond::{DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET};

const TIME: &str = "2026-03-02T08:00:00Z";

/// A parameter of the query.
pub fn query(name: &'static str, description: &'static str, schema: Value) -> Parameter {
    Parameter { place: "query", name, is_required: false, description, schema }
}

fn path_id(description: &'static str, schema: Value) -> Parameter {
    Parameter { place: "path", name: "id", is_required: true, description, schema }
}

/// Page size and offset of a list without a cursor.
pub fn page() -> [Parameter; 2] {
    [limit(), offset(usize::MAX)]
}

/// Page size and place in a list with such ids.
pub fn page_by_cursor<Id: JsonSchema>() -> [Parameter; 3] {
    let schema = Id::json_schema(&mut SchemaGenerator::default()).to_value();
    let cursor = query(
        "cursor",
        "The `next_cursor` of the previous page. A page may have fewer items than `limit`, or none, if items are long or the filters match few of the 10,000 items that a request reads.",
        schema,
    );
    [limit(), offset(MAX_OFFSET), cursor]
}

fn limit() -> Parameter {
    query(
        "limit",
        "Maximum number of items; more than 100 counts as 100.",
        json!({"type": "integer", "minimum": 1, "maximum": usize::MAX, "default": DEFAULT_LIMIT, "examples": [MAX_LIMIT]}),
    )
}

fn offset(maximum: usize) -> Parameter {
    query(
        "offset",
        "Number of items to skip.",
        json!({"type": "integer", "minimum": 0, "maximum": maximum, "default": 0, "examples": [0]}),
    )
}

/// A span of time.
pub fn span() -> [Parameter; 2] {
    let [_, since, until] = event_filters();
    [since, until]
}

/// Filters of events.
pub fn event_filters() -> [Parameter; 3] {
    let time = || json!({"type": "string", "format": "date-time", "examples": [TIME]});
    [
        query("event", "Filter by event type.", json!({"$ref": format!("{SCHEMAS}EventType")})),
        query(
            "since",
            "Only items that were stored at this time or later; RFC 3339, from 1970 on. Write `+` as `%2B`.",
            time(),
        ),
        query("until", "Only items that were stored before this time.", time()),
    ]
}

/// Filters of events, and of deliveries by their events, by ids and tags.
pub fn find_filters() -> [Parameter; 6] {
    let by = |kind: FindKind, description, most, example: &str| {
        query(
            kind.name(),
            description,
            json!({"type": "string", "minLength": 1, "maxLength": most, "examples": [example]}),
        )
    };
    [
        by(
            FindKind::Worker,
            "Filter by the top-level `worker_id` in `data`. Ids are compared as text: `52` also finds `52.0` and `\"52\"`.",
            ID_CHARS,
            "52",
        ),
        by(FindKind::Entry, "Filter by the `entry_id` in `data`.", ID_CHARS, "9001"),
        by(FindKind::Shift, "Filter by the `shift_id` in `data`.", ID_CHARS, "77"),
        by(FindKind::Document, "Filter by the `document_id` in `data`.", ID_CHARS, "DBS-1"),
        by(FindKind::Location, "Filter by the `location_id` in `data`.", ID_CHARS, "3"),
        by(FindKind::Tag, "Filter by a tag of the event.", TAG_CHARS, "night"),
    ]
}

/// What evidence is of, and in which form.
pub fn evidence() -> [Parameter; 2] {
    let worker = query("worker_id", "The worker, as in `data`.", json!({"type": "string", "examples": ["52"]}));
    let forms = json!({"type": "string", "enum": ["ndjson", "csv"], "default": "ndjson"});
    [Parameter { is_required: true, ..worker }, query("format", "The format of the response.", forms)]
}

/// Filters of deliveries.
pub fn delivery_filters() -> Vec<Parameter> {
    let own = [
        query(
            "status",
            "Filter by status; `held`: pending deliveries of disabled subscriptions.",
            json!({"type": "string", "enum": status_filters().collect::<Vec<_>>()}),
        ),
        query(
            "response_code",
            "Filter by the HTTP status of the last response.",
            json!({"type": "integer", "minimum": STATUSES.start(), "maximum": STATUSES.end(), "examples": [500]}),
        ),
    ];
    own.into_iter().chain(event_filters()).chain(find_filters()).collect()
}

/// The filter of deliveries by subscription.
pub fn subscription_filter() -> Parameter {
    query("subscription", "Filter by subscription.", subscription_id())
}

fn subscription_id() -> Value {
    json!({"type": "integer", "minimum": 0, "maximum": u32::MAX, "examples": [1]})
}

/// The subscription that the path names.
pub fn subscription() -> [Parameter; 1] {
    [path_id("The subscription's number.", subscription_id())]
}

/// The API key that the path names.
pub fn key() -> [Parameter; 1] {
    [path_id("The key's number.", subscription_id())]
}

/// The event that the path names.
pub fn event() -> [Parameter; 1] {
    let schema = json!({"type": "string", "examples": [EventId::EXAMPLE.to_string()]});
    [path_id("The event's id.", schema)]
}

/// The delivery that the path names.
pub fn delivery() -> [Parameter; 1] {
    let schema = json!({"type": "string", "examples": [DeliveryId::EXAMPLE.to_string()]});
    [path_id("The delivery's id.", schema)]
}

/// The job that the path names.
pub fn job() -> [Parameter; 1] {
    let schema = json!({"type": "string", "examples": [JobId::EXAMPLE.to_string()]});
    [path_id("The job's id.", schema)]
}

/// The subscription that the query names.
pub fn subscription_in_query(is_required: bool) -> Parameter {
    Parameter { is_required, ..query("id", "The subscription's number.", subscription_id()) }
}

/// The action.
pub fn action() -> Parameter {
    let description = "`test` sends a test ping; without it, a subscription is created.";
    query("action", description, json!({"type": "string", "enum": ["test"]}))
}

/// Whether the valid events of a batch are stored although others are refused.
pub fn partial() -> [Parameter; 1] {
    let description = "With `true`, the valid events are stored and the others reported, instead of all or none. An `Idempotency-Key` then applies to each event by its position.";
    [query("partial", description, json!({"type": "boolean", "examples": [false]}))]
}

/// What signs a test ping.
pub fn newest_secret() -> [Parameter; 1] {
    let description = "With `new`, the ping is signed with the newest secret only, to test it during a rotation.";
    [query("secret", description, json!({"type": "string", "enum": [NEWEST]}))]
}

/// The idempotency key.
pub fn idempotency_key() -> [Parameter; 1] {
    let schema = json!({"type": "string", "minLength": 1, "maxLength": KEY_CHARS, "examples": ["entry-4711"]});
    let description = "Your own key for this request, of visible ASCII characters. A repeat gets the same response and stores nothing new; another body with the same key gets 409. The key is remembered for the time set in `retention.idempotency`, 72 hours by default.";
    [Parameter { place: "header", name: "Idempotency-Key", is_required: false, description, schema }]
}
