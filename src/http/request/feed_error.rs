//! Errors of requests that concern a feed, or that a feed has no answer for. Made on the HTTP workers.

use crate::domain::SubscriptionId;
use crate::http::request::error::ApiError;

impl ApiError {
    /// The subscription is not read.
    #[must_use]
    pub fn not_a_feed(id: SubscriptionId) -> Self {
        let message = format!("subscription {id} has mode push: its deliveries are sent, and it has no feed");
        Self::new(409, "not_a_feed", message)
    }

    /// The subscription is read, and nothing is sent to it.
    #[must_use]
    pub fn is_a_feed(id: SubscriptionId) -> Self {
        let message = format!(
            "subscription {id} has mode pull: nothing is sent; read its events with GET /feeds/{id}, and use an earlier cursor to read them again"
        );
        Self::new(409, "is_a_feed", message)
    }

    /// The feed's subscription is disabled.
    #[must_use]
    pub fn feed_disabled(id: SubscriptionId) -> Self {
        let message =
            format!("subscription {id} is disabled, and its events are held; enable it with {{\"active\": true}}");
        Self::new(409, "feed_disabled", message)
    }
}
