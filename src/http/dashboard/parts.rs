//! Small parts that many pages show: times, states, texts of others. Each is HTML with everything escaped. Pure.

use askama::Template;
use serde_json::{Map, Value};

use crate::http::dashboard::answers::{Delivery, Subscription};

/// A time of the API: to the second and in UTC; the script shows it in the visitor's own zone.
#[derive(Template)]
#[template(source = r#"<time datetime="{{ exact }}">{{ day }} {{ second }} UTC</time>"#, ext = "html")]
struct TimePart<'a> {
    exact: &'a str,
    day: &'a str,
    second: &'a str,
}

/// A state, told by a word and a sign, and by a colour beside them.
#[derive(Template)]
#[template(
    source = r#"<span class="state {{ kind }}"><span aria-hidden="true">{{ sign }}</span> {{ word }}</span>"#,
    ext = "html"
)]
struct StatePart<'a> {
    kind: &'static str,
    sign: &'static str,
    word: &'a str,
}

/// A time, or a dash.
#[must_use]
pub fn time(text: &str) -> String {
    let (day, rest) = text.split_once('T').unwrap_or((text, ""));
    let second = rest.get(..8).unwrap_or(rest);
    if text.is_empty() { "–".to_owned() } else { html(&TimePart { exact: text, day, second }) }
}

/// A time that may be missing.
#[must_use]
pub fn moment<'a>(text: impl Into<Option<&'a String>>) -> String {
    time(text.into().map_or("", String::as_str))
}

/// The state of a delivery.
#[must_use]
pub fn delivery_state(delivery: &Delivery) -> String {
    match delivery.status.as_str() {
        "pending" if delivery.held => state("held"),
        "pending" if delivery.attempt_count > 0 => state("retrying"),
        status => state(status),
    }
}

/// The state of a subscription.
#[must_use]
pub fn subscription_state(subscription: &Subscription) -> String {
    state(match (subscription.active, &subscription.failing_since) {
        (false, _) => "disabled",
        (true, Some(_)) => "failing",
        (true, None) => "active",
    })
}

/// A state by its word.
#[must_use]
pub fn state(word: &str) -> String {
    let (kind, sign) = match word {
        "delivered" | "active" | "finished" | "ok" | "ready" => ("good", "✓"),
        "exhausted" | "failed" | "failing" | "not_ready" | "revoked" => ("bad", "✕"),
        "pending" | "waiting" | "running" => ("soft", "…"),
        "retrying" | "held" | "paused" | "disabled" | "stopped" | "behind" => ("warn", "‖"),
        _ => ("soft", "–"),
    };
    html(&StatePart { kind, sign, word })
}

/// Why a delivery is not sent now, in words.
#[must_use]
pub fn waiting(word: &str) -> &str {
    match word {
        "in_flight" => "an attempt is in flight",
        "retry" => "waits for its next attempt",
        "backoff" => "the endpoint asked for fewer requests",
        "order" => "waits for an earlier delivery",
        "rate_limit" => "waits for the rate limit of its subscription",
        "window" => "waits for the delivery window of its subscription",
        "batch" => "waits for its batch",
        "off" => "its subscription is disabled",
        "thread" => "waits for its turn",
        "pull" => "waits to be read",
        other => other,
    }
}

/// An id as it fits into a table: its kind, and its end, by which ids differ.
#[must_use]
pub fn short(id: &str) -> String {
    match (id.get(..4), id.len().checked_sub(16).and_then(|begin| id.get(begin..))) {
        (Some(kind), Some(end)) if id.len() > 24 => format!("{kind}…{end}"),
        _ => id.to_owned(),
    }
}

/// A number that may be missing.
#[must_use]
pub fn code<'a>(number: impl Into<Option<&'a u16>>) -> String {
    number.into().map_or_else(|| "–".to_owned(), ToString::to_string)
}

/// A number with its thousands apart, to be read.
#[must_use]
#[expect(clippy::trivially_copy_pass_by_ref, reason = "templates pass references")]
pub fn number(count: &u64) -> String {
    let digits = count.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Names with values as text, for a table of headers or of what was changed.
#[must_use]
pub fn pairs(fields: &Map<String, Value>) -> Vec<(&str, String)> {
    fields.iter().map(|(name, value)| (name.as_str(), plain(value))).collect()
}

/// A value as text: a text as it is, anything else as JSON.
#[must_use]
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A JSON text with line breaks. Nothing but blanks between its parts changes, so that every number stays as it was.
#[must_use]
pub fn indented(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() * 2);
    let (mut depth, mut is_quoted, mut is_escaped) = (0_usize, false, false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        if is_quoted {
            shown.push(character);
            is_quoted = is_escaped || character != '"';
            is_escaped = !is_escaped && character == '\\';
            continue;
        }
        match character {
            '"' => {
                is_quoted = true;
                shown.push(character);
            }
            '{' | '[' => {
                while characters.next_if(char::is_ascii_whitespace).is_some() {}
                shown.push(character);
                if let Some(end) = characters.next_if(|next| matches!(next, '}' | ']')) {
                    shown.push(end);
                } else {
                    depth += 1;
                    break_line(&mut shown, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                break_line(&mut shown, depth);
                shown.push(character);
            }
            ',' => {
                shown.push(character);
                break_line(&mut shown, depth);
            }
            ':' => shown.push_str(": "),
            blank if blank.is_ascii_whitespace() => {}
            other => shown.push(other),
        }
    }
    shown
}

/// Deeper levels than an event may have are not moved further to the right.
const DEPTH_MAX: usize = 32;

fn break_line(shown: &mut String, depth: usize) {
    shown.push('\n');
    shown.push_str(&"  ".repeat(depth.min(DEPTH_MAX)));
}

fn html(part: &impl Template) -> String {
    // Writing to a string cannot fail.
    part.render().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_escaped_and_read_well() {
        assert_eq!(
            time("2026-03-02T08:00:12.345Z"),
            r#"<time datetime="2026-03-02T08:00:12.345Z">2026-03-02 08:00:12 UTC</time>"#
        );
        assert_eq!(time(""), "–");
        assert_eq!(short("dlv_01a22c5e43b97e5da277947aca0c6f1700000002"), "dlv_…ca0c6f1700000002");
        assert_eq!([short(""), short("dlv_1")], ["", "dlv_1"]);
        assert!(!time("<script>T1").contains("<script>") && !state("<b>").contains("<b>"));
        assert_eq!([0, 999, 12_345, 1_000_000].map(|count| number(&count)), ["0", "999", "12,345", "1,000,000"]);
    }

    #[test]
    fn a_body_is_only_given_line_breaks() {
        let text = r#"{"a":1.10,"b":[],"c":{"d":"x,{\"}","e":[1,2]},"f":{ }}"#;
        let shown = indented(text);
        assert_eq!(
            shown,
            "{\n  \"a\": 1.10,\n  \"b\": [],\n  \"c\": {\n    \"d\": \"x,{\\\"}\",\n    \"e\": [\n      1,\n      2\n    ]\n  },\n  \"f\": {}\n}"
        );
        for hostile in ["", "{", "]]]]", "\"\\", "[[[[[[[["] {
            assert!(indented(hostile).len() >= hostile.trim().len());
        }
    }
}
