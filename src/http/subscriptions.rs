//! Subscriptions: make, list, read, change, delete, test. Runs on the HTTP workers.

use std::fmt;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use super::error::ApiError;
use super::extract::{Caller, JsonText, Query};
use super::respond::{self, Pagination};
use super::state::HttpState;
use super::view::{AttemptView, SubscriptionView};
use crate::delivery::transport::Sent;
use crate::domain::access::Scope;
use crate::domain::endpoint::{Endpoint, EndpointPolicy};
use crate::domain::event;
use crate::domain::event_type::{EventType, EventTypes};
use crate::domain::ids::EventIds;
use crate::domain::signing::SigningSecret;
use crate::domain::subscription::{NewSubscription, SubscriptionChange};
use crate::domain::{AccountId, DeliveryId, FieldError, SubscriptionId};
use crate::storage::command::Command;
use crate::storage::reader::PageRequest;
use crate::storage::record::EventRow;

type Answer = Result<HttpResponse, ApiError>;
type State = web::Data<HttpState>;

const FIELDS: [&str; 4] = ["url", "events", "active", "description"];
/// What a subscription shows and nobody can set; accepted, and passed over, when a whole one is sent back.
const SHOWN: [&str; 7] =
    ["id", "created_at", "updated_at", "disabled_reason", "disabled_at", "failing_since", "recent_deliveries"];
const DESCRIPTION_CHARS: usize = 500;

/// Reads a subscription's number from a path or query.
pub fn parse_id(text: &str) -> Result<SubscriptionId, ApiError> {
    text.parse().map(SubscriptionId).map_err(|_| ApiError::not_found("subscription"))
}

pub async fn create(state: State, caller: Caller, body: JsonText) -> Answer {
    let account = caller.require(Scope::WebhooksWrite)?;
    let change = parse(&body.0, &state.settings.policy, &["url", "events"])?;
    let (Some(endpoint), Some(events)) = (change.endpoint, change.events) else {
        return Err(ApiError::internal(&"a parsed subscription lacks a required field"));
    };
    let new = NewSubscription {
        endpoint,
        events,
        description: change.description.unwrap_or_default(),
        active: change.active.unwrap_or(true),
    };
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| ApiError::internal(&error))?;
    let secret = SigningSecret::from_random(&random);
    let made = state.ask(|reply| Command::CreateSubscription { account, new, secret, reply }).await?;
    log::info!("subscription {} made for {}", made.id, made.endpoint.origin());
    Ok(respond::single_with_message(
        HttpResponse::Created(),
        &SubscriptionView::with_secret(&made),
        "Subscription created. Keep the secret: it is not shown again.",
    ))
}

pub async fn list(state: State, caller: Caller, mut query: Query) -> Answer {
    let account = caller.require(Scope::WebhooksRead)?;
    let PageRequest { limit, offset, .. } = query.page(|_| None::<()>);
    query.finish()?;
    let registry = state.reader.registry();
    let all = registry.subscriptions_of(account);
    let page: Vec<_> = all.iter().skip(offset).take(limit).map(|found| SubscriptionView::new(found)).collect();
    let has_more = offset.saturating_add(page.len()) < all.len();
    Ok(respond::list(&page, &Pagination { total: all.len(), limit, offset, has_more, next: None }))
}

pub async fn read(state: State, caller: Caller, path: web::Path<String>) -> Answer {
    let account = caller.require(Scope::WebhooksRead)?;
    read_one(&state, account, parse_id(&path)?).await
}

