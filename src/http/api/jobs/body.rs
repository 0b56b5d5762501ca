//! Parses what makes a job; all invalid fields are reported at once. Pure; runs on the HTTP workers.

use serde_json::{Value, json};

use crate::domain::delivery::DeliveryState;
use crate::domain::event::catalogue::Catalogue;
use crate::domain::event::event_type::{EventType, NAME_CHARS, NAME_PATTERN};
use crate::domain::event::event_types::EventTypes;
use crate::domain::job::{DeliverySelection, ReplayOnly};
use crate::domain::{FieldError, FieldErrors, SubscriptionId, Timestamp, time_text};
use crate::http::api::deliveries::HELD;
use crate::http::api::event_types::types_schema;
use crate::http::api::fields::ObjectFields;
use crate::http::request::error::ApiError;

/// The status unless another one is given: what is not sent again by itself.
const EXHAUSTED: &str = "exhausted";
const REPLAY_FIELDS: [&str; 5] = ["since", "until", "events", "only", "dry_run"];
const RETRY_FIELDS: [&str; 6] = ["subscription", "status", "event", "since", "until", "dry_run"];

/// A redelivery of many that is asked for.
#[derive(Debug)]
pub struct RetryBody {
    /// What is to be redelivered.
    pub selection: DeliverySelection,
    /// Whether it is only counted.
    pub is_dry_run: bool,
}

/// Parses it. Returns with it what is wrong, to which the caller adds whether there is such an event type.
pub fn retry(text: &str, catalogue: &Catalogue) -> Result<(RetryBody, FieldErrors), ApiError> {
    let fields = ObjectFields::parse(text)?;
    let mut errors = FieldErrors::default();
    let mut selection =
        DeliverySelection { subscription: None, status: EXHAUSTED, event_type: None, since: None, until: None };
    let mut is_dry_run = false;
    for (name, value) in fields.once_each(&mut errors).iter().filter(|(_, value)| !value.is_null()) {
        let result = match name.as_str() {
            "subscription" => subscription(value).map(|id| selection.subscription = Some(id)),
            "status" => status(value).map(|status| selection.status = status),
            "event" => event_type(value, catalogue).map(|event_type| selection.event_type = Some(event_type)),
            "since" => time(value).map(|time| selection.since = Some(time)),
            "until" => time(value).map(|time| selection.until = Some(time)),
            "dry_run" => boolean(value).map(|wanted| is_dry_run = wanted),
            _ => {
                errors.add(|| FieldError::unknown(name, &RETRY_FIELDS));
                continue;
            }
        };
        if let Err(message) = result {
            errors.add(|| FieldError::new(name, message));
        }
    }
    Ok((RetryBody { selection, is_dry_run }, errors))
}

/// A replay that is asked for.
#[derive(Debug)]
pub struct ReplayBody {
    /// Of events stored at or after this time.
    pub since: Timestamp,
    /// Of events stored before this time.
    pub until: Option<Timestamp>,
    /// Of these types.
    pub events: Option<EventTypes>,
    /// Which of them.
    pub only: ReplayOnly,
    /// Whether to only count them.
    pub is_dry_run: bool,
}

/// Parses a replay for a subscription to these types.
pub fn replay(text: &str, catalogue: &Catalogue, wanted: &EventTypes) -> Result<ReplayBody, ApiError> {
    let fields = ObjectFields::parse(text)?;
    let mut errors = FieldErrors::default();
    let (mut since, mut until, mut events, mut only, mut is_dry_run) = (None, None, None, ReplayOnly::Missing, false);
    let mut has_since = false;
    for (name, value) in fields.once_each(&mut errors).iter().filter(|(_, value)| !value.is_null()) {
        let result = match name.as_str() {
            "since" => {
                has_since = true;
                time(value).map(|time| since = Some(time))
            }
            "until" => time(value).map(|time| until = Some(time)),
            "events" => event_types(value, catalogue, wanted).map(|types| events = Some(types)),
            "only" => replay_only(value).map(|wanted| only = wanted),
            "dry_run" => boolean(value).map(|wanted| is_dry_run = wanted),
            _ => {
                errors.add(|| FieldError::unknown(name, &REPLAY_FIELDS));
                continue;
            }
        };
        if let Err(message) = result {
            errors.add(|| FieldError::new(name, message));
        }
    }
    if !has_since {
        errors.add(|| FieldError::new("since", "is missing; set it to the time from which to replay events"));
    }
    if since.zip(until).is_some_and(|(since, until)| until <= since) {
        errors.add(|| FieldError::new("until", "must be later than since"));
    }
    match since {
        Some(since) if errors.is_empty() => Ok(ReplayBody { since, until, events, only, is_dry_run }),
        _ => Err(ApiError::invalid(errors)),
    }
}

