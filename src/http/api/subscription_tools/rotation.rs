//! `POST /webhooks/{id}/secret`: another signing secret, beside which the present one stays valid for a while. Runs on the
//! HTTP workers.

use std::ops::RangeInclusive;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::access::Scope;
use crate::domain::options::span::Span;
use crate::domain::signing::SigningSecret;
use crate::domain::{FieldError, FieldErrors, SubscriptionId, Timestamp};
use crate::http::api::fields::ObjectFields;
use crate::http::api::subscriptions::{find, parse_id, random};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, OptionalJson};
use crate::http::request::respond;
use crate::http::request::state::HttpState;
use crate::storage::command::Command;

const FIELDS: [&str; 2] = ["secret", "overlap"];
const OVERLAPS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(7 * 24);
const OVERLAP: Duration = Duration::from_hours(24);
/// Message after a rotation.
pub const ROTATED: &str = "Secret rotated. Store it: it is not shown again. Until the earlier secret expires, deliveries are signed with both, and X-TempClock-Signature with the earlier one only.";

/// The new secret of a subscription.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RotatedSecret")]
pub struct Rotated<'a> {
    id: SubscriptionId,
    /// The new signing secret; only in this response.
    #[schemars(example = SigningSecret::EXAMPLE)]
    secret: &'a str,
    /// Until when the earlier secret stays valid.
    previous_valid_until: Timestamp,
}

/// JSON Schema of the body.
#[must_use]
pub fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "secret": {
                "description": "Your own secret; otherwise the server generates one.",
                "type": ["string", "null"],
                "minLength": 16,
                "maxLength": 128,
                "pattern": "^[!-~]*$",
            },
            "overlap": {
                "description": "How long the current secret stays valid, up to 7 days; 24 hours by default. `0s` invalidates all earlier secrets at once.",
                "type": ["string", "null"],
                "examples": ["24h"],
            },
        },
        "additionalProperties": false,
    })
}

pub async fn rotate(
    state: web::Data<HttpState>,
    caller: Caller,
    path: web::Path<String>,
    body: OptionalJson,
) -> Result<HttpResponse, ApiError> {
    let account = caller.require(Scope::WebhooksWrite)?;
    let id = caller.seen(parse_id(&path)?)?;
    let before = find(&state, account, id)?;
    let (given, overlap) = read(body.text().unwrap_or("{}"), &before.keys.secret)?;
    let secret = given.map_or_else(|| random().map(|bytes| SigningSecret::from_random(&bytes)), Ok)?;
    let previous_valid_until = state.clock.wall().plus(overlap);
    let command = |reply| Command::RotateSecret { account, id, secret, previous_valid_until, reply };
    let rotated = state.change(caller.origin(), command).await?;
    log::info!("secret of subscription {id} rotated; the earlier one is valid until {previous_valid_until}");
    let view = Rotated { id, secret: rotated.keys.secret.expose(), previous_valid_until };
    Ok(respond::single_with_message(HttpResponse::Ok(), &view, ROTATED))
}

fn read(text: &str, present: &SigningSecret) -> Result<(Option<SigningSecret>, Duration), ApiError> {
    let fields = ObjectFields::parse(text)?;
    let mut errors = FieldErrors::default();
    let (mut secret, mut overlap) = (None, OVERLAP);
    for (name, value) in fields.once_each(&mut errors).iter().filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            "secret" => match value.as_str().and_then(SigningSecret::parse) {
                Some(given) if given == *present => {
                    errors.add(|| FieldError::new("secret", "is already the current secret; choose another one"));
                }
                Some(given) => secret = Some(given),
                None => errors.add(|| FieldError::new("secret", SigningSecret::WANTED)),
            },
            "overlap" => match Span::read(value, &OVERLAPS) {
                Ok(span) => overlap = span.length,
                Err(message) => errors.add(|| FieldError::new("overlap", message)),
            },
            _ => errors.add(|| FieldError::unknown(name, &FIELDS)),
        }
    }
    if errors.is_empty() { Ok((secret, overlap)) } else { Err(ApiError::invalid(errors)) }
}
