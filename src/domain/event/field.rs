//! What a field may hold, and what is wrong with another value. Pure; any thread. Values are read from the published
//! text, so that no spelling is lost.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::{Value, json};

use crate::domain::event::number;
use crate::domain::time_text;

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// An integer, or a string of 1 to [`ID_CHARS`] characters.
    Id,
    /// The same, or null, or missing.
    OptionalId,
    /// An integer from 0 on.
    Count,
    /// Text.
    Text,
    /// A list of texts.
    TextList,
    /// RFC 3339 with seconds and an offset.
    Time,
    /// `YYYY-MM-DD`.
    Date,
    /// `HH:MM` or `HH:MM:SS`.
    TimeOfDay,
    /// An integer.
    Integer,
    /// A number.
    Number,
    /// True or false.
    Boolean,
    /// A list of anything.
    Array,
    /// An object.
    Object,
}

/// Maximum length of an id that is a string, in characters.
pub const ID_CHARS: usize = 255;

/// A JSON value as far as the rules tell values apart.
enum Found<'a> {
    Null,
    Boolean,
    Number(&'a str),
    Text(Cow<'a, str>),
    Array,
    Object,
    /// A string with half of a character.
    Broken,
}

impl<'a> Found<'a> {
    /// Reads a JSON text that is known to be valid, but for lone surrogates.
    fn of(raw: &'a str) -> Self {
        match raw.as_bytes().first() {
            Some(b'"') => serde_json::from_str::<Text>(raw).map_or(Self::Broken, |Text(text)| Self::Text(text)),
            Some(b'[') => Self::Array,
            Some(b'{') => Self::Object,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'n') => Self::Null,
            _ => Self::Number(raw),
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Self::Null => "it is null",
            Self::Boolean => "it is a boolean",
            Self::Number(_) => "it is a number",
            Self::Text(_) => "it is a string",
            Self::Array => "it is an array",
            Self::Object => "it is an object",
            Self::Broken => "it has half of a character such as an emoji",
        }
    }
}

/// What a value is, for messages.
#[must_use]
pub fn words(raw: &str) -> &'static str {
    Found::of(raw).words()
}

/// The text of an id: the digits of an integer, or the string. `52`, `52.0` and `"52"` are one id.
pub fn id(raw: &str) -> Result<Cow<'_, str>, String> {
    match Found::of(raw) {
        Found::Number(number) => number::integer(number).ok_or_else(|| "it has a fraction".to_owned()),
        Found::Text(text) if text.is_empty() => Err("it is empty".to_owned()),
        // Bytes are counted faster and are never fewer.
        Found::Text(text) if text.len() <= ID_CHARS => Ok(text),
        Found::Text(text) => match text.chars().count() {
            ..=ID_CHARS => Ok(text),
            count => Err(format!("it has {count} characters")),
        },
        other => Err(other.words().to_owned()),
    }
}

