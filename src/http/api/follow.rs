//! What was attempted since somebody asked last: for `deliveries tail` on the control socket, and for the live view of the
//! dashboard. A position means something to one of them at a time.

use std::collections::HashSet;
use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::domain::access::Scope;
use crate::domain::{AccountId, DeliveryId, SubscriptionId};
use crate::http::api::view::{DeliveryView, ViewContext};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, Query};
use crate::http::request::recent_attempts::Page;
use crate::http::request::respond;
use crate::http::request::state::HttpState;

#[derive(Serialize)]
struct PageView {
    /// Each once, however often it was attempted, as it is now.
    data: Vec<DeliveryView>,
    position: u64,
    missed: u64,
    has_more: bool,
}

/// The newest of what was attempted from a position on.
pub struct Newest {
    /// Each once, as it is now, earliest attempt first.
    pub data: Vec<DeliveryView>,
    /// Where to go on.
    pub position: u64,
    /// How many attempts more there were.
    pub missed: u64,
}

/// The newest deliveries that the caller sees, at most `limit`, of what was attempted from `position` on; of one
/// subscription if one is wanted.
pub async fn newest(
    state: &web::Data<HttpState>,
    caller: &Caller,
    wanted: Option<SubscriptionId>,
    position: u64,
    limit: usize,
) -> Result<Newest, ApiError> {
    let account = caller.require(Scope::WebhooksRead)?;
    let sees = caller.sight();
    let registry = state.reader.registry();
    let is_seen = |id: SubscriptionId| {
        let is_own = registry.subscription_of(account, id).is_some() && sees(id);
        is_own && wanted.is_none_or(|wanted| id == wanted)
    };
    let page = state.recent_attempts.all_from(position);
    // The last attempt of each decides over its place. Once there are enough, the rest is only counted.
    let (mut ids, mut known, mut missed) = (Vec::new(), HashSet::new(), page.missed);
    let mut last = None;
    for id in page.deliveries.into_iter().rev() {
        // Many in a row are of one subscription.
        let is_wanted = match last {
            Some((subscription, is_seen)) if subscription == id.subscription => is_seen,
            _ => is_seen(id.subscription),
        };
        last = Some((id.subscription, is_wanted));
        if !is_wanted {
            continue;
        }
        if ids.len() == limit {
            missed += u64::from(!known.contains(&id));
        } else if known.insert(id) {
            ids.push(id);
        }
    }
    ids.reverse();
    let data = if ids.is_empty() { Vec::new() } else { views(state, caller, account, ids).await? };
    Ok(Newest { data, position: page.position, missed })
}

/// Deliveries as they are now; those that are gone are left out.
async fn views(
    state: &web::Data<HttpState>,
    caller: &Caller,
    account: AccountId,
    ids: Vec<DeliveryId>,
) -> Result<Vec<DeliveryView>, ApiError> {
    let clocks = state.clock.read_for_display();
    let dispatcher = Arc::clone(&state.dispatcher);
    let read = state.read(caller.counted_account(), move |snapshot| {
        let mut views = Vec::new();
        for id in ids {
            let Some(subscription) = snapshot.registry().subscription_of(account, id.subscription) else { continue };
            let delivery = snapshot.delivery(id)?;
            let context =
                ViewContext { snapshot, is_active: subscription.state.is_active(), clocks, dispatcher: &dispatcher };
            views.extend(delivery.map(|delivery| DeliveryView::short(id, &delivery, context)));
        }
        Ok(views)
    });
    read.await
}

/// Deliveries of an account, or of one of its subscriptions, that were attempted from `position` on.
pub async fn list(state: web::Data<HttpState>, caller: Caller, mut query: Query) -> Result<HttpResponse, ApiError> {
    let account = caller.require(Scope::WebhooksRead)?;
    let wanted = query.parse("subscription", "a subscription's number", |text| text.parse().ok().map(SubscriptionId));
    let position = query.parse("position", "the position of an earlier response", |text| text.parse().ok());
    query.finish()?;
    let Page { deliveries, missed, position, has_more } = state.recent_attempts.page(position);
    let mut seen = HashSet::new();
    let is_wanted = |id: &DeliveryId| wanted.is_none_or(|wanted| id.subscription == wanted) && seen.insert(*id);
    let ids = deliveries.into_iter().filter(is_wanted).collect();
    let view = PageView { data: views(&state, &caller, account, ids).await?, position, missed, has_more };
    Ok(respond::json(&mut HttpResponse::Ok(), &view))
}
