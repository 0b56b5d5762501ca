//! Subscriptions: create, list, read, change, delete, test. Runs on the HTTP workers.

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;

use crate::delivery::send::transport::AttemptReport;
use crate::domain::access::Scope;
use crate::domain::event;
use crate::domain::event::event_type::EventType;
use crate::domain::ids::EventIds;
use crate::domain::signing::SigningSecret;
use crate::domain::subscription::NewSubscription;
use crate::domain::{AccountId, DeliveryId, SubscriptionId};
use crate::http::api::subscription_body;
use crate::http::api::view::{AttemptView, SubscriptionView, ViewContext};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, JsonText, Query};
use crate::http::request::respond::{self, Pagination};
use crate::http::request::state::HttpState;
use crate::storage::command::Command;
use crate::storage::read::reader::PageRequest;
use crate::storage::rows::record::EventRow;

type HandlerResult = Result<HttpResponse, ApiError>;
type AppState = web::Data<HttpState>;

/// Message after creating one.
pub const CREATED: &str = "Subscription created. Keep the secret: it is not shown again.";
/// Message after a change.
pub const UPDATED: &str = "Subscription updated.";
/// Message after deleting one.
pub const DELETED: &str = "Subscription deleted with its delivery history.";
/// Message after a successful test.
pub const ACCEPTED: &str = "The endpoint accepted the ping.";

/// Parses a subscription's number.
pub fn parse_id(text: &str) -> Result<SubscriptionId, ApiError> {
    text.parse().map(SubscriptionId).map_err(|_| ApiError::not_found("subscription"))
}

pub async fn create(state: AppState, caller: Caller, body: JsonText) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    let change = subscription_body::read(&body.text, &state.settings.policy, &["url", "events"])?;
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
    log::info!("subscription {} created for {}", made.id, made.endpoint.origin());
    Ok(respond::single_with_message(HttpResponse::Created(), &SubscriptionView::with_secret(&made), CREATED))
}

pub async fn list(state: AppState, caller: Caller, mut query: Query) -> HandlerResult {
    let account = caller.require(Scope::WebhooksRead)?;
    let PageRequest { limit, offset, .. } = query.page(|_| None::<()>);
    query.finish()?;
    let read = state.read(caller.counted_account(), move |snapshot| {
        let all = snapshot.registry().subscriptions_of(account);
        let shown: Vec<_> = all.iter().skip(offset).take(limit).cloned().collect();
        let ids: Vec<_> = shown.iter().map(|found| found.id).collect();
        Ok((all.len(), shown, snapshot.failing_since(&ids)?))
    });
    let (total, shown, healths) = read.await?;
    let page: Vec<_> = shown
        .iter()
        .zip(healths)
        .map(|(found, failing_since)| SubscriptionView::with_health(found, failing_since))
        .collect();
    let has_more = offset.saturating_add(page.len()) < total;
    Ok(respond::list(&page, &Pagination { total, limit, offset, has_more, next: None }))
}

pub async fn read(state: AppState, caller: Caller, path: web::Path<String>) -> HandlerResult {
    let account = caller.require(Scope::WebhooksRead)?;
    read_one(&state, caller.counted_account(), account, parse_id(&path)?).await
}

/// One subscription with its last attempts.
pub async fn read_one(
    state: &AppState,
    counted: Option<AccountId>,
    account: AccountId,
    id: SubscriptionId,
) -> HandlerResult {
    let clocks = state.clock.read_for_display();
    let found = state
        .read(counted, move |snapshot| {
            let Some(subscription) = snapshot.registry().subscription_of(account, id).cloned() else { return Ok(None) };
            let context = ViewContext { is_active: subscription.state.is_active(), clocks };
            let history = snapshot.history(id)?;
            let mut recent = Vec::new();
            for (event, number) in history.recent.iter().rev() {
                let delivery_id = DeliveryId { event: *event, subscription: id };
                let Some(delivery) = snapshot.delivery(delivery_id)? else { continue };
                let attempt = delivery.attempts.iter().find(|attempt| attempt.number == *number);
                recent.extend(attempt.map(|attempt| AttemptView::short(delivery_id, &delivery, attempt, context)));
            }
            Ok(Some((subscription, history, recent)))
        })
        .await?;
    let (subscription, history, recent) = found.ok_or_else(|| ApiError::not_found("subscription"))?;
    let view = SubscriptionView::with_history(&subscription, &history, recent);
    Ok(respond::single(HttpResponse::Ok(), &view))
}

pub async fn update(state: AppState, caller: Caller, path: web::Path<String>, body: JsonText) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    update_one(&state, account, parse_id(&path)?, &body).await
}

