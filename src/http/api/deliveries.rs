//! Deliveries: list, read with attempts, redeliver. Runs on the HTTP workers.

use std::ops::RangeInclusive;
use std::sync::Arc;

use actix_web::{HttpResponse, web};

use crate::domain::access::Scope;
use crate::domain::delivery::DeliveryState;
use crate::domain::{AccountId, DeliveryId, SubscriptionId};
use crate::http::api::events::{event_type, find_keys, time};
use crate::http::api::subscriptions::parse_id;
use crate::http::api::view::{DeliveryView, ViewContext};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, Query};
use crate::http::request::respond::{self, Pagination};
use crate::http::request::shares::Share;
use crate::http::request::state::HttpState;
use crate::storage::command::Command;
use crate::storage::read::reader::{DeliveryFilter, PAGE_BYTES};
use crate::storage::read::registry::Registry;

type HandlerResult = Result<HttpResponse, ApiError>;
type AppState = web::Data<HttpState>;

/// What a list can be filtered by: the states of a delivery, and those pending ones whose subscription is disabled.
pub fn status_filters() -> impl Iterator<Item = &'static str> {
    DeliveryState::NAMES.into_iter().chain([HELD])
}

/// Pending, of a subscription that is disabled: a filter of lists, and no state of a delivery.
pub const HELD: &str = "held";
/// Valid response codes.
pub const STATUSES: RangeInclusive<u16> = 100..=999;
/// What a person is told after a redelivery was asked for.
pub const DUE_AGAIN: &str = "The delivery is due now, with the full retry schedule.";
/// The same of a test ping.
const PING_DUE_AGAIN: &str = "The ping is due now, once: test pings are never retried.";

pub async fn list(state: AppState, caller: Caller, mut query: Query) -> HandlerResult {
    let account = caller.require(Scope::WebhooksRead)?;
    let wanted = query.parse("subscription", "a subscription's number", |text| text.parse().ok().map(SubscriptionId));
    let sees = caller.sight();
    let is_wanted = move |id: &SubscriptionId| sees(*id) && wanted.is_none_or(|wanted| *id == wanted);
    let own = move |registry: &Registry| {
        Some(registry.subscriptions_of(account).iter().map(|found| found.id).filter(is_wanted).collect())
    };
    list_of(&state, (caller.counted_account(), account), own, query).await
}

pub async fn list_of_subscription(
    state: AppState,
    caller: Caller,
    path: web::Path<String>,
    query: Query,
) -> HandlerResult {
    let account = caller.require(Scope::WebhooksRead)?;
    let id = caller.seen(parse_id(&path)?)?;
    let own = move |registry: &Registry| registry.subscription_of(account, id).map(|found| vec![found.id]);
    list_of(&state, (caller.counted_account(), account), own, query).await
}

/// Lists the deliveries of the subscriptions that `which` finds; without any it is a 404.
async fn list_of(
    state: &AppState,
    (counted, account): (Option<AccountId>, AccountId),
    which: impl FnOnce(&Registry) -> Option<Vec<SubscriptionId>> + Send + 'static,
    mut query: Query,
) -> HandlerResult {
    let request = query.page(DeliveryId::parse);
    let names = status_filters().collect::<Vec<_>>().join(", ");
    let status = query.parse("status", &format!("one of {names}"), |text| status_filters().find(|name| *name == text));
    let is_held = status == Some(HELD);
    let keys = find_keys(&mut query);
    let mut filter = DeliveryFilter {
        account,
        subscriptions: Vec::new(),
        status: if is_held { Some("pending") } else { status },
        event_type: event_type(state, (counted, account), &mut query).await?,
        since: time(&mut query, "since"),
        until: time(&mut query, "until"),
        response_code: query.parse("response_code", "an HTTP status from 100 to 999", |text| {
            text.parse().ok().filter(|code| STATUSES.contains(code))
        }),
    };
    query.finish()?;
    let clocks = state.clock.read_for_display();
    let dispatcher = Arc::clone(&state.dispatcher);
    let found = state.read_much(counted, PAGE_BYTES, move |snapshot| {
        let registry = snapshot.registry();
        let Some(subscriptions) = which(registry) else { return Ok(None) };
        filter.subscriptions = subscriptions;
        if is_held {
            let is_active = |id| registry.subscription(id).is_some_and(|found| found.state.is_active());
            filter.subscriptions.retain(|id| !is_active(*id));
        }
        let page = if keys.is_empty() {
            snapshot.deliveries(&filter, request)?
        } else {
            snapshot.deliveries_with(account, &keys, &filter, request)?
        };
        let views: Vec<_> = page
            .items
            .iter()
            .map(|(id, delivery)| {
                let is_active = registry.subscription(id.subscription).is_some_and(|found| found.state.is_active());
                DeliveryView::short(*id, delivery, ViewContext { snapshot, is_active, clocks, dispatcher: &dispatcher })
            })
            .collect();
        Ok(Some((page, views)))
    });
    let (found, memory) = found.await?;
    let (page, views) = found.ok_or_else(|| ApiError::not_found("subscription"))?;
    let pagination = Pagination::of(&page, request);
    Ok(memory.until_sent(respond::list(&views, &pagination)))
}

pub async fn read(state: AppState, caller: Caller, path: web::Path<String>) -> HandlerResult {
    let account = caller.require(Scope::WebhooksRead)?;
    let id = DeliveryId::parse(&path).ok_or_else(missing)?;
    caller.seen(id.subscription).map_err(|_| missing())?;
    let (view, memory) = view(&state, caller.counted_account(), account, id).await?;
    Ok(memory.until_sent(respond::single(HttpResponse::Ok(), &view)))
}

pub async fn retry(state: AppState, caller: Caller, path: web::Path<String>) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    let id = DeliveryId::parse(&path).ok_or_else(missing)?;
    caller.seen(id.subscription).map_err(|_| missing())?;
    let registry = state.reader.registry();
    let subscription = registry.subscription_of(account, id.subscription).ok_or_else(missing)?;
    if subscription.is_pull() {
        return Err(ApiError::is_a_feed(id.subscription));
    }
    state.change(caller.origin(), |reply| Command::Redeliver { account, id, reply }).await?;
    log::info!("redelivery of {id} requested");
    let (view, memory) = view(&state, caller.counted_account(), account, id).await?;
    let message = if view.is_ping() { PING_DUE_AGAIN } else { DUE_AGAIN };
    Ok(memory.until_sent(respond::single_with_message(HttpResponse::Accepted(), &view, message)))
}

async fn view(
    state: &AppState,
    counted: Option<AccountId>,
    account: AccountId,
    id: DeliveryId,
) -> Result<(DeliveryView, Share), ApiError> {
    let clocks = state.clock.read_for_display();
    let dispatcher = Arc::clone(&state.dispatcher);
    let found = state.read_much(counted, state.event_room(), move |snapshot| {
        let Some(subscription) = snapshot.registry().subscription_of(account, id.subscription) else { return Ok(None) };
        let Some(delivery) = snapshot.delivery(id)? else { return Ok(None) };
        let context =
            ViewContext { snapshot, is_active: subscription.state.is_active(), clocks, dispatcher: &dispatcher };
        let event = snapshot.event_content(account, id.event)?;
        Ok(Some(DeliveryView::full(id, &delivery, context, event.as_ref())))
    });
    let (found, memory) = found.await?;
    Ok((found.ok_or_else(missing)?, memory))
}

fn missing() -> ApiError {
    ApiError::not_found("delivery")
}
