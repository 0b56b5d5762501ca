//! Parses a subscription in a request; all invalid fields are reported at once. Pure; runs on the HTTP workers.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::endpoint::{Endpoint, EndpointPolicy};
use crate::domain::event::catalogue::Catalogue;
use crate::domain::event::event_types::{EventTypes, TYPES_MAX};
use crate::domain::options::certificate::{self, CertificateUse};
use crate::domain::options::{OPTIONS, OptionLimits, Options};
use crate::domain::secret_text::SecretText;
use crate::domain::signing::SigningSecret;
use crate::domain::subscription::{Subscription, SubscriptionChange};
use crate::domain::{FieldError, FieldErrors};
use crate::http::api::event_types::types_schema;
use crate::http::api::fields::ObjectFields;
use crate::http::api::option_schemas;
use crate::http::request::error::ApiError;

const OWN_FIELDS: [&str; 5] = ["url", "events", "active", "description", "secret"];
/// Read-only fields; ignored in requests, so that a whole subscription can be sent back.
const SHOWN: [&str; 9] = [
    "id",
    "created_at",
    "updated_at",
    "disabled_reason",
    "disabled_at",
    "failing_since",
    "recent_deliveries",
    "public_key",
    "filtered",
];
const DESCRIPTION_CHARS: usize = 500;

/// A parsed request, and the options of the subscription after it.
pub struct Read {
    /// What to change.
    pub change: SubscriptionChange,
    /// The secret that its owner gave.
    pub secret: Option<SigningSecret>,
    /// The options with the change.
    pub options: Options,
}

/// What a request is for.
#[derive(Clone, Copy)]
pub enum Purpose<'a> {
    /// A new subscription.
    Create,
    /// A change of this one.
    Change(&'a Subscription),
}

/// What a subscription is checked against.
pub struct SubscriptionRules<'a> {
    /// The policy for its URL.
    pub policy: &'a EndpointPolicy,
    /// What its options may ask for.
    pub limits: OptionLimits,
    /// The event types that can be published.
    pub catalogue: Arc<Catalogue>,
    /// The client certificates.
    pub certificates: &'a [CertificateUse],
    /// The name of the account.
    pub account: &'a str,
}

/// Parses a request for a subscription.
pub fn read(text: &str, rules: SubscriptionRules<'_>, purpose: Purpose<'_>) -> Result<Read, ApiError> {
    let SubscriptionRules { policy, limits, catalogue, certificates, account } = rules;
    let defaults = Options::defaults();
    let (required, before, had): (&[&str], &Options, _) = match purpose {
        Purpose::Create => (&["events"], &defaults, None),
        Purpose::Change(before) => (&[], &before.options, Some(&before.events)),
    };
    let fields = ObjectFields::parse(text)?.without(&SHOWN);
    let mut errors = FieldErrors::default();
    for name in required {
        if !fields.has(name) {
            errors.add(|| FieldError::new(name, "is missing"));
        }
    }
    let mut change = SubscriptionChange { catalogue, ..SubscriptionChange::default() };
    let mut secret = None;
    let mut has_url = false;
    for (name, value) in &fields.once_each(&mut errors) {
        let result = match name.as_str() {
            "url" => {
                has_url = !value.is_null();
                if has_url { parse_url(value, policy).map(|endpoint| change.endpoint = Some(endpoint)) } else { Ok(()) }
            }
            "events" => parse_events(value, &change.catalogue, had).map(|events| change.events = Some(events)),
            "description" => parse_description(value).map(|text| change.description = Some(text)),
            "active" => value
                .as_bool()
                .map(|active| change.active = Some(active))
                .ok_or_else(|| vec![FieldError::new("active", "must be true or false")]),
            "secret" => parse_secret(value, purpose).map(|given| secret = given),
            _ if OPTIONS.contains(&name.as_str()) => {
                change.options.push(name, value.clone());
                Ok(())
            }
            _ => Err(vec![FieldError::unknown(name, &[&OWN_FIELDS[..], &OPTIONS[..]].concat())]),
        };
        errors.extend(result.err().into_iter().flatten());
    }
    let options = change.options.apply(before);
    match &options {
        Ok(options) => {
            errors.extend(fault_of_mode(options, purpose, has_url));
            errors.extend(options.excesses(before, limits));
            let new_url = options.token_url().filter(|url| before.token_url() != Some(*url));
            let refused = new_url.and_then(|url| url.check(policy).err());
            errors.extend(refused.map(|refused| FieldError::new("auth.token_url", refused.to_string())));
            errors.extend(certificate_fault(options, change.endpoint.as_ref(), (certificates, account), purpose));
        }
        Err(wrong) => errors.extend(wrong.clone()),
    }
    match options {
        Ok(options) if errors.is_empty() => Ok(Read { change, secret, options }),
        _ => Err(ApiError::invalid(errors)),
    }
}

/// What is wrong with the client certificate for the URL, if one of the two is new.
fn certificate_fault(
    options: &Options,
    endpoint: Option<&Endpoint>,
    (certificates, account): (&[CertificateUse], &str),
    purpose: Purpose<'_>,
) -> Option<FieldError> {
    let name = options.client_certificate.as_ref()?;
    let before = match purpose {
        Purpose::Create => None,
        Purpose::Change(before) => Some(before),
    };
    let is_same = before.is_some_and(|before| {
        before.options.client_certificate.as_ref() == Some(name) && endpoint.is_none_or(|url| *url == before.endpoint)
    });
    let endpoint = endpoint.or(before.map(|before| &before.endpoint)).filter(|_| !is_same)?;
    certificate::fault(name, account, endpoint, certificates)
}

