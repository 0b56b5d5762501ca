//! The JSON of subscriptions, events, deliveries and attempts. The domain knows nothing of these shapes. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::attempt::{self, Attempt};
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::subscription::{Subscription, SubscriptionState};
use crate::domain::{AttemptId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::storage::record::{EventRow, History};

/// A subscription as its owner sees it.
#[derive(Serialize)]
pub struct SubscriptionView<'a> {
    id: SubscriptionId,
    url: &'a str,
    events: Vec<&'static str>,
    active: bool,
    description: &'a str,
    /// Why it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<&'static str>,
    /// Since when it is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_at: Option<Timestamp>,
    /// In the answer to its making and in no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recent_deliveries: Option<Vec<AttemptView>>,
}

impl<'a> SubscriptionView<'a> {
    /// Without secret and history.
    pub fn new(subscription: &'a Subscription) -> Self {
        let off = match subscription.state {
            SubscriptionState::Active => None,
            SubscriptionState::Off { reason, since } => Some((reason.words(), since)),
        };
        Self {
            id: subscription.id,
            url: subscription.endpoint.as_str(),
            events: subscription.events.names(),
            active: subscription.state.is_active(),
            description: &subscription.description,
            disabled_reason: off.map(|(reason, _)| reason),
            disabled_at: off.map(|(_, since)| since),
            secret: None,
            created_at: subscription.created_at,
            updated_at: subscription.updated_at,
            failing_since: None,
            recent_deliveries: None,
        }
    }

    /// With its secret, which is shown once.
    pub fn with_secret(subscription: &'a Subscription) -> Self {
        Self { secret: Some(subscription.secret.expose()), ..Self::new(subscription) }
    }

    /// With its endpoint's health and its last attempts, newest first.
    pub fn with_history(subscription: &'a Subscription, history: &History, recent: Vec<AttemptView>) -> Self {
        let failing_since = history.health.failing_since;
        Self { failing_since, recent_deliveries: Some(recent), ..Self::new(subscription) }
    }
}

/// One attempt, in a subscription's recent deliveries and in a delivery.
#[derive(Serialize)]
pub struct AttemptView {
    id: AttemptId,
    delivery_id: DeliveryId,
    event_id: EventId,
    event: &'static str,
    attempt: u32,
    status: &'static str,
    response_code: Option<u16>,
    error: Option<String>,
    duration_ms: u32,
    created_at: Timestamp,
    completed_at: Timestamp,
    next_attempt_at: Option<Timestamp>,
    #[serde(flatten)]
    exchange: Option<ExchangeView>,
}

/// What went out and what came back.
#[derive(Serialize)]
struct ExchangeView {
    request: RequestView,
    response: Option<ResponseView>,
}

#[derive(Serialize)]
struct RequestView {
    method: &'static str,
    url: String,
    headers: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct ResponseView {
    headers: serde_json::Map<String, serde_json::Value>,
    body: String,
}

impl AttemptView {
    /// In short, as recent deliveries show it.
    pub fn short(id: DeliveryId, delivery: &Delivery, attempt: &Attempt, is_active: bool, timeout: Duration) -> Self {
        let is_last = attempt.number == delivery.attempt_count;
        let next_attempt_at = match delivery.state {
            DeliveryState::Pending { due } if is_last && is_active => Some(due),
            _ => None,
        };
        Self {
            id: AttemptId { delivery: id, number: attempt.number },
            delivery_id: id,
            event_id: id.event,
            event: delivery.event_type.name(),
            attempt: attempt.number,
            status: if attempt.outcome.is_delivered() { "delivered" } else { "failed" },
            response_code: attempt.outcome.response_code(),
            error: attempt.outcome.explanation(timeout),
            duration_ms: attempt.duration_ms,
            created_at: attempt.started_at,
            completed_at: attempt.started_at.plus(Duration::from_millis(attempt.duration_ms.into())),
            next_attempt_at,
            exchange: None,
        }
    }

