//! The fields of a JSON object as they were sent: a name that is given twice, in it or in an object within it, is an error, as
//! nobody knows which of the two was meant. Pure; runs on the HTTP workers.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::domain::escape::{REPEATED_CHARS, shortened};
use crate::domain::{FieldError, FieldErrors};
use crate::http::request::error::ApiError;

/// Names and values in the order of the text.
pub struct ObjectFields(Vec<(String, Checked)>);

/// A value, and the names that are given twice within it.
struct Checked {
    value: Value,
    errors: FieldErrors,
}

impl ObjectFields {
    /// Reads them.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        serde_json::from_str(text).map_err(|error| ApiError::not_json(text, &error))
    }

    /// Whether there is a field of that name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| given == name)
    }

    /// Those that have none of these names.
    #[must_use]
    pub fn without(mut self, ignored: &[&str]) -> Self {
        self.0.retain(|(name, _)| !ignored.contains(&name.as_str()));
        self
    }

    /// The same, with the value of a field that may hold any JSON.
    #[must_use]
    pub fn with_any(mut self, name: &str) -> Self {
        let its = self.0.iter_mut().filter(|(given, _)| given == name);
        its.for_each(|(_, checked)| checked.errors = FieldErrors::default());
        self
    }

    /// The first field of each name; a further one is an error.
    pub fn once_each(self, errors: &mut FieldErrors) -> Vec<(String, Value)> {
        let mut seen = HashSet::new();
        let mut fields = Vec::with_capacity(self.0.len());
        for (name, Checked { value, errors: inside }) in self.0 {
            if !inside.is_empty() {
                errors.add_part(&shortened(&name, REPEATED_CHARS), inside);
            }
            if seen.insert(name.clone()) {
                fields.push((name, value));
            } else {
                errors.add(|| twice(&name));
            }
        }
        fields
    }

    /// The same by their names.
    pub fn by_name(self, errors: &mut FieldErrors) -> Map<String, Value> {
        self.once_each(errors).into_iter().collect()
    }
}

/// What is wrong with the JSON value of a field, if a name is given twice within it.
#[must_use]
pub fn fault_within(field: &str, json: &str) -> Option<FieldError> {
    let Checked { errors: inside, .. } = serde_json::from_str(json).ok()?;
    let mut errors = FieldErrors::default();
    errors.add_part(field, inside);
    errors.kept().first().cloned()
}

fn twice(name: &str) -> FieldError {
    FieldError::new(name, "is given twice")
}

impl<'de> Deserialize<'de> for ObjectFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = ObjectFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ObjectFields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(ObjectFields(fields))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

impl From<Value> for Checked {
    fn from(value: Value) -> Self {
        Self { value, errors: FieldErrors::default() }
    }
}

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Checked;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_unit<E>(self) -> Result<Checked, E> {
                Ok(Value::Null.into())
            }

            fn visit_bool<E>(self, value: bool) -> Result<Checked, E> {
                Ok(Value::from(value).into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Checked, E> {
                Ok(Value::from(value).into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Checked, E> {
                Ok(Value::from(value).into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Checked, E> {
                Ok(Value::from(value).into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Checked, E> {
                Ok(Value::from(value).into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Checked, A::Error> {
                let (mut values, mut errors) = (Vec::new(), FieldErrors::default());
                while let Some(item) = list.next_element::<Checked>()? {
                    errors.extend(item.errors.kept().iter().cloned());
                    values.push(item.value);
                }
                Ok(Checked { value: values.into(), errors })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Checked, A::Error> {
                let (mut object, mut errors) = (Map::new(), FieldErrors::default());
                while let Some((name, Checked { value, errors: inside })) = map.next_entry::<String, Checked>()? {
                    if !inside.is_empty() {
                        errors.add_part(&shortened(&name, REPEATED_CHARS), inside);
                    }
                    if object.contains_key(&name) {
                        errors.add(|| twice(&name));
                    } else {
                        object.insert(name, value);
                    }
                }
                Ok(Checked { value: object.into(), errors })
            }
        }
        deserializer.deserialize_any(ValueVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values, and the names that are told to be given twice.
    fn read(text: &str) -> (Value, Vec<String>) {
        let mut errors = FieldErrors::default();
        let fields = ObjectFields::parse(text).unwrap_or_else(|error| panic!("{error}")).by_name(&mut errors);
        (fields.into(), errors.kept().iter().map(|error| error.field.clone()).collect())
    }

    #[test]
    fn every_value_is_read_as_it_is() {
        for text in [
            "{}",
            r#"{"a":null,"b":[true,-1,18446744073709551615,1.5e3,"\u00e9\n",{},[]],"c":{"a":{"b":{}}}}"#,
            r#"{"b":{"a":1},"a":{"b":1},"ab":[{"a":1},{"a":1}]}"#,
        ] {
            assert_eq!(read(text), (serde_json::from_str(text).unwrap(), Vec::new()), "{text}");
        }
    }

    #[test]
    fn a_name_that_is_given_twice_is_told_wherever_it_is() {
        for (text, wrong) in [
            (r#"{"a":1,"a":2}"#, &["a"][..]),
            (r#"{"a":1,"\u0061":1,"b":2,"b":3}"#, &["a", "b"]),
            (r#"{"a":{"b":1,"b":2}}"#, &["a.b"]),
            (r#"{"a":[{"b":{"c":1,"c":1}},{"d":1,"d":2}],"a":0}"#, &["a.b.c", "a.d", "a"]),
        ] {
            assert_eq!(read(text).1, wrong, "{text}");
        }
        assert_eq!(read(r#"{"a":1,"a":2}"#).0["a"], 1);
        let long = format!(r#"{{"{0}":{{"b":1,"b":2}},"{0}":3}}"#, "x".repeat(100_000));
        assert!(read(&long).1.iter().all(|field| field.len() < 200), "{:?}", read(&long).1);
    }

    #[test]
    fn a_field_that_may_hold_any_json_is_left_alone() {
        let mut errors = FieldErrors::default();
        let fields = ObjectFields::parse(r#"{"data":{"a":1,"a":2},"x":{"b":1,"b":2}}"#).unwrap_or_else(|_| panic!());
        fields.with_any("data").once_each(&mut errors);
        assert_eq!(errors.kept().iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["x.b"]);
    }
}
