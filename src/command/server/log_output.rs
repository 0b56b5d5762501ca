//! Log output and its format. Set up once on the main thread; the filter can be replaced while the server runs.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::{OnceLock, PoisonError, RwLock};

use env_logger::{Builder, Logger, Target, WriteStyle};
use log::kv::{self, Key, Value, VisitSource};
use log::{Log, Metadata, Record};

use crate::command::console::output::say;
use crate::command::console::terminal;
use crate::command::server::log_pipe::{self, LogPipe};
use crate::config::{LogFormat, LogSection};
use crate::domain::access::without_keys;
use crate::domain::escape::escape_controls;

/// The process's logger, which delegates to a replaceable one.
struct ReplaceableLogger(RwLock<Logger>);

static LOGGER: OnceLock<ReplaceableLogger> = OnceLock::new();

impl Log for ReplaceableLogger {
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

/// Logs warnings and errors to stderr, for commands.
pub fn warnings_only() {
    init(&LogSection { level: "warn".to_owned(), format: LogFormat::Text });
}

/// Logs to stderr as configured, from now on.
pub fn init(section: &LogSection) {
    let logger = build(section);
    let level = logger.filter();
    match LOGGER.get() {
        Some(present) => *present.0.write().unwrap_or_else(PoisonError::into_inner) = logger,
        None => {
            // An existing logger stays, which happens in tests only.
            drop(log::set_logger(LOGGER.get_or_init(|| ReplaceableLogger(RwLock::new(logger)))));
        }
    }
    log::set_max_level(level);
}

fn build(section: &LogSection) -> Logger {
    let mut builder = Builder::new();
    // actix-server's start and stop lines duplicate ours.
    builder.filter_module("actix_server", log::LevelFilter::Warn);
    // It logs every malformed request as an error, so that anyone could fill the log.
    builder.filter_module("actix_http", log::LevelFilter::Off);
    // It logs whole URLs, which can contain tokens.
    builder.filter_module("ureq", log::LevelFilter::Warn);
    builder.parse_filters(&section.level);
    if let Some(pipe) = LogPipe::new() {
        builder.target(Target::Pipe(Box::new(pipe)));
        builder.write_style(if terminal::has_colour(&io::stderr()) { WriteStyle::Always } else { WriteStyle::Never });
    }
    let is_journal = is_journal();
    match section.format {
        LogFormat::Json => {
            builder.format(move |out, record| {
                let time = out.timestamp_millis().to_string();
                writeln!(out, "{}{}", priority(is_journal, record.level()), json_line(&time, record))
            });
        }
        LogFormat::Text => {
            builder.format(move |out, record| {
                let level = record.level();
                let style = out.default_level_style(level);
                let message = text_line(record);
                let target = foreign_target(record);
                if is_journal {
                    // The journal adds its own timestamps.
                    writeln!(out, "{}[{level:<5}{target}] {message}", priority(is_journal, level))
                } else {
                    writeln!(out, "[{} {style}{level:<5}{style:#}{target}] {message}", out.timestamp_millis())
                }
            });
        }
    }
    builder.build()
}

/// Whether stderr goes to the journal. The variable alone is inherited by programs with a stderr of their own.
fn is_journal() -> bool {
    let Some(named) = std::env::var("JOURNAL_STREAM").ok() else { return false };
    let found = rustix::fs::fstat(io::stderr()).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    found.is_ok_and(|found| found == named)
}

/// The level as the journal reads it at the beginning of a line.
fn priority(is_journal: bool, level: log::Level) -> &'static str {
    match level {
        _ if !is_journal => "",
        log::Level::Error => "<3>",
        log::Level::Warn => "<4>",
        log::Level::Info => "<6>",
        log::Level::Debug | log::Level::Trace => "<7>",
    }
}

/// The module of a line that a library wrote; which of our own did tells an operator nothing.
fn foreign_target(record: &Record<'_>) -> String {
    let target = record.target();
    if target.starts_with("tempclock_webhooks") { String::new() } else { format!(" {target}") }
}

/// Announces that the server listens, whatever the log level is: scripts wait for it.
pub fn announce(section: &LogSection, text: &str) {
    let line = match section.format {
        LogFormat::Text => text.to_owned(),
        LogFormat::Json => {
            let now = crate::clock::Clock::start().wall().to_string();
            let record = Record::builder().level(log::Level::Info).target(module_path!()).build();
            let mut line = json_line(&now, &record);
            line["message"] = text.into();
            priority(is_journal(), log::Level::Info).to_owned() + &line.to_string()
        }
    };
    say(&line);
}

/// A line's fields, in order. A message cannot add to them.
struct LineFields(Vec<(String, serde_json::Value)>);

impl LineFields {
    fn of(record: &Record<'_>) -> Vec<(String, serde_json::Value)> {
        let mut fields = Self(Vec::new());
        // Collecting cannot fail.
        let _ = record.key_values().visit(&mut fields);
        fields.0
    }
}

impl<'kvs> VisitSource<'kvs> for LineFields {
    fn visit_pair(&mut self, name: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let field = match (value.to_u64(), value.to_bool()) {
            (Some(number), _) => number.into(),
            (_, Some(truth)) => truth.into(),
            _ => shown(&value.to_string()).into(),
        };
        self.0.push((name.to_string(), field));
        Ok(())
    }
}

/// Escapes a text for one line and redacts API keys that callers put there by mistake.
fn shown(text: &str) -> String {
    escape_controls(&without_keys(text))
}

/// The message followed by the fields, escaped so that they stay on one line.
fn text_line(record: &Record<'_>) -> String {
    let mut line = shown(&record.args().to_string());
    for (name, value) in LineFields::of(record) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        // Writing to a string cannot fail.
        let _ = write!(line, " {name}={value}");
    }
    line
}

/// One JSON object per line, with the fields as members.
fn json_line(time: &str, record: &Record<'_>) -> serde_json::Value {
    let mut line = serde_json::Map::new();
    for (name, value) in LineFields::of(record) {
        line.insert(name, value);
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
                "attempt": 2,
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
