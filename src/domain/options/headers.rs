//! The option `headers`: own headers of a subscription, and which names a header may have. Pure; any thread. It never
//! takes a name or a value that could change the meaning of a request.

use serde_json::{Map, Value};

use crate::domain::FieldError;
use crate::domain::escape::{REPEATED_CHARS, shortened};
use crate::domain::secret_text::SecretText;

/// A header that is sent with every attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnHeader {
    /// Its name, spelled as given.
    pub name: String,
    /// Its value.
    pub value: SecretText,
}

/// The most headers.
pub const HEADERS_MAX: usize = 20;
/// The most bytes of a value.
pub const VALUE_BYTES: usize = 1024;
/// The most characters of a name.
pub const NAME_CHARS: usize = 64;

/// Headers that the server sets itself, or that would change what the request means.
const RESERVED: [&str; 15] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "accept-encoding",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "expect",
    "te",
    "trailer",
    "upgrade",
    "user-agent",
    "date",
    "cookie",
];
const RESERVED_PREFIXES: [&str; 2] = ["proxy-", "webhook-"];

/// What is wrong with the name of a header, if anything is.
#[must_use]
pub fn fault_of_name(name: &str) -> Option<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > NAME_CHARS || !name.bytes().all(is_token) {
        return Some(format!(
            "a header's name has 1 to {NAME_CHARS} letters, digits or hyphens, and no spaces or colons"
        ));
    }
    let is_reserved =
        RESERVED.contains(&lower.as_str()) || RESERVED_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
    is_reserved
        .then(|| format!("the header {name} is set by the server or belongs to the connection; choose another name"))
}

/// Reads the option; `"set"` stands for the value that the header has `before`.
pub fn read(value: &Value, before: &[OwnHeader]) -> Result<Vec<OwnHeader>, Vec<FieldError>> {
    let wrong = |message: &str| vec![FieldError::new("headers", message)];
    let Some(given) = value.as_object() else {
        return Err(wrong("must be an object of names and values such as {\"X-Site\": \"north\"}, or null for none"));
    };
    if given.len() > HEADERS_MAX {
        return Err(wrong(&format!("may have at most {HEADERS_MAX} headers; {} were given", given.len())));
    }
    let mut headers: Vec<OwnHeader> = Vec::with_capacity(given.len());
    let mut errors = Vec::new();
    for (name, value) in given {
        let place = format!("headers.{}", shortened(name, REPEATED_CHARS));
        if let Some(fault) = fault_of_name(name) {
            errors.push(FieldError::new(place, fault));
            continue;
        }
        if name.to_ascii_lowercase().starts_with("x-tempclock-") {
            let message =
                "headers that begin with X-TempClock- belong to the server; use the option names to rename them";
            errors.push(FieldError::new(place, message));
            continue;
        }
        if let Some(other) = headers.iter().find(|other| other.name.eq_ignore_ascii_case(name)) {
            let message = format!("is the same header as {}: header names are case-insensitive", other.name);
            errors.push(FieldError::new(place, message));
            continue;
        }
        match read_value(name, value, before) {
            Ok(value) => headers.push(OwnHeader { name: name.clone(), value }),
            Err(message) => errors.push(FieldError::new(place, message)),
        }
    }
    if errors.is_empty() { Ok(headers) } else { Err(errors) }
}

fn read_value(name: &str, value: &Value, before: &[OwnHeader]) -> Result<SecretText, String> {
    let text = value.as_str().ok_or("must be a string")?;
    if text == SecretText::SHOWN {
        let stored = before.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        let stored = stored.map(|header| header.value.clone());
        return stored.ok_or_else(|| NOTHING_STORED.to_owned());
    }
    if text.len() > VALUE_BYTES {
        return Err(format!("may have at most {VALUE_BYTES} bytes; it has {}", text.len()));
    }
    if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(
            "may only have printable ASCII characters, and no control characters such as a line break".to_owned()
        );
    }
    if text.trim() != text {
        return Err("must not begin or end with a space, because receivers remove it".to_owned());
    }
    Ok(SecretText::new(text))
}

/// The refusal of `"set"` where there is nothing.
pub const NOTHING_STORED: &str = "\"set\" keeps the stored value, but none is stored; send the value itself";

/// The option as JSON, with the values or with what stands for them.
#[must_use]
pub fn to_json(headers: &[OwnHeader], with_secrets: bool) -> Value {
    let value = |header: &OwnHeader| if with_secrets { header.value.expose().into() } else { SecretText::SHOWN.into() };
    headers.iter().map(|header| (header.name.clone(), value(header))).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_reserved_name_is_refused_in_any_case() {
        for name in RESERVED.into_iter().chain(["Proxy-Authorization", "Webhook-Id", "X-TempClock-Event", "Host"]) {
            for name in [name.to_owned(), name.to_ascii_uppercase()] {
                let errors = read(&json!({name.clone(): "x"}), &[]).unwrap_err();
                assert_eq!(errors[0].field, format!("headers.{name}"));
            }
        }
    }

    #[test]
    fn nothing_that_could_end_a_line_becomes_a_header() {
        let values = ["a\r\nB: c", "a\n", "\u{0}", "a\tb", "caf\u{e9}", " a", &"x".repeat(VALUE_BYTES + 1)];
        for value in values {
            assert!(read(&json!({"X-Site": value}), &[]).is_err(), "{value:?}");
        }
        for name in ["", "X Site", "X:Site", "X-Site\r\nB", "Ä", &"x".repeat(NAME_CHARS + 1)] {
            assert!(read(&json!({name: "a"}), &[]).is_err(), "{name:?}");
        }
        assert!(read(&json!({"X-Site": 5}), &[]).is_err());
        assert!(read(&json!({"X-Site": "a", "x-site": "b"}), &[]).is_err());
    }

    #[test]
    fn set_keeps_the_stored_value() {
        let before = read(&json!({"X-Site": "north", "X-Key": "k"}), &[]).unwrap();
        let after = read(&json!({"x-site": "set", "X-New": "n"}), &before).unwrap();
        assert_eq!(to_json(&after, true), json!({"x-site": "north", "X-New": "n"}));
        assert_eq!(to_json(&after, false), json!({"x-site": "set", "X-New": "set"}));
        assert!(read(&json!({"X-Other": "set"}), &before).is_err());
        assert!(!format!("{before:?}").contains("north"));
    }
}
