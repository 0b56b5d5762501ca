//! A duration as somebody wrote it. Pure; any thread.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value;

/// A duration, shown again as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    text: Box<str>,
    /// Its length.
    pub length: Duration,
}

impl Span {
    /// Reads one within the range; the error is a sentence.
    pub fn read(value: &Value, range: &RangeInclusive<Duration>) -> Result<Self, String> {
        let (shortest, longest) = (in_words(*range.start()), in_words(*range.end()));
        let wanted = || format!("must be a duration from {shortest} to {longest}, such as \"30s\", \"5m\" or \"2h\"");
        let text = value.as_str().ok_or_else(wanted)?.trim();
        // Months and years are not all of one length, and `1M` is usually a mistake for one minute.
        let has_month = text
            .split(|c: char| !c.is_ascii_alphabetic())
            .any(|unit| matches!(unit, "M" | "month" | "months" | "y" | "yr" | "yrs" | "year" | "years"));
        let length = humantime::parse_duration(text).ok().filter(|length| !has_month && range.contains(length));
        length.map(|length| Self { text: text.into(), length }).ok_or_else(wanted)
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// A duration in its largest whole unit.
#[must_use]
pub fn in_words(length: Duration) -> String {
    const UNITS: [(&str, u128); 4] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    let milliseconds = length.as_millis();
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    let whole = UNITS.into_iter().find(|(_, unit)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit));
    whole.map_or_else(|| format!("{milliseconds}ms"), |(name, unit)| format!("{}{name}", milliseconds / unit))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_duration_is_shown_as_it_was_written_and_kept_to_its_range() {
        let range = Duration::from_secs(1)..=Duration::from_hours(1);
        for (text, seconds) in [("1s", 1), ("90s", 90), ("1m 30s", 90), ("1h", 3600)] {
            let span = Span::read(&json!(text), &range).unwrap();
            assert_eq!((span.as_str(), span.length), (text, Duration::from_secs(seconds)));
        }
        assert_eq!((in_words(Duration::from_mins(90)), in_words(Duration::ZERO)), ("90m".to_owned(), "0s".to_owned()));
        for wrong in [json!("999ms"), json!("61m"), json!(30), json!("30"), json!("1M"), json!(null), json!("-1s")] {
            let error = Span::read(&wrong, &range).unwrap_err();
            assert!(error.contains("from 1s to 1h"), "{error}");
        }
    }
}
