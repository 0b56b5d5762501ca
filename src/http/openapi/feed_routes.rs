//! The routes of feeds. Part of the table in `routes`. Pure; the handlers run on the HTTP workers.

use actix_web::http::Method;
use serde_json::json;

use crate::domain::access::Scope::FeedRead;
use crate::http::api::feeds::{self, LONGEST_WAIT, PAGE_EVENTS, PageView, PositionView};
use crate::http::openapi::operation::{Parameter, Resource, at, operation, plain, single};
use crate::http::openapi::parameters as take;

/// All of them.
pub fn feed_routes() -> Vec<Resource> {
    const HEADING: &str = "Feeds";
    vec![
        at(HEADING, "/feeds/{id}", [operation(Method::GET, feeds::read, "readFeed", "Read events")
            .details(
                "For a subscription with mode pull. `webhook-id`, `webhook-timestamp` and `webhook-signature` sign the whole response, as they do a delivery. For the same cursor and limit, a full page never changes; a short one can grow.",
            )
            .needs(FeedRead)
            .takes(take::subscription())
            .takes(parameters())
            .answers(200, "A page of events, oldest first.", plain::<PageView>)
            .may_conflict()]),
        at(HEADING, "/feeds/{id}/ack", [operation(Method::POST, feeds::acknowledge, "acknowledgeFeed", "Acknowledge events")
            .details("Stores one position, which never goes back: everything up to it is delivered.")
            .needs(FeedRead)
            .takes(take::subscription())
            .body("FeedAcknowledgement")
            .answers(200, "The current position.", single::<PositionView>)
            .with_message(feeds::ACKNOWLEDGED)
            .may_conflict()]),
    ]
}

fn parameters() -> [Parameter; 3] {
    [
        take::query(
            "cursor",
            "The `next_cursor` of the previous page. If omitted, the page starts after the last acknowledged event.",
            json!({"type": "string"}),
        ),
        take::query(
            "limit",
            "Maximum number of events; more than 100 counts as 100.",
            json!({"type": "integer", "minimum": 1, "default": PAGE_EVENTS, "examples": [PAGE_EVENTS]}),
        ),
        take::query(
            "wait",
            "How long to wait for an event if there is none, up to 60s. The response is sent as soon as there is one.",
            json!({"type": "string", "examples": [format!("{}s", LONGEST_WAIT.as_secs() / 2)]}),
        ),
    ]
}
