//! Where log lines go and how they look. Set up once on the main thread; the filter can be exchanged while the server
//! runs.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{OnceLock, PoisonError, RwLock};

use env_logger::{Builder, Logger, Target, WriteStyle};
use log::kv::{self, Key, Value, VisitSource};
use log::{Log, Metadata, Record};

use super::log_pipe::{self, LogPipe};
use super::terminal;
use crate::config::{LogFormat, LogSection};
use crate::domain::access::without_keys;
use crate::domain::visible::visible;

/// The logger of the process, with another behind it that can be exchanged.
struct Exchangeable(RwLock<Logger>);

static LOGGER: OnceLock<Exchangeable> = OnceLock::new();

impl Log for Exchangeable {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.0.read().unwrap_or_else(PoisonError::into_inner).log(record);
    }

    fn flush(&self) {
        log_pipe::flush();
    }
}

/// Sends warnings and errors to stderr, as is right beside what a command prints.
pub fn warnings_only() {
    follow(&LogSection { level: "warn".to_owned(), format: LogFormat::Text });
}

/// Sends log lines to stderr as the configuration says, from now on.
pub fn follow(section: &LogSection) {
    let logger = build(section);
    let level = logger.filter();
    match LOGGER.get() {
        Some(present) => *present.0.write().unwrap_or_else(PoisonError::into_inner) = logger,
        None => {
            // The first one stays if somebody else has set one up, which only tests do.
            drop(log::set_logger(LOGGER.get_or_init(|| Exchangeable(RwLock::new(logger)))));
        }
    }
    log::set_max_level(level);
}

fn build(section: &LogSection) -> Logger {
    let mut builder = Builder::new();
    // Its start and stop say nothing that the lines of this program do not say.
    builder.filter_module("actix_server", log::LevelFilter::Warn);
    // It takes every garbled request for an error of the server's, so that anybody could fill the log.
    builder.filter_module("actix_http", log::LevelFilter::Off);
    // It tells whole URLs, and some receivers have a token in theirs.
    builder.filter_module("ureq", log::LevelFilter::Warn);
    builder.parse_filters(&section.level);
    if let Some(pipe) = LogPipe::new() {
        builder.target(Target::Pipe(Box::new(pipe)));
        builder.write_style(if terminal::has_colour(&io::stderr()) { WriteStyle::Always } else { WriteStyle::Never });
    }
    match section.format {
        LogFormat::Json => {
            builder.format(|out, record| {
                let time = out.timestamp_millis().to_string();
                writeln!(out, "{}", json_line(&time, record))
            });
        }
        LogFormat::Text => {
            // The journal has its own dates.
            let has_date = std::env::var_os("JOURNAL_STREAM").is_none();
            builder.format(move |out, record| {
                let level = record.level();
                let style = out.default_level_style(level);
                let message = text_line(record);
                let target = record.target();
                if has_date {
                    writeln!(out, "[{} {style}{level:<5}{style:#} {target}] {message}", out.timestamp_millis())
                } else {
                    writeln!(out, "[{style}{level:<5}{style:#} {target}] {message}")
                }
            });
        }
    }
    builder.build()
}

/// The fields that a line has beside its message, in order. No message can add to them.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn of(record: &Record<'_>) -> Vec<(String, String)> {
        let mut fields = Self(Vec::new());
        // Collecting cannot fail.
        let _ = record.key_values().visit(&mut fields);
        fields.0
    }
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, name: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.push((name.to_string(), shown(&value.to_string())));
        Ok(())
    }
}

/// A text on one line, and without the API keys that callers have put where they do not belong.
fn shown(text: &str) -> String {
    visible(&without_keys(text))
}

/// The message, and the fields behind it. Whatever a caller or a receiver puts into them, it stays within its line.
fn text_line(record: &Record<'_>) -> String {
    let mut line = shown(&record.args().to_string());
    for (name, value) in Fields::of(record) {
        // Writing to a string cannot fail.
        let _ = write!(line, " {name}={value}");
    }
    line
}

/// One object a line, with each field of its own.
fn json_line(time: &str, record: &Record<'_>) -> serde_json::Value {
    let mut line = serde_json::Map::new();
    for (name, value) in Fields::of(record) {
        line.insert(name, value.into());
    }
    for (name, value) in [("time", time), ("level", record.level().as_str()), ("target", record.target())] {
        line.insert(name.to_owned(), value.into());
    }
    line.insert("message".to_owned(), shown(&record.args().to_string()).into());
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(message: std::fmt::Arguments<'_>) -> (String, serde_json::Value) {
        let fields: &[(&str, Value<'_>)] = &[("attempt", Value::from(2_u32)), ("cause", Value::from("timed_out"))];
        let record = Record::builder().args(message).level(log::Level::Info).target("a::b").key_values(&fields).build();
        let json = json_line("2026-01-02T03:04:05.006Z", &record).to_string();
        assert!(json.is_ascii() && !json.contains('\n'), "{json}");
        (text_line(&record), serde_json::from_str(&json).unwrap_or_default())
    }

    #[test]
    fn a_line_has_the_fields_that_were_given_with_it() {
        let (text, json) = lines(format_args!("attempt failed: dlv_1"));
        assert_eq!(text, "attempt failed: dlv_1 attempt=2 cause=timed_out");
        assert_eq!(
            json,
            serde_json::json!({
                "time": "2026-01-02T03:04:05.006Z",
                "level": "INFO",
                "target": "a::b",
                "message": "attempt failed: dlv_1",
                "attempt": "2",
                "cause": "timed_out",
            })
        );
    }

    #[test]
    fn a_message_can_neither_add_a_field_nor_leave_its_line_nor_turn_it() {
        let sent = "time=1 cause=none forged=1 \"\n\u{9b}\u{202e}\u{2028}";
        let (text, json) = lines(format_args!("failed: {sent}"));
        assert!(!text.contains(['\n', '\u{9b}', '\u{202e}', '\u{2028}']), "{text}");
        assert_eq!(json["cause"], "timed_out");
        assert_eq!(json["time"], "2026-01-02T03:04:05.006Z");
        assert_eq!(json.get("forged"), None);
        assert_eq!(json["message"], r#"failed: time=1 cause=none forged=1 "\n\u{9b}\u{202e}\u{2028}"#);
    }
}
