//! Value parsers of options: names that a shell can complete, times, durations and counts. The API validates names and
//! suggests the nearest one.

use std::ffi::OsStr;
use std::time::Duration;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Command, Error};

use crate::domain::Timestamp;
use crate::domain::access::Scope;
use crate::domain::delivery::DeliveryState;
use crate::domain::event::event_type::EventType;

/// Accepts any text, trimmed, and offers these names for completion and in the help.
#[derive(Clone)]
pub struct Names(Vec<&'static str>);

impl Names {
    /// The event types.
    pub fn of_event_types() -> Self {
        Self(EventType::BASE_NAMES.into())
    }

    /// What a delivery can be.
    pub fn of_statuses() -> Self {
        Self(DeliveryState::NAMES.into_iter().chain(["held"]).collect())
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

/// A point in time, as typed.
#[derive(Clone, Debug)]
pub enum Point {
    /// This long ago.
    Ago(Duration),
    /// At that time, in the API's format.
    At(String),
}

impl Point {
    /// In the API's format.
    #[must_use]
    pub fn seen_from(self, now: Timestamp) -> String {
        match self {
            Self::Ago(span) => now.minus(span).to_string(),
            Self::At(time) => time,
        }
    }
}

/// The number of a subscription.
pub fn subscription(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "write the subscription's number, as shown by: tempclock-webhooks subscriptions list".to_owned())
}

/// A point in time; a date is its beginning.
pub fn point(text: &str) -> Result<Point, String> {
    if let Ok(span) = humantime::parse_duration(text) {
        return Ok(Point::Ago(span));
    }
    let midnight = format!("{text}T00:00:00Z");
    let time = [text, &midnight].into_iter().find(|time| Timestamp::parse(time).is_some());
    time.map(|time| Point::At(time.to_owned())).ok_or_else(|| {
        "write a date (2026-03-02), a time (2026-03-02T08:00:00Z), or how long ago it was (30m, 2h, 7d)".to_owned()
    })
}

/// A time as it stands in events.
pub fn time(text: &str) -> Result<String, String> {
    let is_time = Timestamp::parse(text).is_some();
    is_time.then(|| text.to_owned()).ok_or_else(|| "write a time, such as 2026-03-02T08:00:00Z".to_owned())
}

/// Parses a duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a number with its unit, such as 5s, 10m, 12h or 90d".to_owned())
}

/// Parses a key's lifetime.
pub fn lifetime(text: &str) -> Result<Duration, String> {
    duration(text)
        .ok()
        .filter(|lifetime| lifetime.as_secs() > 0)
        .ok_or_else(|| "write a duration such as 12h or 90d; without --expires the key never expires".to_owned())
}

/// Parses the size of a list.
pub fn count(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| "must be an integer from 1 on".to_owned())
}
