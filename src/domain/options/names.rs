//! The option `names`: other names of headers and envelope keys, for a receiver that was written for another sender. Pure;
//! any thread.

use serde_json::{Map, Value, json};

use crate::domain::FieldError;
use crate::domain::options::headers::fault_of_name;

/// Names of headers and of the envelope's keys. An empty name of a header leaves it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// In place of `X-TempClock-Signature`.
    pub signature: String,
    /// Before the signature's digits.
    pub signature_prefix: String,
    /// In place of `X-TempClock-Event`.
    pub event: String,
    /// In place of `X-TempClock-Delivery`.
    pub delivery: String,
    /// In place of `X-TempClock-Attempt`.
    pub attempt: String,
    /// The keys of the envelope: id, event, timestamp, data.
    pub envelope: [String; 4],
}

/// The keys of the envelope.
pub const ENVELOPE: [&str; 4] = ["id", "event", "timestamp", "data"];
const FIELDS: [&str; 6] = ["signature", "signature_prefix", "event", "delivery", "attempt", "envelope"];
/// The most characters of a prefix or of a key of the envelope.
const CHARS: usize = 64;

const SIGNATURE: &str = "X-TempClock-Signature";
const EVENT: &str = "X-TempClock-Event";
const DELIVERY: &str = "X-TempClock-Delivery";
const ATTEMPT: &str = "X-TempClock-Attempt";

impl Default for Names {
    fn default() -> Self {
        Self {
            signature: SIGNATURE.to_owned(),
            signature_prefix: String::new(),
            event: EVENT.to_owned(),
            delivery: DELIVERY.to_owned(),
            attempt: ATTEMPT.to_owned(),
            envelope: ENVELOPE.map(str::to_owned),
        }
    }
}

impl Names {
    /// Whether these are the server's own. Every attempt asks, so nothing is allocated for it.
    #[must_use]
    pub fn are_own(&self) -> bool {
        let Self { signature, signature_prefix, event, delivery, attempt, envelope: _ } = self;
        signature == SIGNATURE
            && signature_prefix.is_empty()
            && event == EVENT
            && delivery == DELIVERY
            && attempt == ATTEMPT
            && self.has_plain_envelope()
    }

    /// Whether the envelope has its own keys.
    #[must_use]
    pub fn has_plain_envelope(&self) -> bool {
        self.envelope == ENVELOPE
    }

    /// The headers that have a name here, in sending order.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        [&self.event, &self.delivery, &self.attempt, &self.signature].into_iter().map(String::as_str)
    }

    /// Reads the option; what is left out keeps the server's name.
    pub fn read(value: &Value) -> Result<Self, Vec<FieldError>> {
        let Some(given) = value.as_object() else {
            let message = "must be an object such as {\"signature\": \"X-Hub-Signature-256\", \"signature_prefix\": \
                           \"sha256=\"}, or null for the server's own names";
            return Err(vec![FieldError::new("names", message)]);
        };
        let mut names = Self::default();
        let mut errors = Vec::new();
        for (field, value) in given {
            let place = format!("names.{field}");
            let header = match field.as_str() {
                "signature" => &mut names.signature,
                "event" => &mut names.event,
                "delivery" => &mut names.delivery,
                "attempt" => &mut names.attempt,
                "signature_prefix" => {
                    match value
                        .as_str()
                        .filter(|text| text.len() <= CHARS && text.bytes().all(|b| b.is_ascii_graphic()))
                    {
                        Some(text) => text.clone_into(&mut names.signature_prefix),
                        None => errors.push(FieldError::new(
                            place,
                            format!("must be up to {CHARS} visible ASCII characters such as \"sha256=\""),
                        )),
                    }
                    continue;
                }
                "envelope" => {
                    errors.extend(read_envelope(value, &mut names.envelope));
                    continue;
                }
                _ => {
                    let FieldError { message, .. } = FieldError::unknown(field, &FIELDS);
                    errors.push(FieldError::new(place, message));
                    continue;
                }
            };
            let fault = match value.as_str() {
                None => Some("must be the name of a header, or \"\" to omit it".to_owned()),
                Some("") => None,
                Some(name) => fault_of_name(name).or_else(|| {
                    let is_authorization = name.eq_ignore_ascii_case("authorization");
                    is_authorization.then(|| "Authorization is for the option auth; choose another name".to_owned())
                }),
            };
            match (fault, value.as_str()) {
                (None, Some(name)) => name.clone_into(header),
                (fault, _) => errors.push(FieldError::new(place, fault.unwrap_or_default())),
            }
        }
        if errors.is_empty() {
            errors.extend(names.twice());
        }
        if errors.is_empty() { Ok(names) } else { Err(errors) }
    }

    /// Two headers or two keys of one name.
    fn twice(&self) -> Option<FieldError> {
        let headers: Vec<_> = self.headers().filter(|name| !name.is_empty()).map(str::to_ascii_lowercase).collect();
        let keys: Vec<_> = self.envelope.to_vec();
        for (place, names) in [("names", headers), ("names.envelope", keys)] {
            let mut sorted = names;
            sorted.sort_unstable();
            if let Some([name, _]) = sorted.windows(2).find(|pair| pair.first() == pair.last()) {
                return Some(FieldError::new(place, format!("gives two headers or keys the name {name}")));
            }
        }
        None
    }

    /// The option as JSON: what differs from the server's own names; none if nothing does.
    #[must_use]
    pub fn to_json(&self) -> Option<Value> {
        let own = Self::default();
        let all = [
            ("signature", &self.signature, &own.signature),
            ("signature_prefix", &self.signature_prefix, &own.signature_prefix),
            ("event", &self.event, &own.event),
            ("delivery", &self.delivery, &own.delivery),
            ("attempt", &self.attempt, &own.attempt),
        ];
        let differing = all.into_iter().filter(|(_, name, own)| name != own);
        let mut shown: Map<String, Value> =
            differing.map(|(field, name, _)| (field.to_owned(), name.as_str().into())).collect();
        if !self.has_plain_envelope() {
            let keys = ENVELOPE.into_iter().zip(&self.envelope).filter(|(own, key)| own != key);
            let keys: Map<String, Value> = keys.map(|(own, key)| (own.to_owned(), key.as_str().into())).collect();
            shown.insert("envelope".to_owned(), json!(keys));
        }
        (!shown.is_empty()).then(|| shown.into())
    }
}