/// Changes one subscription.
pub async fn update_one(state: &AppState, account: AccountId, id: SubscriptionId, body: &JsonText) -> HandlerResult {
    find(state, account, id)?;
    let change = subscription_body::read(&body.text, &state.settings.policy, &[])?;
    let changed = state.ask(|reply| Command::ChangeSubscription { account, id, change, reply }).await?;
    log::info!("subscription {id} changed");
    let view = SubscriptionView::new(&changed);
    Ok(respond::single_with_message(HttpResponse::Ok(), &view, UPDATED))
}

/// What is left of a subscription that was deleted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "DeletedSubscription")]
pub struct Deleted {
    id: SubscriptionId,
    /// Always true.
    #[schemars(example = true)]
    deleted: bool,
}

pub async fn delete(state: AppState, caller: Caller, path: web::Path<String>) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    delete_one(&state, account, parse_id(&path)?).await
}

/// Deletes one subscription with its history.
pub async fn delete_one(state: &AppState, account: AccountId, id: SubscriptionId) -> HandlerResult {
    find(state, account, id)?;
    state.ask(|reply| Command::DeleteSubscription { account, id, reply }).await?;
    log::info!("subscription {id} deleted");
    Ok(respond::single_with_message(HttpResponse::Ok(), &Deleted { id, deleted: true }, DELETED))
}

fn find(state: &AppState, account: AccountId, id: SubscriptionId) -> Result<(), ApiError> {
    let registry = state.reader.registry();
    registry.subscription_of(account, id).map(drop).ok_or_else(|| ApiError::not_found("subscription"))
}

/// How a test ping went.
#[derive(Serialize, JsonSchema)]
pub struct TestResult {
    /// The endpoint answered with a 2xx.
    #[schemars(example = true)]
    success: bool,
    /// The HTTP status of the endpoint, if it answered.
    #[schemars(example = 204)]
    response_code: Option<u16>,
    #[schemars(example = 87)]
    duration_ms: u32,
    /// What happened and, after a semicolon, what to do about it; only if it failed.
    error: Option<String>,
    /// Under which id the history shows it.
    delivery_id: DeliveryId,
}

pub async fn test(state: AppState, caller: Caller, path: web::Path<String>) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    test_one(&state, account, parse_id(&path)?).await
}

/// Sends one ping now and waits for it.
pub async fn test_one(state: &AppState, account: AccountId, id: SubscriptionId) -> HandlerResult {
    let registry = state.reader.registry();
    let subscription = registry.subscription_of(account, id).ok_or_else(|| ApiError::not_found("subscription"))?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| ApiError::internal(&error))?;
    let now = state.reader.now(state.clock.read());
    let event = EventIds::after(None).next(now, u128::from_le_bytes(random));
    let data = format!(r#"{{"message":"Test of subscription {id}","webhook_id":{id}}}"#);
    let body = event::body(event, EventType::Ping, state.clock.wall().max(now), &data);
    let row = EventRow::new(EventType::Ping, vec![id], Vec::new(), body);
    let (transport, subscription, sent_row) = (state.transport.clone(), subscription.clone(), row.clone());
    let (sender, sent) = tokio::sync::oneshot::channel();
    let permit = state.pings.try_acquire(account)?;
    // On its own thread: hanging pings must not block reads.
    let thread = std::thread::Builder::new().name("test-ping".to_owned());
    let spawned = thread.spawn(move || {
        let attempted = transport.send(&subscription, event, &sent_row, 1);
        // It lasts as long as the attempt, also when the caller has gone away, and not beyond the answer.
        drop(permit);
        drop(sender.send(attempted));
    });
    spawned.map_err(|error| ApiError::internal(&error))?;
    let AttemptReport { attempt, .. } = sent.await.map_err(|error| ApiError::internal(&error))?;
    let delivery = DeliveryId { event, subscription: id };
    if let Some(error) = attempt.explanation() {
        let cause = attempt.outcome.code();
        log::info!(delivery:%, subscription = id.0, cause; "test ping failed: {delivery}: {error}");
    }
    let result = TestResult {
        success: attempt.outcome.is_delivered(),
        response_code: attempt.outcome.response_code(),
        duration_ms: attempt.duration_ms,
        error: attempt.explanation(),
        delivery_id: delivery,
    };
    let attempt = Box::new(attempt);
    state.ask(|reply| Command::RecordPing { event, row, subscription: id, attempt, reply }).await?;
    state.recent_attempts.push([delivery]);
    let message = if result.success { ACCEPTED } else { "The ping failed." };
    Ok(respond::single_with_message(HttpResponse::Ok(), &result, message))
}
