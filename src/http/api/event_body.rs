//! Parses published events, and compares what was parsed with the filters of the account's subscriptions; all invalid
//! fields are reported at once. Pure; runs on the HTTP workers. The text of `data` is kept unchanged.

use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::domain::event::catalogue::{Catalogue, TypeDescription};
use crate::domain::event::data;
use crate::domain::event::event_type::EventType;
use crate::domain::event::field::{self, FieldKind, ID_CHARS};
use crate::domain::event::find::{self, TAG_CHARS, TAGS};
use crate::domain::event::parsed_data::ParsedData;
use crate::domain::event::{IdempotencyEntry, IdempotencyKey, KeySource, NewEvent};
use crate::domain::json_fault::explain;
use crate::domain::options::filter::Filter;
use crate::domain::subscription::Subscription;
use crate::domain::{FieldError, FieldErrors, SubscriptionId, Timestamp, time_text};
use crate::http::request::error::ApiError;

const FIELDS: [&str; 5] = ["event", "data", "id", "occurred_at", "tags"];
/// Maximum number of events in a batch.
const BATCH_EVENTS: usize = 1000;
/// Maximum length of an idempotency key in the header, in characters.
pub const KEY_CHARS: usize = 255;

/// Parses one event, with the request's idempotency key if there is one.
pub fn one(text: &ByteString, request_key: Option<&str>, rules: &EventRules<'_>) -> Result<NewEvent, ApiError> {
    let fields: EventFields<'_> = serde_json::from_str(text).map_err(|error| ApiError::not_json(text, &error))?;
    let key = request_key.map(|key| digest_key(&["header", key]));
    fields.into_event(text, key, rules).map_err(ApiError::invalid)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchRequest<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

/// What published events are checked against.
pub struct EventRules<'a> {
    /// Maximum size of one event of a batch, in bytes.
    pub event_bytes: u64,
    /// The types that can be published.
    pub catalogue: &'a Catalogue,
    /// The subscriptions of the account that have a filter.
    pub filtered: &'a [Arc<Subscription>],
}

/// A batch of which not every event is valid.
#[derive(Default)]
pub struct PartialBatch {
    /// The valid events, each with its index.
    pub events: Vec<(usize, NewEvent)>,
    /// What is wrong with the others.
    pub errors: FieldErrors,
    /// Number of all events.
    pub count: usize,
}

/// Parses a batch of events, each within that size: all of them or none. The request's idempotency key applies to each
/// event with its index, and to the batch as a whole.
pub fn batch(text: &ByteString, request_key: Option<&str>, rules: &EventRules<'_>) -> Result<Vec<NewEvent>, ApiError> {
    let PartialBatch { events, errors, .. } = partial_batch(text, request_key, rules)?;
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let mut events: Vec<NewEvent> = events.into_iter().map(|(_, event)| event).collect();
    if let Some(key) = request_key {
        let mut hash = Sha256::new();
        for known in events.iter().filter_map(|event| event.idempotency.last()) {
            hash.update(known.fingerprint);
        }
        let whole =
            IdempotencyEntry { key: digest_key(&["batch", key]), source: KeySource::Header, fingerprint: half(hash) };
        if let Some(first) = events.first_mut() {
            first.idempotency.push(whole);
        }
    }
    Ok(events)
}

/// Parses the events of a batch, each within that size. The request's idempotency key applies to each event with its
/// index.
pub fn partial_batch(
    text: &ByteString,
    request_key: Option<&str>,
    rules: &EventRules<'_>,
) -> Result<PartialBatch, ApiError> {
    let batch: BatchRequest<'_> = serde_json::from_str(text).map_err(|error| {
        // An unexpected field stops the parser before the rest of the text is checked.
        match serde_json::from_str::<IgnoredAny>(text) {
            Err(error) => ApiError::not_json(text, &error),
            Ok(_) if error.is_data() => {
                ApiError::invalid_field("events", "is missing; send an object with this one field: {\"events\": [ … ]}")
            }
            Ok(_) => ApiError::not_json(text, &error),
        }
    })?;
    if batch.events.is_empty() || batch.events.len() > BATCH_EVENTS {
        return Err(ApiError::invalid_field("events", format!("must have 1 to {BATCH_EVENTS} events")));
    }
    let mut parsed = PartialBatch { count: batch.events.len(), ..PartialBatch::default() };
    for (index, raw) in batch.events.iter().enumerate() {
        let key = request_key.map(|key| digest_key(&["batch", key, &index.to_string()]));
        match event_of_batch(text, raw.get(), key, rules) {
            Err(found) => parsed.errors.add_part(&format!("events[{index}]"), found),
            Ok(event) => parsed.events.push((index, event)),
        }
    }
    Ok(parsed)
}

