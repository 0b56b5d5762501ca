//! Validation errors of request fields. Pure; any thread.

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::escape::{REPEATED_CHARS, shortened};

/// An invalid field, in the `errors` of an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// The field's name, with dots for nested fields and an index for list items (`data.worker_id`,
    /// `events[3].event`).
    pub field: String,
    /// What is wrong and what is valid, for people.
    pub message: String,
}

impl FieldError {
    /// An error about a field, whose name may come from the caller.
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

/// The errors of a request. All are counted; as many are kept as a response may list.
#[derive(Clone, Debug, Default)]
pub struct FieldErrors {
    kept: Vec<FieldError>,
    count: usize,
}

impl FieldErrors {
    /// Maximum number of errors of one object.
    const MOST: usize = 100;
    /// With so many, only one of each further part is kept.
    const MOST_OF_PARTS: usize = 1000;

    /// Counts an error, and creates it if it is kept.
    pub fn add(&mut self, make: impl FnOnce() -> FieldError) {
        self.count += 1;
        if self.kept.len() < Self::MOST {
            self.kept.push(make());
        }
    }

    /// Adds the errors of a part of a list, with its name before those of its fields. At least one of each part is kept.
    pub fn add_part(&mut self, prefix: &str, part: Self) {
        self.count += part.count;
        let room = Self::MOST_OF_PARTS.saturating_sub(self.kept.len()).max(1);
        self.kept.extend(part.kept.into_iter().take(room).map(|error| {
            let dot = if error.field.is_empty() { "" } else { "." };
            FieldError { field: format!("{prefix}{dot}{}", error.field), ..error }
        }));
    }

    /// The errors that are kept.
    #[must_use]
    pub fn kept(&self) -> &[FieldError] {
        &self.kept
    }

    /// Number of errors.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether there are no errors.
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

/// At least twice the length of any known name.
const COMPARED_BYTES: usize = 64;

/// More differences than this are another word: `worker_deleted` is not meant to be `worker_updated`.
const TYPOS: usize = 3;

/// The known name most similar to `word`, if any is similar enough.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // A much longer text is similar to none, and expensive to compare.
    if word.len() > COMPARED_BYTES {
        return None;
    }
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(&word.to_lowercase(), name), *name))
        .filter(|(likeness, name)| *likeness > 0.75 && strsim::damerau_levenshtein(&word.to_lowercase(), name) <= TYPOS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
