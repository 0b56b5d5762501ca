//! Parses a value, or returns a sentence that says what to write instead.
//!
//! Runs at start-up, on the main thread only. It must never substitute a value, clamp one silently, or repeat a path in
//! an error.
//!
//! The sentences begin right after the name of the key: `= 0 is out of range; …`.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use url::Url;

/// The key of the tables that declare event types.
pub(super) const EVENT_TYPE: &str = "event_type";
/// The key of the tables that declare client certificates.
pub(super) const CLIENT_CERTIFICATE: &str = "delivery.client_certificate";

/// Maximum length of a value in an error.
const SHOWN_CHARACTERS: usize = 60;

/// A raw value, before it is parsed as a type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Whole(i128),
    Truth(bool),
    List(Vec<Raw>),
    Table(Vec<Field>),
    /// A kind that no key accepts, described for an error.
    Other(&'static str),
}

/// A key of a table with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) raw: Raw,
}

/// As TOML, which is also how effective values are shown.
impl fmt::Display for Raw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(formatter, "{}", toml::Value::String(text.clone())),
            Self::Whole(number) => write!(formatter, "{number}"),
            Self::Truth(truth) => write!(formatter, "{truth}"),
            Self::List(entries) => {
                let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
                write!(formatter, "[{}]", entries.join(", "))
            }
            Self::Table(fields) => {
                let one = |field: &Field| format!("{} = {}", key(&field.name), field.raw);
                write!(formatter, "{{ {} }}", fields.iter().map(one).collect::<Vec<_>>().join(", "))
            }
            Self::Other(kind) => formatter.write_str(kind),
        }
    }
}

/// A key as TOML: in quotes where it needs them.
fn key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(is_bare) { name.to_owned() } else { toml::Value::from(name).to_string() }
}

fn wrong(raw: &Raw, what: &str, hint: &str) -> String {
    match raw {
        Raw::Text(text) => format!("= {} is not {what}; {hint}", quoted(text)),
        Raw::Whole(_) | Raw::Truth(_) => format!("= {raw} is not {what}; {hint}"),
        Raw::List(_) => format!("is a list, not {what}; {hint}"),
        Raw::Table(_) => format!("is a table, not {what}; {hint}"),
        Raw::Other(_) => format!("is {raw}, not {what}; {hint}"),
    }
}

fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(SHOWN_CHARACTERS).collect();
    let cut = if shown.len() < text.len() { "…" } else { "" };
    format!("{:?}", shown + cut)
}

fn out_of_range(shown: &str, least: &str, most: &str) -> String {
    format!("= {shown} is out of range; allowed is {least} to {most}")
}

/// A whole number within `range`.
pub(super) fn count<N>(raw: &Raw, range: &RangeInclusive<N>) -> Result<N, String>
where
    N: TryFrom<i128> + PartialOrd + fmt::Display,
{
    let Raw::Whole(number) = raw else {
        let hint = format!("write one from {} to {} without quotes", range.start(), range.end());
        return Err(wrong(raw, "a whole number", &hint));
    };
    let fitting = N::try_from(*number).ok().filter(|n| range.contains(n));
    fitting.ok_or_else(|| out_of_range(&number.to_string(), &range.start().to_string(), &range.end().to_string()))
}

/// Any text.
pub(super) fn plain_text(raw: &Raw) -> Result<String, String> {
    match raw {
        Raw::Text(text) => Ok(text.clone()),
        _ => Err(wrong(raw, "a text", "write it in quotes")),
    }
}

/// `true` or `false`.
pub(super) fn truth(raw: &Raw) -> Result<bool, String> {
    match raw {
        Raw::Truth(truth) => Ok(*truth),
        _ => Err(wrong(raw, "true or false", "write one of them, without quotes")),
    }
}

/// A duration within `range`.
pub(super) fn duration(raw: &Raw, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    const HINT: &str = r#"write for example "30s", "5m", "2h", "5d""#;
    let Raw::Text(text) = raw else {
        return Err(wrong(raw, "a duration", HINT));
    };
    if let Some(unit) = calendar_unit(text) {
        let shown = quoted(text);
        return Err(format!("= {shown} uses {unit}, whose length varies; {HINT}"));
    }
    let duration = humantime::parse_duration(text).map_err(|_| wrong(raw, "a duration", HINT))?;
    if range.contains(&duration) {
        return Ok(duration);
    }
    Err(out_of_range(&quoted(text), &duration_text(*range.start()), &duration_text(*range.end())))
}

