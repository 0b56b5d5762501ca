//! Validates each event type's `data`. Pure; any thread. It never changes the published text, which is delivered byte
//! for byte.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::domain::event::event_type::EventType;
use crate::domain::{FieldError, Timestamp};

/// The type of a required field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A whole number.
    Integer,
    /// A whole number from 0 on.
    Count,
    /// Text.
    Text,
    /// A list of texts.
    TextList,
    /// RFC 3339 with an offset.
    Time,
    /// `YYYY-MM-DD`.
    Date,
    /// `HH:MM` or `HH:MM:SS`.
    TimeOfDay,
}

impl FieldKind {
    fn wanted(self) -> &'static str {
        match self {
            Self::Integer => "an integer",
            Self::Count => "an integer from 0 on",
            Self::Text => "a string",
            Self::TextList => "an array of strings",
            Self::Time => "a time such as \"2026-03-02T08:00:00Z\"",
            Self::Date => "a date such as \"2026-03-02\"",
            Self::TimeOfDay => "a time of day such as \"08:00\" or \"08:00:00\"",
        }
    }
}

impl EventType {
    /// The required fields of `data`; others are allowed.
    #[must_use]
    pub fn required_fields(self) -> &'static [(&'static str, FieldKind)] {
        use FieldKind::{Count, Date, Integer, Text, TextList, Time, TimeOfDay};
        match self {
            Self::ClockIn => &[
                ("entry_id", Integer),
                ("worker_id", Integer),
                ("worker_name", Text),
                ("clock_in", Time),
                ("location_id", Integer),
            ],
            Self::ClockOut => &[
                ("entry_id", Integer),
                ("worker_id", Integer),
                ("worker_name", Text),
                ("clock_in", Time),
                ("clock_out", Time),
                ("total_minutes", Count),
                ("location_id", Integer),
            ],
            Self::WorkerCreated => &[("worker_id", Integer), ("worker_name", Text)],
            Self::WorkerUpdated => &[("worker_id", Integer), ("worker_name", Text), ("changed_fields", TextList)],
            Self::ShiftCreated => &[
                ("shift_id", Integer),
                ("worker_id", Integer),
                ("location_id", Integer),
                ("shift_date", Date),
                ("start_time", TimeOfDay),
                ("end_time", TimeOfDay),
            ],
            Self::DocumentExpired => &[
                ("document_id", Integer),
                ("worker_id", Integer),
                ("worker_name", Text),
                ("document_type", Text),
                ("expired_on", Date),
            ],
            Self::Ping => &[("message", Text), ("webhook_id", Integer)],
        }
    }
}

/// Maximum nesting; beyond it, receivers' parsers begin to fail.
pub const MAX_DEPTH: usize = 32;

/// Checks `data` against its type; the errors name every invalid field.
pub fn check(event_type: EventType, data: &str) -> Result<(), Vec<FieldError>> {
    // That many levels need at least that many brackets.
    let brackets = data.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if brackets > MAX_DEPTH && depth(data) > MAX_DEPTH {
        return Err(vec![FieldError::new("data", format!("must not be nested deeper than {MAX_DEPTH} levels"))]);
    }
    // Lone surrogates and numbers beyond a double are not noticed when a value is skipped, so data that may have them,
    // which is rare, is parsed in full once.
    let is_odd = data.contains("\\u") || may_exceed_a_double(data);
    if is_odd && serde_json::from_str::<serde_json::Value>(data).is_err() {
        let text = "holds an escape that is not a character, or a number that is too large";
        return Err(vec![FieldError::new("data", text)]);
    }
    let fields = event_type.required_fields();
    let mut deserializer = serde_json::Deserializer::from_str(data);
    let Ok(found) = deserializer.deserialize_any(ObjectVisitor { fields }) else {
        return Err(vec![FieldError::new("data", "must be an object")]);
    };
    let mut errors = found.errors;
    for (index, (name, kind)) in fields.iter().enumerate() {
        if found.seen & (1 << index) == 0 {
            errors.push(FieldError::new(format!("data.{name}"), format!("is missing; must be {}", kind.wanted())));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
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

struct ObjectVisitor {
    fields: &'static [(&'static str, FieldKind)],
}

struct CheckedFields {
    seen: u32,
    errors: Vec<FieldError>,
}

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = CheckedFields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CheckedFields, A::Error> {
        let mut found = CheckedFields { seen: 0, errors: Vec::new() };
        while let Some(Text(key)) = map.next_key()? {
            let Some(index) = self.fields.iter().position(|(name, _)| *name == key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let value: Shape = map.next_value()?;
            let Some((name, kind)) = self.fields.get(index) else { continue };
            if found.seen & (1 << index) != 0 {
                found.errors.push(FieldError::new(format!("data.{name}"), "is given twice"));
            } else if !value.is(*kind) {
                found.errors.push(FieldError::new(format!("data.{name}"), format!("must be {}", kind.wanted())));
            }
            found.seen |= 1 << index;
        }
        Ok(found)
    }
}

/// Text that is borrowed where it holds no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// The part of a value that the rules need.
enum Shape<'a> {
    Integer { is_negative: bool },
    Text(Cow<'a, str>),
    TextList,
    Other,
}

impl Shape<'_> {
    fn is(&self, kind: FieldKind) -> bool {
        match (kind, self) {
            (FieldKind::Integer, Self::Integer { .. })
            | (FieldKind::Text, Self::Text(_))
            | (FieldKind::TextList, Self::TextList) => true,
            (FieldKind::Count, Self::Integer { is_negative }) => !is_negative,
            (FieldKind::Time, Self::Text(text)) => Timestamp::parse(text).is_some(),
            (FieldKind::Date, Self::Text(text)) => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
            (FieldKind::TimeOfDay, Self::Text(text)) => is_time_of_day(text),
            _ => false,
        }
    }
}