fn event_types(value: &Value, catalogue: &Catalogue, wanted: &EventTypes) -> Result<EventTypes, String> {
    let names = value.as_array().filter(|names| !names.is_empty());
    let names: Option<Vec<&str>> = names.and_then(|names| names.iter().map(Value::as_str).collect());
    let names = names.ok_or("must be an array of event types such as [\"clock_in\"]")?;
    EventTypes::parse(names, catalogue, Some(wanted))
        .map_err(|errors| errors.into_iter().map(|(_, message)| message).collect::<Vec<_>>().join("; "))
}

fn replay_only(value: &Value) -> Result<ReplayOnly, String> {
    let known = value.as_str().and_then(|text| ReplayOnly::ALL.into_iter().find(|only| only.name() == text));
    known.ok_or_else(|| format!("must be one of {}", ReplayOnly::ALL.map(ReplayOnly::name).join(", ")))
}

fn subscription(value: &Value) -> Result<SubscriptionId, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.map(SubscriptionId).ok_or_else(|| "must be a subscription's number".to_owned())
}

fn status(value: &Value) -> Result<&'static str, String> {
    let text = value.as_str().unwrap_or_default();
    if text == HELD {
        return Err("cannot be held: held deliveries are sent when their subscription is enabled".to_owned());
    }
    let known = DeliveryState::NAMES.into_iter().find(|name| *name == text);
    known.ok_or_else(|| format!("must be one of {}", DeliveryState::NAMES.join(", ")))
}

fn event_type(value: &Value, catalogue: &Catalogue) -> Result<EventType, String> {
    let name = value.as_str().ok_or("must be the name of an event type")?;
    EventType::from_name(name).ok_or_else(|| catalogue.unknown(name))
}

fn time(value: &Value) -> Result<Timestamp, String> {
    let wanted = |fault: &str| format!("must be a time such as {}{fault}", time_text::EXAMPLE);
    let text = value.as_str().ok_or_else(|| wanted(""))?;
    Timestamp::read(text).map_err(|fault| wanted(&format!("; {fault}")))
}

fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "must be true or false".to_owned())
}

/// JSON Schema of the body of a replay.
#[must_use]
pub fn replay_schema() -> Value {
    json!({
        "type": "object",
        "required": ["since"],
        "properties": {
            "since": {
                "description": "Only events that were stored at this time or later, including those from before the subscription was created.",
                "type": "string",
                "format": "date-time",
            },
            "until": {
                "description": "Only events that were stored before this time.",
                "type": ["string", "null"],
                "format": "date-time",
            },
            "events": {
                "description": "Only these of the subscription's event types.",
                "type": ["array", "null"],
                "minItems": 1,
                "items": types_schema(),
            },
            "only": {
                "description": "`missing` (the default): events that never had a delivery for the subscription; `failed`: those whose delivery was exhausted or expired; `all`: both of these and delivered ones.",
                "type": ["string", "null"],
                "enum": ReplayOnly::ALL.map(|only| only.name().into()).into_iter().chain([Value::Null]).collect::<Vec<_>>(),
            },
            "dry_run": {"description": "Whether to only count them.", "type": ["boolean", "null"]},
        },
        "additionalProperties": false,
    })
}

/// JSON Schema of the body of a redelivery.
#[must_use]
pub fn retry_schema() -> Value {
    let time =
        |description: &str| json!({"description": description, "type": ["string", "null"], "format": "date-time"});
    json!({
        "type": "object",
        "properties": {
            "subscription": {
                "description": "Only deliveries of this subscription.",
                "type": ["integer", "null"],
                "minimum": 0,
                "maximum": u32::MAX,
            },
            "status": {
                "description": "Only deliveries with this status; `exhausted` by default. Deliveries that were never attempted are due anyway and not included.",
                "type": ["string", "null"],
                "enum": DeliveryState::NAMES.map(Value::from).into_iter().chain([Value::Null]).collect::<Vec<_>>(),
            },
            "event": {
                "description": "Only deliveries of this event type.",
                "type": ["string", "null"],
                "pattern": NAME_PATTERN,
                "maxLength": NAME_CHARS,
            },
            "since": time("Only deliveries of events that were stored at this time or later."),
            "until": time("Only deliveries of events that were stored before this time."),
            "dry_run": {"description": "Whether to only count them.", "type": ["boolean", "null"]},
        },
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_fields_that_are_read_and_no_other() {
        for (schema, read) in [(retry_schema(), &RETRY_FIELDS[..]), (replay_schema(), &REPLAY_FIELDS[..])] {
            let mut described: Vec<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            let mut read = read.to_vec();
            described.sort_unstable();
            read.sort_unstable();
            assert_eq!(described, read);
        }
    }
}
