//! Deliveries: list, read with attempts, redeliver. Runs on the HTTP workers.

use std::ops::RangeInclusive;

use actix_web::{HttpResponse, web};

use super::error::ApiError;
use super::events::{event_type, time};
use super::extract::{Caller, Query};
use super::respond::{self, NextPage, Pagination};
use super::state::HttpState;
use super::subscriptions::parse_id;
use super::view::DeliveryView;
use crate::domain::access::Scope;
use crate::domain::delivery::DeliveryState;
use crate::domain::{AccountId, DeliveryId, SubscriptionId};
use crate::storage::command::Command;
use crate::storage::reader::DeliveryFilter;

type Answer = Result<HttpResponse, ApiError>;
type State = web::Data<HttpState>;

/// What an endpoint can answer with.
pub const STATUSES: RangeInclusive<u16> = 100..=999;
/// What a person is told after a redelivery was asked for.
pub const DUE_AGAIN: &str = "The delivery is due again, with its whole retry schedule.";
/// The same of a test ping.
const PING_DUE_AGAIN: &str = "The ping is due again, once: a test is never retried.";

pub async fn list(state: State, caller: Caller, mut query: Query) -> Answer {
    let account = caller.require(Scope::WebhooksRead)?;
    let wanted = query.parse("subscription", "a subscription's number", |text| text.parse().ok().map(SubscriptionId));
    list_of(&state, account, wanted, query).await
}

pub async fn list_of_subscription(state: State, caller: Caller, path: web::Path<String>, query: Query) -> Answer {
    let account = caller.require(Scope::WebhooksRead)?;
    let id = parse_id(&path)?;
    let registry = state.reader.registry();
    registry.subscription_of(account, id).ok_or_else(|| ApiError::not_found("subscription"))?;
    list_of(&state, account, Some(id), query).await
}

async fn list_of(state: &State, account: AccountId, wanted: Option<SubscriptionId>, mut query: Query) -> Answer {
    let request = query.page(DeliveryId::parse);
    let names = DeliveryState::NAMES.join(", ");
    let status = query.parse("status", &format!("one of {names}"), |text| {
        DeliveryState::NAMES.into_iter().find(|name| *name == text)
    });
    let registry = state.reader.registry();
    let own = registry.subscriptions_of(account).iter().map(|subscription| subscription.id);
    let filter = DeliveryFilter {
        subscriptions: own.filter(|id| wanted.is_none_or(|wanted| *id == wanted)).collect(),
        status,
        event_type: event_type(&mut query),
        since: time(&mut query, "since"),
        until: time(&mut query, "until"),
        response_code: query.parse("response_code", "an HTTP status from 100 to 999", |text| {
            text.parse().ok().filter(|code| STATUSES.contains(code))
        }),
    };
    query.finish()?;
    let page = state.read(move |reader| reader.deliveries(&filter, request)).await?;
    let next_cursor = page.items.last().filter(|_| page.has_more).map(|(id, _)| id.to_string());
    let views: Vec<_> = page
        .items
        .iter()
        .map(|(id, delivery)| {
            let is_active = registry.subscription(id.subscription).is_some_and(|found| found.state.is_active());
            DeliveryView::short(*id, delivery, is_active)
        })
        .collect();
    let (total, has_more) = (page.total, page.has_more);
    let (limit, offset) = (request.limit, request.offset);
    Ok(respond::list(&views, &Pagination { total, limit, offset, has_more, next: Some(NextPage { next_cursor }) }))
}

pub async fn read(state: State, caller: Caller, path: web::Path<String>) -> Answer {
    let account = caller.require(Scope::WebhooksRead)?;
    let id = DeliveryId::parse(&path).ok_or_else(missing)?;
    let view = view(&state, account, id).await?;
    Ok(respond::single(HttpResponse::Ok(), &view))
}

pub async fn retry(state: State, caller: Caller, path: web::Path<String>) -> Answer {
    let account = caller.require(Scope::WebhooksWrite)?;
    let id = DeliveryId::parse(&path).ok_or_else(missing)?;
    let registry = state.reader.registry();
    registry.subscription_of(account, id.subscription).ok_or_else(missing)?;
    state.ask(|reply| Command::Redeliver { account, id, reply }).await?;
    log::info!("redelivery of {id} asked for");
    let view = view(&state, account, id).await?;
    let message = if view.is_ping() { PING_DUE_AGAIN } else { DUE_AGAIN };
    Ok(respond::single_with_message(HttpResponse::Accepted(), &view, message))
}

async fn view(state: &State, account: AccountId, id: DeliveryId) -> Result<DeliveryView, ApiError> {
    let registry = state.reader.registry();
    let subscription = registry.subscription_of(account, id.subscription).ok_or_else(missing)?;
    let found = state.read(move |reader| Ok((reader.delivery(id)?, reader.event(account, id.event)?))).await?;
    let (Some(delivery), row) = found else { return Err(missing()) };
    let is_active = subscription.state.is_active();
    Ok(DeliveryView::full(id, &delivery, is_active, row.as_ref()))
}

fn missing() -> ApiError {
    ApiError::not_found("delivery")
}
