//! Subscriptions: create, list, read, change, delete, test. Runs on the HTTP workers.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::domain::access::Scope;
use crate::domain::endpoint::Endpoint;
use crate::domain::event::catalogue::Catalogue;
use crate::domain::event::event_type::EventType;
use crate::domain::event::event_types::Removed;
use crate::domain::options::Options;
use crate::domain::signing::SigningSecret;
use crate::domain::signing_keys::SigningKeys;
use crate::domain::subscription::{NewSubscription, Subscription};
use crate::domain::{AccountId, DeliveryId, SubscriptionId};
use crate::http::api::subscription_body::{self, Purpose, Read, SubscriptionRules};
use crate::http::api::view::{AttemptView, SubscriptionView, ViewContext};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, JsonText, Query};
use crate::http::request::respond::{self, Pagination};
use crate::http::request::state::{HttpSettings, HttpState};
use crate::storage::command::Command;

type HandlerResult = Result<HttpResponse, ApiError>;
type AppState = web::Data<HttpState>;

/// Message after creating one.
pub const CREATED: &str = "Subscription created. Store the secret: it is not shown again.";
const CREATED_TO_READ: &str =
    "Subscription created. Read its events with GET /feeds/{id}. Store the secret: it is not shown again.";
const CREATED_WITH_SHORT_SECRET: &str = "Subscription created. Its secret has fewer than 24 characters and could be guessed: rotate it once the receiver accepts a longer one.";
/// Message after a change.
pub const UPDATED: &str = "Subscription updated.";
/// Message after deleting one.
pub const DELETED: &str = "Subscription deleted with its delivery history.";

/// Parses a subscription's number.
pub fn parse_id(text: &str) -> Result<SubscriptionId, ApiError> {
    text.parse().map(SubscriptionId).map_err(|_| ApiError::not_found("subscription"))
}

pub async fn create(state: AppState, caller: Caller, body: JsonText) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    if !caller.sees_all() {
        return Err(ApiError::limited_to_subscriptions());
    }
    let Read { change, secret, options } = read_body(state.get_ref(), account, &body, Purpose::Create)?;
    let endpoint = change.endpoint.or_else(|| options.is_pull().then(Endpoint::none));
    let (Some(endpoint), Some(events)) = (endpoint, change.events) else {
        return Err(ApiError::internal(&"a parsed subscription lacks a required field"));
    };
    let new = NewSubscription {
        endpoint,
        events,
        description: change.description.unwrap_or_default(),
        active: change.active.unwrap_or(true),
        options: Options::shared(options),
    };
    let message = match &secret {
        _ if new.options.is_pull() => CREATED_TO_READ,
        Some(secret) if secret.is_short() => CREATED_WITH_SHORT_SECRET,
        _ => CREATED,
    };
    let secret = secret.map_or_else(|| random().map(|bytes| SigningSecret::from_random(&bytes)), Ok)?;
    let seed = random()?;
    let keys = SigningKeys::of(secret).with_pair_for(&new.options, Some(&seed));
    let made = state.change(caller.origin(), |reply| Command::CreateSubscription { account, new, keys, reply }).await?;
    let place = if made.is_pull() { "its reader".to_owned() } else { made.endpoint.origin() };
    log::info!("subscription {} created for {place}", made.id);
    Ok(respond::single_with_message(HttpResponse::Created(), &SubscriptionView::with_secret(&made), message))
}

fn read_body(state: &HttpState, account: AccountId, body: &JsonText, purpose: Purpose<'_>) -> Result<Read, ApiError> {
    let HttpSettings { policy, options: limits, client_certificates: certificates, catalogue, .. } = &state.settings;
    let account = state.reader.registry().shared_account_name(account);
    let (limits, catalogue) = (*limits, catalogue.get());
    let rules = SubscriptionRules { policy, limits, catalogue, certificates, account: &account };
    subscription_body::read(&body.text, rules, purpose)
}

/// Random bytes for a secret.
pub fn random() -> Result<Zeroizing<[u8; 32]>, ApiError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).map_err(|error| ApiError::internal(&error))?;
    Ok(bytes)
}

pub async fn list(state: AppState, caller: Caller, mut query: Query) -> HandlerResult {
    let account = caller.require(Scope::WebhooksRead)?;
    let (limit, offset) = query.page_by_offset();
    query.finish()?;
    let sees = caller.sight();
    let read = state.read(caller.counted_account(), move |snapshot| {
        let all = snapshot.registry().subscriptions_of(account);
        let all: Vec<_> = all.iter().filter(|found| sees(found.id)).collect();
        let shown: Vec<_> = all.iter().skip(offset).take(limit).map(|found| Arc::clone(found)).collect();
        let ids: Vec<_> = shown.iter().map(|found| found.id).collect();
        let unacknowledged = shown.iter().map(|found| snapshot.unacknowledged_since(found));
        let unacknowledged = unacknowledged.collect::<Result<Vec<_>, _>>()?;
        Ok((all.len(), shown, snapshot.failing_since(&ids)?, unacknowledged))
    });
    let (total, shown, failing, unacknowledged) = read.await?;
    let page: Vec<_> = shown
        .iter()
        .zip(failing.into_iter().zip(unacknowledged))
        .map(|(found, (failing, unacknowledged))| SubscriptionView::with_health(found, failing, unacknowledged))
        .collect();
    Ok(respond::list(&page, &Pagination::of_whole(total, limit, offset, page.len())))
}

