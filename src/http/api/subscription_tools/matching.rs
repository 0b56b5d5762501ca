//! `POST /webhooks/{id}/match`: would a subscription get an event, and why. Runs on the HTTP workers; changes nothing.

use actix_web::{HttpResponse, web};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::access::Scope;
use crate::domain::event::catalogue::{Catalogue, TypeDescription};
use crate::domain::event::event_type::{NAME_CHARS, NAME_PATTERN};
use crate::domain::subscription::{Subscription, SubscriptionState};
use crate::domain::{FieldError, FieldErrors};
use crate::http::api::fields::ObjectFields;
use crate::http::api::subscriptions::{find, parse_id};
use crate::http::request::error::ApiError;
use crate::http::request::extract::{Caller, JsonText};
use crate::http::request::respond;
use crate::http::request::state::HttpState;

const FIELDS: [&str; 2] = ["event", "data"];

/// Whether a subscription gets an event.
#[derive(Serialize, JsonSchema)]
pub struct MatchResult {
    /// Whether it would be delivered.
    #[schemars(example = true)]
    matches: bool,
    /// One sentence each about the type, every line of the filter, the mode and the state.
    #[schemars(example = ["clock_in is one of its event types"])]
    because: Vec<String>,
}

/// JSON Schema of the body.
#[must_use]
pub fn schema() -> Value {
    json!({
        "type": "object",
        "required": FIELDS,
        "properties": {
            "event": {"description": "The event type.", "type": "string", "pattern": NAME_PATTERN, "maxLength": NAME_CHARS},
            "data": {"description": "The `data` of the event.", "type": "object"},
        },
        "additionalProperties": false,
    })
}

pub async fn match_event(
    state: web::Data<HttpState>,
    caller: Caller,
    path: web::Path<String>,
    body: JsonText,
) -> Result<HttpResponse, ApiError> {
    let account = caller.require(Scope::WebhooksRead)?;
    let subscription = find(&state, account, caller.seen(parse_id(&path)?)?)?;
    let catalogue = state.settings.catalogue.get();
    let (event_type, data) = read(&body.text, &catalogue)?;
    Ok(respond::single(HttpResponse::Ok(), &result(&subscription, event_type, &data)))
}

fn read<'a>(text: &str, catalogue: &'a Catalogue) -> Result<(&'a TypeDescription, Value), ApiError> {
    let mut errors = FieldErrors::default();
    let mut fields = ObjectFields::parse(text)?.with_any("data").by_name(&mut errors);
    for name in fields.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        errors.add(|| FieldError::unknown(name, &FIELDS));
    }
    let event_type = match fields.get("event").and_then(Value::as_str) {
        None => Err("must be the name of an event type".to_owned()),
        Some(name) => catalogue.parse(name),
    };
    let event_type = event_type.map_err(|message| errors.add(|| FieldError::new("event", message))).ok();
    let data = fields.remove("data").filter(Value::is_object);
    if data.is_none() {
        errors.add(|| FieldError::new("data", "must be an object, the data of an event"));
    }
    match (event_type, data) {
        (Some(event_type), Some(data)) if errors.is_empty() => Ok((event_type, data)),
        _ => Err(ApiError::invalid(errors)),
    }
}

fn result(subscription: &Subscription, known: &TypeDescription, data: &Value) -> MatchResult {
    let event_type = known.event_type;
    let has_type = subscription.events.contains(&event_type, known.is_opt_in);
    let names = subscription.events.names().join(", ");
    let is = if has_type { "is" } else { "is not" };
    let mut because = vec![format!("{event_type} {is} one of its event types ({names})")];
    let lines = subscription.options.filter.as_ref().map(|filter| filter.explain(|name| data.get(name)));
    let fits = lines.iter().flatten().all(|(fits, _)| *fits);
    match lines {
        Some(lines) => because.extend(lines.into_iter().map(|(_, sentence)| sentence)),
        None => because.push("it has no filter".to_owned()),
    }
    let mode = if subscription.is_pull() {
        "its mode is pull: its events are read by the receiver"
    } else {
        "its mode is push: its events are sent"
    };
    because.push(mode.to_owned());
    because.push(match subscription.state {
        SubscriptionState::Active => "it is active".to_owned(),
        SubscriptionState::Disabled { reason, .. } => {
            format!("it is disabled ({}): matching events are held", reason.words())
        }
    });
    MatchResult { matches: has_type && fits, because }
}