/// One subscription with its last attempts.
pub async fn read_one(state: &State, account: AccountId, id: SubscriptionId) -> Answer {
    let registry = state.reader.registry();
    let subscription = registry.subscription_of(account, id).ok_or_else(|| ApiError::not_found("subscription"))?;
    let timeout = state.settings.attempt_timeout;
    let is_active = subscription.state.is_active();
    let (history, recent) = state
        .read(move |reader| {
            let history = reader.history(id)?;
            let mut recent = Vec::new();
            for (event, number) in history.recent.iter().rev() {
                let delivery_id = DeliveryId { event: *event, subscription: id };
                let Some(delivery) = reader.delivery(delivery_id)? else { continue };
                let attempt = delivery.attempts.iter().find(|attempt| attempt.number == *number);
                recent.extend(
                    attempt.map(|attempt| AttemptView::short(delivery_id, &delivery, attempt, is_active, timeout)),
                );
            }
            Ok((history, recent))
        })
        .await?;
    let view = SubscriptionView::with_history(subscription, &history, recent);
    Ok(respond::single(HttpResponse::Ok(), &view))
}

pub async fn update(state: State, caller: Caller, path: web::Path<String>, body: JsonText) -> Answer {
    let account = caller.require(Scope::WebhooksWrite)?;
    update_one(&state, account, parse_id(&path)?, &body).await
}

/// Changes one subscription.
pub async fn update_one(state: &State, account: AccountId, id: SubscriptionId, body: &JsonText) -> Answer {
    find(state, account, id)?;
    let change = parse(&body.0, &state.settings.policy, &[])?;
    let changed = state.ask(|reply| Command::ChangeSubscription { account, id, change, reply }).await?;
    log::info!("subscription {id} changed");
    let view = SubscriptionView::new(&changed);
    Ok(respond::single_with_message(HttpResponse::Ok(), &view, "Subscription updated."))
}

#[derive(Serialize)]
struct Deleted {
    id: SubscriptionId,
    deleted: bool,
}

pub async fn delete(state: State, caller: Caller, path: web::Path<String>) -> Answer {
    let account = caller.require(Scope::WebhooksWrite)?;
    delete_one(&state, account, parse_id(&path)?).await
}

/// Deletes one subscription with its history.
pub async fn delete_one(state: &State, account: AccountId, id: SubscriptionId) -> Answer {
    find(state, account, id)?;
    state.ask(|reply| Command::DeleteSubscription { account, id, reply }).await?;
    log::info!("subscription {id} deleted");
    let message = "Subscription deleted with its delivery history.";
    Ok(respond::single_with_message(HttpResponse::Ok(), &Deleted { id, deleted: true }, message))
}

fn find(state: &State, account: AccountId, id: SubscriptionId) -> Result<(), ApiError> {
    let registry = state.reader.registry();
    registry.subscription_of(account, id).map(drop).ok_or_else(|| ApiError::not_found("subscription"))
}

#[derive(Serialize)]
struct TestResult {
    success: bool,
    response_code: Option<u16>,
    duration_ms: u32,
    error: Option<String>,
    delivery_id: DeliveryId,
}

pub async fn test(state: State, caller: Caller, path: web::Path<String>) -> Answer {
    let account = caller.require(Scope::WebhooksWrite)?;
    test_one(&state, account, parse_id(&path)?).await
}

/// Sends one ping now and waits for it.
pub async fn test_one(state: &State, account: AccountId, id: SubscriptionId) -> Answer {
    let registry = state.reader.registry();
    let subscription = registry.subscription_of(account, id).ok_or_else(|| ApiError::not_found("subscription"))?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| ApiError::internal(&error))?;
    let now = state.clock.wall();
    let event = EventIds::after(None).next(now, u128::from_le_bytes(random));
    let data = format!(r#"{{"message":"Test of subscription {id}","webhook_id":{id}}}"#);
    let body = event::body(event, EventType::Ping, now, &data);
    let row = EventRow::new(EventType::Ping, vec![id], Vec::new(), body);
    let (transport, subscription, sent_row) = (state.transport.clone(), subscription.clone(), row.clone());
    let (sender, sent) = tokio::sync::oneshot::channel();
    let _place = state.pings.try_acquire().map_err(|_| ApiError::too_many_pings())?;
    // A thread of its own: pings that hang must not stand in the way of reads.
    let thread = std::thread::Builder::new().name("test-ping".to_owned());
    let spawned = thread.spawn(move || drop(sender.send(transport.send(&subscription, event, &sent_row, 1))));
    spawned.map_err(|error| ApiError::internal(&error))?;
    let Sent { attempt, .. } = sent.await.map_err(|error| ApiError::internal(&error))?;
    let result = TestResult {
        success: attempt.outcome.is_delivered(),
        response_code: attempt.outcome.response_code(),
        duration_ms: attempt.duration_ms,
        error: attempt.outcome.explanation(state.settings.attempt_timeout),
        delivery_id: DeliveryId { event, subscription: id },
    };
    let attempt = Box::new(attempt);
    state.ask(|reply| Command::RecordPing { event, row, subscription: id, attempt, reply }).await?;
    let message = if result.success { "The endpoint accepted the ping." } else { "The ping failed." };
    Ok(respond::single_with_message(HttpResponse::Ok(), &result, message))
}

