//! What commands print: JSON for programs and tables for people on stdout, messages on stderr. Text that others have
//! chosen never reaches the terminal as it is. A reader who goes away ends a command, and never makes it panic.

use std::io::{self, ErrorKind, Write as _};

use serde_json::Value;

use super::layout;
use super::reply::Reply;
use super::terminal::Paint;
use super::{Exit, Outcome};
use crate::domain::visible::visible;

/// Writes text to stdout. Whoever reads it may have enough of it; that is no failure.
pub fn put(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => (Exit::Done, String::new()),
        _ => (Exit::Failed, format!("stdout: {error}")),
    })
}

/// Says something to a person, on stderr. Whether anybody reads it changes nothing about what was done.
pub fn say(text: &str) {
    log::logger().flush();
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// An answer as it came, so that numbers and the order of fields stay as they are; on one line, and without control
/// over a terminal.
pub fn put_answer(answer: &Reply) -> Outcome {
    put(&format!("{}\n", super::terminal::json_line(&answer.text)))
}

/// One JSON document on a line of its own.
pub fn put_json(value: &Value) -> Outcome {
    put(&format!("{}\n", super::terminal::json(value)))
}

/// Rows with a head, within the width of the terminal.
pub fn put_table(names: &[&str], rows: &[Vec<String>]) -> Outcome {
    put(&layout::table(names, rows, width(), Paint::for_stdout()))
}

/// Names with their values, one a line; those without a value are left out.
pub fn put_fields(fields: &[(&str, String)]) -> Outcome {
    put(&layout::fields(fields, width()))
}

/// How many characters a line may have: as many as `COLUMNS` says, else as the terminal has, else any number.
pub fn width() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let seen = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    said.or_else(seen).filter(|width| *width > 0).unwrap_or(usize::MAX)
}

/// A field's text as it may be shown; empty if there is none.
pub fn text(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::Null => String::new(),
        Value::String(text) => visible(text),
        Value::Array(items) => {
            let items = items.iter().map(|item| item.as_str().map_or_else(|| visible(&item.to_string()), visible));
            items.collect::<Vec<_>>().join(",")
        }
        other => visible(&other.to_string()),
    }
}

/// A field's time to the second; empty if there is none.
pub fn time(value: &Value, field: &str) -> String {
    let text = text(value, field);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// So many of something.
pub fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// The rows of a list.
pub fn rows(answer: &Value) -> &[Value] {
    answer["data"].as_array().map_or(&[], Vec::as_slice)
}

/// Says on stderr that a list goes on, or has nothing.
pub fn note_rest(answer: &Value, what: &str) {
    if rows(answer).is_empty() {
        say(&format!("No {what}."));
    }
    if answer["pagination"]["has_more"] == true {
        say(&format!("{} of {}; more with --limit", rows(answer).len(), answer["pagination"]["total"]));
    }
}

/// What the API says to a person, on stderr.
pub fn note_message(answer: &Value) {
    if let Some(message) = answer["message"].as_str() {
        say(&visible(message));
    }
}