pub async fn read(state: AppState, caller: Caller, path: web::Path<String>) -> HandlerResult {
    let account = caller.require(Scope::WebhooksRead)?;
    read_one(&state, caller.counted_account(), account, caller.seen(parse_id(&path)?)?).await
}

/// One subscription with its last attempts.
pub async fn read_one(
    state: &AppState,
    counted: Option<AccountId>,
    account: AccountId,
    id: SubscriptionId,
) -> HandlerResult {
    let clocks = state.clock.read_for_display();
    let dispatcher = Arc::clone(&state.dispatcher);
    let found = state
        .read(counted, move |snapshot| {
            let Some(subscription) = snapshot.registry().subscription_of(account, id).cloned() else { return Ok(None) };
            let context =
                ViewContext { snapshot, is_active: subscription.state.is_active(), clocks, dispatcher: &dispatcher };
            let history = snapshot.history(id)?;
            let mut recent = Vec::new();
            for (event, number) in history.recent.iter().rev() {
                let delivery_id = DeliveryId { event: *event, subscription: id };
                let Some(delivery) = snapshot.delivery(delivery_id)? else { continue };
                let attempt = delivery.attempts.iter().find(|attempt| attempt.number == *number);
                recent.extend(attempt.map(|attempt| AttemptView::short(delivery_id, &delivery, attempt, context)));
            }
            let filtered = snapshot.filtered(&subscription, &history)?;
            let health = (history.health.failing_since, snapshot.unacknowledged_since(&subscription)?);
            Ok(Some((subscription, health, filtered, recent)))
        })
        .await?;
    let (subscription, health, filtered, recent) = found.ok_or_else(|| ApiError::not_found("subscription"))?;
    let (failing, unacknowledged) = health;
    let view = SubscriptionView::with_health(&subscription, failing, unacknowledged).with_history(filtered, recent);
    Ok(respond::single(HttpResponse::Ok(), &view))
}

pub async fn update(state: AppState, caller: Caller, path: web::Path<String>, body: JsonText) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    update_one(&state, &caller, account, caller.seen(parse_id(&path)?)?, &body).await
}

/// Changes one subscription.
pub async fn update_one(
    state: &AppState,
    caller: &Caller,
    account: AccountId,
    id: SubscriptionId,
    body: &JsonText,
) -> HandlerResult {
    let before = find(state, account, id)?;
    let Read { mut change, .. } = read_body(state, account, body, Purpose::Change(&before))?;
    if !change.options.is_empty() {
        change.seed = Some(random()?);
    }
    let catalogue = Arc::clone(&change.catalogue);
    let changed =
        state.change(caller.origin(), |reply| Command::ChangeSubscription { account, id, change, reply }).await?;
    log::info!("subscription {id} changed");
    let view = SubscriptionView::new(&changed);
    Ok(respond::single_with_message(HttpResponse::Ok(), &view, &what_changed(&before, &changed, &catalogue)))
}

/// What a change means for deliveries that are pending.
fn what_changed(before: &Subscription, after: &Subscription, catalogue: &Catalogue) -> String {
    let said = match (before.state.is_active(), after.state.is_active()) {
        (false, true) => "Subscription enabled. Its pending deliveries are due now.",
        (true, false) => "Subscription disabled. Its pending deliveries are held.",
        (true, true) if before.endpoint != after.endpoint => {
            "Subscription updated. Its pending deliveries go to the new URL, and are due now."
        }
        _ => UPDATED,
    };
    let removed = before.events.without(&after.events, catalogue);
    let is_said = |of: &&Removed| !matches!(of, Removed::One(EventType::Ping) | Removed::Star);
    let removed: Vec<_> = removed.iter().filter(is_said).map(ToString::to_string).collect();
    if removed.is_empty() {
        return said.to_owned();
    }
    format!("{said} Pending deliveries of {} are cancelled.", removed.join(", "))
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
    delete_one(&state, &caller, account, caller.seen(parse_id(&path)?)?).await
}

/// Deletes one subscription with its history.
pub async fn delete_one(state: &AppState, caller: &Caller, account: AccountId, id: SubscriptionId) -> HandlerResult {
    find(state, account, id)?;
    state.change(caller.origin(), |reply| Command::DeleteSubscription { account, id, reply }).await?;
    log::info!("subscription {id} deleted");
    Ok(respond::single_with_message(HttpResponse::Ok(), &Deleted { id, deleted: true }, DELETED))
}

/// A subscription of an account.
pub fn find(state: &HttpState, account: AccountId, id: SubscriptionId) -> Result<Arc<Subscription>, ApiError> {
    let registry = state.reader.registry();
    registry.subscription_of(account, id).cloned().ok_or_else(|| ApiError::not_found("subscription"))
}