/// Reads what a request says about a subscription; all errors at once.
fn parse(text: &str, policy: &EndpointPolicy, required: &[&str]) -> Result<SubscriptionChange, ApiError> {
    let Fields(mut fields) = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => ApiError::invalid_json("the body must be a JSON object"),
        _ => ApiError::invalid_json(format!("not JSON: {error}")),
    })?;
    fields.retain(|(name, _)| !SHOWN.contains(&name.as_str()));
    let mut errors = Vec::new();
    for name in required {
        if !fields.iter().any(|(given, _)| given == name) {
            errors.push(FieldError::new(*name, "is missing"));
        }
    }
    let mut change = SubscriptionChange::default();
    for (index, (name, value)) in fields.iter().enumerate() {
        if fields.iter().take(index).any(|(before, _)| before == name) {
            errors.push(FieldError::new(name, "is given twice"));
            continue;
        }
        let result = match name.as_str() {
            "url" => parse_url(value, policy).map(|endpoint| change.endpoint = Some(endpoint)),
            "events" => parse_events(value).map(|events| change.events = Some(events)),
            "description" => parse_description(value).map(|text| change.description = Some(text)),
            "active" => value
                .as_bool()
                .map(|active| change.active = Some(active))
                .ok_or_else(|| vec![FieldError::new("active", "must be true or false")]),
            "secret" => Err(vec![FieldError::new("secret", "is made by the server and cannot be set")]),
            _ => Err(vec![FieldError::unknown(name, &FIELDS)]),
        };
        errors.extend(result.err().into_iter().flatten());
    }
    if errors.is_empty() { Ok(change) } else { Err(ApiError::invalid(errors)) }
}

/// The fields of an object as they were sent, one that is given twice included.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

fn parse_url(value: &Value, policy: &EndpointPolicy) -> Result<Endpoint, Vec<FieldError>> {
    let text = value.as_str().ok_or_else(|| vec![FieldError::new("url", "must be a string")])?;
    Endpoint::parse(text, policy).map_err(|error| vec![FieldError::new("url", error.to_string())])
}

fn parse_events(value: &Value) -> Result<EventTypes, Vec<FieldError>> {
    let wanted = "must be an array of event types such as [\"clock_in\"], or [\"*\"] for all";
    let names = value.as_array().filter(|names| !names.is_empty());
    let names: Option<Vec<&str>> = names.and_then(|names| names.iter().map(Value::as_str).collect());
    let names = names.ok_or_else(|| vec![FieldError::new("events", wanted)])?;
    EventTypes::parse(names).map_err(|errors| {
        errors.into_iter().map(|(index, message)| FieldError::new(format!("events[{index}]"), message)).collect()
    })
}

fn parse_description(value: &Value) -> Result<String, Vec<FieldError>> {
    let wrong = |message: String| vec![FieldError::new("description", message)];
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) if text.chars().count() > DESCRIPTION_CHARS => {
            Err(wrong(format!("may have at most {DESCRIPTION_CHARS} characters")))
        }
        Value::String(text) if text.chars().any(|character| character.is_control() && character != '\n') => {
            Err(wrong("must not hold control characters".to_owned()))
        }
        Value::String(text) => Ok(text.clone()),
        _ => Err(wrong("must be a string".to_owned())),
    }
}
