//! What is wrong with a configuration: one error a finding, all findings of a load together.
//!
//! Runs at start-up, on the main thread only. It must never echo the value of a key that names a
//! file, or a line of the file itself: a secret pasted into the wrong place stays out of the log.

use std::fmt;

use super::{Config, Origin};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Dotted key as it was written or is missing; none when a whole file is at fault.
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

/// Everything that is wrong, in the order file, environment, flags; its text has one line an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.found))]
pub struct ConfigErrors {
    found: Vec<ConfigError>,
    /// What the values without an error come to, so that the files which they name can be looked at; to start with it
    /// would be wrong.
    pub understood: Option<Box<Config>>,
}

impl ConfigErrors {
    /// The errors, never none of them.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.found
    }
}

fn lines(errors: &[ConfigError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

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

/// The errors of one load while it goes on.
pub(super) struct Findings {
    file: String,
    found: Vec<(Origin, ConfigError)>,
}

impl Findings {
    /// `file` is the name by which errors call the configuration file.
    pub(super) fn new(file: String) -> Self {
        Self { file, found: Vec::new() }
    }

    /// Adds an error about `key`, which was given at `origin`.
    pub(super) fn add(&mut self, origin: &Origin, key: &str, message: String) {
        self.add_placed_by(origin, key, key, message);
    }

    /// Adds an error about `key`, to be looked for where `given` was given, at `origin`.
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

    /// Adds an error about a spot in the file that could not be read as TOML; both count from 1.
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

    /// All errors, ordered as a person goes through the places; none when there is nothing wrong.
    pub(super) fn into_errors(mut self) -> Option<ConfigErrors> {
        // Stable, so errors of one place keep the order in which they were found.
        self.found.sort_by(|(one, _), (other, _)| one.cmp(other));
        if self.found.is_empty() {
            return None;
        }
        let errors = self.found.into_iter().map(|(_, error)| error);
        Some(ConfigErrors { found: errors.collect(), understood: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_stays_on_one_line_whatever_the_names_hold() {
        let mut findings = Findings::new("a\nb.toml".to_owned());
        findings.add_file("unknown key \"x\u{1b}[2J\"".to_owned());
        let errors = findings.into_errors().unwrap();
        assert_eq!(errors.to_string(), "a\\nb.toml: unknown key \"x\\u{1b}[2J\"");
    }

    #[test]
    fn errors_come_in_the_order_of_their_places() {
        let mut findings = Findings::new("f.toml".to_owned());
        findings.add(&Origin::Flag, "storage.data_dir", "c".to_owned());
        let variable = "V".to_owned();
        findings.add(&Origin::Environment { variable }, "k", "b".to_owned());
        findings.add(&Origin::File { line: 9 }, "k", "a9".to_owned());
        findings.add(&Origin::File { line: 2 }, "k", "a2".to_owned());
        let text = findings.into_errors().unwrap().to_string();
        let expected = "f.toml line 2: a2\nf.toml line 9: a9\n\
            environment variable V: b\nflag --data-dir: c";
        assert_eq!(text, expected);
    }
}
