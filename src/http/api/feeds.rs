//! Feeds: pages of events for a receiver that reads them, and what it acknowledges. Runs on the HTTP workers. A request that
//! waits for an event is a task that a commit wakes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::domain::access::Scope;
use crate::domain::event::content::EventContent;
use crate::domain::feed::FeedCursor;
use crate::domain::options::names::Names;
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, DeliveryId, EventId, FieldError, FieldErrors, SubscriptionId};
use crate::http::api::fields::ObjectFields;
use crate::http::api::subscriptions::{find, parse_id};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{FeedReader, JsonText, Query};
use crate::http::request::respond;
use crate::http::request::shares::Share;
use crate::http::request::state::HttpState;
use crate::storage::command::Command;
use crate::storage::read::feed::{FEED_PAGE_BYTES, FeedPage};

type HandlerResult = Result<HttpResponse, ApiError>;
type AppState = web::Data<HttpState>;

/// Maximum number of events of a page, and their number unless another one is given.
pub const PAGE_EVENTS: usize = 100;
/// The longest time that a request may wait.
pub const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// Message after an acknowledgement.
pub const ACKNOWLEDGED: &str = "Everything up to this cursor is delivered.";
const ACK_FIELDS: [&str; 1] = ["cursor"];

/// An event of a feed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FeedItem")]
pub struct ItemView {
    delivery_id: DeliveryId,
    /// The same as the body of a delivery, byte for byte; absent once the event was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "serde_json::Map<String, Value>", extend("examples" = [example()]))]
    event: Option<Box<RawValue>>,
    /// True once the event was erased; absent otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    erased: Option<bool>,
}

fn example() -> Value {
    let event_type = crate::domain::event::event_type::EventType::ClockIn;
    let id = EventId::EXAMPLE;
    let body = crate::domain::event::body(id, event_type, id.time(), event_type.example());
    serde_json::from_slice(&body).unwrap_or_default()
}

/// A page of a feed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FeedPage")]
pub struct PageView {
    /// Oldest first.
    data: Vec<ItemView>,
    pagination: Place,
}

/// The end of a page of a feed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FeedPagination")]
struct Place {
    /// The `cursor` of the next page. Acknowledge it once you have processed this page.
    #[schemars(example = &"cur_1_019cadc7b1c07ad1ea45cf36ac5ac543")]
    next_cursor: String,
    /// Whether there are more events now.
    #[schemars(example = false)]
    has_more: bool,
}

/// The position of a feed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "FeedPosition")]
pub struct PositionView {
    /// The position up to which the feed is acknowledged; later than the given cursor if more was acknowledged before.
    #[schemars(example = &"cur_1_019cadc7b1c07ad1ea45cf36ac5ac543")]
    cursor: String,
}

/// JSON Schema of an acknowledgement.
#[must_use]
pub fn schema() -> Value {
    json!({
        "type": "object",
        "required": ACK_FIELDS,
        "properties": {"cursor": {
            "description": "The `next_cursor` of the last page that you have processed.",
            "type": "string",
            "examples": ["cur_1_019cadc7b1c07ad1ea45cf36ac5ac543"],
        }},
        "additionalProperties": false,
    })
}

/// What is asked for.
#[derive(Clone, Copy)]
struct Wish {
    after: Option<EventId>,
    limit: usize,
    wait: Duration,
}

pub async fn read(
    state: AppState,
    FeedReader(reader): FeedReader,
    path: web::Path<String>,
    query: Query,
) -> HandlerResult {
    let account = reader.require(Scope::FeedRead)?;
    let id = reader.seen(parse_id(&path)?)?;
    find(&state, account, id)?;
    let wish = wish(&state, id, query)?;
    feed_of(&state, account, id)?;
    let until = Instant::now() + wish.wait;
    loop {
        // Before it reads: what is told from here on is not missed, even before it is waited for.
        let waiter = if wish.wait.is_zero() { None } else { state.feed_waiters.wait_for(id) };
        let told = waiter.as_ref().map(|waiter| waiter.told.notified());
        let subscription = feed_of(&state, account, id)?;
        let (page, memory) = page(&state, reader.counted_account(), &subscription, wish).await?;
        let left = until.saturating_duration_since(Instant::now());
        match told {
            Some(told) if page.items.is_empty() && !page.has_more && !left.is_zero() => {
                drop(memory);
                // Whether it was told or the time is over, the next look shows.
                let _ = tokio::time::timeout(left, told).await;
            }
            _ => return Ok(memory.until_sent(answer(&state, &subscription, page)?)),
        }
    }
}

fn wish(state: &HttpState, id: SubscriptionId, mut query: Query) -> Result<Wish, ApiError> {
    let after = query.read("cursor", |text| cursor(state, id, text));
    let limit = query.parse("limit", "an integer from 1 on (above 100 it counts as 100)", |text| {
        text.parse().ok().filter(|limit: &usize| *limit > 0)
    });
    let wanted = format!("a time of up to {}s, such as 30s", LONGEST_WAIT.as_secs());
    let wait = query.parse("wait", &wanted, |text| {
        let wait = match text {
            "0" => Duration::ZERO,
            text => humantime::parse_duration(text).ok()?,
        };
        (wait <= LONGEST_WAIT).then_some(wait)
    });
    query.finish()?;
    Ok(Wish { after, limit: limit.unwrap_or(PAGE_EVENTS).min(PAGE_EVENTS), wait: wait.unwrap_or_default() })
}

