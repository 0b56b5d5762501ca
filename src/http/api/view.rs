//! The JSON of subscriptions, deliveries and attempts; that of events is in `event`. Pure.

pub mod event;

mod context;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::delivery::schedule::waiting::Waiting;
use crate::domain::delivery::attempt::Attempt;
use crate::domain::delivery::headers::RequestHeaders;
use crate::domain::delivery::{Delivery, DeliveryState};
use crate::domain::event::body;
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::signing::SigningSecret;
use crate::domain::signing_keys::Ed25519Key;
use crate::domain::subscription::{Subscription, SubscriptionState};
use crate::domain::{AttemptId, DeliveryId, EventId, SubscriptionId, Timestamp};
use crate::http::api::option_schemas::OptionsView;
pub use crate::http::api::view::context::ViewContext;

/// A subscription as its owner sees it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Subscription")]
pub struct SubscriptionView<'a> {
    /// Its number, never reused.
    id: SubscriptionId,
    /// URL that its deliveries are sent to; absent in mode pull.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", example = "https://crm.example.com/hooks/tempclock")]
    url: Option<&'a str>,
    /// Its event types; `*` stands for all that are not opt-in.
    #[schemars(example = ["clock_in", "clock_out"])]
    events: Vec<String>,
    /// Whether deliveries are sent; otherwise they are held.
    #[schemars(example = true)]
    active: bool,
    /// The owner's description.
    #[schemars(example = "Time sheets to the CRM")]
    description: &'a str,
    /// Why it is disabled; null otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    disabled_reason: Option<&'static str>,
    /// When it was disabled; null otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timestamp")]
    disabled_at: Option<Timestamp>,
    /// The signing secret; only in the response to its creation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[!-~]{16,128}$"))]
    #[schemars(example = SigningSecret::EXAMPLE)]
    #[schemars(with = "String")]
    secret: Option<&'a str>,
    /// What differs from every other subscription.
    #[serde(flatten)]
    options: OptionsView,
    /// The public key of its `ed25519` signatures, if it has these.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = "whpk_3sTLNUsRDAZdHkFTdG3H4bZp4xXw1bA5LRN8P8i5dqA=")]
    #[schemars(with = "String")]
    public_key: Option<String>,
    /// Creation time.
    created_at: Timestamp,
    /// When it was last changed, by its owner or the server.
    updated_at: Timestamp,
    /// Since when every attempt has failed; only when the last one did, and only where subscriptions
    /// are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timestamp")]
    failing_since: Option<Timestamp>,
    /// When the oldest event that the reader has not acknowledged was stored; only in mode pull, if there is such an
    /// event, and only where subscriptions are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Timestamp")]
    unacknowledged_since: Option<Timestamp>,
    /// Number of events of its types that did not match its filter; only where one subscription is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    filtered: Option<u64>,
    /// Its last 10 attempts, newest first; only where one subscription is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<AttemptView>")]
    recent_deliveries: Option<Vec<AttemptView>>,
}

impl<'a> SubscriptionView<'a> {
    /// Without secret and history.
    pub fn new(subscription: &'a Subscription) -> Self {
        let off = match subscription.state {
            SubscriptionState::Active => None,
            SubscriptionState::Disabled { reason, since } => Some((reason.words(), since)),
        };
        Self {
            id: subscription.id,
            url: (!subscription.is_pull()).then(|| subscription.endpoint.as_str()),
            events: subscription.events.names(),
            active: subscription.state.is_active(),
            description: &subscription.description,
            disabled_reason: off.map(|(reason, _)| reason),
            disabled_at: off.map(|(_, since)| since),
            secret: None,
            options: OptionsView::of(&subscription.options),
            public_key: subscription.keys.ed25519.as_ref().map(Ed25519Key::public_key),
            created_at: subscription.created_at,
            updated_at: subscription.updated_at,
            failing_since: None,
            unacknowledged_since: None,
            filtered: None,
            recent_deliveries: None,
        }
    }

    /// With its secret, which is shown once.
    pub fn with_secret(subscription: &'a Subscription) -> Self {
        Self { secret: Some(subscription.keys.secret.expose()), ..Self::new(subscription) }
    }

    /// With how its endpoint, or its reader, does.
    pub fn with_health(
        subscription: &'a Subscription,
        failing_since: Option<Timestamp>,
        unacknowledged_since: Option<Timestamp>,
    ) -> Self {
        Self { failing_since, unacknowledged_since, ..Self::new(subscription) }
    }

    /// The same with how many events did not fit its filter, and its last attempts, newest first.
    pub fn with_history(self, filtered: u64, recent: Vec<AttemptView>) -> Self {
        Self { filtered: Some(filtered), recent_deliveries: Some(recent), ..self }
    }
}

