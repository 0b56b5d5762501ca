//! What is wrong with one field of a request. Pure; any thread.

use schemars::JsonSchema;
use serde::Serialize;

use super::visible::{REPEATED_CHARS, shortened};

/// One entry of an error answer's `errors` list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// Where: a field's name, with dots for nested ones and an index for list items (`data.worker_id`,
    /// `events[3].event`).
    pub field: String,
    /// What is wrong and what would be right, for a person.
    pub message: String,
}

impl FieldError {
    /// One error about one field, whose name may be a caller's own.
    pub fn new(field: impl AsRef<str>, message: impl Into<String>) -> Self {
        Self { field: shortened(field.as_ref(), REPEATED_CHARS).into_owned(), message: message.into() }
    }

    /// An unknown field, with the nearest known name when one is near.
    #[must_use]
    pub fn unknown(field: &str, known: &[&str]) -> Self {
        let message = match nearest(field, known) {
            Some(name) => format!("unknown field; did you mean \"{name}\"?"),
            None => format!("unknown field; known are: {}", known.join(", ")),
        };
        Self::new(field, message)
    }
}

/// What is wrong with a request. All of it is counted, and as much of it kept as an answer can hold.
#[derive(Clone, Debug, Default)]
pub struct FieldErrors {
    kept: Vec<FieldError>,
    count: usize,
}

impl FieldErrors {
    /// The most fields that one answer names.
    pub const MOST: usize = 100;

    /// Counts one, and makes it if it is kept.
    pub fn add(&mut self, make: impl FnOnce() -> FieldError) {
        self.count += 1;
        if self.kept.len() < Self::MOST {
            self.kept.push(make());
        }
    }

    /// Takes over what was found in a part whose name goes before those of its fields.
    pub fn add_part(&mut self, prefix: &str, part: Self) {
        self.count += part.count - part.kept.len();
        for error in part.kept {
            self.add(|| FieldError { field: format!("{prefix}{}", error.field), ..error });
        }
    }

    /// Those that are kept.
    #[must_use]
    pub fn kept(&self) -> &[FieldError] {
        &self.kept
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Is nothing wrong?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl From<Vec<FieldError>> for FieldErrors {
    fn from(errors: Vec<FieldError>) -> Self {
        let mut all = Self::default();
        all.extend(errors);
        all
    }
}

impl Extend<FieldError> for FieldErrors {
    fn extend<T: IntoIterator<Item = FieldError>>(&mut self, errors: T) {
        errors.into_iter().for_each(|error| self.add(|| error));
    }
}

/// No known name is half as long.
const COMPARED_BYTES: usize = 64;

/// The known name most like `word`, if any is like it at all.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // What is much longer than every name is like none, and would cost more to compare than to read.
    if word.len() > COMPARED_BYTES {
        return None;
    }
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(&word.to_lowercase(), name), *name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
