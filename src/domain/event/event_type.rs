//! The type of an event: one of the seven base types, or another one by its name. Which other ones may be published, and
//! what their data holds, is in the catalogue; a name alone is enough to store, deliver and list. Pure; any thread.

use std::borrow::Cow;
use std::fmt;

use arrayvec::ArrayString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

/// Maximum length of the name of a type.
pub const NAME_CHARS: usize = 64;

/// How a name is written, for schemas.
pub const NAME_PATTERN: &str = r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$";

/// An event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A worker clocked in.
    ClockIn,
    /// A worker clocked out.
    ClockOut,
    /// A worker was added.
    WorkerCreated,
    /// A worker's record was changed.
    WorkerUpdated,
    /// A shift was planned.
    ShiftCreated,
    /// A worker's document ran out.
    DocumentExpired,
    /// A test of the connection.
    Ping,
    /// Another one, which the configuration declares or once declared.
    Other(TypeName),
}

/// The name of a type that is not a base type: words of lower-case letters, digits and `_`, with dots between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeName(ArrayString<NAME_CHARS>);

impl TypeName {
    /// The name, if it is written as one.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        name.split('.').all(is_word).then(|| ArrayString::from(name).ok().map(Self))?
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_word(word: &str) -> bool {
    let may_follow = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    word.starts_with(|first: char| first.is_ascii_lowercase()) && word.bytes().all(may_follow)
}

impl EventType {
    /// The base types, in the order of their numbers.
    pub const BASE: [Self; 7] = [
        Self::ClockIn,
        Self::ClockOut,
        Self::WorkerCreated,
        Self::WorkerUpdated,
        Self::ShiftCreated,
        Self::DocumentExpired,
        Self::Ping,
    ];

    /// Their names, in the same order.
    pub const BASE_NAMES: [&'static str; 7] =
        ["clock_in", "clock_out", "worker_created", "worker_updated", "shift_created", "document_expired", "ping"];

    /// The name in the API and in `X-TempClock-Event`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::ClockIn => "clock_in",
            Self::ClockOut => "clock_out",
            Self::WorkerCreated => "worker_created",
            Self::WorkerUpdated => "worker_updated",
            Self::ShiftCreated => "shift_created",
            Self::DocumentExpired => "document_expired",
            Self::Ping => "ping",
            Self::Other(name) => name.as_str(),
        }
    }

    /// The type of that name, declared or not; none if no type can have it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let base = Self::BASE_NAMES.into_iter().zip(Self::BASE).find(|(known, _)| *known == name);
        base.map(|(_, event_type)| event_type).or_else(|| TypeName::new(name).map(Self::Other))
    }

    /// The base type with that number, as early formats stored it.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::BASE.get(usize::from(number)).copied()
    }

    /// The number of a base type.
    #[must_use]
    pub fn number(&self) -> Option<u8> {
        let place = Self::BASE.iter().position(|base| base == self)?;
        u8::try_from(place).ok()
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl JsonSchema for EventType {
    fn schema_name() -> Cow<'static, str> {
        "EventType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An event type of the catalogue, or one that was declared when its event was published.",
            "type": "string",
            "maxLength": NAME_CHARS,
            "pattern": NAME_PATTERN,
            "examples": Self::BASE_NAMES,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back_to_the_type() {
        for (place, event_type) in EventType::BASE.into_iter().enumerate() {
            assert_eq!(event_type.number().map(usize::from), Some(place));
            assert_eq!(EventType::from_number(event_type.number().unwrap()), Some(event_type));
            assert_eq!(EventType::from_name(event_type.name()), Some(event_type));
        }
        assert_eq!(EventType::from_number(7), None);
        let other = EventType::from_name("clock.geofence_breach").unwrap();
        assert_eq!((other.name(), other.number()), ("clock.geofence_breach", None));
    }

    #[test]
    fn a_name_has_lower_case_words_with_dots_between() {
        let longest = "a".repeat(NAME_CHARS);
        for name in ["a", "timesheet_approved", "clock.x9", "a.b.c", "a__", &longest] {
            assert!(EventType::from_name(name).is_some(), "{name}");
        }
        let too_long = "a".repeat(NAME_CHARS + 1);
        for name in ["", "A", "9a", "_a", "a.", ".a", "a..b", "a.9", "a-b", "a b", "*", "a.*", "\u{e9}", &too_long] {
            assert_eq!(EventType::from_name(name), None, "{name}");
        }
    }
}