/// Months and years would be averages, and `1M` is usually a mistake for one minute.
fn calendar_unit(text: &str) -> Option<&'static str> {
    let mut words = text.split(|character: char| !character.is_ascii_alphabetic());
    words.find_map(|word| match word {
        "M" | "month" | "months" => Some("months"),
        "y" | "yr" | "yrs" | "year" | "years" => Some("years"),
        _ => None,
    })
}

/// The shortest exact spelling with one unit.
fn duration_text(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if milliseconds >= length && milliseconds.is_multiple_of(length) {
            return format!("{}{unit}", milliseconds / length);
        }
    }
    if milliseconds == 0 {
        return "0s".to_owned();
    }
    format!("{milliseconds}ms")
}

/// A number of bytes within `range`, which must end far below `u64::MAX`: the parser returns that for every overflow,
/// and the range rejects it.
pub(super) fn size(raw: &Raw, range: &RangeInclusive<u64>) -> Result<u64, String> {
    const HINT: &str = r#"write for example "64KiB", "256KB", "1GiB""#;
    let (bytes, shown) = match raw {
        Raw::Whole(number) => {
            let bytes = u64::try_from(*number).map_err(|_| wrong(raw, "a size", HINT))?;
            (bytes, number.to_string())
        }
        Raw::Text(text) => {
            let size: ByteSize = text.parse().map_err(|_| wrong(raw, "a size", HINT))?;
            (size.as_u64(), quoted(text))
        }
        _ => return Err(wrong(raw, "a size", HINT)),
    };
    if range.contains(&bytes) {
        return Ok(bytes);
    }
    Err(out_of_range(&shown, &size_text(*range.start()), &size_text(*range.end())))
}

fn size_text(bytes: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes >> shift > 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// An IP address with a port.
pub(super) fn address(raw: &Raw) -> Result<SocketAddr, String> {
    const HINT: &str = r#"write for example "127.0.0.1:8080" or "[::1]:8080""#;
    let Raw::Text(text) = raw else {
        return Err(wrong(raw, "an address with a port", HINT));
    };
    text.parse().map_err(|_| wrong(raw, "an IP address with a port", HINT))
}

/// An IP address with a port, or nothing when the text is empty.
pub(super) fn optional_address(raw: &Raw) -> Result<Option<SocketAddr>, String> {
    match raw {
        Raw::Text(text) if text.is_empty() => Ok(None),
        _ => address(raw).map(Some),
    }
}

/// The URL of a server without a path, or nothing when the text is empty.
pub(super) fn optional_origin(raw: &Raw) -> Result<Option<Url>, String> {
    const HINT: &str = r#"write for example "https://clock.example.com""#;
    let Raw::Text(text) = raw else {
        return Err(wrong(raw, "the URL of a server", HINT));
    };
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(text).map_err(|_| wrong(raw, "the URL of a server", HINT))?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let is_server = matches!(url.scheme(), "http" | "https") && url.host().is_some();
    if is_bare && is_server && url.username().is_empty() && url.password().is_none() {
        return Ok(Some(url));
    }
    Err(wrong(raw, "http or https and a host, with nothing after it", HINT))
}

/// A path, or nothing when the text is empty.
pub(super) fn optional_path(raw: &Raw) -> Result<Option<PathBuf>, String> {
    let Raw::Text(text) = raw else {
        return Err("is not a path; write one in quotes".to_owned());
    };
    // The content of a key file pasted instead of its name looks like this.
    if text.contains(char::is_control) {
        return Err("is not a path; it has a line break or control character in it".to_owned());
    }
    if text.is_empty() {
        return Ok(None);
    }
    if text.trim().is_empty() {
        return Err("is not a path; it is only spaces".to_owned());
    }
    Ok(Some(PathBuf::from(text)))
}

/// A path that cannot be left out.
pub(super) fn path(raw: &Raw) -> Result<PathBuf, String> {
    optional_path(raw)?.ok_or_else(|| "is empty; write a path".to_owned())
}

/// The name of a PostgreSQL schema that needs no quotes, so that it is the same in every tool.
pub(super) fn schema(raw: &Raw) -> Result<String, String> {
    let hint = "use up to 63 of a-z, 0-9 and _, not beginning with a digit or pg_";
    let Raw::Text(text) = raw else { return Err(wrong(raw, "a name", hint)) };
    let is_word = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    let begins_well = text.bytes().next().is_some_and(|first| !first.is_ascii_digit()) && !text.starts_with("pg_");
    if begins_well && text.len() <= 63 && is_word(text) {
        return Ok(text.clone());
    }
    Err(wrong(raw, "a name of a schema", hint))
}

/// A log filter in `env_logger` syntax, checked strictly: `env_logger` would take a misspelt level for a module name
/// and silence everything else. One of a few words.
pub(super) fn one_of<T: Copy>(raw: &Raw, words: &[(&str, T)]) -> Result<T, String> {
    let found = match raw {
        Raw::Text(text) => words.iter().find(|(word, _)| word == text),
        _ => None,
    };
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        wrong(raw, "a known word", &format!("write {}", known.join(" or ")))
    })
}

