//! The options of a subscription in answers, and their JSON Schema in answers and requests. Pure.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::options::auth::oauth2::WAYS;
use crate::domain::options::batch::EVENTS_MAX;
use crate::domain::options::certificate::NAME_CHARS;
use crate::domain::options::format::FORMATS;
use crate::domain::options::headers::{HEADERS_MAX, VALUE_BYTES};
use crate::domain::options::mode::MODES;
use crate::domain::options::order::ORDERS;
use crate::domain::options::signatures::KINDS;
use crate::domain::options::{Options, auth};

/// The options as their owner sees them.
#[derive(Serialize)]
#[serde(transparent)]
pub struct OptionsView(Map<String, Value>);

impl OptionsView {
    /// With what stands for secrets in their place.
    pub fn of(options: &Options) -> Self {
        Self(options.to_json(false))
    }
}

impl JsonSchema for OptionsView {
    fn schema_name() -> Cow<'static, str> {
        "Options".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let required: Vec<_> = all().into_iter().map(|(name, _)| name).collect();
        let properties: Map<_, _> = all().into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect();
        json_schema!({"type": "object", "properties": properties, "required": required})
    }
}

/// The schema of each option.
pub fn all() -> Vec<(&'static str, Value)> {
    [of_requests(), of_pace()].concat()
}

fn name(what: &str) -> Value {
    json!({"description": what, "type": "string"})
}

/// Of those that shape requests.
fn of_requests() -> Vec<(&'static str, Value)> {
    vec![
        (
            "mode",
            json!({
                "description": "`push` by default. With `pull` nothing is sent: the receiver reads its events with `GET /feeds/{id}`. Fixed at creation.",
                "type": ["string", "null"],
                "enum": [MODES[0], MODES[1], null],
            }),
        ),
        (
            "headers",
            json!({
                "description": "Custom headers, sent with every attempt as spelled. Values are secret: they are returned as `set`, and sending `set` keeps the stored value.",
                "type": ["object", "null"],
                "maxProperties": HEADERS_MAX,
                "additionalProperties": {"type": "string", "maxLength": VALUE_BYTES},
            }),
        ),
        (
            "auth",
            json!({
                "description": "Credentials for the receiver. `password`, `token` and `client_secret` are returned as `set`, and sending `set` keeps the stored value.",
                "type": ["object", "null"],
                "required": ["type"],
                "properties": {
                    "type": {
                        "description": "`basic` with `username` and `password`, `bearer` with `token`, or `oauth2_client_credentials` with the others.",
                        "type": "string",
                        "enum": auth::TYPES,
                    },
                    "username": name("The user name."),
                    "password": name("The password."),
                    "token": name("The token."),
                    "token_url": name("URL of the token server; the same rules as for the endpoint apply."),
                    "client_id": name("The client id."),
                    "client_secret": name("The client secret."),
                    "client_authentication": {
                        "description": "How client id and secret are sent: in `Authorization` (`basic`, the default) or in the body.",
                        "type": ["string", "null"],
                        "enum": [WAYS[0], WAYS[1], null],
                    },
                    "scope": {"description": "Requested scopes, separated by spaces.", "type": ["string", "null"]},
                    "audience": {"description": "Requested audience of the token.", "type": ["string", "null"]},
                },
            }),
        ),
        (
            "client_certificate",
            json!({
                "description": "Name of a client certificate to present to the endpoint. The operator declares them, each for certain accounts and hosts.",
                "type": ["string", "null"],
                "maxLength": NAME_CHARS,
            }),
        ),
        (
            "format",
            json!({
                "description": "Format of the body: the envelope, a form with the envelope as `payload`, or CloudEvents 1.0.",
                "type": ["string", "null"],
                "enum": [FORMATS[0], FORMATS[1], FORMATS[2], null],
            }),
        ),
        (
            "names",
            json!({
                "description": "Other names of headers (`\"\"` omits a header) and envelope keys, for a receiver that was written for another sender.",
                "type": ["object", "null"],
                "properties": {
                    "signature": name("Replaces `X-TempClock-Signature`."),
                    "signature_prefix": name("Prefix of that signature, such as `sha256=`."),
                    "event": name("Replaces `X-TempClock-Event`."),
                    "delivery": name("Replaces `X-TempClock-Delivery`."),
                    "attempt": name("Replaces `X-TempClock-Attempt`."),
                    "envelope": {
                        "description": "Other keys of the body.",
                        "type": "object",
                        "properties": {
                            "id": name("Replaces `id`."),
                            "event": name("Replaces `event`."),
                            "timestamp": name("Replaces `timestamp`."),
                            "data": name("Replaces `data`."),
                        },
                    },
                },
            }),
        ),
        (
            "signatures",
            json!({
                "description": "Which signatures are sent: `X-TempClock-Signature`, and `v1` and `v1a` in `webhook-signature`.",
                "type": ["array", "null"],
                "minItems": 1,
                "items": {"type": "string", "enum": KINDS},
            }),
        ),
    ]
}