    /// With request and response.
    fn full(id: DeliveryId, delivery: &Delivery, attempt: &Attempt, is_active: bool, timeout: Duration) -> Self {
        let headers = attempt::request_headers(id, delivery.event_type.name(), attempt.number, &attempt.signed);
        let request = RequestView {
            method: "POST",
            url: attempt.url.clone(),
            headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect(),
        };
        let response = attempt.response.as_ref().map(|response| ResponseView {
            headers: joined(&response.headers),
            body: String::from_utf8_lossy(&response.body).into_owned(),
        });
        Self {
            exchange: Some(ExchangeView { request, response }),
            ..Self::short(id, delivery, attempt, is_active, timeout)
        }
    }
}

/// Headers by name; the values of one that came several times, joined as HTTP allows.
fn joined(headers: &[(String, String)]) -> serde_json::Map<String, serde_json::Value> {
    let mut shown = serde_json::Map::new();
    for (name, value) in headers {
        let value = match shown.get(name).and_then(serde_json::Value::as_str) {
            Some(earlier) => format!("{earlier}, {value}"),
            None => value.clone(),
        };
        shown.insert(name.clone(), value.into());
    }
    shown
}

/// A delivery in a list, or with its attempts and the body that is sent.
#[derive(Serialize)]
pub struct DeliveryView {
    id: DeliveryId,
    event_id: EventId,
    event: &'static str,
    subscription_id: SubscriptionId,
    status: &'static str,
    held: bool,
    attempt_count: u32,
    response_code: Option<u16>,
    error: Option<String>,
    next_attempt_at: Option<Timestamp>,
    created_at: Timestamp,
    completed_at: Option<Timestamp>,
    #[serde(flatten)]
    history: Option<DeliveryHistoryView>,
}

#[derive(Serialize)]
struct DeliveryHistoryView {
    attempts: Vec<AttemptView>,
    body: Option<String>,
}

impl DeliveryView {
    /// In short, as lists show it. `is_active`: whether its subscription is on.
    pub fn short(id: DeliveryId, delivery: &Delivery, is_active: bool, timeout: Duration) -> Self {
        let last = delivery.attempts.last();
        let (next_attempt_at, completed_at) = match delivery.state {
            DeliveryState::Pending { due } => (Some(due).filter(|_| is_active), None),
            DeliveryState::Delivered { at } | DeliveryState::Exhausted { at } => (None, Some(at)),
        };
        Self {
            id,
            event_id: id.event,
            event: delivery.event_type.name(),
            subscription_id: id.subscription,
            status: delivery.state.name(),
            held: !is_active && matches!(delivery.state, DeliveryState::Pending { .. }),
            attempt_count: delivery.attempt_count,
            response_code: last.and_then(|attempt| attempt.outcome.response_code()),
            error: last.and_then(|attempt| attempt.outcome.explanation(timeout)),
            next_attempt_at,
            created_at: id.event.time(),
            completed_at,
            history: None,
        }
    }

    /// With its attempts, oldest first, and the body, unless retention has removed it.
    pub fn full(
        id: DeliveryId,
        delivery: &Delivery,
        is_active: bool,
        row: Option<&EventRow>,
        timeout: Duration,
    ) -> Self {
        let attempts =
            delivery.attempts.iter().map(|attempt| AttemptView::full(id, delivery, attempt, is_active, timeout));
        let history = DeliveryHistoryView {
            attempts: attempts.collect(),
            body: row.map(|row| String::from_utf8_lossy(row.body()).into_owned()),
        };
        Self { history: Some(history), ..Self::short(id, delivery, is_active, timeout) }
    }
}

/// An event in a list, or with its deliveries.
#[derive(Serialize)]
pub struct EventView<'a> {
    id: EventId,
    event: &'static str,
    timestamp: &'a str,
    data: Option<&'a RawValue>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<DeliveryView>>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    timestamp: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl<'a> EventView<'a> {
    /// From the stored body; a damaged one shows no data.
    pub fn new(id: EventId, row: &'a EventRow, deliveries: Option<Vec<DeliveryView>>) -> Self {
        let envelope: Option<Envelope<'a>> = serde_json::from_slice(row.body()).ok();
        Self {
            id,
            event: row.event_type.name(),
            timestamp: envelope.as_ref().map_or("", |envelope| envelope.timestamp),
            data: envelope.map(|envelope| envelope.data),
            created_at: id.time(),
            deliveries,
        }
    }
}
