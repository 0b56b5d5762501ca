//! Makes the frames of a kind of live view: looks a few times a second at what was attempted since, and renders the newest
//! rows once for all who follow. A task on the HTTP worker of whoever followed first; it ends when nobody follows any more.

use std::time::Duration;

use actix_web::web;
use actix_web::web::Bytes;
use askama::Template;
use tokio::time::sleep;

use crate::domain::SubscriptionId;
use crate::domain::access::Scope;
use crate::http::api::follow::{self, Newest};
use crate::http::dashboard::answers::{Delivery, read_again};
use crate::http::dashboard::looks::{Entry, Wanted};
use crate::http::dashboard::pages::filters::Filters;
use crate::http::dashboard::parts;
use crate::http::request::error::ApiError;
use crate::http::request::extract::Caller;
use crate::http::request::state::HttpState;

/// Time between two looks.
pub const PAUSE: Duration = Duration::from_millis(500);
/// Rows in one look; nobody reads more than that in so short a time.
const ROWS: usize = 25;

/// Rows of the list.
#[derive(Template)]
#[template(path = "delivery_rows.html")]
struct Rows {
    deliveries: Vec<Delivery>,
}

/// What a caller sees with these filters.
pub fn wanted(caller: &Caller, filters: &Filters) -> Result<Wanted, ApiError> {
    Ok(Wanted {
        account: caller.require(Scope::WebhooksRead)?,
        counted: caller.counted_account(),
        seen: caller.key().map(|key| key.subscriptions.clone()).unwrap_or_default(),
        subscription: filters.value("subscription").parse().ok().map(SubscriptionId),
        status: filters.value("status").to_owned(),
        event: filters.value("event").to_owned(),
    })
}

fn is_wanted(wanted: &Wanted, delivery: &Delivery) -> bool {
    let Wanted { status, event, .. } = wanted;
    let has_status = status.is_empty() || *status == delivery.status || (status == "held" && delivery.held);
    has_status && (event.is_empty() || *event == delivery.event)
}

/// Makes frames of what is attempted from that position on.
pub async fn look(state: web::Data<HttpState>, caller: Caller, entry: Entry, mut position: u64) {
    loop {
        sleep(PAUSE).await;
        if entry.leave_if_alone() || !state.vitals.accepts() {
            return;
        }
        match frame(&state, &caller, &entry, position).await {
            Ok(next) => position = next,
            // What could not be read now comes with the next look.
            Err(error) => log::debug!("a live view could not be read: {}", error.message()),
        }
    }
}

/// Shows what came since, and gives where to go on.
async fn frame(state: &web::Data<HttpState>, caller: &Caller, entry: &Entry, position: u64) -> Result<u64, ApiError> {
    let wanted = entry.wanted();
    let Newest { data, position, missed } = follow::newest(state, caller, wanted.subscription, position, ROWS).await?;
    let mut deliveries: Vec<Delivery> = read_again(&data)?;
    deliveries.retain(|delivery| is_wanted(wanted, delivery));
    deliveries.reverse();
    let count = deliveries.len() as u64;
    if count > 0 {
        let html = Rows { deliveries }.render().map_err(|error| ApiError::internal(&error))?;
        entry.show(missed, count, Bytes::from(event("rows", &html)));
    } else if missed > 0 {
        entry.show(missed, 0, Bytes::new());
    }
    Ok(position)
}

/// An event as the browser reads it: each line of the text on a line of its own.
#[must_use]
pub fn event(name: &str, text: &str) -> String {
    let mut lines = format!("event: {name}\n");
    for line in text.split(['\r', '\n']) {
        lines.extend(["data: ", line, "\n"]);
    }
    lines + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_end_its_event() {
        assert_eq!(
            event("rows", "a\n\nevent: end\r\nb"),
            "event: rows\ndata: a\ndata: \ndata: event: end\ndata: \ndata: b\n\n"
        );
    }
}
