//! `POST /webhooks/{id}/test`: a ping, and on request one with a wrong signature, which has to be refused. Runs on the
//! HTTP workers; the attempts have a thread of their own.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::delivery::send::transport::Transport;
use crate::domain::access::Scope;
use crate::domain::delivery::attempt::Attempt;
use crate::domain::delivery::outcome::Outcome;
use crate::domain::event::content::EventContent;
use crate::domain::event::event_type::EventType;
use crate::domain::ids::EventIds;
use crate::domain::signing::SigningSecret;
use crate::domain::signing_keys::SigningKeys;
use crate::domain::subscription::Subscription;
use crate::domain::{AccountId, DeliveryId, EventId, FieldError, FieldErrors, SubscriptionId, Timestamp, event};
use crate::http::api::fields::ObjectFields;
use crate::http::api::subscriptions::parse_id;
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, OptionalJson, Query};
use crate::http::request::respond;
use crate::http::request::state::HttpState;
use crate::storage::command::Command;

type HandlerResult = Result<HttpResponse, ApiError>;
type AppState = web::Data<HttpState>;

/// Message after a successful test.
pub const ACCEPTED: &str = "The endpoint accepted the ping.";
const VERIFIES: &str = "The endpoint accepted the ping and refused one with a wrong signature.";
const VERIFIES_NOTHING: &str =
    "The endpoint accepted the ping, but also one with a wrong signature: it does not verify signatures.";
const UNKNOWN: &str = "The endpoint accepted the ping; whether it verifies signatures is unknown, because it did not respond to the second one.";
const FAILED: &str = "The ping failed.";
/// Maximum length of the shown start of a response, in characters.
const START_CHARS: usize = 200;

/// The result of a test ping.
#[derive(Serialize, JsonSchema)]
pub struct TestResult {
    /// Whether the endpoint responded with a 2xx.
    #[schemars(example = true)]
    success: bool,
    /// The HTTP status of the response, if there was one.
    #[schemars(example = 204)]
    response_code: Option<u16>,
    #[schemars(example = 87)]
    duration_ms: u32,
    /// What happened and, after a semicolon, what to do; only if it failed.
    error: Option<String>,
    /// The id of the ping in the history.
    delivery_id: DeliveryId,
    /// The media type of the response, if it has one.
    response_content_type: Option<String>,
    /// The first 200 characters of the response's body, if there was a response.
    response_start: Option<String>,
    /// Why the 2xx probably does not come from the receiver's code, if so.
    remark: Option<&'static str>,
    /// Whether a second ping with a wrong signature was refused; only with `verify`, if the first ping was accepted and
    /// there was a response to the second.
    verifies_signatures: Option<bool>,
}

/// JSON Schema of the body.
#[must_use]
pub fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "verify": {
                "description": "Whether to send a second ping with a wrong signature, which the endpoint must refuse.",
                "type": "boolean",
            },
        },
        "additionalProperties": false,
    })
}

pub async fn test(
    state: AppState,
    caller: Caller,
    path: web::Path<String>,
    query: Query,
    body: OptionalJson,
) -> HandlerResult {
    let account = caller.require(Scope::WebhooksWrite)?;
    let id = caller.seen(parse_id(&path)?)?;
    test_one(&state, account, id, query, &body).await
}

fn wants_verification(text: &str) -> Result<bool, ApiError> {
    let mut errors = FieldErrors::default();
    let fields = ObjectFields::parse(text)?.by_name(&mut errors);
    for (name, value) in &fields {
        if name != "verify" {
            errors.add(|| FieldError::unknown(name, &["verify"]));
        } else if !value.is_boolean() {
            errors.add(|| FieldError::new("verify", "must be true or false"));
        }
    }
    if errors.is_empty() {
        Ok(fields.get("verify") == Some(&Value::Bool(true)))
    } else {
        Err(ApiError::invalid(errors))
    }
}

/// What signs a test ping.
#[derive(Clone, Copy)]
enum Secrets {
    /// Every valid secret, as for a delivery.
    Valid,
    /// The newest alone.
    Newest,
}

/// Asks for the newest secret alone.
pub const NEWEST: &str = "new";

