//! Errors in a configuration; all errors of a load are reported together.
//!
//! Runs at start-up, on the main thread only. It must never echo the value of a key that names a file, or a line of the
//! file: a secret pasted into the wrong place must not be logged.

use std::fmt;

use super::origin::Origin;

/// An error and its location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The dotted key; `None` if the error concerns a whole file.
    pub key: Option<String>,
    /// Where to look: `config.toml line 7`, `environment variable X` or `flag --listen`.
    pub place: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", one_line(&self.place), one_line(&self.message))
    }
}

impl std::error::Error for ConfigError {}

/// File names and keys can hold line breaks and control sequences that would forge log lines.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => line.push(character),
            _ => line.extend(character.escape_debug()),
        }
    }
    line
}

/// Collects the errors of a load.
pub(super) struct ErrorCollector {
    file: String,
    found: Vec<(Origin, ConfigError)>,
}

impl ErrorCollector {
    /// `file` is the configuration file's name in errors.
    pub(super) fn new(file: String) -> Self {
        Self { file, found: Vec::new() }
    }

    /// Adds an error about `key`, which was given at `origin`.
    pub(super) fn add(&mut self, origin: &Origin, key: &str, message: String) {
        self.add_placed_by(origin, key, key, message);
    }

    /// Adds an error about `key`, located where `given` was set, at `origin`.
    pub(super) fn add_placed_by(&mut self, origin: &Origin, given: &str, key: &str, message: String) {
        let place = match origin {
            Origin::Default => "built-in default".to_owned(),
            Origin::File { line } => format!("{} line {line}", self.file),
            Origin::Environment { variable } => format!("environment variable {variable}"),
            Origin::Flag => {
                let name = given.rsplit('.').next().unwrap_or(given);
                format!("flag --{}", name.replace('_', "-"))
            }
        };
        self.push(origin.clone(), Some(key.to_owned()), place, message);
    }

    /// Adds an error about the file as a whole.
    pub(super) fn add_file(&mut self, message: String) {
        let place = self.file.clone();
        self.push(Origin::File { line: 0 }, None, place, message);
    }

    /// Adds a TOML syntax error; line and column count from 1.
    pub(super) fn add_spot(&mut self, line: usize, column: usize, message: String) {
        let place = format!("{} line {line} column {column}", self.file);
        self.push(Origin::File { line }, None, place, message);
    }

    fn push(&mut self, origin: Origin, key: Option<String>, place: String, message: String) {
        let error = ConfigError { key, place, message };
        self.found.push((origin, error));
    }

    /// Whether there is an error about this key already.
    pub(super) fn concerns(&self, key: &str) -> bool {
        let mut errors = self.found.iter();
        errors.any(|(_, error)| error.key.as_deref() == Some(key))
    }

    /// All errors, ordered by location.
    pub(super) fn into_errors(mut self) -> Vec<ConfigError> {
        // Stable, so errors of one place keep the order in which they were found.
        self.found.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.found.into_iter().map(|(_, error)| error).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_on_one_line_whatever_the_names_hold() {
        let mut errors_found = ErrorCollector::new("a\nb.toml".to_owned());
        errors_found.add_file("unknown key \"x\u{1b}[2J\"".to_owned());
        let errors = errors_found.into_errors();
        assert_eq!(errors[0].to_string(), "a\\nb.toml: unknown key \"x\\u{1b}[2J\"");
    }

    #[test]
    fn errors_come_in_the_order_of_their_places() {
        let mut errors_found = ErrorCollector::new("f.toml".to_owned());
        errors_found.add(&Origin::Flag, "storage.data_dir", "c".to_owned());
        let variable = "V".to_owned();
        errors_found.add(&Origin::Environment { variable }, "k", "b".to_owned());
        errors_found.add(&Origin::File { line: 9 }, "k", "a9".to_owned());
        errors_found.add(&Origin::File { line: 2 }, "k", "a2".to_owned());
        let texts: Vec<String> = errors_found.into_errors().iter().map(ToString::to_string).collect();
        let expected = ["f.toml line 2: a2", "f.toml line 9: a9", "environment variable V: b", "flag --data-dir: c"];
        assert_eq!(texts, expected);
    }
}
