//! What is wrong with one field of a request. Pure; any thread.

use schemars::JsonSchema;
use serde::Serialize;

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
    /// One error about one field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
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

/// The known name most like `word`, if any is like it at all.
#[must_use]
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::jaro_winkler(&word.to_lowercase(), name), *name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
