//! The errors of the API's description, generated from the real error values. Pure.

use actix_web::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::domain::SubscriptionId;
use crate::domain::access::{Excess, Scope};
use crate::domain::event::KeySource;
use crate::http::request::error::ApiError;
use crate::storage::error::Rejection;

/// A sample of every kind of error.
fn samples() -> [ApiError; 32] {
    [
        ApiError::invalid_field("limit", "must be an integer from 1 on (above 100 it counts as 100)"),
        ApiError::invalid_json("not JSON: EOF while parsing an object at line 1 column 1"),
        ApiError::bad_request("this server only supports HTTP/1.1; send the request without Upgrade"),
        ApiError::unauthorized(),
        ApiError::forbidden(Scope::WebhooksWrite),
        ApiError::beyond_rights(Excess::Scope("events:write")),
        ApiError::limited_to_subscriptions(),
        ApiError::not_found("subscription"),
        ApiError::method_not_allowed("GET, POST"),
        ApiError::request_timeout(),
        ApiError::from(Rejection::IdempotencyConflicts(vec![(0, KeySource::Header)])),
        ApiError::from(Rejection::TooManySubscriptions(100)),
        ApiError::from(Rejection::TooManyJobs(16)),
        ApiError::from(Rejection::ReplayUnderWay),
        ApiError::from(Rejection::EventErased),
        ApiError::is_a_feed(SubscriptionId(1)),
        ApiError::not_a_feed(SubscriptionId(1)),
        ApiError::feed_disabled(SubscriptionId(1)),
        ApiError::from(Rejection::TooManyKeys(1000)),
        ApiError::from(Rejection::KeyEnded),
        ApiError::from(Rejection::OutOfNumbers),
        ApiError::too_large(262_144),
        ApiError::from(Rejection::TooManyDeliveries { deliveries: 200_000, limit: 100_000, events: 500 }),
        ApiError::unsupported_media_type(),
        ApiError::rate_limited(60, 12),
        ApiError::internal(&""),
        ApiError::from(Rejection::Busy),
        ApiError::too_many_pings_of_account(4),
        ApiError::too_many_pings(),
        ApiError::too_many_reads(),
        ApiError::from(Rejection::OutOfSpace),
        ApiError::from(Rejection::StoreFailed),
    ]
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request is invalid; `errors` names every invalid field.",
        401 => "The key is missing, unknown, revoked or expired, or not allowed from this network.",
        403 => "The key lacks the scope that the message names, or would give more rights than it has.",
        404 => "The resource does not exist, or belongs to another account.",
        405 => "The path does not support this method; `Allow` lists the supported ones.",
        408 => "The request did not arrive in time.",
        409 => "The request conflicts with the current state.",
        413 => "The body is too large, or its events would create too many deliveries.",
        415 => "The body is not declared as JSON, or is compressed.",
        429 => "Too many requests within a minute, or too many test pings at once.",
        500 => "An internal error; the server's log has the cause.",
        503 => "The server is busy or out of space, or the store failed. Retry later.",
        _ => "",
    }
}

/// The component name of a status's errors.
pub fn name(status: u16) -> String {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    reason.unwrap_or("Error").replace(' ', "")
}

/// All errors by the name of their status.
pub fn responses() -> Map<String, Value> {
    let mut responses = Map::new();
    for error in samples() {
        let status = error.status();
        let response = responses.entry(name(status)).or_insert_with(|| {
            json!({
                "description": meaning(status),
                "headers": headers(&error),
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}, "examples": {}}},
            })
        });
        let examples = &mut response["content"]["application/json"]["examples"];
        if examples.get(error.code()).is_none() {
            examples[error.code()] = json!({"value": error.body("req_5f2b8c1d9e3a4f60718293a4")});
        }
    }
    responses
}

fn headers(error: &ApiError) -> Value {
    let own = error.headers();
    let mut names: Vec<_> = own.iter().map(|(name, _)| *name).collect();
    names.push("X-Request-Id");
    names.extend(super::headers::RATE_LIMIT_HEADERS);
    super::headers::references(&names)
}
