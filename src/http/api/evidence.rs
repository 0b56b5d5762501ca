//! Evidence: what the events of a worker were, where they went and what became of them, for a dispute over hours. A stream
//! that is read page by page, each as of another commit, so that it takes no more memory however long it is. The pages are
//! read on the blocking pool.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc::channel;

use crate::domain::access::Scope;
use crate::domain::delivery::Delivery;
use crate::domain::delivery::attempt::Attempt;
use crate::domain::event::event_type::EventType;
use crate::domain::event::find::{FindKey, FindKind};
use crate::domain::{AccountId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::http::api::events::time;
use crate::http::api::view::sent_headers;
use crate::http::request::chunks::{Chunk, Chunks};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, Query};
use crate::http::request::state::HttpState;
use crate::storage::error::StorageError;
use crate::storage::read::reader::{EventFilter, PAGE_BYTES, PageRequest, ReadView, StoredEvent};

/// Events that are read at a time.
const PAGE_EVENTS: usize = 100;
/// How long the caller may take to read a page.
const READER_TIMEOUT: Duration = Duration::from_mins(1);
/// The columns of the table.
const COLUMNS: [&str; 15] = [
    "event_id",
    "event",
    "event_created_at",
    "event_sha256",
    "delivery_id",
    "subscription_id",
    "delivery_status",
    "delivery_completed_at",
    "attempt",
    "url",
    "signature",
    "started_at",
    "completed_at",
    "response_code",
    "error",
];

/// An event with all its deliveries and attempts.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Evidence")]
pub struct EvidenceView {
    id: EventId,
    /// Its type.
    event: EventType,
    /// When it was stored.
    created_at: Timestamp,
    /// SHA-256 of its body, in hexadecimal.
    #[schemars(extend("pattern" = "^[0-9a-f]{64}$"))]
    #[schemars(example = &"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    sha256: String,
    deliveries: Vec<DeliveryEvidence>,
}

/// A delivery with its attempts.
#[derive(Serialize, JsonSchema)]
struct DeliveryEvidence {
    id: DeliveryId,
    subscription_id: SubscriptionId,
    /// Its status.
    #[schemars(example = &"delivered")]
    status: &'static str,
    /// When it was settled.
    completed_at: Option<Timestamp>,
    /// Oldest first.
    attempts: Vec<AttemptEvidence>,
}

/// One attempt.
#[derive(Serialize, JsonSchema)]
struct AttemptEvidence {
    /// Counted from 1.
    #[schemars(example = 1)]
    attempt: u32,
    #[schemars(example = &"https://crm.example.com/hooks/tempclock")]
    url: String,
    /// The request headers, including signatures; secret values are redacted.
    headers: Map<String, Value>,
    /// HMAC-SHA256 of the body that was sent, with the subscription's secret.
    #[schemars(example = &"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    signature: String,
    /// When it began.
    started_at: Timestamp,
    /// When it ended.
    completed_at: Timestamp,
    /// The HTTP status of the endpoint, if it answered.
    #[schemars(example = 204)]
    response_code: Option<u16>,
    /// What happened, if it failed.
    error: Option<String>,
}

impl AttemptEvidence {
    fn new(id: DeliveryId, delivery: &Delivery, attempt: &Attempt) -> Self {
        Self {
            attempt: attempt.number,
            url: attempt.url.as_ref().to_owned(),
            headers: sent_headers(id, delivery, attempt),
            signature: hex::encode(attempt.signed.signatures.tempclock),
            started_at: attempt.started_at,
            completed_at: attempt.ended_at(),
            response_code: attempt.outcome.response_code(),
            error: attempt.explanation_of(delivery.event_type),
        }
    }
}

impl DeliveryEvidence {
    fn new(id: DeliveryId, delivery: &Delivery) -> Self {
        Self {
            id,
            subscription_id: id.subscription,
            status: delivery.state.name(),
            completed_at: delivery.state.settled_at(),
            attempts: delivery.attempts.iter().map(|attempt| AttemptEvidence::new(id, delivery, attempt)).collect(),
        }
    }
}

/// In which form evidence is written.
#[derive(Clone, Copy)]
enum Form {
    Lines,
    Table,
}

/// What is looked for, and who sees what of it.
struct Search<S> {
    account: AccountId,
    keys: Vec<FindKey>,
    filter: EventFilter,
    sees: S,
    form: Form,
}

/// A page in its form, and where the next one begins.
struct Written {
    bytes: Vec<u8>,
    next: Option<EventId>,
}

