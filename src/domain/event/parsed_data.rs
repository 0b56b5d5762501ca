//! The `data` of an event as it was parsed once: its fields at the top level, whose values are parsed when somebody asks
//! for them. Pure; any thread. Of a field that stands there twice the last one counts, as it does for receivers.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::event::field::Text;

/// The fields at the top level, by name.
#[derive(Debug, Default)]
pub struct ParsedData<'a> {
    fields: BTreeMap<Cow<'a, str>, Field<'a>>,
}

#[derive(Debug)]
struct Field<'a> {
    raw: &'a RawValue,
    value: OnceCell<Value>,
}

impl<'a> ParsedData<'a> {
    /// Reads the text of an object; none if it is something else.
    #[must_use]
    pub fn read(text: &'a str) -> Option<Self> {
        let fields: BTreeMap<Text<'a>, &RawValue> = serde_json::from_str(text).ok()?;
        let mut parsed = Self::default();
        for (Text(name), raw) in fields {
            parsed.put(name, raw);
        }
        Some(parsed)
    }

    pub(super) fn put(&mut self, name: Cow<'a, str>, raw: &'a RawValue) {
        self.fields.insert(name, Field { raw, value: OnceCell::new() });
    }

    /// The text of a field.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.fields.get(name).map(|field| field.raw.get())
    }

    /// The value of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let Field { raw, value } = self.fields.get(name)?;
        // What cannot be read was refused when it was published.
        Some(value.get_or_init(|| serde_json::from_str(raw.get()).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_has_its_value_and_the_last_of_two_counts() {
        let data = ParsedData::read(r#"{"a": 1, "b": {"c": ["x"]}, "\u0061": 2.50, "none": null}"#).unwrap();
        assert_eq!((data.get("a"), data.raw("a")), (Some(&json!(2.5)), Some("2.50")));
        assert_eq!(data.get("b"), Some(&json!({"c": ["x"]})));
        assert_eq!(data.get("none"), Some(&Value::Null));
        assert_eq!(data.get("c"), None);
        assert!(ParsedData::read("[]").is_none());
    }
}