pub(super) fn log_filter(raw: &Raw) -> Result<String, String> {
    const HINT: &str = r#"write for example "info" or "info,tempclock_webhooks::delivery=debug""#;
    let Raw::Text(text) = raw else {
        return Err(wrong(raw, "a log filter", HINT));
    };
    let understood = text.split(',').all(|directive| {
        let (module, level) = match directive.trim().split_once('=') {
            Some((module, level)) => (Some(module), level),
            None => (None, directive.trim()),
        };
        module.is_none_or(is_module) && level.parse::<log::LevelFilter>().is_ok()
    });
    if understood {
        return Ok(text.clone());
    }
    Err(wrong(raw, "a log filter", HINT))
}

fn is_module(text: &str) -> bool {
    let fits = |character: char| character.is_ascii_alphanumeric() || "_-:".contains(character);
    !text.is_empty() && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        let all = Duration::ZERO..=Duration::MAX;
        for (written, seconds) in [("0", 0), ("30s", 30), ("1m 30s", 90), ("5d", 432_000)] {
            let read = duration(&text(written), &all).unwrap();
            assert_eq!(read, Duration::from_secs(seconds), "{written}");
        }
        for written in ["1M", "1y", "2 months", "1h 3years", "30", "", "-5s", "s"] {
            assert!(duration(&text(written), &all).is_err(), "{written}");
        }
    }

    #[test]
    fn sizes_never_saturate_into_range() {
        let range = 0..=1 << 40;
        assert_eq!(size(&text("1.5KiB"), &range), Ok(1536));
        assert_eq!(size(&text("64MiB"), &range), Ok(64 << 20));
        assert_eq!(size(&Raw::Whole(4096), &range), Ok(4096));
        for written in [
            "99999999999EiB",
            "18446744073709551615",
            "99999999999999999999999999",
            "1e400",
            "-1",
            "nan",
            "1.5",
            "64 bananas",
        ] {
            assert!(size(&text(written), &range).is_err(), "{written}");
        }
        assert!(size(&Raw::Whole(-1), &range).is_err());
        assert!(size(&Raw::Whole(i128::MAX), &range).is_err());
    }

    #[test]
    fn bounds_are_printed_in_the_units_of_people() {
        for (seconds, shown) in [(0, "0s"), (90, "90s"), (3600, "1h"), (366 * 86_400, "366d")] {
            assert_eq!(duration_text(Duration::from_secs(seconds)), shown);
        }
        assert_eq!(duration_text(Duration::from_millis(1)), "1ms");
        for (bytes, shown) in [(0, "0B"), (1000, "1000B"), (8 << 20, "8MiB")] {
            assert_eq!(size_text(bytes), shown);
        }
    }

    #[test]
    fn long_values_are_cut_in_errors() {
        let message = truth(&text(&"x".repeat(10_000))).unwrap_err();
        assert!(message.chars().count() < 150, "{message}");
    }

    #[test]
    fn paths_are_never_repeated() {
        let pasted = "-----BEGIN PRIVATE KEY-----\nMIIE";
        let message = optional_path(&text(pasted)).unwrap_err();
        assert!(!message.contains("BEGIN"), "{message}");
    }

    #[test]
    fn log_filters_catch_misspelt_levels() {
        for good in ["info", "WARN", "off", "info,a::b=debug", "warn, x=trace"] {
            assert!(log_filter(&text(good)).is_ok(), "{good}");
        }
        for bad in ["inof", "", "info,", "a::b=loud", "=info", "info/regex", "a::b"] {
            assert!(log_filter(&text(bad)).is_err(), "{bad}");
        }
    }

    /// The underlying parsers are third-party; no text may make the start panic.
    #[test]
    fn no_text_makes_a_parser_panic() {
        let pieces = ["1", "0", ".", "s", "µ", "M", "KiB", " ", "\u{3000}", "é", "-", "/", "[", ":", "9999999999"];
        let range = Duration::ZERO..=Duration::MAX;
        for number in 0..pieces.len().pow(4) {
            let mut rest = number;
            let mut written = String::new();
            for _ in 0..4 {
                written.push_str(pieces[rest % pieces.len()]);
                rest /= pieces.len();
            }
            let raw = Raw::Text(written);
            let _ = duration(&raw, &range);
            let _ = size(&raw, &(0..=1 << 40));
            let _ = address(&raw);
            let _ = log_filter(&raw);
        }
    }
}
