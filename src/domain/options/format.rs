//! The option `format`: in which form the envelope is sent. The store keeps the envelope, and what is sent is made of it at
//! each attempt. Pure; any thread.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use url::form_urlencoded;

use crate::domain::FieldError;
use crate::domain::options::names::Names;

/// The form of a delivery's body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The envelope.
    #[default]
    Json,
    /// `payload=` and the envelope, form-encoded.
    Form,
    /// `CloudEvents` 1.0 in structured mode.
    CloudEvents,
}

/// The names of all forms.
pub const FORMATS: [&str; 3] = ["json", "form", "cloudevents"];

/// The stored envelope.
#[derive(Deserialize)]
struct Envelope<'a> {
    id: &'a str,
    event: &'a str,
    timestamp: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    time: &'a str,
    datacontenttype: &'static str,
    data: &'a RawValue,
}

/// The part of an event's `data` that a `CloudEvents` subject is made of.
#[derive(Deserialize)]
struct OfWorker<'a> {
    #[serde(borrow)]
    worker_id: Option<&'a RawValue>,
}

impl Format {
    /// Reads the option.
    pub fn read(value: &Value) -> Result<Self, Vec<FieldError>> {
        match value.as_str() {
            Some("json") => Ok(Self::Json),
            Some("form") => Ok(Self::Form),
            Some("cloudevents") => Ok(Self::CloudEvents),
            _ => Err(vec![FieldError::new("format", "must be \"json\", \"form\" or \"cloudevents\"")]),
        }
    }

    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Form => "form",
            Self::CloudEvents => "cloudevents",
        }
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
            Self::CloudEvents => "application/cloudevents+json",
        }
    }

    /// The body that is sent for a stored envelope; none if that cannot be read. `data` stays byte for byte.
    #[must_use]
    pub fn body<'a>(self, envelope: &'a [u8], names: &Names, account: &str) -> Option<Cow<'a, [u8]>> {
        if self == Self::CloudEvents {
            return cloud_event(envelope, account).map(Cow::Owned);
        }
        let text = if names.has_plain_envelope() { Cow::Borrowed(envelope) } else { renamed(envelope, names)?.into() };
        if self == Self::Json {
            return Some(text);
        }
        let mut form = form_urlencoded::Serializer::new(String::with_capacity(text.len() * 2));
        form.append_pair("payload", str::from_utf8(&text).ok()?);
        Some(Cow::Owned(form.finish().into_bytes()))
    }
}

fn renamed(envelope: &[u8], names: &Names) -> Option<Vec<u8>> {
    let Envelope { id, event, timestamp, data } = serde_json::from_slice(envelope).ok()?;
    let [id_key, event_key, timestamp_key, data_key] = names.envelope.each_ref().map(|key| Value::from(key.as_str()));
    let body =
        format!(r#"{{{id_key}:"{id}",{event_key}:"{event}",{timestamp_key}:"{timestamp}",{data_key}:{}}}"#, data.get());
    Some(body.into_bytes())
}

fn cloud_event(envelope: &[u8], account: &str) -> Option<Vec<u8>> {
    let Envelope { id, event, timestamp, data } = serde_json::from_slice(envelope).ok()?;
    // Names of accounts may have characters that a URI reference may not.
    let account: String = form_urlencoded::byte_serialize(account.as_bytes()).collect();
    let event = CloudEvent {
        specversion: "1.0",
        id,
        source: format!("/accounts/{}", account.replace('+', "%20")),
        kind: format!("tempclock.{event}"),
        subject: worker(data),
        time: timestamp,
        datacontenttype: "application/json",
        data,
    };
    serde_json::to_vec(&event).ok()
}

/// The worker of an event, as text.
fn worker(data: &RawValue) -> Option<String> {
    let id = serde_json::from_str::<OfWorker<'_>>(data.get()).ok()?.worker_id?;
    match serde_json::from_str(id.get()).ok()? {
        Value::String(text) => Some(text),
        Value::Number(_) => Some(id.get().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ENVELOPE: &[u8] =
        br#"{"id":"evt_1","event":"clock_in","timestamp":"2026-03-02T08:00:00.000Z","data":{ "worker_id":52.0,"x": 1.50}}"#;

    fn sent(format: Format, names: &Names) -> String {
        String::from_utf8(format.body(ENVELOPE, names, "north & co").unwrap().into_owned()).unwrap()
    }

    #[test]
    fn without_options_the_envelope_is_sent_as_it_is() {
        assert!(matches!(Format::Json.body(ENVELOPE, &Names::default(), "own"), Some(Cow::Borrowed(ENVELOPE))));
    }

    #[test]
    fn other_names_leave_the_data_byte_for_byte() {
        let names = Names::read(&json!({"envelope": {"id": "event \"id\"", "data": "payload"}})).unwrap();
        let wanted = r#"{"event \"id\"":"evt_1","event":"clock_in","timestamp":"2026-03-02T08:00:00.000Z","payload":{ "worker_id":52.0,"x": 1.50}}"#;
        assert_eq!(sent(Format::Json, &names), wanted);
    }

    #[test]
    fn a_form_has_the_envelope_as_its_payload() {
        let form = sent(Format::Form, &Names::default());
        let fields: Vec<_> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        assert_eq!(fields, [("payload".to_owned(), String::from_utf8(ENVELOPE.to_vec()).unwrap())]);
    }

    #[test]
    fn a_cloud_event_has_the_attributes_of_the_envelope() {
        let text = sent(Format::CloudEvents, &Names::default());
        assert!(text.contains(r#""data":{ "worker_id":52.0,"x": 1.50}"#), "{text}");
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["specversion"], "1.0");
        assert_eq!(event["source"], "/accounts/north%20%26%20co");
        assert_eq!((&event["type"], &event["subject"]), (&json!("tempclock.clock_in"), &json!("52.0")));
        assert_eq!((&event["id"], &event["time"]), (&json!("evt_1"), &json!("2026-03-02T08:00:00.000Z")));
        assert!(Format::CloudEvents.body(b"{", &Names::default(), "own").is_none());
    }
}
