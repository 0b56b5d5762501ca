//! Events: publish one or many, list, read. Runs on the HTTP workers; a publish waits for the writer's commit and
//! for nothing else.

use std::fmt;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::extract::{Caller, JsonText, Publisher, Query};
use super::respond::{self, NextPage, Pagination};
use super::state::HttpState;
use super::view::{DeliveryView, EventView};
use crate::domain::access::Scope;
use crate::domain::event::{IdempotencyKey, NewEvent};
use crate::domain::event_type::EventType;
use crate::domain::{DeliveryId, EventId, FieldError, Timestamp, event_data};
use crate::storage::command::{Command, Published};
use crate::storage::reader::EventFilter;

type Answer = Result<HttpResponse, ApiError>;
type State = web::Data<HttpState>;

const FIELDS: [&str; 4] = ["event", "data", "id", "occurred_at"];
/// The most events in one batch.
const BATCH_EVENTS: usize = 1000;
/// The longest idempotency key, in characters.
const KEY_CHARS: usize = 255;

#[derive(Serialize)]
struct PublishedView {
    id: EventId,
    event: &'static str,
    deliveries: u32,
    duplicate: bool,
}

impl From<Published> for PublishedView {
    fn from(published: Published) -> Self {
        let Published { id, event_type, deliveries, duplicate } = published;
        Self { id, event: event_type.name(), deliveries, duplicate }
    }
}

pub async fn publish(state: State, caller: Publisher, request: HttpRequest, body: JsonText) -> Answer {
    let account = caller.require(Scope::EventsWrite)?;
    let header = idempotency_header(&request)?;
    let fields: Fields<'_> = serde_json::from_str(&body.0).map_err(|error| not_json(&error))?;
    let mut event = fields.into_event("").map_err(ApiError::invalid)?;
    if let Some(key) = header {
        event.idempotency.push(digest_key(&["header", &key]));
    }
    let events = vec![event];
    let published = state.ask(|reply| Command::Publish { account, events, reply }).await?;
    match published.first() {
        Some(published) => Ok(respond::single(HttpResponse::Accepted(), &PublishedView::from(*published))),
        None => Err(ApiError::internal(&"the writer answered a publish without a row")),
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

#[derive(Serialize)]
struct BatchView {
    data: Vec<PublishedView>,
}

pub async fn publish_batch(state: State, caller: Publisher, request: HttpRequest, body: JsonText) -> Answer {
    let account = caller.require(Scope::EventsWrite)?;
    let header = idempotency_header(&request)?;
    let batch: Batch<'_> = serde_json::from_str(&body.0).map_err(|error| {
        // An unexpected field stops the reading before the rest of the text is seen.
        match serde_json::from_str::<IgnoredAny>(&body.0) {
            Err(error) => not_json(&error),
            Ok(_) if error.is_data() => {
                ApiError::invalid_field("events", "must be an array of events, and the only field")
            }
            Ok(_) => not_json(&error),
        }
    })?;
    if batch.events.is_empty() || batch.events.len() > BATCH_EVENTS {
        return Err(ApiError::invalid_field("events", format!("must hold 1 to {BATCH_EVENTS} events")));
    }
    let limit_bytes = state.settings.event_bytes;
    let mut events = Vec::with_capacity(batch.events.len());
    let mut errors = Vec::new();
    for (index, raw) in batch.events.iter().enumerate() {
        let place = format!("events[{index}]");
        if raw.get().len() as u64 > limit_bytes {
            errors.push(FieldError::new(place, format!("may have at most {limit_bytes} bytes")));
            continue;
        }
        match serde_json::from_str::<Fields<'_>>(raw.get()) {
            Err(_) => errors.push(FieldError::new(place, "must be an object")),
            Ok(fields) => match fields.into_event(&format!("{place}.")) {
                Err(found) => errors.extend(found),
                Ok(mut event) => {
                    if let Some(key) = &header {
                        event.idempotency.push(digest_key(&["batch", key, &index.to_string()]));
                    }
                    events.push(event);
                }
            },
        }
    }
    if !errors.is_empty() {
        return Err(ApiError::invalid(errors));
    }
    let published = state.ask(|reply| Command::Publish { account, events, reply }).await?;
    let view = BatchView { data: published.into_iter().map(PublishedView::from).collect() };
    Ok(respond::json(&mut HttpResponse::Accepted(), &view))
}

pub async fn list(state: State, caller: Caller, mut query: Query) -> Answer {
    let account = caller.require(Scope::EventsRead)?;
    let request = query.page(EventId::parse);
    let filter = EventFilter {
        event_type: event_type(&mut query),
        since: time(&mut query, "since"),
        until: time(&mut query, "until"),
    };
    query.finish()?;
    let page = state.read(move |reader| reader.events(account, filter, request)).await?;
    let next_cursor = page.items.last().filter(|_| page.has_more).map(|(id, _)| id.to_string());
    let views: Vec<_> = page.items.iter().map(|(id, row)| EventView::new(*id, row, None)).collect();
    let (total, has_more) = (page.total, page.has_more);
    let (limit, offset) = (request.limit, request.offset);
    Ok(respond::list(&views, &Pagination { total, limit, offset, has_more, next: Some(NextPage { next_cursor }) }))
}

