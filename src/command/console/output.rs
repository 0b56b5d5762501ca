//! Output of commands: JSON for programs and tables for people on stdout, messages on stderr. Untrusted text is always
//! escaped. A closed pipe ends a command and never causes a panic.

use std::io::{self, ErrorKind, Write as _};

use serde_json::Value;

use crate::command::client::reply::ApiReply;
use crate::command::console::layout;
use crate::command::console::terminal::Paint;
use crate::command::{Exit, Outcome};
use crate::domain::escape::escape_controls;

/// Writes text to stdout. A closed pipe is not a failure.
pub fn put(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => (Exit::Done, String::new()),
        _ => (Exit::Failed, format!("stdout: {error}")),
    })
}

/// Prints a message on stderr. Errors are ignored.
pub fn say(text: &str) {
    log::logger().flush();
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Prints raw JSON on one line, with control characters escaped; numbers and field order stay unchanged.
pub fn put_answer(answer: &ApiReply) -> Outcome {
    put(&format!("{}\n", crate::command::console::terminal::json_line(&answer.text)))
}

/// One JSON document on a line of its own.
pub fn put_json(value: &Value) -> Outcome {
    put(&format!("{}\n", crate::command::console::terminal::json(value)))
}

/// Prints a table within the width of the terminal.
pub fn put_table(names: &[&str], rows: &[Vec<String>]) -> Outcome {
    put(&layout::table(names, rows, width(), Paint::for_stdout()))
}

/// Prints names and values, one per line; empty values are left out.
pub fn put_fields(fields: &[(&str, String)]) -> Outcome {
    put(&layout::fields(fields, width()))
}

/// Line width: `COLUMNS`, otherwise the terminal's, otherwise unlimited.
pub fn width() -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let seen = || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    said.or_else(seen).filter(|width| *width > 0).unwrap_or(usize::MAX)
}

/// A field's escaped text; empty if absent.
pub fn text(value: &Value, field: &str) -> String {
    match &value[field] {
        Value::Null => String::new(),
        Value::String(text) => escape_controls(text),
        Value::Array(items) => {
            let items = items
                .iter()
                .map(|item| item.as_str().map_or_else(|| escape_controls(&item.to_string()), escape_controls));
            items.collect::<Vec<_>>().join(",")
        }
        other => escape_controls(&other.to_string()),
    }
}

/// A field's time, to the second; empty if absent.
pub fn time(value: &Value, field: &str) -> String {
    let text = text(value, field);
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// A count with a noun.
pub fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// The rows of a list.
pub fn rows(answer: &Value) -> &[Value] {
    answer["data"].as_array().map_or(&[], Vec::as_slice)
}

/// Notes on stderr that a list is longer, or empty.
pub fn note_rest(answer: &Value, what: &str) {
    if rows(answer).is_empty() {
        say(&format!("No {what}."));
    }
    if answer["pagination"]["has_more"] == true {
        let total = &answer["pagination"]["total"];
        let least = if answer["pagination"]["total_is_exact"] == false { "at least " } else { "" };
        say(&format!("{} of {least}{total}; more with --limit", rows(answer).len()));
    }
}

/// Prints the API's message on stderr.
pub fn note_message(answer: &Value) {
    if let Some(message) = answer["message"].as_str() {
        say(&escape_controls(message));
    }
}
