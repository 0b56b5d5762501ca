//! Events: publish one or many, list, read. Runs on the HTTP workers; a publish only awaits the writer's commit.

use std::collections::BTreeSet;

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use bytestring::ByteString;
use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::access::Scope;
use crate::domain::event::catalogue::Catalogue;
use crate::domain::event::event_type::EventType;
use crate::domain::event::find::{FindKey, FindKind};
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, DeliveryId, EventId, FieldError, Timestamp, time_text};
use crate::http::api::event_body::{self, EventRules, KEY_CHARS, PartialBatch};
use crate::http::api::view::event::EventView;
use crate::http::api::view::{DeliveryView, ViewContext};
use crate::http::request::error::{ApiError, DIFFERS, KEY_HEADER};
use crate::http::request::extract::{Caller, JsonText, Publisher, Query};
use crate::http::request::respond::{self, Pagination};
use crate::http::request::state::HttpState;
use crate::storage::command::{Command, Published};
use crate::storage::error::Rejection;
use crate::storage::read::reader::{EventFilter, PAGE_BYTES, PageRequest};

/// About what a delivery of an event takes in memory and in the answer.
const DELIVERY_BYTES: usize = 1024;

type HandlerResult = Result<HttpResponse, ApiError>;
type AppState = web::Data<HttpState>;

/// The result of publishing an event.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PublishedEvent")]
pub struct PublishedView {
    id: EventId,
    event: EventType,
    /// Number of subscriptions that it goes to.
    #[schemars(example = 1)]
    deliveries: u32,
    /// Whether the same event was published before; then nothing was stored.
    #[schemars(example = false)]
    duplicate: bool,
}

impl From<Published> for PublishedView {
    fn from(published: Published) -> Self {
        let Published { id, event_type, deliveries, duplicate } = published;
        Self { id, event: event_type, deliveries, duplicate }
    }
}

pub async fn publish(
    state: AppState,
    Publisher { account }: Publisher,
    request: HttpRequest,
    body: JsonText,
) -> HandlerResult {
    let key = idempotency_header(&request)?;
    let (registry, catalogue) = (state.reader.registry(), state.settings.catalogue.get());
    let rules = rules(&state, &catalogue, registry.filtered_of(account));
    let events = vec![event_body::one(&body.text, key.as_deref(), &rules)?];
    let published = state.ask(|reply| Command::Publish { account, events, reply }).await;
    let published = published.map_err(ApiError::of_one_event)?;
    match published.first() {
        Some(published) => Ok(respond::single(HttpResponse::Accepted(), &PublishedView::from(*published))),
        None => Err(ApiError::internal(&"the writer answered a publish without a row")),
    }
}

/// One row for each event of a batch, in order.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub struct BatchView {
    /// Null for an event that was refused; only with `partial=true`.
    data: Vec<Option<PublishedView>>,
    /// The errors of the refused events; only with `partial=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<FieldError>")]
    errors: Option<Vec<FieldError>>,
}

pub async fn publish_batch(
    state: AppState,
    Publisher { account }: Publisher,
    request: HttpRequest,
    mut query: Query,
    body: JsonText,
) -> HandlerResult {
    let is_partial = query.parse("partial", "true or false", |text| text.parse().ok());
    query.finish()?;
    let key = idempotency_header(&request)?;
    if is_partial == Some(true) {
        return publish_valid(&state, account, &body.text, key.as_deref()).await;
    }
    let (registry, catalogue) = (state.reader.registry(), state.settings.catalogue.get());
    let rules = rules(&state, &catalogue, registry.filtered_of(account));
    let events = event_body::batch(&body.text, key.as_deref(), &rules)?;
    let published = state.ask(|reply| Command::Publish { account, events, reply }).await?;
    let data = published.into_iter().map(|published| Some(published.into())).collect();
    Ok(respond::json(&mut HttpResponse::Accepted(), &BatchView { data, errors: None }))
}

/// What published events are checked against.
fn rules<'a>(state: &HttpState, catalogue: &'a Catalogue, filtered: &'a [Arc<Subscription>]) -> EventRules<'a> {
    EventRules { event_bytes: state.settings.event_bytes, catalogue, filtered }
}