/// Parses one event of a batch, whose text is a part of the batch's; an error without a field concerns the whole event.
fn event_of_batch(
    batch: &ByteString,
    text: &str,
    key: Option<IdempotencyKey>,
    rules: &EventRules<'_>,
) -> Result<NewEvent, FieldErrors> {
    let event_bytes = rules.event_bytes;
    let whole = |message: String| FieldErrors::from(vec![FieldError::new("", message)]);
    if text.len() as u64 > event_bytes {
        return Err(whole(format!("may have at most {event_bytes} bytes")));
    }
    match serde_json::from_str::<EventFields<'_>>(text) {
        Err(error) if error.is_data() => Err(whole(format!("must be an object; {}", field::words(text)))),
        Err(error) => Err(whole(explain(text, &error).message)),
        Ok(fields) => fields.into_event(batch, key, rules),
    }
}

/// JSON Schema of an event of this type; `data` refers to the schema of its data.
#[must_use]
pub fn schema(event_type: EventType, data: &Value) -> Value {
    json!({
        "description": format!("A `{event_type}` to publish. `data` is delivered byte for byte, and may be nested at most 32 levels deep."),
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"type": "string", "const": event_type.name()},
            "data": data,
            "id": {
                "description": "Your own id of the event. A repeat gets the same response and stores nothing new.",
                "type": ["string", "integer", "null"],
                "minLength": 1,
                "maxLength": ID_CHARS,
                "examples": ["entry-4711"],
            },
            "occurred_at": {
                "description": "When the event happened, if not now; RFC 3339 with seconds and an offset, from 1970 on.",
                "type": ["string", "null"],
                "format": "date-time",
                "examples": [time_text::EXAMPLE],
            },
            "tags": {
                "description": "Texts for finding the event, in addition to the ids in its data. Receivers do not get them.",
                "type": ["array", "null"],
                "maxItems": TAGS,
                "items": {"type": "string", "minLength": 1, "maxLength": TAG_CHARS},
                "examples": [["north", "night"]],
            },
        },
        "additionalProperties": false,
    })
}

/// JSON Schema of a batch; `event` refers to that of one event.
#[must_use]
pub fn batch_schema(event: &Value) -> Value {
    json!({
        "type": "object",
        "required": ["events"],
        "properties": {"events": {"type": "array", "minItems": 1, "maxItems": BATCH_EVENTS, "items": event}},
        "additionalProperties": false,
    })
}

/// The digest of a publisher's key.
fn digest_key(parts: &[&str]) -> IdempotencyKey {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    IdempotencyKey(u128::from_be_bytes(half(hash)))
}

/// Half of a digest is enough: a collision would only affect the publisher who caused it.
fn half(hash: Sha256) -> [u8; 16] {
    let digest: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(digest.split_at(16).0);
    half
}

/// The raw fields of a published event.
#[derive(Default)]
struct EventFields<'a> {
    event: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    occurred_at: Option<&'a RawValue>,
    tags: Option<&'a RawValue>,
    errors: FieldErrors,
}