impl<S: Fn(SubscriptionId) -> bool> Search<S> {
    fn page(&self, snapshot: &ReadView, after: Option<EventId>) -> Result<Written, StorageError> {
        let request = PageRequest { limit: PAGE_EVENTS, offset: 0, after };
        let page = snapshot.events_with(self.account, &self.keys, self.filter, request)?;
        let mut events = Vec::with_capacity(page.items.len());
        for (id, StoredEvent { content, receivers, .. }) in &page.items {
            let mut deliveries = Vec::new();
            for subscription in receivers.iter().filter(|id| (self.sees)(**id)) {
                let delivery_id = DeliveryId { event: *id, subscription: *subscription };
                let delivery = snapshot.delivery(delivery_id)?;
                deliveries.extend(delivery.map(|delivery| DeliveryEvidence::new(delivery_id, &delivery)));
            }
            let sha256 = hex::encode(content.sha256());
            let (event, created_at) = (content.event_type, id.time());
            events.push(EvidenceView { id: *id, event, created_at, sha256, deliveries });
        }
        let bytes = match self.form {
            Form::Lines => lines(&events),
            Form::Table => table(&events, after.is_none()).map_err(|error| StorageError::Codec(error.to_string())),
        };
        Ok(Written { bytes: bytes?, next: page.next })
    }
}

fn lines(events: &[EvidenceView]) -> Result<Vec<u8>, StorageError> {
    let mut bytes = Vec::new();
    for event in events {
        serde_json::to_writer(&mut bytes, event).map_err(|error| StorageError::Codec(error.to_string()))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Rows of a table; an event without deliveries, or a delivery without attempts, has one row.
fn table(events: &[EvidenceView], is_first: bool) -> csv::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if is_first {
        writer.write_record(COLUMNS)?;
    }
    for event in events {
        let own = [event.id.to_string(), event.event.to_string(), event.created_at.to_string(), event.sha256.clone()];
        if event.deliveries.is_empty() {
            writer.write_record(padded(own.to_vec()))?;
        }
        for delivery in &event.deliveries {
            let mut row = own.to_vec();
            row.extend([delivery.id.to_string(), delivery.subscription_id.to_string(), delivery.status.to_owned()]);
            row.push(delivery.completed_at.map(|time| time.to_string()).unwrap_or_default());
            if delivery.attempts.is_empty() {
                writer.write_record(padded(row.clone()))?;
            }
            for attempt in &delivery.attempts {
                let mut row = row.clone();
                row.extend([attempt.attempt.to_string(), attempt.url.clone(), attempt.signature.clone()]);
                row.extend([attempt.started_at.to_string(), attempt.completed_at.to_string()]);
                row.push(attempt.response_code.map(|code| code.to_string()).unwrap_or_default());
                row.push(attempt.error.clone().unwrap_or_default());
                writer.write_record(padded(row))?;
            }
        }
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

/// A whole row. No field of it is a formula to a spreadsheet, whatever a receiver or a publisher wrote into it.
fn padded(mut row: Vec<String>) -> Vec<String> {
    row.resize(COLUMNS.len(), String::new());
    for field in &mut row {
        if field.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            field.insert(0, '\'');
        }
    }
    row
}

/// `GET /evidence`.
pub async fn stream(state: web::Data<HttpState>, caller: Caller, mut query: Query) -> Result<HttpResponse, ApiError> {
    let account = caller.require(Scope::EventsRead)?;
    let worker = query.read("worker_id", |text| FindKey::wanted(FindKind::Worker, text));
    if query.get("worker_id").is_none() {
        query.refuse("worker_id", "is missing");
    }
    let form = query.parse("format", "ndjson or csv", |text| match text {
        "ndjson" => Some(Form::Lines),
        "csv" => Some(Form::Table),
        _ => None,
    });
    let filter = EventFilter { event_type: None, since: time(&mut query, "since"), until: time(&mut query, "until") };
    query.finish()?;
    let form = form.unwrap_or(Form::Lines);
    let (keys, sees) = (worker.into_iter().collect(), caller.sight());
    let search = Arc::new(Search { account, keys, filter, sees, form });
    let counted = caller.counted_account();
    let (sender, pages) = channel(1);
    actix_web::rt::spawn(async move {
        let mut after = None;
        loop {
            let search = Arc::clone(&search);
            let page = state.read_much(counted, 2 * PAGE_BYTES, move |snapshot| search.page(snapshot, after)).await;
            let (written, next) = match page {
                Ok((Written { bytes, next }, _memory)) => (Chunk::Bytes(bytes.into()), next),
                Err(error) => {
                    log::warn!("an export of evidence was aborted: {error}");
                    return;
                }
            };
            // A caller that has left or does not read ends it.
            let sent = tokio::time::timeout(READER_TIMEOUT, sender.send(written)).await;
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
            if next.is_none() {
                // Its failure is the caller's leave.
                drop(sender.send(Chunk::End).await);
                return;
            }
            after = next;
        }
    });
    let content_type = match form {
        Form::Lines => "application/x-ndjson",
        Form::Table => "text/csv; charset=utf-8",
    };
    let body = Chunks::new(pages, "the evidence could not be read completely");
    Ok(HttpResponse::Ok().content_type(content_type).insert_header(("Cache-Control", "no-store")).streaming(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_of_a_table_is_a_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
            let row = padded(vec![text.to_owned()]);
            assert_eq!((row[0].as_str(), row.len()), (format!("'{text}").as_str(), COLUMNS.len()));
        }
        assert_eq!(padded(vec!["a=b".to_owned()])[0], "a=b");
    }
}
