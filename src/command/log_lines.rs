//! Where log lines go and how they look. Set up once on the main thread; the filter can be exchanged while the server
//! runs.

use std::io::Write as _;
use std::sync::{OnceLock, PoisonError, RwLock};

use env_logger::{Builder, Logger};
use log::{Log, Metadata, Record};

use crate::config::{LogFormat, LogSection};
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

    fn flush(&self) {}
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
    builder.parse_filters(&section.level);
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
                let message = record.args().to_string();
                // Whatever a caller or a receiver puts into a message, it stays within its line.
                let message = visible(&message);
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

/// One object a line; the fields that a text line ends with (`name=value`) are fields here too.
fn json_line(time: &str, record: &Record<'_>) -> serde_json::Value {
    let message = record.args().to_string();
    let mut line = serde_json::Map::new();
    for (name, value) in [("time", time), ("level", record.level().as_str()), ("target", record.target())] {
        line.insert(name.to_owned(), value.into());
    }
    for word in message.split(' ') {
        if let Some((name, value)) = word.split_once('=')
            && is_field(name)
            && !line.contains_key(name)
        {
            line.insert(name.to_owned(), value.trim_end_matches([':', ',']).into());
        }
    }
    line.insert("message".to_owned(), message.into());
    line.into()
}

fn is_field(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_has_the_fields_of_the_text_and_can_be_read_back() {
        let text = format_args!("attempt failed: dlv_1 attempt=2 cause=timed_out: \"quoted\"\n time=1");
        let record = Record::builder().args(text).level(log::Level::Info).target("a::b").build();
        let line = json_line("2026-01-02T03:04:05.006Z", &record).to_string();
        assert!(!line.contains('\n'), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        assert_eq!(read["attempt"], "2");
        assert_eq!(read["cause"], "timed_out");
        assert_eq!(read["level"], "INFO");
        assert_eq!(read["time"], "2026-01-02T03:04:05.006Z", "a field of the text must not replace it");
        assert!(read["message"].as_str().is_some_and(|message| message.starts_with("attempt failed: dlv_1")));
    }
}
