//! The seven event types and sets of them. Pure; any thread.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::domain::escape::{REPEATED_CHARS, shortened};
use crate::domain::field_error::nearest;

/// An event type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventType {
    /// A worker clocked in.
    ClockIn = 0,
    /// A worker clocked out.
    ClockOut = 1,
    /// A worker was added.
    WorkerCreated = 2,
    /// A worker's record was changed.
    WorkerUpdated = 3,
    /// A shift was planned.
    ShiftCreated = 4,
    /// A worker's document ran out.
    DocumentExpired = 5,
    /// A test of the connection.
    Ping = 6,
}

impl EventType {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::ClockIn,
        Self::ClockOut,
        Self::WorkerCreated,
        Self::WorkerUpdated,
        Self::ShiftCreated,
        Self::DocumentExpired,
        Self::Ping,
    ];

    /// The name in the API and in `X-TempClock-Event`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClockIn => "clock_in",
            Self::ClockOut => "clock_out",
            Self::WorkerCreated => "worker_created",
            Self::WorkerUpdated => "worker_updated",
            Self::ShiftCreated => "shift_created",
            Self::DocumentExpired => "document_expired",
            Self::Ping => "ping",
        }
    }

    /// One sentence for the catalogue.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            Self::ClockIn => "A worker clocked in at a location.",
            Self::ClockOut => "A worker clocked out; the minutes worked are counted.",
            Self::WorkerCreated => "A worker was added.",
            Self::WorkerUpdated => "A worker's record was changed.",
            Self::ShiftCreated => "A shift was planned for a worker.",
            Self::DocumentExpired => "A worker's document has run out.",
            Self::Ping => "A test of the connection, sent by the server on request.",
        }
    }

    /// Parses a name; the error is a sentence with the nearest name.
    pub fn parse(name: &str) -> Result<Self, String> {
        Self::from_name(name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            // A near name may be another one than was meant, so all are told.
            let hint = nearest(name, &names).map_or(String::new(), |near| format!("did you mean \"{near}\"? "));
            let name = shortened(name, REPEATED_CHARS);
            format!("unknown event type \"{name}\"; {hint}known are: {}", names.join(", "))
        })
    }

    /// The type of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|candidate| candidate.name() == name)
    }

    /// The type with that number, as stored.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The number, as stored.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl JsonSchema for EventType {
    fn schema_name() -> Cow<'static, str> {
        "EventType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": Self::ALL.map(Self::name)})
    }
}

/// A set of event types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTypes(u8);

const EVERY_BASE_TYPE: u8 = 0x80;

impl EventTypes {
    /// Parses a list of names; `*` stands for the seven base types. Each error is the index and a sentence.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, Vec<(usize, String)>> {
        let mut set = 0;
        let mut errors = Vec::new();
        for (index, name) in names.into_iter().enumerate() {
            if name == "*" {
                set |= EVERY_BASE_TYPE;
                continue;
            }
            match EventType::parse(name) {
                Ok(event_type) => set |= 1 << event_type.number(),
                Err(message) => errors.push((index, message)),
            }
        }
        if errors.is_empty() { Ok(Self(set)) } else { Err(errors) }
    }

    /// Restores the result of [`EventTypes::as_bits`].
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// For the store: one bit a type, the highest for `*`.
    #[must_use]
    pub fn as_bits(self) -> u8 {
        self.0
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the set contains the type.
    #[must_use]
    pub fn contains(self, event_type: EventType) -> bool {
        self.0 & (EVERY_BASE_TYPE | 1 << event_type.number()) != 0
    }

    /// The types that are in this set and not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Vec<EventType> {
        EventType::ALL.into_iter().filter(|of| self.contains(*of) && !other.contains(*of)).collect()
    }

    /// The names, as a subscription shows them.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        if self.0 & EVERY_BASE_TYPE != 0 {
            return vec!["*"];
        }
        EventType::ALL.into_iter().filter(|event_type| self.contains(*event_type)).map(EventType::name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_takes_every_type() {
        let all = EventTypes::parse(["*", "ping"]).unwrap();
        assert!(EventType::ALL.into_iter().all(|event_type| all.contains(event_type)));
        assert_eq!(all.names(), ["*"]);
    }

    #[test]
    fn a_wrong_name_is_answered_with_its_place_and_the_nearest_one() {
        let errors = EventTypes::parse(["clock_in", "clockout"]).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0].0, 1);
        assert!(errors[0].1.contains("clock_out"), "{}", errors[0].1);
    }

    #[test]
    fn numbers_and_names_lead_back_to_the_type() {
        for event_type in EventType::ALL {
            assert_eq!(EventType::from_number(event_type.number()), Some(event_type));
            assert_eq!(EventType::parse(event_type.name()), Ok(event_type));
        }
        assert_eq!(EventType::from_number(7), None);
    }
}
