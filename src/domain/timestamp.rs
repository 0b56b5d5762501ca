//! Points in time, in the API's precision. Pure; any thread.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::domain::time_text;

/// Milliseconds since 1970-01-01T00:00:00Z. Shown as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// The last millisecond of the year 9999, beyond which RFC 3339 has no text.
const LAST_MS: u64 = 253_402_300_799_999;

impl Timestamp {
    /// From milliseconds since the epoch; clamped to the year 9999.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(if ms < LAST_MS { ms } else { LAST_MS })
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub fn as_ms(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, as `webhook-timestamp` carries them.
    #[must_use]
    pub fn as_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// Adds a duration; saturates.
    #[must_use]
    pub fn plus(self, wait: Duration) -> Self {
        Self::from_ms(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Subtracts a duration; not before 1970.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The duration since `earlier`; zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Parses RFC 3339 with seconds and an offset (`2026-03-02T08:00:00Z`, `…+01:00`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::read(text).ok()
    }

    /// The same; the error says what is wrong.
    pub fn read(text: &str) -> Result<Self, String> {
        time_text::read_ms(text).map(Self::from_ms)
    }
}

/// A span in words, without what is too small to matter beside the rest.
#[must_use]
pub fn span_in_words(span: Duration) -> String {
    const DAY_S: u64 = 24 * 60 * 60;
    match span.as_secs() {
        seconds if seconds >= 2 * DAY_S => format!("{} days", seconds / DAY_S),
        seconds if seconds >= 60 => humantime::format_duration(Duration::from_secs(seconds / 60 * 60)).to_string(),
        seconds => format!("{seconds}s"),
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(ms) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => f.write_str("9999-12-31T23:59:59.999Z"),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "RFC 3339, in UTC, with milliseconds.",
            "type": "string",
            "format": "date-time",
            "examples": ["2026-03-02T09:01:11.488Z"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_shown_in_utc_with_milliseconds() {
        assert_eq!(Timestamp::from_ms(1_772_438_400_007).to_string(), "2026-03-02T08:00:00.007Z");
    }

    #[test]
    fn only_rfc_3339_with_an_offset_is_read() {
        assert_eq!(Timestamp::parse("2026-03-02T09:00:00+01:00"), Timestamp::parse("2026-03-02T08:00:00Z"));
        assert!(Timestamp::parse("2026-03-02T08:00:00.123456Z").is_some());
        for wrong in [
            "2026-03-02 08:00:00Z",
            "2026-03-02T08:00:00",
            "2026-03-02",
            "20260302T080000Z",
            "2026-13-02T08:00:00Z",
            "",
            "2026-03-02T08:00:00.Z",
            "2026-03-02T08:00Z",
        ] {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_span_in_words_is_as_exact_as_its_length_asks_for() {
        let words = |seconds| span_in_words(Duration::from_secs(seconds));
        assert_eq!([words(7), words(187), words(93_784), words(5_270_000)], ["7s", "3m", "1day 2h 3m", "60 days"]);
    }

    #[test]
    fn arithmetic_stops_at_the_ends_instead_of_wrapping() {
        assert_eq!(Timestamp::from_ms(u64::MAX).plus(Duration::MAX).to_string(), "9999-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_ms(1).since(Timestamp::from_ms(5)), Duration::ZERO);
    }
}