/// The event that a cursor of this feed stands behind.
fn cursor(state: &HttpState, id: SubscriptionId, text: &str) -> Result<EventId, String> {
    let FeedCursor { after, .. } = FeedCursor::parse(text, id)?;
    if after.time() > state.reader.now(state.clock.read()).plus(Duration::from_secs(1)) {
        return Err("is not a cursor that this feed has returned: it is in the future".to_owned());
    }
    Ok(after)
}

/// The subscription, if it is read and active.
fn feed_of(state: &HttpState, account: AccountId, id: SubscriptionId) -> Result<Arc<Subscription>, ApiError> {
    let subscription = find(state, account, id)?;
    if !subscription.is_pull() {
        return Err(ApiError::not_a_feed(id));
    }
    if !subscription.state.is_active() {
        return Err(ApiError::feed_disabled(id));
    }
    Ok(subscription)
}

async fn page(
    state: &AppState,
    counted: Option<AccountId>,
    subscription: &Arc<Subscription>,
    Wish { after, limit, .. }: Wish,
) -> Result<(FeedPage, Share), ApiError> {
    let subscription = Arc::clone(subscription);
    // The rows of the page, and the answer that is made of them.
    let bytes = (2 * FEED_PAGE_BYTES).max(state.event_room());
    state.read_much(counted, bytes, move |snapshot| snapshot.feed(&subscription, after, limit)).await
}

fn answer(state: &HttpState, subscription: &Subscription, page: FeedPage) -> HandlerResult {
    let item = |(event, content): (EventId, EventContent)| {
        let delivery_id = DeliveryId { event, subscription: subscription.id };
        let text = String::from_utf8(content.body().to_vec()).ok().filter(|text| !text.is_empty());
        let event = text.and_then(|text| RawValue::from_string(text).ok());
        let erased = event.is_none().then_some(true);
        ItemView { delivery_id, event, erased }
    };
    let next_cursor = FeedCursor { subscription: subscription.id, after: page.next }.to_string();
    let view = PageView {
        data: page.items.into_iter().map(item).collect(),
        pagination: Place { next_cursor, has_more: page.has_more },
    };
    let body = serde_json::to_vec(&view).map_err(|error| ApiError::internal(&error))?;
    let digest: [u8; 32] = Sha256::digest(&body).into();
    let id = format!("page_{}", hex::encode(digest.split_at(16).0));
    let (now, kinds) = (state.clock.wall(), subscription.options.signatures);
    let names = Names::default();
    let own = subscription.keys.body_signature(&names, kinds, now, &body);
    let standard = subscription.keys.standard_headers(kinds, &id, now, &body);
    let mut response = respond::json(&mut HttpResponse::Ok(), &view);
    for (name, value) in own.into_iter().chain(standard) {
        let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let (name, value) = header.ok_or_else(|| ApiError::internal(&"a signature is no header"))?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

pub async fn acknowledge(
    state: AppState,
    FeedReader(reader): FeedReader,
    path: web::Path<String>,
    body: JsonText,
) -> HandlerResult {
    let account = reader.require(Scope::FeedRead)?;
    let id = reader.seen(parse_id(&path)?)?;
    find(&state, account, id)?;
    let up_to = acknowledged(&state, id, &body.text)?;
    feed_of(&state, account, id)?;
    let position = state.ask(|reply| Command::AcknowledgeFeed { account, id, up_to, reply }).await?;
    let cursor = FeedCursor { subscription: id, after: position }.to_string();
    Ok(respond::single_with_message(HttpResponse::Ok(), &PositionView { cursor }, ACKNOWLEDGED))
}

fn acknowledged(state: &HttpState, id: SubscriptionId, text: &str) -> Result<EventId, ApiError> {
    let fields = ObjectFields::parse(text)?;
    let mut errors = FieldErrors::default();
    let mut found = None;
    for (name, value) in &fields.once_each(&mut errors) {
        if name != "cursor" {
            errors.add(|| FieldError::unknown(name, &ACK_FIELDS));
            continue;
        }
        let read = value.as_str().ok_or_else(|| "must be the next_cursor of a page".to_owned());
        match read.and_then(|text| cursor(state, id, text)) {
            Ok(after) => found = Some(after),
            Err(message) => errors.add(|| FieldError::new("cursor", message)),
        }
    }
    if found.is_none() && errors.is_empty() {
        errors.add(|| FieldError::new("cursor", "is missing; acknowledge the next_cursor of a page"));
    }
    found.filter(|_| errors.is_empty()).ok_or_else(|| ApiError::invalid(errors))
}
