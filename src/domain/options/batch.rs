//! The option `batch`: several events in one request. Pure; any thread.

use std::time::Duration;

use serde_json::{Value, json};

use crate::domain::FieldError;
use crate::domain::options::span::Span;

/// How many events are gathered for one request, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The most events.
    pub max: usize,
    /// How long the first of them waits for others.
    pub wait: Span,
}

/// The most events that a batch may be given.
pub const EVENTS_MAX: usize = 1000;
/// A batch ends before its body is longer than this, unless one event alone is.
pub const BODY_BYTES: usize = 1024 * 1024;

const FIELDS: [&str; 2] = ["max", "wait"];
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_hours(1);

impl Batch {
    /// Reads the option.
    pub fn read(value: &Value) -> Result<Self, Vec<FieldError>> {
        let Some(given) = value.as_object() else {
            let message =
                "must be an object such as {\"max\": 100, \"wait\": \"5s\"}, or null for one event per request";
            return Err(vec![FieldError::new("batch", message)]);
        };
        let mut errors = Vec::new();
        for field in given.keys().filter(|field| !FIELDS.contains(&field.as_str())) {
            let FieldError { message, .. } = FieldError::unknown(field, &FIELDS);
            errors.push(FieldError::new(format!("batch.{field}"), message));
        }
        let max = given.get("max").and_then(Value::as_u64).and_then(|max| usize::try_from(max).ok());
        let max = max.filter(|max| (1..=EVENTS_MAX).contains(max));
        if max.is_none() {
            errors.push(FieldError::new("batch.max", format!("must be an integer from 1 to {EVENTS_MAX}")));
        }
        let wait = Span::read(given.get("wait").unwrap_or(&Value::Null), &(SHORTEST_WAIT..=LONGEST_WAIT));
        let wait = wait.map_err(|message| errors.push(FieldError::new("batch.wait", message))).ok();
        match (max, wait) {
            (Some(max), Some(wait)) if errors.is_empty() => Ok(Self { max, wait }),
            _ => Err(errors),
        }
    }

    /// The option as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"max": self.max, "wait": self.wait.as_str()})
    }
}
