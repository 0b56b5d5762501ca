//! The fields of a JSON object as they were sent, duplicates among them. Pure; runs on the HTTP workers.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::domain::{FieldError, FieldErrors};

/// Names and values in the order of the text.
pub struct ObjectFields(pub Vec<(String, Value)>);

impl ObjectFields {
    /// The first field of each name; a further one is an error.
    pub fn once_each(self, errors: &mut FieldErrors) -> Vec<(String, Value)> {
        let mut seen = HashSet::new();
        let mut fields = self.0;
        fields.retain(|(name, _)| {
            let is_first = seen.insert(name.clone());
            if !is_first {
                errors.add(|| FieldError::new(name, "is given twice"));
            }
            is_first
        });
        fields
    }
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