impl<'de: 'a, 'a> Deserialize<'de> for EventFields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EventFieldsVisitor;
        impl<'de> Visitor<'de> for EventFieldsVisitor {
            type Value = EventFields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<EventFields<'de>, A::Error> {
                let mut fields = EventFields::default();
                while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    let slot = match name.as_ref() {
                        "event" => &mut fields.event,
                        "data" => &mut fields.data,
                        "id" => &mut fields.id,
                        "occurred_at" => &mut fields.occurred_at,
                        "tags" => &mut fields.tags,
                        other => {
                            fields.errors.add(|| FieldError::unknown(other, &FIELDS));
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if slot.replace(map.next_value()?).is_some() {
                        fields.errors.add(|| FieldError::new(name, "is given twice"));
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(EventFieldsVisitor)
    }
}

impl EventFields<'_> {
    /// The event, if every field is valid. `body` is the request's, of which the fields are parts.
    fn into_event(
        self,
        body: &ByteString,
        request_key: Option<IdempotencyKey>,
        rules: &EventRules<'_>,
    ) -> Result<NewEvent, FieldErrors> {
        let mut errors = self.errors;
        let event_type = match self.event {
            None => Err("is missing".to_owned()),
            Some(raw) => serde_json::from_str::<String>(raw.get())
                .map_err(|_| format!("must be a string; {}", field::words(raw.get())))
                .and_then(|name| rules.catalogue.parse(&name)),
        };
        let event_type = event_type.map_err(|message| errors.add(|| FieldError::new("event", message))).ok();
        let read = match (self.data, event_type) {
            (None, _) => Err(vec![FieldError::new("data", "is missing")]),
            (Some(data), Some(known)) => data::check(&known.fields, data.get())
                .map(|data| (unfit(rules.filtered, known, &data), find::worker_key(&data))),
            (Some(_), None) => Ok((Vec::new(), None)),
        };
        let (unfit, worker) = read.map_err(|found| errors.extend(found)).unwrap_or_default();
        let occurred_at = given(self.occurred_at).and_then(|raw| {
            let time = serde_json::from_str::<String>(raw).ok().and_then(|text| Timestamp::parse(&text));
            if time.is_none() {
                errors.extend(FieldKind::Time.check(raw).err().map(|message| FieldError::new("occurred_at", message)));
            }
            time
        });
        let own_key = given(self.id).and_then(|raw| {
            let id = match data::unreadable(raw) {
                Some(fault) => Err(fault.message),
                None => field::id(raw).map_err(|fault| format!("must be {}; {fault}", FieldKind::Id.wanted())),
            };
            id.map(|id| digest_key(&["id", &id])).map_err(|message| errors.add(|| FieldError::new("id", message))).ok()
        });
        let tags = given(self.tags).map_or_else(|| Ok(Vec::new()), tags);
        let tags = tags.map_err(|(place, message)| errors.add(|| FieldError::new(place, message))).unwrap_or_default();
        let (Some(&TypeDescription { event_type, is_opt_in, .. }), Some(data), true) =
            (event_type, self.data, errors.is_empty())
        else {
            return Err(errors);
        };
        let fingerprint = || {
            let mut hash = Sha256::new();
            if let Some(number) = event_type.number() {
                hash.update([number]);
            } else {
                // No base type has the number of its first byte.
                hash.update(event_type.name().as_bytes());
                hash.update([0]);
            }
            hash.update(occurred_at.map_or(0, Timestamp::as_ms).to_le_bytes());
            hash.update(data.get().as_bytes());
            for tag in &tags {
                // Valid data ends with a bracket, and no tag holds a NUL: what follows cannot be meant by it.
                hash.update([0]);
                hash.update(tag.as_bytes());
            }
            half(hash)
        };
        let by_id = own_key.map(|key| IdempotencyEntry { key, source: KeySource::Id, fingerprint: fingerprint() });
        let by_request =
            request_key.map(|key| IdempotencyEntry { key, source: KeySource::Header, fingerprint: fingerprint() });
        let idempotency = by_id.into_iter().chain(by_request).collect();
        let data = body.slice_ref(data.get());
        Ok(NewEvent { event_type, is_opt_in, data, occurred_at, tags, worker, unfit, idempotency })
    }
}

/// The subscriptions that want events of this type and whose filter the data does not fit, by number.
fn unfit(filtered: &[Arc<Subscription>], known: &TypeDescription, data: &ParsedData<'_>) -> Vec<SubscriptionId> {
    let wanting = filtered.iter().filter(|found| found.events.contains(&known.event_type, known.is_opt_in));
    let does_not_fit = |filter: &Filter| !filter.fits(|name| data.get(name));
    wanting.filter(|wanting| wanting.options.filter.as_ref().is_some_and(does_not_fit)).map(|unfit| unfit.id).collect()
}

/// The tags, or which of them is wrong and why.
fn tags(raw: &str) -> Result<Vec<Box<str>>, (String, String)> {
    let wanted = format!("must be an array of up to {TAGS} strings");
    let wrong = |fault: &str| ("tags".to_owned(), format!("{wanted}; {fault}"));
    let tags: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| wrong(field::words(raw)))?;
    if tags.len() > TAGS {
        return Err(wrong(&format!("it has {}", tags.len())));
    }
    tags.iter()
        .enumerate()
        .map(|(index, raw)| {
            let wrong = |fault: String| {
                (format!("tags[{index}]"), format!("must be a string of 1 to {TAG_CHARS} characters; {fault}"))
            };
            let text: Box<str> =
                serde_json::from_str(raw.get()).map_err(|_| wrong(field::words(raw.get()).to_owned()))?;
            match text.chars().count() {
                0 => Err(wrong("it is empty".to_owned())),
                count if count > TAG_CHARS => Err(wrong(format!("it has {count} characters"))),
                _ if text.chars().any(char::is_control) => Err(wrong("it contains a control character".to_owned())),
                _ => Ok(text),
            }
        })
        .collect()
}

fn given(field: Option<&RawValue>) -> Option<&str> {
    field.map(RawValue::get).filter(|raw| *raw != "null")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_fields_that_are_read_and_no_other() {
        let schema = schema(EventType::ClockIn, &Value::Null);
        let mut described: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        let mut read = FIELDS.to_vec();
        described.sort_unstable();
        read.sort_unstable();
        assert_eq!(described, read);
    }
}