/// Stores the valid events of a batch.
async fn publish_valid(state: &AppState, account: AccountId, text: &ByteString, key: Option<&str>) -> HandlerResult {
    let mut conflicting: BTreeSet<usize> = BTreeSet::new();
    // Each time round there is at least one event less.
    loop {
        let (registry, catalogue) = (state.reader.registry(), state.settings.catalogue.get());
        let rules = rules(state, &catalogue, registry.filtered_of(account));
        let PartialBatch { mut events, mut errors, count } = event_body::partial_batch(text, key, &rules)?;
        events.retain(|(index, _)| !conflicting.contains(index));
        for index in &conflicting {
            errors.add_part(&format!("events[{index}]"), vec![FieldError::new("", DIFFERS)].into());
        }
        if events.is_empty() {
            return Err(ApiError::invalid(errors));
        }
        let (places, events): (Vec<usize>, Vec<_>) = events.into_iter().unzip();
        match state.try_ask(|reply| Command::Publish { account, events, reply }).await {
            Ok(published) => {
                let mut data: Vec<_> = (0..count).map(|_| None).collect();
                for (place, published) in places.into_iter().zip(published) {
                    if let Some(row) = data.get_mut(place) {
                        *row = Some(published.into());
                    }
                }
                let view = BatchView { data, errors: Some(errors.kept().to_vec()) };
                return Ok(respond::json(&mut HttpResponse::Accepted(), &view));
            }
            // Nothing was stored.
            Err(Rejection::IdempotencyConflicts(found)) => {
                conflicting.extend(found.iter().filter_map(|(index, _)| places.get(*index)));
            }
            Err(refusal) => return Err(refusal.into()),
        }
    }
}

pub async fn list(state: AppState, caller: Caller, mut query: Query) -> HandlerResult {
    let account = caller.require(Scope::EventsRead)?;
    let request = query.page(EventId::parse);
    let keys = find_keys(&mut query);
    let filter = EventFilter {
        event_type: event_type(&state, (caller.counted_account(), account), &mut query).await?,
        since: time(&mut query, "since"),
        until: time(&mut query, "until"),
    };
    query.finish()?;
    // The rows of the page, and the answer that is made of them.
    let bytes = (2 * PAGE_BYTES).max(state.event_room());
    let counted = caller.counted_account();
    let found = state.read_much(counted, bytes, move |snapshot| {
        let page = if keys.is_empty() {
            snapshot.events(account, filter, request)?
        } else {
            snapshot.events_with(account, &keys, filter, request)?
        };
        let tags = page.items.iter().map(|(id, _)| snapshot.tags(account, *id)).collect::<Result<Vec<_>, _>>()?;
        Ok((page, tags))
    });
    let ((page, tags), memory) = found.await?;
    let views: Vec<_> = page
        .items
        .iter()
        .zip(tags)
        .map(|((id, event), tags)| EventView::new(*id, &event.content, tags, None))
        .collect();
    let pagination = Pagination::of(&page, request);
    Ok(memory.until_sent(respond::list(&views, &pagination)))
}

pub async fn read(state: AppState, caller: Caller, path: web::Path<String>) -> HandlerResult {
    let account = caller.require(Scope::EventsRead)?;
    let missing = || ApiError::not_found("event");
    let id = EventId::parse(&path).ok_or_else(missing)?;
    let clocks = state.clock.read_for_display();
    let dispatcher = Arc::clone(&state.dispatcher);
    let most = state.reader.registry().subscriptions_of(account).len();
    let bytes = state.event_room().saturating_add(most.saturating_mul(DELIVERY_BYTES));
    let sees = caller.sight();
    let (found, memory) = state
        .read_much(caller.counted_account(), bytes, move |snapshot| {
            let Some(event) = snapshot.event(account, id)? else { return Ok(None) };
            let mut deliveries = Vec::new();
            for subscription in event.receivers.iter().filter(|id| sees(**id)) {
                let Some(subscription) = snapshot.registry().subscription_of(account, *subscription) else { continue };
                let delivery_id = DeliveryId { event: id, subscription: subscription.id };
                let delivery = snapshot.delivery(delivery_id)?;
                let context = ViewContext {
                    snapshot,
                    is_active: subscription.state.is_active(),
                    clocks,
                    dispatcher: &dispatcher,
                };
                deliveries.extend(delivery.map(|delivery| DeliveryView::short(delivery_id, &delivery, context)));
            }
            Ok(Some((event.content, snapshot.tags(account, id)?, deliveries)))
        })
        .await?;
    let (content, tags, deliveries) = found.ok_or_else(missing)?;
    let view = EventView::new(id, &content, tags, Some(deliveries));
    Ok(memory.until_sent(respond::single(HttpResponse::Ok(), &view)))
}