/// One attempt, in a subscription's recent deliveries and in a delivery.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
pub struct AttemptView {
    id: AttemptId,
    /// The delivery of the attempt.
    delivery_id: DeliveryId,
    /// The event that was sent.
    event_id: EventId,
    event: EventType,
    /// Counted from 1 for each delivery.
    #[schemars(example = 1)]
    attempt: u32,
    /// `delivered` after a 2xx, otherwise `failed`.
    #[schemars(extend("enum" = ATTEMPT_STATUS))]
    status: &'static str,
    /// The HTTP status of the response, if there was one.
    #[schemars(example = 204)]
    response_code: Option<u16>,
    /// What happened and, after a semicolon, what to do; only if it failed.
    error: Option<String>,
    #[schemars(example = 87)]
    duration_ms: u32,
    /// When it started.
    created_at: Timestamp,
    /// When it ended.
    completed_at: Timestamp,
    /// When the next attempt is due, if there is one.
    next_attempt_at: Option<Timestamp>,
    #[serde(flatten)]
    exchange: Option<ExchangeView>,
}

/// The request and the response.
#[derive(Serialize, JsonSchema)]
struct ExchangeView {
    /// The request; only where one delivery is read.
    request: RequestView,
    /// The response, if there was one; only where one delivery is read.
    response: Option<ResponseView>,
}

/// The request of an attempt. Its body is that of the delivery, unless options of the subscription changed its format.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SentRequest")]
struct RequestView {
    #[schemars(extend("const" = METHOD))]
    method: &'static str,
    #[schemars(example = "https://crm.example.com/hooks/tempclock")]
    url: String,
    /// Values by name; secret ones are redacted.
    #[schemars(with = "BTreeMap<String, String>")]
    headers: serde_json::Map<String, serde_json::Value>,
    /// SHA-256 of the body that was sent, in hexadecimal; only if options of the subscription changed the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("pattern" = "^[0-9a-f]{64}$"))]
    body_sha256: Option<String>,
}

/// The response of an endpoint.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReceivedResponse")]
struct ResponseView {
    /// The first 2 KiB of the headers: values by lower-case name; several values of one name are joined by commas.
    #[schemars(with = "BTreeMap<String, String>")]
    headers: serde_json::Map<String, serde_json::Value>,
    /// The first 1 KiB of the body. For attempts with the same outcome only the last body is kept; it is null for the
    /// others.
    #[schemars(example = &"ok")]
    body: Option<String>,
}

const ATTEMPT_STATUS: [&str; 2] = [DELIVERED, FAILED];
const DELIVERED: &str = "delivered";
const FAILED: &str = "failed";
const METHOD: &str = "POST";

impl AttemptView {
    /// The short form, for recent deliveries.
    pub fn short(id: DeliveryId, delivery: &Delivery, attempt: &Attempt, context: ViewContext<'_>) -> Self {
        let is_last = attempt.number == delivery.attempt_count;
        let next_attempt_at = context.next_attempt_at(id, delivery).filter(|_| is_last);
        Self {
            id: AttemptId { delivery: id, number: attempt.number },
            delivery_id: id,
            event_id: id.event,
            event: delivery.event_type,
            attempt: attempt.number,
            status: if attempt.outcome.is_delivered() { DELIVERED } else { FAILED },
            response_code: attempt.outcome.response_code(),
            error: attempt.explanation_of(delivery.event_type),
            duration_ms: attempt.duration_ms,
            created_at: attempt.started_at,
            completed_at: attempt.ended_at(),
            next_attempt_at,
            exchange: None,
        }
    }

    /// With request and response.
    fn full(id: DeliveryId, delivery: &Delivery, attempt: &Attempt, context: ViewContext<'_>) -> Self {
        let headers = sent_headers(id, delivery, attempt);
        let body_sha256 = attempt.request.as_ref().map(|sent| hex::encode(sent.body_sha256));
        let request = RequestView { method: METHOD, url: attempt.url.as_ref().to_owned(), headers, body_sha256 };
        let response = attempt.response.as_ref().map(|response| ResponseView {
            headers: joined(response.headers.iter().map(|(name, value)| (&**name, &**value))),
            body: delivery.kept_body(attempt).map(|body| String::from_utf8_lossy(body).into_owned()),
        });
        Self { exchange: Some(ExchangeView { request, response }), ..Self::short(id, delivery, attempt, context) }
    }
}

/// The headers of an attempt's request; secret values are redacted.
pub fn sent_headers(
    id: DeliveryId,
    delivery: &Delivery,
    attempt: &Attempt,
) -> serde_json::Map<String, serde_json::Value> {
    match &attempt.request {
        Some(sent) => joined(sent.headers.iter().map(|(name, value)| (&**name, &**value))),
        None => plain_headers(id, delivery, attempt),
    }
}

