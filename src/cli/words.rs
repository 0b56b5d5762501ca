//! What the words after a flag may be: names that a shell can complete, and how many of something. Whether a name is
//! right is for the API to say, which knows the nearest one.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, Error};

use crate::domain::access::Scope;
use crate::domain::delivery::DeliveryState;
use crate::domain::event_type::EventType;

/// Takes any text, without the spaces around it, and offers these names to shells and in the help.
#[derive(Clone)]
pub struct Names(Vec<&'static str>);

impl Names {
    /// The event types.
    pub fn of_event_types() -> Self {
        Self(EventType::ALL.map(EventType::name).into())
    }

    /// What a delivery can be.
    pub fn of_statuses() -> Self {
        Self(DeliveryState::NAMES.into())
    }

    /// What a key may do.
    pub fn of_scopes() -> Self {
        Self(Scope::ALL.map(Scope::name).into())
    }
}

impl TypedValueParser for Names {
    type Value = String;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<String, Error> {
        let text = StringValueParser::new().parse_ref(command, argument, value)?;
        Ok(text.trim().to_owned())
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

/// How many rows a list may have.
pub fn count(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "a number from 1 on is needed".to_owned())
}