fn is_time_of_day(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let limits = [23_u8, 59, 59];
    (2..=3).contains(&parts.len())
        && parts.iter().zip(limits).all(|(part, limit)| {
            part.len() == 2
                && part.bytes().all(|byte| byte.is_ascii_digit())
                && part.parse::<u8>().is_ok_and(|number| number <= limit)
        })
}

impl<'de> Deserialize<'de> for Shape<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;
        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Shape<'de>, E> {
                Ok(Shape::Other)
            }
            fn visit_i64<E>(self, number: i64) -> Result<Shape<'de>, E> {
                Ok(Shape::Integer { is_negative: number < 0 })
            }
            fn visit_u64<E>(self, _: u64) -> Result<Shape<'de>, E> {
                Ok(Shape::Integer { is_negative: false })
            }
            fn visit_f64<E>(self, _: f64) -> Result<Shape<'de>, E> {
                Ok(Shape::Other)
            }
            fn visit_unit<E>(self) -> Result<Shape<'de>, E> {
                Ok(Shape::Other)
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Shape<'de>, E> {
                Ok(Shape::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Shape<'de>, E> {
                Ok(Shape::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape<'de>, A::Error> {
                let mut are_texts = true;
                while let Some(item) = items.next_element::<Shape>()? {
                    are_texts &= matches!(item, Shape::Text(_));
                }
                Ok(if are_texts { Shape::TextList } else { Shape::Other })
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape<'de>, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Shape::Other)
            }
        }
        deserializer.deserialize_any(ShapeVisitor)
    }
}

/// A valid `data` of each type, for the catalogue, the demo and tests.
#[must_use]
pub fn example(event_type: EventType) -> &'static str {
    match event_type {
        EventType::ClockIn => {
            r#"{"entry_id":4711,"worker_id":52,"worker_name":"Ana Kowalska","clock_in":"2026-03-02T07:58:12Z","location_id":3}"#
        }
        EventType::ClockOut => {
            r#"{"entry_id":4711,"worker_id":52,"worker_name":"Ana Kowalska","clock_in":"2026-03-02T07:58:12Z","clock_out":"2026-03-02T16:03:40Z","total_minutes":485,"location_id":3}"#
        }
        EventType::WorkerCreated => r#"{"worker_id":53,"worker_name":"Jonas Petraitis"}"#,
        EventType::WorkerUpdated => {
            r#"{"worker_id":53,"worker_name":"Jonas Petraitis","changed_fields":["phone","hourly_rate"]}"#
        }
        EventType::ShiftCreated => {
            r#"{"shift_id":900,"worker_id":53,"location_id":3,"shift_date":"2026-03-03","start_time":"08:00","end_time":"16:30"}"#
        }
        EventType::DocumentExpired => {
            r#"{"document_id":77,"worker_id":52,"worker_name":"Ana Kowalska","document_type":"forklift_licence","expired_on":"2026-03-01"}"#
        }
        EventType::Ping => r#"{"message":"Hello from tempclock-webhooks","webhook_id":1}"#,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_fields(event_type: EventType, data: &str) -> Vec<String> {
        check(event_type, data).unwrap_err().into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn every_example_fits_its_type() {
        for event_type in EventType::ALL {
            assert_eq!(check(event_type, example(event_type)), Ok(()), "{event_type}");
        }
    }

    #[test]
    fn every_missing_field_is_named_at_once() {
        for event_type in EventType::ALL {
            assert_eq!(wrong_fields(event_type, "{}").len(), event_type.required_fields().len());
        }
    }

    #[test]
    fn types_are_checked_and_further_fields_let_through() {
        let data = r#"{"worker_id":"5","worker_name":7,"changed_fields":["a",1],"more":{"x":[1.50]}}"#;
        assert_eq!(
            wrong_fields(EventType::WorkerUpdated, data),
            ["data.worker_id", "data.worker_name", "data.changed_fields"]
        );
        assert_eq!(
            wrong_fields(EventType::WorkerCreated, r#"{"worker_id":1.0,"worker_name":"a"}"#),
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
            assert_eq!(wrong_fields(EventType::WorkerCreated, &data(number)), ["data"], "{number}");
        }
        for number in ["1e99", "1.50", "-0.0e-400", &"9".repeat(300), "123456789012345678901234567890"] {
            assert_eq!(check(EventType::WorkerCreated, &data(number)), Ok(()), "{number}");
        }
    }

    #[test]
    fn dates_and_times_are_strict() {
        let shift = |date: &str, start: &str| {
            format!(
                r#"{{"shift_id":1,"worker_id":1,"location_id":1,"shift_date":"{date}","start_time":"{start}","end_time":"08:00:00"}}"#
            )
        };
        assert_eq!(check(EventType::ShiftCreated, &shift("2026-02-28", "23:59")), Ok(()));
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
        assert_eq!(wrong_fields(EventType::Ping, r#"{"message":"a","webhook_id":1,"x":"\ud800"}"#), ["data"]);
    }
}