/// The ids and tags that the query looks for.
pub fn find_keys(query: &mut Query) -> Vec<FindKey> {
    FindKind::ALL.into_iter().filter_map(|kind| query.read(kind.name(), |text| FindKey::wanted(kind, text))).collect()
}

/// The query's event type filter.
pub async fn event_type(
    state: &HttpState,
    whose: (Option<AccountId>, AccountId),
    query: &mut Query,
) -> Result<Option<EventType>, ApiError> {
    let Some(name) = query.get("event") else { return Ok(None) };
    match known_type(state, whose, name).await? {
        Ok(event_type) => Ok(Some(event_type)),
        Err(message) => {
            query.refuse("event", &message);
            Ok(None)
        }
    }
}

/// The type of that name, if it can be published or an event of it is stored; else a sentence. The account whose share it
/// is read in comes first.
pub async fn known_type(
    state: &HttpState,
    (counted, account): (Option<AccountId>, AccountId),
    name: &str,
) -> Result<Result<EventType, String>, ApiError> {
    let unknown = match state.settings.catalogue.get().parse(name) {
        Ok(known) => return Ok(Ok(known.event_type)),
        Err(message) => message,
    };
    let Some(event_type) = EventType::from_name(name) else { return Ok(Err(unknown)) };
    let filter = EventFilter { event_type: Some(event_type), ..EventFilter::default() };
    let one = PageRequest { limit: 1, offset: 0, after: None };
    let page = state.read_much(counted, state.event_room(), move |snapshot| snapshot.events(account, filter, one));
    let (page, _memory) = page.await?;
    // Where not all were looked at, there may be one.
    Ok(if page.items.is_empty() && page.next.is_none() { Err(unknown) } else { Ok(event_type) })
}

/// A time filter of the query.
pub fn time(query: &mut Query, name: &str) -> Option<Timestamp> {
    query.read(name, |text| {
        Timestamp::read(&repaired(text))
            // What is wrong is told of the text as it came.
            .or_else(|_| Timestamp::read(text))
            .map_err(|fault| format!("must be a time such as {}; {fault}", time_text::EXAMPLE))
    })
}

fn idempotency_header(request: &HttpRequest) -> Result<Option<String>, ApiError> {
    let mut given = request.headers().get_all(KEY_HEADER);
    let Some(value) = given.next() else { return Ok(None) };
    if given.next().is_some() {
        return Err(ApiError::invalid_field(KEY_HEADER, "is given twice"));
    }
    let wrong = || ApiError::invalid_field(KEY_HEADER, format!("must be 1 to {KEY_CHARS} visible ASCII characters"));
    let text = value.to_str().map_err(|_| wrong())?.trim();
    // The draft standard uses a quoted string; most clients send it unquoted.
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if text.is_empty() || text.len() > KEY_CHARS { Err(wrong()) } else { Ok(Some(text.to_owned())) }
}

/// A time with its offset as RFC 3339 writes it: in a query a `+` that was not encoded arrives as a blank, and generated
/// clients leave out the colon.
fn repaired(text: &str) -> String {
    let text = text.replace(' ', "+");
    match text.rsplit_once(['+', '-']) {
        Some((_, offset)) if offset.len() == 4 && offset.bytes().all(|byte| byte.is_ascii_digit()) => {
            let (time, minutes) = text.split_at(text.len() - 2);
            format!("{time}:{minutes}")
        }
        _ => text,
    }
}
