//! Validates the `data` of events. Pure; any thread. It never changes the published text, which is delivered byte
//! for byte.

use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::domain::FieldError;
use crate::domain::event::field::{self, FieldKind, Text};
use crate::domain::event::parsed_data::ParsedData;
use crate::domain::json_fault::{JsonFault, explain};

/// Maximum nesting; beyond it, receivers' parsers begin to fail.
pub const MAX_DEPTH: usize = 32;

/// Maximum number of fields of a type that are checked.
pub const FIELDS_MAX: usize = 32;

/// Parses `data` and checks it against the fields of its type, at most [`FIELDS_MAX`]; the errors name every invalid field.
pub fn check<'a, N: AsRef<str>>(fields: &[(N, FieldKind)], data: &'a str) -> Result<ParsedData<'a>, Vec<FieldError>> {
    // That many levels need at least that many brackets.
    let brackets = data.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if brackets > MAX_DEPTH && depth(data) > MAX_DEPTH {
        return Err(vec![FieldError::new("data", format!("must not be nested deeper than {MAX_DEPTH} levels"))]);
    }
    if let Some(JsonFault { place, message }) = unreadable(data) {
        let dot = if place.is_empty() || place.starts_with('[') { "" } else { "." };
        return Err(vec![FieldError::new(format!("data{dot}{place}"), message)]);
    }
    let mut deserializer = serde_json::Deserializer::from_str(data);
    let Ok(found) = deserializer.deserialize_any(ObjectVisitor { fields }) else {
        return Err(vec![FieldError::new("data", format!("must be an object; {}", field::words(data)))]);
    };
    let mut errors = found.errors;
    for (index, (name, kind)) in fields.iter().enumerate() {
        if found.seen & (1 << index) == 0 && !kind.is_optional() {
            let name = name.as_ref();
            errors.push(FieldError::new(format!("data.{name}"), format!("is missing; must be {}", kind.wanted())));
        }
    }
    if errors.is_empty() { Ok(found.data) } else { Err(errors) }
}

/// What receivers could not read although it has the form of JSON: lone surrogates and numbers beyond a double. They are
/// not noticed when a value is skipped, so text that may have them, which is rare, is parsed in full once.
#[must_use]
pub fn unreadable(text: &str) -> Option<JsonFault> {
    let is_suspect = text.contains("\\u") || may_exceed_a_double(text);
    let error = is_suspect.then(|| serde_json::from_str::<serde_json::Value>(text).err())?;
    error.map(|error| explain(text, &error))
}

/// Whether a number could exceed the range of a double: it has an exponent or very many digits.
fn may_exceed_a_double(text: &str) -> bool {
    const DIGITS: usize = 308;
    let is_exponent = |pair: &[u8]| matches!(pair, [b'0'..=b'9', b'e' | b'E']);
    let has_long_run = || text.split(|char: char| !char.is_ascii_digit()).any(|digits| digits.len() > DIGITS);
    text.as_bytes().windows(2).any(is_exponent) || (text.len() > DIGITS && has_long_run())
}

fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

struct ObjectVisitor<'a, N> {
    fields: &'a [(N, FieldKind)],
}

struct CheckedFields<'a> {
    data: ParsedData<'a>,
    seen: u32,
    errors: Vec<FieldError>,
}

