//! What was attempted since the operator asked last, for `deliveries tail`. Served on the control socket alone, where a
//! position means something to one command at a time.

use std::collections::HashSet;
use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::Serialize;

use crate::domain::SubscriptionId;
use crate::domain::access::Scope;
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

/// Deliveries of an account, or of one of its subscriptions, that were attempted from `position` on.
pub async fn list(state: web::Data<HttpState>, caller: Caller, mut query: Query) -> Result<HttpResponse, ApiError> {
    let account = caller.require(Scope::WebhooksRead)?;
    let wanted = query.parse("subscription", "a subscription's number", |text| text.parse().ok().map(SubscriptionId));
    let position = query.parse("position", "the position of an earlier answer", |text| text.parse().ok());
    query.finish()?;
    let Page { deliveries, missed, position, has_more } = state.recent_attempts.page(position);
    let clocks = state.clock.read_for_display();
    let dispatcher = Arc::clone(&state.dispatcher);
    let data = state.read(caller.counted_account(), move |snapshot| {
        let (mut seen, mut views) = (HashSet::new(), Vec::new());
        for id in deliveries {
            let Some(subscription) = snapshot.registry().subscription_of(account, id.subscription) else { continue };
            if wanted.is_some_and(|wanted| id.subscription != wanted) || !seen.insert(id) {
                continue;
            }
            let delivery = snapshot.delivery(id)?;
            let context =
                ViewContext { snapshot, is_active: subscription.state.is_active(), clocks, dispatcher: &dispatcher };
            views.extend(delivery.map(|delivery| DeliveryView::short(id, &delivery, context)));
        }
        Ok(views)
    });
    let view = PageView { data: data.await?, position, missed, has_more };
    Ok(respond::json(&mut HttpResponse::Ok(), &view))
}