/// What does not fit the mode, which is fixed when a subscription is made.
fn fault_of_mode(options: &Options, purpose: Purpose<'_>, has_url: bool) -> Option<FieldError> {
    match purpose {
        Purpose::Change(before) if before.options.mode != options.mode => {
            let message = "is fixed when a subscription is created; create another subscription with that mode";
            Some(FieldError::new("mode", message))
        }
        _ if options.is_pull() && has_url => {
            Some(FieldError::new("url", "does not apply in mode pull, where nothing is sent; omit it"))
        }
        Purpose::Create if !options.is_pull() && !has_url => Some(FieldError::new("url", "is missing")),
        _ => None,
    }
}

fn parse_secret(value: &Value, purpose: Purpose<'_>) -> Result<Option<SigningSecret>, Vec<FieldError>> {
    let wrong = |message: &str| Err(vec![FieldError::new("secret", message)]);
    match (purpose, value) {
        (Purpose::Create, Value::Null) => Ok(None),
        (Purpose::Create, value) => match value.as_str().and_then(SigningSecret::parse) {
            Some(secret) => Ok(Some(secret)),
            None => wrong(SigningSecret::WANTED),
        },
        // As every secret, it stays when what stands for it is sent back.
        (Purpose::Change(_), value) if value.as_str() == Some(SecretText::SHOWN) => Ok(None),
        (Purpose::Change(_), _) => wrong("can only be set when a subscription is created"),
    }
}

/// JSON Schema of the body with these `required` fields. The policy for URLs is not part of it.
#[must_use]
pub fn schema(required: &[&str]) -> Value {
    let mut properties = json!({
        "url": {
            "description": "The endpoint: an `https` URL that resolves to public addresses, unless the server allows others. Required, except in mode pull, where it is not allowed.",
            "type": ["string", "null"],
            "format": "uri",
            "examples": ["https://crm.example.com/hooks/tempclock"],
        },
        "events": {
            "description": "The event types to deliver. `*` includes all that are not opt-in, `clock.*` all whose names begin with `clock.`.",
            "type": "array",
            "minItems": 1,
            "maxItems": TYPES_MAX,
            "items": types_schema(),
            "examples": [["clock_in", "clock_out"]],
        },
        "active": {
            "description": "Whether deliveries are sent; otherwise they are held. True by default at creation.",
            "type": "boolean",
        },
        "description": {
            "description": "Your description; no control characters except line feeds.",
            "type": ["string", "null"],
            "maxLength": DESCRIPTION_CHARS,
            "pattern": r"^[^\u0000-\u0009\u000b-\u001f\u007f-\u009f]*$",
            "examples": ["Time sheets to the CRM"],
        },
    });
    properties["secret"] = json!({
        "description": "Only at creation: your own signing secret, so that an existing receiver need not change; otherwise the server generates one.",
        "type": ["string", "null"],
        "minLength": 16,
        "maxLength": 128,
        "pattern": "^[!-~]*$",
    });
    for (name, option) in option_schemas::all() {
        properties[name] = option;
    }
    for shown in SHOWN {
        properties[shown] = json!({"description": "Read-only; ignored in requests.", "readOnly": true});
    }
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

fn parse_url(value: &Value, policy: &EndpointPolicy) -> Result<Endpoint, Vec<FieldError>> {
    let text = value.as_str().ok_or_else(|| vec![FieldError::new("url", "must be a string")])?;
    Endpoint::parse(text, policy).map_err(|error| vec![FieldError::new("url", error.to_string())])
}

fn parse_events(value: &Value, catalogue: &Catalogue, had: Option<&EventTypes>) -> Result<EventTypes, Vec<FieldError>> {
    let wanted = "must be an array of event types such as [\"clock_in\"], or [\"*\"] for all";
    let names = value.as_array().filter(|names| !names.is_empty());
    let names: Option<Vec<&str>> = names.and_then(|names| names.iter().map(Value::as_str).collect());
    let names = names.ok_or_else(|| vec![FieldError::new("events", wanted)])?;
    let types = EventTypes::parse(names, catalogue, had).map_err(|errors| -> Vec<_> {
        errors.into_iter().map(|(index, message)| FieldError::new(format!("events[{index}]"), message)).collect()
    })?;
    if types.len() > TYPES_MAX {
        return Err(vec![FieldError::new(
            "events",
            format!("may have at most {TYPES_MAX} types; use a prefix such as \"clock.*\" instead"),
        )]);
    }
    Ok(types)
}

fn parse_description(value: &Value) -> Result<String, Vec<FieldError>> {
    let wrong = |message: String| vec![FieldError::new("description", message)];
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) if text.chars().count() > DESCRIPTION_CHARS => {
            Err(wrong(format!("may have at most {DESCRIPTION_CHARS} characters")))
        }
        Value::String(text) if text.chars().any(|character| character.is_control() && character != '\n') => {
            Err(wrong("must not contain control characters".to_owned()))
        }
        Value::String(text) => Ok(text.clone()),
        _ => Err(wrong("must be a string".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_schema_has_the_fields_that_are_read_and_no_other() {
        let schema = schema(&[]);
        let described: HashSet<_> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(described, OWN_FIELDS.into_iter().chain(OPTIONS).chain(SHOWN).collect());
    }
}