impl<'de, N: AsRef<str>> Visitor<'de> for ObjectVisitor<'_, N> {
    type Value = CheckedFields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CheckedFields<'de>, A::Error> {
        let mut found = CheckedFields { data: ParsedData::default(), seen: 0, errors: Vec::new() };
        while let Some(Text(key)) = map.next_key()? {
            let value: &RawValue = map.next_value()?;
            let mut fields = self.fields.iter().map(|(name, kind)| (name.as_ref(), kind)).enumerate();
            if let Some((index, (name, kind))) = fields.find(|(_, (name, _))| *name == key) {
                if found.seen & (1 << index) != 0 {
                    found.errors.push(FieldError::new(format!("data.{name}"), "is given twice"));
                } else if let Err(message) = kind.check(value.get()) {
                    found.errors.push(FieldError::new(format!("data.{name}"), message));
                }
                found.seen |= 1 << index;
            }
            found.data.put(key, value);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::event_type::EventType;

    fn check(event_type: EventType, data: &str) -> Result<ParsedData<'_>, Vec<FieldError>> {
        super::check(event_type.fields(), data)
    }

    fn wrong_fields(event_type: EventType, data: &str) -> Vec<String> {
        check(event_type, data).unwrap_err().into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn every_missing_field_is_named_at_once() {
        for event_type in EventType::BASE {
            let required = event_type.fields().iter().filter(|(_, kind)| !kind.is_optional());
            assert_eq!(wrong_fields(event_type, "{}").len(), required.count());
        }
    }

    #[test]
    fn types_are_checked_and_further_fields_let_through() {
        let data = r#"{"worker_id":5.5,"worker_name":7,"changed_fields":["a",1],"more":{"x":[1.50]}}"#;
        assert_eq!(
            wrong_fields(EventType::WorkerUpdated, data),
            ["data.worker_id", "data.worker_name", "data.changed_fields"]
        );
        assert_eq!(
            wrong_fields(EventType::WorkerCreated, r#"{"worker_id":null,"worker_name":"a"}"#),
            ["data.worker_id"]
        );
        assert_eq!(
            wrong_fields(EventType::WorkerCreated, r#"{"worker_id":1,"worker_id":2,"worker_name":"a"}"#),
            ["data.worker_id"]
        );
        assert!(check(EventType::WorkerCreated, r#"{"worker_id":-1,"worker_name":"a","\u0061":1e999}"#).is_err());
    }

    #[test]
    fn a_number_that_no_double_can_hold_is_refused_and_a_long_one_is_not() {
        let data = |number: &str| format!(r#"{{"worker_id":1,"worker_name":"a","more":{number}}}"#);
        for number in ["1e999", "-1E400", &"9".repeat(400)] {
            assert_eq!(wrong_fields(EventType::WorkerCreated, &data(number)), ["data.more"], "{number}");
        }
        for number in ["1e99", "1.50", "-0.0e-400", &"9".repeat(300), "123456789012345678901234567890"] {
            assert!(check(EventType::WorkerCreated, &data(number)).is_ok(), "{number}");
        }
    }

    #[test]
    fn a_location_may_be_null_or_missing_and_ids_are_texts_or_integers() {
        let shift = |location: &str| {
            format!(
                r#"{{"shift_id":"81a2","worker_id":52.0,{location}"shift_date":"2026-02-28","start_time":"08:00","end_time":"16:00"}}"#
            )
        };
        for location in ["", r#""location_id":null,"#, r#""location_id":"Hall 3","#, r#""location_id":3,"#] {
            assert!(check(EventType::ShiftCreated, &shift(location)).is_ok(), "{location}");
        }
        for location in [r#""location_id":"","#, r#""location_id":[],"#, r#""location_id":null,"location_id":3,"#] {
            assert_eq!(wrong_fields(EventType::ShiftCreated, &shift(location)), ["data.location_id"], "{location}");
        }
    }

    #[test]
    fn dates_and_times_are_strict() {
        let shift = |date: &str, start: &str| {
            format!(
                r#"{{"shift_id":1,"worker_id":1,"location_id":1,"shift_date":"{date}","start_time":"{start}","end_time":"08:00:00"}}"#
            )
        };
        assert!(check(EventType::ShiftCreated, &shift("2026-02-28", "23:59")).is_ok());
        assert_eq!(
            wrong_fields(EventType::ShiftCreated, &shift("2026-02-30", "24:00")),
            ["data.shift_date", "data.start_time"]
        );
        assert_eq!(
            wrong_fields(EventType::ShiftCreated, &shift("20260228", "8:00")),
            ["data.shift_date", "data.start_time"]
        );
    }

    #[test]
    fn what_is_no_object_or_too_deep_or_no_text_is_refused() {
        for data in ["[]", "null", "1", "\"x\""] {
            assert_eq!(wrong_fields(EventType::Ping, data), ["data"]);
        }
        let deep =
            format!(r#"{{"message":"a","webhook_id":1,"x":{}{}}}"#, "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert_eq!(wrong_fields(EventType::Ping, &deep), ["data"]);
        assert_eq!(wrong_fields(EventType::Ping, r#"{"message":"a","webhook_id":1,"x":["\ud800"]}"#), ["data.x[0]"]);
    }
}