/// Of those that say what is sent when.
fn of_pace() -> Vec<(&'static str, Value)> {
    vec![
        (
            "filter",
            json!({
                "description": "Which events to deliver, by their `data`; every line must match. A key is the path of a field, with dots between objects. A value is the required value, a list of such values, or an object with `not`, `prefix` or `exists`.",
                "type": ["object", "null"],
                "maxProperties": 10,
                "additionalProperties": true,
            }),
        ),
        (
            "order",
            json!({
                "description": "Which deliveries wait for one another: those of one worker, or all of them. The next one starts when the one before is delivered, exhausted, expired or cancelled.",
                "type": ["string", "null"],
                "enum": [ORDERS[0], ORDERS[1], ORDERS[2], null],
            }),
        ),
        (
            "batch",
            json!({
                "description": "Several events in one request, as `{\"id\": \"bat_…\", \"events\": [envelope, …]}`, at most 1 MiB unless a single event is longer. Only with the format `json`, and not with the order `worker`.",
                "type": ["object", "null"],
                "required": ["max", "wait"],
                "properties": {
                    "max": {"description": "Maximum number of events.", "type": "integer", "minimum": 1, "maximum": EVENTS_MAX},
                    "wait": name("How long the first event waits for others, such as `5s`."),
                },
            }),
        ),
        (
            "rate_limit",
            json!({
                "description": "How often attempts may start, retries included: `10/s` or `600/m`.",
                "type": ["string", "null"],
                "pattern": "^[0-9]+ */ *[sm]$",
            }),
        ),
        (
            "max_in_flight",
            json!({
                "description": "Maximum number of attempts at the same time, up to the server's limit.",
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": 256,
            }),
        ),
        (
            "timeout",
            json!({"description": "Time limit of one attempt, up to the server's, such as `10s`.", "type": ["string", "null"]}),
        ),
        (
            "retry_schedule",
            json!({
                "description": "The waits before each retry, instead of the server's; an empty list means a single attempt.",
                "type": ["array", "null"],
                "maxItems": 50,
                "items": {"type": "string"},
            }),
        ),
        (
            "delivery_window",
            json!({
                "description": "When attempts may start, in the local time of a zone; outside the window deliveries wait. `from` after `to` spans midnight.",
                "type": ["object", "null"],
                "required": ["days", "from", "to", "time_zone"],
                "properties": {
                    "days": {
                        "description": "The days on which the window opens.",
                        "type": "array",
                        "minItems": 1,
                        "items": {"type": "string", "enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]},
                    },
                    "from": name("The time of day at which it opens, such as `06:00`."),
                    "to": name("The time of day at which it closes, such as `20:00`."),
                    "time_zone": name("A zone of the IANA database, such as `Europe/London`."),
                },
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::options::OPTIONS;

    #[test]
    fn every_option_has_a_schema() {
        assert_eq!(all().into_iter().map(|(name, _)| name).collect::<Vec<_>>(), OPTIONS);
    }
}