fn read_envelope(value: &Value, keys: &mut [String; 4]) -> Vec<FieldError> {
    let Some(given) = value.as_object() else {
        let message = "must be an object such as {\"id\": \"event_id\", \"data\": \"payload\"}";
        return vec![FieldError::new("names.envelope", message)];
    };
    let mut errors = Vec::new();
    for (field, value) in given {
        let place = format!("names.envelope.{field}");
        let Some(index) = ENVELOPE.iter().position(|key| key == field) else {
            let FieldError { message, .. } = FieldError::unknown(field, &ENVELOPE);
            errors.push(FieldError::new(place, message));
            continue;
        };
        let key = value
            .as_str()
            .filter(|text| !text.is_empty() && text.chars().count() <= CHARS && !text.chars().any(char::is_control));
        match (key, keys.get_mut(index)) {
            (Some(text), Some(key)) => text.clone_into(key),
            _ => errors.push(FieldError::new(place, format!("must be 1 to {CHARS} characters"))),
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_shown_again() {
        for shown in [
            json!({"signature": "X-Hub-Signature-256", "signature_prefix": "sha256="}),
            json!({"event": "", "attempt": "", "delivery": "X-GitHub-Delivery"}),
            json!({"envelope": {"id": "event_id", "data": "payload"}, "event": "X-GitHub-Event"}),
        ] {
            let names = Names::read(&shown).unwrap();
            assert_eq!((names.are_own(), names.to_json()), (false, Some(shown)));
        }
        for field in ["signature", "signature_prefix", "event", "delivery", "attempt"] {
            assert!(!Names::read(&json!({field: "X-Other"})).unwrap().are_own(), "{field}");
        }
        let own = Names::read(&json!({"event": "X-TempClock-Event"})).unwrap();
        assert_eq!((own.are_own(), own.to_json()), (true, None));
    }

    #[test]
    fn every_wrong_name_is_told_with_its_place() {
        let wrong = |value: Value| -> Vec<String> {
            Names::read(&value).unwrap_err().into_iter().map(|error| error.field).collect()
        };
        assert_eq!(wrong(json!([])), ["names"]);
        assert_eq!(wrong(json!({"event": "A B", "signature": 5})), ["names.event", "names.signature"]);
        assert_eq!(
            wrong(json!({"event": "Content-Type", "delivery": "webhook-id"})),
            ["names.delivery", "names.event"]
        );
        assert_eq!(wrong(json!({"event": "Authorization"})), ["names.event"]);
        assert_eq!(wrong(json!({"event": "X-A", "delivery": "x-a"})), ["names"]);
        assert_eq!(wrong(json!({"envelope": {"id": "data"}})), ["names.envelope"]);
        assert_eq!(wrong(json!({"envelope": {"id": "", "ident": "x"}})), ["names.envelope.id", "names.envelope.ident"]);
        assert_eq!(wrong(json!({"signature_prefix": "a b", "sig": "x"})), ["names.sig", "names.signature_prefix"]);
    }
}