pub async fn read(state: State, caller: Caller, path: web::Path<String>) -> Answer {
    let account = caller.require(Scope::EventsRead)?;
    let missing = || ApiError::not_found("event");
    let id = EventId::parse(&path).ok_or_else(missing)?;
    let timeout = state.settings.attempt_timeout;
    let found = state
        .read(move |reader| {
            let Some(row) = reader.event(account, id)? else { return Ok(None) };
            let registry = reader.registry();
            let mut deliveries = Vec::new();
            for subscription in &row.subscriptions {
                let Some(subscription) = registry.subscription_of(account, *subscription) else { continue };
                let delivery_id = DeliveryId { event: id, subscription: subscription.id };
                let delivery = reader.delivery(delivery_id)?;
                let is_active = subscription.state.is_active();
                deliveries
                    .extend(delivery.map(|delivery| DeliveryView::short(delivery_id, &delivery, is_active, timeout)));
            }
            Ok(Some((row, deliveries)))
        })
        .await?;
    let (row, deliveries) = found.ok_or_else(missing)?;
    Ok(respond::single(HttpResponse::Ok(), &EventView::new(id, &row, Some(deliveries))))
}

/// The filter by event type of a query.
pub fn event_type(query: &mut Query) -> Option<EventType> {
    query.read("event", EventType::parse)
}

/// A filter by time of a query.
pub fn time(query: &mut Query, name: &str) -> Option<Timestamp> {
    query.parse(name, "a time such as 2026-03-02T08:00:00Z", Timestamp::parse)
}

fn not_json(error: &serde_json::Error) -> ApiError {
    match error.classify() {
        serde_json::error::Category::Data => ApiError::invalid_json("the body must be a JSON object"),
        _ => ApiError::invalid_json(format!("not JSON: {error}")),
    }
}

fn idempotency_header(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    let Some(value) = request.headers().get("Idempotency-Key") else { return Ok(None) };
    let wrong =
        || ApiError::invalid_field("Idempotency-Key", format!("must be 1 to {KEY_CHARS} visible ASCII characters"));
    let text = value.to_str().map_err(|_| wrong())?.trim();
    // The draft standard writes it as a quoted string, most clients send it bare.
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() || text.len() > KEY_CHARS { Err(wrong()) } else { Ok(Some(text.to_owned())) }
}

fn digest_key(parts: &[&str]) -> IdempotencyKey {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    IdempotencyKey(digest.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte)))
}

/// The fields of a published event, as they stand in the text.
#[derive(Default)]
struct Fields<'a> {
    event: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    occurred_at: Option<&'a RawValue>,
    errors: Vec<FieldError>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Fields::default();
                while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    let slot = match name.as_ref() {
                        "event" => &mut fields.event,
                        "data" => &mut fields.data,
                        "id" => &mut fields.id,
                        "occurred_at" => &mut fields.occurred_at,
                        other => {
                            fields.errors.push(FieldError::unknown(other, &FIELDS));
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    if slot.replace(map.next_value()?).is_some() {
                        fields.errors.push(FieldError::new(name, "is given twice"));
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

impl Fields<'_> {
    /// The event, if every field is right; `prefix` goes before the names in errors.
    fn into_event(self, prefix: &str) -> Result<NewEvent, Vec<FieldError>> {
        let mut errors = self.errors;
        let event_type = match self.event {
            None => Err("is missing".to_owned()),
            Some(raw) => serde_json::from_str::<String>(raw.get())
                .map_err(|_| "must be a string".to_owned())
                .and_then(|name| EventType::parse(&name)),
        };
        let event_type = event_type.map_err(|message| errors.push(FieldError::new("event", message))).ok();
        match (self.data, event_type) {
            (None, _) => errors.push(FieldError::new("data", "is missing")),
            (Some(data), Some(event_type)) => {
                errors.extend(event_data::check(event_type, data.get()).err().into_iter().flatten());
            }
            (Some(_), None) => {}
        }
        let occurred_at = match given(self.occurred_at) {
            None => None,
            Some(raw) => {
                let time = serde_json::from_str::<String>(raw.get()).ok().and_then(|text| Timestamp::parse(&text));
                if time.is_none() {
                    errors.push(FieldError::new("occurred_at", "must be a time such as \"2026-03-02T08:00:00Z\""));
                }
                time
            }
        };
        let idempotency = match given(self.id) {
            None => Vec::new(),
            Some(raw) => {
                if let Some(id) = own_id(raw) {
                    vec![digest_key(&["id", &id])]
                } else {
                    let message = format!("must be a string of 1 to {KEY_CHARS} characters, or an integer");
                    errors.push(FieldError::new("id", message));
                    Vec::new()
                }
            }
        };
        let (Some(event_type), Some(data), true) = (event_type, self.data, errors.is_empty()) else {
            for error in &mut errors {
                error.field.insert_str(0, prefix);
            }
            return Err(errors);
        };
        let mut hash = Sha256::new();
        hash.update([event_type.number()]);
        hash.update(occurred_at.map_or(0, Timestamp::as_ms).to_le_bytes());
        hash.update(data.get().as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(digest.split_at(16).0);
        Ok(NewEvent { event_type, data: data.get().into(), occurred_at, idempotency, fingerprint })
    }
}

fn given(field: Option<&RawValue>) -> Option<&RawValue> {
    field.filter(|raw| raw.get() != "null")
}

fn own_id(raw: &RawValue) -> Option<String> {
    if let Ok(number) = serde_json::from_str::<i64>(raw.get()) {
        return Some(number.to_string());
    }
    let text: String = serde_json::from_str(raw.get()).ok()?;
    (1..=KEY_CHARS).contains(&text.chars().count()).then_some(text)
}
