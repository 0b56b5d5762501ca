//! Parses what makes a job; all invalid fields are reported at once. Pure; runs on the HTTP workers.

use serde_json::{Value, json};

use crate::domain::delivery::DeliveryState;
use crate::domain::event::event_type::EventType;
use crate::domain::job::DeliverySelection;
use crate::domain::{FieldError, FieldErrors, SubscriptionId, Timestamp, time_text};
use crate::http::api::fields::ObjectFields;
use crate::http::request::error::ApiError;

/// The status unless another one is given: what is not sent again by itself.
const EXHAUSTED: &str = "exhausted";
const RETRY_FIELDS: [&str; 6] = ["subscription", "status", "event", "since", "until", "dry_run"];

/// A redelivery of many that is asked for.
#[derive(Debug)]
pub struct RetryBody {
    /// What is to be redelivered.
    pub selection: DeliverySelection,
    /// Whether it is only counted.
    pub is_dry_run: bool,
}

/// Parses it.
pub fn retry(text: &str) -> Result<RetryBody, ApiError> {
    let fields: ObjectFields = serde_json::from_str(text).map_err(|error| ApiError::not_json(text, &error))?;
    let mut errors = FieldErrors::default();
    let mut selection =
        DeliverySelection { subscription: None, status: EXHAUSTED, event_type: None, since: None, until: None };
    let mut is_dry_run = false;
    for (name, value) in fields.once_each(&mut errors).iter().filter(|(_, value)| !value.is_null()) {
        let result = match name.as_str() {
            "subscription" => subscription(value).map(|id| selection.subscription = Some(id)),
            "status" => status(value).map(|status| selection.status = status),
            "event" => event_type(value).map(|event_type| selection.event_type = Some(event_type)),
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
    if errors.is_empty() { Ok(RetryBody { selection, is_dry_run }) } else { Err(ApiError::invalid(errors)) }
}

fn subscription(value: &Value) -> Result<SubscriptionId, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.map(SubscriptionId).ok_or_else(|| "must be a subscription's number".to_owned())
}

fn status(value: &Value) -> Result<&'static str, String> {
    let known = value.as_str().and_then(|text| DeliveryState::NAMES.into_iter().find(|name| *name == text));
    known.ok_or_else(|| format!("must be one of {}", DeliveryState::NAMES.join(", ")))
}

fn event_type(value: &Value) -> Result<EventType, String> {
    EventType::parse(value.as_str().ok_or("must be the name of an event type")?)
}

fn time(value: &Value) -> Result<Timestamp, String> {
    let wanted = |fault: &str| format!("must be a time such as {}{fault}", time_text::EXAMPLE);
    let text = value.as_str().ok_or_else(|| wanted(""))?;
    Timestamp::read(text).map_err(|fault| wanted(&format!("; {fault}")))
}

fn boolean(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "must be true or false".to_owned())
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
                "description": "Only deliveries with this status; `exhausted` unless you say another one. Deliveries that were \
                                never attempted are due anyway, and are not among them.",
                "type": ["string", "null"],
                "enum": DeliveryState::NAMES.map(Value::from).into_iter().chain([Value::Null]).collect::<Vec<_>>(),
            },
            "event": {
                "description": "Only deliveries of this event type.",
                "type": ["string", "null"],
                "enum": EventType::ALL.map(|event_type| event_type.name().into())
                    .into_iter().chain([Value::Null]).collect::<Vec<_>>(),
            },
            "since": time("Only of events that were stored at this time or later."),
            "until": time("Only of events that were stored before this time."),
            "dry_run": {"description": "Whether they are only counted.", "type": ["boolean", "null"]},
        },
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_has_the_fields_that_are_read_and_no_other() {
        let schema = retry_schema();
        let mut described: Vec<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut read = RETRY_FIELDS.to_vec();
        described.sort_unstable();
        read.sort_unstable();
        assert_eq!(described, read);
    }
}
