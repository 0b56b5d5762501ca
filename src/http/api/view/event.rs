//! The JSON of events. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::{EventId, Timestamp};
use crate::http::api::event_types;
use crate::http::api::view::DeliveryView;

/// An event in a list, or with its deliveries.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub struct EventView<'a> {
    id: EventId,
    event: EventType,
    /// When the event happened; null once it was erased.
    #[schemars(with = "Option<Timestamp>")]
    timestamp: Option<&'a str>,
    /// The data as published; null once it was erased.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    #[schemars(extend("examples" = [event_types::clock_in()]))]
    data: Option<&'a RawValue>,
    /// The tags set by the publisher.
    #[schemars(with = "Vec<String>", extend("examples" = [["north", "night"]]))]
    tags: Vec<Box<str>>,
    /// When it was stored.
    created_at: Timestamp,
    /// When it was erased; only if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timestamp")]
    erased_at: Option<Timestamp>,
    /// SHA-256 of the body that was sent, in hexadecimal; only if it was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("pattern" = "^[0-9a-f]{64}$"))]
    sha256: Option<String>,
    /// Its deliveries; only where one event is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<DeliveryView>")]
    deliveries: Option<Vec<DeliveryView>>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    timestamp: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<'a> EventView<'a> {
    /// From the stored body; a damaged or erased one shows no data.
    pub fn new(
        id: EventId,
        content: &'a EventContent,
        tags: Vec<Box<str>>,
        deliveries: Option<Vec<DeliveryView>>,
    ) -> Self {
        let envelope: Option<Envelope<'a>> = serde_json::from_slice(content.body()).ok();
        Self {
            id,
            event: content.event_type,
            timestamp: envelope.as_ref().map(|envelope| envelope.timestamp),
            data: envelope.map(|envelope| envelope.data),
            tags,
            created_at: id.time(),
            erased_at: content.erased().map(|erased| erased.at),
            sha256: content.erased().map(|erased| hex::encode(erased.sha256)),
            deliveries,
        }
    }
}