/// The headers of a request that no option has shaped.
fn plain_headers(id: DeliveryId, delivery: &Delivery, attempt: &Attempt) -> serde_json::Map<String, serde_json::Value> {
    let headers = RequestHeaders::of(id, delivery.event_type, attempt.number, &attempt.version, &attempt.signed);
    headers.iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// Headers by name; repeated values are joined as HTTP allows.
fn joined<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> serde_json::Map<String, serde_json::Value> {
    let mut shown = serde_json::Map::new();
    for (name, value) in headers {
        let value = match shown.get(name).and_then(serde_json::Value::as_str) {
            Some(earlier) => format!("{earlier}, {value}"),
            None => value.to_owned(),
        };
        shown.insert(name.to_owned(), value.into());
    }
    shown
}

/// A delivery in a list, or with its attempts and the body that is sent.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
pub struct DeliveryView {
    id: DeliveryId,
    /// The event.
    event_id: EventId,
    event: EventType,
    /// The subscription.
    subscription_id: SubscriptionId,
    /// `exhausted`: its retry schedule is exhausted. `expired`: it was held for longer than `retention.held`. `cancelled`:
    /// its event type was removed from the subscription first, or its event erased.
    #[schemars(example = &"delivered", extend("enum" = DeliveryState::NAMES))]
    status: &'static str,
    /// Whether it is pending and held until its subscription is enabled.
    #[schemars(example = false)]
    held: bool,
    /// Why it is not sent now, in one word; only if it is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("enum" = Waiting::WORDS))]
    waiting_for: Option<&'static str>,
    /// Number of attempts so far.
    #[schemars(example = 1)]
    attempt_count: u32,
    /// The HTTP status of the last response, if there was one.
    #[schemars(example = 204)]
    response_code: Option<u16>,
    /// What happened in the last attempt and, after a semicolon, what to do; only if it failed.
    error: Option<String>,
    /// When the next attempt is due, if there is one.
    next_attempt_at: Option<Timestamp>,
    /// When the event was stored.
    created_at: Timestamp,
    /// When it was delivered, exhausted, expired or cancelled.
    #[schemars(example = EventId::EXAMPLE.time())]
    completed_at: Option<Timestamp>,
    #[serde(flatten)]
    history: Option<DeliveryHistoryView>,
}

#[derive(Serialize, JsonSchema)]
struct DeliveryHistoryView {
    /// Its attempts, oldest first; at most the last 50; only where one delivery is read.
    attempts: Vec<AttemptView>,
    /// The body that is sent, unless retention has removed it or it was erased; only where one delivery is read.
    #[schemars(extend("examples" = [example_body()]))]
    body: Option<String>,
}

impl DeliveryView {
    /// Whether it is a test ping.
    pub fn is_ping(&self) -> bool {
        self.event == EventType::Ping
    }

    /// In short, as lists show it.
    pub fn short(id: DeliveryId, delivery: &Delivery, context: ViewContext<'_>) -> Self {
        let last = delivery.attempts.last();
        Self {
            id,
            event_id: id.event,
            event: delivery.event_type,
            subscription_id: id.subscription,
            status: delivery.state.name(),
            held: !context.is_active && delivery.state.is_pending(),
            waiting_for: context.waiting(id, delivery).map(Waiting::word),
            attempt_count: delivery.attempt_count,
            response_code: last.and_then(|attempt| attempt.outcome.response_code()),
            error: last.and_then(Attempt::explanation),
            next_attempt_at: context.next_attempt_at(id, delivery),
            created_at: id.event.time(),
            completed_at: delivery.state.settled_at(),
            history: None,
        }
    }

    /// With its attempts, oldest first, and the body, unless retention has removed it or it was erased.
    pub fn full(id: DeliveryId, delivery: &Delivery, context: ViewContext<'_>, event: Option<&EventContent>) -> Self {
        let attempts = delivery.attempts.iter().map(|attempt| AttemptView::full(id, delivery, attempt, context));
        let history = DeliveryHistoryView {
            attempts: attempts.collect(),
            body: event
                .filter(|event| event.erased().is_none())
                .map(|event| String::from_utf8_lossy(event.body()).into_owned()),
        };
        Self { history: Some(history), ..Self::short(id, delivery, context) }
    }
}

fn example_body() -> String {
    let body = body(EventId::EXAMPLE, EventType::ClockIn, EventId::EXAMPLE.time(), EventType::ClockIn.example());
    String::from_utf8_lossy(&body).into_owned()
}