impl FieldKind {
    /// What a declared type may ask for, by name.
    pub const DECLARED: [(&'static str, Self); 10] = [
        ("id", Self::Id),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("string", Self::Text),
        ("boolean", Self::Boolean),
        ("timestamp", Self::Time),
        ("date", Self::Date),
        ("time", Self::TimeOfDay),
        ("array", Self::Array),
        ("object", Self::Object),
    ];

    /// A value that fits.
    #[must_use]
    pub fn example(self) -> Value {
        match self {
            Self::Id | Self::OptionalId | Self::Count | Self::Integer => json!(52),
            Self::Text => json!("text"),
            Self::TextList => json!(["text"]),
            Self::Time => json!("2026-03-02T07:58:12Z"),
            Self::Date => json!("2026-03-02"),
            Self::TimeOfDay => json!("08:00"),
            Self::Number => json!(7.5),
            Self::Boolean => json!(true),
            Self::Array => json!([]),
            Self::Object => json!({}),
        }
    }

    /// Whether the field may be left out.
    #[must_use]
    pub fn is_optional(self) -> bool {
        self == Self::OptionalId
    }

    /// What the field may hold, after "must be".
    #[must_use]
    pub fn wanted(self) -> String {
        match self {
            Self::Id => format!("an integer or a string of 1 to {ID_CHARS} characters"),
            Self::OptionalId => format!("an integer, a string of 1 to {ID_CHARS} characters, or null"),
            Self::Count => "an integer from 0 on".to_owned(),
            Self::Text => "a string".to_owned(),
            Self::TextList => "an array of strings".to_owned(),
            Self::Time => format!("a time such as \"{}\" (RFC 3339)", time_text::EXAMPLE),
            Self::Date => "a date such as \"2026-03-02\"".to_owned(),
            Self::Integer => "an integer".to_owned(),
            Self::Number => "a number".to_owned(),
            Self::Boolean => "true or false".to_owned(),
            Self::Array => "an array".to_owned(),
            Self::Object => "an object".to_owned(),
            Self::TimeOfDay => "a time of day such as \"08:00\" or \"08:00:00\"".to_owned(),
        }
    }

    /// Checks a value; the error is a sentence.
    pub fn check(self, raw: &str) -> Result<(), String> {
        self.fault(raw).map_or(Ok(()), |fault| Err(format!("must be {}; {fault}", self.wanted())))
    }

    /// What is wrong with a value of this field.
    fn fault(self, raw: &str) -> Option<String> {
        match (self, Found::of(raw)) {
            (Self::OptionalId, Found::Null)
            | (Self::Text, Found::Text(_))
            | (Self::Number, Found::Number(_))
            | (Self::Boolean, Found::Boolean)
            | (Self::Array, Found::Array)
            | (Self::Object, Found::Object) => None,
            (Self::Integer, Found::Number(number)) => {
                number::integer(number).is_none().then(|| "it has a fraction".to_owned())
            }
            (Self::Id | Self::OptionalId, _) => id(raw).err(),
            (Self::Count, Found::Number(number)) => match number::integer(number) {
                None => Some("it has a fraction".to_owned()),
                Some(digits) if digits.starts_with('-') => Some("it is negative".to_owned()),
                Some(_) => None,
            },
            (Self::TextList, Found::Array) => {
                let is_of_texts = serde_json::from_str::<Vec<Text>>(raw).is_ok();
                (!is_of_texts).then(|| "not all its entries are strings".to_owned())
            }
            (Self::Time, Found::Text(text)) => time_text::read_ms(&text).err(),
            (Self::Date, Found::Text(text)) => {
                (!time_text::is_date(&text)).then(|| "it has another format, or is not a day".to_owned())
            }
            (Self::TimeOfDay, Found::Text(text)) => {
                (!is_time_of_day(&text)).then(|| "it has another format, or is beyond 23:59:59".to_owned())
            }
            (_, other) => Some(other.words().to_owned()),
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

/// Text that is borrowed where it holds no escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(kind: FieldKind, raw: &str) -> String {
        kind.check(raw).unwrap_err()
    }

    #[test]
    fn an_id_is_an_integer_or_a_text() {
        let longest = format!("\"{}\"", "é".repeat(ID_CHARS));
        for raw in ["52", "-1", "52.0", "18446744073709551616", "\"0022\"", "\"HR-EMP-00001\"", &longest] {
            assert_eq!(FieldKind::Id.check(raw), Ok(()), "{raw}");
            assert_eq!(FieldKind::OptionalId.check(raw), Ok(()), "{raw}");
        }
        assert_eq!(FieldKind::OptionalId.check("null"), Ok(()));
        assert_eq!(id("52.0"), id("\"52\""));
        let wanted = "must be an integer or a string of 1 to 255 characters";
        let too_long = format!("\"{}\"", "a".repeat(ID_CHARS + 1));
        for (raw, fault) in [
            ("null", "it is null"),
            ("1.5", "it has a fraction"),
            ("\"\"", "it is empty"),
            ("true", "it is a boolean"),
            ("[1]", "it is an array"),
            ("{}", "it is an object"),
            (&too_long, "it has 256 characters"),
        ] {
            assert_eq!(wrong(FieldKind::Id, raw), format!("{wanted}; {fault}"));
        }
    }

    #[test]
    fn what_a_value_is_instead_is_said() {
        for (kind, raw, message) in [
            (FieldKind::Count, "-1", "must be an integer from 0 on; it is negative"),
            (FieldKind::Count, "486.6", "must be an integer from 0 on; it has a fraction"),
            (FieldKind::Count, "\"485\"", "must be an integer from 0 on; it is a string"),
            (FieldKind::Text, "null", "must be a string; it is null"),
            (FieldKind::TextList, "[\"a\",1]", "must be an array of strings; not all its entries are strings"),
            (
                FieldKind::Time,
                "1772438280",
                "must be a time such as \"2026-03-02T08:58:00+01:00\" (RFC 3339); it is a number",
            ),
            (
                FieldKind::TimeOfDay,
                "\"8:00\"",
                "must be a time of day such as \"08:00\" or \"08:00:00\"; it has another format, or is beyond 23:59:59",
            ),
        ] {
            assert_eq!(wrong(kind, raw), message);
        }
        for raw in ["485.0", "0", "-0", "-0.0", "1e3"] {
            assert_eq!(FieldKind::Count.check(raw), Ok(()), "{raw}");
        }
    }
}
