//! Reads the fields of the option `auth`, and keeps every error. Pure; any thread.

use serde_json::{Map, Value};

use crate::domain::FieldError;
use crate::domain::options::headers::NOTHING_STORED;
use crate::domain::secret_text::SecretText;

/// The fields of a login, and what is wrong with them.
pub(super) struct Fields<'a> {
    given: &'a Map<String, Value>,
    pub(super) errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(given: &'a Map<String, Value>) -> Self {
        Self { given, errors: Vec::new() }
    }

    /// The login, unless something was wrong.
    pub(super) fn end<T>(self, read: Option<T>) -> Result<T, Vec<FieldError>> {
        match read {
            Some(read) if self.errors.is_empty() => Ok(read),
            _ => Err(self.errors),
        }
    }

    pub(super) fn refuse_others(&mut self, known: &[&str]) {
        for name in self.given.keys().filter(|name| !known.contains(&name.as_str())) {
            let FieldError { field, message } = FieldError::unknown(name, known);
            self.errors.push(FieldError::new(format!("auth.{field}"), message));
        }
    }

    pub(super) fn refuse(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(format!("auth.{name}"), message.into()));
    }

    /// The value of a field, unless it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.given.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, name: &str, is_right: fn(&str) -> bool, wanted: &str) -> Option<String> {
        let text = self.given.get(name).and_then(Value::as_str).filter(|text| is_right(text));
        if text.is_none() {
            let missing = if self.given.contains_key(name) { "" } else { "is missing; " };
            self.refuse(name, format!("{missing}{wanted}"));
        }
        text.map(str::to_owned)
    }

    /// A text that may be left out.
    pub(super) fn optional_text(&mut self, name: &str, is_right: fn(&str) -> bool, wanted: &str) -> Option<String> {
        self.get(name)?;
        self.text(name, is_right, wanted)
    }

    /// A text that is secret; `"set"` stands for the one that is stored.
    pub(super) fn secret(
        &mut self,
        name: &str,
        stored: Option<&SecretText>,
        is_right: fn(&str) -> bool,
        wanted: &str,
    ) -> Option<SecretText> {
        if self.given.get(name).and_then(Value::as_str) == Some(SecretText::SHOWN) {
            if stored.is_none() {
                self.refuse(name, NOTHING_STORED);
            }
            return stored.cloned();
        }
        self.text(name, is_right, wanted).map(|text| SecretText::new(&text))
    }
}