/// Sends one ping now and waits for it; if that is asked for, another one with a wrong signature.
pub async fn test_one(
    state: &AppState,
    account: AccountId,
    id: SubscriptionId,
    mut query: Query,
    body: &OptionalJson,
) -> HandlerResult {
    let secrets = query.parse("secret", "new", |text| (text == NEWEST).then_some(Secrets::Newest));
    query.finish()?;
    let secrets = secrets.unwrap_or(Secrets::Valid);
    let is_verifying = body.text().map_or(Ok(false), wants_verification)?;
    let registry = state.reader.registry();
    let subscription = registry.subscription_of(account, id).ok_or_else(|| ApiError::not_found("subscription"))?;
    if subscription.is_pull() {
        return Err(ApiError::is_a_feed(id));
    }
    let subscription = &match secrets {
        Secrets::Valid => Arc::clone(subscription),
        Secrets::Newest => Arc::new(with_newest_secret(subscription)),
    };
    let now = state.reader.now(state.clock.read());
    let mut ids = EventIds::after(None);
    let (first, second) = (ids.next(now, random()?), ids.next(now, random()?));
    let shown_at = state.clock.wall().max(now);
    let content = ping(first, id, shown_at);
    // A receiver may pass over an event that it has seen, so the second ping is another one.
    let wrong = is_verifying.then(|| wrongly_signed(subscription)).transpose()?;
    let wrong = wrong.map(|subscription| (subscription, ping(second, id, shown_at)));
    let (transport, subscription, sent) = (state.transport.clone(), subscription.clone(), content.clone());
    let account_name = registry.shared_account_name(account);
    let (sender, ended) = tokio::sync::oneshot::channel();
    let permit = state.pings.try_acquire(account)?;
    // On its own thread: hanging pings must not block reads.
    let thread = std::thread::Builder::new().name("test-ping".to_owned());
    let spawned = thread.spawn(move || {
        let attempt = transport.send_on_new_connection(&subscription, &account_name, first, &sent, 1).attempt;
        let wrong = wrong.filter(|_| attempt.outcome.is_delivered());
        let verifies =
            wrong.and_then(|(subscription, ping)| refuses(&transport, &subscription, &account_name, second, &ping));
        // It lasts as long as the attempts, also when the caller has gone away, and not beyond the answer.
        drop(permit);
        drop(sender.send((attempt, verifies)));
    });
    spawned.map_err(|error| ApiError::internal(&error))?;
    let (attempt, verifies) = ended.await.map_err(|error| ApiError::internal(&error))?;
    let delivery = DeliveryId { event: first, subscription: id };
    let result = TestResult::new(delivery, &attempt, verifies);
    if let Some(error) = &result.error {
        let cause = attempt.outcome.code();
        log::info!(delivery:%, subscription:% = id, cause; "test ping failed: {delivery}: {error}");
    }
    let attempt = Box::new(attempt);
    state.ask(|reply| Command::RecordPing { event: first, content, subscription: id, attempt, reply }).await?;
    state.recent_attempts.push([delivery]);
    let message = match (result.success, is_verifying, verifies) {
        (false, ..) => FAILED,
        (true, false, _) => ACCEPTED,
        (true, true, Some(true)) => VERIFIES,
        (true, true, Some(false)) => VERIFIES_NOTHING,
        (true, true, None) => UNKNOWN,
    };
    Ok(respond::single_with_message(HttpResponse::Ok(), &result, message))
}

impl TestResult {
    fn new(delivery_id: DeliveryId, attempt: &Attempt, verifies_signatures: Option<bool>) -> Self {
        let response = attempt.response.as_ref();
        let start = |body: &[u8]| String::from_utf8_lossy(body).chars().take(START_CHARS).collect();
        Self {
            success: attempt.outcome.is_delivered(),
            response_code: attempt.outcome.response_code(),
            duration_ms: attempt.duration_ms,
            error: attempt.explanation_of(EventType::Ping),
            delivery_id,
            response_content_type: response.and_then(crate::domain::delivery::attempt::Response::content_type),
            response_start: response.map(|response| start(&response.body)),
            remark: attempt.remark(),
            verifies_signatures,
        }
    }
}

/// A ping. The spaces in its `data` differ from those around it, so nobody writes the same bytes from the parsed value: a
/// receiver that verifies what it has written again fails at its first test.
fn ping(event: EventId, id: SubscriptionId, shown_at: Timestamp) -> EventContent {
    let data = format!(r#"{{ "message": "Test of subscription {id}", "webhook_id": {id} }}"#);
    let body = event::body(event, EventType::Ping, shown_at, &data);
    EventContent::new(EventType::Ping, body)
}

/// The subscription without earlier secrets.
fn with_newest_secret(subscription: &Subscription) -> Subscription {
    let keys = SigningKeys { previous: Vec::new(), ..subscription.keys.clone() };
    Subscription { keys, ..subscription.clone() }
}

/// The subscription with another secret and another key pair.
fn wrongly_signed(subscription: &Subscription) -> Result<Subscription, ApiError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::internal(&error))?;
    let keys = SigningKeys::of(SigningSecret::from_random(&bytes)).with_pair_for(&subscription.options, Some(&bytes));
    Ok(Subscription { keys, ..subscription.clone() })
}

/// Whether the endpoint refuses the ping; none if it gave no answer of its own.
fn refuses(
    transport: &Transport,
    subscription: &Subscription,
    account: &str,
    event: EventId,
    content: &EventContent,
) -> Option<bool> {
    match transport.send_on_new_connection(subscription, account, event, content, 1).attempt.outcome {
        Outcome::Delivered(_) => Some(false),
        // Busy, or of a proxy that did not reach the receiver.
        Outcome::HttpError(408 | 429 | 502..=504) => None,
        Outcome::HttpError(_) | Outcome::TokenRefused => Some(true),
        _ => None,
    }
}

fn random() -> Result<u128, ApiError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::internal(&error))?;
    Ok(u128::from_le_bytes(bytes))
}
